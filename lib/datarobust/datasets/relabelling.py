"""The same points under other labels.

Sensitivity is a property of *labelled* points (Equation 1): other labels, other sensitivity. Random labels can raise it
(Section 3 of the paper, after Arpit et al. 2017); labels of super-classes make CIFAR-100s of CIFAR-100; TI500K and 1m
have labels that classifiers gave (Section 4).

Labels take some 24 bytes a point in memory; points are copied a part at a time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Journal, Store
from datarobust.datasets.derive import TAKEN_BYTES
from datarobust.datasets.featuring import Representation
from datarobust.datasets.linefiles import read_labels
from datarobust.datasets.sources import Counted
from datarobust.datasets.storing import Columns, MakeStep, Part, discarding, fill, remaining, request, row_bytes, spans
from datarobust.errors import DataError, UsageError
from datarobust.randomness import Domain, row_keys
from datarobust.text import shown
from datarobust.types import Progress

Ints = npt.NDArray[np.int64]

SAVE_EVERY = 3.0
"""Seconds between two saves of predicted labels."""

_ROWS = 1 << 20
"""Labels that are drawn at a time."""


@dataclass(frozen=True)
class NewLabels:
    """Labels to be, one for each point of a dataset."""

    classes: tuple[str, ...]
    """Names of the classes, or none."""
    how: Mapping[str, Any]
    """What decides them, for the request."""
    make: Callable[[Journal, Progress], Ints]
    """The labels (N,); long work goes on from the journal."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role -> digest."""
    device: str | None = None
    """Where the work is done, if that may change its last bits."""
    batch: int = 0
    """Points at a time, likewise: work that was begun elsewhere, or in other batches, begins again."""
    remarks: tuple[str, ...] = ()

    def told(self, dataset: Store) -> list[str]:
        """Sentences that the user should see."""
        soft = ["the label vectors (soft) are left out: they belong to the old labels"] if "soft" in dataset else []
        return [*self.remarks, *soft]


