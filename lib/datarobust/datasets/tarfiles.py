"""The files in a tar archive, plain or gzipped, listed and read without unpacking it to the disk.

:mod:`tarfile` and :mod:`gzip` read it. An archive that holds anything but plain files and folders, a name that leads
out of it, or two files of one name is refused as a whole: no release has them, and what else they are for need not be
known. A gzip file can only be unpacked from its beginning: a member of one is reached by passing over those before it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tarfile import EmptyHeaderError, EOFHeaderError, HeaderError, TarFile, TarInfo, TruncatedHeaderError  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from datarobust.datasets.sources import Raw, open_unpacked, reading
from datarobust.errors import DataError
from datarobust.text import shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_FILES = 1000
"""In an archive; the largest release has nine."""
MOST_BYTES = 2 << 30
"""Of an archive, unpacked; the largest release has 190 MB."""

_MOST_EXTRA = 1 << 16
_MOST_HEADERS = 2 << 20  # bytes; that of a file takes up to 1.5 KiB
_EXTRA = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_KINDS = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


def looks_like(path: Path) -> bool:
    """Whether a file is a tar archive by its first header, gzipped or not; False where it cannot be unpacked."""
    try:
        with reading(path), open_unpacked(path) as file:
            TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except (DataError, HeaderError):
        return False
    return True


def tar_files(path: Path) -> Mapping[str, Raw]:
    """Name (without a leading ``./``) -> the bytes of every file; hidden files are left out.

    Raises DataError, naming the archive, where it is damaged or holds what no release holds.
    """
    try:
        with reading(path), open_unpacked(path) as file:
            entries = _entries(file)
    except _RefusedError as error:
        raise DataError(f"{shown(path)} {error}.") from error
    except (tarfile.TarError, ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{shown(path)} is damaged ({shown(reason[:160])}): get the file again.") from error
    return {
        name: Raw(f"{shown(path)}: {shown(name)}", entry.size, partial(_open, path, entry.offset_data, entry.size))
        for name, entry in entries.items()
        if entry.isreg() and not name.rpartition("/")[2].startswith(".")
    }


def _entries(file: BinaryIO) -> dict[str, TarInfo]:
    """All files and folders by their names. Reads the archive to its end, where gzip's checksum is compared."""
    entries: dict[str, TarInfo] = {}
    options = {"tarinfo": _Entry, "encoding": "utf-8", "errors": "surrogateescape"}
    with TarFile(fileobj=cast(BinaryIO, _Headers(file)), **options) as archive:  # type: ignore[arg-type]
        for entry in archive:
            parts = [part for part in entry.name.split("/") if part not in ("", ".")]
            name = "/".join(parts)
            if entry.issparse() or {"path", "size"} & archive.pax_headers.keys():
                raise _RefusedError("has an extra header that no release has")
            if entry.name.startswith("/") or ".." in parts or "\0" in name:
                raise _RefusedError(f"holds {shown(entry.name)}, a name that leads out of it: it is refused")
            if not 0 <= entry.size <= MOST_BYTES or (entry.isdir() and entry.size):
                raise _RefusedError(f"claims a size for {shown(name)} that no file of a release has")
            if entry.offset_data + entry.size > MOST_BYTES:
                raise _RefusedError(_TOO_LARGE)
            if name in entries:
                raise _RefusedError(f"has two entries called {shown(name)}")
            if len(entries) == MOST_FILES:
                raise _RefusedError(f"has more than {MOST_FILES:,} entries: unpack it and import the folder")
            if name or not entry.isdir():
                entries[name] = entry
    while file.read(_MOST_EXTRA):
        if file.tell() > MOST_BYTES:
            raise _RefusedError(_TOO_LARGE)
    return entries


_TOO_LARGE = f"unpacks to more than {MOST_BYTES >> 30} GiB: it is no data"


class _RefusedError(Exception):
    """An archive has what no release has, or is damaged; the end of a sentence about it."""


class _Headers:
    """What tarfile reads of an archive, which are headers only: bounded, whatever sizes they claim."""

    def __init__(self, file: BinaryIO) -> None:
        self._left = _MOST_HEADERS
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        self._left -= size
        if size > _MOST_EXTRA or self._left < 0:
            raise _RefusedError("has an extra header of more than 64 KiB, or too many of them")
        return self._file.read(size)


class _Entry(TarInfo):
    """A header as tarfile reads it, refused where tarfile would take it for the end of the archive, or for a link."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        entry = super().frombuf(buf, encoding, errors)
        if entry.type not in (*_EXTRA, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            kind = _KINDS.get(entry.type, "an entry of another kind")
            raise _RefusedError(f"holds {kind}, {shown(entry.name)}: it is refused")
        return entry

    @classmethod
    def fromtarfile(cls, archive: TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except EOFHeaderError:
            raise  # blocks of zeros: the end, as it should be
        except (EmptyHeaderError, TruncatedHeaderError) as error:
            raise _RefusedError("is cut short: get the file again") from error
        except HeaderError as error:
            raise _RefusedError(f"is damaged: at byte {archive.offset:,} there is no header") from error


class _Member(io.RawIOBase):
    """``size`` bytes of a file, unpacked where it is gzipped, from ``begin`` on."""

    def __init__(self, path: Path, begin: int, size: int) -> None:
        with reading(path):
            self._file = open_unpacked(path)
        self._path, self._begin, self._size, self._position = path, begin, size, 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        with reading(self._path):
            self._file.seek(self._begin + self._position)
            data = self._file.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def _open(path: Path, begin: int, size: int) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Member(path, begin, size), 1 << 16))
