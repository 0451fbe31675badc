"""A run folder keeps one run: its state, its log and its weights, and is never taken for another's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.errors import ArtifactError, ExistsError
from datarobust.runs.folder import Run, read_log, request_of
from datarobust.training.loop import Weights
from datarobust.training.recipe import Recipe

ARCH = {"name": "wrn-10-1", "arguments": {"classes": 10}}
STEP = Step("advtrain", ("d.zarr",), "0.1.0", 0, "cpu", {"dataset": "0" * 64})


def run(path: Path, **recipe: Any) -> Run:
    return Run(path, Recipe(**({"epochs": 2} | recipe)), ARCH, {"dataset": "0" * 64}, [STEP])


def weights(epoch: int) -> Weights:
    return Weights({"w": np.full(3, epoch, np.float32)}, epoch)


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    folder.begin(overwrite=False)
    assert not folder.finished()
    assert folder.load() is None
    folder.log({"epoch": 1, "loss": 2.5})
    folder.save({"a": np.arange(3)}, weights(1), weights(1))
    assert not folder.finished()
    again = run(tmp_path / "run")
    again.begin(overwrite=False)
    state = again.load()
    assert state is not None
    assert state["a"].tolist() == [0, 1, 2]
    again.log({"epoch": 2, "loss": 2.0})
    again.save({"a": np.arange(4)}, None, weights(2))
    again.finish()
    assert again.finished()
    assert again.load() is None
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
        "recipe.json",
    ]
    best = artifacts.load_tensors(tmp_path / "run" / "best.safetensors", "classifier")
    last = artifacts.load_tensors(tmp_path / "run" / "last.safetensors", "classifier")
    assert (best["w"].tolist(), best.attributes["epoch"], best.attributes["weights"]) == ([1.0] * 3, 1, "best")
    assert (last["w"].tolist(), last.attributes["epoch"], last.attributes["weights"]) == ([2.0] * 3, 2, "last")
    assert last.attributes["arch"] == ARCH
    assert last.history == (replace(STEP, output=last.digest),)
    document = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert document["recipe"]["epochs"] == 2
    assert document["request"] == again.request


def test_another_recipe_does_not_take_a_folder(tmp_path: Path) -> None:
    run(tmp_path / "run").begin(overwrite=False)
    other = run(tmp_path / "run", seed=1)
    with pytest.raises(ExistsError, match=r"holds another run: .*`overwrite`") as told:
        other.begin(overwrite=False)
    assert "\n" not in str(told.value)
    other.begin(overwrite=True)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["seed"] == 1


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ExistsError):
            run(path).begin(overwrite)
    run(tmp_path / "other").begin(overwrite=False)
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(ExistsError, match=r"thesis\.tex, which `overwrite` does not remove"):
        run(tmp_path / "other", seed=3).begin(overwrite=True)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "precious"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExistsError, match="is no folder"):
        run(tmp_path / "file").begin(overwrite=True)


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run(tmp_path / "run").begin(overwrite=False)
    assert (tmp_path / "run" / "recipe.json").is_file()


def test_the_state_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    first.begin(overwrite=False)
    first.save({"a": np.arange(3)}, None, None)
    other = run(tmp_path / "run", lr=0.1)
    other.begin(overwrite=True)
    assert other.load() is None


@pytest.mark.parametrize("cut", [0, 1, 5, 18, 19, 30])
def test_a_torn_log_is_rewound_to_whole_lines(tmp_path: Path, cut: int) -> None:
    folder = run(tmp_path / "run")
    folder.begin(overwrite=False)
    for epoch in (1, 2, 3):
        folder.log({"epoch": epoch, "loss": 1.0})
    log = tmp_path / "run" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) - cut])
    lines = read_log(tmp_path / "run")
    assert lines == [{"epoch": epoch, "loss": 1.0} for epoch in range(1, len(lines) + 1)]
    folder.rewind(1)
    assert log.read_bytes() == whole[: len(whole) // 3]
    folder.rewind(0)
    assert log.read_bytes() == b""


@pytest.mark.parametrize("text", ["nonsense\n", '{"epoch": 2}\n', "[1]\n", '{"loss": 1}\n'])
def test_what_is_no_log_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(ArtifactError, match=r"log\.jsonl, line 1: no line of a log") as told:
        read_log(tmp_path)
    assert "\n" not in str(told.value)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_log(tmp_path / "absent")


def test_a_request_names_all_that_decides_the_bits() -> None:
    inputs = {"dataset": "0" * 64}
    asked = request_of(Recipe(), ARCH, inputs)
    changes = ({"seed": 1}, {"eps": 4 / 255}, {"focus_batch": 16}, {"precision": "bf16"}, {"bn_group": 128})
    others = {request_of(Recipe(**change), ARCH, inputs) for change in changes}  # type: ignore[arg-type]
    others |= {request_of(Recipe(), ARCH | {"name": "wrn-16-1"}, inputs), request_of(Recipe(), ARCH, {"dataset": "1"})}
    assert len(others | {asked}) == 8
    assert request_of(Recipe(), ARCH, inputs) == asked
