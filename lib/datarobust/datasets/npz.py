"""NumPy's files as data sets: an npz file with an array of points and one of labels, or a .npy file and one of labels.

Points of four dimensions are images in NHWC or NCHW order with 1 or 3 channels, of three dimensions grey images
(N, H, W), of two dimensions feature vectors (N, D), whatever their dtype. Float images whose values are no bytes become
features, too, which say how they are drawn. Labels are numbers, or text, which is numbered in its order. Of an npz file
an optional array ``classes`` of fixed-width text names the classes, one called ``names`` the points.

``numpy.load`` reads an array whole, which a file of 50 million images forbids. Here numpy's own parser (which evaluates
literals only) reads the header of an array, its claims are compared with the size that the file has, and the rows are
read as they are asked for. Arrays of objects are refused before their data are touched.
"""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.lib import format as npy

from datarobust.datasets import sources
from datarobust.datasets.files import DEFLATE_RATIO, NPY_FAULTS, ZIP_STARTS, brief, read_start, reading, zip_entries
from datarobust.datasets.folder import SUFFIXES, is_zip_of_images
from datarobust.datasets.linefiles import read_classes
from datarobust.datasets.sources import Block, Layout, Names, Picture, Source, Spec, name_bytes
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Array, Rows

PAIRS = (("image", "label"), ("x", "y"), ("images", "labels"), ("X", "y"))  # the first as Wang et al. 2023 have them
SPLITS = {  # as MedMNIST, Keras and scikit-learn's examples call theirs
    split: ((f"{split}_images", f"{split}_labels"), (f"x_{split}", f"y_{split}"), (f"X_{split}", f"y_{split}"))
    for split in ("train", "val", "test")
}
NAMES = ("names", "filenames", "files")  # of the points
CHANNELS = (1, 3)

_TEXTS_AT_ONCE = 1 << 16
_CLASSES_BYTES = 16 << 20
_DIRECTORY_BYTES = 4 << 20
_BOMB_RATIO = 400
_BOMB_BYTES = 256 << 20
_IN_MEMORY = 1 << 30
_HEADER_BYTES = 16 << 10


def looks_like_npy(path: Path, start: bytes) -> bool:
    """Whether a file begins as one array does."""
    return start.startswith(b"\x93NUMPY")


def looks_like(path: Path, start: bytes) -> bool:
    """Whether a file is called so, or begins as a zip archive does."""
    return path.suffix == ".npz" or (start.startswith(ZIP_STARTS) and not is_zip_of_images(path, start))


