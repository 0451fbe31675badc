"""Orthonormal coordinates of points, with a proven bound on their error.

Any orthonormal directions bound distances from below (Bessel's inequality); the leading principal directions of a
sample bound them best. Bytes are projected with whole numbers: the directions are rounded to bytes, the products are
exact, and the rounded directions are made orthonormal again afterwards by the inverse Cholesky factor of their Gram
matrix. Other numbers, and processors without byte products, go through a float32 product with the usual worst-case
bound of its rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datarobust.errors import DataError

from .compiled import cached
from .simd import EXACT_BYTES, ROWS
from .simd_dots import byte_dot, project_rows
from .tables import Array, aligned

_CHUNK = 1024
"""Numbers multiplied in float32 before sums go on in float64."""

_TOO_FAR = "the features span more than float32 can hold: scale them down"

_UNIT = 2.0**-24
"""Relative rounding error of float32."""


@dataclass(frozen=True)
class Projected:
    """Coordinates of a block of n points about the centre."""

    coordinates: Array
    """(n, K) float64."""
    squared: Array
    """(n,) float64: squared distance to the centre."""
    error: Array
    """(n,) float64: bound on the l2 error of the coordinates."""
    squared_error: Array
    """(n,) float64: bound on the error of ``squared``."""


def principal_directions(sample: Array, count: int, rng: np.random.Generator) -> Array:
    """About the ``count`` leading principal directions of a centred sample, (D, count) float32, leading first.

    One step of randomised subspace iteration: nearly as good a bound as the exact directions, at a fraction of their
    cost.
    """
    basis = rng.standard_normal((sample.shape[1], count), dtype=np.float32)
    basis, _ = np.linalg.qr(sample.T @ (sample @ basis))
    scores = (sample @ basis).astype(np.float64)
    _, vectors = np.linalg.eigh(scores.T @ scores)
    return np.asarray(basis @ vectors[:, ::-1].astype(np.float32), np.float32)


def _power_of_two(largest: float) -> np.float32:
    """A factor that brings ``largest`` near 1 without rounding, so that squares in float32 stay finite."""
    return np.float32(2.0 ** -int(np.clip(np.frexp(largest)[1], -126, 126)))


def _rotation(size: int, rng: np.random.Generator) -> Array:
    if size == 0:
        return np.zeros((0, 0))
    rotation, _ = np.linalg.qr(rng.standard_normal((size, size)))
    return rotation


class Projector:
    """Projects rows on principal directions of a sample, the first ``near`` and the rest rotated among themselves.

    The rotations even out the spread of the coordinates, so that one step size serves all bytes they are rounded to.
    """

    def __init__(self, sample: Array, width: int, near: int, far: int, vector: bool, *, seed: int = 0) -> None:
        """``sample`` (n, W) rows padded from ``width`` to W; ``near + far`` <= width directions are used."""
        rng = np.random.default_rng(seed)
        self.near, self.count = near, near + far
        exact = vector and sample.dtype == np.uint8
        floats = sample[:, :width].astype(np.float32)
        centre = floats.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.centre = np.rint(centre) if sample.dtype == np.uint8 else centre
        with np.errstate(over="ignore"):
            floats -= self.centre
        if not np.isfinite(floats).all():
            raise DataError(_TOO_FAR)
        self.scale = _power_of_two(float(np.abs(floats).max()))
        directions = principal_directions(floats * self.scale, self.count, rng)
        rounded = np.rint(directions * (127.0 / np.abs(directions).max(axis=0)))
        # Rounding leaves columns nearly orthogonal unless the width is extreme; then the float32 product serves.
        self.exact = exact and bool(np.linalg.cond(rounded.T @ rounded) < 1e6)
        self.directions = rounded if self.exact else directions
        wide = self.directions.astype(np.float64)
        inverse = np.linalg.inv(np.linalg.cholesky(wide.T @ wide)).T
        rotation = np.zeros((self.count, self.count))
        rotation[:near, :near] = _rotation(near, rng)
        rotation[near:, near:] = _rotation(far, rng)
        self.to_orthonormal = inverse @ rotation
        self.to_leading = inverse[:, :4]
        self.gain = float(np.linalg.norm(self.to_orthonormal, 2))
        self.shift = self.centre.astype(np.float64) @ wide
        if self.exact:
            self.packed = self._pack(sample.shape[1])

    def _pack(self, width: int) -> list[Array]:
        """Directions, centre - 128 and ones as signed bytes, (groups, steps, 16, 4) for each EXACT_BYTES numbers."""
        groups = -(-(self.count + 2) // 16)
        columns = np.zeros((width, 16 * groups), np.int8)
        columns[: len(self.centre), : self.count] = self.directions
        columns[: len(self.centre), self.count] = self.centre - 128
        columns[: len(self.centre), self.count + 1] = 1
        parts = []
        for start in range(0, width, EXACT_BYTES):
            part = columns[start : start + EXACT_BYTES]
            packed = aligned((groups, len(part) // 4, 16, 4), np.int8)
            packed[:] = part.reshape(len(part) // 4, 4, groups, 16).transpose(2, 0, 3, 1)
            parts.append(packed)
        return parts

    def __call__(self, rows: Array) -> tuple[Projected, Array]:
        """Project a block of padded rows; also returns their (n, 4) leading coordinates, for ordering."""
        raw, squared, error, squared_error = self._exact(rows) if self.exact else self._float(rows)
        coordinates = raw @ self.to_orthonormal
        leading = ((raw * float(self.scale)) @ self.to_leading).astype(np.float32)
        return Projected(coordinates, squared, error * self.gain, squared_error), leading

    def _exact(self, rows: Array) -> tuple[Array, Array, Array, Array]:
        n = len(rows)
        products = np.zeros((n, 16 * len(self.packed[0])), np.int64)
        squares = np.zeros(n, np.int64)
        part = np.empty((-(-n // ROWS) * ROWS, products.shape[1]), np.int32)
        for number, packed in enumerate(self.packed):
            project_bytes(rows, number * EXACT_BYTES, packed, part, squares)
            products += part[:n]
        centre = self.centre.astype(np.int64)
        to_centre = products[:, self.count] + 128 * products[:, self.count + 1]
        squared = (squares - 2 * to_centre + int(centre @ centre)).astype(np.float64)
        raw = products[:, : self.count].astype(np.float64) - self.shift
        return raw, squared, np.zeros(n), np.zeros(n)

    def _float(self, rows: Array) -> tuple[Array, Array, Array, Array]:
        width = len(self.centre)
        with np.errstate(over="ignore"):
            centred = (rows[:, :width].astype(np.float32) - self.centre) * self.scale
        squared = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
        if not np.isfinite(squared).all():
            raise DataError(_TOO_FAR)
        raw = np.zeros((len(rows), self.count))
        for start in range(0, width, _CHUNK):
            raw += centred[:, start : start + _CHUNK] @ self.directions[start : start + _CHUNK]
        # A float32 product of length L errs by at most (L + 2) units of |x| |q| in each of the K coordinates, where the
        # 2 pays for the subtraction of the centre; chunks are added in float64.
        length = min(width, _CHUNK)
        error = 1.01 * (length + 2) * _UNIT * np.sqrt(self.count) * 1.001 * np.sqrt(squared)
        unit = 1.0 / float(self.scale)
        return raw * unit, squared * unit * unit, error * unit, 4 * _UNIT * squared * unit * unit


@cached
def project_bytes(rows, first, packed, products, squares):  # type: ignore[no-untyped-def]
    """Exact products of bytes first.. of all rows with packed columns; adds their squared lengths to ``squares``."""
    steps, stride = packed.shape[1], rows.shape[1]
    width = 4 * steps
    spare = np.zeros((ROWS, stride), np.uint8)
    for i in range(0, rows.shape[0], ROWS):
        height = min(ROWS, rows.shape[0] - i)
        for r in range(height):
            row = rows[i + r, first:].ctypes.data
            total = np.int64(0)
            for t in range(first, first + width):
                total += rows[i + r, t]
            squares[i + r] += np.int64(byte_dot(row, row, width // 64, 0, 0x80808080)) + 128 * total
        if height < ROWS:
            spare[:height] = rows[i : i + height]
        source = rows[i:, first:].ctypes.data if height == ROWS else spare[0, first:].ctypes.data
        for g in range(packed.shape[0]):
            place = products[i:, 16 * g :].ctypes.data
            project_rows(source, stride, packed[g].ctypes.data, steps, place, 4 * products.shape[1])
