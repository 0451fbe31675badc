"""Looking at artifacts, and knowing what was done already."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datarobust import artifacts
from datarobust.artifacts import locked
from datarobust.artifacts.durable import leftovers
from datarobust.errors import ArtifactError, LockedError

from .conftest import in_child, tree, write

pytestmark = pytest.mark.usefixtures("small")


def test_peek_sees_what_check_sees(store: Path) -> None:
    summary = artifacts.peek(store)
    assert summary == artifacts.check(store)
    assert (summary.kind, summary.version, summary.path) == ("dataset", 2, store)
    assert summary.arrays == {
        "images": ("uint8", (150, 1, 4, 4)),
        "index": ("int64", (150,)),
        "labels": ("int64", (150,)),
    }


@pytest.mark.parametrize("look", [artifacts.peek, artifacts.check])
@pytest.mark.parametrize("path", ["none", "pipe", "text", "folder", "x" * 300, "none/x", "text/x", "a\0b"])
def test_what_is_no_artifact(tmp_path: Path, look: Callable[[Path], object], path: str) -> None:
    (tmp_path / "text").write_text("x" * 100)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError) as caught:
        look(tmp_path / path)
    assert str(caught.value).startswith(str(tmp_path / path))


def test_finished_knows_its_own_request(store: Path) -> None:
    assert artifacts.finished(store, "seed 0")
    assert not artifacts.finished(store, "seed 1")
    assert not artifacts.finished(store.with_name("none"), "seed 0")
    (store / "images" / "c.0.0.0.0").unlink()
    assert not artifacts.finished(store, "seed 0")


def test_finished_removes_what_killed_runs_left(store: Path) -> None:
    """All but a state, which `make` discards: other work at the same path may go on from it."""
    for role in ("lock", "progress", "resume", "trash"):
        store.with_name(f".{store.name}.{role}").write_text("")
    assert artifacts.finished(store, "seed 0")
    assert [path.name for path in leftovers(store)] == [f".{store.name}.resume"]


def test_finished_puts_back_what_a_killed_replacement_set_aside(store: Path) -> None:
    before = tree(store)
    store.rename(store.with_name(f".{store.name}.old"))
    with pytest.raises(ArtifactError, match=r"replacement was cut short.*rename .*\.d\.zarr\.old to "):
        artifacts.peek(store)
    assert artifacts.finished(store, "seed 0")
    assert tree(store) == before


def test_unfinished_work_is_named(tmp_path: Path) -> None:
    (tmp_path / ".d.zarr.partial").mkdir()
    with pytest.raises(ArtifactError, match="is not finished: run the command"):
        artifacts.peek(tmp_path / "d.zarr")


def test_finished_while_somebody_writes(tmp_path: Path) -> None:
    def ask() -> None:
        with pytest.raises(LockedError):
            artifacts.finished(tmp_path / "d.zarr", "seed 0")

    with locked(tmp_path / "d.zarr"):
        assert in_child(ask) == 0


def test_a_fingerprint_is_of_values_not_of_their_order() -> None:
    assert artifacts.fingerprint({"a": 1, "b": (2, 3)}) == artifacts.fingerprint({"b": [2, 3], "a": 1})
    assert artifacts.fingerprint({"a": 1}) != artifacts.fingerprint({"a": "1"})
    with pytest.raises(ArtifactError, match="JSON"):
        artifacts.fingerprint({"a": float("nan")})


def test_names_with_anything_in_them(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff bytes.zarr")
    write(path)
    assert artifacts.finished(path, "seed 0")
