"""What the l2 norm supplies to :mod:`.kernels`: tiles of code distances, the finer bound, exact squared distances."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from . import kernels
from .l2 import LOOSE
from .portable import float_square_distance, l2_tile, mark_within, signed_dot, square_distance
from .simd import EXACT_BYTES, ROWS, borrow
from .simd_dots import byte_dot, l2_masks, l2_values
from .tables import L2Codes

_FLIP = 0x80808080
_NO_LIMIT = np.int32(np.iinfo(np.int32).max)


def _is_l2(codes) -> bool:
    return getattr(codes, "instance_class", None) is L2Codes


@overload(kernels.borrowed, jit_options={"forceinline": True})
def _borrowed(codes):
    if not _is_l2(codes):
        return None

    def borrowed(codes):
        return L2Codes(
            borrow(codes.near),
            borrow(codes.packed),
            borrow(codes.row_norm),
            borrow(codes.col_norm),
            borrow(codes.far),
            borrow(codes.far_norm),
            borrow(codes.far_sum),
            borrow(codes.rest),
            borrow(codes.slack),
            codes.near_step,
            codes.far_step,
            borrow(codes.near_slack),
            codes.most_slack,
        )

    return borrowed


@overload(kernels.limit_of, jit_options={"forceinline": True})
def _limit_of(codes, state, i, other_first):
    if not _is_l2(codes):
        return None

    def limit_of(codes, state, i, other_first):
        if i < 0:
            return np.int32(-1)
        if state.radius[i] == np.inf or codes.near_slack[i] > codes.most_slack:
            return _NO_LIMIT
        steps = (state.radius[i] + 2.0 * codes.most_slack) / codes.near_step
        return np.int32(min(steps * steps * LOOSE + 1.0, 2147483646.0))

    return limit_of


@overload(kernels.mark, jit_options={"forceinline": True})
def _mark(codes, i, row_limits, j0, groups, col_limits, words, vector):
    if not _is_l2(codes):
        return None

    def mark(codes, i, row_limits, j0, groups, col_limits, words, vector):
        if vector:
            l2_masks(
                codes.near[i:].ctypes.data,
                codes.row_norm[i:].ctypes.data,
                row_limits.ctypes.data,
                codes.packed[j0 // 16 :].ctypes.data,
                codes.col_norm[j0:].ctypes.data,
                col_limits.ctypes.data,
                words.ctypes.data,
                4 * groups,
            )
        else:
            values = np.empty((ROWS, 64 * groups), np.int32)
            l2_tile(codes.near[i:], codes.row_norm[i:], codes.packed[j0 // 16 :], codes.col_norm[j0:], values, groups)
            mark_within(values, row_limits, col_limits, words, groups)

    return mark


@overload(kernels.window_buffers, jit_options={"forceinline": True})
def _window_buffers(codes, n):
    if not _is_l2(codes):
        return None

    def window_buffers(codes, n):
        groups = (n + 63) // 64
        packed = np.zeros((4 * groups, 16, 16, 4), np.uint8)
        norms = np.zeros(64 * groups, np.int32)
        return packed, norms, np.empty((ROWS, 64 * groups), np.int32), np.zeros((ROWS, 64), np.int8)

    return window_buffers


@overload(kernels.pack, jit_options={"forceinline": True})
def _pack(codes, positions, packed, norms):
    if not _is_l2(codes):
        return None

    def pack(codes, positions, packed, norms):
        for q in range(positions.shape[0]):
            p = positions[q]
            norms[q] = codes.col_norm[p]
            packed[q // 16, :, q % 16, :] = codes.packed[p // 16, :, p % 16, :]

    return pack


@overload(kernels.near_values, jit_options={"forceinline": True})
def _near_values(codes, rows, packed, norms, values, groups, vector):
    if not _is_l2(codes):
        return None

    def near_values(codes, rows, packed, norms, values, groups, vector):
        row_norms = np.zeros(ROWS, np.int32)
        for r in range(ROWS):
            total, square = np.int32(0), np.int32(0)
            for t in range(64):
                total += np.int32(rows[r, t])
                square += np.int32(rows[r, t]) * np.int32(rows[r, t])
            row_norms[r] = square + 256 * total
        if vector:
            l2_values(
                rows.ctypes.data,
                row_norms.ctypes.data,
                packed.ctypes.data,
                norms.ctypes.data,
                values.ctypes.data,
                4 * groups,
            )
        else:
            l2_tile(rows, row_norms, packed, norms, values, groups)

    return near_values


@njit(nogil=True, forceinline=True)
def far_square(codes, part, start, i, j, vector):
    """Squared distance of part 0 or 1 of the far codes, which begins at byte ``start``."""
    stop = 64 if part == 0 else codes.far.shape[1]
    if vector:
        u, s = codes.far[j:, start:].ctypes.data, codes.far[i:, start:].ctypes.data
        dot = np.int64(byte_dot(u, s, (stop - start) // 64, _FLIP, 0)) - 128 * np.int64(codes.far_sum[i, part])
    else:
        dot = signed_dot(codes.far[i, start:stop], codes.far[j, start:stop])
    return np.int64(codes.far_norm[i, part]) + np.int64(codes.far_norm[j, part]) - 2 * dot


@overload(kernels.within, jit_options={"forceinline": True})
def _within(codes, points, state, i, j, share):
    if not _is_l2(codes):
        return None

    def within(codes, points, state, i, j, share):
        reach = max(state.radius[i], state.radius[j]) * share + codes.slack[i] + codes.slack[j]
        rest = codes.rest[i] - codes.rest[j]
        bound = rest * rest + codes.near_step * codes.near_step * far_square(codes, 0, 0, i, j, points.vector)
        if codes.far.shape[1] > 64:
            bound += codes.far_step * codes.far_step * far_square(codes, 1, 64, i, j, points.vector)
        return not bound > reach * reach * LOOSE  # whatever cannot be compared is measured

    return within


@njit(nogil=True, forceinline=True)
def byte_square_distance(points, i, j):
    """|x|^2 + |y|^2 - 2xy of two rows of bytes, in whole numbers."""
    width = points.data.shape[1]
    a, b = points.place[i], points.place[j]
    dot = 128 * points.total[j]
    for start in range(0, width, EXACT_BYTES):
        chunks = min(EXACT_BYTES, width - start) // 64
        dot += np.int64(
            byte_dot(points.data[b:, start:].ctypes.data, points.data[a:, start:].ctypes.data, chunks, 0, _FLIP)
        )
    return points.square[i] + points.square[j] - 2 * dot


@overload(kernels.exact_key, jit_options={"forceinline": True})
def _exact_key(codes, points, i, j, bound):
    if not _is_l2(codes):
        return None
    if points.types[0].dtype == types.uint8:

        def exact_bytes(codes, points, i, j, bound):
            if points.vector:
                return np.float64(byte_square_distance(points, i, j))
            return np.float64(square_distance(points.data[points.place[i]], points.data[points.place[j]]))

        return exact_bytes

    def exact_floats(codes, points, i, j, bound):
        return float_square_distance(points.data[points.place[i]], points.data[points.place[j]])

    return exact_floats


@overload(kernels.radius_of, jit_options={"forceinline": True})
def _radius_of(codes, key, widest):
    if not _is_l2(codes):
        return None

    def radius_of(codes, key, widest):
        return math.sqrt(key) * widest

    return radius_of


@overload(kernels.weighted, jit_options={"forceinline": True})
def _weighted(codes, key, squared_weight):
    if not _is_l2(codes):
        return None

    def weighted(codes, key, squared_weight):
        return key / squared_weight

    return weighted
