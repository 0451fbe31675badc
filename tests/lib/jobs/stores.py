"""Datasets and clones on the disk, with histories as the commands write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Step, Store


def images(count: int, seed: int = 0, shape: tuple[int, ...] = (1, 4, 4)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def near(pixels: np.ndarray, seed: int, by: int = 20) -> np.ndarray:
    """Other images, not far from these."""
    noise = np.random.default_rng(seed).integers(-by, by + 1, pixels.shape)
    return (pixels.astype(np.int64) + noise).clip(0, 255).astype(np.uint8)


def dataset(
    path: Path, pixels: np.ndarray, index: np.ndarray | None = None, history: Sequence[Step] | None = None
) -> Store:
    steps = history or [Step("dataset", ("import", "x"), "0.1.0", None, None, {"source": "0" * 64})]
    columns: dict[str, Any] = {"images": ("uint8", pixels.shape[1:]), "labels": ("int64", ()), "index": ("int64", ())}
    attributes = {"name": "made", "classes": ["one"]}
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=steps) as writer:
        writer.append("images", pixels)
        writer.append("labels", np.zeros(len(pixels), np.int64))
        writer.append("index", np.arange(len(pixels)) if index is None else index)
    return artifacts.open_store(path)


def part(path: Path, of: Store, rows: Sequence[int], command: str = "subset") -> Store:
    """Rows of a dataset, as ``dataset subset`` takes them."""
    at = np.asarray(rows)
    step = Step("dataset", (command, "..."), "0.1.0", None, None, {"dataset": of.digest})
    pixels, index = of.column("images").take(at), of.column("index").take(at)
    return dataset(path, pixels, index, [*of.history, step])


def clones(path: Path, of: Store, rows: Sequence[int], repeats: int, seed: int = 5) -> Store:
    """Images near rows of a dataset, as ``clone`` stores them."""
    at = np.asarray(rows)
    pixels = near(np.repeat(of.column("images").take(at)[:, None], repeats, axis=1), seed)
    columns: dict[str, Any] = {"images": ("uint8", pixels.shape[1:]), "labels": ("int64", ()), "index": ("int64", ())}
    step = Step("clone", (), "0.1.0", 0, "cpu", {"dataset": of.digest, "model": "1" * 64})
    attributes = {"dataset": of.digest, "model": "1" * 64, "sampler": {}, "name": "made", "classes": ["one"]}
    with artifacts.create(path, "clones", columns, attributes=attributes, history=[*of.history, step]) as writer:
        writer.append("images", pixels)
        writer.append("labels", np.zeros(len(at), np.int64))
        writer.append("index", at)
    return artifacts.open_store(path)
