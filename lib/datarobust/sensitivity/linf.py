"""The l-infinity norm: bounds from a few telling coordinates, exact differences of bytes.

The largest difference over some coordinates bounds the distance from below. :class:`~.tables.LinfCodes` holds the coordinates that
tell most pairs of a sample apart, chosen greedily: each next one is the coordinate that rules out most of the pairs still
undecided. The first few are compared for all pairs at once, the others for the pairs they leave, and all coordinates only for what
is left then, stopping as soon as the pair is ruled out.

On bytes the codes are the coordinates themselves, so the bound is exact in whole numbers. Float32 features are rounded down to
256 levels of one common step; two codes are then at most one step farther apart than their points.
"""

from __future__ import annotations


import numpy as np

from .compiled import cached
from .projection import Projector
from .tables import Array, LinfCodes, aligned
from .workers import Workers

CHOSEN = 256
"""Coordinates kept as codes."""

_SAMPLE = 1024
"""Points of the sample whose pairs the choice looks at."""

_PAIRS = 1024
"""Undecided pairs, and coordinates, looked at for one choice."""

_COST_COLUMN, _COST_PAIR = 0.03, 20.0
"""Cycles (measured) of one coordinate for one pair of a tile, and of a pair the tile leaves: they set how many coordinates a tile compares."""


