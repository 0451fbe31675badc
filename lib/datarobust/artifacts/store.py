"""Zarr artifacts: rows are appended, a killed run is continued, and nothing is read that was not written.

ARTIFACTS.md has the format, and what is checked when. Metadata that differ from `array_document` by one byte are
refused, because a store can name codecs that run code. Shards are read here and not by the zarr library, which gives
zeros where a file is missing, holds what it reads twice, and leaves threads behind that do not survive a fork.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import math
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datarobust.ahead import ahead
from datarobust.artifacts import durable
from datarobust.artifacts.durable import Resume, locked
from datarobust.artifacts.history import (
    RESTORE,
    Step,
    Summary,
    build_head,
    confirm_arrays,
    fingerprint,
    parse,
    pretty,
    read_head,
    row_by_row,
    sha256,
)
from datarobust.artifacts.kinds import DTYPES, KINDS, chosen
from datarobust.artifacts.tensors import load_tensors, peek_tensors
from datarobust.errors import ArtifactError
from datarobust.text import read_json
from datarobust.types import Array, Images

Columns = Mapping[str, tuple[np.dtype[Any] | type | str, tuple[int, ...]]]
"""Array -> (dtype, shape of one row)."""
BLOCK_BYTES = 1 << 24
CHUNK_BYTES = 1 << 20
MAX_ROW_BYTES = 1 << 28  # more is no row: nothing of ours is near it, and it would break the bound on memory
CRC_BYTES = 4
_ENTRY_BYTES = 16  # of a chunk in the index of a shard: offset and length
_META = "zarr.json"
_GROUP_BYTES = 1 << 26  # largest head of a store that is read: hashes of about 12 TB of images
_ARRAY_BYTES = 1 << 16


# ----------------------------------------------------------------------------------------------------- rows in files


def _rows_in(size: int, row_bytes: int) -> int:
    """The largest power of two of rows that fits in ``size`` bytes, at least 1."""
    return 1 << max(0, (size // max(1, row_bytes)).bit_length() - 1)


@dataclass
class Layout:
    """Where the rows of an array lie. ValueError for what cannot be an array of ours."""

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"has dtype {self.dtype!r}; allowed are {', '.join(DTYPES)}")
        if not self.shape or any(type(length) is not int for length in self.shape):
            raise ValueError(f"has the shape {self.shape!r}")
        rows, *row = self.shape
        if rows < 0 or any(length < 1 for length in row):
            raise ValueError(f"has the impossible shape {self.shape}")
        self.row_bytes = math.prod(row) * np.dtype(self.dtype).itemsize
        if self.row_bytes > MAX_ROW_BYTES or self.row_bytes * rows >= 1 << 60:
            raise ValueError(f"claims the shape {self.shape}, more than any machine holds")
        # Rows of a block, which one hash covers and one shard file holds; a function of the size of a row alone.
        self.block = _rows_in(BLOCK_BYTES, self.row_bytes)
        self.blocks = -(-rows // self.block)
        # Rows of an inner chunk; a small array is one chunk without padding. In a file their crc32c follows.
        self.chunk = max(1, min(_rows_in(CHUNK_BYTES, self.row_bytes), rows))
        self.chunk_bytes = self.chunk * self.row_bytes + CRC_BYTES
        # Rows that a shard has room for: a block, or all rows rounded up to chunks where they are fewer.
        self.shard = min(self.block, max(1, -(-rows // self.chunk)) * self.chunk)

    def rows_of(self, block: int) -> int:
        """Rows of a block."""
        return min(self.block, self.shape[0] - block * self.block)

    def key(self, block: int) -> str:
        """File name of a block inside the array's folder."""
        return ".".join(["c", str(block), *("0" for _ in self.shape[1:])])

    def chunks_of(self, block: int) -> int:
        """Chunks in the file of a block; the last one is padded with zeros."""
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
    """The zarr v3 metadata of an array, the only one accepted for its shape and dtype."""
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


def flat(rows: Array) -> Images:
    """The bytes of a C-contiguous array as a view, one axis."""
    return rows.reshape(-1).view(np.uint8)


