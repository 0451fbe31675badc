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
from datarobust.artifacts.layout import Layout, flat
from datarobust.errors import ArtifactError

Rows = NDArray[Any]


def threads() -> int:
    """How many threads read: the processors that this process may use, at most 4 (24 MiB of memory each).

    More gain little, because zarr holds Python's lock half of the time.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, usable)


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
        blocks, begins = np.unique(rows[order] // self.layout.block, return_index=True)
        wanted = dict(zip(blocks.tolist(), np.split(order, begins[1:]), strict=False))

        def pick(block: int) -> None:
            here = wanted[block]
            local = rows[here] - block * self.layout.block
            if block not in self._verified:
                out[here] = self._block(block)[local]
                return
            chunks, places = np.unique(local // self.layout.chunk, return_inverse=True)
            found = self._chunks(block, chunks)
            out[here] = found[places * self.layout.chunk + local % self.layout.chunk]

        self._each(pick, list(wanted))
        return out

    def verify(self) -> None:
        """Read every byte of every file against hash, checksums and index.

        Raises:
            ArtifactError: one is not as it was written.
        """

        def verify(block: int) -> None:
            self._block(block)

        self._each(verify, range(self.layout.blocks))

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
            self._read(block, [(low, out)], "altered while it was in use (a checksum does not fit)")
        else:
            out[:] = self._block(block)[low:high]

    def _read_block(self, block: int, out: Rows) -> None:
        """Read a whole block into ``out``, and verify every byte of its file."""
        altered = "altered (its rows or their checksums are not those that were written)"
        self._read(block, [(0, out)], altered)
        if sha256(flat(out)) != self._hashes[block]:
            raise ArtifactError(f"{self.folder / self.layout.key(block)} was {altered}: {RESTORE}")
        self._verified.add(block)

    def _chunks(self, block: int, chunks: NDArray[np.int64]) -> Rows:
        """Chunks of a verified block, one after the other; ascending numbers. The last one may lack rows."""
        size = self.layout.chunk
        runs = np.split(chunks, np.flatnonzero(np.diff(chunks) > 1) + 1)
        ends = [min((int(run[-1]) + 1) * size, self.layout.rows_of(block)) for run in runs]
        lengths = [end - int(run[0]) * size for run, end in zip(runs, ends, strict=True)]
        out = np.empty((sum(lengths), *self.shape[1:]), self.dtype)
        parts = np.split(out, np.cumsum(lengths)[:-1])
        wanted = [(int(run[0]) * size, part) for run, part in zip(runs, parts, strict=True)]
        self._read(block, wanted, "altered while it was in use (a checksum does not fit)")
        return out

    def _read(self, block: int, wanted: Sequence[tuple[int, Rows]], altered: str) -> None:
        """Have rows of a block read into place, and say so in one sentence if they are not as they were written."""
        from datarobust.artifacts import shards

        file = self.folder / self.layout.key(block)
        try:
            shards.read(self.folder, self.layout, [(block * self.layout.block + low, out) for low, out in wanted])
        except shards.DAMAGE as error:
            raise ArtifactError(f"{file} was {altered}: {RESTORE}") from error
        for _, out in wanted:
            # Booleans are 0 or 1; any other byte would be a third truth value to NumPy.
            if self.dtype == np.bool_ and out.size and flat(out).max() > 1:
                raise ArtifactError(f"{file} holds a boolean that is neither 0 nor 1: {RESTORE}")