class LinfEncoder:
    """Fills :class:`~.tables.LinfCodes` block by block."""

    def __init__(
        self, sample: Array, labels: Array, width: int, positions: int, vector: bool, workers: Workers
    ) -> None:
        """``sample`` (n, W) padded rows that represent the set, with their labels; ``positions`` P codes are made."""
        near = min(14, width)
        self.projector = Projector(sample, width, near, 0, vector)
        self.whole = sample.dtype == np.uint8
        self.low = np.zeros(width) if self.whole else sample[:, :width].min(axis=0).astype(np.float64)
        spread = 1.0 if self.whole else float((sample[:, :width].max(axis=0) - self.low).max()) / 253.0
        self.step = max(spread, 1e-300)
        chosen, self.columns = choose_coordinates(self._levels(sample, np.arange(width)), labels)
        self.chosen = chosen
        self.codes = np.zeros((positions, -(-max(len(chosen), self.columns) // 64) * 64), np.uint8)

    def _levels(self, rows: Array, chosen: Array) -> Array:
        if self.whole:
            return rows[:, chosen]
        scaled = (rows[:, chosen].astype(np.float64) - self.low[chosen]) / self.step
        return np.clip(np.floor(scaled), 0, 255).astype(np.uint8)

    def __call__(self, rows: Array, positions: Array, workers: Workers) -> Array:
        """Encode padded rows at their positions; returns their (n, 4) leading coordinates."""

        def encode(start: int, stop: int) -> None:
            if self.whole:
                gather(rows[start:stop], self.chosen, positions[start:stop], self.codes)
            else:
                self.codes[positions[start:stop], : len(self.chosen)] = self._levels(rows[start:stop], self.chosen)

        workers.over(len(rows), 64, encode)
        return self.projector(rows, workers)[1]

    def finish(self) -> LinfCodes:
        """The codes of all positions."""
        codes = LinfCodes(
            near=self.codes,
            packed=aligned((len(self.codes) // 64, self.columns, 64), np.uint8),
            step=self.step,
            margin=0 if self.whole else 2,
        )
        pack_all(codes)
        return codes


@cached
def gather(rows, chosen, positions, codes):  # type: ignore[no-untyped-def]
    """Copy the chosen coordinates of rows to their positions."""
    for i in range(rows.shape[0]):
        for c in range(chosen.shape[0]):
            codes[positions[i], c] = rows[i, chosen[c]]


@cached
def pack_all(codes):  # type: ignore[no-untyped-def]
    """Fill ``codes.packed`` from ``codes.near``."""
    for p in range(codes.near.shape[0]):
        for c in range(codes.packed.shape[1]):
            codes.packed[p // 64, c, p % 64] = codes.near[p, c]


def choose_coordinates(levels: Array, labels: Array, *, seed: int = 0) -> tuple[Array, int]:
    """Coordinates that rule out most pairs, most telling first, and how many of them a tile should compare.

    ``levels`` (n, D) uint8 sample. Only speed depends on the choice.
    """
    rng = np.random.default_rng(seed)
    keep = np.sort(rng.permutation(len(levels))[:_SAMPLE])
    levels, labels = np.ascontiguousarray(levels[keep]), labels[keep]
    first, second, limits = undecided_pairs(levels, labels)
    transposed = np.ascontiguousarray(levels.T)
    count = min(CHOSEN, levels.shape[1])
    chosen: list[int] = []
    free = rng.permutation(levels.shape[1])
    alive = np.arange(len(first))
    left = [1.0]
    hard = alive
    while len(chosen) < count:
        looked = alive if len(alive) <= _PAIRS else rng.choice(alive, _PAIRS, replace=False)
        candidates = free[:_PAIRS]
        counts = count_ruled_out(transposed, candidates, first[looked], second[looked], limits[looked])
        best = int(candidates[int(counts.argmax())])
        chosen.append(best)
        free = rng.permutation(free[free != best])
        alive = alive[still_alive(transposed[best], first[alive], second[alive], limits[alive])]
        if len(left) == len(chosen):
            left.append(len(alive) / max(len(first), 1))
            hard = alive if len(alive) > _PAIRS // 4 else hard
        if len(alive) <= _PAIRS // 16:  # a further round over the pairs that were hard to decide
            alive = hard
            left = left if len(left) <= len(chosen) else [*left, 0.0]
    return np.array(chosen, np.int64), _tile_columns(left, count)


def _tile_columns(left: list[float], count: int) -> int:
    """The number of coordinates (a multiple of 8) at which a tile's cost and that of the pairs it leaves balance best."""
    options: list[tuple[float, int]] = []
    for columns in range(8, min(len(left) - 1, count) + 1, 8):
        options.append((_COST_COLUMN * columns + _COST_PAIR * left[columns], columns))
    return min(options)[1] if options else min(8, max(count, 1))


@cached
def undecided_pairs(levels, labels):  # type: ignore[no-untyped-def]
    """All pairs of a sample with different labels, and for each the distance to exceed: 0.9 of the larger of its points' own nearest.

    The factor makes up for the sample's being sparser than the set.
    """
    n = levels.shape[0]
    nearest = np.full(n, np.int64(256))
    pairs = np.int64(0)
    for i in range(n):
        for j in range(i + 1, n):
            if labels[i] == labels[j]:
                continue
            pairs += 1
            bound = max(nearest[i], nearest[j])
            largest = np.int64(0)
            for t in range(levels.shape[1]):
                largest = max(largest, abs(np.int64(levels[i, t]) - np.int64(levels[j, t])))
                if largest >= bound:
                    break
            if largest < bound:
                nearest[i], nearest[j] = min(nearest[i], largest), min(nearest[j], largest)
    first, second = np.empty(pairs, np.int64), np.empty(pairs, np.int64)
    limits = np.empty(pairs, np.int64)
    q = 0
    for i in range(n):
        for j in range(i + 1, n):
            if labels[i] != labels[j]:
                first[q], second[q] = i, j
                limits[q] = np.int64(0.9 * max(nearest[i], nearest[j]))
                q += 1
    return first, second, limits


@cached
def count_ruled_out(transposed, candidates, first, second, limits):  # type: ignore[no-untyped-def]
    """How many of the pairs each candidate coordinate rules out."""
    counts = np.zeros(candidates.shape[0], np.int64)
    for c in range(candidates.shape[0]):
        column = transposed[candidates[c]]
        total = 0
        for q in range(first.shape[0]):
            total += abs(np.int64(column[first[q]]) - np.int64(column[second[q]])) > limits[q]
        counts[c] = total
    return counts


@cached
def still_alive(column, first, second, limits):  # type: ignore[no-untyped-def]
    """Which of the pairs one coordinate does not rule out."""
    alive = np.empty(first.shape[0], np.bool_)
    for q in range(first.shape[0]):
        alive[q] = abs(np.int64(column[first[q]]) - np.int64(column[second[q]])) <= limits[q]
    return alive
