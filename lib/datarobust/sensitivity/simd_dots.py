"""Byte dot products: the projection of rows, squared distances of codes, and exact squared distances of rows.

They need :data:`~.simd.VNNI`; without it their callers use the plain twins of :mod:`.portable`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import I16, I32, ROWS, V16, VNNI, ZERO16, load, number, pointer, splat, store, trap


def _dot_step(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """One ``vpdpbusd``: to each of 16 lanes of ``total`` adds four products of an unsigned and a signed byte."""
    name = "llvm.x86.avx512.vpdpbusd.512"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(V16, [V16, V16, V16]), name)
    return builder.call(function, [total, unsigned, signed])


def _tile_sums(builder: Any, rows: Any, cols: Any, group: Any) -> list[Any]:
    """Dot products of ROWS rows (64 signed bytes each) with the 16 columns (64 unsigned bytes each) of a group."""
    sums = [ZERO16] * ROWS
    for step in range(16):
        block = load(builder, cols, builder.add(builder.mul(group, number(16)), number(step)), 4)
        for r in range(ROWS):
            four = splat(builder, load(builder, rows, number(r * 16 + step), 4), 16)
            sums[r] = _dot_step(builder, sums[r], block, four)
    return sums


def _squares(builder: Any, col_norm: Any, row_norm: Any, dot: Any) -> Any:
    """|a|^2 + |b|^2 - 2 ab, lane by lane."""
    return builder.sub(builder.add(col_norm, row_norm), builder.shl(dot, ir.Constant(V16, [1] * 16)))


@intrinsic
def l2_masks(  # type: ignore[no-untyped-def]
    typing_context, rows, row_norm, row_limit, cols, col_norm, col_limit, out, groups
):
    """Mark pairs of codes whose squared distance is at most the larger of their two limits.

    ``rows`` ROWS x 64 signed codes; ``cols`` packed (groups, 16 steps, 16 columns, 4) unsigned codes; ``*_norm``
    and ``*_limit`` int32; ``out`` uint16 (ROWS, groups), a bit for each column. Addresses all, ``groups`` a number.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not VNNI:
            trap(builder)
            return context.get_dummy_value()
        codes, norms, limits = (pointer(builder, a, I32) for a in args[:3])
        columns, col_norms, col_limits = (pointer(builder, a, V16) for a in args[3:6])
        masks, count = pointer(builder, args[6], I16), args[7]
        row_norms = [splat(builder, load(builder, norms, number(r), 4), 16) for r in range(ROWS)]
        row_limits = [splat(builder, load(builder, limits, number(r), 4), 16) for r in range(ROWS)]
        with cgutils.for_range(builder, count) as loop:
            sums = _tile_sums(builder, codes, columns, loop.index)
            norm = load(builder, col_norms, loop.index, 4)
            limit = load(builder, col_limits, loop.index, 4)
            for r in range(ROWS):
                squared = _squares(builder, norm, row_norms[r], sums[r])
                either = builder.select(builder.icmp_signed(">", limit, row_limits[r]), limit, row_limits[r])
                mask = builder.bitcast(builder.icmp_signed("<=", squared, either), I16)
                store(builder, mask, masks, builder.add(builder.mul(number(r), count), loop.index), 2)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


@intrinsic
def l2_values(typing_context, rows, row_norm, cols, col_norm, out, groups):  # type: ignore[no-untyped-def]
    """Squared distances of codes, laid out as for :func:`l2_masks`; ``out`` int32 (ROWS, groups, 16)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not VNNI:
            trap(builder)
            return context.get_dummy_value()
        codes, norms = (pointer(builder, a, I32) for a in args[:2])
        columns, col_norms, values = (pointer(builder, a, V16) for a in args[2:5])
        count = args[5]
        row_norms = [splat(builder, load(builder, norms, number(r), 4), 16) for r in range(ROWS)]
        with cgutils.for_range(builder, count) as loop:
            sums = _tile_sums(builder, codes, columns, loop.index)
            norm = load(builder, col_norms, loop.index, 4)
            for r in range(ROWS):
                place = builder.add(builder.mul(number(r), count), loop.index)
                store(builder, _squares(builder, norm, row_norms[r], sums[r]), values, place, 4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@intrinsic
def project_rows(typing_context, rows, stride, cols, steps, out, out_stride):  # type: ignore[no-untyped-def]
    """Integer products of ROWS rows of unsigned bytes with 16 columns of signed bytes.

    ``rows`` begin ``stride`` bytes apart; ``cols`` packed (steps, 16 columns, 4 bytes); ``out`` int32, rows
    ``out_stride`` bytes apart, 16 products each. Exact while 4 * steps <= EXACT_BYTES.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not VNNI:
            trap(builder)
            return context.get_dummy_value()
        start, stride_, cols_, steps_, out_, out_stride_ = args
        columns = pointer(builder, cols_, V16)
        lanes = [pointer(builder, builder.add(start, builder.mul(number(r), stride_)), I32) for r in range(ROWS)]
        sums = [cgutils.alloca_once_value(builder, ZERO16) for _ in range(ROWS)]
        with cgutils.for_range(builder, steps_) as loop:
            block = load(builder, columns, loop.index, 4)
            for r in range(ROWS):
                four = splat(builder, load(builder, lanes[r], loop.index, 1), 16)
                builder.store(_dot_step(builder, builder.load(sums[r]), four, block), sums[r])
        for r in range(ROWS):
            place = pointer(builder, builder.add(out_, builder.mul(number(r), out_stride_)), V16)
            store(builder, builder.load(sums[r]), place, number(0), 4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@intrinsic
def byte_dot(typing_context, unsigned, signed, chunks, flip_unsigned, flip_signed):  # type: ignore[no-untyped-def]
    """Sum over 64 * chunks bytes of u * s, u and s read as unsigned and signed after ``xor`` with the flip words.

    A flip of 0x80808080 reads stored signed bytes as value + 128 (unsigned), or stored unsigned ones as value - 128
    (signed).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not VNNI:
            trap(builder)
            return ir.Constant(I32, 0)
        left, right = (pointer(builder, a, V16) for a in args[:2])
        flips = [splat(builder, builder.trunc(a, I32), 16) for a in args[3:5]]
        total = cgutils.alloca_once_value(builder, ZERO16)
        with cgutils.for_range(builder, args[2]) as loop:
            u = builder.xor(load(builder, left, loop.index, 1), flips[0])
            s = builder.xor(load(builder, right, loop.index, 1), flips[1])
            builder.store(_dot_step(builder, builder.load(total), u, s), total)
        name = "llvm.vector.reduce.add.v16i32"
        reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, [V16]), name)
        return builder.call(reduce, [builder.load(total)])

    return types.int32(*[types.int64] * 5), generate
