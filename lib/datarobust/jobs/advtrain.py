"""Adversarial trainings as runs: from stores and selections to weights (Section 4, Appendix B)."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datarobust import artifacts, selection
from datarobust.artifacts import Store
from datarobust.artifacts.history import join
from datarobust.datasets.summary import other_classes
from datarobust.errors import DataError, UsageError
from datarobust.jobs.make import ALONE, Form, Output
from datarobust.jobs.run_folder import Run, RunFolder
from datarobust.selection import Chosen
from datarobust.text import shown
from datarobust.training.images import Points, Stream, normalisation
from datarobust.training.loop import SILENT, Listener
from datarobust.training.recipe import Augment, Counts, Recipe, count
from datarobust.types import Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from datarobust.distributed import Group

_SMALLEST_CROP = 16


@dataclass(frozen=True)
class Inputs:
    """The stores and points of one training; what does not fit is refused before any work."""

    dataset: Store
    generated: Store | None = None
    test: Store | None = None
    hold_out: Chosen | None = None
    track: Chosen | None = None
    focus: Chosen | None = None

    def __post_init__(self) -> None:
        """Refuse stores that cannot be trained on together."""
        if "images" not in self.dataset:
            raise DataError(f"{shown(self.dataset.path)} holds features: adversarial training is for images.")
        for store in (self.generated, self.test):
            if store is not None:
                _fits(self.dataset, store)

    @property
    def digests(self) -> dict[str, str]:
        """What the run depends on, by role; points count by which they are, not by how they were named."""
        stores = {"dataset": self.dataset, "generated": self.generated, "test": self.test}
        selections = {"hold_out": self.hold_out, "track": self.track, "focus": self.focus}
        return {role: store.digest for role, store in stores.items() if store is not None} | {
            role: artifacts.fingerprint({"rows": points.rows.tolist()})
            for role, points in selections.items()
            if points is not None
        }

    @property
    def held_out(self) -> Rows:
        """Rows of the dataset that are not trained on."""
        return np.empty(0, np.int64) if self.hold_out is None else self.hold_out.rows

    @property
    def available(self) -> Rows:
        """Rows that are."""
        return selection.others(self.held_out, len(self.dataset))

    @property
    def focused(self) -> Rows:
        """Points in focus that are not held out. Raises UsageError where all of them are."""
        if self.focus is None:
            return np.empty(0, np.int64)
        rows = self.focus.rows[~np.isin(self.focus.rows, self.held_out)]
        if not len(rows):
            raise UsageError("`focus` names only points that `hold_out` keeps from training: name others.")
        return rows

    def remarks(self) -> list[str]:
        """What the user should know about the selections."""
        remarks = []
        for name, points in (("hold_out", self.hold_out), ("track", self.track), ("focus", self.focus)):
            if points is not None:
                remarks += [f"`{name}`: {remark}." for remark in points.remarks()]
        if self.focus is not None and len(self.focused) < len(self.focus.rows):
            held = len(self.focus.rows) - len(self.focused)
            remarks.append(f"`focus`: {held:,} of {len(self.focus.rows):,} points are held out and stay so.")
        return remarks

    def read(self, memory: int) -> tuple[Points, Points | None]:
        """The dataset and the test set in memory. Raises DataError where they take more than ``memory`` bytes."""
        sets = [store for store in (self.dataset, self.test) if store is not None]
        if (size := sum(int(np.prod(store.column("images").shape)) for store in sets)) > memory:
            raise DataError(
                f"{shown(self.dataset.path)} takes {size / 1e9:,.1f} GB of memory, more than `memory`: give more, or "
                "train on a part of it and name the rest as `generated`, which is streamed."
            )
        return points_of(self.dataset), None if self.test is None else points_of(self.test)

    def stream(self, seed: int, memory: int, stack: ExitStack) -> Stream | None:
        """The generated set, in memory where it takes at most ``memory`` bytes, else block by block.

        Raises:
            DataError: it is larger than that and not in random order.
        """
        store = self.generated
        if store is None:
            return None
        images = store.column("images")
        fits = int(np.prod(images.shape)) <= memory
        if not fits and store.attributes.get("shuffled") is None:
            size = np.prod(images.shape) / 1e9
            raise DataError(
                f"{shown(store.path)} has {size:,.1f} GB, more than `memory`, and is not in random order, so it cannot "
                "be read as it lies: import it again with `shuffle` SEED."
            )
        block = len(store) if fits else images.layout.block
        return stack.enter_context(Stream(images, store.column("labels"), seed, block))


@dataclass(frozen=True)
class AdversarialTraining:
    """A classifier to be trained against adversaries.

    Attributes:
        inputs: stores and points.
        recipe: every number that decides the bits.
        memory: bytes of images to hold.
        device: where to train; with the group it decides the last bits.
        listener: who hears of the epochs and may stop the training.
        tensorboard: write the log for TensorBoard, too.
        group: the processes that share each batch.
    """

    form: ClassVar[Form] = RunFolder()

    inputs: Inputs
    recipe: Recipe
    memory: int
    device: torch.device | None = None
    listener: Listener = SILENT
    tensorboard: bool = False
    group: Group = ALONE

    @cached_property
    def counts(self) -> Counts:
        """Images of a step, steps of an epoch. Raises UsageError where the recipe does not fit the sets."""
        inputs = self.inputs
        generated, focused = inputs.generated is not None, len(inputs.focused)
        return count(self.recipe, len(inputs.dataset), len(inputs.held_out), generated, focused, self.group.size)

    @cached_property
    def points(self) -> tuple[Points, Points | None]:
        """The dataset and the test set in memory."""
        return self.inputs.read(self.memory)

    @cached_property
    def arch(self) -> dict[str, Any]:
        """Name and arguments of the network."""
        base = self.points[0]
        mean, std = normalisation(base)
        arguments = {"classes": classes_of(self.inputs), "channels": int(base.images.shape[1])}
        return {"name": self.recipe.arch, "arguments": arguments | {"mean": list(mean), "std": list(std)}}

    @cached_property
    def model(self) -> nn.Module:
        """The network with its initial weights. Raises UsageError where there is no such network."""
        from datarobust.networks import build

        return build(self.arch, self.recipe.seed, self.counts.group)

    def request(self) -> dict[str, Any]:
        """All that decides the bits on one machine."""
        return {
            "tool": "advtrain",
            "recipe": asdict(self.recipe),
            "arch": self.arch,
            "inputs": self.inputs.digests,
        }

    def plan(self) -> dict[str, Any]:
        """What the training takes: parameters, images, forward passes, and so operations and memory."""
        from datarobust.networks import forward_operations

        counts, recipe = self.counts, self.recipe
        operations = forward_operations(self.model, tuple(self.points[0].images.shape[1:]))
        steps = counts.steps * recipe.epochs
        # A backward pass to the images alone counts as one forward pass, one to the weights as two. The clean forward
        # pass serves the attack and the loss; a step of the attack is a forward and a backward to the images.
        passes = 1 + 2 * recipe.steps + 1 + 2 * 2
        return {
            "arch": self.arch["name"],
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "real_a_batch": counts.real,
            "generated_a_batch": counts.generated,
            "injected_a_batch": counts.focus,
            "bn_group": counts.group,
            "steps_an_epoch": counts.steps,
            "steps": steps,
            "images": steps * counts.total,
            "forward_operations_an_image": operations,
            "forward_passes_an_image": passes,
            "operations": steps * counts.total * passes * operations,
        }

    def run(self, output: Output) -> None:
        """Train, from the state that the run has or from the start."""
        import torch

        from datarobust.training.adversarial import Sets, Training
        from datarobust.training.batches import Batches

        inputs, (base, test) = self.inputs, self.points
        device = self.device or torch.device("cpu")
        track = None if inputs.track is None else base.at(inputs.track.rows).to(device)
        sets = Sets(base.to(device), track, None if test is None else test.to(device))
        stores = [store.history for store in (inputs.dataset, inputs.generated, inputs.test) if store is not None]
        selections = [points.history for points in (inputs.hold_out, inputs.track, inputs.focus) if points is not None]
        with ExitStack() as stack:
            generated = inputs.stream(self.recipe.seed, self.memory, stack)
            share = (self.group.rank, self.group.size)
            batches = Batches(self.recipe, self.counts, sets.base, inputs.available, generated, inputs.focused, share)
            history = [*join([*stores, *selections]), output.step(inputs.digests)]
            run = Run(output, self.request(), "classifier", history, tensorboard=self.tensorboard)
            model = copy.deepcopy(self.model)  # the job stays as it is
            run.train(Training(self.recipe, self.counts, sets, batches, model, device, self.group), self.listener)


def select(text: str | None, dataset: Store) -> Chosen | None:
    """The points of a selection; None for None and for "none"."""
    return None if text is None or text == "none" else selection.choose(text, dataset)


def classes_of(inputs: Inputs) -> int:
    """How many classes the network has: as many as are named, or as the labels need. Raises DataError below two."""
    stores = [store for store in (inputs.dataset, inputs.generated, inputs.test) if store is not None]
    most = max(int(rows.max()) for store in stores for _, rows in store.column("labels").blocks()) + 1
    named = len(inputs.dataset.attributes["classes"])
    if named and most > named:
        raise DataError(f"{shown(inputs.dataset.path)} names {named} classes, but a label is {most - 1}.")
    if max(most, named) < 2:
        raise DataError(f"{shown(inputs.dataset.path)} has one class: there is nothing to tell apart.")
    return named or most


def augmentation(dataset: Store) -> Augment:
    """The augmentation ``auto`` stands for on a dataset.

    CIFAR-100's rotations where there are that many classes of small colour images; no flips where the classes are
    digits or letters, or the images are grey; nothing where an image is too small to be cut.
    """
    _, channels, height, width = dataset.column("images").shape
    names = list(dataset.attributes["classes"])
    if min(height, width) < _SMALLEST_CROP:
        return "none"
    if channels == 1 or (names and all(len(name) <= 1 for name in names)):
        return "crop"
    return "cifar100" if len(names) in (20, 100) and (height, width) == (32, 32) else "crop-flip"


def points_of(store: Store) -> Points:
    """Images and labels of a dataset in memory."""
    return Points.of(store.column("images").read(), store.column("labels").read())


def _fits(dataset: Store, other: Store) -> None:
    """Refuse a generated or a test set whose images or classes are others."""
    pair = f"{shown(other.path)} does not go with {shown(dataset.path)}"
    if "images" not in other:
        raise DataError(f"{pair}: it holds features, not images.")
    shape, other_shape = dataset.column("images").shape[1:], other.column("images").shape[1:]
    if shape != other_shape:
        raise DataError(f"{pair}: its images have shape {other_shape}, not {shape}.")
    names, other_names = dataset.attributes["classes"], other.attributes["classes"]
    if names and other_names and names != other_names:
        raise DataError(f"{pair}: {other_classes(dataset, other)}.")
