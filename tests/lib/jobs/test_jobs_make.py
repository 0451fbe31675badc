"""Making an output: done before, vacant, locked, resumed, run, whole, cleaned."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts import Resume, Step
from datarobust.errors import ArtifactError, ExistsError, LockedError, UsageError
from datarobust.jobs.make import Artifact, Form, Output, make


def step(inputs: Mapping[str, str]) -> Step:
    return Step("counted", (), "0.1.0", None, None, inputs)


@dataclass(frozen=True)
class Counted:
    """Moments of a number, computed in so many steps, each of which is noted in ``calls``."""

    form: ClassVar[Form] = Artifact("moments")

    number: float
    steps: int = 4
    fails_at: int | None = None
    error: type[Exception] = OSError
    calls: list[int] = field(default_factory=list, compare=False)

    def request(self) -> dict[str, Any]:
        return {"tool": "counted", "number": self.number}

    def run(self, output: Output) -> None:
        state = output.resume.load()
        for number in range(0 if state is None else int(state["next"]), self.steps):
            if number == self.fails_at:
                raise self.error("it failed")
            self.calls.append(number)
            output.resume.save({"next": number + 1})
        attributes = {"features": "pixels", "count": 2}
        arrays = {"mean": np.full(3, self.number), "covariance": np.eye(3)}
        output.save(arrays, attributes, [output.step({})])


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_it_is_made_once(tmp_path: Path) -> None:
    job, path = Counted(2.0), tmp_path / "m.zarr"
    assert make(job, path, step)
    assert job.calls == [0, 1, 2, 3]
    store = artifacts.open_store(path, "moments")
    assert store.column("mean").read().tolist() == [2.0, 2.0, 2.0]
    assert store.attributes["request"] == artifacts.fingerprint(job.request())
    assert not make(job, path, step)
    assert job.calls == [0, 1, 2, 3]
    assert names(tmp_path) == {"m.zarr"}


def test_another_request_is_refused_before_the_work(tmp_path: Path) -> None:
    path, other = tmp_path / "m.zarr", Counted(3.0)
    make(Counted(2.0), path, step)
    with pytest.raises(ExistsError, match=r"m\.zarr exists already"):
        make(other, path, step)
    assert not other.calls
    assert make(other, path, step, overwrite=True)
    assert artifacts.open_store(path).column("mean").read()[0] == 3.0
    assert names(tmp_path) == {"m.zarr"}


def test_what_is_no_such_artifact_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    path.mkdir()
    (path / "thesis.tex").write_text("all of it")
    with pytest.raises(ExistsError):
        make(Counted(1.0), path, step, overwrite=True)
    assert names(path) == {"thesis.tex"}


@pytest.mark.parametrize(("name", "way"), [("m.csv", "a table: choose"), ("m.XLSX", r"a \.xlsx file: end its name in")])
def test_an_artifact_is_not_called_as_another_file(tmp_path: Path, name: str, way: str) -> None:
    job = Counted(1.0)
    with pytest.raises(UsageError, match=f"{name} would be an artifact of the kind moments, not {way}"):
        make(job, tmp_path / name, step)
    assert not job.calls
    assert not names(tmp_path)


def test_a_run_that_failed_is_gone_on_with(tmp_path: Path) -> None:
    path, first, again = tmp_path / "m.zarr", Counted(1.0, fails_at=2), Counted(1.0)
    with pytest.raises(OSError, match="it failed"):
        make(first, path, step)
    assert names(tmp_path) == {".m.zarr.resume"}
    make(again, path, step)
    assert first.calls + again.calls == [0, 1, 2, 3]
    assert names(tmp_path) == {"m.zarr"}


def test_the_state_of_another_request_is_never_used(tmp_path: Path) -> None:
    path, other = tmp_path / "m.zarr", Counted(2.0)
    with pytest.raises(OSError, match="it failed"):
        make(Counted(1.0, fails_at=2), path, step)
    make(other, path, step)
    assert other.calls == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_state_is_never_used(tmp_path: Path, damage: bytes) -> None:
    path, job = tmp_path / "m.zarr", Counted(1.0)
    (tmp_path / ".m.zarr.resume").write_bytes(damage)
    make(job, path, step)
    assert job.calls == [0, 1, 2, 3]
    assert names(tmp_path) == {"m.zarr"}


def test_what_a_kill_after_the_end_left_is_cleared(tmp_path: Path) -> None:
    path, job = tmp_path / "m.zarr", Counted(1.0)
    make(job, path, step)
    request = artifacts.fingerprint(job.request())
    Resume(path, request).save({"next": 4})
    Resume(path, request, 1, 2).save({"next": 4})
    assert not make(job, path, step)
    assert names(tmp_path) == {"m.zarr"}


def _hold(path: Path, ready: Any, done: Any) -> None:
    with artifacts.locked(path):
        ready.set()
        done.wait(60)


def test_two_processes_never_make_one_output(tmp_path: Path) -> None:
    path, job = tmp_path / "m.zarr", Counted(1.0)
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=_hold, args=(path, ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(LockedError, match=f"process {holder.pid}"):
            make(job, path, step)
        assert not job.calls
    finally:
        done.set()
        holder.join()
    assert make(job, path, step)


def test_without_its_folder_there_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        make(Counted(1.0), tmp_path / "none" / "m.zarr", step)


def test_a_finished_output_is_found_where_nothing_can_be_written(tmp_path: Path) -> None:
    job = Counted(1.0)
    make(job, tmp_path / "m.zarr", step)
    tmp_path.chmod(0o500)
    try:
        assert not make(job, tmp_path / "m.zarr", step)
    finally:
        tmp_path.chmod(0o700)
