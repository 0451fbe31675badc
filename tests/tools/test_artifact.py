"""``artifact show`` and ``artifact check`` as a user runs them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts

Command = Callable[..., "subprocess.CompletedProcess[str]"]
STEP = artifacts.Step("dataset import", ("digits", "-o", "d.zarr"), "0.1.0", None, None, {"source": "0" * 64})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "d.zarr"
    columns = {"features": ("float32", (2,)), "labels": ("int64", ()), "index": ("int64", ())}
    attributes = {"name": "small", "classes": ["\x1b[31m", "ü"]}
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[STEP]) as writer:
        writer.append("features", np.ones((3, 2), np.float32))
        writer.append("labels", np.arange(3))
        writer.append("index", np.arange(3))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    arch = {"name": "wrn-10-1", "arguments": {}}
    tensors = {"w": np.ones(3)}
    artifacts.save_tensors(path, "classifier", tensors, attributes={"arch": arch, "weights": "last"}, history=[STEP])
    return path


def test_show(command: Command, store: Path, model: Path) -> None:
    done = command("artifact", "show", store, model)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {
        "path": str(store),
        "kind": "dataset",
        "version": 2,
        "digest": artifacts.peek(store).digest,
        "arrays": {
            "features": {"dtype": "float32", "shape": [3, 2]},
            "index": {"dtype": "int64", "shape": [3]},
            "labels": {"dtype": "int64", "shape": [3]},
        },
        "attributes": {"name": "small", "classes": ["\x1b[31m", "ü"]},
        "history": [
            {
                "tool": "dataset import",
                "argv": ["digits", "-o", "d.zarr"],
                "version": "0.1.0",
                "seed": None,
                "device": None,
                "inputs": {"source": "0" * 64},
                "output": first["digest"],
            }
        ],
    }
    assert second["kind"] == "classifier"
    assert second["arrays"] == {"w": {"dtype": "float64", "shape": [3]}}
    assert "\x1b" not in done.stdout


def test_check(command: Command, store: Path, model: Path) -> None:
    done = command("artifact", "check", store, model)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{artifacts.peek(store).digest}\tdataset\t{store}",
        f"{artifacts.peek(model).digest}\tclassifier\t{model}",
    ]
    objects = command("artifact", "check", "--json", store)
    assert json.loads(objects.stdout) == {"digest": artifacts.peek(store).digest, "kind": "dataset", "path": str(store)}


def test_a_pipe_into_check(command: Command, store: Path) -> None:
    done = command("artifact", "check", "-", input=f"{store}\n")
    assert done.returncode == 0
    assert str(store) in done.stdout


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_one_altered_byte(command: Command, store: Path, model: Path, option: list[str]) -> None:
    file = store / "labels" / "c.0"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    assert command("artifact", "show", store).returncode == 0
    done = command("artifact", "check", *option, model, store)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1  # the intact one before it
    (line,) = done.stderr.splitlines()
    message = json.loads(line)["error"]["message"] if option else line
    assert f"{file} was altered" in message


def test_what_is_not_there(command: Command, tmp_path: Path) -> None:
    for verb in ("show", "check"):
        done = command("artifact", verb, tmp_path / "none.zarr")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"artifact: error: {tmp_path / 'none.zarr'} does not exist\n"


def test_show_prints_nothing_if_one_fails(command: Command, store: Path, tmp_path: Path) -> None:
    done = command("artifact", "show", store, tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")


def test_usage(command: Command) -> None:
    assert command("artifact").returncode == 2
    assert command("artifact", "show").returncode == 2
    assert command("artifact", "look", "x").returncode == 2


def test_names_from_outside_do_not_reach_the_terminal(command: Command, store: Path) -> None:
    path = store.rename(store.with_name("a\x1b[31m\tb"))
    done = command("artifact", "check", path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.count("\t") == 2
