"""Training of a denoiser, as Karras et al. 2022 do it: EDM's loss, Adam, averaged weights."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from datarobust.devices import to_device
from datarobust.diffusion.cloning import Keys, normals, to_model, uniforms
from datarobust.diffusion.denoiser import Denoiser, one_hot
from datarobust.distributed import Group
from datarobust.errors import UsageError
from datarobust.networks import Precision, casting, products, within_memory
from datarobust.randomness import Domain, row_keys
from datarobust.training.batches import shuffled
from datarobust.training.images import Points
from datarobust.training.loop import Line, Loop, prefixed
from datarobust.types import Array, Floats, Rows

_LEVEL, _NOISE, _AUGMENT = range(3)  # parts of an image's random numbers in a step
AUGMENT_DIM = 9  # numbers that tell how an image was augmented
SCALE_STD = 0.2  # of log2 of scale and stretch
SHIFT_STD = 0.125  # of the translation, in sides of the image


@dataclass(frozen=True)
class Recipe:
    """Every number that decides a training's bits; defaults are those of Karras et al. for CIFAR-10, but for length."""

    epochs: int
    batch: int = 512
    lr: float = 1e-3
    warm_up: float = 0.05  # share of the training in which the learning rate rises to ``lr``
    ema_images: float = 500_000.0  # after so many a weight counts half in the average;
    ema_share: float = 0.05  # or after this share of the images so far, where that is fewer
    P_mean: float = -1.2  # of ln σ
    P_std: float = 1.2
    augment: float = 0.0  # probability of each augmentation; the denoiser is told what was done
    precision: Precision = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, count in (("`epochs`", self.epochs), ("`batch`", self.batch)):
            if count < 1:
                raise UsageError(f"{name} {count}: at least 1 is needed")
        for name, value in (("`lr`", self.lr), ("`p_std`", self.P_std), ("`ema_images`", self.ema_images)):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} {value:g}: a positive number is needed")
        if not 0 <= self.augment <= 1:
            raise UsageError(f"`augment` {self.augment:g}: a probability is needed")

    def rate(self, seen: int, total: int) -> float:
        """Learning rate after so many of all images."""
        return self.lr * min(1.0, seen / max(self.warm_up * total, 1.0))

    def decay(self, seen: int) -> float:
        """Share of the old average that a step keeps."""
        return float(0.5 ** (self.batch / min(self.ema_images, self.ema_share * seen)))


def edm_loss(
    denoiser: Denoiser, images: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None, augmentation: Tensor | None
) -> Tensor:
    """Equation 8 of Karras et al.: λ(σ) ||D(y + σ n; σ) - y||², the mean over pixels, with λ = 1 / c_out².

    ``images`` are y, float32 (B, C, H, W) in [-1, 1]; ``sigma`` (B,); ``noise`` n, standard normal; ``augmentation``
    (B, 9) or None.
    """
    level = sigma[:, None, None, None]
    weight = denoiser.precondition.coefficients(sigma).out.square().reciprocal()
    denoised = denoiser(images + level * noise, sigma, labels, augmentation)
    loss: Tensor = (weight[:, None, None, None] * (denoised - images).square()).mean()
    return loss


Draw = tuple[Rows, Array, Array, tuple[Floats, Floats] | None]
"""Of a step for B images, in memory of the processor: rows (B), σ float32 (B), noise float32 (B, C, H, W), standard
normal, and the augmentations (:func:`maps`), if any."""


