"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images") as published.

There are two releases of each, for Python and binary, as a folder or as the .tar.gz that was downloaded::

    CIFAR-10   python  data_batch_1 .. data_batch_5, test_batch            batches.meta
               binary  data_batch_1.bin .. data_batch_5.bin, test_batch.bin    batches.meta.txt
    CIFAR-100  python  train, test                                         meta
               binary  train.bin, test.bin                                 fine_label_names.txt, coarse_label_names.txt

All give the same rows in the same order. The 100 classes of CIFAR-100 form 20 super-classes, which are kept in the
column ``coarse``, or taken as the labels: the set is then called CIFAR-100s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from datarobust.datasets import checks, tarfiles
from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.datasets.cifarfiles import Batch, BinaryBatch, PythonBatch, names_of
from datarobust.datasets.sources import Block, Raw, Spec, file_sha256, never, raw_file, state_of
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Array

Labels = Literal["fine", "coarse"]

_FIVE = tuple(f"data_batch_{number}" for number in range(1, 6))


@dataclass(frozen=True)
class Release:
    """The files of a release: those with rows, by split, and those that name the classes.

    ``columns`` are the labels of a row, in the order in which a binary file has them; ``names`` are the files that
    name their classes.
    """

    title: str
    binary: bool
    splits: Mapping[str, tuple[str, ...]]
    columns: tuple[str, ...]
    names: tuple[str, ...]

    def among(self, files: set[str]) -> bool:
        """Whether these files are of this release; ``train`` and ``test`` alone could be anything."""
        rows = files & {name for names in self.splits.values() for name in names}
        return bool(rows) and (len(self.columns) == 1 or bool(files & set(self.names)))


_TWO = ("coarse_labels", "fine_labels")
RELEASES = (
    Release("CIFAR-10", False, {"train": _FIVE, "test": ("test_batch",)}, ("labels",), ("batches.meta",)),
    Release(
        "CIFAR-10",
        True,
        {"train": tuple(f"{name}.bin" for name in _FIVE), "test": ("test_batch.bin",)},
        ("labels",),
        ("batches.meta.txt",),
    ),
    Release("CIFAR-100", False, {"train": ("train",), "test": ("test",)}, _TWO, ("meta", "meta")),
    Release(
        "CIFAR-100",
        True,
        {"train": ("train.bin",), "test": ("test.bin",)},
        _TWO,
        ("coarse_label_names.txt", "fine_label_names.txt"),
    ),
)


def looks_like(path: Path) -> bool:
    """Whether a folder has the files of a release, or a file is a tar archive, which no other source is."""
    if path.is_dir():
        return any(release.among(set(_listed(path))) for release in RELEASES)
    return tarfiles.looks_like(path)


