"""From a source to a dataset store: block by block, resumable, whole or absent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets.shuffling import BUDGET, Shuffled
from datarobust.datasets.sources import Block, Counted, Source, Spec
from datarobust.datasets.storing import Columns, MakeStep, Part, check_names, discarding, fill, remaining, request
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Progress

MOST_NAMES_BYTES = 16 << 20
"""Of a file of class names."""


def import_dataset(
    source: Source,
    output: Path,
    step: MakeStep,
    *,
    shuffle: int | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    budget: int = BUDGET,
    progress: Progress = iter,
) -> bool:
    """Write ``source`` as a dataset store at ``output``; False where the same import had been finished before.

    The columns are the points, ``labels``, ``index`` (the row's place in the source) and, where the source has them,
    ``soft`` (probabilities) and ``coarse`` (super-classes). ``shuffle`` is the seed of a uniform permutation
    (:mod:`datarobust.datasets.shuffling`), ``budget`` bounds the bytes it holds in memory. ``limit`` keeps the first
    rows of the result, shuffled or not. The history records the sha256 of the source as ``source``.

    Run again after a kill, it goes on after the shards that were durable and gives the same bits.

    Raises:
        DataError: the source is empty, changes meanwhile, or a row is not what it claims to be.
        ExistsError, LockedError: the output is taken.
    """
    spec = source.spec
    if spec.rows < 1:
        raise DataError(f"{shown(spec.name)} holds no points.")
    check_names(spec.classes, shown(spec.name))
    rows = spec.rows if limit is None else min(limit, spec.rows)
    asked = (spec.name, spec.kind, spec.shape, spec.classes, spec.soft, spec.coarse)
    key = request("dataset import", source=source.identity(), spec=asked, shuffle=shuffle, rows=rows)
    if not overwrite and artifacts.finished(output, key):
        return False
    columns = _columns(spec)
    attributes: dict[str, Any] = {"name": spec.name, "classes": list(spec.classes), "request": key}
    if shuffle is not None:
        attributes["shuffled"] = shuffle
    spill = Shuffled(source, shuffle or 0, output.with_name(f".{output.name}.shuffle"), budget, progress)
    reader: Source = source if shuffle is None else spill
    history: list[Step] = []
    with (
        discarding(output),
        artifacts.create(
            output, "dataset", columns, attributes=attributes, history=history, overwrite=overwrite, resume_key=key
        ) as writer,
    ):
        digest = _Digest(source)
        spill.close()  # what a killed run left; nobody else writes here now
        try:
            start = remaining(columns, writer)
            blocks = Counted(reader.blocks(start, rows), -(-(rows - start) // reader.spec.step))
            fill(writer, columns, start, (_part(block, spec) for block in progress(blocks)))
            found = digest.result()
            source.unchanged()
            history.append(step({"source": found}))  # the writer reads it when the block ends
        finally:
            digest.stop()
            spill.close()
    return True


def _columns(spec: Spec) -> Columns:
    integer = np.dtype(np.int64)
    soft = {"soft": (np.dtype(np.float32), (spec.soft,))} if spec.soft else {}
    coarse: Columns = {"coarse": (integer, ())} if spec.coarse else {}
    return {spec.kind: (spec.dtype, spec.shape), "labels": (integer, ()), "index": (integer, ()), **soft, **coarse}


def _part(block: Block, spec: Spec) -> Part:
    soft = {"soft": block.soft} if block.soft is not None else {}
    coarse = {"coarse": block.coarse} if block.coarse is not None else {}
    return {spec.kind: block.points, "labels": block.labels, "index": block.index, **soft, **coarse}


class _Digest:
    """The digest of a source, taken in a thread beside the import: both read the same pages at about the same time."""

    def __init__(self, source: Source) -> None:
        self._stopped = threading.Event()
        self._executor = ThreadPoolExecutor(1, "digest")
        self._future = self._executor.submit(source.digest, self._stopped.is_set)

    def result(self) -> str:
        """The digest, once it is there. Raises what the source raises."""
        return self._future.result()

    def stop(self) -> None:
        """End the thread, also in the middle of its work."""
        self._stopped.set()
        self._executor.shutdown()


def read_names(path: Path) -> tuple[str, ...]:
    """The class names in a text file, one a line (UTF-8; the ends of lines are not part of a name).

    Raises DataError where the file cannot be read or holds no names, an empty one, or one twice.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_NAMES_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{shown(path)}, line {line}: class names are UTF-8 text, one a line.") from error
    if len(data) > MOST_NAMES_BYTES:
        raise DataError(
            f"{shown(path)} has more than {MOST_NAMES_BYTES >> 20} MiB: class names are expected, one a line."
        )
    names = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    if names == ("",):
        raise DataError(f"{shown(path)} holds no class names.")
    check_names(names, shown(path))
    return names
