"""The batch of every step: real, generated and injected images, mixed, shared out and augmented.

Which images make which batch is a function of (seed, epoch, step), so that nothing depends on who resumed when.

A focus on chosen points is one of three. *fixed* is Section 4's: points in focus are part of every epoch, more often
than others, and their adversaries are PGD-40's. *oversample* has the first of these two, not the second: their
adversaries are those of the training attack. *inject* is the paper's "*" (Appendix D): every batch has PGD-40 examples
of points in focus besides its other images, as inputs like any other or as the adversaries of their originals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from datarobust.devices import to_device
from datarobust.randomness import Domain, permutation
from datarobust.training.images import Points, Stream, augment, to_float
from datarobust.training.recipe import Counts, Recipe
from datarobust.types import Images, Rows


def shuffled(seed: int, domain: Domain, epoch: int, rows: Rows, count: int) -> Rows:
    """``count`` of the rows, in an epoch's random order; none twice before all have been drawn once."""
    rounds = max(1, -(-count // len(rows)))
    if rounds >= 1 << 16:
        raise ValueError(f"{count} draws from {len(rows)} rows")
    drawn = [rows[permutation(seed, domain.of(epoch << 16 | turn), len(rows))] for turn in range(rounds)]
    return np.concatenate(drawn)[:count]


def oversampled(seed: int, epoch: int, available: Rows, focus: Rows, count: int, drawn: float) -> Rows:
    """``count`` rows of an epoch, in order; over many epochs ``drawn`` of each are of points in focus.

    Epoch e has floor((e + 1) drawn + 1/2) - floor(e drawn + 1/2) of them: the sum is never off by more than 1/2.
    """
    share = math.floor((epoch + 1) * drawn + 0.5) - math.floor(epoch * drawn + 0.5)
    rows = shuffled(seed, Domain.EPOCH_FOCUS, epoch, focus, share)
    if share < count:
        others = available[~np.isin(available, focus)]
        rows = np.concatenate([rows, shuffled(seed, Domain.EPOCH_REAL, epoch, others, count - share)])
    return rows[permutation(seed, Domain.EPOCH_OVERSAMPLE.of(epoch), count)]


@dataclass(frozen=True)
class Batch:
    """What one process trains on in one step."""

    x: torch.Tensor  # float32 (b, C, H, W) in [0,1]
    y: torch.Tensor  # int64 (b)
    fixed: torch.Tensor | None = None
    """bool (b): rows whose adversary is given: an injected example, or that of a point in focus."""
    adversaries: torch.Tensor | None = None
    """float32 like ``x``: the given adversaries at the rows of ``fixed``, anything elsewhere."""


@dataclass(frozen=True)
class Draw:
    """The random choices of a step, in memory of the processor; b is the number of images of this process."""

    number: int  # of the step in the training
    rows: Rows  # of the dataset: the real images of the batch, then the originals of the injected examples
    generated: tuple[Images, Rows] | None  # images and labels of this process
    index: Rows  # (b) each image among those at hand: those of ``rows``, then the generated ones
    places: Rows  # (b) its example among the crafted ones; -1: it has none


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
        none = np.empty(0, np.int64)
        self._drawn = (-1, none, none.astype(bool), none)  # an epoch, and what it draws (`_epoch`)

    def originals(self, epoch: int) -> Points | None:
        """The points whose PGD-40 examples an epoch uses, in the order of use; None where it uses none."""
        *_, rows = self._epoch(epoch)
        return self._base.at(rows) if len(rows) else None

    def draws(self, epoch: int) -> tuple[int, int]:
        """How many images of an epoch are of points in focus, injected ones too, and how many of other real points."""
        rows, in_focus, _ = self._epoch(epoch)
        count = int(in_focus.sum())
        return count + self._counts.injected * self._counts.steps, len(rows) - count

    def draw(self, epoch: int, step: int) -> Draw:
        """The random choices of a step (0 .. steps - 1) of an epoch (from 0); a thread may call it ahead of time."""
        recipe, counts, number = self._recipe, self._counts, epoch * self._counts.steps + step
        rows, in_focus, crafted = self._epoch(epoch)
        real = slice(step * counts.real, (step + 1) * counts.real)
        injected = np.arange(step * counts.injected, (step + 1) * counts.injected)
        # The batch is mixed, so that every group of batch statistics has its share of all kinds.
        order = permutation(recipe.seed, Domain.BATCH_MIX.of(number), counts.total)[self.first : self._last]
        end = counts.real + counts.generated
        index, drawn = np.where(order < end, order, order - counts.generated), None
        if self._generated is not None:  # of the generated images this process reads its own alone
            generated = (counts.real <= order) & (order < end)
            own = order[generated] - counts.real
            drawn = self._generated.draw(number * counts.generated, counts.generated, own)
            index[generated] = counts.real + counts.injected + np.arange(len(own))
        places = np.full(counts.total, -1)
        if recipe.focus_mode == "fixed":
            of_real = in_focus[: real.stop].cumsum()[real] - 1
            places[: counts.real] = np.where(in_focus[real], of_real, -1)
        places[end:] = injected
        return Draw(number, np.concatenate([rows[real], crafted[injected]]), drawn, index, places[order])

    def at(self, epoch: int, step: int, examples: torch.Tensor | None, draw: Draw | None = None) -> Batch:
        """This process's part of the batch of a step (0 .. steps - 1) of an epoch (from 0); ``draw`` is :meth:`draw`'s.

        ``examples``, float32 (K, C, H, W) in [0,1], are those crafted from the K :meth:`originals`. Nothing waits for
        an accelerator.
        """
        recipe, draw = self._recipe, draw or self.draw(epoch, step)
        at_hand = self._base.at(draw.rows)
        device = at_hand.images.device
        if draw.generated is not None:
            images, labels = (to_device(array, device) for array in draw.generated)
            at_hand = Points(torch.cat([at_hand.images, images]), torch.cat([at_hand.labels, labels]))
        own = at_hand.at(draw.index)
        x = augment(own.images, recipe.augment, recipe.seed, draw.number, self.first)
        if examples is None:
            return Batch(x, own.labels)
        # Examples were crafted from images as they are: neither they nor their originals are cropped or flipped.
        place = to_device(draw.places, device)
        fixed = place >= 0
        adversaries = examples.index_select(0, place.clamp(min=0))
        as_input = recipe.focus_mode == "inject" and recipe.inject_as == "input"
        others = adversaries if as_input else to_float(own.images)
        x = torch.where(fixed.view(-1, 1, 1, 1), others, x).contiguous(memory_format=torch.channels_last)
        return Batch(x, own.labels) if as_input else Batch(x, own.labels, fixed, adversaries)

    def _epoch(self, epoch: int) -> tuple[Rows, npt.NDArray[np.bool_], Rows]:
        """The real images of an epoch, which of them are in focus, and the images that it crafts examples from."""
        drawn = self._drawn  # at once: a thread may draw for the next epoch
        if epoch != drawn[0]:
            recipe, counts, crafted = self._recipe, self._counts, np.empty(0, np.int64)
            count, focus = counts.real * counts.steps, self._focus
            if counts.emphasis is None or recipe.focus_mode == "inject":
                rows = shuffled(recipe.seed, Domain.EPOCH_REAL, epoch, self._available, count)
            else:
                rows = oversampled(recipe.seed, epoch, self._available, focus, count, counts.emphasis.drawn)
            in_focus = np.isin(rows, focus)
            if recipe.focus_mode == "fixed":
                crafted = rows[in_focus]
            elif counts.injected:
                crafted = shuffled(recipe.seed, Domain.EPOCH_FOCUS, epoch, focus, counts.injected * counts.steps)
            self._drawn = drawn = epoch, rows, in_focus, crafted
        return drawn[1:]
