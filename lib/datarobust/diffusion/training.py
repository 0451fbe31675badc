"""Training of a denoiser, as Karras et al. 2022 do it: EDM's loss, Adam, averaged weights; from any step to the last.

State is a function of the step: every random number follows from (seed, step, place), so a run that was killed and goes
on has the bits of one that was not.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datarobust.diffusion.augmenting import augment
from datarobust.diffusion.cloning import to_model
from datarobust.diffusion.denoiser import Denoiser, one_hot
from datarobust.diffusion.starts import Keys, normals
from datarobust.distributed import Group
from datarobust.errors import DivergedError, UsageError
from datarobust.networks.precision import Precision, casting, products
from datarobust.randomness import Domain, row_keys
from datarobust.training.images import Points
from datarobust.training.order import real_rows
from datarobust.training.state import Arrays, Checkpoint, Line, Listener, Weights, pack, pack_json, unpack, unpack_json

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
    denoiser: Denoiser, images: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None, told: Tensor | None
) -> Tensor:
    """Equation 8 of Karras et al.: λ(σ) ||D(y + σ n; σ) - y||², the mean over pixels, with λ = 1 / c_out².

    Args:
        denoiser: D.
        images: y, float32 (B, C, H, W) in [-1, 1].
        sigma: float32 (B,).
        noise: n, standard normal, like ``images``.
        labels: one-hot, or None for a denoiser without classes.
        told: how the images were augmented.
    """
    level = sigma[:, None, None, None]
    weight = denoiser.precondition.coefficients(sigma).out.square().reciprocal()
    found = denoiser(images + level * noise, sigma, labels, told)
    loss: Tensor = (weight[:, None, None, None] * (found - images).square()).mean()
    return loss


class Training:
    """One training: its network, averaged weights, optimiser, and where it is.

    Args:
        recipe: every number that decides its bits.
        points: the images, on the device.
        denoiser: freshly initialised.
        device: where everything is.
        processes: that share each batch.

    Raises:
        UsageError: a batch cannot be shared by the processes.
    """

    def __init__(
        self, recipe: Recipe, points: Points, denoiser: Denoiser, device: torch.device, processes: Group
    ) -> None:
        if recipe.batch % processes.size:
            raise UsageError(
                f"a batch of {recipe.batch} images cannot be shared by {processes.size} processes: change `batch`"
            )
        self.recipe, self.points, self.device, self.processes = recipe, points, device, processes
        self.steps = -(-len(points) // recipe.batch)
        self.model = denoiser.train()
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimiser = torch.optim.Adam(self.model.parameters(), recipe.lr, (0.9, 0.999), 1e-8, fused=True)
        self.epoch = self.step = 0
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        """Sum of the epoch's losses so far."""

    def run(self, checkpoint: Checkpoint, listener: Listener, save_every: float) -> bool:
        """Train to the end; False where the listener stopped it.

        Args:
            checkpoint: its state is gone on from, and states are saved to it at ends of epochs and when stopped.
            listener: is told of every epoch, and may stop the training.
            save_every: seconds between two saved states.

        Raises:
            DivergedError: the loss is not finite; the last state that was saved stays.
        """
        self._resume(checkpoint)
        saved = began = time.monotonic()
        total = self.recipe.epochs * self.steps
        for number in listener.progress(range(self.epoch * self.steps + self.step, total), self._standing):
            if self.step == 0:
                began = time.monotonic()
            self._train(number)
            if self.step == self.steps:
                self._close(checkpoint, listener, time.monotonic() - began)
            stopped = self.processes.any(listener.stops())
            due = self.step == 0 and self.processes.agree(time.monotonic() - saved >= save_every)
            if stopped or (due and self.epoch < self.recipe.epochs):
                self._save(checkpoint)
                saved = time.monotonic()
            if stopped and self.epoch < self.recipe.epochs:
                return False
        self._save(checkpoint)
        return True

    def _train(self, number: int) -> None:
        """One step."""
        recipe, share = self.recipe, self.recipe.batch // self.processes.size
        first = self.processes.rank * share
        rows = real_rows(recipe.seed, self.epoch, np.arange(len(self.points)), self.steps * recipe.batch)
        place = self.step * recipe.batch + first
        points = self.points.at(rows[place : place + share])
        keys = row_keys(recipe.seed, Domain.DENOISER_TRAINING.of(number), first, first + share)
        images, told = self._augmented(to_model(points.images), keys)
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
                    loss = edm_loss(self.model, images, sigma, noise, labels, told)
                loss.backward()  # type: ignore[no-untyped-call]
        self.processes.average([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimiser.step()
        with torch.no_grad():
            mine: list[Tensor] = list(self.average.parameters())
            theirs: list[Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(mine, theirs, 1.0 - recipe.decay(seen))
            self.loss += loss.double()
        self.step += 1

    def _augmented(self, images: Tensor, keys: Keys) -> tuple[Tensor, Tensor | None]:
        """Images as they are trained on, and what the denoiser is told of it; zeros where nothing was done."""
        length = self.model.model.augment_dim
        if self.recipe.augment:
            return augment(images, self.recipe.augment, keys, _AUGMENT)
        return images, torch.zeros((len(images), length), device=self.device) if length else None

    def _standing(self) -> Line:
        """The epoch so far, of this process's images."""
        loss = {"loss": float(self.loss) / self.step} if self.step else {}
        return {"epoch": self.epoch + 1} | loss

    def _close(self, checkpoint: Checkpoint, listener: Listener, seconds: float) -> None:
        """Log an epoch, and go to the next."""
        self.processes.average([self.loss])
        loss = float(self.loss) / self.steps
        self._demand_finite(loss)
        images = self.steps * self.recipe.batch
        seen = (self.epoch + 1) * images
        line: Line = {
            "epoch": self.epoch + 1,
            "loss": loss,
            "lr": self.recipe.rate(seen, self.recipe.epochs * images),
            "images": seen,
            "images_per_second": images / seconds,
            "seconds": seconds,
        }
        self.epoch, self.step = self.epoch + 1, 0
        self.loss.zero_()
        if self.processes.leads:
            checkpoint.log(line)
            listener.epoch(line)

    def _demand_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is not finite in epoch {self.epoch + 1}: the last saved state is kept; "
                "a smaller `lr` or another `precision` may help, in a new run"
            )

    # ------------------------------------------------------------------------------------------------- the state

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a step changes, by part and name; to be read and written in place."""
        first, second = {}, {}
        for name, parameter in self.model.named_parameters():
            state = self.optimiser.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=self.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            first[name], second[name] = state["exp_avg"], state["exp_avg_sq"]
        model, average = dict(self.model.named_parameters()), dict(self.average.named_parameters())
        return {"model": model, "average": average, "first": first, "second": second, "sums": {"loss": self.loss}}

    def _save(self, checkpoint: Checkpoint) -> None:
        """Rank 0 saves, and nobody goes on before it is safe; a loss that is not finite is not saved."""
        self._demand_finite(float(self.loss))
        if self.processes.leads:
            state: Arrays = {"where": pack_json({"epoch": self.epoch, "step": self.step})}
            for part, tensors in self._tensors().items():
                state |= pack(part, tensors)
            checkpoint.save(state, None, Weights(self.average.state_dict(), self.epoch) if self.step == 0 else None)
        self.processes.agree(True)

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Take up the last state, if there is one: rank 0 reads it, the others have it from rank 0."""
        leads = self.processes.leads
        state = checkpoint.load() if leads else None
        if self.processes.agree(state is not None):
            self._restore(state)
        if leads:
            checkpoint.rewind(self.epoch)

    def _restore(self, state: Arrays | None) -> None:
        tensors, place = self._tensors(), torch.zeros(2, dtype=torch.int64)
        if state is not None:
            where: dict[str, Any] = unpack_json(state["where"])
            place = torch.tensor([where["epoch"], where["step"]])
            for part, named in tensors.items():
                unpack(part, state, named)
        self.processes.broadcast([place, *(tensor for named in tensors.values() for tensor in named.values())])
        self.epoch, self.step = (int(number) for number in place)
        for kept in self.optimiser.state.values():
            kept["step"].fill_(self.epoch * self.steps + self.step)
