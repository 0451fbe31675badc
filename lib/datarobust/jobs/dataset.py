"""Datasets as artifacts: imported, or made of other datasets; block by block, gone on with after a kill.

::

    Import      a source in somebody's format           Relabel     the same points under other labels
    Subset      chosen points                           Features    what a network makes of the points
    Merge       the points of several datasets

Sensitivity is a property of *labelled* points (Equation 1): other labels, other sensitivity. Random labels can raise it
(Section 3 of the paper, after Arpit et al. 2017); labels of super-classes make CIFAR-100s of CIFAR-100; TI500K and 1m
have labels that classifiers gave (Section 4).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.ahead import ahead
from datarobust.artifacts import Step, Store, Writer, durable
from datarobust.artifacts.history import join
from datarobust.datasets.contents import label_column, other_classes, point_column
from datarobust.datasets.linefiles import check_names, read_labels
from datarobust.datasets.sources import BUDGET, Block, Counted, Shuffled, Source, as_labels, spans
from datarobust.distributed import Group
from datarobust.errors import DataError, UsageError
from datarobust.jobs.make import ALONE, Artifact, Columns, Form, Output
from datarobust.randomness import Domain, row_keys
from datarobust.selection import Chosen, rows_digest
from datarobust.text import shown
from datarobust.types import Array, Progress, Rows

COPIED_BYTES = 64 << 20  # of rows that are copied at a time
LABELS_AT_ONCE = 1 << 20  # that are drawn


def fill(writer: Writer, columns: Iterable[str], start: int, parts: Iterable[Block]) -> None:
    """Append parts that begin at row ``start``; rows that a column already has are passed over."""
    done = {name: writer.done(name) for name in columns}
    for part in parts:
        stop = start
        for name, rows in part.items():
            stop = start + len(rows)
            fresh = rows[max(0, done[name] - start) :]
            if len(fresh):
                writer.append(name, np.ascontiguousarray(fresh))
        start = stop


def copy(writer: Writer, columns: Columns, rows: int, part: Callable[[int, int], Block], progress: Progress) -> None:
    """Write ``part(begin, end)`` of all rows, some at a time, from the first row that some column lacks."""
    start = min(map(writer.done, columns))
    size = max(1, COPIED_BYTES // sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in columns.values()))
    parts = (part(begin, end) for begin, end in spans(rows, size, start))
    fill(writer, columns, start, progress(Counted(parts, -(-(rows - start) // size))))


@contextmanager
def discarded_if_wrong(output: Output) -> Iterator[None]:
    """Remove unfinished work where the input turns out to be wrong: nobody goes on with that."""
    try:
        yield
    except DataError:
        if output.group.is_main:
            artifacts.abandon(output.path)
            output.resume.discard()
        raise


def columns_of(dataset: Store, without: Iterable[str] = ()) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of a row of each column of a dataset, but for some."""
    names = [name for name in dataset.names() if name not in without]
    return {name: (dataset.column(name).dtype, dataset.column(name).shape[1:]) for name in names}


def read(dataset: Store, names: Iterable[str], begin: int, end: int) -> dict[str, Array]:
    """The rows ``begin:end`` of some columns."""
    return {name: dataset.column(name).read(begin, end) for name in names}


def attributes_of(dataset: Store, name: str | None, classes: Iterable[str] | None = None) -> dict[str, Any]:
    """Name, classes and picture of a dataset that is made of this one: its own, unless there are others."""
    own = dataset.attributes
    classes = own["classes"] if classes is None else classes
    picture = {"picture": own["picture"]} if "picture" in own else {}
    return {"name": str(own["name"]) if name is None else name, "classes": list(classes), **picture}


def named(*datasets: Store) -> dict[str, Any]:
    """A fingerprint of the names of points for a request, as digests do not cover them; empty without names."""
    hashes = [list(dataset.column("names").hashes) if "names" in dataset else None for dataset in datasets]
    return {"names": artifacts.fingerprint(hashes)} if any(hashes) else {}


