"""What TensorBoard is told is the log, whatever was killed on the way."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust.errors import ArtifactError, ExistsError, UsageError
from datarobust.runs.events import demand_tensorboard
from datarobust.runs.folder import Run
from datarobust.training.recipe import Recipe

LINES: list[dict[str, Any]] = [
    {"epoch": epoch, "loss": 2.5 / epoch, "focus": 32, "memory_gb": None, "seconds": 0.1 * epoch}
    | ({"test_accuracy": 0.125 * epoch} if epoch % 2 else {})
    for epoch in range(1, 6)
]


def run(path: Path, tensorboard: bool = True, **recipe: Any) -> Run:
    return Run(path, Recipe(**({"epochs": 5} | recipe)), {"name": "wrn-10-1"}, {}, tensorboard=tensorboard)


def straight(path: Path) -> Run:
    """A run that was not disturbed."""
    found = run(path)
    found.begin(overwrite=False)
    found.rewind(0)
    for line in LINES:
        found.log(line)
    return found


def told(path: Path) -> list[Any]:
    """The events, as TensorBoard's own reader has them: it checks the checksums."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader, found = PyRecordReader_New(str(only(path))), []
    with contextlib.suppress(OutOfRangeError):  # how it says that there are no more
        while True:
            reader.GetNext()
            found.append(Event.FromString(reader.record()))
    return found


def only(path: Path) -> Path:
    [file] = (path / "tensorboard").iterdir()
    return file


def test_events_are_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    straight(tmp_path / "run")
    first, *events = told(tmp_path / "run")
    assert first.file_version == "brain.Event:2"
    assert [event.step for event in events] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([event.wall_time for event in events], np.cumsum([line["seconds"] for line in LINES]))
    for event, line in zip(events, LINES, strict=True):
        numbers = {name: np.float32(value) for name, value in line.items() if name not in ("epoch", "memory_gb")}
        assert {value.tag: np.float32(value.simple_value) for value in event.summary.value} == numbers


@pytest.mark.parametrize(("done", "known", "torn"), [(1, 0, 0), (3, 2, 0), (3, 3, 7), (4, 1, 40), (5, 5, 1)])
def test_a_run_that_goes_on_tells_what_one_does_that_was_not_killed(
    tmp_path: Path, done: int, known: int, torn: int
) -> None:
    """Killed after ``done`` epochs, with some bytes lost; the state knows of ``known``."""
    pytest.importorskip("tensorboard")
    straight(tmp_path / "straight")
    killed = run(tmp_path / "run")
    killed.begin(overwrite=False)
    killed.rewind(0)
    for line in LINES[:done]:
        killed.log(line)
    before = only(tmp_path / "run")
    before.write_bytes(before.read_bytes()[: before.stat().st_size - torn])
    (before.parent / f"{before.name}.new").write_bytes(b"half a fi")  # killed while it was written anew
    again = run(tmp_path / "run")
    again.begin(overwrite=False)
    again.rewind(known)
    for line in LINES[known:]:
        again.log(line)
    after = only(tmp_path / "run")
    assert after.read_bytes() == only(tmp_path / "straight").read_bytes()
    assert after.name > before.name


def test_a_finished_run_is_told_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    straight(tmp_path / "straight")
    silent = run(tmp_path / "run", tensorboard=False)
    silent.begin(overwrite=False)
    for line in LINES:
        silent.log(line)
    silent.tell_tensorboard()
    assert not (tmp_path / "run" / "tensorboard").exists()
    late = run(tmp_path / "run")
    assert late.request == silent.request
    late.tell_tensorboard()
    found = only(tmp_path / "run")
    assert found.read_bytes() == only(tmp_path / "straight").read_bytes()
    stamp = found.stat().st_mtime_ns
    late.tell_tensorboard()
    assert (only(tmp_path / "run"), found.stat().st_mtime_ns) == (found, stamp)


def test_another_run_takes_the_place_of_events_and_of_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "tensorboard"
    run(tmp_path / "run").begin(overwrite=False)
    folder.mkdir()
    (folder / "events.out.tfevents.0000000001.datarobust").write_bytes(b"")
    other = run(tmp_path / "run", seed=1)
    other.begin(overwrite=True)
    assert not folder.exists()
    folder.mkdir()
    (folder / "events.out.tfevents.1700000000.host.1.0").write_bytes(b"precious")
    with pytest.raises(ExistsError, match=r"tensorboard/events\.out.*host.*does not remove"):
        run(tmp_path / "run", seed=2).begin(overwrite=True)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["seed"] == 1


def test_a_folder_that_somebody_took_away_is_told(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    found = straight(tmp_path / "run")
    only(tmp_path / "run").unlink()
    (tmp_path / "run" / "tensorboard").rmdir()
    with pytest.raises(ArtifactError, match="tensorboard cannot be written"):
        found.log(LINES[0])


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'datarobust\[tensorboard\]'") as said:
        demand_tensorboard()
    assert "\n" not in str(said.value)
