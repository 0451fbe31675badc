"""The files in a tar archive, plain or gzipped, listed and read without unpacking it.

Headers are those of POSIX (``ustar``, ``pax``) and of GNU tar. An archive that holds anything but plain files and
folders, a name that leads out of it, or two files of one name is refused as a whole: no release has them, and what
else they are for need not be known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

from datarobust.datasets.sources import Raw
from datarobust.datasets.streams import GZIP_START, MOST_BYTES, GzipStream, Stream, window
from datarobust.errors import DataError
from datarobust.text import shown

MOST_FILES = 1000
"""In an archive; the largest release has nine."""

_BLOCK = 512
_MOST_EXTRA = 1 << 16
_FILE = (b"0", b"\0")
_FOLDER = b"5"
_KINDS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file"}


def looks_like(path: Path) -> bool:
    """Whether a file is a tar archive by its first header, gzipped or not; False where it cannot be unpacked."""
    try:
        with path.open("rb", buffering=0) as plain:
            if plain.read(2) != GZIP_START:
                plain.seek(0)
                return _is_header(_read(cast(Stream, plain), _BLOCK))
        with GzipStream(path) as stream:
            return _is_header(_read(stream, _BLOCK))
    except (OSError, DataError):
        return False


def tar_files(path: Path) -> Mapping[str, Raw]:
    """Name (without a leading ``./``) -> the bytes of every file; hidden files are left out.

    Raises DataError, naming the archive, where it is damaged or holds what no release holds.
    """
    try:
        with path.open("rb", buffering=0) as plain:
            if plain.read(2) != GZIP_START:
                plain.seek(0)
                return _Listing(path, cast(Stream, plain), lambda: partial(_plain, path)).files
        with GzipStream(path) as stream:
            return _Listing(path, stream, lambda: partial(GzipStream, path, stream.mark())).files
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}.") from error


def _plain(path: Path) -> Stream:
    return cast(Stream, path.open("rb", buffering=0))


class _Listing:
    """One walk over all headers, to the end of the archive; ``here()`` is a way to open it at the present place."""

    def __init__(self, path: Path, stream: Stream, here: Callable[[], Callable[[], Stream]]) -> None:
        self.files: dict[str, Raw] = {}
        self._where = shown(path)
        self._stream = stream
        self._place = 0
        self._long: dict[str, str] = {}  # what an extra header says about the entry after it
        seen: set[str] = set()
        while True:
            block = self._take(_BLOCK)
            if not any(block):
                break
            if not _is_header(block):
                raise self._fault(f"is damaged: at byte {self._place - _BLOCK:,} there is no header")
            kind = block[156:157]
            name, size = self._entry(block, kind)
            if name is None:
                continue
            if name in seen:
                raise self._fault(f"has two entries called {shown(name)}")
            if len(seen) == MOST_FILES:
                raise self._fault(f"has more than {MOST_FILES:,} entries: unpack it and import the folder")
            seen.add(name)
            if kind != _FOLDER and not name.rpartition("/")[2].startswith("."):
                opened = partial(window, here(), self._place, size)
                self.files[name] = Raw(f"{self._where}: {shown(name)}", size, opened)
            self._skip(size)
        while _read(stream, 1 << 18):  # to the end, where gzip's checksum is compared
            pass

    def _entry(self, block: bytes, kind: bytes) -> tuple[str | None, int]:
        """Name and size of a file or folder; None for a header that only says more about the entry after it."""
        size = _octal(block[124:136])
        if kind in (b"x", b"g", b"L", b"K"):
            self._extra(kind, -1 if size is None else size)
            return None, 0
        name = self._long.pop("path", None) or _name(block)
        if "size" in self._long:
            text = self._long.pop("size")
            size = int(text) if text.isdecimal() and len(text) < 16 else None
        self._long.clear()
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if kind not in (*_FILE, _FOLDER):
            raise self._fault(f"holds {_KINDS.get(kind, 'an entry of another kind')}, {shown(name)}: it is refused")
        if name.startswith("/") or ".." in parts:
            raise self._fault(f"holds {shown(name)}, a name that leads out of it: it is refused")
        if size is None or size > MOST_BYTES or (kind == _FOLDER and size):
            raise self._fault(f"claims a size for {shown(name)} that no file of a release has")
        if not parts:
            return (None, 0) if kind == _FOLDER else (name, size)
        return "/".join(parts), size

    def _extra(self, kind: bytes, size: int) -> None:
        """Read an extra header of POSIX (``x``, ``g``) or GNU (``L``, ``K``)."""
        if not 0 <= size <= _MOST_EXTRA:
            raise self._fault("has an extra header of more than 64 KiB")
        data = self._take(size)
        self._skip(0)
        if kind == b"L":
            self._long["path"] = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        if kind in (b"x", b"g"):
            found = self._records(data)
            if any(key.startswith("GNU.sparse") for key in found) or (kind == b"g" and {"path", "size"} & set(found)):
                raise self._fault("has an extra header that no release has")
            if kind == b"x":
                self._long = {key: found[key] for key in ("path", "size") if key in found}

    def _records(self, data: bytes) -> dict[str, str]:
        """The records ``length key=value`` of a POSIX header."""
        found: dict[str, str] = {}
        while data:
            count = data[:8].partition(b" ")[0]
            length = int(count) if count.isdigit() else 0
            key, equals, value = data[len(count) + 1 : length - 1].partition(b"=")
            if not equals or length > len(data) or data[length - 1 : length] != b"\n":
                raise self._fault("is damaged: an extra header cannot be read")
            found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
            data = data[length:]
        return found

    def _take(self, size: int) -> bytes:
        data = _read(self._stream, size)
        self._place += len(data)
        if len(data) != size:
            raise self._fault("is cut short: get the file again")
        return data

    def _skip(self, size: int) -> None:
        """Pass over ``size`` bytes, and over what fills the last block."""
        target = self._place + size
        target += -target % _BLOCK
        self._place = self._stream.seek(target)
        if self._place != target:
            raise self._fault("is cut short: get the file again")

    def _fault(self, text: str) -> DataError:
        return DataError(f"{self._where} {text}.")


def _read(stream: Stream, size: int) -> bytes:
    """The next ``size`` bytes, fewer only at the end."""
    data = bytearray(size)
    filled = 0
    while filled < size and (count := stream.readinto(memoryview(data)[filled:])):
        filled += count
    return bytes(data[:filled])


def _is_header(block: bytes) -> bool:
    """By its checksum: the sum of all bytes, those of the checksum taken as spaces."""
    if len(block) != _BLOCK or not block[0]:
        return False
    return _octal(block[148:156]) == sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")


def _octal(field: bytes) -> int | None:
    digits = field.partition(b"\0")[0].strip()
    return int(digits, 8) if digits and all(digit in b"01234567" for digit in digits) else None


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode("utf-8", "surrogateescape")