def crc32c(data: Images) -> bytes:
    """The checksum of bytes, as four little-endian bytes."""
    from numcodecs.checksum32 import CRC32C

    checksum: int = CRC32C.checksum(data)
    return checksum.to_bytes(CRC_BYTES, "little")


# ------------------------------------------------------------------------------------------------------ reading rows


class Column:
    """One array, read by rows; ArtifactError where one that is read is missing, cut short or altered.

    ``shape`` is that of what is read, where it is not the layout's: fewer rows, or rows of another shape. ``least`` is
    the smallest value that it may have.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        hashes: Sequence[str],
        shape: tuple[int, ...] | None = None,
        least: int | None = None,
    ) -> None:
        self.folder = folder
        self.layout = layout
        self.shape = shape or layout.shape
        self.dtype: np.dtype[Any] = np.dtype(layout.dtype)
        self.hashes = hashes
        self.least = least
        self._verified: set[int] = set()

    def __len__(self) -> int:
        return self.shape[0]

    def flat(self, count: int | None = None) -> Column:
        """The rows, or the first ``count`` where there are more, as (N, D)."""
        rows = len(self) if count is None else min(count, len(self))
        return Column(self.folder, self.layout, self.hashes, (rows, math.prod(self.shape[1:])), self.least)

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Rows ``start`` to ``stop``, or to the end, C-contiguous; IndexError where they are not there."""
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)}")
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        size = self.layout.block

        def fill(block: int) -> None:
            first = block * size
            low, high = max(start - first, 0), min(stop - first, self.layout.rows_of(block))
            rows[first + low - start : first + high - start] = self._part(block, low, high)

        _each(fill, range(start // size, -(-stop // size)) if stop > start else range(0))
        return rows

    def __getitem__(self, rows: slice | Array) -> Array:
        """Rows of a slice, or chosen ones, as of an array."""
        if not isinstance(rows, slice):
            return self.take(rows)
        start, stop, step = rows.indices(len(self))
        return self.read(start, max(start, stop)) if step == 1 else self.take(np.arange(start, stop, step))

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """``(start, rows)`` of all blocks in order; the next is read while the caller works."""
        starts = range(0, len(self), self.layout.block)
        for start, rows in zip(starts, ahead(self._block, range(len(starts))), strict=True):
            yield start, rows[: len(self) - start]

    def take(self, rows: Array) -> Array:
        """The rows of these numbers, in their order; IndexError where one is not there."""
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(f"indices are integers along one axis, not {rows.dtype} of shape {rows.shape}")
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"row {rows.min() if rows.min() < 0 else rows.max()} of {len(self)}")
        rows = rows.astype(np.int64)
        blocks = rows // self.layout.block
        taken = np.empty((rows.size, *self.shape[1:]), self.dtype)

        def pick(block: int) -> None:
            chosen = np.flatnonzero(blocks == block)
            local = rows[chosen] - block * self.layout.block
            size = self.layout.chunk if block in self._verified else self.layout.block
            for low in np.unique(local // size * size).tolist():
                inside = local // size * size == low
                part = self._part(block, low, min(low + size, self.layout.rows_of(block)))
                taken[chosen[inside]] = part[local[inside] - low]

        _each(pick, np.unique(blocks).tolist())
        return taken

    def verify(self) -> None:
        """Read every byte of every file against hash, checksums and index."""

        def verify(block: int) -> None:  # not the rows: they would all be held until the end
            self._block(block)

        _each(verify, range(self.layout.blocks))

    def _block(self, block: int) -> Array:
        return self._part(block, 0, self.layout.rows_of(block))

    def _part(self, block: int, low: int, high: int) -> Array:
        """Rows ``low`` to ``high`` of a block; of one that was verified before, only their chunks are read."""
        layout, rows_of_block = self.layout, self.layout.rows_of(block)
        whole = block not in self._verified or high - low == rows_of_block
        first, last = (0, layout.chunks_of(block)) if whole else (low // layout.chunk, -(-high // layout.chunk))
        file, size, index = self.folder / layout.key(block), layout.file_bytes(block), layout.index(block)
        try:
            with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW)) as shard:
                if (length := os.fstat(shard.fileno()).st_size) != size:
                    raise ArtifactError(_wrong_size(file, length, size))
                data = os.pread(shard.fileno(), (last - first) * layout.chunk_bytes, first * layout.chunk_bytes)
                if os.pread(shard.fileno(), len(index), size - len(index)) != index:
                    raise ValueError("its index is another")
            chunks = np.frombuffer(data, np.uint8).reshape(-1, layout.chunk_bytes)
            if any(crc32c(chunk[:-CRC_BYTES]) != chunk[-CRC_BYTES:].tobytes() for chunk in chunks):
                raise ValueError("a checksum does not fit")
            rows: Array = chunks[:, :-CRC_BYTES].flatten().view(self.dtype)
            rows = rows.reshape(-1, *self.shape[1:])[: rows_of_block - first * layout.chunk]
            if whole and sha256(flat(rows)) != self.hashes[block]:
                raise ValueError("its sha256 is another")
        except FileNotFoundError:
            raise ArtifactError(f"{file} is missing: {RESTORE}") from None
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error
        except ValueError as error:
            seen = "(its rows or their checksums are not those that were written)"
            how = seen if whole else "while it was in use (a checksum does not fit)"
            raise ArtifactError(f"{file} was altered {how}: {RESTORE}") from error
        # Booleans are 0 or 1; any other byte would be a third truth value to NumPy.
        if self.dtype == np.bool_ and rows.size and flat(rows).max() > 1:
            raise ArtifactError(f"{file} holds a boolean that is neither 0 nor 1: {RESTORE}")
        if self.least is not None and (rows < self.least).any():
            raise ArtifactError(f"{file} holds {rows.min()}, where nothing is below {self.least}: {RESTORE}")
        self._verified.add(block)
        return rows[low - first * layout.chunk : high - first * layout.chunk]


def _each(work: Callable[[int], None], blocks: Sequence[int]) -> None:
    """Do ``work`` for every block, on at most 4 threads (more gain little); the first error in order wins."""
    if len(blocks) == 1:
        work(blocks[0])
    elif blocks:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1, len(blocks))) as pool:
            list(pool.map(work, blocks))  # an error cancels what has not begun


