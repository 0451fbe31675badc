"""The robustness-stratified sample: one point of each stratum, whatever the distances are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.embedding import stratified
from datarobust.errors import UsageError

NUMBERS = st.one_of(st.sampled_from([0.0, 0.5, 1.0, float("inf"), float("nan")]), st.floats(0, 10))


@settings(max_examples=60)
@given(st.lists(NUMBERS, max_size=40), st.integers(1, 12), st.integers(0, 2**64 - 1))
def test_one_point_of_each_stratum_least_robust_first(values: list[float], count: int, seed: int) -> None:
    distance = np.array(values)
    ranked = sorted((value, row) for row, value in enumerate(values) if np.isfinite(value))
    if count > len(ranked):
        with pytest.raises(UsageError, match=f"{len(ranked)} points have a finite distance"):
            stratified(distance, count, seed)
        return
    rows = stratified(distance, count, seed)
    assert rows.dtype == np.int64
    place = [ranked.index((values[row], row)) for row in rows.tolist()]
    for stratum, found in enumerate(place):
        assert stratum * len(ranked) // count <= found < (stratum + 1) * len(ranked) // count
    assert place == sorted(set(place))
    np.testing.assert_array_equal(rows, stratified(distance, count, seed))


def test_with_as_many_strata_as_points_all_are_taken_in_their_order() -> None:
    distance = np.array([3.0, np.inf, 1.0, 1.0, np.nan, 2.0])
    assert stratified(distance, 4, 9).tolist() == [2, 3, 5, 0]


def test_each_point_of_a_stratum_is_drawn_equally_often_and_seeds_differ() -> None:
    distance = np.arange(20.0)
    drawn = np.array([stratified(distance, 4, seed) for seed in range(2000)])
    for stratum in range(4):
        times = np.bincount(drawn[:, stratum] - 5 * stratum, minlength=5)
        assert times.shape == (5,)
        assert np.abs(times - 400).max() < 90, "five standard deviations"
    assert len({tuple(row) for row in drawn.tolist()}) > 500


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_that_are_none(seed: int) -> None:
    with pytest.raises(UsageError, match="2\\*\\*64 - 1"):
        stratified(np.arange(5.0), 2, seed)
