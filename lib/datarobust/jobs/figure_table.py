"""Rows of Tables 2 to 4 from artifacts: runs of ``advtrain``, and evaluations of their weights.

Which evaluation belongs to which run is told by digests, not by names: an evaluation says which weights it is of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Summary, durable
from datarobust.artifacts.runs import BEST, LAST, RECIPE, read_log
from datarobust.errors import ArtifactError, DataError
from datarobust.evaluation import eps_text
from datarobust.evaluation.statistics import VERDICTS, summary
from datarobust.figures.table import Accuracy, Row
from datarobust.jobs.figure import names_of
from datarobust.text import shown
from datarobust.types import Rows

_RECIPE_BYTES: Final = 1 << 24


@dataclass(frozen=True)
class Run:
    """A run folder, as far as a table has it."""

    path: Path
    recipe: Mapping[str, Any]
    arch: str
    best: Summary | None
    last: Summary | None
    tracked: Mapping[int, float]
    """Accuracy on the tracked points by epoch."""

    def remark(self) -> str:
        """What the training was, in a sentence."""
        recipe, unfinished = self.recipe, ""
        epoch = None if self.last is None else self.last.attributes.get("epoch")
        if isinstance(epoch, int) and epoch < recipe["epochs"]:
            unfinished = f", unfinished: after epoch {epoch}"
        epochs = f"{recipe['epochs']} epoch{'' if recipe['epochs'] == 1 else 's'}"
        return (
            f"{self.arch}, {recipe['norm']} {eps_text(recipe['eps'])}, {epochs} in batches of {recipe['batch']}, "
            f"seed {recipe['seed']}{unfinished}."
        )


@dataclass(frozen=True)
class Evaluation:
    """An evaluation, as far as a table has it."""

    path: Path
    line: Mapping[str, Any]
    """What ``aaeval`` prints of it."""
    index: Rows
    """Which points."""

    @property
    def accuracy(self) -> Accuracy:
        """Of the network, in shares."""
        bound = "autoattack_upper_bound" in self.line
        robust = self.line["autoattack_upper_bound" if bound else "autoattack"]
        return Accuracy(self.line["clean"], robust, bound)

    def agrees(self, other: Evaluation) -> bool:
        """Whether two evaluations of the same weights, which may be both best and last, agree in all that matters."""
        keys = ("dataset_digest", "norm", "eps_value", "version", "clean_points", "attacks", "left_out", "flags")
        same = all(self.line[key] == other.line[key] for key in keys)
        return same and np.array_equal(self.index, other.index)

    def remarks(self) -> Iterator[str]:
        """What a reader of the accuracy should know."""
        line = self.line
        points, every = line["points"], line.get("dataset_points", line["points"])
        some = f"{points:,} of {every:,} points" if points < every else f"{points:,} points"
        attacks = ", ".join(attack["attack"] for attack in line["attacks"])
        share = f"{100 / points:.2g} percentage point{'' if points == 100 else 's'}"
        attack = f"{line['norm']} {line['eps']}, {line['version']} ({attacks})"
        yield f"Evaluated on {some}, one of which is {share}: {attack}."
        for attack, why in line["left_out"].items():
            yield f"{attack} was left out: {why}."
        if line["flags"]:
            yield f"There are signs of an unreliable evaluation: {', '.join(line['flags'])}."


def read_run(path: Path) -> Run:
    """A run that has weights.

    Raises:
        ArtifactError: recipe, log or weights are missing or damaged.
    """
    with durable.os_errors(path / RECIPE, "read"):
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
    return Run(path, recipe, arch, best, last, tracked)


def rows(sources: Sequence[Path], names: Sequence[str] | None = None) -> list[Row]:
    """A row for each run, and one for each evaluation of other weights.

    Args:
        sources: folders of ``advtrain``, in the order of the rows, and evaluations of their weights, in any order;
            evaluations of other weights make rows that are called as their files.
        names: of the runs; else those of their folders.

    Raises:
        ArtifactError: something cannot be read.
        DataError: two evaluations are of the same weights and differ, or those of a run differ in what they evaluate.
        UsageError: there are not as many names as runs.
    """
    folders = [path for path in sources if (path / RECIPE).is_file()]
    called = names_of("runs", names, [path.resolve().name for path in folders])
    evaluations: dict[str, Evaluation] = {}
    for path in sources:
        if path in folders:
            continue
        store = artifacts.open_store(path, "evaluation")
        columns, model = {name: store.column(name).read() for name in VERDICTS}, str(store.attributes["model"])
        evaluation = Evaluation(path, summary(columns, store.attributes), columns["index"])
        if model in evaluations and not evaluations[model].agrees(evaluation):
            raise DataError(
                f"{shown(evaluations[model].path)} and {shown(path)} are different evaluations of the same weights: "
                "name one of them."
            )
        evaluations[model] = evaluation
    runs = [read_run(path) for path in folders]
    ours = {weights.digest for run in runs for weights in (run.best, run.last) if weights is not None}
    table = [_row(name, run, evaluations) for name, run in zip(called, runs, strict=True)]
    for model, evaluation in evaluations.items():
        if model not in ours:  # weights that no run is given for, such as published ones
            best, arch = evaluation.line.get("weights") == "best", evaluation.line.get("arch")
            remark = f"{arch}, no run is given." if arch is not None else "No run is given."
            accuracy = evaluation.accuracy
            table.append(
                Row(
                    evaluation.path.resolve().stem,
                    accuracy if best else None,
                    None if best else accuracy,
                    remarks=(remark, *evaluation.remarks()),
                )
            )
    return table


def _row(name: str, run: Run, evaluations: Mapping[str, Evaluation]) -> Row:
    """The row of a run, from the evaluations of its weights by their digests."""
    best, last = (None if weights is None else evaluations.get(weights.digest) for weights in (run.best, run.last))
    if best is not None and last is not None:
        for key in ("dataset_digest", "points", "version", "norm", "eps_value"):
            if best.line[key] != last.line[key]:
                raise DataError(
                    f"{shown(best.path)} and {shown(last.path)} are of one run, but their {key} are "
                    f"{best.line[key]} and {last.line[key]}: evaluate both weights alike."
                )
        if not np.array_equal(best.index, last.index):
            raise DataError(f"{shown(best.path)} and {shown(last.path)} are of one run, but of different points.")
    epoch = run.best.attributes.get("epoch") if run.best is not None and run.tracked else None
    remarks = [run.remark(), *(remark for each in (best, last) if each is not None for remark in each.remarks())]
    if best is None and last is None:
        remarks.append("Its weights are in no evaluation that was given.")
    return Row(
        name,
        None if best is None else best.accuracy,
        None if last is None else last.accuracy,
        epoch,
        None if epoch is None else run.tracked.get(epoch),
        f"seed {run.recipe['seed']}",
        tuple(dict.fromkeys(remarks)),
    )
