"""Writing zarr artifacts: rows are appended, the store appears when it is complete, and a killed run is continued."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarobust.artifacts import durable, headers
from datarobust.artifacts.columns import Column
from datarobust.artifacts.digests import fingerprint, pretty, sha256
from datarobust.artifacts.durable import Lock
from datarobust.artifacts.history import Step
from datarobust.artifacts.kinds import KINDS, Kind
from datarobust.artifacts.layout import Layout, array_document, flat, group_document
from datarobust.artifacts.progress import Progress
from datarobust.errors import ArtifactError

Columns = Mapping[str, tuple[np.dtype[Any] | type | str, tuple[int, ...]]]
_META = "zarr.json"


class Writer:
    """Takes rows in order; see `create`.

    Attributes:
        attributes: of the artifact; may be added to before the end.
        rows_done: array -> rows that an earlier, killed run with the same ``resume_key`` has left durable.
    """

    def __init__(self, path: Path, folder: Path, columns: Mapping[str, _Column], attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self._path = path
        self._folder = folder
        self._columns = columns
        self.rows_done = {name: column.rows for name, column in columns.items()}

    def done(self, name: str) -> int:
        """Rows of the array ``name`` that need not be appended again: go on with the row of that number."""
        return self.rows_done[name]

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows to the array ``name``, any number at a time; the arrays may take turns as they like.

        Args:
            name: one of the columns given to `create`.
            rows: (n, *row shape), of exactly the column's dtype.

        Raises:
            ArtifactError: another shape or dtype, or the disk refuses.
        """
        with durable.os_errors(self._path):
            self._columns[name].append(rows)

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
                _fresh(self._folder / name / _META, pretty(array_document(layout)))
            _fresh(self._folder / _META, pretty(group_document(head)))


class _Column:
    """One array being written: at most one block is buffered."""

    def __init__(self, path: Path, folder: Path, dtype: str, row: tuple[int, ...], progress: Progress | None) -> None:
        self.path = path
        self.folder = folder
        self.row = row
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.hashes: list[str] = []
        self.rows = 0
        self._progress = progress
        self._size = Layout(dtype, (0, *row)).block
        self._buffer: NDArray[Any] | None = None
        self._filled = 0

    def resume(self, hashes: Sequence[str]) -> None:
        """Keep the leading blocks whose files still have the hashes that the progress file noted; drop the rest."""
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

    def append(self, rows: NDArray[Any]) -> None:
        if rows.dtype != self.dtype or rows.shape[1:] != self.row or rows.ndim != len(self.row) + 1:
            raise ArtifactError(
                f"{self.path}: {self.folder.name} takes {self.dtype} rows of shape {self.row},"
                f" not {rows.dtype} of shape {rows.shape[1:]}"
            )
        start = 0
        while start < len(rows):
            if self._filled == 0 and len(rows) - start >= self._size:  # a whole block at once: no copy
                self._write(np.ascontiguousarray(rows[start : start + self._size]))
                start += self._size
                continue
            if self._buffer is None:
                self._buffer = np.empty((self._size, *self.row), self.dtype)
            part = rows[start : start + self._size - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            start += len(part)
            if self._filled == self._size:
                self.flush()

    def flush(self) -> None:
        """Write the buffered rows as a block."""
        if self._filled and self._buffer is not None:
            rows, self._filled = self._buffer[: self._filled], 0
            self._write(rows)

    def layout(self) -> Layout:
        """Of all rows so far."""
        return Layout(self.dtype.name, (self.rows, *self.row))

    def _write(self, rows: NDArray[Any]) -> None:
        self.rows += len(rows)
        from datarobust.artifacts import shards

        digest = sha256(flat(rows))
        shards.write(self.folder, self.layout(), len(self.hashes), rows)
        self.hashes.append(digest)
        if self._progress and len(rows) == self._size:
            self._progress.note(self.folder.name, digest)


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
        resume_key: names the request (`digests.fingerprint`). With it, work that was interrupted, by an exception or
            by ``kill -9``, stays hidden beside the output, and the next call with the same key goes on with it.

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
    progress_file = durable.hidden(path, "progress")
    with Lock(path):
        with durable.os_errors(path):
            sweep(path)
        with durable.whole_or_absent(
            path, overwrite=overwrite, keep=resume_key is not None, may_replace=lambda there: _ours(there, kind)
        ) as folder:
            request = fingerprint([resume_key, kind, {name: [dtype, row] for name, (dtype, row) in described.items()}])
            progress = Progress(progress_file, request) if resume_key is not None else None
            try:
                with durable.os_errors(path):
                    found = progress.load() if progress else None
                    if found is None:
                        durable.remove(folder)
                    folder.mkdir(exist_ok=True)
                    made = {name: _Column(path, folder / name, *one, progress) for name, one in described.items()}
                    _resume(folder, made, found or {}, progress)
                writer = Writer(path, folder, made, own)
                yield writer
                writer.finish(schema, history)
            finally:
                if progress:
                    progress.close()
        with durable.os_errors(path):
            progress_file.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Put in order what killed runs left beside ``path``; work that can be continued stays. Under the lock."""
    durable.recover(path)
    partial, progress = durable.hidden(path, "partial"), durable.hidden(path, "progress")
    durable.remove(progress.with_name(f"{progress.name}.new"))
    if not (partial.exists() and progress.exists()):
        durable.remove(partial)
        durable.remove(progress)


def abandon(path: Path) -> None:
    """Remove unfinished work that a call of `create` with a ``resume_key`` has left beside ``path``.

    Raises:
        LockedError: another process is writing it.
        ArtifactError: the system refuses.
    """
    with Lock(path), durable.os_errors(path):
        durable.remove(durable.hidden(path, "progress"))
        sweep(path)


def _resume(
    folder: Path, made: Mapping[str, _Column], found: Mapping[str, Sequence[str]], progress: Progress | None
) -> None:
    """Bring the partial folder and its progress file to a state that both agree on."""
    for entry in folder.iterdir():
        if entry.name not in made:
            durable.remove(entry)
    for name, column in made.items():
        column.resume(found.get(name, ()))
    if progress:
        progress.start({name: column.hashes for name, column in made.items()})


def _checked(path: Path, kind: str, columns: Columns) -> tuple[Kind, dict[str, tuple[str, tuple[int, ...]]]]:
    """The schema, and array -> (dtype, row shape) in the order of names; ArtifactError if they do not fit."""
    schema = KINDS.get(kind)
    if schema is None or schema.format != "zarr":
        known = ", ".join(name for name, one in KINDS.items() if one.format == "zarr")
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
    """Refuse, before long work, an output that :func:`create` would refuse after it.

    Raises:
        ExistsError: the output exists, and may not be replaced.
        ArtifactError: its folder does not exist, or is an artifact.
    """
    durable.demand_vacant(path, overwrite, lambda there: _ours(there, kind))


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


def _fresh(file: Path, data: bytes) -> None:
    """Write a file anew, in the place of one that an interrupted run may have left."""
    file.unlink(missing_ok=True)
    durable.write_file(file, data)