# ----------------------------------------------------------------------------------------------------------- reading


class Store:
    """A zarr artifact to read from; no file is held open."""

    def __init__(self, summary: Summary, columns: Mapping[str, Column]) -> None:
        self.path, self.kind, self.version = summary.path, summary.kind, summary.version
        self.digest, self.history, self.attributes = summary.digest, summary.history, summary.attributes
        self.summary, self._columns = summary, columns

    def __len__(self) -> int:
        """Rows of the first required array."""
        return len(self._columns[next(iter(KINDS[self.kind].required))])

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def names(self) -> tuple[str, ...]:
        """Names of the arrays, sorted."""
        return tuple(self._columns)

    def column(self, name: str) -> Column:
        """One array; ArtifactError where the store does not have it."""
        if name not in self._columns:
            raise ArtifactError(f"{self.path} has no array {name!r}; it has {', '.join(self._columns)}")
        return self._columns[name]

    def verify(self) -> None:
        """Read every byte of every file; ArtifactError where one is not as it was written."""
        for column in self._columns.values():
            column.verify()


def open_store(path: Path, kind: str | Collection[str] | None = None, *, same: bool = False) -> Store:
    """Open a zarr artifact of a ``kind`` that will do, or of any. Clones, one of each point, will do as a dataset.

    ``same``: a ranking by the nearest points of the same label will do, too.

    Raises ArtifactError where it is not there, incomplete, altered, or of another kind or version.
    """
    path = Path(path)
    with durable.os_errors(path, "read"):
        if not path.is_dir():
            raise ArtifactError(_absent(path))
        head = path / _META
        text, document = _metadata(head, _GROUP_BYTES)
        kinds, attributes = chosen(kind), document.get("attributes")
        as_dataset = "dataset" in kinds and "clones" not in kinds
        as_dataset = as_dataset and isinstance(attributes, dict) and attributes.get("kind") == "clones"
        summary, blocks = read_head(attributes, head, path, "clones" if as_dataset else kind)
        by_same = summary.kind == "ranking" and summary.attributes.get("neighbours") == "same"
        if by_same and kind is not None and not same:
            advice = "it says nothing of robustness. Give one that sens-rank made without `same`"
            raise ArtifactError(f"{path} ranks points by the nearest one of the same label, and {advice}")
        if KINDS[summary.kind].format != "zarr" or text != pretty(group_document(document["attributes"])):
            raise ArtifactError(f"{head} was not written by datarobust: {RESTORE}")
        _sizes(path, {_META, *blocks}, folders=set(blocks))
        layouts = {name: _layout(path / name, len(hashes)) for name, hashes in sorted(blocks.items())}
        arrays = {name: (layout.dtype, layout.shape) for name, layout in layouts.items()}
        summary = confirm_arrays(summary, arrays, blocks, head)
        for name, layout in layouts.items():
            keys = [layout.key(block) for block in range(layout.blocks)]
            sizes = _sizes(path / name, {_META, *keys})
            for block, key in enumerate(keys):
                if sizes[key] != layout.file_bytes(block):
                    raise ArtifactError(_wrong_size(path / name / key, sizes[key], layout.file_bytes(block)))
    fields = KINDS[summary.kind].fields
    columns = {
        name: Column(path / name, layout, blocks[name], least=fields[name].least) for name, layout in layouts.items()
    }
    return _as_dataset(summary, columns) if as_dataset else Store(summary, columns)


