"""Rows are read as NumPy would give them, and only if they are those that were written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datarobust import artifacts
from datarobust.artifacts import Column
from datarobust.artifacts.store import Layout, _Column
from datarobust.errors import ArtifactError

from .conftest import ROWS, rows_of

pytestmark = pytest.mark.usefixtures("small")
every = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def column(store: Path, name: str = "images") -> Column:
    return artifacts.open_store(store).column(name)


@every
@given(data=st.data(), name=st.sampled_from(["images", "labels"]), fresh=st.booleans())
def test_read_is_a_slice(store: Path, data: st.DataObject, name: str, fresh: bool) -> None:
    start = data.draw(st.integers(0, ROWS))
    stop = data.draw(st.integers(start, ROWS))
    one = column(store, name)
    if not fresh:
        one.verify()
    rows = one.read(start, stop)
    np.testing.assert_array_equal(rows, rows_of()[name][start:stop])
    assert rows.dtype == rows_of()[name].dtype
    assert rows.flags.c_contiguous
    assert rows.flags.writeable


@pytest.mark.parametrize("rows", [slice(None), slice(3, None, 2), slice(-4, -1), slice(9, 2), slice(None, None, -3)])
def test_slices_are_those_of_an_array(store: Path, rows: slice) -> None:
    np.testing.assert_array_equal(column(store)[rows], rows_of()["images"][rows])


@pytest.mark.parametrize("name", ["images", "labels"])
def test_blocks_are_all_rows_in_order(store: Path, name: str) -> None:
    found = list(column(store, name).blocks())
    assert [start for start, _ in found] == list(range(0, ROWS, column(store, name).layout.block))
    assert len(found) > 1
    assert all(part.flags.c_contiguous for _, part in found)
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows_of()[name])


@every
@given(
    rows=st.lists(st.integers(0, ROWS - 1), max_size=60),
    name=st.sampled_from(["images", "labels"]),
    fresh=st.booleans(),
    dtype=st.sampled_from([np.int64, np.int32, np.uint16]),
)
def test_take_is_an_index(store: Path, rows: list[int], name: str, fresh: bool, dtype: type) -> None:
    one = column(store, name)
    if not fresh:
        one.verify()
    found = one.take(np.array(rows, dtype))
    np.testing.assert_array_equal(found, rows_of()[name][np.array(rows, int)])
    assert found.flags.c_contiguous


@pytest.mark.parametrize("rows", [[-1], [0, ROWS], [[0]], [0.5], [True]])
def test_take_of_what_is_not_there(store: Path, rows: list[object]) -> None:
    with pytest.raises(IndexError):
        column(store).take(np.array(rows))


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, ROWS + 1), (ROWS + 1, None)])
def test_read_of_what_is_not_there(store: Path, start: int, stop: int | None) -> None:
    with pytest.raises(IndexError):
        column(store).read(start, stop)


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_a_part_is_not_believed_before_its_block(store: Path) -> None:
    one = column(store)
    flip(store / "images" / "c.0.0.0.0", 3)
    for ask in (lambda: one.read(60, 61), lambda: one.take(np.array([60])), lambda: next(one.blocks())):
        with pytest.raises(ArtifactError, match=r"images/c\.0\.0\.0\.0 was altered \(its rows"):
            ask()
    np.testing.assert_array_equal(one.read(64, 70), rows_of()["images"][64:70])


def test_a_part_is_not_believed_if_its_chunk_changes_later(store: Path) -> None:
    one = column(store)
    one.verify()
    flip(store / "images" / "c.0.0.0.0", 3)
    for ask in (lambda: one.read(0, 1), lambda: one.take(np.array([1]))):
        with pytest.raises(ArtifactError, match="while it was in use"):
            ask()
    np.testing.assert_array_equal(one.read(16, 17), rows_of()["images"][16:17])


def test_a_store_that_is_replaced_while_it_is_open_gives_no_wrong_rows(store: Path) -> None:
    from .conftest import write

    one = column(store)
    write(store, seed=1, overwrite=True)
    with pytest.raises(ArtifactError, match="was altered"):
        one.read()


def test_a_store_travels_to_other_processes(store: Path) -> None:
    travelled = pickle.loads(pickle.dumps(artifacts.open_store(store)))
    np.testing.assert_array_equal(travelled.column("images").read(), rows_of()["images"])


def test_booleans_are_true_or_false(tmp_path: Path) -> None:
    rows = np.array([0, 1, 2], np.uint8)
    column = _Column(tmp_path, tmp_path, "uint8", ())
    column.append(rows)
    column.flush()
    with pytest.raises(ArtifactError, match="neither 0 nor 1"):
        Column(tmp_path, Layout("bool", (3,)), column.hashes).read()
