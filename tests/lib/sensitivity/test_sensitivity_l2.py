"""Both l2 bounds stay below the true distance of every pair, and are close enough to it to be of use."""

from __future__ import annotations

import numpy as np
import pytest

from datarobust.sensitivity.codes import Encoding
from datarobust.sensitivity.native import Workers
from datarobust.sensitivity.panels import Panels

from .oracle import Array, all_equal, clustered, coarse_and_far, constant_images, keys, near_duplicates, saturated

SETS = {
    "clusters": lambda: clustered(500, 300),
    "near duplicates": lambda: near_duplicates(400),
    "saturated": lambda: saturated(400, 130),
    "constant images": lambda: constant_images(400),
    "all equal": lambda: all_equal(200),
    "corners": lambda: coarse_and_far(300),
    "narrow": lambda: (np.random.default_rng(0).integers(0, 256, (400, 3), dtype=np.uint8), np.arange(400) % 3),
    "one far away": lambda: one_far_away(),
}


def one_far_away() -> tuple[Array, Array]:
    points = np.random.default_rng(2).integers(100, 104, (5000, 80), dtype=np.uint8)
    points[4321] = 255  # most likely in no sample, so it is clipped in every coordinate
    points[17] = 0
    keep = np.r_[0:200, 4300:4400]
    return points[keep], np.arange(len(keep)) % 2


def floats_of(kind: str) -> Array:
    random = np.random.default_rng(1)
    points = random.standard_normal((400, 100))
    if kind == "offset":
        points += 1e5
    elif kind == "heavy tails":
        points = random.standard_cauchy((400, 100)) ** 3
    elif kind == "tiny":
        points *= 1e-20
    elif kind == "near":
        points = points[random.integers(0, 20, 400)] + 1e-5 * points
    return points.astype(np.float32)


def encoded(points: Array, labels: Array) -> tuple[Panels, Encoding]:
    """The codes that a search of these points uses."""
    panels = Panels([(points, labels)], 1 << 30)
    with Workers(2) as workers:
        return panels, Encoding(panels, "l2", workers)


def squares(codes: Array) -> Array:
    wide = codes.astype(np.float64)
    norm = (wide**2).sum(axis=1)
    return norm[:, None] + norm[None, :] - 2 * wide @ wide.T


def bounds(encoding: Encoding, n: int) -> tuple[Array, Array]:
    """The largest distances that the near and the far codes rule out, for all pairs of positions."""
    arrays = {name: array[:n] for name, array in encoding.arrays.items()}
    near_step, far_step = encoding.numbers["near_step"], encoding.numbers["far_step"]
    slack, rest, codes = arrays["near_slack"], arrays["rest"], arrays["far"]
    near = np.sqrt(np.maximum(squares(arrays["near"]), 0)) * near_step - slack[:, None] - slack[None, :]
    far = squares(codes[:, :64]) * near_step**2 + squares(codes[:, 64:]) * far_step**2
    far = np.sqrt(np.maximum(far + (rest[:, None] - rest[None, :]) ** 2, 0))
    slack = arrays["far_slack"]
    return near, far - slack[:, None] - slack[None, :]


def check(panels: Panels, encoding: Encoding, distance: Array) -> float:
    """No bound exceeds a distance; returns the mean share of the distance that the better bound reaches."""
    n = len(distance)
    order = panels.origin[:n]
    distance = distance[np.ix_(order, order)]
    near, far = bounds(encoding, n)
    rounding = 1e-9 * distance + 1e-9 * np.sqrt(np.abs(distance).max()) * 1e-3
    assert (near <= distance + rounding).all()
    assert (far <= distance + rounding).all()
    apart = distance > 0
    return float((np.maximum(near, far)[apart] / distance[apart]).mean()) if apart.any() else 1.0


@pytest.mark.parametrize("name", sorted(SETS))
def test_no_bound_exceeds_a_distance_of_bytes(name: str) -> None:
    points, labels = SETS[name]()
    panels, encoding = encoded(points, labels)
    assert (
        encoding.arrays["near_slack"] <= encoding.numbers["most_slack"]
    ).mean() > 0.9  # the others are compared with everyone
    share = check(panels, encoding, np.sqrt(keys(points, points, "l2")))
    if name in {"clusters", "narrow"}:
        assert share > 0.8, "a bound that bounds nothing is true too"


@pytest.mark.parametrize("kind", ["normal", "offset", "heavy tails", "tiny", "near"])
def test_no_bound_exceeds_a_distance_of_features(kind: str) -> None:
    points = floats_of(kind)
    panels, encoding = encoded(points, np.arange(400) % 5)
    wide = points.astype(np.longdouble)
    distance = np.array([np.sqrt(((wide - row) ** 2).sum(axis=1)) for row in wide], np.float64)
    check(panels, encoding, distance)


def test_norms_and_packed_columns_belong_to_the_codes() -> None:
    panels, encoding = encoded(*clustered(500, 300))
    near = encoding.arrays["near"]
    np.testing.assert_array_equal(encoding.arrays["square"], (near.astype(np.int64) ** 2).sum(axis=1))
    np.testing.assert_array_equal(encoding.arrays["packed"].transpose(0, 2, 1, 3).reshape(-1, 64), near)
    np.testing.assert_array_equal(encoding.arrays["far"][:, :63], near[:, :63])
    assert near.min() >= -127  # tiles of AVX2 multiply sizes, and 128 is none of a byte
    assert len(near) == panels.positions


def test_equal_points_have_equal_codes_wherever_they_stand() -> None:
    points, _ = clustered(500, 150)
    panels = Panels([(np.concatenate([points, points]), np.repeat([0, 1], 500))], 40_000)
    with Workers(3) as workers:
        near = Encoding(panels, "l2", workers).arrays["near"]
    place = np.empty(1000, np.int64)
    place[panels.origin[panels.origin >= 0]] = np.flatnonzero(panels.origin >= 0)
    gaps = near[place[:500]].astype(np.int64) - near[place[500:]]
    assert np.abs(gaps).max() <= 1  # a matrix product may round rows of another block otherwise
