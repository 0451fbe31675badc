"""What a dataset holds, and which of its points are equal to others of it, or of another dataset.

Equal points with different labels have distance 0: no classifier is right on all of them, and their sensitivity is
infinite. The paper takes 40 duplicates out of CIFAR-100 for that (Section 4). CIFAR-100 has 14 pairs of equal training
images; 18 of its images equal one of another fine label, 6 one of another coarse label.

Points are read once, a block at a time, and compared by hashes of 16 bytes: the chance that two different ones among 50
million share theirs is 4e-24. Finding equal hashes takes some 70 bytes a point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datarobust.artifacts import Column, Store
from datarobust.datasets.sources import Counted, as_texts
from datarobust.errors import DataError, UsageError
from datarobust.text import shown, sized
from datarobust.types import Array, Images, Progress, Rows

Hashes = npt.NDArray[np.bytes_]
Labels = Literal["own", "coarse"]

_HASH = "S16"
DARK = 16  # images without a brighter pixel may have another range: 0..1, or 0..16 as scikit-learn's digits


def point_column(store: Store) -> Column:
    """The points of a dataset: its images or its features."""
    return store.column("images" if "images" in store else "features")


def picture_shape(store: Store) -> tuple[int, ...] | None:
    """(C, H, W) of the pictures of a dataset: its images, or features that were images; None where it has none."""
    if "images" in store:
        return store.column("images").shape[1:]
    picture = store.attributes.get("picture")
    return None if picture is None else tuple(picture["shape"])


def pictures(store: Store, rows: Rows) -> Images:
    """The pictures (M, C, H, W) of some points; features are drawn from black to white and rounded to bytes."""
    if "images" in store:
        return store.column("images").take(rows)
    picture = store.attributes["picture"]
    low, high = float(picture["low"]), float(picture["high"])
    values = store.column("features").take(rows).astype(np.float64)
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    return np.rint(scaled * 255).astype(np.uint8).reshape(len(rows), *picture["shape"])


def label_column(store: Store, labels: Labels) -> Column:
    """The column of a dataset that ``own`` or ``coarse`` means. Raises UsageError where it has no coarse labels."""
    if labels == "coarse" and "coarse" not in store:
        raise UsageError(f"{shown(store.path)} has no coarse labels; it has {', '.join(store.names())}.")
    return store.column("labels" if labels == "own" else "coarse")


def names(store: Store, rows: Rows | None = None) -> list[str] | None:
    """The names of points in their source, such as paths below a folder, of ``rows`` or all; None if it has none.

    They are somebody else's: what shows them passes them through :func:`datarobust.text.shown`. A point without a name
    has an empty one.
    """
    if "names" not in store:
        return None
    column = store.column("names")
    return as_texts(column.read() if rows is None else column.take(rows))


def called(*stores: Store) -> list[Callable[[int], tuple[str, str]]] | None:
    """For each dataset a function from a row to the name and the class of the point; None where no point has a name.

    For row -1, a neighbour that is not there, both are empty.
    """
    if not any("names" in store for store in stores):
        return None

    def of(store: Store) -> Callable[[int], tuple[str, str]]:
        points, classes = names(store), class_names(store, store.column("labels").read())
        return lambda row: ("" if points is None else points[row], classes[row]) if row >= 0 else ("", "")

    first = of(stores[0])
    return [first if store is stores[0] else of(store) for store in stores]


def class_names(store: Store, labels: Rows) -> list[str]:
    """The names of the classes of these labels; a class without one is called by its label."""
    classes = store.attributes["classes"]
    return [classes[label] if 0 <= label < len(classes) else f"{label}" for label in labels.tolist()]


def describe(dataset: Store) -> dict[str, Any]:
    """Name, points, shape and dtype, columns, classes with counts, digest and history, ready for JSON.

    ``classes`` are all that have names, also those without points, and every label that occurs.
    """
    points = point_column(dataset)
    kind = "images" if "images" in dataset else "features"
    counts: Counter[int] = Counter()
    for _, labels in dataset.column("labels").blocks():
        counts.update(labels.tolist())
    names = list(dataset.attributes["classes"])
    return {
        "path": str(dataset.path),
        "name": dataset.attributes["name"],
        "points": len(dataset),
        "kind": kind,
        "shape": list(points.shape[1:]),
        "dtype": str(points.dtype),
        "columns": list(dataset.names()),
        "classes": [
            {"label": label, "name": names[label] if 0 <= label < len(names) else None, "count": counts[label]}
            for label in sorted({*range(len(names)), *counts})
        ],
        "digest": dataset.digest,
        "history": [
            {"tool": step.tool, "argv": list(step.argv), "version": step.version, "seed": step.seed}
            for step in dataset.history
        ],
    }


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people: one fact a line, then a line for each class; foreign text is escaped."""
    yield f"name     {shown(summary['name'])}"
    yield f"points   {summary['points']:,}"
    yield f"{summary['kind']:<9}{sized(summary['shape'])} {summary['dtype']}"
    others = [column for column in summary["columns"] if column not in (summary["kind"], "labels", "index")]
    if others:
        yield f"with     {', '.join(others)}"
    yield f"digest   {summary['digest']}"
    for step in summary["history"]:
        yield f"history  {shown(' '.join([step['tool'], *step['argv']]))}"
    yield f"classes  {len(summary['classes']):,}"
    width = len(f"{max((entry['count'] for entry in summary['classes']), default=0):,}")
    for entry in summary["classes"]:
        name = "" if entry["name"] is None else f"  {shown(entry['name'])}"
        yield f"{entry['label']:>7}  {entry['count']:>{width},}{name}"


