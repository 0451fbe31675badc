"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"), and TI500K.

There are two releases of each CIFAR, for Python and binary, as a folder or as the .tar.gz that was downloaded::

    CIFAR-10   python  data_batch_1 .. data_batch_5, test_batch            batches.meta
               binary  data_batch_1.bin .. data_batch_5.bin, test_batch.bin    batches.meta.txt
    CIFAR-100  python  train, test                                         meta
               binary  train.bin, test.bin                                 fine_label_names.txt, coarse_label_names.txt

All give the same rows in the same order: 3,072 bytes an image (the red, green and blue plane, each row by row) and its
labels, pickled or in records of fixed size.

TI500K are the 500,000 images that Carmon et al. 2019 ("Unlabeled Data Improves Adversarial Robustness") added to
CIFAR-10: a pickle of a dict with ``data`` uint8 (N, 32, 32, 3) and ``extrapolated_targets`` (N), the classes that a
classifier predicted. It is held in memory, all 1.5 GB. Files of other images in the same form are read as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datarobust.datasets import unpickle
from datarobust.datasets.files import Raw, is_tar, raw_file, read_start, reading, tar_files
from datarobust.datasets.folder import SUFFIXES
from datarobust.datasets.sources import ArraysSource, Held, Labels, Names, Spec, as_labels, name_bytes
from datarobust.datasets.unpickle import array_of, text_of
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Array, Rows

SHAPE = (3, 32, 32)
ROW_BYTES = 3072

# The classes in the order of their labels; the fine ones of CIFAR-100.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
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

MOST_TI500K_BYTES = 8 << 30  # of the file
MOST_ROW_BYTES = 1 << 24  # of one image
CLASSES = {"labels": 10, "fine_labels": 100, "coarse_labels": 20}  # of each column
_NAMES_BYTES = 1 << 16  # of a file of class names


class Release(NamedTuple):
    """The files of a release."""

    title: str
    splits: Mapping[str, tuple[str, ...]]  # those with rows
    columns: tuple[str, ...]  # the labels of a row, in the order in which a binary file has them
    names: tuple[str, ...]  # the files that name the classes of each column

    @property
    def binary(self) -> bool:
        """Whether rows are records, not pickles."""
        return self.splits["test"][0].endswith(".bin")

    def among(self, files: set[str]) -> bool:
        """Whether these files are of this release; ``train`` and ``test`` alone could be anything."""
        rows = files & {name for names in self.splits.values() for name in names}
        return bool(rows) and (len(self.columns) == 1 or bool(files & set(self.names)))


_FIVE = tuple(f"data_batch_{number}" for number in range(1, 6))
_FIVE_BINARY = tuple(f"{name}.bin" for name in _FIVE)
_TWO = ("coarse_labels", "fine_labels")
_TWO_NAMES = ("coarse_label_names.txt", "fine_label_names.txt")
RELEASES = (
    Release("CIFAR-10", {"train": _FIVE, "test": ("test_batch",)}, ("labels",), ("batches.meta",)),
    Release("CIFAR-10", {"train": _FIVE_BINARY, "test": ("test_batch.bin",)}, ("labels",), ("batches.meta.txt",)),
    Release("CIFAR-100", {"train": ("train",), "test": ("test",)}, _TWO, ("meta", "meta")),
    Release("CIFAR-100", {"train": ("train.bin",), "test": ("test.bin",)}, _TWO, _TWO_NAMES),
)


def looks_like(path: Path, _: bytes) -> bool:
    """Whether a folder has files of a release, or a file is a tar archive, which no other source is."""
    if path.is_dir():
        return any(release.among(set(_listed(path))) for release in RELEASES)
    return is_tar(path)


