"""Two sets to be held against each other, and which points of the one the other was made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from datarobust.artifacts import Step, Store
from datarobust.errors import DataError
from datarobust.text import shown, sized

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
_KEEPING = ("subset", "relabel")
"""Commands of ``dataset`` whose results have some images of their input, unchanged, with their ``index``."""


@dataclass(frozen=True)
class Side:
    """Points of a set: item ``i`` is repeat ``i % repeats`` of row ``rows[i // repeats]``.

    Attributes:
        store: a dataset, clones or moments.
        rows: int64 (M), rows of the store; none of moments.
        repeats: clones of each point; 1 of a dataset.
    """

    store: Store
    rows: Rows
    repeats: int = 1

    @property
    def count(self) -> int:
        """How many items."""
        return len(self.rows) * self.repeats

    @property
    def moments(self) -> bool:
        """Whether there is nothing but moments."""
        return self.store.kind == "moments"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image, (C, H, W)."""
        return self.store.column("images").shape[-3:]

    def images(self, items: Rows) -> Images:
        """Images uint8 (B, C, H, W) of so many items."""
        found = self.store.column("images").take(self.rows[items // self.repeats])
        return found[np.arange(len(items)), items % self.repeats] if found.ndim == 5 else found

    def first(self, count: int) -> Side:
        """With the first points alone."""
        return replace(self, rows=self.rows[:count])


def open_sides(a: Store, b: Store | None, whole: bool = False) -> tuple[Side, Side | None, bool, str | None]:
    """The sets as they are held against each other.

    Where B is made of points of A (clones, or some points of A), A is restricted to these points, in B's order.

    Args:
        a: a dataset, clones or moments.
        b: another one.
        whole: never restrict A.

    Returns:
        A, B, whether they are paired (point by point), and a remark.

    Raises:
        DataError: one holds no images, or images of another size.
    """
    one = _side(a)
    if b is None:
        return one, None, False, None
    two = _side(b)
    if one.moments or two.moments:
        return one, two, False, None
    _demand_alike(one, two)
    if whole:
        return one, two, False, None
    rows, remark = _made_of(one, b)
    if rows is None:
        return one, two, False, remark
    if one.shape != two.shape:
        raise DataError(f"{shown(b.path)} was made of {shown(a.path)}, but has images of another shape")
    return replace(one, rows=rows), two, True, remark


def _side(store: Store) -> Side:
    if store.kind == "moments":
        return Side(store, np.zeros(0, np.int64))
    if "images" not in store:
        raise DataError(
            f"{shown(store.path)} holds features, not images: hold features against each other with `features` file:F"
        )
    column = store.column("images")
    return Side(store, np.arange(len(column)), column.shape[1] if len(column.shape) == 5 else 1)


def _demand_alike(a: Side, b: Side) -> None:
    mine, theirs = a.shape, b.shape
    if mine == theirs:
        return
    if mine[1:] == theirs[1:] and {mine[0], theirs[0]} == {1, 3}:
        return  # Inception takes grey images as coloured ones; other features refuse them
    raise DataError(
        f"{shown(a.store.path)} has images of {sized(mine)} and {shown(b.store.path)} of {sized(theirs)}: bring them "
        "to one size first, since a distance would be that of the sizes too"
    )


def _made_of(a: Side, b: Store) -> tuple[Rows | None, str | None]:
    """The rows of A that the points of B were made of, or None; and a remark."""
    store = a.store
    if a.repeats != 1:
        return None, None
    if b.digest == store.digest:
        return a.rows, "A and B are the same set"
    index = np.asarray(b.column("index").read(), np.int64)
    if b.kind == "clones":
        if b.attributes["dataset"] == store.digest:
            return _within(index, len(a.rows), b), None
        return None, _distant(b, store, b.history)
    how = _descent(b.history, store.digest)
    if how is None:
        return None, _distant(b, store, b.history)
    if how == "clones":
        return _within(index, len(a.rows), b), None
    remark = "B has images of A alone: they are held against themselves, unless `whole` takes all of A"
    return _places(np.asarray(store.column("index").read(), np.int64), index, b), remark


def _descent(history: tuple[Step, ...], digest: str) -> Literal["clones", "part"] | None:
    """How a dataset came of another one: as clones of its points, as a part of it, or in a way that keeps no rows."""
    steps = [step for step in history if step.tool in ("clone", "dataset")]
    last = max((at for at, step in enumerate(steps) if step.inputs.get("dataset") == digest), default=None)
    if last is None or not all(_keeps(step) for step in steps[last + 1 :]):
        return None
    if steps[last].tool == "clone":
        return "clones"
    return "part" if _keeps(steps[last]) else None


def _keeps(step: Step) -> bool:
    return step.tool == "dataset" and bool(step.argv) and step.argv[0] in _KEEPING


def _distant(b: Store, a: Store, history: tuple[Step, ...]) -> str | None:
    """Why there are no pairs, where one might expect them."""
    if not any(a.digest in step.inputs.values() for step in history):
        return None
    return (
        f"{shown(b.path)} goes back to {shown(a.path)}, but was not made of it directly: there are no pairs; name the "
        "set that its points were taken from"
    )


def _within(index: Rows, count: int, b: Store) -> Rows:
    if len(index) and not 0 <= index.min() <= index.max() < count:
        raise DataError(f"{shown(b.path)} has an index that is no row of the set it was made of")
    return index


def _places(known: Rows, index: Rows, b: Store) -> Rows | None:
    """The rows at which ``known`` has the values of ``index``; None where that is ambiguous."""
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    if (ordered[1:] == ordered[:-1]).any():
        return None
    at = np.searchsorted(ordered, index).clip(max=max(0, len(known) - 1))
    if not np.array_equal(ordered[at], index):
        raise DataError(f"{shown(b.path)} has an index that the set it was made of does not have")
    return np.asarray(order[at], np.int64)


def spans(count: int, size: int) -> Iterator[Rows]:
    """The items 0 to ``count`` - 1, ``size`` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
