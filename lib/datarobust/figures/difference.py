"""Differences between sensitivity values of two sets: Figures 2 (b) and 5 (b).

A marker a point, in the order of the first set: its most robust point at the left, its least robust at the right.
Where points are compared with themselves, markers of a large set hide how many of them lie where; a line then joins
the medians of equal parts of the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.compare import Difference
from datarobust.figures.curves import Curve
from datarobust.figures.legend import LINE_WIDTH, Legend, Place, compose
from datarobust.norms import norm_of

#: The first two are the paper's.
MARKERS: Final = ("+", "o", "x", "s", "^", "D")

# Inches.
_PANEL: Final = (4.4, 2.8)
_PAGE: Final = 6.5  # no figure is wider
_MARGINS: Final = (0.7, 0.6)  # what labels take at most of the panel's width and height

_NAME_WIDTH: Final = 105.0  # points
_SIZE: Final = 3.2  # of a marker, points
_STEP: Final = 2.8  # two markers of a set are at least about so far apart, points
_PARTS: Final = 64  # of a set, each with its median
_ROOM: Final = 0.06  # above and below the values, as a fraction of their range
_CORNERS: Final[tuple[Place, ...]] = ("upper left", "lower left", "upper right", "lower right")


def draw(differences: Sequence[Difference]) -> Figure:
    """One panel, one kind of marker for each set that is compared with the first.

    Args:
        differences: In the order of the legend, all with the same base, names all different.

    Raises:
        UsageError: Nothing to draw, more sets than there are markers, or two with one name.
    """
    _check(differences)
    base = differences[0].base
    legend = compose(
        f"{norm_of(base.norm).symbol} norm",
        [one.name for one in differences],
        [one.left_out for one in differences],
        [marker_style(number) for number in range(len(differences))],
        tails=[", by rank" if one.by == "rank" else ", by point\n(line: median)" for one in differences],
    )
    width, height = _PANEL
    low, high = _limits(differences)
    drawn = [_apart(one, low, high) for one in differences]
    place = _place(differences, drawn, low, high, legend)
    beside = legend.width / style.POINTS_PER_INCH if place == "beside" else 0.0
    with style.look():
        across, down = min(width + beside, _PAGE), max(height, legend.height / style.POINTS_PER_INCH + 0.1)
        figure = style.new_figure(across, down, layout="constrained")
        axes = figure.subplots()
        axes.axhline(0.0, color=style.QUIET, linewidth=0.6, zorder=1)
        for number, (one, kept) in enumerate(zip(differences, drawn, strict=True)):
            axes.plot(one.fraction[kept], one.values[kept], zorder=2, clip_on=False, **marker_style(number))
            if one.by == "point":
                axes.plot(*medians(one), zorder=3, **_median_style(number))
        _label(axes, base, low, high)
        legend.draw(axes, place)
    return figure


def marker_style(number: int) -> dict[str, Any]:
    """Marker and colour of the ``number``-th set (from 0) as arguments of a line; outlines, to see through."""
    return {
        "color": style.COLOURS[number],
        "linestyle": "none",
        "marker": MARKERS[number],
        "markersize": _SIZE,
        "markerfacecolor": "none",
        "markeredgewidth": 0.6,
    }


def _median_style(number: int) -> dict[str, Any]:
    """Of the set's colour, with white edges, to be seen among its markers."""
    edges = [Stroke(linewidth=3 * LINE_WIDTH, foreground="white"), Normal()]
    return {"color": style.COLOURS[number], "linewidth": LINE_WIDTH, "path_effects": edges}


def medians(one: Difference) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The line through the scatter: fraction and difference, float64 (p,), medians of p equal parts of the points."""
    parts = min(_PARTS, len(one.place))
    across, up = (np.array_split(values, parts) for values in (one.fraction, one.values))
    return np.array([np.median(part) for part in across]), np.array([np.median(part) for part in up])


def _check(differences: Sequence[Difference]) -> None:
    if not differences:
        raise UsageError("nothing to draw: give at least two rankings.")
    if len(differences) > len(MARKERS):
        raise UsageError(f"{len(differences)} sets are more than the {len(MARKERS)} markers: draw fewer.")
    names = [one.name for one in differences]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two sets that are compared with the first are called {name!r}: give each its own name.")


def _limits(differences: Sequence[Difference]) -> tuple[float, float]:
    """The vertical axis: all values and 0, with some room."""
    low = min(0.0, *(float(one.values.min()) for one in differences))
    high = max(0.0, *(float(one.values.max()) for one in differences))
    room = _ROOM * (high - low) or 1.0
    return low - room, high + room


def _apart(one: Difference, low: float, high: float) -> NDArray[np.intp]:
    """Which markers to draw, ascending: of those within one small square of the panel the first, because the others
    would hide it, and a vector picture of 50,000 markers would be large and show no more.
    """
    width, height = ((side - margin) * style.POINTS_PER_INCH for side, margin in zip(_PANEL, _MARGINS, strict=True))
    across = np.floor(one.fraction * width / _STEP).astype(np.int64)
    up = np.floor((one.values - low) / (high - low) * height / _STEP).astype(np.int64)
    _, first = np.unique(across * (int(up.max()) + 1) + up, return_index=True)
    return np.sort(first)


def _place(
    differences: Sequence[Difference], drawn: Sequence[NDArray[np.intp]], low: float, high: float, legend: Legend
) -> Place:
    """The first corner that no marker enters, nor the line at 0; else beside the panel."""
    wide = legend.width / style.POINTS_PER_INCH / (_PANEL[0] - _MARGINS[0])
    tall = legend.height / style.POINTS_PER_INCH / (_PANEL[1] - _MARGINS[1])
    across = np.concatenate([one.fraction[kept] for one, kept in zip(differences, drawn, strict=True)])
    values = np.concatenate([one.values[kept] for one, kept in zip(differences, drawn, strict=True)])
    up, zero = (values - low) / (high - low), -low / (high - low)
    wide, tall = wide + 0.02, tall + 0.02  # markers have a size
    for corner in _CORNERS if wide <= 1 and tall <= 1 else ():
        inside = across < wide if "left" in corner else across > 1 - wide
        enters = up[inside] > 1 - tall if "upper" in corner else up[inside] < tall
        crossed = zero > 1 - tall if "upper" in corner else zero < tall
        if not enters.any() and not crossed:
            return corner
    return "beside"


def _label(axes: Axes, base: Curve, low: float, high: float) -> None:
    name = style.fitted(base.name, _NAME_WIDTH, style.NORMAL)
    without = f" without {base.left_out}" if base.left_out else ""
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(low, high)
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel(f"Fraction of {name}{without}\n(most to least robust)", parse_math=False)
    axes.set_ylabel(f"Sensitivity of {name}\nminus that of the other set", parse_math=False)
