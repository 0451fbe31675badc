"""Reading zarr artifacts: every name, size and metadata byte is checked at the start, rows as they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from datarobust.artifacts import durable, headers, views
from datarobust.artifacts.columns import Column
from datarobust.artifacts.digests import parse, pretty
from datarobust.artifacts.headers import RESTORE, Header, Summary
from datarobust.artifacts.history import Step
from datarobust.artifacts.kinds import chosen
from datarobust.artifacts.layout import Layout, array_document, group_document, shape_of
from datarobust.errors import ArtifactError

_GROUP_BYTES = 1 << 26
"""Largest head of a store that is read: hashes of about 12 TB of images."""
_ARRAY_BYTES = 1 << 16
_META = "zarr.json"


class Store:
    """An open zarr artifact, read only. Nothing is held open: a store may be passed to other processes.

    Attributes:
        path: where it is.
        kind: its kind.
        version: of the kind's schema.
        digest: what it is; see `digests.digest_of`.
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

    Clones, one of each point, will do where a dataset does: then they read as one (:mod:`.views`).

    Args:
        path: the folder.
        kind: the kind, or the kinds, that will do; None for any.

    Raises:
        ArtifactError: it is not there, incomplete, altered, or of another kind or version.
    """
    path = Path(path)
    with durable.os_errors(path, "read"):
        if not path.is_dir():
            raise ArtifactError(absent(path))
        head = path / _META
        document = _metadata(head, _GROUP_BYTES)
        if not isinstance(document, dict) or document.get("node_type") != "group":
            raise ArtifactError(f"{head} is not the head of an artifact")
        wanted, told = chosen(kind), document.get("attributes")
        stands_in = isinstance(told, dict) and told.get("kind") == "clones" and "clones" not in wanted
        if stands_in and "dataset" in wanted:
            kind = "clones"
        header = headers.read(told, head, path, kind)
        if header.kind.format != "zarr" or pretty(document) != pretty(group_document(document["attributes"])):
            raise ArtifactError(f"{head} was not written by datarobust: {RESTORE}")
        _exactly(path, {_META, *header.blocks}, folders=set(header.blocks))
        layouts = {name: _layout(path / name, len(hashes)) for name, hashes in header.blocks.items()}
        headers.confirm(header, {name: (layout.dtype, layout.shape) for name, layout in layouts.items()}, head)
        for name, layout in layouts.items():
            _files(path / name, layout)
    store = Store(path, header, layouts)
    return views.as_dataset(store) if stands_in else store


def absent(path: Path) -> str:
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
        text = read_bounded(file, limit)
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


def read_bounded(file: Path, limit: int) -> bytes:
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
