"""Small datasets and denoisers on the disk, for tests of the commands of Section 4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.diffusion.denoiser import Denoiser, Edm
from datarobust.networks.song_unet import DDPMPP, SongUNet

STEP = Step("made", (), "0.1.0", None, "cpu", {})


def tree(path: Path) -> dict[str, bytes]:
    """Every file of a folder, by its place in it."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def dataset(path: Path, rows: int = 12, shape: tuple[int, ...] = (1, 8, 8)) -> Path:
    """Random images of three classes."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {"images": ("uint8", shape), "labels": ("int64", ()), "index": ("int64", ())}
    attributes = {"name": "made", "classes": ["class 0", "class 1", "class 2"]}
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[STEP]) as writer:
        writer.append("images", random.integers(0, 256, (rows, *shape), dtype=np.uint8))
        writer.append("labels", np.arange(rows) % 3)
        writer.append("index", np.arange(rows))
    return path


def denoiser(path: Path) -> Path:
    """A denoiser of grey 8x8 images of three classes, with random weights."""
    made = Denoiser(SongUNet(8, 1, 3, model_channels=8, channel_mult=[1, 2], num_blocks=1, **DDPMPP), Edm())
    made.model.initialise(torch.Generator().manual_seed(0))
    arrays = {name: tensor.numpy() for name, tensor in made.state_dict().items()}
    attributes = {"arch": made.arch, "weights": "last", "epoch": 1}
    artifacts.save_tensors(path, "denoiser", arrays, attributes=attributes, history=[STEP])
    return path
