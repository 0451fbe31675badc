"""Panels hold every row once, at a position of its own, and what is resident is what was read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.sensitivity.panels import PAD, Labelled, Panels, SomeRows

from .oracle import Array, labels_of


def sources_of(sizes: list[int], width: int, dtype: type) -> list[tuple[Array, Array]]:
    random = np.random.default_rng(sum(sizes))
    return [
        (random.integers(0, 256, (n, width)).astype(dtype), random.integers(0, 5, n).astype(np.int64)) for n in sizes
    ]


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=2), width=st.integers(1, 100),
    memory=st.sampled_from([1, 5_000, 30_000, 1 << 30]), dtype=st.sampled_from([np.uint8, np.float32]), data=st.data(),
)  # fmt: skip
def test_every_row_has_a_place(sizes: list[int], width: int, memory: int, dtype: type, data: st.DataObject) -> None:
    sources = sources_of(sizes, width, dtype)
    sources = [(rows, data.draw(labels_of(len(labels)))) for rows, labels in sources]
    panels = Panels(list(sources), memory)
    assert panels.positions % PAD == panels.padded * panels.data.itemsize % 64 == 0
    for number, (rows, labels) in enumerate(sources):
        own = [panel for panel in panels.panels if panel.source == number]
        origin = np.concatenate([panels.origin[panel.positions] for panel in own])
        assert sorted(origin.tolist()) == list(range(len(labels)))
        for panel in own:
            assert panel.first % PAD == 0
            part = panels.origin[panel.positions]
            np.testing.assert_array_equal(panels.label[panel.positions], labels[part])
            assert (np.diff(panels.label[panel.positions]) >= 0).all()
            padding = slice(panel.first + len(panel), panel.first - (-len(panel) // PAD) * PAD)
            assert (panels.origin[padding] == -1).all()
            # A position leads to its row and back.
            back = panels.positions_of(panel)
            np.testing.assert_array_equal(panels.origin[back], np.arange(panel.start, panel.stop))
        assert rows.shape == (len(labels), width)
    assert panels.queries <= panels.positions
    assert {panel.first < panels.queries for panel in panels.panels if panel.source == 0} == {True}


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=2),
    memory=st.sampled_from([1, 20_000, 1 << 30]), dtype=st.sampled_from([np.uint8, np.float32]), data=st.data(),
)  # fmt: skip
def test_what_is_resident_is_what_was_read(sizes: list[int], memory: int, dtype: type, data: st.DataObject) -> None:
    sources = sources_of(sizes, 37, dtype)
    panels = Panels(list(sources), memory)
    for _ in range(12):
        wanted = [data.draw(st.sampled_from(panels.panels)) for _ in range(2)]
        panels.make_resident(*wanted)
        for panel in wanted:
            rows = sources[panel.source][0]
            place = panels.place[panel.positions]
            assert (place >= 0).all()
            np.testing.assert_array_equal(panels.data[place][:, :37], rows[panels.origin[panel.positions]])
            assert not panels.data[place][:, 37:].any()
            np.testing.assert_array_equal(panels.rows_of(panel)[:, :37], rows[panel.start : panel.stop])
        # What is not there is not said to be.
        for panel in panels.panels:
            place = panels.place[panel.positions]
            if (place >= 0).all():
                rows = sources[panel.source][0]
                np.testing.assert_array_equal(panels.data[place][:, :37], rows[panels.origin[panel.positions]])
            else:
                assert (place == -1).all()
    if not panels.whole:
        assert panels.data.nbytes <= max(memory, 2 * PAD * panels.padded * panels.data.itemsize)


@pytest.mark.parametrize("memory", [1, 10_000, 1 << 30])
def test_stream_visits_every_row_once(memory: int) -> None:
    sources = sources_of([333, 90], 50, np.uint8)
    panels = Panels(list(sources), memory)
    seen = np.zeros(panels.positions, int)

    def visit(rows: Array, positions: Array) -> None:
        seen[positions] += 1
        for row, position in zip(rows, positions, strict=True):
            source = int(position >= panels.queries)
            np.testing.assert_array_equal(row[:50], sources[source][0][panels.origin[position]])

    panels.stream(visit)
    np.testing.assert_array_equal(seen, panels.origin >= 0)


@pytest.mark.parametrize("memory", [1, 10_000, 1 << 30])
@pytest.mark.parametrize("count", [1, 50, 423, 5000])
def test_a_sample_is_of_rows_with_their_positions(memory: int, count: int) -> None:
    sources = sources_of([333, 90], 50, np.uint8)
    panels = Panels(list(sources), memory)
    rows, positions = panels.sample(count)
    assert len(rows) == len(positions) == len(set(positions.tolist())) >= min(count, 423)
    for row, position in zip(rows, positions, strict=True):
        source = int(position >= panels.queries)
        np.testing.assert_array_equal(row[:50], sources[source][0][panels.origin[position]])
    again, _ = panels.sample(count)
    np.testing.assert_array_equal(again, rows)


def test_rows_of_arrays_and_of_parts() -> None:
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(5, 2, 3, 4)
    whole = Labelled.of(images[:, :, ::2], np.arange(5))  # not contiguous
    rows = images[:, :, ::2].reshape(5, 16)
    np.testing.assert_array_equal(whole.rows[0:5], rows)
    assert whole.rows[0:5].flags.c_contiguous
    some = SomeRows(whole.rows, np.array([4, 0, 2]))
    assert some.shape == (3, 16)
    assert some.dtype == np.uint8
    np.testing.assert_array_equal(some[1:3], rows[[0, 2]])
    np.testing.assert_array_equal(some[np.array([2, 2])], rows[[2, 2]])
    part = whole.subset(np.array([3, 1]))
    np.testing.assert_array_equal(part.rows[0:2], rows[[3, 1]])
    assert part.labels.tolist() == [3, 1]
