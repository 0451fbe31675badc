"""idx files: MNIST (LeCun, Cortes and Burges) and the six subsets of EMNIST (Cohen et al. 2017).

Their names say what they hold::

    train-images-idx3-ubyte(.gz)  train-labels-idx1-ubyte(.gz)     and t10k- for the test set
    emnist-balanced-train-images-idx3-ubyte.gz ...-labels-idx1-ubyte.gz  emnist-balanced-mapping.txt     and test-

A dot in place of the hyphen before ``idx`` is read as well. EMNIST stores its images transposed; they are turned
upright, as MNIST's are. The labels of EMNIST Letters are 1..26 and become 0..25.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datarobust.datasets.idxfile import IdxFile, is_idx
from datarobust.datasets.sources import Block, Spec, file_sha256, never
from datarobust.errors import DataError
from datarobust.text import shown

_NAME = re.compile(r"(?P<stem>.*?)(?P<what>images|labels)(?P<dot>[-.])idx[13]-ubyte(?P<gz>\.gz)?", re.DOTALL)
_EMNIST = re.compile(r"emnist-(?P<subset>balanced|byclass|bymerge|digits|letters|mnist)-(?P<split>train|test)-")
_SPLITS = {"train-": "train", "t10k-": "test", "test-": "test"}

_DIGITS = tuple("0123456789")
_UPPER = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_MERGED = (*_DIGITS, *_UPPER, *"abdefghnqrt")  # letters whose lower case looks like the upper case share a class
_CLASSES = {
    "balanced": _MERGED,
    "byclass": (*_DIGITS, *_UPPER, *"abcdefghijklmnopqrstuvwxyz"),
    "bymerge": _MERGED,
    "digits": _DIGITS,
    "letters": _UPPER,
    "mnist": _DIGITS,
}
_MAPPING_BYTES = 1 << 16


@dataclass(frozen=True)
class _Files:
    """What is read: ``subset`` is one of EMNIST, None for others; ``aside`` says what was left out."""

    images: Path
    labels: Path
    mapping: Path | None
    subset: str | None
    split: str
    aside: str | None = None


def looks_like(path: Path) -> bool:
    """Whether ``path`` is an idx file, or a folder that has idx files of images by their names."""
    if path.is_dir():
        return bool(_listed(path))
    return _NAME.fullmatch(path.name) is not None or is_idx(path)


class IdxSource:
    """Images and labels in two idx files as a Source.

    ``path`` is the file of images, beside which its labels lie, or a folder that holds one data set; then ``split``
    chooses ``train`` (the default) or ``test``. ``classes`` override the names of ``emnist-SUBSET-mapping.txt``, or of
    the digits. Raises DataError at construction when names and headers alone show that this is no data set.
    """

    def __init__(
        self,
        path: Path,
        *,
        split: str | None = None,
        classes: tuple[str, ...] | None = None,
        name: str | None = None,
    ) -> None:
        self._files = _in_folder(path, split or "train") if path.is_dir() else _beside(path, split)
        files = self._files
        self._images = IdxFile(files.images, 3)
        self._labels = IdxFile(files.labels, 1)
        rows, height, width = self._images.shape
        if self._labels.shape[0] != rows:
            raise DataError(
                f"{shown(files.labels)} has {self._labels.shape[0]:,} labels for the {rows:,} images of "
                f"{shown(files.images.name)}."
            )
        self._first = 1 if files.subset == "letters" else 0
        notes = [f"{rows:,} images from {shown(files.images.name)}, labels from {shown(files.labels.name)}"]
        if files.subset is not None:
            notes.append("EMNIST stores images transposed: they are turned upright")
        if files.aside is not None:
            notes.append(files.aside)
        self.spec = Spec(
            name=name or _default_name(files),
            rows=rows,
            kind="images",
            shape=(1, height, width) if files.subset is None else (1, width, height),
            classes=_names(files, self._first) if classes is None else classes,
            notes=tuple(notes),
        )

    def identity(self) -> str:
        """Places, sizes and times of change of both files; the names of the classes are part of the Spec."""
        return f"{self._images.identity()}:{self._labels.identity()}"

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the two lines ``sha256  name``, images first, as ``sha256sum`` prints them."""
        found = hashlib.sha256()
        for path in (self._files.images, self._files.labels):
            found.update(f"{file_sha256(path, stopped)}  {path.name}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def unchanged(self) -> None:
        """Raise DataError where a file's size or time of change is another."""
        self._images.unchanged()
        self._labels.unchanged()

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows ``start:stop``, images as (B, 1, H, W)."""
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        step = self.spec.step
        images = self._images.rows(step, start, stop)
        labels = self._labels.rows(step, start, stop)
        row = start
        for raw, raw_labels in zip(images, labels, strict=True):
            upright = raw if self._files.subset is None else raw.transpose(0, 2, 1)
            index = np.arange(row, row + len(raw), dtype=np.int64)
            yield Block(np.ascontiguousarray(upright[:, None]), self._checked(raw_labels, row), index)
            row += len(raw)

    def _checked(self, raw: npt.NDArray[np.uint8], row: int) -> npt.NDArray[np.int64]:
        count = len(self.spec.classes)
        labels = raw.astype(np.int64) - self._first
        bad = (labels < 0) | (labels >= count)
        if bad.any():
            place = int(np.argmax(bad))
            raise DataError(
                f"{shown(self._files.labels)}: the label of row {row + place} is {raw[place]}, not among the {count} "
                f"classes {self._first}..{self._first + count - 1}: if it is right, name all classes with `classes`."
            )
        return labels


def _default_name(files: _Files) -> str:
    set_name = files.images.resolve().parent.name if files.subset is None else f"emnist-{files.subset}"
    return f"{set_name or 'idx'}-{files.split}"


def _beside(images: Path, split: str | None) -> _Files:
    """The files that belong to a file of images."""
    found = _NAME.fullmatch(images.name)
    if found is None:
        raise DataError(
            f"{shown(images)}: the labels are found by the name of the images, NAME-images-idx3-ubyte or "
            "NAME-images-idx3-ubyte.gz: give it such a name."
        )
    stem = found["stem"]
    spellings = [(found["dot"], found["gz"] or ""), *((dot, gz) for dot in "-." for gz in ("", ".gz"))]
    if found["what"] == "labels":
        raise DataError(f"{shown(images)} are labels: give the file of the images, {shown(stem)}images-idx3-ubyte.")
    candidates = [images.with_name(f"{stem}labels{dot}idx1-ubyte{gz}") for dot, gz in spellings]
    labels = next((path for path in candidates if path.is_file()), None)
    if labels is None:
        raise DataError(f"{shown(images)} has no labels: {shown(candidates[0].name)} is not beside it.")
    known = _EMNIST.fullmatch(stem)
    own = known["split"] if known else _SPLITS.get(stem, stem.strip("-_. ") or "idx")
    if split not in (None, own):
        raise DataError(
            f"{shown(images)} is the {shown(own)} set by its name, not {shown(str(split))}: leave out `split`."
        )
    mapping = images.with_name(f"emnist-{known['subset']}-mapping.txt") if known else None
    if mapping is not None and not mapping.is_file():
        mapping = None
    return _Files(images, labels, mapping, known["subset"] if known else None, own)


def _listed(folder: Path) -> dict[tuple[str | None, str], list[str]]:
    """The files of images in a folder by (subset, split), the plain ones first."""
    found: dict[tuple[str | None, str], list[str]] = {}
    try:
        names = sorted(os.listdir(folder), key=lambda name: (name.endswith(".gz"), name))  # noqa: PTH208
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be read: {error.strerror}.") from error
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match["what"] != "images":
            continue
        known = _EMNIST.fullmatch(match["stem"])
        if known is not None:
            found.setdefault((known["subset"], known["split"]), []).append(name)
        elif match["stem"] in _SPLITS:
            found.setdefault((None, _SPLITS[match["stem"]]), []).append(name)
    return found


def _in_folder(folder: Path, split: str) -> _Files:
    """The files of the one data set in a folder."""
    listed = _listed(folder)
    sets = {subset: names for (subset, of), names in listed.items() if of == split}
    if not sets:
        there = sorted({of for _, of in listed})
        hint = f"it has the {' and '.join(there)} set" if there else "their names are train-images-idx3-ubyte and so on"
        raise DataError(f"{shown(folder)} has no idx files of a {shown(split)} set: {hint}.")
    if len(sets) > 1:
        listing = ", ".join(sorted(names[0] for names in sets.values()))
        raise DataError(f"{shown(folder)} holds several sets ({listing}): give the file of images that is meant.")
    [(first, *others)] = sets.values()
    files = _beside(folder / first, split)
    aside = f"{', '.join(map(shown, others))} left aside" if others else None
    return _Files(files.images, files.labels, files.mapping, files.subset, files.split, aside)


def _names(files: _Files, first: int) -> tuple[str, ...]:
    """The classes' names: those of the mapping file, in the order of labels, else what the set is known to hold."""
    if files.mapping is None:
        return _DIGITS if files.subset is None else _CLASSES[files.subset]
    where = shown(files.mapping)
    try:
        with files.mapping.open("rb") as file:
            data = file.read(_MAPPING_BYTES + 1)
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror}.") from error
    if len(data) > _MAPPING_BYTES:
        raise DataError(
            f"{where} has more than {_MAPPING_BYTES >> 10} KiB: a label and its characters a line are meant."
        )
    names: list[str] = []
    for number, line in enumerate(data.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        # Upper and lower case that share a class follow one another; the first names it.
        if len(words) not in (2, 3) or not all(re.fullmatch(rb"\d{1,3}", word) for word in words):
            raise DataError(f"{where}, line {number}: a label and the codes of its characters are expected.")
        label, code = int(words[0]), int(words[1])
        if label != first + len(names) or not 33 <= code <= 126:
            raise DataError(
                f"{where}, line {number}: label {label} and code {code} are not the next label "
                f"{first + len(names)} and an ASCII character."
            )
        names.append(chr(code))
    if not names:
        raise DataError(f"{where} names no classes.")
    return tuple(names)
