"""Small artifacts of every kind on the disk, with histories as commands write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Step

Array = npt.NDArray[Any]


def step(tool: str, *argv: str, **inputs: str) -> Step:
    return Step(tool, argv, "0.1.0", None, None, inputs)


def store(path: Path, kind: str, columns: Mapping[str, Array], history: Sequence[Step], **attributes: Any) -> str:
    """Write a zarr artifact; its digest."""
    kinds = {name: (array.dtype.name, array.shape[1:]) for name, array in columns.items()}
    with artifacts.create(path, kind, kinds, attributes=attributes, history=history) as writer:
        for name, array in columns.items():
            writer.append(name, array)
    return artifacts.peek(path).digest


def dataset(path: Path, classes: Sequence[str] = ("cat", "dog"), rows: int = 12, **more: Array) -> str:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (rows, 1, 4, 4), dtype=np.uint8)
    labels = np.arange(rows, dtype=np.int64) % max(1, len(classes))
    columns = {"images": images, "labels": labels, "index": np.arange(rows), **more}
    history = [step("dataset", "import", "set", "-o", str(path.name), source="f" * 64)]
    return store(path, "dataset", columns, history, name=classes[0] if classes else "x", classes=list(classes))


def history_of(path: Path) -> list[Step]:
    return list(artifacts.peek(path).history)


def ranking(path: Path, of: Path, distance: Sequence[float], **more: Any) -> str:
    digest = artifacts.peek(of).digest
    history = [*history_of(of), step("sens-rank", of.name, "-o", path.name, dataset=digest)]
    columns = {"distance": np.array(distance, np.float64), "neighbour": np.arange(len(distance))[::-1].copy()}
    told = {"norm": "linf", "labels": "hard", "dataset": digest, "against": None, "duplicates": "inf", "k": 1} | more
    return store(path, "ranking", columns, history, **told)


def weights(path: Path, kind: str, of: Path, which: str = "last", history: Sequence[Step] = (), **more: Any) -> str:
    arch = {"name": "wrn-10-1", "arguments": {"classes": 2, "mean": [0.5]}}
    arrays = {"a": np.ones((3, 4), np.float32), "b": np.array(len(which))}
    told = {"arch": arch, "weights": which, "epoch": 2} | more
    made = history or [*history_of(of), step("advtrain", of.name, "-o", path.name, dataset=artifacts.peek(of).digest)]
    artifacts.save_tensors(path, kind, arrays, attributes=told, history=made)
    return artifacts.peek(path).digest


def run(path: Path, of: Path, epochs: int = 3, denoiser: bool = False, lines: int | None = None) -> None:
    """A folder as ``advtrain`` or ``edmtrain`` leaves it."""
    path.mkdir()
    digest = artifacts.peek(of).digest
    tool = "edmtrain" if denoiser else "advtrain"
    history = [*history_of(of), step(tool, of.name, "-o", path.name, dataset=digest)]
    recipe = {"epochs": epochs, "batch": 4, "seed": 0, "lr": 0.2} | ({"P_mean": -1.2} if denoiser else {"norm": "linf"})
    document = {"arch": {"name": "wrn-10-1", "arguments": {}}, "inputs": {"dataset": digest}, "recipe": recipe}
    (path / "recipe.json").write_text(json.dumps(document))
    told = [{"epoch": place + 1, "loss": 1 / (place + 1)} for place in range(epochs if lines is None else lines)]
    if not denoiser:
        told = [line | {"train_accuracy": 0.5, "test_accuracy": 0.25, "tracked_accuracy": 0.125} for line in told]
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    for which in ("last",) if denoiser else ("best", "last"):
        weights(path / f"{which}.safetensors", "denoiser" if denoiser else "classifier", of, which, history)


def evaluation(path: Path, of: Path, model: str, taken: Sequence[int], **more: Any) -> str:
    """Points of which ``taken`` says which attack took each; -1: none, -2: wrong without attack."""
    rows = np.array(taken, np.int64)
    columns = {
        "index": np.arange(len(rows)),
        "label": np.zeros(len(rows), np.int64),
        "clean": np.where(rows == -2, 1, 0),
        "attacked": np.where(rows == -1, 0, 1),
        "broken": np.where(rows < 0, -1, rows),
    }
    protocol = {"version": "standard", "seed": 0, "batch": 9, "parameters": [], "left_out": {}, "upper_bound": False}
    digest = artifacts.peek(of).digest
    told: dict[str, Any] = {"attacks": ["apgd-ce", "square"], "norm": "linf", "eps": 8 / 255, "flags": {}}
    told |= {"protocol": protocol | more.pop("protocol", {}), "dataset": digest, "model": model}
    history = [*history_of(of), step("aaeval", of.name, "-o", path.name, dataset=digest, model=model)]
    return store(path, "evaluation", columns, history, **told | more)


def clones(path: Path, of: Path, repeats: int = 2, rows: int = 5) -> str:
    images = np.random.default_rng(1).integers(0, 256, (rows, repeats, 1, 4, 4), dtype=np.uint8)
    columns = {"images": images, "labels": np.zeros(rows, np.int64), "index": np.arange(rows)}
    digest = artifacts.peek(of).digest
    history = [*history_of(of), step("clone", of.name, "-o", path.name, dataset=digest, model="e" * 64)]
    return store(path, "clones", columns, history, dataset=digest, model="e" * 64, sampler={"S_churn": 0.5, "x": "<b>"})


def moments(path: Path, of: Path) -> str:
    columns = {"mean": np.zeros(3), "covariance": np.eye(3)}
    digest = artifacts.peek(of).digest
    history = [*history_of(of), step("fid", of.name, dataset=digest)]
    return store(path, "moments", columns, history, count=12, features=f"classifier:{'d' * 64}", dataset=digest)


def embedding(path: Path, of: Path, ranking: Path, rows: int = 9) -> str:
    position = np.random.default_rng(2).normal(size=(rows, 2))
    columns = {"position": position, "index": np.arange(rows), "distance": np.linspace(0.1, 1, rows)}
    inputs = {"dataset": artifacts.peek(of).digest, "ranking": artifacts.peek(ranking).digest}
    history = [*history_of(ranking), step("embed", of.name, "--ranking", ranking.name, "-o", path.name, **inputs)]
    told = {"method": "mds", "norm": "linf", "seed": 0, "arguments": {}, "stress": 0.25, "scaling": "metric"}
    return store(path, "embedding", columns, history, **told, **inputs)
