"""Kernels of Triton for the plain search on CUDA: the nearest of all columns, for many rows of bytes at a time.

A tile is some rows beside some columns: the keys of its pairs are made and the least ones of each row are kept, all on
the chip. A key and the number of its column stand in one whole number, key << 32 | column, so a minimum is the nearest
column, and of equally near ones the lowest. All is in whole numbers, so the order of the tiles changes nothing.

In l2, bytes less 128 are int8. Tensor cores add their products up in int32, and |x|^2 + |y|^2 - 2 x.y is the key.

In l-infinity, bytes are float16, two of which are compared at once, in a scattered order: after a few the largest
difference of most pairs is no longer below what their row has found. A tile without any other pair is left there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from datarobust.devices import triton_runs
from datarobust.norms import Norm
from datarobust.types import Floats, Rows

from .panels import NO_INDEX, Labelled

WIDEST = (2**31 - 1) // 255**2
"""Numbers of a point at most, so that squared distances fit 31 bits."""

MOST = 8
"""Neighbours of a row at most: they are kept in registers."""

_PIECE = 1 << 26
"""Bytes of rows that go to the device at a time; what is made of them takes some times as much."""

_NONE = tl.constexpr(2**63 - 1)
"""Of no column."""


@dataclass(frozen=True)
class Shape:
    """The size of a tile, and what a program does; nothing here changes the result."""

    rows: int
    columns: int
    numbers: int
    """Of a point, that are taken at a time."""
    steps: int
    """Tiles of a program, one after another."""
    warps: int
    stages: int


def shape_of(norm: str, k: int, hopper: bool) -> Shape:
    """The shape for so many neighbours, on a GPU of compute capability 9 or another; registers hold all, or nearly."""
    if norm == "linf":
        return Shape(16, 64, 64, 256, 1, 1)
    return Shape(128, 256, 64, 16, 8, 4) if hopper and k == 1 else Shape(128, 128, 64, 32, 8, 4)


def serves(points: Labelled, others: Labelled, norm: Norm, k: int, device: str) -> bool:
    """Whether the kernels can do a search on a device: of bytes with classes, where Triton runs."""
    able = points.rows.dtype == np.uint8 and (points.soft is None or others.soft is None)
    able = able and norm.name in KERNELS and points.rows.shape[1] <= WIDEST and k <= MOST
    return able and triton_runs(torch.device(device))


def _room(memory: int, device: str) -> int:
    """Bytes that columns may take: ``memory``, and of what is free on a GPU three quarters."""
    return min(memory, torch.cuda.mem_get_info(device)[0] * 3 // 4) if _on_gpu(device) else memory


def _on_gpu(device: str) -> bool:
    return torch.device(device).type == "cuda"


# --------------------------------------------------------------------------------------------------------- kernels


@triton.jit(do_not_specialize=["rows", "columns", "start"])
def squares_kernel(
    a, a_squares, a_labels, a_numbers, b, b_squares, b_labels, lists, rows, columns, start,
    K: tl.constexpr, SLOTS: tl.constexpr, SAME: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, NUMBERS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """A program: ROWS rows ``a`` beside STEPS tiles of columns ``b``, in l2."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    number = tl.arange(0, NUMBERS)
    square = tl.load(a_squares + i, mask=i < rows, other=0)
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
            key = square[:, None] + tl.load(b_squares + j, mask=j < columns, other=0)[None, :] - 2 * products
            counts = _counts(i, a_labels, a_numbers, rows, j, b_labels, columns, start, SAME)
            kept = _least(kept, _packed(key, start + j, counts), K)
    _store(lists, kept, i, rows, K, SLOTS)


