"""Multidimensional scaling against what is known of it: exact maps, stress by a slow twin, descent, invariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from datarobust.embedding import Scaling, classical, dissimilarities, principal_axes, scaled, stress_of
from datarobust.errors import DataError, UsageError
from datarobust.norms import norm_of


def apart(points: np.ndarray) -> np.ndarray:
    return np.asarray(squareform(pdist(points)))


def slow_stress(position: np.ndarray, dissimilarity: np.ndarray) -> tuple[float, float]:
    """The definition, pair by pair."""
    raw = size = 0.0
    for i in range(len(position)):
        for j in range(i):
            d = math.dist(position[i], position[j])
            raw += (d - dissimilarity[i, j]) ** 2
            size += d**2
    return raw, math.sqrt(raw / size)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(25, 2)) * [3, 1]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_dissimilarities_are_the_distances_of_the_norm(images: np.ndarray, norm: str) -> None:
    found = dissimilarities(images, norm)
    assert found.shape == (30, 30)
    for i in range(30):
        for j in range(30):
            gap = images[i].astype(int).ravel() - images[j].astype(int).ravel()
            exact = math.sqrt(int((gap**2).sum())) if norm == "l2" else int(np.abs(gap).max())
            assert found[i, j] == exact / 255
    floats = (images.reshape(30, -1) / np.float32(255)).astype(np.float32)
    np.testing.assert_allclose(dissimilarities(floats, norm), found, rtol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_dissimilarities_have_the_bits_of_scipy(monkeypatch: pytest.MonkeyPatch, norm: str, dtype: type) -> None:
    monkeypatch.setattr("datarobust.embedding._ROWS", 7)
    points = np.random.default_rng(2).integers(0, 256, (40, 3, 5, 5)).astype(dtype) / (1 if dtype == np.uint8 else 7)
    points = points.astype(dtype)
    record = norm_of(norm)
    expected = record.distances(pdist(points.reshape(40, -1).astype(np.float64), record.metric), dtype)
    np.testing.assert_array_equal(dissimilarities(points, norm), squareform(expected))


def test_dissimilarities_that_there_are_not(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="1 point make no map: it takes 3 or more"):
        dissimilarities(images[:1], "l2")
    with pytest.raises(DataError, match="all points of the sample are equal"):
        dissimilarities(np.zeros((4, 3), np.float32), "linf")
    with pytest.raises(DataError, match="not finite"):
        dissimilarities(np.array([[0], [np.nan], [1]], np.float32), "l2")
    with pytest.raises(UsageError, match="no norm 'l3'"):
        dissimilarities(images, "l3")


def test_classical_scaling_is_exact_in_the_plane(plane: np.ndarray) -> None:
    np.testing.assert_allclose(apart(classical(apart(plane))), apart(plane), atol=1e-12)
    line = np.column_stack([np.arange(5.0), np.zeros(5)])
    np.testing.assert_allclose(apart(classical(apart(line))), apart(line), atol=1e-6)


def test_classical_scaling_of_points_in_space_is_their_principal_axes() -> None:
    points = np.random.default_rng(2).normal(size=(40, 6)) * [5, 4, 1, 1, 0.5, 0.1]
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(apart(classical(apart(points))), apart(centred @ axes[:2].T), atol=1e-9)


@pytest.mark.parametrize("scaling", ["metric", "nonmetric", "classical"])
@pytest.mark.parametrize("init", ["classical", "random"])
def test_maps_of_points_in_the_plane_have_no_stress(plane: np.ndarray, scaling: Scaling, init: str) -> None:
    found = scaled(apart(plane), scaling, init=init, n_init=2, max_iter=500)  # type: ignore[arg-type]
    assert found.stress < (0.01 if scaling != "classical" else 1e-9)
    if scaling != "nonmetric":
        np.testing.assert_allclose(apart(found.position), apart(plane), atol=0.3)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_stress_is_that_of_the_positions_and_below_that_of_the_start(images: np.ndarray, norm: str) -> None:
    given = dissimilarities(images, norm)
    found = scaled(given)
    assert (found.raw_stress, found.stress) == pytest.approx(slow_stress(found.position, given), rel=1e-9)
    assert 0.05 < found.stress < stress_of(classical(given), given)[1]
    assert found.raw_stress < stress_of(classical(given), given)[0]
    one = scaled(given, max_iter=1)
    assert (one.iterations, one.converged) == (1, False)
    assert found.converged
    assert found.raw_stress < one.raw_stress < stress_of(classical(given), given)[0], "every iteration descends"


def test_more_random_starts_are_no_worse_and_the_seed_decides(images: np.ndarray) -> None:
    given = dissimilarities(images, "linf")
    one, four = (scaled(given, init="random", n_init=count, seed=5) for count in (1, 4))
    assert four.raw_stress <= one.raw_stress
    again, other = (scaled(given, init="random", n_init=1, seed=seed) for seed in (5, 6))
    assert again.position.tobytes() == one.position.tobytes()
    assert other.position.tobytes() != one.position.tobytes()


def test_non_metric_stress_asks_for_the_order_alone(plane: np.ndarray) -> None:
    given = apart(plane)
    assert stress_of(plane * 7, given**3, monotone=True) == (0.0, 0.0), "same order, other values"
    assert stress_of(plane * 7, given**3)[1] > 0.3
    reverse = given.max() - given
    np.fill_diagonal(reverse, 0.0)
    position = scaled(given, "nonmetric").position
    raw, share = stress_of(position, reverse, monotone=True)
    distance = pdist(position)
    # Disparities that must rise where distances fall are their mean.
    assert raw == pytest.approx(np.square(distance - distance.mean()).sum(), rel=0.05)
    assert share == pytest.approx(math.sqrt(raw / np.square(distance).sum()))
    assert math.isnan(stress_of(np.zeros((3, 2)), given[:3, :3])[1])


def test_principal_axes_keep_distances_and_forget_how_the_map_lay(plane: np.ndarray) -> None:
    turn = np.array([[math.cos(2), -math.sin(2)], [math.sin(2), math.cos(2)]])
    one, other = principal_axes(plane), principal_axes(plane @ turn * [1, -1] + 5)
    np.testing.assert_allclose(apart(one), apart(plane), atol=1e-12)
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert abs(one.T @ one)[0, 1] < 1e-9
    assert one.std(axis=0)[0] > one.std(axis=0)[1]
