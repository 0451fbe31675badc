"""The same points in another representation: what a network makes of them, as a dataset of features."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.artifacts import Store
from datarobust.datasets.derive import TAKEN_BYTES
from datarobust.datasets.sources import Counted
from datarobust.datasets.storing import Columns, MakeStep, Part, discarding, fill, remaining, request, row_bytes, spans
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Progress


@dataclass(frozen=True)
class Representation:
    """What makes vectors of points, and all that decides their bits."""

    extract: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
    """From points (B, ...) to vectors (B, width)."""
    width: int
    """Numbers of a vector."""
    model: str
    """What the network is: a digest."""
    layer: str
    """Which of its layers."""
    batch: int
    """Points at a time."""
    begun_on: str = ""
    """Device and library, which may change the last bits: work that was begun elsewhere begins again."""
    operations: int = 0
    """For one point."""

    def batches(self, dataset: Store, start: int, stop: int) -> Counted[tuple[int, npt.NDArray[np.float32]]]:
        """``(row, vectors)`` of the rows ``start:stop`` of a dataset, a batch at a time.

        Raises:
            DataError: a number is not finite.
        """
        return Counted(self._batches(dataset, start, stop), -(-(stop - start) // self.batch))

    def plan(self, dataset: Store, limit: int | None = None) -> dict[str, int | float | str]:
        """What the whole work takes; one batch is made to see how long that lasts."""
        rows = len(dataset) if limit is None else min(limit, len(dataset))
        points = dataset.column("images" if "images" in dataset else "features")
        some = points.read(0, min(self.batch, rows))
        began = time.perf_counter()
        self.extract(some)
        seconds = time.perf_counter() - began
        return {
            "points": rows,
            "layer": self.layer,
            "features": self.width,
            "bytes_to_read": rows * row_bytes({"points": (points.dtype, points.shape[1:])}),
            "bytes_to_write": 4 * rows * self.width,
            "operations": rows * self.operations,
            "seconds": round(seconds * rows / len(some), 3),
            "on": self.begun_on,
        }

    def _batches(self, dataset: Store, start: int, stop: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        points = dataset.column("images" if "images" in dataset else "features")
        for begin, end in spans(stop, self.batch, start):
            values = self.extract(points.read(begin, end))
            good = np.isfinite(values).all(axis=1)
            if not good.all():
                row = begin + int(np.argmin(good))
                index = int(dataset.column("index").read(row, row + 1)[0])
                raise DataError(
                    f"{shown(dataset.path)}: what layer {self.layer} gives for row {row} (index {index}) is not finite."
                )
            yield begin, values


def represent(
    dataset: Store,
    representation: Representation,
    output: Path,
    step: MakeStep,
    *,
    name: str | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> bool:
    """Write the features of all points, or the first ``limit``; False where the same had been finished before.

    Labels and all other columns stay. Batches begin at multiples of their size, also when the work goes on after a
    kill.

    Raises:
        DataError: a feature is not finite.
        ExistsError, LockedError: the output is taken.
        ArtifactError: the dataset was altered.
    """
    name = str(dataset.attributes["name"]) if name is None else name
    rows = len(dataset) if limit is None else min(limit, len(dataset))
    used = {"dataset": dataset.digest, "model": representation.model}
    key = request("dataset features", inputs=used, layer=representation.layer, rows=rows, name=name)
    if not overwrite and artifacts.finished(output, key):
        return False
    artifacts.demand_vacant(output, "dataset", overwrite)
    kept = [column for column in dataset.names() if column not in ("images", "features")]
    others: Columns = {c: (dataset.column(c).dtype, dataset.column(c).shape[1:]) for c in kept}
    features: Columns = {"features": (np.dtype(np.float32), (representation.width,))}
    attributes = {"name": name, "classes": list(dataset.attributes["classes"]), "request": key}
    history = [*dataset.history, step(used)]
    resume_key = artifacts.fingerprint([key, representation.begun_on, representation.batch])
    with (
        discarding(output),
        artifacts.create(
            output,
            "dataset",
            {**others, **features},
            attributes=attributes,
            history=history,
            overwrite=overwrite,
            resume_key=resume_key,
        ) as writer,
    ):
        start = remaining(others, writer)
        fill(writer, others, start, _copied(dataset, kept, start, rows))
        start = remaining(features, writer) // representation.batch * representation.batch
        made = progress(representation.batches(dataset, start, rows))
        fill(writer, features, start, ({"features": values} for _, values in made))
    return True


def _copied(dataset: Store, columns: list[str], start: int, rows: int) -> Iterator[Part]:
    described = {name: (dataset.column(name).dtype, dataset.column(name).shape[1:]) for name in columns}
    size = max(1, TAKEN_BYTES // row_bytes(described))
    for begin, end in spans(rows, size, start):
        yield {name: dataset.column(name).read(begin, end) for name in columns}
