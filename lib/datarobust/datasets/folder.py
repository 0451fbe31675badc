"""Folders of images: each sub-folder a class, as torchvision's ImageFolder has made common.

Classes are the sub-folders in the order of their names (by code point); the points are a class's files, also those in
folders below it, in the order of their paths. Hidden files are left out; files that are no images are left out and
counted in a note. All images have one size and one mode: grey (1 channel) or RGB (3), as the first has it or as
``channels`` says. Pixels are taken as stored; EXIF orientation is not applied. :func:`decode` makes pixels of one
encoded image: refused on its header where it is too large, nothing guessed.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datarobust.datasets.sources import Block, FileSource, Spec, reading
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Images

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
)

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What pillow may decode for us; others it knows run programs (EPS) or are not pictures."""

MOST_PIXELS = 1 << 24
"""Of one image; checked on its header, before anything is decoded."""
MOST_BYTES = 1 << 28
"""Of one encoded image."""

_MOST_DEPTH = 64


@dataclass
class _Listing:
    """The image files of a folder with their classes, and what was left out."""

    classes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class FolderSource(FileSource):
    """A folder of class folders as a Source. Raises DataError at construction where there are no images."""

    def __init__(
        self,
        path: Path,
        *,
        channels: int | None = None,
        classes: tuple[str, ...] | None = None,
        name: str | None = None,
    ) -> None:
        listing = _list(path)
        super().__init__(path, listing.files)
        self._labels = np.array(listing.labels, dtype=np.int64)
        if not listing.files:
            raise DataError(f"{shown(path)} has no images in sub-folders: each class is a folder of images.")
        if classes is not None and len(classes) != len(listing.classes):
            raise DataError(
                f"{shown(path)} has {len(listing.classes)} class folders, but {len(classes)} names are given."
            )
        first = self._load(0, channels, None)
        self._size = (first.shape[2], first.shape[1])
        self._channels = first.shape[0]
        self._forced = channels is not None
        notes = [f"{len(listing.files)} images in {len(listing.classes)} classes"]
        if listing.skipped:
            skipped = shown(path / listing.skipped[0])
            notes.append(f"{len(listing.skipped)} files that are no images were left out, {skipped} the first")
        counts = np.bincount(self._labels, minlength=len(listing.classes))
        if not counts.all():
            empty = [shown(name) for name, count in zip(listing.classes, counts, strict=True) if not count]
            notes.append(f"classes without images: {', '.join(empty[:8])}")
        self.spec = Spec(
            name=name or path.resolve().name or "images",
            rows=len(listing.files),
            kind="images",
            shape=first.shape,
            classes=tuple(listing.classes) if classes is None else classes,
            notes=tuple(notes),
        )

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
                    raise other_mode(shown(self._path / self._names[place]), len(image), self._channels)
                images[place - row] = image
            yield Block(images, self._labels[row:end], np.arange(row, end, dtype=np.int64))

    def _load(self, place: int, channels: int | None, size: tuple[int, int] | None) -> Images:
        """One image as uint8 (C, H, W), its header checked before it is decoded."""
        path = self._path / self._names[place]
        with reading(path), path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return decode(data, shown(path), channels, size)


def _list(root: Path) -> _Listing:
    """Walk the folder once, in order."""
    listing = _Listing()
    for entry in _entries(root):
        if entry.is_dir():
            label = len(listing.classes)
            try:
                entry.name.encode("utf-8")
            except UnicodeEncodeError as error:
                raise DataError(f"{shown(entry.path)}: the name of this class is not UTF-8.") from error
            listing.classes.append(entry.name)
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
        with reading(Path(entry.path)):
            state = entry.stat()
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
    with reading(folder), os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _place(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - a million names, none of them a path


def decode(data: bytes, where: str, channels: int | None, size: tuple[int, int] | None) -> Images:
    """An encoded image as uint8 (C, H, W), its header checked before it is decoded.

    Grey stays one channel, palettes become RGB, opaque alpha is dropped; ``channels`` makes all grey (1) or RGB (3).
    EXIF orientation is not applied.

    Args:
        data: the encoded image.
        where: what it is called in messages.
        channels: 1, 3, or None to take what it has.
        size: width and height that it must have, None for any.

    Raises:
        DataError: it is damaged, too large, of another size, animated, partly transparent, or of more than 8 bits.
    """
    from PIL import Image

    if len(data) > MOST_BYTES:
        raise DataError(f"{where} has more than {MOST_BYTES >> 20} MiB: this is no image of a data set.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(image, size, where)
                image.verify()  # a PNG's checksums, which decoding passes over
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _pixels(image, channels, where)
    except DataError:
        raise
    except Exception as error:  # a damaged image makes pillow's decoders raise nearly anything
        text = (str(error) or type(error).__name__).splitlines()[0]
        reason = "it is damaged or no image" if "BytesIO" in text else shown(text[:160]).rstrip(".")
        raise DataError(f"{where} cannot be decoded: {reason}.") from error


def other_mode(where: str, channels: int, first: int) -> DataError:
    """The error for an image that is grey where the first is RGB, or the other way round."""
    kinds = {1: "grey", 3: "RGB"}
    return DataError(
        f"{where} is {kinds[channels]}, but the first image is {kinds[first]}: "
        "`channels` 1 or `channels` 3 makes them alike."
    )


def _check_header(image: Image, size: tuple[int, int] | None, where: str) -> None:
    """What can be refused before a pixel is decoded."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(f"{where} claims {width}x{height} pixels, more than {MOST_PIXELS:,}.")
    if size is not None and image.size != size:
        raise DataError(
            f"{where} has {width}x{height} pixels, but the first image has {size[0]}x{size[1]}: bring them to one size."
        )
    if getattr(image, "is_animated", False):
        raise DataError(f"{where} has several frames: save the one that is meant.")


def _pixels(image: Image, channels: int | None, where: str) -> Images:
    """The decoded image (C, H, W): grey stays one channel, palettes become RGB, opaque alpha is dropped."""
    mode = image.mode
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise DataError(f"{where} has mode {mode}: images are grey or RGB with 8 bits a channel.")
    if mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise DataError(f"{where} is partly transparent: save it with the background that is meant.")
    grey = mode in ("1", "L", "LA")
    kept = ("L" if grey else "RGB") if channels is None else {1: "L", 3: "RGB"}[channels]
    pixels = np.asarray(image.convert(kept))
    planes = pixels[None] if kept == "L" else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes)
