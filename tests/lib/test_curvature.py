"""Curvature against exact fractions, smooth curves and real distances; where the order of sensitivity ends."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datarobust.curvature import Order, demand_positive, diameter, kappa, kappa_of, kappa_tilde, largest, order
from datarobust.errors import UsageError
from datarobust.norms import norm_of
from datarobust.sensitivity import Labelled, Options, farthest, rank, sensitivity_of

NAN, INF = math.nan, math.inf
EPS = 2.0**-53
DISTANCES = st.floats(1e-70, 1e70)
#: Exact in binary, and so far apart that no rounding makes two curvatures equal; ties are likely.
GRID = st.integers(1, 40).map(lambda k: k / 8)


def exact(distance: float, manifold: float) -> Fraction:
    """κ~ without any rounding."""
    d = Fraction(distance)
    return (Fraction(manifold) - d) / d**3


# ------------------------------------------------------------------------------------------------------ formulas


@given(distance=DISTANCES, manifold=DISTANCES)
def test_values_are_those_of_fractions(distance: float, manifold: float) -> None:
    expected = exact(distance, manifold)
    found = float(kappa_tilde(distance, manifold))
    assert abs(Fraction(found) - expected) <= 5 * Fraction(EPS) * abs(expected)
    root = float(kappa(distance, manifold))
    if expected < 0:
        assert math.isnan(root)
    else:
        assert root == pytest.approx(math.sqrt(24 * expected), rel=8 * EPS)


def test_what_is_not_defined() -> None:
    distance = np.array([0.0, 0.0, 1.0, 2.0, INF, INF, NAN, 3.0])
    manifold = np.array([1.0, 0.0, 1.0, 1.0, 1.0, INF, 1.0, NAN])
    tilde = [INF, NAN, 0.0, -0.125, NAN, NAN, NAN, NAN]
    np.testing.assert_array_equal(kappa_tilde(distance, manifold), tilde)
    np.testing.assert_array_equal(kappa(distance, manifold), [INF, NAN, 0.0, NAN, NAN, NAN, NAN, NAN])
    np.testing.assert_array_equal(kappa_of(tilde), kappa(distance, manifold))
    assert kappa_tilde(np.ones((2, 3), np.float32), 2).dtype == np.float64
    assert kappa_tilde(np.ones((2, 3)), np.ones(3)).shape == kappa(np.ones((2, 3)), 1.0).shape == (2, 3)


def test_units_that_leave_the_range_of_a_double_when_cubed() -> None:
    np.testing.assert_array_equal(kappa_tilde([2.0**-400, 2.0**400], [2.0**-399, 2.0**401]), [2.0**800, 2.0**-800])
    assert math.isnan(kappa(1.0e300, 1.0e200))  # a negative number too small for a double is no 0
    assert kappa(2.0**-400, 2.0**-399) == pytest.approx(math.sqrt(24) * 2.0**400, rel=1e-15)
    assert kappa(1e-107, 1e-14) == pytest.approx(math.sqrt(2.4) * 1e154, rel=1e-14)  # 24 κ~ alone would be too large


# ---------------------------------------------------------------------------------------------------- real curves


@pytest.mark.parametrize("radius", [0.1, 1.0, 7.5])
def test_a_circle_has_the_curvature_of_its_radius(radius: float) -> None:
    """Kay 1980: in the limit κ is 1/R. On an arc of angle t it is (1 + 9/160 t² + O(t⁴)) / R."""
    plane = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 2)))[0].T
    angle = 0.8 / 2.0 ** np.arange(6)
    first = np.tile(radius * plane[0], (6, 1))
    second = radius * (np.cos(angle)[:, None] * plane[0] + np.sin(angle)[:, None] * plane[1])
    measure = norm_of("l2")
    chord = measure.distances(measure.keys(first, second), np.float64)
    found = kappa(chord, radius * angle) * radius
    np.testing.assert_allclose(found, 1 + 9 / 160 * angle**2, rtol=0, atol=0.004 * angle[0] ** 4)
    excess = found - 1
    np.testing.assert_allclose(excess[:-1] / excess[1:], 4, atol=0.1)  # half the angle, a quarter of the error


def test_a_helix_too() -> None:
    """A curve that is in no plane, of curvature a / (a² + b²)."""
    a, b = 2.0, 0.7
    t = 0.4 / 2.0 ** np.arange(6)
    chord = np.sqrt((2 * a * np.sin(t / 2)) ** 2 + (b * t) ** 2)
    error = np.abs(kappa(chord, t * math.hypot(a, b)) - a / (a**2 + b**2))
    assert error[-1] < 1e-5
    assert (error[1:] < 0.3 * error[:-1]).all()


def test_a_line_has_none() -> None:
    length = np.array([1e-9, 0.3, 50.0])
    np.testing.assert_array_equal(kappa(length, length), 0.0)


# ---------------------------------------------------------------------------------------------------------- order


@given(distance=st.lists(GRID, min_size=2, max_size=20), lam=GRID)
def test_the_order_is_that_of_sensitivity_to_1_5_lambda_and_the_reverse_beyond(
    distance: list[float], lam: float
) -> None:
    d = np.array(distance)
    tilde = kappa_tilde(d, lam)
    same, reverse = d <= 1.5 * lam, d >= 1.5 * lam
    sensitivity = sensitivity_of(d)
    # Ranks with equal numbers for equal values: an order with its ties.
    ranks = [np.unique(values, return_inverse=True)[1] for values in (tilde[same], sensitivity[same])]
    np.testing.assert_array_equal(*ranks)
    ranks = [np.unique(values, return_inverse=True)[1] for values in (tilde[reverse], d[reverse])]
    np.testing.assert_array_equal(*ranks)
    assert [exact(x, lam) < exact(y, lam) for x in distance for y in distance] == [x < y for x in tilde for y in tilde]


@given(distance=st.lists(st.floats(1e-300, 1.0), min_size=2, max_size=20), lam=st.floats(1.0, 1e300))
def test_rounding_never_turns_the_order_around_below_lambda(distance: list[float], lam: float) -> None:
    d = np.sort(distance)
    assert (kappa_tilde(d, lam)[:-1] >= kappa_tilde(d, lam)[1:]).all()
    assert (kappa(d, lam)[:-1] >= kappa(d, lam)[1:]).all()


@given(distance=st.lists(GRID, min_size=1, max_size=20), lam=GRID)
def test_the_nearest_point_has_the_largest_curvature_where_it_is_real(distance: list[float], lam: float) -> None:
    """The maximum over p_j in Section 3: with r <= λ at the nearest p_j, whatever the others are."""
    assume(min(distance) <= lam)
    tilde = kappa_tilde(distance, lam)
    assert tilde.max() == kappa_tilde(min(distance), lam)
    assert np.nanmax(kappa(distance, lam)) == kappa(min(distance), lam)


@given(distance=st.lists(GRID, min_size=1, max_size=20), lam=GRID)
def test_the_largest_is_at_the_nearest_or_the_farthest(distance: list[float], lam: float) -> None:
    near, far = np.array([min(distance)]), np.array([max(distance)])
    assert largest(near, far, lam)[0] == kappa_tilde(distance, lam).max()
    if near <= lam:
        assert largest(near, np.array([NAN]), lam)[0] == kappa_tilde(near, lam)[0]  # the farthest is not looked at


def test_beyond_lambda_a_far_point_may_have_the_largest() -> None:
    near, far = kappa_tilde([1.25, 5.0], 1.0)
    assert near < far < 0


@given(distance=st.lists(GRID | st.sampled_from([0.0, INF, NAN]), max_size=20), lam=GRID)
def test_the_order(distance: list[float], lam: float) -> None:
    r = np.array(distance)
    known = r[np.isfinite(r)]
    result = order(r, kappa_tilde(r, lam), lam)
    imaginary = int((known > lam).sum())
    assert (result.points, result.imaginary, result.elsewhere) == (len(known), imaginary, 0)
    assert result.least == max(known, default=0.0)
    assert imaginary or result.correlation == 1.0
    assert len(result.remarks()) == 2 * (imaginary > 0)
    if len(known) > 1 and (known > 1.5 * lam).all() and np.ptp(known) > 0:
        assert result.correlation == pytest.approx(-1.0)  # at the nearest alone all would be reversed


def test_remarks_name_the_lambda_that_would_do() -> None:
    r = np.array([0.1, 1.2, 2.0, 2.8284271247461903, INF])
    tilde = largest(r, np.array([9.0, 1.3, 9.0, 9.0, INF]), 1.0)
    first, second = order(r, tilde, 1.0).remarks()
    assert first.startswith("3 of 4 points")
    assert second.startswith("2 of 4 points")
    enough = float(first.split("`lam` ")[1].split(" ")[0])
    assert order(r, kappa_tilde(r, enough), enough).remarks() == []
    assert order(r, tilde, math.nextafter(enough, 0)).imaginary == 1


@pytest.mark.parametrize("lam", [0.0, -1.0, INF, NAN])
def test_a_lambda_that_is_no_distance(lam: float) -> None:
    with pytest.raises(UsageError, match=f"positive number, not {lam}"):
        demand_positive(lam)
    with pytest.raises(UsageError, match="positive number"):
        order(np.ones(1), np.ones(1), lam)


# ------------------------------------------------------------------------------------------------------- diameter


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_no_two_images_are_farther_than_the_diameter(norm: str) -> None:
    """By no bit: a root that is rounded up would make κ imaginary between black and white."""
    for n in (*range(1, 30), 784, 3072):
        lam = diameter(norm, n)
        points = Labelled.of(np.array([[0] * n, [255] * n], np.uint8), [0, 1])
        farthest = rank(points, norm, options=Options(threads=1)).robustness
        np.testing.assert_array_equal(kappa(farthest, lam), 0.0)
        assert lam == pytest.approx(math.sqrt(n) if norm == "l2" else 1.0, rel=3 * EPS)


def test_another_norm_has_no_diameter() -> None:
    with pytest.raises(UsageError, match="choose l2 or linf or l1"):
        diameter("l3", 3)


# ------------------------------------------------------------------------------------------------------ real data


def test_cifar10(shared: Path) -> None:
    """The paper's claim for its own data: where λ is the diameter of the cube, and where it is less."""
    with np.load(shared / "data" / "cifar10_test.npz", allow_pickle=False) as arrays:
        points = Labelled.of(arrays["x"][:1500].reshape(1500, -1), arrays["y"][:1500].astype(np.int64))
    r = {norm: rank(points, norm).robustness for norm in ("l2", "linf")}
    for norm, lam in (("l2", diameter("l2", 3072)), ("linf", 1.0)):
        tilde = kappa_tilde(r[norm], lam)
        places = [np.unique(values, return_inverse=True)[1] for values in (-tilde, r[norm])]
        np.testing.assert_array_equal(*places)
        assert order(r[norm], tilde, lam) == Order(1500, 0, 0, 1.0, float(r[norm].max()))
    rows = np.arange(0, 1500, 50)
    far = np.sqrt(farthest(points, points, rows, "l2")) / 255
    tilde = largest(r["l2"][rows], far, 10.0)
    for row, value in zip(rows[:5], tilde, strict=False):
        others = points.rows[0:1500][points.labels != points.labels[row]].astype(np.float64)
        distance = np.sqrt(((others - points.rows[row : row + 1]) ** 2).sum(axis=1)) / 255
        assert value == pytest.approx(kappa_tilde(distance, 10.0).max())
    assert order(r["l2"][rows], tilde, 10.0).elsewhere == int((r["l2"][rows] > 10).sum()) - int(
        (kappa_tilde(r["l2"][rows], 10.0)[r["l2"][rows] > 10] >= kappa_tilde(far, 10.0)[r["l2"][rows] > 10]).sum()
    )
