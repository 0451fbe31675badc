"""What a reader of a published format offers to the importer: a :class:`Spec`, known at once, and checked rows.

**Checks.** The first wrong value is named. Pixels are bytes. uint8 passes as it is; every other dtype is accepted only
where nothing is lost: integers within 0..255, and floats that are either whole numbers within 0..255 or multiples of
1/255 within 0..1. Which of the two scales a float array has is decided once, by the first value that tells them apart
(:func:`tell_scale`), so that a mixture of both is found instead of guessed at.

**Order.** The shuffled order is :func:`datarobust.randomness.permutation`: rows sorted by their random keys. So
:class:`Shuffled` writes a set of any size to files, one for each range of keys, and sorts each by itself.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import shutil
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from datarobust.datasets.files import Raw, brief, file_sha256, reading
from datarobust.errors import DataError
from datarobust.randomness import Domain, row_keys
from datarobust.text import shown
from datarobust.types import Array, Progress, Rows

T = TypeVar("T")
Labels = Literal["fine", "coarse"]
Layout = Literal["nhwc", "nchw"]
Names = tuple[str, ...]
Scale = Literal["unit", "bytes"]
Block = Mapping[str, Array]
"""Consecutive rows, checked: columns by name. ``index`` are their places in the source."""

BLOCK_BYTES = 4 << 20  # of the raw points of a block, about: big enough for numpy, small beside any memory
BUDGET = 1 << 30  # bytes of rows that a shuffle holds in memory at a time
PIXEL_TOLERANCE = 1e-4  # of 255 v from a whole number, for v = k/255; float32 rounds to within 2e-5
HALF_TOLERANCE = 0.13  # the same for float16, whose rounding of k/255 alone moves 255 v by up to 255 * 2**-11 = 0.125
SUM_TOLERANCE = 1e-3  # of the entries of a soft label from 1; float16 probabilities of 100 classes stay within
MOST_NAME_BYTES = 1 << 12  # of the name of a point; of a longer one the end is kept
MOST_CLASSES = 1_000_000  # labels at or above it are no class numbers but identifiers: refused

_MOST_FILES = 400
_IN_MEMORY = 1 << 30  # of an array in Fortran's order
_HEADER_BYTES = 16 << 10  # of a .npy file
# What numpy raises where it cannot read such a header.
_NPY_FAULTS: tuple[type[Exception], ...] = (ValueError, SyntaxError, TypeError, KeyError, EOFError, RecursionError)
_NPY_FAULTS += (MemoryError, OverflowError, tokenize.TokenError)
_KEYS_AT_ONCE = 1 << 20


class Picture(NamedTuple):
    """How features that were images are drawn."""

    shape: tuple[int, ...]  # (C, H, W)
    low: float  # the value that is black
    high: float  # the value that is white


@dataclass(frozen=True)
class Spec:
    """What a source holds, known before its first row is read."""

    name: str
    rows: int
    kind: Literal["images", "features"]
    shape: tuple[int, ...]  # of one point: (C, H, W) of uint8 images, (D,) of float32 features
    classes: tuple[str, ...] = ()  # names, if it has them
    soft: int = 0  # columns of its soft labels, 0 without
    coarse: bool = False  # whether it has labels of super-classes
    notes: tuple[str, ...] = ()  # sentences the user should see: what was recognised, what was left out
    raw_bytes: int = 0  # of one point as it is read
    names: int = 0  # bytes of the longest name of a point (`name_bytes`), 0 where points have none
    picture: Picture | None = None  # of features that were images

    @property
    def step(self) -> int:
        """Rows of a block, bounded by the bytes of a row before and after its checks."""
        return max(1, BLOCK_BYTES // max(self.raw_bytes, self.row_bytes))

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for images, float32 for features."""
        return np.dtype(np.uint8) if self.kind == "images" else np.dtype(np.float32)

    @property
    def row_bytes(self) -> int:
        """Bytes of one finished row: its point and its labels."""
        return self.dtype.itemsize * math.prod(self.shape) + 8 + 4 * self.soft + 8 * self.coarse + self.names

    @property
    def columns(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Dtype and shape of a row of every column of the blocks."""
        integer: tuple[np.dtype[Any], tuple[int, ...]] = (np.dtype(np.int64), ())
        columns = {self.kind: (self.dtype, self.shape), "labels": integer, "index": integer}
        soft = {"soft": (np.dtype(np.float32), (self.soft,))} if self.soft else {}
        names = {"names": (np.dtype(np.uint8), (self.names,))} if self.names else {}
        return columns | soft | ({"coarse": integer} if self.coarse else {}) | names


class Source:
    """A data set in somebody's format; readers set ``spec`` and yield the rows.

    ``path`` is what the user gave: the file that is read, or the files ``names`` below ``folder`` (or below it) are.
    Raises DataError at construction where names, sizes and headers show that it is none.
    """

    spec: Spec
    choices: tuple[object, ...] = ()  # what else decides the rows: part of the identity
    published: str | None = None  # what is published, wherever it lies and whenever it was fetched: then the identity

    def __init__(self, path: Path, names: Sequence[str] | None = None, folder: Path | None = None) -> None:
        self._path = path
        self._alone = names is None
        self._names = [path.name] if names is None else names
        self._folder = folder or (path.parent if self._alone else path)
        self._state = self._state_now()

    def _state_now(self) -> str:
        digest = hashlib.sha256(os.fsencode(self._folder.resolve()))
        for name in self._names:
            with reading(self._folder / name):
                state = (self._folder / name).stat()
            digest.update(os.fsencode(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n"))
        return digest.hexdigest()

    def identity(self) -> str:
        """A fingerprint of places, sizes and times of change, by which a rerun knows the source."""
        return self.published or ":".join([self._state, *map(ascii, self.choices)])

    def unchanged(self) -> None:
        """Raise DataError where the source is no longer what it was when it was opened."""
        if self._state_now() != self._state:
            raise DataError(f"{shown(self._path)} changed while it was read.")

    def digest(self) -> str:
        """sha256 of the file; of several, of the lines ``sha256  name`` that ``sha256sum`` prints, in order."""
        if self._alone:
            return file_sha256(self._path)
        digest = hashlib.sha256()
        for name in self._names:
            digest.update(os.fsencode(f"{file_sha256(self._folder / name)}  {name}\n"))
        return digest.hexdigest()

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop`` in order; DataError names the first value that is wrong."""
        row = start
        for part in self._parts(start, self.spec.rows if stop is None else min(stop, self.spec.rows)):
            end = row + len(part["labels"])
            yield {**part, "index": np.arange(row, end, dtype=np.int64)}
            row = end

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        """The blocks of these rows, but for their index."""
        raise NotImplementedError


@dataclass(frozen=True)
class Shuffled:
    """A source in shuffled order, through files in ``folder``, which :meth:`close` removes."""

    source: Source
    seed: int
    folder: Path
    budget: int = BUDGET  # bytes of rows held in memory
    progress: Progress = iter

    def close(self) -> None:
        """Remove the temporary files, also those that a killed run left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop`` of the shuffled order; the whole source is read before this returns."""
        spec = self.source.spec
        stop = spec.rows if stop is None else min(stop, spec.rows)
        if start >= stop:
            return iter(())
        row_bytes = self._record.itemsize + 8  # the order of the rows is held, too
        count = min(_MOST_FILES, spec.rows, 1 + 2 * spec.rows * row_bytes // self.budget)
        sizes = np.zeros(count, np.int64)
        for begin, end in spans(spec.rows, _KEYS_AT_ONCE):
            keys = row_keys(self.seed, Domain.IMPORT, begin, end)
            sizes += np.bincount(_bucket(keys, count), minlength=count)
        first = np.cumsum([0, *sizes])  # row, in shuffled order, of each bucket
        buckets = range(
            int(np.searchsorted(first, start, side="right")) - 1, int(np.searchsorted(first, stop, side="left"))
        )
        self.close()
        self.folder.mkdir(parents=True)
        self._spill(count, buckets, int(first[buckets.stop] - first[buckets.start]))
        return self._sorted_buckets(first, buckets, start, stop)

    @property
    def _record(self) -> np.dtype[np.void]:
        """A row as it lies in a bucket's file."""
        columns = self.source.spec.columns.items()
        return np.dtype([("key", np.uint64), *((name, *described) for name, described in columns)])

    def _spill(self, count: int, buckets: range, rows: int) -> None:
        """Write the ``rows`` of some of ``count`` buckets into a file each, in one pass over the source."""
        spec, size = self.source.spec, rows * self._record.itemsize
        free = shutil.disk_usage(self.folder).free
        if size > free:
            needed = f"{size / 1e9:.1f} GB of temporary files in {self.folder.parent}"
            raise DataError(f"Shuffling takes {needed}, which has {free / 1e9:.1f} GB free.")
        with ExitStack() as stack:
            files = {b: stack.enter_context((self.folder / str(b)).open("xb")) for b in buckets}
            for block in self.progress(Counted(self.source.blocks(), -(-spec.rows // spec.step))):
                records = np.empty(len(block["index"]), self._record)
                begin = int(block["index"][0])
                records["key"] = row_keys(self.seed, Domain.IMPORT, begin, begin + len(records))
                for name in spec.columns:
                    records[name] = block[name]
                bucket = _bucket(records["key"], count)
                order = np.argsort(bucket, kind="stable")
                present, begins = np.unique(bucket[order], return_index=True)
                for number, part in zip(present.tolist(), np.split(records[order], begins)[1:], strict=True):
                    if number in files:
                        files[number].write(part.data)

    def _sorted_buckets(self, first: Rows, buckets: range, start: int, stop: int) -> Iterator[Block]:
        """The rows ``start:stop``, one bucket in memory at a time; its file is removed as soon as it is read."""
        for bucket in buckets:
            path = self.folder / str(bucket)
            records = np.fromfile(path, dtype=self._record)
            path.unlink()
            order = np.argsort(records["key"], kind="stable")  # written in source order, so equal keys keep it
            low, high = max(start - int(first[bucket]), 0), min(stop - int(first[bucket]), len(records))
            for begin, end in spans(high, self.source.spec.step, low):
                rows = records[order[begin:end]]
                yield {name: np.ascontiguousarray(rows[name]) for name in self.source.spec.columns}


def _bucket(keys: npt.NDArray[np.uint64], count: int) -> Rows:
    """Which of ``count`` equal ranges of keys each key is in."""
    return ((keys >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)).astype(np.int64)


def numbered(texts: Iterable[str], classes: Names, label: Callable[[int], str]) -> tuple[Rows, Names]:
    """Labels that are text as int64 (N,), and the names of the classes: ``classes``, or all texts in their order.

    ``label`` says, for sentences, where the label of a row is. Raises DataError at the first text that is not among the
    classes, and where there are more than classes can be.
    """
    first: dict[str, int] = {}  # text -> its number by first occurrence

    def numbers() -> Iterator[int]:
        for row, text in enumerate(texts):
            yield first.setdefault(text, len(first))
            if len(first) > MOST_CLASSES:
                raise DataError(f"{label(row)} is the {len(first):,}th different one: such labels are no classes.")

    number = np.fromiter(numbers(), np.int64)
    names = classes or tuple(sorted(first))
    places = {name: place for place, name in enumerate(names)}
    for text in first:
        if text not in places:
            row = int(np.argmax(number == first[text]))
            raise DataError(f"{label(row)} = {shown(text)!r} is not among the {len(names)} class names.")
    return np.array([places[text] for text in first], np.int64)[number], names


def name_bytes(names: Iterable[str]) -> int:
    """The bytes of the longest of these names; 0 where all are empty."""
    return min(MOST_NAME_BYTES, max((len(_encoded(name)) for name in names), default=0))


def as_names(names: Sequence[str], width: int) -> npt.NDArray[np.uint8]:
    """Names as a column of a dataset, uint8 (B, width): UTF-8, zeros behind."""
    encoded = [_encoded(name)[-width:] for name in names]
    return np.array(encoded, dtype=f"S{width}").view(np.uint8).reshape(len(names), width)


def as_texts(names: npt.NDArray[np.uint8]) -> list[str]:
    """The names (B) in a column of a dataset, as :func:`as_names` makes it."""
    return decoded(np.ascontiguousarray(names).view(f"S{names.shape[1]}"))


def _encoded(name: str) -> bytes:
    """UTF-8; the names of files keep their bytes, whatever they are, and a zero would be taken for the end."""
    return re.sub("[\0\ud800-\udc7f\udd00-\udfff]", "\ufffd", name).encode("utf-8", "surrogateescape")


def tell_scale(raw: Array) -> Scale | None:
    """``unit`` or ``bytes`` by the first value of ``raw`` that tells them apart, None where all are 0 or 1.

    NaN, negative and other wrong values are left to :func:`as_images`.
    """
    with np.errstate(invalid="ignore"):
        telling = raw.ravel()[(raw.ravel() > 0) & (raw.ravel() != 1)]
    if not len(telling):
        return None
    return "bytes" if telling[0] > 1 else "unit"


def as_images(raw: Array, scale: Scale, row: int, where: str) -> npt.NDArray[np.uint8]:
    """``raw`` (B, ...) as uint8, nothing rounded away; ``row`` is the place of ``raw[0]`` in the array ``where``.

    Raises DataError naming the first value that is NaN, infinite, out of range or between two bytes.
    """
    if raw.dtype == np.uint8:
        return raw.astype(np.uint8, copy=False)
    if raw.dtype.kind == "b":
        return raw.astype(np.uint8) * np.uint8(255)
    if raw.dtype.kind in "ui":
        _refuse((raw < 0) | (raw > 255), raw, row, where, lambda v: "is not a byte: pixels are integers from 0 to 255")
        return raw.astype(np.uint8)
    exact = raw.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = exact * 255.0 if scale == "unit" else exact
        nearest = np.rint(scaled)
        tolerance = HALF_TOLERANCE if raw.dtype.itemsize < 4 else PIXEL_TOLERANCE
        near = tolerance if scale == "unit" else 0.0
        good = (np.abs(scaled - nearest) <= near) & (scaled >= -near) & (scaled <= 255.0 + near)
    _refuse(~good, raw, row, where, lambda value: _pixel_fault(value, scale))
    return nearest.astype(np.uint8)


def _pixel_fault(value: float, scale: Scale) -> str:
    if not np.isfinite(value):
        return "is not a pixel value"
    if scale == "unit":
        if 0 <= value <= 1:
            return "is not a multiple of 1/255: save the images as uint8, or as (N, D) float features"
        return "lies outside 0..1, the range of the values before it: one array has one range"
    if 0 <= value <= 255:
        return "is not a whole number, while the values before it are within 0..255: one array has one range"
    return "lies outside 0..255"


def as_features(raw: Array, row: int, where: str) -> npt.NDArray[np.float32]:
    """``raw`` (B, ...) as float32; float64 is rounded to the nearest float32, integers must be exact.

    Raises DataError naming the place of the first value that is NaN, infinite, or too large for float32.
    """
    with np.errstate(over="ignore"):
        values = raw.astype(np.float32)
    if raw.dtype.kind in "ui" and raw.dtype.itemsize > 2:
        wide = (raw > 1 << 24) | ((raw < -(1 << 24)) if raw.dtype.kind == "i" else False)
        _refuse(np.asarray(wide), raw, row, where, lambda v: "exceeds 2**24 and is not exact in float32: scale it down")
    wrong = ~np.isfinite(values)
    _refuse(
        wrong, raw, row, where, lambda v: "exceeds float32" if abs(v) < np.inf else "is not a number: give finite ones"
    )
    return values


def as_labels(
    raw: Array, row: int, where: str, classes: int = 0, first: int = 0
) -> tuple[Rows, npt.NDArray[np.float32] | None]:
    """Labels int64 (B), and soft labels float32 (B, C) where ``raw`` holds distributions in floats.

    ``raw`` has whole numbers (B,) or (B, 1) from ``first`` on, which becomes 0, one-hot rows of integers or booleans
    (B, C), or rows of probabilities (B, C), whose hard label is the first of the largest. ``classes`` is the number of
    class names, or 0. Raises DataError naming the first wrong one.
    """
    if raw.ndim == 2 and raw.shape[1] > 1:
        return _distributions(raw, row, where)
    flat = raw.reshape(len(raw))
    if flat.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(flat) & (np.rint(flat) == flat)
        _refuse(~whole, flat, row, where, lambda v: "is not a whole number: labels are 0, 1, ... C-1")
    if flat.dtype.kind != "b":
        _refuse(flat < 0, flat, row, where, lambda v: "is negative: labels are 0, 1, ... C-1")
        end = first + (classes or MOST_CLASSES)
        known = f"is not among the {classes} classes {first}..{end - 1}: name others with `classes`"
        fault = known if classes else "is too large for a class number"
        _refuse((flat < first) | (flat >= end), flat, row, where, lambda v: fault)
    return flat.astype(np.int64) - first, None


def _distributions(raw: Array, row: int, where: str) -> tuple[Rows, npt.NDArray[np.float32] | None]:
    """Rows that sum to one -> labels and, for floats, the rows themselves."""
    exact = raw.astype(np.float64)
    _refuse(~np.isfinite(exact), raw, row, where, lambda v: "is not a probability")
    _refuse(exact < 0, raw, row, where, lambda v: "is negative: the rows of soft labels are probabilities")
    sums = exact.sum(axis=1)
    hard = raw.dtype.kind in "uib"
    good = (sums == 1.0) if hard else np.abs(sums - 1.0) <= SUM_TOLERANCE
    if not good.all():
        first = int(np.argmin(good))
        kinds = "labels of two dimensions are one-hot rows or probabilities"
        raise DataError(f"{where}[{row + first}] sums to {sums[first]:g}, not to 1: {kinds}.")
    return exact.argmax(axis=1).astype(np.int64), None if hard else raw.astype(np.float32)


def _refuse(bad: npt.NDArray[np.bool_], raw: Array, row: int, where: str, fault: Callable[[float], str]) -> None:
    """Raise DataError for the first True of ``bad`` in row order; nothing where there is none."""
    if not bad.any():
        return
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    value = raw[place]
    spelled = ", ".join(str(int(axis)) for axis in (place[0] + row, *place[1:]))
    raise DataError(f"{where}[{spelled}] = {value} {fault(float(value))}.")


class Counted(Generic[T]):
    """An iterator whose length is known beforehand, for a progress bar to show the share."""

    def __init__(self, items: Iterable[T], length: int) -> None:
        self._items = items
        self._length = length

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __length_hint__(self) -> int:
        return self._length


def spans(rows: int, step: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """``(begin, end)`` of consecutive spans of ``step`` rows from ``start`` to ``rows``."""
    for begin in range(start, rows, step):
        yield begin, min(begin + step, rows)


class RowFile:
    """Rows of one dtype and shape, one after the other behind a header; a gzipped file is read unpacked."""

    def __init__(self, raw: Raw, header: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.raw, self.where = raw, raw.where
        self.header, self.dtype, self.shape = header, dtype, shape
        self.row_bytes = dtype.itemsize * math.prod(shape[1:])

    def rows(self, step: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Array]]:
        """``(row, rows)`` of the rows ``start:stop``, ``step`` at a time.

        Raises DataError where the file ends before them, or goes on after the last of all.
        """
        total, where = self.shape[0], self.where
        stop = total if stop is None else min(stop, total)
        if start >= stop:
            return
        with self.raw.open() as file:
            skipped = self.header + start * self.row_bytes
            while skipped:  # by reading, so that the checksum of an archive covers them
                size = len(file.read(min(skipped, BLOCK_BYTES)))
                if not size:
                    raise DataError(f"{where} ends before row {start}: the file is cut short.")
                skipped -= size
            for begin, end in spans(stop, step, start):
                yield begin, self._next(file, begin, end)
            if stop == total and file.read(1):  # the end compares the checksum, too
                raise DataError(f"{where} goes on after its last row {total - 1}.")

    def _next(self, file: IO[bytes], begin: int, end: int) -> Array:
        """The rows ``begin:end``, at which ``file`` stands."""
        data = file.read((end - begin) * self.row_bytes)
        if len(data) != (end - begin) * self.row_bytes:
            place = begin + len(data) // self.row_bytes
            raise DataError(f"{self.where} ends within row {place} of {self.shape[0]:,}: the file is cut short.")
        rows = np.frombuffer(data, self.dtype).reshape(end - begin, *self.shape[1:])
        return rows.astype(self.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class Held:
    """Rows in memory, to be read as those of a :class:`RowFile`."""

    where: str
    values: Array | Sequence[str]

    def rows(self, step: int, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """``(row, rows)`` of the rows ``start:stop``, ``step`` at a time."""
        for begin, end in spans(stop, step, start):
            yield begin, self.values[begin:end]


class Npy(RowFile):
    """An array in NumPy's format. Raises DataError at anything that is not as it claims.

    ``numpy.load`` reads an array whole, which a file of 50 million images forbids. Here numpy's own parser (which
    evaluates literals only) reads the header, and its claims are compared with the size that the file has. Arrays of
    objects are refused before their data are touched.
    """

    def __init__(self, raw: Raw, key: str) -> None:
        """``key`` is what notes call it; ``raw`` are the bytes that it has, with its header."""
        self.key, where = key, raw.where
        with raw.open() as stream:
            start = io.BytesIO(stream.read(_HEADER_BYTES))
        try:
            version = npy.read_magic(start)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
            with warnings.catch_warnings(action="ignore"):  # headers of Python 2 are read, without talk
                read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, fortran, dtype = read_header(start)
        except _NPY_FAULTS as error:
            raise DataError(f"{where} has no readable .npy header ({brief(error)}).") from error
        if dtype.hasobject:
            raise DataError(f"{where} holds Python objects, which would have to be unpickled: save plain arrays.")
        if dtype.kind not in "biufSU" or dtype.subdtype is not None:
            raise DataError(f"{where} has dtype {shown(str(dtype))}, which is neither numbers nor text.")
        if any(type(extent) is not int or extent < 0 for extent in shape):
            raise DataError(f"{where} claims the shape {shape}, which no array has.")
        claimed = start.tell() + dtype.itemsize * math.prod(shape)
        if claimed != raw.size:
            raise DataError(f"{where} claims {claimed:,} bytes for {dtype} of shape {shape}, but has {raw.size:,}.")
        if not dtype.itemsize or dtype.itemsize * math.prod(extent or 1 for extent in shape) >= 1 << 60:
            # An array of no bytes may claim what it likes, and NumPy cannot make it.
            raise DataError(f"{where} claims the shape {shape} of {dtype}, which no array has.")
        super().__init__(raw, start.tell(), dtype, shape)
        self._fortran = bool(fortran) and len(shape) > 1  # whether it lies in Fortran's order

    def rows(self, step: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Array]]:
        """As :meth:`RowFile.rows`; of an array in Fortran's order, whose rows lie scattered, all are read at once."""
        if not self._fortran:
            yield from super().rows(step, start, stop)
            return
        if self.raw.size > _IN_MEMORY:
            raise DataError(f"{self.where} lies in Fortran's order: save it through numpy.ascontiguousarray.")
        everything = RowFile(self.raw, self.header, self.dtype, (1, math.prod(self.shape)))
        for _, values in everything.rows(1):
            whole = values.reshape(self.shape[::-1]).transpose()
            yield from Held(self.where, whole).rows(step, start, len(whole) if stop is None else min(stop, len(whole)))

    def whole(self, most: int) -> Array:
        """All rows; more than ``most`` bytes are refused."""
        if self.raw.size > most:
            raise DataError(f"{self.where} has {self.raw.size:,} bytes; {most:,} are expected at most.")
        parts = [rows for _, rows in self.rows(max(1, self.shape[0]))]
        return parts[0] if parts else np.empty(self.shape, self.dtype)


class ArraysSource(Source):
    """A source of arrays: ``images`` or ``features``, ``labels``, perhaps ``coarse``, which are checked, and ``names``.

    Readers set ``columns``, and what else is not as usual.
    """

    columns: dict[str, RowFile | Held]
    axes: tuple[int, ...] | None = None  # how rows of points are transposed
    scale: Scale = "bytes"  # of images that are floats
    first_label: int = 0

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        readers = [column.rows(self.spec.step, start, stop) for column in self.columns.values()]
        for parts in zip(*readers, strict=True):
            block: dict[str, Array] = {}
            for (name, column), (row, raw) in zip(self.columns.items(), parts, strict=True):
                block |= self._checked(name, raw, row, column.where)
            del parts, raw  # the memory of a block, before the next one is read
            yield block

    def _checked(self, name: str, raw: Any, row: int, where: str) -> dict[str, Array]:
        """The column ``name`` of a block, and ``soft`` beside labels that are distributions."""
        if name == "labels":
            labels, soft = as_labels(raw, row, where, len(self.spec.classes), self.first_label)
            return {name: labels} if soft is None else {name: labels, "soft": soft}
        if name == "coarse":
            return {name: raw}
        if name == "names":
            return {name: as_names(decoded(raw) if isinstance(raw, np.ndarray) else raw, self.spec.names)}
        points: Array = as_images(raw, self.scale, row, where) if name == "images" else as_features(raw, row, where)
        points = points if self.axes is None else points.transpose(self.axes)
        return {name: np.ascontiguousarray(points).reshape(-1, *self.spec.shape)}


def decoded(rows: Array) -> list[str]:
    """Text of an array of fixed-width bytes or text."""
    texts = rows.ravel().tolist()
    return [text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text) for text in texts]
