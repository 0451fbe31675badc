"""Datasets on the disk by one call, for tests of what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.datasets.sources import Source
from datarobust.jobs.dataset import Features, Import, Merge, NewLabels, Relabel, Representation, Subset
from datarobust.jobs.make import MakeStep, make
from datarobust.selection import Chosen


def import_dataset(source: Source, output: Path, step: MakeStep, **options: Any) -> bool:
    how = {name: options.pop(name) for name in ("shuffle", "limit", "budget", "identity") if name in options}
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
