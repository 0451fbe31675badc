r"""The nearest pairs of points, whatever their labels: near-duplicates, exactly.

Sensitivity is local (Theorem 1 of the paper): taking near-duplicates out of a set lowers that of the points beside
them, as the paper says of the set of Carmon et al. 2019 (Section 4). :mod:`datarobust.sensitivity` finds for every
point its nearest points of *other* labels; with a label of its own for every point, these are its nearest points.

**Why no pair is missed.** Pairs i < j are ordered by (key, i, j), the key being what the norm compares. Every point p
of a set O has the list of its k nearest points in O by (key, index), with (t_p, l_p) as its last entry. Let (D, a, b)
be the K-th best pair of all lists, and let a pair (d, i, j) that is in neither the list of i nor that of j be better.
The lists are full, so (t_i, l_i) < (d, j) and (t_j, l_j) < (d, i), and d <= D. Hence

    t_i < D,  or  t_i = D = d  and  i <= a;
    t_j < D,  or  t_j = D = d  and  l_j < i <= a.

Both ends are among the points with t_p < D, or t_p = D and (p <= a or l_p < a). These alone are searched again, with
lists four times as long, until there are none or the lists hold everybody. It stays little work: every entry of the
lists of these points is one of the K best pairs (its key is below D, or it is D and the lower end is below a), but for
the k entries of a itself, so that k times their number is at most 2 K + k, also where all distances are equal.

Between two sets pairs (i, j) are ordered in the same way, and only the points i of the first have lists. A better pair
that is missing has t_i < D, or t_i = D and (i < a, or i = a and l_i < b). For all pairs within a distance, whatever has
t_p within it is searched again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError, UsageError
from datarobust.norms import norm_of
from datarobust.sensitivity import Options, Progress, Round, Rows
from datarobust.sensitivity.panels import Panels, SomeRows
from datarobust.sensitivity.ranking import DEFAULT, MEMORY
from datarobust.sensitivity.search import Search

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST = 1_000_000
"""Pairs that are found at most; the lists of a search take up to about 1 KB for each of them."""

_LONGER = 4
"""By how much lists grow from one search to the next."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows (M,), the nearest first, equal distances by (first, second)."""

    first: Ints
    second: Ints  # above ``first`` where both are of one set
    distance: Floats  # in [0,1] units for uint8 points, in their own units for float32

    def __len__(self) -> int:
        return len(self.first)

    def remark(self) -> str:
        """How many there are and how far apart, in a sentence."""
        if not len(self):
            return "there is no such pair"
        return f"{len(self):,} pairs at distances from {self.distance[0]:.6g} to {self.distance[-1]:.6g}"


class _Known(NamedTuple):
    """Pairs found so far, by (key, first, second), each once."""

    key: Floats
    first: Ints
    second: Ints

    def cut(self, count: int) -> _Known:
        return _Known(self.key[:count], self.first[:count], self.second[:count])


_Points = tuple[Ints, Floats, Ints]
"""Rows, and of each list the last key and neighbour."""


