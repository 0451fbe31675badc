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

from dataclasses import dataclass

import numpy as np

from datarobust.errors import DataError, UsageError
from datarobust.norms import norm_of
from datarobust.sensitivity import Labelled, Options, Rows, nearest
from datarobust.sensitivity.panels import SomeRows
from datarobust.sensitivity.ranking import DEFAULT, MEMORY, check
from datarobust.types import Floats, Progress
from datarobust.types import Rows as Places

MOST = 1_000_000  # pairs that are found; the lists of a search take up to about 1 KB for each of them
_LONGER = 4  # by how much lists grow from one search to the next


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows (M,), the nearest first, equal distances by (first, second)."""

    first: Places
    second: Places  # above ``first`` where both are of one set
    distance: Floats  # in [0,1] units for uint8 points, in their own units for float32

    def __len__(self) -> int:
        return len(self.first)

    def remark(self) -> str:
        """How many there are and how far apart, in a sentence."""
        if not len(self):
            return "there is no such pair"
        return f"{len(self):,} pairs at distances from {self.distance[0]:.6g} to {self.distance[-1]:.6g}"


def nearest_pairs(
    points: Rows,
    norm: str,
    count: int | None = None,
    *,
    within: float | None = None,
    against: Rows | None = None,
    memory: int = MEMORY,
    options: Options = DEFAULT,
    progress: Progress = iter,
) -> Pairs:
    """The ``count`` nearest pairs of distinct rows (all where there are fewer), or all up to the distance ``within``.

    ``points`` are (N, D) uint8 or float32. With ``against`` (M, D) pairs are of a row of ``points`` and a row of that.
    uint8 is compared in whole numbers; on float32 the l2 distance has a relative error below (D + 2) 2^-53 and the
    l-infinity distance below 2^-53. ``memory`` is in bytes of rows. Raises DataError where the sets do not fit
    together, hold numbers that are not finite, or have more than MOST pairs within the distance.
    """
    if count is not None and not 1 <= count <= MOST:
        raise UsageError(f"{count} nearest pairs cannot be asked for: choose a number from 1 to {MOST:,}.")
    if within is not None and not within >= 0:
        raise UsageError(f"no two points are within {within} of each other: choose a distance from 0 on.")
    check(_labelled(points), None if against is None else _labelled(against), norm)
    to_distance = norm_of(norm).distances
    key, first, second = np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)  # pairs by (key, first, second)
    k = 1 + 2 * (count or 0) // points.shape[0]
    rows = np.arange(points.shape[0])
    while len(rows):
        most = len(rows) - 1 if against is None else against.shape[0]
        k = min(k, most)
        if k < 1:
            break
        searched = points if len(rows) == points.shape[0] else SomeRows(points, rows)
        sources = [_labelled(searched)] + ([] if against is None else [_labelled(against, len(rows))])
        keys, others = nearest(sources, norm, k, memory=memory, options=options, progress=progress)
        ends = np.repeat(rows, k), (rows[others] if against is None else others).ravel()
        last_key, last = keys[:, -1], ends[1][k - 1 :: k]
        if against is None:  # the lower row comes first
            ends = np.minimum(*ends), np.maximum(*ends)
        key = np.concatenate([key, keys.ravel()])
        first, second = np.concatenate([first, ends[0]]), np.concatenate([second, ends[1]])
        order = np.lexsort((second, first, key))
        key, first, second = key[order], first[order], second[order]
        fresh = np.ones(len(key), np.bool_)  # a pair has one key, so that its repetitions stand together
        fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        if within is not None:
            fresh &= to_distance(key, points.dtype) <= within
            if np.count_nonzero(fresh) > MOST:
                raise DataError(f"more than {MOST:,} pairs are within {within} of each other: choose a lesser one.")
        kept = np.flatnonzero(fresh)[:count]
        key, first, second = key[kept], first[kept], second[kept]
        if k == most:
            break
        if within is not None:
            missing = to_distance(last_key, points.dtype) <= within
        elif count is None or len(key) < count:
            missing = np.ones(len(rows), np.bool_)
        else:
            a, b = first[-1], second[-1]
            tied = (rows <= a) | (last < a) if against is None else (rows < a) | ((rows == a) & (last < b))
            missing = (last_key < key[-1]) | ((last_key == key[-1]) & tied)
        rows = rows[missing]
        k *= _LONGER
    return Pairs(first, second, to_distance(key, points.dtype))


def surplus(pairs: Pairs, of_two_sets: bool = False) -> Places:
    """Rows whose removal leaves no pair, ascending: all of the first set where the pairs are of two sets.

    Within one set a row goes if it is in a pair with a lower row that stays.
    """
    if of_two_sets:
        return np.unique(pairs.first)
    gone: set[int] = set()
    order = np.argsort(pairs.second, kind="stable")
    for first, second in zip(pairs.first[order].tolist(), pairs.second[order].tolist(), strict=True):
        if first not in gone:  # which is settled: all pairs that end in a lower row came before
            gone.add(second)
    return np.array(sorted(gone), np.int64)


def _labelled(points: Rows, start: int = 0) -> Labelled:
    """The points, each with a label of its own."""
    return Labelled(points, np.arange(start, start + points.shape[0]))