class _ArraySource(Source):
    """An array of points and one of labels; a reader calls ``_hold`` when it has found them."""

    def _hold(
        self,
        points: Npy,
        labels: Npy | Rows,
        layout: Layout | None,
        classes: Names,
        names: Npy | None = None,
        name: str | None = None,
    ) -> None:
        """Take these arrays; ``labels`` are those of a file, or numbers (N,). ``names`` are those of the points."""
        if points.dtype.kind not in "biuf":
            raise DataError(f"{points.where} holds text, not numbers.")
        axes = layout_of(points.shape, points.where, layout)
        shape, columns, soft, source = points.shape, 0, False, "a file"
        if isinstance(labels, Npy):
            source = shown(labels.key)
            if len(labels.shape) not in (1, 2) or labels.shape[1:] == (0,):
                raise DataError(f"{labels.where} has shape {labels.shape}; labels are (N,), or (N, C) one-hot or soft.")
            if labels.shape[0] != shape[0]:
                raise DataError(f"{labels.where} has {labels.shape[0]:,} labels for {shape[0]:,} points.")
            columns = labels.shape[1] if labels.shape[1:] not in ((), (1,)) else 0
            soft = columns > 0 and labels.dtype.kind == "f"
            if columns and classes and len(classes) != columns:
                raise DataError(f"{labels.where} has {columns} columns, but there are {len(classes)} class names.")
            if labels.dtype.kind in "SU":
                labels, classes = _numbered(labels, classes)
        self._points, self._labels, self._layout, self._called = points, labels, axes, names
        taken_as, point = {
            "nhwc": ("NHWC images", (shape[-1], *shape[1:-1])),
            "nchw": ("NCHW images", shape[1:]),
            "nhw": ("grey images", (1, *shape[1:])),
            "nd": ("feature vectors", shape[1:]),
        }[axes]
        notes = [f"{shown(points.key)} {shape} taken as {taken_as}, labels from {source}"]
        self._scale, drawn = ("bytes", None) if axes == "nd" else _range_of(points)
        if drawn is not None:
            what = f"values from {drawn[0]:g} to {drawn[1]:g} are no bytes"
            notes.append(f"{what}: they become features, with distances in their own units")
        self.spec = Spec(
            name=name or self._path.stem,
            rows=shape[0],
            kind="features" if axes == "nd" or drawn else "images",
            shape=(math.prod(point),) if drawn else point,
            classes=classes,
            soft=columns if soft else 0,
            notes=tuple(notes),
            raw_bytes=points.row_bytes,
            names=0 if names is None else name_bytes(text for texts in _texts(names) for text in texts),
            picture=None if drawn is None else Picture(point, *drawn),
        )

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        step, where = self.spec.step, self._points.where
        names = self._called.rows(step, start, stop) if self._called is not None and self.spec.names else None
        points = self._points.rows(step, start, stop)
        for (row, raw), block in zip(points, self._label_parts(step, start, stop), strict=True):
            if names is not None:
                block["names"] = sources.as_names(_decoded(next(names)[1]), self.spec.names)
            if self.spec.kind == "images":
                raw = sources.as_images(raw, self._scale, row, where)
            else:
                raw = sources.as_features(raw, row, where)
            if self._layout == "nhwc":
                raw = raw.transpose(0, 3, 1, 2)
            block[self.spec.kind] = np.ascontiguousarray(raw).reshape(-1, *self.spec.shape)
            yield block

    def _label_parts(self, step: int, start: int, stop: int) -> Iterator[dict[str, Array]]:
        """The labels of these rows, and label vectors where there are some."""
        if not isinstance(self._labels, Npy):
            for begin, end in sources.spans(stop, step, start):
                yield {"labels": self._labels[begin:end]}
            return
        for row, raw in self._labels.rows(step, start, stop):
            labels, soft = sources.as_labels(raw, row, self._labels.where, len(self.spec.classes))
            yield {"labels": labels} if soft is None else {"labels": labels, "soft": soft}


class NpzSource(_ArraySource):
    """An npz file as a Source. ``keys`` and ``layout`` override what is recognised, ``classes`` the stored names.

    ``split`` chooses where a file has arrays for several: train if not given.
    """

    def __init__(
        self,
        path: Path,
        *,
        keys: tuple[str, str] | None = None,
        split: str | None = None,
        layout: Layout | None = None,
        classes: Names | None = None,
    ) -> None:
        super().__init__(path)
        infos = members(path)
        pair, part = _pair(path, infos, keys, split)
        points, labels = (Member(path, key, infos[key]) for key in pair)
        if classes is None:
            classes = _class_names(Member(path, "classes", infos["classes"])) if "classes" in infos else ()
        called = next((Member(path, key, infos[key]) for key in NAMES if key in infos and key not in pair), None)
        if called is not None and (called.dtype.kind not in "SU" or called.shape != points.shape[:1]):
            called = None  # of something else
        self._hold(points, labels, layout, classes, called, f"{path.stem}{part}")
        self.choices = (points.key, labels.key, self._layout)


class NpySource(_ArraySource):
    """A .npy file of points with a file of labels, ``table``: another .npy file, or text with a label a line."""

    def __init__(
        self, path: Path, *, table: Path | None = None, layout: Layout | None = None, classes: Names | None = None
    ) -> None:
        if table is None:
            raise UsageError(f"{shown(path)} has no labels: give them with `labels` FILE, a .npy file or one a line.")
        read_start(table)
        root = path.parent.resolve()
        super().__init__(path, [path.name, os.path.relpath(table.resolve(), root)], root)
        points = NpyFile(path)
        if table.suffix == ".npy":
            self._hold(points, NpyFile(table), layout, classes or ())
        else:
            labels, names = read_classes(table, points.shape[0] if points.shape else 0, classes)
            self._hold(points, labels, layout, names)
        self.choices = (self._layout,)


