"""The norms against numpy.linalg, and exactness on bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarobust.errors import UsageError
from datarobust.norms import NORMS, norm_of

ORDERS = {"l2": 2, "linf": np.inf, "l1": 1}
PAIRS = hnp.arrays(np.uint8, st.tuples(st.just(2), st.integers(0, 5), st.integers(1, 40)))


@pytest.mark.parametrize("name", NORMS)
@given(pair=PAIRS)
def test_bytes_are_compared_in_whole_numbers(name: str, pair: np.ndarray) -> None:
    norm = norm_of(name)
    keys = norm.keys(pair[0], pair[1])
    for key, a, b in zip(keys.tolist(), pair[0].tolist(), pair[1].tolist(), strict=True):
        gaps = [abs(x - y) for x, y in zip(a, b, strict=True)]
        assert key == {"l2": sum(gap * gap for gap in gaps), "linf": max(gaps), "l1": sum(gaps)}[name]
    assert keys.dtype == np.int64


@pytest.mark.parametrize("name", NORMS)
def test_distances_are_those_of_numpy(name: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 7, 3, 4)).astype(np.float32)
    norm = norm_of(name)
    expected = np.linalg.norm((a.astype(np.float64) - b).reshape(7, -1), ord=ORDERS[name], axis=1)
    np.testing.assert_allclose(norm.distances(norm.keys(a, b), a.dtype), expected, rtol=1e-14)


def test_distances_of_bytes_are_in_unit_range() -> None:
    a, b = np.zeros((1, 4), np.uint8), np.full((1, 4), 255, np.uint8)
    assert norm_of("linf").distances(norm_of("linf").keys(a, b), np.uint8) == 1.0
    assert norm_of("l2").distances(norm_of("l2").keys(a, b), np.uint8) == 2.0


def test_usual_radii_and_steps_are_those_of_appendix_b() -> None:
    assert {name: norm.eps * 255 for name, norm in NORMS.items()} == {"l2": 128, "linf": 8, "l1": 12 * 255}
    assert {name: norm.ball.step * 255 for name, norm in NORMS.items() if norm.ball} == {"l2": 32, "linf": 2}


def test_unknown_norm_is_refused() -> None:
    with pytest.raises(UsageError, match="choose l2 or linf or l1"):
        norm_of("l3")
