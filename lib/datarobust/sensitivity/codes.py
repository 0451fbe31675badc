"""From rows to codes: a few bytes a point that bound every distance from below.

**l2.** For orthonormal directions Q, the map x -> (Qx, |x - Q^T Q x|) never increases a distance (Bessel). So for any
two points

    d(x, y)^2  >=  |Qx - Qy|^2 + (rest(x) - rest(y))^2,

and it stays true when coordinates are clipped to a box (a projection on a convex set) and rounded, if the errors of
both points, which are known, are allowed for. The leading principal directions of a sample bound best. ``near`` has a
byte for each of 63 of them and for the rest, compared for all pairs at once; ``far`` up to 191 directions more and the
rest as a number, for the few pairs that ``near`` leaves.

**l-infinity.** The largest difference over some coordinates bounds the largest over all. The codes hold the coordinates
that tell most pairs of a sample apart, chosen greedily: each next one is the coordinate that rules out most of the
pairs still undecided. The first few are compared for all pairs at once, the others for the pairs they leave. On bytes
codes are the coordinates themselves. Float32 features are rounded down to 256 levels of one common step; two codes are
then at most one step farther apart than their points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from datarobust.errors import DataError
from datarobust.types import Array

from . import native
from .panels import Panels, demand_finite

SAMPLE = 2048
"""Points from which directions and coordinates are learned."""

NEAR, FAR = 63, 191
"""Directions of the first bound, whose 64th byte is the rest, and of the second one."""

CLIPPED = 5e-4
"""Share of the coordinates beyond what a byte spans; clipping costs sharpness, never correctness."""

WILD = 1e-3
"""Share of points whose codes may be so inexact that they would loosen the bound of all others."""

LOOSE = 1.0 + 1e-6
"""Widens every threshold by more than float64 arithmetic can err; as in native.c."""

CHOSEN = 256
"""Coordinates kept as codes in l-infinity."""

_PAIRS = 1024
"""Points of the sample whose pairs a choice of coordinates looks at, and undecided pairs, each time."""

_CANDIDATES = 512
"""Coordinates a choice looks at."""

_COST_COLUMN, _COST_PAIR = 0.03, 80.0
"""Cycles (measured) of one coordinate for one pair of a tile, and of a pair the tile leaves: they set how many
coordinates a tile compares.
"""

_CHUNK = 512
"""Numbers multiplied in float32 before sums go on in float64. So many products of differences of bytes and numbers up
to 127 add up to less than 2^24, and are exact.
"""

_UNIT = 2.0**-24
"""Relative rounding error of float32."""


class Encoding:
    """The codes of all positions: ``arrays`` and ``numbers`` for :class:`.native.Kernel`."""

    def __init__(self, panels: Panels, norm: str, workers: native.Workers) -> None:
        """Encode all points.

        Raises:
            DataError: a number is not finite, or numbers span more than float32 can hold.
        """
        self._panels, self._workers = panels, workers
        sample, self._sampled = panels.sample(SAMPLE)
        demand_finite(sample, panels.origin[self._sampled])
        encoder = LinfEncoder if norm == "linf" else L2Encoder
        with threadpool_limits(1, user_api="blas"):  # its threads wait in a busy loop, and gain nothing on a sample
            self._encoder: L2Encoder | LinfEncoder = encoder(sample, panels.width, panels.positions)
        self.leading = np.zeros((panels.positions, 4), np.float32)
        """(P, 4) leading coordinates: points near each other have similar ones."""
        self._stream(self._visit)

    def _stream(self, visit: Callable[[Array, Array], None]) -> None:
        """Call ``visit(rows, positions)`` on all rows, shared out among threads."""
        # Our own threads share out the rows: the threads of a BLAS would only stand in their way.
        with threadpool_limits(1, user_api="blas"):
            self._panels.stream(
                lambda rows, positions: self._workers.over(
                    len(rows), 64, lambda start, stop: visit(rows[start:stop], positions[start:stop])
                )
            )
        self.arrays, self.numbers = self._encoder.finish()

    def _visit(self, rows: Array, positions: Array) -> None:
        demand_finite(rows, self._panels.origin[positions])
        leading = self._encoder.encode(rows, positions)
        self.leading[positions, : leading.shape[1]] = leading

    def refine(self, radius: Array, same: bool = False) -> None:
        """Encode once more, now that ``radius`` (P,) says how far each search reaches; in l-infinity, whose best codes
        depend on it.

        ``same``: the search is for neighbours of the same label.
        """
        assert isinstance(self._encoder, LinfEncoder)
        self._encoder.choose(self._panels.label[self._sampled], radius[self._sampled], same)
        self._stream(self._encoder.fill)


def _packed(codes: Array, columns: int, together: int) -> Array:
    """The first so many columns of byte codes (P, M) as native.c's tiles want them: (P / 16, steps, 16, together) or,
    with one byte together, (P / 64, steps, 64).
    """
    tile = 16 if together == 4 else 64
    parts = codes[:, :columns].reshape(len(codes) // tile, tile, columns // together, together)
    return np.ascontiguousarray(parts.transpose(0, 2, 1, 3))


# ---------------------------------------------------------------------------------------------------------------- l2


class L2Encoder:
    """Fills the codes of l2 block by block."""

    def __init__(self, sample: Array, width: int, positions: int) -> None:
        """``sample`` (n, W) padded rows that represent the set; ``positions`` P codes are made."""
        directions = min(width, len(sample))  # more than the sample spans tell nothing
        self.near, far = min(NEAR, directions), min(FAR, max(0, directions - NEAR))
        self.projector = Projector(sample, width, self.near, far)
        projected = self.projector(sample)
        rests, _ = projected.rest(self.near)
        self.rest_mean = float(rests.mean())
        self.near_step = _step(np.append(projected.coordinates[:, : self.near], rests - self.rest_mean))
        self.far_step = _step(projected.coordinates[:, self.near :]) if far else 1.0
        self.near_codes = np.zeros((positions, 64), np.int8)
        self.far_codes = np.zeros((positions, 64 + -(-far // 64) * 64), np.int8)
        self.near_slack, self.far_slack, self.rest = np.zeros((3, positions))

    def encode(self, rows: Array, positions: Array) -> Array:
        """Round padded rows to codes at their positions; returns their (n, 4) leading coordinates."""
        near = self.near
        projected = self.projector(rows)
        codes, lost = _to_bytes(projected.coordinates[:, :near], self.near_step)
        self.near_codes[positions, :near] = self.far_codes[positions, :near] = codes
        rest, doubt = projected.rest(near)
        codes, more = _to_bytes((rest - self.rest_mean)[:, None], self.near_step)
        self.near_codes[positions, 63:] = codes
        self.near_slack[positions] = np.sqrt(lost + more) + projected.error + doubt
        codes, more = _to_bytes(projected.coordinates[:, near:], self.far_step)
        self.far_codes[positions, 64 : 64 + codes.shape[1]] = codes
        self.rest[positions], doubt = projected.rest(None)
        self.far_slack[positions] = (np.sqrt(lost + more) + projected.error + doubt) * LOOSE
        return projected.leading

    def finish(self) -> tuple[dict[str, Array], dict[str, int | float]]:
        """The codes of all positions."""
        arrays = {
            "near": self.near_codes,
            "packed": _packed(self.near_codes, 64, 4),
            "square": np.einsum("ij,ij->i", self.near_codes, self.near_codes, dtype=np.int32),
            "far": self.far_codes,
            "rest": self.rest,
            "near_slack": self.near_slack,
            "far_slack": self.far_slack,
        }
        return arrays, {
            "near_width": 64,
            "far_width": self.far_codes.shape[1],
            "near_step": self.near_step,
            "far_step": self.far_step,
            "most_slack": float(np.quantile(self.near_slack, 1.0 - WILD)) * LOOSE,
        }


def _step(values: Array) -> float:
    """The distance a step of a byte stands for, so that nearly all values fit; safe to divide by."""
    return max(float(np.quantile(np.abs(values), 1.0 - CLIPPED)) / 127, 1e-300)


def _to_bytes(values: Array, step: float) -> tuple[Array, Array]:
    """Clipped, rounded codes (n, M) int8 of values (n, M), and the squared lengths (n,) of what rounding took."""
    scaled = np.clip(values / step, -127.0, 127.0)
    codes = np.rint(scaled)
    scaled -= codes
    return codes.astype(np.int8), np.einsum("ij,ij->i", scaled, scaled) * step**2


@dataclass(frozen=True)
class Projected:
    """Orthonormal coordinates of n points about the centre."""

    coordinates: Array
    """(n, K) float64."""
    squared: Array
    """(n,) float64: squared distance to the centre."""
    error: Array
    """(n,) float64: bound on the l2 error of the coordinates."""
    squared_error: Array
    """(n,) float64: bound on the error of ``squared``."""
    leading: Array
    """(n, 4) float32: coordinates on the leading directions, for ordering only."""

    def rest(self, count: int | None) -> tuple[Array, Array]:
        """Lengths (n,) of what the first ``count`` coordinates (None: all) do not see, and bounds on their errors."""
        part = self.coordinates[:, :count]
        seen = np.einsum("ij,ij->i", part, part)
        rest = np.sqrt(np.maximum(self.squared - seen, 0.0))
        doubt = 2.0 * np.sqrt(seen) * self.error + self.error**2 + self.squared_error + 1e-9 * self.squared
        small = rest * rest <= doubt
        return rest, np.where(small, np.sqrt(doubt), doubt / np.where(small, 1.0, rest))


class Projector:
    """Projects rows on principal directions of a sample, the first ``near`` and the rest rotated among themselves.

    The rotations even out the spread of the coordinates, so that one step size serves all bytes they are rounded to.
    Bytes are projected exactly: the directions are rounded to whole numbers, and the inverse Cholesky factor of their
    products makes them orthonormal again.
    """

    def __init__(self, sample: Array, width: int, near: int, far: int) -> None:
        """``sample`` (n, W) rows padded from ``width`` to W; ``near + far`` <= width directions are used.

        Raises:
            DataError: the numbers span more than float32 can hold.
        """
        rng = np.random.default_rng(0)
        floats = sample[:, :width].astype(np.float32)
        centre = floats.mean(axis=0, dtype=np.float64)
        self.centre = (np.rint(centre) if sample.dtype == np.uint8 else centre).astype(np.float32)
        with np.errstate(over="ignore"):
            floats -= self.centre
        _demand_range(floats)
        # A power of two brings the largest number near 1 without rounding, so that squares in float32 stay finite.
        self.scale = np.float32(2.0 ** -int(np.clip(np.frexp(np.abs(floats).max())[1], -126, 126)))
        floats *= self.scale
        self.directions = principal_directions(floats, near + far, rng)
        del floats  # of wide rows it is large
        rounded = np.rint(self.directions * (127.0 / np.abs(self.directions).max(axis=0)))
        # Rounding leaves columns nearly orthogonal unless the width is extreme; then bytes are projected as others are.
        self.exact = sample.dtype == np.uint8 and bool(np.linalg.cond(rounded.T @ rounded) < 1e6)
        if self.exact:
            self.directions, self.scale = rounded, np.float32(1)
        wide = self.directions.astype(np.float64)
        inverse = np.linalg.inv(np.linalg.cholesky(wide.T @ wide)).T
        rotation = np.zeros((near + far, near + far))
        for part in (slice(0, near), slice(near, near + far)):
            size = part.stop - part.start
            rotation[part, part], _ = np.linalg.qr(rng.standard_normal((size, size)))
        self.to_orthonormal = inverse @ rotation
        self.to_leading = inverse[:, :4]
        self.gain = float(np.linalg.norm(self.to_orthonormal, 2))

    def _products(self, rows: Array) -> tuple[Array, Array]:
        """Padded rows about the centre and scaled, (n, D) float32, and their products with the directions, (n, K)."""
        with np.errstate(over="ignore"):
            centred = rows[:, : len(self.centre)].astype(np.float32)
            centred -= self.centre
            if not self.exact:
                centred *= self.scale
        if not self.exact:
            _demand_range(centred)
        raw = np.zeros((len(rows), self.directions.shape[1]))
        for start in range(0, len(self.centre), _CHUNK):
            raw += centred[:, start : start + _CHUNK] @ self.directions[start : start + _CHUNK]
        return centred, raw

    def leading(self, rows: Array) -> Array:
        """(n, 4) float32: coordinates of padded rows on the leading directions, as :class:`Projected` has them."""
        return (self._products(rows)[1] @ self.to_leading).astype(np.float32)

    def __call__(self, rows: Array) -> Projected:
        """Project padded rows.

        Raises:
            DataError: the numbers span more than float32 can hold.
        """
        centred, raw = self._products(rows)
        squared, half = np.zeros(len(raw)), _CHUNK // 2  # so many squares are exact, too
        for start in range(0, centred.shape[1], half):
            part = centred[:, start : start + half]
            squared += np.einsum("ij,ij->i", part, part, dtype=np.float32 if self.exact else np.float64)
        # A float32 product of length L errs by at most (L + 2) units of |x| |q| in each of the K coordinates, where the
        # 2 pays for the subtraction of the centre; chunks are added in float64. Whole numbers have no error.
        length, unit = min(centred.shape[1], _CHUNK), 0.0 if self.exact else _UNIT
        error = 1.01 * (length + 2) * unit * np.sqrt(raw.shape[1]) * 1.001 * np.sqrt(squared)
        step = 1.0 / float(self.scale)
        return Projected(
            coordinates=raw @ (self.to_orthonormal * step),
            squared=squared * step**2,
            error=error * self.gain * step,
            squared_error=4 * unit * squared * step**2,
            leading=(raw @ self.to_leading).astype(np.float32),
        )


def _demand_range(floats: Array) -> None:
    if not np.isfinite(floats).all():
        raise DataError("the features span more than float32 can hold: scale them down")


def principal_directions(sample: Array, count: int, rng: np.random.Generator) -> Array:
    """About the ``count`` leading principal directions of a centred sample, (D, count) float32, leading first.

    One step of randomised subspace iteration: nearly as good a bound as the exact directions, at a fraction of their
    cost.
    """
    basis = rng.standard_normal((sample.shape[1], count), dtype=np.float32)
    basis = sample.T @ (sample @ basis)
    basis, _ = np.linalg.qr(basis)
    scores = (sample @ basis).astype(np.float64)
    _, vectors = np.linalg.eigh(scores.T @ scores)
    return np.asarray(basis @ vectors[:, ::-1].astype(np.float32), np.float32)


# -------------------------------------------------------------------------------------------------------- l-infinity


class LinfEncoder:
    """Fills the codes of l-infinity block by block."""

    def __init__(self, sample: Array, width: int, positions: int) -> None:
        """``sample`` (n, W) padded rows that represent the set; ``positions`` P codes are made.

        To begin with the coordinates are scattered; :meth:`choose` takes better ones once radii are known.
        """
        self.projector = Projector(sample, width, min(14, width), 0)
        self.whole = sample.dtype == np.uint8
        self.width, self.positions, self.sample = width, positions, sample
        self.low, self.step = np.zeros(width), 1.0
        if not self.whole:
            self.low, high = np.quantile(sample[:, :width].astype(np.float64), [1e-3, 1.0 - 1e-3], axis=0)
            self.step = max(float((high - self.low).max()) / 253.0, 1e-300)
        chosen = np.random.default_rng(0).permutation(width)[:64]
        self._take(chosen, len(chosen))

    def _take(self, chosen: Array, columns: int) -> None:
        self.chosen, self.columns = chosen, columns
        self.codes = np.zeros((self.positions, -(-len(chosen) // 64) * 64), np.uint8)

    def choose(self, labels: Array, radius: Array, same: bool = False) -> None:
        """Take the coordinates that tell the pairs of the sample apart, given its labels and how far each point's
        search reaches; pairs of equal labels (``same``) or of different ones.
        """
        keep = np.random.default_rng(0).permutation(len(self.sample))[:_PAIRS]
        levels = self._levels(self.sample[keep], np.arange(self.width))
        steps = np.minimum(radius[keep] / self.step, 255.0)
        self._take(*choose_coordinates(levels, labels[keep], steps, same=same))

    def _levels(self, rows: Array, chosen: Array) -> Array:
        if self.whole:
            return rows[:, chosen]
        scaled = (rows[:, chosen].astype(np.float64) - self.low[chosen]) / self.step
        return np.clip(np.floor(scaled), 0, 255).astype(np.uint8)

    def fill(self, rows: Array, positions: Array) -> None:
        """Round padded rows to codes at their positions."""
        self.codes[positions, : len(self.chosen)] = self._levels(rows, self.chosen)

    def encode(self, rows: Array, positions: Array) -> Array:
        """Fill in the codes; returns the (n, 4) leading coordinates of the rows."""
        self.fill(rows, positions)
        return self.projector.leading(rows)

    def finish(self) -> tuple[dict[str, Array], dict[str, int | float]]:
        """The codes of all positions."""
        return {"near": self.codes, "packed": _packed(self.codes, self.columns, 1)}, {
            "near_width": self.codes.shape[1],
            "columns": self.columns,
            "linf": 1,
            "margin": 0 if self.whole else 2,
            "near_step": self.step,
        }


def choose_coordinates(levels: Array, labels: Array, reach: Array, *, same: bool = False) -> tuple[Array, int]:
    """Coordinates that rule out most pairs, most telling first, and how many of them a tile should compare.

    ``levels`` (n, D) uint8 sample; ``reach`` (n,) steps beyond which a pair is of no interest to the point; ``same``:
    pairs are of equal labels, not of different ones. Only speed depends on the choice.
    """
    rng = np.random.default_rng(0)
    first, second = np.triu_indices(len(levels), 1)
    matter = (labels[first] == labels[second]) == same
    first, second = first[matter], second[matter]
    limits = np.maximum(reach[first], reach[second]).astype(np.int64) - 1
    transposed = np.ascontiguousarray(levels.T)
    signed = transposed.astype(np.int16)
    chosen: list[int] = []
    free = rng.permutation(levels.shape[1])
    alive = hard = np.arange(len(first))
    left = [1.0]
    while len(chosen) < min(CHOSEN, levels.shape[1]):
        looked = alive if len(alive) <= _PAIRS else rng.choice(alive, _PAIRS, replace=False)
        candidates = free[:_CANDIDATES]
        counts = native.ruled_out(transposed, candidates, first[looked], second[looked], limits[looked])
        best = int(candidates[int(counts.argmax())])
        chosen.append(best)
        free = rng.permutation(free[free != best])
        alive = alive[np.abs(signed[best, first[alive]] - signed[best, second[alive]]) <= limits[alive]]
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
