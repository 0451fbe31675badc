"""Rankings as artifacts: from a dataset to robustness and nearest neighbours (Equation 1, Algorithm 1)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from typing import Any, ClassVar

import numpy as np

from datarobust import curvature, lipschitz
from datarobust.artifacts import Resume, Step, Store
from datarobust.artifacts.history import join
from datarobust.datasets.contents import names as point_names
from datarobust.datasets.contents import other_classes, point_column
from datarobust.distributed import Group, merge_lists
from datarobust.errors import DataError, UsageError
from datarobust.jobs import tables
from datarobust.jobs.make import ALONE, Artifact, Form, Output
from datarobust.jobs.tables import TableFile
from datarobust.norms import norm_of
from datarobust.sensitivity import (
    COMPILED,
    Duplicates,
    Labelled,
    Options,
    Ranking,
    available_threads,
    check,
    check_same,
    demand_neighbours,
    division,
    engine_of,
    farthest,
    kernels_of,
    least_robust_first,
    native,
    nearest,
    padded_width,
    panel_rows,
    rank,
    refuse_equal,
)
from datarobust.text import shown
from datarobust.types import Array, Floats, Progress

_SETTINGS = ("norm", "labels", "dataset", "against", "duplicates", "k")  # attributes that decide a ranking
_MERGED = 1 << 20  # neighbours of a part that are merged at a time
_TRIAL = 500  # points that a dry run ranks first
_TRIAL_SECONDS = 1.0  # of processors, after which it stops
_POINT_BYTES = 420  # what the search keeps of a point besides its row: codes, sums, places


@dataclass(frozen=True)
class Sensitivity:
    """A ranking to be made: everything that decides its bits, and how much it may use."""

    form: ClassVar[Form] = Artifact("ranking")

    dataset: Store
    others: Store | None  # in which neighbours are looked for, where that is another set
    norm: str
    k: int  # neighbours of each point
    soft: bool  # Equation (1) with label vectors
    duplicates: Duplicates  # what points mean that equal a point of another label
    memory: int  # bytes of rows to hold
    threads: int | None = None  # all that are there if None
    limit: int | None = None  # only the first points of the dataset
    device: str | None = None  # a CUDA device that searches; the processor if None
    same: bool = False  # neighbours are other points of the same label

    def __post_init__(self) -> None:
        for store in self.stores.values():
            if self.soft and "soft" not in store:
                advice = "leave out `soft`, or import labels that are distributions"
                raise UsageError(f"{store.path} has no label vectors: {advice}")
        check_same(self.same, self.soft, self.duplicates)
        demand_neighbours(self.k, len(self.dataset if self.others is None else self.others))
        if self.same and self.others is not None and self.others.digest == self.dataset.digest:
            raise UsageError(f"in {self.others.path} every point is its own nearest one: leave out `against`")
        if self.others is not None:
            classes, other = self.dataset.attributes["classes"], self.others.attributes["classes"]
            if classes and other and classes != other:
                sets, classes = f"{self.dataset.path} and {self.others.path}", other_classes(self.dataset, self.others)
                advice = "Import one of them again with the `classes` of the other"
                raise DataError(f"labels of {sets} do not mean the same: {classes}. {advice}")

    @property
    def stores(self) -> dict[str, Store]:
        """The dataset, and that in which neighbours are looked for if that is another, by their roles."""
        return {"dataset": self.dataset} | ({} if self.others is None else {"against": self.others})

    @property
    def sources(self) -> list[Labelled]:
        """The points, and those in which neighbours are looked for if these are of another set."""
        return [self.points, *([] if self.against is None else [self.against])]

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes that decide the ranking (ARTIFACTS.md)."""
        return {
            "norm": self.norm,
            "labels": "soft" if self.soft else "hard",
            "dataset": self.dataset.digest,
            "against": None if self.others is None else self.others.digest,
            "duplicates": self.duplicates,
            "k": self.k,
            **({"neighbours": "same"} if self.same else {}),
        }

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        return {"tool": "sens-rank", **self.settings}

    @cached_property
    def points(self) -> Labelled:
        """The points to be ranked."""
        return self._labelled(self.dataset, self.limit)

    @cached_property
    def against(self) -> Labelled | None:
        """The points in which neighbours are looked for, where that is another set."""
        return None if self.others is None else self._labelled(self.others, None)

    def _labelled(self, dataset: Store, limit: int | None) -> Labelled:
        rows = point_column(dataset).flat(limit)
        soft = dataset.column("soft").read(0, len(rows)) if self.soft else None
        return Labelled(rows, dataset.column("labels").read(0, len(rows)), soft)

    def rank(self, progress: Progress = iter, group: Group = ALONE, resume: Resume | None = None) -> Ranking:
        """The ranking; with ``resume`` a killed run is gone on with."""
        return rank(
            self.points, self.norm, against=self.against, k=self.k, soft=self.soft, same=self.same,
            duplicates=self.duplicates, memory=self.memory, options=self.options(group), progress=progress,
            checkpoint=resume, merge=group.merge_neighbours if group.size > 1 else None,
        )  # fmt: skip

    def options(self, group: Group = ALONE) -> Options:
        """How the search is done."""
        threads = self.threads or max(1, available_threads() // group.here)
        return Options(threads=threads, shard=(group.rank, group.size), device=self.device)

    @property
    def slow(self) -> bool:
        """Whether the compiled search would serve, but is not installed."""
        return self.device is None and self.norm in COMPILED and native.library() is None

    def run(self, output: Output) -> None:
        """Make the ranking and write it."""
        ranking = self.rank(output.progress, output.group, output.resume)
        if not output.group.is_main:
            return
        output.save(_arrays(ranking), self.settings, self.history(output))

    def history(self, output: Output) -> list[Step]:
        """The histories of the datasets, and this command."""
        step = output.step({role: store.digest for role, store in self.stores.items()})
        return [*join(store.history for store in self.stores.values()), step]

    def perceived_distance(self, lam: float | None) -> float:
        """λ of the perceived curvature (Section 3): ``lam``, or the diameter of the cube that images are in."""
        if self.same:
            raise UsageError("`curvature` is about points of different labels: leave out `same`")
        if self.soft:
            raise UsageError(
                "`curvature` takes one distance between any two labels, not label vectors: leave out `soft`"
            )
        if lam is not None:
            return curvature.demand_positive(lam)
        if "images" not in self.dataset:
            advice = "give `lam`, a distance that no two points of different labels exceed"
            raise UsageError(f"{shown(self.dataset.path)} holds features, which are in no cube: {advice}")
        return curvature.diameter(self.norm, self.points.rows.shape[1])

    def geometry(self, ranking: Ranking, lam: float) -> dict[str, Floats]:
        """What follows from r at λ, (N,) by name.

        κ~_perc and κ_perc of the nearest point of another label (Section 3), L of Theorem 1 for ρ = r/2, and the
        largest κ~_perc over all points of other labels. NaN: the curvatures without such a point; κ_perc where r > λ,
        as it is imaginary there.
        """
        r = ranking.robustness
        tilde, far = curvature.kappa_tilde(r, lam), r.copy()
        beyond = np.flatnonzero((r > lam) & np.isfinite(r))  # the farthest point is a search of its own
        keys = farthest(self.points, self.sources[-1], beyond, self.norm, self.threads)
        far[beyond] = norm_of(self.norm).distances(keys, self.points.rows.dtype)
        return {
            "kappa_tilde_perc": tilde,
            "kappa_perc": curvature.kappa_of(tilde),
            "lipschitz": lipschitz.bound(r),
            "kappa_tilde_perc_largest": curvature.largest(r, far, lam),
        }

    @property
    def engine(self) -> str:
        """What searches: native, on a GPU triton, else generic."""
        if kernels_of(self.points, self.sources[-1], norm_of(self.norm), self.k, self.device) is not None:
            return "triton"
        return engine_of(self.norm, self.options())

    def plan(self) -> dict[str, int | float | str]:
        """The cost of the job: shapes, the operations of brute force, bytes read and held."""
        counts = [len(part.labels) for part in self.sources]
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
            "engine": self.engine,
        }

    def expected_seconds(self) -> float:
        """How long the ranking takes here at most: parts are ranked, each twice as large, until one takes a second.

        The time of all pairs is that of the pairs of the last part, scaled. Larger sets take less: more is ruled out.
        Other work on the processors does not count.
        """
        threads, clock = self.threads or available_threads(), time.process_time
        if self.device is not None:
            threads, clock = 1, time.perf_counter
        counts = [len(part.labels) for part in self.sources]
        limit, seconds = _TRIAL, 0.0
        while True:
            sizes = [min(count, limit) for count in counts]
            points, *others = map(self._labelled, self.stores.values(), sizes)
            search = partial(
                rank, points, self.norm, against=others[0] if others else None, k=self.k, soft=self.soft,
                same=self.same, memory=self.memory, options=self.options(),
            )  # fmt: skip
            if self.device is not None and limit == _TRIAL:
                search()  # CUDA starts, and kernels are compiled
            began = clock()
            search()
            seconds = clock() - began
            if seconds >= _TRIAL_SECONDS or limit >= max(counts):
                return seconds / threads * counts[0] * counts[-1] / (sizes[0] * sizes[-1])
            limit *= 2


