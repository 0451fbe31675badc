"""Threads do all that they are given, and say what went wrong."""

from __future__ import annotations

import pytest

from datarobust.sensitivity.native import Workers, available_threads


@pytest.mark.parametrize("threads", [1, 2, 5, None, -1])
def test_all_tasks_are_done(threads: int | None) -> None:
    done: list[int] = []
    with Workers(threads) as workers:
        assert workers.threads == max(1, threads or available_threads())
        workers.each(done.append, range(50))
        workers.each(done.append, [])
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_is_raised(threads: int) -> None:
    def task(n: int) -> None:
        if n == 3:
            raise ValueError("three")

    with Workers(threads) as workers, pytest.raises(ValueError, match="three"):
        workers.each(task, range(6))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("n", "multiple"), [(0, 64), (1, 64), (64, 64), (65, 64), (1000, 8), (7, 1)])
def test_a_range_is_split_at_multiples(threads: int, n: int, multiple: int) -> None:
    parts: list[tuple[int, int]] = []
    with Workers(threads) as workers:
        workers.over(n, multiple, lambda start, stop: parts.append((start, stop)))
    assert sorted(i for start, stop in parts for i in range(start, stop)) == list(range(n))
    assert all(start % multiple == 0 for start, _ in parts)
    assert len(parts) <= threads
