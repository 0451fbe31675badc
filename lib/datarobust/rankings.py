"""Rankings as artifacts: from a dataset to what is ranked, and from the result to a store or to rows of text."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust import artifacts, curvature, lipschitz
from datarobust.artifacts import Column, Step, Store
from datarobust.artifacts.history import join
from datarobust.datasets.derive import other_classes
from datarobust.distributed import Group
from datarobust.errors import DataError, UsageError
from datarobust.sensitivity import (
    Duplicates,
    Labelled,
    Options,
    Progress,
    Ranking,
    Round,
    available_threads,
    least_robust_first,
    padded_width,
    panel_rows,
    rank,
)
from datarobust.text import shown

Array = npt.NDArray[Any]
_POINT_BYTES = 420
"""What the search keeps of a point besides its row: codes, sums, places."""

GEOMETRY = ("kappa_tilde_perc", "kappa_perc", "lipschitz")
"""What :func:`geometry` returns, by the names that rows have for it."""


@dataclass(frozen=True)
class ColumnRows:
    """The first ``count`` rows of a column, flattened, read from the store as they are needed."""

    column: Column
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return (self.count, int(np.prod(self.column.shape[1:])))

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """uint8 of images, float32 of features."""
        return self.column.dtype

    def read(self, start: int, stop: int) -> Array:
        """Rows start..stop, verified."""
        return self.column.read(start, stop).reshape(stop - start, -1)

    def take(self, rows: npt.NDArray[np.int64]) -> Array:
        """Chosen rows, verified."""
        return self.column.take(rows).reshape(len(rows), -1)


@dataclass(frozen=True)
class Job:
    """One ranking to be made: everything that decides its bits, and what it may use."""

    dataset: Store
    others: Store | None
    """The set neighbours are looked for in, where that is another one."""
    norm: str
    k: int
    soft: bool
    duplicates: Duplicates
    memory: int
    """Bytes of rows to hold."""
    threads: int | None = None
    limit: int | None = None
    """Only the first points of the dataset."""

    def __post_init__(self) -> None:
        for store in (self.dataset, self.others):
            if self.soft and store is not None and "soft" not in store:
                raise UsageError(
                    f"{store.path} has no label vectors: leave out `soft`, or import labels that are distributions"
                )
        if self.others is not None and self._names_clash(self.others):
            raise DataError(
                f"labels of {self.dataset.path} and {self.others.path} do not mean the same: "
                f"{other_classes(self.dataset, self.others)}. Import one of them again with the `classes` of the other"
            )

    def _names_clash(self, others: Store) -> bool:
        """Whether both sets name their classes, and not alike: then equal labels are not equal classes."""
        one, two = self.dataset.attributes["classes"], others.attributes["classes"]
        return bool(one) and bool(two) and one != two

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the ranking artifact, as its kind demands them (ARTIFACTS.md), and the request that leads to the same
        bits.
        """
        asked: dict[str, Any] = {
            "norm": self.norm,
            "labels": "soft" if self.soft else "hard",
            "dataset": self.dataset.digest,
            "against": None if self.others is None else self.others.digest,
            "duplicates": self.duplicates,
            "k": self.k,
        }
        return asked | {"request": artifacts.fingerprint({"tool": "sens-rank", **asked})}

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role, for the history."""
        against = {} if self.others is None else {"against": self.others.digest}
        return {"dataset": self.dataset.digest} | against

    @property
    def history(self) -> list[Step]:
        """The steps behind the inputs."""
        return join([self.dataset.history, *([] if self.others is None else [self.others.history])])

    @cached_property
    def points(self) -> Labelled:
        """What is ranked."""
        return self._labelled(self.dataset)

    @cached_property
    def against(self) -> Labelled | None:
        """What it is held against, where that is another set."""
        return None if self.others is None else self._labelled(self.others)

    def _labelled(self, dataset: Store) -> Labelled:
        count = len(dataset)
        if self.limit is not None and dataset is self.dataset:
            count = min(self.limit, count)
        return Labelled(
            rows=ColumnRows(dataset.column("images" if "images" in dataset else "features"), count),
            labels=dataset.column("labels").read(0, count),
            soft=dataset.column("soft").read(0, count) if self.soft else None,
        )

    def run(self, progress: Progress[Round], output: Path | None, processes: Group) -> Ranking:
        """Make the ranking; with an output, a killed run goes on from its journal."""
        journal = None if output is None else self._journal(part_of(output, processes))
        return rank(
            self.points,
            self.norm,
            against=self.against,
            k=self.k,
            soft=self.soft,
            duplicates=self.duplicates,
            memory=self.memory,
            options=Options(
                threads=self.threads or max(1, available_threads() // processes.here),
                shard=(processes.rank, processes.size),
            ),
            progress=progress,
            checkpoint=journal,
            merge=processes.merge_neighbours if processes.size > 1 else None,
        )

    def _journal(self, output: Path) -> artifacts.Journal:
        return artifacts.Journal(output, self.attributes["request"])

    def clean(self, output: Path) -> None:
        """Remove the journals of all processes, once the ranking is there."""
        self._journal(output).discard()
        for left in output.parent.glob(f".{glob.escape(output.name)}.*of*.journal"):
            self._journal(left.with_name(left.name.removeprefix(".").removesuffix(".journal"))).discard()

    def save(self, path: Path, ranking: Ranking, step: Step, overwrite: bool) -> None:
        """Write the ranking artifact."""
        columns: dict[str, tuple[str, tuple[int, ...]]] = {"distance": ("float64", ()), "neighbour": ("int64", ())}
        if self.k > 1:
            columns |= {"distances": ("float64", (self.k,)), "neighbours": ("int64", (self.k,))}
        with artifacts.create(
            path, "ranking", columns, attributes=self.attributes, history=[*self.history, step], overwrite=overwrite
        ) as writer:
            writer.append("distance", ranking.robustness)
            writer.append("neighbour", ranking.neighbour[:, 0])
            if self.k > 1:
                writer.append("distances", ranking.distance)
                writer.append("neighbours", ranking.neighbour)

    def perceived(self, lam: float | None) -> float:
        """λ of the perceived curvature (Section 3): the one given, or the diameter of the cube that images are in.

        Raises:
            UsageError: it is not a positive number; the points are features, whose diameter nobody knows; labels are
                vectors, between which there is no one distance.
        """
        if self.soft:
            raise UsageError(
                "`curvature` is perceived at one and the same distance between any two labels, and label vectors have "
                "many: leave out `soft`"
            )
        if lam is not None:
            return curvature.demand_positive(lam)
        if "images" not in self.dataset:
            raise UsageError(
                f"{shown(self.dataset.path)} holds features, which are in no cube whose diameter could be lambda: "
                "give `lam`, a distance that no two points of different labels exceed"
            )
        return curvature.diameter(self.norm, self.points.rows.shape[1])

    def rows(self, ranking: Ranking, lam: float | None = None) -> Iterator[list[int | float]]:
        """Rows of the ranking as :func:`table` has them; with λ the numbers of :func:`geometry` at the end."""
        more = () if lam is None else geometry(ranking.robustness, lam)
        return table(ranking, self.points.labels, (self.against or self.points).labels, more)

    def plan(self) -> dict[str, int | float | str]:
        """What the job takes: shapes, the operations of brute force, bytes read and held."""
        counts = [part.rows.shape[0] for part in (self.points, self.against) if part is not None]
        width, dtype = self.points.rows.shape[1], np.dtype(self.points.rows.dtype)
        row_bytes = padded_width(width, dtype) * dtype.itemsize
        size = panel_rows(sum(counts), row_bytes, self.memory)
        pairs = counts[0] * counts[-1] if len(counts) == 2 else counts[0] * (counts[0] - 1) // 2
        resident = min(sum(counts), 2 * size) * row_bytes
        return {
            "points": counts[0],
            "numbers": width,
            "norm": self.norm,
            "pairs": pairs,
            "brute_force_operations": 2 * pairs * width,
            "bytes_to_read": sum(counts) * width * dtype.itemsize,
            "bytes_to_hold": resident + sum(counts) * (_POINT_BYTES + 16 * self.k),
            "parts": 1 if size == sum(counts) else sum(-(-count // size) for count in counts),
            "threads": self.threads or available_threads(),
        }


def part_of(output: Path, processes: Group) -> Path:
    """What a process's journal is named after: the output, or one part of it for each of several processes."""
    return output if processes.leads else output.with_name(f"{output.name}.{processes.rank}of{processes.size}")