def relabel(
    dataset: Store,
    new: NewLabels,
    output: Path,
    step: MakeStep,
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> int | None:
    """Write the points of ``dataset`` under new labels; how many changed, or None where it had been finished before.

    All columns stay but ``labels`` and ``soft``, whose vectors belong to the old labels.

    Raises:
        DataError: a label cannot be.
        ExistsError, LockedError: the output is taken.
        ArtifactError: the dataset was altered.
    """
    name = str(dataset.attributes["name"]) if name is None else name
    used = {"dataset": dataset.digest, **new.inputs}
    key = request("dataset relabel", dataset=dataset.digest, name=name, classes=list(new.classes), how=new.how)
    if not overwrite and artifacts.finished(output, key):
        return None
    artifacts.demand_vacant(output, "dataset", overwrite)
    kept = [column for column in dataset.names() if column not in ("labels", "soft")]
    columns: Columns = {c: (dataset.column(c).dtype, dataset.column(c).shape[1:]) for c in [*kept, "labels"]}
    journal = Journal(output, artifacts.fingerprint([key, new.device, new.batch]))
    with discarding(output):
        try:
            labels = new.make(journal, progress)
        except DataError:
            journal.discard()  # nobody resumes what cannot succeed
            raise
        with artifacts.create(
            output,
            "dataset",
            columns,
            attributes={"name": name, "classes": list(new.classes), "request": key},
            history=[*dataset.history, step(used)],
            overwrite=overwrite,
            resume_key=artifacts.fingerprint([key, hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()]),
        ) as writer:
            start = remaining(columns, writer)
            size = max(1, TAKEN_BYTES // row_bytes(columns))
            parts = Counted(_parts(dataset, kept, labels, size, start), -(-(len(labels) - start) // size))
            fill(writer, columns, start, progress(parts))
        journal.discard()
    return int((dataset.column("labels").read() != labels).sum())


def _parts(dataset: Store, kept: Sequence[str], labels: Ints, size: int, start: int) -> Iterator[Part]:
    for begin, end in spans(len(labels), size, start):
        yield {**{name: dataset.column(name).read(begin, end) for name in kept}, "labels": labels[begin:end]}


# -------------------------------------------------------------------------------------------- where labels are from


def from_file(dataset: Store, path: Path, classes: Sequence[str] | None = None) -> NewLabels:
    """Labels from a file (:mod:`.linefiles`). ``classes`` are new names; the dataset's own where none are given.

    Raises:
        DataError: the file is not one of labels for these points and classes.
    """
    names = _names(dataset, classes)
    labels, digest = read_labels(path, len(dataset), len(names))
    return NewLabels(names, {"labels": digest}, lambda *_: labels, {"labels": digest})


def at_random(dataset: Store, seed: int, fraction: float = 1.0, classes: Sequence[str] | None = None) -> NewLabels:
    """Each label drawn uniformly from all C classes, independently, as Zhang et al. 2016 do: some stay what they were.

    ``fraction`` of the points, drawn independently too, get such a label; the others keep their own. C is the number of
    class names, else one more than the largest label. The label of a row is a function of (seed, row, C), uniform to
    within C 2^-64; whether it is drawn, of (seed, row, fraction).

    Raises:
        UsageError: a fraction outside 0..1.
        DataError: there is only one class.
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"a fraction of {fraction} points cannot be: choose a number from 0 to 1.")
    names = _names(dataset, classes)
    own = dataset.column("labels").read()
    count = len(names) or int(own.max()) + 1
    if count < 2:
        raise DataError(f"{shown(dataset.path)} has one class: no label could be drawn that is another.")

    def make(journal: Journal, progress: Progress) -> Ints:
        labels = own.copy()
        for begin, end in spans(len(labels), _ROWS):
            drawn = (row_keys(seed, Domain.RELABEL, begin, end) % np.uint64(count)).astype(np.int64)
            chosen = (row_keys(seed, Domain.CORRUPTION, begin, end) >> np.uint64(11)) * 2.0**-53 < fraction
            labels[begin:end] = np.where(chosen, drawn, labels[begin:end])
        return _below(labels, len(names), dataset)

    return NewLabels(names, {"random": seed, "fraction": fraction, "count": count}, make)


def from_coarse(dataset: Store, classes: Sequence[str] | None = None) -> NewLabels:
    """Labels from the column ``coarse``. Its classes have the names ``classes``, or none.

    Raises:
        UsageError: there is no such column.
    """
    if "coarse" not in dataset:
        raise UsageError(f"{shown(dataset.path)} has no coarse labels; it has {', '.join(dataset.names())}.")
    names = tuple(classes or ())
    remark = "the names of the classes are left out: they belong to the other labels; `classes` gives new ones"
    return NewLabels(
        names,
        {"coarse": True},
        lambda *_: _below(dataset.column("coarse").read(), len(names), dataset),
        remarks=() if classes or not dataset.attributes["classes"] else (remark,),
    )


def predicted(dataset: Store, classifier: Representation, classes: Sequence[str] | None = None) -> NewLabels:
    """Labels that a classifier gives: the class of the largest number, the lowest of equal ones.

    ``classifier.width`` is how many classes it has. They have the names ``classes``, else those of the dataset where it
    has so many.

    Raises:
        DataError: ``classes`` are not so many.
    """
    count = classifier.width
    if classes is not None and len(classes) != count:
        raise DataError(f"{len(classes)} class names are given, but the model has {count} classes.")
    names = _names(dataset, classes)
    remarks: tuple[str, ...] = ()
    if len(names) not in (0, count):
        remarks = (f"the names of {len(names)} classes are left out: the model has {count} classes",)
        names = ()

    def make(journal: Journal, progress: Progress) -> Ints:
        saved = journal.load()
        known = np.empty(0, np.int64) if saved is None else saved["labels"]
        labels = np.concatenate([known, np.empty(len(dataset) - len(known), np.int64)])
        at = time.monotonic()
        for begin, values in progress(classifier.batches(dataset, len(known), len(labels))):
            end = begin + len(values)
            labels[begin:end] = values.argmax(axis=1)
            if time.monotonic() - at >= SAVE_EVERY:
                journal.save({"labels": labels[:end]})
                at = time.monotonic()
        return labels

    how = {"model": classifier.model, "layer": classifier.layer}
    used = {"model": classifier.model}
    return NewLabels(names, how, make, used, classifier.begun_on, classifier.batch, remarks)


def _names(dataset: Store, classes: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(dataset.attributes["classes"] if classes is None else classes)


def _below(labels: Ints, names: int, dataset: Store) -> Ints:
    """The labels, all of them among the classes that have names."""
    if names and len(labels) and int(labels.max()) >= names:
        row = int(np.argmax(labels >= names))
        raise DataError(
            f"{shown(dataset.path)}: row {row} has label {labels[row]}, but the classes are 0..{names - 1}: name "
            "others with `classes`."
        )
    return labels
