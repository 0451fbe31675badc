"""Our stores are zarr v3: zarr, left to itself, reads every one, and writes the same bytes for the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from datarobust.artifacts import Column
from datarobust.artifacts import store as stores
from datarobust.artifacts.history import pretty, sha256
from datarobust.artifacts.kinds import DTYPES
from datarobust.artifacts.store import Layout, _Column, array_document
from datarobust.errors import ArtifactError


def random_rows(dtype: str, shape: tuple[int, ...], zeros: bool) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    return (np.zeros(shape) if zeros else random.integers(0, 2 if dtype == "bool" else 200, shape)).astype(dtype)


def write(folder: Path, plan: Layout, rows: np.ndarray[Any, Any]) -> Column:
    """Every file of an array as we write it; the array as we read it."""
    (folder / "zarr.json").write_bytes(pretty(array_document(plan)))
    column = _Column(folder, folder, plan.dtype, plan.shape[1:])
    column.append(rows)
    column.flush()
    assert Layout(column.dtype.name, (column.rows, *column.row)) == plan
    for block in range(plan.blocks):
        assert (folder / plan.key(block)).stat().st_size == plan.file_bytes(block)
        start = block * plan.block
        assert column.hashes[block] == sha256(rows[start : start + plan.block].tobytes())
    return Column(folder, plan, column.hashes)


@settings(max_examples=25)
@given(
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(0, 40),
    row=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    block=st.sampled_from([16, 64, 256]),
    chunk=st.sampled_from([8, 16]),
    zeros=st.booleans(),
)
def test_zarr_agrees(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    rows: int,
    row: tuple[int, ...],
    block: int,
    chunk: int,
    zeros: bool,
) -> None:
    ours = tmp_path_factory.mktemp("ours")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "BLOCK_BYTES", block)
        patch.setattr(stores, "CHUNK_BYTES", chunk)
        plan = Layout(dtype, (rows, *row))
        array = random_rows(dtype, plan.shape, zeros)
        column = write(ours, plan, array)
        back = column.read()
        parts = [column.read(row, row + 1) for row in range(rows)]  # by chunks, as their blocks are verified now
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.concatenate([array[:0], *parts]), array)
    np.testing.assert_array_equal(zarr.open_array(ours, mode="r", zarr_format=3)[:], array)

    theirs = tmp_path_factory.mktemp("theirs")
    serializer = BytesCodec(endian=None if array.dtype.itemsize == 1 else "little")
    written = zarr.create_array(
        theirs,
        shape=plan.shape,
        dtype=array.dtype,
        chunks=(plan.shard, *row),
        serializer=ShardingCodec(chunk_shape=(plan.chunk, *row), codecs=[serializer, Crc32cCodec()]),
        compressors=None,
        filters=None,
        zarr_format=3,
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"write_empty_chunks": True},
        overwrite=True,
    )
    written[:] = array
    assert {file.name for file in theirs.iterdir()} == {file.name for file in ours.iterdir()}
    for file in ours.iterdir():
        data = (theirs / file.name).read_bytes()
        assert (pretty(json.loads(data)) if file.name == "zarr.json" else data) == file.read_bytes()


@given(dtype=st.sampled_from(DTYPES), shape=st.lists(st.integers(1, 10**6), min_size=1, max_size=4).map(tuple))
def test_metadata_say_what_the_layout_is(dtype: str, shape: tuple[int, ...]) -> None:
    try:
        plan = Layout(dtype, shape)
    except ValueError as error:
        assert "more than any machine" in str(error)  # noqa: PT017 - sizes are drawn at random
        return
    document = array_document(plan)
    assert Layout(document["data_type"], tuple(document["shape"])) == plan
    assert plan.shard % plan.chunk == 0
    assert plan.block * plan.row_bytes <= max(stores.BLOCK_BYTES, plan.row_bytes)
    assert sum(plan.rows_of(block) for block in {0, plan.blocks - 1}) <= shape[0]


@pytest.mark.parametrize(
    ("row", "dtype", "block", "chunk"),
    [((3, 32, 32), "uint8", 4096, 256), ((28, 28), "uint8", 16384, 1024), ((), "int64", 2097152, 131072)],
)
def test_the_sizes_of_known_data_never_change(row: tuple[int, ...], dtype: str, block: int, chunk: int) -> None:
    """The digest of every artifact there is depends on these numbers."""
    plan = Layout(dtype, (10**7, *row))
    assert (plan.block, plan.chunk) == (block, chunk)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"zarr_format": 2, "node_type": "array", "shape": [1], "data_type": "uint8"},
        {"zarr_format": 3, "node_type": "group", "shape": [1], "data_type": "uint8"},
        *(
            {"zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint8"}
            for shape in (None, [], "3", [1.0], [True], [-1], [1, 0], [10**15, 3072, 10**6], [1, 10**12], [10**40])
        ),
        *(
            {"zarr_format": 3, "node_type": "array", "shape": [1], "data_type": dtype}
            for dtype in (None, "object", "float16", "string", {"name": "numpy.datetime64"}, ["uint8"])
        ),
    ],
)
def test_impossible_metadata_are_refused(tmp_path: Path, document: object) -> None:
    (tmp_path / "zarr.json").write_bytes(pretty(document))
    with pytest.raises(ArtifactError, match=r"zarr\.json (has|claims|was altered) "):
        stores._layout(tmp_path, 1)


def test_the_name_of_a_file_is_the_chunk_key(tmp_path: Path) -> None:
    assert Layout("uint8", (10, 2, 2)).key(3) == "c.3.0.0"
    assert Layout("int64", (10,)).key(0) == "c.0"
