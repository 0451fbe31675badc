"""The issues of a dataset as a table: labels that look wrong, copies, leaks into another set, ambiguous points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Store
from datarobust.datasets.contents import class_names, equal_points
from datarobust.datasets.contents import names as point_names
from datarobust.errors import DataError, UsageError
from datarobust.issues import KINDS, NEIGHBOURS, Findings, Thresholds, find
from datarobust.jobs import tables
from datarobust.jobs.make import Form, Output
from datarobust.jobs.sens_rank import Sensitivity
from datarobust.jobs.tables import TableFile
from datarobust.text import shown
from datarobust.types import Rows

COLUMNS: tables.Columns = {
    "kind": str, "score": float, "distance": float,
    "index": int, "name": str, "label": int, "class": str,
    "other_index": int, "other_name": str, "other_label": int, "other_class": str,
}  # fmt: skip
"""Of the table: the finding, its point, and the point that it is beside (of the other set for a leak)."""

_USELESS = 0.5  # agreement of nearest points below which distances say little about classes


@dataclass
class Issues:
    """What is to be examined, and how."""

    form: ClassVar[Form] = TableFile()

    dataset: Store
    features: Store | None  # of the same points: their distances are taken
    others: Store | None  # that should have no point in common with the dataset, such as the test set
    norm: str
    thresholds: Thresholds
    memory: int  # bytes of rows to hold
    threads: int | None = None
    k: int = NEIGHBOURS  # nearest points that decide whether a label looks wrong
    findings: Findings | None = field(default=None, init=False)  # once it has run

    def __post_init__(self) -> None:
        if self.features is not None:
            ancestors = artifacts.row_by_row(self.features.history, self.features.digest)
            if self.dataset.digest not in ancestors or len(self.features) != len(self.dataset):
                mine, theirs = shown(self.dataset.path), shown(self.features.path)
                way = f"make them with dataset features {mine}"
                raise DataError(f"{theirs} does not hold the features of all points of {mine}: {way}")
        if self.others is not None and "features" in self.others and "features" not in self._measured:
            way = "give its images, or the features of both sets by one network"
            raise UsageError(f"{shown(self.others.path)} holds features, but distances are those of images: {way}")
        if self.others is not None and self.others.digest == self.dataset.digest:
            raise UsageError(f"{shown(self.others.path)} is the dataset itself: name another set, such as the test set")
        self._leaking  # noqa: B018 - refuses sets whose classes differ

    @property
    def _measured(self) -> Store:
        """Whose distances are taken."""
        return self.dataset if self.features is None else self.features

    @cached_property
    def _leaking(self) -> Sensitivity:
        """Where leaks are searched: where the other set has images, in images, whatever the features say."""
        in_images = self.others is not None and "images" in self.others
        return self._sensitivity(self.dataset if in_images else self._measured, self.others)

    def _sensitivity(self, dataset: Store, others: Store | None) -> Sensitivity:
        return Sensitivity(dataset, others, self.norm, 1, False, "inf", self.memory, self.threads)

    def request(self) -> dict[str, Any]:
        """All that decides the table."""
        settings = {"norm": self.norm, "k": self.k, "thresholds": vars(self.thresholds)}
        roles = {"dataset": self.dataset, "features": self.features, "against": self.others}
        digests = {role: None if store is None else store.digest for role, store in roles.items()}
        return {"tool": "dataset issues", **digests, **settings}

    def run(self, output: Output) -> None:
        """Search, and write the table."""
        self.findings = self.find(output)
        tables.save(output.path, COLUMNS, self.rows(self.findings))

    def find(self, output: Output) -> Findings:
        """The findings."""
        equal, groups = equal_points(self.dataset, progress=output.progress), np.arange(len(self.dataset))
        groups[equal.row] = len(groups) + equal.group
        leaking, measured = self._leaking, self._sensitivity(self._measured, None)
        return find(
            measured.points, self.norm, groups, against=leaking.against,
            leaking=None if leaking.dataset is self._measured else leaking.points, k=self.k,
            thresholds=self.thresholds, memory=self.memory, options=measured.options(), progress=output.labelled,
        )  # fmt: skip

    def rows(self, findings: Findings) -> Iterator[list[tables.Value]]:
        """A row a finding, as COLUMNS has them."""
        sides = [
            (labels := store.column("labels").read(), class_names(store, labels), point_names(store))
            for store in (self.dataset, self.others or self.dataset)
        ]
        columns = (findings.kind, findings.score, findings.distance, findings.first, findings.second)
        for kind, score, distance, first, second in zip(*(column.tolist() for column in columns), strict=True):
            yield [
                KINDS[kind],
                None if np.isnan(score) else score,
                None if second < 0 else distance,
                *_point(sides[0], first),
                *_point(sides[KINDS[kind] == "leak"], second),
            ]

    def remarks(self) -> Iterator[str]:
        """What was found, a sentence each, once it has run."""
        assert self.findings is not None
        least = self.thresholds
        meanings = {
            "leak": f"equal to a point of the other set, or nearer to it than usual by {least.near:g} times or more",
            "duplicate": "equal to another point",
            "near duplicate": f"pairs nearer than usual by {least.near:g} times or more",
            "label": f"another class is nearer than their own by {least.label:g} times or more",
            "ambiguous": f"two classes are about equally near, nearer than usual by {least.ambiguous:g} times or more",
            "alone": "no other point has their label",
        }
        for kind, meaning in meanings.items():
            if count := self.findings.count(kind):
                yield f"{count:,} {kind}: {meaning}."
        if not len(self.findings):
            yield "Nothing was found."
        agreement = self.findings.agreement
        advice = ""
        if agreement < _USELESS:
            better = "give those of a network with `features`"
            if self.features is not None:
                better = "take a better network, or the `normalise` that it was trained with"
            advice = f" These distances say little about the classes: {better}."
        yield f"The nearest point has the same label for {agreement:.0%} of the points.{advice}"


def _point(side: tuple[Rows, list[str], list[str] | None], row: int) -> list[tables.Value]:
    """Index, name, label and class of a point; None for what is not there."""
    if row < 0:
        return [None, None, None, None]
    labels, classes, names = side
    return [row, None if names is None else names[row] or None, int(labels[row]), classes[row]]
