"""Datasets made of datasets: some points of one, or the points of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.artifacts.history import join
from datarobust.datasets.sources import Counted
from datarobust.datasets.storing import (
    Columns,
    MakeStep,
    Part,
    fill,
    remaining,
    request,
    row_bytes,
    rows_digest,
    spans,
)
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Progress

TAKEN_BYTES = 64 << 20
"""Bytes of rows that a subset gathers at a time."""


def subset(
    dataset: Store,
    rows: npt.NDArray[np.int64],
    output: Path,
    step: MakeStep,
    *,
    inputs: Mapping[str, str] | None = None,
    histories: Sequence[Sequence[Step]] = (),
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> bool:
    """Write the given rows of ``dataset``, in the given order; False where the same subset had been finished before.

    ``rows`` int64 (M), distinct, as :func:`datarobust.selection.choose` gives them: a selection by ranking keeps the
    order of the ranking, an index file its own, a complement is ascending. Every column goes with its rows, so
    ``index`` still is the place in the original set. ``inputs`` (role -> digest) and ``histories`` are those of what
    chose the rows; they are recorded beside the dataset's own.

    Raises:
        ExistsError, LockedError: the output is taken.
        ArtifactError: the dataset was altered.
    """
    name = str(dataset.attributes["name"]) if name is None else name
    chosen = rows_digest(rows)
    used = {"dataset": dataset.digest, **(inputs or {})}
    key = request("dataset subset", rows=chosen, name=name, inputs=used)
    if not overwrite and artifacts.finished(output, key):
        return False
    columns = {c: (dataset.column(c).dtype, dataset.column(c).shape[1:]) for c in dataset.names()}
    attributes = {"name": name, "classes": list(dataset.attributes["classes"]), "request": key}
    history = [*join([dataset.history, *histories]), step(used)]
    with artifacts.create(
        output, "dataset", columns, attributes=attributes, history=history, overwrite=overwrite, resume_key=key
    ) as writer:
        start = remaining(columns, writer)
        size = max(1, TAKEN_BYTES // row_bytes(columns))
        parts = Counted(_taken(dataset, rows, size, start), -(-(len(rows) - start) // size))
        fill(writer, columns, start, progress(parts))
    return True


def _taken(dataset: Store, rows: npt.NDArray[np.int64], size: int, start: int) -> Iterator[Part]:
    for begin, end in spans(len(rows), size, start):
        yield {name: dataset.column(name).take(rows[begin:end]) for name in dataset.names()}


def merge(
    datasets: Sequence[Store],
    output: Path,
    step: MakeStep,
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> bool:
    """Write the rows of all ``datasets`` one after the other; False where the same merge had been finished before.

    Points of one shape and dtype, equal class names in equal order, and the same columns are demanded. ``index`` stays
    what it was in each input; ``source`` is the number of the input, from 0 (a ``source`` column of an input, from an
    earlier merge, is replaced; the history tells).

    Raises:
        DataError: the inputs do not fit together; the sentence says in what.
        UsageError: fewer than two inputs.
        ExistsError, LockedError: the output is taken.
    """
    if len(datasets) < 2:
        raise UsageError("A merge takes two datasets or more.")
    for other in datasets[1:]:
        _demand_same(datasets[0], other)
    name = " + ".join(str(d.attributes["name"]) for d in datasets) if name is None else name
    used = {f"dataset {place}": dataset.digest for place, dataset in enumerate(datasets)}
    key = request("dataset merge", inputs=list(used.values()), name=name)
    if not overwrite and artifacts.finished(output, key):
        return False
    total = sum(len(dataset) for dataset in datasets)
    first = datasets[0]
    kept = [c for c in first.names() if c != "source"]
    columns: Columns = {
        **{c: (first.column(c).dtype, first.column(c).shape[1:]) for c in kept},
        "source": (np.dtype(np.int64), ()),
    }
    attributes = {"name": name, "classes": list(first.attributes["classes"]), "request": key}
    history = [*join(dataset.history for dataset in datasets), step(used)]
    with artifacts.create(
        output, "dataset", columns, attributes=attributes, history=history, overwrite=overwrite, resume_key=key
    ) as writer:
        start = remaining(columns, writer)
        size = max(1, TAKEN_BYTES // row_bytes(columns))
        parts = Counted(_chained(datasets, kept, size, start), -(-(total - start) // size) + len(datasets))
        fill(writer, columns, start, progress(parts))
    return True


def _chained(datasets: Sequence[Store], kept: Sequence[str], size: int, start: int) -> Iterator[Part]:
    """The rows from ``start`` on of all inputs as if they were one."""
    before = 0
    for place, dataset in enumerate(datasets):
        for begin, end in spans(len(dataset), size, max(0, start - before)):
            source = np.full(end - begin, place, dtype=np.int64)
            yield {**{name: dataset.column(name).read(begin, end) for name in kept}, "source": source}
        before += len(dataset)


def _demand_same(first: Store, other: Store) -> None:
    """Raise DataError where two datasets cannot be one."""
    pair = f"{shown(first.path)} and {shown(other.path)} do not fit together"
    mine, theirs = set(first.names()) - {"source"}, set(other.names()) - {"source"}
    if mine != theirs:
        lacking = sorted(mine ^ theirs)[0]
        raise DataError(f"{pair}: only {shown(first.path if lacking in mine else other.path)} has {lacking}.")
    for name in sorted(mine):
        one, two = first.column(name), other.column(name)
        if one.shape[1:] != two.shape[1:]:
            raise DataError(f"{pair}: {name} of one point has shape {one.shape[1:]} and {two.shape[1:]}.")
    if first.attributes["classes"] != other.attributes["classes"]:
        raise DataError(f"{pair}: {other_classes(first, other)}.")


def other_classes(first: Store, other: Store) -> str:
    """In what the class names of two datasets differ, as the end of a sentence."""
    one, two = first.attributes["classes"], other.attributes["classes"]
    if len(one) != len(two):
        return f"they have {len(one)} and {len(two)} class names"
    place = next(i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    return f"class {place} is {shown(one[place])} and {shown(two[place])}"
