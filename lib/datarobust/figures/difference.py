"""Differences between sensitivity values of two sets: Figures 2 (b) and 5 (b).

Sensitivity of one set minus that of another, a marker a point, in the order of the first set: its most robust point at
the left, its least robust at the right. Two sets are compared in one of two ways:

``point``
    The sets hold the same points in the same order under other labels, or the points were held against other sets:
    each point has two values. (CIFAR-100 and CIFAR-100s.) Markers of a large set hide how many of them lie where; a
    line joins the medians of equal parts of the set.
``rank``
    The sets hold different points: the i-th value in the order of the one is compared with the i-th of the other.
    Where their sizes differ, with the value at the same fraction of the other set, (rank - 1/2)/n, on the straight
    line between the two ranks around it; beyond its first or last rank with that one. (CIFAR-100 and CIFAR-10.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, get_args

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.sensitivity import Curve, ordered
from datarobust.norms import norm_of
from datarobust.text import tsv
from datarobust.types import Floats, Rows

By = Literal["point", "rank"]
WAYS: Final[tuple[By, ...]] = get_args(By)

#: The first two are the paper's.
MARKERS: Final = ("+", "o", "x", "s", "^", "D")

_PANEL: Final = (4.4, 2.8)  # inches
_DRAWN: Final = (266.4, 158.4)  # about the panel without its labels, points
_STEP: Final = 2.8  # two markers of a set are at least about so far apart, points
_PARTS: Final = 64  # of a set, each with its median
_ROOM: Final = 0.06  # above and below the values, as a fraction of their range


@dataclass(frozen=True)
class Difference:
    """What is drawn of a pair of sets: arrays of shape (m,), in the order of ``base``, most robust point first.

    Attributes:
        name: of the other set; any text.
        by: how the two were compared.
        base: the curve of the first set.
        place: places in ``base``, ascending; all of them where the comparison is by rank.
        other: sensitivity in the other set.
        left_out: what is missing besides what is missing from ``base``, in words; empty where nothing is.
        size: how many points of the other set were compared.
    """

    name: str
    by: By
    base: Curve
    place: Rows
    other: Floats
    left_out: str
    size: int

    @property
    def values(self) -> Floats:
        """Sensitivity in ``base`` minus that in the other set, (m,)."""
        difference: Floats = self.base.sensitivity[self.place] - self.other
        return difference

    @property
    def fraction(self) -> Floats:
        """Place of each on the horizontal axis, that of its point in the curve of ``base``, (m,)."""
        return self.base.fraction[self.place]

    def remarks(self) -> list[str]:
        """Sentences that the user should see."""
        remarks = []
        if self.by == "rank" and self.size != len(self.base.index):
            remarks.append(
                f"{self.base.name} has {len(self.base.index):,} points and {self.name} {self.size:,}: "
                "values are compared at equal fractions of the sets"
            )
        if self.left_out:
            remarks.append(f"{self.name} is compared without {self.left_out}")
        return remarks


def difference(base: Curve, name: str, distance: Floats, by: By) -> Difference:
    """Compare a set with ``base``.

    Infinite sensitivities (points at distance 0) have no difference: by point, a point with one in either set is left
    out; by rank, each set is ordered without them. The same holds for points that a ranking dropped.

    Args:
        base: the first set, nothing left out on request.
        name: of the other set.
        distance: (M,) r(x) of the other set in [0, 1] units, +inf where no point has another label, NaN where dropped.
        by: ``"point"``, where M must be the number of points of the first set, or ``"rank"``.

    Raises:
        DataError: a distance is negative, or nothing is left to compare.
        UsageError: by point, but the sets differ in size; or no such way.
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


