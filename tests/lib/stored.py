"""Datasets on the disk by one call, for tests of what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.datasets.sources import Source
from datarobust.jobs.dataset import Features, Import, Merge, NewLabels, Relabel, Representation, Subset
from datarobust.jobs.make import MakeStep, make
from datarobust.selection import Chosen
from datarobust.types import Progress

RNG = np.random.default_rng(0)


class Interrupt(BaseException):
    """As abrupt as a kill for the code above it."""


def stopping(count: int) -> Progress:
    """A loop that is interrupted after so many items."""

    def progress(items: Iterable[Any]) -> Iterator[Any]:
        for place, item in enumerate(items):
            if place == count:
                raise Interrupt
            yield item

    return progress


def dataset(
    path: Path,
    rows: int = 20,
    classes: Sequence[str] = ("a", "b", "c"),
    shape: Sequence[int] = (1, 2, 3),
    **arrays: Any,
) -> tuple[Store, dict[str, Any]]:
    """A store of small random images with 3 labels, or of other arrays by name; and what it holds."""
    arrays = {
        "images": RNG.integers(0, 256, (rows, *shape), dtype=np.uint8),
        "labels": RNG.integers(0, 3, rows),
        "index": np.arange(100, 100 + rows),
    } | arrays
    described = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    attributes = {"name": path.stem, "classes": list(classes)}
    step = Step("make", (path.stem,), "0")
    with artifacts.create(path, "dataset", described, attributes=attributes, history=[step]) as writer:
        for name, array in arrays.items():
            writer.append(name, array)
    return artifacts.open_store(path), arrays


def import_dataset(source: Source, output: Path, step: MakeStep, **options: Any) -> bool:
    how = {name: options.pop(name) for name in ("shuffle", "limit", "budget") if name in options}
    return make(Import(source, **how), output, step, **options)


def subset(
    dataset: Store,
    rows: np.ndarray,
    output: Path,
    step: MakeStep,
    *,
    inputs: dict[str, str] | None = None,
    histories: Sequence[Sequence[Step]] = (),
    name: str | None = None,
    **options: Any,
) -> bool:
    chosen = Chosen(rows, inputs=inputs or {}, history=tuple(step for history in histories for step in history))
    return make(Subset(dataset, chosen, name), output, step, **options)


def merge(datasets: Sequence[Store], output: Path, step: MakeStep, *, name: str | None = None, **options: Any) -> bool:
    return make(Merge(datasets, name), output, step, **options)


def relabel(
    dataset: Store, labels: NewLabels, output: Path, step: MakeStep, *, name: str | None = None, **options: Any
) -> int | None:
    """How many labels changed; None where it was done before."""
    job = Relabel(dataset, labels, name)
    fresh = make(job, output, step, **options)
    return job.changed(artifacts.open_store(output, "dataset")) if fresh else None


def represent(
    dataset: Store,
    representation: Representation,
    output: Path,
    step: MakeStep,
    *,
    name: str | None = None,
    limit: int | None = None,
    **options: Any,
) -> bool:
    return make(Features(dataset, representation, name, limit), output, step, **options)
