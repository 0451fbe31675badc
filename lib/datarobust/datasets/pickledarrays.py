"""NumPy arrays in pickles: inert records in place of the functions that a pickle asks for.

A pickle of an array does not hold the array but calls that make it: ``_reconstruct(ndarray, (0,), b"b")``, then
``__setstate__((1, shape, dtype, fortran, bytes))``. Here none of these functions is looked up, let alone called: each
name that may occur is a :class:`Known`, and :func:`call` and :func:`build` make records of the arguments. Protocol 5
asks for ``_frombuffer(bytes, dtype, shape, order)`` instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, cast

import numpy as np

from datarobust.datasets.extents import Extent, Reader
from datarobust.datasets.pickletape import Refusal
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array

MOST_DIMENSIONS = 32
_IN_MEMORY = 512 << 20
_TYPE = re.compile(r"[<>|=]?([biufSUO])[1-9]\d{0,5}")


class Known(Enum):
    """A name that a pickle of data may ask for. It is never called: it tells what a record is to be made of."""

    NDARRAY = "ndarray"
    DTYPE = "dtype"
    RECONSTRUCT = "_reconstruct"
    SCALAR = "scalar"
    FROMBUFFER = "_frombuffer"
    ENCODE = "encode"
    BYTES = "bytes"


KNOWN = {
    ("numpy", "ndarray"): Known.NDARRAY,
    ("numpy", "dtype"): Known.DTYPE,
    **{
        (f"numpy.{core}.{module}", known.value): known
        for core in ("core", "_core")
        for module, known in (
            ("multiarray", Known.RECONSTRUCT),
            ("multiarray", Known.SCALAR),
            ("numeric", Known.FROMBUFFER),
        )
    },
    ("_codecs", "encode"): Known.ENCODE,
    ("__builtin__", "bytes"): Known.BYTES,
    ("builtins", "bytes"): Known.BYTES,
}
"""Module and name, as NumPy 1 and 2 and both Pythons write them."""


@dataclass
class Blank:
    """An array or dtype between its making and its state; memo and stack hold it, so it is filled in place."""

    value: PickledArray | np.dtype[Any] | None = None


@dataclass(frozen=True)
class PickledArray:
    """An array whose bytes may still lie in the file.

    ``stored`` is the shape in which they follow each other in C order, ``axes`` the order of those axes in the array:
    reversed where it was Fortran's.
    """

    stored: tuple[int, ...]
    axes: tuple[int, ...]
    dtype: np.dtype[Any]
    data: bytes | Extent

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.stored[axis] for axis in self.axes)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (one entry of axis 0)."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def blocks(self, step: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """The rows ``start:stop`` in order, ``step`` at a time, each an array of native byte order.

        In bounded memory, but for arrays whose rows do not follow each other, which are read whole. Raises DataError
        where the bytes end before or go on after the last row.
        """
        total = self.shape[0]
        stop = total if stop is None else min(stop, total)
        if start >= stop:
            return
        if self.axes[0] != 0:
            whole = self._whole()
            for row in range(start, stop, step):
                yield whole[row : min(row + step, stop)]
            return
        with ExitStack() as stack:
            data, begin = self.data, start * self.row_bytes
            reader = stack.enter_context(Reader(data, begin)) if isinstance(data, Extent) else None
            for row in range(start, stop, step):
                count = min(step, stop - row)
                size = count * self.row_bytes
                place = row * self.row_bytes
                raw = data[place : place + size] if isinstance(data, bytes) else cast(Reader, reader).read(size)
                yield self._array(raw, (count, *self.stored[1:]))
            if stop == total and reader is not None and reader.read(1):
                raise DataError(f"{cast(Extent, data).raw.where} has more bytes for an array than its shape tells.")

    def _whole(self) -> Array:
        size = self.dtype.itemsize * math.prod(self.stored)
        if isinstance(self.data, bytes):
            return self._array(self.data, self.stored)
        if size > _IN_MEMORY:
            raise DataError(
                f"{self.data.raw.where} has an array of {size:,} bytes in Fortran's order, which cannot be streamed "
                "by rows: save it through numpy.ascontiguousarray."
            )
        with Reader(self.data) as reader:
            return self._array(reader.read(size), self.stored)

    def _array(self, raw: bytes, stored: tuple[int, ...]) -> Array:
        if len(raw) != self.dtype.itemsize * math.prod(stored):
            where = self.data.raw.where if isinstance(self.data, Extent) else "the pickle"
            raise DataError(f"{where} has fewer bytes for an array than its shape tells.")
        array: Array = np.ndarray(stored, self.dtype, raw).transpose(self.axes)
        return array.astype(self.dtype.newbyteorder("="), copy=False)


def call(function: object, arguments: object) -> object:
    """What a pickle gets for calling ``function``, as a record. Raises Refusal for all that is not data."""
    if not isinstance(function, Known) or not isinstance(arguments, tuple):
        raise Refusal("wants to call what is no function")
    match function, arguments:
        case Known.RECONSTRUCT, (Known.NDARRAY, (0,), _):
            return Blank()
        case Known.DTYPE, (code, *_):
            return Blank(_dtype(code))
        case Known.SCALAR, (Blank(value=np.dtype() as dtype), bytes(data)):
            return _scalar(dtype, data)
        case Known.FROMBUFFER, (
            bytes() | Extent() as data,
            Blank(value=np.dtype() as dtype),
            tuple(shape),
            order,
            *axes,
        ):
            return _from_buffer(data, dtype, shape, order, axes)
        case Known.ENCODE, (str(text), "latin1" | "latin-1"):
            return text.encode("latin-1")
        case Known.ENCODE, (Extent(text=True) as extent, "latin1" | "latin-1"):
            return replace(extent, text=False)
        case Known.BYTES, ():
            return b""
    raise Refusal(f"calls {function.value} with arguments that no array has")


def build(target: object, state: object) -> None:
    """Fill a blank with its state. Raises Refusal where that is not the state of an array or a dtype of numbers."""
    match target, state:
        case Blank(value=np.dtype() as dtype), (int(), str() | bytes() as order, None, None, None, *_):
            target.value = _ordered(dtype, text_of(order))
        case Blank(value=np.dtype()), _:
            raise Refusal("has an array of records, not of numbers")
        case Blank(), (
            *_,
            tuple(shape),
            Blank(value=np.dtype() as dtype),
            bool() | int() as fortran,
            bytes() | Extent() as data,
        ):
            axes = tuple(range(len(shape)))
            stored = shape[::-1] if fortran else shape
            target.value = _checked(stored, axes[::-1] if fortran else axes, dtype, data)
        case _:
            raise Refusal("sets the state of an object, which is not data")


def text_of(value: object) -> str | None:
    """A string of either Python as text, None where it is none."""
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def array_of(value: object, where: str) -> PickledArray:
    """An array, or a list of integers as an array int64. Raises DataError, naming ``where``, for anything else."""
    if isinstance(value, Blank) and isinstance(value.value, PickledArray):
        return value.value
    if not isinstance(value, list):
        raise DataError(f"{where} is no array of numbers.")
    for place, entry in enumerate(value):
        if type(entry) is not int:
            raise DataError(f"{where}[{place}] is no integer.")
    try:
        numbers = np.array(value, dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{where} has a number of more than 64 bits.") from error
    return PickledArray(numbers.shape, (0,), numbers.dtype, numbers.tobytes())


def _dtype(code: object) -> np.dtype[Any]:
    name = text_of(code) or ""
    found = _TYPE.fullmatch(name)
    if found is None:
        raise Refusal(f"has an array of dtype {shown(name[:20])}, which is neither numbers nor text")
    if found[1] == "O":
        raise Refusal("has an array of Python objects: save plain arrays of numbers")
    try:
        return np.dtype(name)
    except TypeError as error:
        raise Refusal(f"has an array of dtype {shown(name[:20])}, which does not exist") from error


def _ordered(dtype: np.dtype[Any], order: str | None) -> np.dtype[Any]:
    match order:
        case "<" | ">" | "=":
            return dtype.newbyteorder(order)
        case "|":
            return dtype
    raise Refusal("has an array of unknown byte order")


def _scalar(dtype: np.dtype[Any], data: bytes) -> object:
    if dtype.kind not in "biuf" or len(data) != dtype.itemsize:
        raise Refusal("has a number of a wrong size")
    return np.frombuffer(data, dtype=dtype)[0].item()


def _from_buffer(
    data: bytes | Extent, dtype: np.dtype[Any], shape: tuple[Any, ...], order: object, axes: list[Any]
) -> Blank:
    straight = tuple(range(len(shape)))
    match order, axes:
        case "C", [] | [None]:
            return Blank(_checked(shape, straight, dtype, data))
        case "F", [] | [None]:
            return Blank(_checked(shape[::-1], straight[::-1], dtype, data))
        case "K", [tuple(permuted)] if sorted(permuted) == list(straight):
            return Blank(_checked(shape, permuted, dtype, data))
    raise Refusal("has an array whose axes are in no order that is known")


def _checked(
    stored: tuple[Any, ...], axes: tuple[int, ...], dtype: np.dtype[Any], data: bytes | Extent
) -> PickledArray:
    """The array, if these are as many bytes as its shape and dtype tell; nothing is read or reserved before."""
    if len(stored) > MOST_DIMENSIONS or any(type(extent) is not int or extent < 0 for extent in stored):
        raise Refusal("has an array of a shape that no array has")
    size = dtype.itemsize * math.prod(stored)
    held = len(data) if isinstance(data, bytes) else data.length
    if isinstance(data, Extent) and data.text:
        raise Refusal("has an array made of text")
    if not (data.could_hold(size) if isinstance(data, Extent) else held == size):
        shape = "x".join(str(stored[axis]) for axis in axes) or "()"
        raise Refusal(f"claims {size:,} bytes for an array {shape} of {dtype}, but has {held:,} for it")
    return PickledArray(stored, axes, dtype, data)