def geometry(robustness: npt.NDArray[np.float64], lam: float) -> list[npt.NDArray[np.float64]]:
    """What follows from r alone, (N,) each: κ~_perc and κ_perc at λ (Section 3), the constant of Theorem 1 for ρ = r/2.

    NaN: κ~_perc and κ_perc without a point of another label; κ_perc where r > λ, as it is imaginary there.
    """
    tilde = curvature.kappa_tilde(robustness, lam)
    return [tilde, curvature.kappa_of(tilde), lipschitz.bound(robustness)]


def table(
    ranking: Ranking, labels: Array, other_labels: Array, more: Sequence[Array] = ()
) -> Iterator[list[int | float]]:
    """Rows, least robust first: index, distance, neighbour, label, neighbour's label; three more for each further
    neighbour; at the end ``more``, a number a point from each (N,).

    ``labels`` (N) of the points, ``other_labels`` of the set the neighbours are from. Without a neighbour: inf, -1 and
    -1. Dropped points have no row.
    """
    for row in least_robust_first(ranking.robustness).tolist():
        fields: list[int | float] = [row]
        for place, (distance, neighbour) in enumerate(
            zip(ranking.distance[row].tolist(), ranking.neighbour[row].tolist(), strict=True)
        ):
            label = int(other_labels[neighbour]) if neighbour >= 0 else -1
            fields += [distance, neighbour, int(labels[row]), label] if place == 0 else [distance, neighbour, label]
        yield fields + [float(column[row]) for column in more]


def remarks(ranking: Ranking, lam: float | None = None) -> list[str]:
    """What a reader of the ranking should know, a sentence each; with λ also of the curvature perceived at it."""
    nearest = ranking.robustness
    said = []
    if dropped := int(np.isnan(nearest).sum()):
        said.append(f"{dropped} points that equal a point of another label were dropped.")
    if equal := int((nearest == 0.0).sum()):
        said.append(f"{equal} points equal a point of another label: distance 0, infinite sensitivity.")
    if alone := int(np.isinf(nearest).sum()):
        said.append(f"{alone} points have no point of another label: distance inf, sensitivity 0.")
    if lam is not None:
        said += curvature.order(nearest, lam).remarks()
    return said
