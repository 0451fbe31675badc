"""Evaluations side by side: two, or two groups of several seeds; whole, or by robustness of the points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Store
from datarobust.errors import ArtifactError, DataError
from datarobust.evaluation import eps_text, statistics
from datarobust.evaluation.statistics import VERDICTS, Flags, accuracy_key
from datarobust.text import shown
from datarobust.types import Floats, Rows

ONE_PAIR = (
    "One pair of networks says nothing about the training's own variance: another seed gives another network. "
    "Compare several seeds of each: A1 A2 A3 vs B1 B2 B3."
)
FEW_SEEDS = "Fewer than three seeds of a training say little about its variance."
UPPER_BOUNDS = "Upper bounds are compared: more attacks could lower either accuracy."
OTHER_ATTACKS = "The two were not attacked alike, so part of the difference may be that of the attacks."


@dataclass(frozen=True)
class Evaluation:
    """The verdicts of one artifact."""

    path: Path
    attributes: Mapping[str, Any]
    index: Rows
    clean: Flags
    """(M) whether each point is classified right."""
    robust: Flags
    """(M) whether it also is under attack."""


def opened(path: Path) -> Evaluation:
    """Read an evaluation artifact. Raises ArtifactError where it is none, or not intact."""
    store: Store = artifacts.open_store(path, "evaluation")
    verdicts = {name: store.column(name).read() for name in VERDICTS}
    clean = verdicts["clean"] == verdicts["label"]
    return Evaluation(path, store.attributes, verdicts["index"], clean, clean & (verdicts["broken"] < 0))


def compare(
    a: Sequence[Evaluation], b: Sequence[Evaluation], ranking: Store | None, parts: int, seed: int
) -> dict[str, Any]:
    """Two evaluations, or two groups of several seeds, as one JSON object; differences are b minus a.

    Args:
        a: one evaluation or more.
        b: one or more, on the same points, in the same norm and radius.
        ranking: of the dataset of these points: compare by its robustness too.
        parts: how many parts the ranking makes of the points.
        seed: of the bootstrap.

    Raises:
        DataError: they cannot be compared.
        ArtifactError: the ranking belongs to another dataset.
    """
    every = [*a, *b]
    for other in every[1:]:
        demand_comparable(every[0], other)
    protocol = every[0].attributes["protocol"]
    key = accuracy_key({"upper_bound": any(each.attributes["protocol"]["upper_bound"] for each in every)})
    paths = [[str(each.path) for each in group] for group in (a, b)]
    alone = len(every) == 2
    result: dict[str, Any] = {
        "a": paths[0][0] if alone else paths[0],
        "b": paths[1][0] if alone else paths[1],
        "points": len(every[0].index),
        "norm": every[0].attributes["norm"],
        "eps": eps_text(every[0].attributes["eps"]),
        "version": protocol["version"],
        "clean": statistics.compared([each.clean for each in a], [each.clean for each in b], seed),
        key: statistics.compared([each.robust for each in a], [each.robust for each in b], seed),
    }
    if ranking is not None:
        result["quantiles"] = _by_robustness(a, b, _distances(ranking, every[0]), parts, seed)
    return result | {"remarks": _remarks(a, b)}


def deciles(which: Evaluation, ranking: Store, parts: int = 10) -> list[dict[str, Any]]:
    """Accuracy by robustness of the points, least robust first: the rows that ``figure deciles`` draws.

    Each has ``quantile`` from 1, ``points``, ``lowest`` and ``highest`` distance (inf: no other label), ``clean`` and
    ``robust`` shares, and ``low`` and ``high``, the 95 % interval of ``robust``.

    Raises:
        ArtifactError: the ranking belongs to another dataset.
        UsageError: there are fewer points than parts.
    """
    distance = _distances(ranking, which)
    rows = []
    for number, part in enumerate(statistics.parts_by(distance, parts), 1):
        robust, low, high = statistics.share(which.robust[part])
        rows.append(
            {
                "quantile": number,
                "points": len(part),
                "lowest": float(distance[part[0]]),
                "highest": float(distance[part[-1]]),
                "clean": float(which.clean[part].mean()),
                "robust": robust,
                "low": low,
                "high": high,
            }
        )
    return rows


def _by_robustness(
    a: Sequence[Evaluation], b: Sequence[Evaluation], distance: Floats, parts: int, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for number, part in enumerate(statistics.parts_by(distance, parts), 1):
        ends = [float(distance[part[0]]), float(distance[part[-1]])]
        groups = [[each.robust[part] for each in group] for group in (a, b)]
        rows.append(
            {
                "quantile": number,
                "points": len(part),
                "distance": [end if np.isfinite(end) else None for end in ends],
                **statistics.compared(groups[0], groups[1], seed),
            }
        )
    return rows


def _distances(ranking: Store, which: Evaluation) -> Floats:
    """Robustness (M) of the points of an evaluation."""
    if ranking.attributes["dataset"] != which.attributes["dataset"]:
        raise ArtifactError(
            f"{shown(ranking.path)} ranks another dataset than that of {shown(which.path)}: rank the points that were "
            "evaluated, with `against` the training set"
        )
    return np.asarray(ranking.column("distance").read()[which.index], np.float64)


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


def _remarks(a: Sequence[Evaluation], b: Sequence[Evaluation]) -> list[str]:
    """What the numbers cannot say."""
    every = [*a, *b]
    remarks = []
    if len(every) == 2:
        remarks.append(ONE_PAIR)
    elif min(len(a), len(b)) < 3:
        remarks.append(FEW_SEEDS)
    if any(each.attributes["protocol"]["upper_bound"] for each in every):
        remarks.append(UPPER_BOUNDS)
    attacks = {artifacts.fingerprint({"attacks": each.attributes["protocol"]["parameters"]}) for each in every}
    if len(attacks) > 1:
        remarks.append(OTHER_ATTACKS)
    return remarks