def _as_dataset(summary: Summary, columns: dict[str, Column]) -> Store:
    """Clones as the dataset of their images: the name and the classes are those of the dataset they were made from."""
    images = columns["images"]
    if images.shape[1] != 1:
        raise ArtifactError(
            f"{summary.path} has {images.shape[1]} clones of each point, where a dataset is needed: clones read as one "
            "where there is one of each (clone `repeats` 1)"
        )
    shape = (len(images), *images.shape[2:])
    columns["images"] = Column(images.folder, images.layout, images.hashes, shape)
    arrays = {**summary.arrays, "images": (images.dtype.name, shape)}
    attributes = {"name": "clones", "classes": [], **summary.attributes}
    return Store(replace(summary, kind="dataset", attributes=attributes, arrays=arrays), columns)


def _absent(path: Path) -> str:
    """Why there is no folder at ``path``, with the way out where a replacement was cut short."""
    if path.is_file():
        if path.suffix == ".py":
            return f"{path} is Python code, but an artifact is needed: a network is named as {path}:FUNCTION"
        return f"{path} is a file, but an artifact is needed: run dataset import {path} -o {path.stem}.zarr first"
    if path.name and os.path.lexists(old := durable.hidden(path, "old")):
        return f"{path} is missing (its replacement was cut short): run that command again, or rename {old} to {path}"
    if path.name and os.path.lexists(durable.hidden(path, "partial")):
        return f"{path} is not finished: run the command that writes it again"
    if str(path) == "digits" and not path.exists():
        return (
            "digits is a built-in data set, but an artifact is needed: run dataset import digits -o digits.zarr first"
        )
    return f"{path} is neither a file nor a folder" if path.exists() else f"{path} does not exist"


def _metadata(file: Path, limit: int) -> tuple[bytes, dict[str, Any]]:
    """The text of a zarr.json of at most ``limit`` bytes, and the object in it."""
    try:
        state = file.stat(follow_symlinks=False)
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("it is a link or no regular file")
        if state.st_size > limit:
            raise ValueError(f"it has {state.st_size:,} bytes, more than {limit:,}")
        text = file.read_bytes()
        document = parse(text)
        if not isinstance(document, dict):
            raise ValueError("it holds no object")
    except FileNotFoundError:
        old = any((file.parent / name).exists() for name in (".zgroup", ".zarray"))
        why = "it is zarr format 2, and only format 3 as datarobust writes it is read" if old else "it has no zarr.json"
        advice = "if it has images, run dataset import on it first"
        raise ArtifactError(f"{file.parent} is a folder, but not an artifact ({why}): {advice}") from None
    except ValueError as error:
        raise ArtifactError(f"{file} was altered or is not ours ({error}): {RESTORE}") from error
    return text, document


