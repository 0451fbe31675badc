"""The Fréchet distance of two sets of features (Heusel et al. 2017): how far apart two normal distributions are.

``|m1 - m2|² + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))``, in float64 and without a complex number: the last trace is the
sum of the roots of the eigenvalues of ``Hᵀ S2 H``, where ``S1 = H Hᵀ``; for fewer points than features it is the sum of
the singular values of ``A Bᵀ``, A and B being the centred features over ``sqrt(N - 1)``: smaller and more exact.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError

Array = npt.NDArray[np.float64]


class Reference:
    """A set of features to hold others against; what depends on it alone is computed once.

    Args:
        features: (N, D), of any float dtype, N at least 2.

    Raises:
        DataError: fewer than two points.
    """

    def __init__(self, features: npt.NDArray[Any]) -> None:
        self._features = _demand_two(np.asarray(features, np.float64))
        self.mean: Array = self._features.mean(axis=0)

    @cached_property
    def _scaled(self) -> Array:
        """A: centred features over sqrt(N - 1)."""
        return np.asarray((self._features - self.mean) / np.sqrt(len(self._features) - 1))

    @cached_property
    def _half(self) -> Array:
        """H of the covariance: its eigenvectors times the roots of their eigenvalues."""
        values, vectors = np.linalg.eigh(self._scaled.T @ self._scaled)
        return np.asarray(vectors * np.sqrt(values.clip(0)))

    def distance(self, features: npt.NDArray[Any]) -> float:
        """The Fréchet distance to another set (M, D), M at least 2; never below 0.

        Raises:
            DataError: fewer than two points, or points of another width.
        """
        other = _demand_two(np.asarray(features, np.float64))
        if other.shape[1] != self._features.shape[1]:
            raise DataError(f"features of {other.shape[1]} numbers do not compare with {self._features.shape[1]}")
        mean = other.mean(axis=0)
        scaled = (other - mean) / np.sqrt(len(other) - 1)
        if max(len(other), len(self._features)) < other.shape[1]:
            cross = np.linalg.svd(self._scaled @ scaled.T, compute_uv=False)
        else:
            inner = scaled @ self._half
            cross = np.sqrt(np.linalg.eigvalsh(inner.T @ inner).clip(0))
        apart = np.square(self.mean - mean).sum() + np.square(self._scaled).sum() + np.square(scaled).sum()
        return max(0.0, float(apart - 2 * cross.sum()))


def _demand_two(features: Array) -> Array:
    if len(features) < 2:
        raise DataError(f"a Fréchet distance is of two points or more a set, not of {len(features)}")
    return features
