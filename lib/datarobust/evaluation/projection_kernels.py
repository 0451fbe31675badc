"""The loops of :mod:`.projections`; each works on the rows ``start:stop`` of its arrays, all float32 (B, D) or (B).

A row is a point, the normal of its hyperplane and the offset; ``side`` turns the normal so that the point is to move
against it. To read beside the library's functions, whose every rounding is repeated here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

_BITS, _BUCKETS = 11, 2048
_single: Any = np.float32
_FAR, _FLAT, _ZERO, _ONE = _single(1e12), _single(1e-8), _single(0.0), _single(1.0)
_DECISIVE = 1e-6
"""Of the numbers compared: smaller differences may be rounding in single precision."""
_SUMMED = 1e-12
"""Of a sum in double precision: more than the order of its terms can change."""


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile for threads without the interpreter's lock, dividing as torch does; kept on disk where possible."""
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # no folder can be written: each process compiles for itself
        dispatcher.enable_caching()
    return dispatcher


@_compiled
def _sort(keys, order, keys_too, order_too):  # type: ignore[no-untyped-def]
    """Sort bit patterns below 2^31, digit by digit: ``keys_too`` ascends, ``order_too`` says where each was."""
    counts = np.zeros((3, _BUCKETS), np.int32)
    mask = np.uint32(_BUCKETS - 1)
    for key in keys:
        counts[0, key & mask] += 1
        counts[1, (key >> _BITS) & mask] += 1
        counts[2, (key >> (2 * _BITS)) & mask] += 1
    for digit in range(3):
        total = 0
        for bucket in range(_BUCKETS):
            there = counts[digit, bucket]
            counts[digit, bucket] = total
            total += there
    for i in range(len(keys)):
        key = keys[i]
        place = counts[0, key & mask]
        counts[0, key & mask] = place + 1
        keys_too[place], order_too[place] = key, i
    for i in range(len(keys)):
        key = keys_too[i]
        place = counts[1, (key >> _BITS) & mask]
        counts[1, (key >> _BITS) & mask] = place + 1
        keys[place], order[place] = key, order_too[i]
    for i in range(len(keys)):
        key = keys[i]
        place = counts[2, (key >> (2 * _BITS)) & mask]
        counts[2, (key >> (2 * _BITS)) & mask] = place + 1
        keys_too[place], order_too[place] = key, order[i]


# ---------------------------------------------------------------------------------------------------- l-infinity


@_compiled
def to_bounds(points, normals, offsets, dot, step, product, start, stop):  # type: ignore[no-untyped-def]
    """Make ``step`` the way of each coordinate to the bound it moves towards, ``product`` that times the normal."""
    for i in range(start, stop):
        side = _ONE if dot[i] - offsets[i] >= 0 else -_ONE
        for j in range(points.shape[1]):
            w = normals[i, j] * side
            d = _ZERO
            if w < 0:
                d = _ONE - points[i, j]
            elif w > 0:
                d = -points[i, j]
            step[i, j] = d
            product[i, j] = w * d


@_compiled
def _unsettled(total, rounded):  # type: ignore[no-untyped-def]
    """Whether a sum of positive terms, summed in another order, could be rounded to another number."""
    return _single(total * (1 - _SUMMED)) != rounded or _single(total * (1 + _SUMMED)) != rounded


