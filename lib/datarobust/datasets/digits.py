"""scikit-learn's real handwritten digits: 1,797 images of 8x8, always there.

They are the test part of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak 1998), with
17 grey levels 0..16. A level v becomes the byte round(255 v / 16). No such value lies halfway but 127.5 (v = 8), which
goes up to 128; rising levels stay rising, so the order of l_inf distances of single pixels is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from datarobust.datasets.sources import Block, Spec, never
from datarobust.errors import DataError

ROWS = 1797


def to_bytes(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """0..16 -> round(255 v / 16), halves up, in integers."""
    return ((levels.astype(np.int32) * 255 + 8) // 16).astype(np.uint8)


class DigitsSource:
    """The digits as a Source."""

    def __init__(self, name: str | None = None) -> None:
        self.spec = Spec(
            name=name or "digits",
            rows=ROWS,
            kind="images",
            shape=(1, 8, 8),
            classes=tuple(str(digit) for digit in range(10)),
        )

    def identity(self) -> str:
        """They are the same everywhere."""
        return "digits"

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the levels as bytes, image by image, then of the labels as bytes."""
        images, labels = self._raw
        return hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()

    def unchanged(self) -> None:
        """They are, always."""

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop`` as one block."""
        images, labels = self._raw
        index = np.arange(ROWS, dtype=np.int64)
        block = Block(to_bytes(images), labels, index).part(start, stop)
        if len(block):
            yield block

    @cached_property
    def _raw(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        from sklearn.datasets import load_digits

        levels, labels = load_digits(return_X_y=True)
        if levels.shape != (ROWS, 64) or levels.min() < 0 or levels.max() > 16:
            raise DataError(f"scikit-learn's digits have shape {levels.shape}, not ({ROWS}, 64) of 0..16.")
        return levels.astype(np.uint8).reshape(ROWS, 1, 8, 8), labels.astype(np.int64)
