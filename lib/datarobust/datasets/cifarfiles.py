"""The files of CIFAR releases: rows of 3,072 bytes and their labels, pickled or in fixed-size records; class names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Protocol

import numpy as np

from datarobust.datasets import unpickle
from datarobust.datasets.sources import Raw
from datarobust.datasets.unpickle import array_of, text_of
from datarobust.errors import DataError
from datarobust.types import Array

SHAPE = (3, 32, 32)
ROW_BYTES = 3072
"""Red, green and blue plane of 32x32 bytes each, row by row."""

_NAMES_BYTES = 1 << 16

Rows = Iterator[tuple[Array, Mapping[str, Array]]]
"""Images uint8 (B, 3, 32, 32), and labels (B) by column."""


class Batch(Protocol):
    """A file of rows. Raises DataError at construction where its sizes cannot be true."""

    @property
    def where(self) -> str:
        """Its name, for sentences."""

    @property
    def rows(self) -> int:
        """How many."""

    def blocks(self, step: int, start: int, stop: int) -> Rows:
        """The rows ``start:stop``, at most ``step`` at a time."""


class PythonBatch:
    """A pickle: ``data`` uint8 (N, 3072), and a list or array of N labels for each column."""

    def __init__(self, raw: Raw, columns: tuple[str, ...]) -> None:
        self.where = raw.where
        held = unpickle.mapping(raw)
        for key in ("data", *columns):
            if key not in held:
                raise DataError(f"{raw.where} has no {key}: it is no file of this release.")
        self._data = array_of(held["data"], f"{raw.where}: data")
        self._columns = {key: array_of(held[key], f"{raw.where}: {key}") for key in columns}
        shape, dtype = self._data.shape, self._data.dtype
        if len(shape) != 2 or shape[1] != ROW_BYTES or dtype != np.uint8:
            raise DataError(f"{raw.where}: data are {dtype} of shape {shape}; uint8 (N, {ROW_BYTES}) are expected.")
        self.rows = shape[0]
        for key, column in self._columns.items():
            if column.shape != (self.rows,) or column.dtype.kind not in "iu":
                raise DataError(
                    f"{raw.where}: {key} are {column.dtype} of shape {column.shape}; one integer for each of "
                    f"{self.rows:,} images is expected."
                )

    def blocks(self, step: int, start: int, stop: int) -> Rows:
        """The rows ``start:stop``, at most ``step`` at a time."""
        for row in range(start, stop, step):
            rows = slice(row, min(row + step, stop))
            images = np.ascontiguousarray(self._data[rows]).reshape(-1, *SHAPE)
            yield images, {name: column[rows] for name, column in self._columns.items()}


class BinaryBatch:
    """Records of a byte for each column, then the image."""

    def __init__(self, raw: Raw, columns: tuple[str, ...]) -> None:
        self.where = raw.where
        self._raw = raw
        self._columns = columns
        self._size = len(columns) + ROW_BYTES
        self.rows, rest = divmod(raw.size, self._size)
        if rest:
            raise DataError(
                f"{raw.where} has {raw.size:,} bytes, which are no whole number of records of {self._size:,}: "
                "it is cut short, or of another release."
            )

    def blocks(self, step: int, start: int, stop: int) -> Rows:
        """The rows ``start:stop``, at most ``step`` at a time."""
        with closing(self._raw.open()) as file:
            file.seek(start * self._size)
            for row in range(start, stop, step):
                count = min(step, stop - row)
                data = file.read(count * self._size)
                if len(data) != count * self._size:
                    raise DataError(f"{self.where} is cut short.")
                records = np.frombuffer(data, dtype=np.uint8).reshape(count, self._size)
                images = np.ascontiguousarray(records[:, len(self._columns) :]).reshape(count, *SHAPE)
                yield images, {column: records[:, place] for place, column in enumerate(self._columns)}


def names_of(raw: Raw, column: str) -> tuple[str, ...]:
    """The class names of a column in ``batches.meta`` or ``meta`` (a pickle), or a text file with one a line.

    Raises DataError where there are none.
    """
    names = _lines(raw) if raw.where.endswith(".txt") else _pickled(raw, f"{column.removesuffix('s')}_names")
    if not names:
        raise DataError(f"{raw.where} holds no class names.")
    return names


def _lines(raw: Raw) -> tuple[str, ...]:
    if raw.size > _NAMES_BYTES:
        raise DataError(f"{raw.where} has more than {_NAMES_BYTES >> 10} KiB: class names are expected, one a line.")
    with closing(raw.open()) as file:
        data = file.read(_NAMES_BYTES)
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{raw.where} holds class names that are not UTF-8.") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(lines)


def _pickled(raw: Raw, key: str) -> tuple[str, ...]:
    names = unpickle.mapping(raw).get(key)
    if not isinstance(names, list | tuple):
        raise DataError(f"{raw.where} has no list {key}: it is no file of this release.")
    texts = tuple(text_of(name) for name in names)
    if None in texts:
        raise DataError(f"{raw.where}: {key}[{texts.index(None)}] is no text.")
    return tuple(text for text in texts if text is not None)
