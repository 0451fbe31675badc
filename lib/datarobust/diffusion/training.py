"""Training of a denoiser, as Karras et al. 2022 do it: EDM's loss, Adam, averaged weights."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datarobust.diffusion.augmenting import augment
from datarobust.diffusion.cloning import to_model
from datarobust.diffusion.denoiser import Denoiser, one_hot
from datarobust.diffusion.starts import Keys, normals
from datarobust.distributed import Group
from datarobust.errors import UsageError
from datarobust.networks.precision import Precision, casting, products
from datarobust.randomness import Domain, row_keys
from datarobust.training.batches import real_rows
from datarobust.training.images import Points
from datarobust.training.loop import Line, Loop, prefixed

_LEVEL, _NOISE, _AUGMENT = range(3)
"""Parts of an image's random numbers in a step."""


@dataclass(frozen=True)
class Recipe:
    """Every number that decides a training's bits; defaults are those of Karras et al. for CIFAR-10, but for length.

    Raises:
        UsageError: a number that makes no sense.
    """

    epochs: int
    batch: int = 512
    lr: float = 1e-3
    warm_up: float = 0.05
    """Share of the training in which the learning rate rises to ``lr``."""
    ema_images: float = 500_000.0
    """Images after which a weight counts half in the average."""
    ema_share: float = 0.05
    """The same as a share of the images so far, where that is fewer: early weights are forgotten."""
    P_mean: float = -1.2
    """Mean of ln σ."""
    P_std: float = 1.2
    """Deviation of ln σ."""
    augment: float = 0.0
    """Probability of each augmentation; the denoiser is told what was done."""
    precision: Precision = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
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

    Args:
        denoiser: D.
        images: y, float32 (B, C, H, W) in [-1, 1].
        sigma: float32 (B,).
        noise: n, standard normal, like ``images``.
        labels: one-hot, or None for a denoiser without classes.
        augmentation: how the images were augmented, (B, 9), or None.
    """
    level = sigma[:, None, None, None]
    weight = denoiser.precondition.coefficients(sigma).out.square().reciprocal()
    denoised = denoiser(images + level * noise, sigma, labels, augmentation)
    loss: Tensor = (weight[:, None, None, None] * (denoised - images).square()).mean()
    return loss


class Training(Loop):
    """One training: its network, averaged weights, optimiser, and where it is.

    Args:
        recipe: every number that decides its bits.
        points: the images, on the device.
        denoiser: freshly initialised.
        device: where everything is.
        group: the processes that share each batch.

    Raises:
        UsageError: a batch cannot be shared by the processes.
    """

    def __init__(self, recipe: Recipe, points: Points, denoiser: Denoiser, device: torch.device, group: Group) -> None:
        if recipe.batch % group.size:
            raise UsageError(
                f"a batch of {recipe.batch} images cannot be shared by {group.size} processes: change `batch`"
            )
        self.recipe, self.points = recipe, points
        self.model = denoiser.train()
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(self.model).requires_grad_(False).eval()
        super().__init__(average, recipe.epochs, -(-len(points) // recipe.batch), recipe.batch, device, group)
        self.optimiser = torch.optim.Adam(self.model.parameters(), recipe.lr, (0.9, 0.999), 1e-8, fused=True)
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        """Sum of the epoch's losses so far."""

    def train_step(self, number: int) -> None:
        """One step on one batch."""
        recipe, share = self.recipe, self.recipe.batch // self.group.size
        first = self.group.rank * share
        rows = real_rows(recipe.seed, self.epoch, np.arange(len(self.points)), self.steps * recipe.batch)
        place = self.step * recipe.batch + first
        points = self.points.at(rows[place : place + share])
        keys = row_keys(recipe.seed, Domain.DENOISER_TRAINING.of(number), first, first + share)
        images, augmentation = self._augmented(to_model(points.images), keys)
        level = torch.from_numpy(normals(keys, _LEVEL, (1,))[:, 0])
        sigma = (level * recipe.P_std + recipe.P_mean).exp().to(self.device)
        noise = torch.from_numpy(normals(keys, _NOISE, tuple(images.shape[1:]))).to(self.device)
        labels = one_hot(points.labels, self.model.classes)
        seen = (number + 1) * recipe.batch
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(seen, recipe.epochs * self.steps * recipe.batch)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(row_keys(recipe.seed, Domain.DENOISER_DROPOUT.of(number), first, first + 1)[0]) >> 1)
            with products(recipe.precision):
                with casting(recipe.precision, self.device.type):
                    loss = edm_loss(self.model, images, sigma, noise, labels, augmentation)
                loss.backward()  # type: ignore[no-untyped-call]
        self.group.average([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimiser.step()
        with torch.no_grad():
            averages: list[Tensor] = list(self.average.parameters())
            parameters: list[Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(averages, parameters, 1.0 - recipe.decay(seen))
            self.loss += loss.double()

    def _augmented(self, images: Tensor, keys: Keys) -> tuple[Tensor, Tensor | None]:
        """Images as they are trained on, and what the denoiser is told of it; zeros where nothing was done."""
        length = self.model.model.augment_dim
        if self.recipe.augment:
            return augment(images, self.recipe.augment, keys, _AUGMENT)
        return images, torch.zeros((len(images), length), device=self.device) if length else None

    def loss_sum(self) -> float:
        """Sum of the epoch's losses so far."""
        return float(self.loss)

    def standing(self) -> Line:
        """The epoch so far, of this process's images."""
        loss = {"loss": float(self.loss) / self.step} if self.step else {}
        return {"epoch": self.epoch + 1} | loss

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
