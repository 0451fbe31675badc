"""Clones as artifacts: points of a dataset, cloned by a denoiser (Section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datarobust.artifacts import Store, Tensors
from datarobust.artifacts.history import join
from datarobust.datasets.linefiles import read_labels
from datarobust.diffusion.cloning import Task, clones, random_labels
from datarobust.diffusion.denoiser import Denoiser, flops
from datarobust.diffusion.sampler import DEFAULTS, NOISE_WEIGHT, Sampler, Start, start
from datarobust.errors import DataError, UsageError
from datarobust.jobs.dataset import named
from datarobust.jobs.make import Artifact, Form, Output
from datarobust.networks import Precision
from datarobust.selection import Chosen, rows_digest
from datarobust.text import shown, sized
from datarobust.types import Rows


@dataclass(frozen=True)
class Cloning:
    """Points of a dataset to be cloned by a denoiser. Raises DataError and UsageError where they do not go together."""

    form: ClassVar[Form] = Artifact("clones")

    dataset: Store
    model: Denoiser  # ready on its device when the job runs
    weights: Tensors  # the denoiser's artifact
    chosen: Chosen
    sampler: Sampler = DEFAULTS["paper"]  # its noise levels are cut to those that the denoiser was made for
    start: str = "paper"
    noise_weight: float = NOISE_WEIGHT
    repeats: int = 1  # clones of each point
    labels: str | Path = "own"  # the class that each point is cloned as: its own, a "random" one, or that of a file
    precision: Precision = "fp32"  # of the denoiser
    seed: int = 0  # of the noise
    batch: int = 32  # clones at a time, in each process; changes rounding alone
    compiled: bool = False  # whether the denoiser is: the last batch is filled up to its one size

    def __post_init__(self) -> None:
        data, weights = shown(self.dataset.path), shown(self.weights.path)
        if "images" not in self.dataset:
            raise DataError(f"{data} holds features: only images are cloned")
        shape = self.dataset.column("images").shape[1:]
        if shape != self.model.shape:
            other = f"the denoiser {weights} makes images of {sized(self.model.shape)}: choose another one"
            raise DataError(f"{data} has images of {sized(shape)}, but {other}")
        if self.repeats < 1:
            raise UsageError(f"`repeats` {self.repeats}: at least one clone is made of each point")
        if not self.model.classes:
            if self.labels != "own":
                raise UsageError(f"{weights} was trained without labels, so none can be given: leave out `labels`")
        elif self.labels in ("own", "random"):
            names, known = self.dataset.attributes["classes"], self.weights.attributes.get("classes")
            count = len(names) or self.model.classes
            if count != self.model.classes or (names and known and list(names) != list(known)):
                counts = f"{count} and {self.model.classes}{'' if count != self.model.classes else ', of other names'}"
                advice = "give the denoiser's classes with `labels` FILE"
                raise DataError(f"{data} and the denoiser {weights} have other classes ({counts}): {advice}")

    @cached_property
    def begins(self) -> tuple[Start, Sampler]:
        """The start, and the sampler that goes on from it, within the denoiser's noise levels."""
        return start(self.start, self.sampler.within(*self.model.precondition.range), self.noise_weight)

    @cached_property
    def targets(self) -> tuple[Rows, dict[str, str]]:
        """The class int64 (M) that each chosen point is cloned as, and the digest of the label file by its role."""
        rows, classes, where, files = self.chosen.rows, self.model.classes, self.dataset.path, {}
        if self.labels == "random":
            return random_labels(self.seed, rows, classes), {}
        if self.labels == "own":
            labels = np.asarray(self.dataset.column("labels").take(rows), np.int64)
        else:
            where = Path(self.labels)
            labels, files["labels"] = read_labels(where, len(rows), 0)
        unknown = np.flatnonzero((labels < 0) | (labels >= classes))
        if classes and unknown.size:
            label = f"the label {labels[unknown[0]]} for point {rows[unknown[0]]}"
            raise DataError(f"{shown(where)} has {label}, but the denoiser knows the classes 0 to {classes - 1}")
        return labels, files

    @cached_property
    def task(self) -> Task:
        """The job in arrays."""
        images = self.dataset.column("images").take
        return Task(images, self.chosen.rows, self.targets[0], self.repeats, *self.begins, self.seed)

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes that decide the clones (ARTIFACTS.md)."""
        begin, sampler = self.begins
        conditioning = self.labels if self.labels in ("own", "random") else "file"
        return {
            "dataset": self.dataset.digest,
            "model": self.weights.digest,
            "sampler": sampler.as_json(),
            "start": asdict(begin),
            "seed": self.seed,
            "precision": self.precision,
            "conditioning": conditioning if self.model.classes else "none",
        }

    def request(self) -> dict[str, Any]:
        """All that decides the bytes, up to rounding."""
        rows, (_, files) = rows_digest(self.chosen.rows), self.targets
        request = {"tool": "clone", "rows": rows, "repeats": self.repeats, "labels": files, **self.settings}
        return request | named(self.dataset)

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        begin, sampler = self.begins
        x = f"{begin.image:.4g} image + {begin.noise:.4g} noise (standard deviation of the noise {begin.noise:.4g})"
        yield f"Start {begin.name}: x = {x}; sigma given to the denoiser: {begin.told:.4g}."
        for name in ("sigma_min", "sigma_max"):
            before, after = getattr(self.sampler, name), getattr(sampler, name)
            if before != after and not (name == "sigma_max" and begin.name == "matched"):
                yield f"{name} is {after:g}, not {before:g}: the denoiser was trained for this noise only."
        if self.model.classes and self.labels == "random":
            yield "Clones get random labels; the result contains these labels, not the points' own."
        yield from self.chosen.remarks()

    def plan(self) -> dict[str, Any]:
        """The cost of the job."""
        begin, sampler = self.begins
        return {
            "points": len(self.chosen.rows),
            "repeats": self.repeats,
            "clones": self.task.count,
            "evaluations_a_clone": sampler.evaluations,
            "operations": self.task.count * sampler.evaluations * flops(self.model),
            "bytes": self.task.count * int(np.prod(self.model.shape)),
            "start": asdict(begin),
            "sampler": sampler.as_json(),
        }

    def run(self, output: Output) -> None:
        """Make the clones and write them; a killed run is gone on with, from the first point that was not saved."""
        group, row = output.group, (self.repeats, *self.model.shape)
        columns = {"images": ("uint8", row), "labels": ("int64", ()), "index": ("int64", ())}
        fixed = {"labels": self.task.labels, "index": self.chosen.rows}
        if "names" in self.dataset:
            fixed["names"] = self.dataset.column("names").take(self.chosen.rows)
            columns["names"] = ("uint8", fixed["names"].shape[1:])
        attributes = self.settings | {name: self.dataset.attributes[name] for name in ("name", "classes")}
        attributes["compiled"] = self.compiled
        inputs = {"dataset": self.dataset.digest, "model": self.weights.digest}
        step = output.step(inputs | self.targets[1] | dict(self.chosen.inputs))
        history = [*join([self.dataset.history, self.weights.history, self.chosen.history]), step]
        writing = output.writer(columns, attributes, history, resume=())
        with writing if group.is_main else nullcontext() as writer:
            done = 0
            if writer:
                done = writer.done("images") * self.repeats
                for name, numbers in fixed.items():
                    writer.append(name, numbers[writer.done(name) :])
            first = int(group.all_gather(np.array([done]))[0][0])
            batches = clones(
                self.model, self.task, self.batch, first=first, pad=self.compiled, group=group, progress=output.progress
            )
            rest = np.zeros((0, *self.model.shape), np.uint8)  # clones of a point that has not all of them yet
            for number, images in batches:
                if writer:
                    rest = np.concatenate([rest, images[max(0, done + len(rest) - number) :]])
                    whole = len(rest) // self.repeats * self.repeats
                    writer.append("images", rest[:whole].reshape(-1, *row))
                    done, rest = done + whole, rest[whole:]
