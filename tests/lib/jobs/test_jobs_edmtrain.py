"""Trainings of denoisers: which of them are the same training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.diffusion.training import Recipe
from datarobust.errors import ExistsError
from datarobust.jobs.edmtrain import DenoiserTraining
from datarobust.jobs.make import make

from . import stores

SIZE = {"model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}


def step(inputs: Mapping[str, str]) -> Step:
    return Step("edmtrain", ("d.zarr",), "0.1.0", 0, "cpu", inputs)


def job(folder: Path, augment: float) -> DenoiserTraining:
    path = folder / "d.zarr"
    store = artifacts.open_store(path) if path.exists() else stores.dataset(path, stores.images(8))
    return DenoiserTraining(store, Recipe(1, 4, augment=augment), "ddpmpp", SIZE, labelled=False, memory=1 << 20)


def begun_before(folder: Path, request: Mapping[str, Any]) -> Path:
    """The folder of a run that the first version began and did not end."""
    run = folder / "run"
    run.mkdir()
    document = {name: request[name] for name in ("recipe", "arch", "inputs")}
    older = {name: value for name, value in request.items() if name != "augmentations"}
    (run / "recipe.json").write_text(json.dumps({"request": artifacts.fingerprint(older), **document}))
    return run


def test_a_run_that_was_begun_with_other_augmentations_does_not_go_on(tmp_path: Path) -> None:
    """Its denoiser was told other numbers; without augmentations nothing has changed."""
    augmented = job(tmp_path, 0.2)
    with pytest.raises(ExistsError, match="holds another run"):
        make(augmented, begun_before(tmp_path, augmented.request()), step)


def test_without_augmentations_a_run_of_before_goes_on(tmp_path: Path) -> None:
    plain = job(tmp_path, 0.0)
    run = begun_before(tmp_path, plain.request())
    assert make(plain, run, step)
    assert (run / "last.safetensors").exists()
