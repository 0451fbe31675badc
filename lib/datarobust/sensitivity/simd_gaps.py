"""Byte differences: the largest over chosen coordinates for whole tiles of pairs, and over the rows of one pair."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import I8, I64, ROWS, V64, ZERO64, load, number, pointer, splat, store


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


def _difference(builder: Any, a: Any, b: Any) -> Any:
    """|a - b| of unsigned bytes, lane by lane."""
    return builder.sub(_larger(builder, a, b), builder.select(builder.icmp_unsigned("<", a, b), a, b))


def _linf_tile(builder: Any, rows: Any, stride: Any, cols: Any, group: Any, coords: Any) -> list[Any]:
    """Largest byte difference over the coordinates between ROWS rows and the 64 columns of a packed group."""
    largest = [cgutils.alloca_once(builder, V64) for _ in range(ROWS)]
    for cell in largest:
        builder.store(ZERO64, cell)
    base = builder.mul(group, coords)
    with cgutils.for_range(builder, coords) as loop:
        block = load(builder, cols, builder.add(base, loop.index), 1)
        for r in range(ROWS):
            byte = load(builder, rows, builder.add(builder.mul(number(r), stride), loop.index), 1)
            gap = _difference(builder, block, splat(builder, byte, 64))
            builder.store(_larger(builder, builder.load(largest[r]), gap), largest[r])
    return [builder.load(cell) for cell in largest]


@intrinsic
def linf_masks(  # type: ignore[no-untyped-def]
    typing_context, rows, stride, row_limit, cols, col_limit, out, groups, coords
):
    """Mark pairs whose byte differences, over ``coords`` coordinates, are all at most the larger of their two limits.

    ``rows`` ROWS rows of bytes ``stride`` apart; ``cols`` packed (groups, coords, 64 columns); limits uint8; ``out``
    uint64 (ROWS, groups), a bit for each column.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes, limits = pointer(builder, args[0], I8), pointer(builder, args[2], I8)
        columns, col_limits = pointer(builder, args[3], V64), pointer(builder, args[4], V64)
        masks, count = pointer(builder, args[5], I64), args[6]
        row_limits = [splat(builder, load(builder, limits, number(r), 1), 64) for r in range(ROWS)]
        with cgutils.for_range(builder, count) as loop:
            largest = _linf_tile(builder, codes, args[1], columns, loop.index, args[7])
            limit = load(builder, col_limits, loop.index, 1)
            for r in range(ROWS):
                alive = builder.icmp_unsigned("<=", largest[r], _larger(builder, limit, row_limits[r]))
                place = builder.add(builder.mul(number(r), count), loop.index)
                store(builder, builder.bitcast(alive, I64), masks, place, 8)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


@intrinsic
def linf_values(typing_context, rows, stride, cols, out, groups, coords):  # type: ignore[no-untyped-def]
    """Largest byte differences over ``coords`` coordinates; layout as for :func:`linf_masks`, ``out`` uint8 (ROWS,
    groups, 64).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes = pointer(builder, args[0], I8)
        columns, values = pointer(builder, args[2], V64), pointer(builder, args[3], V64)
        count = args[4]
        with cgutils.for_range(builder, count) as loop:
            largest = _linf_tile(builder, codes, args[1], columns, loop.index, args[5])
            for r in range(ROWS):
                store(builder, largest[r], values, builder.add(builder.mul(number(r), count), loop.index), 1)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@intrinsic
def byte_largest(typing_context, a, b, chunks, limit):  # type: ignore[no-untyped-def]
    """Largest |a - b| over 64 * chunks unsigned bytes; stops early with some value above ``limit``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left, right = (pointer(builder, x, V64) for x in args[:2])
        limits = splat(builder, builder.trunc(args[3], I8), 64)
        largest = cgutils.alloca_once_value(builder, ZERO64)
        with cgutils.for_range(builder, args[2]) as loop:
            gap = _difference(builder, load(builder, left, loop.index, 1), load(builder, right, loop.index, 1))
            builder.store(_larger(builder, builder.load(largest), gap), largest)
            over = builder.bitcast(builder.icmp_unsigned(">", gap, limits), I64)
            with builder.if_then(builder.icmp_unsigned("!=", over, number(0)), likely=False):
                loop.do_break()
        name = "llvm.vector.reduce.umax.v64i8"
        reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I8, [V64]), name)
        return builder.zext(builder.call(reduce, [builder.load(largest)]), I64)

    return types.int64(*[types.int64] * 4), generate
