"""What the kernels work on: flat tuples of arrays, a position each for every point.

A *position* is a point's place in the order of the search; ``Points.origin`` leads back to its row in the data set.
Points of one panel stand together, sorted by label, and each panel is padded to a multiple of :data:`PAD` positions,
so that blocks of columns start on whole vectors. ``P`` is the number of positions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PAD = 64
"""Positions a panel is padded to."""

NO_INDEX = np.iinfo(np.int64).max
"""In ``State.neighbour``: no neighbour yet (so that any neighbour's index is lower)."""


class Points(NamedTuple):
    """The points themselves."""

    data: Array
    """(R, W) uint8 or float32: the resident rows, padded with zeros to W, a multiple of 64 bytes."""
    place: Array
    """(P,) int64: the row of ``data``, -1 while the point's panel is not resident."""
    origin: Array
    """(P,) int64: row in its data set, -1 for padding."""
    label: Array
    """(P,) int64."""
    soft: Array
    """(P, C) float32 label vectors, or (0, 0) where labels are classes."""
    total: Array
    """(P,) int64: sum of the bytes; (0,) where not needed."""
    square: Array
    """(P,) int64: sum of the squared bytes; (0,) where not needed."""
    vector: bool
    """Whether to use the processor's byte dot products (:data:`.simd.VNNI`) or their plain twins."""


class State(NamedTuple):
    """The best neighbours found so far; the search only ever lowers them."""

    key: Array
    """(P, k) float64, ascending: what the norm compares (squared l2 distance, l-infinity distance), divided by ||y_i -
    y_j||.
    """
    neighbour: Array
    """(P, k) int64: rows of the neighbours; equal keys stand by ascending index."""
    radius: Array
    """(P,) float64: a pair farther apart than this cannot improve the point."""
    widest: float
    """The largest ||y_i - y_j|| of the set: 1 where labels are classes."""
    whole: bool
    """Whether keys are whole numbers: bytes, labelled by classes."""


class L2Codes(NamedTuple):
    """Bytes that bound every l2 distance from below; :mod:`.l2` says how and why."""

    near: Array
    """(P, 64) int8: coordinates on the leading directions, and the remainder's length."""
    packed: Array
    """(P/16, 16, 16, 4) uint8: ``near`` + 128, columns beside each other."""
    row_norm: Array
    """(P,) int32: |near|^2 + 256 * sum(near), which makes up for the + 128."""
    col_norm: Array
    """(P,) int32: |near|^2."""
    far: Array
    """(P, F) int8: the leading coordinates again (the remainder zeroed), then further ones; F a multiple of 64."""
    far_norm: Array
    """(P, 2) int32: squared lengths of both parts of ``far``."""
    far_sum: Array
    """(P, 2) int32: their sums."""
    rest: Array
    """(P,) float64: length of what no direction of ``far`` sees."""
    slack: Array
    """(P,) float64: how far ``far`` and ``rest`` may be from the truth, in units of distance."""
    near_step: float
    """Distance a step of ``near`` stands for."""
    far_step: float
    """Distance a step of the second part of ``far`` stands for."""
    near_slack: Array
    """(P,) float64: how far ``near`` may be from the truth, in units of distance."""
    most_slack: float
    """``near_slack`` of all but a few wild points, which every point is compared with."""


class LinfCodes(NamedTuple):
    """Bytes that bound every l-infinity distance from below; :mod:`.linf` says how and why."""

    near: Array
    """(P, M) uint8: chosen coordinates, the most telling first; M a multiple of 64."""
    packed: Array
    """(P/64, C, 64) uint8: the first C of them, columns beside each other."""
    step: float
    """Distance a step of a code stands for."""
    margin: int
    """Steps by which codes may be farther apart than their points: 0 for bytes."""


Codes = L2Codes | LinfCodes


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An uninitialised array whose first byte stands on a 64-byte line, where vector loads are fastest."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def new_state(positions: int, k: int, widest: float, whole: bool) -> State:
    """A state without any neighbour."""
    return State(
        key=np.full((positions, k), np.inf),
        neighbour=np.full((positions, k), NO_INDEX),
        radius=np.full(positions, np.inf),
        widest=widest,
        whole=whole,
    )
