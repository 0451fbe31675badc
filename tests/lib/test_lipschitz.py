"""Theorem 1: the constant holds for any two places of the ball, and no smaller one does."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarobust.errors import UsageError
from datarobust.lipschitz import bound
from datarobust.norms import norm_of
from datarobust.sensitivity import Labelled, Options, rank

Array = np.ndarray[Any, Any]
NORMS = ("l2", "linf")
INF, NAN = math.inf, math.nan


# ------------------------------------------------------------------------------------------------------ the constant


@given(r=st.floats(1e-6, 1e6), share=st.floats(0.0, 0.99), delta=st.floats(0.01, 100.0))
def test_the_constant_is_that_of_the_proof(r: float, share: float, delta: float) -> None:
    rho = share * r
    expected = Fraction(delta) / (Fraction(r) - Fraction(rho)) ** 2
    assert float(bound(r, rho, delta)) == pytest.approx(float(expected), rel=1e-15)
    assert float(bound(r, delta=delta)) == pytest.approx(4 * delta / r / r, rel=1e-15)
    assert float(bound(r)) == pytest.approx(4 / r / r, rel=1e-15)


def test_where_there_is_no_ball_or_no_other_label() -> None:
    r = np.array([0.0, 1.0, 2.0, INF, NAN])
    np.testing.assert_array_equal(bound(r), [INF, 4.0, 1.0, 0.0, NAN])
    np.testing.assert_array_equal(bound(r, 1.0), [INF, INF, 1.0, 0.0, NAN])
    np.testing.assert_array_equal(bound(r, [0.0, 0.5, 3.0, INF, 1.0], 2.0), [INF, 8.0, INF, 0.0, NAN])
    assert bound(np.ones((2, 3), np.float32)).dtype == np.float64
    assert bound(np.ones((2, 1)), np.zeros(3)).shape == (2, 3)
    np.testing.assert_array_equal(bound([2.0**-500, 2.0**500]), [2.0**1002, 2.0**-998])


def test_misuse() -> None:
    for radius in (-0.1, NAN, [0.1, NAN]):
        with pytest.raises(UsageError, match=r"a radius is a distance, and not (-0\.1|nan)"):
            bound([1.0, 1.0], radius)
    for delta in (0.0, -1.0, INF, NAN):
        with pytest.raises(UsageError, match="delta"):
            bound(1.0, delta=delta)


# ------------------------------------------------------------------------------------------------------ s_y anywhere


def sensitivity_at(x: Array, label: int, points: Array, labels: Array, norm: str) -> Array:
    """s_y(x) of Theorem 1 with δ = 1 at places x (M, D), where y is ``label``: 1/d(x, nearest of another label)."""
    measure, scale = norm_of(norm), 255.0 if points.dtype == np.uint8 else 1.0
    others = points[labels != label].astype(np.float64) / scale
    nearest = [measure.key(others - place).min(initial=INF) for place in np.asarray(x, np.float64)]
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / measure.distances(np.array(nearest), np.float64))


def printed(x: Array, label: int, points: Array, labels: Array, norm: str) -> float:
    """The functional of Theorem 1 at one place, as the paper prints it, for labels at distance 1."""
    largest = 0.0
    for p, other in zip((points / 255).tolist(), labels.tolist(), strict=True):
        gaps = [abs(a - b) for a, b in zip(x.tolist(), p, strict=True)]
        d = math.hypot(*gaps) if norm == "l2" else max(gaps)
        numerator = float(label != other)
        if numerator:
            largest = max(largest, numerator / d if d else INF)
    return largest


@st.composite
def sets(draw: st.DrawFn) -> tuple[Array, Array]:
    """A few points of bytes, often near each other or equal, and their labels."""
    shape = (draw(st.integers(2, 12)), draw(st.integers(1, 6)))
    values = st.integers(0, 255) | st.integers(100, 103)
    points = draw(hnp.arrays(np.uint8, shape, elements=values))
    return points, draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, 2)))


@pytest.mark.parametrize("norm", NORMS)
@given(labelled=sets(), data=st.data())
def test_sensitivity_is_that_of_the_double_loop(norm: str, labelled: tuple[Array, Array], data: st.DataObject) -> None:
    points, labels = labelled
    x = data.draw(hnp.arrays(np.float64, (3, points.shape[1]), elements=st.floats(-0.5, 1.5, width=32)))
    x[0] = points[0] / 255
    found = sensitivity_at(x, 1, points, labels, norm)
    expected = [printed(place, 1, points, labels, norm) for place in x]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_at_the_points_of_the_data_it_is_equation_1(norm: str) -> None:
    dice = np.random.default_rng(0)
    points, labels = dice.integers(0, 256, (90, 7), dtype=np.uint8), dice.integers(0, 3, 90)
    expected = rank(Labelled.of(points, labels), norm).sensitivity
    for label in range(3):
        own = labels == label
        found = sensitivity_at(points[own] / 255, label, points, labels, norm)
        np.testing.assert_allclose(found, expected[own], rtol=1e-13)


# --------------------------------------------------------------------------------------------------------- Theorem 1


def around(p: Array, towards: Array, rho: float, norm: str, dice: np.random.Generator) -> Array:
    """Places of the closed ball: its centre, some within, some on its sphere, some on the line to the nearest point."""
    measure = norm_of(norm)
    steps = dice.standard_normal((8, len(p)))
    steps[:4] = np.sign(steps[:4])  # corners of the ball in l-infinity
    steps = np.concatenate([np.zeros((1, len(p))), steps, np.tile(towards - p, (4, 1))])
    lengths = measure.distances(measure.key(steps), np.float64)
    share = np.concatenate([[0.0], dice.uniform(0.5, 1.0, 4), [1.0, 1.0, 1.0, 1.0], [-1.0, 0.5, 0.999, 1.0]])
    return np.asarray(p + steps * (share * rho * (1 - 1e-14) / np.maximum(lengths, 1e-300))[:, None])


def steepness(x: Array, s: Array, norm: str) -> Array:
    """|s(a) - s(b)| / d(a, b) of all pairs of different places, less what rounding may add."""
    a, b = np.triu_indices(len(x), 1)
    measure = norm_of(norm)
    apart = measure.distances(measure.key(x[a] - x[b]), np.float64)
    far = apart > 0
    return np.asarray((np.abs(s[a] - s[b]) - 1e-11 * s.max())[far] / apart[far])


def demand_theorem(points: Array, labels: Array, row: int, r: float, near: int, norm: str, share: float) -> None:
    """The constant holds around a point, and close to the nearest point the slope reaches it."""
    unit = points[[row, near]].astype(np.float64) / (255 if points.dtype == np.uint8 else 1)
    rho, label = share * r, int(labels[row])
    constant = float(bound(r, rho))
    x = around(unit[0], unit[1], rho, norm, np.random.default_rng(row))
    assert (steepness(x, sensitivity_at(x, label, points, labels, norm), norm) <= constant).all()
    # On the way to the nearest point, s(x) = 1 / (r - t): over the last bit of the way the slope is near the constant.
    t = np.array([rho, rho - 1e-3 * (r - rho)])
    a, b = sensitivity_at(unit[0] + t[:, None] / r * (unit[1] - unit[0]), label, points, labels, norm)
    assert (a - b) / (t[0] - t[1]) == pytest.approx(constant / 1.001, rel=1e-7)


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=25)
@given(labelled=sets(), share=st.floats(0.05, 0.95))
def test_theorem_1_on_any_set(norm: str, labelled: tuple[Array, Array], share: float) -> None:
    points, labels = labelled
    found = rank(Labelled.of(points, labels), norm, options=Options(threads=1))
    there = np.flatnonzero(np.isfinite(found.robustness) & (found.robustness > 0))
    assume(there.size)
    for row in there.tolist():
        demand_theorem(points, labels, row, found.robustness[row], int(found.neighbour[row, 0]), norm, share)


@pytest.mark.parametrize("norm", NORMS)
def test_a_smaller_constant_fails(norm: str) -> None:
    """The test would see a wrong constant: one for half the radius is too small."""
    points, labels = np.array([[0, 0], [255, 0]], np.uint8), np.array([0, 1])
    x = np.array([[0.5, 0.0], [0.49, 0.0]])
    slopes = steepness(x, sensitivity_at(x, 0, points, labels, norm), norm)
    assert bound(1.0, 0.25) < slopes.max() < bound(1.0, 0.5)


@pytest.mark.parametrize("norm", NORMS)
def test_points_of_the_same_label_do_not_matter(norm: str) -> None:
    """They may lie in the ball, which the open set of the paper's proof excludes: their numerator is 0 on it."""
    points, labels = np.array([[0, 0], [1, 0], [0, 2], [255, 0]], np.uint8), np.array([0, 0, 0, 1])
    r = rank(Labelled.of(points, labels), norm).robustness[0]
    x = np.concatenate(
        [points[:3] / 255, around(points[0] / 255, points[3] / 255, r / 2, norm, np.random.default_rng(0))]
    )
    s = sensitivity_at(x, 0, points, labels, norm)
    assert np.isfinite(s).all()
    assert (steepness(x, s, norm) <= bound(r)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_theorem_1_on_digits(norm: str) -> None:
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    points = (levels / 16).astype(np.float32)
    found = rank(Labelled.of(points, labels), norm)
    order = np.argsort(found.robustness)
    for row in (*order[:15].tolist(), *order[-5:].tolist(), *range(0, 1797, 120)):
        demand_theorem(points, labels, row, found.robustness[row], int(found.neighbour[row, 0]), norm, 0.5)


@pytest.mark.parametrize("norm", NORMS)
def test_theorem_1_on_cifar10(shared: Path, norm: str) -> None:
    with np.load(shared / "data" / "cifar10_test.npz", allow_pickle=False) as arrays:
        points, labels = arrays["x"][:600].reshape(600, -1), arrays["y"][:600].astype(np.int64)
    found = rank(Labelled.of(points, labels), norm)
    for row, share in ((int(found.robustness.argmin()), 0.5), (123, 0.9)):
        demand_theorem(points, labels, row, found.robustness[row], int(found.neighbour[row, 0]), norm, share)
