"""Where the points are: panels of rows that fit memory, and the positions of the search.

A *position* is a point's place in the order of the search; ``origin`` leads back to its row in the data set. Points of
one panel stand together, sorted by label. P is the number of positions.

A set that fits is one panel and is read once. A larger one is cut into panels of which two are resident at a time; the
search visits all pairs of panels, so a set of p panels is read about p/2 times. Codes and results (some 400 bytes a
point) stay in memory always.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError
from datarobust.types import Array

PAD = 64
"""Positions a panel is padded to, so that blocks of columns start on whole vectors; bytes of a row likewise."""

NO_INDEX = np.iinfo(np.int64).max
"""No neighbour yet, so that any neighbour's index is lower; as in native.c."""

SAVE_EVERY, SAVE_SHARE = 3.0, 0.1
"""Least seconds between two saves of a search's state, and the most of its time that saving may take."""

_STREAM_BYTES = 1 << 24
"""Rows are read in pieces of about this size."""


class Rows(Protocol):
    """A matrix (N, D) of uint8 or float32 that is read by rows: an array, or a column of a store."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or float32."""

    def __getitem__(self, rows: slice | npt.NDArray[np.int64], /) -> Array:
        """Rows from a start to a stop, or chosen ones in the order given, C-contiguous."""


