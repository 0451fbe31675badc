"""npz files: one array of points, one of labels, streamed.

Recognised pairs of keys are ``image, label`` (the generated images of Wang et al. 2023, "Better Diffusion Models
Further Improve Adversarial Training"), ``x, y`` and ``images, labels``. Points of four dimensions are images in NHWC or
NCHW order with 1 or 3 channels, of three dimensions grey images (N, H, W), of two dimensions feature vectors (N, D),
whatever their dtype. An optional array ``classes`` of fixed-width text names the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from datarobust.datasets import checks
from datarobust.datasets.npzfile import Archive, text_values
from datarobust.datasets.sources import Block, Spec, file_sha256, never
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array

Layout = Literal["nhwc", "nchw"]
PAIRS = (("image", "label"), ("x", "y"), ("images", "labels"))
CHANNELS = (1, 3)

_CLASSES_BYTES = 16 << 20


class NpzSource:
    """An npz file as a Source. ``keys`` and ``layout`` override what is recognised, ``classes`` the stored names.

    Raises DataError at construction when the headers alone show that this is no data set.
    """

    def __init__(
        self,
        path: Path,
        *,
        keys: tuple[str, str] | None = None,
        layout: Layout | None = None,
        classes: tuple[str, ...] | None = None,
        name: str | None = None,
    ) -> None:
        self._path = path
        self._identity = _identity(path)
        self._archive = Archive(path)
        points, labels = _pair(self._archive, keys)
        self._points = self._archive.member(points)
        self._labels = self._archive.member(labels)
        self._layout = self._find_layout(layout)
        self._check_labels()
        names = self._names() if classes is None else classes
        soft = self._labels.shape[1] if self._two_dimensional_labels() else 0
        if soft and names and len(names) != soft:
            raise DataError(f"{self._where(labels)} has {soft} columns, but there are {len(names)} class names.")
        self.spec = Spec(
            name=name or path.stem,
            rows=self._points.shape[0],
            kind="features" if self._layout == "nd" else "images",
            shape=self._shape(),
            classes=names,
            soft=soft if self._labels.dtype.kind == "f" else 0,
            notes=(self._note(points, labels),),
            raw_bytes=self._points.row_bytes,
        )

    def identity(self) -> str:
        """Place, size and time of change of the file, and how it is read."""
        return f"{self._identity}:{self._points.key!a}:{self._labels.key!a}:{self._layout}"

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the file, as ``sha256sum`` prints it."""
        return file_sha256(self._path, stopped)

    def unchanged(self) -> None:
        """Raise DataError where the file's size or time of change is another."""
        if _identity(self._path) != self._identity:
            raise DataError(f"{shown(self._path)} changed while it was read.")

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop``, checked, images as (B, C, H, W)."""
        step = self.spec.step
        points = self._archive.rows(self._points, step, start, stop)
        labels = self._archive.rows(self._labels, step, start, stop)
        classes = len(self.spec.classes)
        for (row, raw), (_, raw_labels) in zip(points, labels, strict=True):
            hard, soft = checks.as_labels(raw_labels, row, self._where(self._labels.key), classes)
            index = np.arange(row, row + len(hard), dtype=np.int64)
            yield Block(self._checked(raw, row), hard, index, soft)

    def _checked(self, raw: Array, row: int) -> Array:
        where = self._where(self._points.key)
        if self._layout == "nd":
            return checks.as_features(raw, row, where)
        images = checks.as_images(raw, self._scale, row, where)
        if self._layout == "nhwc":
            return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return images if self._layout == "nchw" else images[:, None]

    @cached_property
    def _scale(self) -> checks.Scale:
        """Of float images, by the first value of the file that is neither 0 nor 1; read at most once."""
        if self._points.dtype.kind != "f":
            return "bytes"
        for _, raw in self._archive.rows(self._points, self.spec.step):
            scale = checks.tell_scale(raw)
            if scale is not None:
                return scale
        return "unit"

    def _find_layout(self, wanted: Layout | None) -> Literal["nhwc", "nchw", "nhw", "nd"]:
        shape, where = self._points.shape, self._where(self._points.key)
        if self._points.dtype.kind not in "biuf":
            raise DataError(f"{where} holds text, not numbers.")
        if len(shape) not in (2, 3, 4) or 0 in shape[1:]:
            raise DataError(f"{where} has shape {shape}; points are (N, H, W, C), (N, C, H, W), (N, H, W) or (N, D).")
        if len(shape) < 4:
            if wanted:
                raise DataError(f"{where} has shape {shape}: `layout` {wanted} needs four dimensions.")
            return "nd" if len(shape) == 2 else "nhw"
        last, first = shape[3] in CHANNELS, shape[1] in CHANNELS
        if wanted:
            if not (last if wanted == "nhwc" else first):
                raise DataError(f"{where} has shape {shape}, in which {wanted} does not have 1 or 3 channels.")
            return wanted
        if last and first:
            raise DataError(f"{where} has shape {shape}, NHWC or NCHW: say `layout` nhwc or `layout` nchw.")
        if not last and not first:
            raise DataError(f"{where} has shape {shape}: images have 1 or 3 channels, first or last.")
        return "nhwc" if last else "nchw"

    def _shape(self) -> tuple[int, ...]:
        shape = self._points.shape
        match self._layout:
            case "nhwc":
                return (shape[3], shape[1], shape[2])
            case "nchw" | "nd":
                return shape[1:]
            case "nhw":
                return (1, *shape[1:])

    def _two_dimensional_labels(self) -> bool:
        return len(self._labels.shape) == 2 and self._labels.shape[1] > 1

    def _check_labels(self) -> None:
        labels, where = self._labels, self._where(self._labels.key)
        if labels.dtype.kind not in "biuf":
            raise DataError(f"{where} holds text: labels are numbers 0..C-1, and class names belong into `classes`.")
        if len(labels.shape) not in (1, 2) or (len(labels.shape) == 2 and not labels.shape[1]):
            raise DataError(f"{where} has shape {labels.shape}; labels are (N,), or (N, C) one-hot or soft.")
        if labels.shape[0] != self._points.shape[0]:
            raise DataError(f"{where} has {labels.shape[0]:,} labels for {self._points.shape[0]:,} points.")

    def _names(self) -> tuple[str, ...]:
        if "classes" not in self._archive.keys:
            return ()
        member = self._archive.member("classes")
        return text_values(self._archive.whole(member, _CLASSES_BYTES), self._where("classes"))

    def _note(self, points: str, labels: str) -> str:
        layout = {"nhwc": "NHWC images", "nchw": "NCHW images", "nhw": "grey images", "nd": "feature vectors"}
        return f"{shown(points)} {self._points.shape} taken as {layout[self._layout]}, labels from {shown(labels)}"

    def _where(self, key: str) -> str:
        return f"{shown(self._path)}: {shown(key)}"


def _pair(archive: Archive, wanted: tuple[str, str] | None) -> tuple[str, str]:
    """The keys of points and labels."""
    keys = archive.keys
    found = [pair for pair in (PAIRS if wanted is None else (wanted,)) if pair[0] in keys and pair[1] in keys]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(shown(key) for key in keys[:12]) or "none"
    if found:
        raise DataError(f"{shown(archive.path)} holds several data sets ({listed}): choose with `keys` POINTS,LABELS.")
    expected = "; ".join(f"{a}, {b}" for a, b in PAIRS) if wanted is None else ", ".join(map(shown, wanted))
    raise DataError(
        f"{shown(archive.path)} has the arrays {listed}; expected: {expected} (others with `keys` POINTS,LABELS)."
    )


def _identity(path: Path) -> str:
    state = path.stat()
    return f"{str(path.resolve())!a}:{state.st_size}:{state.st_mtime_ns}"
