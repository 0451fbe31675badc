"""The weights of Inception: the known file and no other, with nothing in it run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.checkpoints import torchfiles
from datarobust.checkpoints.torchfiles import (
    INCEPTION,
    INCEPTION_FILE,
    assemble_inception,
    is_inception,
    load_inception,
)
from datarobust.datasets.fetch import Remote
from datarobust.errors import ArtifactError, DataError
from datarobust.jobs.fid import feature_space
from datarobust.jobs.make import make
from datarobust.jobs.model import read_published
from datarobust.networks.inception import Inception

from .pickling import Evil, stream

STEP = Step("model", (), "0.1.0", None, None, {})


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Inception().state_dict()


@pytest.fixture(scope="module")
def published(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the published file is: a state dict in the form of torch.save before archives."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def known(path: Path) -> Remote:
    return Remote(path.name, (), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_published_file_is_known_as_it_was_published() -> None:
    file = INCEPTION_FILE
    assert (file.size, file.sha256[:8]) == (95_628_359, "6726825d")
    assert file.sha256[:8] in file.name
    assert len(file.sha256) == 64


def test_a_known_file_is_loaded_and_may_be_an_artifact(
    published: Path, state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = known(published)
    monkeypatch.setattr(torchfiles, "INCEPTION_FILE", file)
    assert is_inception(published)
    network, sha256 = load_inception(published)
    assert sha256 == file.sha256
    assert not network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    some = torch.randint(0, 256, (1, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    measure = feature_space("inception", some.numpy(), torch.device("cpu"), published)
    assert (measure.name, measure.weights) == ("inception", sha256)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(measure.of(some.numpy())), network(some), rtol=1e-3, atol=1e-4)
    imported = tmp_path / "i.safetensors"
    assert make(read_published(published), imported, lambda inputs: replace(STEP, inputs=inputs))
    assert artifacts.peek(imported).history[-1].inputs == {"source": sha256}
    again, same = load_inception(imported)
    assert same == sha256
    assert torch.equal(again.state_dict()["fc.weight"], state["fc.weight"])
    arrays = {"a": np.zeros(1)}
    for name, source, says in (
        (INCEPTION, "0" * 64, "made of another file"),
        ("wrn-10-1", sha256, "another network than Inception"),
    ):
        attributes = {"arch": {"name": name}, "weights": "last", "source": source}
        artifacts.save_tensors(imported, "classifier", arrays, attributes=attributes, history=[STEP], overwrite=True)
        with pytest.raises(ArtifactError, match=says):
            load_inception(imported)


def test_other_files_are_refused_in_a_sentence(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "w.pth", stream({"Conv2d_1a_3x3.conv.weight": torch.zeros(1000)})
    path.write_bytes(data)
    unknown = command("model", "import", path, "-o", tmp_path / "i.safetensors")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "w.pth" in unknown.stderr
    assert INCEPTION_FILE.name in unknown.stderr
    monkeypatch.setattr(torchfiles, "INCEPTION_FILE", known(path))
    cases = (
        (b"<!DOCTYPE html><html>quota", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 95628359\n", "Git LFS"),
        (b"", "is empty"),
        (data[:-1], f"cut short or another file, with {len(data) - 1:,} bytes"),
        (data[:1000], "cut short or another file, with 1,000 bytes"),
        (data + b"x", "is another file"),
        (data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "damaged or another file, with the sha256"),
    )
    for content, says in cases:
        path.write_bytes(content)
        with pytest.raises(DataError, match=says) as raised:
            load_inception(path)
        assert "w.pth" in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="cannot be read"):
        load_inception(tmp_path / "none.pth")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(DataError, match="not a regular file"):
        load_inception(fifo)


def test_a_known_file_that_runs_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can make one of that sha256; but nothing depends on it."""
    path, mark = tmp_path / "w.pth", tmp_path / "ran"
    for what, says in (
        ({"fc.bias": Evil(os.mkdir, str(mark))}, "only tensors are read"),
        ([1, 2], "holds a list"),
        ({"a": [1]}, "more than tensors"),
    ):
        torch.save(what, path)
        monkeypatch.setattr(torchfiles, "INCEPTION_FILE", known(path))
        with pytest.raises(DataError, match=says):
            load_inception(path)
    assert not mark.exists()


def test_every_name_and_shape_is_compared(state: dict[str, Tensor]) -> None:
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    lacking = {name: array for name, array in arrays.items() if name != "Mixed_7c.branch_pool.bn.bias"}
    for wrong, says in (
        (lacking, "no tensor Mixed_7c.branch_pool.bn.bias"),
        (arrays | {"fc.bias": np.zeros(1000, np.float32)}, r"fc.bias of shape \(1000,\)"),
        (arrays | {"fc.bias": np.full(1008, np.nan, np.float32)}, "not finite"),
        (arrays | {"AuxLogits.fc.bias": np.zeros(3)}, "AuxLogits.fc.bias, which Inception does not have"),
    ):
        with pytest.raises(ArtifactError, match=says):
            assemble_inception(wrong, "w.pth")


def test_what_is_inception(tmp_path: Path, published: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    assert not is_inception(path)
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}, path)
    assert is_inception(path), "also in an archive"
