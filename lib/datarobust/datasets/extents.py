"""Long strings of a pickle that stay in the file: where they lie and how they are spelled.

A data set is one long byte string inside its pickle, 1.5 GB of it in TI500K. It is spelled as it is by python 2
(``str``) and by python 3 from protocol 3 on (``bytes``). Protocols 0 to 2 know no bytes, so python 3 writes them as
latin-1 text, in UTF-8 or with escapes; protocol 0 of python 2 writes a quoted literal. All of them can be read from
front to back in bounded memory.
"""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from datarobust.datasets.sources import Raw
from datarobust.errors import DataError

Form = Literal["plain", "utf-8", "raw-unicode-escape", "escape"]
"""``plain`` bytes; text in UTF-8; text with escapes for some characters; the inside of a literal of python 2."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Extent:
    """``length`` bytes of ``raw`` from ``offset`` on that spell a byte string; ``text`` until it was encoded."""

    raw: Raw
    offset: int
    length: int
    form: Form = "plain"
    text: bool = False

    def could_hold(self, size: int) -> bool:
        """Whether these may be ``size`` bytes; only the plain form tells before it is read."""
        return self.length == size if self.form == "plain" else self.length >= size


class Reader:
    """The bytes that an extent spells, in order, from ``start`` on. A context manager."""

    def __init__(self, extent: Extent, start: int = 0) -> None:
        self._extent = extent
        self._file = extent.raw.open()
        self._ready = bytearray()
        plain = extent.form == "plain"
        self._decode = _decoder(extent.form)
        skipped = start if plain else 0
        self._left = extent.length - skipped
        self._file.seek(extent.offset + skipped)
        self._passed = start - skipped  # of what is spelled, still to be passed over

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end.

        Raises DataError where the file ends before, or where what is spelled are no bytes.
        """
        while self._passed:
            self._passed -= len(self._next(min(self._passed, _CHUNK))) or self._passed
        return self._next(size)

    def _next(self, size: int) -> bytes:
        while len(self._ready) < size and self._left:
            wanted = size - len(self._ready) if self._extent.form == "plain" else _CHUNK
            data = self._file.read(min(wanted, self._left))
            if not data:
                raise DataError(f"{self._extent.raw.where} is cut short.")
            self._left -= len(data)
            try:
                data = self._decode(data, not self._left)
            except ValueError as error:
                raise DataError(
                    f"{self._extent.raw.where} is damaged near byte {self._file.tell():,}: what should be bytes "
                    "spelled as text is none."
                ) from error
            if not self._ready and len(data) == size:
                return data
            self._ready += data
        found = bytes(memoryview(self._ready)[:size])
        del self._ready[:size]
        return found


def small(data: bytes, form: Form) -> bytes:
    """The bytes that ``data`` spells, all at once. Raises ValueError where it spells none."""
    return _decoder(form)(data, True)


def _decoder(form: Form) -> Callable[[bytes, bool], bytes]:
    """From the next bytes of the file, and whether they are the last, to bytes."""
    if form == "plain":
        return lambda data, last: data
    if form == "escape":
        return _Unescaped().decode
    incremental = codecs.getincrementaldecoder(form)()
    return lambda data, last: incremental.decode(data, last).encode("latin-1")


class _Unescaped:
    r"""The literals of python 2, ``\n`` and ``\x41``, as its own decoder reads them, in pieces."""

    def __init__(self) -> None:
        self._carried = b""

    def decode(self, data: bytes, last: bool) -> bytes:
        data = self._carried + data
        cut = len(data) if last else _whole_escapes(data)
        self._carried = data[cut:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape stands for itself, as in every pickle reader
            return bytes(codecs.escape_decode(data[:cut])[0])


def _whole_escapes(data: bytes) -> int:
    """Where to cut so that no escape (of four bytes at most) is torn."""
    for place in range(max(0, len(data) - 3), len(data)):
        before = data[: place + 1]
        if (len(before) - len(before.rstrip(b"\\"))) % 2:  # an odd run of backslashes: the last one starts an escape
            return place
    return len(data)
