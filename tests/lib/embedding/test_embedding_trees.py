"""Random trees embeddings: what they do not depend on, and what they must depend on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from datarobust.embedding import random_trees
from datarobust.errors import DataError, UsageError


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    """Two groups of 20 points that are far apart."""
    random = np.random.default_rng(0)
    return np.concatenate([random.integers(0, 20, (20, 8)), random.integers(200, 256, (20, 8))]).astype(np.uint8)


def test_the_map_is_the_truncated_svd_of_points_and_leaves(groups: np.ndarray) -> None:
    position, leaves = random_trees(groups, n_estimators=10, max_depth=3, seed=4)
    assert position.shape == (40, 2)
    assert position.dtype == np.float64
    assert 10 < leaves <= 80
    # Inner products of the map are those of the two largest singular values, whose sum is the trees'.
    lengths = np.linalg.norm(position, axis=0)
    assert lengths[0] >= lengths[1] > 0
    assert abs(position[:, 0] @ position[:, 1]) < 1e-9
    assert (lengths**2).sum() <= 40 * 10 + 1e-9, "each point is in one leaf of each tree"


def test_groups_stay_together_and_equal_points_are_equal(groups: np.ndarray) -> None:
    twice = np.concatenate([groups, groups[:3]])
    position, _ = random_trees(twice, n_estimators=30)
    np.testing.assert_allclose(position[40:], position[:3], atol=1e-12)
    apart = squareform(pdist(position[:40]))
    np.fill_diagonal(apart, np.inf)
    assert ((apart.argmin(axis=1) < 20) == (np.arange(40) < 20)).all(), "a neighbour is of one's own group"


def test_deeper_trees_have_more_leaves(groups: np.ndarray) -> None:
    leaves = [random_trees(groups, n_estimators=20, max_depth=depth)[1] for depth in (1, 2, 4)]
    assert leaves[0] == 40
    assert leaves == sorted(set(leaves))


def test_the_seed_decides(groups: np.ndarray) -> None:
    one, again, other = (random_trees(groups, n_estimators=5, seed=seed)[0].tobytes() for seed in (1, 1, 2**64 - 1))
    assert one == again != other


def test_what_no_trees_can_be_made_of(groups: np.ndarray) -> None:
    with pytest.raises(DataError, match="2 points make no map"):
        random_trees(groups[:2])
    with pytest.raises(DataError, match="all points of the sample are equal"):
        random_trees(np.ones((5, 2), np.float32))
    with pytest.raises(DataError, match="not finite"):
        random_trees(np.array([[0], [np.inf], [1]], np.float32))
    with pytest.raises(UsageError, match="2 leaves together: raise `n_estimators` or `max_depth`"):
        random_trees(groups, n_estimators=1, max_depth=1)
