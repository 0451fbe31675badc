"""The line of a comparison in a file, and its state beside it, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import durable, files
from datarobust.errors import ExistsError

State = Mapping[str, npt.NDArray[Any] | int | float]
EVERY = 30.0
"""Seconds between two saved states."""
_MOST_BYTES = 1 << 20


class Keeper:
    """Journals of the two sides of a comparison. Hold the output's lock while using it.

    Args:
        output: beside which they are; None keeps nothing.
        request: names the comparison.
        every: seconds between two saved states.
    """

    def __init__(self, output: Path | None, request: str, every: float = EVERY) -> None:
        self._journals = {}
        if output is not None:
            self._journals = {
                role: artifacts.Journal(output.with_name(f"{output.name}.{role}"), request) for role in ("a", "b")
            }
        self._every, self._saved = every, time.monotonic()

    def load(self, role: str) -> dict[str, npt.NDArray[Any]] | None:
        """The last state of a side, if there is one."""
        return self._journals[role].load() if self._journals else None

    @property
    def due(self) -> bool:
        """Whether it is time for another state."""
        return bool(self._journals) and time.monotonic() - self._saved >= self._every

    def save(self, role: str, state: State) -> None:
        """Keep the state of a side, in place of the one before."""
        if self._journals:
            self._journals[role].save(state)
            self._saved = time.monotonic()

    def discard(self) -> None:
        """Drop all, because the work is done."""
        for journal in self._journals.values():
            journal.discard()


def recorded(path: Path, request: str) -> str | None:
    """The line in a file, where it is that of this very request."""
    try:
        line = path.read_text(encoding="utf-8") if path.is_file() and path.stat().st_size < _MOST_BYTES else ""
        found = json.loads(line)
    except ValueError:
        return None
    return line.rstrip("\n") if isinstance(found, dict) and found.get("request") == request else None


def demand_free(path: Path, overwrite: bool) -> None:
    """Refuse to write a line where something else is.

    Raises:
        ExistsError: there is something, and it may not be replaced.
    """
    durable.checked_output(path)
    if os.path.lexists(path) and not (overwrite and path.is_file()):
        raise ExistsError(f"{path} holds something else: choose another name, or replace a file with `overwrite`")


def write_line(path: Path, line: str) -> None:
    """Put a line into a file, at once; hold its lock."""
    with files.told(path):
        files.replace_file(path, f"{line}\n".encode())
