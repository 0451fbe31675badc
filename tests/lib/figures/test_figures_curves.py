"""Ordered sensitivity values and the rule that thins a curve."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datarobust.errors import DataError, UsageError
from datarobust.figures.curves import ordered, table, thinned

RANKED = st.lists(
    st.one_of(st.floats(0.001, 8), st.just(0.0), st.just(np.inf), st.just(np.nan)), min_size=1, max_size=40
)


def farthest(values: NDArray[np.float64], kept: NDArray[np.intp]) -> float:
    """Largest distance of a point from the line through the kept ones, in a panel of width 1 and height 1."""
    across = np.linspace(0, 1, len(values))
    span = np.ptp(values)
    up = (values - values[0]) / span if span else np.zeros(len(values))
    worst = 0.0
    for first, last in itertools.pairwise(kept):
        start = np.array([across[first], up[first]])
        way = np.array([across[last], up[last]]) - start
        points = np.stack([across[first : last + 1], up[first : last + 1]], axis=1) - start
        along = np.clip(points @ way / (way @ way), 0, 1)
        worst = max(worst, float(np.linalg.norm(points - along[:, None] * way, axis=1).max()))
    return worst


@given(RANKED, st.integers(0, 5))
def test_order_is_that_of_algorithm_1(distances: list[float], least: int) -> None:
    ranked = sorted((d, i) for i, d in enumerate(distances) if not np.isnan(d))
    expected = [(d, i) for d, i in ranked[least:] if d > 0][::-1]
    if not expected:
        with pytest.raises(DataError, match="no point of 'set' is left"):
            ordered("set", "l2", np.array(distances), without_least=least)
        return
    curve = ordered("set", "l2", np.array(distances), without_least=least)
    assert curve.index.tolist() == [i for _, i in expected]
    assert curve.sensitivity.tolist() == [1 / d for d, _ in expected]
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert curve.least + curve.equal + curve.dropped + len(expected) == len(distances)
    assert curve.dropped == sum(map(np.isnan, distances))
    assert curve.equal == sum(d == 0 for d, _ in ranked[least:])


def test_fraction_is_the_middle_of_each_points_share() -> None:
    curve = ordered("set", "l2", np.array([1.0, 2.0, 4.0, 8.0]))
    assert curve.fraction.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert curve.relative.tolist() == [0.125, 0.25, 0.5, 1.0]


def test_no_other_label_is_sensitivity_0_and_has_no_relative_value() -> None:
    curve = ordered("set", "linf", np.array([np.inf, np.inf]))
    assert curve.sensitivity.tolist() == [0, 0]
    with pytest.raises(DataError, match="no point of 'set' has a neighbour with another label"):
        _ = curve.relative


def test_what_is_left_out_is_told() -> None:
    curve = ordered("set", "linf", np.array([0, 0, 0, 0.5, np.nan, 1.0]), without_least=1)
    assert curve.left_out == "1 least robust, 2 at r = 0, 1 dropped"
    assert ordered("set", "linf", np.array([1.0])).left_out == ""


@pytest.mark.parametrize(
    ("distance", "norm", "least", "error", "words"),
    [
        ([1.0, -0.5], "l2", 0, DataError, "point 1 of 'set' has the negative distance -0.5"),
        ([1.0, -np.inf], "l2", 0, DataError, "point 1"),
        ([[1.0]], "l2", 0, DataError, r"shape \(1, 1\)"),
        ([1.0], "l1", 0, UsageError, "'l1'"),
        ([1.0], "l2", -1, UsageError, "-1"),
        ([np.nan], "l2", 0, DataError, "left to draw, out of 1"),
        ([], "l2", 0, DataError, "left to draw, out of 0"),
    ],
)
def test_refusals(distance: list[float], norm: str, least: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ordered("set", norm, np.array(distance, dtype=np.float64), without_least=least)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=300), st.sampled_from([1 / 2048, 1 / 20]))
def test_thinning_moves_nothing_visibly_and_keeps_the_ends(steps: list[int], tolerance: float) -> None:
    values = np.cumsum(np.array(steps, dtype=np.float64) ** 3)
    kept = thinned(values, tolerance)
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    assert (np.diff(kept) > 0).all()
    assert farthest(values, kept) <= tolerance * (1 + 1e-9)


def test_thinning_makes_large_curves_small() -> None:
    random = np.random.default_rng(0)
    smooth = np.sort(1 / random.gamma(20, 0.1, 700_000))
    stairs = np.sort(255 / random.integers(54, 200, 50_000))
    for values, most in ((smooth, 200), (stairs, 600)):
        kept = thinned(values)
        assert len(kept) < most
        assert farthest(values, kept) <= 1 / 2048 * (1 + 1e-9)
        assert np.array_equal(values[kept][[0, -1]], values[[0, -1]])


def test_thinning_of_constants() -> None:
    assert thinned(np.full(1000, 3.0)).tolist() == [0, 999]
    assert thinned(np.array([3.0])).tolist() == [0]


def test_the_table_has_all_values_exactly() -> None:
    distance = np.array([0.3, np.inf, 0.1, np.nan, 0.0])
    lines = list(table([ordered("a\tset\nof mine", "l2", distance)]))
    assert lines[0].rstrip("\n").split("\t") == ["rank", "fraction", "sensitivity", "set", "norm", "index", "distance"]
    rows = [line.rstrip("\n").split("\t") for line in lines[1:]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [float(row[2]) for row in rows] == [0.0, 1 / 0.3, 1 / 0.1]
    assert {row[3] for row in rows} == {"a set of mine"}
    assert [int(row[5]) for row in rows] == [1, 0, 2]
    assert [float(row[6]) for row in rows] == [np.inf, 0.3, 0.1]