class Training(Loop):
    """One training of a freshly initialised denoiser on images that are on its device."""

    def __init__(self, recipe: Recipe, points: Points, denoiser: Denoiser, device: torch.device, group: Group) -> None:
        if recipe.batch % group.size:
            raise UsageError(f"`batch` {recipe.batch} cannot be shared by {group.size} processes: take a multiple")
        self.recipe, self.points = recipe, points
        self.model = denoiser.train()
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(self.model).requires_grad_(False).eval()
        super().__init__(average, recipe.epochs, -(-len(points) // recipe.batch), recipe.batch, device, group)
        self.optimiser = torch.optim.Adam(self.model.parameters(), recipe.lr, (0.9, 0.999), 1e-8, fused=True)
        self.loss = torch.zeros((), dtype=torch.float64, device=device)  # sum of the epoch's losses so far
        self._most = recipe.batch  # images at a time; fewer once memory ran out
        self._rows = -1, np.empty(0, np.int64)  # an epoch and its rows, in order

    def draw(self, number: int) -> Draw:
        """The random choices of a step for this process's part of the batch."""
        recipe, (epoch, step), share = self.recipe, divmod(number, self.steps), self.recipe.batch // self.group.size
        first = self.group.rank * share
        if epoch != self._rows[0]:
            every = np.arange(len(self.points))
            rows = shuffled(recipe.seed, Domain.EPOCH_REAL, epoch, every, self.steps * recipe.batch)
            self._rows = epoch, rows
        place = step * recipe.batch + first
        keys = row_keys(recipe.seed, Domain.DENOISER_TRAINING.of(number), first, first + share)
        level = torch.from_numpy(normals(keys, _LEVEL, (1,))[:, 0])
        sigma = (level * recipe.P_std + recipe.P_mean).exp().numpy()
        noise = normals(keys, _NOISE, tuple(self.points.images.shape[1:]))
        augmented = maps(recipe.augment, keys, _AUGMENT) if recipe.augment else None
        return self._rows[1][place : place + share], sigma, noise, augmented

    def train_step(self, number: int, drawn: Draw) -> None:
        """One step on one batch."""
        recipe, share = self.recipe, self.recipe.batch // self.group.size
        first = self.group.rank * share
        rows, *arrays, augmented = drawn
        points = self.points.at(rows)
        images, augmentation = to_model(points.images), None
        if augmented is not None:
            images, augmentation = augment(images, *augmented)
        elif self.model.model.augment_dim:  # the denoiser is told that nothing was done
            augmentation = torch.zeros((len(images), self.model.model.augment_dim), device=self.device)
        sigma, noise = (to_device(array, self.device) for array in arrays)
        labels = one_hot(points.labels, self.model.classes)
        seen = (number + 1) * recipe.batch
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(seen, recipe.epochs * self.steps * recipe.batch)
        seed = int(row_keys(recipe.seed, Domain.DENOISER_DROPOUT.of(number), first, first + 1)[0]) >> 1

        def gradients(most: int) -> Tensor:
            """The loss, its gradients added up over parts of so many images."""
            self.optimiser.zero_grad(set_to_none=True)
            torch.manual_seed(seed)
            total = torch.zeros((), device=self.device)
            for start in range(0, share, most):
                part = slice(start, start + most)
                conditions = [None if each is None else each[part] for each in (labels, augmentation)]
                with casting(recipe.precision, self.device.type):
                    loss = edm_loss(self.model, images[part], sigma[part], noise[part], *conditions)
                loss = loss * (len(images[part]) / share)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
            return total

        cuda = self.device.type == "cuda"
        # The fast backward passes of attention on a GPU add up in any order.
        attention = sdpa_kernel(SDPBackend.MATH) if cuda else nullcontext()
        random = torch.random.fork_rng([self.device] if cuda else [])
        with random, products(recipe.precision, deterministic=True), attention:
            loss, most = within_memory(gradients, min(self._most, share))
        if most < min(self._most, share):
            self._most = most
            self.remark(
                f"Memory ran out: each process takes {most} images at a time from here on, which changes rounding and "
                "what dropout leaves out."
            )
        self.group.average([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimiser.step()
        with torch.no_grad():
            averages: list[Tensor] = list(self.average.parameters())
            parameters: list[Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(averages, parameters, 1.0 - recipe.decay(seen))
            self.loss += loss.double()

    def standing(self) -> Line:
        """The epoch so far, of this process's images."""
        return {"epoch": self.epoch + 1} | ({"loss": float(self.loss) / self.step} if self.step else {})

    def end_epoch(self) -> Line:
        """Figures of the epoch."""
        self.group.average([self.loss])
        loss = float(self.loss) / self.steps
        self.demand_finite(loss)
        images = self.steps * self.recipe.batch
        seen = (self.epoch + 1) * images
        self.loss.zero_()
        lr = self.recipe.rate(seen, self.recipe.epochs * images)
        return {"epoch": self.epoch + 1, "loss": loss, "lr": lr, "images": seen}

    def state(self) -> dict[str, Tensor]:
        """Weights, averages, both moments of Adam, and the sum of the epoch's losses."""
        first, second = {}, {}
        for name, parameter in self.model.named_parameters():
            state = self.optimiser.state[parameter]
            if not state:
                number = float(self.epoch * self.steps + self.step)
                state["step"] = torch.tensor(number, dtype=torch.float32, device=self.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            first[name], second[name] = state["exp_avg"], state["exp_avg_sq"]
        tensors = prefixed("model", dict(self.model.named_parameters()))
        tensors |= prefixed("average", dict(self.average.named_parameters()))
        return tensors | prefixed("first", first) | prefixed("second", second) | {"sums/loss": self.loss}


def augment(images: Tensor, matrices: Floats, numbers: Floats) -> tuple[Tensor, Tensor]:
    """Augmented images float32 (B, C, H, W), and float32 (B, 9) what was done to them, as Karras et al. 2022 tell it.

    What is done is from :func:`maps`: scale, rotation, stretch and translation have one probability each, a y flip half
    of it, an x flip 1/2. A denoiser is told, so that it does not make augmented images. The nine numbers are those that
    are drawn: x flip and y flip, 0 or 1; s, where the image grows by 2^(s / 5); cos - 1 and sin of a turn; t cos and
    t sin, where the image grows by 2^(t / 5) along a direction and shrinks by it across; and the translation in x and
    y, in eighths of a side. s, t and the translation are standard normal; half of all stretches are along x. Zeros:
    nothing was done.

    Everything is one affine map of each image, its border mirrored. Pixels between pixels are bicubic; Karras et al.
    filter wavelets.
    """
    thetas = to_device(matrices[:, :2].astype(np.float32), images.device)
    grid = F.affine_grid(thetas, list(images.shape), align_corners=False)
    mapped = F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    same = to_device((matrices == np.eye(3)).all((1, 2)), images.device)  # exact, where nothing was done
    augmented = torch.where(same[:, None, None, None], images, mapped.clip(-1, 1))
    return augmented, to_device(numbers.astype(np.float32), images.device)


def maps(probability: float, keys: Keys, part: int) -> tuple[Floats, Floats]:
    """Where each pixel of an augmented image is from, (B, 3, 3) in coordinates from -1 to 1, and the nine numbers."""
    chance, angle = uniforms(keys, 2 * part, 6), uniforms(keys, 2 * part + 1, 3)
    drawn = normals(keys, (1 << 32) + part, (4,)).astype(np.float64)  # far from the parts that noise is made of
    x_flip, y_flip = chance[:, 0] < 0.5, chance[:, 1] < probability / 2
    done = chance < probability
    scale, stretch = np.where(done[:, 2], drawn[:, 0], 0.0), np.where(done[:, 4], drawn[:, 1], 0.0)
    turn = np.where(done[:, 3], (angle[:, 0] * 2 - 1) * math.pi, 0.0)
    direction = np.where(done[:, 4] & (angle[:, 2] < 0.5), (angle[:, 1] * 2 - 1) * math.pi, 0.0)
    shift = np.where(done[:, 5:], drawn[:, 2:], 0.0)
    grown, long = np.exp2(SCALE_STD * scale), np.exp2(SCALE_STD * stretch)
    moved = _matrices(grown, 0.0, 0.0, grown, 2 * SHIFT_STD * shift)  # a side is 2 long
    moved = moved @ _rotation(-direction) @ _matrices(long, 0.0, 0.0, 1 / long) @ _rotation(direction)
    moved = moved @ _rotation(-turn)
    moved = moved @ _matrices(np.where(x_flip, -1.0, 1.0), 0.0, 0.0, np.where(y_flip, -1.0, 1.0))
    numbers = [x_flip, y_flip, scale, np.cos(turn) - 1, np.sin(turn)]
    numbers += [stretch * np.cos(direction), stretch * np.sin(direction), shift[:, 0], shift[:, 1]]
    inverse: Floats = np.linalg.inv(moved).astype(np.float64)
    return inverse, np.stack([number.astype(np.float64) for number in numbers], 1)


def _matrices(xx: Floats, xy: Floats | float, yx: Floats | float, yy: Floats, shift: Floats | float = 0.0) -> Floats:
    """Affine maps (B, 3, 3)."""
    matrices = np.zeros((len(xx), 3, 3))
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1] = xx, xy, yx, yy
    matrices[:, :2, 2], matrices[:, 2, 2] = shift, 1.0
    return matrices


def _rotation(angle: Floats) -> Floats:
    """Maps (B, 3, 3) that turn by angles (B)."""
    return _matrices(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
