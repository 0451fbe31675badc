"""Charts: accuracies by epoch and by robustness, learning rates, label distributions, and what a search found.

Accuracies by epoch are Figure 1 (b). Accuracy by robustness is its pentagons for a whole set, where the paper has the
1,024 most and the 1,024 least robust points. Label distributions are Figures 4 (a) and (b), learning rates (c) and (d);
the last of these are drawn logarithmic, so that an exponential fall is a straight line and 8e-7 does not lie on the
axis. A search is that for the sampler's arguments (Appendix B).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from datarobust.errors import DataError, UsageError
from datarobust.figures import demand_room, records, style
from datarobust.norms import norm_of
from datarobust.schedules import LEAST_EPOCHS, SCHEDULES, momentum_and_rate
from datarobust.text import tsv
from datarobust.types import Floats, Rows

if TYPE_CHECKING:
    from datarobust.diffusion.sampler import Sampler
    from datarobust.diffusion.search import Result

# -------------------------------------------------------------------------------------------- accuracies by epoch

MOST_RUNS: Final = 24  # runs on one picture
MOST_EPOCHS: Final = 100_000  # of a schedule

TRACKED: Final = "tracked_accuracy"
#: Field of the log -> what the legend says, and how it is drawn.
SERIES: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "train_accuracy": ("training, clean", style.line_style(0)),
    "train_robust_accuracy": ("training, adversarial", {"color": "#56B4E9", "linestyle": (0, (5.0, 1.6))}),
    "test_accuracy": ("test, clean", style.line_style(6) | {"linestyle": "solid"}),
    "test_robust_accuracy": (
        "test, adversarial (PGD-40)",
        {"color": "#595959", "linestyle": (0, (1.2, 1.3)), "marker": "o", "markersize": 3.0},
    ),
    TRACKED: (
        "tracked, adversarial (PGD-40)",
        {"color": "#D00000", "marker": "p", "markersize": 6.0, "markeredgecolor": "white", "markeredgewidth": 0.4},
    ),
}

_HEIGHT: Final = 2.1  # inches, of a panel
_LONE: Final = (4.2, 2.6)  # one panel alone
_LEGEND: Final = 0.5
_PENTAGONS: Final = 12
_DOTS: Final = 24
_MANY: Final = 100
_THIN: Final = 0.7  # points, of a line of more than so many epochs: noise must not hide what lies beneath


@dataclass(frozen=True)
class Course:
    """How a training went."""

    name: str  # any text
    values: Mapping[str, Floats]  # of each of SERIES (E,) accuracy in 0..1 by epoch; NaN where it was not measured

    def measured(self, field: str) -> Rows:
        """Epochs, from 0, at which there is a value."""
        return np.flatnonzero(np.isfinite(self.values[field])).astype(np.int64)


def course(name: str, lines: Sequence[Mapping[str, Any]], where: str) -> Course:
    """A training from the lines of its log, one an epoch, in order; ``where`` is what messages call the log."""
    if not lines:
        raise DataError(f"{where}: no epoch of this run is over: there is nothing to draw yet")
    values = {field: np.full(len(lines), np.nan) for field in SERIES}
    for epoch, line in enumerate(lines):
        for field in SERIES:
            if (value := line.get(field)) is not None:
                if type(value) not in (int, float) or not 0.0 <= value <= 1.0:
                    raise DataError(f"{where}, line {epoch + 1}: {field} is not a number from 0 to 1")
                values[field][epoch] = value
    if all(np.isnan(column).all() for column in values.values()):
        raise DataError(f"{where}: it has no accuracies, so it is the log of no adversarial training")
    return Course(name, values)


def draw_courses(courses: Sequence[Course]) -> Figure:
    """A panel for each run, two in a row, all with one vertical axis; one legend above them.

    Twelve of the tracked accuracies are pentagons, the last one with its value beside it.
    """
    demand_room(courses, "runs", MOST_RUNS)
    columns = min(2, len(courses))
    rows = math.ceil(len(courses) / columns)
    width, height = _LONE if len(courses) == 1 else (style.PAGE / columns, _HEIGHT)
    with style.look():
        figure = style.new_figure(columns * width, rows * height + _LEGEND, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(courses) :]:
            axes.set_visible(False)
        for axes, run in zip(grid.flat, courses, strict=False):
            epochs = len(run.values[TRACKED])
            for field, (_, look) in SERIES.items():
                measured = run.measured(field)
                if not measured.size:
                    continue
                most = min(_PENTAGONS if field == TRACKED else _DOTS, len(measured))
                marked = np.unique(np.linspace(0, len(measured) - 1, most).round().astype(int)).tolist()
                dot = {"marker": "."} if len(measured) == 1 else {}
                line = dot | look | {"linewidth": style.LINE_WIDTH if epochs <= _MANY else _THIN}
                values = 100 * run.values[field][measured]
                axes.plot(measured + 1, values, markevery=marked, clip_on=False, **line)
                if field == TRACKED:  # the last one in figures, beside its pentagon
                    end, beside = (float(measured[-1] + 1), float(values[-1])), {"xytext": (5, 0), "va": "center"}
                    text = {"fontsize": style.SMALL, "color": look["color"], "annotation_clip": False}
                    axes.annotate(f"{values[-1]:.1f}", end, textcoords="offset points", **beside, **text)
            style.epoch_axis(axes, 0, epochs)
            axes.set_ylim(0, 100)
            room = (width - 0.6) * style.POINTS_PER_INCH
            axes.set_title(style.fitted(run.name, room, style.NORMAL), parse_math=False)
        for row in grid:
            row[0].set_ylabel("Accuracy [%]")
        for axes in grid.flat[max(0, len(courses) - columns) : len(courses)]:
            axes.set_xlabel("Epoch")
        fields = [field for field in SERIES if any(run.measured(field).size for run in courses)]
        style.legend(
            figure,
            [{"linewidth": style.LINE_WIDTH, **SERIES[field][1]} for field in fields],
            [SERIES[field][0] for field in fields],
            loc="outside upper center",
            ncols=2 if len(courses) == 1 else 3,
            handlelength=2.8,
        )
    return figure


def table_of_courses(courses: Sequence[Course]) -> Iterator[str]:
    """Every epoch as a line of a TSV file; a field is empty where nothing was measured."""
    lines = (
        (run.name, epoch, *(None if math.isnan(value) else value for value in values))
        for run in courses
        for epoch, values in enumerate(records(*(run.values[field] for field in SERIES)), 1)
    )
    return tsv(f"run epoch {' '.join(SERIES)}", lines)


# ------------------------------------------------------------------------------------------------ learning rates


_SCHEDULE: Final = (3.25, 2.8)  # inches, a panel
_DETAIL: Final = 6  # the last of so many equal parts is drawn in detail
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def schedules(epochs: int, largest: float) -> dict[str, Floats]:
    """Of each schedule, the original first, learning rate and momentum of the first step of each epoch, (2, epochs)."""
    if not LEAST_EPOCHS <= epochs <= MOST_EPOCHS:
        why = "in fewer the learning rate changes from step to step"
        raise UsageError(f"`epochs` {epochs}: from {LEAST_EPOCHS} to {MOST_EPOCHS:,} epochs can be drawn; {why}")
    if not (math.isfinite(largest) and largest > 0):
        raise UsageError(f"`lr` {largest:g}: a positive number is needed")
    return {
        name: np.array([momentum_and_rate(name, epoch, epochs, 1, largest)[::-1] for epoch in range(epochs)]).T
        for name in SCHEDULES
    }


def draw_schedules(every: Mapping[str, Floats]) -> Figure:
    """Two panels, all epochs and the last of them.

    A version is drawn from where it leaves the original, the first of ``every``: before, there is one curve.
    """
    rates = np.stack([rate for rate, _ in every.values()])
    epochs = rates.shape[1]
    detail = -(-epochs // _DETAIL)
    styles = [style.line_style(number) for number in range(len(rates))]
    with style.look():
        figure = style.new_figure(2 * _SCHEDULE[0], _SCHEDULE[1], layout="constrained")
        whole, last = figure.subplots(1, 2)
        for rate, line in zip(rates, styles, strict=True):
            apart = np.flatnonzero(rate != rates[0])
            leaves = max(0, int(apart[0]) - 1) if len(apart) else 0
            for axes, start in ((whole, leaves), (last, max(leaves, epochs - detail))):
                axes.plot(np.arange(start, epochs) + 1, rate[start:], **line)
        whole.set_title("Learning rate")
        whole.set_ylim(0.0, float(rates.max()) * 1.04)
        last.set_title(f"The last {detail:,} epochs, logarithmic")
        last.set_yscale("log")
        last.set_ylim(float(rates[:, -detail:].min()) / 1.5, float(rates[:, -detail:].max()) * 1.5)
        for axes, start in ((whole, 1), (last, epochs - detail + 1)):
            axes.set_xlabel("Epoch")
            style.epoch_axis(axes, start, epochs)
        entries = []
        for name, last_rate in zip(every, rates[:, -1], strict=True):  # such as 1.5·10⁻⁵
            digits, _, exponent = f"{last_rate:.1e}".partition("e")
            entries.append(f"{name}: {digits.removesuffix('.0')}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}")
        style.legend_of_sets("Last learning rate", entries, [""] * len(every), styles, whole, loc="upper right")
    return figure


def table_of_schedules(every: Mapping[str, Floats]) -> Iterator[str]:
    """The curves as lines of a TSV file."""
    lines = ((name, epoch, *pair) for name, pairs in every.items() for epoch, pair in enumerate(records(*pairs), 1))
    return tsv("schedule epoch lr momentum", lines)


# -------------------------------------------------------------------------------------------- label distributions

MOST_CLASSES: Final = 300  # more classes on one picture help nobody

GROUPS: Final = ("least robust", "random", "most robust")
_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"facecolor": "#D55E00", "edgecolor": "#D55E00"},
    {"facecolor": "white", "edgecolor": style.INK},
    {"facecolor": "#56B4E9", "edgecolor": "#0072B2", "hatch": "//////"},
)

_AXIS: Final = 0.65  # inches that the vertical axis and its label take
_PANEL: Final = 1.5  # height
_WIDEST: Final = 0.55  # of a class: a set of two classes makes a narrow picture
_NARROWEST: Final = 0.17  # a line of text and a gap
_TOP: Final = 0.35  # the legend
_CLASS_WIDTH: Final = 80.0  # points; longer names of classes are shortened
_BARS: Final = 0.8  # of the width of a class
_EDGE: Final = 0.5  # points


def class_counts(labels: Rows, classes: Rows, chosen: Sequence[Rows]) -> Rows:
    """How many of the chosen points, by group their rows, are of each class, int64 (groups, C).

    ``labels`` (N,) are those of all points, ``classes`` (C,) ascend and hold every label that occurs.
    """
    places = [np.searchsorted(classes, labels[rows]) for rows in chosen]
    return np.stack([np.bincount(place, minlength=len(classes)) for place in places]).astype(np.int64)


def draw_labels(distributions: Mapping[str, Rows], names: Sequence[str], points: int) -> Figure:
    """A panel for each norm, one below the other; many classes (C ``names``, any text) go on in further panels.

    ``distributions`` are :func:`class_counts` of :data:`GROUPS` by norm, of so many ``points`` in each group.
    """
    demand_room(names, "classes", MOST_CLASSES)
    parts = math.ceil(len(names) / math.floor((style.PAGE - _AXIS) / _NARROWEST))
    columns = math.ceil(len(names) / parts)
    slot = min(_WIDEST, (style.PAGE - _AXIS) / columns)
    shown = [style.fitted(name, _CLASS_WIDTH, style.SMALL) for name in names]
    widest = max(style.width_of(name, style.SMALL) for name in shown)
    points_of_slot = slot * style.POINTS_PER_INCH
    angle = 0
    if widest + 4 > points_of_slot:  # names are turned as little as keeps them apart
        angle = next((a for a in (30, 45) if points_of_slot * math.sin(math.radians(a)) > 1.25 * style.SMALL), 90)
    below = (widest * math.sin(math.radians(angle)) + style.SMALL) / style.POINTS_PER_INCH + 0.1
    with style.look():
        size = (max(_AXIS + columns * slot, 3.4), _TOP + parts * (len(distributions) * _PANEL + below))
        figure = style.new_figure(*size, layout="constrained")
        grid = figure.subplots(parts * len(distributions), 1, squeeze=False)[:, 0]
        bar = _BARS / len(GROUPS)
        panels = product(range(parts), distributions.items())
        for axes, (part, (norm, counts)) in zip(grid, panels, strict=True):
            inside = slice(part * columns, (part + 1) * columns)
            for group, (heights, look) in enumerate(zip(counts[:, inside], _LOOKS, strict=True)):
                classes = np.flatnonzero(heights)  # a bar of no height would be a line
                axes.bar(classes + (group - 1) * bar, heights[classes], 0.9 * bar, linewidth=_EDGE, **look)
            axes.set_xlim(-0.5, columns - 0.5)
            axes.set_ylim(0.0, max(1.0, float(counts.max()) * 1.05))
            axes.set_ylabel(f"Points of {points:,}\n({norm_of(norm).symbol} norm)")
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
            last = norm == list(distributions)[-1]
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


def table_of_labels(distributions: Mapping[str, Rows], labels: Rows, names: Sequence[str]) -> Iterator[str]:
    """The counts as lines of a TSV file; ``labels`` and ``names`` are those of the C classes."""
    lines = ((norm, *line) for norm, counts in distributions.items() for line in records(labels, names, *counts))
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
                100 * np.array([row[field] for row in profile.rows]) for field in ("clean", "robust", "low", "high")
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


def draw_search(points: Sequence[Sampler], results: Sequence[Result], features: str) -> Figure:
    """Above, the mean score of all points by the value of each argument; below, the points of the last rung.

    A point of the last rung is the mean over its seeds with a line from the lowest to the highest; those that seeds
    cannot tell from the best are coloured. ``features`` are what the scores are distances of, any text.
    """
    from datarobust.diffusion.search import main_effects, mean_scores, seed_spread, survivors, top_set

    sizes = sorted({result.images for result in results})
    first, last = ([result for result in results if result.images == size] for size in (sizes[0], sizes[-1]))
    effects = main_effects(first, points)
    if len(effects["S_max"]) == 1:  # as in the paper: no effect to see
        del effects["S_max"]
    with style.look():
        figure = style.new_figure(*_SEARCH, layout="constrained")
        grid = figure.add_gridspec(2, len(effects))
        for column, (name, effect) in enumerate(effects.items()):
            axes = figure.add_subplot(grid[0, column], sharey=figure.axes[0] if column else None)
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
    from datarobust.diffusion.search import GRID

    lines = []
    for each in sorted(results, key=lambda result: (result.images, result.point, result.seed)):
        arguments = [f"{getattr(points[each.point], name):g}" for name in GRID]
        lines.append((each.point, *arguments, each.seed, each.images, each.score))
    return tsv(f"point {' '.join(GRID)} seed images score", lines)
