"""What a recipe means for given sets, and what is refused before any work."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarobust.errors import UsageError
from datarobust.training.recipe import Recipe, count

NOTHING: dict[str, Any] = {"base": 50_000, "held_out": 1024, "generated": False, "focus": 0}


def test_batches_of_the_reference() -> None:
    """410 real and 1,638 generated images, 25 steps, statistics of four groups of 512 (Wang et al. 2023)."""
    counts = count(Recipe(), 50_000, 1024, generated=True, focus=0)
    assert (counts.real, counts.generated, counts.injected, counts.steps, counts.group) == (410, 1638, 0, 25, 512)


def test_batches_with_injected_examples() -> None:
    """The paper's 2080 = 2048 + 32 images (Appendix D)."""
    counts = count(Recipe(), 50_000, 0, generated=True, focus=2048)
    assert (counts.real, counts.generated, counts.injected, counts.total, counts.group) == (410, 1638, 32, 2080, 520)


def test_a_batch_of_2080_without_injection() -> None:
    counts = count(Recipe(batch=2080), 50_000, 0, generated=True, focus=0)
    assert (counts.real, counts.generated, counts.steps) == (416, 1664, 25)


@pytest.mark.parametrize("injected", [0, 32])
def test_groups_of_batch_statistics_are_the_same_on_any_number_of_processes(injected: int) -> None:
    """A quarter of the batch, as on four GPUs; on more, several processes share a group."""
    arguments: dict[str, Any] = {"base": 50_000, "held_out": 0, "generated": True, "focus": 64 * bool(injected)}
    total = 2048 + injected
    for processes in range(1, 33):
        share = total // processes
        fits = total % processes == 0 and (share % (total // 4) == 0 or (total // 4) % share == 0)
        assert fits or processes not in (1, 2, 4, 8, 16, 32)
        if fits:
            assert count(Recipe(), **arguments, processes=processes).group == total // 4
        else:
            with pytest.raises(UsageError):
                count(Recipe(), **arguments, processes=processes)


@pytest.mark.parametrize(
    ("mode", "focus", "held_out", "generated", "draws"),
    [
        ("fixed", 1024, 1024, True, (1024 / 1024, 9226 / 47_952)),  # Table 2, row 5
        ("oversample", 1024, 1024, True, (1024 / 1024, 9226 / 47_952)),
        ("fixed", 4096, 1024, True, (1, 6154 / 44_880)),  # 4s: at least once in an epoch
        ("fixed", 128, 0, False, (5.2 * 51_200 / 50_537.6, 51_200 / 50_537.6)),  # p = 51,200 / (5.2 * 128 + 49,872)
        ("inject", 1024, 1024, True, (10_250 / 48_976 + 800 / 1024, 10_250 / 48_976)),
    ],
)
def test_the_emphasis_is_the_papers(
    mode: Any, focus: int, held_out: int, generated: bool, draws: tuple[float, float]
) -> None:
    """Draws of a point in focus and of another in an epoch."""
    emphasis = count(Recipe(focus_mode=mode), 50_000, held_out, generated, focus).emphasis
    assert emphasis is not None
    assert (emphasis.focus_draws, emphasis.other_draws) == pytest.approx(draws, rel=1e-3)


@pytest.mark.parametrize(
    ("norm", "l2_step", "steps", "expected"),
    [
        ("linf", "reference", 10, 2 / 255),
        ("l2", "reference", 10, 25.6 / 255),
        ("l2", "reference", 20, 12.8 / 255),
        ("l2", "stated", 10, 32 / 255),
    ],
)
def test_the_step_of_the_training_attack(norm: str, l2_step: Any, steps: int, expected: float) -> None:
    eps, step = (8 / 255, 2 / 255) if norm == "linf" else (128 / 255, 32 / 255)
    recipe = Recipe(norm=norm, eps=eps, step=step, steps=steps, l2_step=l2_step)
    assert recipe.attack_step == pytest.approx(expected, rel=1e-12)


@given(
    base=st.integers(1, 3000),
    held=st.integers(0, 100),
    quarter=st.integers(1, 200),
    fraction=st.floats(0, 0.99),
    generated=st.booleans(),
    focus=st.integers(0, 40),
)
def test_counts_add_up(base: int, held: int, quarter: int, fraction: float, generated: bool, focus: int) -> None:
    recipe = Recipe(batch=4 * quarter, generated_fraction=fraction, focus_batch=4)
    if held >= base or 0 < focus < 4 or (generated and int(4 * quarter * fraction) == 0):
        with pytest.raises(UsageError):
            count(recipe, base, held, generated, focus)
        return
    counts = count(recipe, base, held, generated, focus)
    assert counts.real + counts.generated == 4 * quarter
    assert counts.real >= 1
    assert (counts.generated > 0) == generated
    assert counts.injected == (4 if focus else 0)
    assert counts.total == 4 * counts.group
    assert (counts.steps - 1) * recipe.batch < base <= counts.steps * recipe.batch


@pytest.mark.parametrize(
    ("recipe", "asked", "complaint"),
    [
        ({}, {"held_out": 50_000}, "nothing is left to train on"),
        ({"batch": 4, "generated_fraction": 0.2}, {"generated": True}, "has no room for a generated image"),
        (
            {"focus_batch": 0},
            {"focus": 5},
            "`focus_batch` 0: it must be between 1 and 5, the number of points in focus",
        ),
        ({"focus_batch": 6}, {"focus": 5}, "`focus_batch` 6"),
        (
            {"focus_mode": "fixed", "batch": 100, "generated_fraction": 0.5},
            {"base": 300, "held_out": 0, "focus": 151, "generated": True},
            "has room for 150 real images",
        ),
        (
            {"focus_mode": "oversample", "focus_times": 1},
            {"focus": 5},
            "`focus_times` 1: points in focus would be drawn",
        ),
        ({"focus_mode": "oversample"}, {"focus": 48_976}, "all points that are trained on"),
        ({"batch": 50}, {}, "has no quarter"),
        ({"bn_group": 100}, {}, "batch statistics of 100 images do not divide the 2048 images of a batch"),
        ({"bn_group": 384}, {"processes": 8}, "neither divide the 256 images of each of 8 processes nor"),
        ({}, {"processes": 3}, "cannot be shared by 3 processes"),
    ],
)
def test_what_cannot_be_is_refused(recipe: dict[str, Any], asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as told:
        count(Recipe(**recipe), **(NOTHING | asked))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"eps": 8.0}, "write 8/255, not 8"),
        ({"eps": 0.0}, "`eps`"),
        ({"eps": float("nan")}, "`eps`"),
        ({"step": -1.0}, "`step`"),
        ({"lr": 0.0}, "`lr`"),
        ({"lr": float("inf")}, "`lr`"),
        ({"beta": -1.0}, "`beta`"),
        ({"weight_decay": float("nan")}, "`weight_decay`"),
        ({"generated_fraction": 1.0}, "`generated_fraction`"),
        ({"label_smoothing": 1.0}, "`label_smoothing`"),
        ({"ema": 1.0}, "`ema`"),
        ({"epochs": 0}, "`epochs`"),
        ({"batch": 0}, "`batch`"),
        ({"steps": 0}, "`steps`"),
        ({"norm": "l1"}, "in the norm l1"),
    ],
)
def test_numbers_that_make_no_sense(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Recipe(**wrong)
