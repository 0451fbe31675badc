"""Vector instructions for the kernels, written as LLVM code for numba.

numba turns scalar loops into vector code well, but it cannot be led to the two instructions that decide how fast a
data set is ranked: the byte dot product with 32-bit sums (``vpdpbusd``, "VNNI"), and byte-wise absolute differences on
whole registers. Each function here is a few lines of LLVM vector code; it takes addresses (``array[i:].ctypes.data``)
and trusts its caller with lengths. The byte differences are generic vector code that LLVM lowers to any processor. The
dot products need ``avx512vnni``; :data:`VNNI` says whether this processor has it, and :mod:`.portable` holds the plain
twins used where it has not.

``vpdpbusd`` multiplies unsigned by signed bytes and adds four neighbouring products to a 32-bit lane without
saturation, so every sum is exact while it fits 31 bits: 65,793 products of any two bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

ROWS = 8
"""Rows a mask kernel handles at once: they stay in registers while the columns stream by."""

WIDTH = 64
"""Bytes of a vector register; codes and rows are padded to a multiple of it."""

EXACT_BYTES = 32768
"""Bytes whose dot product surely fits a 32-bit sum."""

VNNI: bool = bool(binding.get_host_cpu_features().get("avx512vnni", False)) and not config.CPU_NAME
"""Whether the exact byte dot product exists on this processor (and numba compiles for it)."""

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
V16 = ir.VectorType(I32, 16)
V64 = ir.VectorType(I8, 64)
ZERO16 = ir.Constant(V16, [0] * 16)
ZERO64 = ir.Constant(V64, [0] * 64)


def number(value: int) -> ir.Constant:
    """A 64-bit constant."""
    return ir.Constant(I64, value)


def pointer(builder: Any, address: Any, element: ir.Type) -> Any:
    """An address as a pointer to elements."""
    return builder.inttoptr(address, element.as_pointer())


def load(builder: Any, pointer: Any, index: Any, align: int) -> Any:
    """Element ``index``, at an address that is a multiple of ``align``."""
    return builder.load(builder.gep(pointer, [index]), align=align)


def store(builder: Any, value: Any, pointer: Any, index: Any, align: int) -> None:
    """Write element ``index``."""
    builder.store(value, builder.gep(pointer, [index]), align=align)


def splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """The vector whose every lane is ``scalar``."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def trap(builder: Any) -> None:
    """Stop the process: emitted in place of instructions this processor lacks, in code that is never reached there."""
    builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.trap"), [])


@intrinsic
def lowest_bit(typing_context, word):  # type: ignore[no-untyped-def]
    """Place of the lowest set bit of a non-zero uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def borrow(typing_context, array):  # type: ignore[no-untyped-def]
    """The same array without a share in its memory: views of it count no references. The caller keeps it alive."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), generate
