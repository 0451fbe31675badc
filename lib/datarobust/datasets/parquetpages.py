"""What a Parquet file says of its row groups and pages: how much memory will reading them take?

The footer claims sizes that nobody checks, and a page of a few bytes may unpack to gigabytes: by its codec, as a
dictionary that many rows name, or as prefixes of earlier values. What a reader allocates for a page stands in the
header of the page, which is read here before any page is unpacked. The format is defined in parquet.thrift of the
Parquet project.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from datarobust.datasets.parquetthrift import BadThrift, read_struct

PLAIN, PLAIN_DICTIONARY, DELTA_LENGTH, RLE_DICTIONARY = 0, 2, 6, 8
ENCODINGS = frozenset((PLAIN, PLAIN_DICTIONARY, DELTA_LENGTH, RLE_DICTIONARY))
"""In which the values of a page are no larger than the page, or than its dictionary; DELTA_BYTE_ARRAY is not."""

_HEADER_BYTES = 1 << 16
_BYTE_ARRAY = 6
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3


@dataclass(frozen=True)
class Chunk:
    """The part of a column in a row group: its path (``img.bytes``), whether it holds bytes, and where it lies."""

    column: str
    texts: bool
    start: int
    size: int


@dataclass(frozen=True)
class Group:
    """A row group: its rows, and the parts of the columns."""

    rows: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Page:
    """A page by its header: bytes when unpacked and as stored, number of values, and how they are encoded."""

    dictionary: bool
    unpacked: int
    stored: int
    values: int
    encoding: int


def groups(footer: bytes) -> tuple[Group, ...]:
    """The row groups that a footer lists. Raises BadThrift where it is none."""
    fields, _ = read_struct(footer)
    return tuple(
        Group(_number(group, 3), tuple(_chunk(_get(chunk, 3, dict)) for chunk in _get(group, 1, list)))
        for group in _get(fields, 4, list)
    )


def _chunk(meta: dict[int, Any]) -> Chunk:
    path = _get(meta, 3, list)
    if not all(isinstance(part, bytes) for part in path):
        raise BadThrift("a column has no name")
    start, dictionary = _number(meta, 9), meta.get(11)
    if isinstance(dictionary, int) and 0 < dictionary < start:
        start = dictionary
    column = b".".join(path).decode("utf-8", "replace")
    return Chunk(column, _number(meta, 1) == _BYTE_ARRAY, start, _number(meta, 7))


def pages(file: IO[bytes], start: int, size: int) -> Iterator[Page]:
    """The pages in the ``size`` bytes from ``start`` on, of which nothing but the headers is read.

    Raises BadThrift where they are not pages that fill these bytes.
    """
    place, end = start, start + size
    while place < end:
        file.seek(place)
        fields, length = read_struct(file.read(min(_HEADER_BYTES, end - place)))
        kind, unpacked, stored = (_number(fields, number) for number in (1, 2, 3))
        if kind in (_DATA, _DICTIONARY, _DATA_V2):
            inner = _get(fields, {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}[kind], dict)
            encoding = _number(inner, 4 if kind == _DATA_V2 else 2)
            yield Page(kind == _DICTIONARY, unpacked, stored, _number(inner, 1), encoding)
        place += length + stored
    if place != end:
        raise BadThrift("its pages go on after its end")


def _number(fields: Any, number: int) -> int:
    """A field that is a number, not negative."""
    found: int = _get(fields, number, int)
    if found < 0:
        raise BadThrift(f"field {number} of a header is negative")
    return found


def _get(fields: Any, number: int, kind: type) -> Any:
    found = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(found, kind):
        raise BadThrift(f"field {number} of a header is missing")
    return found
