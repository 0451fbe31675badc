"""TI500K: the 500,000 images that Carmon et al. 2019 ("Unlabeled Data Improves Adversarial Robustness") added.

A pickle of a dict with ``data`` uint8 (N, 32, 32, 3) and ``extrapolated_targets`` (N), the classes of CIFAR-10 that a
classifier predicted. It is held in memory, all 1.5 GB. Files of other images in the same form are read as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datarobust.datasets import checks, unpickle
from datarobust.datasets.cifar import CIFAR10
from datarobust.datasets.sources import Block, FileSource, Spec, raw_file
from datarobust.datasets.unpickle import array_of
from datarobust.errors import DataError
from datarobust.text import shown

POINTS = "data"
LABELS = "extrapolated_targets"

MOST_BYTES = 8 << 30
"""Of the file."""
MOST_ROW_BYTES = 1 << 24
"""Of one image."""


class Ti500kSource(FileSource):
    """The pickle as a Source. ``classes`` override the names of CIFAR-10's classes.

    Raises DataError at construction when the pickle is not plain data, or its arrays are not images and labels.
    """

    def __init__(self, path: Path, *, classes: tuple[str, ...] | None = None, name: str | None = None) -> None:
        super().__init__(path)
        content = unpickle.mapping(raw_file(path), most_bytes=MOST_BYTES)
        if POINTS not in content or LABELS not in content:
            listed = ", ".join(shown(key) for key in list(content)[:12]) or "none"
            raise DataError(
                f"{shown(path)} has the keys {listed}; expected: {POINTS}, {LABELS} (a file of CIFAR is read with its "
                "whole folder)."
            )
        self._points = array_of(content[POINTS], f"{shown(path)}: {POINTS}")
        self._labels = array_of(content[LABELS], f"{shown(path)}: {LABELS}")
        shape, dtype = self._points.shape, self._points.dtype
        if len(shape) != 4 or shape[3] != 3 or 0 in shape[1:] or dtype != np.uint8:
            raise DataError(f"{shown(path)}: {POINTS} are {dtype} of shape {shape}; uint8 (N, H, W, 3) are expected.")
        if math.prod(shape[1:]) > MOST_ROW_BYTES:
            raise DataError(f"{shown(path)}: {POINTS} have shape {shape}, which no set of images has.")
        if self._labels.shape != shape[:1] or self._labels.dtype.kind not in "iu":
            raise DataError(
                f"{shown(path)}: {LABELS} are {self._labels.dtype} of shape {self._labels.shape}; one integer for each "
                f"of {shape[0]:,} images is expected."
            )
        left_aside = [shown(key) for key in content if key not in (POINTS, LABELS)]
        self.spec = Spec(
            name=name or path.stem,
            rows=shape[0],
            kind="images",
            shape=(3, *shape[1:3]),
            classes=CIFAR10 if classes is None else classes,
            notes=(
                f"{shape[0]:,} images with predicted labels, as TI500K has them",
                *([f"left aside: {', '.join(left_aside[:12])}"] if left_aside else []),
            ),
        )

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop``, images as (B, 3, H, W)."""
        step, where = self.spec.step, f"{shown(self._path)}: {LABELS}"
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        for row in range(start, stop, step):
            rows = slice(row, min(row + step, stop))
            labels, _ = checks.as_labels(self._labels[rows], row, where, len(self.spec.classes))
            index = np.arange(row, row + len(labels), dtype=np.int64)
            yield Block(np.ascontiguousarray(self._points[rows].transpose(0, 3, 1, 2)), labels, index)
