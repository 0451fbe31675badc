"""One evaluation to be made: from a dataset and a model to verdicts, and from verdicts to a store."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datarobust import __version__, artifacts, evaluation
from datarobust.artifacts import Step, Store
from datarobust.artifacts.history import join
from datarobust.checkpoints.models import Model
from datarobust.distributed import Group
from datarobust.errors import DataError
from datarobust.evaluation import Protocol, checks
from datarobust.evaluation.attacks import accelerated, library
from datarobust.evaluation.driver import Options, Outcome, evaluate
from datarobust.fid.features import as_inputs
from datarobust.networks import foreign
from datarobust.networks.classifier import frozen
from datarobust.selection import Chosen
from datarobust.text import shown
from datarobust.types import Progress

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Points:
    """What is evaluated of a dataset."""

    dataset: Store
    chosen: Chosen | None = None
    """Only these points."""

    def __post_init__(self) -> None:
        if "images" not in self.dataset:
            raise DataError(f"{shown(self.dataset.path)} holds features: attacks on images need images.")

    @cached_property
    def rows(self) -> Rows:
        """Places in the dataset (M)."""
        return np.arange(len(self.dataset)) if self.chosen is None else self.chosen.rows

    @cached_property
    def images(self) -> Array:
        """uint8 (M, C, H, W)."""
        column = self.dataset.column("images")
        return column.read() if self.chosen is None else column.take(self.rows)

    @cached_property
    def labels(self) -> Rows:
        """int64 (M)."""
        return np.asarray(self.dataset.column("labels").read()[self.rows], np.int64)


def classes_of(model: Model, points: Points, device: torch.device) -> int:
    """Move the model to the device, see that it can be evaluated on these points, and tell how many classes it has.

    Raises:
        DataError: what does not fit; see :mod:`datarobust.evaluation.checks`.
    """
    where = shown(points.dataset.path)
    checks.demand_images(points.images, points.labels, where)
    module, name = model.module.to(device), shown(model.name)
    with frozen(module):
        width = checks.demand_classifier(name, module, points.images, device)
        checks.demand_width(name, width, points.labels, len(points.dataset.attributes["classes"]), where)
        first = slice(0, evaluation.BATCH)
        checks.demand_unit_inputs(
            name,
            lambda x: foreign.run(name, module, x),
            as_inputs(points.images[first], device),
            torch.from_numpy(points.labels[first]).to(device),
        )
    return width


@dataclass(frozen=True)
class Job:
    """One evaluation to be made: all that decides its verdicts, and how."""

    points: Points
    model: Model
    plan: Protocol
    device: torch.device
    keep: bool = False
    """Keep the adversarial images."""
    limit: int | None = None
    """Images in memory at a time."""
    faster: bool = False
    """Attack a copy of the network that is faster, and rounds otherwise."""
    compiled: bool = False
    """Attack what torch.compile makes of it."""
    official: bool = False
    """Run the library's attacks exactly as they are."""

    @property
    def request(self) -> str:
        """Names what leads to the same verdicts."""
        return artifacts.fingerprint(
            {
                "tool": "aaeval",
                "dataset": self.points.dataset.digest,
                "rows": artifacts.fingerprint({"rows": self.points.rows.tolist()}),
                "model": self.model.identity,
                "norm": self.plan.norm,
                "eps": self.plan.eps,
                "protocol": self.plan.describe(),
                "keep": self.keep,
            }
        )

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role, for the history."""
        chosen = {} if self.points.chosen is None else dict(self.points.chosen.inputs)
        return {"dataset": self.points.dataset.digest, "model": self.model.identity} | chosen

    def run(
        self,
        output: Path | None,
        progress: Callable[[str], Progress],
        processes: Group,
        standing: Callable[[int, int], None] = lambda right, seen: None,
    ) -> Outcome:
        """Make the evaluation; with an output, a killed run goes on from its journals.

        ``progress`` and ``standing`` are as in :func:`datarobust.evaluation.evaluate`.
        """
        options = Options(
            self.device,
            keep=self.keep,
            fast=accelerated(self.model.module, self.device, self.faster, self.compiled),
            limit=self.limit,
            official=self.official,
        )
        return evaluate(
            self.model.module,
            self.points.images,
            self.points.labels,
            self.plan,
            options,
            progress=progress,
            standing=standing,
            checkpoint=None if output is None else _Journals(output, self.request, processes),
            group=processes,
        )

    def attributes(self, outcome: Outcome) -> dict[str, Any]:
        """Of the artifact, as its kind demands them (ARTIFACTS.md), and more that the line tells."""
        name, number = library()
        return {
            "attacks": [attack.name for attack in self.plan.attacks],
            "norm": self.plan.norm,
            "eps": self.plan.eps,
            "protocol": self.plan.describe(),
            "flags": outcome.flags,
            "dataset": self.points.dataset.digest,
            "model": self.model.identity,
            "about": dict(self.model.about),
            "rechecked": outcome.rechecked,
            "dataset_points": len(self.points.dataset),
            "libraries": {"datarobust": __version__, name: number, "torch": torch.__version__},
            "device": str(self.device),
            "request": self.request,
        }

    def columns(self, outcome: Outcome) -> dict[str, Array]:
        """The arrays of the artifact."""
        found: dict[str, Array] = {
            "index": self.points.rows,
            "label": self.points.labels,
            "clean": outcome.clean,
            "attacked": outcome.attacked,
            "broken": outcome.broken,
        }
        return found | ({} if outcome.adversarial is None else {"adversarial": outcome.adversarial})

    def save(self, path: Path, outcome: Outcome, step: Step, overwrite: bool) -> None:
        """Write the artifact."""
        columns = self.columns(outcome)
        chosen = () if self.points.chosen is None else self.points.chosen.history
        with artifacts.create(
            path,
            "evaluation",
            {name: (array.dtype.name, array.shape[1:]) for name, array in columns.items()},
            attributes=self.attributes(outcome),
            history=[*join([self.points.dataset.history, chosen, self.model.history]), step],
            overwrite=overwrite,
        ) as writer:
            for name, array in columns.items():
                writer.append(name, array)

    def clean(self, output: Path) -> None:
        """Remove the journals of all processes, once the evaluation is there."""
        for journal in _journals(output, self.request):
            journal.discard()

    def cost(self) -> dict[str, Any]:
        """What the evaluation takes at most, were no image ever fooled."""
        passes = 1 + sum(attack.passes for attack in self.plan.attacks)
        return {
            "points": len(self.points.rows),
            "attacks": [attack.name for attack in self.plan.attacks],
            "left_out": dict(self.plan.left_out),
            "parameters": sum(parameter.numel() for parameter in self.model.module.parameters()),
            "forward_passes_an_image": passes,
            "forward_passes": passes * len(self.points.rows),
        }


@dataclass(frozen=True)
class _Journals:
    """The journals of one evaluation: every process writes its own and, at the start, reads all that are there."""

    output: Path
    request: str
    processes: Group

    def load_all(self) -> list[dict[str, Array]]:
        """What this process and, if it leads, others have left."""
        mine = artifacts.Journal(part_of(self.output, self.processes), self.request)
        every = _journals(self.output, self.request) if self.processes.leads else [mine]
        return [arrays for journal in every if (arrays := journal.load()) is not None]

    def save(self, arrays: Mapping[str, Array]) -> None:
        """Save this process's state."""
        artifacts.Journal(part_of(self.output, self.processes), self.request).save(arrays)


def part_of(output: Path, processes: Group) -> Path:
    """The path that a process's journal is named after: the output, or one part of it for each further process."""
    return output if processes.leads else output.with_name(f"{output.name}.{processes.rank}of{processes.size}")


def _journals(output: Path, request: str) -> list[artifacts.Journal]:
    """The journal of an output and those of further processes that are there."""
    names = [left.name for left in output.parent.glob(f".{glob.escape(output.name)}.*of*.resume")]
    parts = [output.with_name(name.removeprefix(".").removesuffix(".resume")) for name in sorted(names)]
    return [artifacts.Journal(path, request) for path in [output, *parts]]
