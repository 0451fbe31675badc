"""Threads for the kernels, which run without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def available_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class Workers(ThreadPoolExecutor):
    """A pool of ``threads`` threads, all processors if None."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available_threads()
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
