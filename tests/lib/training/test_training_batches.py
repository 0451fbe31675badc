"""Who is drawn when: permutations that follow from the seed and the epoch, and a stream in a random order."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.training.batches import injected, mixed, oversampled, real_rows
from datarobust.training.images import StreamOrder

seeds = st.integers(0, 2**64 - 1)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, epoch=st.integers(0, 5000), n=st.integers(1, 60), count=st.integers(1, 200))
def test_an_epoch_draws_without_replacement_as_long_as_it_can(seed: int, epoch: int, n: int, count: int) -> None:
    available = np.arange(n) * 3 + 1
    rows = real_rows(seed, epoch, available, count)
    assert len(rows) == count
    for start in range(0, count, n):
        part = rows[start : start + n]
        assert len(set(part.tolist())) == len(part)
        assert set(part.tolist()) <= set(available.tolist())
    np.testing.assert_array_equal(rows, real_rows(seed, epoch, available, count))


def test_epochs_and_seeds_draw_differently() -> None:
    rows = np.arange(100)
    drawn = {tuple(real_rows(seed, epoch, rows, 40)) for seed in (0, 1) for epoch in range(10)}
    assert len(drawn) == 20


def test_every_image_is_drawn_as_often() -> None:
    """2,000 epochs of 10 out of 40 rows: chi-square with 39 degrees of freedom, 99.99 % at 82."""
    counts = Counter(row for epoch in range(2000) for row in real_rows(7, epoch, np.arange(40), 10).tolist())
    assert sum((counts[row] - 500) ** 2 / 500 for row in range(40)) < 82


@settings(deadline=None, max_examples=60)
@given(seed=seeds, epoch=st.integers(0, 100), n=st.integers(2, 60), extra=st.integers(0, 100), data=st.data())
def test_oversampling_puts_all_of_the_focus_into_every_epoch(seed, epoch, n, extra, data) -> None:  # type: ignore[no-untyped-def]
    available = np.arange(n)
    focus = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n))))
    rows = oversampled(seed, epoch, available, focus, len(focus) + extra)
    counts = Counter(rows.tolist())
    others = n - len(focus)
    assert len(rows) == len(focus) + extra
    assert all(counts[row] >= 1 for row in focus.tolist())
    if others:
        assert all(counts[row] == 1 for row in focus.tolist())
        assert all(counts[row] <= -(-extra // others) for row in set(range(n)) - set(focus.tolist()))


def test_injections_go_round_the_focus_set() -> None:
    first, second = (injected(0, epoch, np.arange(1024), 800) for epoch in (0, 1))
    assert len(set(first.tolist())) == 800
    assert not np.array_equal(first, second)
    assert set(injected(0, 0, np.arange(5), 12).tolist()) == set(range(5))


def test_a_batch_is_mixed() -> None:
    assert sorted(mixed(3, 17, 50).tolist()) == list(range(50))
    assert not np.array_equal(mixed(3, 17, 50), mixed(3, 18, 50))


# --------------------------------------------------------------------------------------------------------- streams


def all_draws(order: StreamOrder, start: int, count: int) -> list[int]:
    """Rows, one draw after the other."""
    rows: list[int] = []
    for turn, block, low, high in order.pieces(start, count):
        rows += (order.within(turn, block)[low:high] + block * order.block).tolist()
    return rows


@settings(deadline=None, max_examples=80)
@given(seed=seeds, n=st.integers(1, 90), block=st.integers(1, 40), start=st.integers(0, 200), count=st.integers(0, 250))
def test_a_draw_is_a_function_of_its_number(seed: int, n: int, block: int, start: int, count: int) -> None:
    whole = all_draws(StreamOrder(seed, n, block), 0, start + count)
    assert all_draws(StreamOrder(seed, n, block), start, count) == whole[start:]
    one_by_one = StreamOrder(seed, n, block)
    assert [all_draws(one_by_one, start + i, 1)[0] for i in range(min(count, 50))] == whole[start : start + 50]


@settings(deadline=None, max_examples=60)
@given(seed=seeds, n=st.integers(1, 90), block=st.integers(1, 100))
def test_every_pass_has_every_row_once(seed: int, n: int, block: int) -> None:
    order = StreamOrder(seed, n, block)
    for turn in range(3):
        assert sorted(all_draws(order, turn * n, n)) == list(range(n))


def test_passes_differ_in_the_order_of_blocks_and_of_rows() -> None:
    order = StreamOrder(0, 64, 8)
    first, second = all_draws(order, 0, 64), all_draws(order, 64, 64)
    assert [row // 8 for row in first[::8]] != [row // 8 for row in second[::8]]
    assert [row % 8 for row in first] != [row % 8 for row in second]