def _class_names(member: Npy) -> Names:
    """The names in an array of fixed-width bytes or text (C,)."""
    if len(member.shape) != 1 or member.dtype.kind not in "SU":
        raise DataError(f"{member.where} has dtype {member.dtype} and shape {member.shape}, not one name a class.")
    names = member.whole(_CLASSES_BYTES).tolist()
    try:
        return tuple(name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in names)
    except UnicodeDecodeError as error:
        raise DataError(f"{member.where} holds names that are not UTF-8.") from error


def _pair(
    path: Path, names: Collection[str], keys: tuple[str, str] | None, split: str | None
) -> tuple[tuple[str, str], str]:
    """The names of points and labels among those of the arrays, and what they add to the name of the set."""
    if keys and split:
        raise UsageError("`keys` names the arrays of one split: leave out `split`.")
    part = split or "train"
    if part not in SPLITS:
        raise UsageError(f"{shown(path)}: `split` of an npz file is {', '.join(SPLITS)}, not {shown(part)}.")
    known = {} if split else dict.fromkeys(PAIRS, "")
    known |= dict.fromkeys(SPLITS[part], f"-{part}")
    known = {keys: ""} if keys else known
    pairs = [pair for pair in known if set(pair) <= set(names)]
    if len(pairs) == 1:
        return pairs[0], known[pairs[0]]
    listed = ", ".join(shown(name) for name in list(names)[:12]) or "none"
    if pairs:
        raise DataError(f"{shown(path)} holds several data sets ({listed}): choose with `keys` POINTS,LABELS.")
    others = [part for part, pairs in SPLITS.items() if any(set(pair) <= set(names) for pair in pairs)]
    if others and not keys:
        raise DataError(f"{shown(path)} has no arrays of the split {part}, but of {', '.join(others)}.")
    expected = "; ".join(f"{a}, {b}" for a, b in known) if keys is None else ", ".join(map(shown, keys))
    raise DataError(f"{shown(path)} has the arrays {listed}; expected: {expected}, or `keys` POINTS,LABELS.")


def _texts(array: Npy) -> Iterator[list[str]]:
    """The rows of an array of text, some at a time."""
    for _, rows in array.rows(_TEXTS_AT_ONCE):
        yield _decoded(rows)


def _decoded(rows: Array) -> list[str]:
    """Text of an array of fixed-width bytes or text."""
    texts = rows.ravel().tolist()
    return [text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text) for text in texts]


def _numbered(labels: Npy, classes: Names) -> tuple[Rows, Names]:
    """Labels that are text as numbers, and the names of the classes: ``classes``, or all in their order."""
    if labels.shape[1:] not in ((), (1,)):
        raise DataError(f"{labels.where} has shape {labels.shape}: labels that are text are (N,).")
    return sources.numbered(chain.from_iterable(_texts(labels)), classes, labels.where)


