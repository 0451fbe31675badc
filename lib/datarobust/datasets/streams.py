"""Seekable streams over gzip files and over parts of files, so that an archive is read without being unpacked.

A gzip file can only be unpacked from its beginning. :meth:`GzipStream.mark` keeps the state of the unpacking at the
present place (about 40 KB), and a new stream can start there.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from datarobust.errors import DataError
from datarobust.text import shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP_START = b"\x1f\x8b"
MOST_BYTES = 2 << 30
"""Of a file, unpacked; the largest release has 190 MB."""

_CHUNK = 1 << 16
_GZIP_WINDOW = 31  # zlib's figure for its largest window in a gzip wrapping, checksum compared


@dataclass(frozen=True)
class Mark:
    """A place in a gzip file from which it can be unpacked: the state there, and where its input goes on."""

    place: int = 0
    offset: int = 0
    inflate: Any = None


class GzipStream(io.RawIOBase):
    """What a gzip file holds, from ``mark`` on. Raises DataError where it is damaged, cut short, or a bomb."""

    def __init__(self, path: Path, mark: Mark | None = None) -> None:
        self._path = path
        self._begin = mark or Mark()
        self._file = path.open("rb", buffering=0)
        self._scratch = bytearray(_CHUNK)
        self._restore()

    def _restore(self) -> None:
        self._place = self._begin.place
        self._file.seek(self._begin.offset)
        self._input = b""
        self._inflate = None if self._begin.inflate is None else self._begin.inflate.copy()

    def mark(self) -> Mark:
        """The present place."""
        inflate = None if self._inflate is None else self._inflate.copy()
        return Mark(self._place, self._file.tell() - len(self._input), inflate)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: forwards by unpacking, backwards from its beginning again."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; beyond the end is the end."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end of a gzip stream is not known")
        target = offset + (self._place if whence == io.SEEK_CUR else 0)
        if target < self._place:
            self._restore()
        while self._place < target:
            if not self.readinto(memoryview(self._scratch)[: target - self._place]):
                break
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as the next piece goes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not len(view):
            return 0
        while self._next():
            data = self._more(len(view))
            if data:
                view[: len(data)] = data
                self._place += len(data)
                if self._place > MOST_BYTES:
                    raise DataError(f"{shown(self._path)} unpacks to more than {MOST_BYTES >> 30} GiB: it is no data.")
                return len(data)
        return 0

    def _next(self) -> bool:
        """Whether there is something to unpack; a gzip file may be several, one after the other."""
        if self._inflate is not None and not self._inflate.eof:
            return True
        while len(self._input) < len(GZIP_START) and (more := self._file.read(_CHUNK)):
            self._input = (self._input + more).lstrip(b"\0") if self._inflate or self._place else self._input + more
        if not self._input:
            return False
        if not self._input.startswith(GZIP_START):
            raise DataError(f"{shown(self._path)} goes on after its end with something that is not gzip.")
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        return True

    def _more(self, size: int) -> bytes:
        """Up to ``size`` bytes of output, none where there is none yet."""
        inflate = self._inflate
        assert inflate is not None
        fresh = self._input or self._file.read(_CHUNK)
        try:
            data: bytes = inflate.decompress(fresh, size)
        except zlib.error as error:
            raise DataError(f"{shown(self._path)} is damaged ({error}): get the file again.") from error
        self._input = inflate.unused_data.lstrip(b"\0") if inflate.eof else inflate.unconsumed_tail
        if not fresh and not data and not inflate.eof:
            raise DataError(f"{shown(self._path)} is cut short: get the file again.")
        return data


class Window(io.RawIOBase):
    """``size`` bytes of another seekable stream, from ``begin`` on; closes it."""

    def __init__(self, stream: Stream, begin: int, size: int) -> None:
        self._stream = stream
        self._begin = begin
        self._size = size
        self._place = 0

    def close(self) -> None:
        """Close the stream beneath."""
        self._stream.close()
        super().close()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is read before it is asked for."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as the next piece goes; 0 at the end."""
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._place)]
        if not len(view):
            return 0
        self._stream.seek(self._begin + self._place)
        size = self._stream.readinto(view) or 0
        self._place += size
        return size


class Stream(Protocol):
    """What a window lies over."""

    def seek(self, offset: int, /) -> int:
        """Go to a place and tell where that is."""

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Fill the buffer as far as the next piece goes; 0 at the end."""

    def close(self) -> None:
        """Close it."""


def window(stream: Callable[[], Stream], begin: int, size: int) -> BinaryIO:
    """A buffered window."""
    return cast(BinaryIO, io.BufferedReader(Window(stream(), begin, size), 1 << 16))
