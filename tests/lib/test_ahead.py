"""What is computed ahead comes in order, one item before it is asked for, and errors come in their turn."""

from __future__ import annotations

import threading

import pytest

from datarobust.ahead import ahead


def test_the_next_item_is_at_work_while_the_caller_has_the_last() -> None:
    begun = [threading.Event() for _ in range(5)]

    def work(number: int) -> int:
        begun[number].set()
        return number * 10

    for number, result in enumerate(ahead(work, range(5))):
        assert result == number * 10
        if number < 4:
            assert begun[number + 1].wait(10)
        assert not any(event.is_set() for event in begun[number + 2 :])
    assert list(ahead(work, [])) == []


def test_an_error_comes_where_its_item_would() -> None:
    results, before = [], threading.active_count()
    with pytest.raises(ZeroDivisionError):
        results.extend(ahead(lambda number: 1 / number, [2, 1, 0, 5]))
    assert threading.active_count() == before
    assert results == [0.5, 1.0]
