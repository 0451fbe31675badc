"""Threads for the kernels, which run without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self


def available_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class Workers:
    """A pool of ``threads`` threads; with one, tasks run in the caller's thread."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available_threads()
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def all(self, tasks: Iterable[Callable[[], object]]) -> None:
        """Run tasks side by side; returns when all are done, and raises the first error."""
        if self._pool is None:
            for task in tasks:
                task()
            return
        for done in [self._pool.submit(task) for task in tasks]:
            done.result()

    def over(self, n: int, multiple: int, task: Callable[[int, int], object]) -> None:
        """Split 0..n into a range a thread, bounds at multiples of ``multiple``, and run ``task(start, stop)`` on
        each.
        """
        size = max(multiple, -(-n // self.threads // multiple) * multiple)
        self.all([lambda a=start: task(a, min(a + size, n)) for start in range(0, n, size)])  # type: ignore[misc]
