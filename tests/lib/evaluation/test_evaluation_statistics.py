"""Statistics: against other computations of the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datarobust.errors import UsageError
from datarobust.evaluation.statistics import mcnemar, paired, parts_by, share, spread, unpaired

RANDOM = np.random.default_rng(0)


def test_paired_equals_a_bootstrap_over_points() -> None:
    """The multinomial draw is a resampling of points: both give the same interval."""
    a, b = RANDOM.random(400) < 0.6, RANDOM.random(400) < 0.65
    found = paired(a, b, resamples=40_000)
    assert found["a"] == a.mean()
    assert found["b"] == b.mean()
    assert found["difference"] == pytest.approx(b.mean() - a.mean(), abs=1e-12)
    assert (found["only_a"], found["only_b"]) == (int((a & ~b).sum()), int((b & ~a).sum()))
    rows = RANDOM.integers(0, 400, (10_000, 400))
    low, high = np.quantile(b[rows].mean(1) - a[rows].mean(1), [0.025, 0.975])
    assert found["interval"][0] == pytest.approx(low, abs=0.004)
    assert found["interval"][1] == pytest.approx(high, abs=0.004)
    assert paired(a, b, seed=1) == paired(a, b, seed=1)
    assert paired(b, a)["difference"] == -found["difference"]


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sum_of_binomial_tails(only_a: int, only_b: int) -> None:
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * tail))


def test_twenty_images_of_ten_thousand() -> None:
    """The paper's 0.2 percentage points, were they one network's gain of twenty points and nothing else."""
    a = np.zeros(10_000, bool)
    a[:6750] = True
    b = a.copy()
    b[6750:6770] = True
    found = paired(a, b)
    assert found["difference"] == pytest.approx(0.002)
    assert (found["only_a"], found["only_b"]) == (0, 20)
    assert found["p"] == pytest.approx(2 / 2**20)
    b = np.roll(a, 400)  # as large a difference of points in both directions
    b[-20:] = True
    assert paired(a, b)["p"] > 0.1


def test_spread_over_seeds() -> None:
    values = [0.675, 0.677, 0.672, 0.676]
    found = spread(values)
    assert found["values"] == values
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert found["interval"] == pytest.approx([low, high])
    assert found["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert spread([0.5]) == {"values": [0.5], "mean": 0.5, "deviation": None, "interval": None}


def test_groups_of_seeds() -> None:
    a, b = [0.675, 0.677, 0.672], [0.678, 0.68, 0.6775, 0.679]
    found = unpaired(a, b)
    test = stats.ttest_ind(b, a, equal_var=False)
    assert found["p"] == pytest.approx(test.pvalue)
    interval = test.confidence_interval(0.95)
    assert found["interval"] == pytest.approx([interval.low, interval.high])
    assert unpaired([0.5], [0.6, 0.7]) == {"difference": pytest.approx(0.15), "interval": None, "p": None}
    assert unpaired([0.5, 0.5], [0.6, 0.6])["interval"] is None
    assert unpaired([0.1] * 3, [0.7] * 3)["interval"] is None, "NumPy's mean of three times 0.1 is not 0.1"


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, math.inf, math.nan]), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_parts_are_by_distance_and_then_by_row(distances: list[float], parts: int) -> None:
    distance = np.array(distances)
    there = np.flatnonzero(~np.isnan(distance))
    if parts > len(there):
        with pytest.raises(UsageError, match=f"do not make {parts} parts"):
            parts_by(distance, parts)
        return
    found = parts_by(distance, parts)
    assert sorted(np.concatenate(found).tolist()) == there.tolist()
    keys = [(distance[row], row) for row in np.concatenate(found)]
    assert keys == sorted(keys)
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1


def test_shares_have_wilsons_interval() -> None:
    found = share(np.arange(50) < 20)
    wilson = stats.binomtest(20, 50).proportion_ci(0.95, "wilson")
    assert found == (0.4, wilson.low, wilson.high)


def test_points_must_match() -> None:
    for a, b in ((np.ones(3, bool), np.ones(4, bool)), (np.ones(0, bool), np.ones(0, bool))):
        with pytest.raises(UsageError, match="one by one"):
            paired(a, b)
