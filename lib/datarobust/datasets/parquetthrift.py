"""Thrift's compact protocol, in which the headers of Parquet are written: just enough to read numbers out of them.

pyarrow reads these headers too, but ends the whole process at some that are damaged.
"""

from __future__ import annotations

from typing import Any

_DEPTH = 16


class BadThrift(Exception):
    """Bytes that are no struct of the compact protocol, or none of Parquet's."""


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields of the struct that begins at ``at``, by their numbers, and where it ends.

    Numbers are int, texts bytes, lists list, structs dict; booleans and doubles, which nobody here asks for, are None.
    Raises BadThrift.
    """
    if depth > _DEPTH:
        raise BadThrift("a header is nested too deep")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head, at = _byte(data, at)
        if head == 0:
            return fields, at
        delta, kind = head >> 4, head & 15
        if delta:
            number += delta
        else:
            number, at = _integer(data, at)
        fields[number], at = _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """A value of the compact protocol's type ``kind``, and where it ends."""
    match kind:
        case 1 | 2:  # true, false
            return None, at
        case 3 | 7:  # a byte, a double
            return None, at + (1 if kind == 3 else 8)
        case 4 | 5 | 6:  # integers of 16, 32 and 64 bits
            return _integer(data, at)
        case 8:  # bytes
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise BadThrift("a header is cut short or too long")
            return data[at : at + length], at + length
        case 9 | 10:  # a list, a set
            return _list(data, at, depth)
        case 12:
            return read_struct(data, at, depth + 1)
        case _:
            raise BadThrift(f"a header has a field of type {kind}")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    if depth > _DEPTH:
        raise BadThrift("a header is nested too deep")
    head, at = _byte(data, at)
    count, inner = head >> 4, head & 15
    if count == 15:
        count, at = _varint(data, at)
    if count > len(data) - at:  # every element has a byte at least
        raise BadThrift("a header claims a long list")
    found = []
    for _ in range(count):
        value, at = (None, at + 1) if inner in (1, 2) else _value(data, at, inner, depth + 1)
        found.append(value)
    return found, at


def _byte(data: bytes, at: int) -> tuple[int, int]:
    if not at < len(data):
        raise BadThrift("a header is cut short or too long")
    return data[at], at + 1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of seven bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte, at = _byte(data, at)
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise BadThrift("a header has a number of more than 64 bits")


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """A signed number: its sign is the lowest bit."""
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
