"""Ordered sensitivity values, Figures 2 (a), 5 (a) and 16, and their differences, Figures 2 (b) and 5 (b).

The sensitivity of a point is 1/r(x), r(x) its distance to the nearest point with another label (Section 3, Algorithm
1), distances in [0, 1] units. Sets are compared by ``point`` where they hold the same points in the same order, else by
``rank``, at equal fractions of the sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from datarobust.errors import DataError, UsageError
from datarobust.figures import demand_room, records, style
from datarobust.norms import norm_of
from datarobust.text import tsv
from datarobust.types import Floats, Rows

Scale = Literal["absolute", "relative"]
By = Literal["point", "rank"]

MARKERS: Final = ("+", "o", "x", "s", "^", "D")  # of differences; the first two are the paper's

_LABELS: Final = {"absolute": r"Sensitivity $1/r$", "relative": "Sensitivity $1/r$\ndivided by its maximum"}
_PANEL: Final = (2.75, 2.1)  # inches
_LONE_PANEL: Final = (3.4, 2.5)
_NAME: Final = 105.0  # points, of a set's name; longer ones are shortened
_DIFFERENCES: Final = (4.4, 2.8)  # inches
_DRAWN: Final = (266.4, 158.4)  # about the panel of differences without its labels, points
_STEP: Final = 2.8  # two markers of a set are at least about so far apart, points
_PARTS: Final = 64  # of a set, each with its median


@dataclass(frozen=True)
class Curve:
    """The points of one set in the order of the curve; the arrays have shape (n,), n the number of points drawn."""

    name: str  # any text
    norm: str
    index: Rows  # the points' rows in their set
    distance: Floats  # r(x), descending; +inf where no point has another label
    least: int = 0  # how many of the least robust points were left out on request
    equal: int = 0  # how many others because r(x) = 0: an equal point has another label, and 1/r is infinite
    dropped: int = 0  # how many because the ranking dropped them (r(x) is NaN)

    @property
    def sensitivity(self) -> Floats:
        """1/r(x), ascending; 0 where no point has another label."""
        return np.asarray(np.reciprocal(self.distance))

    @property
    def relative(self) -> Floats:
        """Sensitivity divided by the largest that is drawn, which is r_min/r(x)."""
        if np.isinf(self.distance[-1]):
            raise DataError(f"no point of {self.name!r} has a neighbour with another label: draw absolute values only.")
        return np.asarray(self.distance[-1] / self.distance)

    @property
    def fraction(self) -> Floats:
        """The place of each point on the horizontal axis, (rank - 1/2)/n: the middle of its share of [0, 1]."""
        return (np.arange(len(self.index), dtype=np.float64) + 0.5) / len(self.index)

    @property
    def left_out(self) -> str:
        """What is missing from the curve, in words; empty where nothing is."""
        return _counted((self.least, "least robust"), (self.equal, "at r = 0"), (self.dropped, "dropped"))


def _counted(*parts: tuple[int, str]) -> str:
    return ", ".join(f"{count:,} {why}" for count, why in parts if count)


def ordered(name: str, norm: str, distance: Floats, *, without_least: int = 0) -> Curve:
    """The curve of one set.

    ``distance`` (N,) is r(x) in [0, 1] units, +inf where no point has another label; NaN, where a point was dropped
    from the ranking, does not count. Of the others the ``without_least`` least robust are left out first (among ties
    the lower index), then whatever still has distance 0.
    """
    if (distance < 0).any():
        first = int((distance < 0).argmax())
        raise DataError(
            f"point {first} of {name!r} has the negative distance {distance[first]}: make the ranking anew."
        )
    kept = np.flatnonzero(~np.isnan(distance))
    order = kept[np.argsort(distance[kept], kind="stable")][without_least:]
    equal = int(np.count_nonzero(distance[order] == 0.0))
    order = order[equal:][::-1]
    if not order.size:
        raise DataError(f"no point of {name!r} is left to draw, out of {len(distance):,}.")
    least, dropped = min(without_least, len(kept)), len(distance) - len(kept)
    return Curve(name, norm, order, distance[order].astype(np.float64), least, equal, dropped)


def draw(curves: Sequence[Curve], scales: Sequence[Scale] = ("absolute", "relative")) -> Figure:
    """One row of panels a norm, one column a scale; a set has the same colour and dashes in all of them.

    Curves of one norm have different names; the legend has them in their order.
    """
    names = list(dict.fromkeys(curve.name for curve in curves))
    demand_room(names, "sets", style.STYLES)
    norms: dict[str, dict[str, Curve]] = {}
    for curve in curves:
        if curve.name in norms.setdefault(curve.norm, {}):
            raise UsageError(f"two curves of the {curve.norm} panel are called {curve.name!r}: give each its own name.")
        norms[curve.norm][curve.name] = curve
    width, height = _LONE_PANEL if len(norms) * len(scales) == 1 else _PANEL
    with style.look():
        figure = style.new_figure(width * len(scales), height * len(norms), layout="constrained")
        grid = figure.subplots(len(norms), len(scales), squeeze=False)
        rows = []
        for panels, (norm, sets) in zip(grid, norms.items(), strict=True):
            styles = {name: style.line_style(names.index(name)) for name in sets}
            for axes, scale in zip(panels, scales, strict=True):
                for name, curve in sets.items():
                    values = curve.sensitivity if scale == "absolute" else curve.relative
                    # clip_on: where a curve lies on the frame, half of its width would be cut off
                    dot = {"marker": "o", "markersize": 3} if len(values) == 1 else {}
                    axes.plot(curve.fraction, values, clip_on=False, dash_capstyle="butt", **styles[name], **dot)
                top = max(float(line.get_ydata()[-1]) for line in axes.lines)
                axes.set_ylim(0.0, (top or 1.0) * 1.04)
                axes.set_ylabel(_LABELS[scale])
                lowest = norm == list(norms)[-1]
                style.fraction_axis(axes, "Fraction of the set\n(most to least robust)" if lowest else "")
            entries = [style.fitted(name, _NAME, style.SMALL) for name in sets]
            notes, title = [curve.left_out for curve in sets.values()], f"{norm_of(norm).symbol} norm"
            rows.append((panels, partial(style.legend_of_sets, title, entries, notes, list(styles.values()))))
        figure.align_ylabels()
        style.place_legends(figure, rows, ["upper left", "lower right"])
    return figure


def table(curves: Sequence[Curve]) -> Iterator[str]:
    """All values as lines of a TSV file, curve by curve, the most robust point (rank 1) first."""
    lines = (
        (rank, fraction, value, curve.name, curve.norm, index, distance)
        for curve in curves
        for rank, (fraction, value, index, distance) in enumerate(
            records(curve.fraction, curve.sensitivity, curve.index, curve.distance), 1
        )
    )
    return tsv("rank fraction sensitivity set norm index distance", lines)


# --------------------------------------------------------------------------------------------------- differences


@dataclass(frozen=True)
class Difference:
    """A set compared with ``base``: arrays of shape (m,), in the order of ``base``, most robust point first."""

    name: str  # of the other set, any text
    by: By
    base: Curve
    place: Rows  # places in ``base``, ascending; all of them where the comparison is by rank
    other: Floats  # sensitivity in the other set
    left_out: str  # what is missing besides what is missing from ``base``, in words
    size: int  # how many points of the other set were compared

    @property
    def values(self) -> Floats:
        """Sensitivity in ``base`` minus that in the other set, (m,)."""
        return np.asarray(self.base.sensitivity[self.place] - self.other)

    @property
    def fraction(self) -> Floats:
        """Place of each on the horizontal axis, that of its point in the curve of ``base``, (m,)."""
        return self.base.fraction[self.place]

    def remarks(self) -> Iterator[str]:
        """Sentences that the user should see."""
        if self.by == "rank" and self.size != len(self.base.index):
            sizes = f"{self.base.name} has {len(self.base.index):,} points and {self.name} {self.size:,}"
            yield f"{sizes}: values are compared at equal fractions of the sets"
        if self.left_out:
            yield f"{self.name} is compared without {self.left_out}"


def difference(base: Curve, name: str, distance: Floats, by: By) -> Difference:
    """Compare a set with ``base``.

    Infinite sensitivities (points at distance 0) have no difference: by point, a point with one in either set is left
    out; by rank, each set is ordered without them. The same holds for points that a ranking dropped.
    """
    curve = ordered(name, base.norm, distance)
    if by == "rank":
        values = np.interp(base.fraction, curve.fraction, curve.sensitivity)
        return Difference(name, by, base, np.arange(len(base.index)), values, curve.left_out, len(curve.index))
    if len(distance) != (points := len(base.index) + base.least + base.equal + base.dropped):
        sizes = f"{base.name!r} has {points:,} points and {name!r} has {len(distance):,}"
        raise UsageError(f"{sizes}, so they are not the same points: compare them by rank.")
    mine = distance[base.index]
    equal, dropped = mine == 0.0, np.isnan(mine)
    place = np.flatnonzero(~(equal | dropped)).astype(np.int64)
    if not place.size:
        raise DataError(f"no point has a finite sensitivity in both {base.name!r} and {name!r}.")
    left_out = _counted((int(equal.sum()), "at r = 0"), (int(dropped.sum()), "dropped"))
    return Difference(name, by, base, place, np.reciprocal(mine[place]), left_out, len(place))


def draw_differences(differences: Sequence[Difference]) -> Figure:
    """One panel, one kind of marker for each set that is compared with the first; names are all different."""
    demand_room(differences, "sets", len(MARKERS))
    for name, times in Counter(pair.name for pair in differences).items():
        if times > 1:
            raise UsageError(f"two sets that are compared with the first are called {name!r}: give each its own name.")
    base = differences[0].base
    low = min(0.0, *(float(pair.values.min()) for pair in differences))
    high = max(0.0, *(float(pair.values.max()) for pair in differences))
    room = 0.06 * (high - low) or 1.0
    low, high = low - room, high + room
    hollow: dict[str, Any] = {"markersize": 3.2, "markerfacecolor": "none", "markeredgewidth": 0.6, "linestyle": "none"}
    looks = zip(style.COLOURS, MARKERS, differences, strict=False)
    styles = [hollow | {"color": colour, "marker": marker} for colour, marker, _ in looks]
    with style.look():
        figure = style.new_figure(*_DIFFERENCES, layout="constrained")
        axes = figure.subplots()
        axes.axhline(0.0, color=style.QUIET, linewidth=0.6, zorder=1)
        for pair, look in zip(differences, styles, strict=True):
            kept = _apart(pair, low, high)
            axes.plot(pair.fraction[kept], pair.values[kept], zorder=2, clip_on=False, **look)
            if pair.by == "point":  # with white edges, to be seen among the markers
                edges = [Stroke(linewidth=3 * style.LINE_WIDTH, foreground="white"), Normal()]
                line = {"color": look["color"], "linewidth": style.LINE_WIDTH, "path_effects": edges}
                axes.plot(*medians(pair), zorder=3, **line)
        name = style.fitted(base.name, _NAME, style.NORMAL)
        without = f" without {base.left_out}" if base.left_out else ""
        style.fraction_axis(axes, f"Fraction of {name}{without}\n(most to least robust)")
        axes.set_ylim(low, high)
        axes.set_ylabel(f"Sensitivity of {name}\nminus that of the other set", parse_math=False)
        ways = {"rank": ", by rank", "point": ", by point\n(line: median)"}
        entries = [style.fitted(pair.name, _NAME, style.SMALL) + ways[pair.by] for pair in differences]
        notes, title = [pair.left_out for pair in differences], f"{norm_of(base.norm).symbol} norm"
        make = partial(style.legend_of_sets, title, entries, notes, styles)
        style.place_legends(figure, [([axes], make)], ["upper left", "lower left", "upper right", "lower right"])
    return figure


def medians(pair: Difference) -> tuple[Floats, Floats]:
    """The line through the scatter: fraction and difference, (p,), medians of p equal parts of the points."""
    parts = min(_PARTS, len(pair.place))
    across, up = (np.array_split(values, parts) for values in (pair.fraction, pair.values))
    return np.array([np.median(part) for part in across]), np.array([np.median(part) for part in up])


def _apart(pair: Difference, low: float, high: float) -> Rows:
    """Which markers to draw, ascending: of those within one small square of the panel the first.

    The others would be hidden, and a vector picture of 50,000 markers would be large and show no more.
    """
    across = np.floor(pair.fraction * _DRAWN[0] / _STEP).astype(np.int64)
    up = np.floor((pair.values - low) / (high - low) * _DRAWN[1] / _STEP).astype(np.int64)
    _, first = np.unique(across * (int(up.max()) + 1) + up, return_index=True)
    return np.sort(first)


def table_of_differences(differences: Sequence[Difference]) -> Iterator[str]:
    """All values as lines of a TSV file, set by set; ranks, indices and sensitivities are those of the base set."""
    lines = (
        (place + 1, fraction, value, pair.base.name, pair.name, pair.base.norm, pair.by, *rest)
        for pair in differences
        for index, mine in [(pair.base.index[pair.place], pair.base.sensitivity[pair.place])]
        for place, fraction, value, *rest in records(pair.place, pair.fraction, pair.values, index, mine, pair.other)
    )
    return tsv("rank fraction difference base set norm by index sensitivity other", lines)
