"""Reading zarr artifacts: every name, size and metadata byte is checked at the start, rows as they are read.

Shards are read here and not by the zarr library. Every byte of a file is known but for the rows and their checksums, so
a shard is a few reads at known places into the caller's array. zarr gives zeros where a file is missing, holds what it
reads twice, and leaves threads behind that do not survive a fork.
"""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datarobust.artifacts import durable, headers
from datarobust.artifacts.format import (
    CRC_BYTES,
    Layout,
    array_document,
    crc32c,
    flat,
    group_document,
    parse,
    pretty,
    sha256,
    shape_of,
)
from datarobust.artifacts.headers import RESTORE, Header, Summary
from datarobust.artifacts.history import Step
from datarobust.artifacts.kinds import chosen
from datarobust.artifacts.tensors import load_tensors, peek_tensors
from datarobust.errors import ArtifactError
from datarobust.types import Array

_GROUP_BYTES = 1 << 26
"""Largest head of a store that is read: hashes of about 12 TB of images."""
_ARRAY_BYTES = 1 << 16
_META = "zarr.json"


def threads() -> int:
    """How many threads read: the processors that this process may use, at most 4 (more gain little)."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, usable)


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


class Column:
    """One array; rows are axis 0.

    A block is verified against its sha256 in whole when a row of it is first needed; later reads of parts of it are
    checked by the crc32c of their chunks.

    Args:
        folder: of the array.
        layout: where its rows lie.
        hashes: sha256 of each block.
        row: shape of a row as it is read, where that is not the layout's; of as many numbers.

    Attributes:
        folder: of the array.
        layout: where its rows lie.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, folder: Path, layout: Layout, hashes: Sequence[str], row: tuple[int, ...] | None = None) -> None:
        self.folder = folder
        self.layout = layout
        self.shape = layout.shape if row is None else (layout.shape[0], *row)
        self.dtype: np.dtype[Any] = np.dtype(layout.dtype)
        self.hashes = hashes
        self._verified: set[int] = set()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Rows ``start`` to ``stop``, C-contiguous and verified.

        Args:
            start: first row, 0 <= start.
            stop: one past the last row; None for the end.

        Raises:
            IndexError: the range does not lie in the array (a mistake of the caller).
            ArtifactError: a file is missing, cut short or altered.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)}")
        rows = self._empty(stop - start)
        size = self.layout.block

        def fill(block: int) -> None:
            low, high = max(start, block * size), min(stop, (block + 1) * size)
            self._fill(block, low - block * size, high - block * size, rows[low - start : high - start])

        self._each(fill, range(start // size, -(-stop // size)) if stop > start else range(0))
        return rows

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, Array]]:
        """All rows in order, a few at a time, verified; the next ones are read while the caller works.

        Args:
            rows: how many at a time; None for as many as one file holds (at most 16 MiB, or one row).

        Yields:
            The number of the first row, and the rows, C-contiguous. The arrays may be kept and changed.

        Raises:
            ArtifactError: a file is missing, cut short or altered.
        """
        rows = self.layout.block if rows is None else rows
        if rows < 1:
            raise ValueError(f"blocks of {rows} rows")
        carried: list[Array] = []  # fewer than ``rows`` rows, which end a file and begin a part
        start = held = 0
        with ThreadPoolExecutor(1) as reader:
            following = reader.submit(self._block, 0) if self.layout.blocks else None
            for number in range(1, self.layout.blocks + 1):
                assert following is not None
                block = following.result()
                following = reader.submit(self._block, number) if number < self.layout.blocks else None
                taken = 0
                while held + len(block) - taken >= rows:
                    carried.append(block[taken : taken + rows - held])
                    taken += rows - held
                    yield start, carried[0] if len(carried) == 1 else np.concatenate(carried)
                    start, held, carried = start + rows, 0, []
                if taken < len(block):
                    carried.append(block[taken:])
                    held += len(block) - taken
        if held:
            yield start, carried[0] if len(carried) == 1 else np.concatenate(carried)

    def take(self, rows: Array) -> Array:
        """Chosen rows in the order of ``rows``, verified; repetitions are allowed.

        Args:
            rows: integer indices, one axis, each in 0..N-1.

        Raises:
            IndexError: an index does not lie in the array (a mistake of the caller).
            ArtifactError: a file is missing, cut short or altered.
        """
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(f"indices are integers along one axis, not {rows.dtype} of shape {rows.shape}")
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"row {rows.min() if rows.min() < 0 else rows.max()} of {len(self)}")
        numbers, local = np.divmod(rows.astype(np.int64), self.layout.block)
        taken = self._empty(rows.size)
        order = np.argsort(numbers, kind="stable")
        blocks, begins = np.unique(numbers[order], return_index=True)
        places = dict(zip(blocks.tolist(), np.split(order, begins[1:]), strict=False))

        def pick(block: int) -> None:
            if block not in self._verified:
                taken[places[block]] = self._block(block)[local[places[block]]]
                return
            chunks, inside = np.divmod(local[places[block]], self.layout.chunk)
            with self._shard(block) as shard:
                for chunk in np.unique(chunks).tolist():
                    of_chunk = chunks == chunk
                    taken[places[block][of_chunk]] = self._chunk(shard, block, chunk)[inside[of_chunk]]

        self._each(pick, list(places))
        return taken

    def verify(self) -> None:
        """Read every byte of every file against hash, checksums and index.

        Raises:
            ArtifactError: one is not as it was written.
        """

        def verify(block: int) -> None:
            self._block(block)

        self._each(verify, range(self.layout.blocks))

    def _empty(self, rows: int) -> Array:
        return np.empty((rows, *self.shape[1:]), self.dtype)

    def _each(self, work: Callable[[int], None], blocks: Sequence[int]) -> None:
        """Do ``work`` for every block, on several threads where there are several; the first error in order wins."""
        if len(blocks) < 2:
            for block in blocks:
                work(block)
            return
        with ThreadPoolExecutor(min(threads(), len(blocks))) as pool:
            for future in [pool.submit(work, block) for block in blocks]:
                try:
                    future.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise

    def _block(self, block: int) -> Array:
        """All rows of a block, verified."""
        rows = self._empty(self.layout.rows_of(block))
        self._fill(block, 0, len(rows), rows)
        return rows

    def _fill(self, block: int, low: int, high: int, rows: Array) -> None:
        """Put rows ``low`` to ``high`` of a block into ``rows``, reading no more than verification needs."""
        whole, size = high - low == self.layout.rows_of(block), self.layout.chunk
        if not whole and block not in self._verified:
            rows[:] = self._block(block)[low:high]
            return
        with self._shard(block, whole) as shard:
            for chunk in range(low // size, -(-high // size)):
                first, last = max(low, chunk * size), min(high, (chunk + 1) * size)
                part = rows[first - low : last - low]
                if len(part) == self._rows_of(block, chunk):
                    self._chunk(shard, block, chunk, part)
                else:
                    part[:] = self._chunk(shard, block, chunk)[first - chunk * size : last - chunk * size]
            if whole:
                if sha256(flat(rows)) != self.hashes[block]:
                    raise ValueError("its sha256 is another")
                self._verified.add(block)

    @contextmanager
    def _shard(self, block: int, whole: bool = False) -> Iterator[int]:
        """Descriptor of a block's file, whose size and index are right.

        Raises:
            ArtifactError: they are not, or a ValueError was raised inside: what was read is not what was written.
        """
        file = self.folder / self.layout.key(block)
        how = "(its rows or their checksums are not those that were written)"
        if not whole:
            how = "while it was in use (a checksum does not fit)"
        try:
            with open(
                file, "rb", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW)
            ) as shard:
                length, size = os.fstat(shard.fileno()).st_size, self.layout.file_bytes(block)
                if length != size:
                    raise ArtifactError(f"{file} has {length:,} bytes where {size:,} were written: {RESTORE}")
                index = self.layout.index(block)
                if os.pread(shard.fileno(), len(index), size - len(index)) != index:
                    raise ValueError("its index is another")
                yield shard.fileno()
        except FileNotFoundError:
            raise ArtifactError(f"{file} is missing: {RESTORE}") from None
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error
        except ValueError as error:
            raise ArtifactError(f"{file} was altered {how}: {RESTORE}") from error

    def _rows_of(self, block: int, chunk: int) -> int:
        return min(self.layout.chunk, self.layout.rows_of(block) - chunk * self.layout.chunk)

    def _chunk(self, shard: int, block: int, chunk: int, rows: Array | None = None) -> Array:
        """The rows of a chunk, in ``rows`` if it is given; ValueError where they do not have their checksum."""
        rows = self._empty(self._rows_of(block, chunk)) if rows is None else rows
        padding = np.empty(self.layout.chunk_bytes - CRC_BYTES - rows.nbytes, np.uint8)
        checksum = bytearray(CRC_BYTES)
        length = os.preadv(shard, [flat(rows).data, padding.data, checksum], chunk * self.layout.chunk_bytes)
        if length != self.layout.chunk_bytes or crc32c(flat(rows), padding) != checksum:
            raise ValueError("a checksum does not fit")
        # Booleans are 0 or 1; any other byte would be a third truth value to NumPy.
        if self.dtype == np.bool_ and rows.size and flat(rows).max() > 1:
            file = self.folder / self.layout.key(block)
            raise ArtifactError(f"{file} holds a boolean that is neither 0 nor 1: {RESTORE}")
        return rows


