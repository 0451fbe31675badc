"""Small classifiers, evaluations and rankings on the disk, for tests of the commands on evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.networks import build

STEP = Step("made", (), "0.1.0", None, "cpu", {})
ARCH = {"name": "wrn-10-1", "arguments": {"classes": 4, "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}}
Array = npt.NDArray[Any]


def classifier(path: Path, seed: int = 0, weights: str = "best", epoch: int = 2) -> str:
    """A network with random weights; returns its digest."""
    arrays = {name: tensor.numpy() for name, tensor in build(ARCH, seed=seed).state_dict().items()}
    told = {"arch": ARCH, "weights": weights, "epoch": epoch}
    artifacts.save_tensors(path, "classifier", arrays, attributes=told, history=[STEP], overwrite=True)
    return artifacts.peek(path).digest


def evaluation(path: Path, robust: Array, protocol: Mapping[str, Any] | None = None, **more: Any) -> Path:
    """An evaluation with given verdicts: all points (M) are classified right, and some are robust."""
    points = len(robust)
    columns = {"index": np.arange(points), "label": np.zeros(points, np.int64), "clean": np.zeros(points, np.int64)}
    columns |= {"attacked": np.where(robust, 0, 1), "broken": np.where(robust, -1, 0)}
    run: dict[str, Any] = {"version": "standard", "seed": 0, "batch": 250, "parameters": [], "left_out": {}}
    attributes: dict[str, Any] = {"attacks": ["apgd-ce"], "norm": "linf", "eps": 8 / 255, "flags": {}}
    attributes |= {"protocol": run | {"upper_bound": False} | dict(protocol or {})}
    attributes |= {"dataset": "0" * 64, "model": "1" * 64} | more
    _store(path, "evaluation", columns, attributes)
    return path


def ranking(path: Path, distance: Array, dataset: str = "0" * 64) -> None:
    """A ranking with given distances."""
    attributes = {"norm": "linf", "labels": "hard", "dataset": dataset, "against": None, "duplicates": "inf", "k": 1}
    _store(path, "ranking", {"distance": distance, "neighbour": np.zeros(len(distance), np.int64)}, attributes)


def _store(path: Path, kind: str, columns: Mapping[str, Array], attributes: Mapping[str, Any]) -> None:
    kinds = {name: (array.dtype.name, array.shape[1:]) for name, array in columns.items()}
    with artifacts.create(path, kind, kinds, attributes=attributes, history=[STEP]) as writer:
        for name, array in columns.items():
            writer.append(name, array)
