"""From stores and selections to what a training reads; what does not fit is refused here, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts, selection
from datarobust.artifacts import Step, Store
from datarobust.artifacts.history import join
from datarobust.datasets.derive import other_classes
from datarobust.errors import DataError, UsageError
from datarobust.selection import Chosen
from datarobust.text import shown
from datarobust.training.images import Points, Stream

Rows = npt.NDArray[np.int64]

PUBLISHED = (
    ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)
"""Means and deviations of CIFAR-10 and CIFAR-100 by channel, as published networks have them."""
_ALIKE = 5e-4
_SMALLEST_CROP = 16


@dataclass(frozen=True)
class Inputs:
    """The stores and points of one training."""

    dataset: Store
    generated: Store | None
    test: Store | None
    hold_out: Chosen | None
    track: Chosen | None
    focus: Chosen | None

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
        chosen = {"hold_out": self.hold_out, "track": self.track, "focus": self.focus}
        found = {role: store.digest for role, store in stores.items() if store is not None}
        return found | {
            role: artifacts.fingerprint({"rows": points.rows.tolist()})
            for role, points in chosen.items()
            if points is not None
        }

    @property
    def history(self) -> list[Step]:
        """The steps behind all of them."""
        stores = [store.history for store in (self.dataset, self.generated, self.test) if store is not None]
        chosen = [points.history for points in (self.hold_out, self.track, self.focus) if points is not None]
        return join([*stores, *chosen])

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
        said = []
        for flag, points in (("`hold_out`", self.hold_out), ("`track`", self.track), ("`focus`", self.focus)):
            if points is not None:
                said += [f"{flag}: {remark}." for remark in points.remarks()]
        if self.focus is not None and len(self.focused) < len(self.focus.rows):
            held = len(self.focus.rows) - len(self.focused)
            said.append(f"`focus`: {held:,} of {len(self.focus.rows):,} points are held out and stay so.")
        return said

    def read(self, memory: int) -> tuple[Points, Points | None]:
        """The dataset and the test set in memory. Raises DataError where they take more than ``memory`` bytes."""
        sets = [store for store in (self.dataset, self.test) if store is not None]
        if (size := sum(int(np.prod(store.column("images").shape)) for store in sets)) > memory:
            raise DataError(
                f"{shown(self.dataset.path)} takes {size / 1e9:,.1f} GB of memory, more than `memory`: give more, or "
                "train on a part of it and name the rest as `generated`, which is streamed."
            )
        return _points(self.dataset), None if self.test is None else _points(self.test)

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


def normalisation(points: Points) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in [0,1] units: the published ones where the set has them.

    Computed in whole numbers, so they are the same everywhere; rounded to four digits as published ones are.
    """
    images = points.images.numpy()
    counts = [np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])]
    levels = np.arange(256)
    means, deviations = [], []
    for count in counts:
        total = int(count.sum())
        mean = int((count * levels).sum()) / total
        square = int((count * levels**2).sum()) / total
        means.append(round(mean / 255, 4))
        deviations.append(round(max(square - mean * mean, 0.0) ** 0.5 / 255, 4) or 1.0)
    for mean_known, deviation_known in PUBLISHED:
        if len(means) == 3 and np.allclose(means + deviations, [*mean_known, *deviation_known], rtol=0, atol=_ALIKE):
            return mean_known, deviation_known
    return tuple(means), tuple(deviations)


def augmentation(dataset: Store) -> str:
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


def arch_of(name: str, inputs: Inputs, points: Points) -> dict[str, Any]:
    """Name and arguments of a network for these images."""
    mean, std = normalisation(points)
    arguments: Mapping[str, Any] = {
        "classes": classes_of(inputs),
        "channels": int(points.images.shape[1]),
        "mean": list(mean),
        "std": list(std),
    }
    return {"name": name, "arguments": dict(arguments)}


def _points(store: Store) -> Points:
    return Points.of(store.column("images").read(), store.column("labels").read())


def _fits(dataset: Store, other: Store) -> None:
    """Refuse a generated or a test set whose images or classes are others."""
    pair = f"{shown(other.path)} does not go with {shown(dataset.path)}"
    if "images" not in other:
        raise DataError(f"{pair}: it holds features, not images.")
    one, two = dataset.column("images").shape[1:], other.column("images").shape[1:]
    if one != two:
        raise DataError(f"{pair}: its images have shape {two}, not {one}.")
    names, others = dataset.attributes["classes"], other.attributes["classes"]
    if names and others and names != others:
        raise DataError(f"{pair}: {other_classes(dataset, other)}.")


def named(path: Path | None) -> Store | None:
    """The dataset at a path, or None."""
    return None if path is None else artifacts.open_store(path, "dataset")
