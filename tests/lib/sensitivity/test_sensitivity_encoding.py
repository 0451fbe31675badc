"""Every point is encoded once, at its position, with the sums that exact distances need."""

from __future__ import annotations

import numpy as np
import pytest

from datarobust.sensitivity.encoding import Encoding, byte_sums
from datarobust.sensitivity.panels import ArrayRows, Panels
from datarobust.sensitivity.simd import VNNI
from datarobust.sensitivity.workers import Workers

from .oracle import NORMS, clustered


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("memory", [1, 40_000, 1 << 30])
def test_sums_and_codes_stand_at_their_positions(norm: str, memory: int) -> None:
    points, labels = clustered(500, 150)
    panels = Panels([(ArrayRows(points), labels)], memory)
    with Workers(2) as workers:
        encoding = Encoding(panels, norm, VNNI, workers)
        encoding.refine(np.full(panels.positions, 30.0))
    there = panels.origin >= 0
    rows = points[panels.origin[there]].astype(np.int64)
    if norm == "l2":
        np.testing.assert_array_equal(encoding.total[there], rows.sum(axis=1))
        np.testing.assert_array_equal(encoding.square[there], (rows**2).sum(axis=1))
    else:
        assert encoding.refinable
        assert encoding.total.shape == encoding.square.shape == (0,)
    assert encoding.leading.shape == (panels.positions, 4)
    assert np.isfinite(encoding.leading).all()
    # Equal points have equal codes, wherever they stand.
    twice = np.concatenate([points, points])
    panels = Panels([(ArrayRows(twice), np.repeat([0, 1], 500))], memory)
    with Workers(3) as workers:
        codes = Encoding(panels, norm, VNNI, workers).codes
    place = np.empty(1000, np.int64)
    place[panels.origin[panels.origin >= 0]] = np.flatnonzero(panels.origin >= 0)
    np.testing.assert_array_equal(codes.near[place[:500]], codes.near[place[500:]])


def test_sums_of_bytes() -> None:
    data = np.random.default_rng(0).integers(0, 256, (9, 70_000), dtype=np.uint8)
    data[0], data[1] = 0, 255
    positions = np.random.default_rng(1).permutation(12)[:9]
    total, square = np.full(12, -1), np.full(12, -1)
    byte_sums(data, positions, total, square)
    np.testing.assert_array_equal(total[positions], data.sum(axis=1, dtype=np.int64))
    np.testing.assert_array_equal(square[positions], (data.astype(np.int64) ** 2).sum(axis=1))
    assert (np.delete(total, positions) == -1).all()
