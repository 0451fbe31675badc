"""The search's inner loops: which pairs may matter, and what they are worth.

The loops are the same for both norms. What differs is supplied by :mod:`.l2` and :mod:`.linf` as overloads on the type
of the codes:

====================  ==========================================================================
``limit_of``          the largest code distance at which a pair may still improve a point
``mark``              pairs of a tile within their limits, a bit each
``near_values``       code distances of a tile (to find good first neighbours)
``pack``              codes of columns laid beside each other
``within``            a second, finer bound for one pair
``exact_key``         the exact comparison key of one pair
``radius_of``         the distance a key stands for
``weighted``          the key of a pair of label vectors
``borrowed``          the codes, without the cost of counting references
====================  ==========================================================================

A pair is skipped only where a bound proves that its distance exceeds the radius of both points; every other pair is
measured exactly, and the k best neighbours by (key, index) are kept. The result is a function of the data alone: no
block size, order, thread or shard can change it.
"""

# Types are numba's here; the Python-side signatures are checked where these functions are called.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .compiled import cached
from .simd import ROWS, borrow, lowest_bit
from .tables import NO_INDEX, Points, State

STRIP = 256
"""Columns that share a limit: equal distances help only a lower index, so narrow strips of sorted columns rule out
more.
"""


FIRST = 4
"""Points measured for a first neighbour; code distances are only bounds, and a good start saves far more work."""


def limit_of(codes, state, i, other_first) -> Any:
    """The largest code distance of interest to position ``i``; ``other_first`` is the lowest index among the other
    points.
    """
    raise NotImplementedError


def mark(codes, i, row_limits, j0, groups, col_limits, words, vector) -> Any:
    """Fill ``words`` (ROWS * groups) with a bit for each pair of rows i.. and columns j0.. within the larger of its
    two limits.
    """
    raise NotImplementedError


def near_values(codes, rows, packed, norms, values, groups, vector) -> Any:
    """Fill ``values`` (ROWS, 64 * groups) with the code distances of gathered rows and packed columns."""
    raise NotImplementedError


def pack(codes, positions, packed, norms) -> Any:
    """Lay the codes of ``positions`` side by side as columns."""
    raise NotImplementedError


def window_buffers(codes, n) -> Any:
    """Buffers of the right types for ``n`` columns: packed codes, their norms, values, gathered rows."""
    raise NotImplementedError


def within(codes, points, state, i, j, share) -> Any:
    """Whether the finer bound leaves the pair possible, ``share`` being ||y_i - y_j|| over the widest."""
    raise NotImplementedError


def exact_key(codes, points, i, j, bound) -> Any:
    """The exact key of a pair; may be any larger value once it exceeds ``bound``."""
    raise NotImplementedError


def radius_of(codes, key, widest) -> Any:
    """The distance beyond which no pair has a key up to ``key``."""
    raise NotImplementedError


def weighted(codes, key, squared_weight) -> Any:
    """The key of a pair whose label vectors are apart by the root of ``squared_weight``."""
    raise NotImplementedError


def borrowed(codes) -> Any:
    """The codes with borrowed arrays (see :func:`.simd.borrow`): a kernel touches some twenty arrays for each pair."""
    raise NotImplementedError


@njit(nogil=True, forceinline=True)
def borrowed_points(points):
    """Points with borrowed arrays."""
    return Points(
        borrow(points.data),
        borrow(points.place),
        borrow(points.origin),
        borrow(points.label),
        borrow(points.soft),
        borrow(points.total),
        borrow(points.square),
        points.vector,
    )


@njit(nogil=True, forceinline=True)
def borrowed_state(state):
    """A state with borrowed arrays."""
    return State(borrow(state.key), borrow(state.neighbour), borrow(state.radius), state.widest, state.whole)


@njit(nogil=True, forceinline=True)
def offer(codes, state, i, key, index):
    """Take a neighbour into the list of position ``i`` if it is among the k best by (key, index) and not there yet."""
    keys, indices = state.key[i], state.neighbour[i]
    last = keys.shape[0] - 1
    if key > keys[last] or (key == keys[last] and index >= indices[last]):
        return
    place = 0
    while keys[place] < key or (keys[place] == key and indices[place] < index):
        place += 1
    if keys[place] == key and indices[place] == index:
        return
    for t in range(last, place, -1):
        keys[t] = keys[t - 1]
        indices[t] = indices[t - 1]
    keys[place] = key
    indices[place] = index
    state.radius[i] = radius_of(codes, keys[last], state.widest)


@njit(nogil=True, forceinline=True)
def squared_weight(points, i, j):
    """||y_i - y_j||^2 of the label vectors, summed in order; 0 or 1 where labels are classes."""
    if points.soft.shape[0] == 0:
        return 0.0 if points.label[i] == points.label[j] else 1.0
    total = 0.0
    for c in range(points.soft.shape[1]):
        gap = np.float64(points.soft[i, c]) - np.float64(points.soft[j, c])
        total += gap * gap
    return total


