"""One permutation, defined once, for sets that fit in memory and for sets that do not.

The shuffled order is :func:`datarobust.randomness.permutation`: rows sorted by their random keys. So any bucket of keys
can be sorted by itself, which is what :class:`Shuffled` does with a set larger than its budget: rows are spilled to one
file a bucket, then each is sorted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datarobust.datasets.sources import Block, Counted, Source, Spec, spans
from datarobust.errors import DataError
from datarobust.randomness import Domain, permutation, row_keys
from datarobust.types import Progress, Rows

BUDGET = 1 << 30
"""Bytes of rows that a shuffle holds in memory at a time."""

_PREFIX_BITS = 16
_MOST_FILES = 400
_KEYS_AT_ONCE = 1 << 20


def fields(spec: Spec) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of a row of every array that the blocks of a source have."""
    integer = (np.dtype(np.int64), ())
    arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
    arrays = {"points": (spec.dtype, spec.shape), "labels": integer, "index": integer}
    soft = {"soft": (np.dtype(np.float32), (spec.soft,))} if spec.soft else {}
    return arrays | soft | ({"coarse": integer} if spec.coarse else {})


@dataclass(frozen=True)
class Shuffled:
    """A source in shuffled order.

    Sets within ``budget`` are permuted in memory, larger ones through files in ``folder`` (as many bytes again on
    disk), which :meth:`close` removes. Both give the same rows.
    """

    source: Source
    seed: int
    folder: Path
    budget: int = BUDGET  # bytes of rows held in memory
    progress: Progress = iter

    @property
    def spec(self) -> Spec:
        """That of the source, but for the bytes of a raw point, which no longer matter."""
        return replace(self.source.spec, raw_bytes=0)

    def close(self) -> None:
        """Remove the temporary files, also those that a killed run left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop`` of the shuffled order; ``index`` says where each was in the source.

        The whole source is read, and ``progress`` counts its blocks, before this returns.
        """
        spec = self.spec
        stop = spec.rows if stop is None else min(stop, spec.rows)
        if start >= stop:
            return iter(())
        if spec.rows * spec.row_bytes <= self.budget:
            block = self._gather(start, stop)
            return (block.part(begin, end) for begin, end in spans(len(block), spec.step))
        bucket_rows = max(1, self.budget // 2 // (spec.row_bytes + 16), -(-spec.rows // _MOST_FILES))
        bucket_of, first = _buckets(self.seed, spec.rows, bucket_rows)
        buckets = range(
            int(np.searchsorted(first, start, side="right")) - 1, int(np.searchsorted(first, stop, side="left"))
        )
        self.close()
        self.folder.mkdir(parents=True)
        self._spill(bucket_of, buckets, int(first[buckets.stop] - first[buckets.start]))
        return self._sorted_buckets(first, buckets, start, stop)

    def _read(self) -> Iterable[Block]:
        spec = self.source.spec
        return self.progress(Counted(self.source.blocks(), -(-spec.rows // spec.step)))

    def _gather(self, start: int, stop: int) -> Block:
        """All rows ``start:stop`` of the shuffled order in memory, each scattered to its place."""
        order = permutation(self.seed, Domain.IMPORT, self.spec.rows)
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        arrays = {name: np.empty((stop - start, *shape), dtype) for name, (dtype, shape) in fields(self.spec).items()}
        for block in self._read():
            target = position[block.index] - start
            inside = (target >= 0) & (target < stop - start)
            for name, array in arrays.items():
                array[target[inside]] = getattr(block, name)[inside]
        return Block(**arrays)

    @property
    def _record(self) -> np.dtype[np.void]:
        """A row as it lies in a bucket's file."""
        return np.dtype([("key", np.uint64), *((name, *described) for name, described in fields(self.spec).items())])

    def _spill(self, bucket_of: Rows, buckets: range, rows: int) -> None:
        """One pass over the source: each of the ``rows`` of these buckets is appended to its bucket's file."""
        size, free = rows * self._record.itemsize, shutil.disk_usage(self.folder).free
        if size > free:
            raise DataError(
                f"Shuffling takes {size / 1e9:.1f} GB of temporary files in {self.folder.parent}, which has "
                f"{free / 1e9:.1f} GB free."
            )
        with ExitStack() as stack:
            files = {b: stack.enter_context((self.folder / str(b)).open("xb", buffering=0)) for b in buckets}
            for block in self._read():
                begin = int(block.index[0])
                keys = row_keys(self.seed, Domain.IMPORT, begin, begin + len(block))
                bucket = bucket_of[_prefixes(keys)]
                order = np.argsort(bucket, kind="stable")
                order = order[(bucket[order] >= buckets.start) & (bucket[order] < buckets.stop)]
                records = np.empty(len(order), self._record)
                records["key"] = keys[order]
                for name in fields(self.spec):
                    records[name] = getattr(block, name)[order]
                present, begins = np.unique(bucket[order], return_index=True)
                for number, part in zip(present.tolist(), np.split(records, begins)[1:], strict=True):
                    view = part.view(np.uint8).data
                    while view:  # a raw file may take less than it is given
                        view = view[files[number].write(view) :]

    def _sorted_buckets(self, first: Rows, buckets: range, start: int, stop: int) -> Iterator[Block]:
        """The rows ``start:stop``, one bucket in memory at a time; its file is removed as soon as it is read."""
        for bucket in buckets:
            path = self.folder / str(bucket)
            records = np.fromfile(path, dtype=self._record)
            path.unlink()
            order = np.argsort(records["key"], kind="stable")  # written in source order, so equal keys keep it
            low, high = max(start - int(first[bucket]), 0), min(stop - int(first[bucket]), len(records))
            for begin, end in spans(high, self.spec.step, low):
                rows = records[order[begin:end]]
                yield Block(**{name: np.ascontiguousarray(rows[name]) for name in fields(self.spec)})


def _buckets(seed: int, rows: int, bucket_rows: int) -> tuple[Rows, Rows]:
    """The bucket of every prefix of a key, and the first row (in shuffled order) of each bucket, then the end.

    Buckets are contiguous ranges of prefixes with about ``bucket_rows`` rows each, from the exact counts of the keys.
    """
    counts = np.zeros(1 << _PREFIX_BITS, np.int64)
    for begin, end in spans(rows, _KEYS_AT_ONCE):
        counts += np.bincount(_prefixes(row_keys(seed, Domain.IMPORT, begin, end)), minlength=len(counts))
    before = np.cumsum(counts) - counts
    _, begins, bucket_of = np.unique(before // bucket_rows, return_index=True, return_inverse=True)
    return bucket_of.astype(np.int64), np.append(before[begins], rows)


def _prefixes(keys: npt.NDArray[np.uint64]) -> Rows:
    return (keys >> np.uint64(64 - _PREFIX_BITS)).astype(np.int64)
