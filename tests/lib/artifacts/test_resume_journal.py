"""A long computation finds its own last state, whole, and no other."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust.artifacts import Journal
from datarobust.errors import ArtifactError

from .conftest import Faults, failing, in_child, killing

pytestmark = pytest.mark.usefixtures("small")
STATE: dict[str, Any] = {
    "distances": np.arange(20).reshape(5, 4),
    "neighbours": np.array([3, -1]),
    "r": np.array([np.inf, np.nan]),
    "flags": np.array([[True], [False]]),
    "none": np.empty((0, 3), np.float32),
    "done": 12,
    "line\nbreak": np.float64(0.5),
}


def same(found: dict[str, np.ndarray[Any, Any]] | None) -> bool:
    return (
        found is not None
        and list(found) == list(STATE)
        and all(
            np.array_equal(found[name], value, equal_nan=found[name].dtype.kind == "f")
            and found[name].dtype == np.asarray(value).dtype
            for name, value in STATE.items()
        )
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.zarr", "key")
    assert journal.load() is None
    journal.save({"other": 1})
    journal.save(STATE)
    found = Journal(tmp_path / "r.zarr", "key").load()
    assert same(found)
    assert found is not None
    found["distances"][0, 0] = 7  # writable: the computation goes on in it
    assert found["done"].shape == ()
    assert [entry.name for entry in tmp_path.iterdir()] == [".r.zarr.journal"]
    journal.discard()
    journal.discard()
    assert not list(tmp_path.iterdir())


def test_a_state_is_replaced_not_changed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r", "key")
    journal.save({"a": 1})
    with journal.path.open("rb") as before:
        whole = journal.path.read_bytes()
        journal.save(STATE)
        assert before.read() == whole


def test_of_another_request_nothing_remains(tmp_path: Path) -> None:
    Journal(tmp_path / "r", "key").save(STATE)
    assert Journal(tmp_path / "r", "key2").load() is None
    assert not list(tmp_path.iterdir())


def test_a_torn_or_altered_journal_is_no_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r", "key")
    journal.save(STATE)
    whole = journal.path.read_bytes()
    for size in [*range(0, len(whole), 13), len(whole) - 1]:
        journal.path.write_bytes(whole[:size])
        assert journal.load() is None
        assert not journal.path.exists()
    for place in range(0, 8 * len(whole), 17):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        journal.path.write_bytes(data)
        assert journal.load() is None
    journal.path.write_bytes(whole + b"x")
    assert journal.load() is None


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold x of dtype object"):
        Journal(tmp_path / "r", "key").save({"x": np.array([{}])})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("forever", [False, True])
def test_a_full_disk_keeps_the_old_state(tmp_path: Path, forever: bool) -> None:
    for place in range(1, 20):
        journal = Journal(tmp_path / f"{place}", "key")
        journal.save(STATE)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, failing(place, forever=forever))
            try:
                journal.save({"new": 1})
            except ArtifactError as error:
                assert "disk is full" in str(error)  # noqa: PT017 - not every place fails
        found = journal.load()
        assert same(found) or found == {"new": 1}
        if faults.count < place:
            break
    assert 2 < place < 19


def test_kill_at_any_moment_keeps_a_state(tmp_path: Path) -> None:
    for place in range(1, 20):
        journal = Journal(tmp_path / f"{place}", "key")
        journal.save(STATE)

        def work(journal: Journal = journal, place: int = place) -> None:
            with pytest.MonkeyPatch.context() as patch:
                Faults(patch, killing(place))
                journal.save({"new": 1})

        code = in_child(work)
        assert code in (0, -signal.SIGKILL)
        found = journal.load()
        assert same(found) or found == {"new": 1}
        journal.save(STATE)
        journal.discard()
        assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(f".{place}.")]
        if code == 0:
            break
    assert 2 < place < 19
