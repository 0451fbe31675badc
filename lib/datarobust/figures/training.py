"""What happens from epoch to epoch: accuracies, Figure 1 (b), and learning rates, Figures 4 (c) and (d).

Accuracies have a panel a run, as the paper has one for a focus on the most and one on the least robust points: clean
and adversarial on the training batches, on the test set, and as red pentagons on the tracked points (PGD-40).

Learning rates are at the left all epochs on a linear scale, with the last learning rate of each schedule in the top
right, as the paper has it; at the right the last sixth (400 of 2400 epochs) on a logarithmic scale, where an
exponential fall is a straight line and 8e-7 does not lie on the axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from datarobust.errors import DataError, UsageError
from datarobust.figures import demand_room, records, style
from datarobust.schedules import LEAST_EPOCHS, SCHEDULES, momentum_and_rate
from datarobust.text import tsv
from datarobust.types import Floats, Rows

MOST: Final = 24  # runs on one picture
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

# Inches.
_HEIGHT: Final = 2.1  # of a panel
_LONE: Final = (4.2, 2.6)  # one panel alone
_LEGEND: Final = 0.5
_SCHEDULE: Final = (3.25, 2.8)  # a panel of learning rates

_PENTAGONS: Final = 12
_DOTS: Final = 24
_MANY: Final = 100
_THIN: Final = 0.7  # points, of a line of more than so many epochs: noise must not hide what lies beneath
_DETAIL: Final = 6  # the last of so many equal parts of a schedule is drawn in detail
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
            value = line.get(field)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise DataError(f"{where}, line {epoch + 1}: {field} is no number from 0 to 1")
            values[field][epoch] = value
    if all(np.isnan(column).all() for column in values.values()):
        raise DataError(f"{where}: it has no accuracies, so it is the log of no adversarial training")
    return Course(name, values)


def draw(courses: Sequence[Course]) -> Figure:
    """A panel for each run, two in a row, all with one vertical axis; one legend above them.

    Twelve of the tracked accuracies are pentagons, the last one with its value beside it.
    """
    demand_room(courses, "runs", MOST)
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
                axes.plot(
                    measured + 1,
                    run.values[field][measured] * style.PERCENT,
                    markevery=np.unique(np.linspace(0, len(measured) - 1, most).round().astype(int)).tolist(),
                    clip_on=False,
                    **({"marker": "."} if len(measured) == 1 else {})
                    | look
                    | {"linewidth": style.LINE_WIDTH if epochs <= _MANY else _THIN},
                )
            measured = run.measured(TRACKED)
            if measured.size:  # the last tracked accuracy in figures, beside its pentagon
                value = float(run.values[TRACKED][measured[-1]]) * style.PERCENT
                axes.annotate(
                    f"{value:.1f}",
                    (float(measured[-1] + 1), value),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=style.SMALL,
                    color=SERIES[TRACKED][1]["color"],
                    annotation_clip=False,
                )
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


def table(courses: Sequence[Course]) -> Iterator[str]:
    """Every epoch as a line of a TSV file; a field is empty where nothing was measured."""
    lines = (
        (run.name, epoch, *(None if math.isnan(value) else value for value in values))
        for run in courses
        for epoch, values in enumerate(records(*(run.values[field] for field in SERIES)), 1)
    )
    return tsv(f"run epoch {' '.join(SERIES)}", lines)


# ------------------------------------------------------------------------------------------------ learning rates


@dataclass(frozen=True)
class Schedule:
    """One learning-rate schedule over E epochs."""

    name: str  # a key of datarobust.schedules.SCHEDULES
    momentum: Floats  # (E,) of the first step of each epoch
    rate: Floats  # (E,) its learning rate


def schedules(epochs: int, largest: float) -> list[Schedule]:
    """All schedules with this largest learning rate, the original first."""
    if not LEAST_EPOCHS <= epochs <= MOST_EPOCHS:
        raise UsageError(
            f"`epochs` {epochs}: from {LEAST_EPOCHS} to {MOST_EPOCHS:,} epochs can be drawn; in fewer the learning "
            "rate changes from step to step"
        )
    if not (math.isfinite(largest) and largest > 0):
        raise UsageError(f"`lr` {largest:g}: a positive number is needed")
    pairs = {
        name: np.array([momentum_and_rate(name, epoch, epochs, 1, largest) for epoch in range(epochs)])
        for name in SCHEDULES
    }
    return [Schedule(name, values[:, 0], values[:, 1]) for name, values in pairs.items()]


def draw_schedules(every: Sequence[Schedule]) -> Figure:
    """Two panels, all epochs and the last of them.

    A version is drawn from where it leaves the original, the first of ``every``: before, there is one curve.
    """
    epochs = len(every[0].rate)
    detail = -(-epochs // _DETAIL)
    with style.look():
        figure = style.new_figure(2 * _SCHEDULE[0], _SCHEDULE[1], layout="constrained")
        whole, last = figure.subplots(1, 2)
        for number, schedule in enumerate(every):
            apart = np.flatnonzero(schedule.rate != every[0].rate)
            leaves = max(0, int(apart[0]) - 1) if len(apart) else 0
            for axes, start in ((whole, leaves), (last, max(leaves, epochs - detail))):
                axes.plot(np.arange(start, epochs) + 1, schedule.rate[start:], **style.line_style(number))
        rates = np.concatenate([schedule.rate[-detail:] for schedule in every])
        whole.set_title("Learning rate")
        whole.set_ylim(0.0, max(float(schedule.rate.max()) for schedule in every) * 1.04)
        last.set_title(f"The last {detail:,} epochs, logarithmic")
        last.set_yscale("log")
        last.set_ylim(float(rates.min()) / 1.5, float(rates.max()) * 1.5)
        for axes, start in ((whole, 1), (last, epochs - detail + 1)):
            axes.set_xlabel("Epoch")
            style.epoch_axis(axes, start, epochs)
        entries = []
        for schedule in every:  # such as 1.5·10⁻⁵
            digits, _, exponent = f"{schedule.rate[-1]:.1e}".partition("e")
            power = str(int(exponent)).translate(_SUPERSCRIPTS)
            entries.append(f"{schedule.name}: {digits.removesuffix('.0')}·10{power}")
        styles = [style.line_style(number) for number in range(len(every))]
        style.legend_of_sets(whole, "Last learning rate", entries, [""] * len(every), styles, loc="upper right")
    return figure


def table_of_schedules(every: Sequence[Schedule]) -> Iterator[str]:
    """The curves as lines of a TSV file."""
    lines = (
        (schedule.name, epoch, *values)
        for schedule in every
        for epoch, values in enumerate(records(schedule.rate, schedule.momentum), 1)
    )
    return tsv("schedule epoch lr momentum", lines)
