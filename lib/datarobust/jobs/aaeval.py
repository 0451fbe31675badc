"""Evaluations as artifacts: from a dataset and a model to clean and AutoAttack accuracy (Tables 2 to 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from datarobust import __version__, artifacts, evaluation
from datarobust.artifacts import Store
from datarobust.artifacts.history import join
from datarobust.checkpoints.models import Model
from datarobust.distributed import Group
from datarobust.errors import DataError
from datarobust.evaluation import Protocol, checks
from datarobust.evaluation.attacks import library
from datarobust.evaluation.driver import Checkpoint, Options, evaluate
from datarobust.evaluation.statistics import VERDICTS, summary
from datarobust.jobs.dataset import named
from datarobust.jobs.make import ALONE, Artifact, Form, Labelled, Output, silent
from datarobust.networks.classifier import Classifier, forward_operations, frozen
from datarobust.networks.features import as_inputs, run_network
from datarobust.selection import Chosen
from datarobust.text import shown
from datarobust.types import Array, Rows


@dataclass(frozen=True)
class Points:
    """What is evaluated of a dataset."""

    dataset: Store
    chosen: Chosen

    def __post_init__(self) -> None:
        if "images" not in self.dataset:
            raise DataError(f"{shown(self.dataset.path)} holds features: attacks on images need images.")

    @cached_property
    def images(self) -> Array:
        """uint8 (M, C, H, W)."""
        return self.dataset.column("images").take(self.chosen.rows)

    @cached_property
    def labels(self) -> Rows:
        """int64 (M)."""
        return np.asarray(self.dataset.column("labels").read()[self.chosen.rows], np.int64)


def classes_of(model: Model, points: Points, device: torch.device) -> int:
    """How many classes a model has, having moved it to the device and seen that it can be evaluated on these points."""
    where, module, name = shown(points.dataset.path), model.module.to(device), shown(model.name)
    with frozen(module):
        width = checks.demand_classifier(name, module, points.images, device)
        checks.demand_width(name, width, points.labels, len(points.dataset.attributes["classes"]), where)
        x = as_inputs(points.images[: evaluation.BATCH], device)
        y = torch.from_numpy(points.labels[: evaluation.BATCH]).to(device)
        checks.demand_unit_inputs(name, lambda x: run_network(name, module, x), x, y)
    return width


@dataclass(frozen=True)
class Evaluation:
    """An evaluation to be made: all that decides its verdicts, and how."""

    form: ClassVar[Form] = Artifact("evaluation")

    points: Points
    model: Model  # on the device, and fit for these points (`classes_of`)
    protocol: Protocol
    options: Options
    standing: Callable[[int, int], None] = field(default=lambda right, seen: None, compare=False)  # called on the way

    def request(self) -> dict[str, Any]:
        """All that decides the verdicts."""
        return {
            "tool": "aaeval",
            "dataset": self.points.dataset.digest,
            "rows": artifacts.fingerprint({"rows": self.points.chosen.rows.tolist()}),
            "model": self.model.identity,
            "norm": self.protocol.norm,
            "eps": self.protocol.eps,
            "protocol": self.protocol.describe(),
            "keep": self.options.keep,
            **named(self.points.dataset),
        }

    def plan(self) -> dict[str, Any]:
        """The cost of the job at most, were no image ever fooled."""
        passes = 1 + sum(attack.passes for attack in self.protocol.attacks)
        return {
            "points": len(self.points.chosen.rows),
            "attacks": [attack.name for attack in self.protocol.attacks],
            "left_out": dict(self.protocol.left_out),
            "parameters": sum(parameter.numel() for parameter in self.model.module.parameters()),
            "forward_passes_an_image": passes,
            "forward_passes": passes * len(self.points.chosen.rows),
        }

    def operations(self) -> float:
        """Multiplications and additions, were no image ever fooled; 0 of others' networks, which may not compile."""
        if not isinstance(self.model.module, Classifier):
            return 0.0
        operations = forward_operations(self.model.module, self.points.images.shape[1:])
        return float(operations * self.plan()["forward_passes"])

    def run(self, output: Output) -> None:
        """Evaluate, and write the verdicts."""
        arrays, attributes = self.evaluate(output.labelled, output.group, output.resume)
        if not output.group.is_main:
            return
        chosen, dataset = self.points.chosen, self.points.dataset
        if "names" in dataset:
            arrays["names"] = dataset.column("names").take(self.points.chosen.rows)
        step = output.step({"dataset": dataset.digest, "model": self.model.identity, **chosen.inputs})
        histories = [dataset.history, chosen.history, self.model.history]
        output.save(arrays, attributes, [*join(histories), step])

    def evaluate(
        self, labelled: Labelled = silent, group: Group = ALONE, checkpoint: Checkpoint | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays and attributes of the artifact; with ``checkpoint`` a killed run is gone on with."""
        points = self.points.images, self.points.labels
        outcome = evaluate(
            self.model.module, *points, self.protocol, self.options, progress=labelled, standing=self.standing,
            checkpoint=checkpoint, group=group,
        )  # fmt: skip
        verdicts = self.points.chosen.rows, self.points.labels, outcome.clean, outcome.attacked, outcome.broken
        arrays: dict[str, Array] = dict(zip(VERDICTS, verdicts, strict=True))
        arrays |= {} if outcome.adversarial is None else {"adversarial": outcome.adversarial}
        package, version = library()
        return arrays, {
            "attacks": [attack.name for attack in self.protocol.attacks],
            "norm": self.protocol.norm,
            "eps": self.protocol.eps,
            "protocol": self.protocol.describe(),
            "flags": outcome.flags,
            "dataset": self.points.dataset.digest,
            "model": self.model.identity,
            "about": dict(self.model.about),
            "rechecked": outcome.rechecked,
            "faster": outcome.faster,
            "compiled": self.options.compiled,
            "dataset_points": len(self.points.dataset),
            "libraries": {"datarobust": __version__, package: version, "torch": torch.__version__},
            "device": str(self.options.device),
        }


def read(store: Store) -> dict[str, Any]:
    """An evaluation artifact as one JSON object (:func:`datarobust.evaluation.statistics.summary`)."""
    return summary({name: store.column(name).read() for name in VERDICTS}, store.attributes)
