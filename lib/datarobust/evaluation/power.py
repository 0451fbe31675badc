"""What a comparison of evaluations could show: the smallest true difference, and the sizes that a gain of 0.2 needs.

A true difference of two accuracies is detectable where the test, two-sided at 5 %, finds it and its direction with
probability 80 %, the power. Sizes decide that, not the difference that was observed:

=======================  =============================================================================================
Two networks on the      McNemar's exact test. Its power is exact, too: a sum over the number of discordant points,
same points              those that only one of the two has right (Duffy 1984).
Two groups of seeds      Welch's test, the deviations between seeds taken for the true ones. Its power is the mean over
                         the deviations that samples have. The usual noncentral t distribution has fixed degrees of
                         freedom instead: what it calls 80 % is 70 % with three seeds of each group.
=======================  =============================================================================================
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from datarobust.types import Floats

from .statistics import LEVEL, Flags, spread, welch

POWER = 0.8
GAIN = 0.002
"""The paper's: 0.2 percentage points."""
_QUANTILES = (np.arange(50) + 0.5) / 50  # of the variance of a sample
_TAIL = 1e-10  # probability of the numbers of discordant points that the sum leaves out, at either end


def independent(accuracy: float) -> float:
    """The share of discordant points of two networks of one accuracy that fail independently of each other.

    Networks that are trained alike fail on the same points more often: fewer are discordant, and more is detectable.
    """
    return 2 * accuracy * (1 - accuracy)


def mcnemar_power(points: int, discordant: float, difference: float) -> float:
    """How likely McNemar's exact test finds a positive true ``difference`` of two accuracies, and its direction.

    ``discordant`` is the share of points that only one network has right, of which a difference takes at least as many.
    """
    discordant = max(discordant, difference)
    number = stats.binom(points, discordant)
    counts = np.arange(number.ppf(_TAIL), number.isf(_TAIL) + 1)
    most = stats.binom.ppf((1 - LEVEL) / 2, counts, 0.5) - 1  # so many may speak against a significant difference
    against = (1 - difference / discordant) / 2
    return float(number.pmf(counts) @ stats.binom.cdf(most, counts, against))


def detectable_by_points(points: int, discordant: float) -> float | None:
    """The smallest true difference that McNemar's exact test detects; None where no difference is: below 6 points."""
    if mcnemar_power(points, discordant, 1) < POWER:
        return None
    return float(optimize.brentq(lambda difference: mcnemar_power(points, discordant, difference) - POWER, 1e-9, 1))


def points_needed(discordant: float, difference: float = GAIN) -> int:
    """How many points McNemar's test needs to detect a difference, as Connor (1987) approximates it.

    For the paper's gain the exact test needs up to 6 % more, most where the share of discordant points is small.
    """
    discordant = max(discordant, difference)
    of_test, of_power = stats.norm.ppf([(1 + LEVEL) / 2, POWER])
    root = of_test * math.sqrt(discordant) + of_power * math.sqrt(discordant - difference**2)
    return math.ceil(float(root / difference) ** 2)


def welch_power(deviations: Sequence[float], seeds: Sequence[int], difference: float) -> float:
    """How likely Welch's test finds a positive true ``difference`` of two means over seeds, and its direction.

    One deviation between seeds and one number of seeds for each group; not all deviations are 0.
    """
    least, error = _least_significant(deviations, seeds)
    return float(special.ndtr((difference - least) / error).mean())


def detectable_by_seeds(deviations: Sequence[float], seeds: Sequence[int]) -> float | None:
    """The smallest true difference that Welch's test detects; None where seeds do not differ."""
    if not any(deviations):
        return None
    least, error = _least_significant(deviations, seeds)
    high = float(least.max()) + 9 * error
    return float(optimize.brentq(lambda difference: special.ndtr((difference - least) / error).mean() - POWER, 0, high))


def seeds_needed(deviations: Sequence[float], difference: float = GAIN) -> int | None:
    """How many seeds of each group Welch's test needs to detect a difference; None where seeds do not differ."""
    if not any(deviations):
        return None
    enough = range(2, math.ceil(16 / difference**2))
    return enough[bisect_left(enough, True, key=lambda n: welch_power(deviations, [n, n], difference) >= POWER)]


def _least_significant(deviations: Sequence[float], seeds: Sequence[int]) -> tuple[Floats, float]:
    """The least significant difference for equally likely deviations of two samples; the true error of a difference."""
    samples = [
        deviation**2 * stats.chi2.ppf(_QUANTILES, size - 1) / (size - 1)
        for deviation, size in zip(deviations, seeds, strict=True)
    ]
    error, freedom = welch([samples[0][:, None], samples[1]], seeds)
    true_error, _ = welch([deviation**2 for deviation in deviations], seeds)
    return special.stdtrit(freedom, (1 + LEVEL) / 2) * error, true_error


def attainable(a: Sequence[Flags], b: Sequence[Flags]) -> dict[str, Any]:
    """What two networks, or two groups of several seeds, could show, as JSON; ``b`` empty: ``a`` against its like.

    ``detectable`` is the smallest true difference, ``points_for_gain`` or ``seeds_for_gain`` (of each group) the size
    that the ``gain`` needs. ``discordant`` is the share of discordant points, or for one network alone that of
    :func:`independent` ones. Null where a group of several has one seed, or where no value differs from the others.
    """
    result: dict[str, Any] = {"power": POWER, "gain": GAIN}
    if len(a) == 1 and len(b) <= 1:
        discordant = float((a[0] != b[0]).mean()) if b else independent(float(a[0].mean()))
        detectable = detectable_by_points(len(a[0]), discordant)
        sizes = {"discordant": discordant, "points_for_gain": points_needed(discordant)}
        return result | {"detectable": detectable, **sizes}
    deviations = [spread([float(flags.mean()) for flags in group])["deviation"] for group in (a, b or a)]
    if None in deviations:
        return result | {"detectable": None, "seeds_for_gain": None}
    detectable = detectable_by_seeds(deviations, [len(a), len(b or a)])
    return result | {"detectable": detectable, "seeds_for_gain": seeds_needed(deviations)}