class CifarSource(ArraysSource):
    """A release of CIFAR-10 or CIFAR-100, unpacked or as the archive.

    Of CIFAR-100 the coarse labels are a column, or, where ``labels`` are ``coarse``, the labels: the set is then called
    CIFAR-100s. ``classes`` override the names in the release.
    """

    def __init__(
        self, path: Path, *, split: str | None = None, labels: Labels | None = None, classes: Names | None = None
    ) -> None:
        archive = not path.is_dir()
        split = split or "train"
        release, files = _release(path, tar_files(path) if archive else _listed(path))
        if split not in release.splits:
            raise UsageError(f"{release.title} is split into train and test, not {shown(split)}.")
        if labels is not None and len(release.columns) == 1:
            raise UsageError(f"{release.title} has one kind of labels: `labels` belongs to CIFAR-100.")
        label = f"{labels or 'fine'}_labels" if len(release.columns) > 1 else "labels"
        self.choices = (split, label)
        names = list(release.splits[split])
        names += [name for name in dict.fromkeys(release.names) if name in files]
        for each in names:
            if each not in files:
                raise DataError(f"{shown(path)} lacks {each} of {release.title}'s {split} set: get the release again.")
        super().__init__(path, None if archive else names)
        if not archive:
            for each in names:
                read_start(path / each)
        batches = [_batch(files[each], release) for each in release.splits[split]]
        called = {
            column: _class_names(files[each], column) if each in files else tuple(map(str, range(CLASSES[column])))
            for column, each in zip(release.columns, release.names, strict=True)
        }
        source = release.names[release.columns.index(label)]  # of the names
        if classes is not None:
            count = len(called[label])
            if source in files and count != len(classes):
                raise DataError(f"{shown(path)} has {count} classes, but {len(classes)} names are given.")
            called[label] = classes
        title = release.title + ("s" if labels == "coarse" else "")
        notes = [f"{title}, {'binary' if release.binary else 'python'} release, {split} set"]
        if source not in files and classes is None:
            notes.append(f"{source} is missing: classes are called 0 to {CLASSES[label] - 1}; `classes` names them")
        unnamed = [batch.where for batch in batches if not batch.names]
        if 0 < len(unnamed) < len(batches):
            notes.append(f"{unnamed[0]} has no filename for each image: names are left out")
        points = [name for batch in batches for name in batch.names]
        checked = {
            column: np.concatenate([batch.checked(column, len(called[column])) for batch in batches])
            for column in release.columns
        }
        images = np.concatenate([batch.images for batch in batches]).reshape(-1, *SHAPE)
        self.columns = {"images": Held("images", images), "labels": Held("labels", checked[label])}
        if label == "fine_labels":
            self.columns["coarse"] = Held("coarse", checked["coarse_labels"])
        if not unnamed:
            self.columns["names"] = Held("names", points)
        self.spec = Spec(
            name=f"{title.lower().replace('-', '')}-{split}",
            rows=len(images),
            kind="images",
            shape=SHAPE,
            classes=called[label],
            coarse=label == "fine_labels",
            notes=tuple(notes),
            names=0 if unnamed else name_bytes(points),
        )


class Ti500kSource(ArraysSource):
    """The pickle. ``classes`` override the names of CIFAR-10's classes."""

    axes = (0, 3, 1, 2)

    def __init__(self, path: Path, *, classes: Names | None = None) -> None:
        super().__init__(path)
        raw, label = raw_file(path), "extrapolated_targets"
        held = unpickle.mapping(raw, most_bytes=MOST_TI500K_BYTES)
        hint = " (a file of CIFAR is read with its whole folder)"
        batch = _unpickled(held, raw.where, ("H", "W", 3), (label,), hint)
        rows, height, width, channels = batch.images.shape
        self.columns = {
            "images": Held(f"{raw.where}: data", batch.images),
            "labels": Held(f"{raw.where}: {label}", batch.labels[label]),
        }
        notes = [f"{rows:,} images with predicted labels, as TI500K has them"]
        if aside := [key for key in held if key not in ("data", label)]:
            notes.append(f"left aside: {', '.join(map(shown, aside[:12]))}")
        names = CIFAR10 if classes is None else classes
        self.spec = Spec(path.stem, rows, "images", (channels, height, width), names, notes=tuple(notes))


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
    image = next((name for name in files if name.lower().endswith(SUFFIXES)), None)
    if image is not None:
        raise DataError(f"{shown(path)} holds images ({shown(image)}): unpack it and import the folder.")
    raise DataError(f"{shown(path)} is not a release of CIFAR-10 or CIFAR-100: its files have other names.")


