"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images") as published.

There are two releases of each, for Python and binary, as a folder or as the .tar.gz that was downloaded::

    CIFAR-10   python  data_batch_1 .. data_batch_5, test_batch            batches.meta
               binary  data_batch_1.bin .. data_batch_5.bin, test_batch.bin    batches.meta.txt
    CIFAR-100  python  train, test                                         meta
               binary  train.bin, test.bin                                 fine_label_names.txt, coarse_label_names.txt

All give the same rows in the same order: 3,072 bytes an image (the red, green and blue plane, each row by row) and its
labels, pickled or in records of fixed size. The 100 classes of CIFAR-100 form 20 super-classes, which are kept in the
column ``coarse``, or taken as the labels: the set is then called CIFAR-100s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datarobust.datasets import checks, tarfiles, unpickle
from datarobust.datasets.sources import Block, FileSource, Labels, Raw, Spec, raw_file, reading, state_of
from datarobust.datasets.unpickle import array_of, text_of
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Array

SHAPE = (3, 32, 32)
ROW_BYTES = 3072

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Of CIFAR-10 (Krizhevsky 2009), in the order of its labels."""

_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
CIFAR100 = tuple(_FINE.split())
"""Of CIFAR-100 (Krizhevsky 2009), the fine ones, in the order of its labels."""

_NAMES_BYTES = 1 << 16
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


class CifarSource(FileSource):
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
        archive = not path.is_dir()
        self._split = split or "train"
        release, files = _release(path, tarfiles.tar_files(path) if archive else _listed(path))
        if self._split not in release.splits:
            raise UsageError(f"{release.title} is split into train and test, not {shown(self._split)}.")
        if labels is not None and len(release.columns) == 1:
            raise UsageError(f"{release.title} has one kind of labels: `labels` belongs to CIFAR-100.")
        self._label = f"{labels or 'fine'}_labels" if len(release.columns) > 1 else "labels"
        self._coarse = "coarse_labels" if self._label == "fine_labels" else None
        names = list(release.splits[self._split])
        names += [name for name in dict.fromkeys(release.names) if name in files or classes is None]
        for each in names:
            if each not in files:
                way = "`classes` gives the names without it" if each in release.names else "get the release again"
                raise DataError(f"{shown(path)} lacks {each} of {release.title}'s {self._split} set: {way}.")
        super().__init__(path, None if archive else names)
        if not archive:
            for each in names:
                checks.read_start(path / each)
        batch = BinaryBatch if release.binary else PythonBatch
        self._batches = [batch(files[each], release.columns) for each in release.splits[self._split]]
        self._classes = {
            column: names_of(files[each], column)
            for column, each in zip(release.columns, release.names, strict=True)
            if each in names
        }
        if classes is not None:
            stored = self._classes.get(self._label, classes)
            if len(stored) != len(classes):
                raise DataError(f"{shown(path)} has {len(stored)} classes, but {len(classes)} names are given.")
            self._classes[self._label] = classes
        title = release.title + ("s" if labels == "coarse" else "")
        self.spec = Spec(
            name=name or f"{title.lower().replace('-', '')}-{self._split}",
            rows=sum(batch.rows for batch in self._batches),
            kind="images",
            shape=(3, 32, 32),
            classes=self._classes[self._label],
            coarse=self._coarse is not None,
            notes=(f"{title}, {'binary' if release.binary else 'python'} release, {self._split} set",),
        )

    def identity(self) -> str:
        """Place, size and time of change of the archive or of all files that are read, and what is taken of them."""
        return f"{super().identity()}:{self._split}:{self._label}"

    def _state_now(self) -> str:
        return "|".join(state_of(self._folder / name) for name in self._names)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop``, one file of the release after the other; ``index`` counts on through all."""
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        first = 0
        for batch in self._batches:
            row = max(start - first, 0)
            for images, columns in batch.blocks(self.spec.step, row, min(stop - first, batch.rows)):
                labels = {
                    column: checks.as_labels(raw, row, f"{batch.where}: {column}", len(self._classes.get(column, ())))[
                        0
                    ]
                    for column, raw in columns.items()
                }
                yield Block(
                    points=images,
                    labels=labels[self._label],
                    index=np.arange(first + row, first + row + len(images), dtype=np.int64),
                    coarse=labels[self._coarse] if self._coarse else None,
                )
                row += len(images)
            first += batch.rows


def _listed(folder: Path) -> Mapping[str, Raw]:
    """The regular files of a folder that are of some release."""
    known = {n for release in RELEASES for names in (*release.splits.values(), release.names) for n in names}
    with reading(folder):
        names = sorted(entry.name for entry in folder.iterdir() if entry.name in known and entry.is_file())
    return {name: raw_file(folder / name) for name in names}


