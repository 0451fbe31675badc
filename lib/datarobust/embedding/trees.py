"""Random trees embeddings in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomTreesEmbedding
from threadpoolctl import threadpool_limits

from datarobust.embedding.sample import FEWEST, demand_different, demand_points
from datarobust.errors import DataError, UsageError
from datarobust.randomness import Domain, row_keys


def random_trees(
    points: npt.NDArray[Any], *, n_estimators: int = 100, max_depth: int = 5, seed: int = 0
) -> tuple[npt.NDArray[np.float64], int]:
    """A random trees embedding (``sklearn.ensemble.RandomTreesEmbedding``) in two dimensions.

    Trees split at random, without labels or norm; a point is told by its leaf in each. Two dimensions are made as in
    scikit-learn's examples, by ``TruncatedSVD``: the two largest singular vectors times their values, not centred;
    here by ARPACK to full precision, so that how they are found leaves no trace.

    Args:
        points: (M, ...) uint8 or float32, M at least three.
        n_estimators: trees.
        max_depth: of each tree.
        seed: of the trees.

    Returns:
        Positions float64 (M, 2), and how many leaves the trees have together.

    Raises:
        DataError: too few points, or points that are all equal.
        UsageError: trees with fewer than three leaves.
    """
    demand_points(len(points))
    flat = points.reshape(len(points), -1).astype(np.float32)
    if not np.isfinite(flat).all():
        raise DataError("the points have numbers that are not finite, so no tree can split them")
    demand_different(float(np.abs(flat - flat[0]).max()))
    forest = RandomTreesEmbedding(
        n_estimators=n_estimators,
        max_depth=max_depth,
        min_samples_split=2,
        min_samples_leaf=1,
        min_weight_fraction_leaf=0.0,
        max_leaf_nodes=None,
        min_impurity_decrease=0.0,
        sparse_output=True,
        n_jobs=None,
        random_state=int(row_keys(seed, Domain.MAP_TREES.of(0), 0, 1)[0] >> np.uint64(32)),
        verbose=0,
        warm_start=False,
    )
    with threadpool_limits(1):
        told = forest.fit_transform(flat)
        leaves = int(told.shape[1])
        if leaves < FEWEST:
            raise UsageError(f"the trees have {leaves} leaves together: raise `n_estimators` or `max_depth`")
        start = int(row_keys(seed, Domain.MAP_TREES.of(1), 0, 1)[0] >> np.uint64(32))
        reduced = TruncatedSVD(n_components=2, algorithm="arpack", random_state=start, tol=0.0)
        return np.asarray(reduced.fit_transform(told), np.float64), leaves
