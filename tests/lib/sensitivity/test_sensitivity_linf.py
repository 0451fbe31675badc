"""The l-infinity bounds stay below the true distance of every pair, and telling coordinates are chosen first."""

from __future__ import annotations

import numpy as np
import pytest

from datarobust.sensitivity.linf import choose_coordinates
from datarobust.sensitivity.panels import ArrayRows, Panels
from datarobust.sensitivity.search import Options, Search
from datarobust.sensitivity.tables import LinfCodes
from datarobust.sensitivity.workers import Workers

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


def encoded(points: Array, labels: Array) -> tuple[Panels, LinfCodes]:
    """The codes that a search of these points uses."""
    panels = Panels([(ArrayRows(points), labels)], 1 << 30)
    search = Search(panels, "linf", 1, None, 1.0, Options(threads=2))
    with Workers(2) as workers:
        codes, *_ = search._encode(workers)
    assert isinstance(codes, LinfCodes)
    return panels, codes


def check(panels: Panels, codes: LinfCodes, distance: Array) -> None:
    """Codes are never farther apart than their points, in steps, plus the margin."""
    n = len(distance)
    order = panels.origin[:n]
    distance = distance[np.ix_(order, order)]
    gaps = keys(codes.near[:n], codes.near[:n], "linf")
    assert (gaps <= np.floor(np.minimum(distance / codes.step, 255)) + codes.margin).all()
    columns = codes.packed.shape[1]
    unpacked = codes.packed.transpose(0, 2, 1).reshape(-1, columns)
    np.testing.assert_array_equal(unpacked, codes.near[:, :columns])


@pytest.mark.parametrize("name", sorted(SETS))
def test_no_bound_exceeds_a_distance_of_bytes(name: str) -> None:
    points, labels = SETS[name]()
    panels, codes = encoded(points, labels)
    assert (codes.step, codes.margin) == (1.0, 0)
    check(panels, codes, keys(points, points, "linf").astype(np.float64))
    # Codes are coordinates: every column of a code is a column of the points.
    order = panels.origin[: len(points)]
    found = {column.tobytes() for column in points[order].T}
    used = [column.tobytes() for column in codes.near[: len(points)].T if column.any()]
    assert set(used) <= found


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
    if kind == "outside the sample":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("datarobust.sensitivity.search.SAMPLE", 10)
            panels, codes = encoded(features, labels)
    else:
        panels, codes = encoded(features, labels)
    wide = features.astype(np.float64)
    check(panels, codes, np.array([np.abs(wide - row).max(axis=1) for row in wide]))


def test_telling_coordinates_come_first() -> None:
    random = np.random.default_rng(0)
    levels = random.integers(0, 4, (300, 50), dtype=np.uint8)
    levels[:, 31] = random.integers(0, 256, 300)
    labels = random.integers(0, 3, 300)
    chosen, columns = choose_coordinates(levels, labels)
    assert chosen[0] == 31
    assert sorted(chosen.tolist()) == list(range(50))
    assert 1 <= columns <= 50
    again, same = choose_coordinates(levels, labels)
    np.testing.assert_array_equal(again, chosen)
    assert same == columns


@pytest.mark.parametrize("width", [1, 2, 7, 8, 63, 300])
@pytest.mark.parametrize("classes", [1, 2])
def test_coordinates_are_chosen_once_each(width: int, classes: int) -> None:
    random = np.random.default_rng(width)
    levels = random.integers(0, 256, (90, width), dtype=np.uint8)
    chosen, columns = choose_coordinates(levels, np.arange(90) % classes)
    assert len(set(chosen.tolist())) == len(chosen) == min(256, width)
    assert 1 <= columns <= width
