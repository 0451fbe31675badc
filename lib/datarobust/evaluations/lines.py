"""An evaluation as a line of JSON: what ``aaeval`` prints, from verdicts just made or from an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from datarobust import evaluation
from datarobust.artifacts import Store
from datarobust.errors import UsageError

Array = npt.NDArray[Any]
COLUMNS = ("index", "label", "clean", "attacked", "broken")


def line(columns: Mapping[str, Array], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation as one JSON object.

    Accuracies are shares of the points. ``delta`` is the paper's, clean minus AutoAttack accuracy. Where AutoAttack
    could lower the accuracy, no number is called by that name.
    """
    broken, right = columns["broken"], columns["clean"] == columns["label"]
    points, left = len(broken), int(right.sum())
    robust = int((right & (broken < 0)).sum())
    protocol = attributes["protocol"]
    attacks, remaining = [], left
    for place, name in enumerate(attributes["attacks"]):
        taken = int((broken == place).sum())
        entry = {"attack": name, "attacked": remaining, "broken": taken, "accuracy": (remaining - taken) / points}
        attacks.append(entry)
        remaining -= taken
    about = attributes.get("about", {})
    return {
        **({"arch": about["arch"]["name"]} if "arch" in about else {}),
        **{key: about[key] for key in ("weights", "epoch") if key in about},
        "points": points,
        **({"dataset_points": attributes["dataset_points"]} if "dataset_points" in attributes else {}),
        "norm": attributes["norm"],
        "eps": evaluation.eps_text(attributes["eps"]),
        "eps_value": round(attributes["eps"], 6),
        "version": protocol["version"],
        "clean": left / points,
        accuracy_key(protocol): robust / points,
        "delta_lower_bound" if protocol["upper_bound"] else "delta": (left - robust) / points,
        "clean_points": left,
        "robust_points": robust,
        "attacks": attacks,
        "left_out": protocol["left_out"],
        "flags": attributes["flags"],
        "rechecked": attributes.get("rechecked", 0),
        "seed": protocol["seed"],
        "batch": protocol["batch"],
        "device": attributes.get("device"),
        "libraries": attributes.get("libraries", {}),
        "dataset_digest": attributes["dataset"],
        "model_digest": attributes["model"],
    }


def accuracy_key(protocol: Mapping[str, Any]) -> str:
    """What the accuracy under attack is called."""
    return "autoattack_upper_bound" if protocol["upper_bound"] else "autoattack"


def stored(store: Store) -> dict[str, Array]:
    """The verdicts of an evaluation artifact, without its images."""
    return {name: store.column(name).read() for name in COLUMNS}


def demand_distinct(outputs: Sequence[Path]) -> None:
    """Refuse one output for two models."""
    if len({path.absolute() for path in outputs}) < len(outputs):
        raise UsageError("two models cannot have one output: name another with each -o.")
