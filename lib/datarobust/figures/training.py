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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.legend import LINE_WIDTH

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
_PANEL: Final = (2.75, 2.1)
_LONE: Final = (4.2, 2.6)
_PAGE: Final = 6.5
_LEGEND: Final = 0.5
_ACROSS: Final = 2
"""Panels in a row."""

_PENTAGONS: Final = 12
_DOTS: Final = 24
_BUCKETS: Final = 300
_PERCENT: Final = 100.0
_MANY: Final = 100
_THIN: Final = 0.7
"""Width of a line of more than so many epochs, points: noise must not hide what lies beneath."""


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        name: any text.
        values: of each of :data:`SERIES` (E,) float64, accuracy in 0..1 by epoch from 1 on; NaN where it was not
            measured.
    """

    name: str
    values: Mapping[str, NDArray[np.float64]]

    @property
    def epochs(self) -> int:
        """How many are over, E."""
        return len(self.values[TRACKED])


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
    for place, line in enumerate(lines):
        for field in SERIES:
            value = line.get(field)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise DataError(f"{where}, line {place + 1}: {field} is no number from 0 to 1")
            values[field][place] = value
    if all(np.isnan(column).all() for column in values.values()):
        raise DataError(f"{where}: it has no accuracies, so it is the log of no adversarial training")
    return Course(name, values)


def draw(courses: Sequence[Course]) -> Figure:
    """A panel for each run, two in a row, all with one vertical axis; one legend above them.

    Curves of more than 600 epochs are thinned to the lowest and the highest value of each of 300 equal parts. Twelve of
    the tracked accuracies are pentagons, the last one with its value beside it.

    Args:
        courses: in order.

    Raises:
        UsageError: nothing to draw, or more runs than :data:`MOST`.
    """
    if not courses:
        raise UsageError("nothing to draw: give at least one run")
    if len(courses) > MOST:
        raise UsageError(f"{len(courses)} runs cannot be shown on one picture: it has room for {MOST}")
    columns = min(_ACROSS, len(courses))
    rows = math.ceil(len(courses) / columns)
    width, height = _LONE if len(courses) == 1 else (_PAGE / columns, _PANEL[1])
    with style.look():
        figure = style.new_figure(columns * width, rows * height + _LEGEND, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for number, axes in enumerate(grid.flat):
            if number < len(courses):
                _panel(axes, courses[number], width)
            else:
                axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel("Accuracy [%]")
        for axes in grid.flat[max(0, len(courses) - columns) : len(courses)]:
            axes.set_xlabel("Epoch")
        there = [field for field in SERIES if any(_measured(one, field).size for one in courses)]
        lines = [Line2D([], [], linewidth=LINE_WIDTH, **SERIES[field][1]) for field in there]
        names = [SERIES[field][0] for field in there]
        figure.legend(lines, names, loc="outside upper center", ncols=2 if len(courses) == 1 else 3, handlelength=2.8)
    return figure


def table(courses: Sequence[Course]) -> Iterator[str]:
    """Every epoch as a line of a TSV file, a header first; a field is empty where nothing was measured."""
    yield "\t".join(["run", "epoch", *SERIES]) + "\n"
    for one in courses:
        name = " ".join(one.name.split())
        for place in range(one.epochs):
            fields = [float(one.values[field][place]) for field in SERIES]
            shown = ["" if math.isnan(value) else repr(value) for value in fields]
            yield "\t".join([name, str(place + 1), *shown]) + "\n"


def _measured(one: Course, field: str) -> NDArray[np.int64]:
    """Epochs, from 0, at which there is a value."""
    return np.flatnonzero(np.isfinite(one.values[field])).astype(np.int64)


def thinned(values: NDArray[np.float64], buckets: int = _BUCKETS) -> NDArray[np.int64]:
    """Places of the values that are drawn: both ends, and the lowest and the highest of each of so many parts.

    Args:
        values: (n,) float64, finite.
        buckets: the parts.

    Returns:
        int64, ascending; all places where there are no more than two a part.
    """
    if len(values) <= 2 * buckets:
        return np.arange(len(values))
    kept = {0, len(values) - 1}
    for part in np.array_split(np.arange(len(values)), buckets):
        kept |= {int(part[values[part].argmin()]), int(part[values[part].argmax()])}
    return np.array(sorted(kept), np.int64)


def _panel(axes: Axes, one: Course, width: float) -> None:
    for field, (_, look) in SERIES.items():
        epochs = _measured(one, field)
        if not epochs.size:
            continue
        epochs = epochs[thinned(one.values[field][epochs])]
        most = _PENTAGONS if field == TRACKED else _DOTS
        marked = np.unique(np.linspace(0, len(epochs) - 1, min(most, len(epochs))).round().astype(int)).tolist()
        axes.plot(
            epochs + 1,
            one.values[field][epochs] * _PERCENT,
            linewidth=LINE_WIDTH if one.epochs <= _MANY else _THIN,
            markevery=marked,
            clip_on=False,
            **({"marker": "."} if len(epochs) == 1 else {}) | look,
        )
    _tell_last(axes, one)
    axes.set_xlim(0, one.epochs)
    axes.set_ylim(0, 100)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
    room = (width - 0.6) * style.POINTS_PER_INCH
    axes.set_title(style.fitted(one.name, room, style.NORMAL), parse_math=False)


def _tell_last(axes: Axes, one: Course) -> None:
    """The last tracked accuracy in figures, beside its pentagon."""
    epochs = _measured(one, TRACKED)
    if not epochs.size:
        return
    value = float(one.values[TRACKED][epochs[-1]]) * _PERCENT
    axes.annotate(
        f"{value:.1f}",
        (float(epochs[-1] + 1), value),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=style.SMALL,
        color=SERIES[TRACKED][1]["color"],
        annotation_clip=False,
    )
