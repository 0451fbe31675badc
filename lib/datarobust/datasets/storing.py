"""What import, subset and merge share: columns, request keys, histories, and the loop that fills a store."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Step, Writer, durable
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array

MakeStep = Callable[[Mapping[str, str]], Step]
"""From the inputs' digests by role to the step that the history records."""

Columns = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Array -> (dtype, shape of one row) of a store."""

Part = Mapping[str, Array]
"""The same rows of every column."""


def request(tool: str, **asked: Any) -> str:
    """The key of a request: equal for a rerun of the same command on unchanged inputs, and only then."""
    return artifacts.fingerprint({"tool": tool, **asked})


def row_bytes(columns: Columns) -> int:
    """Bytes of one row of all columns."""
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in columns.values())


def remaining(columns: Columns, writer: Writer) -> int:
    """The first row that some column still lacks; 0 unless an earlier run was killed."""
    return min(writer.done(name) for name in columns)


@contextmanager
def discarding(output: Path) -> Iterator[None]:
    """Hold the output, and remove its unfinished part where the input turns out to be wrong: nobody resumes that."""
    with artifacts.Lock(durable.checked_output(output)):
        try:
            yield
        except DataError:
            artifacts.abandon(output)
            raise


def fill(writer: Writer, columns: Columns, start: int, parts: Iterable[Part]) -> None:
    """Append ``parts``, the first of which begins at row ``start``; rows that a column already has are passed over."""
    done = {name: writer.done(name) for name in columns}
    for part in parts:
        stop = start
        for name, rows in part.items():
            stop = start + len(rows)
            fresh = rows[max(0, done[name] - start) :]
            if len(fresh):
                writer.append(name, np.ascontiguousarray(fresh))
        start = stop


def check_names(classes: Sequence[str], where: str) -> None:
    """Raise DataError where a class name is empty, no text, or given twice."""
    seen: dict[str, int] = {}
    for place, name in enumerate(classes):
        if not name:
            raise DataError(f"{where}: class {place} has an empty name.")
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{where}: the name of class {place} is no text.") from error
        if name in seen:
            raise DataError(f"{where}: classes {seen[name]} and {place} are both called {shown(name)}.")
        seen[name] = place


def spans(rows: int, step: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """``(begin, end)`` of consecutive spans of ``step`` rows from ``start`` to ``rows``."""
    for begin in range(start, rows, step):
        yield begin, min(begin + step, rows)


def rows_digest(rows: npt.NDArray[np.int64]) -> str:
    """sha256 of row numbers (M), as little-endian int64: names a choice of points in their order."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