def _range_of(points: Npy) -> tuple[sources.Scale, tuple[float, float] | None]:
    """How images become bytes; for floats that are none instead the values that are drawn black and white.

    The first values that are neither 0 nor 1 decide: where they are bytes, all must be, and the import names the first
    that is not. Where they are not, the array must have one range: within [0, 1], within 0..255, or with fractions
    below 0, as normalised images have. Raises DataError where that cannot be told.
    """
    if points.dtype.kind != "f":
        return "bytes", None
    step = max(1, sources.BLOCK_BYTES // points.row_bytes)
    scale: sources.Scale = "unit"
    for row, block in points.rows(step):
        known = sources.tell_scale(block)
        scale = known or scale
        if known or (block < 0).any() or not np.isfinite(block).all():
            try:
                sources.as_images(block, scale, row, points.where)
            except DataError as error:
                return scale, _drawn(points, step, error)
        if known:
            break
    return scale, None


def _drawn(points: Npy, step: int, fault: DataError) -> tuple[float, float]:
    """The range of float images that are no bytes, or ``fault`` where they may be damaged or of several ranges."""
    low, high, fractions, dark = math.inf, -math.inf, False, -1
    for row, block in points.rows(step):
        values = sources.as_features(block, row, points.where).reshape(len(block), -1)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        broken = (np.rint(values) != values).any(axis=1)
        fractions = fractions or bool(broken.any())
        unit = broken & (values.max(axis=1) <= 1)
        if dark < 0 and unit.any():
            dark = row + int(np.argmax(unit))
    if low >= 0 and high > 255:
        way = "images reach 1 or 255; give others as (N, D) float features"
        raise DataError(f"{points.where} has values up to {high:g}: {way}.")
    if not fractions:
        raise fault
    if low >= 0 and high > 1 and dark >= 0:
        reason = f"has values within 0..1, but others reach {high:g}: one array has one range"
        raise DataError(f"{points.where}[{dark}] {reason}.")
    if low >= 0:
        return 0.0, 1.0 if high <= 1 else 255.0
    return low, high


def layout_of(shape: tuple[int, ...], where: str, layout: Layout | None) -> Literal["nhwc", "nchw", "nhw", "nd"]:
    """The axes of an array of points. Raises DataError where it is none, or where channels could be first or last."""
    if len(shape) not in (2, 3, 4) or 0 in shape[1:]:
        raise DataError(f"{where} has shape {shape}; points are (N, H, W, C), (N, C, H, W), (N, H, W) or (N, D).")
    if len(shape) < 4:
        if layout:
            raise DataError(f"{where} has shape {shape}: `layout` {layout} needs four dimensions.")
        return "nd" if len(shape) == 2 else "nhw"
    last, first = shape[3] in CHANNELS, shape[1] in CHANNELS
    if layout:
        if not (last if layout == "nhwc" else first):
            raise DataError(f"{where} has shape {shape}, in which {layout} does not have 1 or 3 channels.")
        return layout
    if last and first:
        raise DataError(f"{where} has shape {shape}, NHWC or NCHW: say `layout` nhwc or `layout` nchw.")
    if not last and not first:
        raise DataError(f"{where} has shape {shape}: images have 1 or 3 channels, first or last.")
    return "nhwc" if last else "nchw"


class Npy:
    """An array in NumPy's format. Raises DataError at anything that is not as it claims."""

    def __init__(self, key: str, where: str, size: int) -> None:
        """``key`` and ``where`` are what sentences call it; ``size`` are the bytes that it has, with its header."""
        self.key, self.where = key, where
        with self._open() as stream:
            start = io.BytesIO(stream.read(_HEADER_BYTES))
        try:
            version = npy.read_magic(start)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
            with warnings.catch_warnings(action="ignore"):  # headers of Python 2 are read, without talk
                read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, fortran, dtype = read_header(start)
        except NPY_FAULTS as error:
            raise DataError(f"{where} has no readable .npy header ({brief(error)}).") from error
        if dtype.hasobject:
            raise DataError(f"{where} holds Python objects, which would have to be unpickled: save plain arrays.")
        if dtype.kind not in "biufSU" or dtype.subdtype is not None:
            raise DataError(f"{where} has dtype {shown(str(dtype))}, which is neither numbers nor text.")
        if any(type(extent) is not int or extent < 0 for extent in shape):
            raise DataError(f"{where} claims the shape {shape}, which no array has.")
        self._header, self.bytes = start.tell(), size
        claimed = self._header + dtype.itemsize * math.prod(shape)
        if claimed != self.bytes:
            raise DataError(f"{where} claims {claimed:,} bytes for {dtype} of shape {shape}, but has {self.bytes:,}.")
        if not dtype.itemsize or dtype.itemsize * math.prod(extent or 1 for extent in shape) >= 1 << 60:
            # An array of no bytes may claim what it likes, and NumPy cannot make it.
            raise DataError(f"{where} claims the shape {shape} of {dtype}, which no array has.")
        self.dtype: np.dtype[np.generic] = dtype
        self.shape: tuple[int, ...] = shape
        self.row_bytes = dtype.itemsize * math.prod(shape[1:])
        self._fortran = bool(fortran) and len(shape) > 1  # whether it lies in Fortran's order

    def rows(self, step: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Array]]:
        """``(row, rows)`` of the rows ``start:stop``, ``step`` at a time; the end compares the archive's checksum."""
        total, where = self.shape[0], self.where
        stop = total if stop is None else min(stop, total)
        if start >= stop:
            return
        native = self.dtype.newbyteorder("=")
        with self._open() as stream:
            if self._fortran:  # rows lie scattered: all are read at once
                if self.bytes > _IN_MEMORY:
                    raise DataError(f"{where} lies in Fortran's order: save it through numpy.ascontiguousarray.")
                data = stream.read(self.bytes + 1)  # the end compares the checksum
                if len(data) != self.bytes:
                    raise DataError(f"{where} has {len(data):,} bytes: the file is cut short, or goes on.")
                flat = np.frombuffer(data, self.dtype, offset=self._header).astype(native, copy=False)
                whole = flat.reshape(self.shape[::-1]).transpose()
                for begin, end in sources.spans(stop, step, start):
                    yield begin, whole[begin:end]
                return
            skipped = self._header + start * self.row_bytes
            while skipped:  # by reading, so that the checksum covers them
                data = stream.read(min(skipped, 4 << 20))
                if not data:
                    raise DataError(f"{where} ends before row {start}: the file is cut short.")
                skipped -= len(data)
            parts = sources.read_rows(stream, self.row_bytes, (start, stop, step), total, where)
            for (row, end), data in zip(sources.spans(stop, step, start), parts, strict=True):
                rows = np.frombuffer(data, dtype=self.dtype).reshape(end - row, *self.shape[1:])
                yield row, rows.astype(native, copy=False)

    def whole(self, most: int) -> Array:
        """All rows; more than ``most`` bytes are refused."""
        if self.bytes > most:
            raise DataError(f"{self.where} has {self.bytes:,} bytes; {most:,} are expected at most.")
        parts = [rows for _, rows in self.rows(max(1, self.shape[0]))]
        return parts[0] if parts else np.empty(self.shape, self.dtype)

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        """A new stream at its start."""
        raise NotImplementedError


