"""Adversarial training (Section 4, Appendix B): what a step and an epoch do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from datarobust.attacks import training_noise
from datarobust.distributed import Group
from datarobust.networks.precision import products
from datarobust.randomness import Domain
from datarobust.schedules import momentum_and_rate
from datarobust.trades import trades_step
from datarobust.training.batches import Batches
from datarobust.training.focus import Injection, craft
from datarobust.training.images import Points
from datarobust.training.loop import Checkpoint, Line, Listener, Loop, prefixed
from datarobust.training.measures import clean_hits, robust_hits
from datarobust.training.optimiser import Ema, first_momentum, sgd
from datarobust.training.recipe import TEST_EVERY, Counts, Recipe

_SUMS = ("loss", "clean_loss", "clean_hits", "robust_hits", "images")


@dataclass(frozen=True)
class Sets:
    """What a training reads besides its batches, on the device."""

    base: Points
    track: Points | None
    test: Points | None


class Training(Loop):
    """One training: its network, averaged weights, optimiser, and where it is.

    Args:
        recipe: every number that decides its bits.
        counts: what the recipe means for these sets.
        sets: on the device.
        batches: of this process.
        model: freshly initialised.
        device: where everything is.
        group: the processes that share each batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        counts: Counts,
        sets: Sets,
        batches: Batches,
        model: nn.Module,
        device: torch.device,
        group: Group,
    ) -> None:
        self.recipe, self.counts, self.sets, self.batches = recipe, counts, sets, batches
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.model, recipe.ema, recipe.epochs, counts.steps)
        super().__init__(self.ema.model, recipe.epochs, counts.steps, counts.total, device, group)
        self.optimiser = sgd(self.model, recipe.weight_decay)
        self.sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self.injection: Injection | None = None

    def run(self, checkpoint: Checkpoint, listener: Listener, save_every: float) -> bool:
        """Train to the end; see :meth:`Loop.run`."""
        with products(self.recipe.precision, deterministic=True):
            return super().run(checkpoint, listener, save_every)

    def begin_epoch(self) -> None:
        """Craft the examples that the epoch injects."""
        if self.counts.focus:
            self.injection = craft(self.ema.model, self.batches.originals(self.epoch), self.recipe, self.epoch)

    def train_step(self, number: int) -> None:
        """One step on one batch."""
        recipe = self.recipe
        momentum, lr = momentum_and_rate(recipe.schedule, number, recipe.epochs, self.steps, recipe.lr)
        for group in self.optimiser.param_groups:
            group["lr"], group["momentum"] = lr, momentum
        batch = self.batches.at(self.epoch, self.step, self.injection)
        shape = tuple(batch.x.shape)
        noise = training_noise(recipe.norm, shape, recipe.seed, number, self.batches.first, self.device)
        self.optimiser.zero_grad(set_to_none=True)
        with first_momentum(self.model, number == 0):
            result = trades_step(
                self.model,
                batch.x,
                batch.y,
                noise,
                norm=recipe.norm,
                eps=recipe.eps,
                step=recipe.attack_step,
                steps=recipe.steps,
                beta=recipe.beta,
                label_smoothing=recipe.label_smoothing,
                fixed=batch.fixed,
                adversaries=batch.adversaries,
                precision=recipe.precision,
            )
        self.group.average([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimiser.step()
        self.ema.update(self.model, number)
        with torch.no_grad():
            count = torch.tensor(float(len(batch.y)), dtype=torch.float64, device=self.device)
            hits = [(z.argmax(1) == batch.y).sum() for z in (result.clean_logits, result.adversarial_logits)]
            losses = [result.loss.double() * count, result.clean_loss.double() * count]
            self.sums += torch.stack([*losses, *(h.double() for h in hits), count])

    def loss_sum(self) -> float:
        """Sum of the epoch's losses so far."""
        return float(self.sums[0])

    def standing(self) -> Line:
        """The number of the epoch, and where it has images the means over them."""
        sums = dict(zip(_SUMS, self.sums.tolist(), strict=True))
        images = sums["images"]
        if not images:
            return {"epoch": self.epoch + 1}
        return {
            "epoch": self.epoch + 1,
            "loss": sums["loss"] / images,
            "clean_loss": sums["clean_loss"] / images,
            "train_accuracy": sums["clean_hits"] / images,
            "train_robust_accuracy": sums["robust_hits"] / images,
        }

    def end_epoch(self) -> Line:
        """Figures of the epoch, measured on the averaged model."""
        recipe, counts = self.recipe, self.counts
        self.group.sum([self.sums])
        self.demand_finite(self.loss_sum())
        self.group.broadcast([*self.model.buffers()])
        self.ema.copy_buffers(self.model)
        last = (self.epoch + 1) * self.steps - 1
        momentum, lr = momentum_and_rate(recipe.schedule, last, recipe.epochs, self.steps, recipe.lr)
        line: Line = {
            **self.standing(),
            "lr": lr,
            "momentum": momentum,
            "real": counts.real * self.steps,
            "generated": counts.generated * self.steps,
            "injected": counts.focus * self.steps,
            "focus": self.batches.focus_count(self.epoch),
        }
        if self.sets.test is not None:
            line["test_accuracy"] = self._accuracy(clean_hits, self.sets.test)
            if self.epoch + 1 == recipe.epochs or (self.epoch + 1) % TEST_EVERY == 0:
                line["test_robust_accuracy"] = self._accuracy(
                    robust_hits, self.sets.test, recipe, Domain.TEST, self.epoch
                )
        if self.sets.track is not None:
            line["tracked_accuracy"] = self._accuracy(robust_hits, self.sets.track, recipe, Domain.TRACK, self.epoch)
        self.sums.zero_()
        return line

    def _accuracy(self, count: Callable[..., torch.Tensor], points: Points, *arguments: Any) -> float:
        """An accuracy, counted by all processes together, each on its part."""
        hits = count(self.ema.model, points, *arguments, share=(self.group.rank, self.group.size))
        self.group.sum([hits])
        return float(hits) / len(points)

    def memory(self) -> Line:
        """The most that an accelerator has held, in GB."""
        cuda = self.device.type == "cuda"
        return {"memory_gb": torch.cuda.max_memory_allocated(self.device) / 1e9 if cuda else None}

    def state(self) -> dict[str, torch.Tensor]:
        """Weights, momenta, averages, sums of the epoch; within an epoch what it injects, too."""
        momenta = {
            name: self.optimiser.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
            for name, parameter in self.model.named_parameters()
        }
        tensors = prefixed("model", self.model.state_dict()) | prefixed("momentum", momenta)
        tensors |= prefixed("average", self.ema.model.state_dict()) | {"sums/epoch": self.sums}
        if self.step and self.counts.focus:
            if self.injection is None:  # to be read
                originals = self.batches.originals(self.epoch)
                examples = torch.empty(originals.images.shape, dtype=torch.float32, device=self.device)
                self.injection = Injection(examples, originals)
            tensors["injection"] = self.injection.examples
        return tensors
