"""A run folder keeps one run: its state, its log and its weights, and is never taken for another's."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.artifacts.runs import read_log
from datarobust.errors import ArtifactError, DataError, ExistsError, UsageError
from datarobust.jobs.make import Form, Output, make
from datarobust.jobs.run_folder import Run, RunFolder, demand_tensorboard, rewrite_events
from datarobust.training.loop import SILENT, Arrays, Line, Listener, Loop, Weights

ARCH = {"name": "wrn-10-1", "arguments": {"classes": 10}}
LINES: list[dict[str, Any]] = [
    {"epoch": epoch, "loss": 2.5 / epoch, "focus": 32, "memory_gb": None, "seconds": 0.1 * epoch}
    | ({"test_accuracy": 0.125 * epoch} if epoch % 2 else {})
    for epoch in range(1, 6)
]


def step(inputs: Mapping[str, str]) -> Step:
    return Step("advtrain", ("d.zarr",), "0.1.0", 0, "cpu", inputs)


class Counting(Loop):
    """A training that counts its epochs, saves after each, and fails or stops after so many."""

    def __init__(self, epochs: int, fails_after: int | None, stops_after: int | None) -> None:
        self.epochs, self.fails_after, self.stops_after = epochs, fails_after, stops_after
        self.first = 0

    def run(self, checkpoint: Any, listener: Listener, save_every: float) -> bool:
        state: Arrays | None = checkpoint.load()
        self.first = 0 if state is None else int(state["epoch"])
        checkpoint.rewind(self.first)
        for epoch in range(self.first, self.epochs):
            if epoch == self.stops_after:
                return False
            checkpoint.log(LINES[epoch])
            if epoch == self.fails_after:
                raise DataError("it failed")
            weights = Weights({"w": np.full(3, epoch + 1, np.float32)}, epoch + 1)
            checkpoint.save({"epoch": np.array(epoch + 1)}, weights if epoch == 0 else None, weights)
        return True

    state = train_step = standing = end_epoch = lambda self: {}  # type: ignore[assignment]


Counting.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Counted:
    """A job that makes a run folder."""

    form: ClassVar[Form] = RunFolder()

    epochs: int = 2
    seed: int = 0
    fails_after: int | None = None
    stops_after: int | None = None
    tensorboard: bool = False
    began_at: list[int] = field(default_factory=list, compare=False)

    def request(self) -> dict[str, Any]:
        recipe = {"epochs": self.epochs, "seed": self.seed}
        return {"tool": "advtrain", "recipe": recipe, "arch": ARCH, "inputs": {"dataset": "0" * 64}}

    def run(self, output: Output) -> None:
        loop = Counting(self.epochs, self.fails_after, self.stops_after)
        run = Run(output, self.request(), "classifier", [output.step({})], {}, self.tensorboard)
        try:
            run.train(loop, SILENT)
        finally:
            self.began_at.append(loop.first)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


WHOLE = {"best.safetensors", "last.safetensors", "log.jsonl", "recipe.json"}


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(DataError, match="it failed"):
        make(Counted(3, fails_after=2), path, step)
    assert names(path) == {*WHOLE, ".state.resume"}
    assert len(read_log(path)) == 3
    job = Counted(3)
    assert make(job, path, step)
    assert job.began_at == [2]
    assert read_log(path) == LINES[:3]
    assert names(path) == WHOLE
    assert names(tmp_path) == {"run"}
    assert not make(job, path, step)
    best = artifacts.load_tensors(path / "best.safetensors", "classifier")
    last = artifacts.load_tensors(path / "last.safetensors", "classifier")
    assert (best["w"].tolist(), best.attributes["epoch"], best.attributes["weights"]) == ([1.0] * 3, 1, "best")
    assert (last["w"].tolist(), last.attributes["epoch"], last.attributes["weights"]) == ([3.0] * 3, 3, "last")
    assert last.attributes["arch"] == ARCH
    assert [each.tool for each in last.history] == ["advtrain"]
    document = json.loads((path / "recipe.json").read_text())
    assert document["recipe"] == {"epochs": 3, "seed": 0}
    assert document["request"] == last.attributes["request"] == artifacts.fingerprint(job.request())


def test_one_that_was_stopped_keeps_its_state(tmp_path: Path) -> None:
    path, job = tmp_path / "run", Counted(3)
    with pytest.raises(KeyboardInterrupt):
        make(Counted(3, stops_after=1), path, step)
    assert ".state.resume" in names(path)
    assert make(job, path, step)
    assert job.began_at == [1]


def test_an_unfinished_run_of_version_0_1_is_refused_and_begun_anew_when_told_to(tmp_path: Path) -> None:
    path, job = tmp_path / "run", Counted(3)
    with pytest.raises(KeyboardInterrupt):
        make(Counted(3, stops_after=2), path, step)
    (path / ".state.resume").rename(path / ".state.journal")
    with pytest.raises(ExistsError, match=r"holds an unfinished run of version 0.1, .*`overwrite`"):
        make(job, path, step)
    assert make(job, path, step, overwrite=True)
    assert job.began_at == [0]
    assert names(path) == WHOLE


def test_another_recipe_does_not_take_a_folder(tmp_path: Path) -> None:
    path, other = tmp_path / "run", Counted(seed=1)
    make(Counted(), path, step)
    with pytest.raises(ExistsError, match=r"holds another run: .*`overwrite`") as error:
        make(other, path, step)
    assert "\n" not in str(error.value)
    assert not other.began_at
    with pytest.raises(DataError):
        make(Counted(fails_after=1), path, step, overwrite=True)  # leaves a state
    assert make(other, path, step, overwrite=True)
    assert other.began_at == [0]
    assert json.loads((path / "recipe.json").read_text())["recipe"]["seed"] == 1
    assert names(path) == WHOLE


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ExistsError):
            make(Counted(), path, step, overwrite=overwrite)
    make(Counted(), tmp_path / "other", step)
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(ExistsError, match=r"thesis\.tex, which `overwrite` does not remove"):
        make(Counted(seed=3), tmp_path / "other", step, overwrite=True)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "precious"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExistsError, match="is not a folder"):
        make(Counted(), tmp_path / "file", step, overwrite=True)


@pytest.mark.parametrize(
    "left", [[], ["recipe.json.new"], [".last.safetensors.partial", "log.jsonl.new"], [".state.resume.new"]]
)
def test_what_a_kill_at_the_beginning_leaves_is_in_nobodys_way(tmp_path: Path, left: list[str]) -> None:
    """Before recipe.json has its name, the folder holds nothing, or files on their way."""
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_bytes(b"half a fi")
    assert make(Counted(), tmp_path / "run", step)
    assert names(tmp_path / "run") == WHOLE


@pytest.mark.parametrize("left", [".best.safetensors.lock", ".last.safetensors.lock", ".state.resume"])
def test_what_could_not_be_removed_goes_when_the_finished_command_runs_again(tmp_path: Path, left: str) -> None:
    make(Counted(), tmp_path / "run", step)
    (tmp_path / "run" / left).write_bytes(b"")
    assert not make(Counted(), tmp_path / "run", step)
    assert names(tmp_path / "run") == WHOLE


@pytest.mark.parametrize("removed", range(6))
def test_a_kill_while_another_run_is_cleared_leaves_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """Whatever is removed by then, the same command goes on."""
    path, calls, remove = tmp_path / "run", [0], artifacts.durable.remove

    def killed(file: Path) -> None:
        if file.exists():
            calls[0] += 1
            if calls[0] > removed:
                raise MemoryError
        remove(file)

    make(Counted(tensorboard=False), path, step)
    monkeypatch.setattr(artifacts.durable, "remove", killed)
    if removed < 4:
        with pytest.raises(MemoryError):
            make(Counted(seed=1), path, step, overwrite=True)
    monkeypatch.setattr(artifacts.durable, "remove", remove)
    assert make(Counted(seed=1), path, step, overwrite=True)
    assert names(path) == WHOLE


def test_a_torn_log_is_rewound_to_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(DataError):
        make(Counted(5, fails_after=3), path, step)
    log = path / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    assert make(Counted(5), path, step)
    assert read_log(path) == LINES


# ------------------------------------------------------------------------------------------------------ TensorBoard


def scalars(path: Path) -> list[tuple[int, str, np.float32]]:
    """(step, name, value) of all events, as TensorBoard's own reader has them: it checks the checksums."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    [file] = (path / "tensorboard").iterdir()
    return [
        (event.step, value.tag, np.float32(make_ndarray(value.tensor).item()))
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]


