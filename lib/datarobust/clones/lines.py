"""The lines of a search: what was asked in the first, then one for each finished point; a file that only grows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datarobust import artifacts
from datarobust.artifacts import durable, files
from datarobust.diffusion.sampler import Sampler
from datarobust.diffusion.search import Point, Result, grid
from datarobust.errors import DataError, ExistsError
from datarobust.text import shown

_MOST_BYTES = 1 << 28
_KEYS = {"point": int, "seed": int, "images": int, "score": float}


@dataclass
class Lines:
    """A file of lines that one process adds to, under its lock.

    Attributes:
        path: the file.
        asked: what decides the results; it stands in the first line.
    """

    path: Path
    asked: Mapping[str, Any]

    @property
    def request(self) -> str:
        """Names the search."""
        return artifacts.fingerprint(self.asked)

    def begin(self, overwrite: bool) -> list[Result]:
        """Make the file, or take up the one of the same search; what it has, without a line that a kill tore.

        Raises:
            ExistsError: it holds something else.
        """
        path = durable.checked_output(self.path)
        with files.told(path):
            there = path.is_file()
            if (there and overwrite and self._recorded() != self.request) or not os.path.lexists(path):
                files.replace_file(path, _line({"request": self.request, **self.asked}))
                return []
            if not there or self._recorded() != self.request:
                raise ExistsError(f"{path} holds something else: choose another name, or replace it with `overwrite`")
            results, whole = read(path)
            files.replace_file(path, whole)
        return results

    def add(self, result: Result, more: Mapping[str, Any]) -> None:
        """One more line, on the disk when this returns."""
        told = {"seed": result.seed, "images": result.images, "score": result.score}
        with files.told(self.path), self.path.open("ab") as file:
            file.write(_line({"point": result.point, **more, **told}))
            file.flush()
            os.fsync(file.fileno())

    def results(self) -> list[Result]:
        """What the file of the same search has; nothing where there is none."""
        if not self.path.is_file() or self._recorded() != self.request:
            return []
        return read(self.path)[0]

    def _recorded(self) -> str | None:
        try:
            return str(header(self.path)["request"])
        except (DataError, KeyError):
            return None


def header(path: Path) -> dict[str, Any]:
    """What was asked, as the first line tells.

    Raises:
        DataError: it is no such file.
    """
    with files.told(path, "read"), path.open("rb") as file:
        first = file.readline(1 << 20)
    found = _parsed(first, path, 1)
    if "request" not in found:
        raise DataError(f"{shown(path)} holds no lines of clone-search: its first line has no request")
    return found


def read(path: Path) -> tuple[list[Result], bytes]:
    """The results in a file, and its bytes without a torn line at the end.

    Raises:
        DataError: a line is none of clone-search; the sentence names it.
    """
    records, whole = _records(path)
    return [_result(record) for record in records], whole


def gather(paths: Sequence[Path]) -> tuple[str, list[Point], list[Result]]:
    """What the scores are distances of, the points of the grid, and the results in files of one search.

    Raises:
        DataError: a file holds no lines of clone-search, or lines of another search.
    """
    asked = [header(path) for path in paths]
    for path, one in zip(paths, asked, strict=True):
        if one["request"] != asked[0]["request"]:
            raise DataError(f"{shown(path)} has lines of another search than {shown(paths[0])}")
    changes = asked[0].get("grid")
    if not isinstance(changes, dict):
        raise DataError(f"{shown(paths[0])} holds no lines of clone-search: its first line has no grid")
    points = grid({name: [float(value) for value in values] for name, values in changes.items()}, Sampler())
    found = {}
    for path in paths:
        for number, record in enumerate(_records(path)[0], 2):
            result = _result(record)
            if not 0 <= result.point < len(points):
                raise DataError(f"{shown(path)}, line {number} has point {result.point}, which the grid does not have")
            found[result.point, result.seed, result.images] = result
    return str(asked[0].get("features", "")), points, list(found.values())


def _records(path: Path) -> tuple[list[dict[str, Any]], bytes]:
    with files.told(path, "read"):
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{shown(path)} is too large for lines of clone-search")
        data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    found = []
    for number, text in enumerate(whole.splitlines()[1:], 2):
        line = _parsed(text, path, number)
        for key, kind in _KEYS.items():
            if type(line.get(key)) not in (kind, int):
                raise DataError(f"{shown(path)}, line {number} has no {key}: it is no line of clone-search")
        found.append(line)
    return found, whole


def _result(line: Mapping[str, Any]) -> Result:
    return Result(line["point"], line["seed"], line["images"], float(line["score"]))


def _parsed(text: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"{shown(path)}, line {number} is no line of clone-search ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{shown(path)}, line {number} is no line of clone-search")
    return found


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
