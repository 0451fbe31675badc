"""Learning rates over the epochs of a training: Figures 4 (c) and (d).

At the left all epochs on a linear scale, with the last learning rate of each schedule in the top right, as the paper
has it.  At the right the last sixth (400 of 2400 epochs) on a logarithmic scale, where an exponential fall is a
straight line and 8e-7 does not lie on the axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.legend import compose, line
from datarobust.schedules import LEAST_EPOCHS, SCHEDULES, momentum_and_rate

#: The last of so many equal parts of the training is drawn in detail.
PARTS: Final = 6
MOST: Final = 100_000
"""Epochs that are drawn."""

_PANEL: Final = (3.25, 2.8)  # inches
_HEADROOM: Final = 0.04
_PLACES: Final = 120
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Schedule:
    """One learning-rate schedule.

    Attributes:
        name: a key of :data:`datarobust.schedules.SCHEDULES`.
        momentum: (E,) float64, of the first step of each epoch.
        rate: (E,) float64, its learning rate.
    """

    name: str
    momentum: NDArray[np.float64]
    rate: NDArray[np.float64]


def schedules(epochs: int, largest: float) -> list[Schedule]:
    """All schedules, the original first.

    Args:
        epochs: of the training, E; in shorter ones than 40 the learning rate follows the steps, not the epochs.
        largest: the largest learning rate.

    Raises:
        UsageError: a number of epochs or a learning rate that no training has.
    """
    if not LEAST_EPOCHS <= epochs <= MOST:
        raise UsageError(
            f"`epochs` {epochs}: from {LEAST_EPOCHS} to {MOST:,} epochs can be drawn; in fewer the learning rate "
            "changes from step to step"
        )
    if not (math.isfinite(largest) and largest > 0):
        raise UsageError(f"`lr` {largest:g}: a positive number is needed")
    found = []
    for name in SCHEDULES:
        pairs = np.array([momentum_and_rate(name, epoch, epochs, 1, largest) for epoch in range(epochs)])
        found.append(Schedule(name, pairs[:, 0], pairs[:, 1]))
    return found


def draw(found: Sequence[Schedule]) -> Figure:
    """Two panels, all epochs and the last of them.

    A version is drawn from where it leaves the original, the first of ``found``: before, there is one curve.
    """
    epochs = len(found[0].rate)
    detail = -(-epochs // PARTS)
    with style.look():
        figure = style.new_figure(2 * _PANEL[0], _PANEL[1], layout="constrained")
        whole, last = figure.subplots(1, 2)
        for number, one in enumerate(found):
            leaves = _leaves(one, found[0]) if number else 0
            for axes, begin in ((whole, 0), (last, epochs - detail)):
                places = _even(max(begin, leaves), epochs)
                axes.plot(places + 1, one.rate[places], **line(number))
        whole.set_xlim(1, epochs)
        whole.set_ylim(0.0, max(float(one.rate.max()) for one in found) * (1 + _HEADROOM))
        last.set_xlim(epochs - detail + 1, epochs)
        last.set_yscale("log")
        ends = [float(rate) for one in found for rate in one.rate[-detail:]]
        last.set_ylim(min(ends) / 1.5, max(ends) * 1.5)
        for axes, title in ((whole, "Learning rate"), (last, f"The last {detail:,} epochs, logarithmic")):
            _label(axes, title)
        compose(
            "Last learning rate",
            [one.name for one in found],
            [""] * len(found),
            [line(number) for number in range(len(found))],
            [f": {_number(float(one.rate[-1]))}" for one in found],
        ).draw(whole, "upper right")
    return figure


def table(found: Sequence[Schedule]) -> Iterator[str]:
    """The curves as lines of a TSV file, a header first: schedule, epoch, lr, momentum."""
    yield "schedule\tepoch\tlr\tmomentum\n"
    for one in found:
        for epoch, (rate, momentum) in enumerate(zip(one.rate.tolist(), one.momentum.tolist(), strict=True), 1):
            yield f"{one.name}\t{epoch}\t{rate!r}\t{momentum!r}\n"


def _leaves(one: Schedule, original: Schedule) -> int:
    """The last place before the first at which the two differ."""
    apart = np.flatnonzero(one.rate != original.rate)
    return max(0, int(apart[0]) - 1) if len(apart) else 0


def _even(begin: int, end: int) -> NDArray[np.int64]:
    """Both ends of a range and, evenly between them, as many places as the eye needs for a smooth curve."""
    return np.unique(np.linspace(begin, end - 1, min(_PLACES, end - begin)).round().astype(np.int64))


def _label(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))


def _number(value: float) -> str:
    """Two digits and a power of ten: 1.5·10⁻⁵."""
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
