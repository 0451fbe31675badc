"""Do patterns emerge: the measure against planted patterns, no pattern, and a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from datarobust.embedding import neighbour_correlation

PLACES = np.random.default_rng(0).uniform(size=(200, 2))


def test_it_is_the_rank_correlation_with_the_nearest_neighbour() -> None:
    values = np.exp(5 * PLACES[:, 0]) + np.random.default_rng(1).gamma(2, size=200)
    nearest = [min((np.linalg.norm(PLACES[i] - PLACES[j]), j) for j in range(200) if j != i)[1] for i in range(200)]
    # Spearman's with ranks within all points, as every point is somebody's robustness once.
    ranks = values.argsort().argsort().astype(float)
    found = neighbour_correlation(PLACES, values, 0)
    assert found.correlation == pytest.approx(np.corrcoef(ranks, ranks[nearest])[0, 1])
    assert found.correlation == pytest.approx(spearmanr(values, values[nearest])[0], abs=0.02)


def test_a_planted_pattern_is_found_and_chance_is_not() -> None:
    planted = neighbour_correlation(PLACES, PLACES[:, 1], 3)
    assert planted.correlation is not None
    assert planted.permuted is not None
    assert planted.correlation > 0.95 > 0.4 > planted.permuted > 0.1
    assert planted.p == 1 / 1000
    chance = [
        neighbour_correlation(PLACES, np.random.default_rng(seed).uniform(size=200), 3, 99).p for seed in range(20)
    ]
    assert all(p is not None for p in chance)
    assert 0.2 < np.mean([p for p in chance if p is not None]) < 0.8, "p is uniform where there is nothing"


def test_monotone_changes_of_robustness_and_rigid_ones_of_the_map_change_nothing() -> None:
    values = PLACES.sum(axis=1)
    one, other = (
        neighbour_correlation(PLACES, values, 0, 9),
        neighbour_correlation(PLACES[:, ::-1] * -3 + 1, np.log(values), 0, 9),
    )
    assert one == other
    assert neighbour_correlation(PLACES, values, 1, 9) != one


def test_equal_positions_and_equal_robustness() -> None:
    where = np.repeat(PLACES[:50], 4, axis=0)
    twins = neighbour_correlation(where, np.repeat(PLACES[:50, 0], 4), 0, 9)
    assert twins.correlation == pytest.approx(1.0)
    alike = neighbour_correlation(PLACES, np.ones(200), 0, 9)
    assert (alike.correlation, alike.permuted, alike.p) == (None, None, None)
    assert alike.permutations == 9
