"""Training images: sets that live on the device, sets that are streamed from a store, and their augmentation."""

from __future__ import annotations

import math
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch.nn import functional

from datarobust.devices import row_keys, to_device
from datarobust.randomness import Domain, permutation
from datarobust.types import Array, Column, Images, Rows

if TYPE_CHECKING:
    from datarobust.training.recipe import Augment

PUBLISHED = (
    ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)
"""Means and deviations of CIFAR-10 and CIFAR-100 by channel, as published networks have them."""
PAD = 4
"""Pixels of black around an image before it is cropped to its size again."""
MOST_DEGREES = 15.0
"""Rotations of CIFAR-100 are uniform from -15 to 15 degrees."""


@dataclass(frozen=True)
class Points:
    """Labelled images in memory."""

    images: torch.Tensor  # uint8 (N, C, H, W)
    labels: torch.Tensor  # int64 (N)

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Rows) -> Points:
        """Some of them, in the order given."""
        index = to_device(rows, self.labels.device)
        return Points(self.images.index_select(0, index), self.labels.index_select(0, index))

    def to(self, device: torch.device) -> Points:
        """The same on a device."""
        return Points(self.images.to(device), self.labels.to(device))

    @classmethod
    def of(cls, images: Images, labels: Rows) -> Points:
        """From arrays."""
        return cls(torch.from_numpy(images), torch.from_numpy(labels))


def normalisation(points: Points) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in [0,1] units: the published ones where the set has them.

    Computed in whole numbers, so they are the same everywhere; rounded to four digits as published ones are.
    """
    levels = np.arange(256)
    means, deviations = [], []
    for channel in points.images.transpose(0, 1).numpy():
        histogram = np.bincount(channel.ravel(), minlength=256)
        total = int(histogram.sum())
        mean = int((histogram * levels).sum()) / total
        square = int((histogram * levels**2).sum()) / total
        means.append(round(mean / 255, 4))
        deviations.append(round(max(square - mean * mean, 0.0) ** 0.5 / 255, 4) or 1.0)
    for published in PUBLISHED:
        if len(means) == 3 and np.allclose([means, deviations], published, rtol=0, atol=5e-4):
            return published
    return tuple(means), tuple(deviations)


# ---------------------------------------------------------------------------------------------------------- streams


class StreamOrder:
    """An endless order over N rows that lie in blocks, for sets too large to be drawn from at random.

    Each pass visits the blocks in a random order and the rows of a block in a random order. On a set that was shuffled
    when it was imported, the rows of a pass are a uniform sample without replacement; on one in memory, ``block`` is
    N and a pass is a uniform permutation of the whole set.
    """

    def __init__(self, seed: int, rows: int, block: int) -> None:
        self.rows, self.block = rows, block
        self._seed, self._blocks = seed, -(-rows // block)
        self._turn = -1
        self._ends = self._order = np.empty(0, np.int64)  # where the blocks of that pass end, and their order

    def pieces(self, start: int, count: int) -> list[tuple[int, int, int, int]]:
        """The draws ``start .. start + count`` as pieces (pass, block, from, to) of blocks' random orders."""
        pieces = []
        while count:
            turn, draw = divmod(start, self.rows)
            if turn != self._turn:
                self._turn, self._order = turn, permutation(self._seed, Domain.STREAM_BLOCKS.of(turn), self._blocks)
                self._ends = np.cumsum([self.size(int(block)) for block in self._order])
            i = int(np.searchsorted(self._ends, draw, side="right"))
            block = int(self._order[i])
            low = draw - (int(self._ends[i]) - self.size(block))
            high = min(low + count, self.size(block))
            pieces.append((turn, block, low, high))
            start += high - low
            count -= high - low
        return pieces

    def size(self, block: int) -> int:
        """Rows of a block."""
        return min(self.block, self.rows - block * self.block)

    def within(self, turn: int, block: int) -> Rows:
        """The random order of a block's rows in a pass, counted from the block's first row."""
        return permutation(self._seed, Domain.STREAM_WITHIN.of(turn * self._blocks + block), self.size(block))


