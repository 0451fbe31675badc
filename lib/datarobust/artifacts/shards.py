"""Rows to and from shard files: the zarr library encodes and decodes them. The only module that imports it.

zarr gets no path, but a store of ours for the folder of one array. In it are the metadata that our layout demands,
from memory, and the files of its blocks, each of exactly its size; a file that is missing is an error, where zarr by
itself would give zeros. What zarr writes reaches the disk before the call returns. So nothing that stands in a file
can make zarr choose a codec, a shape or a name.

Importing this module takes a quarter of a second, so others import it where rows are read or written.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.api.asynchronous import create_array, open_array
from zarr.buffer.cpu import NDBuffer
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from datarobust.artifacts import durable
from datarobust.artifacts.digests import pretty
from datarobust.artifacts.headers import RESTORE
from datarobust.artifacts.layout import Layout, array_document
from datarobust.errors import ArtifactError

DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError)
"""What zarr raises where bytes are not those of a shard; ValueError where a checksum does not fit."""

_META = "zarr.json"
_CHUNKS = 4
"""How many chunks, of 1 MiB, are read at a time."""


def write(folder: Path, layout: Layout, block: int, rows: NDArray[Any]) -> None:
    """Write a block; it is on the disk when this returns.

    Args:
        folder: of the array; it has no file for the block.
        layout: of the array up to this block.
        block: number of the block.
        rows: all of its rows, C-contiguous, little-endian.

    Raises:
        OSError: as the system gives it.
        ArtifactError: this zarr writes shards in another way than we read them.
    """
    _run(_write(folder, layout, block, rows))


def read(folder: Path, layout: Layout, wanted: Iterable[tuple[int, NDArray[Any]]]) -> None:
    """Read rows into place, and verify the checksums of the index and of each chunk that has one of them.

    Args:
        folder: of the array.
        layout: of the array.
        wanted: the number of a first row, and the array that takes as many rows as it has, C-contiguous.

    Raises:
        ArtifactError: a file is missing, or has another size.
        Exception: one of `DAMAGE`, where the files are not as they were written.
    """
    _run(_read(folder, layout, wanted))


async def _write(folder: Path, layout: Layout, block: int, rows: NDArray[Any]) -> None:
    row = layout.shape[1:]
    array = await create_array(
        _Folder(folder, layout, writing=True),
        shape=layout.shape,
        dtype=layout.dtype,
        chunks=(layout.chunk, *row),
        shards=(layout.shard, *row),
        filters=None,
        serializer=BytesCodec(),
        compressors=Crc32cCodec(),
        fill_value=0,
        zarr_format=3,
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"order": "C", "write_empty_chunks": True},
    )
    if array.metadata != (await _opened(folder, layout)).metadata:
        raise _strange(folder / _META)
    first = block * layout.block
    await array.setitem((slice(first, first + len(rows)),), rows)


async def _read(folder: Path, layout: Layout, wanted: Iterable[tuple[int, NDArray[Any]]]) -> None:
    array = await _opened(folder, layout)
    for first, out in wanted:
        low = 0
        while low < len(out):  # zarr holds what it reads twice, so it reads a part of a block at a time
            high = min(low + _CHUNKS * layout.chunk - (first + low) % layout.chunk, len(out))
            await array.get_orthogonal_selection(
                (slice(first + low, first + high),), out=NDBuffer(cast(Any, out[low:high]))
            )
            low = high


async def _opened(folder: Path, layout: Layout) -> zarr.AsyncArray[Any]:
    return await open_array(store=_Folder(folder, layout), zarr_format=3, mode="r")


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` in this thread, with an event loop of its own.

    zarr's synchronous functions would start threads that stay: they do not survive a fork, and two of ours would wait
    for one of theirs.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(work)
    else:  # a notebook, for instance
        with ThreadPoolExecutor(1) as helper:
            helper.submit(asyncio.run, work).result()


def _strange(file: Path) -> ArtifactError:
    return ArtifactError(f"{file} cannot be written: zarr {zarr.__version__} writes it otherwise than we read it")


class _Folder(Store):
    """One array as zarr sees it; see the top of this file."""

    supports_writes = True
    supports_deletes = False
    supports_listing = False

    def __init__(self, folder: Path, layout: Layout, *, writing: bool = False) -> None:
        super().__init__(read_only=not writing)
        self._folder = folder
        self._layout = layout
        self._metadata = None if writing else pretty(array_document(layout))

    def __eq__(self, other: object) -> bool:
        return self is other

    def _size(self, key: str) -> int | None:
        """How many bytes the file of a block has; None where ``key`` names no block."""
        number = key.split(".")[1] if key.startswith("c.") else ""
        if not (number.isascii() and number.isdecimal()) or int(number) >= self._layout.blocks:
            return None
        return self._layout.file_bytes(int(number)) if key == self._layout.key(int(number)) else None

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        kind = (prototype or default_buffer_prototype()).buffer
        if key == _META and self._metadata is not None:
            return kind.from_bytes(self._metadata)
        size = self._size(key)
        if size is None or not self.read_only:
            return None
        return kind.from_array_like(cast(Any, _bytes_of(self._folder / key, size, *_range(byte_range, size))))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return self._metadata is not None if key == _META else False

    async def set(self, key: str, value: Buffer) -> None:
        data = value.as_numpy_array()
        if key == _META:
            self._metadata = data.tobytes()
            return
        if data.size != self._size(key):
            raise _strange(self._folder / key)
        durable.write_file(self._folder / key, data)

    async def delete(self, key: str) -> None:
        raise _strange(self._folder / key)

    async def list(self) -> AsyncIterator[str]:
        none: tuple[str, ...] = ()
        for key in none:
            yield key

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        return self.list()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        return self.list()


def _range(asked: ByteRequest | None, size: int) -> tuple[int, int]:
    """First byte, and one past the last, of a request, inside a file of ``size`` bytes."""
    if isinstance(asked, RangeByteRequest):
        low, high = asked.start, asked.end
    elif isinstance(asked, OffsetByteRequest):
        low, high = asked.offset, size
    else:
        low, high = (size - asked.suffix if isinstance(asked, SuffixByteRequest) else 0), size
    high = min(max(0, high), size)
    return min(max(0, low), high), high


def _bytes_of(file: Path, size: int, low: int, high: int) -> NDArray[np.uint8]:
    """Bytes ``low`` to ``high`` of a file of ``size`` bytes; links are not followed.

    Raises:
        ArtifactError: the file is missing, has another size, or cannot be read.
    """
    found = np.empty(high - low, np.uint8)
    try:
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW)) as stream:
            length = os.fstat(stream.fileno()).st_size
            stream.seek(low)
            if length != size or stream.readinto(found.data) != found.size:
                raise ArtifactError(f"{file} has {length:,} bytes where {size:,} were written: {RESTORE}")
    except FileNotFoundError:
        raise ArtifactError(f"{file} is missing: {RESTORE}") from None
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return found
