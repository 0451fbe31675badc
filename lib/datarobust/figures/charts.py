"""Charts of what was counted: labels of the least and the most robust points, accuracy by robustness, a search.

Label distributions (Figures 4 (a) and (b)) have three bars a class, as in the paper: at the left the least robust, in
the centre random, at the right the most robust points. The bars differ in fill too, so that they stay apart in grey
print.

Accuracy by robustness is the red pentagons of Figure 1 (b) for a whole set: it is cut into parts of almost equal size
by the distance of each point to the nearest point of another label, the least robust part first. The paper has two
points of this curve, the 1,024 most and the 1,024 least robust ones.

A search for the sampler's arguments (Appendix B) has main effects, and the best points with their seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from datarobust.errors import UsageError
from datarobust.figures import demand_room, records, style
from datarobust.norms import norm_of
from datarobust.text import tsv
from datarobust.types import Rows

if TYPE_CHECKING:
    from datarobust.diffusion.sampler import Sampler
    from datarobust.diffusion.search import Result

# -------------------------------------------------------------------------------------------- label distributions

MOST_CLASSES: Final = 300  # more classes on one picture help nobody

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

_CLASS_WIDTH: Final = 80.0  # points; longer names of classes are shortened
_BARS: Final = 0.8  # of the width of a class
_EDGE: Final = 0.5  # points


@dataclass(frozen=True)
class Distribution:
    """How many points of each class are in each of :data:`GROUPS`, for one norm."""

    norm: str  # of the ranking
    counts: Rows  # (3, C)


def class_counts(labels: Rows, classes: Rows, chosen: Sequence[Rows]) -> Rows:
    """How many of the chosen points, by group their rows, are of each class, int64 (groups, C).

    ``labels`` (N,) are those of all points, ``classes`` (C,) ascend and hold every label that occurs.
    """
    places = [np.searchsorted(classes, labels[rows]) for rows in chosen]
    return np.stack([np.bincount(place, minlength=len(classes)) for place in places]).astype(np.int64)


def draw_labels(distributions: Sequence[Distribution], names: Sequence[str], points: int) -> Figure:
    """A panel for each norm, one below the other; many classes (C ``names``, any text) go on in further panels.

    ``points``: how many are in each group; the label of the vertical axis says so.
    """
    demand_room(names, "classes", MOST_CLASSES)
    norms = [norm_of(distribution.norm).name for distribution in distributions]
    for norm in norms:
        if norms.count(norm) > 1:
            raise UsageError(f"two rankings are in the {norm} norm: a picture has one panel for each norm.")
    parts = math.ceil(len(names) / math.floor((style.PAGE - _AXIS) / _NARROWEST))
    columns = math.ceil(len(names) / parts)
    slot = min(_WIDEST, (style.PAGE - _AXIS) / columns)
    shown = [style.fitted(name, _CLASS_WIDTH, style.SMALL) for name in names]
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


def table_of_labels(every: Sequence[Distribution], labels: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """The counts as lines of a TSV file; ``labels`` and ``names`` are those of the C classes."""
    lines = ((each.norm, *line) for each in every for line in records(labels, names, *each.counts))
    return tsv("norm label class least random most", lines)


# ----------------------------------------------------------------------------------------- accuracy by robustness

MOST_PROFILES: Final = len(style.COLOURS)  # networks on one picture: each has a colour of its own
FIELDS: Final = ("quantile", "points", "lowest", "highest", "clean", "robust", "low", "high")

_DECILES: Final = (5.6, 3.3)  # inches
_APART: Final = 0.09  # between the markers of two networks, in parts
_FEW: Final = 12  # so many parts, or fewer, have their distances written beneath them
_PROFILE_WIDTH: Final = 150.0  # points


@dataclass(frozen=True)
class Profile:
    """Accuracy of one network, part by part."""

    name: str  # any text
    rows: Sequence[Mapping[str, Any]]  # one a part, least robust first, with FIELDS
    upper_bound: bool = False  # whether more attacks could lower ``robust``


def draw_deciles(profiles: Sequence[Profile], ranked_by: str, norm: str, eps: str) -> Figure:
    """One panel: pentagons with 95 % intervals for accuracy under attack, small dots for clean accuracy.

    All profiles have the same parts, by distances in the norm ``ranked_by``; the attack's are ``norm`` and ``eps``.
    """
    demand_room(profiles, "evaluations", MOST_PROFILES)
    rows = profiles[0].rows
    parts = len(rows)
    pentagon: dict[str, Any] = {"marker": "p", "markersize": 6.0, "linewidth": style.LINE_WIDTH}
    dot: dict[str, Any] = {"marker": "o", "markersize": 2.5, "linestyle": (0, (1.2, 1.3)), "linewidth": 0.8}
    with style.look():
        figure = style.new_figure(*_DECILES, layout="constrained")
        axes = figure.subplots()
        for number, profile in enumerate(profiles):
            places = [row["quantile"] + (number - (len(profiles) - 1) / 2) * _APART for row in profile.rows]
            clean, robust, low, high = (
                style.PERCENT * np.array([row[field] for row in profile.rows])
                for field in ("clean", "robust", "low", "high")
            )
            look: dict[str, Any] = {"color": style.COLOURS[number], "clip_on": False}
            edges: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4, "elinewidth": 0.7, "zorder": 3}
            axes.errorbar(places, robust, np.abs([robust - low, robust - high]), **pentagon, **edges, **look)
            axes.plot(places, clean, **dot, **look)
        axes.set_ylim(0, 100)
        axes.set_xlim(0.5, parts + 0.5)
        axes.set_ylabel("Accuracy [%]")
        label = f"{'Decile' if parts == 10 else f'Part, of {parts}'}, the least robust points first"
        if parts <= _FEW:
            ends = ["∞" if math.isinf(row["highest"]) else f"{row['highest']:#.3g}" for row in rows]
            numbers = [f"{row['quantile']}\n≤ {end}" for row, end in zip(rows, ends, strict=True)]
            axes.set_xticks([row["quantile"] for row in rows], numbers)
            label += f"\n(≤: largest {norm_of(ranked_by).symbol} distance to another label)"
        axes.set_xlabel(label)

        # A colour a network, then which marker is what; an upper bound is called so.
        names = [
            style.fitted(profile.name, _PROFILE_WIDTH, style.SMALL) + (" (upper bound)" if profile.upper_bound else "")
            for profile in profiles
        ]
        attack = "under attack" if any(profile.upper_bound for profile in profiles) else "AutoAttack"
        networks = [{"color": style.COLOURS[number], "linewidth": 2.0} for number in range(len(profiles))]
        ours = [pentagon | {"color": style.INK}, dot | {"color": style.INK}]
        entries = [*names, f"{attack}, {norm_of(norm).symbol} {eps}; 95 % interval", "clean"]
        spaces = {"ncols": 2, "handlelength": 2.4, "columnspacing": 1.4}
        shown = style.legend(figure, [*networks, *ours], entries, loc="outside upper center", **spaces)
        shown.get_texts()[-2].set_parse_math(True)
    return figure


def table_of_deciles(profiles: Sequence[Profile]) -> Iterator[str]:
    """Every part as a line of a TSV file."""
    lines = ((each.name, each.upper_bound, *(row[field] for field in FIELDS)) for each in profiles for row in each.rows)
    return tsv(f"evaluation upper_bound {' '.join(FIELDS)}", lines)


# --------------------------------------------------------------------------------------------------------- search

_SHOWN: Final = 40  # points of the last rung, best first
_SEARCH: Final = (6.5, 4.6)  # inches


def draw_search(points: Sequence[Sampler], first: Sequence[Result], last: Sequence[Result], features: str) -> Figure:
    """Above, the mean score of all points by the value of each argument; below, the points of the last rung.

    A point of the last rung is the mean over its seeds with a line from the lowest to the highest; those that seeds
    cannot tell from the best are coloured. ``features`` are what the scores are distances of, any text.
    """
    from datarobust.diffusion.search import main_effects, mean_scores, seed_spread, survivors, top_set

    effects = main_effects(first, points)
    with style.look():
        figure = style.new_figure(*_SEARCH, layout="constrained")
        grid = figure.add_gridspec(2, len(effects))
        shared: Axes | None = None
        for column, (name, effect) in enumerate(effects.items()):
            axes = figure.add_subplot(grid[0, column], sharey=shared)
            shared = shared or axes
            axes.plot(range(len(effect)), list(effect.values()), marker="o", markersize=3, color=style.COLOURS[0])
            axes.set_xticks(range(len(effect)), [f"{value:g}" for value in effect])
            axes.margins(x=0.15)
            axes.set_title(name, parse_math=False)
            axes.tick_params(labelleft=not column)
        figure.axes[0].set_ylabel(f"mean score, {first[0].images:,} images")

        axes = figure.add_subplot(grid[1, :])
        means, best, order = mean_scores(last), set(top_set(last)), survivors(last, _SHOWN)
        for place, number in enumerate(order):
            scores = [result.score for result in last if result.point == number]
            colour = style.COLOURS[1] if number in best else style.QUIET
            axes.plot([place, place], [min(scores), max(scores)], color=colour, linewidth=1.0)
            axes.plot([place], [means[number]], marker="o", markersize=3.5, color=colour)
        axes.set_xticks(range(len(order)), [str(number) for number in order], rotation=90 if len(order) > 12 else 0)
        axes.set_xlabel("point of the grid, best first")
        axes.set_ylabel(f"score, {last[0].images:,} images")
        spread = seed_spread(last)
        seeds = "one seed" if spread is None else f"deviation from seed to seed {spread:.3g}"
        features = style.fitted(features, 220, style.NORMAL)
        axes.set_title(f"{features}: {len(best)} that seeds cannot tell from the best ({seeds})", parse_math=False)
    return figure


def table_of_search(points: Sequence[Sampler], results: Sequence[Result]) -> Iterator[str]:
    """Every result as a line of a TSV file."""
    from datarobust.diffusion.search import GRID, varied

    lines = (
        (
            each.point,
            *(f"{value:g}" for value in varied(points[each.point]).values()),
            each.seed,
            each.images,
            each.score,
        )
        for each in sorted(results, key=lambda result: (result.images, result.point, result.seed))
    )
    return tsv(f"point {' '.join(GRID)} seed images score", lines)
