"""The l-infinity bounds stay below the true distance of every pair, and telling coordinates are chosen first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from datarobust.sensitivity import native
from datarobust.sensitivity.codes import Encoding, choose_coordinates
from datarobust.sensitivity.native import Workers
from datarobust.sensitivity.panels import Panels

from .oracle import Array, all_equal, clustered, constant_images, keys, near_duplicates, saturated

SETS = {
    "clusters": lambda: clustered(500, 784),
    "near duplicates": lambda: near_duplicates(400),
    "saturated": lambda: saturated(400, 130),
    "constant images": lambda: constant_images(400),
    "all equal": lambda: all_equal(200),
    "narrow": lambda: (np.random.default_rng(0).integers(0, 256, (400, 3), dtype=np.uint8), np.arange(400) % 3),
    "one class": lambda: (clustered(200, 70)[0], np.zeros(200, np.int64)),
    "one point": lambda: (np.full((1, 1), 9, np.uint8), np.zeros(1, np.int64)),
}


pytestmark = pytest.mark.skipif(native.library() is None, reason="installed without a compiler")


def encoded(points: Array, labels: Array) -> Iterator[tuple[Panels, Encoding]]:
    """The codes that a search of these points begins with, and those it takes once radii are known."""
    panels = Panels([(points, labels)], 1 << 30)
    with Workers(2) as workers:
        encoding = Encoding(panels, "linf", workers)
        yield panels, encoding
        for radius in (0.0, 20 * encoding.numbers["near_step"], np.inf):
            encoding.refine(np.full(panels.positions, radius))
            yield panels, encoding


def check(panels: Panels, encoding: Encoding, distance: Array) -> None:
    """Codes are never farther apart than their points, in steps, plus the margin."""
    n = len(distance)
    order = panels.origin[:n]
    distance = distance[np.ix_(order, order)]
    near, packed = encoding.arrays["near"], encoding.arrays["packed"]
    steps, columns = np.floor(np.minimum(distance / encoding.numbers["near_step"], 255)), encoding.numbers["columns"]
    assert (keys(near[:n], near[:n], "linf") <= steps + encoding.numbers["margin"]).all()
    unpacked = packed.reshape(-1, columns, 64).transpose(0, 2, 1).reshape(-1, columns)
    np.testing.assert_array_equal(unpacked, near[:, :columns])


@pytest.mark.parametrize("name", sorted(SETS))
def test_no_bound_exceeds_a_distance_of_bytes(name: str) -> None:
    points, labels = SETS[name]()
    distance = keys(points, points, "linf").astype(np.float64)
    for panels, encoding in encoded(points, labels):
        assert (encoding.numbers["near_step"], encoding.numbers["margin"]) == (1.0, 0)
        check(panels, encoding, distance)
        # Codes are coordinates: every column of a code is a column of the points.
        order = panels.origin[: len(points)]
        found = {column.tobytes() for column in points[order].T}
        assert {column.tobytes() for column in encoding.arrays["near"][: len(points)].T if column.any()} <= found


@pytest.mark.parametrize("kind", ["normal", "offset", "heavy tails", "tiny", "constant", "outside the sample"])
def test_no_bound_exceeds_a_distance_of_features(kind: str) -> None:
    random = np.random.default_rng(1)
    points = random.standard_normal((400, 100))
    if kind == "offset":
        points += 1e6
    elif kind == "heavy tails":
        points = random.standard_cauchy((400, 100)) ** 3
    elif kind == "tiny":
        points *= 1e-30
    elif kind == "constant":
        points[:] = 4.2
    features = points.astype(np.float32)
    labels = np.arange(400) % 5
    wide = features.astype(np.float64)
    distance = np.array([np.abs(wide - row).max(axis=1) for row in wide])
    with pytest.MonkeyPatch.context() as patch:
        if kind == "outside the sample":
            patch.setattr("datarobust.sensitivity.codes.SAMPLE", 10)
        for panels, encoding in encoded(features, labels):
            check(panels, encoding, distance)


def test_telling_coordinates_come_first() -> None:
    random = np.random.default_rng(0)
    levels = random.integers(0, 4, (300, 50), dtype=np.uint8)
    levels[:, 31] = random.integers(0, 256, 300)
    labels = random.integers(0, 3, 300)
    chosen, columns = choose_coordinates(levels, labels, np.full(300, 40.0))
    assert chosen[0] == 31
    assert sorted(chosen.tolist()) == list(range(50))
    assert 1 <= columns <= 50
    again, same = choose_coordinates(levels, labels, np.full(300, 40.0))
    np.testing.assert_array_equal(again, chosen)
    assert same == columns


@pytest.mark.parametrize("width", [1, 2, 7, 8, 63, 300])
@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("reach", [0.0, 60.5, 255.0])
def test_coordinates_are_chosen_once_each(width: int, classes: int, reach: float) -> None:
    random = np.random.default_rng(width)
    levels = random.integers(0, 256, (90, width), dtype=np.uint8)
    chosen, columns = choose_coordinates(levels, np.arange(90) % classes, np.full(90, reach))
    assert len(set(chosen.tolist())) == len(chosen) == min(256, width)
    assert 1 <= columns <= width
