"""The format of artifacts, as ARTIFACTS.md defines it: how JSON is spelled, what is hashed, where rows lie in files.

A zarr artifact is one fixed subset of the zarr v3 specification, so the metadata of an array and the bytes of a shard
are functions of its shape, dtype and rows. Any zarr v3 reader opens it. A store whose metadata differ from
`array_document` by one byte is refused, because a store can name codecs that run code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from datarobust.artifacts.kinds import DTYPES, Shapes
from datarobust.errors import ArtifactError
from datarobust.types import Array, Images

BLOCK_BYTES = 1 << 24
CHUNK_BYTES = 1 << 20
MAX_ROW_BYTES = 1 << 28
"""A row of more than 256 MiB is no row: nothing of ours is near it, and it would break the bound on memory."""
CRC_BYTES = 4
_ENTRY_BYTES = 16  # of a chunk in the index of a shard: offset and length
_DEPTH = 64


# -------------------------------------------------------------------------------------------------- JSON and hashes


def plain(value: object, where: str) -> Any:
    """``value`` in the types that JSON has, with NumPy scalars and tuples made ordinary.

    Raises:
        ArtifactError: NaN or an infinity, which JSON cannot hold, or another type; it names ``where``.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArtifactError(f"{where} is {value}, which JSON cannot hold: leave it out or write null")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArtifactError(f"{where} has the key {key!r}: keys of attributes are strings")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(item, f"{where}[{place}]") for place, item in enumerate(value)]
    raise ArtifactError(f"{where} is of type {type(value).__name__}, which JSON cannot hold")


def canonical(value: object) -> bytes:
    """The one spelling of a JSON value that is hashed: sorted keys, no spaces, ASCII, finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def pretty(value: object) -> bytes:
    """The one spelling of a metadata file on disk: sorted keys, two spaces, ASCII, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2, allow_nan=False).encode() + b"\n"


def parse(text: bytes) -> Any:
    """Read JSON strictly.

    Raises:
        ValueError: not UTF-8, not JSON, NaN or an infinity in it, or nested beyond reason.
    """

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON number")

    def depth(value: object) -> int:
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + max(map(depth, items), default=0)

    try:
        value = json.loads(text.decode("utf-8"), parse_constant=refuse)
        too_deep = depth(value) > _DEPTH
    except RecursionError:
        too_deep = True
    if too_deep:
        raise ValueError("it is nested too deeply")
    return value


def sha256(data: Any) -> str:
    """The sha256 of a contiguous buffer, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(value: object) -> str:
    """A short name of a request: sha256 over the canonical JSON of its inputs' digests and its options.

    It serves as ``resume_key`` of a writer, names a `Resume`, and is the attribute ``request``.
    """
    return sha256(canonical(plain(value, "the request")))


def digest_of(arrays: Shapes, blocks: Mapping[str, Sequence[str]]) -> str:
    """What an artifact *is*: sha256 over names, dtypes and shapes of its arrays, and the sha256 of their blocks.

    How many rows are one block depends on the size of a row alone (`Layout.block`), so the digest does not depend on
    how an array was written.
    """
    return sha256(
        canonical({name: [dtype, list(shape), list(blocks[name])] for name, (dtype, shape) in arrays.items()})
    )


def seal_of(attributes: Mapping[str, Any]) -> str:
    """What protects the metadata: sha256 over all attributes except the seal itself, the digest among them."""
    return sha256(canonical({name: value for name, value in attributes.items() if name != "seal"}))


# ----------------------------------------------------------------------------------------------------- rows in files


def _rows_in(size: int, row_bytes: int) -> int:
    """The largest power of two of rows that fits in ``size`` bytes, at least 1."""
    return 1 << max(0, (size // max(1, row_bytes)).bit_length() - 1)


@dataclass(frozen=True)
class Layout:
    """Where the rows of one array, along axis 0, lie. ValueError for what cannot be an array of ours."""

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
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
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @cached_property
    def block(self) -> int:
        """Rows of a block, which one hash covers and one shard file holds; a function of the size of a row alone."""
        return _rows_in(BLOCK_BYTES, self.row_bytes)

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

    @cached_property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk in a file: its rows and their crc32c."""
        return self.chunk * self.row_bytes + CRC_BYTES

    def rows_of(self, block: int) -> int:
        """Rows that block number ``block`` holds."""
        return min(self.block, self.shape[0] - block * self.block)

    def key(self, block: int) -> str:
        """File name of a block inside the array's folder."""
        return ".".join(["c", str(block), *("0" for _ in self.shape[1:])])

    def chunks_of(self, block: int) -> int:
        """Chunks that the file of a block has; the last one is filled with zeros."""
        return -(-self.rows_of(block) // self.chunk)

    def index(self, block: int) -> bytes:
        """The end of a block's file: offset and length of each chunk, 2^64 - 1 where it is absent, and their crc32c."""
        entries = np.full((self.shard // self.chunk, 2), (1 << 64) - 1, "<u8")
        chunks = self.chunks_of(block)
        entries[:chunks, 0] = np.arange(chunks) * self.chunk_bytes
        entries[:chunks, 1] = self.chunk_bytes
        return entries.tobytes() + crc32c(flat(entries))

    def file_bytes(self, block: int) -> int:
        """Exact size of a block's file."""
        return self.chunks_of(block) * self.chunk_bytes + self.shard // self.chunk * _ENTRY_BYTES + CRC_BYTES


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
    if not isinstance(document, dict) or (document.get("zarr_format"), document.get("node_type")) != (3, "array"):
        raise ValueError("is no zarr v3 array")
    shape, dtype = document.get("shape"), document.get("data_type")
    if not isinstance(shape, list):
        raise ValueError("has no shape")
    return Layout(dtype if isinstance(dtype, str) else repr(dtype), tuple(shape))


def flat(rows: Array) -> Images:
    """The bytes of a C-contiguous array as a view, one axis."""
    return rows.reshape(-1).view(np.uint8)


def crc32c(*parts: Images) -> bytes:
    """The checksum of bytes that follow one another, as four little-endian bytes."""
    from numcodecs.checksum32 import CRC32C

    value = 0
    for part in parts:
        value = CRC32C.checksum(part, value)
    return value.to_bytes(CRC_BYTES, "little")
