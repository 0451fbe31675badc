"""Networks that commands take from outside: classifier artifacts beside factories."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datarobust.errors import ArtifactError
from datarobust.networks import build
from datarobust.tools._models import load_model

from . import judged


def test_a_classifier_artifact_is_a_network(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    digest = judged.classifier(path)
    found = load_model(str(path))
    assert (found.spec, found.identity) == (str(path), digest)
    assert not found.module.training
    assert not any(parameter.requires_grad for parameter in found.module.parameters())
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(found.module(x), build(judged.ARCH, seed=0).eval()(x))
    with pytest.raises(ArtifactError, match="does not exist"):
        load_model(str(tmp_path / "none.safetensors"))


def test_a_factory_is_one_as_well() -> None:
    assert load_model("torch.nn:Identity").module(torch.ones(1)) == 1
