"""Multidimensional scaling to the plane: metric, non-metric and classical."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.spatial.distance import pdist, squareform
from sklearn.isotonic import IsotonicRegression
from sklearn.manifold import smacof
from threadpoolctl import threadpool_limits

from datarobust.embedding.sample import demand_different, demand_points
from datarobust.errors import DataError
from datarobust.norms import norm_of
from datarobust.randomness import Domain, row_keys

Numbers = npt.NDArray[np.float64]
Progress = Callable[[Iterable[Numbers]], Iterable[Numbers]]
Scaling = Literal["metric", "nonmetric", "classical"]
Init = Literal["classical", "random"]

EPS: Final = 1e-6
"""SMACOF ends where an iteration lowers the stress by less than this share of the sum of squared distances."""


def dissimilarities(points: npt.NDArray[Any], norm: str) -> Numbers:
    """Distances of all pairs, float64 (M, M), symmetric: in [0, 1] units where the points are uint8, else in theirs.

    On bytes the sums and maxima that are compared are whole numbers, so equal distances are equal.

    Args:
        points: (M, ...) uint8 or float32.
        norm: l2 or linf.

    Raises:
        DataError: fewer than three points, numbers that are not finite, or points that are all equal.
        UsageError: no such norm.
    """
    demand_points(len(points))
    flat = points.reshape(len(points), -1).astype(np.float64)
    keys = pdist(flat, "sqeuclidean" if norm_of(norm).name == "l2" else "chebyshev")
    if not np.isfinite(keys).all():
        raise DataError("the points have numbers that are not finite, so they have no distances")
    demand_different(float(keys.max()))
    return np.asarray(squareform(norm_of(norm).distances(keys, points.dtype)), np.float64)


@dataclass(frozen=True)
class Scaled:
    """A map by multidimensional scaling.

    Attributes:
        position: float64 (M, 2).
        stress: of Kruskal 1964, "stress-1", see :func:`stress_of`.
        raw_stress: what SMACOF makes small, the sum of squares alone.
        iterations: of the start that was taken; 0 for classical scaling.
        converged: whether it ended before the most iterations allowed.
    """

    position: Numbers
    stress: float
    raw_stress: float
    iterations: int
    converged: bool


def scaled(
    dissimilarity: Numbers,
    scaling: Scaling = "metric",
    *,
    init: Init = "classical",
    n_init: int = 4,
    max_iter: int = 300,
    seed: int = 0,
    progress: Progress = iter,
) -> Scaled:
    """Multidimensional scaling to two dimensions.

    ``metric`` lowers the raw stress by SMACOF; ``nonmetric`` asks of distances only the order of the dissimilarities
    (those of 0 count as missing), and its map has a scale of its own; ``classical`` is :func:`classical` alone.
    SMACOF is ``sklearn.manifold.smacof``, which ``sklearn.manifold.MDS`` calls; its arguments, unlike those of the
    class, are the same in all versions from 1.7 on, and all are given.

    Args:
        dissimilarity: (M, M) float64, symmetric, 0 on the diagonal.
        scaling: what is asked of distances.
        init: start from the classical map, or from random ones, of which the best result is taken.
        n_init: random starts.
        max_iter: most iterations of a start.
        seed: of random starts: uniform in the unit square, start k a function of (seed, k).
        progress: of the starts.
    """
    with threadpool_limits(1):
        if scaling == "classical":
            position = principal_axes(classical(dissimilarity))
            raw, normalised = stress_of(position, dissimilarity)
            return Scaled(position, normalised, raw, 0, True)
        found: list[Scaled] = []
        starts = [classical(dissimilarity)] if init == "classical" else []
        starts += [_random_start(len(dissimilarity), seed, place) for place in range(n_init if not starts else 0)]
        for start in progress(starts):
            position, _, iterations = smacof(
                dissimilarity,
                metric=scaling == "metric",
                n_components=2,
                init=start,
                n_init=1,
                n_jobs=None,
                max_iter=max_iter,
                verbose=0,
                eps=EPS,
                random_state=0,  # never asked: the start is given
                return_n_iter=True,
                normalized_stress=False,
            )
            position = principal_axes(position)
            raw, normalised = stress_of(position, dissimilarity, monotone=scaling == "nonmetric")
            found.append(Scaled(position, normalised, raw, int(iterations), iterations < max_iter))
    # The unit of a non-metric map is its own, so raw stresses do not compare there.
    return min(found, key=lambda one: one.stress if scaling == "nonmetric" else one.raw_stress)


def _random_start(count: int, seed: int, number: int) -> Numbers:
    """(count, 2) float64, uniform in [0, 1)."""
    keys = row_keys(seed, Domain.MAP_START.of(number), 0, 2 * count)
    return np.asarray((keys >> np.uint64(11)) * 2.0**-53, np.float64).reshape(count, 2)


def classical(dissimilarity: Numbers) -> Numbers:
    """Classical scaling (Torgerson 1952): the two largest principal axes of the doubly centred squared distances.

    Exact where the dissimilarities are Euclidean distances in the plane. scikit-learn has it from 1.8 on only.

    Args:
        dissimilarity: (M, M) float64, symmetric, 0 on the diagonal.

    Returns:
        float64 (M, 2); an axis whose eigenvalue is not positive is 0.
    """
    squares = np.square(dissimilarity)
    means = squares.mean(axis=0)
    inner = -0.5 * (squares - means[:, None] - means[None, :] + means.mean())
    count = len(inner)
    values, vectors = eigh(inner, subset_by_index=[count - 2, count - 1])
    return np.asarray(vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0.0)), np.float64)


def principal_axes(position: Numbers) -> Numbers:
    """The same map (M, 2) about its mean, the longer axis across, and on each axis the farthest point positive."""
    centred = position - position.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    farthest = turned[np.abs(turned).argmax(axis=0), [0, 1]]
    return np.asarray(turned * np.where(farthest < 0.0, -1.0, 1.0), np.float64)


def stress_of(position: Numbers, dissimilarity: Numbers, *, monotone: bool = False) -> tuple[float, float]:
    """How badly distances d on a map show the dissimilarities δ.

    Args:
        position: (M, 2) float64.
        dissimilarity: (M, M) float64.
        monotone: hold d against the disparities of Kruskal 1964, the values nearest to d that rise with δ and are equal
            where δ is, instead of δ itself.

    Returns:
        The raw stress, sum of (d - δ)² over pairs i < j, and Kruskal's stress-1, the root of it over the sum of d²;
        0.05 is called good, 0.2 poor. NaN where all positions are equal.
    """
    distance, target = pdist(position), squareform(dissimilarity, checks=False)
    if monotone:
        target = IsotonicRegression(increasing=True).fit_transform(target, distance)
    raw, size = float(np.square(distance - target).sum()), float(np.square(distance).sum())
    return raw, float(np.sqrt(raw / size)) if size else float("nan")
