"""Equal points: the same numbers twice in a set, or in two sets, under one label or under several.

Equal points with different labels have distance 0: no classifier is right on all of them, and their sensitivity is
infinite. The paper takes 40 duplicates out of CIFAR-100 for that (Section 4). CIFAR-100 has 14 pairs of equal training
images; 18 of its images equal one of another fine label, 6 one of another coarse label.

**Memory.** A point's hash takes 8 bytes, and as much again to sort (twice as much with a second set), so 50 million
points take 0.8 GB whatever their size; each point that equals another takes some 170 bytes more. Points themselves are
read a block at a time. Hashes only say who may be equal: these points are read again and compared byte by byte, as many
groups at a time as fit BUDGET, so that groups beyond it cost another pass over the blocks they are in.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datarobust.artifacts import Column, Store
from datarobust.datasets.sources import Counted, spans
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Progress

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Labels = Literal["own", "coarse"]

BUDGET = 256 << 20
"""Bytes of points that are compared with each other at a time, one of each group."""

TAKEN_BYTES = 64 << 20
"""Bytes of points that are read again at a time."""

_ROWS = 1 << 20
"""Hashes that are looked up at a time."""


@dataclass(frozen=True)
class Equal:
    """Groups of equal points, an entry a point; groups by their first point, their points in order."""

    group: Ints
    """(M,) 0, 0, 0, 1, 1 ..."""
    second: npt.NDArray[np.bool_]
    """(M,) whether the point is of the other set."""
    row: Ints
    """(M,) in its set."""
    label: Ints
    """(M,)"""
    index: Ints
    """(M,) where the point was in the set it was first imported from."""
    at_zero: npt.NDArray[np.bool_]
    """(M,) whether it is a point of the first set that equals one with another label, in the set it is held against."""
    different: npt.NDArray[np.bool_]
    """(G,) whether the points of a group have several labels."""

    def __len__(self) -> int:
        """How many groups."""
        return len(self.different)

    def members(self) -> Iterator[slice]:
        """The entries of each group."""
        edges = np.flatnonzero(np.diff(self.group, prepend=-1, append=len(self)))
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            yield slice(begin, end)

    def surplus(self) -> Ints:
        """Rows of the first set whose removal leaves no equal points, ascending.

        All but the first of each group; with another set all of them, for the other set stays as it is.
        """
        again = np.diff(self.group, prepend=-1) == 0
        return np.sort(self.row[(again | self.second.any()) & ~self.second])

    def remark(self) -> str:
        """How many there are, in a sentence."""
        return (
            f"{len(self):,} groups of equal points, {int(self.different.sum()):,} with different labels, "
            f"{int(self.at_zero.sum()):,} points at distance 0"
        )


def equal_points(
    dataset: Store,
    against: Store | None = None,
    *,
    labels: Labels = "own",
    limit: int | None = None,
    progress: Progress = iter,
) -> Equal:
    """The groups of equal points of a dataset; with ``against`` those that have points in both.

    Points are equal where all numbers are (0.0 equals -0.0). ``labels`` "coarse" takes the column of that name, also of
    ``against``. Labels of two sets that name their classes are equal where the names are, else where the numbers are.
    ``limit`` looks at the first points of ``dataset`` alone.

    Raises:
        UsageError: there are no coarse labels.
        DataError: the points of the two sets have different shapes or dtypes.
        ArtifactError: a store was altered.
    """
    stores = [dataset] if against is None else [dataset, against]
    columns = [store.column("images" if "images" in store else "features") for store in stores]
    if against is not None:
        _demand_alike(stores, columns)
    for store in stores:
        label_column(store, labels)
    counts = [len(store) for store in stores]
    counts[0] = counts[0] if limit is None else min(limit, counts[0])
    hashes = [_hashes(column, count, progress) for column, count in zip(columns, counts, strict=True)]
    rows, value = _candidates(hashes)
    del hashes
    found = _groups(columns, counts[0], rows, value)
    return _told(stores, found, counts[0], labels)


def label_column(store: Store, labels: Labels) -> Column:
    """The column of a dataset that ``own`` or ``coarse`` means.

    Raises:
        UsageError: it has no coarse labels.
    """
    if labels == "own":
        return store.column("labels")
    if "coarse" not in store:
        raise UsageError(f"{shown(store.path)} has no coarse labels; it has {', '.join(store.names())}.")
    return store.column("coarse")


def _demand_alike(stores: Sequence[Store], columns: Sequence[Column]) -> None:
    one, two = ((column.shape[1:], column.dtype) for column in columns)
    if one != two:
        raise DataError(
            f"{shown(stores[0].path)} and {shown(stores[1].path)} have no points in common: one point is "
            f"{one[0]} {one[1]} and {two[0]} {two[1]}."
        )


def _hashes(column: Column, count: int, progress: Progress) -> Hashes:
    """(count,) 64 bits of each of the first points."""
    out = np.empty(count, np.uint64)
    blocks = Counted(column.blocks(), -(-count // column.layout.block))
    for start, points in progress(blocks):
        taken = _bytes_of(points[: count - start])
        out[start : start + len(taken)] = np.frombuffer(
            b"".join(blake2b(point, digest_size=8).digest() for point in taken), np.uint64
        )
        if start + len(taken) == count:
            break
    return out


def _bytes_of(points: Array) -> list[memoryview]:
    """The bytes of every point, equal where the points are."""
    if points.dtype.kind == "f":
        points = points + np.zeros((), points.dtype)  # turns -0.0 into 0.0
    size = points.dtype.itemsize * int(np.prod(points.shape[1:]))
    data = np.ascontiguousarray(points).reshape(-1).view(np.uint8).data
    return [data[at : at + size] for at in range(0, len(data), size)]


def _candidates(hashes: Sequence[Hashes]) -> tuple[Ints, Ints]:
    """Points that share their hash with another (of the other set, where there are two): (M,) rows and a number a hash.

    Rows of the second set go on after those of the first. Sorted by row.
    """
    if len(hashes) == 1:
        ordered = np.sort(hashes[0])
        shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        del ordered
    else:
        shared = np.intersect1d(hashes[0], hashes[1])
    rows, values, before = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for each in hashes:
        for begin, end in spans(len(each), _ROWS):
            place = np.searchsorted(shared, each[begin:end])
            hit = np.zeros(end - begin, np.bool_)
            inside = place < len(shared)
            hit[inside] = shared[place[inside]] == each[begin:end][inside]
            rows.append(before + begin + np.flatnonzero(hit))
            values.append(place[hit])
        before += len(each)
    return np.concatenate(rows), np.concatenate(values)


def _groups(columns: Sequence[Column], first: int, rows: Ints, value: Ints) -> list[Ints]:
    """The candidates that are equal in every byte, each group ascending, groups by their first row.

    ``first`` rows belong to the first column. With two columns only groups with rows of both are kept.
    """
    row_bytes = columns[0].dtype.itemsize * int(np.prod(columns[0].shape[1:]))
    batch = value // max(1, BUDGET // row_bytes)
    found: list[Ints] = []
    for number in range(int(batch.max(initial=-1)) + 1):
        here = rows[batch == number]
        same: dict[bytes, array[int]] = {}
        for begin, end in spans(len(here), max(1, TAKEN_BYTES // row_bytes)):
            part = here[begin:end]
            for row, point in zip(part.tolist(), _bytes_of(_take(columns, first, part)), strict=True):
                same.setdefault(bytes(point), array("q")).append(row)
        found += [np.array(each, np.int64) for each in same.values() if len(each) > 1]
    if len(columns) > 1:
        found = [each for each in found if each[0] < first <= each[-1]]
    return sorted(found, key=lambda each: int(each[0]))


def _take(columns: Sequence[Column], first: int, rows: Ints) -> Array:
    """Ascending rows, those of the second column after those of the first."""
    cut = int(np.searchsorted(rows, first))
    parts = [columns[0].take(rows[:cut])]
    if cut < len(rows):
        parts.append(columns[1].take(rows[cut:] - first))
    return np.concatenate(parts)


def _told(stores: Sequence[Store], found: Sequence[Ints], first: int, labels: Labels) -> Equal:
    """The groups with what is known of their points."""
    row = np.concatenate([np.empty(0, np.int64), *found])
    group = np.repeat(np.arange(len(found), dtype=np.int64), [len(each) for each in found])
    second = row >= first
    row = row - np.where(second, first, 0)
    label, index, meaning = np.empty_like(row), np.empty_like(row), np.empty_like(row)
    for store, mine in zip(stores, (~second, second), strict=False):
        label[mine] = label_column(store, labels).take(row[mine])
        index[mine] = store.column("index").take(row[mine])
        meaning[mine] = _meaning(stores[0], store, label[mine]) if labels == "own" else label[mine]
    least, most = _extremes(group, meaning, np.ones(len(row), np.bool_), len(found))
    partners = second if len(stores) > 1 else np.ones(len(row), np.bool_)
    low, high = _extremes(group, meaning, partners, len(found))
    at_zero = ~second & ((low[group] != meaning) | (high[group] != meaning))
    return Equal(group, second, row, label, index, at_zero, least != most)


def _meaning(first: Store, store: Store, label: Ints) -> Ints:
    """Labels as numbers that are equal in both sets where they mean the same class."""
    mine, theirs = first.attributes["classes"], store.attributes["classes"]
    if not mine or not theirs or mine == theirs:
        return label
    place = {name: number for number, name in enumerate(mine)}
    known = np.array([place.get(name, -1 - number) for number, name in enumerate(theirs)], np.int64)
    beyond = label >= len(known)
    return np.where(beyond, -1 - label, known[np.where(beyond, 0, label)])


def _extremes(group: Ints, values: Ints, chosen: npt.NDArray[np.bool_], groups: int) -> tuple[Ints, Ints]:
    """(G,) least and largest of the chosen values of each group; every group has one."""
    limits = np.iinfo(np.int64)
    least, most = np.full(groups, limits.max), np.full(groups, limits.min)
    np.minimum.at(least, group[chosen], values[chosen])
    np.maximum.at(most, group[chosen], values[chosen])
    return least, most
