"""The compiled search, ``native.c``, through ctypes: which library and level of it serve this machine, and the threads.

The search runs without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datarobust.errors import UsageError
from datarobust.types import Array, T

LEVELS = ("plain", "avx2", "avx512")
"""As ``DATAROBUST_SIMD`` spells them, in the order of native.c."""

_ARRAYS = "bytes floats place origin label soft key neighbour radius near packed square far rest near_slack far_slack"
_NUMBERS = "width classes k near_width far_width columns linf whole margin same"
_REALS = "widest near_step far_step most_slack"


class _Search(ctypes.Structure):
    """The ``Search`` of native.c."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in _ARRAYS.split()]
        + [(name, ctypes.c_int64) for name in _NUMBERS.split()]
        + [(name, ctypes.c_double) for name in _REALS.split()]
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled search; None where the package was installed without a compiler.

    Raises:
        UsageError: it was compiled from another version of its source.
    """
    path = next(Path(__file__).parent.glob("_native*.so"), None)
    if path is None:
        return None
    handle = ctypes.CDLL(str(path))
    i64 = ctypes.c_int64
    handle.size_of_search.restype = i64
    if handle.size_of_search() != ctypes.sizeof(_Search):
        raise UsageError(f"{path} was compiled from another version of datarobust: install the package again")
    search = ctypes.POINTER(_Search)
    handle.match.argtypes = [ctypes.c_int, search, i64, i64, i64, i64, ctypes.c_int]
    handle.seed.argtypes = [ctypes.c_int, search, ctypes.c_void_p, i64, i64, ctypes.c_int]
    pointer = ctypes.c_void_p
    handle.ruled_out.argtypes = [pointer, i64, pointer, i64, pointer, pointer, pointer, i64, pointer]
    handle.ruled_out.restype = None
    return handle


def level() -> int:
    """The level to use: the best that the processor has, or the one that ``DATAROBUST_SIMD`` names.

    Raises:
        UsageError: it names no level, or one that the processor lacks.
    """
    handle, name = library(), os.environ.get("DATAROBUST_SIMD", "")
    highest = 0 if handle is None else int(handle.highest_level())
    if not name:
        return highest
    if name not in LEVELS:
        raise UsageError(f"DATAROBUST_SIMD={name} names no instructions: choose {', '.join(LEVELS)}, or unset it")
    if LEVELS.index(name) > highest:
        raise UsageError(f"DATAROBUST_SIMD={name}: this processor has no more than {LEVELS[highest]}; unset it")
    return LEVELS.index(name)


def ruled_out(levels: Array, coordinates: Array, first: Array, second: Array, limits: Array) -> npt.NDArray[np.int64]:
    """How many pairs (first, second) of samples each coordinate tells apart by more than their limits.

    ``levels`` (D, samples) uint8; the other arrays int64; all C-contiguous.
    """
    counts = np.empty(len(coordinates), np.int64)
    handle = library()
    assert handle is not None  # engine_of has seen to it
    where = [part.ctypes.data for part in (levels, coordinates, first, second, limits, counts)]
    handle.ruled_out(
        where[0], levels.shape[1], where[1], len(coordinates), where[2], where[3], where[4], len(first), where[5]
    )
    return counts


class Kernel:
    """The compiled loops over one set of arrays, which they read and, in the state, write."""

    def __init__(self, arrays: dict[str, Array], numbers: dict[str, int | float]) -> None:
        """``arrays`` and ``numbers`` by the names of native.c's Search; arrays that are left out are not used."""
        for name, array in arrays.items():
            assert array.flags.c_contiguous, name
        self._arrays = arrays  # they live as long as their addresses
        self._search = _Search(**{name: array.ctypes.data for name, array in arrays.items()}, **numbers)
        self._level, self._library = level(), library()

    def match(self, ends: tuple[int, int, int, int], both: bool) -> None:
        """Compare positions i0..i1 with j0..j1, the ``ends``; ``both``: the latter learn of the former too."""
        assert self._library is not None
        if self._library.match(self._level, self._search, *ends, both):
            raise MemoryError

    def seed(self, window: npt.NDArray[np.int64], queries: int, both: bool) -> None:
        """Give the positions of a window below ``queries`` first neighbours among those of the window."""
        assert self._library is not None
        if self._library.seed(self._level, self._search, window.ctypes.data, len(window), queries, both):
            raise MemoryError


def available_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class Workers(ThreadPoolExecutor):
    """A pool of ``threads`` threads, all processors if None; one where it is negative."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = max(1, threads or available_threads())
        super().__init__(self.threads)

    def each(self, task: Callable[[T], object], items: Iterable[T]) -> None:
        """Run ``task(item)`` for each item, side by side; returns when all are done, and raises the first error."""
        for _ in self.map(task, items):
            pass

    def over(self, n: int, multiple: int, task: Callable[[int, int], object]) -> None:
        """Split 0..n into a range a thread, bounds at multiples of ``multiple``, and run ``task(start, stop)`` on
        each.
        """
        size = max(multiple, -(-n // self.threads // multiple) * multiple)
        self.each(lambda start: task(start, min(start + size, n)), range(0, n, size))
