"""Kernels of Triton for the plain search on CUDA: the nearest of all columns, for many rows of bytes at a time.

A tile is some rows beside some columns: the keys of its pairs are made and the least ones of each row are kept, all on
the chip. A key and the number of its column stand in one whole number, key << 32 | column, so a minimum is the nearest
column, and of equally near ones the lowest. All is in whole numbers, so the order of the tiles changes nothing.

In l2, bytes less 128 are int8. Tensor cores add their products up in int32, and |x|^2 + |y|^2 - 2 x.y is the key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from datarobust.norms import Norm
from datarobust.types import Floats, Rows

from .panels import NO_INDEX, Labelled

WIDEST = (2**31 - 1) // 255**2
"""Numbers of a point at most, so that squared distances fit 31 bits."""

MOST = 8
"""Neighbours of a row at most: they are kept in registers."""

_PIECE = 1 << 28
"""Bytes of rows that go to the device at a time."""

_NONE = tl.constexpr(2**63 - 1)
"""Of no column."""


@dataclass(frozen=True)
class Shape:
    """The size of a tile, and what a program does; nothing here changes the result."""

    rows: int = 128
    columns: int = 256
    numbers: int = 64
    """Of a point, that are multiplied at a time."""
    steps: int = 16
    """Tiles of a program, one after another."""
    warps: int = 8
    stages: int = 4


def shape_of(k: int) -> Shape:
    """The shape for so many neighbours; with several, the keys of a whole tile are in registers."""
    return Shape() if k == 1 else Shape(columns=128, steps=32)


def serves(points: Labelled, others: Labelled, norm: Norm, k: int, device: str) -> bool:
    """Whether the kernels can do a search on a device: of bytes with classes, on a GPU with tensor cores for int8.

    Under TRITON_INTERPRET=1 the processor stands in for the GPU.
    """
    able = points.rows.dtype == np.uint8 and (points.soft is None or others.soft is None)
    able = able and norm.name == "l2" and points.rows.shape[1] <= WIDEST and k <= MOST
    if os.environ.get("TRITON_INTERPRET") == "1":
        return able
    cuda = torch.version.cuda is not None and torch.device(device).type == "cuda"
    return able and cuda and torch.cuda.get_device_capability(device) >= (8, 0)


class Side(NamedTuple):
    """Points on the device."""

    values: Tensor
    """(n, width) int8, bytes less 128; zeros fill a row up."""
    squares: Tensor
    """(n,) int32, sums of squares of the values."""
    labels: Tensor
    """(n,) int32, since those of a tile are in registers."""

    def part(self, span: slice) -> Side:
        """Some of them, one after another."""
        return Side(*(array[span] for array in self))


class Tiles:
    """The columns of a search; they stay on the device where ``memory`` bytes hold them."""

    def __init__(self, points: Labelled, others: Labelled, k: int, memory: int, device: str) -> None:
        """``points``: those whose neighbours are looked for; ``others``: where, the same object for one set."""
        _, labels = np.unique(np.concatenate([points.labels, others.labels]), return_inverse=True)
        own, other = np.split(labels, [len(points.labels)])
        self._both, self._k, self._device, self._shape = points is others, k, device, shape_of(k)
        self._points, self._others = Labelled(points.rows, own), Labelled(others.rows, other)
        count, numbers = others.rows.shape
        self._width = -(-numbers // self._shape.numbers) * self._shape.numbers
        self._whole = self._brought(self._others, slice(0, count)) if count * self._width <= memory else None

    def nearest(self, spans: list[slice]) -> tuple[Floats, Rows]:
        """Keys (n, k) and neighbours (n, k) of some spans of points; inf and NO_INDEX where there are no more."""
        if self._whole is not None and self._both:
            sides = [self._whole.part(span) for span in spans]
        else:
            sides = [self._brought(self._points, span) for span in spans]
        rows = Side(*(torch.cat(parts) for parts in zip(*sides, strict=True)))
        lists = [self._lists(rows, start, columns) for start, columns in self._columns()]
        best = torch.cat(lists, 1).topk(self._k, 1, largest=False).values.cpu().numpy()
        keys, neighbours = best >> 32, best & 0xFFFFFFFF
        none = keys == _NONE.value >> 32
        return np.where(none, np.inf, keys), np.where(none, NO_INDEX, neighbours)

    def _columns(self) -> Iterator[tuple[int, Side]]:
        """Columns, and the number of the first: all, or piece by piece."""
        if self._whole is not None:
            yield 0, self._whole
            return
        count, step = len(self._others.labels), max(1, _PIECE // self._width)
        for start in range(0, count, step):
            yield start, self._brought(self._others, slice(start, min(start + step, count)))

    def _brought(self, points: Labelled, span: slice) -> Side:
        """A span of points, brought to the device piece by piece."""
        count, step = span.stop - span.start, max(1, _PIECE // self._width)
        values = torch.zeros(count, self._width, dtype=torch.int8, device=self._device)
        squares = torch.empty(count, dtype=torch.int32, device=self._device)
        for start in range(0, count, step):
            stop = min(start + step, count)
            piece = np.array(points.rows.read(span.start + start, span.start + stop))
            part = torch.from_numpy(piece).to(self._device)
            values[start:stop, : part.shape[1]] = (part ^ 128).view(torch.int8)
            squares[start:stop] = values[start:stop].int().square().sum(1, dtype=torch.int32)
        return Side(values, squares, torch.from_numpy(points.labels[span]).to(self._device, torch.int32))

    def _lists(self, side: Side, start: int, columns: Side) -> Tensor:
        """The least (n, programs * k) of each row, key << 32 | column, by each program that looked at some columns."""
        shape, count, k = self._shape, len(side.labels), self._k
        grid = (-(-count // shape.rows), -(-len(columns.labels) // (shape.columns * shape.steps)))
        lists = torch.empty(count, grid[1], k, dtype=torch.int64, device=self._device)
        with torch.cuda.device_of(lists):  # Triton launches where PyTorch is
            squares_kernel[grid](
                *side, *columns, lists, count, len(columns.labels), start, k, triton.next_power_of_2(k), self._width,
                shape.rows, shape.columns, shape.numbers, shape.steps, num_warps=shape.warps, num_stages=shape.stages,
                enable_fp_fusion=False,  # there is none; unsaid, Triton 3.9 warns of another default to come
            )  # fmt: skip
        return lists.flatten(1)


@triton.jit(do_not_specialize=["rows", "columns", "start"])
def squares_kernel(
    a, a_squares, a_labels, b, b_squares, b_labels, lists,
    rows, columns, start, K: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, NUMBERS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """A program: rows ``a`` of one number beside STEPS tiles of columns ``b``, in l2."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    number = tl.arange(0, NUMBERS)
    a_square = tl.load(a_squares + i, mask=i < rows, other=0)
    a_label = tl.load(a_labels + i, mask=i < rows, other=0)
    a_row = a + i.to(tl.int64)[:, None] * WIDTH + number[None, :]
    kept = _empty(K, SLOTS, ROWS)
    for step in range(STEPS):
        first = (tl.program_id(1) * STEPS + step) * COLUMNS
        if first < columns:
            j = first + tl.arange(0, COLUMNS)
            b_row = b + j.to(tl.int64)[None, :] * WIDTH + number[:, None]
            products = tl.zeros((ROWS, COLUMNS), tl.int32)
            for at in range(0, WIDTH, NUMBERS):
                x = tl.load(a_row + at, mask=(i < rows)[:, None], other=0)
                y = tl.load(b_row + at, mask=(j < columns)[None, :], other=0)
                products = tl.dot(x, y, products, out_dtype=tl.int32)
            b_square = tl.load(b_squares + j, mask=j < columns, other=0)
            b_label = tl.load(b_labels + j, mask=j < columns, other=0)
            differ = (a_label[:, None] != b_label[None, :]) & (j < columns)[None, :]
            key = a_square[:, None] + b_square[None, :] - 2 * products
            kept = _least(kept, _packed(key, start + j, differ), K)
    _store(lists, kept, i, rows, K, SLOTS)


