"""The batch of every step: real, generated and injected images, mixed, shared out and augmented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from datarobust.training.augment import augment, to_float
from datarobust.training.images import Points, Stream
from datarobust.training.order import focus_rows, mixed, real_rows
from datarobust.training.recipe import Counts, Recipe

Rows = npt.NDArray[np.int64]


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


@dataclass(frozen=True)
class Injection:
    """Examples of the focus set that were crafted at the start of an epoch (Appendix D)."""

    examples: torch.Tensor
    """float32 (K, C, H, W) in [0,1]: in the order in which the epoch uses them."""
    originals: Points
    """(K) the images that they were crafted from, and their labels."""


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
        self._first, self._last = share[0] * size, (share[0] + 1) * size
        self._epoch = -1
        self._real: Rows = np.empty(0, np.int64)

    @property
    def first(self) -> int:
        """Place of this process's first image in the batch."""
        return self._first

    def injected(self, epoch: int) -> Rows:
        """Rows of the base set whose examples an epoch injects, in the order of use."""
        count = self._counts.focus * self._counts.steps
        return self._focus[focus_rows(self._recipe.seed, epoch, len(self._focus), count)]

    def focus_count(self, epoch: int) -> int:
        """How many images of an epoch are of the focus set: injected, or drawn because they are oversampled."""
        if self._recipe.focus_mode == "inject":
            return self._counts.focus * self._counts.steps
        self._enter(epoch)
        return int(np.isin(self._real, self._focus).sum())

    def at(self, epoch: int, step: int, injection: Injection | None) -> Batch:
        """This process's part of the batch of a step (0 .. steps - 1) of an epoch (from 0)."""
        counts, number = self._counts, epoch * self._counts.steps + step
        images, labels = self._plain(epoch, step, number)
        if injection is not None:
            part = slice(step * counts.focus, (step + 1) * counts.focus)
            images = torch.cat([images, injection.originals.images[part]])
            labels = torch.cat([labels, injection.originals.labels[part]])
        order = mixed(self._recipe.seed, number, counts.total)[self._first : self._last]
        index = torch.from_numpy(order).to(images.device)
        chosen, y = images.index_select(0, index), labels.index_select(0, index)
        x = augment(chosen, self._recipe.augment, self._recipe.seed, number, self._first)
        return Batch(x, y) if injection is None else self._inject(x, y, chosen, index, injection.examples[part])

    def _plain(self, epoch: int, step: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Real and generated images of a step, uint8, and their labels."""
        counts = self._counts
        self._enter(epoch)
        points = self._base.at(self._real[step * counts.real : (step + 1) * counts.real])
        if self._generated is None:
            return points.images, points.labels
        images, labels = self._generated.draw(number * counts.generated, counts.generated)
        more = Points.of(images, labels).to(points.labels.device)
        return torch.cat([points.images, more.images]), torch.cat([points.labels, more.labels])

    def _enter(self, epoch: int) -> None:
        """Draw the real images of an epoch."""
        if epoch != self._epoch:
            focus = self._focus if self._recipe.focus_mode == "oversample" else None
            total = self._counts.real * self._counts.steps
            self._real, self._epoch = real_rows(self._recipe.seed, epoch, self._available, total, focus), epoch

    def _inject(
        self, x: torch.Tensor, y: torch.Tensor, plain: torch.Tensor, index: torch.Tensor, examples: torch.Tensor
    ) -> Batch:
        """Put crafted examples in the places of their originals: as inputs, or as the adversaries of those.

        They were crafted from images as they are, so neither they nor their originals are cropped or flipped.
        """
        place = index - (self._counts.total - self._counts.focus)
        fixed = place >= 0
        where = fixed.view(-1, 1, 1, 1)
        crafted = examples.index_select(0, place.clamp(min=0))
        if self._recipe.inject_as == "input":
            return Batch(torch.where(where, crafted, x).contiguous(memory_format=torch.channels_last), y)
        originals = torch.where(where, to_float(plain), x).contiguous(memory_format=torch.channels_last)
        return Batch(originals, y, fixed, crafted)
