"""Statistics of evaluations on the same points, and of several seeds.

Two networks that are evaluated on the same points are compared point by point: a bootstrap over points gives an
interval of the difference of their accuracies, McNemar's exact test the chance of so uneven a split if both were
equally good. That is about these two networks. It says nothing about two ways of training, because a second training
with another seed gives another network: for that, evaluations of several seeds are compared by their means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from datarobust.errors import UsageError

Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Paired:
    """Two networks on the same M points."""

    a: float
    """Accuracy of the first."""
    b: float
    difference: float
    """b minus a."""
    interval: tuple[float, float]
    """95 % of the difference, by a bootstrap over points."""
    only_a: int
    """Points that the first alone has right."""
    only_b: int
    p: float
    """McNemar's exact test, two-sided."""

    def as_json(self) -> dict[str, Any]:
        """Its fields; the interval as a list."""
        return asdict(self) | {"interval": list(self.interval)}


def paired(a: Flags, b: Flags, seed: int = 0, resamples: int = RESAMPLES) -> Paired:
    """Compare which of the same M points two networks have right.

    Drawing M points with replacement draws numbers of points on which only a, only b, or both or none are right: a
    multinomial, which is what is drawn. The interval is that of percentiles.

    Args:
        a: bool (M), whether the first network has each point right.
        b: the same of the second.
        seed: of the bootstrap.
        resamples: how many sets are drawn.

    Raises:
        UsageError: there are no points, or not as many for both.
    """
    if len(a) != len(b) or not len(a):
        raise UsageError(f"{len(a)} and {len(b)} points cannot be compared one by one")
    points, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    random = np.random.Generator(np.random.Philox(seed))
    shares = np.array([only_a, only_b, points - only_a - only_b]) / points
    drawn = random.multinomial(points, shares, size=resamples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / points, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Paired(
        float(a.mean()), float(b.mean()), (only_b - only_a) / points, (float(low), float(high)), only_a, only_b,
        mcnemar(only_a, only_b),
    )  # fmt: skip


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact test of McNemar (1947), two-sided: how likely so uneven a split is if each point falls either way.

    1 where there is nothing to split.
    """
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation (of the sample) and t-interval of the mean over seeds; null where there is one value."""
    numbers = np.asarray(values, np.float64)
    found: dict[str, Any] = {"values": [float(value) for value in numbers], "mean": float(numbers.mean())}
    if len(numbers) < 2:
        return found | {"deviation": None, "interval": None}
    deviation = float(numbers.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(numbers) - 1)) * deviation / len(numbers) ** 0.5
    return found | {"deviation": deviation, "interval": [found["mean"] - half, found["mean"] + half]}


def unpaired(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """The difference of the means of two groups of seeds, with Welch's interval and test.

    Null where a group has one seed, or where no value of either differs from the others.
    """
    one, two = np.asarray(a, np.float64), np.asarray(b, np.float64)
    difference = float(two.mean() - one.mean())
    found: dict[str, Any] = {"difference": difference, "interval": None, "p": None}
    if min(len(one), len(two)) < 2:
        return found
    parts = [group.var(ddof=1) / len(group) for group in (one, two)]
    if (error := float(sum(parts))) == 0.0:
        return found
    freedom = error**2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, (one, two), strict=True))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error**0.5
    p = 2 * float(stats.t.sf(abs(difference) / error**0.5, freedom))
    return found | {"interval": [difference - half, difference + half], "p": p}


def parts_by(distance: npt.NDArray[np.float64], parts: int) -> list[Rows]:
    """Rows in ``parts`` parts of almost equal size, the least robust points first; equal distances by row.

    ``distance`` float64 (M): +inf is most robust; points without a distance (NaN) are in no part.

    Raises:
        UsageError: there are fewer points than parts.
    """
    order = np.argsort(distance, kind="stable")
    order = order[: len(order) - int(np.isnan(distance).sum())]
    if not 1 <= parts <= len(order):
        raise UsageError(f"{len(order)} points do not make {parts} parts")
    return [np.asarray(part, np.int64) for part in np.array_split(order, parts)]


def share(flags: Flags) -> tuple[float, float, float]:
    """A share of M points, and its 95 % interval (Wilson 1927)."""
    found = stats.binomtest(int(flags.sum()), len(flags)).proportion_ci(LEVEL, "wilson")
    return float(flags.mean()), float(found.low), float(found.high)
