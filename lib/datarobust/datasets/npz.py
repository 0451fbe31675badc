"""npz files: one array of points, one of labels, streamed in bounded memory, trusting nothing.

Points of four dimensions are images in NHWC or NCHW order with 1 or 3 channels, of three dimensions grey images
(N, H, W), of two dimensions feature vectors (N, D), whatever their dtype. An optional array ``classes`` of fixed-width
text names the classes.

``numpy.load`` reads an array whole, which a file of 50 million images forbids. Here numpy's own parser (which evaluates
literals only) reads the header of an array, its claims are compared with the sizes that the archive states, and the
rows are read as they are asked for. Arrays of objects are refused before their data are touched.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.lib import format as npy

from datarobust.datasets import sources
from datarobust.datasets.files import DEFLATE_RATIO, NPY_FAULTS, brief, reading
from datarobust.datasets.sources import Block, Layout, Names, Source, Spec
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array

PAIRS = (("image", "label"), ("x", "y"), ("images", "labels"))  # the first of the images of Wang et al. 2023
CHANNELS = (1, 3)

_CLASSES_BYTES = 16 << 20
_DIRECTORY_BYTES = 4 << 20
_TAIL_BYTES = (1 << 16) + 22 + 20 + 56  # of a zip file: a comment, and three records that point at the directory
_BOMB_RATIO = 400
_BOMB_BYTES = 256 << 20
_IN_MEMORY = 1 << 30
_HEADER_BYTES = 16 << 10


def looks_like(path: Path, start: bytes) -> bool:
    """Whether a file is called so, or begins as a zip archive does."""
    return path.suffix == ".npz" or start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


class NpzSource(Source):
    """An npz file as a Source. ``keys`` and ``layout`` override what is recognised, ``classes`` the stored names."""

    def __init__(
        self,
        path: Path,
        *,
        keys: tuple[str, str] | None = None,
        layout: Layout | None = None,
        classes: Names | None = None,
    ) -> None:
        super().__init__(path)
        infos = members(path)
        self._points, self._labels = points, labels = [
            Member(path, key, infos[key]) for key in _pair(path, infos, keys)
        ]
        if points.dtype.kind not in "biuf":
            raise DataError(f"{points.where} holds text, not numbers.")
        self._layout = layout_of(points.shape, points.where, layout)
        self.choices = (points.key, labels.key, self._layout)
        shape = points.shape
        if labels.dtype.kind not in "biuf":
            raise DataError(f"{labels.where} holds text: labels are numbers 0..C-1; names belong into `classes`.")
        if len(labels.shape) not in (1, 2) or labels.shape[1:] == (0,):
            raise DataError(f"{labels.where} has shape {labels.shape}; labels are (N,), or (N, C) one-hot or soft.")
        if labels.shape[0] != shape[0]:
            raise DataError(f"{labels.where} has {labels.shape[0]:,} labels for {shape[0]:,} points.")
        names = classes
        if names is None:
            names = _class_names(Member(path, "classes", infos["classes"])) if "classes" in infos else ()
        columns = labels.shape[1] if labels.shape[1:] not in ((), (1,)) else 0
        if columns and names and len(names) != columns:
            raise DataError(f"{labels.where} has {columns} columns, but there are {len(names)} class names.")
        taken_as, point = {
            "nhwc": ("NHWC images", (shape[-1], *shape[1:-1])),
            "nchw": ("NCHW images", shape[1:]),
            "nhw": ("grey images", (1, *shape[1:])),
            "nd": ("feature vectors", shape[1:]),
        }[self._layout]
        self.spec = Spec(
            name=path.stem,
            rows=shape[0],
            kind="features" if self._layout == "nd" else "images",
            shape=point,
            classes=names,
            soft=columns if labels.dtype.kind == "f" else 0,
            notes=(f"{shown(points.key)} {shape} taken as {taken_as}, labels from {shown(labels.key)}",),
            raw_bytes=points.row_bytes,
        )

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        step, where = self.spec.step, self._points.where
        points = self._points.rows(step, start, stop)
        labels = self._labels.rows(step, start, stop)
        for (row, raw), (_, raw_labels) in zip(points, labels, strict=True):
            hard, soft = sources.as_labels(raw_labels, row, self._labels.where, len(self.spec.classes))
            if self._layout == "nd":
                values: Array = sources.as_features(raw, row, where)
            else:
                values = sources.as_images(raw, self._scale, row, where)
                if self._layout == "nhwc":
                    values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
            block = {self.spec.kind: values.reshape(-1, *self.spec.shape), "labels": hard}
            yield block if soft is None else block | {"soft": soft}

    @cached_property
    def _scale(self) -> sources.Scale:
        """Of float images, by the first value of the file that is neither 0 nor 1; read at most once."""
        if self._points.dtype.kind != "f":
            return "bytes"
        scales = (sources.tell_scale(raw) for _, raw in self._points.rows(self.spec.step))
        return next(filter(None, scales), "unit")


def _class_names(member: Member) -> Names:
    """The names in an array of fixed-width bytes or text (C,)."""
    if len(member.shape) != 1 or member.dtype.kind not in "SU":
        raise DataError(f"{member.where} has dtype {member.dtype} and shape {member.shape}, not one name a class.")
    names = member.whole(_CLASSES_BYTES).tolist()
    try:
        return tuple(name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in names)
    except UnicodeDecodeError as error:
        raise DataError(f"{member.where} holds names that are not UTF-8.") from error


def _pair(path: Path, names: Collection[str], keys: tuple[str, str] | None) -> tuple[str, str]:
    """The names of points and labels among those of the arrays."""
    pairs = [pair for pair in ((keys,) if keys else PAIRS) if set(pair) <= set(names)]
    if len(pairs) == 1:
        return pairs[0]
    listed = ", ".join(shown(name) for name in list(names)[:12]) or "none"
    if pairs:
        raise DataError(f"{shown(path)} holds several data sets ({listed}): choose with `keys` POINTS,LABELS.")
    expected = "; ".join(f"{a}, {b}" for a, b in PAIRS) if keys is None else ", ".join(map(shown, keys))
    raise DataError(f"{shown(path)} has the arrays {listed}; expected: {expected}, or `keys` POINTS,LABELS.")


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


class Member:
    """An array of an npz file. Raises DataError at anything that is not as it claims."""

    def __init__(self, path: Path, key: str, info: zipfile.ZipInfo) -> None:
        self.key = key
        self.where = where = f"{shown(path)}: {shown(key)}"  # what sentences call it
        self._path, self._info = path, info
        self._check_sizes()
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
        self._header, self.bytes = start.tell(), info.file_size
        size = self._header + dtype.itemsize * math.prod(shape)
        if size != self.bytes:
            raise DataError(f"{where} claims {size:,} bytes for {dtype} of shape {shape}, but has {self.bytes:,}.")
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
    with reading(path), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise DataError(f"{shown(path)} is no complete npz file: its zip directory is missing.")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    wide = tail.rfind(b"PK\x06\x06", 0, end)
    if directory == 0xFFFFFFFF and wide >= 0:
        directory = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    if directory > min(size, _DIRECTORY_BYTES):
        raise DataError(f"{shown(path)} claims a zip directory of {directory:,} bytes: it is no npz file.")
    with reading(path), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    named: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if named.setdefault(info.filename, info) is not info:
            raise DataError(f"{shown(path)}: two members are called {shown(info.filename)}.")
    return {name.removesuffix(".npy"): info for name, info in named.items() if name.endswith(".npy")}
