"""idx files: MNIST (LeCun, Cortes and Burges) and the six subsets of EMNIST (Cohen et al. 2017).

Their names say what they hold::

    train-images-idx3-ubyte(.gz)  train-labels-idx1-ubyte(.gz)     and t10k- for the test set
    emnist-balanced-train-images-idx3-ubyte.gz  emnist-balanced-train-labels-idx1-ubyte.gz     and test-

A dot in place of the hyphen before ``idx`` is read as well. EMNIST stores its images transposed; they are turned
upright, as MNIST's are. The labels of EMNIST Letters are 1..26 and become 0..25.

An idx file (LeCun, Cortes and Burges, "The MNIST database") has two zero bytes, one byte for the type of its values
(0x08: unsigned bytes), one for the number of dimensions, each extent as a big-endian 32-bit integer, and the values.
A gzipped file states neither its size nor its end, so the header is the bound: never more than it claims is unpacked,
and a claim that gzip could not hold is refused at once.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits

import numpy as np

from datarobust.datasets.files import DEFLATE_RATIO, GZIP_START, raw_file, read_start, reading, unpacked_start
from datarobust.datasets.sources import ArraysSource, Names, RowFile, Spec
from datarobust.errors import DataError
from datarobust.text import shown

MOST_ROW_BYTES = 1 << 24  # of one image; an idx header can claim 2**64
_NAME = re.compile(r"(?P<stem>.*?)(?P<what>images|labels)(?P<dot>[-.])idx[13]-ubyte(?P<gz>\.gz)?", re.DOTALL)
_EMNIST = re.compile(r"emnist-(?P<subset>balanced|byclass|bymerge|digits|letters|mnist)-(?P<split>train|test)-")
_SPLITS = {"train-": "train", "t10k-": "test", "test-": "test"}
_MERGED = digits + ascii_uppercase + "abdefghnqrt"  # letters whose lower case looks like the upper case share a class
_CLASSES = {"byclass": digits + ascii_uppercase + ascii_lowercase, "letters": ascii_uppercase}
_CLASSES |= {"balanced": _MERGED, "bymerge": _MERGED, "digits": digits, "mnist": digits}
_TYPES = {0x09: "signed bytes", 0x0B: "16-bit integers", 0x0C: "32-bit integers", 0x0D: "floats", 0x0E: "doubles"}


def looks_like(path: Path, _: bytes) -> bool:
    """Whether ``path`` is an idx file, or a folder that has idx files of images by their names."""
    if path.is_dir():
        return bool(_sets(path))
    return bool(_NAME.fullmatch(path.name)) or re.match(rb"\0\0\x08[\1-\4]", unpacked_start(path, 4)) is not None


class IdxSource(ArraysSource):
    """Images and labels in two idx files: the file of images, beside which its labels lie, or a folder with one set.

    ``classes`` override the names of digits, or of EMNIST's characters.
    """

    def __init__(self, path: Path, *, split: str | None = None, classes: Names | None = None) -> None:
        aside: list[str] = []
        images = path
        if path.is_dir():
            split = split or "train"
            first, *aside = _in_folder(path, split)
            images = path / first
        stem, labels = _beside(images)
        subset, own = _part_of(stem) or (None, stem.strip("-_. ") or "idx")
        if split is not None and split != own:
            raise DataError(f"{shown(images)} is the {shown(own)} set by its name: leave out `split` {shown(split)}.")
        super().__init__(path, [images.name, labels.name], images.parent)
        files = {"images": IdxFile(images, 3), "labels": IdxFile(labels, 1)}
        self.columns = {**files}
        rows, height, width = files["images"].shape
        count = files["labels"].shape[0]
        if count != rows:
            raise DataError(f"{shown(labels)} has {count:,} labels for the {rows:,} images of {shown(images.name)}.")
        self.first_label = 1 if subset == "letters" else 0
        notes = [f"{rows:,} images from {shown(images.name)}, labels from {shown(labels.name)}"]
        if subset is not None:
            notes.append("EMNIST stores images transposed: they are turned upright")
            self.axes, height, width = (0, 2, 1), width, height
        if aside:
            notes.append(f"{', '.join(map(shown, aside))} left aside")
        title = f"emnist-{subset}" if subset else images.resolve().parent.name or "idx"
        self.spec = Spec(
            name=f"{title}-{own}",
            rows=rows,
            kind="images",
            shape=(1, height, width),
            classes=tuple(_CLASSES[subset or "mnist"]) if classes is None else classes,
            notes=tuple(notes),
        )


class IdxFile(RowFile):
    """An idx file of unsigned bytes with ``rank`` dimensions. Raises DataError where its header cannot be true."""

    def __init__(self, path: Path, rank: int) -> None:
        gzipped = read_start(path).startswith(GZIP_START)
        raw = raw_file(path, unpacked=True)
        where, size, header = raw.where, raw.size, 4 + 4 * rank
        with raw.open() as stream:
            start = stream.read(header)
        if start[:2] != b"\0\0" or len(start) < 4:
            raise DataError(
                f"{where} is not an idx file: it begins with {start[:4].hex(' ') or 'nothing'}, not 00 00 08."
            )
        if start[2] != 8:
            raise DataError(f"{where} holds {_TYPES.get(start[2], f'values of type {start[2]:#04x}')}, not bytes.")
        if start[3] != rank:
            what = {1: "labels have 1", 3: "images have 3"}[rank]
            raise DataError(f"{where} has {start[3]} dimensions by its header; {what}.")
        if len(start) < header:
            raise DataError(f"{where} ends in its header: the file is cut short.")
        shape = tuple(int.from_bytes(start[place : place + 4], "big") for place in range(4, header, 4))
        super().__init__(raw, header, np.dtype(np.uint8), shape)
        # Sizes that cannot be true are refused before memory is taken for them.
        if not 0 < self.row_bytes <= MOST_ROW_BYTES:
            raise DataError(f"{where} claims the shape {shape}, which no set of images has.")
        claimed = header + shape[0] * self.row_bytes
        claim = f"{where} claims {claimed:,} bytes by its shape {shape}"
        if not gzipped and claimed != size:
            fault = "the file is cut short" if claimed > size else "something else follows"
            raise DataError(f"{claim}, but has {size:,}: {fault}.")
        if gzipped and claimed > size * DEFLATE_RATIO:
            raise DataError(f"{claim}, which {size:,} gzipped bytes cannot hold.")


def _beside(images: Path) -> tuple[str, Path]:
    """How the name of a file of images begins, and the file of its labels."""
    name = _NAME.fullmatch(images.name)
    if name is None:
        raise DataError(f"{shown(images)}: labels are found by the name of the images: call it X-images-idx3-ubyte.")
    stem = name["stem"]
    if name["what"] == "labels":
        raise DataError(f"{shown(images)} are labels: give the file of the images, {shown(stem)}images-idx3-ubyte.")
    spellings = [(name["dot"], name["gz"] or ""), *((dot, gz) for dot in "-." for gz in ("", ".gz"))]
    candidates = [images.with_name(f"{stem}labels{dot}idx1-ubyte{gz}") for dot, gz in spellings]
    labels = next((path for path in candidates if path.is_file()), None)
    if labels is None:
        raise DataError(f"{shown(images)} has no labels: {shown(candidates[0].name)} is not beside it.")
    return stem, labels


def _sets(folder: Path) -> dict[tuple[str | None, str], list[str]]:
    """The files of images in a folder by (subset, split), the plain ones first."""
    sets: dict[tuple[str | None, str], list[str]] = {}
    with reading(folder):
        names = sorted(os.listdir(folder), key=lambda name: (name.endswith(".gz"), name))  # noqa: PTH208
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match["what"] == "images" and (part := _part_of(match["stem"])):
            sets.setdefault(part, []).append(name)
    return sets


def _part_of(stem: str) -> tuple[str | None, str] | None:
    """The subset of EMNIST (None for MNIST) and the split that a name begins with, None where there is none."""
    if known := _EMNIST.fullmatch(stem):
        return known["subset"], known["split"]
    return (None, _SPLITS[stem]) if stem in _SPLITS else None


def _in_folder(folder: Path, split: str) -> list[str]:
    """The file of images of the one data set in a folder, then other forms of it."""
    listed = _sets(folder)
    sets = [names for (_, of), names in listed.items() if of == split]
    if not sets:
        splits = sorted({of for _, of in listed})
        hint = f"it has the {' and '.join(splits)} set" if splits else "their names are train-images-idx3-ubyte etc"
        raise DataError(f"{shown(folder)} has no idx files of a {shown(split)} set: {hint}.")
    if len(sets) > 1:
        listing = ", ".join(sorted(names[0] for names in sets))
        raise DataError(f"{shown(folder)} holds several sets ({listing}): give the file of images that is meant.")
    return sets[0]
