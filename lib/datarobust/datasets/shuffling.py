"""One permutation, defined once, for sets that fit in memory and for sets that do not.

The shuffled order is :func:`datarobust.randomness.permutation`: rows sorted by their random keys. So any bucket of keys
can be sorted by itself, which is what :class:`Shuffled` does with a set larger than its budget: rows are spilled to one
file a bucket, then each is sorted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datarobust.datasets.sources import Block, Counted, Source, Spec, never
from datarobust.errors import DataError
from datarobust.randomness import Domain, permutation, row_keys
from datarobust.types import Progress

BUDGET = 1 << 30
"""Bytes of rows that a shuffle holds in memory at a time."""

_PREFIX_BITS = 16
_MOST_FILES = 400
_KEYS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class _Plan:
    """Which keys form which bucket: bucket of a 16-bit prefix, and the first row (in shuffled order) of each bucket."""

    bucket_of: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first) - 1


def _plan(seed: int, rows: int, bucket_rows: int) -> _Plan:
    """Contiguous ranges of key prefixes of about ``bucket_rows`` rows each, from the exact counts of the keys."""
    counts = np.zeros(1 << _PREFIX_BITS, dtype=np.int64)
    for start in range(0, rows, _KEYS_AT_ONCE):
        keys = row_keys(seed, Domain.IMPORT, start, min(rows, start + _KEYS_AT_ONCE))
        counts += np.bincount(_prefixes(keys), minlength=len(counts))
    before = np.cumsum(counts) - counts
    raw = before // max(1, bucket_rows)
    used, bucket_of = np.unique(raw, return_inverse=True)
    sizes = np.bincount(bucket_of, weights=counts, minlength=len(used)).astype(np.int64)
    return _Plan(bucket_of.astype(np.int64), np.concatenate([[0], np.cumsum(sizes)]))


def _prefixes(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return (keys >> np.uint64(64 - _PREFIX_BITS)).astype(np.int64)


class Shuffled:
    """A source in shuffled order; a Source itself.

    ``budget`` is the number of bytes of rows held in memory: sets within it are permuted there, larger ones through
    files in ``folder`` (as many bytes again on disk), which :meth:`close` removes. Both give the same rows.
    """

    def __init__(
        self, source: Source, seed: int, folder: Path, budget: int = BUDGET, progress: Progress = iter
    ) -> None:
        self._source = source
        self._seed = seed
        self._folder = folder
        self._budget = budget
        self._progress = progress

    @property
    def spec(self) -> Spec:
        """That of the source, but for the bytes of a raw point, which no longer matter."""
        return replace(self._source.spec, raw_bytes=0)

    def identity(self) -> str:
        """That of the source; the seed is part of the request."""
        return self._source.identity()

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """That of the source."""
        return self._source.digest(stopped)

    def unchanged(self) -> None:
        """Whether the source is."""
        self._source.unchanged()

    def close(self) -> None:
        """Remove the temporary files, also those that a killed run left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop`` of the shuffled order; ``index`` says where each was in the source.

        The whole source is read, and ``progress`` counts its blocks, before this returns.
        """
        rows = self.spec.rows
        stop = rows if stop is None else min(stop, rows)
        if start >= stop:
            return iter(())
        if rows * self.spec.row_bytes <= self._budget:
            return _parts(self._gather(start, stop), self.spec.step)
        spec = self.spec
        bucket_rows = max(1, self._budget // 2 // (spec.row_bytes + 16), -(-spec.rows // _MOST_FILES))
        plan = _plan(self._seed, spec.rows, bucket_rows)
        first = int(np.searchsorted(plan.first, start, side="right")) - 1
        last = int(np.searchsorted(plan.first, stop, side="left"))
        self.close()
        self._folder.mkdir(parents=True)
        self._spill(plan, range(first, last), _record(spec))
        return self._sorted_buckets(plan, range(first, last), start, stop)

    def _read(self) -> Iterable[Block]:
        spec = self._source.spec
        return self._progress(Counted(self._source.blocks(), -(-spec.rows // spec.step)))

    def _gather(self, start: int, stop: int) -> Block:
        """All rows ``start:stop`` of the shuffled order in memory, each scattered to its place."""
        spec = self.spec
        order = permutation(self._seed, Domain.IMPORT, spec.rows)
        place = np.empty_like(order)
        place[order] = np.arange(spec.rows, dtype=np.int64)
        kept = stop - start
        points = np.empty((kept, *spec.shape), dtype=spec.dtype)
        labels = np.empty(kept, dtype=np.int64)
        soft = np.empty((kept, spec.soft), dtype=np.float32) if spec.soft else None
        coarse = np.empty(kept, dtype=np.int64) if spec.coarse else None
        for block in self._read():
            target = place[block.index] - start
            wanted = (target >= 0) & (target < kept)
            target = target[wanted]
            points[target] = block.points[wanted]
            labels[target] = block.labels[wanted]
            if soft is not None and block.soft is not None:
                soft[target] = block.soft[wanted]
            if coarse is not None and block.coarse is not None:
                coarse[target] = block.coarse[wanted]
        return Block(points, labels, order[start:stop], soft, coarse)

    def _sorted_buckets(self, plan: _Plan, buckets: range, start: int, stop: int) -> Iterator[Block]:
        """The rows ``start:stop``, one bucket in memory at a time; its file is removed as soon as it is read."""
        spec = self.spec
        record = _record(spec)
        for bucket in buckets:
            path = self._folder / str(bucket)
            rows = np.fromfile(path, dtype=record)
            path.unlink()
            order = np.argsort(rows["key"], kind="stable")  # written in source order, so equal keys keep it
            low = max(start - int(plan.first[bucket]), 0)
            high = min(stop - int(plan.first[bucket]), len(rows))
            for begin in range(low, high, spec.step):
                yield _unpack(rows[order[begin : min(begin + spec.step, high)]], spec)

    def _spill(self, plan: _Plan, wanted: range, record: np.dtype[np.void]) -> None:
        """One pass over the source: each row of a wanted bucket is appended to its bucket's file."""
        rows = int(plan.first[wanted.stop] - plan.first[wanted.start])
        free = shutil.disk_usage(self._folder).free
        if rows * record.itemsize > free:
            raise DataError(
                f"Shuffling takes {rows * record.itemsize / 1e9:.1f} GB of temporary files in {self._folder.parent}, "
                f"which has {free / 1e9:.1f} GB free."
            )
        with ExitStack() as stack:
            files = {b: stack.enter_context((self._folder / str(b)).open("xb", buffering=0)) for b in wanted}
            for block in self._read():
                begin = int(block.index[0])
                keys = row_keys(self._seed, Domain.IMPORT, begin, begin + len(block))
                buckets = plan.bucket_of[_prefixes(keys)]
                order = np.argsort(buckets, kind="stable")
                order = order[(buckets[order] >= wanted.start) & (buckets[order] < wanted.stop)]
                if not len(order):
                    continue
                packed = _pack(block, keys, order, record)
                present, firsts = np.unique(buckets[order], return_index=True)
                for bucket, part in zip(present, np.split(packed, firsts[1:]), strict=True):
                    view = part.view(np.uint8).data
                    while view:  # a raw file may take less than it is given
                        view = view[files[int(bucket)].write(view) :]


