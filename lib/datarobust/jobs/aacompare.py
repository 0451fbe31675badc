"""Evaluations side by side: two, or two groups of several seeds; whole, or by robustness of the points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Store
from datarobust.errors import ArtifactError, DataError
from datarobust.evaluation import eps_text, power, statistics
from datarobust.evaluation.statistics import VERDICTS, Flags
from datarobust.text import shown
from datarobust.types import Floats, Rows

ONE_PAIR = (
    "A single pair of networks cannot show training variance (seed effects). "
    "Compare several seeds of each: A1 A2 A3 vs B1 B2 B3."
)
FEW_SEEDS = "Fewer than three seeds of a training say little about its variance."
UPPER_BOUNDS = "Upper bounds are compared: more attacks could lower either accuracy."
INDEPENDENT = (
    "What is detectable is computed as if the other network failed independently of this one. Networks trained alike "
    "fail on the same points more often, and a smaller difference is detectable."
)
OTHER_ATTACKS = "The two were attacked differently, so part of the difference may come from the attacks."


@dataclass(frozen=True)
class Evaluation:
    """The verdicts of one artifact."""

    path: Path
    attributes: Mapping[str, Any]
    index: Rows
    clean: Flags  # (M) whether each point is classified right
    robust: Flags  # (M) whether it also is under attack


def opened(path: Path) -> Evaluation:
    """Read an evaluation artifact. Raises ArtifactError where it is none, or not intact."""
    store = artifacts.open_store(path, "evaluation")
    verdicts = {name: store.column(name).read() for name in VERDICTS}
    clean = verdicts["clean"] == verdicts["label"]
    return Evaluation(path, store.attributes, verdicts["index"], clean, clean & (verdicts["broken"] < 0))


def compare(
    a: Sequence[Evaluation],
    b: Sequence[Evaluation],
    ranking: Store | None,
    parts: int,
    seed: int,
    with_power: bool = False,
) -> dict[str, Any]:
    """Two evaluations, or two groups of several seeds, as one JSON object; differences are b minus a.

    A ranking of the dataset compares them by robustness too, in so many parts; the seed is that of the bootstrap. Power
    adds what the comparison could show; only then may ``b`` be empty, for the power of ``a`` against as many like it.
    Raises DataError where they are not on the same points, in the same norm and radius, ArtifactError where the ranking
    belongs to another dataset.
    """
    first, *others = every = [*a, *b]
    for other in others:
        demand_comparable(first, other)
    protocols = [each.attributes["protocol"] for each in every]
    bounds = any(protocol["upper_bound"] for protocol in protocols)
    one_each = len(a) == 1 and len(b) <= 1
    remarks = [ONE_PAIR] if one_each else [FEW_SEEDS] if min(len(a), len(b or a)) < 3 else []
    if one_each and not b:
        remarks.append(INDEPENDENT)
    if bounds:
        remarks.append(UPPER_BOUNDS)
    if len({artifacts.fingerprint({"attacks": protocol["parameters"]}) for protocol in protocols}) > 1:
        remarks.append(OTHER_ATTACKS)

    def compared(flags_a: Sequence[Flags], flags_b: Sequence[Flags]) -> dict[str, Any]:
        entry = statistics.compared(flags_a, flags_b, seed)
        return entry | {"power": power.attainable(flags_a, flags_b)} if with_power else entry

    paths = [[str(each.path) for each in group] for group in (a, b)]
    result: dict[str, Any] = {
        "a": paths[0][0] if one_each else paths[0],
        "b": None if not b else paths[1][0] if one_each else paths[1],
        "points": len(first.index),
        "norm": first.attributes["norm"],
        "eps": eps_text(first.attributes["eps"]),
        "eps_value": round(first.attributes["eps"], 6),
        "version": protocols[0]["version"],
        "upper_bound": bounds,
        "clean": compared([each.clean for each in a], [each.clean for each in b]),
        "autoattack": compared([each.robust for each in a], [each.robust for each in b]),
    }
    result["quantiles"] = None
    if ranking is not None:
        result["quantiles"] = [
            {
                "quantile": number,
                "points": len(part),
                "distance": [end if np.isfinite(end) else None for end in (low, high)],
                **compared([each.robust[part] for each in a], [each.robust[part] for each in b]),
            }
            for number, part, low, high in _parts(ranking, first, parts)
        ]
    return result | {"remarks": remarks}


def deciles(which: Evaluation, ranking: Store, parts: int = 10) -> list[dict[str, Any]]:
    """Accuracy by robustness of the points, least robust first: the rows that ``figure deciles`` draws.

    Each has ``quantile`` from 1, ``points``, ``lowest`` and ``highest`` distance (inf: no other label), ``clean`` and
    ``robust`` shares, and ``low`` and ``high``, the 95 % interval of ``robust``. Raises ArtifactError where the ranking
    belongs to another dataset, UsageError where there are fewer points than parts.
    """
    rows = []
    for number, part, lowest, highest in _parts(ranking, which, parts):
        row: dict[str, Any] = {"quantile": number, "points": len(part), "lowest": lowest, "highest": highest}
        robust, low, high = statistics.share(which.robust[part])
        rows.append(row | {"clean": float(which.clean[part].mean()), "robust": robust, "low": low, "high": high})
    return rows


def _parts(ranking: Store, which: Evaluation, parts: int) -> Iterator[tuple[int, Rows, float, float]]:
    """Parts of the points of an evaluation, least robust first: number, rows, lowest and highest distance."""
    datasets = artifacts.row_by_row(ranking.history, ranking.attributes["dataset"])
    if which.attributes["dataset"] not in datasets or which.index.max() >= len(ranking):
        raise ArtifactError(
            f"{shown(ranking.path)} ranks another dataset than that of {shown(which.path)}: rank the points that were "
            "evaluated, with `against` the training set"
        )
    distance: Floats = np.asarray(ranking.column("distance").read()[which.index], np.float64)
    for number, part in enumerate(statistics.parts_by(distance, parts), 1):
        yield number, part, float(distance[part[0]]), float(distance[part[-1]])


def demand_comparable(first: Evaluation, other: Evaluation) -> None:
    """Refuse two evaluations that differ in dataset, points, norm or radius. Raises DataError, which says in what."""
    pair = f"{shown(first.path)} and {shown(other.path)} cannot be compared"
    if first.attributes["dataset"] != other.attributes["dataset"]:
        raise DataError(f"{pair}: they are of different datasets.")
    if not np.array_equal(first.index, other.index):
        raise DataError(f"{pair}: they are of different points of the dataset.")
    for name in ("norm", "eps"):
        values = first.attributes[name], other.attributes[name]
        if values[0] != values[1]:
            raise DataError(f"{pair}: their {name} are {values[0]} and {values[1]}.")
