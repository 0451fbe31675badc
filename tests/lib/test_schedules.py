"""Learning rates are those of the reference and of the paper's Figure 4."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.errors import UsageError
from datarobust.schedules import SCHEDULES, momentum_and_rate


def by_epoch(schedule: str, epochs: int, largest: float = 0.2, steps: int = 25) -> list[tuple[float, float]]:
    return [momentum_and_rate(schedule, epoch * steps, epochs, steps, largest) for epoch in range(epochs)]


@pytest.mark.parametrize("epochs", [41, 100, 400, 1600, 2400])
def test_the_original_is_the_one_cycle_of_torch(epochs: int) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9, nesterov=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.2, pct_start=0.025, total_steps=epochs)
    for epoch, (momentum, rate) in enumerate(by_epoch("original", epochs)):
        group = optimiser.param_groups[0]
        assert rate == pytest.approx(group["lr"], abs=1e-12), epoch
        assert momentum == pytest.approx(group["momentum"], abs=1e-12), epoch
        optimiser.step()
        if epoch + 1 < epochs:
            cycle.step()


def test_printed_values_of_the_original() -> None:
    rates = [rate for _, rate in by_epoch("original", 2400)]
    printed = {1: 0.008, 60: 0.2, 600: 0.1749, 1200: 0.1040, 1800: 0.0307, 1900: 0.0217, 2000: 0.01408, 2160: 0.00515}
    for epoch, rate in printed.items():
        assert rates[epoch - 1] == pytest.approx(rate, rel=3e-3)
    assert rates[-1] == pytest.approx(8e-7, rel=1e-9)


@pytest.mark.parametrize(("schedule", "end"), [("a", 2e-4), ("b", 2e-4), ("c", 5e-5), ("d", 1.5e-5), ("e", 2e-4)])
@pytest.mark.parametrize("epochs", [50, 400, 1600, 2000, 2400, 3000])
def test_versions_end_where_the_paper_says(schedule: str, end: float, epochs: int) -> None:
    rates = [rate for _, rate in by_epoch(schedule, epochs)]
    assert rates[-1] == pytest.approx(end, rel=1e-9)
    assert max(rates) <= 0.2
    peak = rates.index(max(rates))
    assert all(a >= b for a, b in itertools.pairwise(rates[peak:]))


@pytest.mark.parametrize(("schedule", "constant"), [("a", 240), ("b", 400)])
def test_a_and_b_are_constant_at_the_end(schedule: str, constant: int) -> None:
    rates = [rate for _, rate in by_epoch(schedule, 2400)]
    assert all(rate == pytest.approx(2e-4, rel=1e-9) for rate in rates[-constant:])
    assert rates[-constant - 10] > 2e-4 * 1.001
    original = [rate for _, rate in by_epoch("original", 2400)]
    assert rates[:60] == original[:60]
    assert all(rate < other for rate, other in zip(rates[70:2000], original[70:2000], strict=True))


@pytest.mark.parametrize(
    ("schedule", "epochs", "leaves", "factor"),
    [
        ("c", 2400, 2000, 0.98600),
        ("c", 1600, 1333, 0.97909),
        ("c", 3000, 2500, 0.98878),
        ("c", 2000, 1667, 0.98321),
        ("d", 2400, 1900, 0.98555),
        ("e", 2400, 2000, 0.98942),
    ],
)
def test_c_d_and_e_fall_exponentially(schedule: str, epochs: int, leaves: int, factor: float) -> None:
    found, original = by_epoch(schedule, epochs), by_epoch("original", epochs)
    assert found[:leaves] == original[:leaves]
    assert [momentum for momentum, _ in found] == [momentum for momentum, _ in original]
    rates = [rate for _, rate in found[leaves - 1 :]]
    for before, after in itertools.pairwise(rates):
        assert after / before == pytest.approx(factor, abs=2e-5)


@settings(max_examples=80)
@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    epochs=st.integers(1, 60),
    steps=st.integers(1, 12),
    largest=st.floats(1e-3, 10.0),
)
def test_any_length_of_training(schedule: str, epochs: int, steps: int, largest: float) -> None:
    found = [momentum_and_rate(schedule, step, epochs, steps, largest) for step in range(epochs * steps)]
    for momentum, rate in found:
        assert 0.85 - 1e-12 <= momentum <= 0.95 + 1e-12
        assert 0 < rate <= largest * (1 + 1e-12)
    if epochs >= 40:
        assert all(found[step] == found[step // steps * steps] for step in range(epochs * steps))


def test_few_epochs_follow_the_curve_by_steps() -> None:
    few = [momentum_and_rate("c", step, 4, 100, 0.2) for step in range(400)]
    assert few == [momentum_and_rate("c", step, 400, 1, 0.2) for step in range(400)]


def test_rates_scale_with_the_largest() -> None:
    for schedule in SCHEDULES:
        for (_, one), (_, ten) in zip(by_epoch(schedule, 100, 0.1), by_epoch(schedule, 100, 1.0), strict=True):
            assert ten == pytest.approx(10 * one, rel=1e-12)


def test_a_schedule_that_is_none() -> None:
    with pytest.raises(UsageError, match="no schedule 'f': choose original, a, b, c, d, e"):
        momentum_and_rate("f", 0, 10, 10, 0.2)
