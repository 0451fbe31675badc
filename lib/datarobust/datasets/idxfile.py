"""Arrays of bytes in idx files, plain or gzipped, streamed in bounded memory, trusting nothing.

An idx file (LeCun, Cortes and Burges, "The MNIST database") has two zero bytes, one byte for the type of its values
(0x08: unsigned bytes), one for the number of dimensions, each extent as a big-endian 32-bit integer, and the values.
A gzipped file states neither its size nor its end, so the header is the bound: never more than it claims is unpacked,
and a claim that gzip could not hold is refused at once.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.errors import DataError
from datarobust.text import shown

GZIP_START = b"\x1f\x8b"
MOST_ROW_BYTES = 1 << 24
"""Of one point; an idx header can claim 2**64."""

_GZIP_RATIO = 1033
_SKIPPED = 4 << 20
_TYPES = {0x09: "signed bytes", 0x0B: "16-bit integers", 0x0C: "32-bit integers", 0x0D: "floats", 0x0E: "doubles"}
_FAULTS = (gzip.BadGzipFile, EOFError, zlib.error)


def is_idx(path: Path) -> bool:
    """Whether a file begins as an idx file of bytes does, gzipped or not; False where it cannot be read."""
    try:
        with _opened(path) as stream:
            start = stream.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(start) == 4 and start[:3] == b"\0\0\x08" and 1 <= start[3] <= 4


class IdxFile:
    """An idx file of unsigned bytes with ``rank`` dimensions. Raises DataError where its header cannot be true."""

    def __init__(self, path: Path, rank: int) -> None:
        self.path = path
        self._identity = self._state()
        with self._sentences(), path.open("rb") as file:
            refuse_placeholder(path, file.read(START_BYTES))
        with self._sentences(), _opened(path) as stream:
            start = stream.read(4 + 4 * rank)
        self.shape = self._shape(start, rank)
        self._start = 4 + 4 * rank
        self._check_size()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (one entry of axis 0)."""
        return math.prod(self.shape[1:])

    def identity(self) -> str:
        """Place, size and time of change of the file."""
        return self._identity

    def unchanged(self) -> None:
        """Raise DataError where the file's size or time of change is another."""
        if self._state() != self._identity:
            raise DataError(f"{shown(self.path)} changed while it was read.")

    def rows(self, step: int, start: int, stop: int) -> Iterator[npt.NDArray[np.uint8]]:
        """The rows ``start:stop`` as uint8 (B, ...), ``step`` at a time (the last may be fewer).

        A gzipped file is unpacked from its beginning. Reading to the last row also looks for what goes on after it,
        and has gzip's checksum compared.
        """
        if start >= stop:
            return
        with self._sentences(), _opened(self.path) as stream:
            self._skip(stream, self._start + start * self.row_bytes)
            for row in range(start, stop, step):
                count = min(step, stop - row)
                data = self._exactly(stream, count * self.row_bytes, row)
                yield np.frombuffer(data, dtype=np.uint8).reshape(count, *self.shape[1:])
            if stop == self.shape[0] and stream.read(1):
                raise DataError(f"{shown(self.path)} goes on after its last row {stop - 1}: it is no whole idx file.")

    def _shape(self, start: bytes, rank: int) -> tuple[int, ...]:
        where = shown(self.path)
        if start[:2] != b"\0\0" or len(start) < 4:
            raise DataError(f"{where} is no idx file: it begins with {start[:4].hex(' ') or 'nothing'}, not 00 00 08.")
        if start[2] != 8:
            raise DataError(f"{where} holds {_TYPES.get(start[2], f'values of type {start[2]:#04x}')}, not bytes.")
        if start[3] != rank:
            what = {1: "labels have 1", 3: "images have 3"}[rank]
            raise DataError(f"{where} has {start[3]} dimensions by its header; {what}.")
        if len(start) < 4 + 4 * rank:
            raise DataError(f"{where} ends in its header: the file is cut short.")
        return tuple(int.from_bytes(start[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))

    def _check_size(self) -> None:
        """Refuse sizes that cannot be true before memory is taken for them."""
        where, row = shown(self.path), self.row_bytes
        claimed = self._start + self.shape[0] * row
        if not row or row > MOST_ROW_BYTES:
            raise DataError(f"{where} claims the shape {self.shape}, which no set of images has.")
        size = self.path.stat().st_size
        if not self._gzipped() and claimed != size:
            fault = "the file is cut short" if claimed > size else "something else follows"
            raise DataError(f"{where} claims {claimed:,} bytes by its shape {self.shape}, but has {size:,}: {fault}.")
        if self._gzipped() and claimed > size * _GZIP_RATIO:
            raise DataError(
                f"{where} claims {claimed:,} bytes by its shape {self.shape}, which {size:,} gzipped bytes cannot hold."
            )

    def _gzipped(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(2) == GZIP_START

    def _state(self) -> str:
        try:
            state = self.path.stat()
        except OSError as error:
            raise DataError(f"{shown(self.path)} cannot be read: {error.strerror}.") from error
        return f"{str(self.path.resolve())!a}:{state.st_size}:{state.st_mtime_ns}"

    def _exactly(self, stream: IO[bytes], size: int, row: int) -> bytes:
        data = stream.read(size)
        if len(data) != size:
            place = row + len(data) // self.row_bytes
            raise DataError(f"{shown(self.path)} ends within row {place} of {self.shape[0]:,}: the file is cut short.")
        return data

    def _skip(self, stream: IO[bytes], size: int) -> None:
        """Pass over the header and rows; in a gzipped file by unpacking them."""
        if not self._gzipped():
            stream.seek(size)
            return
        for passed in range(0, size, _SKIPPED):
            self._exactly(stream, min(_SKIPPED, size - passed), max(0, passed - self._start) // self.row_bytes)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """The exceptions of a damaged or unreadable file become one sentence."""
        try:
            yield
        except _FAULTS as error:
            text = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"{shown(self.path)} is damaged ({shown(text[:160])}): get the file again.") from error
        except OSError as error:
            raise DataError(f"{shown(self.path)} cannot be read: {error.strerror}.") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The contents of a file, unpacked where it begins as a gzip file does."""
    with path.open("rb") as file:
        if file.read(2) != GZIP_START:
            file.seek(0)
            yield file
            return
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast(IO[bytes], stream)
