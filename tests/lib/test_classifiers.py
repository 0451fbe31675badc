"""Classifiers as artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datarobust.classifiers import assemble, load_classifier
from datarobust.errors import ArtifactError

from .evaluations.helpers import ARCH, classifier, network


def test_written_and_read(tmp_path: Path) -> None:
    found, artifact = load_classifier(classifier(tmp_path / "m.safetensors"))
    assert not found.training
    assert found.arch == ARCH == artifact.attributes["arch"]
    x = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(found(x), network()(x))


def test_tensors_and_architecture_are_held_against_each_other() -> None:
    arrays = {name: tensor.numpy() for name, tensor in network().state_dict().items()}
    first = next(iter(arrays))
    for wrong, words in (
        ({name: array for name, array in arrays.items() if name != first}, "has no tensor .*, which wrn-10-1 for 4"),
        ({**arrays, "more\x1b": np.zeros(1, np.float32)}, r"has a tensor more\\x1b, which wrn-10-1"),
        ({**arrays, first: np.zeros((1, 1), np.float32)}, r"of shape \(1, 1\), where wrn-10-1"),
    ):
        with pytest.raises(ArtifactError, match=words):
            assemble(ARCH, wrong, "m.safetensors")
    with pytest.raises(ArtifactError, match="cannot be built"):
        assemble({"name": "other", "arguments": {}}, arrays, "m.safetensors")


@pytest.mark.parametrize("name", ["best.pt", "best.pth", "edm.pkl"])
def test_published_files_are_sent_to_model_import(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="model import"):
        load_classifier(tmp_path / name)