@dataclass(frozen=True)
class Import:
    """A source as a dataset. Raises DataError where it is empty, or class names are empty or given twice."""

    form: ClassVar[Form] = Artifact("dataset")

    source: Source
    shuffle: int | None = None  # seed of a uniform permutation; None keeps the order
    limit: int | None = None  # only the first rows of the result, shuffled or not
    budget: int = BUDGET  # bytes of rows that a shuffle holds in memory

    def __post_init__(self) -> None:
        if self.source.spec.rows < 1:
            raise DataError(f"{shown(self.source.spec.name)} holds no points.")
        check_names(self.source.spec.classes, shown(self.source.spec.name))

    @property
    def rows(self) -> int:
        """Of the dataset."""
        rows = self.source.spec.rows
        return rows if self.limit is None else min(self.limit, rows)

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        spec = self.source.spec
        return {
            "tool": "dataset import",
            "source": self.source.identity(),
            "spec": (spec.name, spec.kind, spec.shape, spec.classes, spec.soft, spec.coarse),
            "shuffle": self.shuffle,
            "rows": self.rows,
            **({"names": spec.names} if spec.names else {}),
        }

    def run(self, output: Output) -> None:
        """Import. Raises DataError where the source changes meanwhile, or a row is not what it claims to be."""
        source, spec, columns = self.source, self.source.spec, self.source.spec.columns
        attributes: dict[str, Any] = {"name": spec.name, "classes": list(spec.classes)}
        if spec.picture is not None:
            attributes["picture"] = {**spec.picture._asdict(), "shape": list(spec.picture.shape)}
        if self.shuffle is not None:
            attributes["shuffled"] = self.shuffle
        temporary = durable.hidden(output.path, "shuffle")
        shuffled = Shuffled(source, self.shuffle or 0, temporary, self.budget, output.progress)
        reader = source if self.shuffle is None else shuffled
        history: list[Step] = []
        with (
            discarded_if_wrong(output),
            output.writer(columns, attributes, history, resume=()) as writer,
            closing(shuffled),
        ):
            start = min(map(writer.done, columns))
            blocks = Counted(reader.blocks(start, self.rows), -(-(self.rows - start) // spec.step))
            fill(writer, columns, start, output.progress(blocks))
            sha256 = source.digest()
            source.unchanged()
            history.append(output.step({"source": sha256}))  # the writer reads it when the block ends


@dataclass(frozen=True)
class Subset:
    """Chosen points of a dataset, in the order of the choice; every column goes with its rows."""

    form: ClassVar[Form] = Artifact("dataset")

    dataset: Store
    chosen: Chosen
    name: str | None = None  # that of the dataset if None

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role."""
        return {"dataset": self.dataset.digest, **self.chosen.inputs}

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        rows, name = rows_digest(self.chosen.rows), attributes_of(self.dataset, self.name)["name"]
        return {"tool": "dataset subset", "rows": rows, "name": name, "inputs": self.inputs, **named(self.dataset)}

    def run(self, output: Output) -> None:
        """Copy the rows."""
        columns, rows = columns_of(self.dataset), self.chosen.rows

        def part(begin: int, end: int) -> Block:
            return {name: self.dataset.column(name).take(rows[begin:end]) for name in columns}

        history = [*join([self.dataset.history, self.chosen.history]), output.step(self.inputs)]
        with output.writer(columns, attributes_of(self.dataset, self.name), history, resume=()) as writer:
            copy(writer, columns, len(rows), part, output.progress)


@dataclass(frozen=True)
class Merge:
    """The rows of several datasets, one after the other; ``source`` is the number of the input, also of a merge.

    Raises UsageError for fewer than two inputs, DataError where they differ in shape, dtype, class names or columns.
    """

    form: ClassVar[Form] = Artifact("dataset")

    datasets: Sequence[Store]
    name: str | None = None  # the names of the inputs if None

    def __post_init__(self) -> None:
        if len(self.datasets) < 2:
            raise UsageError("A merge takes two datasets or more.")
        first = self.datasets[0]
        for other in self.datasets[1:]:
            pair = f"{shown(first.path)} and {shown(other.path)} do not fit together"
            mine, theirs = (columns_of(each, ["source", "names"]) for each in (first, other))
            if mine.keys() != theirs.keys():
                name = min(mine.keys() ^ theirs.keys())
                raise DataError(f"{pair}: only {shown(first.path if name in mine else other.path)} has {name}.")
            for name in sorted(mine):
                if mine[name] != theirs[name]:
                    kinds = " and ".join(f"shape {shape}, {dtype}" for dtype, shape in (mine[name], theirs[name]))
                    raise DataError(f"{pair}: {name} of one point have {kinds}.")
            if first.attributes["classes"] != other.attributes["classes"]:
                raise DataError(f"{pair}: {other_classes(first, other)}.")

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the merge."""
        names = " + ".join(str(dataset.attributes["name"]) for dataset in self.datasets)
        attributes = attributes_of(self.datasets[0], names if self.name is None else self.name)
        if any(dataset.attributes.get("picture") != attributes.get("picture") for dataset in self.datasets):
            attributes.pop("picture", None)  # each is drawn in another way
        return attributes

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        digests = [dataset.digest for dataset in self.datasets]
        names = named(*self.datasets)
        return {"tool": "dataset merge", "inputs": digests, "name": self.attributes["name"], **names}

    def run(self, output: Output) -> None:
        """Copy the rows; points of an input without names have empty ones where another has some."""
        kept = columns_of(self.datasets[0], ["source", "names"])
        columns = {**kept, "source": (np.dtype(np.int64), ())}
        longest = max([each.column("names").shape[1] for each in self.datasets if "names" in each], default=0)
        if longest:
            columns["names"] = (np.dtype(np.uint8), (longest,))
        edges = np.cumsum([0, *map(len, self.datasets)]).tolist()

        def part(begin: int, end: int) -> Block:
            pieces = []
            for number, (dataset, first, last) in enumerate(zip(self.datasets, edges, edges[1:], strict=False)):
                if begin < last and first < end:
                    span = max(begin - first, 0), min(end, last) - first
                    rows = span[1] - span[0]
                    names = dataset.column("names").read(*span) if "names" in dataset else np.empty((rows, 0), np.uint8)
                    piece = read(dataset, kept, *span)
                    piece["source"] = np.full(rows, number, np.int64)
                    piece["names"] = np.pad(names, ((0, 0), (0, longest - names.shape[1])))
                    pieces.append(piece)
            return {name: np.concatenate([piece[name] for piece in pieces]) for name in columns}

        inputs = {f"dataset {number}": dataset.digest for number, dataset in enumerate(self.datasets)}
        history = [*join(dataset.history for dataset in self.datasets), output.step(inputs)]
        with output.writer(columns, self.attributes, history, resume=()) as writer:
            copy(writer, columns, edges[-1], part, output.progress)


@dataclass(frozen=True)
class NewLabels:
    """Labels for all points of a dataset."""

    classes: tuple[str, ...]  # their names, or none
    how: Mapping[str, Any]  # all that decides the labels, for the request
    compute: Callable[[Output], Rows]  # the labels (N,), in the first process; long work is gone on with
    inputs: Mapping[str, str] = field(default_factory=dict)  # role -> digest
    device: str | None = None  # where the work is done, if that may change its last bits
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relabel:
    """The points of a dataset under new labels; these take some 24 bytes a point in memory."""

    form: ClassVar[Form] = Artifact("dataset")

    dataset: Store
    labels: NewLabels
    name: str | None = None

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        attributes = attributes_of(self.dataset, self.name, self.labels.classes)
        request = {"tool": "dataset relabel", "dataset": self.dataset.digest, **attributes, "how": self.labels.how}
        return request | named(self.dataset)

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        yield from self.labels.remarks
        if "soft" in self.dataset:
            yield "the label vectors (soft) are left out: they belong to the old labels"

    def changed(self, relabelled: Store) -> int:
        """How many labels of the result are others than before."""
        return int((self.dataset.column("labels").read() != relabelled.column("labels").read()).sum())

    def run(self, output: Output) -> None:
        """Compute the labels, then copy the points."""
        with discarded_if_wrong(output):
            labels = self.labels.compute(output)
        if not output.group.is_main:
            return
        columns = columns_of(self.dataset, ["soft"])
        kept = [name for name in columns if name != "labels"]

        def part(begin: int, end: int) -> Block:
            return read(self.dataset, kept, begin, end) | {"labels": labels[begin:end]}

        attributes = attributes_of(self.dataset, self.name, self.labels.classes)
        step = output.step({"dataset": self.dataset.digest, **self.labels.inputs})
        with output.writer(columns, attributes, [*self.dataset.history, step], resume=[rows_digest(labels)]) as writer:
            copy(writer, columns, len(labels), part, output.progress)


def labels_from_file(dataset: Store, path: Path, classes: Sequence[str] | None = None) -> NewLabels:
    """Labels from a file, as :func:`read_labels` reads it; ``classes`` are new names, in place of the dataset's own."""
    names = _class_names(dataset, classes)
    labels, digest = read_labels(path, len(dataset), len(names))
    return NewLabels(names, {"labels": digest}, lambda *_: labels, {"labels": digest})


def random_labels(dataset: Store, seed: int, fraction: float = 1.0, classes: Sequence[str] | None = None) -> NewLabels:
    """Labels drawn uniformly from all C classes, as Zhang et al. 2016 do, for a ``fraction`` of the points.

    C is the number of class names, else one more than the largest label. The label of a row is a function of (seed,
    row, C), uniform to within C 2^-64; whether it is drawn, of (seed, row, fraction), independently. Raises DataError
    where there is only one class.
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"a fraction of {fraction} points cannot be: choose a number from 0 to 1.")
    names = _class_names(dataset, classes)
    own = dataset.column("labels").read()
    count = len(names) or int(own.max()) + 1
    if count < 2:
        raise DataError(f"{shown(dataset.path)} has one class: no label could be drawn that is another.")

    def compute(output: Output) -> Rows:
        labels = own.copy()
        for begin, end in spans(len(labels), LABELS_AT_ONCE):
            drawn = (row_keys(seed, Domain.RELABEL, begin, end) % np.uint64(count)).astype(np.int64)
            replaced = (row_keys(seed, Domain.CORRUPTION, begin, end) >> np.uint64(11)) * 2.0**-53 < fraction
            labels[begin:end] = np.where(replaced, drawn, labels[begin:end])
        return _named_labels(labels, len(names), dataset)

    return NewLabels(names, {"random": seed, "fraction": fraction, "count": count}, compute)


def coarse_labels(dataset: Store, classes: Sequence[str] | None = None) -> NewLabels:
    """Labels from the column ``coarse``; its classes have the names ``classes``, or none."""
    label_column(dataset, "coarse")
    names = tuple(classes or ())
    remark = "the names of the classes are left out: they belong to the other labels; `classes` gives new ones"
    remarks = () if classes or not dataset.attributes["classes"] else (remark,)

    def compute(*_: object) -> Rows:
        return _named_labels(dataset.column("coarse").read(), len(names), dataset)

    return NewLabels(names, {"coarse": True}, compute, remarks=remarks)


def predicted_labels(dataset: Store, classifier: Representation, classes: Sequence[str] | None = None) -> NewLabels:
    """Labels that a classifier gives: the class of the largest logit, the lowest of equal ones.

    ``classes`` are as many names as it has classes; without them those of the dataset stay where they are as many.
    """
    count = classifier.width
    if classes is not None and len(classes) != count:
        raise DataError(f"{len(classes)} class names are given, but the model has {count} classes.")
    names = _class_names(dataset, classes)
    remarks: tuple[str, ...] = ()
    if len(names) not in (0, count):
        remarks = (f"the names of {len(names)} classes are left out: the model has {count} classes",)
        names = ()
    # What was begun on another device, or in other batches, may differ in its last bits and begins again.
    key = f"labels, {classifier.device}, {classifier.batch}"

    def compute(output: Output) -> Rows:
        group, resume = output.group, output.resume.part("labels")
        known = ((resume.load() if group.is_main else None) or {}).get(key, np.empty(0, np.int64))
        labels = np.concatenate([known, np.empty(len(dataset) - len(known), np.int64)])
        start = int(group.all_gather(np.array([len(known)]))[0][0])
        for begin, logits in output.progress(classifier.batches(dataset, start, len(labels), group)):
            end = begin + len(logits)
            labels[begin:end] = logits.argmax(axis=1)
            if group.is_main and (resume.due or end == len(labels)):
                resume.save({key: labels[:end]})
        return labels

    how = {"model": classifier.model, "layer": classifier.layer}
    return NewLabels(names, how, compute, {"model": classifier.model}, classifier.device, remarks)


def _class_names(dataset: Store, classes: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(dataset.attributes["classes"] if classes is None else classes)


def _named_labels(labels: Rows, names: int, dataset: Store) -> Rows:
    """The labels; DataError where the classes have names and a label has none."""
    return as_labels(labels, 0, f"{shown(dataset.path)}: labels", names)[0] if names else labels


@dataclass(frozen=True)
class Representation:
    """A layer of a network as a function of points, and all that decides its bits."""

    extract: Callable[[Array], npt.NDArray[np.float32]]  # from points (B, ...) to vectors (B, width)
    width: int  # numbers of a vector
    model: str  # digest of the network
    layer: str
    batch: int  # points at a time
    device: str = ""  # device and library, which may change the last bits: work begun elsewhere begins again
    operations: int = 0  # for one point

    def batches(
        self, dataset: Store, start: int, stop: int, group: Group = ALONE
    ) -> Counted[tuple[int, npt.NDArray[np.float32]]]:
        """``(row, vectors)`` of the rows ``start:stop``, a batch of each process at a time. Every process has all.

        Raises DataError for what is not finite.
        """
        together = self.batch * group.size

        def batches() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
            points, rounds = point_column(dataset), range(start, stop, together)

            def own(begin: int) -> Array:
                begin = min(begin + group.rank * self.batch, stop)
                return points.read(begin, min(begin + self.batch, stop))

            for begin, rows in zip(rounds, ahead(own, rounds), strict=True):
                batch = np.zeros((self.batch, self.width), np.float32)
                if len(rows):
                    batch[: len(rows)] = self.extract(rows)
                vectors = np.concatenate(group.all_gather(batch))[: stop - begin]
                finite = np.isfinite(vectors).all(axis=1)
                if not finite.all():
                    row = begin + int(np.argmin(finite))
                    index = int(dataset.column("index").read(row, row + 1)[0])
                    what = f"what layer {self.layer} gives for row {row} (index {index})"
                    raise DataError(f"{shown(dataset.path)}: {what} is not finite.")
                yield begin, vectors

        return Counted(batches(), -(-(stop - start) // together))


@dataclass(frozen=True)
class Features:
    """What a network makes of the points, or of the first ``limit``; all other columns stay."""

    form: ClassVar[Form] = Artifact("dataset")

    dataset: Store
    representation: Representation
    name: str | None = None
    limit: int | None = None

    @property
    def rows(self) -> int:
        """Of the result."""
        return len(self.dataset) if self.limit is None else min(self.limit, len(self.dataset))

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role."""
        return {"dataset": self.dataset.digest, "model": self.representation.model}

    def request(self) -> dict[str, Any]:
        """All that decides the bits, up to rounding."""
        name = attributes_of(self.dataset, self.name)["name"]
        layer = self.representation.layer
        request = {"tool": "dataset features", "inputs": self.inputs, "layer": layer, "rows": self.rows, "name": name}
        return request | named(self.dataset)

    def plan(self) -> dict[str, int | float | str]:
        """The cost of the job; one batch is computed to see how long it takes."""
        points = point_column(self.dataset)
        batch = points.read(0, min(self.representation.batch, self.rows))
        began = time.perf_counter()
        self.representation.extract(batch)
        seconds = time.perf_counter() - began
        return {
            "points": self.rows,
            "layer": self.representation.layer,
            "features": self.representation.width,
            "bytes_to_read": self.rows * points.dtype.itemsize * math.prod(points.shape[1:]),
            "bytes_to_write": 4 * self.rows * self.representation.width,
            "operations": self.rows * self.representation.operations,
            "expected_seconds": seconds * self.rows / len(batch),
            "device": self.representation.device,
        }

    def run(self, output: Output) -> None:
        """Copy the other columns, then compute the features; batches begin at multiples of their size."""
        representation, size, group = self.representation, self.representation.batch, output.group
        others = columns_of(self.dataset, ["images", "features"])
        columns = {**others, "features": (np.dtype(np.float32), (representation.width,))}
        attributes, history = attributes_of(self.dataset, self.name), [*self.dataset.history, output.step(self.inputs)]
        attributes.pop("picture", None)
        resume = [representation.device, size]
        writing = output.writer(columns, attributes, history, resume=resume)
        with discarded_if_wrong(output), writing if group.is_main else nullcontext() as writer:
            start = 0
            if writer:
                copy(writer, others, self.rows, partial(read, self.dataset, others), iter)
                start = writer.done("features") // size * size
            start = int(group.all_gather(np.array([start]))[0][0])
            batches = output.progress(representation.batches(self.dataset, start, self.rows, group))
            for begin, vectors in batches:
                if writer:
                    fill(writer, ["features"], begin, [{"features": vectors}])