class Store:
    """An open zarr artifact, read only. Nothing is held open: a store may be passed to other processes.

    Attributes:
        path: where it is.
        kind: its kind.
        version: of the kind's schema.
        digest: what it is; see `format.digest_of`.
        history: the commands that led to it, oldest first.
        attributes: all others.
    """

    def __init__(self, path: Path, header: Header, layouts: Mapping[str, Layout]) -> None:
        self.path = path
        self.kind = header.kind.name
        self.version = header.version
        self.digest = header.digest
        self.history: tuple[Step, ...] = header.history
        self.attributes: Mapping[str, Any] = header.attributes
        self._header = header
        self._columns = {
            name: Column(path / name, layout, header.blocks[name]) for name, layout in sorted(layouts.items())
        }

    def __len__(self) -> int:
        """Number of rows, which is that of the first required array."""
        name = next(iter(self._header.kind.required))
        return self._columns[name].shape[0]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def names(self) -> tuple[str, ...]:
        """Names of the arrays, sorted."""
        return tuple(self._columns)

    def column(self, name: str) -> Column:
        """One array.

        Raises:
            ArtifactError: the store does not have it.
        """
        try:
            return self._columns[name]
        except KeyError:
            raise ArtifactError(f"{self.path} has no array {name!r}; it has {', '.join(self._columns)}") from None

    def summary(self) -> Summary:
        """What it says about itself."""
        return self._header.summary(self.path, {n: (c.layout.dtype, c.shape) for n, c in self._columns.items()})

    def verify(self) -> None:
        """Read every byte of every file.

        Raises:
            ArtifactError: one is not as it was written.
        """
        for column in self._columns.values():
            column.verify()


