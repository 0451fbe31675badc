"""Sensitivity values in the order in which they are drawn, and which of them to draw.

The sensitivity of a point is 1/r(x), r(x) its distance to the nearest point with another label (Section 3,
Algorithm 1), distances in [0, 1] units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from datarobust.errors import DataError, UsageError
from datarobust.norms import norm_of

Scale = Literal["absolute", "relative"]

#: For :func:`thinned`, as a fraction of the panel: a twelfth of a point, less than a tenth of a line's width.
_TOLERANCE: Final = 1 / 2048


@dataclass(frozen=True)
class Curve:
    """The points of one set in the order of the curve; the arrays have shape (n,), n the number of points drawn.

    Attributes:
        name: Whose points they are; any text.
        norm: ``"l2"`` or ``"linf"``.
        index: int64, the points' rows in their set.
        distance: float64, r(x) in descending order, in [0, 1] units; +inf where no point has another label.
        least: How many of the least robust points were left out on request.
        equal: How many others were left out because r(x) = 0: an equal point has another label, and 1/r is infinite.
        dropped: How many were left out because the ranking dropped them (r(x) is NaN).
    """

    name: str
    norm: str
    index: NDArray[np.int64]
    distance: NDArray[np.float64]
    least: int = 0
    equal: int = 0
    dropped: int = 0

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """1/r(x), ascending; 0 where no point has another label."""
        values: NDArray[np.float64] = np.reciprocal(self.distance)
        return values

    @property
    def relative(self) -> NDArray[np.float64]:
        """Sensitivity divided by the largest that is drawn, which is r_min/r(x).

        Raises:
            DataError: All sensitivities are 0.
        """
        if np.isinf(self.distance[-1]):
            raise DataError(
                f"no point of {self.name!r} has a neighbour with another label, so there is no largest sensitivity to "
                "divide by: draw absolute values only."
            )
        values: NDArray[np.float64] = self.distance[-1] / self.distance
        return values

    @property
    def fraction(self) -> NDArray[np.float64]:
        """The place of each point on the horizontal axis, (rank - 1/2)/n: the middle of its share of [0, 1]."""
        return (np.arange(len(self.index), dtype=np.float64) + 0.5) / len(self.index)

    def values(self, scale: Scale) -> NDArray[np.float64]:
        """:attr:`sensitivity` or :attr:`relative`."""
        return self.sensitivity if scale == "absolute" else self.relative

    @property
    def left_out(self) -> str:
        """What is missing from the curve, in words; empty where nothing is."""
        parts = [
            f"{self.least:,} least robust" if self.least else "",
            f"{self.equal:,} at r = 0" if self.equal else "",
            f"{self.dropped:,} dropped" if self.dropped else "",
        ]
        return ", ".join(part for part in parts if part)


def ordered(name: str, norm: str, distance: NDArray[np.float64], *, without_least: int = 0) -> Curve:
    """Bring the distances of one set into the order of its curve.

    Points that were dropped from the ranking (NaN) do not count.  Of the others the ``without_least`` least robust
    are left out first (the paper: 40 for CIFAR-100 and EMNIST; among ties the lower index goes first), then whatever
    still has distance 0, whose sensitivity is infinite.

    Args:
        name: Whose points they are.
        norm: ``"l2"`` or ``"linf"``.
        distance: (N,) float64, r(x) in [0, 1] units, +inf where no point has another label, NaN where dropped.
        without_least: How many of the least robust points to leave out.

    Raises:
        DataError: A distance is negative, or no point is left to draw.
        UsageError: The norm is unknown, or ``without_least`` is negative.
    """
    norm_of(norm)
    if without_least < 0:
        raise UsageError(f"cannot leave out {without_least} points: give 0 or more.")
    if distance.ndim != 1:
        raise DataError(f"the distances of {name!r} have shape {distance.shape}, not (N,).")
    negative = np.flatnonzero(distance < 0)
    if negative.size:
        first = int(negative[0])
        raise DataError(
            f"point {first} of {name!r} has the negative distance {distance[first]}: make the ranking anew."
        )
    kept = np.flatnonzero(~np.isnan(distance))
    order = kept[np.argsort(distance[kept], kind="stable")][without_least:]
    equal = int(np.count_nonzero(distance[order] == 0.0))
    order = order[equal:][::-1]
    if not order.size:
        raise DataError(f"no point of {name!r} is left to draw, out of {len(distance):,}.")
    return Curve(
        name=name,
        norm=norm,
        index=order.astype(np.int64),
        distance=np.ascontiguousarray(distance[order], dtype=np.float64),
        least=min(without_least, len(kept)),
        equal=equal,
        dropped=len(distance) - len(kept),
    )


def thinned(values: NDArray[np.float64], tolerance: float = _TOLERANCE) -> NDArray[np.intp]:
    """Which points of a curve to draw, so that vector pictures stay small and look the same.

    The rule of Douglas and Peucker ("Algorithms for the reduction of the number of points required to represent a
    digitized line or its caricature", 1973): between two kept points, from the two ends on, the point farthest from
    the line that joins them is kept too while it is farther than ``tolerance``.  So no point that is left out lies
    farther than that from what is drawn, in a panel of width 1 and the height of the curve's range, and both ends
    stay.  For 700,000 smooth values it leaves a few dozen; the steps of l_inf distances keep their corners.

    Args:
        values: (n,) float64, ascending, finite, evenly spaced along the panel's width.
        tolerance: As a fraction of the panel.

    Returns:
        The kept positions, (m,), ascending.
    """
    count = len(values)
    if count <= 2:
        return np.arange(count)
    across = np.linspace(0.0, 1.0, count)
    span = float(np.ptp(values))
    up = (values - values.min()) / span if span > 0 else np.zeros(count)
    kept = np.zeros(count, dtype=np.bool_)
    kept[[0, -1]] = True
    pieces = [(0, count - 1)]
    while pieces:
        first, last = pieces.pop()
        if last - first < 2:
            continue
        run, rise = across[last] - across[first], up[last] - up[first]
        inside = slice(first + 1, last)
        off = np.abs((across[inside] - across[first]) * rise - (up[inside] - up[first]) * run)
        farthest = int(off.argmax())
        if off[farthest] > tolerance * np.hypot(run, rise):
            middle = first + 1 + farthest
            kept[middle] = True
            pieces += [(first, middle), (middle, last)]
    return np.flatnonzero(kept)


def table(curves: Sequence[Curve]) -> Iterator[str]:
    """All values behind the figure as lines of a TSV file, a header first, then curve by curve in its order.

    Columns: rank (1 is the most robust), fraction, sensitivity, set, norm, index (row in the set), distance.  Numbers
    are written so that reading gives them back exactly.
    """
    yield "rank\tfraction\tsensitivity\tset\tnorm\tindex\tdistance\n"
    for curve in curves:
        fixed = f"\t{' '.join(curve.name.split())}\t{curve.norm}\t"
        columns = (curve.fraction.tolist(), curve.sensitivity.tolist(), curve.index.tolist(), curve.distance.tolist())
        for rank, (fraction, value, index, distance) in enumerate(zip(*columns, strict=True), 1):
            yield f"{rank}\t{fraction!r}\t{value!r}{fixed}{index}\t{distance!r}\n"
