"""Label distributions of the least robust, of random and of the most robust points: Figures 4 (a) and (b).

Three bars a class, as in the paper: at the left the least robust, in the centre random, at the right the most robust
points. The bars differ in fill too, so that they stay apart in grey print.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from datarobust.errors import UsageError
from datarobust.figures import demand_room, records, style
from datarobust.norms import norm_of
from datarobust.text import tsv
from datarobust.types import Rows

MOST: Final = 300  # more classes on one picture help nobody

GROUPS: Final = ("least robust", "random", "most robust")
_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"facecolor": "#D55E00", "edgecolor": "#D55E00"},
    {"facecolor": "white", "edgecolor": style.INK},
    {"facecolor": "#56B4E9", "edgecolor": "#0072B2", "hatch": "//////"},
)

# Inches.
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
    """How many points of each class are in each of :data:`GROUPS`, for one norm."""

    norm: str  # of the ranking
    counts: Rows  # (3, C)


def count(labels: Rows, classes: Rows, chosen: Sequence[Rows]) -> Rows:
    """How many of the chosen points, by group their rows, are of each class, int64 (groups, C).

    ``labels`` (N,) are those of all points, ``classes`` (C,) ascend and hold every label that occurs.
    """
    places = [np.searchsorted(classes, labels[rows]) for rows in chosen]
    return np.stack([np.bincount(place, minlength=len(classes)) for place in places]).astype(np.int64)


def draw(distributions: Sequence[Distribution], names: Sequence[str], points: int) -> Figure:
    """A panel for each norm, one below the other; many classes (C ``names``, any text) go on in further panels.

    ``points``: how many are in each group; the label of the vertical axis says so.
    """
    demand_room(names, "classes", MOST)
    norms = [norm_of(distribution.norm).name for distribution in distributions]
    for norm in norms:
        if norms.count(norm) > 1:
            raise UsageError(f"two rankings are in the {norm} norm: a picture has one panel for each norm.")
    parts = math.ceil(len(names) / math.floor((style.PAGE - _AXIS) / _NARROWEST))
    columns = math.ceil(len(names) / parts)
    slot = min(_WIDEST, (style.PAGE - _AXIS) / columns)
    shown = [style.fitted(name, _NAME_WIDTH, style.SMALL) for name in names]
    widest = max(style.width_of(name, style.SMALL) for name in shown)
    points_of_slot = slot * style.POINTS_PER_INCH
    angle = 0
    if widest + 4 > points_of_slot:  # names are turned as little as keeps them apart
        angles = [a for a in (30, 45) if points_of_slot * math.sin(math.radians(a)) > 1.25 * style.SMALL]
        angle = next(iter(angles), 90)
    below = (widest * math.sin(math.radians(angle)) + style.SMALL) / style.POINTS_PER_INCH + 0.1
    with style.look():
        size = (max(_AXIS + columns * slot, 3.4), _TOP + parts * (len(distributions) * _PANEL + below))
        figure = style.new_figure(*size, layout="constrained")
        grid = figure.subplots(parts * len(distributions), 1, squeeze=False)[:, 0]
        bar = _BARS / len(GROUPS)
        for row, axes in enumerate(grid):
            part, number = divmod(row, len(distributions))
            inside = slice(part * columns, (part + 1) * columns)
            distribution = distributions[number]
            for group, (heights, look) in enumerate(zip(distribution.counts[:, inside], _LOOKS, strict=True)):
                classes = np.flatnonzero(heights)  # a bar of no height would be a line
                axes.bar(classes + (group - 1) * bar, heights[classes], 0.9 * bar, linewidth=_EDGE, **look)
            axes.set_xlim(-0.5, columns - 0.5)
            axes.set_ylim(0.0, max(1.0, float(distribution.counts.max()) * 1.05))
            axes.set_ylabel(f"Points of {points:,}\n({norm_of(distribution.norm).symbol} norm)")
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
            last = number == len(distributions) - 1
            axes.set_xticks(
                range(len(shown[inside])),
                shown[inside] if last else [""] * len(shown[inside]),
                rotation=angle,
                rotation_mode="anchor",
                ha="right" if angle else "center",
                va="center" if angle == 90 else "top",
                parse_math=False,
            )
            axes.tick_params(axis="x", length=0, pad=5 if angle else 3)
        patches = [Patch(linewidth=_EDGE, **look) for look in _LOOKS]
        figure.legend(patches, GROUPS, loc="outside upper center", ncols=len(GROUPS))
        figure.align_ylabels()
    return figure


def table(distributions: Sequence[Distribution], labels: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """The counts as lines of a TSV file; ``labels`` and ``names`` are those of the C classes."""
    return tsv(
        "norm label class least random most",
        (
            (distribution.norm, label, name, *counts)
            for distribution in distributions
            for label, name, counts in records(labels, names, distribution.counts.T)
        ),
    )