def open_store(path: Path, kind: str | Collection[str] | None = None) -> Store:
    """Open a zarr artifact.

    All metadata and the presence and size of every file are checked here; rows are verified as they are read.

    Clones, one of each point, will do where a dataset does: then they read as one.

    Args:
        path: the folder.
        kind: the kind, or the kinds, that will do; None for any.

    Raises:
        ArtifactError: it is not there, incomplete, altered, or of another kind or version.
    """
    path = Path(path)
    with durable.os_errors(path, "read"):
        if not path.is_dir():
            raise ArtifactError(_absent(path))
        head = path / _META
        document = _metadata(head, _GROUP_BYTES)
        if not isinstance(document, dict) or document.get("node_type") != "group":
            raise ArtifactError(f"{head} is not the head of an artifact")
        kinds, attributes = chosen(kind), document.get("attributes")
        as_dataset = "dataset" in kinds and "clones" not in kinds
        as_dataset = as_dataset and isinstance(attributes, dict) and attributes.get("kind") == "clones"
        header = headers.read(attributes, head, path, "clones" if as_dataset else kind)
        if header.kind.format != "zarr" or pretty(document) != pretty(group_document(document["attributes"])):
            raise ArtifactError(f"{head} was not written by datarobust: {RESTORE}")
        _exactly(path, {_META, *header.blocks}, folders=set(header.blocks))
        layouts = {name: _layout(path / name, len(hashes)) for name, hashes in header.blocks.items()}
        headers.confirm(header, {name: (layout.dtype, layout.shape) for name, layout in layouts.items()}, head)
        for name, layout in layouts.items():
            _files(path / name, layout)
    store = Store(path, header, layouts)
    return _as_dataset(store) if as_dataset else store


def _as_dataset(clones: Store) -> Store:
    """Clones as the dataset of their images: the name and the classes are those of the dataset they were made from.

    Raises:
        ArtifactError: there are several clones of each point.
    """
    images = clones.column("images")
    if images.shape[1] != 1:
        raise ArtifactError(
            f"{clones.path} has {images.shape[1]} clones of each point, where a dataset is needed: clones read as one "
            "where there is one of each (clone `repeats` 1)"
        )
    dataset = copy.copy(clones)
    dataset.kind = "dataset"
    dataset.attributes = {"name": "clones", "classes": [], **clones.attributes}
    squeezed = Column(images.folder, images.layout, images.hashes, images.shape[2:])
    dataset._columns = {**clones._columns, "images": squeezed}
    return dataset


def _absent(path: Path) -> str:
    """Why there is no folder at ``path``, with the way out where a replacement was cut short."""
    if path.is_file():
        return f"{path} is a file, where the folder of a zarr artifact is needed: dataset import makes one of data"
    if path.name and os.path.lexists(old := durable.hidden(path, "old")):
        return f"{path} is missing (its replacement was cut short): run that command again, or rename {old} to {path}"
    if path.name and os.path.lexists(durable.hidden(path, "partial")):
        return f"{path} is not finished: run the command that writes it again"
    return f"{path} does not exist"