@triton.jit(do_not_specialize=["rows", "columns", "start"])
def largest_kernel(
    a, a_labels, a_numbers, b, b_labels, limits, a_row, a_pair, b_pair, lists, rows, columns, start,
    K: tl.constexpr, SLOTS: tl.constexpr, SAME: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, NUMBERS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """A program: ROWS rows ``a`` beside STEPS tiles of columns ``b``, in l-infinity.

    ``limits``: of each row what no pair of interest exceeds, as far as any program knows. ``a_row``, ``a_pair``,
    ``b_pair``: how far it is from a row to the next, and from two numbers of a point to the next two.
    """
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    two = tl.arange(0, 2)
    a_place = i.to(tl.int64)[:, None] * a_row + two[None, :]
    kept = _empty(K, SLOTS, ROWS)
    limit = tl.load(limits + i, mask=i < rows, other=0)
    for step in range(STEPS):
        first = (tl.program_id(1) * STEPS + step) * COLUMNS
        if first < columns:
            j = first + tl.arange(0, COLUMNS)
            counts = _counts(i, a_labels, a_numbers, rows, j, b_labels, columns, start, SAME)
            b_place = j[:, None] * 2 + two[None, :]
            largest = tl.where(counts, 0.0, 512.0).to(tl.float16)  # of pairs that do not count, more than any
            largest = largest[:, :, None] + tl.zeros((ROWS, COLUMNS, 2), tl.float16)
            at = tl.zeros((), tl.int64)
            while _any(_below(_whole(largest), start + j, limit)) & (at < WIDTH // 2):
                for pair in range(NUMBERS // 2):
                    x = tl.load(a + (at + pair) * a_pair + a_place, mask=(i < rows)[:, None], other=0.0)
                    y = tl.load(b + (at + pair) * b_pair + b_place)  # there are whole tiles
                    largest = tl.maximum(largest, tl.abs(x[:, None, :] - y[None, :, :]))
                at += NUMBERS // 2
            key = _whole(largest)
            below = _below(key, start + j, limit)
            if _any(below):  # of all numbers, then
                kept = _least(kept, _packed(key.to(tl.int32), start + j, below), K)
                worst = tl.max(kept, axis=1)
                limit = tl.minimum(worst, tl.atomic_min(limits + i, worst, mask=i < rows, sem="relaxed"))
    _store(lists, kept, i, rows, K, SLOTS)


@triton.jit
def _counts(i, a_labels, a_numbers, rows, j, b_labels, columns, start, SAME: tl.constexpr):
    """Which pairs of a tile may be neighbours, by their labels; rows that are none count, but nobody looks at them."""
    x = tl.load(a_labels + i, mask=i < rows, other=-1)
    y = tl.load(b_labels + j, mask=j < columns, other=-1)
    inside = (j < columns)[None, :]
    if SAME:
        own = tl.load(a_numbers + i, mask=i < rows, other=-1)
        counts = (x[:, None] == y[None, :]) & (own[:, None] != (start + j)[None, :]) & inside
    else:
        counts = (x[:, None] != y[None, :]) & inside
    return counts


@triton.jit
def _whole(largest):
    """The larger one of both numbers of each pair."""
    even, odd = tl.split(largest)
    return tl.maximum(even, odd)


@triton.jit
def _below(key, column, limit):
    """Whether key << 32 | column is below the limit of the row; float16 and int32 compare faster than int64."""
    most = tl.minimum(limit >> 32, 256).to(tl.float16)
    own = (limit & 0xFFFFFFFF).to(tl.int32)
    return (key < most[:, None]) | ((key == most[:, None]) & (column[None, :] < own[:, None]))


@triton.jit
def _any(flags):
    """Whether any flag of a tile is set."""
    return tl.max(tl.max(flags.to(tl.int32), axis=1), axis=0) > 0


@triton.jit
def _empty(K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr):
    """Lists (ROWS, SLOTS) of no column: K numbers, all different, and -1 in slots too many, which nothing replaces."""
    slot = tl.arange(0, SLOTS).to(tl.int64)
    return tl.where(slot < K, _NONE - slot, -1)[None, :] + tl.zeros((ROWS, SLOTS), tl.int64)


@triton.jit
def _packed(key, column, counts):
    """Numbers key << 32 | column, of pairs that count."""
    return tl.where(counts, (key.to(tl.int64) << 32) | column.to(tl.int64)[None, :], _NONE)


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


# ----------------------------------------------------------------------------------------------------------- tiles

Side = tuple[Tensor, ...]
"""Points on the device: values (n, ...), then what else a kernel takes of each point, labels (n,) int32 the last."""


class Tiles:
    """The columns of a search; they stay on the device where ``memory`` bytes, and the device, have room for them.

    This is the search in l2; points are int8, with sums of squares.
    """

    norm, kernel = "l2", squares_kernel
    bytes = 1
    """Of a number, on the device."""

    def __init__(self, points: Labelled, others: Labelled, k: int, same: bool, memory: int, device: str) -> None:
        """``points``: those whose neighbours are looked for; ``others``: where, the same object for one set; ``same``:
        neighbours are of the same label.
        """
        _, labels = np.unique(np.concatenate([points.labels, others.labels]), return_inverse=True)
        own, other = np.split(labels, [len(points.labels)])
        self._points, self._others = Labelled(points.rows, own), Labelled(others.rows, other)
        self._both, self._same, self._k, self._device = points is others, same, k, device
        hopper = _on_gpu(device) and torch.cuda.get_device_capability(device)[0] == 9
        self._shape = shape_of(self.norm, k, hopper)
        count, self._numbers = others.rows.shape
        self._width = -(-self._numbers // self._shape.numbers) * self._shape.numbers
        whole = count * self._width * self.bytes <= _room(memory, device)
        self._whole = self._brought(self._others, slice(0, count)) if whole else None

    def nearest(self, spans: list[slice]) -> tuple[Floats, Rows]:
        """Keys (n, k) and neighbours (n, k) of some spans of points; inf and NO_INDEX where there are no more."""
        if self._whole is not None and self._both:
            sides = [tuple(array[span] for array in self._whole) for span in spans]
        else:
            sides = [self._brought(self._points, span) for span in spans]
        own = np.concatenate([np.arange(span.start, span.stop, dtype=np.int32) for span in spans])
        numbers = torch.from_numpy(own if self._both else np.full_like(own, -1)).to(self._device)
        rows = (*(torch.cat(parts) for parts in zip(*sides, strict=True)), numbers)
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
        side = self._empty(count)
        for start in range(0, count, step):
            stop = min(start + step, count)
            piece = np.array(points.rows[span.start + start : span.start + stop])
            self._fill(tuple(array[start:stop] for array in side), torch.from_numpy(piece).to(self._device))
        return (*side, torch.from_numpy(points.labels[span]).to(self._device, torch.int32))

    def _lists(self, rows: Side, start: int, columns: Side) -> Tensor:
        """The least (n, programs * k) of each row, key << 32 | column, by each program that looked at some columns.

        ``rows``: with their numbers among the columns at the end; ``start``: the number of the first column.
        """
        shape, k, count = self._shape, self._k, (len(rows[0]), len(columns[0]))
        grid = (-(-count[0] // shape.rows), -(-count[1] // (shape.columns * shape.steps)))
        lists = torch.empty(count[0], grid[1], k, dtype=torch.int64, device=self._device)
        with torch.cuda.device_of(lists):  # Triton launches where PyTorch is
            self.kernel[grid](
                *self._arguments(rows, columns), lists, *count, start,
                k, triton.next_power_of_2(k), self._same, self._width,
                shape.rows, shape.columns, shape.numbers, shape.steps, num_warps=shape.warps, num_stages=shape.stages,
                enable_fp_fusion=False,  # there is none; unsaid, Triton 3.9 warns of another default to come
            )  # fmt: skip
        return lists.flatten(1)

    def _empty(self, count: int) -> Side:
        """Points that are filled up with zeros, without their labels."""
        values = torch.zeros(count, self._width, dtype=torch.int8, device=self._device)
        return values, torch.zeros(count, dtype=torch.int32, device=self._device)

    def _fill(self, side: Side, points: Tensor) -> None:
        """Write points, bytes (n, D), to as many of a side."""
        values, squares = side
        values[:, : self._numbers] = (points ^ 128).view(torch.int8)
        squares[:] = values.int().square().sum(1)

    def _arguments(self, rows: Side, columns: Side) -> tuple[Tensor | int, ...]:
        """What the kernel takes first."""
        return *rows, *columns


class LargestTiles(Tiles):
    """That in l-infinity; points are float16 in a scattered order, by two numbers of all points and the next two."""

    norm, kernel, bytes = "linf", largest_kernel, 2

    def _empty(self, count: int) -> Side:
        padded = -(-count // self._shape.columns) * self._shape.columns
        values = torch.zeros(self._width // 2, padded, 2, dtype=torch.float16, device=self._device)
        return (values.transpose(0, 1)[:count],)

    def _fill(self, side: Side, points: Tensor) -> None:
        order = np.random.default_rng(0).permutation(self._numbers)
        scattered = torch.zeros(len(points), self._width, dtype=torch.float16, device=self._device)
        scattered[:, : self._numbers] = points[:, torch.from_numpy(order).to(self._device)].half()
        side[0][:] = scattered.view(len(points), -1, 2)

    def _arguments(self, rows: Side, columns: Side) -> tuple[Tensor | int, ...]:
        limits = torch.full((len(rows[0]),), _NONE.value, device=self._device)
        return *rows, *columns, limits, *rows[0].stride()[:2], columns[0].stride(1)


KERNELS = {tiles.norm: tiles for tiles in (Tiles, LargestTiles)}
"""By the name of the norm."""
