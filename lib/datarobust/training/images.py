"""Training images: sets that live on the device, sets that are streamed from a store, and their augmentation."""

from __future__ import annotations

import math
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from datarobust.randomness import Domain, permutation, row_keys
from datarobust.types import Array, Floats, Images, Rows

if TYPE_CHECKING:
    from datarobust.training.recipe import Augment

Labels = npt.NDArray[np.int64]
Block = tuple[Images, Labels]

PAD = 4
"""Pixels of black around an image before it is cropped to its size again."""
MOST_DEGREES = 15.0
"""Rotations of CIFAR-100 are uniform from -15 to 15 degrees."""


@dataclass(frozen=True)
class Points:
    """Labelled images in memory."""

    images: torch.Tensor
    """uint8 (N, C, H, W)."""
    labels: torch.Tensor
    """int64 (N)."""

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Rows) -> Points:
        """Some of them, in the order given."""
        index = torch.from_numpy(rows).to(self.labels.device)
        return Points(self.images.index_select(0, index), self.labels.index_select(0, index))

    def to(self, device: torch.device) -> Points:
        """The same on a device."""
        return Points(self.images.to(device), self.labels.to(device))

    @classmethod
    def of(cls, images: Images, labels: Labels) -> Points:
        """From arrays."""
        return cls(torch.from_numpy(images), torch.from_numpy(labels))


PUBLISHED = (
    ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)
"""Means and deviations of CIFAR-10 and CIFAR-100 by channel, as published networks have them."""
_ALIKE = 5e-4


