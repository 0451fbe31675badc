"""Folders of images: each sub-folder a class, as torchvision's ImageFolder has made common.

Classes are the sub-folders in the order of their names (by code point); the points are a class's files, also those in
folders below it, in the order of their paths. Hidden files are left out; files that are no images are left out and
counted in a note. All images have one size and one mode: grey (1 channel) or RGB (3), as the first has it or as
``channels`` says. Pixels are taken as stored; EXIF orientation is not applied.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datarobust.datasets.decoding import MOST_BYTES, decode, other_mode
from datarobust.datasets.sources import Block, Spec, file_sha256, never
from datarobust.errors import DataError
from datarobust.text import shown

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
)

_MOST_DEPTH = 64


@dataclass
class _Listing:
    """The image files of a folder with their classes, and what was left out."""

    classes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class FolderSource:
    """A folder of class folders as a Source. Raises DataError at construction where there are no images."""

    def __init__(
        self,
        path: Path,
        *,
        channels: int | None = None,
        classes: tuple[str, ...] | None = None,
        name: str | None = None,
    ) -> None:
        self._root = path
        listing = _list(path)
        self._files = listing.files
        self._labels = np.array(listing.labels, dtype=np.int64)
        if not self._files:
            raise DataError(f"{shown(path)} has no images in sub-folders: each class is a folder of images.")
        if classes is not None and len(classes) != len(listing.classes):
            raise DataError(
                f"{shown(path)} has {len(listing.classes)} class folders, but {len(classes)} names are given."
            )
        first = self._load(0, channels, None)
        self._size = (first.shape[2], first.shape[1])
        self._channels = first.shape[0]
        self._forced = channels is not None
        self.spec = Spec(
            name=name or path.resolve().name or "images",
            rows=len(self._files),
            kind="images",
            shape=first.shape,
            classes=tuple(listing.classes) if classes is None else classes,
            notes=self._notes(listing),
        )

    def identity(self) -> str:
        """Place of the folder, and name, size and time of change of all its images, when this was first asked."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return self._state()

    def _state(self) -> str:
        found = hashlib.sha256()
        for name in self._files:
            state = (self._root / name).stat()
            found.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f"{str(self._root.resolve())!a}:{found.hexdigest()}"

    def digest(self, stopped: Callable[[], bool] = never) -> str:
        """sha256 of the lines ``sha256  class/file`` of all images, as ``sha256sum`` prints them, in order."""
        found = hashlib.sha256()
        for name in self._files:
            one = file_sha256(self._root / name, stopped)
            found.update(f"{one}  {name}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def unchanged(self) -> None:
        """Raise DataError where an image's size or time of change is another."""
        if self._state() != self._identity:
            raise DataError(f"{shown(self._root)} changed while it was read.")

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The images ``start:stop``, decoded as they are asked for."""
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        step = self.spec.step
        channels = self._channels if self._forced else None
        for row in range(start, stop, step):
            end = min(row + step, stop)
            images = np.empty((end - row, *self.spec.shape), dtype=np.uint8)
            for place in range(row, end):
                image = self._load(place, channels, self._size)
                if image.shape != self.spec.shape:
                    raise DataError(other_mode(self._shown(place), len(image), self._channels))
                images[place - row] = image
            yield Block(images, self._labels[row:end], np.arange(row, end, dtype=np.int64))

    def _load(self, place: int, channels: int | None, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
        """One image as uint8 (C, H, W), its header checked before it is decoded."""
        where = self._shown(place)
        return decode(_read(self._root / self._files[place], where), where, channels, size)

    def _shown(self, place: int) -> str:
        return shown(self._root / self._files[place])

    def _notes(self, listing: _Listing) -> tuple[str, ...]:
        notes = [f"{len(listing.files)} images in {len(listing.classes)} classes"]
        if listing.skipped:
            first = shown(self._root / listing.skipped[0])
            notes.append(f"{len(listing.skipped)} files that are no images were left out, {first} the first")
        counts = np.bincount(self._labels, minlength=len(listing.classes))
        if not counts.all():
            empty = [shown(name) for name, count in zip(listing.classes, counts, strict=True) if not count]
            notes.append(f"classes without images: {', '.join(empty[:8])}")
        return tuple(notes)


def _list(root: Path) -> _Listing:
    """Walk the folder once, in order."""
    listing = _Listing()
    for entry in _entries(root):
        if entry.is_dir():
            label = len(listing.classes)
            listing.classes.append(_class_name(root, entry.name))
            before = len(listing.files)
            _walk(root, entry.name, listing, (_place(entry.stat()),))
            listing.labels += [label] * (len(listing.files) - before)
        elif _is_image(entry.name):
            raise DataError(f"{shown(entry.path)} is in no class: images lie in sub-folders, one a class.")
        else:
            listing.skipped.append(entry.name)
    return listing


def _walk(root: Path, below: str, listing: _Listing, above: tuple[tuple[int, int], ...]) -> None:
    """Add the images of one class folder; ``above`` are the folders on the way, to notice a loop of links."""
    for entry in _entries(root / below):
        name = f"{below}/{entry.name}"
        try:
            state = entry.stat()
        except OSError as error:
            raise DataError(f"{shown(entry.path)} cannot be read: {error.strerror}.") from error
        if stat.S_ISDIR(state.st_mode):
            if _place(state) in above:
                raise DataError(f"{shown(entry.path)} is a link that leads back to a folder above it.")
            if len(above) >= _MOST_DEPTH:
                raise DataError(f"{shown(entry.path)} lies more than {_MOST_DEPTH} folders deep.")
            _walk(root, name, listing, (*above, _place(state)))
        elif not stat.S_ISREG(state.st_mode):
            raise DataError(f"{shown(entry.path)} is no regular file.")
        elif _is_image(entry.name):
            listing.files.append(name)
        else:
            listing.skipped.append(name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is not hidden, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be read: {error.strerror}.") from error


def _place(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - a million names, none of them a path


def _class_name(root: Path, name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{shown(root / name)}: the name of this class is not UTF-8.") from error
    return name


def _read(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror}.") from error
    if len(data) > MOST_BYTES:
        raise DataError(f"{where} has more than {MOST_BYTES >> 20} MiB: this is no image of a data set.")
    return data