class _Batch(NamedTuple):
    """Rows of a file, held in memory."""

    where: str
    images: Array  # as the file has them: uint8 (N, 3072), of TI500K (N, H, W, 3)
    labels: Mapping[str, Array]  # integers (N,) by column
    names: Sequence[str] = ()  # of all images, or none

    def checked(self, column: str, classes: int) -> Rows:
        """The labels of a column. Raises DataError at the first that is none."""
        labels, _ = as_labels(self.labels[column], 0, f"{self.where}: {column}", classes)
        return labels


def _batch(raw: Raw, release: Release) -> _Batch:
    """A file of CIFAR: a pickle, or records of a byte for each column, then the image."""
    if not release.binary:
        return _unpickled(unpickle.mapping(raw), raw.where, (ROW_BYTES,), release.columns)
    size = len(release.columns) + ROW_BYTES
    if raw.size % size:
        faulty = f"{raw.size:,} bytes, no whole number of records of {size:,}"
        raise DataError(f"{raw.where} has {faulty}: it is cut short, or of another release.")
    if raw.size > unpickle.MOST_BYTES:
        raise DataError(f"{raw.where} has {raw.size:,} bytes, more than any file of a release.")
    with raw.open() as file:
        data = file.read(raw.size)
    if len(data) != raw.size:
        raise DataError(f"{raw.where} is cut short: get the file again.")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    labels = {column: records[:, place] for place, column in enumerate(release.columns)}
    return _Batch(raw.where, records[:, len(labels) :], labels)


def _unpickled(
    held: Mapping[str, object], where: str, image: tuple[int | str, ...], columns: tuple[str, ...], hint: str = ""
) -> _Batch:
    """The rows in a pickled dict: ``data`` of the shape ``image``, and lists or arrays of one integer an image.

    ``filenames``, which CIFAR has, are names where there is one for each image.
    """
    keys = ("data", *columns)
    if not set(keys) <= set(held):
        listed = ", ".join(shown(key) for key in list(held)[:12]) or "none"
        raise DataError(f"{where} has the keys {listed}; expected: {', '.join(keys)}{hint}.")
    data, *labels = (array_of(held[key], f"{where}: {key}") for key in keys)
    fits = len(data.shape) == 1 + len(image) and 0 not in data.shape[1:] and data.shape[-1] == image[-1]
    if not fits or data.dtype != np.uint8:
        expected = ", ".join(map(str, ("N", *image)))
        raise DataError(f"{where}: data are {data.dtype} of shape {data.shape}; uint8 ({expected}) are expected.")
    if math.prod(data.shape[1:]) > MOST_ROW_BYTES:
        raise DataError(f"{where}: data have shape {data.shape}, which no set of images has.")
    rows = len(data)
    for key, column in zip(columns, labels, strict=True):
        if column.shape != (rows,) or column.dtype.kind not in "iu":
            faulty = f"{column.dtype} of shape {column.shape}"
            raise DataError(f"{where}: {key} are {faulty}, not one integer for each of {rows:,} images.")
    names = held.get("filenames")
    texts = [text_of(name) for name in names] if isinstance(names, list) else []
    called = [text for text in texts if text]
    complete = len(called) == len(texts) == rows
    return _Batch(where, data, dict(zip(columns, labels, strict=True)), called if complete else ())


def _class_names(raw: Raw, column: str) -> tuple[str, ...]:
    """The class names of a column in ``batches.meta`` or ``meta`` (a pickle), or a text file with one a line."""
    if not raw.where.endswith(".txt"):
        key = f"{column.removesuffix('s')}_names"
        values = unpickle.mapping(raw).get(key)
        if not isinstance(values, list | tuple):
            raise DataError(f"{raw.where} has no list {key}: it is not a file of this release.")
        names = []
        for place, value in enumerate(values):
            text = text_of(value)
            if text is None:
                raise DataError(f"{raw.where}: {key}[{place}] is not text.")
            names.append(text)
    elif raw.size > _NAMES_BYTES:
        raise DataError(f"{raw.where} has more than {_NAMES_BYTES >> 10} KiB: class names are expected, one a line.")
    else:
        with raw.open() as file:
            data = file.read(_NAMES_BYTES)
        try:
            names = data.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{raw.where} holds class names that are not UTF-8.") from error
        while names and not names[-1].strip():
            names.pop()
    if not names:
        raise DataError(f"{raw.where} holds no class names.")
    return tuple(names)