class CifarSource:
    """A release of CIFAR-10 or CIFAR-100 as a Source.

    ``path`` is the unpacked folder or the archive; ``split`` is ``train`` (the default) or ``test``. ``labels`` says
    which labels of CIFAR-100 are taken, ``fine`` (the default) or ``coarse``. ``classes`` override the names in the
    release. Raises DataError at construction where files are absent or cannot be what they claim, UsageError where
    there is no such split, or no super-classes.
    """

    def __init__(
        self,
        path: Path,
        *,
        split: str | None = None,
        labels: Labels | None = None,
        classes: tuple[str, ...] | None = None,
        name: str | None = None,
    ) -> None:
        self._path = path
        self._archive = not path.is_dir()
        self._split = split or "train"
        files = tarfiles.tar_files(path) if self._archive else _listed(path)
        release, files = _release(path, files)
        if self._split not in release.splits:
            raise UsageError(f"{release.title} is split into train and test, not {shown(self._split)}.")
        if labels is not None and len(release.columns) == 1:
            raise UsageError(f"{release.title} has one kind of labels: `labels` belongs to CIFAR-100.")
        self._label = f"{labels or 'fine'}_labels" if len(release.columns) > 1 else "labels"
        self._coarse = "coarse_labels" if self._label == "fine_labels" else None
        self._files = _needed(path, files, release, self._split, optional=classes is not None)
        self._state = self._now()
        if not self._archive:
            for each in self._files:
                with closing(files[each].open()) as file:
                    refuse_placeholder(path / each, file.read(START_BYTES))
        batch = BinaryBatch if release.binary else PythonBatch
        self._batches = [batch(files[each], release.columns) for each in release.splits[self._split]]
        self._names = {
            column: names_of(files[each], column)
            for column, each in zip(release.columns, release.names, strict=True)
            if each in self._files
        }
        if classes is not None:
            _check_count(path, self._names.get(self._label), classes)
            self._names[self._label] = classes
        title = release.title + ("s" if labels == "coarse" else "")
        self.spec = Spec(
            name=name or f"{title.lower().replace('-', '')}-{self._split}",
            rows=sum(batch.rows for batch in self._batches),
            kind="images",
            shape=(3, 32, 32),
            classes=self._names[self._label],
            coarse=self._coarse is not None,
            notes=(f"{title}, {'binary' if release.binary else 'python'} release, {self._split} set",),
        )

    def identity(self) -> str:
        """Place, size and time of change of the archive or of all files that are read, and what is taken of them."""
        return f"{self._state}:{self._split}:{self._label}"

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the archive; of a folder that of the lines ``sha256  name`` of the files that are read."""
        if self._archive:
            return file_sha256(self._path, stopped)
        found = hashlib.sha256()
        for name in self._files:
            found.update(f"{file_sha256(self._path / name, stopped)}  {name}\n".encode())
        return found.hexdigest()

    def unchanged(self) -> None:
        """Raise DataError where a size or a time of change is another."""
        if self._now() != self._state:
            raise DataError(f"{shown(self._path)} changed while it was read.")

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop``, one file of the release after the other; ``index`` counts on through all."""
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        first = 0
        for batch in self._batches:
            row = max(start - first, 0)
            for images, columns in batch.blocks(self.spec.step, row, min(stop - first, batch.rows)):
                labels = {column: self._checked(batch, column, raw, row) for column, raw in columns.items()}
                yield Block(
                    points=images,
                    labels=labels[self._label],
                    index=np.arange(first + row, first + row + len(images), dtype=np.int64),
                    coarse=labels[self._coarse] if self._coarse else None,
                )
                row += len(images)
            first += batch.rows

    def _checked(self, batch: Batch, column: str, raw: Array, row: int) -> npt.NDArray[np.int64]:
        classes = len(self._names.get(column, ()))
        return checks.as_labels(raw, row, f"{batch.where}: {column}", classes)[0]

    def _now(self) -> str:
        return "|".join(
            state_of(path) for path in ([self._path] if self._archive else map(self._path.joinpath, self._files))
        )


def _listed(folder: Path) -> Mapping[str, Raw]:
    """The regular files of a folder that are of some release."""
    known = {n for release in RELEASES for names in (*release.splits.values(), release.names) for n in names}
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name in known and entry.is_file())
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be read: {error.strerror}.") from error
    return {name: raw_file(folder / name) for name in names}


def _release(path: Path, files: Mapping[str, Raw]) -> tuple[Release, Mapping[str, Raw]]:
    """The one release among these files, and its folder's files by their names alone."""
    folders: dict[str, dict[str, Raw]] = {}
    for name, raw in files.items():
        folder, _, last = name.rpartition("/")
        folders.setdefault(folder, {})[last] = raw
    found = [(release, inside) for inside in folders.values() for release in RELEASES if release.among(set(inside))]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{release.title} {'binary' if release.binary else 'python'}" for release, _ in found)
        raise DataError(f"{shown(path)} holds several releases ({listed}): leave one in it.")
    raise DataError(f"{shown(path)} is no release of CIFAR-10 or CIFAR-100: its files have other names.")


def _needed(path: Path, files: Mapping[str, Raw], release: Release, split: str, optional: bool) -> list[str]:
    """The files to read, those of names where they are there if ``optional``."""
    needed = [*release.splits[split], *(n for n in dict.fromkeys(release.names) if n in files or not optional)]
    for name in needed:
        if name not in files:
            way = "`classes` gives the names without it" if name in release.names else "get the release again"
            raise DataError(f"{shown(path)} lacks {name} of {release.title}'s {split} set: {way}.")
    return needed


def _check_count(path: Path, own: Sequence[str] | None, given: Sequence[str]) -> None:
    if own is not None and len(own) != len(given):
        raise DataError(f"{shown(path)} has {len(own)} classes, but {len(given)} names are given.")