def draw(differences: Sequence[Difference]) -> Figure:
    """One panel, one kind of marker for each set that is compared with the first.

    Args:
        differences: in the order of the legend, all with the same base, names all different.

    Raises:
        UsageError: nothing to draw, more sets than there are markers, or two with one name.
    """
    if not differences:
        raise UsageError("nothing to draw: give at least two rankings.")
    if len(differences) > len(MARKERS):
        raise UsageError(f"{len(differences)} sets are more than the {len(MARKERS)} markers: draw fewer.")
    names = [pair.name for pair in differences]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two sets that are compared with the first are called {name!r}: give each its own name.")
    base = differences[0].base
    low = min(0.0, *(float(pair.values.min()) for pair in differences))
    high = max(0.0, *(float(pair.values.max()) for pair in differences))
    room = _ROOM * (high - low) or 1.0
    low, high = low - room, high + room
    styles: list[dict[str, Any]] = [
        {
            "color": colour,
            "linestyle": "none",
            "marker": marker,
            "markersize": 3.2,
            "markerfacecolor": "none",  # to see through
            "markeredgewidth": 0.6,
        }
        for colour, marker in zip(style.COLOURS, MARKERS, strict=False)
    ][: len(differences)]
    with style.look():
        figure = style.new_figure(*_PANEL, layout="constrained")
        axes = figure.subplots()
        axes.axhline(0.0, color=style.QUIET, linewidth=0.6, zorder=1)
        for pair, look in zip(differences, styles, strict=True):
            kept = _apart(pair, low, high)
            axes.plot(pair.fraction[kept], pair.values[kept], zorder=2, clip_on=False, **look)
            if pair.by == "point":  # with white edges, to be seen among the markers
                edges = [Stroke(linewidth=3 * style.LINE_WIDTH, foreground="white"), Normal()]
                line = {"color": look["color"], "linewidth": style.LINE_WIDTH, "path_effects": edges}
                axes.plot(*medians(pair), zorder=3, **line)
        name = style.fitted(base.name, style.NAME_WIDTH, style.NORMAL)
        without = f" without {base.left_out}" if base.left_out else ""
        style.fraction_axis(axes, f"Fraction of {name}{without}\n(most to least robust)")
        axes.set_ylim(low, high)
        axes.set_ylabel(f"Sensitivity of {name}\nminus that of the other set", parse_math=False)
        ways = {"rank": ", by rank", "point": ", by point\n(line: median)"}
        make = partial(
            style.legend_of_sets,
            title=f"{norm_of(base.norm).symbol} norm",
            names=[style.fitted(pair.name, style.NAME_WIDTH, style.SMALL) + ways[pair.by] for pair in differences],
            notes=[pair.left_out for pair in differences],
            styles=styles,
        )
        style.place_legends(figure, [([axes], make)], ["upper left", "lower left", "upper right", "lower right"])
    return figure


def medians(pair: Difference) -> tuple[Floats, Floats]:
    """The line through the scatter: fraction and difference, (p,), medians of p equal parts of the points."""
    parts = min(_PARTS, len(pair.place))
    across, up = (np.array_split(values, parts) for values in (pair.fraction, pair.values))
    return np.array([np.median(part) for part in across]), np.array([np.median(part) for part in up])


def _apart(pair: Difference, low: float, high: float) -> Rows:
    """Which markers to draw, ascending: of those within one small square of the panel the first, because the others
    would hide it, and a vector picture of 50,000 markers would be large and show no more.
    """
    across = np.floor(pair.fraction * _DRAWN[0] / _STEP).astype(np.int64)
    up = np.floor((pair.values - low) / (high - low) * _DRAWN[1] / _STEP).astype(np.int64)
    _, first = np.unique(across * (int(up.max()) + 1) + up, return_index=True)
    return np.sort(first)


def table(differences: Sequence[Difference]) -> Iterator[str]:
    """All values behind the figure as lines of a TSV file, set by set in the order of the base.

    Columns: rank (in the base set, 1 is the most robust), fraction, difference, base, set, norm, by, index (row in
    the base set), sensitivity (there), other (sensitivity in the other set).
    """
    yield from tsv(
        "rank fraction difference base set norm by index sensitivity other",
        (
            (rank, fraction, value, pair.base.name, pair.name, pair.base.norm, pair.by, index, mine, other)
            for pair in differences
            for rank, fraction, value, index, mine, other in zip(
                (pair.place + 1).tolist(),
                pair.fraction.tolist(),
                pair.values.tolist(),
                pair.base.index[pair.place].tolist(),
                pair.base.sensitivity[pair.place].tolist(),
                pair.other.tolist(),
                strict=True,
            )
        ),
    )
