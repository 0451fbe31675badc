"""Datasets and denoisers on the disk, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets.sources import as_names, name_bytes
from datarobust.diffusion.denoiser import Denoiser

STEP = Step("made", (), "0.1.0", None, "cpu", {})


def dataset(
    path: Path, rows: int = 12, shape: tuple[int, ...] = (1, 8, 8), classes: int = 3, names: Sequence[str] = ()
) -> artifacts.Store:
    """Random images of so many classes, with or without names."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {"images": ("uint8", shape), "labels": ("int64", ()), "index": ("int64", ())}
    width = name_bytes(names)
    columns |= {"names": ("uint8", (width,))} if names else {}
    attributes = {"name": "made", "classes": [f"class {n}" for n in range(classes)]}
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[STEP]) as writer:
        writer.append("images", random.integers(0, 256, (rows, *shape), dtype=np.uint8))
        writer.append("labels", np.arange(rows) % max(1, classes))
        writer.append("index", np.arange(rows) + 100)
        if names:
            writer.append("names", as_names(names, width))
    return artifacts.open_store(path)


def model(path: Path, denoiser: Denoiser, **attributes: Any) -> Path:
    """The denoiser as an artifact."""
    arrays = {name: tensor.numpy() for name, tensor in denoiser.state_dict().items()}
    told = {"arch": denoiser.arch, "weights": "last", "epoch": 1} | attributes
    artifacts.save_tensors(path, "denoiser", arrays, attributes=told, history=[STEP], overwrite=True)
    return path
