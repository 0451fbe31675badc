"""Ordered sensitivity values: Figures 2 (a), 5 (a) and 16.

The sensitivity of a point is 1/r(x), r(x) its distance to the nearest point with another label (Section 3, Algorithm
1), distances in [0, 1] units. A curve has one value a point in ascending order: the most robust point at the left, the
least robust at the right. The horizontal axis is the fraction of the set, as in Figure 16, so that sets of different
size compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
from matplotlib.figure import Figure

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.norms import norm_of
from datarobust.text import tsv
from datarobust.types import Floats, Rows

Scale = Literal["absolute", "relative"]

_LABELS: Final[dict[Scale, str]] = {
    "absolute": r"Sensitivity $1/r$",
    "relative": "Sensitivity $1/r$\ndivided by its maximum",
}
_PANEL: Final = (2.75, 2.1)  # inches
_LONE_PANEL: Final = (3.4, 2.5)
_HEADROOM: Final = 0.04  # between the highest value and the top of the panel


@dataclass(frozen=True)
class Curve:
    """The points of one set in the order of the curve; the arrays have shape (n,), n the number of points drawn.

    Attributes:
        name: whose points they are; any text.
        norm: of the distances.
        index: the points' rows in their set.
        distance: r(x) in descending order, in [0, 1] units; +inf where no point has another label.
        least: how many of the least robust points were left out on request.
        equal: how many others were left out because r(x) = 0: an equal point has another label, and 1/r is infinite.
        dropped: how many were left out because the ranking dropped them (r(x) is NaN).
    """

    name: str
    norm: str
    index: Rows
    distance: Floats
    least: int = 0
    equal: int = 0
    dropped: int = 0

    @property
    def sensitivity(self) -> Floats:
        """1/r(x), ascending; 0 where no point has another label."""
        values: Floats = np.reciprocal(self.distance)
        return values

    @property
    def relative(self) -> Floats:
        """Sensitivity divided by the largest that is drawn, which is r_min/r(x).

        Raises:
            DataError: all sensitivities are 0.
        """
        if np.isinf(self.distance[-1]):
            raise DataError(
                f"no point of {self.name!r} has a neighbour with another label, so there is no largest sensitivity to "
                "divide by: draw absolute values only."
            )
        values: Floats = self.distance[-1] / self.distance
        return values

    @property
    def fraction(self) -> Floats:
        """The place of each point on the horizontal axis, (rank - 1/2)/n: the middle of its share of [0, 1]."""
        return (np.arange(len(self.index), dtype=np.float64) + 0.5) / len(self.index)

    @property
    def left_out(self) -> str:
        """What is missing from the curve, in words; empty where nothing is."""
        parts = [(self.least, "least robust"), (self.equal, "at r = 0"), (self.dropped, "dropped")]
        return ", ".join(f"{count:,} {why}" for count, why in parts if count)


def ordered(name: str, norm: str, distance: Floats, *, without_least: int = 0) -> Curve:
    """The curve of one set.

    Points that were dropped from the ranking (NaN) do not count. Of the others the ``without_least`` least robust are
    left out first (the paper: 40 for CIFAR-100 and EMNIST; among ties the lower index goes first), then whatever still
    has distance 0, whose sensitivity is infinite.

    Args:
        name: whose points they are.
        norm: of the distances.
        distance: (N,) r(x) in [0, 1] units, +inf where no point has another label, NaN where dropped.
        without_least: how many of the least robust points to leave out.

    Raises:
        DataError: a distance is negative, or no point is left to draw.
        UsageError: the norm is unknown, or ``without_least`` is negative.
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


def draw(curves: Sequence[Curve], scales: Sequence[Scale] = ("absolute", "relative")) -> Figure:
    """One row of panels a norm, one column a scale; a set has the same colour and dashes in all of them.

    Args:
        curves: in the order of the legend; those of one norm have different names.
        scales: the panels of a row.

    Raises:
        DataError: a relative curve of nothing but zeros.
        UsageError: nothing to draw, more sets than there are styles, or two curves of a norm with one name.
    """
    if not curves or not scales:
        raise UsageError("nothing to draw: give at least one ranking, and absolute or relative or both.")
    names = list(dict.fromkeys(curve.name for curve in curves))
    if len(names) > style.STYLES:
        raise UsageError(f"{len(names)} sets are more than the {style.STYLES} that can be told apart: draw fewer.")
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
                axes.set_ylim(0.0, (top or 1.0) * (1 + _HEADROOM))
                axes.set_ylabel(_LABELS[scale])
                lowest = norm == list(norms)[-1]
                style.fraction_axis(axes, "Fraction of the set\n(most to least robust)" if lowest else "")
            make = partial(
                style.legend_of_sets,
                title=f"{norm_of(norm).symbol} norm",
                names=[style.fitted(name, style.NAME_WIDTH, style.SMALL) for name in sets],
                notes=[curve.left_out for curve in sets.values()],
                styles=list(styles.values()),
            )
            rows.append((panels, make))
        figure.align_ylabels()
        style.place_legends(figure, rows, ["upper left", "lower right"])
    return figure


def table(curves: Sequence[Curve]) -> Iterator[str]:
    """All values behind the figure as lines of a TSV file, curve by curve in its order.

    Columns: rank (1 is the most robust), fraction, sensitivity, set, norm, index (row in the set), distance.
    """
    yield from tsv(
        "rank fraction sensitivity set norm index distance",
        (
            (rank, fraction, value, curve.name, curve.norm, index, distance)
            for curve in curves
            for rank, (fraction, value, index, distance) in enumerate(
                zip(
                    curve.fraction.tolist(),
                    curve.sensitivity.tolist(),
                    curve.index.tolist(),
                    curve.distance.tolist(),
                    strict=True,
                ),
                1,
            )
        ),
    )
