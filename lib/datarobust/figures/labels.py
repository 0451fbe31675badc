"""Label distributions of the least robust, of random and of the most robust points: Figures 4 (a) and (b).

Three bars a class, as in the paper: at the left the least robust, in the centre random, at the right the most robust
points.  The bars differ in fill too, so that they stay apart in grey print.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.norms import norm_of

#: More classes than this on one picture help nobody.
MOST: Final = 300

GROUPS: Final = ("least robust", "random", "most robust")
_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"facecolor": "#D55E00", "edgecolor": "#D55E00"},
    {"facecolor": "white", "edgecolor": style.INK},
    {"facecolor": "#56B4E9", "edgecolor": "#0072B2", "hatch": "//////"},
)

# Inches.
_PAGE: Final = 6.5
_AXIS: Final = 0.65  # what the vertical axis and its label take
_PANEL: Final = 1.5  # height
_WIDEST: Final = 0.55  # of a class: a set of two classes makes a narrow picture
_NARROWEST: Final = 0.17  # a line of text and a gap
_TOP: Final = 0.35  # the legend

_NAME_WIDTH: Final = 80.0  # points; longer names of classes are shortened
_BARS: Final = 0.8  # of the width of a class
_EDGE: Final = 0.5  # points


@dataclass(frozen=True)
class Distribution:
    """How many points of each class are in each of :data:`GROUPS`, for one norm.

    Attributes:
        norm: ``"l2"`` or ``"linf"``.
        counts: int64, (3, C).
    """

    norm: str
    counts: NDArray[np.int64]


def count(
    labels: NDArray[np.int64], classes: NDArray[np.int64], chosen: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Count the labels of chosen points.

    Args:
        labels: (N,) int64, of all points.
        classes: (C,) int64, ascending, every label that occurs.
        chosen: For each group the rows of its points, int64.

    Returns:
        int64, (groups, C).
    """
    places = [np.searchsorted(classes, labels[rows]) for rows in chosen]
    return np.stack([np.bincount(place, minlength=len(classes)) for place in places]).astype(np.int64)


def draw(distributions: Sequence[Distribution], names: Sequence[str], points: int) -> Figure:
    """A panel for each norm, one below the other; many classes go on in further panels.

    Args:
        distributions: In order, all with the same C classes, one for each norm.
        names: C names of classes, any text.
        points: In each group; the label of the vertical axis says so.

    Raises:
        UsageError: Nothing to draw, more than :data:`MOST` classes, or two distributions of one norm.
    """
    _check(distributions, names)
    fitting = math.floor((_PAGE - _AXIS) / _NARROWEST)
    parts = math.ceil(len(names) / fitting)
    each = math.ceil(len(names) / parts)
    slot = min(_WIDEST, (_PAGE - _AXIS) / each)
    shown = [style.fitted(name, _NAME_WIDTH, style.SMALL) for name in names]
    widest = max(style.width_of(name, style.SMALL) for name in shown)
    turned = _turned(widest, slot * style.POINTS_PER_INCH)
    below = (widest * math.sin(math.radians(turned)) + style.SMALL) / style.POINTS_PER_INCH + 0.1
    with style.look():
        size = (max(_AXIS + each * slot, 3.4), _TOP + parts * (len(distributions) * _PANEL + below))
        figure = style.new_figure(*size, layout="constrained")
        grid = figure.subplots(parts * len(distributions), 1, squeeze=False)[:, 0]
        for row, axes in enumerate(grid):
            part, number = divmod(row, len(distributions))
            inside = slice(part * each, (part + 1) * each)
            _panel(axes, distributions[number], inside, each, points)
            last = number == len(distributions) - 1
            _name(axes, shown[inside] if last else [""] * len(shown[inside]), turned)
        figure.legend(
            [Patch(linewidth=_EDGE, **look) for look in _LOOKS], GROUPS, loc="outside upper center", ncols=len(GROUPS)
        )
        figure.align_ylabels()
    return figure


def table(distributions: Sequence[Distribution], labels: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """The counts as lines of a TSV file, a header first: norm, label, class, least, random, most.

    Args:
        distributions: In order.
        labels: Of the C classes.
        names: Of the C classes.
    """
    yield "norm\tlabel\tclass\tleast\trandom\tmost\n"
    for one in distributions:
        for label, name, counts in zip(labels, names, one.counts.T.tolist(), strict=True):
            yield "\t".join([one.norm, f"{label}", " ".join(name.split()), *map(str, counts)]) + "\n"


def _check(distributions: Sequence[Distribution], names: Sequence[str]) -> None:
    if not distributions:
        raise UsageError("nothing to draw: give at least one ranking.")
    if len(names) > MOST:
        raise UsageError(f"{len(names):,} classes cannot be shown on one picture: it has room for {MOST}.")
    norms = [norm_of(one.norm).name for one in distributions]
    for norm in norms:
        if norms.count(norm) > 1:
            raise UsageError(f"two rankings are in the {norm} norm: a picture has one panel for each norm.")


def _turned(widest: float, slot: float) -> int:
    """By how many degrees names are turned: as little as keeps them apart; all in points."""
    if widest + 4 <= slot:
        return 0
    return next((angle for angle in (30, 45) if slot * math.sin(math.radians(angle)) > 1.25 * style.SMALL), 90)


def _panel(axes: Axes, one: Distribution, inside: slice, room: int, points: int) -> None:
    counts = one.counts[:, inside]
    wide = _BARS / len(GROUPS)
    for group, (heights, look) in enumerate(zip(counts, _LOOKS, strict=True)):
        there = np.flatnonzero(heights)  # a bar of no height would be a line
        axes.bar(there + (group - 1) * wide, heights[there], 0.9 * wide, linewidth=_EDGE, **look)
    axes.set_xlim(-0.5, room - 0.5)
    axes.set_ylim(0.0, max(1.0, float(one.counts.max()) * 1.05))
    axes.set_ylabel(f"Points of {points:,}\n({norm_of(one.norm).symbol} norm)")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))


def _name(axes: Axes, names: Sequence[str], turned: int) -> None:
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=turned,
        rotation_mode="anchor",
        ha="right" if turned else "center",
        va="center" if turned == 90 else "top",
        parse_math=False,
    )
    axes.tick_params(axis="x", length=0, pad=5 if turned else 3)
