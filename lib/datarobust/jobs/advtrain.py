"""Adversarial trainings as runs: from stores and selections to weights (Section 4, Appendix B)."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datarobust import artifacts, selection
from datarobust.artifacts import Column, Store
from datarobust.artifacts.history import join
from datarobust.datasets.contents import other_classes
from datarobust.errors import DataError, UsageError
from datarobust.jobs.make import ALONE, Form, Output
from datarobust.jobs.run_folder import Run, RunFolder
from datarobust.selection import Chosen
from datarobust.text import shown
from datarobust.training.images import Points, Stream, normalisation
from datarobust.training.loop import SILENT, Listener
from datarobust.training.recipe import Augment, Counts, Recipe, count
from datarobust.types import Array, Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from datarobust.distributed import Group

_SMALLEST_CROP = 16
NONE = Chosen(np.empty(0, np.int64))
"""No points."""


@dataclass(frozen=True)
class Inputs:
    """The stores and points of one training. Raises DataError for stores that cannot be trained on together."""

    dataset: Store
    generated: Store | None = None
    test: Store | None = None
    hold_out: Chosen = NONE
    track: Chosen = NONE
    focus: Chosen = NONE

    def __post_init__(self) -> None:
        if "images" not in self.dataset:
            raise DataError(f"{shown(self.dataset.path)} holds features: adversarial training is for images.")
        shape, names = self.dataset.column("images").shape[1:], self.dataset.attributes["classes"]
        for other in (self.generated, self.test):
            if other is None:
                continue
            pair = f"{shown(other.path)} does not go with {shown(self.dataset.path)}"
            if "images" not in other:
                raise DataError(f"{pair}: it holds features, not images.")
            if (other_shape := other.column("images").shape[1:]) != shape:
                raise DataError(f"{pair}: its images have shape {other_shape}, not {shape}.")
            if names and other.attributes["classes"] and names != other.attributes["classes"]:
                raise DataError(f"{pair}: {other_classes(self.dataset, other)}.")

    @property
    def stores(self) -> dict[str, Store]:
        """Those that there are, by role."""
        stores = {"dataset": self.dataset, "generated": self.generated, "test": self.test}
        return {role: store for role, store in stores.items() if store is not None}

    @property
    def selections(self) -> dict[str, Chosen]:
        """Those that there are, by role."""
        selections = {"hold_out": self.hold_out, "track": self.track, "focus": self.focus}
        return {role: points for role, points in selections.items() if len(points.rows)}

    @property
    def digests(self) -> dict[str, str]:
        """What the run depends on, by role; points count by which they are, not by how they were named."""
        rows = {role: points.rows.tolist() for role, points in self.selections.items()}
        stores = {role: store.digest for role, store in self.stores.items()}
        return stores | {role: artifacts.fingerprint({"rows": places}) for role, places in rows.items()}

    @property
    def available(self) -> Rows:
        """Rows of the dataset that are trained on."""
        return selection.others(self.hold_out.rows, len(self.dataset))

    @property
    def focused(self) -> Rows:
        """Points in focus that are not held out. Raises UsageError where all of them are."""
        rows = self.focus.rows[~np.isin(self.focus.rows, self.hold_out.rows)]
        if len(self.focus.rows) and not len(rows):
            raise UsageError("`focus` names only points that `hold_out` keeps from training: name others.")
        return rows

    def remarks(self) -> list[str]:
        """What the user should know about the selections."""
        remarks = [f"`{role}`: {remark}." for role, points in self.selections.items() for remark in points.remarks()]
        if held := len(self.focus.rows) - len(self.focused):
            remarks.append(
                f"`focus`: {held:,} of the {len(self.focus.rows):,} points are held out and will not be trained on."
            )
        return remarks

    def read(self, memory: int) -> tuple[Points, Points | None]:
        """The dataset and the test set in memory. Raises DataError where they take more than ``memory`` bytes."""
        sets = [store for role, store in self.stores.items() if role != "generated"]
        if (size := sum(int(np.prod(store.column("images").shape)) for store in sets)) > memory:
            raise DataError(
                f"{shown(self.dataset.path)} takes {size / 1e9:,.1f} GB of memory, more than `memory`: give more, or "
                "train on a part of it and name the rest as `generated`, which is streamed."
            )
        return points_of(self.dataset), None if self.test is None else points_of(self.test)

    def stream(self, seed: int, memory: int, stack: ExitStack, group: Group = ALONE) -> Stream | None:
        """The generated set, in memory where it takes at most ``memory`` bytes, else block by block.

        Several processes of one machine have it in memory once.
        Raises DataError where it is larger than that and not in random order.
        """
        if (store := self.generated) is None:
            return None
        images = store.column("images")
        fits = (size := int(np.prod(images.shape))) <= memory
        if not fits and store.attributes.get("shuffled") is None:
            raise DataError(
                f"{shown(store.path)} has {size / 1e9:,.1f} GB, more than `memory`, and is not in random order, so it "
                "cannot be read as it lies: import it again with `shuffle` SEED."
            )
        block = len(store) if fits else images.layout.block

        def held(column: Column) -> Column | Array:
            rows = group.once_a_machine(column) if fits and group.size > 1 else None
            return column if rows is None else rows

        return stack.enter_context(Stream(held(images), held(store.column("labels")), seed, block))


@dataclass(frozen=True)
class AdversarialTraining:
    """A classifier to be trained against adversaries."""

    form: ClassVar[Form] = RunFolder()

    inputs: Inputs
    recipe: Recipe
    memory: int  # bytes of images to hold
    device: torch.device | None = None  # with the group it decides the last bits
    listener: Listener = SILENT
    tensorboard: bool = False  # write the log for TensorBoard, too
    group: Group = ALONE  # the processes that share each batch

    @cached_property
    def counts(self) -> Counts:
        """Images of a step, steps of an epoch. Raises UsageError where the recipe does not fit the sets."""
        inputs = self.inputs
        generated, focused = inputs.generated is not None, len(inputs.focused)
        return count(self.recipe, len(inputs.dataset), len(inputs.hold_out.rows), generated, focused, self.group.size)

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
        inputs, recipe = self.inputs.digests, asdict(self.recipe)
        if not len(self.inputs.focus.rows) or self.recipe.focus_mode == "inject":
            del recipe["focus_times"]  # decides nothing; runs of before it was there are taken up
        if not self.recipe.compiled:
            del recipe["compiled"]  # as in those
        return {"tool": "advtrain", "recipe": recipe, "arch": self.arch, "inputs": inputs}

    def plan(self) -> dict[str, Any]:
        """What the training takes: parameters, images, forward passes, and so operations and memory."""
        from datarobust.networks import forward_operations

        counts, recipe = self.counts, self.recipe
        operations = forward_operations(self.model, tuple(self.points[0].images.shape[1:]))
        steps = counts.steps * recipe.epochs
        # A backward pass to the images alone counts as one forward pass, one to the weights as two. The clean forward
        # pass serves the attack and the loss; a step of the attack is a forward and a backward to the images.
        passes = 1 + 2 * recipe.steps + 1 + 2 * 2
        emphasis = counts.emphasis
        draws = {} if emphasis is None else {name: getattr(emphasis, name) for name in ("focus_draws", "other_draws")}
        return {
            "arch": self.arch["name"],
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "real_a_batch": counts.real,
            "generated_a_batch": counts.generated,
            "injected_a_batch": counts.injected,
            "bn_group": counts.group,
            "steps_an_epoch": counts.steps,
            "steps": steps,
            "images": steps * counts.total,
            "forward_operations_an_image": operations,
            "forward_passes_an_image": passes,
            "operations": steps * counts.total * passes * operations,
            **draws,
        }

    def run(self, output: Output) -> None:
        """Train, from the state that the run has or from the start."""
        import torch

        from datarobust.training.adversarial import Training
        from datarobust.training.batches import Batches

        inputs, (base, test), group = self.inputs, self.points, self.group
        device = self.device or torch.device("cpu")
        track = base.at(inputs.track.rows).to(device) if len(inputs.track.rows) else None
        test = None if test is None else test.to(device)
        base = base.to(device)
        histories = [store.history for store in inputs.stores.values()]
        histories += [points.history for points in inputs.selections.values()]
        with ExitStack() as stack:
            generated = inputs.stream(self.recipe.seed, self.memory, stack, group)
            share = (group.rank, group.size)
            batches = Batches(self.recipe, self.counts, base, inputs.available, generated, inputs.focused, share)
            history = [*join(histories), output.step(inputs.digests)]
            run = Run(output, self.request(), "classifier", history, tensorboard=self.tensorboard)
            model = copy.deepcopy(self.model)  # the job stays as it is
            if self.recipe.compiled:
                torch.compiler.reset()  # few programs are kept: those of trainings before it would count
            run.train(Training(self.recipe, self.counts, batches, model, device, group, track, test), self.listener)


def classes_of(inputs: Inputs) -> int:
    """How many classes the network has: as many as are named, or as the labels need. Raises DataError below two."""
    columns = [store.column("labels") for store in inputs.stores.values()]
    most = max(int(rows.max()) for column in columns for _, rows in column.blocks()) + 1
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
