"""Are these values what they claim to be?  Raw rows in, checked rows out; the first wrong value is named.

Pixels are bytes. uint8 passes as it is; every other dtype is accepted only where nothing is lost: integers within
0..255, and floats that are either whole numbers within 0..255 or multiples of 1/255 within 0..1. Which of the two
scales a float array has is decided once, by the first value that tells them apart (:func:`tell_scale`), so that a
mixture of both is found instead of guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError
from datarobust.types import Array, Rows

Scale = Literal["unit", "bytes"]

PIXEL_TOLERANCE = 1e-4
"""How far 255 v may lie from a whole number, for v = k/255 in float32 or float64 (float32 rounds to within 2e-5)."""
HALF_TOLERANCE = 0.13
"""The same for float16, whose rounding of k/255 alone moves 255 v by up to 255 * 2**-11 = 0.125."""
SUM_TOLERANCE = 1e-3  # of the entries of a soft label from 1; float16 probabilities of 100 classes stay within
MOST_CLASSES = 1_000_000  # labels at or above it are no class numbers but identifiers: refused


def tell_scale(raw: Array) -> Scale | None:
    """``unit`` or ``bytes`` by the first value of ``raw`` that tells them apart, None where all are 0 or 1.

    NaN, negative and other wrong values are left to :func:`as_images`.
    """
    with np.errstate(invalid="ignore"):
        telling = raw.ravel()[(raw.ravel() > 0) & (raw.ravel() != 1)]
    if not len(telling):
        return None
    return "bytes" if telling[0] > 1 else "unit"


def as_images(raw: Array, scale: Scale, row: int, where: str) -> npt.NDArray[np.uint8]:
    """``raw`` (B, ...) as uint8 of the same shape, nothing rounded away.

    ``row`` is the place of ``raw[0]`` in the array ``where``. Raises DataError naming the first value that is NaN,
    infinite, out of range or between two bytes.
    """
    if raw.dtype == np.uint8:
        return raw.astype(np.uint8, copy=False)
    if raw.dtype.kind == "b":
        return raw.astype(np.uint8) * np.uint8(255)
    if raw.dtype.kind in "ui":
        _refuse((raw < 0) | (raw > 255), raw, row, where, lambda v: "is no byte: pixels are integers from 0 to 255")
        return raw.astype(np.uint8)
    exact = raw.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = exact * 255.0 if scale == "unit" else exact
        nearest = np.rint(scaled)
        tolerance = HALF_TOLERANCE if raw.dtype.itemsize < 4 else PIXEL_TOLERANCE
        near = tolerance if scale == "unit" else 0.0
        good = (np.abs(scaled - nearest) <= near) & (scaled >= -near) & (scaled <= 255.0 + near)
    _refuse(~good, raw, row, where, lambda value: _pixel_fault(value, scale))
    return nearest.astype(np.uint8)


def _pixel_fault(value: float, scale: Scale) -> str:
    if not np.isfinite(value):
        return "is no pixel value"
    if scale == "unit":
        if 0 <= value <= 1:
            return "is no multiple of 1/255: save the images as uint8, or as (N, D) float features"
        return "lies outside 0..1, the range of the values before it: one array has one range"
    if 0 <= value <= 255:
        return "is no whole number, while the values before it are within 0..255: one array has one range"
    return "lies outside 0..255"


def as_features(raw: Array, row: int, where: str) -> npt.NDArray[np.float32]:
    """``raw`` (B, D) as float32; float64 is rounded to the nearest float32, integers must be exact.

    Raises DataError naming row and column of the first value that is NaN, infinite, or too large for float32.
    """
    with np.errstate(over="ignore"):
        values = raw.astype(np.float32)
    if raw.dtype.kind in "ui" and raw.dtype.itemsize > 2:
        wide = (raw > 1 << 24) | ((raw < -(1 << 24)) if raw.dtype.kind == "i" else False)
        _refuse(np.asarray(wide), raw, row, where, lambda v: "exceeds 2**24 and is not exact in float32: scale it down")
    wrong = ~np.isfinite(values)
    _refuse(
        wrong, raw, row, where, lambda v: "exceeds float32" if abs(v) < np.inf else "is no number: give finite ones"
    )
    return values


def as_labels(raw: Array, row: int, where: str, classes: int = 0) -> tuple[Rows, npt.NDArray[np.float32] | None]:
    """Labels int64 (B), and soft labels float32 (B, C) where ``raw`` holds distributions in floats.

    Accepted: whole numbers (B,) or (B, 1) from 0 to C-1; one-hot rows of integers or booleans (B, C); rows of
    probabilities (B, C), whose hard label is the lowest index among the largest entries. A class may have no points.
    ``classes`` is the number of class names, 0 where there are none. Raises DataError naming the first wrong one.
    """
    if raw.ndim == 2 and raw.shape[1] > 1:
        return _distributions(raw, row, where)
    flat = raw.reshape(len(raw))
    if flat.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(flat) & (np.rint(flat) == flat)
        _refuse(~whole, flat, row, where, lambda v: "is no whole number: labels are 0, 1, ... C-1")
    if flat.dtype.kind != "b":
        _refuse(flat < 0, flat, row, where, lambda v: "is negative: labels are 0, 1, ... C-1")
        known = f"is not among the {classes} classes 0..{classes - 1}"
        fault = known if classes else "is too large for a class number"
        _refuse(flat >= (classes or MOST_CLASSES), flat, row, where, lambda v: fault)
    return flat.astype(np.int64), None


def _distributions(raw: Array, row: int, where: str) -> tuple[Rows, npt.NDArray[np.float32] | None]:
    """Rows that sum to one -> labels and, for floats, the rows themselves."""
    exact = raw.astype(np.float64)
    _refuse(~np.isfinite(exact), raw, row, where, lambda v: "is no probability")
    _refuse(exact < 0, raw, row, where, lambda v: "is negative: the rows of soft labels are probabilities")
    sums = exact.sum(axis=1)
    hard = raw.dtype.kind in "uib"
    good = (sums == 1.0) if hard else np.abs(sums - 1.0) <= SUM_TOLERANCE
    if not good.all():
        first = int(np.argmin(good))
        kinds = "labels of two dimensions are one-hot rows or probabilities"
        raise DataError(f"{where}[{row + first}] sums to {sums[first]:g}, not to 1: {kinds}.")
    return exact.argmax(axis=1).astype(np.int64), None if hard else raw.astype(np.float32)


def _refuse(bad: npt.NDArray[np.bool_], raw: Array, row: int, where: str, fault: Callable[[float], str]) -> None:
    """Raise DataError for the first True of ``bad`` in row order; nothing where there is none."""
    if not bad.any():
        return
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    value = raw[place]
    spelled = ", ".join(str(int(axis)) for axis in (place[0] + row, *place[1:]))
    raise DataError(f"{where}[{spelled}] = {value} {fault(float(value))}.")
