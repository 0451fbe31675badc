"""Clones as artifacts: from a dataset, a denoiser and a selection to a store, also after a kill (Section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.artifacts.history import join
from datarobust.datasets.linefiles import read_labels
from datarobust.diffusion.cloning import Task, clones
from datarobust.diffusion.denoiser import Denoiser
from datarobust.diffusion.sampler import Sampler
from datarobust.diffusion.starts import DEFAULTS, Start, random_labels, start
from datarobust.distributed import Group
from datarobust.errors import DataError, UsageError
from datarobust.networks.precision import Precision
from datarobust.selection import Chosen, rows_digest
from datarobust.text import shown, sized
from datarobust.types import Progress

Labels = Literal["own", "random"] | Path
"""The class that each point is cloned as: its own, a random one, or that of a label file."""
SAVE_EVERY = 20.0
"""Seconds between two saved states."""


@dataclass(frozen=True)
class Request:
    """How points are to be cloned: what decides every byte, up to rounding."""

    sampler: Sampler = DEFAULTS["paper"]
    start: str = "paper"
    noise_weight: float = 0.45
    repeats: int = 1
    labels: Labels = "own"
    precision: Precision = "fp32"
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """Points of a dataset to be cloned by a denoiser.

    Raises:
        DataError: the denoiser does not fit the dataset; a label is missing or none of its classes.
        UsageError: options that contradict the denoiser or each other.
    """

    dataset: Store
    model: Denoiser
    weights: artifacts.Tensors
    """The denoiser's artifact."""
    chosen: Chosen
    request: Request

    def __post_init__(self) -> None:
        if "images" not in self.dataset:
            raise DataError(f"{shown(self.dataset.path)} holds features: only images are cloned")
        mine, theirs = self.dataset.column("images").shape[1:], self.model.shape
        if mine != theirs:
            raise DataError(
                f"{shown(self.dataset.path)} has images of {sized(mine)}, but the denoiser {shown(self.weights.path)} "
                f"makes images of {sized(theirs)}: choose a denoiser that was trained on such images"
            )
        if self.request.repeats < 1:
            raise UsageError(f"`repeats` {self.request.repeats}: at least one clone is made of each point")
        self._demand_classes()

    def _demand_classes(self) -> None:
        """Refuse a denoiser whose classes are not those of the dataset."""
        if not self.model.classes:
            if self.request.labels != "own":
                raise UsageError(
                    f"{shown(self.weights.path)} was trained without labels, so none can be given: leave out `labels`"
                )
            return
        mine, theirs = self.dataset.attributes["classes"], self.weights.attributes.get("classes")
        count = len(mine) or self.model.classes
        if isinstance(self.request.labels, Path):
            return
        if count != self.model.classes or (mine and theirs and list(mine) != list(theirs)):
            raise DataError(
                f"{shown(self.dataset.path)} and the denoiser {shown(self.weights.path)} have other classes "
                f"({count} and {self.model.classes}{'' if count != self.model.classes else ', of other names'}): "
                "give the denoiser's classes with `labels` FILE"
            )

    @cached_property
    def started(self) -> tuple[Start, Sampler]:
        """The start, and the sampler within the noise levels that the denoiser was made for."""
        asked = self.request
        lowest, highest = self.model.range
        return start(asked.start, asked.sampler.within(lowest, highest), asked.noise_weight)

    @cached_property
    def task(self) -> Task:
        """What the computing part needs."""
        begun, sampler = self.started
        images, rows = self.dataset.column("images"), self.chosen.rows
        return Task(images, rows, self.labels[0], self.request.repeats, begun, sampler, self.request.seed)

    @cached_property
    def labels(self) -> tuple[npt.NDArray[np.int64], dict[str, str]]:
        """The class int64 (M) of each chosen point, and the digest of the file they are from, by role."""
        asked, rows, classes = self.request.labels, self.chosen.rows, self.model.classes
        if isinstance(asked, Path):
            found, digest = read_labels(asked, len(rows), 0)
            strange = np.flatnonzero(found >= classes)
            if strange.size:
                raise DataError(
                    f"{shown(asked)} has the label {found[strange[0]]} for point {rows[strange[0]]}, but the denoiser "
                    f"knows the classes 0 to {classes - 1}"
                )
            return found, {"labels": digest}
        if asked == "random":
            return random_labels(self.request.seed, rows, classes), {}
        return np.asarray(self.dataset.column("labels").take(rows), np.int64), {}

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the clones, as their kind demands them (ARTIFACTS.md), and the request that leads to them."""
        begun, sampler = self.started
        asked = self.request
        told: dict[str, Any] = {
            "dataset": self.dataset.digest,
            "model": self.weights.digest,
            "sampler": sampler.as_json(),
            "start": begun.as_json(),
            "seed": asked.seed,
            "precision": asked.precision,
            "conditioning": "none"
            if not self.model.classes
            else asked.labels
            if isinstance(asked.labels, str)
            else "file",
        }
        key = {
            "tool": "clone",
            "rows": rows_digest(self.chosen.rows),
            "repeats": asked.repeats,
            "labels": self.labels[1],
            **told,
        }
        named = {name: self.dataset.attributes[name] for name in ("name", "classes")}
        return told | named | {"request": artifacts.fingerprint(key)}

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role, for the history."""
        return {
            "dataset": self.dataset.digest,
            "model": self.weights.digest,
            **self.labels[1],
            **self.chosen.inputs,
        }

    def history(self, step: Step) -> list[Step]:
        """The steps behind the inputs, and this one."""
        return [*join([self.dataset.history, self.weights.history, self.chosen.history]), step]

    def plan(self, operations: int) -> dict[str, Any]:
        """What the job takes, for a denoiser of so many operations an image."""
        begun, sampler = self.started
        total = self.task.count
        return {
            "points": len(self.chosen.rows),
            "repeats": self.request.repeats,
            "clones": total,
            "evaluations_a_clone": sampler.evaluations,
            "operations": total * sampler.evaluations * operations,
            "bytes": total * int(np.prod(self.model.shape)),
            "start": begun.as_json(),
            "sampler": sampler.as_json(),
        }

    def run(
        self,
        output: Path,
        step: Step,
        batch: int,
        *,
        processes: Group | None = None,
        pad: bool = False,
        overwrite: bool = False,
        progress: Progress = iter,
        save_every: float = SAVE_EVERY,
    ) -> None:
        """Make the clones and write them; a killed run is gone on with, from the clone where its state was saved.

        Raises:
            ExistsError, LockedError: the output is taken.
            DatarobustError: the denoiser gives numbers that are not finite.
        """
        group = processes or Group(0, 1)
        attributes, row = self.attributes, (self.request.repeats, *self.model.shape)
        created = artifacts.create(
            output,
            "clones",
            {"images": ("uint8", row), "labels": ("int64", ()), "index": ("int64", ())},
            attributes=attributes,
            history=self.history(step),
            overwrite=overwrite,
            resume_key=attributes["request"],
            save_every=save_every,
        )
        with created if group.leads else nullcontext() as writer:
            done = writer.done("images") * self.request.repeats if writer else 0
            if writer:
                for name, rows in (("labels", self.task.labels), ("index", self.chosen.rows)):
                    writer.append(name, rows[writer.done(name) :])
            first = int(group.all_gather(np.array([done]))[0][0])
            made = clones(self.model, self.task, batch, first=first, pad=pad, group=group, progress=progress)
            rest = np.zeros((0, *self.model.shape), np.uint8)  # of a point that has not all of its clones yet
            for number, images in made:
                if writer:
                    rest = np.concatenate([rest, images[max(0, done + len(rest) - number) :]])
                    complete = len(rest) // self.request.repeats * self.request.repeats
                    writer.append("images", rest[:complete].reshape(-1, *row))
                    done, rest = done + complete, rest[complete:]
        group.agree(True)  # nobody leaves before the result is safe


def labels_of(text: str) -> Labels:
    """What an option ``labels`` means: ``own``, ``random``, or else a file."""
    return "own" if text == "own" else "random" if text == "random" else Path(text)


def remarks(job: Job) -> Iterable[str]:
    """What a user should know before the work."""
    begun, sampler = job.started
    yield begun.remark()
    asked = job.request.sampler
    for name, before, after in (
        ("sigma_min", asked.sigma_min, sampler.sigma_min),
        ("sigma_max", asked.sigma_max, sampler.sigma_max),
    ):
        if before != after and not (name == "sigma_max" and begun.name == "matched"):
            yield f"{name} is {after:g}, not {before:g}: the denoiser was made for no other noise."
    if job.model.classes and job.request.labels == "random":
        yield "Clones are made for random labels; the store has those, not the points' own."
    yield from job.chosen.remarks()
