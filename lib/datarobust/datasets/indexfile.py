"""Index files: chosen points as lines of text, one index a line, as ``cut -f1`` makes them of a ranking."""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from datarobust.errors import SelectionError
from datarobust.text import shown

LINE_BYTES = 4096
"""Longest line that is read; an index takes a few bytes, a comment may take more."""


def read_indices(file: BinaryIO, name: str, points: int) -> tuple[npt.NDArray[np.int64], str]:
    """The indices in ``file``, one a line, and the sha256 of its bytes.

    Raises SelectionError, naming file and line, where a line is no index of a set of ``points`` points, or repeats
    one, and where there is none at all.
    """
    found: list[int] = []
    places: list[int] = []
    digest = hashlib.sha256()
    for place, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), start=1):
        digest.update(line)
        word = line.strip()
        if not word or word.startswith(b"#"):
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                raise SelectionError(f"{name}, line {place} is too long for an index file.")
            continue
        found.append(_index(word, f"{name}, line {place}", points))
        places.append(place)
    if not found:
        raise SelectionError(f"{name} holds no index.")
    rows = np.array(found, dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    twice = np.flatnonzero(rows[order][1:] == rows[order][:-1])
    if len(twice):
        at = min(int(order[i + 1]) for i in twice)
        before = found.index(found[at])
        raise SelectionError(f"{name}, line {places[at]} repeats index {found[at]} of line {places[before]}.")
    return rows, digest.hexdigest()


def _index(word: bytes, where: str, points: int) -> int:
    text = shown(word[:40].decode("utf-8", "backslashreplace"))
    if word.isdigit() and len(word) <= 18:
        value = int(word)
        if value < points:
            return value
        raise SelectionError(f"{where} is {value}, but the dataset has the points 0..{points - 1}.")
    if re.fullmatch(rb"-[0-9]+", word):
        raise SelectionError(f"{where} is {text}: an index is never negative.")
    if b"\t" in word:
        raise SelectionError(f"{where} has several columns ('{text}'): cut -f1 keeps the index alone.")
    raise SelectionError(f"{where} is no index: '{text}'.")