@triton.jit
def _empty(K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr):
    """Lists (ROWS, SLOTS) of no column: K numbers, all different, and -1 in slots too many, which nothing replaces."""
    slot = tl.arange(0, SLOTS).to(tl.int64)
    return tl.where(slot < K, _NONE - slot, -1)[None, :] + tl.zeros((ROWS, SLOTS), tl.int64)


@triton.jit
def _packed(key, column, differ):
    """Numbers key << 32 | column, of pairs with different labels."""
    return tl.where(differ, (key.to(tl.int64) << 32) | column.to(tl.int64)[None, :], _NONE)


@triton.jit
def _least(kept, keys, K: tl.constexpr):
    """The K least of each row, of lists and of a tile."""
    least = tl.min(keys, axis=1)
    if K == 1:
        kept = tl.minimum(kept, least[:, None])
    else:
        worst = tl.max(kept, axis=1)
        while tl.max((least < worst).to(tl.int32), axis=0) > 0:
            better = (least < worst)[:, None] & (kept == worst[:, None])
            kept = tl.where(better, least[:, None], kept)
            keys = tl.where(keys == least[:, None], _NONE, keys)
            least = tl.min(keys, axis=1)
            worst = tl.max(kept, axis=1)
    return kept


@triton.jit
def _store(lists, kept, i, rows, K: tl.constexpr, SLOTS: tl.constexpr):
    """Write a program's lists."""
    slot = tl.arange(0, SLOTS)
    place = (i.to(tl.int64) * tl.num_programs(1) + tl.program_id(1))[:, None] * K + slot[None, :]
    tl.store(lists + place, kept, mask=(i < rows)[:, None] & (slot < K)[None, :])
