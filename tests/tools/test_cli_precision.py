"""``--precision auto``: what it becomes on which device, that it is said, and that what was begun keeps its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datarobust.distributed import Group
from datarobust.jobs.make import ALONE, precision_in
from datarobust.tools import _cli
from datarobust.tools._cli import precision_of

from . import made

Run = Callable[..., subprocess.CompletedProcess[str]]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def remarks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is told; the GPU is one that knows bfloat16."""
    said: list[str] = []
    monkeypatch.setattr(_cli, "say", said.append)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    return said


@pytest.mark.parametrize("on_gpu", ["tf32", "bf16"])
def test_auto_suits_the_device(on_gpu: Any, remarks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_of("auto", CPU, on_gpu, None, ALONE) == "fp32"
    assert remarks == []
    assert precision_of("auto", GPU, on_gpu, None, ALONE) == on_gpu
    assert remarks == [f"--precision auto: {on_gpu}."]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: False)
    assert precision_of("auto", GPU, on_gpu, None, ALONE) == {"tf32": "tf32", "bf16": "fp32"}[on_gpu]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_is_asked_for_is_taken(precision: Any, device: torch.device, remarks: list[str], tmp_path: Path) -> None:
    recipe(tmp_path, "fp32")
    assert precision_of(precision, device, "bf16", tmp_path, ALONE) == precision
    assert remarks == []


def recipe(run: Path, precision: object) -> None:
    """A folder as that of a training that was begun."""
    (run / "recipe.json").write_text(json.dumps({"recipe": {"precision": precision}, "arch": {}, "inputs": {}}))


def test_a_training_that_was_begun_keeps_its_precision(remarks: list[str], tmp_path: Path) -> None:
    recipe(tmp_path, "fp32")
    assert precision_of("auto", GPU, "tf32", tmp_path, ALONE) == "fp32"
    assert remarks == [f"--precision auto: fp32, as {tmp_path} was begun."]
    recipe(tmp_path, "bf16")
    assert precision_of("auto", CPU, "tf32", tmp_path, ALONE) == "bf16"


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"recipe": 3}', '{"recipe": {"precision": ["fp32"]}}'])
def test_what_is_no_output_of_ours_decides_nothing(content: str | None, tmp_path: Path) -> None:
    for name in ("recipe.json", "file"):
        if content is not None:
            (tmp_path / name).write_text(content)
    for output in (tmp_path, tmp_path / "file", tmp_path / "nothing"):
        assert precision_of("auto", GPU, "bf16", output, ALONE) == "bf16"


def test_all_processes_take_what_the_first_one_sees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe(tmp_path, "fp32")
    exchanged = []

    def all_gather(group: Group, array: Any) -> list[Any]:
        exchanged.append(array)
        return [exchanged[0], array]

    monkeypatch.setattr(Group, "all_gather", all_gather)
    for rank, output in enumerate((tmp_path, tmp_path / "elsewhere")):
        assert precision_of("auto", GPU, "tf32", output, Group(rank, 2)) == "fp32"


def test_the_commands_record_it(on_gpu: Run, tmp_path: Path) -> None:
    data, model = made.dataset(tmp_path / "d.zarr"), made.denoiser(tmp_path / "m.safetensors")
    tiny = ["--arch", "wrn-10-1", "--batch", 4, "--steps", 1, "--hold-out", "none", "--track", "none", "--epochs", 1]
    quick = {"clone": ["--model", model, "--num-steps", 2], "advtrain": tiny}
    for name, words in quick.items():
        done = on_gpu(name, data, *words, "--device", "cuda", "--threads", 1, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        expected = "bf16" if name == "clone" else "tf32"
        assert f"--precision auto: {expected}.\n" in done.stderr
        assert precision_in(tmp_path / name) == expected


def test_clones_that_were_made_are_not_made_again(command: Run, on_gpu: Run, tmp_path: Path) -> None:
    data, model = made.dataset(tmp_path / "d.zarr"), made.denoiser(tmp_path / "m.safetensors")
    words = ["clone", data, "--model", model, "--num-steps", 2, "--limit", 2, "-o", tmp_path / "k.zarr", "--json"]
    made_before = command(*words, "--device", "cpu")
    assert json.loads(made_before.stdout)["new"], made_before.stderr
    assert "precision" not in made_before.stderr
    again = on_gpu(*words, "--device", "cuda")
    assert not json.loads(again.stdout)["new"], again.stderr
