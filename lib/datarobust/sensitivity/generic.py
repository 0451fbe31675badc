"""The plain search: Algorithm 1 block by block, in any norm, on any device.

Rows meet columns in blocks. Of each block a matrix of lower bounds of the keys is made: of bytes the keys themselves,
as whole numbers, or, in l-infinity once neighbours are known, the largest difference over a few scattered coordinates;
of float32 the keys in floating point, less what rounding may have added. Only pairs whose bound is not above the k-th
key so far are measured exactly. So keys and neighbours are those of the compiled search, bit for bit. On CUDA
:mod:`.tiles` does whole blocks of rows, where it can and Triton is installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from datarobust.norms import Norm, norm_of
from datarobust.types import Array, Floats, Progress, Rows

from .native import Workers
from .panels import NO_INDEX, Checkpoint, Labelled, Saves, demand_finite

if TYPE_CHECKING:
    from .tiles import Tiles

BLOCK = 1024
"""Rows and columns of a block."""

_LANES = 16
"""Blocks of rows that the kernels search at a time: tiles enough for all multiprocessors of a GPU."""

SCATTERED = 64
"""Coordinates that bound the l-infinity distance of bytes."""

_EXACT = 1024
"""Products of numbers from -128 to 127 that add up to at most 2^24: float32 holds every such sum."""

_LONG = 1 << 16
"""Differences of bytes whose sum float32 holds."""

_PIECE = 1 << 26
"""Pairs are measured in pieces of about so many bytes."""


class PlainSearch:
    """One search; ``key`` (N, k) and ``neighbour`` (N, k) are its state, in the order of the data set."""

    def __init__(
        self,
        sources: list[Labelled],
        norm: str,
        k: int,
        memory: int,
        shard: tuple[int, int],
        device: str | None,
        same: bool = False,
    ) -> None:
        """``sources``: points, and the set they are held against if that is another; ``device`` of PyTorch, or None:
        NumPy does it; ``same``: neighbours are of the same label.
        """
        self.points, self.others, self.norm = sources[0], sources[-1], norm_of(norm)
        self.same, self.one_set = same, len(sources) == 1
        self.shard, self.device, self.memory = shard, device, memory
        size = sum(source.rows.shape[0] for source in sources) * sources[0].rows.shape[1]
        if size * np.dtype(sources[0].rows.dtype).itemsize <= memory:
            held = [Labelled(part.rows[: len(part.labels)], part.labels, part.soft) for part in sources]
            self.points, self.others = held[0], held[-1]
        self.key = np.full((len(self.points.labels), k), np.inf)
        self.neighbour = np.full(self.key.shape, NO_INDEX)

    def run(self, threads: int | None, progress: Progress, checkpoint: Checkpoint | None) -> tuple[Floats, Rows]:
        """Search all pairs; a checkpoint left by an earlier run is continued.

        Raises:
            DataError: a number is not finite.
        """
        number, shards = self.shard
        starts = range(number * BLOCK, len(self.key), shards * BLOCK)
        saves, done = Saves(checkpoint, [BLOCK, number, shards]), 0
        if (state := saves.load()) is not None:
            self.key, self.neighbour, done = state
        with Workers(threads) as workers:
            tiles = self._tiles()
            lanes = _LANES if tiles is not None else 1 if self.device else workers.threads
            rounds = range(0, len(starts), lanes)
            for at in progress(rounds):
                blocks = starts[at : at + lanes]
                if at + lanes <= done:
                    continue
                if tiles is not None:
                    spans = [slice(start, min(start + BLOCK, len(self.key))) for start in blocks]
                    rows = np.concatenate([np.arange(span.start, span.stop) for span in spans])
                    self.key[rows], self.neighbour[rows] = tiles.nearest(spans)
                elif self.device:  # which other threads need not know
                    self._row(blocks[0])
                else:
                    workers.each(self._row, blocks)
                saves.save(self.nearest, min(at + lanes, len(starts)), last=at == rounds[-1])
        return self.nearest()

    def _tiles(self) -> Tiles | None:
        """The columns on the device, where kernels of Triton serve."""
        k, device = self.key.shape[1], self.device
        kernels = kernels_of(self.points, self.others, self.norm, k, device)
        if kernels is None or device is None:
            return None
        return kernels(self.points, self.others, k, self.same, self.memory, device)

    def nearest(self) -> tuple[Floats, Rows]:
        """Keys (N, k) and neighbours (N, k; -1: none)."""
        return self.key, np.where(self.neighbour == NO_INDEX, -1, self.neighbour)

    def _row(self, start: int) -> None:
        """The neighbours of a block of rows."""
        stop = min(start + BLOCK, len(self.key))
        rows = self.points.rows[start:stop]
        demand_finite(rows, range(start, stop))
        for first in range(0, len(self.others.labels), BLOCK):
            last = min(first + BLOCK, len(self.others.labels))
            columns = self.others.rows[first:last]
            demand_finite(columns, range(first, last))
            weight = self._weight(slice(start, stop), slice(first, last))
            rough = bool(np.isfinite(self.key[start:stop, -1]).all())
            with np.errstate(divide="ignore", invalid="ignore"):
                bounds, slack = block_bounds(rows, columns, self.norm, rough, self.device)
                bounds = np.where(weight > 0.0, bounds / weight, np.inf)
            self._merge(slice(start, stop), first, rows, columns, bounds, slack, weight)

    def _weight(self, rows: slice, columns: slice) -> Floats:
        """What the keys of a block are divided by, (n, m): 0 for pairs that do not count."""
        a, b = self.points, self.others
        if a.soft is None or b.soft is None:
            counts = (a.labels[rows, None] == b.labels[None, columns]) == self.same
            if self.one_set:
                counts &= np.arange(rows.start, rows.stop)[:, None] != np.arange(columns.start, columns.stop)
            return np.asarray(counts, np.float64)
        weight = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
        for left, right in zip(a.soft[rows].astype(np.float64).T, b.soft[columns].astype(np.float64).T, strict=True):
            weight += (left[:, None] - right) ** 2
        return np.sqrt(weight) if self.norm.whole else weight

    def _merge(self, rows: slice, first: int, a: Array, b: Array, bounds: Floats, slack: float, weight: Floats) -> None:
        """Take the pairs of a block, rows ``a`` and columns ``b`` from ``first`` on, into the lists of the rows."""
        key, neighbour = self.key[rows], self.neighbour[rows]
        k, limit = key.shape[1], key[:, -1]
        if k < bounds.shape[1] and slack < np.inf:  # the k best of a block are among those of its k least bounds
            limit = np.minimum(limit, np.partition(bounds, k - 1, axis=1)[:, k - 1] * (1.0 + 4.0 * slack))
        i, j = np.nonzero((bounds <= limit[:, None]) & (bounds < np.inf))
        keys = bounds[i, j] if slack == 0.0 else pair_keys(a, b, i, j, self.norm) / weight[i, j]
        i = np.concatenate([np.repeat(np.arange(len(key)), k), i])
        keys, j = np.concatenate([key.ravel(), keys]), np.concatenate([neighbour.ravel(), j + first])
        order = np.lexsort((j, keys, i))
        i, keys, j = i[order], keys[order], j[order]
        again = np.zeros(len(i), bool)  # a search that goes on meets its neighbours again
        again[1:] = (i[1:] == i[:-1]) & (j[1:] == j[:-1]) & (j[1:] != NO_INDEX)
        i, keys, j = i[~again], keys[~again], j[~again]
        best = np.searchsorted(i, np.arange(len(key)))[:, None] + np.arange(k)
        key[:], neighbour[:] = keys[best], j[best]


def kernels_of(points: Labelled, others: Labelled, norm: Norm, k: int, device: str | None) -> type[Tiles] | None:
    """The kernels of Triton that serve a search, where it is installed."""
    if device is None or find_spec("triton") is None:
        return None
    from . import tiles

    return tiles.KERNELS[norm.name] if tiles.serves(points, others, norm, k, device) else None


def farthest(points: Labelled, others: Labelled, rows: Rows, norm: str, threads: int | None = None) -> Floats:
    """Keys (n,) of the farthest points of another label from chosen rows, by brute force; -inf where there is none."""
    record, keys = norm_of(norm), np.full(len(rows), -np.inf)

    def block(start: int, stop: int) -> None:
        for row in range(start, stop, BLOCK):
            part = slice(row, min(row + BLOCK, stop))
            a, best = points.rows[rows[part]], keys[part]
            for first in range(0, len(others.labels), BLOCK):
                b = others.rows[first : min(first + BLOCK, len(others.labels))]
                bounds, slack = block_bounds(a, b, record, False, None)
                differ = points.labels[rows[part], None] != others.labels[None, first : first + len(b)]
                bounds = np.where(differ, bounds, -np.inf)
                limit = np.maximum(best, bounds.max(axis=1)) * (1.0 - 4.0 * slack)
                i, j = np.nonzero((bounds >= limit[:, None]) & differ)
                np.maximum.at(best, i, bounds[i, j] if slack == 0.0 else pair_keys(a, b, i, j, record))

    with Workers(threads) as workers:
        workers.over(len(rows), BLOCK, block)
    return keys


def block_bounds(a: Array, b: Array, norm: Norm, rough: bool, device: str | None) -> tuple[Floats, float]:
    """Lower bounds (n, m) of the keys of rows (n, D) and (m, D), and their slack: keys are at most 1 + 2 slack times as
    large, equal for 0; inf where nothing is said.

    ``rough``: a bound over scattered coordinates will do, where the keys cost more.
    """
    slack = 0.0 if a.dtype == np.uint8 else (a.shape[1] + 8) * 2.0**-50
    if slack == 0.0 and rough and not norm.sums and a.shape[1] > 2 * SCATTERED:
        chosen = np.random.default_rng(0).permutation(a.shape[1])[:SCATTERED]
        a, b, slack = a[:, chosen], b[:, chosen], np.inf
    keys = _keys(a, b, norm) if device is None else _keys_on(a, b, norm, device)
    return (keys if a.dtype == np.uint8 else keys * (1.0 - slack)), slack


def _keys(a: Array, b: Array, norm: Norm) -> Floats:
    """Keys (n, m), exact for bytes."""
    if a.dtype != np.uint8 or norm.metric == "cityblock":
        from scipy.spatial.distance import cdist  # 0.2 s that the compiled search does without

        return np.asarray(cdist(a.astype(np.float64), b.astype(np.float64), norm.metric))
    if norm.metric == "chebyshev":
        largest = np.zeros((len(a), len(b)), np.uint8)
        for row, column in zip(a.T, np.ascontiguousarray(b.T), strict=True):
            row = row[:, None]
            np.maximum(largest, np.maximum(row, column) - np.minimum(row, column), out=largest)
        return largest.astype(np.float64)
    left, right = (part.astype(np.float32) - np.float32(128) for part in (a, b))
    return np.asarray(_squares(np.zeros((len(a), len(b))), left, right))


def _squares(total: Any, a: Any, b: Any) -> Any:
    """Squared l2 distances of bytes less 128, added to zeros (n, m) float64: exact, in NumPy as in PyTorch."""
    for start in range(0, a.shape[1], _EXACT):
        left, right = a[:, start : start + _EXACT], b[:, start : start + _EXACT]
        total -= 2.0 * (left @ right.T)
        total += (left * left).sum(1)[:, None]
        total += (right * right).sum(1)
    return total


def _keys_on(a: Array, b: Array, norm: Norm, device: str) -> Floats:
    """Keys (n, m), exact for bytes, by PyTorch."""
    import torch

    left, right = (torch.from_numpy(np.array(part)).to(device) for part in (a, b))
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=device)
    if a.dtype != np.uint8:
        total = torch.cdist(left.double(), right.double(), norm.order, "donot_use_mm_for_euclid_dist")
        return np.asarray((total if norm.whole else total.square()).cpu())
    if norm.metric == "sqeuclidean":
        return np.asarray(_squares(total, left.float() - 128, right.float() - 128).cpu())
    for start in range(0, a.shape[1], _LONG):
        x, y = (side[:, start : start + _LONG].float() for side in (left, right))
        part = torch.cdist(x, y, norm.order)
        total = total + part if norm.sums else total.maximum(part)
    return np.asarray(total.cpu())


def pair_keys(a: Array, b: Array, i: Rows, j: Rows, norm: Norm) -> Floats:
    """Exact keys (M,) of rows ``i`` of ``a`` and ``j`` of ``b``.

    Of bytes they are whole numbers; of float32 float64, summed in the order of native.c: eight sums, and then those.
    """
    keys = np.empty(len(i))
    step = max(1, _PIECE // (8 * a.shape[1]))
    for start in range(0, len(i), step):
        piece = slice(start, start + step)
        x, y = a[i[piece]], b[j[piece]]
        if a.dtype == np.uint8:
            keys[piece] = norm.key(x.astype(np.int32) - y)
            continue
        gaps = np.zeros((len(x), -(-a.shape[1] // 8), 8))
        gaps.reshape(len(x), -1)[:, : a.shape[1]] = x.astype(np.float64) - y
        terms = norm.key(gaps[..., None])
        # cumsum adds one after another, where sum would add in pairs
        keys[piece] = terms.cumsum(1)[:, -1].cumsum(1)[:, -1] if norm.sums else terms.max(axis=(1, 2))
    return keys