@_compiled
def linf(points, normals, offsets, dot, reach, step, doubtful, start, stop):  # type: ignore[no-untyped-def]
    """All coordinates go equally far, but to their bounds at most: find how far, and put it into ``step``.

    ``reach`` are the sums of ``product``. ``doubtful`` says where the order of equal numbers might matter.
    """
    n = points.shape[1]
    room = np.empty(n, np.float32)
    bits = room.view(np.uint32)
    keys, keys_too = np.empty(n, np.uint32), np.empty(n, np.uint32)
    order, ascending = np.empty(n, np.int32), np.empty(n, np.int32)
    weights, bounds = np.empty(n, np.float64), np.empty(n, np.float64)
    for i in range(start, stop):
        side = _ONE if dot[i] - offsets[i] >= 0 else -_ONE
        for j in range(n):
            room[j] = (_ONE - points[i, j] if normals[i, j] * side < 0 else points[i, j]) + _ZERO
        for j in range(n):
            keys[j] = bits[j]
        _sort(keys, order, keys_too, ascending)
        weight, bound = 0.0, 0.0
        for k in range(n):  # the coordinate with most room first
            j = ascending[n - 1 - k]
            w = normals[i, j] * side
            weight += abs(w)
            bound += _single(-w * step[i, j])
            weights[k], bounds[k] = weight, bound
        target = offsets[i] * side - dot[i] * side
        least = _DECISIVE * (abs(target) + abs(reach[i]) + bound)
        low, high = n - 1, n - 1
        gap = target - ((_single(bounds[low]) + reach[i]) - _single(weights[low]) * room[ascending[0]])
        doubtful[i] = abs(gap) <= least
        none_bound = gap > 0
        if not none_bound:
            if not target - reach[i] > 0:
                continue  # out of reach: every coordinate goes to its bound
            low, width = 0, 1
            while width < n:
                width *= 2
                middle = (low + high) // 2
                bound_there = _single(bounds[middle]) + reach[i]
                gap = target - (bound_there - _single(weights[middle]) * room[ascending[n - 1 - middle]])
                doubtful[i] |= abs(gap) <= least
                if gap > 0:
                    low = middle
                else:
                    high = middle
            if low < n - 1:
                doubtful[i] |= room[ascending[n - 1 - low]] == room[ascending[n - 2 - low]]
        weight_there, bound_there = _single(weights[low]), _single(bounds[low])
        doubtful[i] |= _unsettled(weights[low], weight_there) or _unsettled(bounds[low], bound_there)
        far = (target - (bound_there + reach[i])) / (-weight_there)
        if far < 0:
            far = _ZERO
        for j in range(n):
            w = normals[i, j] * side
            if none_bound:
                step[i, j] = far if w < 0 else (-far if w > 0 else _ZERO)
            elif w < 0:
                step[i, j] = min(far, step[i, j])
            elif w > 0:
                step[i, j] = max(-far, step[i, j])


# ------------------------------------------------------------------------------------------------------------ l2


@_compiled
def l2_times(points, normals, above, times, step, product, start, stop):  # type: ignore[no-untyped-def]
    """When, along its normal, each coordinate meets its bound; the way to it, and its product with the normal."""
    for i in range(start, stop):
        side = _ONE if above[i] >= 0 else -_ONE
        for j in range(points.shape[1]):
            w = normals[i, j] * side
            t = points[i, j]
            time = _FAR
            if abs(w) >= _FLAT:
                time = min(max(t / w, (t - _ONE) / w), _FAR)
            times[i, j] = time
            step[i, j] = -(time * w) if abs(w) > _FLAT else _ZERO
            product[i, j] = step[i, j] * w


@_compiled
def squares(normals, order, squared, start, stop):  # type: ignore[no-untyped-def]
    """The squares of the normals, in the order in which bounds are met."""
    for i in range(start, stop):
        for k in range(normals.shape[1]):
            squared[i, k] = normals[i, order[i, k]] * normals[i, order[i, k]]


@_compiled
def l2(normals, above, square, reach, order, when, squared, step, start, stop):  # type: ignore[no-untyped-def]
    """Go along the normal, each coordinate to its bound at most, until the hyperplane is met.

    ``square`` and ``reach`` are the sums of ``squared`` and of the products; ``when`` ascends in ``order``.
    """
    n = normals.shape[1]
    left, gone = np.empty(n, np.float32), np.empty(n + 1, np.float32)
    for i in range(start, stop):
        side = _ONE if above[i] >= 0 else -_ONE
        height = above[i] * side
        first = when[i, 0] if when[i, 0] != _FAR else _ZERO
        used, moved = 0.0, 0.0
        gone[0] = -square[i] * first
        for k in range(n):
            used += squared[i, k]
            left[k] = square[i] - _single(used)
            now = when[i, k] if when[i, k] != _FAR else _ZERO
            later = when[i, k + 1] if k + 1 < n and when[i, k + 1] != _FAR else _ZERO
            moved += _single((-later + now) * left[k])
            gone[k + 1] = _single(moved) - square[i] * first
        none_bound = gone[0] + height < 0
        if not none_bound and reach[i] + height > 0:
            continue  # out of reach: every coordinate goes to its bound
        far = _ZERO
        if none_bound:
            far = height / square[i]
        else:
            low, high, width = 0, n - 1, 1
            while width < n:
                width *= 2
                middle = (low + high) // 2
                if gone[middle] + height > 0:
                    low = middle
                else:
                    high = middle
            if left[low] != 0:
                far = (gone[low] + height) / left[low] + (when[i, low] if when[i, low] != _FAR else _ZERO)
        for k in range(n):
            j = order[i, k]
            w = normals[i, j] * side
            if abs(w) <= _FLAT:
                step[i, j] = _ZERO
            elif none_bound or not far > when[i, k]:
                step[i, j] = -far * w