def expected(lines: list[Line]) -> list[tuple[int, str, np.float32]]:
    return [
        (line["epoch"], name, np.float32(value))
        for line in lines
        for name, value in line.items()
        if name not in ("epoch", "memory_gb")
    ]


@pytest.mark.parametrize("torn", [0, 1, 40])
def test_a_run_that_goes_on_has_no_epoch_twice(tmp_path: Path, torn: int) -> None:
    pytest.importorskip("tensorboard")
    path = tmp_path / "run"
    with pytest.raises(DataError):
        make(Counted(5, fails_after=3, tensorboard=True), path, step)
    assert scalars(path) == expected(LINES[:4])  # the state knows of three
    [file] = (path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[: file.stat().st_size - torn])
    make(Counted(5, tensorboard=True), path, step)
    assert scalars(path) == expected(LINES)


def test_a_finished_run_is_told_when_asked_later(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    path = tmp_path / "run"
    make(Counted(5), path, step)
    assert not (path / "tensorboard").exists()
    assert not make(Counted(5, tensorboard=True), path, step)
    for _ in range(2):
        rewrite_events(path)
        assert scalars(path) == expected(LINES)


def test_another_run_takes_the_place_of_events_and_of_nothing_else(tmp_path: Path) -> None:
    path, folder = tmp_path / "run", tmp_path / "run" / "tensorboard"
    make(Counted(), path, step)
    folder.mkdir()
    (folder / "events.out.tfevents.0000000001.datarobust").write_bytes(b"")  # as version 0.1.0 wrote them
    make(Counted(seed=1), path, step, overwrite=True)
    assert not folder.exists()
    folder.mkdir()
    (folder / "events.out.tfevents.1700000000.host.1.0").write_bytes(b"precious")
    with pytest.raises(ExistsError, match=r"tensorboard/events\.out.*host.*does not remove"):
        make(Counted(seed=2), path, step, overwrite=True)
    assert json.loads((path / "recipe.json").read_text())["recipe"]["seed"] == 1


def test_events_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    make(Counted(), tmp_path / "run", step)
    (tmp_path / "run" / "tensorboard").write_text("a file")
    with pytest.raises(ArtifactError, match="tensorboard cannot be written"):
        rewrite_events(tmp_path / "run")


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'datarobust\[tensorboard\]'") as error:
        demand_tensorboard()
    assert "\n" not in str(error.value)
