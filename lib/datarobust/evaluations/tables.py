"""Rows of Tables 2 to 4 from artifacts: runs of ``advtrain``, and evaluations of their weights.

Which evaluation belongs to which run is told by digests, not by names: an evaluation says which weights it is of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Store, Summary, files
from datarobust.artifacts.runs import BEST, LAST, RECIPE, read_log
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.evaluation import eps_text
from datarobust.evaluations.lines import line, stored
from datarobust.figures.table import Accuracy, Row
from datarobust.text import shown

_RECIPE_BYTES = 1 << 24


@dataclass(frozen=True)
class Trained:
    """A run folder, as far as a table tells of it."""

    path: Path
    recipe: Mapping[str, Any]
    arch: str
    best: Summary | None
    last: Summary | None
    tracked: Mapping[int, float]
    """Accuracy on the tracked points by epoch."""

    def describe(self) -> str:
        """What the training was, in a sentence."""
        recipe = self.recipe
        done = "" if self.last is None else _unfinished(self.last, recipe["epochs"])
        epochs = f"{recipe['epochs']} epoch{'' if recipe['epochs'] == 1 else 's'}"
        return (
            f"{self.arch}, {recipe['norm']} {eps_text(recipe['eps'])}, {epochs} in batches of {recipe['batch']}, "
            f"seed {recipe['seed']}{done}."
        )


@dataclass(frozen=True)
class Judged:
    """An evaluation, as far as a table tells of it."""

    path: Path
    found: Mapping[str, Any]
    """Its line (:func:`.lines.line`)."""
    index: npt.NDArray[np.int64]
    """Which points."""

    @property
    def accuracy(self) -> Accuracy:
        """Of the network, in shares."""
        bound = "autoattack_upper_bound" in self.found
        robust = self.found["autoattack_upper_bound" if bound else "autoattack"]
        return Accuracy(self.found["clean"], robust, bound)

    def says_as(self, other: Judged) -> bool:
        """Whether two evaluations of the same weights, which may be both best and last, agree in all that matters."""
        keys = ("dataset_digest", "norm", "eps_value", "version", "clean_points", "attacks", "left_out", "flags")
        same = all(self.found[key] == other.found[key] for key in keys)
        return same and np.array_equal(self.index, other.index)

    def remarks(self) -> Iterator[str]:
        """What a reader of the accuracy should know."""
        found = self.found
        points, whole = found["points"], found.get("dataset_points", found["points"])
        some = f"{points:,} of {whole:,} points" if points < whole else f"{points:,} points"
        attacks = ", ".join(attack["attack"] for attack in found["attacks"])
        share = f"{100 / points:.2g} percentage point{'' if points == 100 else 's'}"
        attack = f"{found['norm']} {found['eps']}, {found['version']} ({attacks})"
        yield f"Evaluated on {some}, one of which is {share}: {attack}."
        for attack, why in found["left_out"].items():
            yield f"{attack} was left out: {why}."
        if found["flags"]:
            yield f"There are signs of an unreliable evaluation: {', '.join(found['flags'])}."


def is_run(path: Path) -> bool:
    """Whether a path is that of a run, and not of an artifact."""
    return (path / RECIPE).is_file()


def read_run(path: Path) -> Trained:
    """A run that has weights.

    Raises:
        ArtifactError: recipe, log or weights are missing or damaged.
    """
    with files.told(path / RECIPE, "read"):
        if (path / RECIPE).stat().st_size > _RECIPE_BYTES:
            raise ArtifactError(f"{shown(path / RECIPE)} is too large for a recipe")
        text = (path / RECIPE).read_bytes()
    try:
        document = json.loads(text)
        recipe = {key: document["recipe"][key] for key in ("norm", "eps", "epochs", "batch", "seed")}
        arch = str(document["arch"]["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{shown(path / RECIPE)} is no recipe of an adversarial training ({error!r})") from error
    best, last = (artifacts.peek(path / name) if (path / name).is_file() else None for name in (BEST, LAST))
    if best is None and last is None:
        raise ArtifactError(f"{shown(path)} has no weights yet: its training goes on when advtrain is run again")
    tracked = {
        entry["epoch"]: float(entry["tracked_accuracy"])
        for entry in read_log(path)
        if isinstance(entry.get("tracked_accuracy"), int | float)
    }
    return Trained(path, recipe, arch, best, last, tracked)


def read_evaluation(path: Path) -> tuple[Judged, str]:
    """An evaluation and the digest of the weights that it is of. Raises ArtifactError where it is none."""
    store: Store = artifacts.open_store(path, "evaluation")
    columns = stored(store)
    found = line(columns, store.attributes)
    return Judged(path, found, columns["index"]), str(store.attributes["model"])


def rows(runs: Sequence[Path], evaluations: Sequence[Path], names: Sequence[str] | None = None) -> list[Row]:
    """A row for each run, and one for each evaluation of other weights.

    Args:
        runs: folders of ``advtrain``, in the order of the rows.
        evaluations: of their weights, in any order; of other weights, they make rows that are called as their files.
        names: of the runs; else those of their folders.

    Raises:
        ArtifactError: something cannot be read.
        DataError: two evaluations are of the same weights and differ, or those of a run differ in what they evaluate.
        UsageError: there are not as many names as runs.
    """
    if names is not None and len(names) != len(runs):
        raise UsageError(f"{len(runs)} runs, but {len(names)} names: give `name` once for each run, in their order.")
    judged: dict[str, Judged] = {}
    for path in evaluations:
        found, model = read_evaluation(path)
        if model in judged and not judged[model].says_as(found):
            raise DataError(
                f"{shown(judged[model].path)} and {shown(path)} are different evaluations of the same weights: name "
                "one of them."
            )
        judged[model] = found
    trained = [read_run(path) for path in runs]
    ours = {weights.digest for one in trained for weights in (one.best, one.last) if weights is not None}
    called = names if names is not None else [one.path.resolve().name for one in trained]
    table = [_run_row(name, one, judged) for name, one in zip(called, trained, strict=True)]
    return table + [_lone_row(one) for model, one in judged.items() if model not in ours]


def _run_row(name: str, one: Trained, judged: Mapping[str, Judged]) -> Row:
    best, last = (None if weights is None else judged.get(weights.digest) for weights in (one.best, one.last))
    if best is not None and last is not None:
        for key in ("dataset_digest", "points", "version", "norm", "eps_value"):
            if best.found[key] != last.found[key]:
                raise DataError(
                    f"{shown(best.path)} and {shown(last.path)} are of one run, but their {key} are "
                    f"{best.found[key]} and {last.found[key]}: evaluate both weights alike."
                )
        if not np.array_equal(best.index, last.index):
            raise DataError(f"{shown(best.path)} and {shown(last.path)} are of one run, but of different points.")
    tracked_at = one.best is not None and bool(one.tracked)
    epoch = one.best.attributes.get("epoch") if tracked_at and one.best is not None else None
    remarks = [one.describe()]
    for found in (best, last):
        remarks += [] if found is None else [remark for remark in found.remarks() if remark not in remarks]
    if best is None and last is None:
        remarks.append("Its weights are in no evaluation that was given.")
    return Row(
        name,
        None if best is None else best.accuracy,
        None if last is None else last.accuracy,
        epoch,
        None if epoch is None else one.tracked.get(epoch),
        f"seed {one.recipe['seed']}",
        tuple(remarks),
    )


def _lone_row(one: Judged) -> Row:
    """A row of weights that no run is given for, such as published ones."""
    best = one.found.get("weights") == "best"
    what = f"{one.found['arch']}, no run is given." if "arch" in one.found else "No run is given."
    accuracy = one.accuracy
    return Row(
        one.path.resolve().stem,
        accuracy if best else None,
        None if best else accuracy,
        remarks=(what, *one.remarks()),
    )


def _unfinished(last: Summary, epochs: int) -> str:
    epoch = last.attributes.get("epoch")
    return f", unfinished: after epoch {epoch}" if isinstance(epoch, int) and epoch < epochs else ""
