"""How far apart two sets of features are: the Fréchet and the kernel distance.

The Fréchet distance (Heusel et al. 2017) is that of two normal distributions, ``|m1 - m2|² + tr(S1) + tr(S2) -
2 tr((S1 S2)^(1/2))``, in float64 and without a complex number or a matrix root. With ``S1 = H Hᵀ`` the last trace is
the sum of the roots of the eigenvalues of ``Hᵀ S2 H``; H belongs to one set and is computed once. A set of N points
spans N - 1 dimensions. Where that is fewer than the D features, its covariance is kept as ``Aᵀ A``, A being the centred
features over ``sqrt(N - 1)``, and the trace is the sum of the singular values of ``A H`` or of ``A Bᵀ``: smaller, and
exact where roots of rounded zeros are not. Covariances are over N - 1. On 10,000 points division by N changes the
distance by 3e-5 of it.

KID (Bińkowski et al. 2018) is an unbiased estimate of the squared maximum mean discrepancy under the kernel
``k(x, y) = (x·y/D + 1)³``: averages over pairs of different points, ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``,
which may be negative. Where y_i was made of x_i, such a pair is no pair of independent points, and the terms
``k(x_i, y_i)`` are left out too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datarobust.devices import to_device
from datarobust.errors import DataError
from datarobust.types import Array, Floats, Progress

_STEADY = 1e-10  # smallest squared pivot, as a share of the largest, at which a Cholesky factor is trusted
SUBSETS, SUBSET = 100, 1000  # default number of subsets of KID, and of points in each
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Moments:
    """What the Fréchet distance needs of a set of N points with D features."""

    count: int  # N; a single point has moments, for others to be joined to it, but no distance
    mean: Floats  # (D)
    spanning: Floats | None  # the centred features over sqrt(N - 1), (N, D), of a set with N <= D; else None
    products: Floats | None  # the covariance (D, D), where there are more points than that, or they are not known

    @classmethod
    def of(cls, features: Array) -> Moments:
        """Of features (N, D) of any float dtype. Raises DataError for fewer than two points."""
        _demand_two(len(features), "a Fréchet distance")
        return Sums.of(as_tensor(features)).moments()

    @classmethod
    def known(cls, count: int, mean: Floats, covariance: Floats) -> Moments:
        """Of a mean (D) and a covariance (D, D) that were computed before. Raises DataError where they are none."""
        _demand_two(count, "a Fréchet distance")
        finite = np.isfinite([np.linalg.norm(mean), np.linalg.norm(covariance)]).all()  # and their squares
        fits = covariance.shape == (len(mean), len(mean)) and finite
        if not fits or not np.array_equal(covariance, covariance.T) or (np.diagonal(covariance) < 0).any():
            raise DataError("these are no mean and covariance: the covariance is not finite, symmetric and positive")
        return cls(count, mean, None, covariance)

    @property
    def width(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def short(self) -> bool:
        """Whether the points span fewer than D dimensions."""
        return self.count <= self.width

    @cached_property
    def covariance(self) -> Floats:
        """float64 (D, D), symmetric to the last bit."""
        if self.products is not None:
            return self.products
        assert self.spanning is not None
        return _symmetric(self.spanning.T @ self.spanning)

    @cached_property
    def factor(self) -> Floats:
        """A (K, D) with covariance ``Aᵀ A``, K < D, of a set that is short."""
        if self.spanning is not None:
            return self.spanning
        values, vectors = np.linalg.eigh(self.covariance)
        rank = self.count - 1  # more have no points to come from: they are rounding
        return np.asarray((vectors[:, -rank:] * np.sqrt(values[-rank:].clip(0))).T)

    @cached_property
    def half(self) -> Floats:
        """H (D, K) with covariance ``H Hᵀ``."""
        try:
            triangle = np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError:
            triangle = np.zeros((1, 1))
        pivots = np.square(np.diagonal(triangle))
        if pivots.min() > _STEADY * pivots.max():
            return np.asarray(triangle)
        values, vectors = np.linalg.eigh(self.covariance)
        real = values > np.finfo(np.float64).eps * len(values) * max(values[-1], 0.0)
        return np.asarray(vectors[:, real] * np.sqrt(values[real]))

    @cached_property
    def spread(self) -> float:
        """Trace of the covariance."""
        if self.spanning is not None:
            return float(np.square(self.spanning).sum())
        return float(np.trace(self.covariance))

    def distance(self, other: Moments) -> float:
        """The Fréchet distance to another set; never below 0, and 0 of equal moments.

        What is computed of ``self`` alone is kept: call it on the set that others are held against.
        """
        _demand_two(min(self.count, other.count), "a Fréchet distance")
        if self.width != other.width:
            raise DataError(f"features of {other.width} numbers do not compare with {self.width}")
        if np.array_equal(self.mean, other.mean) and np.array_equal(self.covariance, other.covariance):
            return 0.0
        if self.short and other.short:
            roots = np.linalg.svd(self.factor @ other.factor.T, compute_uv=False)
        elif self.short or other.short:
            few, many = (self, other) if self.short else (other, self)
            roots = np.linalg.svd(few.factor @ many.half, compute_uv=False)
        else:
            roots = np.sqrt(np.linalg.eigvalsh(self.half.T @ other.covariance @ self.half).clip(0))
        shift = float(np.square(self.mean - other.mean).sum())
        return max(0.0, shift + self.spread + other.spread - 2 * float(roots.sum()))


def as_tensor(features: Array, device: torch.device | None = None) -> Tensor:
    """Features of any float dtype as PyTorch has them: float32, or float64 where that would lose digits."""
    known = np.require(features, np.float32 if features.dtype.itemsize <= 4 else np.float64, ("C", "W"))
    return to_device(known, device or torch.device("cpu"))


@dataclass(frozen=True, eq=False)
class Sums:
    """What the moments of N points are computed from, on one device.

    These are the points (N, D) themselves as long as there are not more than D of them; then their mean (D), and the
    sum (D, D) of the products of their differences from it, so that nothing cancels, both in float64.
    """

    count: int  # N
    tensors: tuple[Tensor, ...]  # one, or two

    @classmethod
    def of(cls, points: Tensor) -> Sums:
        """Of points (N, D)."""
        return cls(len(points), (points,) if len(points) <= points.shape[1] else _statistics(points))

    def joined(self, other: Sums) -> Sums:
        """Of the points of both sets together. Raises DataError where their features have other widths."""
        widths = [sums.tensors[0].shape[-1] for sums in (self, other)]
        if widths[0] != widths[1]:
            raise DataError(f"features of {widths[1]} numbers come after {widths[0]}")
        if len(self.tensors) == len(other.tensors) == 1:
            return Sums.of(torch.cat([*self.tensors, *other.tensors]))
        if not (self.count and other.count):
            return self if self.count else other
        (mean, scatter), (mean_of_other, scatter_of_other) = (sums._statistics() for sums in (self, other))
        count, apart = self.count + other.count, mean_of_other - mean
        between = self.count * other.count / count
        scatter = (scatter + scatter_of_other).addr_(apart, apart, alpha=between)
        return Sums(count, (mean + apart * (other.count / count), scatter))

    def moments(self) -> Moments:
        """Of all these points, one or more."""
        if len(self.tensors) == 1:
            rows = self.tensors[0].cpu().numpy().astype(np.float64)
            mean = rows.mean(axis=0)
            return Moments(self.count, mean, (rows - mean) / np.sqrt(max(1, self.count - 1)), None)
        mean, scatter = (tensor.cpu().numpy() for tensor in self.tensors)
        return Moments(self.count, mean, None, _symmetric(scatter / (self.count - 1)))

    def _statistics(self) -> tuple[Tensor, ...]:
        return self.tensors if len(self.tensors) == 2 else _statistics(*self.tensors)


def _statistics(points: Tensor) -> tuple[Tensor, Tensor]:
    rows = points.to(torch.float64, copy=True)
    mean = rows.mean(dim=0)
    rows -= mean
    if rows.device.type != "cpu":
        return mean, rows.T @ rows
    return mean, torch.from_numpy(rows.numpy().T @ rows.numpy())  # half the work: NumPy sees that it is symmetric


class Node(NamedTuple):
    """The sums of batches ``number * 2**level`` to ``(number + 1) * 2**level``, for each group of their points."""

    level: int
    number: int
    sums: tuple[Sums, ...]


def joined(nodes: Sequence[Node], node: Node) -> list[Node]:
    """The nodes and the one that follows them, joined two by two as far as can be.

    What is joined with what is decided by the numbers of batches alone: whoever has summed which batches, all of them
    together have the same bits in the end.
    """
    result = [*nodes, node]
    while len(result) > 1 and result[-2][:2] == (result[-1].level, result[-1].number - 1) and result[-1].number % 2:
        one, other = result[-2:]
        sums = tuple(mine.joined(others) for mine, others in zip(one.sums, other.sums, strict=True))
        result[-2:] = [Node(one.level + 1, one.number // 2, sums)]
    return result


def total(nodes: list[Node]) -> list[Sums]:
    """The sums of each group over all nodes, which are taken out of the list: they are large."""
    sums = list(nodes.pop().sums)
    while nodes:
        sums = [one.joined(other) for one, other in zip(nodes.pop().sums, sums, strict=True)]
    return sums


def packed(nodes: Sequence[Node]) -> dict[str, Array]:
    """Nodes as arrays, for :func:`unpacked`."""
    arrays = {"nodes": np.array([node[:2] for node in nodes])}
    arrays["counts"] = np.array([[sums.count for sums in node.sums] for node in nodes])
    for at, node in enumerate(nodes):
        for group, sums in enumerate(node.sums):
            arrays |= {f"{at}.{group}.{part}": tensor.cpu().numpy() for part, tensor in enumerate(sums.tensors)}
    return arrays


def unpacked(arrays: Mapping[str, Array], device: torch.device) -> list[Node]:
    """The nodes in arrays, on a device, with the same bits."""

    def sums(at: int, group: int, count: int) -> Sums:
        names = [name for part in range(2) if (name := f"{at}.{group}.{part}") in arrays]
        return Sums(count, tuple(torch.from_numpy(arrays[name]).to(device) for name in names))

    return [
        Node(level, number, tuple(sums(at, group, count) for group, count in enumerate(arrays["counts"][at].tolist())))
        for at, (level, number) in enumerate(arrays["nodes"].tolist())
    ]


def extrapolated(distances: Sequence[tuple[int, float]]) -> float:
    """The distance as N goes to infinity, linear in 1/N (Chong & Forsyth 2020), of (N, distance of N points)."""
    counts, values = np.array(distances, np.float64).T
    return float(np.polynomial.Polynomial.fit(1 / counts, values, 1)(0.0))


def _symmetric(matrix: Floats) -> Floats:
    result = matrix + matrix.T
    result /= 2
    return result


def _demand_two(count: int, what: str) -> None:
    if count < 2:
        raise DataError(f"{what} is of two points or more a set, not of {count}")


@dataclass(frozen=True)
class Kid:
    """An estimate of the squared maximum mean discrepancy."""

    value: float  # mean over the subsets
    deviation: float | None  # over the subsets, None for one; they overlap: this is no error of the mean
    subsets: int
    points: int  # of each set in a subset


def mmd(x: Array | Tensor, y: Array | Tensor, paired: bool = False) -> float:
    """The unbiased estimate from features (N, D) and (M, D)."""
    _demand_two(min(len(x), len(y)), "KID")
    x, y = (part.double() if isinstance(part, Tensor) else np.asarray(part, np.float64) for part in (x, y))
    return _others(x, x) + _others(y, y) - 2 * (_others(x, y) if paired else _all(x, y))


def kid(
    x: Array | Tensor,
    y: Array | Tensor,
    paired: bool = False,
    *,
    subsets: int = SUBSETS,
    points: int = SUBSET,
    seed: int = 0,
    progress: Progress = iter,
) -> Kid:
    """KID of features (N, D) and (M, D) over random subsets; over all points, once, where a subset would have them all.

    ``paired``: row i of y was made of row i of x, and a subset takes the same rows of both.
    """
    size = min(points, len(x), len(y))
    if size == len(x) == len(y):
        return Kid(mmd(x, y, paired), None, 1, size)
    estimates = []
    for number in progress(range(subsets)):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))
        rows = random.choice(len(x), size, replace=False)
        others = rows if paired else random.choice(len(y), size, replace=False)
        estimates.append(mmd(x[rows], y[others], paired))
    return Kid(float(np.mean(estimates)), float(np.std(estimates)), subsets, size)


def _all(x: Any, y: Any) -> float:
    """Mean of k(x, y)."""
    blocks = (x[start : start + _BLOCK] for start in range(0, len(x), _BLOCK))
    return float(sum(((block @ y.T / x.shape[1] + 1) ** 3).sum() for block in blocks) / (len(x) * len(y)))


def _others(x: Any, y: Any) -> float:
    """Mean of k(x_i, y_j), i and j different."""
    same = ((x * y).sum(1) / x.shape[1] + 1) ** 3
    return (_all(x, y) * len(x) ** 2 - float(same.sum())) / (len(x) * (len(x) - 1))
