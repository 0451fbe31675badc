"""The command ``model``, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lib.checkpoints.pickling import Evil

from datarobust import artifacts
from datarobust.checkpoints.models import load_classifier
from datarobust.networks import build

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the form of Wang et al. 2023, of a small network."""
    states = [build({"name": "wrn-10-1"}, seed=seed).state_dict() for seed in (1, 2)]
    held: dict[str, Any] = {
        key: {f"module.0.{name}": tensor for name, tensor in state.items()}
        for key, state in zip(("model_state_dict", "unaveraged_model_state_dict"), states, strict=True)
    }
    path = tmp_path_factory.mktemp("published") / "weights-best.pt"
    torch.save(held, path)
    return path


@pytest.fixture(scope="module")
def imported(command: Run, published: Path) -> Path:
    path = published.with_name("m.safetensors")
    done = command("model", "import", published, "-o", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}\n"
    assert "wrn-10-1, 10 classes, normalised as cifar10" in done.stderr
    assert "averaged weights" in done.stderr
    return path


def test_import_and_again(command: Run, published: Path, imported: Path) -> None:
    network, found = load_classifier(imported)
    wanted = build({"name": "wrn-10-1"}, seed=1).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in network.state_dict().items())
    assert (found.attributes["weights"], found.attributes["averaged"], found.attributes["epoch"]) == (
        "best",
        True,
        None,
    )
    assert found.history[-1].tool == "model"
    before = imported.stat().st_mtime_ns
    assert command("model", "import", published, "-o", imported, "-q").stdout == f"{imported}\n"
    assert imported.stat().st_mtime_ns == before
    other = command("model", "import", published, "-o", imported, "--raw")
    assert (other.returncode, other.stdout) == (1, "")
    assert "--overwrite" in other.stderr
    artifacts.check(imported)


def test_there_and_back_again(command: Run, imported: Path, tmp_path: Path) -> None:
    done = command("model", "export", imported, "-o", tmp_path / "out", "--paper", "A paper")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert "no evaluation" in done.stderr
    assert json.loads((tmp_path / "out" / "model_info.json").read_text())["name"] == "A paper"
    back = command("model", "import", tmp_path / "out" / "weights.pt", "-o", tmp_path / "back.safetensors")
    assert back.returncode == 0, back.stderr
    assert artifacts.peek(tmp_path / "back.safetensors").digest == artifacts.peek(imported).digest


def test_info(command: Run, published: Path, imported: Path) -> None:
    found = json.loads(command("model", "info", imported, "--json").stdout)
    assert (found["kind"], found["arch"]["name"], found["weights"]) == ("classifier", "wrn-10-1", "best")
    told = json.loads(command("model", "info", published, "--json").stdout)
    assert (told["arch"], told["tensors"]) == (found["arch"], found["tensors"])
    assert told["averaged"] is True
    assert "arch: " in command("model", "info", imported).stdout


@pytest.mark.parametrize("command_", ["import", "info"])
def test_code_in_a_pickle_is_not_run(command: Run, tmp_path: Path, command_: str) -> None:
    torch.save({"state_dict": Evil(os.mkdir, str(tmp_path / "marker"))}, tmp_path / "m.pt")
    output = ("-o", tmp_path / "m.safetensors") if command_ == "import" else ()
    done = command("model", command_, tmp_path / "m.pt", *output)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing in it was run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "m.safetensors").exists()
