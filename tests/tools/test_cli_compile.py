"""``--compile`` and ``--no-compile``, and what neither means: long work on a GPU; a training stays as it was begun."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datarobust import artifacts, devices
from datarobust.distributed import Group
from datarobust.errors import UsageError
from datarobust.jobs.make import ALONE
from datarobust.tools import _cli
from datarobust.tools._cli import LONG, compiled_of

from . import made

Run = Callable[..., subprocess.CompletedProcess[str]]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
#: Clones by a network that is compiled in name, where the device is pretended.
CLONES = """
import sys
from torch import nn
from datarobust import devices
from datarobust.networks import song_unet
from datarobust.tools import _cli, clone

nn.Module.compile = lambda model, **_: print("compiled", file=sys.stderr)
_cli.LONG = 1.0
devices.triton_runs, song_unet.kernels_for = (lambda device: True), (lambda *_: None)
clone.main()
"""


@pytest.fixture
def remarks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is told; there is a compiler for GPUs."""
    said: list[str] = []
    monkeypatch.setattr(_cli, "say", said.append)
    monkeypatch.setattr(devices, "triton_runs", lambda device: True)
    return said


def never() -> float:
    raise AssertionError("nothing is counted")


def test_long_work_on_a_gpu_is_compiled(remarks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compiled_of(None, CPU, never, ALONE)
    assert remarks == []
    assert compiled_of(None, GPU, lambda: LONG, ALONE)
    assert not compiled_of(None, GPU, lambda: LONG / 2, ALONE)
    monkeypatch.setattr(Group, "agree", lambda group, value: value)
    assert not compiled_of(None, GPU, lambda: LONG, Group(0, 2))  # each of two has half of it
    assert remarks == ["--compile for long work.", "--no-compile.", "--no-compile."]
    monkeypatch.setattr(devices, "triton_runs", lambda device: False)
    assert not compiled_of(None, GPU, never, ALONE)
    with pytest.raises(UsageError, match="--compile needs Triton, a C compiler and a GPU"):
        compiled_of(True, GPU, never, ALONE)


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_asked_for_is_done(compiled: bool, device: torch.device, remarks: list[str], tmp_path: Path) -> None:
    begun(tmp_path, {"compiled": not compiled})
    assert compiled_of(compiled, device, never, ALONE, tmp_path) is compiled
    assert remarks == []


def begun(run: Path, recipe: object) -> None:
    """A folder as that of a training that was begun."""
    (run / "recipe.json").write_text(json.dumps({"recipe": recipe, "arch": {}, "inputs": {}}))


def test_a_training_that_was_begun_goes_on_as_it_was(remarks: list[str], tmp_path: Path) -> None:
    begun(tmp_path, {"compiled": True})
    assert compiled_of(None, CPU, never, ALONE, tmp_path)
    begun(tmp_path, {"precision": "tf32"})  # by a version that compiled nothing
    assert not compiled_of(None, GPU, never, ALONE, tmp_path)
    assert remarks == [f"{words}, as {tmp_path} was begun." for words in ("--compile", "--no-compile")]
    begun(tmp_path, 3)
    assert compiled_of(None, GPU, lambda: LONG, ALONE, tmp_path)


def test_it_is_told_and_recorded(on_gpu: Run, tmp_path: Path) -> None:
    data, model = made.dataset(tmp_path / "d.zarr"), made.denoiser(tmp_path / "m.safetensors")
    (tmp_path / "clones.py").write_text(CLONES)
    words = [data, "--model", model, "--num-steps", 2, "--batch", 8, "--device", "cuda"]
    for name, more in (("long", []), ("plain", ["--no-compile"])):
        done = on_gpu(tmp_path / "clones.py", *words, *more, "-o", tmp_path / f"{name}.zarr")
        assert done.returncode == 0, done.stderr
        assert (artifacts.open_store(tmp_path / f"{name}.zarr").attributes["compiled"]) is (name == "long")
        assert ("clone: --compile for long work.\n" in done.stderr) is (name == "long")
        assert ("compiled\n" in done.stderr.splitlines(keepends=True)) is (name == "long")
