"""Projections are onto orthonormal directions, and their errors are below what they say."""

from __future__ import annotations

import numpy as np
import pytest

from datarobust.sensitivity.codes import Projector

from .oracle import Array, clustered, near_duplicates, saturated

FLOAT_KINDS = ("normal", "offset", "scales", "constant", "rank one", "tiny")


def padded(rows: Array) -> Array:
    """Rows with zeros up to a multiple of 64 bytes, as the search holds them."""
    line = 64 // rows.dtype.itemsize
    out = np.zeros((len(rows), -(-rows.shape[1] // line) * line), rows.dtype)
    out[:, : rows.shape[1]] = rows
    return out


def byte_rows(kind: str) -> Array:
    if kind == "clusters":
        return clustered(300, 200)[0]
    if kind == "near duplicates":
        return near_duplicates(300, 3072)[0]
    if kind == "saturated":
        return saturated(300, 130)[0]
    if kind == "constant":
        return np.full((100, 90), 255, np.uint8)
    if kind == "one row":
        return np.random.default_rng(0).integers(0, 256, (1, 70), dtype=np.uint8)
    if kind == "long":
        return np.random.default_rng(2).choice(np.array([0, 255], np.uint8), (30, 9000))
    return np.random.default_rng(1).integers(0, 256, (500, 5), dtype=np.uint8)


def float_rows(kind: str) -> Array:
    random = np.random.default_rng(4)
    rows = random.standard_normal((300, 90))
    if kind == "offset":
        rows += 1e5
    elif kind == "scales":
        rows *= 10.0 ** random.integers(-6, 6, 90)
    elif kind == "constant":
        rows[:] = rows[0]
    elif kind == "rank one":
        rows = rows[:, :1] * rows[0]
    elif kind == "tiny":
        rows *= 1e-15
    return rows.astype(np.float32)


def check(rows: Array, near: int, far: int) -> Projector:
    width = rows.shape[1]
    near = min(near, width)
    far = min(far, width - near)
    wide = padded(rows)
    projector = Projector(wide[: max(1, len(rows) // 2)], width, near, far)
    projected = projector(wide)
    np.testing.assert_array_equal(projector.leading(wide), projected.leading)

    directions = projector.directions.astype(np.float64) @ projector.to_orthonormal
    np.testing.assert_allclose(directions.T @ directions, np.eye(near + far), atol=1e-9)

    wide = rows.astype(np.float64) - projector.centre.astype(np.float64)
    exact = wide @ directions
    off = np.sqrt(((projected.coordinates - exact) ** 2).sum(axis=1))
    length = np.sqrt((wide**2).sum(axis=1))
    assert (off <= projected.error + 1e-11 * length + 1e-300).all()
    square = (wide**2).sum(axis=1)
    assert (np.abs(projected.squared - square) <= projected.squared_error + 1e-13 * square).all()
    # Bessel's inequality, and so a bound from below on every distance.
    assert ((projected.coordinates**2).sum(axis=1) <= (length + projected.error) ** 2 * (1 + 1e-9) + 1e-300).all()
    assert projected.leading.shape == (len(rows), min(4, near + far))
    assert np.isfinite(projected.leading).all()
    for count in (near, None):
        rest, doubt = projected.rest(count)
        exact = np.sqrt(np.maximum(square - ((wide @ directions[:, :count]) ** 2).sum(axis=1), 0))
        assert (np.abs(rest - exact) <= doubt + 1e-6 * length + 1e-300).all()
    return projector


@pytest.mark.parametrize("kind", ["clusters", "near duplicates", "saturated", "constant", "one row", "narrow", "long"])
@pytest.mark.parametrize(("near", "far"), [(63, 191), (14, 0), (3, 1)])
def test_bytes_are_projected_exactly(kind: str, near: int, far: int) -> None:
    projector = check(byte_rows(kind), near, far)
    if projector.exact:
        rows = padded(byte_rows(kind))
        projected = projector(rows)
        assert not projected.error.any()
        assert not projected.squared_error.any()
        for n in (1, 7, 65):  # whole numbers have no order of summation
            squared = projector(np.ascontiguousarray(rows[:n])).squared
            np.testing.assert_array_equal(squared, projected.squared[:n])


def test_images_take_the_exact_way() -> None:
    assert check(byte_rows("clusters"), 63, 191).exact
    assert check(byte_rows("near duplicates"), 63, 191).exact


@pytest.mark.parametrize("kind", FLOAT_KINDS)
@pytest.mark.parametrize(("near", "far"), [(63, 191), (14, 0)])
def test_features_within_the_stated_error(kind: str, near: int, far: int) -> None:
    assert not check(float_rows(kind), near, far).exact
