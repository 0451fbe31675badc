"""Denoisers as artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datarobust.denoisers import assemble, load_denoiser
from datarobust.errors import ArtifactError

from . import made
from .diffusion.helpers import small


def test_written_and_read(tmp_path: Path) -> None:
    denoiser = small()
    found, artifact = load_denoiser(made.model(tmp_path / "m.safetensors", denoiser))
    assert found.arch == denoiser.arch == artifact.attributes["arch"]
    x, labels = torch.randn(2, 1, 8, 8), torch.eye(3)[:2]
    with torch.no_grad():
        assert torch.equal(found.eval()(x, torch.ones(()), labels), denoiser(x, torch.ones(()), labels))


def test_tensors_and_architecture_are_held_against_each_other() -> None:
    denoiser = small()
    arrays = {name: tensor.numpy() for name, tensor in denoiser.state_dict().items()}
    first = next(iter(arrays))
    for wrong, words in (
        ({name: array for name, array in arrays.items() if name != first}, "has no tensor"),
        ({**arrays, "model.more": np.zeros(1, np.float32)}, "tensor model.more, which its architecture has not"),
        ({**arrays, first: np.zeros((1, 1), np.float32)}, r"of shape \(1, 1\)"),
    ):
        with pytest.raises(ArtifactError, match=words):
            assemble(denoiser.arch, wrong, "m.safetensors")
    with pytest.raises(ArtifactError, match="cannot be built"):
        assemble({"name": "other", "arguments": {}}, arrays, "m.safetensors")


@pytest.mark.parametrize("name", ["edm.pkl", "edm.pt"])
def test_published_files_are_sent_to_model_import(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="model import"):
        load_denoiser(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        load_denoiser(tmp_path / "m.safetensors")
