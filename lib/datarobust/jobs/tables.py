"""Tables as files that other programs read: CSV, TSV, lines of JSON, or Parquet, by the ending of the name."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from datarobust import text
from datarobust.artifacts import durable
from datarobust.datasets.parquet import pyarrow
from datarobust.errors import DataError
from datarobust.jobs.make import TABLES, Form

_ROWS = 1 << 16  # of a Parquet file that are in memory at a time

Value = str | int | float | None
Columns = Mapping[str, type]  # the names of a table's columns, with str, int or float


def is_table(path: Path | None) -> bool:
    """Whether the ending of a path is that of a table."""
    return path is not None and path.suffix.lower() in TABLES


class TableFile(Form):
    """A table for other programs. It does not record its request, so it is only replaced with ``overwrite``."""

    state: ClassVar[str] = ""

    def finished(self, path: Path, request: str) -> bool:
        """False, because a table does not say what made it."""
        return False

    def demand_vacant(self, path: Path, request: str, overwrite: bool) -> None:
        """Raise ExistsError where there is something that may not be replaced."""
        if path.suffix.lower() == ".parquet":
            pyarrow()  # is missing now rather than after the work
        durable.demand_vacant(path, overwrite, Path.is_file)


def save(path: Path, columns: Columns, rows: Iterable[Sequence[Value]]) -> None:
    """Write a table with a header, whose format is that of the ending; what was there is replaced.

    Floats are written so that reading gives them back exactly. Missing values (None) and empty text are empty fields,
    in JSON and Parquet null. JSON has no infinity: there what is not finite is null, too. In text, carriage
    returns and bytes that are no UTF-8 are spelled out.
    """
    rows = ([_spelled(value) if isinstance(value, str) else value for value in row] for row in rows)
    with durable.whole_or_absent(path, overwrite=True) as partial:
        if path.suffix.lower() == ".parquet":
            _save_parquet(partial, columns, rows)
            return
        with partial.open("w", encoding="utf-8", newline="") as file:
            match path.suffix.lower():
                case ".csv":
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(columns)
                    writer.writerows(rows)
                case ".tsv":
                    file.writelines(text.tsv(" ".join(columns), rows))
                case _:
                    objects = (dict(zip(columns, map(_finite, row), strict=True)) for row in rows)
                    file.writelines(json.dumps(each) + "\n" for each in objects)


def read(path: Path, columns: Columns) -> list[dict[str, Value]]:
    """The rows of a table that has these columns, in any of the formats of :func:`save`; an empty field is None.

    Raises DataError where it is no such table.
    """
    if not is_table(path):
        raise DataError(f"{text.shown(path)} is not a table: its name ends in {', '.join(TABLES)}")
    try:
        with durable.os_errors(path, "read"):
            rows = list(_rows(path))
    except (ValueError, NotImplementedError, RecursionError, csv.Error) as error:
        raise DataError(f"{text.shown(path)} cannot be read as {path.suffix[1:]}: {text.shown(str(error))}") from error
    for number, row in enumerate(rows, 1):
        for name, kind in columns.items():
            if name not in row:
                raise DataError(f"{text.shown(path)} has no column {name} in row {number}")
            try:
                row[name] = None if row[name] in ("", None) else kind(row[name])
            except (TypeError, ValueError, OverflowError) as error:
                value = text.shown(str(row[name]))
                raise DataError(
                    f"{text.shown(path)}: {name} in row {number} is {value!r}, no {kind.__name__}"
                ) from error
    return rows


def _spelled(text: str) -> str | None:
    """Text as every format holds it: csv quotes no carriage return before Python 3.13, and UTF-8 has no surrogates."""
    return re.sub("[\r\ud800-\udfff]", lambda match: repr(match[0])[1:-1], text) or None


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    match path.suffix.lower():
        case ".parquet":
            yield from pyarrow("pyarrow.parquet").read_table(path).to_pylist()
        case ".jsonl":
            with path.open(encoding="utf-8", newline="\n") as file:
                for line in file:
                    row = text.read_json(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"{line.strip()[:40]} is not an object")
                    yield row
        case ending:
            with path.open(encoding="utf-8", newline="") as file:
                style: dict[str, Any] = (
                    {"strict": True} if ending == ".csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
                )
                yield from csv.DictReader(file, **style)


def _finite(value: Value) -> Value:
    """The value; None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save_parquet(path: Path, columns: Columns, rows: Iterable[Sequence[Value]]) -> None:
    arrow, parquet = pyarrow(), pyarrow("pyarrow.parquet")
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        rest = iter(rows)
        while part := list(islice(rest, _ROWS)):
            values = zip(*part, strict=True)
            arrays = [arrow.array(column, kind) for column, kind in zip(values, schema.types, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
