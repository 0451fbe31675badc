"""The bytes of a pickle as its machine reads them: numbers, lines, short strings, and long ones where they lie."""

from __future__ import annotations

from typing import BinaryIO

from datarobust.datasets.extents import Extent, Form, small
from datarobust.datasets.sources import Raw

MOST_TEXT = 32 << 20
"""Bytes of all short strings together."""
SHORT = 4096
"""A string of more bytes stays in the file."""

_SCANNED = 1 << 20


class Refusal(Exception):
    """What a pickle asks for and does not get: the end of a sentence."""


class Tape:
    """A pickle's file, read from front to back. Its methods raise Refusal where it ends too early."""

    def __init__(self, raw: Raw, handle: BinaryIO) -> None:
        self.raw = raw
        self.handle = handle
        self.text_left = MOST_TEXT

    def exactly(self, size: int) -> bytes:
        """The next bytes."""
        data = self.handle.read(size)
        if len(data) != size:
            raise Refusal("is cut short")
        return data

    def number(self, size: int, signed: bool = False) -> int:
        """The little-endian integer of the next ``size`` bytes."""
        return int.from_bytes(self.exactly(size), "little", signed=signed)

    def line(self) -> bytes:
        """The rest of the line, without its end."""
        line = self.handle.readline(SHORT + 2)
        if not line.endswith(b"\n"):
            raise Refusal("is cut short, or has a line without end")
        return line[:-1]

    def string(self, length: int, form: Form, text: bool) -> object:
        """The string of the next ``length`` bytes: itself where it is short, else where it lies."""
        if length <= SHORT:
            return self.short(self.exactly(length), form, text)
        start = self.handle.tell()
        if length > self.raw.size - start:
            raise Refusal(f"claims a string of {length:,} bytes, but ends after {self.raw.size - start:,}")
        self.handle.seek(start + length)
        return Extent(self.raw, start, length, form, text)

    def short(self, data: bytes, form: Form, text: bool) -> object:
        """The str or bytes that ``data`` spells. Raises ValueError where it spells none."""
        self.text_left -= len(data)
        if self.text_left < 0:
            raise Refusal(f"has more than {MOST_TEXT >> 20} MiB of short strings")
        if not text:
            return small(data, form)
        return data.decode(form)

    def spelled(self, form: Form, text: bool) -> object:
        """A string of protocol 0: the rest of the line, for ``escape`` within quotes."""
        start = self.handle.tell()
        line = self.handle.readline(SHORT)
        ends, length = line, len(line)
        while not ends.endswith(b"\n"):
            more = self.handle.readline(_SCANNED)
            if not more:
                raise Refusal("is cut short")
            ends, length = ends[-1:] + more, length + len(more)
        quotes = 1 if form == "escape" else 0
        inside = length - 1 - 2 * quotes
        if quotes and not (inside >= 0 and line[:1] == ends[-2:-1] and line[:1] in (b"'", b'"')):
            raise Refusal("is damaged: a string has no quotes")
        if length <= SHORT:
            return self.short(line[quotes : quotes + inside], form, text)
        return Extent(self.raw, start + quotes, inside, form, text)
