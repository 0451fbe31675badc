"""The batch of every step: real, generated and injected images, mixed, shared out and augmented.

Which images make which batch is a function of (seed, epoch, step), so that nothing depends on who resumed when.

A focus on chosen points is one of two (Appendix D). *inject* is the paper's "*": every batch has examples of points in
focus besides its other images, as inputs like any other or as the adversaries of their originals. *oversample*: every
point in focus is part of every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from datarobust.randomness import Domain, permutation
from datarobust.training.images import Points, Stream, augment, to_float
from datarobust.training.recipe import Counts, Recipe
from datarobust.types import Rows


def shuffled(seed: int, domain: Domain, epoch: int, rows: Rows, count: int) -> Rows:
    """``count`` of the rows, without replacement as long as it lasts: as many permutations as it takes."""
    rounds = max(1, -(-count // len(rows)))
    if rounds >= 1 << 16:
        raise ValueError(f"{count} draws from {len(rows)} rows")
    drawn = [rows[permutation(seed, domain.of(epoch << 16 | turn), len(rows))] for turn in range(rounds)]
    return np.concatenate(drawn)[:count]


def real_rows(seed: int, epoch: int, available: Rows, count: int) -> Rows:
    """The ``count`` rows that an epoch trains on, in order: a fresh permutation of those available."""
    return shuffled(seed, Domain.EPOCH_REAL, epoch, available, count)


def oversampled(seed: int, epoch: int, available: Rows, focus: Rows, count: int) -> Rows:
    """``count`` rows of an epoch, in order: every point in focus once, the rest drawn from the others."""
    others = np.setdiff1d(available, focus)
    rest = real_rows(seed, epoch, others if len(others) else available, count - len(focus))
    return np.concatenate([focus, rest])[permutation(seed, Domain.EPOCH_OVERSAMPLE.of(epoch), count)]


def injected(seed: int, epoch: int, focus: Rows, count: int) -> Rows:
    """``count`` rows whose examples an epoch injects, in the order of use."""
    return focus[shuffled(seed, Domain.EPOCH_FOCUS, epoch, np.arange(len(focus), dtype=np.int64), count)]


def mixed(seed: int, step: int, total: int) -> Rows:
    """The order of the images within a batch, so that every group of batch statistics has its share of all kinds."""
    return permutation(seed, Domain.BATCH_MIX.of(step), total)


@dataclass(frozen=True)
class Batch:
    """What one process trains on in one step."""

    x: torch.Tensor  # float32 (b, C, H, W) in [0,1]
    y: torch.Tensor  # int64 (b)
    fixed: torch.Tensor | None = None
    """bool (b): rows whose adversary is given, where injected examples stand as adversaries."""
    adversaries: torch.Tensor | None = None
    """float32 like ``x``: the given adversaries at the rows of ``fixed``, anything elsewhere."""


@dataclass(frozen=True)
class Injection:
    """The examples that an epoch injects, in the order in which it uses them."""

    examples: torch.Tensor  # float32 (K, C, H, W) in [0,1]
    originals: Points  # (K) the images that they are crafted from, and their labels


class Batches:
    """Batches as functions of (seed, epoch, step).

    Rows that are available or in focus are not held out; ``share`` is this process's number and how many there are.
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
        self._recipe, self._counts, self._base, self._available = recipe, counts, base, available
        self._generated, self._focus = generated, focus
        size = counts.total // share[1]
        self.first = share[0] * size  # place of this process's first image in the batch
        self._last = self.first + size
        self._real: tuple[int, Rows] = (-1, np.empty(0, np.int64))  # an epoch, and its real images

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
        sets = [self._base.at(self._rows(epoch)[step * counts.real : (step + 1) * counts.real])]
        device = sets[0].images.device
        if self._generated is not None:
            sets.append(Points.of(*self._generated.draw(number * counts.generated, counts.generated)).to(device))
        part = slice(step * counts.focus, (step + 1) * counts.focus)
        if injection is not None:
            sets.append(Points(injection.originals.images[part], injection.originals.labels[part]))
        index = torch.from_numpy(mixed(seed, number, counts.total)[self.first : self._last]).to(device)
        plain = torch.cat([points.images for points in sets]).index_select(0, index)
        y = torch.cat([points.labels for points in sets]).index_select(0, index)
        x = augment(plain, self._recipe.augment, seed, number, self.first)
        if injection is None:
            return Batch(x, y)
        # Examples were crafted from images as they are: neither they nor their originals are cropped or flipped.
        which = index - (counts.total - counts.focus)
        fixed = which >= 0
        examples = injection.examples[part].index_select(0, which.clamp(min=0))
        others = examples if self._recipe.inject_as == "input" else to_float(plain)
        x = torch.where(fixed.view(-1, 1, 1, 1), others, x).contiguous(memory_format=torch.channels_last)
        return Batch(x, y) if self._recipe.inject_as == "input" else Batch(x, y, fixed, examples)

    def _rows(self, epoch: int) -> Rows:
        """The real images of an epoch."""
        if epoch != self._real[0]:
            seed, count = self._recipe.seed, self._counts.real * self._counts.steps
            if self._recipe.focus_mode == "oversample" and len(self._focus):
                self._real = epoch, oversampled(seed, epoch, self._available, self._focus, count)
            else:
                self._real = epoch, real_rows(seed, epoch, self._available, count)
        return self._real[1]
