"""Which points are on a map: a robustness-stratified sample, and what it must be."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError, UsageError
from datarobust.randomness import Domain, row_keys

Numbers = npt.NDArray[np.float64]

FEWEST: Final = 3
"""Points of a map: two are a line."""


def stratified(robustness: Numbers, count: int, seed: int) -> npt.NDArray[np.int64]:
    """A robustness-stratified sample (Section 4, 'Experimental Setup'): one point of each of ``count`` equal strata.

    The N points of finite robustness are put in order by (robustness, row). Stratum i, from 0, holds the ranks from
    floor(i N / count) up to, not including, floor((i + 1) N / count), so sizes differ by at most one. Of each stratum
    of s points that of place floor(k s / 2^64) is taken, k the i-th random key of the seed: uniform up to s / 2^64.

    Args:
        robustness: (N',) float64, r(x); points whose r is infinite or NaN are in no stratum.
        count: strata, from 1 to N.
        seed: 0 to 2**64 - 1.

    Returns:
        int64 (count,), distinct rows, least robust first.

    Raises:
        UsageError: fewer than ``count`` points have a finite robustness; no such seed.
    """
    demand_seed(seed)
    ordered = np.argsort(robustness, kind="stable")
    ordered = ordered[np.isfinite(robustness[ordered])]
    if not 1 <= count <= len(ordered):
        raise UsageError(
            f"a sample of {count:,} points cannot be drawn, as {len(ordered):,} have a finite distance: "
            f"choose `n` from 1 to {len(ordered):,}"
        )
    bounds = [place * len(ordered) // count for place in range(count + 1)]
    keys = row_keys(seed, Domain.MAP_SAMPLE.of(0), 0, count).tolist()
    places = [low + (key * (high - low) >> 64) for key, low, high in zip(keys, bounds[:-1], bounds[1:], strict=True)]
    return ordered[places].astype(np.int64)


def demand_seed(seed: int) -> None:
    """Raise UsageError where random numbers cannot be a function of the seed."""
    if not 0 <= seed < 1 << 64:
        raise UsageError(f"`seed` {seed}: seeds are from 0 to 2**64 - 1")


def demand_points(count: int) -> None:
    """Raise DataError where there are too few points for a map."""
    if count < FEWEST:
        raise DataError(f"{count} point{'' if count == 1 else 's'} make no map: it takes {FEWEST} or more")


def demand_different(largest: float) -> None:
    """Raise DataError where the largest difference of two points is 0."""
    if largest == 0.0:
        raise DataError("all points of the sample are equal, so there is nothing to map")
