"""Writing zarr artifacts: rows are appended, the store appears when it is complete, and a killed run is continued."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from datarobust.artifacts import durable, headers
from datarobust.artifacts.durable import Lock
from datarobust.artifacts.format import (
    Layout,
    array_document,
    fingerprint,
    flat,
    group_document,
    pretty,
    sha256,
)
from datarobust.artifacts.history import Step
from datarobust.artifacts.kinds import KINDS, Kind
from datarobust.artifacts.resume import Resume
from datarobust.artifacts.store import Column, peek
from datarobust.errors import ArtifactError
from datarobust.types import Array, Images

Columns = Mapping[str, tuple[np.dtype[Any] | type | str, tuple[int, ...]]]
_META = "zarr.json"


class Writer:
    """Takes rows in order; see `create`.

    With a ``resume_key`` all that was appended before the last `save` survives ``kill -9``: the next run goes on with
    row `done` of each array. The writer saves by itself, every ``save_every`` seconds and where the block ends with an
    exception, so a caller needs no state of its own::

        with artifacts.create(path, "dataset", columns, ..., resume_key=request) as writer:
            for row in range(writer.done("images"), count):
                writer.append("images", make(row)[None])

    Attributes:
        attributes: of the artifact; may be added to before the end.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        columns: Mapping[str, _Column],
        attributes: dict[str, Any],
        resume: Resume | None,
    ) -> None:
        self.attributes = attributes
        self._path = path
        self._folder = folder
        self._columns = columns
        self._resume = resume

    def done(self, name: str) -> int:
        """Rows that the array ``name`` has, with those of earlier, killed runs: go on with the row of that number."""
        return self._columns[name].rows

    def append(self, name: str, rows: Array) -> None:
        """Add rows to the array ``name``, any number at a time; the arrays may take turns as they like.

        Args:
            name: one of the columns given to `create`.
            rows: (n, *row shape), of exactly the column's dtype.

        Raises:
            ArtifactError: another shape or dtype, or the disk refuses.
        """
        with durable.os_errors(self._path):
            self._columns[name].append(rows)
        if self._resume is not None and self._resume.due:
            self.save()

    def save(self) -> None:
        """Bring all rows that were appended to the disk, for the next run; nothing without a ``resume_key``.

        Whole blocks are there already. Their hashes and the rows after the last one, at most 16 MiB of each array, are
        written into ``.NAME.resume``.

        Raises:
            ArtifactError: the disk refuses; what was saved before is still there.
        """
        if self._resume is not None:
            state: dict[str, Array] = {}
            for name, column in self._columns.items():
                state[f"{name}/blocks"] = np.frombuffer(bytes.fromhex("".join(column.hashes)), np.uint8)
                state[f"{name}/rows"] = column.tail()
            self._resume.save(state)

    def finish(self, kind: Kind, history: Sequence[Step]) -> None:
        """Write what is buffered, then the metadata, the head of the store last."""
        with durable.os_errors(self._path):
            for column in self._columns.values():
                column.flush()
            layouts = {name: column.layout() for name, column in self._columns.items()}
            arrays = {name: (layout.dtype, layout.shape) for name, layout in layouts.items()}
            blocks = {name: column.hashes for name, column in self._columns.items()}
            head = headers.build(kind, self.attributes, history, arrays, blocks, self._path)
            for name, layout in layouts.items():
                durable.write_file(self._folder / name / _META, pretty(array_document(layout)))
            durable.write_file(self._folder / _META, pretty(group_document(head)))


