"""A long computation finds its own last state, whole, and no other."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust.artifacts import Resume, durable
from datarobust.errors import ArtifactError

from .conftest import Faults, failing, in_child, killing, put

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
        and found.keys() == STATE.keys()
        and all(
            np.array_equal(found[name], value, equal_nan=found[name].dtype.kind == "f")
            and found[name].dtype == np.asarray(value).dtype
            for name, value in STATE.items()
        )
    )


def test_saving_takes_at_most_a_tenth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def write(*_: object) -> None:
        nonlocal now
        now += 3.0

    monkeypatch.setattr(durable.time, "monotonic", lambda: now)
    monkeypatch.setattr(durable, "replace_file", write)
    resume = Resume(tmp_path / "r", "key", every=1.0)
    for seconds in (1.0, 30.0, 30.0):
        now += seconds - 0.1
        assert not resume.due
        now += 0.1
        assert resume.due
        resume.save(STATE)
    always = Resume(tmp_path / "r", "key", every=0.0)
    always.save(STATE)
    assert always.due


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    resume = Resume(tmp_path / "r.zarr", "key")
    assert resume.load() is None
    resume.save({"other": 1})
    resume.save(STATE)
    found = Resume(tmp_path / "r.zarr", "key").load()
    assert same(found)
    assert found is not None
    found["distances"][0, 0] = 7  # writable: the computation goes on in it
    assert found["done"].shape == ()
    assert [entry.name for entry in tmp_path.iterdir()] == [".r.zarr.resume"]
    resume.discard()
    resume.discard()
    assert not list(tmp_path.iterdir())


def test_a_state_is_replaced_not_changed(tmp_path: Path) -> None:
    resume = Resume(tmp_path / "r", "key")
    resume.save({"a": 1})
    with resume.path.open("rb") as before:
        whole = resume.path.read_bytes()
        resume.save(STATE)
        assert before.read() == whole


def test_of_another_request_nothing_remains(tmp_path: Path) -> None:
    Resume(tmp_path / "r", "key").save(STATE)
    assert Resume(tmp_path / "r", "key2").load() is None
    assert not list(tmp_path.iterdir())


def test_a_torn_or_altered_state_is_no_state(tmp_path: Path) -> None:
    resume = Resume(tmp_path / "r", "key")
    resume.save(STATE)
    whole = resume.path.read_bytes()
    for size in [*range(0, len(whole), 13), len(whole) - 1]:
        put(resume.path, whole[:size])
        assert resume.load() is None
        assert not resume.path.exists()
    for place in range(0, 8 * len(whole), 17):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        put(resume.path, data)
        assert resume.load() is None
    put(resume.path, whole + b"x")
    assert resume.load() is None


def claiming(**tensors: object) -> bytes:
    """The header of a safetensors file that names the right request."""
    return json.dumps({"__metadata__": {"datarobust": json.dumps({"request": "key"})}, **tensors}).encode()


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"[]", b"null", b"{", b"[" * 10_000, b'{"__metadata__": 3}', b'{"__metadata__": {"datarobust": "[]"}}'),
        claiming(),
        claiming(a={"dtype": "F64"}),
        claiming(a={"dtype": "BF16", "shape": [0], "data_offsets": [0, 0]}),
        claiming(a={"dtype": "U8", "shape": [1 << 40], "data_offsets": [0, 1 << 40]}),
    ],
)
@pytest.mark.parametrize("length", [None, 0, 1 << 40, (1 << 64) - 1])
def test_bytes_that_nobody_saved_are_no_state(tmp_path: Path, header: bytes, length: int | None) -> None:
    resume = Resume(tmp_path / "r", "key")
    put(resume.path, (len(header) if length is None else length).to_bytes(8, "little") + header)
    assert resume.load() is None
    assert not list(tmp_path.iterdir())


def test_each_process_has_a_state_and_all_go_together(tmp_path: Path) -> None:
    parts = [Resume(tmp_path / "r[1]", "key", rank, 3) for rank in range(3)]
    for rank, part in enumerate(parts):
        assert part.load() is None
        part.save({"rank": rank})
    assert {entry.name for entry in tmp_path.iterdir()} == {f".r[1]{part}.resume" for part in ("", ".1of3", ".2of3")}
    assert [int(state["rank"]) for state in parts[1].load_all()] == [1, 0, 2]
    for role in ("journal", "1of2.journal", "journal.new"):  # of version 0.1
        (tmp_path / f".r[1].{role}").write_bytes(b"datarobust journal 1\n")
    (tmp_path / ".r1.resume").write_text("of another output")
    assert parts[2].left
    parts[0].discard()
    assert not parts[2].left
    assert [entry.name for entry in tmp_path.iterdir()] == [".r1.resume"]


def test_it_is_due_once_the_time_has_passed(tmp_path: Path) -> None:
    assert Resume(tmp_path / "r", "key", every=0).due
    resume = Resume(tmp_path / "r", "key", every=3600)
    assert not resume.due
    resume.every = -1
    assert resume.due


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold x of dtype object"):
        Resume(tmp_path / "r", "key").save({"x": np.array([{}])})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("forever", [False, True])
def test_a_full_disk_keeps_the_old_state(tmp_path: Path, forever: bool) -> None:
    for place in range(1, 20):
        resume = Resume(tmp_path / f"{place}", "key")
        resume.save(STATE)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, failing(place, forever=forever))
            try:
                resume.save({"new": 1})
            except ArtifactError as error:
                assert "disk is full" in str(error)  # noqa: PT017 - not every place fails
        found = resume.load()
        assert same(found) or found == {"new": 1}
        if faults.count < place:
            break
    assert 2 < place < 19


def test_kill_at_any_moment_keeps_a_state(tmp_path: Path) -> None:
    for place in range(1, 20):
        resume = Resume(tmp_path / f"{place}", "key")
        resume.save(STATE)

        def work(resume: Resume = resume, place: int = place) -> None:
            with pytest.MonkeyPatch.context() as patch:
                Faults(patch, killing(place))
                resume.save({"new": 1})

        code = in_child(work)
        assert code in (0, -signal.SIGKILL)
        found = resume.load()
        assert same(found) or found == {"new": 1}
        resume.save(STATE)
        resume.discard()
        assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(f".{place}.")]
        if code == 0:
            break
    assert 2 < place < 19
