"""Foreign files as bytes: whole, gzipped, or members of a tar archive that is never unpacked to the disk.

Whatever is wrong with a file becomes a DataError, one sentence that names it. An archive that holds anything but plain
files and folders, a name that leads out of it, or two files of one name is refused as a whole: no release has them. A
gzip file can only be unpacked from its beginning: a member of one is reached by passing over those before it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tarfile import TarFile, TarInfo
from typing import BinaryIO, cast

from datarobust.errors import DataError
from datarobust.text import shown

GZIP_START = b"\x1f\x8b"
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
START_BYTES = 1024  # so many first bytes tell what a file is
DEFLATE_RATIO = 1033  # the most that gzip and zip can do
MOST_FILES = 1000  # in an archive; the largest release has nine
MOST_BYTES = 2 << 30  # of an archive, unpacked; the largest release has 190 MB
_TAIL_BYTES = (1 << 16) + 22 + 20 + 56  # of a zip file: a comment, and three records that point at the directory
_MOST_EXTRA = 1 << 16  # bytes of one extra header
_MOST_HEADERS = 2 << 20  # bytes; that of a file takes up to 1.5 KiB

_DAMAGE: tuple[type[Exception], ...] = (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, tarfile.TarError)
_DAMAGE += (struct.error, NotImplementedError, UnicodeDecodeError)
_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = re.compile(rb"(?:/annex|(?:\.\./)*\.git/annex)/objects/")
_PAGE = re.compile(rb"<(?:!doctype|html|head|body|title|meta|script|\?xml|!--|error\b|svg|rss)", re.IGNORECASE)
_JSON = re.compile(rb'\{\s*(?:"[^"]*"\s*:|\})')
_REFUSAL = re.compile(
    rb"(404:? |entry |repository )?not found|access denied|invalid username or password|too many requests|unauthorized",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Raw:
    """Bytes of a file or of a member of an archive."""

    where: str  # their name in sentences
    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]]  # a new seekable stream at their start


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def brief(error: BaseException) -> str:
    """The first line of an exception, fit for a sentence."""
    text = (getattr(error, "strerror", None) or str(error).strip() or type(error).__name__).splitlines()[0]
    return shown(text[:160]).rstrip(".")


@contextmanager
def reading(where: Path | str) -> Iterator[None]:
    """What reading a file raises within it, packed or not, becomes a DataError: one sentence that names the file."""
    try:
        yield
    except EOFError as error:
        raise DataError(f"{shown(where)} is cut short: get the file again.") from error
    except _DAMAGE as error:
        raise DataError(f"{shown(where)} is damaged ({brief(error)}): get the file again.") from error
    except OSError as error:
        raise DataError(f"{shown(where)} cannot be read: {brief(error)}.") from error


def open_unpacked(path: Path) -> BinaryIO:
    """A new stream of what a file holds, unpacked where it begins as a gzip file does."""
    with path.open("rb") as file:
        gzipped = file.read(len(GZIP_START)) == GZIP_START
    return cast(BinaryIO, gzip.open(path)) if gzipped else path.open("rb")


def unpacked_start(path: Path, size: int) -> bytes:
    """The first bytes of what a file holds, unpacked; none where it cannot be read."""
    try:
        with reading(path), open_unpacked(path) as file:
            return file.read(size)
    except DataError:
        return b""


def raw_file(path: Path, *, unpacked: bool = False) -> Raw:
    """A regular file, or what a gzipped one holds; its size is that on the disk.

    Raises DataError where it is none, or where it cannot be read.
    """

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with reading(path), open_unpacked(path) if unpacked else path.open("rb") as file:
            yield file

    with reading(path):
        state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{shown(path)} is not a regular file: it is read more than once, which a pipe cannot be.")
    return Raw(shown(path), state.st_size, opened)


def read_start(path: Path) -> bytes:
    """The first bytes of a regular file.

    Raises DataError where it cannot be read or is surely not data: empty, or what servers and git leave in the place of
    a download. No format that is read here begins so.
    """
    with raw_file(path).open() as file:
        start = file.read(START_BYTES)
    if not start:
        raise DataError(f"{shown(path)} is empty: get the file again.")
    if start.startswith(_LFS):
        raise DataError(f"{shown(path)} is a pointer of Git LFS: run `git lfs pull` in its repository, or download it.")
    if _ANNEX.match(start):
        raise DataError(f"{shown(path)} is a pointer of git-annex: run `git annex get` in its repository.")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _PAGE.match(text):
        way = "open it in a browser to see why, and get the file again"
        raise DataError(f"{shown(path)} is a web page or an XML message of a server, not the data: {way}.")
    if _JSON.match(text) or _REFUSAL.match(text):
        line = shown(text[:80].decode("utf-8", "replace").split("\n")[0])
        raise DataError(f"{shown(path)} is a message of a server: it begins with {line}; get the file again.")
    return start


def is_tar(path: Path) -> bool:
    """Whether a file is a tar archive by its first header, gzipped or not."""
    try:
        TarInfo.frombuf(unpacked_start(path, tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def tar_files(path: Path) -> dict[str, Raw]:
    """Name (without a leading ``./``) -> the bytes of every file that is not hidden.

    Reads the archive to its end, for gzip's checksum. Raises DataError where it is damaged or no release's.
    """
    too_large = f"{shown(path)} unpacks to more than {MOST_BYTES >> 30} GiB: it is not data."
    entries: dict[str, TarInfo] = {}
    try:
        with reading(path), open_unpacked(path) as file:
            headers = _Headers(file)
            archive = TarFile(fileobj=cast(BinaryIO, headers), encoding="utf-8", errors="surrogateescape")
            for entry in archive:
                parts = [part for part in entry.name.split("/") if part not in ("", ".")]
                name = "/".join(parts)
                if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
                    fault = f"holds {shown(entry.name)}, which is neither a file nor a folder: it is refused"
                elif entry.issparse() or {"path", "size"} & archive.pax_headers.keys():
                    fault = "has an extra header that no release has"
                elif entry.name.startswith("/") or ".." in parts or "\0" in name:
                    fault = f"holds {shown(entry.name)}, a name that leads out of it: it is refused"
                elif not 0 <= entry.size <= MOST_BYTES or (entry.isdir() and entry.size):
                    fault = f"claims a size for {shown(name)} that no file of a release has"
                elif name in entries:
                    fault = f"has two entries called {shown(name)}"
                elif len(entries) == MOST_FILES:
                    fault = f"has more than {MOST_FILES:,} entries: unpack it and import the folder"
                elif entry.offset_data + entry.size > MOST_BYTES:
                    raise DataError(too_large)
                else:
                    if name or not entry.isdir():
                        entries[name] = entry
                    continue
                raise DataError(f"{shown(path)} {fault}.")
            if len(headers.last) < tarfile.BLOCKSIZE:
                raise EOFError
            if any(headers.last):  # tarfile takes whatever is no header for the end
                raise tarfile.ReadError(f"at byte {archive.offset:,} there is no header")
            while file.read(_MOST_EXTRA):
                if file.tell() > MOST_BYTES:
                    raise DataError(too_large)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown(path)} is damaged ({brief(error)}): get the file again.") from error
    return {
        name: Raw(f"{shown(path)}: {shown(name)}", entry.size, partial(_member, path, entry))
        for name, entry in entries.items()
        if entry.isreg() and not name.rpartition("/")[2].startswith(".")
    }


def zip_entries(path: Path, most: int, kind: str) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip file of a ``kind`` by name.

    Raises DataError where it is none, or has a directory of more than ``most`` bytes.
    """
    with reading(path), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise DataError(f"{shown(path)} is not a complete {kind} file: its zip directory is missing.")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    wide = tail.rfind(b"PK\x06\x06", 0, end)
    if directory == 0xFFFFFFFF and wide >= 0:
        directory = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    if directory > min(size, most):
        raise DataError(f"{shown(path)} claims a zip directory of {directory:,} bytes: it is no {kind} file.")
    with reading(path), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    named: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if not info.filename:  # ZipInfo fails on it
            raise DataError(f"{shown(path)} has a member without a name: pack it again.")
        if named.setdefault(info.filename, info) is not info:
            raise DataError(f"{shown(path)}: two members are called {shown(info.filename)}.")
    return named


@contextmanager
def _member(path: Path, entry: TarInfo) -> Iterator[BinaryIO]:
    with reading(path), open_unpacked(path) as file, TarFile(fileobj=file) as archive:
        yield cast(BinaryIO, archive.extractfile(entry))


class _Headers:
    """What tarfile reads of an archive, which are headers only: bounded, whatever sizes they claim."""

    last = b""  # what was read last

    def __init__(self, file: BinaryIO) -> None:
        self._left = _MOST_HEADERS
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        self._left -= size
        if size > _MOST_EXTRA or self._left < 0:
            raise tarfile.ReadError("it has an extra header of more than 64 KiB, or too many of them")
        self.last = self._file.read(size)
        return self.last
