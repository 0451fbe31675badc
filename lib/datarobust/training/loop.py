"""The loop of adversarial training (Section 4, Appendix B), from any step to the last.

State is a function of the step: every random number follows from (seed, step, place), so a run that was killed and goes
on has the bits of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from datarobust.distributed import Group
from datarobust.errors import DivergedError
from datarobust.randomness import Domain
from datarobust.schedules import momentum_and_rate
from datarobust.trades import trades_step
from datarobust.training import noise
from datarobust.training.augment import to_float
from datarobust.training.batches import Batch, Batches, Injection
from datarobust.training.images import Points
from datarobust.training.measures import attacked, clean_hits, frozen, robust_hits
from datarobust.training.optimiser import Averaged, first_momentum, numerics, sgd
from datarobust.training.recipe import TEST_EVERY, Counts, Recipe
from datarobust.training.resume import resume, save
from datarobust.training.state import Checkpoint, Line, Listener, Weights

_SUMS = ("loss", "clean_loss", "clean_hits", "robust_hits", "images")
SHARE = 128
"""Examples of the focus set that are crafted at a time."""


@dataclass(frozen=True)
class Sets:
    """What a training reads besides its batches, on the device."""

    base: Points
    track: Points | None
    test: Points | None


class Training:
    """One training: its network, averaged weights, optimiser, and where it is.

    Args:
        recipe: every number that decides its bits.
        counts: what the recipe means for these sets.
        sets: on the device.
        batches: of this process.
        model: freshly initialised.
        device: where everything is.
        processes: that share each batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        counts: Counts,
        sets: Sets,
        batches: Batches,
        model: nn.Module,
        device: torch.device,
        processes: Group,
    ) -> None:
        self.recipe, self.counts, self.sets, self.batches = recipe, counts, sets, batches
        self.device, self.processes = device, processes
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Averaged(self.model, recipe.ema, recipe.epochs, counts.steps)
        self.optimiser = sgd(self.model, recipe.weight_decay)
        self.epoch = self.step = 0
        self.sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self.injection: Injection | None = None
        self.best: tuple[float, Weights] | None = None
        self.best_is_new = False

    # ------------------------------------------------------------------------------------------------- the loop

    def run(self, checkpoint: Checkpoint, listener: Listener, save_every: float) -> bool:
        """Train to the end; False where the listener stopped it.

        Args:
            checkpoint: its state is gone on from, and states are saved to it at ends of epochs and when stopped.
            listener: is told of every epoch, and may stop the training.
            save_every: seconds between two saved states.

        Raises:
            DivergedError: a loss is not finite; the last state that was saved stays.
        """
        with numerics(self.recipe.precision):
            return self._run(checkpoint, listener, save_every)

    def _run(self, checkpoint: Checkpoint, listener: Listener, save_every: float) -> bool:
        resume(self, checkpoint, listener)
        saved = began = time.monotonic()
        total = self.recipe.epochs * self.counts.steps
        for _ in listener.progress(range(self.epoch * self.counts.steps + self.step, total), self._standing):
            if self.step == 0:
                began = time.monotonic()
                self.injection = self._craft()
            self._train()
            if self.step == self.counts.steps:
                self._close(checkpoint, listener, time.monotonic() - began)
            elif self.processes.any(listener.stops()):
                save(self, checkpoint)
                return False
            if self.step == 0 and self.epoch < self.recipe.epochs:
                stopped = self.processes.any(listener.stops())
                if stopped or self.processes.agree(time.monotonic() - saved >= save_every):
                    save(self, checkpoint)
                    saved = time.monotonic()
                if stopped:
                    return False
        save(self, checkpoint)
        return True

    def _train(self) -> None:
        """One step on one batch."""
        number = self.epoch * self.counts.steps + self.step
        momentum, rate = momentum_and_rate(
            self.recipe.schedule, number, self.recipe.epochs, self.counts.steps, self.recipe.lr
        )
        for group in self.optimiser.param_groups:
            group["lr"], group["momentum"] = rate, momentum
        batch = self.batches.at(self.epoch, self.step, self.injection)
        self.optimiser.zero_grad(set_to_none=True)
        with first_momentum(self.model, number == 0):
            found = trades_step(
                self.model,
                batch.x,
                batch.y,
                self._start(batch, number),
                norm=self.recipe.norm,
                eps=self.recipe.eps,
                step=self.recipe.attack_step,
                steps=self.recipe.steps,
                beta=self.recipe.beta,
                label_smoothing=self.recipe.label_smoothing,
                fixed=batch.fixed,
                adversaries=batch.adversaries,
                precision=self.recipe.precision,
            )
        self.processes.average([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimiser.step()
        self.average.update(self.model, number)
        with torch.no_grad():
            count = torch.tensor(float(len(batch.y)), dtype=torch.float64, device=self.device)
            hits = [(z.argmax(1) == batch.y).sum() for z in (found.clean_logits, found.adversarial_logits)]
            parts = [found.loss.double() * count, found.clean_loss.double() * count, *(h.double() for h in hits), count]
            self.sums += torch.stack(parts)
        self.step += 1

    def _start(self, batch: Batch, number: int) -> torch.Tensor:
        """Random start of the training attack: uniform in [-1, 1) in linf, standard normal in l2."""
        draw = noise.uniform if self.recipe.norm == "linf" else noise.normal
        return draw(tuple(batch.x.shape), self.recipe.seed, Domain.TRAIN, number, self.batches.first, self.device)

    def _craft(self) -> Injection | None:
        """The examples that an epoch injects: PGD-40 on the averaged model (Appendix D)."""
        if not self.counts.focus:
            return None
        originals = self.sets.base.at(self.batches.injected(self.epoch))
        found = []
        with frozen(self.average.model) as model:
            for start in range(0, len(originals), SHARE):
                images = to_float(originals.images[start : start + SHARE])
                labels = originals.labels[start : start + SHARE]
                found.append(attacked(model, images, labels, self.recipe, Domain.FOCUS, self.epoch, start))
        return Injection(torch.cat(found), originals)

    # ---------------------------------------------------------------------------------------------- ends of epochs

    def _close(self, checkpoint: Checkpoint, listener: Listener, seconds: float) -> None:
        """Measure, log, and go to the next epoch."""
        self.processes.sum([self.sums])
        sums = dict(zip(_SUMS, self.sums.tolist(), strict=True))
        self.demand_finite(sums["loss"])
        self.processes.broadcast([*self.model.buffers()])
        self.average.copy_buffers(self.model)
        line = self._line(sums)
        tracked = line.get("tracked_accuracy")
        if tracked is not None and (self.best is None or tracked >= self.best[0]):
            self.best = (tracked, Weights(self.average.model.state_dict(), self.epoch + 1))
            self.best_is_new = True
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()
        line |= {"images_per_second": sums["images"] / seconds, "seconds": seconds, "memory_gb": self._memory()}
        if self.processes.leads:
            checkpoint.log(line)
            listener.epoch(line)

    def _standing(self) -> Line:
        """The epoch so far, of this process's images."""
        return self._means(dict(zip(_SUMS, self.sums.tolist(), strict=True)))

    def _means(self, sums: dict[str, float]) -> Line:
        """The number of the epoch, and where it has images the means over them."""
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

    def _line(self, sums: dict[str, float]) -> Line:
        """The figures of the epoch that ends."""
        number = (self.epoch + 1) * self.counts.steps - 1
        momentum, rate = momentum_and_rate(
            self.recipe.schedule, number, self.recipe.epochs, self.counts.steps, self.recipe.lr
        )
        line: Line = {
            **self._means(sums),
            "lr": rate,
            "momentum": momentum,
            "real": self.counts.real * self.counts.steps,
            "generated": self.counts.generated * self.counts.steps,
            "injected": self.counts.focus * self.counts.steps,
            "focus": self.batches.focus_count(self.epoch),
        }
        last = self.epoch + 1 == self.recipe.epochs
        if self.sets.test is not None:
            line["test_accuracy"] = self._share(clean_hits, self.sets.test)
            if last or (self.epoch + 1) % TEST_EVERY == 0:
                line["test_robust_accuracy"] = self._robust(self.sets.test, Domain.TEST)
        if self.sets.track is not None:
            line["tracked_accuracy"] = self._robust(self.sets.track, Domain.TRACK)
        return line

    def _robust(self, points: Points, purpose: Domain) -> float:
        return self._share(robust_hits, points, self.recipe, purpose, self.epoch)

    def _share(self, count: Callable[..., torch.Tensor], points: Points, *rest: Any) -> float:
        """An accuracy, counted by all processes together, each on its part."""
        hits = count(self.average.model, points, *rest, share=(self.processes.rank, self.processes.size))
        self.processes.sum([hits])
        return float(hits) / len(points)

    def demand_finite(self, loss: float) -> None:
        """Raise DivergedError where the sum of an epoch's losses is not finite."""
        if not np.isfinite(loss):
            raise DivergedError(
                f"the loss is not finite in epoch {self.epoch + 1}: the last saved state is kept; "
                "a smaller `lr` or another `precision` may help, in a new run"
            )

    def _memory(self) -> float | None:
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device) / 1e9
