"""The kernel distance of two sets of features, KID (Bińkowski et al. 2018): unbiased at every number of points.

The squared maximum mean discrepancy under the kernel ``k(x, y) = (x·y/D + 1)³``. Its estimate over N points is an
average over pairs of different points, ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``, and may be negative. Where
y_i was made of x_i, such a pair is no pair of independent points, and the terms ``k(x_i, y_i)`` are left out too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from datarobust.errors import DataError
from datarobust.types import Array, Progress

SUBSETS, SUBSET = 100, 1000
"""Default number of subsets, and of points in each."""
_BLOCK = 256


@dataclass(frozen=True)
class Kid:
    """An estimate of the squared maximum mean discrepancy."""

    value: float
    """Mean over the subsets."""
    deviation: float | None
    """Standard deviation over the subsets; None for one. They overlap: this is no error of the mean."""
    subsets: int
    points: int
    """Points of each set in a subset."""

    def as_json(self) -> dict[str, Any]:
        """Names and values."""
        return asdict(self)


def mmd(x: Array, y: Array, paired: bool = False) -> float:
    """The unbiased estimate from two sets (N, D) and (M, D), float64.

    Args:
        x: features, N at least 2.
        y: features, M at least 2.
        paired: row i of y was made of row i of x (N = M, at least 2).

    Raises:
        DataError: fewer than two points.
    """
    if min(len(x), len(y)) < 2:
        raise DataError(f"KID is of two points or more a set, not of {min(len(x), len(y))}")
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return _others(x, x) + _others(y, y) - 2 * (_others(x, y) if paired else _all(x, y))


def kid(
    x: Array,
    y: Array,
    paired: bool = False,
    *,
    subsets: int = SUBSETS,
    points: int = SUBSET,
    seed: int = 0,
    progress: Progress = iter,
) -> Kid:
    """KID over random subsets; over all points, once, where a subset would have all of them.

    Args:
        x: features (N, D).
        y: features (M, D).
        paired: row i of y was made of row i of x; a subset then takes the same rows of both.
        subsets: how many.
        points: in each, at most; without repetitions.
        seed: of the choice.
        progress: wraps the subsets.

    Raises:
        DataError: fewer than two points.
    """
    size = min(points, len(x), len(y))
    if size == len(x) == len(y):
        return Kid(mmd(x, y, paired), None, 1, size)
    estimates = []
    for number in progress(range(subsets)):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))
        rows = random.choice(len(x), size, replace=False)
        others = rows if paired else random.choice(len(y), size, replace=False)
        estimates.append(mmd(x[rows], y[others], paired))
    return Kid(float(np.mean(estimates)), float(np.std(estimates)), subsets, size)


def _all(x: Array, y: Array) -> float:
    """Mean of k(x, y)."""
    return float(sum(_kernel(x[at : at + _BLOCK], y).sum() for at in range(0, len(x), _BLOCK)) / (len(x) * len(y)))


def _others(x: Array, y: Array) -> float:
    """Mean of k(x_i, y_j), i and j different."""
    same = (np.einsum("id,id->i", x, y) / x.shape[1] + 1) ** 3
    return (_all(x, y) * len(x) ** 2 - float(same.sum())) / (len(x) * (len(x) - 1))


def _kernel(x: Array, y: Array) -> Array:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)
