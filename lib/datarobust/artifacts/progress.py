"""Which blocks of an unfinished store are durable, for the next run of the same request."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from datarobust.artifacts import durable
from datarobust.artifacts.digests import canonical, parse


class Progress:
    """An append-only file beside the output: a line for each block that is durable, in the order of writing.

    The first line is the fingerprint of the request. A last line that was torn by a crash is ignored.
    """

    def __init__(self, file: Path, request: str) -> None:
        self._file = file
        self._request = request
        self._descriptor: int | None = None

    def load(self) -> dict[str, list[str]] | None:
        """Array -> hashes of its blocks in order; None if there is nothing for this request."""
        try:
            lines = self._file.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        if not lines or lines[0] != self._request.encode():
            return None
        found: dict[str, list[str]] = {}
        for line in lines[1:]:
            try:
                name, digest = parse(line)
            except ValueError:  # torn: what follows cannot be trusted either, and is written again
                break
            found.setdefault(name, []).append(digest)
        return found

    def start(self, hashes: Mapping[str, Sequence[str]]) -> None:
        """Begin the file anew with the blocks that are kept."""
        lines = [self._request.encode(), *(canonical([name, one]) for name, many in hashes.items() for one in many)]
        durable.replace_file(self._file, b"\n".join(lines) + b"\n")
        self._descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def note(self, name: str, digest: str) -> None:
        """One more block of the array ``name`` is durable."""
        assert self._descriptor is not None
        durable.write_all(self._descriptor, canonical([name, digest]) + b"\n")
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file; it stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