def _sizes(folder: Path, names: Collection[str], folders: Collection[str] = ()) -> dict[str, int]:
    """The sizes of the entries of a folder, which must be these and no others."""
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name not in names:
                raise ArtifactError(f"{folder / entry.name} does not belong into the artifact: remove it")
            is_folder = entry.name in folders
            if not (entry.is_dir(follow_symlinks=False) if is_folder else entry.is_file(follow_symlinks=False)):
                what = "folder" if is_folder else "regular file"
                raise ArtifactError(f"{folder / entry.name} is not a {what}, as the artifact had: {RESTORE}")
            sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    for name in names:
        if name not in sizes:
            raise ArtifactError(f"{folder / name} is missing: {RESTORE}")
    return sizes


def _wrong_size(file: Path, size: int, written: int) -> str:
    return f"{file} has {size:,} bytes where {written:,} were written: {RESTORE}"


def _layout(folder: Path, blocks: int) -> Layout:
    """The layout that an array's metadata claim, if they are those that we write for it and so many blocks."""
    file = folder / _META
    text, document = _metadata(file, _ARRAY_BYTES)
    try:
        layout = Layout(document["data_type"], tuple(document["shape"]))
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{file} has no shape or data_type: {RESTORE}") from error
    except ValueError as error:
        raise ArtifactError(f"{file} {error}: {RESTORE}") from error
    if text != pretty(array_document(layout)):
        raise ArtifactError(f"{file} has codecs, chunks or fields that datarobust does not write: {RESTORE}")
    if layout.blocks != blocks:
        raise ArtifactError(f"{file} claims the shape {layout.shape}, but {blocks} blocks were written: {RESTORE}")
    return layout


def demand_same_points(ranking: Store, dataset: Store) -> None:
    """ArtifactError where a ranking was made neither from a dataset nor from features of all its points."""
    theirs = ranking.attributes.get("dataset")
    if dataset.digest not in row_by_row(ranking.history, str(theirs)):
        raise ArtifactError(
            f"{ranking.path} ({ranking.kind}) was made from another dataset ({str(theirs)[:12]}…) than {dataset.path}"
            f" ({dataset.digest[:12]}…): make it again from {dataset.path}"
        )
    if theirs != dataset.digest and len(ranking) != len(dataset):
        points = f"has {len(ranking):,} points, but {dataset.path} has {len(dataset):,}"
        raise ArtifactError(f"{ranking.path} ({ranking.kind}) {points}: make it again from features of all of them")


def peek(path: Path) -> Summary:
    """What an artifact says about itself; metadata, presence and sizes are verified, data are not read."""
    return peek_tensors(path) if _is_file(path) else open_store(path).summary


def check(path: Path) -> Summary:
    """Verify every byte of an artifact; ArtifactError names the first file that is not as it was written."""
    if _is_file(path):
        return load_tensors(path).summary
    store = open_store(path)
    store.verify()
    return store.summary


def _is_file(path: Path) -> bool:
    with durable.os_errors(path, "read"):
        return path.is_file()


# ----------------------------------------------------------------------------------------------------------- writing


class Writer:
    """Takes the rows of the arrays in order; see `create`."""

    def __init__(self, path: Path, columns: Mapping[str, _Column], resume: Resume | None) -> None:
        self._path = path
        self._columns = columns
        self._resume = resume

    def done(self, name: str) -> int:
        """Rows that the array has, with those of killed runs: go on with the row of that number."""
        return self._columns[name].rows

    def append(self, name: str, rows: Array) -> None:
        """Add rows (n, *row shape), of the column's dtype; the arrays may take turns."""
        with durable.os_errors(self._path):
            self._columns[name].append(rows)
        if self._resume is not None and self._resume.due:
            self.save()

    def save(self) -> None:
        """Save what the next run goes on with: hashes of the blocks, and the rows that fill no block yet."""
        if self._resume is not None:
            state: dict[str, Array] = {}
            for name, column in self._columns.items():
                state[f"{name}/blocks"] = np.frombuffer(bytes.fromhex("".join(column.hashes)), np.uint8)
                state[f"{name}/rows"] = column.tail()
            self._resume.save(state)