class _Column:
    """One array being written: at most one block is in memory.

    Attributes:
        hashes: sha256 of each block that is on the disk.
        rows: how many there are, on the disk and in memory.
    """

    def __init__(self, path: Path, folder: Path, dtype: str, row: tuple[int, ...]) -> None:
        self.path = path
        self.folder = folder
        self.row = row
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.hashes: list[str] = []
        self.rows = 0
        self._size = Layout(dtype, (0, *row)).block
        self._buffer: Array | None = None
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
        start = 0
        while start < len(rows):
            if self._filled == 0 and len(rows) - start >= self._size:  # a whole block at once: no copy
                part = rows[start : start + self._size]
                self._write(np.ascontiguousarray(part))
            else:
                if self._buffer is None:
                    self._buffer = np.empty((self._size, *self.row), self.dtype)
                part = rows[start : start + self._size - self._filled]
                self._buffer[self._filled : self._filled + len(part)] = part
                self._filled += len(part)
                if self._filled == self._size:
                    self.flush()
            start += len(part)
            self.rows += len(part)

    def tail(self) -> Array:
        """The rows that fill no block yet; a view."""
        return np.empty((0, *self.row), self.dtype) if self._buffer is None else self._buffer[: self._filled]

    def flush(self) -> None:
        """Write the rows in memory as a block."""
        if self._filled:
            self._write(self.tail())
            self._filled = 0

    def layout(self) -> Layout:
        """Of all rows so far."""
        return Layout(self.dtype.name, (self.rows, *self.row))

    def _write(self, rows: Array) -> None:
        """Write a block, C-contiguous; it is on the disk when this returns."""
        block = len(self.hashes)
        start = block * self._size
        layout = Layout(self.dtype.name, (start + len(rows), *self.row))
        hashes = [*self.hashes, sha256(flat(rows))]
        file = self.folder / layout.key(block)
        durable.write_file(file, _run(_encoded(layout, rows)))
        try:
            Column(self.folder, layout, hashes).read(start)
        except ArtifactError as error:
            zarr = importlib.metadata.version("zarr")
            raise ArtifactError(f"{file} cannot be written: zarr {zarr} writes it otherwise than we read it") from error
        self.hashes = hashes


async def _encoded(layout: Layout, rows: Array) -> Images:
    """The bytes of the file of one block, as zarr writes it.

    zarr writes into memory and not into our folder: so a file reaches the disk before its hash is noted, its name and
    its metadata are ours, and a disk that is full is told as everywhere else.
    """
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


def _run(work: Coroutine[Any, Any, Images]) -> Images:
    """Do ``work`` in this thread, with an event loop of its own.

    zarr's synchronous functions would start threads that stay: they do not survive a fork.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(work)
    with ThreadPoolExecutor(1) as helper:  # in a notebook, for instance
        return helper.submit(asyncio.run, work).result()


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

    The same arrays, attributes and history give the same bytes in every file, also after any number of interruptions.

    Args:
        path: the output, a folder that does not exist.
        kind: name of a zarr kind.
        columns: array -> (dtype, shape of one row).
        attributes: what the kind requires and more; may be completed through the writer.
        history: the steps that led here, oldest first, this one last.
        overwrite: replace an artifact that is there, once this one is whole.
        resume_key: names the request (`fingerprint`). With it, work that was interrupted, by an exception or by
            ``kill -9``, stays hidden beside the output, and the next call with the same key goes on with it. The
            output's `Resume` is then the writer's: the caller may not keep another state there.
        save_every: seconds between two saved states, with a ``resume_key``; see `Writer.save`.

    Yields:
        The writer.

    Raises:
        ArtifactError: columns, attributes or rows that the kind does not have, or the system refuses to write.
        ExistsError: the output exists, and may not be replaced.
        LockedError: another process is writing it.
    """
    path = durable.checked_output(Path(path))
    schema, described = _checked(path, kind, columns)
    own = headers.own_attributes(attributes or {}, path)
    request = fingerprint([resume_key, kind, {name: [dtype, row] for name, (dtype, row) in described.items()}])
    resume = Resume(path, request, every=save_every) if resume_key is not None else None
    with Lock(path):
        with durable.os_errors(path):
            sweep(path)
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
                arrays = {name: _Column(path, folder / name, dtype, row) for name, (dtype, row) in described.items()}
                for name, column in arrays.items():
                    blocks = bytes(state[f"{name}/blocks"]) if state else b""
                    hashes = [blocks[start : start + 32].hex() for start in range(0, len(blocks), 32)]
                    column.resume(hashes, state[f"{name}/rows"] if state else None)
            writer = Writer(path, folder, arrays, own, resume)
            try:
                yield writer
            except BaseException:
                with suppress(ArtifactError):  # the first error matters; what was saved before is still there
                    writer.save()
                raise
            writer.finish(schema, history)
        if resume:
            resume.discard()