def normalisation(points: Points) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in [0,1] units: the published ones where the set has them.

    Computed in whole numbers, so they are the same everywhere; rounded to four digits as published ones are.
    """
    images = points.images.numpy()
    histograms = [np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])]
    levels = np.arange(256)
    means, deviations = [], []
    for histogram in histograms:
        total = int(histogram.sum())
        mean = int((histogram * levels).sum()) / total
        square = int((histogram * levels**2).sum()) / total
        means.append(round(mean / 255, 4))
        deviations.append(round(max(square - mean * mean, 0.0) ** 0.5 / 255, 4) or 1.0)
    for published in PUBLISHED:
        if len(means) == 3 and np.allclose([means, deviations], published, rtol=0, atol=_ALIKE):
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
        self.rows = rows
        self.block = block
        self._seed = seed
        self._turn = -1
        self._blocks: Rows = np.empty(0, np.int64)
        self._ends: Rows = np.empty(0, np.int64)

    def pieces(self, start: int, count: int) -> list[tuple[int, int, int, int]]:
        """The draws ``start .. start + count`` as pieces (pass, block, from, to) of blocks' random orders."""
        pieces = []
        while count:
            turn, place = divmod(start, self.rows)
            self._enter(turn)
            i = int(np.searchsorted(self._ends, place, side="right"))
            block, size = int(self._blocks[i]), self.size(int(self._blocks[i]))
            low = place - (int(self._ends[i]) - size)
            high = min(low + count, size)
            pieces.append((turn, block, low, high))
            start += high - low
            count -= high - low
        return pieces

    def size(self, block: int) -> int:
        """Rows of a block."""
        return min(self.block, self.rows - block * self.block)

    def within(self, turn: int, block: int) -> Rows:
        """The random order of a block's rows in a pass, counted from the block's first row."""
        blocks = -(-self.rows // self.block)
        return permutation(self._seed, Domain.STREAM_WITHIN.of(turn * blocks + block), self.size(block))

    def _enter(self, turn: int) -> None:
        """Draw the order of a pass's blocks."""
        if turn != self._turn:
            blocks = -(-self.rows // self.block)
            self._blocks = permutation(self._seed, Domain.STREAM_BLOCKS.of(turn), blocks)
            self._ends = np.cumsum(np.array([self.size(int(block)) for block in self._blocks], np.int64))
            self._turn = turn


class Column(Protocol):
    """A column of a store, or anything that reads like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Rows start..stop."""


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

    def __init__(self, images: Column, labels: Column, seed: int, block: int) -> None:
        self.shape = tuple(images.shape[1:])
        self._images = images
        self._labels = labels
        self._order = StreamOrder(seed, images.shape[0], block)
        self._pool = ThreadPoolExecutor(1, "stream")
        self._loaded: OrderedDict[int, Future[Block]] = OrderedDict()
        self._within: tuple[int, int, Rows] | None = None
        """The last (pass, block) and its order."""

    def __len__(self) -> int:
        return self._order.rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def draw(self, start: int, count: int) -> Block:
        """Draws ``start .. start + count``: uint8 (count, C, H, W), int64 (count).

        Raises:
            ArtifactError: a file of the store is missing or altered.
        """
        images = np.empty((count, *self.shape), np.uint8)
        labels = np.empty(count, np.int64)
        done = 0
        for turn, block, low, high in self._order.pieces(start, count):
            if self._within is None or self._within[:2] != (turn, block):
                self._within = (turn, block, self._order.within(turn, block))
            rows = self._within[2][low:high]
            block_images, block_labels = self._load(block).result()
            np.take(block_images, rows, axis=0, out=images[done : done + len(rows)], mode="clip")
            labels[done : done + len(rows)] = block_labels[rows]
            done += len(rows)
        ahead = min(self._order.block, self._order.rows)
        for _, block, _, _ in self._order.pieces(start + count, ahead)[:2]:  # of the next draw, and the one after it
            self._load(block)
        return images, labels

    def _load(self, block: int) -> Future[Block]:
        """A block, which is being read if it is not there."""
        if block in self._loaded:
            self._loaded.move_to_end(block)
            return self._loaded[block]
        while len(self._loaded) > 2:
            self._loaded.popitem(last=False)
        begin = block * self._order.block
        end = begin + self._order.size(block)
        self._loaded[block] = self._pool.submit(lambda: (self._images.read(begin, end), self._labels.read(begin, end)))
        return self._loaded[block]


# ----------------------------------------------------------------------------------------------------- augmentation


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 to float32 in [0,1]."""
    return images.to(torch.float32).div_(255.0)


def augment(images: torch.Tensor, kind: Augment, seed: int, step: int, first: int = 0) -> torch.Tensor:
    """Augmented images, as the reference has them: zero padding, random crop, flip; then rotation for CIFAR-100.

    The whole batch at once, where the images are; a function of (seed, step, place).

    Args:
        images: uint8 (B, C, H, W), on any device.
        kind: "crop-flip", "crop", "none" or "cifar100" (crop, flip and rotation by at most 15 degrees, nearest pixel).
        seed: of the training.
        step: of the training, from 0.
        first: place of the first of these images in the batch, where processes share one.

    Returns:
        float32 (B, C, H, W) in [0,1], in channels-last order of memory.
    """
    if kind == "none":
        return to_float(images).contiguous(memory_format=torch.channels_last)
    keys = row_keys(seed, Domain.AUGMENT.of(step), first, first + len(images))

    def below(shift: int, count: int) -> Rows:
        """16 bits of each key as a number 0..count-1; the counts here divide 2^16 to within 0.01 %."""
        bits = (keys >> np.uint64(shift)) & np.uint64(0xFFFF)
        return (bits * np.uint64(count) >> np.uint64(16)).astype(np.int64)

    shifts = 2 * PAD + 1
    dy, dx = below(0, shifts), below(16, shifts)
    flip = below(32, 2) if kind != "crop" else np.zeros(len(keys), np.int64)
    x = to_float(_crop(images, dy, dx, flip))
    if kind == "cifar100":
        x = _rotate(x, (below(40, 1 << 16) / ((1 << 16) - 1) * 2.0 - 1.0) * MOST_DEGREES)
    return x


def _crop(images: torch.Tensor, dy: Rows, dx: Rows, flip: Rows) -> torch.Tensor:
    """Each image, padded, from its own corner on, mirrored where ``flip`` is 1: one gather for the batch."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (PAD, PAD, PAD, PAD)).permute(0, 2, 3, 1).contiguous()
    rows = dy[:, None] + np.arange(height)
    across = np.arange(width)
    columns = dx[:, None] + np.where(flip[:, None] == 1, across[::-1], across)
    wide = width + 2 * PAD
    place = (np.arange(count)[:, None, None] * (height + 2 * PAD) + rows[:, :, None]) * wide + columns[:, None, :]
    index = torch.from_numpy(place.reshape(-1)).to(images.device)
    flat = padded.view(-1, images.shape[1]).index_select(0, index)
    return flat.view(count, height, width, -1).permute(0, 3, 1, 2)


def _rotate(images: torch.Tensor, degrees: Floats) -> torch.Tensor:
    """Each image turned about its centre, the nearest pixel taken, black outside."""
    angle = torch.from_numpy(degrees * math.pi / 180.0).to(images.device, torch.float32)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    ratio = images.shape[2] / images.shape[3]
    turn = torch.stack([torch.stack([cos, -sin * ratio, zero], 1), torch.stack([sin / ratio, cos, zero], 1)], 1)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
    rotated = functional.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return rotated.contiguous(memory_format=torch.channels_last)
