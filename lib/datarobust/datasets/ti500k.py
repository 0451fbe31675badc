"""TI500K: the 500,000 images that Carmon et al. 2019 ("Unlabeled Data Improves Adversarial Robustness") added.

A pickle of a dict with ``data`` uint8 (N, 32, 32, 3) and ``extrapolated_targets`` (N), the classes of CIFAR-10 that a
classifier predicted. Its one array of 1.5 GB is read in place. Files of other images in the same form are read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from datarobust.datasets import checks, pickles
from datarobust.datasets.pickledarrays import array_of
from datarobust.datasets.sources import Block, Spec, file_sha256, never, raw_file, state_of
from datarobust.errors import DataError
from datarobust.text import shown

POINTS = "data"
LABELS = "extrapolated_targets"

MOST_ROW_BYTES = 1 << 24
"""Of one image."""

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Of CIFAR-10, which the file does not name."""


class Ti500kSource:
    """The pickle as a Source. ``classes`` override the names of CIFAR-10's classes.

    Raises DataError at construction when the pickle is not plain data, or its arrays are not images and labels.
    """

    def __init__(self, path: Path, *, classes: tuple[str, ...] | None = None, name: str | None = None) -> None:
        self._path = path
        self._identity = state_of(path)
        held = pickles.mapping(raw_file(path))
        if POINTS not in held or LABELS not in held:
            listed = ", ".join(shown(key) for key in list(held)[:12]) or "none"
            raise DataError(
                f"{shown(path)} has the keys {listed}; expected: {POINTS}, {LABELS} (a file of CIFAR is read with its "
                "whole folder)."
            )
        self._points = array_of(held[POINTS], f"{shown(path)}: {POINTS}")
        self._labels = array_of(held[LABELS], f"{shown(path)}: {LABELS}")
        shape, dtype = self._points.shape, self._points.dtype
        if len(shape) != 4 or shape[3] != 3 or 0 in shape[1:] or dtype != np.uint8:
            raise DataError(f"{shown(path)}: {POINTS} are {dtype} of shape {shape}; uint8 (N, H, W, 3) are expected.")
        if self._points.row_bytes > MOST_ROW_BYTES:
            raise DataError(f"{shown(path)}: {POINTS} have shape {shape}, which no set of images has.")
        if self._labels.shape != shape[:1] or self._labels.dtype.kind not in "iu":
            raise DataError(
                f"{shown(path)}: {LABELS} are {self._labels.dtype} of shape {self._labels.shape}; one integer for each "
                f"of {shape[0]:,} images is expected."
            )
        aside = [shown(key) for key in held if key not in (POINTS, LABELS)]
        self.spec = Spec(
            name=name or path.stem,
            rows=shape[0],
            kind="images",
            shape=(3, *shape[1:3]),
            classes=CLASSES if classes is None else classes,
            notes=(
                f"{shape[0]:,} images with predicted labels, as TI500K has them",
                *([f"left aside: {', '.join(aside[:12])}"] if aside else []),
            ),
        )

    def identity(self) -> str:
        """Place, size and time of change of the file."""
        return self._identity

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the file, as ``sha256sum`` prints it."""
        return file_sha256(self._path, stopped)

    def unchanged(self) -> None:
        """Raise DataError where the file's size or time of change is another."""
        if state_of(self._path) != self._identity:
            raise DataError(f"{shown(self._path)} changed while it was read.")

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop``, images as (B, 3, H, W)."""
        step, where = self.spec.step, f"{shown(self._path)}: {LABELS}"
        row = start
        points = self._points.blocks(step, start, stop)
        for images, raw in zip(points, self._labels.blocks(step, start, stop), strict=True):
            labels, _ = checks.as_labels(raw, row, where, len(self.spec.classes))
            index = np.arange(row, row + len(labels), dtype=np.int64)
            yield Block(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels, index)
            row += len(labels)