def _release(path: Path, files: Mapping[str, Raw]) -> tuple[Release, Mapping[str, Raw]]:
    """The one release among these files, and its folder's files by their names alone."""
    folders: dict[str, dict[str, Raw]] = {}
    for name, raw in files.items():
        folder, _, last = name.rpartition("/")
        folders.setdefault(folder, {})[last] = raw
    releases = [(release, inside) for inside in folders.values() for release in RELEASES if release.among(set(inside))]
    if len(releases) == 1:
        return releases[0]
    if releases:
        listed = ", ".join(f"{release.title} {'binary' if release.binary else 'python'}" for release, _ in releases)
        raise DataError(f"{shown(path)} holds several releases ({listed}): leave one in it.")
    raise DataError(f"{shown(path)} is no release of CIFAR-10 or CIFAR-100: its files have other names.")


class PythonBatch:
    """A pickle, held in memory: ``data`` uint8 (N, 3072), and a list or array of N labels for each column."""

    def __init__(self, raw: Raw, columns: tuple[str, ...]) -> None:
        self.where = raw.where
        held = unpickle.mapping(raw)
        for key in ("data", *columns):
            if key not in held:
                raise DataError(f"{raw.where} has no {key}: it is no file of this release.")
        self._data = array_of(held["data"], f"{raw.where}: data")
        self._columns = {key: array_of(held[key], f"{raw.where}: {key}") for key in columns}
        shape, dtype = self._data.shape, self._data.dtype
        if len(shape) != 2 or shape[1] != ROW_BYTES or dtype != np.uint8:
            raise DataError(f"{raw.where}: data are {dtype} of shape {shape}; uint8 (N, {ROW_BYTES}) are expected.")
        self.rows = shape[0]
        for key, column in self._columns.items():
            if column.shape != (self.rows,) or column.dtype.kind not in "iu":
                raise DataError(
                    f"{raw.where}: {key} are {column.dtype} of shape {column.shape}; one integer for each of "
                    f"{self.rows:,} images is expected."
                )

    def blocks(self, step: int, start: int, stop: int) -> Iterator[tuple[Array, Mapping[str, Array]]]:
        """The images ``start:stop``, (B, 3, 32, 32), and their labels by column; at most ``step`` at a time."""
        for row in range(start, stop, step):
            rows = slice(row, min(row + step, stop))
            images = np.ascontiguousarray(self._data[rows]).reshape(-1, *SHAPE)
            yield images, {name: column[rows] for name, column in self._columns.items()}


class BinaryBatch:
    """Records of a byte for each column, then the image."""

    def __init__(self, raw: Raw, columns: tuple[str, ...]) -> None:
        self.where = raw.where
        self._raw = raw
        self._columns = columns
        self._size = len(columns) + ROW_BYTES
        self.rows, rest = divmod(raw.size, self._size)
        if rest:
            raise DataError(
                f"{raw.where} has {raw.size:,} bytes, which are no whole number of records of {self._size:,}: "
                "it is cut short, or of another release."
            )

    def blocks(self, step: int, start: int, stop: int) -> Iterator[tuple[Array, Mapping[str, Array]]]:
        """The images ``start:stop``, (B, 3, 32, 32), and their labels by column; at most ``step`` at a time."""
        with closing(self._raw.open()) as file:
            file.seek(start * self._size)
            for row in range(start, stop, step):
                count = min(step, stop - row)
                data = file.read(count * self._size)
                if len(data) != count * self._size:
                    raise DataError(f"{self.where} is cut short.")
                records = np.frombuffer(data, dtype=np.uint8).reshape(count, self._size)
                images = np.ascontiguousarray(records[:, len(self._columns) :]).reshape(count, *SHAPE)
                yield images, {column: records[:, place] for place, column in enumerate(self._columns)}


def names_of(raw: Raw, column: str) -> tuple[str, ...]:
    """The class names of a column in ``batches.meta`` or ``meta`` (a pickle), or a text file with one a line.

    Raises DataError where there are none.
    """
    if not raw.where.endswith(".txt"):
        key = f"{column.removesuffix('s')}_names"
        values = unpickle.mapping(raw).get(key)
        if not isinstance(values, list | tuple):
            raise DataError(f"{raw.where} has no list {key}: it is no file of this release.")
        texts = [text_of(value) for value in values]
        if None in texts:
            raise DataError(f"{raw.where}: {key}[{texts.index(None)}] is no text.")
        names = [text for text in texts if text is not None]
    elif raw.size > _NAMES_BYTES:
        raise DataError(f"{raw.where} has more than {_NAMES_BYTES >> 10} KiB: class names are expected, one a line.")
    else:
        try:
            with closing(raw.open()) as file:
                names = file.read(_NAMES_BYTES).decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{raw.where} holds class names that are not UTF-8.") from error
        while names and not names[-1].strip():
            names.pop()
    if not names:
        raise DataError(f"{raw.where} holds no class names.")
    return tuple(names)
