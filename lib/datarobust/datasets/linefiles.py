"""Files with one thing a line: chosen points, as ``cut -f1`` makes them of a ranking; labels; names of classes.

Blank lines and lines that begin with ``#`` are passed over. Labels may be a .npy array as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datarobust.datasets.files import NPY_FAULTS, brief, file_sha256, reading
from datarobust.datasets.sources import MOST_CLASSES, as_labels
from datarobust.errors import DataError, DatarobustError, SelectionError
from datarobust.text import shown
from datarobust.types import Rows

MOST_NAMES_BYTES = 16 << 20  # of a file of class names
LINE_BYTES = 4096  # longest line that is read; a number takes a few bytes, a comment may take more

_NPY = b"\x93NUMPY"


def read_indices(file: BinaryIO, name: str, points: int) -> tuple[Rows, str]:
    """The indices in ``file``, one a line, and the sha256 of its bytes.

    Raises SelectionError where a line is no index of a set of so many points or repeats one, and where there is none.
    """
    lines: dict[int, int] = {}  # index -> its line
    digest = hashlib.sha256()
    for number, index in _numbers(file, name, digest, "index", SelectionError):
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
        for number, label in _numbers(file, name, digest, "label", DataError):
            where = f"{name}, line {number}"
            if len(labels) == points:
                raise DataError(f"{where} is one label too many: the dataset has {points:,} points.")
            if label >= (classes or MOST_CLASSES):
                most = f"the classes are 0..{classes - 1}: name others with `classes`" if classes else ""
                raise DataError(f"{where} is {label}, but {most or 'that is no class number'}.")
            labels.append(label)
    if len(labels) < points:
        raise DataError(f"{name} has {len(labels):,} labels, but the dataset has {points:,} points.")
    return np.array(labels, np.int64), digest.hexdigest()


def _labels_of_array(path: Path, points: int, classes: int) -> tuple[Rows, str]:
    where = shown(path)
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_FAULTS as error:
        raise DataError(f"{where} is no readable array ({brief(error)}).") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} has dtype {shown(str(array.dtype))}: labels are whole numbers.")
    if array.ndim not in (1, 2) or array.shape[1:] not in ((), (1,)):
        raise DataError(f"{where} has shape {array.shape}: one label a point is needed.")
    if len(array) != points:
        raise DataError(f"{where} has {len(array):,} labels, but the dataset has {points:,} points.")
    labels, _ = as_labels(np.array(array), 0, where, classes)
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
            way = "cut -f1 keeps the first column" if b"\t" in word else "whole numbers from 0 on are, one a line"
            raise error(f"{name}, line {number} is no {what}: '{text}'; {way}.")


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
        raise DataError(f"{shown(path)} has more than {MOST_NAMES_BYTES >> 20} MiB: it is no file of class names.")
    names = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    if names == ("",):
        raise DataError(f"{shown(path)} holds no class names.")
    check_names(names, shown(path))
    return names


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
