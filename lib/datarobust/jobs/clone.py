"""Clones as artifacts: points of a dataset, cloned by a denoiser (Section 4); and how a classifier takes clones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from datarobust.artifacts import Store, Tensors
from datarobust.artifacts.history import join
from datarobust.datasets.linefiles import read_labels
from datarobust.diffusion.cloning import Task, clones
from datarobust.diffusion.denoiser import Denoiser, flops
from datarobust.diffusion.sampler import Sampler
from datarobust.diffusion.starts import DEFAULTS, NOISE_WEIGHT, Start, random_labels, start
from datarobust.errors import DataError, UsageError
from datarobust.fid.features import BATCH, as_inputs
from datarobust.jobs.make import Artifact, Form, Labelled, Output
from datarobust.networks.precision import Precision
from datarobust.selection import Chosen, random, rows_digest
from datarobust.text import shown, sized
from datarobust.types import Images, Rows

Labels = Literal["own", "random"] | Path
"""The class that each point is cloned as: its own, a random one, or that of a label file."""


def labels_of(text: str) -> Labels:
    """What the option ``labels`` means: ``own``, ``random``, or else a file."""
    return "own" if text == "own" else "random" if text == "random" else Path(text)


@dataclass(frozen=True)
class Cloning:
    """Points of a dataset to be cloned by a denoiser.

    Attributes:
        dataset: the images.
        model: the denoiser, ready on its device when the job runs.
        weights: the denoiser's artifact.
        chosen: which points.
        sampler: from the start to the clone; its noise levels are cut to those that the denoiser was made for.
        start: how image and noise are mixed.
        noise_weight: share of noise in the start.
        repeats: clones of each point.
        labels: the classes that points are cloned as.
        precision: of the denoiser; it decides the last bits.
        seed: of the noise.
        batch: clones at a time, in each process; changes rounding alone.
        pad: fill the last batch up, for a compiled denoiser.

    Raises:
        DataError: the denoiser does not fit the dataset; a label is missing or none of its classes.
        UsageError: options that contradict the denoiser or each other.
    """

    form: ClassVar[Form] = Artifact("clones")

    dataset: Store
    model: Denoiser
    weights: Tensors
    chosen: Chosen
    sampler: Sampler = DEFAULTS["paper"]
    start: str = "paper"
    noise_weight: float = NOISE_WEIGHT
    repeats: int = 1
    labels: Labels = "own"
    precision: Precision = "fp32"
    seed: int = 0
    batch: int = 32
    pad: bool = False

    def __post_init__(self) -> None:
        data, weights = shown(self.dataset.path), shown(self.weights.path)
        if "images" not in self.dataset:
            raise DataError(f"{data} holds features: only images are cloned")
        shape = self.dataset.column("images").shape[1:]
        if shape != self.model.shape:
            raise DataError(
                f"{data} has images of {sized(shape)}, but the denoiser {weights} makes images of "
                f"{sized(self.model.shape)}: choose a denoiser that was trained on such images"
            )
        if self.repeats < 1:
            raise UsageError(f"`repeats` {self.repeats}: at least one clone is made of each point")
        if not self.model.classes and self.labels != "own":
            raise UsageError(f"{weights} was trained without labels, so none can be given: leave out `labels`")
        if not self.model.classes or isinstance(self.labels, Path):
            return
        names, known = self.dataset.attributes["classes"], self.weights.attributes.get("classes")
        count = len(names) or self.model.classes
        if count != self.model.classes or (names and known and list(names) != list(known)):
            raise DataError(
                f"{data} and the denoiser {weights} have other classes ({count} and {self.model.classes}"
                f"{'' if count != self.model.classes else ', of other names'}): give the denoiser's classes with "
                "`labels` FILE"
            )

    @cached_property
    def begins(self) -> tuple[Start, Sampler]:
        """The start, and the sampler that goes on from it, within the denoiser's noise levels."""
        return start(self.start, self.sampler.within(*self.model.range), self.noise_weight)

    @cached_property
    def targets(self) -> tuple[Rows, dict[str, str]]:
        """The class int64 (M) that each chosen point is cloned as, and the digest of the label file by its role."""
        rows, classes = self.chosen.rows, self.model.classes
        if isinstance(self.labels, Path):
            labels, digest = read_labels(self.labels, len(rows), 0)
            unknown = np.flatnonzero(labels >= classes)
            if unknown.size:
                raise DataError(
                    f"{shown(self.labels)} has the label {labels[unknown[0]]} for point {rows[unknown[0]]}, but the "
                    f"denoiser knows the classes 0 to {classes - 1}"
                )
            return labels, {"labels": digest}
        if self.labels == "random":
            return random_labels(self.seed, rows, classes), {}
        return np.asarray(self.dataset.column("labels").take(rows), np.int64), {}

    @cached_property
    def task(self) -> Task:
        """The job in arrays."""
        begin, sampler = self.begins
        images = self.dataset.column("images")
        return Task(images, self.chosen.rows, self.targets[0], self.repeats, begin, sampler, self.seed)

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes that decide the clones (ARTIFACTS.md)."""
        begin, sampler = self.begins
        conditioning = self.labels if isinstance(self.labels, str) else "file"
        return {
            "dataset": self.dataset.digest,
            "model": self.weights.digest,
            "sampler": sampler.as_json(),
            "start": begin.as_json(),
            "seed": self.seed,
            "precision": self.precision,
            "conditioning": conditioning if self.model.classes else "none",
        }

    def request(self) -> dict[str, Any]:
        """All that decides the bytes, up to rounding."""
        rows, (_, files) = rows_digest(self.chosen.rows), self.targets
        return {"tool": "clone", "rows": rows, "repeats": self.repeats, "labels": files, **self.settings}

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role, for the history."""
        digests = {"dataset": self.dataset.digest, "model": self.weights.digest}
        return digests | self.targets[1] | dict(self.chosen.inputs)

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        begin, sampler = self.begins
        yield begin.remark()
        for name in ("sigma_min", "sigma_max"):
            before, after = getattr(self.sampler, name), getattr(sampler, name)
            if before != after and not (name == "sigma_max" and begin.name == "matched"):
                yield f"{name} is {after:g}, not {before:g}: the denoiser was made for no other noise."
        if self.model.classes and self.labels == "random":
            yield "Clones are made for random labels; the store has those, not the points' own."
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
            "start": begin.as_json(),
            "sampler": sampler.as_json(),
        }

    def run(self, output: Output) -> None:
        """Make the clones and write them; a killed run is gone on with, from the first point that was not saved.

        Raises:
            DatarobustError: the denoiser gives numbers that are not finite.
        """
        group, row = output.group, (self.repeats, *self.model.shape)
        columns = {"images": ("uint8", row), "labels": ("int64", ()), "index": ("int64", ())}
        attributes = self.settings | {name: self.dataset.attributes[name] for name in ("name", "classes")}
        histories = [self.dataset.history, self.weights.history, self.chosen.history]
        history = [*join(histories), output.step(self.inputs)]
        writing = output.writer(columns, attributes, history, resume=())
        with writing if group.is_main else nullcontext() as writer:
            done = 0
            if writer:
                done = writer.done("images") * self.repeats
                for name, numbers in (("labels", self.task.labels), ("index", self.chosen.rows)):
                    writer.append(name, numbers[writer.done(name) :])
            first = int(group.all_gather(np.array([done]))[0][0])
            batches = clones(
                self.model, self.task, self.batch, first=first, pad=self.pad, group=group, progress=output.progress
            )
            rest = np.zeros((0, *self.model.shape), np.uint8)  # clones of a point that has not all of them yet
            for number, images in batches:
                if writer:
                    rest = np.concatenate([rest, images[max(0, done + len(rest) - number) :]])
                    whole = len(rest) // self.repeats * self.repeats
                    writer.append("images", rest[:whole].reshape(-1, *row))
                    done, rest = done + whole, rest[whole:]