@dataclass(frozen=True)
class SomeRows:
    """Chosen rows of another matrix as :class:`Rows`."""

    rows: Rows
    chosen: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return (len(self.chosen), self.rows.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of all rows."""
        return self.rows.dtype

    def __getitem__(self, rows: slice | npt.NDArray[np.int64], /) -> Array:
        """Chosen rows of the chosen ones."""
        return self.rows[self.chosen[rows]]


@dataclass(frozen=True)
class Labelled:
    """Points with their labels: what is ranked, and what it may be held against."""

    rows: Rows
    """(N, D) uint8 (images, in units of 1/255) or float32 (features)."""
    labels: npt.NDArray[np.int64]
    """(N,) classes."""
    soft: npt.NDArray[np.float32] | None = None
    """(N, C) label vectors, for Equation (1) as it stands."""

    @classmethod
    def of(cls, points: Array, labels: npt.ArrayLike, soft: npt.ArrayLike | None = None) -> Labelled:
        """From arrays: points (N, ...) uint8 or float32, labels (N,), label vectors (N, C)."""
        classes = np.asarray(labels)
        if not np.issubdtype(classes.dtype, np.integer):
            raise DataError(f"labels must be whole numbers, not {classes.dtype.name}; label vectors go to soft")
        vectors = None if soft is None else np.ascontiguousarray(soft, np.float32)
        rows = np.ascontiguousarray(points)
        return cls(rows.reshape(len(rows), math.prod(rows.shape[1:])), classes.astype(np.int64), vectors)

    def subset(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """Some of the points, in the order given."""
        return Labelled(SomeRows(self.rows, rows), self.labels[rows], None if self.soft is None else self.soft[rows])


def demand_finite(rows: Array, numbers: Sequence[int] | Array) -> None:
    """Raise DataError where one of these rows holds a number that is not finite; ``numbers`` are those of the rows."""
    if rows.dtype == np.float32 and not np.isfinite(rows).all():
        row = numbers[int(np.isfinite(rows).all(axis=1).argmin())]
        raise DataError(f"row {row} holds a number that is not finite: mend it, or leave the point out")


class Checkpoint(Protocol):
    """Where the state of a long search survives the process."""

    def load(self) -> dict[str, Array] | None:
        """The arrays last saved, or None."""

    def save(self, arrays: dict[str, Array]) -> None:
        """Save them, atomically."""


class Saves:
    """The state of a search that a checkpoint keeps: the neighbours found, and after how many rounds.

    It is saved as often as SAVE_EVERY and SAVE_SHARE allow.
    """

    def __init__(self, checkpoint: Checkpoint | None, layout: npt.ArrayLike) -> None:
        """``checkpoint``: None keeps nothing; ``layout`` (n,): all that a count of rounds depends on."""
        self._checkpoint, self._layout = checkpoint, np.asarray(layout, np.int64)
        self._last, self._pause = time.monotonic(), SAVE_EVERY

    def load(self) -> tuple[Array, Array, int] | None:
        """Keys (N, k), neighbours (N, k; NO_INDEX: none) and rounds of an earlier run, if there is a state.

        Neighbours found stay true whoever looks on; rounds of another layout begin again, with 0.
        """
        state = None if self._checkpoint is None else self._checkpoint.load()
        if state is None:
            return None
        neighbours = np.where(state["neighbour"] < 0, NO_INDEX, state["neighbour"])
        done = int(state["done"][0]) if np.array_equal(state["layout"], self._layout) else 0
        return state["key"], neighbours, done

    def save(self, nearest: Callable[[], tuple[Array, Array]], done: int, last: bool) -> None:
        """Save the keys and neighbours (-1: none) after so many rounds, if it is time, or the ``last`` round."""
        start = time.monotonic()
        if self._checkpoint is None or (start - self._last < self._pause and not last):
            return
        key, neighbour = nearest()
        self._checkpoint.save({"key": key, "neighbour": neighbour, "layout": self._layout, "done": np.array([done])})
        self._last = time.monotonic()
        self._pause = max(SAVE_EVERY, (self._last - start) / SAVE_SHARE)


@dataclass(frozen=True)
class Panel:
    """Rows ``start``..``stop`` of source ``source`` at positions ``first``.., padded to a multiple of PAD."""

    number: int
    source: int
    start: int
    stop: int
    first: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def positions(self) -> slice:
        """Its positions without padding."""
        return slice(self.first, self.first + len(self))


def padded_width(width: int, dtype: npt.DTypeLike) -> int:
    """Numbers of a resident row: whole vectors."""
    line = PAD // np.dtype(dtype).itemsize
    return -(-width // line) * line


def panel_rows(total: int, row_bytes: int, memory: int) -> int:
    """The most rows of a panel: all where they fit ``memory`` bytes, else so many that two panels fit."""
    return total if total * row_bytes <= memory else max(PAD, memory // row_bytes // 2)


class Panels:
    """The rows of one or two sources (points, and the set they are held against) as panels."""

    def __init__(self, sources: list[tuple[Rows, npt.NDArray[np.int64]]], memory: int) -> None:
        """``sources`` (rows, labels) each; ``memory`` bytes that resident rows may take."""
        self.sources = [rows for rows, _ in sources]
        self.width = self.sources[0].shape[1]
        self.dtype = np.dtype(self.sources[0].dtype)
        self.padded = padded_width(self.width, self.dtype)
        total = sum(rows.shape[0] for rows in self.sources)
        size = panel_rows(total, self.padded * self.dtype.itemsize, memory)
        self.whole = size == total
        self.panels = list(self._cut(size))
        self.positions = sum(-(-len(panel) // PAD) * PAD for panel in self.panels)
        self.origin = np.full(self.positions, -1, np.int64)
        self.label = np.full(self.positions, -1, np.int64)
        self.place = np.full(self.positions, -1, np.int64)
        for panel in self.panels:
            labels = sources[panel.source][1][panel.start : panel.stop]
            order = np.argsort(labels, kind="stable")
            self.origin[panel.positions] = panel.start + order
            self.label[panel.positions] = labels[order]
        self.queries = sum(-(-len(panel) // PAD) * PAD for panel in self.panels if panel.source == 0)
        self._slot_rows = total if self.whole else 2 * min(size, total)
        self._borrowed = self.whole and len(self.sources) == 1 and self.padded == self.width
        self.data: Array = np.zeros((0 if self._borrowed else self._slot_rows, self.padded), self.dtype)
        self._resident: dict[int, int] = {}

    def _cut(self, size: int) -> Iterator[Panel]:
        first, number = 0, 0
        for source, rows in enumerate(self.sources):
            count = -(-rows.shape[0] // size)
            for part in range(count):
                start, stop = (rows.shape[0] * edge // count for edge in (part, part + 1))
                yield Panel(number, source, start, stop, first)
                first += -(-(stop - start) // PAD) * PAD
                number += 1

    def make_resident(self, *wanted: Panel) -> None:
        """Bring at most two panels into memory (all of them, where the set fits)."""
        if self._borrowed:
            if not self._resident:
                self.data = self.sources[0][: len(self.panels[0])]
                self._settle(self.panels[0], 0)
            return
        for panel in wanted:
            if panel.number in self._resident:
                continue
            offset = self._free_offset([other.number for other in wanted], panel)
            self._load(panel, offset)
            self._settle(panel, offset)

    def _free_offset(self, keep: list[int], panel: Panel) -> int:
        if self.whole:
            return sum(len(other) for other in self.panels[: panel.number])
        half = self._slot_rows // 2
        taken = {offset for number, offset in self._resident.items() if number in keep}
        offset = next(offset for offset in (0, half) if offset not in taken)
        for number in [number for number, place in self._resident.items() if place == offset]:
            self.place[self.panels[number].positions] = -1
            del self._resident[number]
        return offset

    def _load(self, panel: Panel, offset: int) -> None:
        step = max(1, _STREAM_BYTES // (self.padded * self.dtype.itemsize))
        for start in range(panel.start, panel.stop, step):
            stop = min(start + step, panel.stop)
            place = offset + start - panel.start
            self.data[place : place + stop - start, : self.width] = self.sources[panel.source][start:stop]

    def _settle(self, panel: Panel, offset: int) -> None:
        self._resident[panel.number] = offset
        self.place[panel.positions] = offset + self.origin[panel.positions] - panel.start

    def rows_of(self, panel: Panel) -> Array:
        """The resident rows of a panel, in the order of the store."""
        offset = self._resident[panel.number]
        return self.data[offset : offset + len(panel)]

    def positions_of(self, panel: Panel) -> Array:
        """The position of each row of a panel, in the order of the store."""
        positions = np.empty(len(panel), np.int64)
        positions[self.origin[panel.positions] - panel.start] = np.arange(panel.first, panel.first + len(panel))
        return positions

    def stream(self, visit: Callable[[Array, Array], None]) -> None:
        """Call ``visit(rows, positions)`` on all rows, in blocks, panel after panel."""
        step = max(PAD, _STREAM_BYTES // (self.padded * self.dtype.itemsize) // PAD * PAD)
        for panel in self.panels:
            self.make_resident(panel)
            rows, positions = self.rows_of(panel), self.positions_of(panel)
            for start in range(0, len(panel), step):
                visit(rows[start : start + step], positions[start : start + step])

    def sample(self, count: int) -> tuple[Array, Array]:
        """About ``count`` padded rows and their positions, drawn evenly from the panels; a function of the cut."""
        rng = np.random.default_rng(0)
        rows: list[Array] = []
        positions: list[Array] = []
        total = sum(len(panel) for panel in self.panels)
        for panel in self.panels:
            self.make_resident(panel)
            chosen = np.sort(rng.choice(len(panel), min(len(panel), -(-count * len(panel) // total)), replace=False))
            rows.append(self.rows_of(panel)[chosen])
            positions.append(self.positions_of(panel)[chosen])
        return np.concatenate(rows), np.concatenate(positions)