class _Column:
    """One array being written: at most one block is in memory; ``hashes`` are of those on the disk."""

    def __init__(self, path: Path, folder: Path, dtype: str, row: tuple[int, ...], least: int | None = None) -> None:
        self.path, self.folder, self.row, self.least = path, folder, row, least
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.hashes: list[str] = []
        self.rows = 0
        self._size = Layout(dtype, (0, *row)).block
        self._buffer = np.empty((self._size, *row), dtype)  # rows that fill no block yet, ``_filled`` of them
        self._filled = 0

    def resume(self, hashes: Sequence[str], tail: Array | None) -> None:
        """Keep the leading blocks whose files still have these hashes, and the rows after them; drop the rest."""
        self.folder.mkdir(exist_ok=True)
        column = Column(self.folder, Layout(self.dtype.name, (len(hashes) * self._size, *self.row)), hashes)
        for block in range(len(hashes)):
            try:
                column.read(block * self._size, (block + 1) * self._size)
            except ArtifactError:
                break
            self.hashes.append(hashes[block])
        self.rows = len(self.hashes) * self._size
        keep = {column.layout.key(block) for block in range(len(self.hashes))}
        for entry in self.folder.iterdir():
            if entry.name not in keep:
                durable.remove(entry)
        if tail is not None and len(self.hashes) == len(hashes):
            self.append(tail)

    def append(self, rows: Array) -> None:
        if rows.dtype != self.dtype or rows.shape[1:] != self.row or rows.ndim != len(self.row) + 1:
            raise ArtifactError(
                f"{self.path}: {self.folder.name} takes {self.dtype} rows of shape {self.row},"
                f" not {rows.dtype} of shape {rows.shape[1:]}"
            )
        if self.least is not None and (rows < self.least).any():
            raise ArtifactError(f"{self.path}: {self.folder.name} takes nothing below {self.least}, not {rows.min()}")
        self.rows += len(rows)
        while len(rows):
            part = rows[: self._size - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            rows = rows[len(part) :]
            if self._filled == self._size:
                self.flush()

    def tail(self) -> Array:
        """The rows that fill no block yet; a view."""
        return self._buffer[: self._filled]

    def flush(self) -> None:
        """Write the rows in memory as a block."""
        if self._filled:
            self._write(self.tail())
            self._filled = 0

    def _write(self, rows: Array) -> None:
        """Write a block, C-contiguous."""
        start = len(self.hashes) * self._size
        layout = Layout(self.dtype.name, (start + len(rows), *self.row))
        hashes = [*self.hashes, sha256(flat(rows))]
        file = self.folder / layout.key(len(self.hashes))
        # In a thread, with an event loop of its own: zarr's synchronous functions would start threads that stay, and
        # do not survive a fork.
        with ThreadPoolExecutor(1) as helper:
            shard = helper.submit(asyncio.run, _encoded(layout, rows)).result()
        file.write_bytes(shard.data)
        try:
            Column(self.folder, layout, hashes).read(start)
        except ArtifactError as error:
            zarr = importlib.metadata.version("zarr")
            raise ArtifactError(f"{file} cannot be written: zarr {zarr} writes it otherwise than we read it") from error
        self.hashes = hashes


async def _encoded(layout: Layout, rows: Array) -> Images:
    """The bytes of the file of one block, as zarr writes it into memory."""
    from zarr.api.asynchronous import create_array
    from zarr.codecs import BytesCodec, Crc32cCodec
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    row = layout.shape[1:]
    array = await create_array(
        MemoryStore(files),
        shape=rows.shape,
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
    await array.setitem((slice(0, len(rows)),), rows)
    shard: Images = files[layout.key(0)].as_numpy_array().view(np.uint8)
    return shard


@contextmanager
def create(
    path: Path,
    kind: str,
    columns: Columns,
    *,
    attributes: Mapping[str, Any] | None = None,
    history: Sequence[Step],
    overwrite: bool = False,
    resume_key: str | None = None,
    save_every: float = 20.0,
) -> Iterator[Writer]:
    """Write a zarr artifact; it appears under its name, whole, when the block ends without an exception.

    ``attributes`` are what the kind requires, and more; ``history`` has the steps that led here, oldest first, this one
    last. With ``resume_key``, the `fingerprint` of a request, work that was interrupted stays hidden beside the output,
    saved every ``save_every`` seconds, and the next call with the same key goes on with it. The output's `Resume` is
    then the writer's.
    Raises ArtifactError for columns, attributes or rows that the kind does not have, or where the system refuses;
    ExistsError where the output may not be replaced, LockedError where another process is writing it.
    """
    path = durable.checked_output(Path(path))
    schema = KINDS.get(kind)
    if schema is None or schema.format != "zarr":
        raise ArtifactError(f"{path} cannot be written: {kind!r} is not a kind of zarr artifact")
    described = {name: (np.dtype(dtype).name, tuple(row)) for name, (dtype, row) in sorted(columns.items())}
    for name, (dtype, row) in described.items():
        try:
            Layout(dtype, (0, *row))
        except ValueError as error:
            raise ArtifactError(f"{path} cannot be written: {name} {error}") from error
    request = fingerprint([resume_key, kind, {name: [dtype, row] for name, (dtype, row) in described.items()}])
    resume = Resume(path, request, every=save_every) if resume_key is not None else None
    with locked(path):
        with durable.whole_or_absent(
            path, overwrite=overwrite, keep=resume is not None, may_replace=lambda output: _ours(output, kind)
        ) as folder:
            state = resume.load() if resume else None
            with durable.os_errors(path):
                if state is None:
                    durable.remove(folder)
                folder.mkdir(exist_ok=True)
                for entry in folder.iterdir():
                    if entry.name not in described:
                        durable.remove(entry)
                least = {name: field.least for name, field in schema.fields.items()}
                arrays = {
                    name: _Column(path, folder / name, dtype, row, least.get(name))
                    for name, (dtype, row) in described.items()
                }
                for name, column in arrays.items():
                    blocks = bytes(state[f"{name}/blocks"]) if state else b""
                    hashes = [blocks[start : start + 32].hex() for start in range(0, len(blocks), 32)]
                    column.resume(hashes, state[f"{name}/rows"] if state else None)
            writer = Writer(path, arrays, resume)
            try:
                yield writer
            except BaseException:
                with suppress(ArtifactError):  # the first error matters; what was saved before is still there
                    writer.save()
                raise
            with durable.os_errors(path):
                for column in arrays.values():
                    column.flush()
                shapes = {name: (column.dtype.name, (column.rows, *column.row)) for name, column in arrays.items()}
                written = {name: column.hashes for name, column in arrays.items()}
                head = build_head(schema, attributes or {}, history, shapes, written, path)
                for name, shape in shapes.items():
                    (folder / name / _META).write_bytes(pretty(array_document(Layout(*shape))))
                (folder / _META).write_bytes(pretty(group_document(head)))
        if resume:
            resume.discard()


# -------------------------------------------------------------------------------------------- the place of an output


def abandon(path: Path) -> None:
    """Remove unfinished work that a call of `create` with a ``resume_key`` has left beside ``path``."""
    with locked(path), durable.os_errors(path):
        durable.remove(durable.hidden(path, "resume"))
        durable.recover(path)


def demand_vacant(path: Path, kind: str, overwrite: bool = False) -> None:
    """Raise, before long work, the ExistsError that `create` or `save_tensors` would raise after it."""
    is_file = KINDS[kind].format == "safetensors"
    durable.demand_vacant(path, overwrite, Path.is_file if is_file else lambda output: _ours(output, kind))


def _ours(path: Path, kind: str) -> bool:
    """Whether ``overwrite`` may replace ``path`` by a store of this kind: one of the same kind, be it damaged."""
    if not path.is_dir() or not (path / _META).is_file():
        return False
    try:
        written = read_json((path / _META).read_bytes())["attributes"]["kind"]
    except (ValueError, TypeError, KeyError):
        written = None
    if isinstance(written, str) and written != kind:
        return False
    arrays = {name for each in KINDS.values() for name in (*each.required, *each.optional)}
    return all(entry.name == _META or (entry.name in arrays and entry.is_dir()) for entry in path.iterdir())


def finished(path: Path, request: str) -> bool:
    """Whether ``path`` is the whole artifact that this very request, a `fingerprint`, has made.

    Raises LockedError where killed runs left traces to be removed, but another process is writing ``path``.
    """
    durable.tidy(path)
    if not os.path.lexists(path):
        return False
    try:
        return peek(path).attributes.get("request") == request
    except ArtifactError:
        return False