@dataclass(frozen=True)
class Part:
    """A share of the comparisons of a ranking, which needs to know nothing of the others."""

    form: ClassVar[Form] = Artifact("ranking-part")

    ranking: Sensitivity
    shard: int
    shards: int

    def __post_init__(self) -> None:
        if self.ranking.duplicates == "drop":
            raise UsageError(
                "`duplicates` drop ranks some points anew, which takes all parts: choose inf or error with `shard`, or "
                "leave equal points out of the dataset first, with dataset duplicates `drop`"
            )

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Those of the ranking, and what parts of one ranking agree on."""
        job = self.ranking
        return {
            **job.settings,
            "shard": self.shard,
            "shards": self.shards,
            "points": np.dtype(job.points.rows.dtype).name,
            "split": division(job.sources, job.norm, job.memory, job.options()),
        }

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        return {"tool": "sens-rank", **self.attributes}

    def plan(self) -> dict[str, int | float | str]:
        """The cost of the ranking, with this part's share of the pairs."""
        plan = self.ranking.plan()
        return plan | {name: -(-int(plan[name]) // self.shards) for name in ("pairs", "brute_force_operations")}

    def expected_seconds(self) -> float:
        """How long this share takes at most: the time of the ranking over the number of shares."""
        return self.ranking.expected_seconds() / self.shards

    def run(self, output: Output) -> None:
        """Make the comparisons and write the nearest points that they have found."""
        job = self.ranking
        check(job.points, job.against, job.norm, job.k, job.soft)
        options = replace(job.options(), shard=(self.shard, self.shards))
        keys, neighbours = nearest(
            job.sources, job.norm, job.k, soft=job.soft, same=job.same, memory=job.memory, options=options,
            progress=output.progress, checkpoint=output.resume,
        )  # fmt: skip
        output.save({"keys": keys, "neighbours": neighbours}, self.attributes, job.history(output))


@dataclass(frozen=True)
class Joined:
    """The ranking that parts are of, with the bits of a ranking in one piece."""

    form: ClassVar[Form] = Artifact("ranking")

    parts: tuple[Store, ...]  # all of them, in any order

    def __post_init__(self) -> None:
        first, *others = self.parts
        shards, paths = first.attributes["shards"], dict[int, str]()
        for part in others:
            for name in (*_SETTINGS, "neighbours", "shards", "points", "split"):
                one, other = (store.attributes.get(name, "other") for store in (first, part))
                if one != other:
                    advice = "make all parts with the same options and the same version of datarobust"
                    different = f"{name} is {_short(one)} in the one and {_short(other)} in the other"
                    raise DataError(f"{first.path} and {part.path} are not parts of one ranking: {different}; {advice}")
        for part in self.parts:
            shard = part.attributes["shard"]
            if shard in paths:
                raise DataError(f"{paths[shard]} and {part.path} are both part {shard}/{shards}: leave out one of them")
            shape = (len(first), first.attributes["k"])
            if not 0 <= shard < shards or part.column("keys").shape != shape:
                raise DataError(f"{part.path} is not a part {shard}/{shards} of {shape[0]} points: make it again")
            paths[shard] = str(part.path)
        if len(paths) < shards:
            shard = next(number for number in range(shards) if number not in paths)
            missing, advice = shards - len(paths), f"make it with sens-rank `shard` {shard}/{shards}"
            raise DataError(f"{missing} of the {shards} parts are missing, the first is {shard}/{shards}: {advice}")

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes that decide the ranking."""
        attributes = self.parts[0].attributes
        return {name: attributes[name] for name in (*_SETTINGS, "neighbours") if name in attributes}

    def request(self) -> dict[str, Any]:
        """That of the ranking in one piece: it is the same."""
        return {"tool": "sens-rank", **self.settings}

    def run(self, output: Output) -> None:
        """Merge the lists of all parts, two at a time and some rows after others."""
        parts = sorted(self.parts, key=lambda part: int(part.attributes["shard"]))
        step = output.step({f"part {number}": part.digest for number, part in enumerate(parts)})
        history = [*join(part.history for part in parts), step]
        k, dtype, norm = self.settings["k"], np.dtype(parts[0].attributes["points"]), norm_of(self.settings["norm"])
        columns: dict[str, tuple[str, tuple[int, ...]]] = {"distance": ("float64", ()), "neighbour": ("int64", ())}
        if k > 1:
            columns |= {"distances": ("float64", (k,)), "neighbours": ("int64", (k,))}
        count, equal = 0, (-1, -1)
        with output.writer(columns, self.settings, history) as writer:
            rows = max(1, _MERGED // k)
            for start in output.progress(range(0, len(parts[0]), rows)):
                stop = min(start + rows, len(parts[0]))
                key, neighbour = reduce(_merged, (_lists(part, start, stop) for part in parts))
                ranking = Ranking(norm.distances(key, dtype), neighbour)
                alike = np.flatnonzero(ranking.robustness == 0.0)
                if len(alike) and not count:
                    equal = (start + int(alike[0]), int(neighbour[alike[0], 0]))
                count += len(alike)
                arrays = _arrays(ranking)
                for name in columns:
                    writer.append(name, arrays[name])
            if count and self.settings["duplicates"] == "error":
                refuse_equal(count, *equal)


@dataclass
class Listed:
    """A ranking as a table for other programs."""

    form: ClassVar[Form] = TableFile()

    ranking: Sensitivity
    lam: float | None = None  # with curvature as it is perceived at λ
    notes: list[str] = field(default_factory=list, init=False)  # on the ranking, once it has run

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        return {**self.ranking.request(), "limit": self.ranking.limit, "lambda": self.lam}

    def run(self, output: Output) -> None:
        """Rank and write the table."""
        ranking = self.ranking.rank(output.progress, output.group, output.resume)
        if output.group.is_main:
            tables.save(output.path, *self.table(ranking))
            self.notes = list(remarks(ranking.robustness, self.ranking.same))

    def table(self, ranking: Ranking) -> tuple[tables.Columns, Iterator[list[tables.Value]]]:
        """Columns and rows of a ranking, least robust point first, with names of classes; None is what is missing.

        Where points have names, these stand after the classes.

        Further neighbours have columns of their own, such as ``distance_2``. Dropped points have no row.
        """
        job, stores = self.ranking, (self.ranking.dataset, self.ranking.others or self.ranking.dataset)
        own, other = ([str(name) for name in store.attributes["classes"]] for store in stores)
        more = {} if self.lam is None else job.geometry(ranking, self.lam)
        columns: dict[str, type] = {"index": int, "distance": float, "neighbour": int, "label": int}
        columns |= {"neighbour_label": int, "class": str, "neighbour_class": str}
        called = [point_names(store) for store in stores]
        named = called != [None, None]
        columns |= {"name": str, "neighbour_name": str} if named else {}
        for number in range(2, ranking.distance.shape[1] + 1):
            columns |= {f"distance_{number}": float, f"neighbour_{number}": int, f"neighbour_label_{number}": int}
        columns |= dict.fromkeys([*(["lambda"] if more else []), *more], float)
        end = 5 + 3 * (ranking.distance.shape[1] - 1)

        def rows() -> Iterator[list[tables.Value]]:
            for row in table(ranking, job.points.labels, job.sources[-1].labels, more.values()):
                fields = [None if value == -1 else value for value in row[:end]]  # of a neighbour that is not there
                label, near = int(row[3]), int(row[4])
                names = [own[label] if label < len(own) else None, other[near] if 0 <= near < len(other) else None]
                if named:
                    places = zip(called, (int(row[0]), int(row[2])), strict=True)
                    names += [None if each is None or place < 0 else each[place] or None for each, place in places]
                yield [*fields[:5], *names, *fields[5:], *([self.lam] if more else []), *row[end:]]

        return columns, rows()


def _lists(part: Store, start: int, stop: int) -> tuple[Array, Array]:
    """The keys and the neighbours that a part has found for some points."""
    return part.column("keys").read(start, stop), part.column("neighbours").read(start, stop)


def _merged(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    return merge_lists([one[0], other[0]], [one[1], other[1]])


def _short(value: Any) -> str:
    """An attribute in an error; of a digest its beginning."""
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else json.dumps(value)


def _arrays(ranking: Ranking) -> dict[str, Array]:
    """The columns of a ranking."""
    arrays: dict[str, Array] = {"distance": ranking.robustness, "neighbour": ranking.neighbour[:, 0]}
    if ranking.distance.shape[1] > 1:
        arrays |= {"distances": ranking.distance, "neighbours": ranking.neighbour}
    return arrays


def table(
    ranking: Ranking, labels: Array, other_labels: Array, more: Iterable[Array] = ()
) -> Iterator[list[int | float]]:
    """Rows, least robust first: index, distance, neighbour, label, neighbour's label; three more for each further
    neighbour; at the end ``more``, a number a point from each (N,).

    ``labels`` (N) of the points, ``other_labels`` of the set the neighbours are from. Without a neighbour: inf, -1 and
    -1. Dropped points have no row.
    """
    columns = list(more)
    for row in least_robust_first(ranking.robustness).tolist():
        fields: list[int | float] = [row]
        neighbours = zip(ranking.distance[row].tolist(), ranking.neighbour[row].tolist(), strict=True)
        for number, (distance, neighbour) in enumerate(neighbours):
            label = int(other_labels[neighbour]) if neighbour >= 0 else -1
            fields += [distance, neighbour, int(labels[row]), label] if number == 0 else [distance, neighbour, label]
        yield fields + [float(column[row]) for column in columns]


def remarks(robustness: Floats, same: bool = False) -> Iterator[str]:
    """What a reader of a ranking should know, a sentence each; of r (N,), inf or NaN as :func:`rank` gives it.

    ``same``: neighbours are of the same label.
    """
    if same:
        if equal := int((robustness == 0.0).sum()):
            yield f"{equal} points equal another point with the same label: distance 0."
        if alone := int(np.isinf(robustness).sum()):
            yield f"{alone} points have no other point with the same label: distance inf."
        return
    if dropped := int(np.isnan(robustness).sum()):
        yield f"{dropped} points were dropped, because they equal a point with another label."
    if equal := int((robustness == 0.0).sum()):
        yield f"{equal} points equal a point with another label: distance 0, infinite sensitivity."
    if alone := int(np.isinf(robustness).sum()):
        yield f"{alone} points have no point with another label: distance inf, sensitivity 0."
