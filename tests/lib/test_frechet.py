"""The Fréchet distance, against matrix roots and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from datarobust.errors import DataError
from datarobust.frechet import Reference


def features(count: int, width: int, seed: int, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(width).standard_normal((width, width)) / np.sqrt(width)
    return random.standard_normal((count, width)) @ mixing * (1 + 0.1 * seed) + shift


def by_roots(a: np.ndarray, b: np.ndarray) -> float:
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = np.square(a.mean(0) - b.mean(0)).sum()
    return float(apart + np.trace(s1) + np.trace(s2) - 2 * np.trace(scipy.linalg.sqrtm(s1 @ s2).real))


@pytest.mark.parametrize(("first", "second", "width"), [(60, 80, 7), (400, 50, 20), (30, 30, 29)])
def test_equals_the_definition(first: int, second: int, width: int) -> None:
    a, b = features(first, width, 0), features(second, width, 1, 0.3)
    assert Reference(a).distance(b) == pytest.approx(by_roots(a, b), rel=1e-7)
    assert Reference(b).distance(a) == pytest.approx(by_roots(a, b), rel=1e-7)


def test_fewer_points_than_features() -> None:
    """Both ways to the trace are one where both apply: zeros added to all points change nothing."""
    a, b = features(12, 8, 0), features(15, 8, 1)
    wanted = Reference(a).distance(b)
    wide = [np.concatenate([part, np.zeros((len(part), 40))], 1) for part in (a, b)]
    assert Reference(wide[0]).distance(wide[1]) == pytest.approx(wanted, rel=1e-9)


def test_of_a_set_with_itself_it_is_nothing_and_of_normal_sets_known() -> None:
    a = features(50, 6, 0)
    assert Reference(a).distance(a) == pytest.approx(0.0, abs=1e-9)
    assert Reference(a[:5]).distance(a[:5]) == pytest.approx(0.0, abs=1e-9)
    line = np.linspace(-1, 1, 101)[:, None]
    spread = float(line.std(ddof=1))
    assert Reference(line).distance(3 * line + 2) == pytest.approx(4 + (2 * spread) ** 2, rel=1e-9)
    assert Reference(line.astype(np.float32)).distance(line) == pytest.approx(0.0, abs=1e-9)


def test_what_does_not_compare() -> None:
    with pytest.raises(DataError, match="two points"):
        Reference(np.zeros((1, 3)))
    with pytest.raises(DataError, match="not of 1"):
        Reference(np.zeros((4, 3))).distance(np.zeros((1, 3)))
    with pytest.raises(DataError, match="4 numbers do not compare with 3"):
        Reference(np.zeros((4, 3))).distance(np.zeros((4, 4)))
