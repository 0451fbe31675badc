"""One array of a zarr artifact: rows read into place by threads, and verified before they are handed out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarobust.artifacts.digests import sha256
from datarobust.artifacts.headers import RESTORE
from datarobust.artifacts.layout import CRC_BYTES, Layout, checksum, flat
from datarobust.errors import ArtifactError

Rows = NDArray[Any]


def threads() -> int:
    """How many threads read: the processors that this process may use, at most 8 (16 MiB of memory each)."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)


class Column:
    """One array; rows are axis 0.

    A block is verified against its sha256 in whole when a row of it is first needed; later reads of parts of it are
    checked by the crc32c of their chunks.

    Attributes:
        folder: of the array.
        layout: where its rows lie.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, folder: Path, layout: Layout, hashes: Sequence[str]) -> None:
        self.folder = folder
        self.layout = layout
        self.shape = layout.shape
        self.dtype: np.dtype[Any] = np.dtype(layout.dtype)
        self._hashes = hashes
        self._verified: set[int] = set()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int = 0, stop: int | None = None) -> Rows:
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
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        size = self.layout.block

        def fill(block: int) -> None:
            low, high = max(start, block * size), min(stop, (block + 1) * size)
            self._fill(block, low - block * size, high - block * size, out[low - start : high - start])

        self._each(fill, range(start // size, -(-stop // size)) if stop > start else range(0))
        return out

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, Rows]]:
        """All rows in order, a few at a time, verified; the next ones are read while the caller works.

        Args:
            rows: how many at a time; None for as many as one file holds (at most 16 MiB, or one row).

        Yields:
            The number of the first row, and the rows, C-contiguous. The arrays may be kept and changed.

        Raises:
            ArtifactError: a file is missing, cut short or altered.
        """
        size = self.layout.block
        rows = size if rows is None else rows
        if rows < 1:
            raise ValueError(f"blocks of {rows} rows")
        carried: list[Rows] = []  # fewer than ``rows`` rows, which end a file and begin a part
        start = held = 0
        for found in self._ahead():
            place = 0
            while held + len(found) - place >= rows:
                carried.append(found[place : place + rows - held])
                place += rows - held
                yield start, carried[0] if len(carried) == 1 else np.concatenate(carried)
                start, held, carried = start + rows, 0, []
            if place < len(found):
                carried.append(found[place:])
                held += len(found) - place
        if held:
            yield start, carried[0] if len(carried) == 1 else np.concatenate(carried)

    def _ahead(self) -> Iterator[Rows]:
        """All blocks in order, the next one being read while the caller has the last."""
        with ThreadPoolExecutor(1) as reader:
            following = [reader.submit(self._block, block) for block in range(min(1, self.layout.blocks))]
            for block in range(self.layout.blocks):
                found = following.pop().result()
                if block + 1 < self.layout.blocks:
                    following.append(reader.submit(self._block, block + 1))
                yield found

    def take(self, rows: NDArray[Any]) -> Rows:
        """Chosen rows in the order asked, verified; repetitions are allowed.

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
        rows = rows.astype(np.int64)
        out = np.empty((rows.size, *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        unit = self.layout.chunk
        units, begins = np.unique(rows[order] // unit, return_index=True)
        places = np.split(order, begins[1:])
        per_block = self.layout.shard // unit
        wanted: dict[int, list[int]] = {}
        for number, chunk in enumerate(units.tolist()):
            wanted.setdefault(chunk // per_block, []).append(number)

        def pick(block: int) -> None:
            if block not in self._verified:
                found = self._block(block)
                here = np.concatenate([places[number] for number in wanted[block]])
                out[here] = found[rows[here] - block * self.layout.block]
                return
            for number in wanted[block]:
                first = int(units[number]) % per_block * unit
                found = self._chunks(block, first, min(first + unit, self.layout.rows_of(block)))
                out[places[number]] = found[rows[places[number]] - block * self.layout.block - first]

        self._each(pick, wanted)
        return out

    def verify(self) -> None:
        """Read every byte of every file against hash, checksums and index.

        Raises:
            ArtifactError: one is not as it was written.
        """

        def verify(block: int) -> None:
            self._block(block)

        self._each(verify, range(self.layout.blocks))

    def _each(self, work: Callable[[int], None], blocks: Sequence[int] | dict[int, list[int]]) -> None:
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

    def _block(self, block: int) -> Rows:
        """All rows of a block, verified."""
        out = np.empty((self.layout.rows_of(block), *self.shape[1:]), self.dtype)
        self._fill(block, 0, len(out), out)
        return out

    def _fill(self, block: int, low: int, high: int, out: Rows) -> None:
        """Put rows ``low`` to ``high`` of a block into ``out``, reading no more than verification needs."""
        if high - low == self.layout.rows_of(block):
            self._read_block(block, out)
        elif block in self._verified:
            out[:] = self._chunks(block, low, high)
        else:
            out[:] = self._block(block)[low:high]

    def _read_block(self, block: int, out: Rows) -> None:
        """Read a whole file, rows straight into ``out``, and verify every byte of it."""
        layout, file = self.layout, self.folder / self.layout.key(block)
        data = flat(out)
        size = layout.chunk * layout.row_bytes
        count = -(-data.size // size)
        padding = np.empty(count * size - data.size, np.uint8)
        sums = np.empty((count, CRC_BYTES), np.uint8)
        index = np.empty(layout.file_bytes(block) - count * layout.stride, np.uint8)
        parts: list[NDArray[np.uint8]] = []
        for number in range(count):
            parts += [data[number * size : (number + 1) * size], sums[number]]
        parts[-1:] = [padding, sums[-1], index]
        _read_into(file, 0, parts)
        if sha256(data) != self._hashes[block]:
            raise ArtifactError(f"{file} was altered (its rows do not have the recorded sha256): {RESTORE}")
        expected = layout.encode(block, data)
        if (
            padding.any()
            or not np.array_equal(index, expected[-1])
            or any(not np.array_equal(found, due) for found, due in zip(sums, expected[2::3], strict=True))
        ):
            raise ArtifactError(f"{file} was altered (its checksums or its index do not fit): {RESTORE}")
        self._check_flags(out, file)
        self._verified.add(block)

    def _chunks(self, block: int, low: int, high: int) -> Rows:
        """Rows ``low`` to ``high`` of a verified block, checked by the crc32c of their chunks."""
        layout, file = self.layout, self.folder / self.layout.key(block)
        first, last = low // layout.chunk, -(-high // layout.chunk)
        found = np.empty((last - first, layout.stride), np.uint8)
        _read_into(file, first * layout.stride, [found.reshape(-1)])
        for chunk in found:
            if not np.array_equal(checksum(chunk[:-CRC_BYTES]), chunk[-CRC_BYTES:]):
                raise ArtifactError(
                    f"{file} was altered while it was in use (a chunk's crc32c does not fit): {RESTORE}"
                )
        data = found[:, :-CRC_BYTES].reshape(-1)
        rows = data.view(self.dtype).reshape(-1, *self.shape[1:])[
            low - first * layout.chunk : high - first * layout.chunk
        ]
        self._check_flags(rows, file)
        return rows

    def _check_flags(self, rows: Rows, file: Path) -> None:
        """Booleans are 0 or 1; any other byte would be a third truth value to NumPy."""
        if self.dtype == np.bool_ and rows.size and flat(np.ascontiguousarray(rows)).max() > 1:
            raise ArtifactError(f"{file} holds a boolean that is neither 0 nor 1: {RESTORE}")


def _read_into(file: Path, offset: int, parts: Sequence[NDArray[np.uint8]]) -> None:
    """Fill buffers from a file, one after the other, from ``offset`` on; links are not followed.

    Raises:
        ArtifactError: the file is missing, cut short, or cannot be read.
    """
    views = [memoryview(part.data) for part in parts if part.size]
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while views:
                got = os.preadv(descriptor, views[:512], offset)
                if not got:
                    raise ArtifactError(f"{file} is cut short: {RESTORE}")
                offset += got
                while views and got >= views[0].nbytes:
                    got -= views.pop(0).nbytes
                if got:
                    views[0] = views[0][got:]
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ArtifactError(f"{file} is missing: {RESTORE}") from None
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error