class NpyFile(Npy):
    """A .npy file."""

    def __init__(self, path: Path) -> None:
        read_start(path)
        self._path = path
        super().__init__(path.name, shown(path), path.stat().st_size)

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with reading(self._path), self._path.open("rb") as file:
            yield file


class Member(Npy):
    """An array of an npz file."""

    def __init__(self, path: Path, key: str, info: zipfile.ZipInfo) -> None:
        self.where = f"{shown(path)}: {shown(key)}"
        self._path, self._info = path, info
        self._check_sizes()
        super().__init__(key, self.where, info.file_size)

    def _check_sizes(self) -> None:
        """Refuse sizes that cannot be true before a byte is read."""
        info, where, file_size = self._info, self.where, self._path.stat().st_size
        packed, size = info.compress_size, info.file_size
        if info.flag_bits & 1:
            raise DataError(f"{where} is encrypted.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{where} is compressed, but not by deflate: save it with numpy.savez_compressed.")
        if info.header_offset < 0 or info.header_offset + packed > file_size:
            raise DataError(f"{where} claims {packed:,} bytes of a file that has {file_size:,}: it is cut short.")
        if size > packed * (1 if info.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO):
            raise DataError(f"{where} claims {size:,} bytes, which {packed:,} cannot hold.")
        if size > _BOMB_BYTES and size > packed * _BOMB_RATIO:
            growth = f"{size // packed}-fold to {size:,} bytes"
            raise DataError(f"{where} would grow {growth}, as no data do; if these do, save them with numpy.savez.")

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with reading(self.where), zipfile.ZipFile(self._path) as archive, archive.open(self._info) as stream:
            yield stream


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an npz file by name. Refuses what is no zip file, or would fill the memory with its directory."""
    entries = zip_entries(path, _DIRECTORY_BYTES, "npz")
    arrays = {name.removesuffix(".npy"): info for name, info in entries.items() if name.endswith(".npy")}
    if not arrays and (image := next((name for name in entries if name.lower().endswith(SUFFIXES)), None)):
        raise DataError(f"{shown(path)} holds images ({shown(image)}), not arrays: call it .zip.")
    return arrays
