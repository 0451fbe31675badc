"""Points in the plane: multidimensional scaling and random trees, for the maps of Figures 2 (c, d), 6 and 17.

A map shows whether points that are alike are about equally robust, as Theorem 1 says, without a look at labels. It has
a sample of the points (:func:`stratified`), placed by MDS (Kruskal 1964; :func:`scaled`) or RTE (Geurts et al. 2006;
Moosmann et al. 2006; :func:`random_trees`). Whether patterns emerge is measured: :func:`neighbour_correlation`.

All of it but distances is computed in one thread, so that the same arguments give the same bits on one machine. Maps
have no direction of their own; those of MDS are turned to their principal axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy.linalg import eigh
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import rankdata
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.isotonic import IsotonicRegression
from sklearn.manifold import smacof
from threadpoolctl import threadpool_limits

from datarobust.errors import DataError, UsageError
from datarobust.norms import L2, norm_of
from datarobust.randomness import Domain, permutation, row_keys
from datarobust.sensitivity.native import Workers
from datarobust.types import Array, Floats, Progress, Rows

Scaling = Literal["metric", "nonmetric", "classical"]
Init = Literal["classical", "random"]

FEWEST: Final = 3  # points of a map: two are a line
_ROWS: Final = 64  # of distances that are computed at a time
_EPS: Final = 1e-6  # SMACOF ends where an iteration lowers the stress by less than this share of the squared distances


def stratified(robustness: Floats, count: int, seed: int) -> Rows:
    """A robustness-stratified sample (Section 4, 'Experimental Setup'): one point of each of ``count`` equal strata.

    The N points of finite robustness are put in order by (robustness, row). Stratum i, from 0, holds the ranks from
    floor(i N / count) up to, not including, floor((i + 1) N / count), so sizes differ by at most one. Of each stratum
    of s points that of place floor(k s / 2^64) is taken, k the i-th random key of the seed: uniform up to s / 2^64.
    The rows (count,) are distinct, the least robust first.
    """
    if not 0 <= seed < 1 << 64:
        raise UsageError(f"`seed` {seed}: seeds are from 0 to 2**64 - 1")
    ordered = np.argsort(robustness, kind="stable")
    ordered = ordered[np.isfinite(robustness[ordered])]
    if not 1 <= count <= len(ordered):
        raise UsageError(f"{len(ordered):,} points have a finite distance: choose `n` from 1 to {len(ordered):,}")
    bounds = [stratum * len(ordered) // count for stratum in range(count + 1)]
    keys = row_keys(seed, Domain.MAP_SAMPLE.of(0), 0, count).tolist()
    places = [low + (key * (high - low) >> 64) for key, low, high in zip(keys, bounds[:-1], bounds[1:], strict=True)]
    return ordered[places].astype(np.int64)


def _flat(points: Array, dtype: type[np.floating]) -> Array:
    """The points as rows (M, D), M at least :data:`FEWEST`, all finite and not all equal; else DataError."""
    if len(points) < FEWEST:
        raise DataError(f"{len(points)} point{'' if len(points) == 1 else 's'} make no map: it takes {FEWEST} or more")
    flat = points.reshape(len(points), -1).astype(dtype)
    if not np.isfinite(flat).all():
        raise DataError("the points have numbers that are not finite, so they cannot be mapped")
    if (flat == flat[0]).all():
        raise DataError("all points of the sample are equal, so there is nothing to map")
    return flat


def dissimilarities(points: Array, norm: str) -> Floats:
    """Distances (M, M) of all pairs of points (M, ...): in [0, 1] units where they are uint8, else in their own.

    On bytes the sums and maxima that are compared are whole numbers, so equal distances are equal. Threads share the
    pairs, which changes no bit.
    """
    record, flat = norm_of(norm), _flat(points, np.float64)
    if points.dtype == np.uint8 and record is L2:  # all of these are whole numbers that float64 has
        squares = np.square(flat).sum(axis=1)
        return record.distances(squares[:, None] + squares - 2 * (flat @ flat.T), points.dtype)
    keys = np.empty((len(flat), len(flat)))

    def compare(start: int) -> None:
        rows = slice(start, start + _ROWS)
        keys[rows, start:] = cdist(flat[rows], flat[start:], record.metric)
        keys[start:, rows] = keys[rows, start:].T

    with Workers() as workers:
        workers.each(compare, range(0, len(flat), _ROWS))
    return record.distances(keys, points.dtype)


@dataclass(frozen=True)
class Scaled:
    """A map by multidimensional scaling."""

    position: Floats  # (M, 2)
    stress: float  # Kruskal's stress-1, see stress_of
    raw_stress: float  # what SMACOF makes small, the sum of squares alone
    iterations: int  # of the start that was taken; 0 for classical scaling
    converged: bool  # whether it ended before the most iterations allowed


def scaled(
    dissimilarity: Floats,
    scaling: Scaling = "metric",
    *,
    init: Init = "classical",
    n_init: int = 4,
    max_iter: int = 300,
    seed: int = 0,
    progress: Progress = iter,
) -> Scaled:
    """Multidimensional scaling of dissimilarities (M, M) to two dimensions.

    ``metric`` lowers the raw stress by SMACOF; ``nonmetric`` asks of distances only the order of the dissimilarities
    (those of 0 count as missing), and its map has a scale of its own; ``classical`` is :func:`classical` alone. SMACOF
    starts from the classical map, or from ``n_init`` random ones, of which the best result is taken: uniform in the
    unit square, start k a function of (seed, k).
    """
    with threadpool_limits(1):
        results: list[Scaled] = []
        starts = [classical(dissimilarity)] if "classical" in (scaling, init) else []
        for number in range(0 if starts else n_init):
            keys = row_keys(seed, Domain.MAP_START.of(number), 0, 2 * len(dissimilarity))
            starts.append(np.asarray((keys >> np.uint64(11)) * 2.0**-53, np.float64).reshape(-1, 2))
        # sklearn.manifold.MDS has other arguments in each version from 1.7 on; smacof does not.
        options = {"metric": scaling == "metric", "n_components": 2, "n_init": 1, "max_iter": max_iter, "eps": _EPS}
        options |= {"return_n_iter": True, "normalized_stress": False}
        for start in progress(starts):
            position, iterations = start, 0
            if scaling != "classical":
                position, _, iterations = smacof(dissimilarity, init=start, **options)
            position = principal_axes(position)
            raw, normalised = stress_of(position, dissimilarity, monotone=scaling == "nonmetric")
            results.append(Scaled(position, normalised, raw, int(iterations), iterations < max_iter))
    # The unit of a non-metric map is its own, so raw stresses do not compare there.
    return min(results, key=lambda result: result.stress if scaling == "nonmetric" else result.raw_stress)


def classical(dissimilarity: Floats) -> Floats:
    """Classical scaling (Torgerson 1952), float64 (M, 2): the principal axes of the doubly centred squared distances.

    Exact where the dissimilarities (M, M) are Euclidean distances in the plane; an axis whose eigenvalue is not
    positive is 0. scikit-learn has it from 1.8 on only.
    """
    squares = np.square(dissimilarity)
    means = squares.mean(axis=0)
    inner = -0.5 * (squares - means[:, None] - means[None, :] + means.mean())
    count = len(inner)
    values, vectors = eigh(inner, subset_by_index=[count - 2, count - 1])
    return np.asarray(vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0.0)), np.float64)


def principal_axes(position: Floats) -> Floats:
    """The same map (M, 2) about its mean, the longer axis across, and on each axis the farthest point positive."""
    centred = position - position.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    farthest = turned[np.abs(turned).argmax(axis=0), [0, 1]]
    return np.asarray(turned * np.where(farthest < 0.0, -1.0, 1.0), np.float64)


def stress_of(position: Floats, dissimilarity: Floats, *, monotone: bool = False) -> tuple[float, float]:
    """How badly distances d on a map (M, 2) show the dissimilarities δ (M, M): raw stress, and Kruskal's stress-1.

    The raw stress is the sum of (d - δ)² over pairs i < j, stress-1 the root of it over the sum of d²; 0.05 is called
    good, 0.2 poor, and it is NaN where all positions are equal. ``monotone`` holds d against the disparities of Kruskal
    1964, the values nearest to d that rise with δ and are equal where δ is, instead of δ itself.
    """
    distance, target = pdist(position), squareform(dissimilarity, checks=False)
    if monotone:
        target = IsotonicRegression(increasing=True).fit_transform(target, distance)
    raw, size = float(np.square(distance - target).sum()), float(np.square(distance).sum())
    return raw, float(np.sqrt(raw / size)) if size else float("nan")


def random_trees(points: Array, *, n_estimators: int = 100, max_depth: int = 5, seed: int = 0) -> tuple[Floats, int]:
    """A random trees embedding in two dimensions: the positions (M, 2), and how many leaves the trees have together.

    Trees split at random, without labels or norm; a point is told by its leaf in each. Two dimensions are made as in
    scikit-learn's examples: the two largest singular vectors times their values, not centred; here by ARPACK to full
    precision, so that how they are found leaves no trace.
    """
    flat = _flat(points, np.float32)
    forest_seed, start = (int(row_keys(seed, Domain.MAP_TREES.of(i), 0, 1)[0] >> np.uint64(32)) for i in (0, 1))
    forest = RandomTreesEmbedding(n_estimators=n_estimators, max_depth=max_depth, random_state=forest_seed)
    with threadpool_limits(1):
        membership = forest.fit_transform(flat)
        leaves = int(membership.shape[1])
        if leaves < FEWEST:
            raise UsageError(f"the trees have {leaves} leaves together: raise `n_estimators` or `max_depth`")
        reduced = TruncatedSVD(n_components=2, algorithm="arpack", random_state=start, tol=0.0)
        return np.asarray(reduced.fit_transform(membership), np.float64), leaves


@dataclass(frozen=True)
class NeighbourCorrelation:
    """Whether neighbours on a map are alike in robustness."""

    correlation: float | None  # Spearman's, of a point and its nearest neighbour; None where all are equally robust
    permuted: float | None  # the largest correlation with the robustness of the points exchanged at random
    permutations: int  # how many times
    p: float | None  # share of permutations that reach the correlation, it among them


def neighbour_correlation(
    position: Floats, robustness: Floats, seed: int, permutations: int = 999
) -> NeighbourCorrelation:
    """Whether a point is about as robust as its nearest neighbour on the map: a relative of Moran's I, by ranks."""
    _, pair = KDTree(position).query(position, k=2)
    nearest = np.where(pair[:, 0] == np.arange(len(pair)), pair[:, 1], pair[:, 0])  # equal positions come in any order
    ranks = rankdata(robustness)
    correlation = _correlation(ranks, ranks[nearest])
    if correlation is None:
        return NeighbourCorrelation(None, None, permutations, None)
    shuffled = [ranks[permutation(seed, Domain.MAP_SHUFFLE.of(turn), len(ranks))] for turn in range(permutations)]
    chance = [value for order in shuffled if (value := _correlation(order, order[nearest])) is not None]
    reached = 1 + sum(value >= correlation for value in chance)
    return NeighbourCorrelation(correlation, max(chance, default=None), permutations, reached / (permutations + 1))


def _correlation(x: Floats, y: Floats) -> float | None:
    """Pearson's; None where either does not vary."""
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else None