@njit(nogil=True, forceinline=True)
def measure(codes, points, state, i, j, both):
    """Bound, measure and offer one pair; ``both``: j learns of i as well. Whether the pair came close enough to be
    offered.
    """
    weight = squared_weight(points, i, j)
    if weight == 0.0:
        return False
    share = np.sqrt(weight) / state.widest
    if not within(codes, points, state, i, j, share):
        return False
    last = state.key.shape[1] - 1
    bound = state.key[i, last]
    if both:
        bound = max(bound, state.key[j, last])
    if points.soft.shape[0] == 0:
        key = exact_key(codes, points, i, j, bound)
    else:
        key = weighted(codes, exact_key(codes, points, i, j, np.inf), weight)
    if key > bound:
        return False
    offer(codes, state, i, key, points.origin[j])
    if both:
        offer(codes, state, j, key, points.origin[i])
    return True


@njit(nogil=True, forceinline=True)
def first_index(points, start, stop):
    """The lowest row index among positions."""
    lowest = NO_INDEX
    for p in range(start, stop):
        lowest = min(lowest, points.origin[p])
    return lowest


@njit(nogil=True, forceinline=True)
def note_limits(codes, state, j, q, tied, free, last):
    """Keep the limits of a column: among points of higher index than its last neighbour (``tied``), and otherwise
    (``free``).
    """
    tied[q] = limit_of(codes, state, j, NO_INDEX)
    free[q] = limit_of(codes, state, j, -1)
    last[q] = state.neighbour[j, state.neighbour.shape[1] - 1]


@cached
def match(codes, points, state, i0, i1, j0, j1, both):
    """Compare rows i0..i1 with columns j0..j1 (j0 a multiple of 64); where they are one block, each pair once.

    ``both``: the columns' points learn of the rows as well; otherwise the columns only serve the rows.
    """
    codes, points, state = borrowed(codes), borrowed_points(points), borrowed_state(state)
    none = limit_of(codes, state, -1, 0)
    row_limits = np.full(ROWS, none)
    col_limits = np.full((j1 - j0 + 63) // 64 * 64, none)
    tied, free, last = col_limits.copy(), col_limits.copy(), np.full(col_limits.shape[0], NO_INDEX)
    for j in range(j0, j1):
        note_limits(codes, state, j, j - j0, tied, free, last)
    words = np.empty(ROWS * (STRIP // 64), np.uint64)
    same = i0 == j0
    firsts = np.empty((j1 - j0 + STRIP - 1) // STRIP, np.int64)
    for s in range(firsts.shape[0]):
        firsts[s] = first_index(points, j0 + s * STRIP, min(j0 + (s + 1) * STRIP, j1))
    for i in range(i0, i1, ROWS):
        height = min(ROWS, i1 - i)
        row_first = first_index(points, i, i + height)
        for q in range(col_limits.shape[0]):
            col_limits[q] = free[q] if row_first < last[q] else tied[q]
        for s in range((i - j0) // STRIP if same else 0, firsts.shape[0]):
            start = j0 + s * STRIP
            groups = (min(STRIP, j1 - start) + 63) // 64
            row_limits[:] = none
            for r in range(height):
                row_limits[r] = limit_of(codes, state, i + r, firsts[s])
            mark(codes, i, row_limits, start, groups, col_limits[start - j0 :], words, points.vector)
            for r in range(height):
                for g in range(groups):
                    word = words[r * groups + g]
                    while word:
                        j = start + 64 * g + lowest_bit(word)
                        word &= word - np.uint64(1)
                        if j >= j1 or (same and j <= i + r):
                            continue
                        if measure(codes, points, state, i + r, j, both) and both:
                            note_limits(codes, state, j, j - j0, tied, free, last)


@cached
def seed(codes, points, state, window, queries, both):
    """Give the points of a window (positions, near each other) their first neighbours.

    For each, the points of another label with the least code distance inside the window are measured, k or FIRST of
    them. Positions below ``queries`` are rows; the columns are all positions (``both``) or those from ``queries`` on.
    """
    codes, points, state = borrowed(codes), borrowed_points(points), borrowed_state(state)
    columns = window.copy() if both else window[window >= queries]
    rows = window[window < queries]
    n, k = columns.shape[0], state.key.shape[1]
    if n == 0:
        return
    packed, norms, values, gathered = window_buffers(codes, n)
    pack(codes, columns, packed, norms)
    label = points.label[columns]
    best = np.empty(max(k, FIRST), np.int64)
    for start in range(0, rows.shape[0], ROWS):
        height = min(ROWS, rows.shape[0] - start)
        for r in range(height):
            gathered[r] = codes.near[rows[start + r]]
        near_values(codes, gathered, packed, norms, values, (n + 63) // 64, points.vector)
        for r in range(height):
            row = rows[start + r]
            found = nearest_columns(values[r], label, points.label[row], best)
            for t in range(found):
                if columns[best[t]] != row:
                    measure(codes, points, state, row, columns[best[t]], both)


@njit(nogil=True, forceinline=True)
def nearest_columns(values, label, own, best):
    """The columns of another label with the least values, at most ``len(best)``; returns how many."""
    found, k = 0, best.shape[0]
    for q in range(label.shape[0]):
        if label[q] == own or (found == k and values[q] >= values[best[k - 1]]):
            continue
        t = min(found, k - 1)
        while t > 0 and values[best[t - 1]] > values[q]:
            best[t] = best[t - 1]
            t -= 1
        best[t] = q
        found = min(found + 1, k)
    return found