def _parts(block: Block, step: int) -> Iterator[Block]:
    for first in range(0, len(block), step):
        yield block.part(first, first + step)


def _record(spec: Spec) -> np.dtype[np.void]:
    """A row as it lies in a bucket's file."""
    return np.dtype(
        [
            ("key", np.uint64),
            ("index", np.int64),
            ("label", np.int64),
            ("soft", np.float32, (spec.soft,)),
            ("coarse", np.int64, (int(spec.coarse),)),
            ("point", spec.dtype, spec.shape),
        ]
    )


def _pack(
    block: Block, keys: npt.NDArray[np.uint64], order: npt.NDArray[np.intp], record: np.dtype[np.void]
) -> npt.NDArray[np.void]:
    packed = np.empty(len(order), dtype=record)
    packed["key"] = keys[order]
    packed["index"] = block.index[order]
    packed["label"] = block.labels[order]
    packed["point"] = block.points[order]
    if block.soft is not None:
        packed["soft"] = block.soft[order]
    if block.coarse is not None:
        packed["coarse"] = block.coarse[order, None]
    return packed


def _unpack(rows: npt.NDArray[np.void], spec: Spec) -> Block:
    """The block of these records, its arrays contiguous."""
    soft = np.ascontiguousarray(rows["soft"]) if spec.soft else None
    coarse = np.ascontiguousarray(rows["coarse"][:, 0]) if spec.coarse else None
    return Block(
        np.ascontiguousarray(rows["point"]),
        np.ascontiguousarray(rows["label"]),
        np.ascontiguousarray(rows["index"]),
        soft,
        coarse,
    )
