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
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.schedules import LEAST_EPOCHS, SCHEDULES, momentum_and_rate
from datarobust.text import tsv
from datarobust.types import Floats

#: The last of so many equal parts of the training is drawn in detail.
PARTS: Final = 6
MOST: Final = 100_000
"""Epochs that are drawn."""

_PANEL: Final = (3.25, 2.8)  # inches
_HEADROOM: Final = 0.04
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Schedule:
    """One learning-rate schedule.

    Attributes:
        name: a key of :data:`datarobust.schedules.SCHEDULES`.
        momentum: (E,) of the first step of each epoch.
        rate: (E,) its learning rate.
    """

    name: str
    momentum: Floats
    rate: Floats


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
    every = []
    for name in SCHEDULES:
        pairs = np.array([momentum_and_rate(name, epoch, epochs, 1, largest) for epoch in range(epochs)])
        every.append(Schedule(name, pairs[:, 0], pairs[:, 1]))
    return every


def draw(every: Sequence[Schedule]) -> Figure:
    """Two panels, all epochs and the last of them.

    A version is drawn from where it leaves the original, the first of ``every``: before, there is one curve.
    """
    epochs = len(every[0].rate)
    detail = -(-epochs // PARTS)
    with style.look():
        figure = style.new_figure(2 * _PANEL[0], _PANEL[1], layout="constrained")
        whole, last = figure.subplots(1, 2)
        for number, schedule in enumerate(every):
            apart = np.flatnonzero(schedule.rate != every[0].rate)
            leaves = max(0, int(apart[0]) - 1) if len(apart) else 0
            for axes, start in ((whole, leaves), (last, max(leaves, epochs - detail))):
                axes.plot(np.arange(start, epochs) + 1, schedule.rate[start:], **style.line_style(number))
        whole.set_xlim(1, epochs)
        whole.set_ylim(0.0, max(float(schedule.rate.max()) for schedule in every) * (1 + _HEADROOM))
        whole.set_title("Learning rate")
        last.set_xlim(epochs - detail + 1, epochs)
        last.set_yscale("log")
        rates = np.concatenate([schedule.rate[-detail:] for schedule in every])
        last.set_ylim(float(rates.min()) / 1.5, float(rates.max()) * 1.5)
        last.set_title(f"The last {detail:,} epochs, logarithmic")
        for axes in (whole, last):
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
        style.legend_of_sets(
            whole,
            "Last learning rate",
            [f"{schedule.name}: {_number(float(schedule.rate[-1]))}" for schedule in every],
            [""] * len(every),
            [style.line_style(number) for number in range(len(every))],
            loc="upper right",
        )
    return figure


def table(every: Sequence[Schedule]) -> Iterator[str]:
    """The curves as lines of a TSV file: schedule, epoch, lr, momentum."""
    yield from tsv(
        "schedule epoch lr momentum",
        (
            (schedule.name, epoch, rate, momentum)
            for schedule in every
            for epoch, (rate, momentum) in enumerate(
                zip(schedule.rate.tolist(), schedule.momentum.tolist(), strict=True), 1
            )
        ),
    )


def _number(value: float) -> str:
    """Two digits and a power of ten: 1.5·10⁻⁵."""
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
