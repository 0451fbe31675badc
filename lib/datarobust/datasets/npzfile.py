"""Arrays in an npz file, streamed: rows of a .npy member of a zip archive, in bounded memory, trusting nothing.

``numpy.load`` reads a member whole, which a file of 50 million images forbids. Here the member's .npy header is parsed
by numpy's own parser (which evaluates literals only), checked against the sizes the archive states, and the rows are
read as they are asked for. Object arrays are refused before their data are touched; nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array

_DIRECTORY_BYTES = 4 << 20
_TAIL_BYTES = (1 << 16) + 22 + 20 + 56
_DEFLATE_RATIO = 1033
_BOMB_RATIO = 400
_BOMB_BYTES = 256 << 20
_IN_MEMORY = 1 << 30
_HEADER_BYTES = 16 << 10
_HEADER_FAULTS = (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError, RecursionError, MemoryError)
_READ_FAULTS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, UnicodeDecodeError)


@dataclass(frozen=True)
class Member:
    """An array of an archive: its key, dtype, shape, and whether it lies in Fortran's order."""

    key: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran: bool
    info: zipfile.ZipInfo

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (one entry of axis 0)."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


class Archive:
    """An npz file, opened for streaming. Raises DataError in one sentence at anything that is not as it claims."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_directory(path)
        with self._sentences(), zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        self._size = path.stat().st_size
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            if info.filename in self._infos:
                raise DataError(f"{shown(path)}: two members are called {shown(info.filename)}.")
            self._infos[info.filename] = info

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return tuple(name.removesuffix(".npy") for name in self._infos if name.endswith(".npy"))

    def member(self, key: str) -> Member:
        """The header of array ``key``, checked against the archive's own figures."""
        info = self._infos[f"{key}.npy"]
        where = self._where(key)
        self._check_sizes(info, where)
        with self._open(info) as stream:
            start = io.BytesIO(stream.read(_HEADER_BYTES))
        try:
            shape, fortran, dtype = _read_header(start)
        except _HEADER_FAULTS as error:
            raise DataError(f"{where} has no readable .npy header ({_brief(error)}).") from error
        if dtype.hasobject:
            raise DataError(f"{where} holds Python objects, which would have to be unpickled: save plain arrays.")
        if dtype.kind not in "biufSU" or dtype.subdtype is not None:
            raise DataError(f"{where} has dtype {shown(str(dtype))}, which is neither numbers nor text.")
        if any(type(extent) is not int or extent < 0 for extent in shape):
            raise DataError(f"{where} claims the shape {shape}, which no array has.")
        size = start.tell() + dtype.itemsize * math.prod(shape)
        if size != info.file_size:
            raise DataError(
                f"{where} claims {size:,} bytes by its shape {shape} and dtype {dtype}, "
                f"but the archive has {info.file_size:,} for it."
            )
        return Member(key, dtype, shape, bool(fortran) and len(shape) > 1, info)

    def rows(self, member: Member, step: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Array]]:
        """Yield ``(row, rows)``: the rows ``start:stop`` in order, ``step`` at a time (the last may be fewer).

        Reading to the last row also compares the archive's checksum.
        """
        total = member.shape[0]
        stop = total if stop is None else min(stop, total)
        if start >= stop:
            return
        if member.fortran:
            whole = self._fortran(member)
            for row in range(start, stop, step):
                yield row, whole[row : min(row + step, stop)]
            return
        native = member.dtype.newbyteorder("=")
        where = self._where(member.key)
        with self._sentences(where), self._open(member.info) as stream:
            self._skip(stream, member.info.file_size - total * member.row_bytes + start * member.row_bytes, where)
            for row in range(start, stop, step):
                count = min(step, stop - row)
                data = self._exactly(stream, count * member.row_bytes, where, row)
                raw = np.frombuffer(data, dtype=member.dtype).reshape(count, *member.shape[1:])
                yield row, raw.astype(native, copy=False)
            if stop == total and stream.read(1):
                raise DataError(f"{where} goes on after its last row.")

    def whole(self, member: Member, most: int) -> Array:
        """All of a small array; more than ``most`` bytes are refused."""
        if member.info.file_size > most:
            raise DataError(
                f"{self._where(member.key)} has {member.info.file_size:,} bytes; {most:,} are expected at most."
            )
        if not member.shape:
            raise DataError(f"{self._where(member.key)} is a single value, not an array.")
        parts = [rows for _, rows in self.rows(member, max(1, member.shape[0]))]
        return parts[0] if parts else np.empty(member.shape, dtype=member.dtype)

    def _fortran(self, member: Member) -> Array:
        if member.info.file_size > _IN_MEMORY:
            raise DataError(
                f"{self._where(member.key)} lies in Fortran's order, which cannot be streamed by rows: "
                "save it through numpy.ascontiguousarray."
            )
        where = self._where(member.key)
        size = member.dtype.itemsize * math.prod(member.shape)
        with self._sentences(where), self._open(member.info) as stream:
            self._skip(stream, member.info.file_size - size, where)
            data = self._exactly(stream, size, where, 0)
            stream.read(1)  # the end compares the checksum
        flat = np.frombuffer(data, dtype=member.dtype).astype(member.dtype.newbyteorder("="), copy=False)
        return cast(Array, flat.reshape(member.shape[::-1]).transpose())

    def _where(self, key: str) -> str:
        return f"{shown(self.path)}: {shown(key)}"

    def _check_sizes(self, info: zipfile.ZipInfo, where: str) -> None:
        """Refuse sizes that cannot be true before a byte is read."""
        if info.flag_bits & 1:
            raise DataError(f"{where} is encrypted.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{where} is compressed by another method than deflate: save it with numpy.savez_compressed."
            )
        if info.header_offset < 0 or info.header_offset + info.compress_size > self._size:
            raise DataError(
                f"{where} claims {info.compress_size:,} bytes of a file that has {self._size:,}: it is cut short."
            )
        stored = info.compress_type == zipfile.ZIP_STORED
        most = info.compress_size if stored else info.compress_size * _DEFLATE_RATIO
        if info.file_size > most:
            raise DataError(f"{where} claims {info.file_size:,} bytes, which {info.compress_size:,} cannot hold.")
        if info.file_size > _BOMB_BYTES and info.file_size > info.compress_size * _BOMB_RATIO:
            raise DataError(
                f"{where} would grow {info.file_size // info.compress_size}-fold to {info.file_size:,} bytes: "
                "this is no data; if it is, save it with numpy.savez, uncompressed."
            )

    @contextmanager
    def _open(self, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
        where = self._where(info.filename.removesuffix(".npy"))
        with self._sentences(where), zipfile.ZipFile(self.path) as archive, archive.open(info) as stream:
            yield stream

    @contextmanager
    def _sentences(self, where: str | None = None) -> Iterator[None]:
        """The exceptions of a damaged archive become one sentence."""
        try:
            yield
        except _READ_FAULTS as error:
            place = where if where is not None else shown(self.path)
            raise DataError(f"{place} is damaged ({_brief(error)}): get the file again.") from error

    def _exactly(self, stream: IO[bytes], size: int, where: str, row: int) -> bytes:
        data = stream.read(size)
        if len(data) != size:
            raise DataError(f"{where} ends {len(data):,} bytes after the start of row {row}: the file is cut short.")
        return data

    def _skip(self, stream: IO[bytes], size: int, where: str) -> None:
        """Pass over ``size`` bytes by reading them, so that the checksum covers them."""
        while size:
            step = min(size, 4 << 20)
            size -= len(self._exactly(stream, step, where, 0))


def _read_header(start: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, Fortran order and dtype, by numpy's parser, from the first bytes of a member alone."""
    version = npy.read_magic(start)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers of Python 2 are read, without talk
        return npy.read_array_header_1_0(start) if version == (1, 0) else npy.read_array_header_2_0(start)


def _check_directory(path: Path) -> None:
    """Refuse what is no zip file, and one whose table of contents alone would fill the memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise DataError(f"{shown(path)} is no complete npz file: its zip directory is missing.")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    if directory == 0xFFFFFFFF:
        wide = tail.rfind(b"PK\x06\x06", 0, end)
        directory = int.from_bytes(tail[wide + 40 : wide + 48], "little") if wide >= 0 else directory
    if directory > min(size, _DIRECTORY_BYTES):
        raise DataError(f"{shown(path)} claims a zip directory of {directory:,} bytes: it is no npz file.")


def _brief(error: BaseException) -> str:
    """The first line of an exception, fit for a sentence."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return shown(text[:160]).rstrip(".")


def text_values(array: npt.NDArray[np.generic], where: str) -> tuple[str, ...]:
    """Fixed-width bytes or str (C,) as strings. Raises DataError for anything else."""
    if array.ndim != 1 or array.dtype.kind not in "SU":
        raise DataError(f"{where} should hold one name a class, but has dtype {array.dtype} and shape {array.shape}.")
    try:
        return tuple(v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in array.tolist())
    except UnicodeDecodeError as error:
        raise DataError(f"{where} holds names that are not UTF-8.") from error
