"""A focus on chosen points, in two ways (Appendix D).

inject
    The paper's "*": at the start of every epoch PGD-40 examples of points in focus are crafted on the averaged model,
    and every batch has some of them besides its other images, as inputs like any other or as the adversaries of their
    originals.
oversample
    Every point in focus is part of every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from datarobust.networks.classifier import frozen
from datarobust.randomness import Domain, permutation
from datarobust.training.images import Points, to_float
from datarobust.training.measures import attacked
from datarobust.training.recipe import Recipe
from datarobust.types import Rows

SHARE = 128
"""Examples that are crafted at a time."""


def shuffled(seed: int, domain: Domain, epoch: int, rows: Rows, count: int) -> Rows:
    """``count`` of the rows, without replacement as long as it lasts: as many permutations as it takes."""
    rounds = max(1, -(-count // len(rows)))
    if rounds >= 1 << 16:
        raise ValueError(f"{count} draws from {len(rows)} rows")
    drawn = [rows[permutation(seed, domain.of(epoch << 16 | turn), len(rows))] for turn in range(rounds)]
    return np.concatenate(drawn)[:count]


def oversampled(seed: int, epoch: int, available: Rows, focus: Rows, count: int) -> Rows:
    """``count`` rows of an epoch, in order: every point in focus once, the rest drawn from the others."""
    others = np.setdiff1d(available, focus)
    rest = shuffled(seed, Domain.EPOCH_REAL, epoch, others if len(others) else available, count - len(focus))
    rows = np.concatenate([focus, rest])
    return rows[permutation(seed, Domain.EPOCH_OVERSAMPLE.of(epoch), count)]


def injected(seed: int, epoch: int, focus: Rows, count: int) -> Rows:
    """``count`` rows whose examples an epoch injects, in the order of use.

    With 1,024 points, 32 a batch and 25 steps, 800 of them are used in an epoch, others in the next.
    """
    return focus[shuffled(seed, Domain.EPOCH_FOCUS, epoch, np.arange(len(focus), dtype=np.int64), count)]


@dataclass(frozen=True)
class Injection:
    """The examples that an epoch injects, in the order in which it uses them."""

    examples: torch.Tensor
    """float32 (K, C, H, W) in [0,1]."""
    originals: Points
    """(K) the images that they are crafted from, and their labels."""


def craft(model: nn.Module, originals: Points, recipe: Recipe, epoch: int) -> Injection:
    """PGD-40 examples of the points that an epoch injects, on the averaged model."""
    examples = []
    with frozen(model):
        for first in range(0, len(originals), SHARE):
            x, y = to_float(originals.images[first : first + SHARE]), originals.labels[first : first + SHARE]
            examples.append(attacked(model, x, y, recipe, Domain.FOCUS, epoch, first))
    return Injection(torch.cat(examples), originals)
