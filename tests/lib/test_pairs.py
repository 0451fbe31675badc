"""Nearest pairs: every pair in Python's whole numbers is the slow twin; ties, equal points, and few points."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from datarobust import pairs
from datarobust.errors import DataError, UsageError
from datarobust.sensitivity import Options

RNG = np.random.default_rng(0)
ALONE = Options(threads=1)


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1, user_api="blas"):
        yield


def twin(points, norm, others=None):
    """All pairs as (distance, i, j), sorted by (key, i, j)."""
    rows = points.reshape(len(points), -1).tolist()
    found = []
    if others is None:
        candidates = [(i, j, rows[i], rows[j]) for i, j in itertools.combinations(range(len(rows)), 2)]
    else:
        columns = others.reshape(len(others), -1).tolist()
        candidates = [(i, j, a, b) for i, a in enumerate(rows) for j, b in enumerate(columns)]
    for i, j, a, b in candidates:
        gaps = [abs(x - y) for x, y in zip(a, b, strict=True)]
        found.append((sum(gap * gap for gap in gaps) if norm == "l2" else max(gaps), i, j))
    unit = 255 if points.dtype == np.uint8 else 1
    return [((math.sqrt(key) if norm == "l2" else key) / unit, i, j) for key, i, j in sorted(found)]


def listed(found):
    return list(zip(found.distance.tolist(), found.first.tolist(), found.second.tolist(), strict=True))


def rows_of(array):
    return None if array is None else np.array(array)


@st.composite
def crowded(draw, least=1):
    """Points with few values, so that most distances tie and many are 0; uint8, or float32 with whole numbers."""
    width = draw(st.integers(1, 4))
    values = draw(st.sampled_from([[7], [0, 255], [0, 1, 2], [3, 5, 200, 201]]))
    point = st.lists(st.sampled_from(values), min_size=width, max_size=width)
    dtype = draw(st.sampled_from([np.uint8, np.float32]))
    return np.array(draw(st.lists(point, min_size=least, max_size=30)), dtype).reshape(-1, width)


@settings(max_examples=60)
@given(crowded(), st.sampled_from(["l2", "linf"]), st.integers(1, 900))
def test_nearest_pairs_are_those_of_all_pairs(points, norm, count):
    found = pairs.nearest_pairs(rows_of(points), norm, count, options=ALONE)
    assert listed(found) == twin(points, norm)[:count]


@settings(max_examples=40)
@given(st.data(), st.sampled_from(["l2", "linf"]), st.integers(1, 900))
def test_nearest_pairs_of_two_sets(data, norm, count):
    points = data.draw(crowded())
    others = data.draw(st.integers(1, 30).map(lambda n: RNG.integers(0, 3, (n, points.shape[1])).astype(points.dtype)))
    found = pairs.nearest_pairs(rows_of(points), norm, count, against=rows_of(others), options=ALONE)
    assert listed(found) == twin(points, norm, others)[:count]


@settings(max_examples=40)
@given(st.data(), st.sampled_from(["l2", "linf"]))
def test_all_pairs_within_a_distance(data, norm):
    points = data.draw(crowded(least=2))
    others = data.draw(st.sampled_from([None, points[::-1][:7]]))
    expected = twin(points, norm, others)
    distance = data.draw(st.sampled_from([0.0, *(d for d, _, _ in expected)]))
    found = pairs.nearest_pairs(rows_of(points), norm, within=distance, against=rows_of(others), options=ALONE)
    assert listed(found) == [pair for pair in expected if pair[0] <= distance]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_clusters(norm):
    """Many points within a cluster need long lists, others short ones; panels and blocks change nothing."""
    centres = RNG.integers(0, 256, (30, 12))
    spread = RNG.integers(-3, 4, (250, 12))
    points = np.clip(centres[RNG.integers(0, 30, 250) ** 2 % 30] + spread, 0, 255).astype(np.uint8)
    expected = twin(points, norm)
    for count, memory in itertools.product((1, 40, 3000), (1 << 30, 125 * 64)):
        found = pairs.nearest_pairs(rows_of(points), norm, count, memory=memory, options=ALONE)
        assert listed(found) == expected[:count]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_equal_points_take_little_work(norm, monkeypatch):
    """Where all points are equal the lists stay short: their length times their number is bounded by the pairs."""
    lengths = []
    nearest = pairs.nearest

    def counted(sources, norm, k, **options):
        lengths.append(k * sources[0].rows.shape[0])
        return nearest(sources, norm, k, **options)

    monkeypatch.setattr(pairs, "nearest", counted)
    found = pairs.nearest_pairs(np.zeros((1500, 3), np.uint8), norm, 2000, options=ALONE)
    assert listed(found)[:2] == [(0.0, 0, 1), (0.0, 0, 2)]
    assert listed(found)[-1] == (0.0, 1, 2000 - 1499 + 1)
    assert sum(lengths) <= 1500 * (1 + 2 * 2000 // 1500) + 4 * (2 * 2000 + 1500)


def test_what_cannot_be_asked():
    points = rows_of(np.zeros((3, 2), np.uint8))
    for count in (0, -1, pairs.MOST + 1):
        with pytest.raises(UsageError, match="from 1 to 1,000,000"):
            pairs.nearest_pairs(points, "l2", count)
    with pytest.raises(UsageError, match="no norm 'l3'"):
        pairs.nearest_pairs(points, "l3", 1)
    for distance in (-0.1, math.nan):
        with pytest.raises(UsageError, match="from 0 on"):
            pairs.nearest_pairs(points, "l2", within=distance)
    with pytest.raises(DataError, match="uint8 or float32, not float64"):
        pairs.nearest_pairs(rows_of(np.zeros((3, 2))), "l2", 1)
    with pytest.raises(DataError, match="2 uint8 numbers cannot be held against points of 3"):
        pairs.nearest_pairs(points, "l2", 1, against=rows_of(np.zeros((3, 3), np.uint8)))
    with pytest.raises(DataError, match=r"an array of shape \(0, 2\)"):
        pairs.nearest_pairs(rows_of(np.zeros((0, 2), np.uint8)), "l2", 1)
    with pytest.raises(DataError, match="row 1 holds a number that is not finite"):
        pairs.nearest_pairs(rows_of(np.array([[0], [np.nan], [1]], np.float32)), "l2", 1)


def test_too_many_pairs_within_a_distance(monkeypatch):
    monkeypatch.setattr(pairs, "MOST", 100)
    points = rows_of(np.zeros((40, 2), np.uint8))
    with pytest.raises(DataError, match=r"more than 100 pairs are within 0\.5"):
        pairs.nearest_pairs(points, "l2", within=0.5)


@settings(max_examples=30)
@given(crowded(least=2), st.integers(1, 60))
def test_the_surplus_leaves_no_pair(points, count):
    found = pairs.nearest_pairs(rows_of(points), "l2", count, options=ALONE)
    gone = pairs.surplus(found)
    assert gone.tolist() == sorted(set(gone.tolist()))
    left = set(range(len(points))) - set(gone.tolist())
    assert not [1 for i, j in zip(found.first.tolist(), found.second.tolist(), strict=True) if {i, j} <= left]
    for row in gone.tolist():  # none goes without a reason: a partner of lower row stays
        assert [i for i, j in zip(found.first.tolist(), found.second.tolist(), strict=True) if j == row and i in left]


def test_the_surplus_of_a_chain():
    """2 is nearest to 1, which goes for the sake of 0: then 2 stays."""
    found = pairs.nearest_pairs(rows_of(np.array([[0], [5], [9]], np.uint8)), "linf", within=5 / 255)
    assert listed(found) == [(4 / 255, 1, 2), (5 / 255, 0, 1)]
    assert pairs.surplus(found).tolist() == [1]


def test_the_surplus_of_two_sets_is_in_the_first():
    found = pairs.nearest_pairs(
        rows_of(np.array([[0], [9], [0]], np.uint8)), "l2", 3, against=rows_of(np.array([[0], [1]], np.uint8))
    )
    assert listed(found)[:2] == [(0.0, 0, 0), (0.0, 2, 0)]
    assert pairs.surplus(found, of_two_sets=True).tolist() == [0, 2]
