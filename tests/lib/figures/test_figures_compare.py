"""Differences of sensitivity, by point and by rank, beside plain loops that do the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.errors import DataError, UsageError
from datarobust.figures.compare import difference, table
from datarobust.figures.curves import ordered

DISTANCE = st.one_of(st.floats(0.01, 8), st.sampled_from([0.0, np.inf, np.nan, 0.25, 0.5]))
FINITE = st.lists(st.floats(0.01, 8), min_size=1, max_size=30)


def usable(distance: float) -> bool:
    return not math.isnan(distance) and distance > 0


@settings(deadline=None)
@given(st.lists(st.tuples(DISTANCE, DISTANCE), min_size=1, max_size=30))
def test_by_point_every_point_is_compared_with_itself(pairs: list[tuple[float, float]]) -> None:
    mine, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    order = [i for d, i in sorted((d, i) for i, d in enumerate(mine.tolist()) if usable(d))][::-1]
    both = [i for i in order if usable(theirs[i])]
    if not both:
        with pytest.raises(DataError, match=r"is left to draw|no point has a finite"):
            difference(ordered("base", "l2", mine), "other", theirs, "point")
        return
    found = difference(ordered("base", "l2", mine), "other", theirs, "point")
    assert found.base.index[found.place].tolist() == both
    assert found.values.tolist() == [1 / mine[i] - 1 / theirs[i] for i in both]
    assert found.fraction.tolist() == [(order.index(i) + 0.5) / len(order) for i in both]
    assert found.size == len(both)
    missing = sum(not usable(theirs[i]) for i in order)
    told = sum(int(part.split()[0].replace(",", "")) for part in found.left_out.split(", ") if part)
    assert told == missing


@settings(deadline=None)
@given(FINITE, FINITE)
def test_by_rank_values_at_equal_fractions_are_compared(mine: list[float], theirs: list[float]) -> None:
    found = difference(ordered("base", "linf", np.array(mine)), "other", np.array(theirs), "rank")
    one, other = (sorted(1 / d for d in distances) for distances in (mine, theirs))
    assert len(found.values) == len(one)
    for rank, (value, drawn) in enumerate(zip(one, found.values.tolist(), strict=True)):
        at = (rank + 0.5) / len(one) * len(other) - 0.5  # in ranks of the other set, from 0
        at = min(max(at, 0.0), len(other) - 1.0)
        below = min(math.floor(at), max(len(other) - 2, 0))
        above = min(below + 1, len(other) - 1)
        expected = other[below] + (at - below) * (other[above] - other[below])
        assert drawn == pytest.approx(value - expected, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(FINITE, st.randoms(use_true_random=False))
def test_by_rank_sets_of_one_size_are_compared_exactly(mine: list[float], random: object) -> None:
    theirs = [d * 1.5 for d in mine]
    random.shuffle(theirs)  # type: ignore[attr-defined]
    found = difference(ordered("base", "l2", np.array(mine)), "other", np.array(theirs), "rank")
    one, other = (np.sort(1 / np.array(distances)) for distances in (mine, theirs))
    assert found.values.tolist() == (one - other).tolist()
    assert found.remarks() == []


def test_infinite_sensitivities_leave_the_order_before_ranks_are_compared() -> None:
    mine = np.array([0.0, 0.5, 1.0])
    theirs = np.array([0.0, 0.0, np.nan, 0.25, 0.5])
    found = difference(ordered("base", "l2", mine), "other", theirs, "rank")
    assert found.values.tolist() == [1 - 2, 2 - 4]
    assert found.left_out == "2 at r = 0, 1 dropped"
    assert found.base.left_out == "1 at r = 0"
    assert found.remarks() == ["other is compared without 2 at r = 0, 1 dropped"]


def test_merging_classes_never_raises_sensitivity() -> None:
    """What the paper compares by point: with coarse labels fewer points have another one."""
    random = np.random.default_rng(0)
    x, fine = random.random((40, 3)), random.integers(0, 6, 40)
    apart = np.linalg.norm(x[:, None] - x, axis=2)

    def robustness(labels: np.ndarray) -> np.ndarray:
        return np.where(labels[:, None] == labels, np.inf, apart).min(axis=1)

    found = difference(ordered("fine", "l2", robustness(fine)), "coarse", robustness(fine // 2), "point")
    assert (found.values >= 0).all()
    assert found.values.any()


def test_sizes_that_differ_are_told_or_refused() -> None:
    base = ordered("base", "l2", np.array([0.0, 1.0, np.nan]))
    assert difference(base, "other", np.ones(2), "rank").remarks() == [
        "base has 1 points and other 2: values are compared at equal fractions of the sets"
    ]
    with pytest.raises(UsageError, match=r"'base' has 3 points and 'other' has 2, .* by rank"):
        difference(base, "other", np.ones(2), "point")
    assert difference(base, "other", np.ones(3), "point").values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("theirs", "by", "error", "words"),
    [
        ([1.0, -1.0], "rank", DataError, "negative distance"),
        ([1.0, -1.0], "point", DataError, "negative distance"),
        ([0.0, 0.0], "rank", DataError, "no point of 'other' is left"),
        ([0.0, 1.0], "point", DataError, "no point has a finite sensitivity in both"),
        ([1.0, 1.0], "index", UsageError, "'index'"),
    ],
)
def test_refusals(theirs: list[float], by: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        difference(ordered("base", "l2", np.array([1.0, 0.0])), "other", np.array(theirs), by)  # type: ignore[arg-type]


def test_the_table_has_all_values_exactly() -> None:
    base = ordered("a\tset", "linf", np.array([0.3, 0.1, 0.0]))
    found = [difference(base, name, np.array([0.7, 0.9, 0.2]), by) for name, by in (("b", "point"), ("c", "rank"))]
    header, *lines = (line.rstrip("\n").split("\t") for line in table(found))
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert [row["index"] for row in rows] == ["0", "1", "0", "1"]
    assert {(row["base"], row["norm"]) for row in rows} == {("a set", "linf")}
    assert [(row["set"], row["by"]) for row in rows[1:3]] == [("b", "point"), ("c", "rank")]
    for row in rows:
        assert float(row["difference"]) == float(row["sensitivity"]) - float(row["other"])
    assert [float(row["other"]) for row in rows[:2]] == [1 / 0.7, 1 / 0.9]