class Stream:
    """An endless random order over a labelled set that is read block by block, the next block while the caller works.

    At most three blocks are in memory. Draw i is the same image whoever asks, and whenever: a resumed training asks
    for the next draws and has lost nothing. A context manager: it owns a thread.

    Images are uint8 (N, C, H, W); columns of a store, or arrays. ``block``, in rows, is the store's (on a set that was
    shuffled once), or N for a set that fits into memory.
    """

    def __init__(self, images: Column | Images, labels: Column | Rows, seed: int, block: int) -> None:
        self._images, self._labels = images, labels
        self._order = StreamOrder(seed, images.shape[0], block)
        self._pool = ThreadPoolExecutor(1, "stream")
        self._loaded: OrderedDict[int, Future[tuple[Images, Rows]]] = OrderedDict()
        self._within: tuple[int, int, Rows] | None = None  # the last (pass, block) and its order

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def draw(self, start: int, count: int, places: Rows | None = None) -> tuple[Images, Rows]:
        """Draws ``start .. start + count``, or those at some ``places`` among them: images uint8, labels int64.

        Raises ArtifactError where a file of the store is missing or altered.
        """
        places = np.arange(count) if places is None else places
        images = np.empty((len(places), *self._images.shape[1:]), np.uint8)
        labels = np.empty(len(places), np.int64)
        done = 0
        for turn, block, low, high in self._order.pieces(start, count):
            if self._within is None or self._within[:2] != (turn, block):
                self._within = (turn, block, self._order.within(turn, block))
            here = np.flatnonzero((done <= places) & (places < done + high - low))
            rows = self._within[2][places[here] - done + low]
            block_images, block_labels = self._load(block).result()
            images[here], labels[here] = block_images[rows], block_labels[rows]
            done += high - low
        ahead = min(self._order.block, self._order.rows)
        for _, block, _, _ in self._order.pieces(start + count, ahead)[:2]:  # of the next draw, and the one after it
            self._load(block)
        return images, labels

    def _load(self, block: int) -> Future[tuple[Images, Rows]]:
        """A block, which is being read if it is not there."""
        if block in self._loaded:
            self._loaded.move_to_end(block)
            return self._loaded[block]
        while len(self._loaded) > 2:
            self._loaded.popitem(last=False)
        begin = block * self._order.block
        end = begin + self._order.size(block)

        def rows(column: Column | Array) -> Array:
            return column[begin:end] if isinstance(column, np.ndarray) else column.read(begin, end)

        self._loaded[block] = self._pool.submit(lambda: (rows(self._images), rows(self._labels)))
        return self._loaded[block]


# ----------------------------------------------------------------------------------------------------- augmentation


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 to float32 in [0,1]."""
    return images.to(torch.float32).div_(255.0)


def augment(images: torch.Tensor, kind: Augment, seed: int, step: int, first: int = 0) -> torch.Tensor:
    """Augmented images, as the reference has them: zero padding, random crop, flip; then rotation for CIFAR-100.

    A function of (seed, step, place); ``first`` is the place of the first of the images in the batch. For uint8
    (B, C, H, W) on any device float32 (B, C, H, W) in [0,1], in channels-last order of memory.
    """
    if kind == "none":
        return to_float(images).contiguous(memory_format=torch.channels_last)
    device = images.device
    keys = row_keys(seed, Domain.AUGMENT.of(step), first, first + len(images), device)

    def below(shift: int, count: int) -> torch.Tensor:
        """16 bits of each key as a number 0..count-1; the counts here divide 2^16 to within 0.01 %."""
        return (keys >> shift & 0xFFFF) * count >> 16

    # Each image, padded, from its own corner on, perhaps mirrored: one gather for the batch.
    count, channels, height, width = images.shape
    padded = functional.pad(images, (PAD, PAD, PAD, PAD)).permute(0, 2, 3, 1).contiguous()
    rows = below(0, 2 * PAD + 1)[:, None] + torch.arange(height, device=device)
    across = torch.arange(width, device=device)
    mirrored = (below(32, 2) == 1) & (kind != "crop")
    columns = below(16, 2 * PAD + 1)[:, None] + torch.where(mirrored[:, None], across.flip(0), across)
    rows += torch.arange(count, device=device)[:, None] * (height + 2 * PAD)
    pixels = rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]
    cropped = padded.view(-1, channels).index_select(0, pixels.view(-1)).view(count, height, width, -1)
    cropped = cropped.permute(0, 3, 1, 2)
    if kind == "cifar100":
        return _rotate(to_float(cropped), (below(40, 1 << 16).double() / ((1 << 16) - 1) * 2.0 - 1.0) * MOST_DEGREES)
    return to_float(cropped)


def _rotate(images: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Each image turned about its centre, the nearest pixel taken, black outside."""
    angle = (degrees * math.pi / 180.0).float()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    ratio = images.shape[2] / images.shape[3]
    turn = torch.stack([torch.stack([cos, -sin * ratio, zero], 1), torch.stack([sin / ratio, cos, zero], 1)], 1)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
    rotated = functional.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return rotated.contiguous(memory_format=torch.channels_last)