# ------------------------------------------------------------------------------- how a classifier takes clones


@dataclass(frozen=True)
class Judgement:
    """The accuracy, as shares, of a classifier that was trained on real images."""

    images: int
    """How many of each kind."""
    held_out: float
    """On real images that the denoiser was not trained on: what the others are compared with."""
    clones: float
    """On their clones, by the paper's start, for their own labels."""
    samples: float | None
    """On images made from nothing but their labels; None for a denoiser without labels."""

    def as_json(self) -> dict[str, Any]:
        """Names and values."""
        return asdict(self)

    def sentence(self) -> str:
        """The same in words."""
        samples = "" if self.samples is None else f"{self.samples:.1%} of samples, "
        return (
            f"The judge finds the right label of {samples}{self.clones:.1%} of clones, and {self.held_out:.1%} of the "
            f"real held-out images ({self.images:,} of each)."
        )


def judge(
    test: Store,
    denoiser: Denoiser,
    weights: Tensors,
    classifier: nn.Module,
    count: int,
    batch: int,
    device: torch.device,
    progress: Labelled,
) -> Judgement:
    """The accuracy of a classifier on held-out images, on their clones, and on samples for their labels.

    Args:
        test: images that neither the denoiser nor the classifier was trained on.
        denoiser: ready on the device.
        weights: its artifact.
        classifier: from images in [0, 1] to logits.
        count: how many images; a random choice of the test set's.
        batch: how many at a time.
        device: where it is done.
        progress: of a label.
    """
    rows = random(len(test), min(count, len(test)), 0)
    images, labels = test.column("images").take(rows), test.column("labels").take(rows)
    classifier = classifier.to(device).eval()

    def made(start: str, label: str) -> float:
        task = Cloning(test, denoiser, weights, Chosen(rows), DEFAULTS[start], start).task
        batches = [images for _, images in clones(denoiser, task, batch, progress=progress(label))]
        return accuracy(classifier, np.concatenate(batches), labels, device)

    return Judgement(
        len(rows),
        accuracy(classifier, images, labels, device),
        made("paper", "judged clones"),
        made("noise", "samples") if denoiser.classes else None,
    )


def accuracy(classifier: nn.Module, images: Images, labels: Rows, device: torch.device) -> float:
    """The share of images uint8 (N, C, H, W) of which a classifier finds the label, int64 (N)."""
    correct = 0
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            logits = classifier(as_inputs(images[start : start + BATCH], device))
            correct += int((logits.argmax(1).cpu().numpy() == labels[start : start + BATCH]).sum())
    return correct / len(images)
