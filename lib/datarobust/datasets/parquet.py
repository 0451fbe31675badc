"""Image data sets in Parquet files, as the Hugging Face hub has them.

Pictures are a column of encoded images (PNG, JPEG), as bytes or as a struct with the field ``bytes``; labels a column
of integers, whose names the file's own metadata have (ClassLabel). A set with fine and coarse labels, as CIFAR-100,
keeps both; ``labels="coarse"`` takes the coarse ones as the labels (CIFAR-100s in the paper, Section 4).

pyarrow, which reads the files, comes with ``pip install 'datarobust[hf]'``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust.datasets import checks
from datarobust.datasets.folder import MOST_BYTES, decode, other_mode
from datarobust.datasets.parquetcolumns import Labels, class_names, find_columns
from datarobust.datasets.parquetfile import START, ParquetFile
from datarobust.datasets.parquetshards import SUFFIX, find_shards, has_parquet
from datarobust.datasets.sources import Block, Spec, file_sha256, never
from datarobust.errors import DataError
from datarobust.text import shown


def looks_like(path: Path) -> bool:
    """Whether ``path`` is a Parquet file, or a folder that has some."""
    if path.is_dir():
        return has_parquet(path)
    try:
        with path.open("rb") as file:
            return file.read(len(START)) == START or path.name.endswith(SUFFIX)
    except OSError:
        return False


class ParquetSource:
    """A Parquet file, or the files of one split in a folder, as a Source.

    ``split`` chooses among the files of a folder (``train`` if not given). ``keys`` are the columns of pictures and
    labels where they have other names than ``img`` and ``label``; ``labels`` chooses between fine and coarse labels;
    ``channels`` makes all pictures grey (1) or RGB (3); ``classes`` override the names.

    Raises DataError at construction when footers and the first picture show that this is no data set, or where pyarrow
    is not installed; UsageError where ``keys`` and ``labels`` are both given.
    """

    def __init__(
        self,
        path: Path,
        *,
        split: str | None = None,
        keys: tuple[str, str] | None = None,
        classes: tuple[str, ...] | None = None,
        name: str | None = None,
        labels: Labels | None = None,
        channels: int | None = None,
    ) -> None:
        self._path = path
        self._paths = find_shards(path, split or "train") if path.is_dir() else [path]
        self._identity = self._state()
        self._files = [ParquetFile(each) for each in self._paths]
        self._columns = find_columns(self._files[0], keys, labels)
        for each in self._files[1:]:
            self._demand_same(each)
        self._forced = channels
        first = self._first(channels)
        self._size = (first.shape[2], first.shape[1])
        known = class_names(self._files[0], self._columns.labels)
        self._coarse_classes = len(class_names(self._files[0], self._columns.coarse)) if self._columns.coarse else 0
        self.spec = Spec(
            name=name or (f"{path.resolve().name}-{split or 'train'}" if path.is_dir() else path.stem),
            rows=sum(each.rows for each in self._files),
            kind="images",
            shape=first.shape,
            classes=known if classes is None else classes,
            coarse=self._columns.coarse is not None,
            notes=(self._note(),),
        )

    def identity(self) -> str:
        """Places, sizes and times of change of the files, and which columns are read."""
        return f"{self._identity}:{self._columns.images!a}:{self._columns.labels!a}:{self._forced}"

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the file; of several, of their lines ``sha256  name``, as ``sha256sum`` prints them, in order."""
        if not self._path.is_dir():
            return file_sha256(self._path, stopped)
        found = hashlib.sha256()
        for each in self._paths:
            found.update(f"{file_sha256(each, stopped)}  {each.name}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def unchanged(self) -> None:
        """Raise DataError where a file's size or time of change is another."""
        if self._state() != self._identity:
            raise DataError(f"{shown(self._path)} changed while it was read.")

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop``, decoded as they are asked for."""
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        step = self.spec.step
        held: list[Block] = []
        for part in self._parts(start, stop):
            held.append(part)
            if sum(map(len, held)) >= step:  # a part has no more rows than a block
                whole = _joined(held)
                yield whole.part(0, step)
                held = [whole.part(step)]
        if held and len(rest := _joined(held)):
            yield rest

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        """The rows ``start:stop`` in the batches that the files give."""
        before = 0
        for file in self._files:
            first = before  # of the row group
            for group, count in enumerate(file.groups):
                if first < stop and first + count > start:
                    yield from self._group(file, group, first - before, first, start, stop)
                first += count
            before = first

    def _group(self, file: ParquetFile, group: int, inside: int, row: int, start: int, stop: int) -> Iterator[Block]:
        """Those of the rows ``start:stop`` in a row group that begins at ``row``, at row ``inside`` of its file."""
        columns = [name for name in (self._columns.read, self._columns.labels, self._columns.coarse) if name]
        for batch in file.batches(group, columns, self.spec.step):
            low, high = max(0, start - row), min(batch.num_rows, stop - row)
            if low < high:
                yield self._block(file, batch.slice(low, high - low), inside + low, row + low)
            row, inside = row + batch.num_rows, inside + batch.num_rows
            if row >= stop:
                return

    def _block(self, file: ParquetFile, batch: Any, inside: int, row: int) -> Block:
        """A record batch, decoded and checked."""
        images = np.empty((batch.num_rows, *self.spec.shape), dtype=np.uint8)
        for place, data in enumerate(self._pictures(batch)):
            where = self._where(file, inside + place)
            image = decode(_sound(data, where), where, self._forced, self._size)
            if image.shape != self.spec.shape:
                raise other_mode(where, len(image), self.spec.shape[0])
            images[place] = image
        labels = _labels(file, batch, self._columns.labels, inside, len(self.spec.classes))
        coarse = self._columns.coarse
        return Block(
            images,
            labels,
            np.arange(row, row + batch.num_rows, dtype=np.int64),
            coarse=None if coarse is None else _labels(file, batch, coarse, inside, self._coarse_classes),
        )

    def _pictures(self, batch: Any) -> Iterator[bytes | None]:
        """The encoded pictures of a batch."""
        column = batch.column(batch.schema.get_field_index(self._columns.images))
        if self._columns.read != self._columns.images:
            [column] = column.flatten()
        for value in column:
            yield value.as_py()

    def _first(self, channels: int | None) -> npt.NDArray[np.uint8]:
        """The first picture, which says what all others have to be."""
        for file in self._files:
            for group, count in enumerate(file.groups):
                if count:
                    batch = next(file.batches(group, [self._columns.read], 1))
                    where = self._where(file, 0)
                    return decode(_sound(next(self._pictures(batch)), where), where, channels, None)
        raise DataError(f"{shown(self._path)} has no rows.")

    def _where(self, file: ParquetFile, row: int) -> str:
        return f"{shown(file.path)}: {shown(self._columns.images)}[{row}]"

    def _demand_same(self, other: ParquetFile) -> None:
        """Raise DataError where a file has other columns or names than the first."""
        first = self._files[0]
        for name in (self._columns.images, self._columns.labels, self._columns.coarse):
            if name and (
                name not in other.schema.names
                or other.schema.field(name).type != first.schema.field(name).type
                or class_names(other, name) != class_names(first, name)
            ):
                raise DataError(
                    f"{shown(other.path)} differs from {shown(first.path.name)} in its column {shown(name)}: they are "
                    "not of one data set."
                )

    def _state(self) -> str:
        found = hashlib.sha256()
        for each in self._paths:
            try:
                state = each.stat()
            except OSError as error:
                raise DataError(f"{shown(each)} cannot be read: {error.strerror}.") from error
            found.update(f"{each.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f"{str(self._path.resolve())!a}:{found.hexdigest()}"

    def _note(self) -> str:
        columns = " and ".join(shown(name) for name in self._columns[::2] if name)
        where = shown(self._paths[0].name) if len(self._paths) == 1 else f"{len(self._paths)} files"
        coarse = "" if self._columns.coarse is None else f", coarse labels from {shown(self._columns.coarse)}"
        return f"{columns} from {where}{coarse}"


def _labels(file: ParquetFile, batch: Any, column: str, inside: int, classes: int) -> npt.NDArray[np.int64]:
    """A column of labels (B,), checked."""
    values = batch.column(batch.schema.get_field_index(column))
    where = f"{shown(file.path)}: {shown(column)}"
    if values.null_count:
        place = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{where}[{inside + place}] is empty: every point has a label.")
    return checks.as_labels(values.to_numpy(zero_copy_only=False), inside, where, classes)[0]


def _sound(data: bytes | None, where: str) -> bytes:
    """The bytes of a picture. Raises DataError where there are none or too many."""
    if data is None:
        raise DataError(f"{where} has no bytes: the picture is elsewhere, or there is none.")
    if len(data) > MOST_BYTES:
        raise DataError(f"{where} has more than {MOST_BYTES >> 20} MiB: this is no image of a data set.")
    return data


def _joined(parts: list[Block]) -> Block:
    """Blocks of consecutive rows as one."""
    if len(parts) == 1:
        return parts[0]
    coarse = [part.coarse for part in parts if part.coarse is not None]
    return Block(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.index for part in parts]),
        coarse=np.concatenate(coarse) if coarse else None,
    )
