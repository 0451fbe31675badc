"""What a reader of a published format offers to the importer, and what readers share.

A :class:`Source` has a :class:`Spec`, known at once, and gives its rows in blocks of bounded memory. What is the same
for all readers of files, which files were read and whether they changed since, stands in :class:`FileSource`.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array, Rows

T = TypeVar("T")
Kind = Literal["images", "features"]
Labels = Literal["fine", "coarse"]
Layout = Literal["nhwc", "nchw"]

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
    labels: Rows
    index: Rows
    soft: npt.NDArray[np.float32] | None = None
    coarse: Rows | None = None

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
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            if stopped():
                raise Cancelled
            digest.update(buffer[:size])
    return digest.hexdigest()


@dataclass(frozen=True)
class Raw:
    """``size`` bytes, of a file or of a member of an archive that is never unpacked.

    ``where`` names them in sentences, ``open()`` is a new seekable stream at their start. Reading it raises DataError
    where the bytes are damaged.
    """

    where: str
    size: int
    open: Callable[[], BinaryIO]


GZIP_START = b"\x1f\x8b"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What reading a file raises within it, gzipped or not, becomes a DataError: one sentence that names the file."""
    try:
        yield
    except EOFError as error:
        raise DataError(f"{shown(path)} is cut short: get the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{shown(path)} is damaged ({shown(text[:160])}): get the file again.") from error
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}.") from error


def open_unpacked(path: Path) -> BinaryIO:
    """A new stream of what a file holds, unpacked where it begins as a gzip file does."""
    with path.open("rb") as file:
        gzipped = file.read(len(GZIP_START)) == GZIP_START
    return cast(BinaryIO, gzip.open(path)) if gzipped else path.open("rb")


def raw_file(path: Path) -> Raw:
    """A regular file. Raises DataError where it is none, or where it cannot be read."""

    def opened() -> BinaryIO:
        with reading(path):
            return path.open("rb")

    with reading(path):
        state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{shown(path)} is no regular file.")
    return Raw(shown(path), state.st_size, opened)


def state_of(path: Path) -> str:
    """Place, size and time of change of a file: another text when it changed.

    Raises DataError where it cannot be read.
    """
    with reading(path):
        state = path.stat()
    return f"{str(path.resolve())!a}:{state.st_size}:{state.st_mtime_ns}"


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


class FileSource:
    """What the readers of files share: fingerprint and digest of the files, and whether they changed.

    ``path`` is what the user gave; ``names`` are the files that are read, below ``folder``, where they are others than
    ``path``. The digest lists them by these names.
    """

    def __init__(self, path: Path, names: Sequence[str] | None = None, folder: Path | None = None) -> None:
        self._path = path
        self._alone = names is None
        self._folder = (path.parent if names is None else path) if folder is None else folder
        self._names = [path.name] if names is None else names
        self._state = self._state_now()

    def _state_now(self) -> str:
        """A text that is another when a file changed: place, size and time of change of one; of several, their hash."""
        return state_of(self._path) if self._alone else self._hash_of_states()

    def _hash_of_states(self) -> str:
        digest = hashlib.sha256()
        for name in self._names:
            with reading(self._folder / name):
                state = (self._folder / name).stat()
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f"{str(self._path.resolve())!a}:{digest.hexdigest()}"

    def identity(self) -> str:
        """A cheap fingerprint: places, sizes and times of change of the files when they were opened."""
        return self._state

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the file; of several, of the lines ``sha256  name`` that ``sha256sum`` prints, in order."""
        if self._alone:
            return file_sha256(self._path, stopped)
        digest = hashlib.sha256()
        for name in self._names:
            line = f"{file_sha256(self._folder / name, stopped)}  {name}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def unchanged(self) -> None:
        """Raise DataError where a file's size or time of change is another."""
        if self._state_now() != self._state:
            raise DataError(f"{shown(self._path)} changed while it was read.")


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
