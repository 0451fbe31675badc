"""The list of the k best is that of a sort, whatever comes in whatever order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from datarobust.sensitivity import search  # noqa: F401 - registers what the norms supply
from datarobust.sensitivity.kernels import nearest_columns, offer, squared_weight
from datarobust.sensitivity.tables import NO_INDEX, LinfCodes, Points, new_state

CODES = LinfCodes(np.zeros((64, 64), np.uint8), np.zeros((1, 8, 64), np.uint8), 1.0, 0)


@njit  # type: ignore[misc, unused-ignore]
def offer_all(codes, state, keys, indices):  # type: ignore[no-untyped-def]
    for t in range(keys.shape[0]):
        offer(codes, state, 2, keys[t], indices[t])


@settings(deadline=None)
@given(
    offers=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=40), k=st.integers(1, 5),
    widest=st.sampled_from([1.0, 2.0]),
)  # fmt: skip
def test_the_best_offers_are_kept_once_each(offers: list[tuple[int, int]], k: int, widest: float) -> None:
    state = new_state(4, k, widest, True)
    # An index has one key, as a pair has one distance.
    key_of = dict(sorted(((index, key) for key, index in offers), reverse=True))
    indices = np.array([index for _, index in offers], np.int64)
    keys = np.array([key_of[index] for _, index in offers], np.float64)
    offer_all(CODES, state, keys, indices)
    best = sorted((key, index) for index, key in key_of.items())[:k]
    expected = best + [(np.inf, NO_INDEX)] * (k - len(best))
    assert list(zip(state.key[2].tolist(), state.neighbour[2].tolist(), strict=True)) == expected
    assert state.radius[2] == expected[-1][0] * widest
    for other in (0, 1, 3):
        assert (state.neighbour[other] == NO_INDEX).all()
        assert state.radius[other] == np.inf


@njit  # type: ignore[misc, unused-ignore]
def columns_of(values, label, own, best):  # type: ignore[no-untyped-def]
    return nearest_columns(values, label, own, best)


@settings(deadline=None)
@given(
    columns=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 2)), max_size=30, unique_by=lambda c: c[0]),
    k=st.integers(1, 4),
)  # fmt: skip
def test_first_neighbours_are_those_with_the_nearest_codes(columns: list[tuple[int, int]], k: int) -> None:
    values = np.array([value for value, _ in columns], np.int32)
    label = np.array([name for _, name in columns], np.int64)
    best = np.full(k, -1)
    found = columns_of(values, label, 1, best)
    expected = sorted((value, place) for place, (value, name) in enumerate(columns) if name != 1)[:k]
    assert found == len(expected)
    assert best[:found].tolist() == [place for _, place in expected]


@njit  # type: ignore[misc, unused-ignore]
def weight_of(points, i, j):  # type: ignore[no-untyped-def]
    return squared_weight(points, i, j)


def test_weights_are_squared_distances_of_label_vectors() -> None:
    soft = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    soft[3] = soft[1]
    none = np.zeros(0, np.int64)
    labels = np.array([4, 4, 5, 5, 6])
    points = Points(np.zeros((5, 64), np.uint8), labels, labels, labels, soft, none, none, False)
    classes = points._replace(soft=np.zeros((0, 0), np.float32))
    for i in range(5):
        for j in range(5):
            gaps = soft[i].astype(np.float64) - soft[j].astype(np.float64)
            assert weight_of(points, i, j) == sum((gaps * gaps).tolist())
            assert weight_of(classes, i, j) == float(labels[i] != labels[j])
    assert weight_of(points, 1, 3) == 0.0
