"""Datasets, classifiers and evaluations on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.datasets.sources import as_names, name_bytes
from datarobust.networks import build
from datarobust.networks.classifier import Classifier

STEP = Step("made", (), "0.1.0", None, "cpu", {})
ARCH = {"name": "wrn-10-1", "arguments": {"classes": 4, "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}}


def network(seed: int = 0) -> Classifier:
    """A small network with random weights, whose batch norms have seen something."""
    made = build(ARCH, seed=seed)
    with torch.no_grad():
        made(torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(seed)))
        made.logits.weight.mul_(30)
    return made.eval()


def classifier(path: Path, seed: int = 0, **attributes: Any) -> Path:
    """That network as an artifact."""
    arrays = {name: tensor.numpy() for name, tensor in network(seed).state_dict().items()}
    told = {"arch": ARCH, "weights": "best", "epoch": 7} | attributes
    artifacts.save_tensors(path, "classifier", arrays, attributes=told, history=[STEP], overwrite=True)
    return path


def dataset(
    path: Path, rows: int = 24, classes: tuple[str, ...] = ("a", "b", "c", "d"), wrong: int = 6, named: bool = False
) -> Store:
    """Images with the labels that the network of seed 0 gives them; every ``wrong``-th has another one."""
    images = np.random.default_rng(0).integers(0, 256, (rows, 3, 8, 8)).astype(np.uint8)
    with torch.no_grad():
        labels = network()(torch.from_numpy(images).float() / 255).argmax(1).numpy()
    labels[::wrong] = (labels[::wrong] + 1) % 4
    columns: dict[str, Any] = {"images": ("uint8", (3, 8, 8)), "labels": ("int64", ()), "index": ("int64", ())}
    called = [f"{row}.png" for row in range(rows)]
    width = name_bytes(called)
    columns |= {"names": ("uint8", (width,))} if named else {}
    attributes = {"name": "made", "classes": list(classes)}
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[STEP], overwrite=True) as writer:
        writer.append("images", images)
        writer.append("labels", labels.astype(np.int64))
        writer.append("index", np.arange(rows))
        if named:
            writer.append("names", as_names(called, width))
    return artifacts.open_store(path)


def evaluation(path: Path, right: np.ndarray, broken: np.ndarray, **more: Any) -> Path:
    """An evaluation with given verdicts: which points (M) are right, and which attack broke them."""
    points = len(right)
    columns = {
        "index": more.pop("index", np.arange(points)),
        "label": np.zeros(points, np.int64),
        "clean": np.where(right, 0, 1),
        "attacked": np.where(right & (broken < 0), 0, 1),
        "broken": broken.astype(np.int64),
    } | more.pop("columns", {})
    protocol = {"version": "standard", "seed": 0, "batch": 250, "parameters": [], "left_out": {}, "upper_bound": False}
    attributes: Mapping[str, Any] = {
        "attacks": ["apgd-ce", "apgd-t"],
        "norm": "linf",
        "eps": 8 / 255,
        "protocol": protocol | more.pop("protocol", {}),
        "flags": {},
        "dataset": "0" * 64,
        "model": "1" * 64,
        "libraries": {"pyautoattack": "0.2.0"},
        **more,
    }
    with artifacts.create(
        path,
        "evaluation",
        {name: (array.dtype.name, array.shape[1:]) for name, array in columns.items()},
        attributes=attributes,
        history=[STEP],
        overwrite=True,
    ) as writer:
        for name, array in columns.items():
            writer.append(name, array)
    return path


def ranking(path: Path, distance: np.ndarray, dataset: str = "0" * 64) -> Store:
    """A ranking with given distances."""
    attributes = {"norm": "linf", "labels": "hard", "dataset": dataset, "against": None, "duplicates": "inf", "k": 1}
    columns: dict[str, Any] = {"distance": ("float64", ()), "neighbour": ("int64", ())}
    with artifacts.create(path, "ranking", columns, attributes=attributes, history=[STEP], overwrite=True) as writer:
        writer.append("distance", distance)
        writer.append("neighbour", np.zeros(len(distance), np.int64))
    return artifacts.open_store(path)
