"""KID, against loops over pairs, and without bias."""

from __future__ import annotations

import numpy as np
import pytest

from datarobust.errors import DataError
from datarobust.fid import kid, mmd


def loops(x: np.ndarray, y: np.ndarray, paired: bool) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    within = [np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    across = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(y) if not paired or i != j])
    return float(within[0] + within[1] - 2 * across)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("count", [2, 7, 20])
def test_equals_loops(count: int, paired: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datarobust.fid._BLOCK", 8)
    random = np.random.default_rng(count)
    x, y = random.normal(size=(count, 4)), random.normal(0.5, 1, (count, 4))
    assert mmd(x, y, paired) == pytest.approx(loops(x, y, paired), rel=1e-9, abs=1e-12)
    if not paired:
        assert mmd(x, y[:2]) == pytest.approx(loops(x, y[:2], False), rel=1e-9, abs=1e-12)


def test_pairs_are_no_evidence_of_likeness() -> None:
    """Clones that are near their images but of one distribution with them: 0 on average, paired, and below 0 else."""
    random = np.random.default_rng(0)
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(300):
        x = random.normal(size=(12, 3))
        y = np.sqrt(0.9) * x + np.sqrt(0.1) * random.normal(size=(12, 3))
        for paired, values in found.items():
            values.append(mmd(x, y, paired))
    error = {paired: np.std(values) / np.sqrt(len(values)) for paired, values in found.items()}
    assert abs(np.mean(found[True])) < 4 * error[True]
    assert np.mean(found[False]) < -8 * error[False]


def test_subsets() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(60, 5)).astype(np.float32), random.normal(1, 1, (50, 5)).astype(np.float32)
    found = kid(x, y, subsets=20, points=30, seed=3)
    assert (found.subsets, found.points) == (20, 30)
    assert found.deviation is not None
    assert found.value == pytest.approx(mmd(x, y), abs=3 * found.deviation)
    assert kid(x, y, subsets=20, points=30, seed=3) == found
    assert kid(x, y, subsets=20, points=30, seed=4) != found
    pairs = kid(x[:50], y, paired=True, points=50)
    assert (pairs.value, pairs.deviation, pairs.subsets, pairs.points) == (mmd(x[:50], y, True), None, 1, 50)
    assert kid(x, x.copy(), paired=True, subsets=3, points=9).value == pytest.approx(0.0, abs=1e-12)


def test_too_few() -> None:
    with pytest.raises(DataError, match="not of 1"):
        mmd(np.zeros((1, 2)), np.zeros((4, 2)))
