"""The batch of every step: real, generated and injected images, mixed, shared out and augmented.

Which images make which batch is a function of (seed, epoch, step), so that nothing depends on who resumed when.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from datarobust.randomness import Domain, permutation
from datarobust.training.focus import Injection, injected, oversampled, shuffled
from datarobust.training.images import Points, Stream, augment, to_float
from datarobust.training.recipe import Counts, Recipe
from datarobust.types import Rows


@dataclass(frozen=True)
class Batch:
    """What one process trains on in one step."""

    x: torch.Tensor
    """float32 (b, C, H, W) in [0,1]."""
    y: torch.Tensor
    """int64 (b)."""
    fixed: torch.Tensor | None = None
    """bool (b): rows whose adversary is given, where injected examples stand as adversaries."""
    adversaries: torch.Tensor | None = None
    """float32 like ``x``: the given adversaries at the rows of ``fixed``, anything elsewhere."""


def real_rows(seed: int, epoch: int, available: Rows, count: int) -> Rows:
    """The base set's rows that an epoch trains on, in order.

    A fresh permutation of ``available`` every epoch, drawn without replacement; where an epoch needs more than there
    are, a second permutation follows the first.

    Args:
        seed: of the training.
        epoch: from 0.
        available: rows that are not held out.
        count: images of an epoch.
    """
    return shuffled(seed, Domain.EPOCH_REAL, epoch, available, count)


def mixed(seed: int, step: int, total: int) -> Rows:
    """The order of the images within a batch, so that every group of batch statistics has its share of all kinds."""
    return permutation(seed, Domain.BATCH_MIX.of(step), total)


class Batches:
    """Batches as functions of (seed, epoch, step).

    Args:
        recipe: of the training.
        counts: what it means for these sets.
        base: the base set, uint8, on the device.
        available: rows that are not held out.
        generated: the generated set, or None.
        focus: rows in focus that are not held out.
        share: this process's number and how many there are.
    """

    def __init__(
        self,
        recipe: Recipe,
        counts: Counts,
        base: Points,
        available: Rows,
        generated: Stream | None,
        focus: Rows,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._recipe = recipe
        self._counts = counts
        self._base = base
        self._available = available
        self._generated = generated
        self._focus = focus
        size = counts.total // share[1]
        self.first = share[0] * size
        """Place of this process's first image in the batch."""
        self._last = self.first + size
        self._epoch = -1
        self._real: Rows = np.empty(0, np.int64)

    def originals(self, epoch: int) -> Points:
        """The points whose examples an epoch injects, in the order of use."""
        count = self._counts.focus * self._counts.steps
        return self._base.at(injected(self._recipe.seed, epoch, self._focus, count))

    def focus_count(self, epoch: int) -> int:
        """How many images of an epoch are of the focus set: injected, or drawn because they are oversampled."""
        if self._recipe.focus_mode == "inject":
            return self._counts.focus * self._counts.steps
        return int(np.isin(self._rows(epoch), self._focus).sum())

    def at(self, epoch: int, step: int, injection: Injection | None) -> Batch:
        """This process's part of the batch of a step (0 .. steps - 1) of an epoch (from 0)."""
        counts, seed, number = self._counts, self._recipe.seed, epoch * self._counts.steps + step
        real = self._base.at(self._rows(epoch)[step * counts.real : (step + 1) * counts.real])
        images, labels = [real.images], [real.labels]
        if self._generated is not None:
            drawn = Points.of(*self._generated.draw(number * counts.generated, counts.generated))
            images.append(drawn.images.to(real.images.device))
            labels.append(drawn.labels.to(real.labels.device))
        if injection is not None:
            part = slice(step * counts.focus, (step + 1) * counts.focus)
            images.append(injection.originals.images[part])
            labels.append(injection.originals.labels[part])
        order = mixed(seed, number, counts.total)[self.first : self._last]
        index = torch.from_numpy(order).to(real.images.device)
        plain, y = torch.cat(images).index_select(0, index), torch.cat(labels).index_select(0, index)
        x = augment(plain, self._recipe.augment, seed, number, self.first)
        if injection is None:
            return Batch(x, y)
        # Examples were crafted from images as they are: neither they nor their originals are cropped or flipped.
        place = index - (counts.total - counts.focus)
        fixed = place >= 0
        examples = injection.examples[part].index_select(0, place.clamp(min=0))
        if self._recipe.inject_as == "input":
            return Batch(_where(fixed, examples, x), y)
        return Batch(_where(fixed, to_float(plain), x), y, fixed, examples)

    def _rows(self, epoch: int) -> Rows:
        """The real images of an epoch."""
        if epoch != self._epoch:
            seed, count = self._recipe.seed, self._counts.real * self._counts.steps
            if self._recipe.focus_mode == "oversample" and len(self._focus):
                self._real = oversampled(seed, epoch, self._available, self._focus, count)
            else:
                self._real = real_rows(seed, epoch, self._available, count)
            self._epoch = epoch
        return self._real


def _where(rows: torch.Tensor, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """``images`` at these rows, bool (b), and ``others`` elsewhere."""
    return torch.where(rows.view(-1, 1, 1, 1), images, others).contiguous(memory_format=torch.channels_last)
