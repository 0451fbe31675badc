"""A stream of images has the same draws whoever resumes, and says what is wrong with its store."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.errors import ArtifactError
from datarobust.training.images import Points, Stream, StreamOrder


class Array:
    """An array that reads like a column and counts what is read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.reads: list[tuple[int, int]] = []

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        self.reads.append((start, len(self.values) if stop is None else stop))
        return self.values[start:stop].copy()


def numbered(n: int) -> tuple[Array, Array]:
    """Images that hold their own number, and it as the label."""
    rows = np.arange(n)
    images = np.stack([rows % 256, rows // 256 % 256], 1).astype(np.uint8).reshape(n, 2, 1, 1)
    return Array(images), Array(rows.astype(np.int64))


@settings(max_examples=40)
@given(
    n=st.integers(1, 300),
    block=st.integers(1, 80),
    seed=st.integers(0, 2**64 - 1),
    batches=st.lists(st.integers(1, 120), min_size=1, max_size=8),
)
def test_batches_follow_one_another(n: int, block: int, seed: int, batches: list[int]) -> None:
    order = StreamOrder(seed, n, block)
    expected = [
        row + block * number
        for turn, number, low, high in order.pieces(0, sum(batches))
        for row in order.within(turn, number)[low:high].tolist()
    ]
    start = 0
    with Stream(*numbered(n), seed, block) as stream:
        for count in batches:
            images, labels = stream.draw(start, count)
            assert labels.tolist() == expected[start : start + count]
            assert (images[:, 0, 0, 0] + 256 * images[:, 1, 0, 0].astype(int)).tolist() == labels.tolist()
            start += count
    middle = sum(batches) // 2
    with Stream(*numbered(n), seed, block) as resumed:
        assert resumed.draw(middle, sum(batches) - middle)[1].tolist() == expected[middle:]
        places = np.random.default_rng(seed).permutation(sum(batches))[: n // 2]
        images, labels = resumed.draw(0, sum(batches), places)
        assert labels.tolist() == [expected[place] for place in places]
        assert (images[:, 0, 0, 0] + 256 * images[:, 1, 0, 0].astype(int)).tolist() == labels.tolist()


def test_each_block_is_read_once_a_pass_and_few_are_held() -> None:
    images, labels = numbered(1000)
    with Stream(images, labels, 3, 100) as stream:
        for step in range(20):
            stream.draw(step * 50, 50)
            assert len(stream._loaded) <= 3
    assert len(images.reads) <= 12  # ten, and those ahead in the next pass
    assert all(stop - start == 100 for start, stop in images.reads)


def test_a_set_in_memory_is_read_once() -> None:
    images, labels = numbered(100)
    with Stream(images, labels, 3, 100) as stream:
        for step in range(30):
            stream.draw(step * 50, 50)
    assert images.reads == [(0, 100)]


def test_a_damaged_store_is_told_and_the_thread_ends() -> None:
    images, labels = numbered(100)

    class Damaged(Array):
        def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
            raise ArtifactError("g.zarr was altered")

    before = threading.active_count()
    with Stream(Damaged(images.values), labels, 0, 10) as stream, pytest.raises(ArtifactError, match="was altered"):
        stream.draw(0, 5)
    assert threading.active_count() == before


def test_points_of_arrays() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    points = Points.of(images, np.array([4, 5, 6]))
    some = points.at(np.array([2, 0]))
    assert len(points) == 3
    assert some.labels.tolist() == [6, 4]
    np.testing.assert_array_equal(some.images.numpy(), images[[2, 0]])
