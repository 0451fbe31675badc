"""What every reader offers to the importer: a :class:`Spec` known at once, and rows in blocks of bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Array = npt.NDArray[Any]
Kind = Literal["images", "features"]

BLOCK_BYTES = 4 << 20
"""A block holds about this many bytes of raw points: big enough for numpy, small beside any memory."""


@dataclass(frozen=True)
class Spec:
    """What a source holds, known before its first row is read.

    ``shape`` is that of one point: (C, H, W) of uint8 images, (D,) of float32 features. ``classes`` are the classes'
    names, empty where the source has none. ``soft`` is the number of columns of its soft labels, 0 without; ``coarse``
    says whether it has labels of super-classes.
    ``notes`` are sentences the user should see, about what was recognised and what was left out. ``raw_bytes`` are the
    bytes of one point as it is read.
    """

    name: str
    rows: int
    kind: Kind
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    soft: int = 0
    coarse: bool = False
    notes: tuple[str, ...] = ()
    raw_bytes: int = 0

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
        size = self.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size + 8 + 4 * self.soft + 8 * self.coarse


@dataclass(frozen=True)
class Block:
    """Consecutive rows, checked.

    ``points`` (B, *shape), ``labels`` int64 (B), ``index`` int64 (B), the row's place in the source, ``soft`` float32
    (B, C) where the source has probabilities, ``coarse`` int64 (B) where it has super-classes.
    """

    points: Array
    labels: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    soft: npt.NDArray[np.float32] | None = None
    coarse: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int | None = None) -> Block:
        """The rows ``start:stop`` of this block."""
        soft = None if self.soft is None else self.soft[start:stop]
        coarse = None if self.coarse is None else self.coarse[start:stop]
        return Block(self.points[start:stop], self.labels[start:stop], self.index[start:stop], soft, coarse)


class Cancelled(Exception):
    """Nobody waits for this result any more."""


def never() -> bool:
    """Work that is not to be stopped."""
    return False


def file_sha256(path: Path, stopped: Callable[[], bool] = never) -> str:
    """The sha256 of a file. Raises Cancelled where ``stopped`` turns true meanwhile."""
    found = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            if stopped():
                raise Cancelled
            found.update(buffer[:size])
    return found.hexdigest()


class Source(Protocol):
    """A data set in somebody's format."""

    @property
    def spec(self) -> Spec:
        """What it holds."""

    def identity(self) -> str:
        """A cheap fingerprint (paths, sizes, times of change): tells a rerun whether the source is still the same."""

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop`` in order, checked; every call begins anew.

        Raises DataError, naming file and index, at the first row that cannot be what it claims to be.
        """

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """The sha256 of the raw source, recorded in the history as what was read.

        Raises Cancelled where ``stopped`` turns true meanwhile.
        """

    def unchanged(self) -> None:
        """Raise DataError where the source is no longer what it was when it was opened."""


class Progress(Protocol):
    """What a long loop is wrapped in: yields the items it is given, and may show how many there were."""

    def __call__(self, items: Iterable[T], /) -> Iterable[T]:
        """Yield the items unchanged."""


def unobserved(items: Iterable[T], /) -> Iterable[T]:
    """The progress of a loop that nobody watches."""
    return items


class Counted(Generic[T]):
    """An iterator whose length is known beforehand, for a progress bar to show the share."""

    def __init__(self, items: Iterable[T], length: int) -> None:
        self._items = items
        self._length = length

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __length_hint__(self) -> int:
        return self._length