def remarks(dataset: Store) -> Iterator[str]:
    """What a user of a new dataset should know, a sentence each: labels that begin at 1, pixels that end at 1 or 16."""
    lowest = min((int(rows.min()) for _, rows in dataset.column("labels").blocks() if len(rows)), default=0)
    if lowest > 0:
        yield (
            f"No point has a label below {lowest}: labels are 0 to C - 1, and a class without points is one all the "
            "same for training and random labels. If yours begin at 1, take 1 from each."
        )
    if "images" in dataset:
        brightest = 0
        for _, rows in dataset.column("images").blocks():
            brightest = max(brightest, int(rows.max(initial=0)))
            if brightest > DARK:
                return
        yield (
            f"No pixel is above {brightest}, of 255 that are possible, and distances are as small. If {brightest} is "
            f"white in these images, multiply them by {255 / max(brightest, 1):g} before the import."
        )


def other_classes(first: Store, other: Store) -> str:
    """In what the class names of two datasets differ, as the end of a sentence."""
    one, two = first.attributes["classes"], other.attributes["classes"]
    if len(one) != len(two):
        return f"they have {len(one)} and {len(two)} class names"
    place = next(i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    return f"class {place} is {shown(one[place])} and {shown(two[place])}"


@dataclass(frozen=True)
class Equal:
    """Groups of equal points, an entry a point: groups by their first point, their points in order."""

    group: Rows  # (M,) 0, 0, 0, 1, 1 ...
    second: npt.NDArray[np.bool_]  # (M,) whether the point is of the other set
    row: Rows  # (M,) in its set
    label: Rows  # (M,)
    index: Rows  # (M,) where the point was in the set it was first imported from
    different: npt.NDArray[np.bool_]  # (G,) whether the points of a group have several labels
    at_zero: int  # points of the first set that equal one with another label, in the set they are held against

    def __len__(self) -> int:
        return len(self.different)

    def members(self) -> Iterator[slice]:
        """The entries of each group."""
        edges = np.flatnonzero(np.diff(self.group, prepend=-1, append=len(self))).tolist()
        return map(slice, edges[:-1], edges[1:])

    def surplus(self) -> Rows:
        """Rows of the first set to leave out, ascending, so that no points are equal."""
        again = np.diff(self.group, prepend=-1) == 0
        return np.sort(self.row[(again | self.second.any()) & ~self.second])

    def remark(self) -> str:
        """How many there are, in a sentence."""
        return (
            f"{len(self):,} groups of equal points, {int(self.different.sum()):,} with different labels, "
            f"{self.at_zero:,} points at distance 0"
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

    Points are equal where all numbers are (0.0 equals -0.0). Labels of two sets that name their classes are equal where
    the names are, else where the numbers are. ``limit`` looks at the first points of ``dataset`` alone. Raises
    DataError where one point of the two sets has another shape or dtype.
    """
    stores = [dataset] if against is None else [dataset, against]
    columns = [point_column(store) for store in stores]
    kinds = [f"{column.shape[1:]} {column.dtype}" for column in columns]
    if len(set(kinds)) > 1:
        pair = " and ".join(shown(store.path) for store in stores)
        raise DataError(f"{pair} have no points in common: one point is {' and '.join(kinds)}.")
    label_columns = [label_column(store, labels) for store in stores]
    hashes = [_hashes(column.flat(first), progress) for column, first in zip(columns, (limit, None), strict=False)]
    row, group = _groups(hashes)
    second = row >= len(hashes[0])
    row = row - np.where(second, len(hashes[0]), 0)
    label, index, meaning = np.empty_like(row), np.empty_like(row), np.empty_like(row)
    for store, column, mine in zip(stores, label_columns, (~second, second), strict=False):
        label[mine] = column.take(row[mine])
        index[mine] = store.column("index").take(row[mine])
        meaning[mine] = _meaning(stores[0], store, label[mine]) if labels == "own" else label[mine]
    _, kind = np.unique(np.stack([group, meaning]), axis=1, return_inverse=True)
    kind = kind.ravel()  # a number for each pair of group and label

    def otherwise(partners: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(M,) whether one of the partners in a point's group has another label."""
        return np.bincount(group, partners)[group] > np.bincount(kind, partners)[kind]

    different = np.bincount(group, otherwise(np.ones_like(second))) > 0
    at_zero = int((otherwise(second | (against is None)) & ~second).sum())
    return Equal(group, second, row, label, index, different, at_zero)


def _hashes(points: Column, progress: Progress) -> Hashes:
    """(N,) hashes of points (N, D), equal where the points are."""
    hashes = np.empty(len(points), _HASH)
    for start, rows in progress(Counted(points.blocks(), -(-len(points) // points.layout.block))):
        hashes[start : start + len(rows)] = hashes_of(rows)
    return hashes


def hashes_of(rows: Array) -> Hashes:
    """(B,) hashes of points (B, D), equal where all numbers are."""
    if rows.dtype.kind == "f":
        rows = rows + np.zeros((), rows.dtype)  # turns -0.0 into 0.0
    digests = (blake2b(row, digest_size=np.dtype(_HASH).itemsize).digest() for row in np.ascontiguousarray(rows))
    return np.frombuffer(b"".join(digests), _HASH)


def _groups(hashes: Sequence[Hashes]) -> tuple[Rows, Rows]:
    """Rows of points that share their hash with another (of the other set, where there are two): (M,), and (M,) groups.

    Rows of the second set go on after those of the first. Groups come by their first row, their rows ascending.
    """
    _, number, count = np.unique(np.concatenate(hashes), return_inverse=True, return_counts=True)
    of_first = np.bincount(number[: len(hashes[0])], minlength=len(count))
    shared = count > 1 if len(hashes) == 1 else (of_first > 0) & (of_first < count)
    rows = np.flatnonzero(shared[number])
    _, first, group = np.unique(number[rows], return_index=True, return_inverse=True)
    group = first.argsort().argsort()[group]  # numbered by their first rows
    order = np.argsort(group, kind="stable")
    return rows[order], group[order]


def _meaning(first: Store, store: Store, label: Rows) -> Rows:
    """Labels as numbers that are equal in both sets where they mean the same class."""
    mine, theirs = first.attributes["classes"], store.attributes["classes"]
    if not mine or not theirs or mine == theirs:
        return label
    number_of = {name: number for number, name in enumerate(mine)}
    known = np.array([number_of.get(name, -1 - number) for number, name in enumerate(theirs)], np.int64)
    beyond = label >= len(known)
    return np.where(beyond, -1 - label, known[np.where(beyond, 0, label)])
