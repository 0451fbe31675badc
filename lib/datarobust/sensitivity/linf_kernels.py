"""What the l-infinity norm supplies to :mod:`.kernels`: tiles of code distances, the finer bound, exact differences."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from . import kernels
from .portable import float_largest
from .simd import ROWS, borrow
from .simd_gaps import byte_largest, linf_masks, linf_values
from .tables import LinfCodes

LOOSE = 1.0 + 1e-12
"""Widens every threshold by more than float64 arithmetic can err."""


def _is_linf(codes) -> bool:
    return getattr(codes, "instance_class", None) is LinfCodes


@overload(kernels.borrowed, jit_options={"forceinline": True})
def _borrowed(codes):
    if not _is_linf(codes):
        return None

    def borrowed(codes):
        return LinfCodes(borrow(codes.near), borrow(codes.packed), codes.step, codes.margin)

    return borrowed


@overload(kernels.limit_of, jit_options={"forceinline": True})
def _limit_of(codes, state, i, other_first):
    if not _is_linf(codes):
        return None

    def limit_of(codes, state, i, other_first):
        if i < 0:
            return np.uint8(0)
        steps = state.radius[i] * LOOSE / codes.step
        if not steps < 255.0:
            steps = 255.0
        limit = min(np.int64(steps) + codes.margin, 255)
        last = state.key.shape[1] - 1
        # An equal distance helps only together with a lower index; on saturated images (digits) ties are the rule.
        tied = state.whole and state.key[i, last] <= 255.0 and other_first >= state.neighbour[i, last]
        if tied and limit > 0:
            limit -= 1
        return np.uint8(limit)

    return limit_of


@overload(kernels.mark, jit_options={"forceinline": True})
def _mark(codes, i, row_limits, j0, groups, col_limits, words, vector):
    if not _is_linf(codes):
        return None

    def mark(codes, i, row_limits, j0, groups, col_limits, words, vector):
        linf_masks(
            codes.near[i:].ctypes.data,
            codes.near.shape[1],
            row_limits.ctypes.data,
            codes.packed[j0 // 64 :].ctypes.data,
            col_limits.ctypes.data,
            words.ctypes.data,
            groups,
            codes.packed.shape[1],
        )

    return mark


@overload(kernels.window_buffers, jit_options={"forceinline": True})
def _window_buffers(codes, n):
    if not _is_linf(codes):
        return None

    def window_buffers(codes, n):
        groups = (n + 63) // 64
        packed = np.zeros((groups, codes.packed.shape[1], 64), np.uint8)
        values = np.empty((ROWS, 64 * groups), np.uint8)
        return packed, np.zeros(0, np.int32), values, np.zeros((ROWS, codes.near.shape[1]), np.uint8)

    return window_buffers


@overload(kernels.pack, jit_options={"forceinline": True})
def _pack(codes, positions, packed, norms):
    if not _is_linf(codes):
        return None

    def pack(codes, positions, packed, norms):
        for q in range(positions.shape[0]):
            for c in range(packed.shape[1]):
                packed[q // 64, c, q % 64] = codes.near[positions[q], c]

    return pack


@overload(kernels.near_values, jit_options={"forceinline": True})
def _near_values(codes, rows, packed, norms, values, groups, vector):
    if not _is_linf(codes):
        return None

    def near_values(codes, rows, packed, norms, values, groups, vector):
        linf_values(
            rows.ctypes.data,
            rows.shape[1],
            packed.ctypes.data,
            values.ctypes.data,
            groups,
            packed.shape[1],
        )

    return near_values


@overload(kernels.within, jit_options={"forceinline": True})
def _within(codes, points, state, i, j, share):
    if not _is_linf(codes):
        return None

    def within(codes, points, state, i, j, share):
        steps = max(state.radius[i], state.radius[j]) * share * LOOSE / codes.step
        if not steps < 255.0:
            return True
        limit = min(np.int64(steps) + codes.margin, 255)
        near = codes.near
        return byte_largest(near[i:].ctypes.data, near[j:].ctypes.data, near.shape[1] // 64, limit) <= limit

    return within


@overload(kernels.exact_key, jit_options={"forceinline": True})
def _exact_key(codes, points, i, j, bound):
    if not _is_linf(codes):
        return None
    if points.types[0].dtype == types.uint8:

        def exact_bytes(codes, points, i, j, bound):
            limit = np.int64(255)
            if bound < 255.0:
                limit = np.int64(bound)
            a, b = points.place[i], points.place[j]
            width = points.data.shape[1] // 64
            return np.float64(byte_largest(points.data[a:].ctypes.data, points.data[b:].ctypes.data, width, limit))

        return exact_bytes

    def exact_floats(codes, points, i, j, bound):
        return float_largest(points.data[points.place[i]], points.data[points.place[j]])

    return exact_floats


@overload(kernels.radius_of, jit_options={"forceinline": True})
def _radius_of(codes, key, widest):
    if not _is_linf(codes):
        return None

    def radius_of(codes, key, widest):
        return key * widest

    return radius_of


@overload(kernels.weighted, jit_options={"forceinline": True})
def _weighted(codes, key, squared_weight):
    if not _is_linf(codes):
        return None

    def weighted(codes, key, squared_weight):
        return key / math.sqrt(squared_weight)

    return weighted
