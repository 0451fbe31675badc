"""The types that signatures share: arrays by what they hold, and a loop that reports how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

Array = npt.NDArray[Any]
"""An array of any dtype; the docstring says which."""
Rows = npt.NDArray[np.int64]
"""Places of points in a dataset."""
Floats = npt.NDArray[np.float64]
"""Distances, sensitivities and other measures."""
Images = npt.NDArray[np.uint8]
"""(N, C, H, W)."""


class Column(Protocol):
    """A column of a store, or anything that reads like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a number."""

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Some rows."""


class Progress(Protocol):
    """Wraps the items of a long loop and reports as they are taken; ``iter`` is the silent one."""

    def __call__(self, items: Iterable[T], /) -> Iterable[T]:
        """The same items."""
        ...