def sweep(path: Path) -> None:
    """Put in order what killed runs left beside ``path``; work that can be continued stays. Under the lock."""
    durable.recover(path)
    resume = durable.hidden(path, "resume")
    for role in ("resume.new", "progress", "progress.new"):  # progress: of version 0.1, which is not continued
        durable.remove(durable.hidden(path, role))
    if not resume.exists():
        durable.remove(durable.hidden(path, "partial"))


def abandon(path: Path) -> None:
    """Remove unfinished work that a call of `create` with a ``resume_key`` has left beside ``path``.

    Raises:
        LockedError: another process is writing it.
        ArtifactError: the system refuses.
    """
    with Lock(path), durable.os_errors(path):
        durable.remove(durable.hidden(path, "resume"))
        sweep(path)


def _checked(path: Path, kind: str, columns: Columns) -> tuple[Kind, dict[str, tuple[str, tuple[int, ...]]]]:
    """The schema, and array -> (dtype, row shape) in the order of names; ArtifactError if they do not fit."""
    schema = KINDS.get(kind)
    if schema is None or schema.format != "zarr":
        known = ", ".join(kind.name for kind in KINDS.values() if kind.format == "zarr")
        raise ArtifactError(f"{path} cannot be written: {kind!r} is no kind of zarr artifact ({known})")
    described = {name: (np.dtype(dtype).name, tuple(row)) for name, (dtype, row) in sorted(columns.items())}
    complaint = schema.complaint_about_arrays({name: (dtype, (None, *row)) for name, (dtype, row) in described.items()})
    if complaint:
        raise ArtifactError(f"{path} cannot be written: it {complaint}")
    for name, (dtype, row) in described.items():
        try:
            Layout(dtype, (0, *row))
        except ValueError as error:
            raise ArtifactError(f"{path} cannot be written: {name} {error}") from error
    return schema, described


def demand_vacant(path: Path, kind: str, overwrite: bool = False) -> None:
    """Refuse, before long work, an output that :func:`create` or `tensors.save_tensors` would refuse after it.

    Raises:
        ExistsError: the output exists, and may not be replaced.
        ArtifactError: its folder does not exist, or is an artifact.
    """
    is_file = KINDS[kind].format == "safetensors"
    durable.demand_vacant(path, overwrite, Path.is_file if is_file else lambda output: _ours(output, kind))


def _ours(path: Path, kind: str) -> bool:
    """Whether ``overwrite`` may replace ``path`` by a store of this kind: one of the same kind, be it damaged."""
    arrays = {name for each in KINDS.values() for name in (*each.required, *each.optional)}
    return (
        path.is_dir()
        and (path / _META).is_file()
        and _told_kind(path / _META) in (kind, None)
        and all(entry.name == _META or (entry.name in arrays and entry.is_dir()) for entry in path.iterdir())
    )


def _told_kind(meta: Path) -> str | None:
    """The kind that a store's metadata tell; None where they are damaged."""
    try:
        kind = json.loads(meta.read_bytes())["attributes"]["kind"]
    except (ValueError, TypeError, KeyError):
        return None
    return kind if isinstance(kind, str) else None


def finished(path: Path, request: str) -> bool:
    """Whether ``path`` is the artifact that this very request has made: then there is nothing to do.

    Args:
        path: the output.
        request: `format.fingerprint` of the inputs' digests and the options; tools store it as attribute ``request``.

    Returns:
        False where there is nothing, something else, or something damaged; `create` then says what is in the way.

    Raises:
        LockedError: killed runs left traces to be removed, but another process is writing ``path``.
    """
    path = Path(path)
    states = {durable.hidden(path, role) for role in ("journal", "resume")}
    if set(durable.leftovers(path)) - states:
        with Lock(path), durable.os_errors(path):
            sweep(path)
    if not os.path.lexists(path):
        return False
    try:
        return peek(path).attributes.get("request") == request
    except ArtifactError:
        return False
