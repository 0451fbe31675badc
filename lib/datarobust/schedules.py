"""Learning rate and momentum as pure functions of the step: the original schedule and the paper's five (Figure 4 c, d).

The original is a one-cycle (Smith & Topin 2019) as the reference runs it: the learning rate rises along a cosine from
1/25 of its largest value during the first 2.5 % of the training, and falls along one to 4e-6 of it; the momentum goes
the other way, 0.95 to 0.85 and back. (Appendix B states a momentum of 0.9; the reference's scheduler cycles it.) Values
change from epoch to epoch.

The paper's versions leave the original late (end values for a largest rate of 0.2; they scale with it):

=======  ================================================================================================
a        the cosine falls faster, to 2e-4 at 9/10 of the training, and stays there (the last 240 of 2400 epochs)
b        the same, at 5/6 (the last 400)
c        as the original to 5/6 (epoch 2000 of 2400), then exponentially to 5e-5
d        as the original to 19/24 (epoch 1900), then exponentially to 1.5e-5
e        as the original to 5/6, then exponentially to 2e-4
=======  ================================================================================================

What the paper leaves open: that a and b fall along a cosine, and the momentum, which stays in the phase of the learning
rate: on the same cosine in a and b, as in the original in c, d and e.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from datarobust.errors import UsageError

WARM_UP = Fraction(1, 40)
"""Share of the training in which the learning rate rises."""
START, END = 1.0 / 25.0, 1.0 / 25.0 / 1e4
"""First and last learning rate, as shares of the largest one."""
LOW, HIGH = 0.85, 0.95
"""Smallest and largest momentum."""
LEAST_EPOCHS = 40
"""Below, the curve is followed step by step: 2.5 % of fewer epochs is less than one."""


@dataclass(frozen=True)
class _Tail:
    """How a version ends."""

    leaves: Fraction  # at which share of the training
    end: float  # the last learning rate, as a share of the largest one
    exponential: bool


SCHEDULES = {
    "original": _Tail(Fraction(1), END, exponential=False),
    "a": _Tail(Fraction(9, 10), 2e-4 / 0.2, exponential=False),
    "b": _Tail(Fraction(5, 6), 2e-4 / 0.2, exponential=False),
    "c": _Tail(Fraction(5, 6), 5e-5 / 0.2, exponential=True),
    "d": _Tail(Fraction(19, 24), 1.5e-5 / 0.2, exponential=True),
    "e": _Tail(Fraction(5, 6), 2e-4 / 0.2, exponential=True),
}


def momentum_and_rate(schedule: str, step: int, epochs: int, steps: int, largest: float) -> tuple[float, float]:
    """Momentum and learning rate of a step, 0 .. epochs * steps - 1; ``largest`` is the largest learning rate.

    Raises UsageError where there is no such schedule.
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"there is no schedule {schedule!r}: choose {', '.join(SCHEDULES)}")
    place, count = (step // steps, epochs) if epochs >= LEAST_EPOCHS else (step, epochs * steps)
    tail, peak = SCHEDULES[schedule], float(WARM_UP * count) - 1.0
    leaves = round(tail.leaves * count) - 1
    if tail.exponential:
        momentum, share = _one_cycle(place, peak, count - 1.0, END)
        if place > leaves:
            _, begin = _one_cycle(leaves, peak, count - 1.0, END)
            share = begin * (tail.end / begin) ** ((place - leaves) / (count - 1 - leaves))
    else:
        momentum, share = _one_cycle(min(place, leaves), peak, max(leaves, peak + 1.0), tail.end)
    return momentum, share * largest


def _one_cycle(place: float, peak: float, last: float, end: float) -> tuple[float, float]:
    """Momentum and share of the largest learning rate: up to ``peak`` along a cosine, down to ``end`` at ``last``."""
    if 0.0 < peak >= place:
        return _cosine(HIGH, LOW, place / peak), _cosine(START, 1.0, place / peak)
    done = min(1.0, (place - peak) / max(last - peak, 1.0))
    return _cosine(LOW, HIGH, done), _cosine(1.0, end, done)


def _cosine(begin: float, end: float, done: float) -> float:
    """From ``begin`` to ``end`` along half a cosine; ``done`` in 0 .. 1."""
    return end + (begin - end) * (1.0 + math.cos(math.pi * done)) / 2.0
