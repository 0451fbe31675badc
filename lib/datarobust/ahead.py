"""Reading ahead: what is needed next is computed in a thread, while the caller works on what it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """``work(item)`` for each item in order; the next one is at work while the caller has the last one's result."""
    with ThreadPoolExecutor(1, "ahead") as thread:
        pending = None
        for item in items:
            following = thread.submit(work, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
