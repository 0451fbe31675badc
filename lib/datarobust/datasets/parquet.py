"""Image data sets in Parquet files, as the Hugging Face hub has them.

Pictures are a column of encoded images (PNG, JPEG), as bytes or as a struct with the field ``bytes``; labels a column
of integers, whose names the file's own metadata have (ClassLabel), or of text, which is numbered in its order. Of fine
and coarse labels, as of CIFAR-100, both are kept. The name of a point is the field ``path`` of its picture, or what a
column of texts has, the first of `NAMES`.

A folder has its files as ``data/train-00000-of-00002-0123456789abcdef.parquet``, with a folder for each configuration
(``plain_text/train-00000-of-00001.parquet``, ``default/train/0000.parquet``) or plainly as ``train.parquet``.

pyarrow, which reads the files, trusts what a page claims, and a page of a few bytes may unpack to gigabytes: by its
codec, as a dictionary that many rows name, as prefixes of earlier values. What a page takes stands in its header alone,
which pyarrow does not show. So these headers (parquet.thrift of the Parquet project, in Thrift's compact protocol) are
read here before any page is unpacked, and the footer, for pyarrow ends the process at some that are damaged.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from datarobust.datasets import sources
from datarobust.datasets.files import brief, read_start, reading
from datarobust.datasets.folder import Decoder
from datarobust.datasets.sources import Block, Labels, Names, Source, Spec
from datarobust.errors import DataError, ImageError, UsageError
from datarobust.text import read_json, shown
from datarobust.types import Rows

START = b"PAR1"
SUFFIX = ".parquet"
IMAGES = ("img", "image", "images")
LABELS = ("label", "fine_label", "labels")
COARSE = "coarse_label"
NAMES = ("__key__", "key", "file_name", "filename", "file", "path", "image_id", "id")
MOST_FOOTER_BYTES = 8 << 20  # enough for thousands of row groups of a few columns
MOST_PAGE_BYTES = 512 << 20  # of one page, unpacked; writers make pages of about 1 MiB, or of 1,024 rows
BATCH_BYTES = 64 << 20  # a batch holds about so much at most, whatever the file says, unless one value is larger

_PROBED_AT_ONCE = 1024
_ENCRYPTED = b"PARE"
_READ_AHEAD = 1 << 16
_NAMES_AT_ONCE = 1 << 12
_DEPTH = 3
_MOST_ENTRIES = 1 << 16
_OF = re.compile(r"(?P<split>.+?)-(?P<number>\d{4,6})-of-(?P<total>\d{4,6})(-[0-9a-f]+)?\.parquet", re.DOTALL)
_NUMBERED = re.compile(r"(part[.-])?(?P<number>\d{1,6})\.parquet")
_PLAIN = re.compile(r"(.*[-_.])?(?P<split>train|test|validation|valid|val)\.parquet", re.DOTALL)

_HEADER_BYTES = 1 << 16
_HEADER_DEPTH = 16
_I32, _I64, _LIST, _STRUCT = 5, 6, 9, 12  # types of Thrift's compact protocol
_BYTE_ARRAY = 6
_DICTIONARY = 2
# Data, dictionary, data of version 2: the fields of the page's own header, and of the encoding in that.
_PAGES = {0: (5, 2), _DICTIONARY: (7, 2), 3: (8, 4)}
# PLAIN, PLAIN_DICTIONARY, DELTA_LENGTH_BYTE_ARRAY, RLE_DICTIONARY: the values are no larger than the page, or than its
# dictionary. Those of DELTA_BYTE_ARRAY may be.
_ENCODINGS = (0, 2, 6, 8)


def looks_like(path: Path, start: bytes) -> bool:
    """Whether this is a Parquet file, or a folder that has some, as far as a quick look tells."""
    if path.is_dir():
        return next(_files(path, _MOST_ENTRIES), None) is not None
    return start.startswith(START) or path.name.endswith(SUFFIX)


class ParquetSource(Source):
    """A Parquet file, or the files of one split in a folder (``train`` if not given).

    ``keys`` are the columns of pictures and labels where these have other names; ``labels`` chooses between fine and
    coarse ones; ``channels`` makes all pictures grey (1) or RGB (3); ``resize`` makes them of one size, ``skip_broken``
    leaves out what cannot be decoded, after all pictures were decoded once; ``classes`` override the names.
    """

    def __init__(
        self,
        path: Path,
        *,
        split: str | None = None,
        keys: tuple[str, str] | None = None,
        classes: Names | None = None,
        labels: Labels | None = None,
        channels: int | None = None,
        resize: str | None = None,
        skip_broken: bool = False,
    ) -> None:
        paths = find_shards(path, split or "train") if path.is_dir() else [path]
        super().__init__(path, [each.name for each in paths] if path.is_dir() else None, paths[0].parent)
        self._shards = [ParquetFile(each) for each in paths]
        first = self._shards[0]
        self._columns = columns = find_columns(first, keys, labels)
        self.choices = (columns.images, columns.labels[0], channels, *([resize] if resize else []))
        for other in self._shards[1:]:
            for column in (columns.images, *columns.labels):
                if (
                    column not in other.schema.names
                    or other.schema.field(column).type != first.schema.field(column).type
                    or class_names(other, column) != class_names(first, column)
                ):
                    files = f"{shown(other.path)} differs from {shown(first.path.name)}"
                    raise DataError(f"{files} in its column {shown(column)}: they are not of one data set.")
        self._decode = Decoder(channels, resize)
        rows = sum(each.rows for each in self._shards)
        if not rows:
            raise DataError(f"{shown(path)} has no rows.")
        self._classes = {column: class_names(first, column) for column in columns.labels}
        if classes is not None:
            self._classes[columns.labels[0]] = classes
        for column in columns.labels:
            if _is_text(first.schema.field(column).type) and not self._classes[column]:
                self._classes[column] = tuple(sorted(set(self._texts(column)) - {""}))
                if len(self._classes[column]) > sources.MOST_CLASSES:
                    fault = f"has more than {sources.MOST_CLASSES:,} different texts: they are no classes"
                    raise DataError(f"{shown(path)}: {shown(column)} {fault}.")
        notes, width = list[str](), 0
        if columns.names and all(find_columns(each, keys, labels).names == columns.names for each in self._shards):
            try:
                width = sources.name_bytes(self._texts(columns.names))
            except DataError as error:
                notes.append(f"points have no names: {error}")
        if not width:
            self._columns = columns._replace(names="")
        broken = []
        if skip_broken:
            for row, where, picture, *_ in self._rows(0, rows, _PROBED_AT_ONCE):
                try:
                    self._decode(picture, where)
                except ImageError as error:
                    broken.append(row)
                    notes.append(f"skipped: {error}")
            notes.append(f"skipped {len(broken):,} of {rows:,} images")
        if len(broken) == rows:
            raise DataError(f"{shown(path)} has no picture that can be decoded.")
        self._broken = np.array(broken, np.int64)  # rows that are left out
        _, where, picture, *_ = next(self._rows(self._row(0), self._row(0) + 1, 1))
        shape = self._decode(picture, where).shape
        where = shown(paths[0].name) if len(paths) == 1 else f"{len(paths)} files"
        label, *coarse = columns.labels
        beside = f", coarse labels from {shown(coarse[0])}" if coarse else ""
        notes.insert(0, f"{shown(columns.images)} and {shown(label)} from {where}{beside}")
        self.spec = Spec(
            name=(f"{path.resolve().name}-{split or 'train'}" if path.is_dir() else path.stem),
            rows=rows - len(broken),
            kind="images",
            shape=shape,
            classes=self._classes[label],
            coarse=bool(coarse),
            notes=tuple(notes),
            names=width,
        )

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        if start >= stop:
            return
        rows = self._rows(self._row(start), self._row(stop - 1) + 1, self.spec.step)
        broken = set(self._broken.tolist())
        decoded = (
            (self._decode(picture, where), name, *labels)
            for row, where, picture, name, *labels in rows
            if row not in broken
        )
        while part := list(islice(decoded, self.spec.step)):
            images, names, *labels = zip(*part, strict=True)
            columns = (np.array(column, np.int64) for column in labels)
            block = {"images": np.stack(images), **dict(zip(("labels", "coarse"), columns, strict=False))}
            yield block | ({"names": sources.as_names(names, self.spec.names)} if self.spec.names else {})

    def _row(self, kept: int) -> int:
        """Which row of the files is the row ``kept`` without those that are left out."""
        return kept + int(np.searchsorted(self._broken - np.arange(len(self._broken)), kept, side="right"))

    def _texts(self, column: str) -> Iterator[str]:
        """A column of texts, such as the names of all points."""
        for shard in self._shards:
            for _, batch in shard.batches([column], _NAMES_AT_ONCE):
                yield from map(_name_of, self._column(batch, column))

    @staticmethod
    def _column(batch: Any, name: str) -> Any:
        """A column of a record batch, or a field ``name.field`` of one; texts as their bytes."""
        column, _, field = name.rpartition(".") if name not in batch.schema.names else (name, "", "")
        values = batch.column(batch.schema.get_field_index(column))
        if field:
            values = dict(zip((part.name for part in values.type), values.flatten(), strict=True))[field]
        if not _is_text(values.type):
            return values
        return values.cast("large_binary" if pyarrow().types.is_large_string(values.type) else "binary")

    def _rows(self, start: int, stop: int, most: int) -> Iterator[tuple[Any, ...]]:
        """The rows ``start:stop``, read ``most`` at a time or fewer.

        The number of each, where its picture is for sentences, the picture as it is encoded, the name, the labels.
        """
        columns, first = self._columns, 0
        names = [columns.read, *columns.labels, *([columns.names] if columns.names else [])]
        for shard in self._shards:
            file = shown(shard.path)
            for row, batch in shard.batches(names, most, start - first, stop - first):
                labels = [self._labels(batch, name, row, f"{file}: {shown(name)}") for name in columns.labels]
                pictures = self._column(batch, columns.read)
                called = self._column(batch, columns.names) if columns.names else [None] * len(pictures)
                for place, (picture, name, *numbers) in enumerate(zip(pictures, called, *labels, strict=True), row):
                    where = f"{file}: {shown(columns.images)}[{place}]"
                    if not picture.is_valid:
                        raise DataError(f"{where} has no bytes: the picture is elsewhere, or there is none.")
                    yield first + place, where, picture.as_py(), _name_of(name), *numbers
            first += shard.rows

    def _labels(self, batch: Any, name: str, row: int, where: str) -> Rows:
        """The labels in a column of a record batch, which begins at ``row`` of its file."""
        arrow, classes = pyarrow(), self._classes[name]
        values = numbers = self._column(batch, name)
        if not arrow.types.is_integer(values.type):
            known, encoded = {each: place for place, each in enumerate(classes)}, values.dictionary_encode()
            numbers = arrow.array([known.get(_name_of(each)) for each in encoded.dictionary], arrow.int64())
            numbers = numbers.take(encoded.indices)
        if numbers.null_count:
            place = int(np.argmax(numbers.is_null().to_numpy(zero_copy_only=False)))
            text = shown(_name_of(values[place]))
            fault = f"= '{text}' is not among the {len(classes)} class names"
            raise DataError(f"{where}[{row + place}] {fault if text else 'is empty: every point has a label'}.")
        labels, _ = sources.as_labels(numbers.to_numpy(zero_copy_only=False), row, where, len(classes))
        return labels


def _name_of(value: Any) -> str:
    """A name as text; empty where there is none."""
    data = None if value is None else value.as_py()
    return "" if data is None else data[-sources.MOST_NAME_BYTES :].decode("utf-8", "replace")


class Columns(NamedTuple):
    """Names of columns."""

    images: str
    read: str  # the bytes of the pictures
    labels: tuple[str, ...]  # the labels, and coarse labels beside them
    names: str  # the names of points; empty where there is none


def find_columns(file: ParquetFile, keys: tuple[str, str] | None, labels: Labels | None) -> Columns:
    """The columns to read. Raises DataError where there are none, several, or some of other types."""
    if keys is not None and labels is not None:
        raise UsageError("`labels` chooses between fine_label and coarse_label; with `keys` name the labels there.")
    images = _one(file, (keys[0],) if keys else IMAGES, "pictures")
    candidates = (keys[1],) if keys else LABELS if labels is None else (f"{labels}_label",)
    label = _one(file, candidates, "labels")
    both = keys is None and label == "fine_label" and COARSE in file.schema.names
    labelled = (label, COARSE) if both else (label,)
    types = pyarrow().types
    for name in labelled:
        if not types.is_integer(file.schema.field(name).type) and not _is_text(file.schema.field(name).type):
            kind = shown(str(file.schema.field(name).type)[:80])
            raise DataError(f"{shown(file.path)}: {shown(name)} has type {kind}: labels are integers or text.")
    kind = file.schema.field(images).type
    inner = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not types.is_binary(inner) and not types.is_large_binary(inner):
        column = f"{shown(file.path)}: {shown(images)} has type {shown(str(kind)[:80])}"
        raise DataError(f"{column}: pictures are PNG or JPEG files as bytes, or structs with the field bytes.")
    texts = [name for name in NAMES if name in file.schema.names and _is_text(file.schema.field(name).type)]
    if inner is not kind and kind.get_field_index("path") >= 0 and _is_text(kind.field("path").type):
        texts.insert(0, f"{images}.path")
    read = images if inner is kind else f"{images}.bytes"
    return Columns(images, read, labelled, next(iter(texts), ""))


def _is_text(kind: Any) -> bool:
    return bool(pyarrow().types.is_string(kind) or pyarrow().types.is_large_string(kind))


def _one(file: ParquetFile, candidates: tuple[str, ...], what: str) -> str:
    """The one column among ``candidates`` that the file has."""
    names = file.schema.names
    present = [name for name in candidates if name in names]
    if not present:
        listed = ", ".join(shown(name) for name in names[:12]) or "none"
        columns = f"{listed}, none of them {what} ({' or '.join(map(shown, candidates))})"
        raise DataError(f"{shown(file.path)} has the columns {columns}: name both with `keys` PICTURES,LABELS.")
    if len(present) > 1 or names.count(present[0]) > 1:
        columns = f"several columns of {what} ({', '.join(map(shown, present))})"
        raise DataError(f"{shown(file.path)} has {columns}: choose with `keys` PICTURES,LABELS.")
    return present[0]


def class_names(file: ParquetFile, column: str) -> tuple[str, ...]:
    """The names that the ``datasets`` library wrote beside a column of labels (ClassLabel), none where it did not."""
    text = (file.schema.metadata or {}).get(b"huggingface")
    if text is None:
        return ()
    try:
        feature = read_json(text)["info"]["features"].get(column)
        names = feature.get("names", []) if isinstance(feature, dict) else []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{shown(file.path)}: its huggingface metadata are not what that library writes.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{shown(file.path)}: the names of {shown(column)} in its huggingface metadata are no texts.")
    return tuple(names)


# --------------------------------------------------------------------------------------------------- files of a split


def find_shards(folder: Path, split: str) -> list[Path]:
    """The files of a split in order. Raises DataError where no or several sets have it, or a file is missing."""
    sets: dict[tuple[str, Path], list[tuple[int, Path, int | None]]] = defaultdict(list)  # by split and configuration
    unknown: list[Path] = []
    for path in sorted(_files(folder)):
        if match := _OF.fullmatch(path.name):
            sets[match["split"], path.parent].append((int(match["number"]), path, int(match["total"])))
        elif match := _PLAIN.fullmatch(path.name):
            sets[match["split"], path.parent].append((0, path, 1))
        elif match := _NUMBERED.fullmatch(path.name):
            sets[path.parent.name, path.parent.parent].append((int(match["number"]), path, None))
        else:
            unknown.append(path)
    if unknown and not sets:
        raise DataError(f"{shown(unknown[0])}: its name tells no split, as test.parquet does: give the file itself.")
    folders = sorted(below for name, below in sets if name == split)
    if not folders:
        listing = ", ".join(map(shown, sorted({name for name, _ in sets}))) or "none"
        raise DataError(f"{shown(folder)} has no Parquet files of the split {shown(split)}; its splits are: {listing}.")
    if len(folders) > 1:
        listing = ", ".join(shown(os.path.relpath(each, folder)) for each in folders)
        raise DataError(f"{shown(folder)} holds several data sets ({listing}): give the folder of one.")
    numbers, paths, totals = zip(*sorted(sets[split, folders[0]]), strict=True)
    if len(set(totals)) > 1 or len(set(numbers)) < len(numbers):
        names = ", ".join(shown(path.name) for path in paths[:4])
        raise DataError(f"{shown(folder)} mixes files of different sets ({names} ...): keep those of one.")
    missing = min(set(range(totals[0] or len(paths))) - set(numbers), default=None)
    if missing is not None:
        count = f"of {totals[0] or numbers[-1] + 1} files only {len(paths)} are there"
        raise DataError(f"{shown(paths[0].parent)} lacks file {missing} of split {shown(split)}: {count}.")
    return list(paths)


def _files(folder: Path, most: float = math.inf) -> Iterator[Path]:
    """The Parquet files at most three folders down; hidden ones and links to folders are left out.

    Looks into no further folder after ``most`` entries.
    """

    def fail(error: OSError) -> None:
        raise DataError(f"{shown(error.filename)} cannot be read: {error.strerror}.") from error

    for place, folders, names in os.walk(folder, onerror=fail):
        deep = len(Path(place).relative_to(folder).parts) >= _DEPTH
        folders[:] = [] if deep else [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if name.endswith(SUFFIX) and not name.startswith("."))
        most -= len(folders) + len(names)
        if most < 0:
            return


# ----------------------------------------------------------------------------------------------------------- one file


def pyarrow(name: str = "pyarrow") -> Any:
    """The module ``name`` of pyarrow. Raises DataError with the way to install it where it is absent."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        way = "pip install 'datarobust[hf]' brings it"
        raise DataError(f"Parquet files are read by pyarrow, which is not there ({brief(error)}): {way}.") from error


