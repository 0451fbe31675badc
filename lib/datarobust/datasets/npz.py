"""NumPy's files as data sets: an npz file with an array of points and one of labels, or a .npy file and one of labels.

Points of four dimensions are images in NHWC or NCHW order with 1 or 3 channels, of three dimensions grey images
(N, H, W), of two dimensions feature vectors (N, D), whatever their dtype. Float images whose values are no bytes become
features, too, which say how they are drawn. Labels are numbers, or text, which is numbered in its order. Of an npz file
an optional array ``classes`` of fixed-width text names the classes, one called ``names`` the points.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np

from datarobust.datasets import files, sources
from datarobust.datasets.files import Raw, raw_file, read_start, reading, zip_entries
from datarobust.datasets.folder import SUFFIXES, is_zip_of_images
from datarobust.datasets.linefiles import check_names, read_classes
from datarobust.datasets.sources import ArraysSource, Held, Layout, Names, Npy, Picture, Spec, decoded, name_bytes
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Rows

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


def looks_like_npy(path: Path, start: bytes) -> bool:
    """Whether a file begins as one array does."""
    return start.startswith(b"\x93NUMPY")


def looks_like(path: Path, start: bytes) -> bool:
    """Whether a file is called so, or begins as a zip archive does."""
    return path.suffix == ".npz" or (start.startswith(files.ZIP_STARTS) and not is_zip_of_images(path, start))


class _NumpySource(ArraysSource):
    """An array of points and one of labels; a reader calls ``_hold`` when it has found them."""

    def _hold(
        self,
        points: Npy,
        labels: Npy | Rows,
        layout: Layout | None,
        classes: Names,
        names: Npy | None = None,
        name: str | None = None,
    ) -> str:
        """Take these arrays, ``labels`` perhaps as numbers (N,). Returns what the axes of the points are."""
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
                if columns:
                    raise DataError(f"{labels.where} has shape {labels.shape}: labels that are text are (N,).")
                where = labels.where
                labels, classes = sources.numbered(_texts(labels), classes, lambda row: f"{where}[{row}]")
        taken_as, point = {
            "nhwc": ("NHWC images", (shape[-1], *shape[1:-1])),
            "nchw": ("NCHW images", shape[1:]),
            "nhw": ("grey images", (1, *shape[1:])),
            "nd": ("feature vectors", shape[1:]),
        }[axes]
        notes = [f"{shown(points.key)} {shape} taken as {taken_as}, labels from {source}"]
        self.scale, drawn = ("bytes", None) if axes == "nd" else _range_of(points)
        if drawn is not None:
            what = f"values from {drawn[0]:g} to {drawn[1]:g} are no bytes"
            notes.append(f"{what}: they become features, with distances in their own units")
        self.axes = (0, 3, 1, 2) if axes == "nhwc" else None
        self.spec = Spec(
            name=name or self._path.stem,
            rows=shape[0],
            kind="features" if axes == "nd" or drawn else "images",
            shape=(math.prod(point),) if drawn else point,
            classes=classes,
            soft=columns if soft else 0,
            notes=tuple(notes),
            raw_bytes=points.row_bytes,
            names=0 if names is None else name_bytes(_texts(names)),
            picture=None if drawn is None else Picture(point, *drawn),
        )
        self.columns = {self.spec.kind: points, "labels": labels if isinstance(labels, Npy) else Held("labels", labels)}
        if names is not None and self.spec.names:
            self.columns["names"] = names
        return axes


class NpzSource(_NumpySource):
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
        points, labels = (member(path, key, infos[key]) for key in pair)
        if classes is None:
            classes = _class_names(member(path, "classes", infos["classes"])) if "classes" in infos else ()
        called = next((member(path, key, infos[key]) for key in NAMES if key in infos and key not in pair), None)
        if called is not None and (called.dtype.kind not in "SU" or called.shape != points.shape[:1]):
            called = None  # of something else
        axes = self._hold(points, labels, layout, classes, called, f"{path.stem}{part}")
        self.choices = (points.key, labels.key, axes)


class NpySource(_NumpySource):
    """A .npy file of points with a file of labels, ``table``: another .npy file, or text with a label a line."""

    def __init__(
        self, path: Path, *, table: Path | None = None, layout: Layout | None = None, classes: Names | None = None
    ) -> None:
        if table is None:
            raise UsageError(f"{shown(path)} has no labels: give them with `labels` FILE, a .npy file or one a line.")
        for file in (table, path):
            read_start(file)
        root = path.parent.resolve()
        super().__init__(path, [path.name, os.path.relpath(table.resolve(), root)], root)
        points = Npy(raw_file(path), path.name)
        labels: Npy | Rows
        if table.suffix == ".npy":
            labels, names = Npy(raw_file(table), table.name), classes or ()
        else:
            labels, names = read_classes(table, points.shape[0] if points.shape else 0, classes)
        self.choices = (self._hold(points, labels, layout, names),)


def _class_names(member: Npy) -> Names:
    """The names in an array of fixed-width bytes or text (C,)."""
    if len(member.shape) != 1 or member.dtype.kind not in "SU":
        raise DataError(f"{member.where} has dtype {member.dtype} and shape {member.shape}, not one name a class.")
    if member.raw.size > _CLASSES_BYTES:
        raise DataError(f"{member.where} has {member.raw.size:,} bytes, more than names of classes take.")
    names = tuple(_texts(member))
    check_names(names, member.where)
    return names


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


def _texts(array: Npy) -> Iterator[str]:
    """The entries of an array of text, read some at a time."""
    for _, rows in array.rows(_TEXTS_AT_ONCE):
        yield from decoded(rows)


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


def member(path: Path, key: str, info: zipfile.ZipInfo) -> Npy:
    """An array of an npz file. Raises DataError where its sizes cannot be true, before a byte is read."""
    where, packed, size = f"{shown(path)}: {shown(key)}", info.compress_size, info.file_size
    stored, file_size = info.compress_type == zipfile.ZIP_STORED, path.stat().st_size
    if info.flag_bits & 1:
        raise DataError(f"{where} is encrypted.")
    if not stored and info.compress_type != zipfile.ZIP_DEFLATED:
        raise DataError(f"{where} is compressed, but not by deflate: save it with numpy.savez_compressed.")
    if info.header_offset < 0 or info.header_offset + packed > file_size:
        raise DataError(f"{where} claims {packed:,} bytes of a file that has {file_size:,}: it is cut short.")
    if size > packed * (1 if stored else files.DEFLATE_RATIO):
        raise DataError(f"{where} claims {size:,} bytes, which {packed:,} cannot hold.")
    if size > _BOMB_BYTES and size > packed * _BOMB_RATIO:
        growth = f"{size // packed}-fold to {size:,} bytes"
        raise DataError(f"{where} would grow {growth}, as no data do; if these do, save them with numpy.savez.")

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with reading(where), zipfile.ZipFile(path) as archive, archive.open(info) as stream:
            yield cast(BinaryIO, stream)

    return Npy(Raw(where, size, opened), key)


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an npz file by name. Refuses what is no zip file, or would fill the memory with its directory."""
    entries = zip_entries(path, _DIRECTORY_BYTES, "npz")
    arrays = {name.removesuffix(".npy"): info for name, info in entries.items() if name.endswith(".npy")}
    if not arrays and (image := next((name for name in entries if name.lower().endswith(SUFFIXES)), None)):
        raise DataError(f"{shown(path)} holds images ({shown(image)}), not arrays: call it .zip.")
    return arrays
