"""Label files: the label of every point, in the order of the dataset; lines of text, or a .npy array."""

from __future__ import annotations

import hashlib
import tokenize
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from datarobust.datasets.checks import MOST_CLASSES, as_labels
from datarobust.datasets.sources import file_sha256
from datarobust.errors import DataError
from datarobust.text import shown

Ints = npt.NDArray[np.int64]

LINE_BYTES = 4096
"""Longest line that is read; a label takes a few bytes, a comment may take more."""

_NPY = b"\x93NUMPY"
_FAULTS = (ValueError, SyntaxError, TypeError, KeyError, EOFError, RecursionError, MemoryError, tokenize.TokenError)


def read_labels(path: Path, points: int, classes: int) -> tuple[Ints, str]:
    """The labels int64 (points) in a file, and the sha256 of its bytes.

    Text has one whole number a line; blank lines and lines that begin with ``#`` are passed over. An array is (N) or
    (N, 1), of whole numbers. ``classes`` is how many classes are named, 0 where none is.

    Raises:
        DataError: the file cannot be read, holds fewer or more labels than there are points, or a label that is none;
            the sentence names file and line.
    """
    try:
        with path.open("rb") as file:
            if file.peek(len(_NPY))[: len(_NPY)] != _NPY:
                return _from_lines(file, shown(path), points, classes)
        return _from_array(path, points, classes)
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}.") from error


def _from_lines(file: BinaryIO, name: str, points: int, classes: int) -> tuple[Ints, str]:
    labels = np.empty(points, np.int64)
    digest = hashlib.sha256()
    count = 0
    for place, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), start=1):
        digest.update(line)
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            raise DataError(f"{name}, line {place} is too long for a file of labels.")
        word = line.strip()
        if not word or word.startswith(b"#"):
            continue
        if count == points:
            raise DataError(f"{name}, line {place} is one label too many: the dataset has {points:,} points.")
        labels[count] = _label(word, f"{name}, line {place}", classes)
        count += 1
    if count < points:
        raise DataError(f"{name} has {count:,} labels, but the dataset has {points:,} points: one a point is needed.")
    return labels, digest.hexdigest()


def _label(word: bytes, where: str, classes: int) -> int:
    if not word.isdigit():
        text = shown(word[:40].decode("utf-8", "backslashreplace"))
        raise DataError(f"{where} is '{text}', no label: labels are whole numbers from 0 on, one a line.")
    value = int(word[:20])
    if len(word) > 18 or value >= (classes or MOST_CLASSES):
        most = f"the classes are 0..{classes - 1}: name others with `classes`" if classes else "that is no class number"
        raise DataError(f"{where} is {value}, but {most}.")
    return value


def _from_array(path: Path, points: int, classes: int) -> tuple[Ints, str]:
    where = shown(path)
    try:
        found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except _FAULTS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise DataError(f"{where} is no readable array ({shown(reason).rstrip('.')}).") from error
    if found.dtype.kind not in "biuf":
        raise DataError(f"{where} has dtype {shown(str(found.dtype))}: labels are whole numbers.")
    if found.ndim not in (1, 2) or found.shape[1:] not in ((), (1,)):
        raise DataError(f"{where} has shape {found.shape}: one label a point is needed.")
    if len(found) != points:
        raise DataError(f"{where} has {len(found):,} labels, but the dataset has {points:,} points.")
    labels, _ = as_labels(np.array(found), 0, where, classes)
    return labels, file_sha256(path)