class ParquetFile:
    """A Parquet file by its footer. Raises DataError at anything that is not as it claims."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size, footer = _footer(path)
        try:
            groups = _Header(footer).struct().values_of(4, _Struct)
            self.groups = [group.number(3, _I64) for group in groups]  # rows of each
            self._chunks = [[chunk[3, _STRUCT] for chunk in group.values_of(1, _Struct)] for group in groups]
        except BadHeader as error:
            raise DataError(f"{shown(path)} has a damaged footer ({error}): get the file again.") from error
        with self._open() as file:
            self.schema = file.schema_arrow
            rows = file.metadata.num_rows
        self.rows = sum(self.groups)
        if self.rows != rows:
            raise DataError(f"{shown(path)} claims {rows} rows, but has groups of {self.rows}.")

    def batches(
        self, columns: Sequence[str], most: int, start: int = 0, stop: float = math.inf
    ) -> Iterator[tuple[int, Any]]:
        """``(row, batch)`` of the rows ``start:stop``, record batches of at most ``most`` rows.

        Columns of structs are ``name.field``. Raises DataError before anything is unpacked where a page would be too
        large.
        """
        end = 0
        for group, count in enumerate(self.groups):
            row, end = end, end + count
            if row >= stop or end <= start:
                continue
            size = max(1, min(most, BATCH_BYTES // max(1, self._largest_page(group, columns))))
            options = {"batch_size": size, "columns": list(columns), "use_threads": False}
            with self._open() as file:
                for batch in file.iter_batches(row_groups=[group], **options):
                    low, high = max(0, start - row), min(batch.num_rows, stop - row)
                    if low < high:
                        yield row + low, batch.slice(low, high - low)
                    row += batch.num_rows
                    if row >= stop:
                        break
                else:
                    if row != end:
                        where = f"{shown(self.path)}: row group {group}"
                        raise DataError(f"{where} claims {count:,} rows, but has {row - end + count:,}.")

    def _largest_page(self, number: int, columns: Sequence[str]) -> int:
        """Bytes of the largest page of these columns in a row group, unpacked; one too large is refused."""
        rows, largest = self.groups[number], 0
        where = f"{shown(self.path)}: row group {number}"
        try:
            with reading(self.path), self.path.open("rb") as file:
                for chunk in self._chunks[number]:
                    column = b".".join(chunk.values_of(3, bytes)).decode("utf-8", "replace")
                    if column not in columns:
                        continue
                    where = f"{shown(self.path)}: column {shown(column)} in row group {number}"
                    values, start, size = (chunk.number(field, _I64) for field in (5, 9, 7))
                    if 0 < chunk.get((11, _I64), 0) < start:  # the dictionary, where there is one
                        start = chunk.number(11, _I64)
                    if start < len(START) or start + size > self._size:
                        raise DataError(f"{where} claims {size:,} bytes from {start:,} on of a file of {self._size:,}.")
                    held = 0
                    for pages, (kind, unpacked, count, encoding) in enumerate(_pages(file, start, size)):
                        if unpacked > MOST_PAGE_BYTES:
                            raise DataError(f"{where} has a page of {unpacked:,} bytes: this is not a set of images.")
                        if chunk.number(1, _I32) == _BYTE_ARRAY and encoding not in _ENCODINGS:
                            raise DataError(f"{where} has an encoding that is not read: write it with plain pages.")
                        if pages > rows + 16:
                            raise DataError(f"{where} has more pages than its {rows} rows.")
                        held += count if kind != _DICTIONARY else 0
                        largest = max(largest, unpacked)
                    if held != values:
                        raise DataError(f"{where} has pages of {held:,} values, but claims {values:,}.")
        except BadHeader as error:
            raise DataError(f"{where} is damaged ({error}): get the file again.") from error
        return largest

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """The file as pyarrow has it, whose exceptions become one sentence."""
        arrow, parquet = pyarrow(), pyarrow("pyarrow.parquet")
        options = {"buffer_size": _READ_AHEAD, "pre_buffer": False, "page_checksum_verification": True}
        try:
            with parquet.ParquetFile(self.path, **options) as file:
                yield file
        except (arrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
            raise DataError(f"{shown(self.path)} cannot be read as Parquet: {brief(error)}.") from error


def _footer(path: Path) -> tuple[int, bytes]:
    """The size and the footer of a file that begins and ends as a Parquet file does."""
    where = shown(path)
    start = read_start(path)
    with reading(path), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        file.seek(max(0, size - 8 - length))
        footer = file.read(min(length, MOST_FOOTER_BYTES))
    if start.startswith(_ENCRYPTED) or end[4:] == _ENCRYPTED:
        raise DataError(f"{where} is encrypted.")
    if not start.startswith(START):
        raise DataError(f"{where} is not a Parquet file: it begins with {start[:4].hex(' ')}, not with PAR1.")
    if size < 12 or end[4:] != START:
        raise DataError(f"{where} does not end as a Parquet file does: it is cut short.")
    if length > min(size - 12, MOST_FOOTER_BYTES):
        claim = f"a footer of {length:,} bytes in a file of {size:,}"
        raise DataError(f"{where} claims {claim}: it is damaged, or has too many row groups.")
    return size, footer


def _pages(file: IO[bytes], start: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Kind, bytes when unpacked, number of values and encoding of the pages in the ``size`` bytes from ``start`` on.

    Only headers are read. Raises BadHeader where they are not pages that fill these bytes.
    """
    place, end = start, start + size
    while place < end:
        file.seek(place)
        reader = _Header(file.read(min(_HEADER_BYTES, end - place)))
        header = reader.struct()
        kind, unpacked, stored = (header.number(field, _I32) for field in (1, 2, 3))
        if kind in _PAGES:
            field, encoding = _PAGES[kind]
            page = header[field, _STRUCT]
            yield kind, unpacked, page.number(1, _I32), page.number(encoding, _I32)
        place += reader.tell() + stored
    if place != end:
        raise BadHeader("its pages go on after its end")


