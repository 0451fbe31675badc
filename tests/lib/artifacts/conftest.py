"""Small artifacts with several shards, and ways to disturb the system while they are written."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts import store as stores

COLUMNS = {"images": ("uint8", (1, 4, 4)), "labels": ("int64", ()), "index": ("int64", ())}
ROWS = 150
HISTORY = [artifacts.Step("dataset import", ("digits", "-o", "d.zarr"), "0.1.0", None, None, {"source": "0" * 64})]


def made(history: list[artifacts.Step], digest: str) -> tuple[artifacts.Step, ...]:
    """A history as it is read from the artifact that has this digest."""
    return (*history[:-1], replace(history[-1], output=digest))


def rows_of(seed: int = 0, rows: int = ROWS) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of a small dataset."""
    random = np.random.default_rng(seed)
    return {
        "images": random.integers(0, 256, (rows, 1, 4, 4), dtype=np.uint8),
        "labels": random.integers(0, 3, rows),
        "index": np.arange(rows),
    }


def write(path: Path, seed: int = 0, step: int = 37, *, rows: int = ROWS, **options: Any) -> None:
    """Write that dataset as a tool would: the arrays in turns, what is done already passed over."""
    data = rows_of(seed, rows)
    attributes = {"name": "small", "classes": ["a", "b", "c"], "request": f"seed {seed}"}
    with artifacts.create(path, "dataset", COLUMNS, attributes=attributes, history=HISTORY, **options) as writer:
        for start in range(0, rows, step):
            for name, array in data.items():
                part = array[start : start + step][max(0, writer.done(name) - start) :]
                if len(part):
                    writer.append(name, part)


def tree(path: Path) -> dict[str, str]:
    """sha256 of every file under ``path``; of ``path`` itself where it is a file."""
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def put(file: Path, data: bytes) -> None:
    """Give a file other bytes. It is made anew: on ext4 one that is emptied and written again waits for the disk."""
    file.unlink(missing_ok=True)
    file.write_bytes(data)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 1 KiB and chunks of 256 bytes, so that small arrays have several of them."""
    monkeypatch.setattr(stores, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(stores, "CHUNK_BYTES", 1 << 8)


@pytest.fixture
def store(tmp_path: Path, small: None) -> Path:
    """A small dataset of several shards, the last of which is neither full nor a whole number of chunks."""
    path = tmp_path / "d.zarr"
    write(path)
    return path


CALLS = ("fsync", "rename", "replace", "mkdir", "ftruncate", "pwrite")
"""What writing asks of the system."""


class Faults:
    """Counts what is asked of the system and disturbs from the n-th on."""

    def __init__(self, patch: pytest.MonkeyPatch, disturb: Callable[[int, str], None]) -> None:
        self.count = 0
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(getattr(os, name), name, disturb))

    def _wrapped(self, call: Callable[..., Any], name: str, disturb: Callable[[int, str], None]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if name == "mkdir" and Path(arguments[0]).exists():  # takes nothing from a disk
                return call(*arguments, **options)
            self.count += 1
            disturb(self.count, name)
            return call(*arguments, **options)

        return wrapped


def failing(place: int, *, forever: bool) -> Callable[[int, str], None]:
    """The ``place``-th request fails because the disk is full; all later ones too, or no other."""

    def disturb(count: int, name: str) -> None:
        if count == place or (forever and count > place):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return disturb


def killing(place: int) -> Callable[[int, str], None]:
    """``kill -9`` just before the ``place``-th request."""

    def disturb(count: int, name: str) -> None:
        if count == place:
            os.kill(os.getpid(), signal.SIGKILL)

    return disturb


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked process; its exit code, negative for a signal."""
    process = os.fork()
    if process == 0:
        code = 99
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Set the umask for one test."""
    before = os.umask(0o022)
    yield lambda value: void(os.umask(value))
    os.umask(before)


def void(_: object) -> None:
    """Drop a result."""
