"""The two norms of the paper, l2 and l-infinity, each in one place.

A *key* is what decides a comparison: the squared l2 distance or the l-infinity distance, in units of the numbers
compared. On images of bytes keys are whole numbers, so comparisons are exact; a distance is taken of a key to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust.errors import UsageError

Array = npt.NDArray[Any]
LEVELS = 255.0
"""Steps of a byte between 0 and 1: distances of images are told in [0,1] units."""


@dataclass(frozen=True)
class Norm:
    """A norm on R^D."""

    name: str
    """As options and artifacts spell it."""
    symbol: str
    """As figures write it (TeX)."""
    key: Callable[[Array], Array]
    """(..., D) differences to (...) keys, in the dtype of the differences."""
    to_distance: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
    """Keys to distances, elementwise."""

    def keys(self, a: Array, b: Array) -> Array:
        """Keys of pairs of points, (M,) from (M, ...): int64 and exact for bytes, float64 otherwise."""
        wide = np.int64 if a.dtype == np.uint8 else np.float64
        return np.array([self.key((x.astype(wide) - y).ravel()) for x, y in zip(a, b, strict=True)], wide)

    def distances(self, keys: Array, dtype: npt.DTypeLike) -> npt.NDArray[np.float64]:
        """Distances, in [0,1] units where the points are of dtype uint8, else in units of the points."""
        unit = LEVELS if np.dtype(dtype) == np.uint8 else 1.0
        return self.to_distance(np.asarray(keys, np.float64)) / unit


def _squares(differences: Array) -> Array:
    return np.asarray(np.square(differences).sum(axis=-1))


def _largest(differences: Array) -> Array:
    return np.asarray(np.abs(differences).max(axis=-1, initial=0))


L2 = Norm("l2", r"$\ell_2$", _squares, np.sqrt)
LINF = Norm("linf", r"$\ell_\infty$", _largest, np.asarray)
NORMS = {norm.name: norm for norm in (L2, LINF)}


def norm_of(name: str) -> Norm:
    """The norm of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in NORMS:
        raise UsageError(f"there is no norm {name!r} here: choose {' or '.join(NORMS)}")
    return NORMS[name]
