"""What a reader of a published format offers to the importer: a :class:`Spec`, known at once, and blocks of rows."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from datarobust.datasets.files import file_sha256, never, reading
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array, Rows

T = TypeVar("T")
Labels = Literal["fine", "coarse"]
Layout = Literal["nhwc", "nchw"]
Names = tuple[str, ...]

BLOCK_BYTES = 4 << 20  # of the raw points of a block, about: big enough for numpy, small beside any memory


@dataclass(frozen=True)
class Spec:
    """What a source holds, known before its first row is read."""

    name: str
    rows: int
    kind: Literal["images", "features"]
    shape: tuple[int, ...]  # of one point: (C, H, W) of uint8 images, (D,) of float32 features
    classes: tuple[str, ...] = ()  # names, if it has them
    soft: int = 0  # columns of its soft labels, 0 without
    coarse: bool = False  # whether it has labels of super-classes
    notes: tuple[str, ...] = ()  # sentences the user should see: what was recognised, what was left out
    raw_bytes: int = 0  # of one point as it is read

    @property
    def step(self) -> int:
        """Rows of a block, bounded by the bytes of a row before and after its checks."""
        return max(1, BLOCK_BYTES // max(self.raw_bytes, self.row_bytes))

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for images, float32 for features."""
        return np.dtype(np.uint8) if self.kind == "images" else np.dtype(np.float32)

    @property
    def row_bytes(self) -> int:
        """Bytes of one finished row: its point and its labels."""
        return self.dtype.itemsize * math.prod(self.shape) + 8 + 4 * self.soft + 8 * self.coarse


@dataclass(frozen=True)
class Block:
    """Consecutive rows, checked."""

    points: Array  # (B, *shape)
    labels: Rows
    index: Rows  # places in the source
    soft: npt.NDArray[np.float32] | None = None  # (B, C) where the source has probabilities
    coarse: Rows | None = None  # where it has super-classes

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int | None = None) -> Block:
        """The rows ``start:stop`` of this block."""
        arrays = (self.points, self.labels, self.index, self.soft, self.coarse)
        return Block(*(None if array is None else array[start:stop] for array in arrays))  # type: ignore[arg-type]


class Source:
    """A data set in somebody's format; readers set ``spec`` and yield the rows.

    ``path`` is what the user gave. The files that are read are ``names`` below ``folder``, which is ``path`` if not
    given; without names it is the file ``path`` itself.
    """

    spec: Spec
    choices: tuple[object, ...] = ()
    """What else decides the rows: part of the identity."""
    published: str | None = None
    """Names what is published, wherever it lies and whenever it was fetched: the identity, where there is one."""

    def __init__(self, path: Path, names: Sequence[str] | None = None, folder: Path | None = None) -> None:
        self._path = path
        self._alone = names is None
        self._names = [path.name] if names is None else names
        self._folder = folder or (path.parent if self._alone else path)
        self._state = self._state_now()

    def _state_now(self) -> str:
        digest = hashlib.sha256(os.fsencode(self._folder.resolve()))
        for name in self._names:
            with reading(self._folder / name):
                state = (self._folder / name).stat()
            digest.update(os.fsencode(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n"))
        return digest.hexdigest()

    def identity(self) -> str:
        """A cheap fingerprint, of places, sizes and times of change: tells a rerun whether it is the same source."""
        return self.published or ":".join([self._state, *map(ascii, self.choices)])

    def unchanged(self) -> None:
        """Raise DataError where the source is no longer what it was when it was opened."""
        if self._state_now() != self._state:
            raise DataError(f"{shown(self._path)} changed while it was read.")

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the file; of several, of the lines ``sha256  name`` that ``sha256sum`` prints, in order.

        Raises Cancelled where ``stopped`` turns true meanwhile.
        """
        if self._alone:
            return file_sha256(self._path, stopped)
        digest = hashlib.sha256()
        for name in self._names:
            digest.update(os.fsencode(f"{file_sha256(self._folder / name, stopped)}  {name}\n"))
        return digest.hexdigest()

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop`` in order, checked; every call begins anew.

        Raises DataError, naming file and index, at the first row that cannot be what it claims to be.
        """
        row = start
        for part in self._parts(start, self.spec.rows if stop is None else min(stop, self.spec.rows)):
            end = row + len(part["labels"])
            yield Block(index=np.arange(row, end, dtype=np.int64), **part)
            row = end

    def _parts(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """What the blocks of these rows hold but for their index."""
        raise NotImplementedError


class Counted(Generic[T]):
    """An iterator whose length is known beforehand, for a progress bar to show the share."""

    def __init__(self, items: Iterable[T], length: int) -> None:
        self._items = items
        self._length = length

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __length_hint__(self) -> int:
        return self._length


def spans(rows: int, step: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """``(begin, end)`` of consecutive spans of ``step`` rows from ``start`` to ``rows``."""
    for begin in range(start, rows, step):
        yield begin, min(begin + step, rows)