# ------------------------------------------------------------------------------------------ Thrift's compact protocol


class BadHeader(Exception):
    """Bytes that are no footer, or no header of a page."""


class _Struct(dict[tuple[int, int], Any]):
    """The fields of a struct by number and type (pyarrow passes over those of another type).

    int, bytes, list or _Struct, None for others. BadHeader is raised where a field is missing.
    """

    def __missing__(self, key: tuple[int, int]) -> Any:
        raise BadHeader(f"field {key[0]} of a header is missing")

    def number(self, field: int, kind: int) -> int:
        value: int = self[field, kind]
        if value < 0:
            raise BadHeader(f"field {field} of a header is negative")
        return value

    def values_of(self, field: int, kind: type) -> list[Any]:
        values: list[Any] = self[field, _LIST]
        if not all(isinstance(value, kind) for value in values):
            raise BadHeader(f"the list in field {field} of a header holds something else")
        return values


class _Header(io.BytesIO):
    """A reader of structs."""

    def struct(self, depth: int = 0) -> _Struct:
        fields = _Struct()
        numbers: set[int] = set()
        field = 0
        while head := self._bytes(1)[0]:
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._value(_I32, depth)
            if field in numbers:
                raise BadHeader("a header has a field twice")
            numbers.add(field)
            fields[field, kind] = self._value(kind, depth) if kind > 2 else None  # 1 and 2 are true and false
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _HEADER_DEPTH:
            raise BadHeader("a header is nested too deep")
        match kind:
            case 1 | 2 | 3 | 7:  # booleans in a list, a byte, a double
                self._bytes(8 if kind == 7 else 1)
                return None
            case 4 | 5 | 6:  # integers of 16, 32 and 64 bits, whose lowest bit is the sign
                value = self._varint()
                return (value >> 1) ^ -(value & 1)
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:  # a list, a set
                [head] = self._bytes(1)
                count = head >> 4 if head >> 4 < 15 else self._varint()
                return [self._value(head & 15, depth + 1) for _ in range(count)]  # a byte each, or the end is met
            case 12:
                return self.struct(depth + 1)
        raise BadHeader(f"a header has a field of type {kind}")

    def _bytes(self, size: int) -> bytes:
        if size > len(self.getbuffer()) - self.tell():
            raise BadHeader("a header is cut short or too long")
        return self.read(size)

    def _varint(self) -> int:
        """An unsigned number of seven bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            [byte] = self._bytes(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise BadHeader("a header has a number of more than 64 bits")
