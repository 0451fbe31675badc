"""The Fréchet distance, against matrix roots, closed forms and 40 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.distributed import Group
from datarobust.errors import DataError
from datarobust.fid import Moments, Node, Sums, as_tensor, extrapolated, joined, packed, total, unpacked


def features(count: int, width: int, seed: int, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(width).standard_normal((width, width)) / np.sqrt(width)
    return random.standard_normal((count, width)) @ mixing * (1 + 0.1 * seed) + shift


def by_roots(a: np.ndarray, b: np.ndarray) -> float:
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = np.square(a.mean(0) - b.mean(0)).sum()
    return float(apart + np.trace(s1) + np.trace(s2) - 2 * np.trace(scipy.linalg.sqrtm(s1 @ s2).real))


def by_digits(a: np.ndarray, b: np.ndarray) -> float:
    """The definition with 40 digits: the roots of the eigenvalues of S1 S2, through singular values of A Bᵀ."""
    with mpmath.workdps(40):
        centred, means = [], []
        for part in (a, b):
            matrix = mpmath.matrix(part.astype(float).tolist())
            rows, columns = matrix.rows, matrix.cols
            mean = [mpmath.fsum(matrix[i, j] for i in range(rows)) / rows for j in range(columns)]
            root = mpmath.sqrt(rows - 1)
            means.append(mean)
            centred.append(
                mpmath.matrix([[(matrix[i, j] - mean[j]) / root for j in range(columns)] for i in range(rows)])
            )
        cross = mpmath.svd_r(centred[0] * centred[1].T, compute_uv=False)
        spread = mpmath.fsum(value**2 for part in centred for value in part)
        apart = mpmath.fsum((x - y) ** 2 for x, y in zip(*means, strict=True))
        return float(apart + spread - 2 * mpmath.fsum(cross))


def between(a: np.ndarray, b: np.ndarray) -> float:
    return Moments.of(a).distance(Moments.of(b))


@pytest.mark.parametrize(("first", "second", "width"), [(60, 80, 7), (400, 90, 20), (600, 700, 30)])
def test_equals_the_definition_at_full_rank(first: int, second: int, width: int) -> None:
    a, b = features(first, width, 0), features(second, width, 1, 0.3)
    assert between(a, b) == pytest.approx(by_roots(a, b), rel=1e-9)
    assert between(b, a) == pytest.approx(by_roots(a, b), rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "width"), [(5, 4, 8), (6, 12, 8), (12, 5, 8), (8, 8, 8), (9, 14, 8), (2, 2, 3)]
)
def test_equals_the_definition_where_the_rank_is_short(first: int, second: int, width: int) -> None:
    a, b = features(first, width, 0), features(second, width, 1, 0.3)
    wanted = by_digits(a, b)
    assert between(a, b) == pytest.approx(wanted, rel=1e-9)
    assert between(b, a) == pytest.approx(wanted, rel=1e-9)
    kept = [Moments.known(m.count, m.mean, m.covariance) for m in (Moments.of(a), Moments.of(b))]
    assert kept[0].distance(kept[1]) == pytest.approx(wanted, rel=1e-6), "moments that were stored have no points"


def test_features_that_never_change_are_no_trouble() -> None:
    """Covariances without an inverse, with points enough: no rounded zero is taken for a dimension."""
    a, b = features(40, 5, 0), features(50, 5, 1)
    still = [np.concatenate([part, np.zeros((len(part), 10))], 1) for part in (a, b)]
    assert between(*still) == pytest.approx(between(a, b), rel=1e-9)
    assert between(still[0], still[0].copy()) == 0.0


def test_of_a_set_with_itself_it_is_nothing_and_of_normal_sets_known() -> None:
    a = features(50, 6, 0)
    for part in (a, a[:5], a[:6], a.astype(np.float32)):
        assert between(part, part.copy()) == 0.0
    assert between(a, a[::-1]) == pytest.approx(0.0, abs=1e-12)
    line = np.linspace(-1, 1, 101)[:, None]
    spread = float(line.std(ddof=1))
    assert between(line, 3 * line + 2) == pytest.approx(4 + (2 * spread) ** 2, rel=1e-9)
    assert between(np.zeros((3, 2)), np.ones((4, 2))) == pytest.approx(2.0)


def summed(points: np.ndarray, size: int, first: int, last: int) -> list[Node]:
    """The batches ``first`` to ``last`` of so many points each; odd places are a group of their own."""
    nodes: list[Node] = []
    for number in range(first, last):
        batch = as_tensor(points[number * size : (number + 1) * size])
        nodes = joined(nodes, Node(0, number, (Sums.of(batch[::2]), Sums.of(batch[1::2]))))
    return nodes


@settings(max_examples=30)
@given(
    st.integers(2, 60),
    st.integers(1, 12),
    st.integers(0, 99),
    st.floats(-1e4, 1e4),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_sums_of_parts_have_the_bits_of_one_process_and_are_right(
    count: int, width: int, seed: int, shift: float, size: int, processes: int
) -> None:
    points = features(count, width, seed, shift)
    batches = -(-count // size)
    whole = total(summed(points, size, 0, batches))
    nodes: list[Node] = []
    for rank in range(processes):
        part = summed(points, size, *Group(rank, processes).share(batches))
        for node in unpacked(packed(part), torch.device("cpu")):
            nodes = joined(nodes, node)
    for one, other in zip(whole, total(nodes), strict=True):
        if one.count:
            np.testing.assert_array_equal(one.moments().mean, other.moments().mean)
            np.testing.assert_array_equal(one.moments().covariance, other.moments().covariance)
    result = whole[0].joined(whole[1]).moments()
    assert result.count == count
    np.testing.assert_allclose(result.mean, points.mean(0), rtol=1e-12, atol=1e-12)
    wanted = np.cov(points, rowvar=False).reshape(width, width)
    np.testing.assert_allclose(result.covariance, wanted, rtol=1e-8, atol=1e-10 * np.abs(wanted).max())
    assert np.array_equal(result.covariance, result.covariance.T)
    assert result.short == (count <= width)


def test_sums_of_many_points_lose_nothing_to_a_large_mean() -> None:
    points = features(1541, 4, 0, shift=1e7)
    first, second = total(summed(points, 100, 0, 16))
    np.testing.assert_allclose(first.joined(second).moments().covariance, np.cov(points, rowvar=False), rtol=1e-7)


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 9), st.integers(0, 1000))
def test_it_is_symmetric_never_negative_and_does_not_turn(first: int, second: int, width: int, seed: int) -> None:
    a, b = features(first, width, seed), features(second, width, seed + 1)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]
    found = between(a, b)
    scale = np.square(a).sum() + np.square(b).sum()
    assert found >= 0
    assert between(b, a) == pytest.approx(found, abs=1e-6 * scale)
    assert between(a @ turn, b @ turn) == pytest.approx(found, abs=1e-6 * scale)


def test_extrapolation_finds_the_constant_under_1_over_n() -> None:
    counts = [100, 130, 220, 500]
    assert extrapolated([(n, 3.25 + 700 / n) for n in counts]) == pytest.approx(3.25)


def test_what_does_not_compare() -> None:
    with pytest.raises(DataError, match="two points"):
        Moments.of(np.zeros((1, 3)))
    one = Sums.of(as_tensor(np.zeros((1, 3))))
    with pytest.raises(DataError, match="not of 1"):
        Moments.of(np.zeros((4, 3))).distance(one.moments())
    with pytest.raises(DataError, match="4 numbers do not compare with 3"):
        between(np.zeros((4, 3)), np.zeros((4, 4)))
    with pytest.raises(DataError, match="4 numbers come after 3"):
        one.joined(Sums.of(as_tensor(np.zeros((1, 4)))))
    mean = np.zeros(2)
    for wrong in (np.array([[1.0, 0.5], [0.4, 1]]), np.array([[np.nan, 0], [0, 1]]), -np.eye(2), np.eye(3)):
        with pytest.raises(DataError, match="no mean and covariance"):
            Moments.known(5, mean, wrong)
    with pytest.raises(DataError, match="not of 1"):
        Moments.known(1, mean, np.eye(2))
