"""How rows lie in files: blocks, chunks, and zarr v3 metadata.

A zarr store of ours is one fixed subset of the zarr v3 specification, so the metadata of an array and the bytes of a
shard are functions of its shape, dtype and rows. Any zarr v3 reader opens it. The zarr library writes and reads the
shards (`shards`), but only what was checked here: a store whose metadata differ from `array_document` by one byte is
refused before zarr sees it, because a store can name codecs that run code, and zarr reads what is missing as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarobust.artifacts.kinds import DTYPES

BLOCK_BYTES = 1 << 24
CHUNK_BYTES = 1 << 20
MAX_ROW_BYTES = 1 << 28
"""A row of more than 256 MiB is no row: nothing of ours is near it, and it would break the bound on memory."""

_CRC_BYTES = 4
_ENTRY_BYTES = 16
"""Of a chunk in the index of a shard: offset and length."""


def _rows_in(size: int, row_bytes: int) -> int:
    """The largest power of two of rows that fits in ``size`` bytes, at least 1."""
    return 1 << max(0, (size // max(1, row_bytes)).bit_length() - 1)


def block_rows(row_bytes: int) -> int:
    """How many rows are hashed together; a function of the size of a row alone."""
    return _rows_in(BLOCK_BYTES, row_bytes)


@dataclass(frozen=True)
class Layout:
    """Where the rows of one array lie.

    Attributes:
        dtype: one of `kinds.DTYPES`.
        shape: of the array; rows are axis 0.
    """

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be an array of ours, with ValueError."""
        if self.dtype not in DTYPES:
            raise ValueError(f"has dtype {self.dtype!r}; allowed are {', '.join(DTYPES)}")
        if not self.shape or any(type(length) is not int for length in self.shape):
            raise ValueError(f"has the shape {self.shape!r}")
        if self.shape[0] < 0 or any(length < 1 for length in self.shape[1:]):
            raise ValueError(f"has the impossible shape {self.shape}")
        if self.row_bytes > MAX_ROW_BYTES or self.row_bytes * self.shape[0] >= 1 << 60:
            raise ValueError(f"claims the shape {self.shape}, more than any machine holds")

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @cached_property
    def block(self) -> int:
        """Rows of a block: what one hash covers and one shard file holds."""
        return block_rows(self.row_bytes)

    @cached_property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.shape[0] // self.block)

    @cached_property
    def chunk(self) -> int:
        """Rows of an inner chunk; a small array is one chunk without padding."""
        return max(1, min(_rows_in(CHUNK_BYTES, self.row_bytes), self.shape[0]))

    @cached_property
    def shard(self) -> int:
        """Rows that a shard has room for: a block, or all rows rounded up to chunks where they are fewer."""
        return min(self.block, max(1, -(-self.shape[0] // self.chunk)) * self.chunk)

    def rows_of(self, block: int) -> int:
        """Rows that block number ``block`` holds."""
        return min(self.block, self.shape[0] - block * self.block)

    def key(self, block: int) -> str:
        """File name of a block inside the array's folder."""
        return ".".join(["c", str(block), *("0" for _ in self.shape[1:])])

    def file_bytes(self, block: int) -> int:
        """Exact size of a block's file."""
        chunks = -(-self.rows_of(block) // self.chunk)
        index = self.shard // self.chunk * _ENTRY_BYTES + _CRC_BYTES
        return chunks * (self.chunk * self.row_bytes + _CRC_BYTES) + index


def array_document(layout: Layout) -> dict[str, Any]:
    """The zarr v3 metadata of an array; the only one accepted for its shape and dtype."""
    little: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
    single = np.dtype(layout.dtype).itemsize == 1
    row = list(layout.shape[1:])
    fill: bool | int | float = {"bool": False, "float32": 0.0, "float64": 0.0}.get(layout.dtype, 0)
    sharding = {
        "chunk_shape": [layout.chunk, *row],
        "codecs": [{"name": "bytes"} if single else little, {"name": "crc32c"}],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(layout.shape),
        "data_type": layout.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [layout.shard, *row]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": fill,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
        "storage_transformers": [],
    }


def group_document(attributes: dict[str, Any]) -> dict[str, Any]:
    """The zarr v3 metadata of the store itself."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def shape_of(document: object) -> Layout:
    """What an array's metadata claim; to be compared with `array_document` afterwards.

    Raises:
        ValueError: they claim nothing that can be.
    """
    if not isinstance(document, dict):
        raise ValueError("is no zarr metadata")
    if document.get("zarr_format") != 3 or document.get("node_type") != "array":
        raise ValueError("is no zarr v3 array")
    shape, dtype = document.get("shape"), document.get("data_type")
    if not isinstance(shape, list):
        raise ValueError("has no shape")
    if not isinstance(dtype, str):
        raise ValueError(f"has dtype {dtype!r}; allowed are {', '.join(DTYPES)}")
    return Layout(dtype, tuple(shape))


def flat(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of a C-contiguous array as a view, one axis."""
    return rows.reshape(-1).view(np.uint8)
