"""The l2 norm: bounds from principal directions, exact squared distances in whole numbers.

For orthonormal directions Q, the map x -> (Qx, |x - Q^T Q x|) never increases a distance. So for any two points

    d(x, y)^2  >=  |Qx - Qy|^2 + (rest(x) - rest(y))^2,

and it stays true when coordinates are clipped to a box (a projection on a convex set) and rounded, if the rounding
errors of both points, which are known, are allowed for. :class:`~.tables.L2Codes` holds two such bounds: ``near``, one
byte for each of 63 leading directions and for the rest, compared for all pairs at once; ``far``, up to 192 directions
more and the rest as a number, for the few pairs that ``near`` leaves. What ``far`` leaves is measured: on bytes by
|x|^2 + |y|^2 - 2xy in whole numbers, which is exact, on float32 features in float64 (relative error below (D + 2)
2^-53, the same bits in every order of the search).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .compiled import cached
from .projection import Projected, Projector
from .tables import Array, L2Codes, aligned

NEAR = 63
"""Directions of the first bound; the 64th byte is the rest."""

FAR = 191
"""Further directions of the second bound."""

CLIPPED = 5e-4
"""Share of the coordinates beyond what a byte spans; clipping costs sharpness, never correctness."""

WILD = 1e-3
"""Share of points whose codes may be so inexact that they would loosen the bound of all others."""

LOOSE = 1.0 + 1e-6
"""Widens every threshold by more than float64 arithmetic can err."""


class L2Encoder:
    """Fills :class:`~.tables.L2Codes` block by block."""

    def __init__(self, sample: Array, width: int, positions: int, vector: bool) -> None:
        """``sample`` (n, W) padded rows that represent the set; ``positions`` P codes are made."""
        near = min(NEAR, width)
        far = min(FAR, width - near)
        self.projector = Projector(sample, width, near, far, vector)
        projected, _ = self.projector(sample)
        rests = _rests(projected, near)
        self.rest_mean = float(rests.mean())
        self.near_step = _step(np.concatenate([projected.coordinates[:, :near].ravel(), rests - self.rest_mean]))
        self.far_step = _step(projected.coordinates[:, near:]) if far else 1.0
        self.near_count = near
        self.near_codes = np.zeros((positions, 64), np.int8)
        self.far_codes = np.zeros((positions, 64 + -(-far // 64) * 64), np.int8)
        self.near_slack = np.zeros(positions)
        self.slack = np.zeros(positions)
        self.rest = np.zeros(positions)

    def __call__(self, rows: Array, positions: Array) -> Array:
        """Encode padded rows at their positions; returns their (n, 4) leading coordinates."""
        projected, leading = self.projector(rows)
        quantise(
            projected.coordinates,
            projected.squared,
            projected.error,
            projected.squared_error,
            positions,
            self.near_count,
            self.rest_mean,
            self.near_step,
            self.far_step,
            self.near_codes,
            self.far_codes,
            self.near_slack,
            self.slack,
            self.rest,
        )
        return leading

    def finish(self) -> L2Codes:
        """The codes of all positions."""
        positions = len(self.near_codes)
        squares = np.einsum("ij,ij->i", self.near_codes, self.near_codes, dtype=np.int32)
        parts = (self.far_codes[:, :64], self.far_codes[:, 64:])
        codes = L2Codes(
            near=self.near_codes,
            packed=aligned((positions // 16, 16, 16, 4), np.uint8),
            row_norm=squares + 256 * self.near_codes.sum(axis=1, dtype=np.int32),
            col_norm=squares,
            far=self.far_codes,
            far_norm=np.stack([np.einsum("ij,ij->i", part, part, dtype=np.int32) for part in parts], axis=1),
            far_sum=np.stack([part.sum(axis=1, dtype=np.int32) for part in parts], axis=1),
            rest=self.rest,
            slack=self.slack,
            near_step=self.near_step,
            far_step=self.far_step,
            near_slack=self.near_slack,
            most_slack=float(np.quantile(self.near_slack, 1.0 - WILD)) * LOOSE,
        )
        pack_all(codes)
        return codes


def _step(values: Array) -> float:
    """The distance a step of a byte stands for, so that nearly all values fit; safe to divide by."""
    return max(float(np.quantile(np.abs(values), 1.0 - CLIPPED)) / 127, 1e-300)


def _rests(projected: Projected, count: int) -> Array:
    seen = np.einsum("ij,ij->i", projected.coordinates[:, :count], projected.coordinates[:, :count])
    rests: Array = np.sqrt(np.maximum(projected.squared - seen, 0.0))
    return rests


@njit(nogil=True)
def rest_of(squared, seen, error, squared_error):
    """Length of the remainder, and a bound on its error."""
    rest = math.sqrt(max(squared - seen, 0.0))
    doubt = 2.0 * math.sqrt(seen) * error + error * error + squared_error + 1e-9 * squared
    doubt = math.sqrt(doubt) if rest * rest <= doubt else doubt / rest
    return rest, doubt


@njit(nogil=True)
def to_byte(value, step):
    """A clipped, rounded code, and the rounding error after clipping."""
    scaled = min(max(value / step, -127.0), 127.0)
    code = np.rint(scaled)
    return np.int8(code), (scaled - code) * step


@cached
def quantise(
    coordinates, squared, error, squared_error, positions, near, rest_mean, near_step, far_step,
    near_codes, far_codes, near_slack, slack, rests,
):  # fmt: skip
    """Round the coordinates of n points to codes at their positions, and note how far each code may be off."""
    for i in range(coordinates.shape[0]):
        p = positions[i]
        seen, lost = 0.0, 0.0
        for c in range(near):
            seen += coordinates[i, c] * coordinates[i, c]
            near_codes[p, c], gap = to_byte(coordinates[i, c], near_step)
            far_codes[p, c] = near_codes[p, c]
            lost += gap * gap
        rest, doubt = rest_of(squared[i], seen, error[i], squared_error[i])
        near_codes[p, 63], gap = to_byte(rest - rest_mean, near_step)
        near_slack[p] = math.sqrt(lost + gap * gap) + error[i] + doubt
        for c in range(near, coordinates.shape[1]):
            seen += coordinates[i, c] * coordinates[i, c]
            far_codes[p, 64 + c - near], gap = to_byte(coordinates[i, c], far_step)
            lost += gap * gap
        rest, doubt = rest_of(squared[i], seen, error[i], squared_error[i])
        rests[p] = rest
        slack[p] = (math.sqrt(lost) + error[i] + doubt) * LOOSE


@cached
def pack_all(codes):
    """Fill ``codes.packed`` from ``codes.near``."""
    for p in range(codes.near.shape[0]):
        for t in range(64):
            codes.packed[p // 16, t // 4, p % 16, t % 4] = np.uint8(codes.near[p, t]) ^ np.uint8(128)
