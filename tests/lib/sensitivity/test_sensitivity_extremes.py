"""Inputs at the edges: far outliers, huge and tiny scales, very wide rows, shards on unequal machines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from datarobust.distributed import merge_lists
from datarobust.errors import DataError
from datarobust.sensitivity import Labelled, Options, rank
from datarobust.sensitivity.codes import Encoding, L2Encoder
from datarobust.sensitivity.native import Workers
from datarobust.sensitivity.panels import Panels

Array = NDArray[Any]
NORMS = ("l2", "linf")


def brute_force(points: Array, labels: Array, norm: str) -> Array:
    """Distance to the nearest point of another label, float64 in the points' own units."""
    wide = points.astype(np.int64 if points.dtype == np.uint8 else np.longdouble)
    found = np.full(len(points), np.inf)
    for i in range(len(points)):
        gaps = np.abs(wide - wide[i])
        apart = np.sqrt((gaps**2).sum(axis=1)) if norm == "l2" else gaps.max(axis=1)
        found[i] = apart[labels != labels[i]].min()
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-13, 1e20, 5e36])
def test_any_scale(norm: str, scale: float) -> None:
    random = np.random.default_rng(0)
    points = (random.standard_normal((200, 90)) * scale).astype(np.float32)
    labels = random.integers(0, 3, 200)
    found = rank(Labelled.of(points, labels), norm).robustness
    np.testing.assert_allclose(found, brute_force(points, labels, norm), rtol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("factor", [100, 1e4, 1e8])
def test_outliers(norm: str, factor: float) -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((250, 120)).astype(np.float32)
    points[[3, 77, 200]] *= np.float32(factor)
    labels = random.integers(0, 2, 250)
    expected = brute_force(points, labels, norm)
    subject = Labelled.of(points, labels)
    for against in (None, subject):
        np.testing.assert_allclose(rank(subject, norm, against=against).robustness, expected, rtol=1e-13)


def test_an_outlier_does_not_loosen_the_bound_of_others() -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((3000, 120)).astype(np.float32)
    calm, _ = slack_of(points)
    points[3] *= np.float32(1e5)
    wild, largest = slack_of(points)
    assert wild < 2 * calm
    assert largest > 10 * wild


def slack_of(points: Array) -> tuple[float, float]:
    """What codes of all but a few points may be off by, and of any."""
    panels = Panels([(points, np.zeros(len(points), np.int64))], 1 << 30)
    with Workers(1) as workers:
        encoding = Encoding(panels, "l2", workers)
    return encoding.numbers["most_slack"], encoding.arrays["near_slack"].max()


@pytest.mark.parametrize("engine", ["auto", "generic"])
@pytest.mark.parametrize("norm", NORMS)
def test_rows_wider_than_one_exact_product(norm: str, engine: Any) -> None:
    random = np.random.default_rng(0)
    points = random.integers(0, 256, (24, 70_001), dtype=np.uint8)
    points[10:20] = points[0:10]
    points[10:20, ::5000] ^= 1
    labels = random.integers(0, 2, 24)
    found = rank(Labelled.of(points, labels), norm, options=Options(engine=engine)).robustness
    np.testing.assert_allclose(found * 255, brute_force(points, labels, norm), rtol=1e-13)


def test_wide_rows_keep_a_sharp_bound() -> None:
    """The error that is allowed for must not grow with the width of the rows, or nothing is ever ruled out."""
    random = np.random.default_rng(0)
    for dtype in (np.uint8, np.float32):
        rows = random.integers(0, 256, (60, 25_600), dtype=np.uint8).astype(dtype)
        encoder = L2Encoder(rows, 25_600, 64)
        encoder.encode(rows, np.arange(60))
        apart = np.sqrt(((rows[0].astype(np.float64) - rows[1]) ** 2).sum())
        assert encoder.near_slack.max() < 0.1 * apart


@pytest.mark.parametrize("norm", NORMS)
def test_shards_need_not_have_equal_threads(norm: str) -> None:
    random = np.random.default_rng(0)
    points = random.integers(0, 256, (2000, 64), dtype=np.uint8)
    subject = Labelled.of(points, random.integers(0, 10, 2000))
    whole = rank(subject, norm)
    found: list[tuple[Array, Array]] = []

    def keep(key: Array, index: Array) -> tuple[Array, Array]:
        found.append((key, index))
        return key, index

    for number, threads in enumerate((1, 2, 8)):
        rank(subject, norm, options=Options(threads=threads, shard=(number, 3)), merge=keep)
    _, neighbour = merge_lists([key for key, _ in found], [index for _, index in found])
    np.testing.assert_array_equal(neighbour, whole.neighbour)
    assert any((index != whole.neighbour).any() for _, index in found)


def test_numbers_that_are_not_finite_are_named() -> None:
    points = np.zeros((600, 5), np.float32)
    points[77, 2] = np.nan
    for norm in NORMS:
        with pytest.raises(DataError, match="row 77 "):
            rank(Labelled.of(points, np.arange(600) % 2), norm)


def test_numbers_too_far_apart_for_float32_are_refused() -> None:
    points = np.zeros((600, 5), np.float32)
    points[0], points[1] = 3e38, -3e38
    labels = np.arange(600) % 2
    found = rank(Labelled.of(points, labels), "l2").robustness
    np.testing.assert_allclose(found, brute_force(points, labels, "l2"), rtol=1e-13)
    points[2:] = 3e38
    with pytest.raises(DataError, match="scale them down"):
        rank(Labelled.of(points, labels), "l2")


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(DataError, match="go to soft"):
        Labelled.of(np.zeros((3, 2), np.uint8), np.array([0.2, 0.7, 1.0]))
    vectors = np.full((4, 2), 0.5, np.float32)
    vectors[2, 0] = np.nan
    with pytest.raises(DataError, match="row 2 "):
        rank(Labelled.of(np.zeros((4, 2), np.uint8), np.arange(4), vectors), "l2", soft=True)
