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
    (run / "recipe.json").write_text(json.dumps({"recipe": {"precision": precision}}))


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


def test_the_commands_record_it_and_clones_and_searches_keep_it(command: Run, on_gpu: Run, tmp_path: Path) -> None:
    data, model = made.dataset(tmp_path / "d.zarr"), made.denoiser(tmp_path / "m.safetensors")
    grid = [f"{name}={value}" for name, value in {"sigma_min": 0.004, "sigma_max": 1.3, "rho": 2, "S_churn": 0}.items()]
    grid += ["S_min=0.5", "S_noise=1"]
    quick = {
        "clone": ["--model", model, "--num-steps", 2],
        "clone-search": ["--model", model, "--num-steps", 2, *(word for axis in grid for word in ("--grid", axis))],
        "advtrain": ["--arch", "wrn-10-1", "--batch", 4, "--steps", 1, "--hold-out", "none", "--track", "none"],
        "edmtrain": ["--batch", 6, "--width", 8, "--mult", "1"],
    }
    for name, words in quick.items():
        epochs = [] if name.startswith("clone") else ["--epochs", 1]
        line = [name, data, *words, *epochs, "--threads", 1]
        for device, run in (("cuda", on_gpu), ("cpu", command)):
            done = run(*line, "--device", device, "-o", tmp_path / f"{name}-{device}")
            assert done.returncode == 0, done.stderr
            expected = "fp32" if device == "cpu" else "bf16" if name.startswith("clone") else "tf32"
            assert precision_in(tmp_path / f"{name}-{device}") == expected
            assert ("--precision auto: " in done.stderr) == (device == "cuda")
        again = on_gpu(*line, "--device", "cuda", "-o", tmp_path / f"{name}-cpu")  # finished, so it stays
        assert again.returncode == 0, again.stderr
        assert precision_in(tmp_path / f"{name}-cpu") == "fp32"