def _metadata(file: Path, limit: int) -> Any:
    """A zarr.json, read with bounds, and accepted only if it is spelled as we spell it."""
    try:
        text = _read_bounded(file, limit)
        document = parse(text)
        if pretty(document) != text:
            raise ValueError("it is not spelled as datarobust spells it")
    except FileNotFoundError:
        old = any((file.parent / name).exists() for name in (".zgroup", ".zarray"))
        why = "it is zarr format 2, and only format 3 as datarobust writes it is read" if old else "it has no zarr.json"
        raise ArtifactError(f"{file.parent} is no artifact: {why}") from None
    except ValueError as error:
        raise ArtifactError(f"{file} was altered or is not ours ({error}): {RESTORE}") from error
    return document


def _read_bounded(file: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes.

    Raises:
        ValueError: it is larger, or no regular file.
        OSError: it cannot be read.
    """
    state = file.stat(follow_symlinks=False)
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is a link or no regular file")
    if state.st_size > limit:
        raise ValueError(f"it has {state.st_size:,} bytes, more than {limit:,}")
    return file.read_bytes()


def _exactly(folder: Path, names: Collection[str], folders: Collection[str] = ()) -> dict[str, int]:
    """Demand that a folder holds these entries and no others; their sizes."""
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            right = (
                entry.is_dir(follow_symlinks=False) if entry.name in folders else entry.is_file(follow_symlinks=False)
            )
            if entry.name not in names:
                raise ArtifactError(f"{folder / entry.name} does not belong into the artifact: remove it")
            if not right:
                what = "folder" if entry.name in folders else "regular file"
                raise ArtifactError(f"{folder / entry.name} is not a {what}, as the artifact had: {RESTORE}")
            sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    for name in names:
        if name not in sizes:
            raise ArtifactError(f"{folder / name} is missing: {RESTORE}")
    return sizes


def _layout(folder: Path, blocks: int) -> Layout:
    """The layout that an array's metadata claim, if it is exactly the one we write and has so many blocks."""
    file = folder / _META
    document = _metadata(file, _ARRAY_BYTES)
    try:
        layout = shape_of(document)
    except ValueError as error:
        raise ArtifactError(f"{file} {error}: {RESTORE}") from error
    if pretty(document) != pretty(array_document(layout)):  # equality would take 0 for false
        raise ArtifactError(f"{file} has codecs, chunks or fields that datarobust does not write: {RESTORE}")
    if layout.blocks != blocks:
        raise ArtifactError(f"{file} claims the shape {layout.shape}, but {blocks} blocks were written: {RESTORE}")
    return layout


def _files(folder: Path, layout: Layout) -> None:
    """Demand every file of an array, each of its exact size."""
    keys = [layout.key(block) for block in range(layout.blocks)]
    sizes = _exactly(folder, {_META, *keys})
    for block, key in enumerate(keys):
        if sizes[key] != layout.file_bytes(block):
            raise ArtifactError(
                f"{folder / key} has {sizes[key]:,} bytes where {layout.file_bytes(block):,} were written: {RESTORE}"
            )


def same_digest(ranking: Store, dataset: Store) -> None:
    """Refuse a ranking, clones or anything else that was derived from another dataset.

    Raises:
        ArtifactError: its attribute ``dataset`` is not the digest of ``dataset``.
    """
    theirs = ranking.attributes.get("dataset")
    if theirs != dataset.digest:
        raise ArtifactError(
            f"{ranking.path} ({ranking.kind}) was made from another dataset ({str(theirs)[:12]}…) than {dataset.path}"
            f" ({dataset.digest[:12]}…): make it again from {dataset.path}"
        )


def peek(path: Path) -> Summary:
    """What an artifact says about itself, cheaply: metadata, presence and sizes are verified, data are not read.

    Raises:
        ArtifactError: there is none at ``path``, or what was looked at is not intact.
    """
    path = Path(path)
    return open_store(path).summary() if _is_folder(path) else peek_tensors(path)


def check(path: Path) -> Summary:
    """Verify every byte of an artifact.

    Raises:
        ArtifactError: the first file that is not as it was written, and why.
    """
    path = Path(path)
    if not _is_folder(path):
        return load_tensors(path).summary
    store = open_store(path)
    store.verify()
    return store.summary()


def _is_folder(path: Path) -> bool:
    """Whether a zarr or a safetensors artifact is to be expected at ``path``; ArtifactError where there is neither."""
    with durable.os_errors(path, "read"):
        if path.is_dir():
            return True
        if not path.is_file():
            raise ArtifactError(f"{path} is no file and no folder" if path.exists() else _absent(path))
    return False
