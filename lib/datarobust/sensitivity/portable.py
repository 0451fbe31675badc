"""Plain twins of the byte dot products, for processors without them; numba vectorises them as far as it can."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import ROWS


@njit(nogil=True, forceinline=True)
def l2_tile(rows, row_norm, packed, col_norm, values, groups):
    """Squared distances of signed codes (ROWS, 64) and packed columns; fills ``values`` (ROWS, 64 * groups) int32."""
    for g in range(4 * groups):
        for r in range(ROWS):
            for c in range(16):
                total = np.int32(0)
                for step in range(16):
                    for byte in range(4):
                        total += np.int32(rows[r, 4 * step + byte]) * np.int32(packed[g, step, c, byte])
                values[r, 16 * g + c] = row_norm[r] + col_norm[16 * g + c] - 2 * total


@njit(nogil=True, forceinline=True)
def mark_within(values, row_limits, col_limits, words, groups):
    """Set the bits of the pairs whose value is at most the larger of its two limits."""
    for r in range(ROWS):
        for g in range(groups):
            word = np.uint64(0)
            for b in range(64):
                q = 64 * g + b
                if values[r, q] <= max(row_limits[r], col_limits[q]):
                    word |= np.uint64(1) << np.uint64(b)
            words[r * groups + g] = word


@njit(nogil=True, forceinline=True)
def signed_dot(a, b):
    """Sum of products of two rows of signed bytes."""
    total = np.int32(0)
    for t in range(a.shape[0]):
        total += np.int32(a[t]) * np.int32(b[t])
    return np.int64(total)


@njit(nogil=True, forceinline=True)
def square_distance(a, b):
    """Sum of squared differences of two rows of unsigned bytes, exact for any length."""
    total = np.int64(0)
    for start in range(0, a.shape[0], 16384):
        part = np.int32(0)
        for t in range(start, min(start + 16384, a.shape[0])):
            gap = np.int32(a[t]) - np.int32(b[t])
            part += gap * gap
        total += part
    return total


@njit(nogil=True, forceinline=True)
def float_square_distance(a, b):
    """Sum of squared differences in float64, always in the same order: eight partial sums, then those in order."""
    sums = np.zeros(8)
    whole = a.shape[0] - a.shape[0] % 8
    for start in range(0, whole, 8):
        for lane in range(8):
            gap = np.float64(a[start + lane]) - np.float64(b[start + lane])
            sums[lane] += gap * gap
    total = 0.0
    for lane in range(8):
        total += sums[lane]
    for t in range(whole, a.shape[0]):
        gap = np.float64(a[t]) - np.float64(b[t])
        total += gap * gap
    return total


@njit(nogil=True, forceinline=True)
def float_largest(a, b):
    """Largest absolute difference, in float64."""
    largest = 0.0
    for t in range(a.shape[0]):
        largest = max(largest, abs(np.float64(a[t]) - np.float64(b[t])))
    return largest
