"""Where training images come from: sets that live on the device, and sets that are streamed from a store."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from datarobust.training.order import StreamOrder

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class Rows(Protocol):
    """A column of a store, or anything that reads like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""

    def read(self, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Rows start..stop."""


@dataclass(frozen=True)
class Points:
    """Labelled images in memory."""

    images: torch.Tensor
    """uint8 (N, C, H, W)."""
    labels: torch.Tensor
    """int64 (N)."""

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: npt.NDArray[np.int64]) -> Points:
        """Some of them, in the order given."""
        index = torch.from_numpy(rows).to(self.labels.device)
        return Points(self.images.index_select(0, index), self.labels.index_select(0, index))

    def to(self, device: torch.device) -> Points:
        """The same on a device."""
        return Points(self.images.to(device), self.labels.to(device))

    @classmethod
    def of(cls, images: Bytes, labels: Labels) -> Points:
        """From arrays."""
        return cls(torch.from_numpy(images), torch.from_numpy(labels))


class Stream:
    """An endless random order over a labelled set that is read block by block, the next block while the caller works.

    At most three blocks are in memory. Draw i is the same image whoever asks, and whenever: a resumed training asks
    for the next draws and has lost nothing. A context manager: it owns a thread.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N).
        seed: of the training.
        block: rows of a block: the store's (on a set that was shuffled once), or N for a set that fits into memory.
    """

    def __init__(self, images: Rows, labels: Rows, seed: int, block: int) -> None:
        self.shape = tuple(images.shape[1:])
        self._images = images
        self._labels = labels
        self._order = StreamOrder(seed, images.shape[0], block)
        self._pool = ThreadPoolExecutor(1, "stream")
        self._loaded: OrderedDict[int, Future[tuple[Bytes, Labels]]] = OrderedDict()
        self._turned: tuple[int, int, npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self._order.rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def draw(self, start: int, count: int) -> tuple[Bytes, Labels]:
        """Draws ``start .. start + count``: uint8 (count, C, H, W), int64 (count).

        Raises:
            ArtifactError: a file of the store is missing or altered.
        """
        images = np.empty((count, *self.shape), np.uint8)
        labels = np.empty(count, np.int64)
        done = 0
        for turn, block, low, high in self._order.pieces(start, count):
            rows = self._rows(turn, block)[low:high]
            found, classes = self._load(block).result()
            np.take(found, rows, axis=0, out=images[done : done + len(rows)], mode="clip")
            labels[done : done + len(rows)] = classes[rows]
            done += len(rows)
        self._prefetch(start + count)
        return images, labels

    def _rows(self, turn: int, block: int) -> npt.NDArray[np.int64]:
        if self._turned is None or self._turned[:2] != (turn, block):
            self._turned = (turn, block, self._order.within(turn, block))
        return self._turned[2]

    def _prefetch(self, start: int) -> None:
        """Begin to read the block of the next draw and the one after it."""
        ahead = min(self._order.block, self._order.rows)
        for _, block, _, _ in self._order.pieces(start, ahead)[:2]:
            self._load(block)

    def _load(self, block: int) -> Future[tuple[Bytes, Labels]]:
        if block in self._loaded:
            self._loaded.move_to_end(block)
            return self._loaded[block]
        while len(self._loaded) > 2:
            self._loaded.popitem(last=False)
        begin = block * self._order.block
        end = begin + self._order.size(block)
        self._loaded[block] = self._pool.submit(lambda: (self._images.read(begin, end), self._labels.read(begin, end)))
        return self._loaded[block]
