"""Files with one thing a line: chosen points, as ``cut -f1`` makes them of a ranking; labels; names of classes.

Blank lines and lines that begin with ``#`` are passed over. Labels may be a .npy array as well. Tables of files and
their labels, as CSV, TSV or JSON lines, name their columns.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from datarobust.datasets.files import brief, file_sha256, raw_file, reading
from datarobust.datasets.sources import MOST_CLASSES, Npy, as_labels
from datarobust.errors import DataError, DatarobustError, SelectionError
from datarobust.text import read_json, shown
from datarobust.types import Rows

MOST_NAMES_BYTES = 16 << 20  # of a file of class names
LINE_BYTES = 4096  # longest line that is read; a number takes a few bytes, a comment may take more
# Names of columns, the usual one first.
FILE_COLUMNS = ("file_name", "filename", "file", "path", "image", "name", "image_id", "id")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target")

_MOST_TABLE_BYTES = 256 << 20
_NPY = b"\x93NUMPY"


def read_indices(file: BinaryIO, name: str, points: int) -> tuple[Rows, str]:
    """The indices in ``file``, one a line, and the sha256 of its bytes.

    Raises SelectionError where a line is no index of a set of so many points or repeats one, and where there is none.
    """
    lines: dict[int, int] = {}  # index -> its line
    digest = hashlib.sha256()
    for number, index in _numbers(file, name, digest, "an index", SelectionError):
        if index >= points:
            raise SelectionError(f"{name}, line {number} is {index}, but the dataset has the points 0..{points - 1}.")
        if lines.setdefault(index, number) != number:
            raise SelectionError(f"{name}, line {number} repeats index {index} of line {lines[index]}.")
    if not lines:
        raise SelectionError(f"{name} holds no index.")
    return np.array(list(lines), dtype=np.int64), digest.hexdigest()


def read_labels(path: Path, points: int, classes: int) -> tuple[Rows, str]:
    """The labels int64 (points) in a file, one a line or a .npy array (N) or (N, 1), and the sha256 of its bytes.

    ``classes`` is how many classes have names. Raises DataError where the file cannot be read, holds fewer or more
    labels than there are points, or a label that is none.
    """
    name, digest = shown(path), hashlib.sha256()
    labels: list[int] = []
    with reading(path), path.open("rb") as file:
        if file.peek(len(_NPY))[: len(_NPY)] == _NPY:
            return _labels_of_array(path, points, classes)
        for number, label in _numbers(file, name, digest, "a label", DataError):
            where = f"{name}, line {number}"
            if len(labels) == points:
                raise DataError(f"{where} is one label too many: the dataset has {points:,} points.")
            if label >= (classes or MOST_CLASSES):
                most = f"the classes are 0..{classes - 1}: name others with `classes`" if classes else ""
                raise DataError(f"{where} is {label}, but {most or 'that is not a class number'}.")
            labels.append(label)
    if len(labels) < points:
        raise DataError(f"{name} has {len(labels):,} labels, but the dataset has {points:,} points.")
    return np.array(labels, np.int64), digest.hexdigest()


def _labels_of_array(path: Path, points: int, classes: int) -> tuple[Rows, str]:
    where, array = shown(path), Npy(raw_file(path), path.name)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} has dtype {array.dtype}: labels are whole numbers.")
    if not array.shape or array.shape[1:] not in ((), (1,)):
        raise DataError(f"{where} has shape {array.shape}: one label a point is needed.")
    if array.shape[0] != points:
        raise DataError(f"{where} has {array.shape[0]:,} labels, but the dataset has {points:,} points.")
    labels, _ = as_labels(array.whole(array.raw.size), 0, where, classes)
    return labels, file_sha256(path)


def _numbers(
    file: BinaryIO, name: str, digest: hashlib._Hash, what: str, error: type[DatarobustError]
) -> Iterator[tuple[int, int]]:
    """Line number and number of every line that is not passed over; the digest is updated with all bytes."""
    for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), start=1):
        digest.update(line)
        word = line.strip()
        if not word or word.startswith(b"#"):
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                raise error(f"{name}, line {number} is too long.")
        elif word.isdigit() and len(word) <= 18:
            yield number, int(word)
        else:
            text = shown(word[:40].decode("utf-8", "backslashreplace"))
            way = "cut -f1 keeps the first column" if b"\t" in word else "give one whole number per line, from 0 on"
            raise error(f"{name}, line {number} is not {what}: '{text}'; {way}.")


def read_names(path: Path) -> tuple[str, ...]:
    """The class names in a UTF-8 text file, one a line. Raises DataError where there are none, or one comes twice."""
    with reading(path), path.open("rb") as file:
        data = file.read(MOST_NAMES_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{shown(path)}, line {line}: class names are UTF-8 text, one a line.") from error
    if len(data) > MOST_NAMES_BYTES:
        raise DataError(f"{shown(path)} has more than {MOST_NAMES_BYTES >> 20} MiB: it is not a file of class names.")
    names = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    if names == ("",):
        raise DataError(f"{shown(path)} holds no class names.")
    check_names(names, shown(path))
    return names


def read_classes(path: Path, points: int, classes: Sequence[str] | None) -> tuple[Rows, tuple[str, ...]]:
    """The labels int64 (points) in a text file, one a line, whole numbers or text, and the names of the classes.

    Raises DataError where there are fewer or more than points, or one is not among ``classes``.
    """
    where, lines, labels = shown(path), list[int](), list[str]()
    with reading(path), path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), start=1):
            word = line.strip()
            if not word or word.startswith(b"#"):
                continue
            if len(labels) == points:
                raise DataError(f"{where}, line {number} is one label too many: there are {points:,} points.")
            try:
                labels.append(word.decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise DataError(f"{where}, line {number} is not UTF-8 text: labels are, one a line.") from error
            lines.append(number)
    if len(labels) < points:
        raise DataError(f"{where} has {len(labels):,} labels, but there are {points:,} points.")
    numbers, names = numbered(labels, lines, where, classes)
    return np.array(numbers, np.int64), names


def read_table(path: Path, data: bytes | None = None) -> Iterator[tuple[int, str, str]]:
    """Line, file name and label of every row of a table: CSV, TSV, or JSON lines where it is called .jsonl.

    ``data`` are its bytes where it is no file of its own. The columns are file_name and label, or are called in another
    of the usual ways. Raises DataError where there are no such columns, where one occurs twice, or where a row lacks
    one.
    """
    where = shown(path)
    with reading(path):
        size = path.stat().st_size if data is None else len(data)
    if size > _MOST_TABLE_BYTES:
        raise DataError(f"{where} has more than {_MOST_TABLE_BYTES >> 20} MiB: it is not a table of labels.")
    try:
        file: TextIO
        binary = path.open("rb") if data is None else io.BytesIO(data)
        with reading(path), io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as file:
            yield from _json_rows(file, where) if path.suffix == ".jsonl" else _csv_rows(file, where)
    except DataError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise DataError(f"{where} is not UTF-8 text: a table of labels is CSV, TSV or JSON lines.") from error
        raise


def _csv_rows(file: TextIO, where: str) -> Iterator[tuple[int, str, str]]:
    head = file.readline(LINE_BYTES)
    delimiter = next((each for each in "\t;," if each in head), ",")
    file.seek(0)
    rows = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        places = [_column(header, known, where) for known in (FILE_COLUMNS, LABEL_COLUMNS)]
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                fault = f"has {len(row)} fields, but its header has {len(header)}"
                raise DataError(f"{where}, line {rows.line_num} {fault}.")
            yield rows.line_num, row[places[0]].strip(), row[places[1]].strip()
    except csv.Error as error:
        raise DataError(f"{where}, line {rows.line_num} is not a CSV: {brief(error)}.") from error


def _json_rows(file: TextIO, where: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = read_json(line)
        except ValueError as error:
            raise DataError(f"{where}, line {number} is not JSON object.") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}, line {number} is not JSON object.")
        names = [name.lower() for name in row]
        values = list(row.values())
        name, label = (values[_column(names, known, where)] for known in (FILE_COLUMNS, LABEL_COLUMNS))
        if not isinstance(name, str) or not isinstance(label, str | int) or isinstance(label, bool):
            raise DataError(f"{where}, line {number}: a file name is text, a label text or a whole number.")
        yield number, name, str(label)


def _column(header: Sequence[str], known: Sequence[str], where: str) -> int:
    """The place of the one column that is called in a known way; the first way that there is counts."""
    name = next((name for name in known if name in header), None)
    if name is None or header.count(name) > 1:
        listed = ", ".join(shown(name) for name in header[:12]) or "none"
        raise DataError(f"{where} has the columns {listed}: name two of them file_name and label.")
    return header.index(name)


def numbered(
    labels: Sequence[str], lines: Sequence[int], where: str, classes: Sequence[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    """Labels of a table as numbers, and the names of the classes.

    Whole numbers stay what they are. Text is numbered in the order of ``classes``, or in its own (by code point), and
    names the classes. Raises DataError at an empty label, and at one that is not among ``classes``.
    """
    if not labels:
        raise DataError(f"{where} lists nothing.")
    numbers = all(label.isdecimal() and label.isascii() and len(label) <= 18 for label in labels)
    names = tuple(classes or (() if numbers else sorted(set(labels))))
    places = {name: place for place, name in enumerate(names)}
    if numbers and not set(labels) <= set(names):
        places = {label: int(label) for label in labels}
    for line, label in zip(lines, labels, strict=True):
        if not label:
            raise DataError(f"{where}, line {line} has no label.")
        if label not in places or places[label] >= (len(names) or MOST_CLASSES):
            fault = "not among the class names" if names else "too large for a class number"
            raise DataError(f"{where}, line {line}: the label {shown(label)} is {fault}.")
    return [places[label] for label in labels], names


def check_names(classes: Sequence[str], where: str) -> None:
    """Raise DataError where a class name is empty, no text, or given twice."""
    seen: dict[str, int] = {}
    for place, name in enumerate(classes):
        if not name:
            raise DataError(f"{where}: class {place} has an empty name.")
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{where}: the name of class {place} is not text.") from error
        if name in seen:
            raise DataError(f"{where}: classes {seen[name]} and {place} are both called {shown(name)}.")
        seen[name] = place