def nearest_pairs(
    points: Rows,
    norm: str,
    count: int,
    *,
    against: Rows | None = None,
    memory: int = MEMORY,
    options: Options = DEFAULT,
    progress: Progress[Round] = iter,
) -> Pairs:
    """The ``count`` nearest pairs of distinct rows, or all where there are fewer.

    Args:
        points: (N, D) uint8 or float32.
        norm: "l2" or "linf".
        count: how many pairs, up to MOST.
        against: (M, D) of the same dtype: pairs of a row of ``points`` and a row of this.
        memory: bytes of rows to hold.
        options: threads and blocks of the search; they do not change the result.
        progress: wraps the loop over the rounds of each search.

    Returns:
        The pairs. uint8 is compared in whole numbers; on float32 the l2 distance has a relative error below
        (D + 2) 2^-53 and the l-infinity distance below 2^-53 (:func:`datarobust.sensitivity.rank`).

    Raises:
        UsageError: an unknown norm, or no count that is possible.
        DataError: the two sets do not fit together, or hold numbers that are not finite.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count} nearest pairs cannot be asked for: choose a number from 1 to {MOST:,}.")

    def open_points(known: _Known, lists: _Points) -> npt.NDArray[np.bool_]:
        row, last_key, last = lists
        if len(known.key) < count:
            return np.ones(len(row), np.bool_)
        limit, a, b = known.key[count - 1], known.first[count - 1], known.second[count - 1]
        of_one = (row <= a) | (last < a)
        of_two = (row < a) | ((row == a) & (last < b))
        return np.asarray((last_key < limit) | ((last_key == limit) & (of_one if against is None else of_two)))

    start = 1 + 2 * count // max(1, points.shape[0])
    return _grow(points, against, norm, start, lambda k: k.cut(count), open_points, memory, options, progress)


def pairs_within(
    points: Rows,
    norm: str,
    distance: float,
    *,
    against: Rows | None = None,
    memory: int = MEMORY,
    options: Options = DEFAULT,
    progress: Progress[Round] = iter,
) -> Pairs:
    """All pairs of distinct rows whose distance is at most ``distance``; arguments as in :func:`nearest_pairs`.

    Raises:
        UsageError: an unknown norm, or a distance below 0.
        DataError: more than MOST pairs are that near; or as :func:`nearest_pairs`.
    """
    if not distance >= 0:
        raise UsageError(f"no two points are within {distance} of each other: choose a distance from 0 on.")
    to_distance = norm_of(norm).distances

    def near(key: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray(to_distance(key, points.dtype) <= distance)

    def within(known: _Known) -> _Known:
        count = int(np.count_nonzero(near(known.key)))
        if count > MOST:
            raise DataError(f"more than {MOST:,} pairs are within {distance} of each other: choose a lesser distance.")
        return known.cut(count)

    return _grow(points, against, norm, 1, within, lambda _, lists: near(lists[1]), memory, options, progress)


def surplus(pairs: Pairs, of_two_sets: bool = False) -> Ints:
    """Rows whose removal leaves no pair: ascending, distinct.

    Within one set a row goes if it is in a pair with a lower row that stays, so that every row that goes is near one
    that stays. With pairs of two sets every row of the first set that is in a pair goes.
    """
    if of_two_sets:
        return np.unique(pairs.first)
    gone: set[int] = set()
    order = np.argsort(pairs.second, kind="stable")
    for first, second in zip(pairs.first[order].tolist(), pairs.second[order].tolist(), strict=True):
        if first not in gone:  # which is settled: all pairs that end in a lower row came before
            gone.add(second)
    return np.array(sorted(gone), np.int64)


def _grow(
    points: Rows,
    against: Rows | None,
    norm: str,
    k: int,
    keep: Callable[[_Known], _Known],
    open_points: Callable[[_Known, _Points], npt.NDArray[np.bool_]],
    memory: int,
    options: Options,
    progress: Progress[Round],
) -> Pairs:
    """Search with longer and longer lists, each time only the points that ``open_points`` leaves."""
    _check(points, against, norm)
    rows = np.arange(points.shape[0], dtype=np.int64)
    known = _Known(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
    while len(rows):
        most = len(rows) - 1 if against is None else against.shape[0]
        k = min(k, most)
        if k < 1:
            break
        chosen = points if len(rows) == points.shape[0] else SomeRows(points, rows)
        key, other = _lists(chosen, against, norm, k, memory, options, progress)
        if against is None:
            other = rows[other]
        known = keep(_joined(known, key, rows, other, ordered=against is None))
        if k == most:
            break
        rows = rows[open_points(known, (rows, key[:, -1], other[:, -1]))]
        k *= _LONGER
    return Pairs(known.first, known.second, norm_of(norm).distances(known.key, points.dtype))


def _lists(
    points: Rows, against: Rows | None, norm: str, k: int, memory: int, options: Options, progress: Progress[Round]
) -> tuple[Floats, Ints]:
    """Keys (N, k) and rows (N, k) of the k nearest others, by (key, row); there are so many."""
    sources = [points] if against is None else [points, against]
    total = sum(source.shape[0] for source in sources)
    labels = np.split(np.arange(total, dtype=np.int64), [points.shape[0]])
    panels = Panels(list(zip(sources, labels, strict=False)), memory)
    search = Search(panels, norm, k, None, 1.0, options)
    search.run(progress, None)
    return search.nearest()


def _joined(known: _Known, key: Floats, rows: Ints, other: Ints, *, ordered: bool) -> _Known:
    """The pairs known and those of the lists, each once; ``ordered``: a pair has its lower row first."""
    first, second = np.repeat(rows, key.shape[1]), other.ravel()
    if ordered:
        first, second = np.minimum(first, second), np.maximum(first, second)
    columns = [np.concatenate(both) for both in zip(known, (key.ravel(), first, second), strict=True)]
    order = np.lexsort(columns[::-1])
    key, first, second = (column[order] for column in columns)
    fresh = np.ones(len(key), np.bool_)  # a pair has one key, so that its repetitions stand together
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return _Known(key[fresh], first[fresh], second[fresh])


def _check(points: Rows, against: Rows | None, norm: str) -> None:
    norm_of(norm)
    for part in [points] if against is None else [points, against]:
        if np.dtype(part.dtype) not in (np.uint8, np.float32):
            raise DataError(f"points must be uint8 or float32, not {np.dtype(part.dtype).name}.")
        if 0 in part.shape:
            raise DataError(f"there are no pairs in an array of shape {tuple(part.shape)}.")
    if against is not None and (points.shape[1], points.dtype) != (against.shape[1], against.dtype):
        raise DataError(
            f"points of {points.shape[1]} {points.dtype} numbers cannot be held against points of "
            f"{against.shape[1]} {against.dtype} numbers."
        )
