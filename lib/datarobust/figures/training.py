"""Accuracies by epoch: Figure 1 (b).

One panel a run, as the paper has one for a focus on the most and one on the least robust points: clean and adversarial
accuracy on the training batches, on the test set, and as red pentagons on the tracked points (PGD-40).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.text import tsv
from datarobust.types import Floats, Rows

MOST: Final = 24
"""Runs on one picture."""

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

_PENTAGONS: Final = 12
_DOTS: Final = 24
_MANY: Final = 100
_THIN: Final = 0.7
"""Width of a line of more than so many epochs, points: noise must not hide what lies beneath."""


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        name: any text.
        values: of each of :data:`SERIES` (E,) accuracy in 0..1 by epoch from 1 on; NaN where it was not measured.
    """

    name: str
    values: Mapping[str, Floats]

    def measured(self, field: str) -> Rows:
        """Epochs, from 0, at which there is a value."""
        return np.flatnonzero(np.isfinite(self.values[field])).astype(np.int64)


def course(name: str, lines: Sequence[Mapping[str, Any]], where: str) -> Course:
    """A training from the lines of its log.

    Args:
        name: what the picture calls it.
        lines: one an epoch, in order.
        where: what messages call the log.

    Raises:
        DataError: no epoch is over, no accuracy is in the log, or one is no number from 0 to 1.
    """
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

    Args:
        courses: in order.

    Raises:
        UsageError: nothing to draw, or more runs than :data:`MOST`.
    """
    if not courses:
        raise UsageError("nothing to draw: give at least one run")
    if len(courses) > MOST:
        raise UsageError(f"{len(courses)} runs cannot be shown on one picture: it has room for {MOST}")
    columns = min(2, len(courses))
    rows = math.ceil(len(courses) / columns)
    width, height = _LONE if len(courses) == 1 else (style.PAGE / columns, _HEIGHT)
    with style.look():
        figure = style.new_figure(columns * width, rows * height + _LEGEND, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(courses) :]:
            axes.set_visible(False)
        for axes, one in zip(grid.flat, courses, strict=False):
            epochs = len(one.values[TRACKED])
            for field, (_, look) in SERIES.items():
                measured = one.measured(field)
                if not measured.size:
                    continue
                most = min(_PENTAGONS if field == TRACKED else _DOTS, len(measured))
                axes.plot(
                    measured + 1,
                    one.values[field][measured] * style.PERCENT,
                    markevery=np.unique(np.linspace(0, len(measured) - 1, most).round().astype(int)).tolist(),
                    clip_on=False,
                    **({"marker": "."} if len(measured) == 1 else {})
                    | look
                    | {"linewidth": style.LINE_WIDTH if epochs <= _MANY else _THIN},
                )
            measured = one.measured(TRACKED)
            if measured.size:  # the last tracked accuracy in figures, beside its pentagon
                value = float(one.values[TRACKED][measured[-1]]) * style.PERCENT
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
            axes.set_xlim(0, epochs)
            axes.set_ylim(0, 100)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
            room = (width - 0.6) * style.POINTS_PER_INCH
            axes.set_title(style.fitted(one.name, room, style.NORMAL), parse_math=False)
        for row in grid:
            row[0].set_ylabel("Accuracy [%]")
        for axes in grid.flat[max(0, len(courses) - columns) : len(courses)]:
            axes.set_xlabel("Epoch")
        fields = [field for field in SERIES if any(one.measured(field).size for one in courses)]
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
    yield from tsv(
        f"run epoch {' '.join(SERIES)}",
        (
            (one.name, epoch, *(None if math.isnan(value) else value for value in values))
            for one in courses
            for epoch, values in enumerate(zip(*(one.values[f].tolist() for f in SERIES), strict=True), 1)
        ),
    )
