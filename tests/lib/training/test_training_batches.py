"""Who is drawn when: permutations that follow from the seed and the epoch, and a stream in a random order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.randomness import Domain
from datarobust.training.batches import Batches, oversampled, shuffled
from datarobust.training.images import Points, Stream, StreamOrder, to_float
from datarobust.training.recipe import Recipe
from datarobust.training.recipe import count as count_of

seeds = st.integers(0, 2**64 - 1)


@settings(max_examples=60)
@given(seed=seeds, epoch=st.integers(0, 5000), n=st.integers(1, 60), count=st.integers(1, 200))
def test_an_epoch_draws_without_replacement_as_long_as_it_can(seed: int, epoch: int, n: int, count: int) -> None:
    available = np.arange(n) * 3 + 1
    rows = shuffled(seed, Domain.EPOCH_REAL, epoch, available, count)
    assert len(rows) == count
    for start in range(0, count, n):
        part = rows[start : start + n]
        assert len(set(part.tolist())) == len(part)
        assert set(part.tolist()) <= set(available.tolist())
    np.testing.assert_array_equal(rows, shuffled(seed, Domain.EPOCH_REAL, epoch, available, count))


def test_epochs_and_seeds_draw_differently() -> None:
    rows = np.arange(100)
    drawn = {tuple(shuffled(seed, Domain.EPOCH_REAL, epoch, rows, 40)) for seed in (0, 1) for epoch in range(10)}
    assert len(drawn) == 20


def test_every_image_is_drawn_as_often() -> None:
    """2,000 epochs of 10 out of 40 rows: chi-square with 39 degrees of freedom, 99.99 % at 82."""
    counts: Counter[int] = Counter()
    for epoch in range(2000):
        counts.update(shuffled(7, Domain.EPOCH_REAL, epoch, np.arange(40), 10).tolist())
    assert sum((counts[row] - 500) ** 2 / 500 for row in range(40)) < 82


@settings(max_examples=30)
@given(seed=seeds, n=st.integers(2, 60), count=st.integers(1, 100), share=st.floats(0, 1), data=st.data())
def test_an_oversampled_epoch_has_its_share_of_the_focus(seed, n, count, share, data) -> None:  # type: ignore[no-untyped-def]
    """Points in focus, and others, are each drawn equally often, up to one draw; the share holds over many epochs."""
    focus = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n - 1))))
    available, drawn, total = np.arange(n), share * count, 0
    for epoch in range(20):
        rows = oversampled(seed, epoch, available, focus, count, drawn)
        np.testing.assert_array_equal(rows, oversampled(seed, epoch, available, focus, count, drawn))
        assert len(rows) == count
        counts = Counter(rows.tolist())
        for group in (set(focus.tolist()), set(range(n)) - set(focus.tolist())):
            draws = [counts[row] for row in group]
            assert max(draws) - min(draws) <= 1
        total += sum(counts[row] for row in focus.tolist())
        assert abs(total - drawn * (epoch + 1)) <= 0.5 + 1e-9


def batches_of(generated: bool, focus: list[int], held_out: list[int], **recipe: Any) -> Batches:
    """Batches of 60 small images."""
    chosen = Recipe(**({"batch": 20, "generated_fraction": 0.5, "bn_group": 0, "augment": "none"} | recipe))
    random = np.random.default_rng(0)
    points = Points.of(random.integers(0, 256, (60, 1, 4, 4)).astype(np.uint8), np.arange(60) % 3)
    more = points.images.numpy(), points.labels.numpy()
    stream = Stream(_Rows(more[0]), _Rows(more[1]), chosen.seed, 16) if generated else None
    counts = count_of(chosen, 60, len(held_out), generated, len(focus))
    available = np.setdiff1d(np.arange(60), held_out)
    return Batches(chosen, counts, points, available, stream, np.array(focus))


class _Rows:
    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.values[start:stop]


@pytest.mark.parametrize("generated", [False, True])
@pytest.mark.parametrize("mode", ["oversample", "fixed"])
@pytest.mark.parametrize(("times", "focus"), [(5.2, [3, 17, 40]), (2.0, [3, 17, 40]), (5.2, list(range(20, 40)))])
def test_points_in_focus_are_drawn_so_many_times_as_often(
    generated: bool, mode: Any, times: float, focus: list[int]
) -> None:
    """Whatever the sets: in the mean of 200 epochs; held-out points never, fixed ones in every epoch."""
    held_out = [0, 1, 2, 58]
    batches = batches_of(generated, focus, held_out, focus_mode=mode, focus_times=times)
    counts: Counter[int] = Counter()
    for epoch in range(200):
        rows, in_focus, _ = batches._epoch(epoch)
        counts.update(rows.tolist())
        assert batches.draws(epoch) == (in_focus.sum(), len(rows) - in_focus.sum())
        if mode == "fixed":
            assert set(focus) <= set(rows.tolist())
    assert not set(held_out) & set(counts)
    others = [counts[row] for row in range(60) if row not in focus + held_out]
    ratio = np.mean([counts[row] for row in focus]) / np.mean(others)
    at_least_once = (
        200 * len(focus) / (200 * (30 if generated else 60) - 200 * len(focus)) * (56 - len(focus)) / len(focus)
    )
    assert ratio == pytest.approx(max(times, at_least_once) if mode == "fixed" else times, rel=0.01)


def test_injected_points_are_drawn_besides() -> None:
    batches = batches_of(False, [3, 17, 40], [0], focus_mode="inject", focus_batch=2)
    for epoch in range(5):
        rows, in_focus, _ = batches._epoch(epoch)
        assert batches.draws(epoch) == (in_focus.sum() + 6, len(rows) - in_focus.sum())


def test_fixed_points_have_the_crafted_adversaries_and_others_none() -> None:
    """Every image of an epoch, in two processes: its example is that of the same point, in the order of use."""
    batches = [batches_of(True, [3, 17, 40], [0], focus_mode="fixed", augment="crop-flip") for _ in range(2)]
    batches[1] = Batches(
        batches[1]._recipe, batches[1]._counts, batches[1]._base, batches[1]._available, batches[1]._generated,
        batches[1]._focus, (1, 2),
    )  # fmt: skip
    whole = batches[0]
    for epoch in range(2):
        originals = whole.originals(epoch)
        assert originals is not None
        crafted = to_float(originals.images) * 0.5 + torch.arange(len(originals)).view(-1, 1, 1, 1)
        seen = []
        for step in range(whole._counts.steps):
            batch = whole.at(epoch, step, crafted)
            assert batch.fixed is not None
            assert batch.adversaries is not None
            half = batches[1].at(epoch, step, crafted)
            assert half.fixed is not None
            assert half.adversaries is not None
            torch.testing.assert_close(half.fixed, batch.fixed[10:])
            torch.testing.assert_close(half.adversaries[half.fixed], batch.adversaries[10:][half.fixed])
            for x, y, example in zip(
                batch.x[batch.fixed], batch.y[batch.fixed], batch.adversaries[batch.fixed], strict=True
            ):
                place = int(example.max())  # the least pixels of an example are those of its place
                torch.testing.assert_close(example - place, x * 0.5)
                torch.testing.assert_close(x, to_float(originals.images)[place])
                assert y == originals.labels[place]
                seen.append(place)
        assert sorted(seen) == list(range(len(originals)))
        assert len(seen) == whole.draws(epoch)[0]


@pytest.mark.parametrize("focus_batch", [0, 2])
def test_processes_have_parts_of_one_batch_and_read_no_more(focus_batch: int) -> None:
    focus = [3, 17, 40] if focus_batch else []
    whole = batches_of(True, focus, [0], focus_mode="inject", focus_batch=2, augment="crop-flip")
    asked: list[int] = []

    class Asked(Stream):
        def draw(self, start: int, count: int, places: Any = None) -> Any:
            asked.append(len(places))
            return super().draw(start, count, places)

    more = _Rows(whole._base.images.numpy()), _Rows(whole._base.labels.numpy())
    shares = [
        Batches(
            whole._recipe, whole._counts, whole._base, whole._available,
            Asked(*more, whole._recipe.seed, 16), whole._focus, (rank, 2),
        )
        for rank in range(2)
    ]  # fmt: skip
    for step in range(whole._counts.steps):
        originals = whole.originals(0)
        crafted = None if originals is None else to_float(originals.images) * 0.5
        batch = whole.at(0, step, crafted)
        parts = [share.at(0, step, crafted) for share in shares]
        torch.testing.assert_close(torch.cat([part.x for part in parts]), batch.x, rtol=0, atol=0)
        assert torch.cat([part.y for part in parts]).tolist() == batch.y.tolist()
    assert sum(asked) == whole._counts.generated * whole._counts.steps


def test_injections_go_round_the_focus_set() -> None:
    batches = batches_of(False, list(range(10, 50)), [0], focus_mode="inject", focus_batch=9)
    first, second = (batches._epoch(epoch)[2].tolist() for epoch in (0, 1))
    assert len(set(first)) == 27
    assert first != second
    few = batches_of(False, [3, 17, 40], [0], focus_mode="inject", focus_batch=2)
    assert sorted(few._epoch(0)[2].tolist()) == [3, 3, 17, 17, 40, 40]


def test_a_batch_is_mixed() -> None:
    batches = batches_of(True, [3, 17, 40], [0], focus_mode="inject", focus_batch=2)
    first, second = (batches.draw(0, step).index.tolist() for step in (0, 1))
    assert sorted(first) == sorted(second) == list(range(22))
    assert first != second != list(range(22)) != first


# --------------------------------------------------------------------------------------------------------- streams


def all_draws(order: StreamOrder, start: int, count: int) -> list[int]:
    """Rows, one draw after the other."""
    rows: list[int] = []
    for turn, block, low, high in order.pieces(start, count):
        rows += (order.within(turn, block)[low:high] + block * order.block).tolist()
    return rows


@settings(max_examples=80)
@given(seed=seeds, n=st.integers(1, 90), block=st.integers(1, 40), start=st.integers(0, 200), count=st.integers(0, 250))
def test_a_draw_is_a_function_of_its_number(seed: int, n: int, block: int, start: int, count: int) -> None:
    whole = all_draws(StreamOrder(seed, n, block), 0, start + count)
    assert all_draws(StreamOrder(seed, n, block), start, count) == whole[start:]
    one_by_one = StreamOrder(seed, n, block)
    assert [all_draws(one_by_one, start + i, 1)[0] for i in range(min(count, 50))] == whole[start : start + 50]


@settings(max_examples=60)
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
