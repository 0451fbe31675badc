"""Ordered sensitivity values: Figures 2 (a), 5 (a) and 16.

A curve has one value a point in ascending order: the most robust point at the left, the least robust at the right.
The horizontal axis is the fraction of the set, as in Figure 16, so that sets of different size compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.curves import Curve, Scale, thinned
from datarobust.figures.legend import Legend, Place, compose, line
from datarobust.norms import norm_of

_LABELS: Final[dict[Scale, str]] = {
    "absolute": r"Sensitivity $1/r$",
    "relative": "Sensitivity $1/r$\ndivided by its maximum",
}
_FRACTION: Final = "Fraction of the set\n(most to least robust)"

# Inches.
_PANEL: Final = (2.75, 2.1)
_LONE_PANEL: Final = (3.4, 2.5)
_PAGE: Final = 6.5  # no figure is wider: what is scaled down to a page has letters that are too small
_MARGINS: Final = (0.7, 0.6)  # what labels take at most of a panel's width and height

_HEADROOM: Final = 0.04  # between the highest value and the top of the panel


def draw(curves: Sequence[Curve], scales: Sequence[Scale] = ("absolute", "relative")) -> Figure:
    """One row of panels a norm, one column a scale; a set has the same colour and dashes in all of them.

    Args:
        curves: In the order of the legend; those of one norm have different names.
        scales: The panels of a row.

    Raises:
        DataError: A relative curve of nothing but zeros.
        UsageError: Nothing to draw, more sets than there are styles, or two curves of a norm with one name.
    """
    names = list(dict.fromkeys(curve.name for curve in curves))
    _check(curves, scales, names)
    width, height = _LONE_PANEL if len({curve.norm for curve in curves}) * len(scales) == 1 else _PANEL
    rows = [_Row.of(curves, norm, scales, names, width, height) for norm in dict.fromkeys(c.norm for c in curves)]
    if any(row.place == "beside" for row in rows):  # the room is there then, and legends in a column look better
        rows = [replace(row, column=len(scales) - 1, place="beside") for row in rows]
    heights = [max(height, row.legend.height / style.POINTS_PER_INCH + 0.1) for row in rows]
    beside = max(row.legend.width / style.POINTS_PER_INCH if row.place == "beside" else 0.0 for row in rows)
    with style.look():
        across = min(width * len(scales) + beside, _PAGE)
        figure = style.new_figure(across, sum(heights), layout="constrained")
        grid = figure.subplots(len(rows), len(scales), squeeze=False, height_ratios=heights)
        for row, panels in zip(rows, grid, strict=True):
            for axes, scale in zip(panels, scales, strict=True):
                _panel(axes, row.curves, scale, names)
            row.legend.draw(panels[row.column], row.place)
        for axes in grid[-1]:
            axes.set_xlabel(_FRACTION)
        figure.align_ylabels()
    return figure


def _check(curves: Sequence[Curve], scales: Sequence[Scale], names: Sequence[str]) -> None:
    if not curves or not scales:
        raise UsageError("nothing to draw: give at least one ranking, and absolute or relative or both.")
    if len(names) > style.STYLES:
        raise UsageError(f"{len(names)} sets are more than the {style.STYLES} that can be told apart: draw fewer.")
    seen: set[tuple[str, str]] = set()
    for curve in curves:
        if (curve.norm, curve.name) in seen:
            raise UsageError(f"two curves of the {curve.norm} panel are called {curve.name!r}: give each its own name.")
        seen.add((curve.norm, curve.name))


@dataclass(frozen=True)
class _Row:
    """The curves of one norm, and where their legend goes: into the panel ``column``, or beside the last one."""

    curves: Sequence[Curve]
    legend: Legend
    column: int
    place: Place

    @classmethod
    def of(
        cls,
        curves: Sequence[Curve],
        norm: str,
        scales: Sequence[Scale],
        names: Sequence[str],
        width: float,
        height: float,
    ) -> _Row:
        chosen = [curve for curve in curves if curve.norm == norm]
        legend = compose(
            f"{norm_of(norm).symbol} norm",
            [curve.name for curve in chosen],
            [curve.left_out for curve in chosen],
            [line(names.index(curve.name)) for curve in chosen],
        )
        wide = legend.width / style.POINTS_PER_INCH / (width - _MARGINS[0])
        high = legend.height / style.POINTS_PER_INCH / (height - _MARGINS[1])
        corners: tuple[Place, ...] = ("upper left", "lower right")
        for place in corners:
            for column, scale in enumerate(scales):
                if _is_free(chosen, scale, place, wide, high):
                    return cls(chosen, legend, column, place)
        return cls(chosen, legend, len(scales) - 1, "beside")


def _is_free(curves: Sequence[Curve], scale: Scale, place: Place, wide: float, high: float) -> bool:
    """Whether no curve enters a corner of that width and height, as fractions of the panel: ascending curves do so
    at the corner's inner edge if they do at all.
    """
    if wide > 1 or high > 1:
        return False
    top = max(curve.values(scale)[-1] for curve in curves) * (1 + _HEADROOM)
    if not top:
        return place == "upper left"
    inner = [curve.values(scale) for curve in curves]
    if place == "upper left":
        return all(values[math.ceil(wide * len(values)) - 1] / top < 1 - high for values in inner)
    return all(values[math.floor((1 - wide) * len(values))] / top > high for values in inner)


def _panel(axes: Axes, curves: Sequence[Curve], scale: Scale, names: Sequence[str]) -> None:
    top = 0.0
    for curve in curves:
        values = curve.values(scale)
        top = max(top, float(values[-1]))
        places = thinned(values)
        axes.plot(
            curve.fraction[places],
            values[places],
            solid_joinstyle="round",
            dash_capstyle="butt",
            marker="o" if len(places) == 1 else "",
            markersize=3,
            clip_on=False,  # where a curve lies on the frame, half of its width would be cut off
            **line(names.index(curve.name)),
        )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, (top or 1.0) * (1 + _HEADROOM))
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_ylabel(_LABELS[scale])
