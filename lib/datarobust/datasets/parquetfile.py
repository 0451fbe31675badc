"""One Parquet file, opened for streaming: batches of a few columns in bounded memory, trusting nothing.

pyarrow reads the file; what it would allocate is told beforehand from the headers of the pages
(:mod:`datarobust.datasets.parquetpages`). pyarrow is imported when a file is opened, and only here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.datasets.parquetpages import ENCODINGS, Chunk, Group, groups, pages
from datarobust.datasets.parquetthrift import BadThrift
from datarobust.errors import DataError
from datarobust.text import shown

START = b"PAR1"
MOST_FOOTER_BYTES = 8 << 20
"""Enough for thousands of row groups of a few columns."""
MOST_PAGE_BYTES = 512 << 20
"""Of one page when it is unpacked; writers make pages of about 1 MiB, or of 1,024 rows."""
BATCH_BYTES = 64 << 20
"""A batch holds about this much at most, whatever the file says, unless a single value is larger."""

_ENCRYPTED = b"PARE"
_READ_AHEAD = 1 << 16


def pyarrow(name: str = "pyarrow") -> Any:
    """The module ``name`` of pyarrow. Raises DataError with the way to install it where it is absent."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"Parquet files are read by pyarrow, which is not there ({shown(str(error))}): "
            "pip install 'datarobust[hf]' brings it."
        ) from error


class ParquetFile:
    """A Parquet file by its footer. Raises DataError in one sentence at anything that is not as it claims."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size, footer = _footer(path)
        try:
            self._groups = groups(footer)
        except BadThrift as error:
            raise DataError(f"{shown(path)} has a damaged footer ({error}): get the file again.") from error
        with self._sentences(), self._open() as file:
            self.schema = file.schema_arrow
            rows = file.metadata.num_rows
        if self.rows != rows:
            raise DataError(f"{shown(path)} claims {rows} rows, but has groups of {self.rows}.")

    @property
    def groups(self) -> Sequence[int]:
        """The rows of each row group."""
        return [group.rows for group in self._groups]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(group.rows for group in self._groups)

    def batches(self, group: int, columns: Sequence[str], most: int) -> Iterator[Any]:
        """Record batches of at most ``most`` rows of a row group; columns of structs are ``name.field``.

        Raises DataError before anything is unpacked where a page would be too large.
        """
        largest = self._largest_page(group, columns)
        size = max(1, min(most, BATCH_BYTES // max(1, largest)))
        with self._sentences(), self._open() as file:
            yield from file.iter_batches(batch_size=size, row_groups=[group], columns=list(columns), use_threads=False)

    def _largest_page(self, number: int, columns: Sequence[str]) -> int:
        """Bytes of the largest unpacked page of these columns in a row group."""
        group, largest = self._groups[number], 0
        with self._sentences(), self.path.open("rb") as file:
            for chunk in group.chunks:
                if chunk.column in columns:
                    where = f"{shown(self.path)}: column {shown(chunk.column)} in row group {number}"
                    largest = max(largest, self._check_pages(file, group, chunk, where))
        return largest

    def _check_pages(self, file: IO[bytes], group: Group, chunk: Chunk, where: str) -> int:
        """Bytes of the largest unpacked page of a column chunk. Raises DataError where a page would be too large."""
        if chunk.start < len(START) or chunk.start + chunk.size > self._size:
            raise DataError(f"{where} claims {chunk.size:,} bytes from {chunk.start:,} on of a file of {self._size:,}.")
        largest = 0
        try:
            for count, page in enumerate(pages(file, chunk.start, chunk.size)):
                if page.unpacked > MOST_PAGE_BYTES:
                    raise DataError(f"{where} has a page of {page.unpacked:,} bytes: this is no set of images.")
                if chunk.texts and page.encoding not in ENCODINGS:
                    raise DataError(f"{where} has an encoding that is not read: write it with plain pages.")
                if count > group.rows + 16:
                    raise DataError(f"{where} has more pages than its {group.rows} rows.")
                largest = max(largest, page.unpacked)
        except BadThrift as error:
            raise DataError(f"{where} is damaged ({error}): get the file again.") from error
        return largest

    @contextmanager
    def _open(self) -> Iterator[Any]:
        parquet = pyarrow("pyarrow.parquet")
        with parquet.ParquetFile(
            self.path, buffer_size=_READ_AHEAD, pre_buffer=False, page_checksum_verification=True
        ) as file:
            yield file

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """The exceptions of a damaged file become one sentence."""
        arrow = pyarrow()
        try:
            yield
        except (arrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
            text = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(
                f"{shown(self.path)} cannot be read as Parquet: {shown(text[:200]).rstrip('.')}."
            ) from error


def _footer(path: Path) -> tuple[int, bytes]:
    """The size and the footer of a file that begins and ends as a Parquet file does."""
    where = shown(path)
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
            size = file.seek(0, 2)
            file.seek(max(0, size - 8))
            end = file.read(8)
            length = int.from_bytes(end[:4], "little")
            file.seek(max(0, size - 8 - length))
            footer = file.read(min(length, MOST_FOOTER_BYTES))
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror}.") from error
    refuse_placeholder(path, start)
    if start.startswith(_ENCRYPTED) or end[4:] == _ENCRYPTED:
        raise DataError(f"{where} is encrypted.")
    if not start.startswith(START):
        raise DataError(f"{where} is no Parquet file: it begins with {start[:4].hex(' ')}, not with PAR1.")
    if size < 12 or end[4:] != START:
        raise DataError(f"{where} does not end as a Parquet file does: it is cut short.")
    if length > min(size - 12, MOST_FOOTER_BYTES):
        raise DataError(
            f"{where} claims a footer of {length:,} bytes in a file of {size:,}: it is damaged, or has too many row "
            "groups."
        )
    return size, footer
