"""Sensitivity of one set minus that of another, in the order of the first: the values of Figures 2 (b) and 5 (b).

The sensitivity of a point is 1/r(x), see :mod:`datarobust.figures.curves`.  Two sets are compared in one of two ways:

``point``
    The sets hold the same points in the same order under other labels, or the points were held against other sets:
    each point has two values.  (CIFAR-100 and CIFAR-100s.)
``rank``
    The sets hold different points: the i-th value in the order of the one is compared with the i-th of the other.
    Where their sizes differ, with the value at the same fraction of the other set, (rank - 1/2)/n, on the straight
    line between the two ranks around it; beyond its first or last rank with that one.  (CIFAR-100 and CIFAR-10.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from datarobust.errors import DataError, UsageError
from datarobust.figures.curves import Curve, ordered

By = Literal["point", "rank"]
WAYS: Final[tuple[By, ...]] = get_args(By)


@dataclass(frozen=True)
class Difference:
    """What is drawn of a pair of sets: arrays of shape (m,), in the order of ``base``, most robust point first.

    Attributes:
        name: Of the other set; any text.
        by: How the two were compared.
        base: The curve of the first set.
        place: int64, places in ``base``, ascending; all of them where the comparison is by rank.
        other: float64, sensitivity in the other set.
        left_out: What is missing besides what is missing from ``base``, in words; empty where nothing is.
        size: How many points of the other set were compared.
    """

    name: str
    by: By
    base: Curve
    place: NDArray[np.int64]
    other: NDArray[np.float64]
    left_out: str
    size: int

    @property
    def values(self) -> NDArray[np.float64]:
        """Sensitivity in ``base`` minus that in the other set, float64 (m,)."""
        difference: NDArray[np.float64] = self.base.sensitivity[self.place] - self.other
        return difference

    @property
    def fraction(self) -> NDArray[np.float64]:
        """Place of each on the horizontal axis, that of its point in the curve of ``base``, float64 (m,)."""
        return self.base.fraction[self.place]

    def remarks(self) -> list[str]:
        """Sentences that the user should see."""
        said = []
        if self.by == "rank" and self.size != len(self.base.index):
            said.append(
                f"{self.base.name} has {len(self.base.index):,} points and {self.name} {self.size:,}: "
                "values are compared at equal fractions of the sets"
            )
        if self.left_out:
            said.append(f"{self.name} is compared without {self.left_out}")
        return said


def difference(base: Curve, name: str, distance: NDArray[np.float64], by: By) -> Difference:
    """Compare a set with ``base``.

    Infinite sensitivities (points at distance 0) have no difference: by point, a point with one in either set is left
    out; by rank, each set is ordered without them.  The same holds for points that a ranking dropped.

    Args:
        base: The first set, nothing left out on request.
        name: Of the other set.
        distance: (M,) float64, r(x) of the other set in [0, 1] units, +inf where no point has another label, NaN
            where dropped.
        by: ``"point"``, where M must be the number of points of the first set, or ``"rank"``.

    Raises:
        DataError: A distance is negative, or nothing is left to compare.
        UsageError: By point, but the sets differ in size; or no such way.
    """
    if by not in WAYS:
        raise UsageError(f"sets are compared by {' or by '.join(WAYS)}, not by {by!r}.")
    curve = ordered(name, base.norm, distance)
    if by == "rank":
        values = np.interp(base.fraction, curve.fraction, curve.sensitivity)
        return Difference(name, by, base, np.arange(len(base.index)), values, curve.left_out, len(curve.index))
    points = len(base.index) + base.least + base.equal + base.dropped
    if len(distance) != points:
        raise UsageError(
            f"{base.name!r} has {points:,} points and {name!r} has {len(distance):,}, so they are not the same points: "
            "compare them by rank."
        )
    mine = distance[base.index]
    equal, dropped = mine == 0.0, np.isnan(mine)
    place = np.flatnonzero(~(equal | dropped)).astype(np.int64)
    if not place.size:
        raise DataError(f"no point has a finite sensitivity in both {base.name!r} and {name!r}.")
    parts = [(int(equal.sum()), "at r = 0"), (int(dropped.sum()), "dropped")]
    left_out = ", ".join(f"{count:,} {why}" for count, why in parts if count)
    return Difference(name, by, base, place, np.reciprocal(mine[place]), left_out, len(place))


def table(differences: Sequence[Difference]) -> Iterator[str]:
    """All values behind the figure as lines of a TSV file, a header first, then set by set in the order of the base.

    Columns: rank (in the base set, 1 is the most robust), fraction, difference, base, set, norm, by, index (row in
    the base set), sensitivity (there), other (sensitivity in the other set).  Numbers are written so that reading
    gives them back exactly.
    """
    yield "rank\tfraction\tdifference\tbase\tset\tnorm\tby\tindex\tsensitivity\tother\n"
    for one in differences:
        fixed = "\t".join([*(" ".join(name.split()) for name in (one.base.name, one.name)), one.base.norm, one.by])
        columns = (
            (one.place + 1).tolist(),
            one.fraction.tolist(),
            one.values.tolist(),
            one.base.index[one.place].tolist(),
            one.base.sensitivity[one.place].tolist(),
            one.other.tolist(),
        )
        for rank, fraction, value, index, mine, other in zip(*columns, strict=True):
            yield f"{rank}\t{fraction!r}\t{value!r}\t{fixed}\t{index}\t{mine!r}\t{other!r}\n"
