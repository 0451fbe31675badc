"""The l-infinity norm: bounds from a few telling coordinates, exact differences of bytes.

The largest difference over some coordinates bounds the distance from below. :class:`~.tables.LinfCodes` holds the
coordinates that tell most pairs of a sample apart, chosen greedily: each next one is the coordinate that rules out
most of the pairs still undecided. The first few are compared for all pairs at once, the others for the pairs they
leave, and all coordinates only for what is left then, stopping as soon as the pair is ruled out.

On bytes the codes are the coordinates themselves, so the bound is exact in whole numbers. Float32 features are rounded
down to 256 levels of one common step; two codes are then at most one step farther apart than their points.
"""

from __future__ import annotations

import numpy as np

from .compiled import cached
from .projection import Projector
from .tables import Array, LinfCodes, aligned

CHOSEN = 256
"""Coordinates kept as codes."""

_SAMPLE = 1024
"""Points of the sample whose pairs the choice looks at."""

_FIRST_COLUMNS = 64
"""Coordinates a tile compares while first neighbours are looked for."""

_PAIRS = 1024
"""Undecided pairs, and coordinates, looked at for one choice."""

_COST_COLUMN, _COST_PAIR = 0.03, 80.0
"""Cycles (measured) of one coordinate for one pair of a tile, and of a pair the tile leaves: they set how many
coordinates a tile compares.
"""


class LinfEncoder:
    """Fills :class:`~.tables.LinfCodes` block by block."""

    def __init__(self, sample: Array, width: int, positions: int, vector: bool) -> None:
        """``sample`` (n, W) padded rows that represent the set; ``positions`` P codes are made.

        To begin with the coordinates are scattered; :meth:`choose` takes better ones once radii are known.
        """
        self.projector = Projector(sample, width, min(14, width), 0, vector)
        self.whole = sample.dtype == np.uint8
        self.width, self.positions, self.sample = width, positions, sample
        self.low, self.step = np.zeros(width), 1.0
        if not self.whole:
            self.low, high = np.quantile(sample[:, :width].astype(np.float64), [1e-3, 1.0 - 1e-3], axis=0)
            self.step = max(float((high - self.low).max()) / 253.0, 1e-300)
        self._take(np.random.default_rng(0).permutation(width)[:64], _FIRST_COLUMNS)

    def _take(self, chosen: Array, columns: int) -> None:
        self.chosen, self.columns = chosen, min(columns, len(chosen))
        self.codes = np.zeros((self.positions, -(-len(chosen) // 64) * 64), np.uint8)

    def choose(self, labels: Array, radius: Array) -> None:
        """Take coordinates that tell the pairs of the sample apart, given its labels and how far each point's search
        reaches.
        """
        keep = np.random.default_rng(0).permutation(len(self.sample))[:_SAMPLE]
        levels = self._levels(self.sample[keep], np.arange(self.width))
        steps = np.minimum(radius[keep] / self.step, 255.0)
        self._take(*choose_coordinates(levels, labels[keep], steps))

    def _levels(self, rows: Array, chosen: Array) -> Array:
        if self.whole:
            return rows[:, chosen]
        scaled = (rows[:, chosen].astype(np.float64) - self.low[chosen]) / self.step
        return np.clip(np.floor(scaled), 0, 255).astype(np.uint8)

    def __call__(self, rows: Array, positions: Array) -> None:
        """Encode padded rows at their positions."""
        if self.whole:
            gather(rows, self.chosen, positions, self.codes)
        else:
            self.codes[positions, : len(self.chosen)] = self._levels(rows, self.chosen)

    def leading(self, rows: Array) -> Array:
        """The (n, 4) leading coordinates of padded rows."""
        return self.projector(rows)[1]

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


def choose_coordinates(levels: Array, labels: Array, reach: Array, *, seed: int = 0) -> tuple[Array, int]:
    """Coordinates that rule out most pairs, most telling first, and how many of them a tile should compare.

    ``levels`` (n, D) uint8 sample; ``reach`` (n,) steps beyond which a pair is of no interest to the point. Only speed
    depends on the choice.
    """
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(len(levels), 1)
    differ = labels[first] != labels[second]
    first, second = first[differ], second[differ]
    limits = np.maximum(reach[first], reach[second]).astype(np.int64) - 1
    transposed = np.ascontiguousarray(levels.T)
    chosen: list[int] = []
    free = rng.permutation(levels.shape[1])
    alive = hard = np.arange(len(first))
    left = [1.0]
    while len(chosen) < min(CHOSEN, levels.shape[1]):
        looked = alive if len(alive) <= _PAIRS else rng.choice(alive, _PAIRS, replace=False)
        candidates = free[:_PAIRS]
        counts = count_ruled_out(transposed, candidates, first[looked], second[looked], limits[looked])
        best = int(candidates[int(counts.argmax())])
        chosen.append(best)
        free = rng.permutation(free[free != best])
        alive = alive[still_alive(transposed[best], first[alive], second[alive], limits[alive])]
        if len(left) == len(chosen):
            left.append(len(alive) / max(len(first), 1))
        if len(alive) > _PAIRS // 4:
            hard = alive
        elif len(alive) <= _PAIRS // 16:  # go over the pairs that were hard to decide once more
            left.append(-1.0)
            alive = hard
    return np.array(chosen, np.int64), _tile_columns([share for share in left if share >= 0.0])


def _tile_columns(left: list[float]) -> int:
    """The number of coordinates at which a tile's cost and that of the pairs it leaves (``left[n]``) balance best."""
    options = range(1, len(left)) if len(left) < 9 else range(8, len(left), 8)
    return min(options, key=lambda n: _COST_COLUMN * n + _COST_PAIR * left[n], default=1)


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
