"""Folders of images: each sub-folder a class, as torchvision's ImageFolder has made common.

Classes are the sub-folders in the order of their names (by code point); the points are a class's files, also those in
folders below it, in the order of their paths. Hidden files are left out; files that are no images are left out and
counted in a note. All images have one size and one mode: grey (1 channel) or RGB (3), as the first has it or as
``channels`` says. Pixels are taken as stored; EXIF orientation is not applied. The name of a point is the path of its
file below the folder.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datarobust.datasets.files import brief, reading
from datarobust.datasets.sources import Block, Names, Source, Spec, as_names, name_bytes, spans
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Images

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # others that pillow knows run programs, as EPS does
MOST_PIXELS = 1 << 24  # of one image; checked on its header
MOST_BYTES = 1 << 28  # of one encoded image
_MOST_DEPTH = 64  # of folders


class FolderSource(Source):
    """A folder of class folders."""

    def __init__(self, path: Path, *, channels: int | None = None, classes: Names | None = None) -> None:
        folders: list[str] = []
        files: list[str] = []
        labels: list[int] = []
        skipped: list[str] = []
        for entry in _entries(path):
            if entry.is_dir():
                try:
                    entry.name.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise DataError(f"{shown(entry.path)}: the name of this class is not UTF-8.") from error
                for file in _walk(path, entry.name, (_place(entry.stat()),)):
                    if file.lower().endswith(SUFFIXES):
                        files.append(file)
                        labels.append(len(folders))
                    else:
                        skipped.append(file)
                folders.append(entry.name)
            elif entry.name.lower().endswith(SUFFIXES):
                raise DataError(f"{shown(entry.path)} is in no class: images lie in sub-folders, one a class.")
            else:
                skipped.append(entry.name)
        super().__init__(path, files)
        if not files:
            raise DataError(f"{shown(path)} has no images in sub-folders: each class is a folder of images.")
        if classes is not None and len(classes) != len(folders):
            raise DataError(f"{shown(path)} has {len(folders)} class folders, but {len(classes)} names are given.")
        self._labels = np.array(labels, dtype=np.int64)
        self._channels = channels
        self._shape: tuple[int, ...] | None = None  # any, of the first image
        self._shape = shape = self._image(0).shape
        notes = [f"{len(files)} images in {len(folders)} classes"]
        if skipped:
            first = shown(path / skipped[0])
            notes.append(f"{len(skipped)} files that are no images were left out, {first} the first")
        used = set(labels)
        if empty := [shown(folder) for label, folder in enumerate(folders) if label not in used]:
            notes.append(f"classes without images: {', '.join(empty[:8])}")
        self.spec = Spec(
            name=path.resolve().name or "images",
            rows=len(files),
            kind="images",
            shape=shape,
            classes=tuple(folders) if classes is None else classes,
            notes=tuple(notes),
            names=name_bytes(files),
        )

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        for begin, end in spans(stop, self.spec.step, start):
            images = np.stack([self._image(row) for row in range(begin, end)])
            names = as_names(self._names[begin:end], self.spec.names)
            yield {"images": images, "labels": self._labels[begin:end], "names": names}

    def _image(self, row: int) -> Images:
        path = self._path / self._names[row]
        with reading(path), path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return decode(data, shown(path), self._channels, self._shape)


def _walk(root: Path, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The files of one class folder; ``above`` are the folders on the way, to notice a loop of links."""
    for entry in _entries(root / below):
        name = f"{below}/{entry.name}"
        with reading(Path(entry.path)):
            state = entry.stat()
        if stat.S_ISDIR(state.st_mode):
            if _place(state) in above:
                raise DataError(f"{shown(entry.path)} is a link that leads back to a folder above it.")
            if len(above) >= _MOST_DEPTH:
                raise DataError(f"{shown(entry.path)} lies more than {_MOST_DEPTH} folders deep.")
            yield from _walk(root, name, (*above, _place(state)))
        elif not stat.S_ISREG(state.st_mode):
            raise DataError(f"{shown(entry.path)} is no regular file.")
        else:
            yield name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is not hidden, by name."""
    with reading(folder), os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _place(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def decode(data: bytes, where: str, channels: int | None, first: tuple[int, ...] | None) -> Images:
    """An encoded image, called ``where`` in sentences, as uint8 (C, H, W); its header is checked before it is decoded.

    Grey stays one channel, palettes become RGB, opaque alpha is dropped; ``channels`` makes all grey (1) or RGB (3).
    Raises DataError where it is damaged, too large, of another shape than ``first``, animated, partly transparent, or
    of more than 8 bits.
    """
    from PIL import Image

    if len(data) > MOST_BYTES:
        raise DataError(f"{where} has more than {MOST_BYTES >> 20} MiB: this is no image of a data set.")
    try:
        with warnings.catch_warnings(action="ignore"):
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise DataError(f"{where} claims {width}x{height} pixels, more than {MOST_PIXELS:,}.")
                if first is not None and first[1:] != (height, width):
                    return as_pixels(image, where, channels, first)  # refuses it before it is decoded
                if getattr(image, "is_animated", False):
                    raise DataError(f"{where} has several frames: save the one that is meant.")
                image.verify()  # a PNG's checksums, which decoding passes over
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return as_pixels(image, where, channels, first)
    except DataError:
        raise
    except Exception as error:  # a damaged image makes pillow's decoders raise nearly anything
        reason = "it is damaged or no image" if "BytesIO" in str(error) else brief(error)
        raise DataError(f"{where} cannot be decoded: {reason}.") from error


def as_pixels(image: PIL.Image.Image, where: str, channels: int | None, first: tuple[int, ...] | None) -> Images:
    """A picture of pillow as uint8 (C, H, W), as :func:`decode` says; DataError where that cannot be."""
    if first is not None and first[1:] != image.size[::-1]:
        sizes = f"{image.width}x{image.height} pixels, but the first image has {first[2]}x{first[1]}"
        raise DataError(f"{where} has {sizes}: bring them to one size.")
    mode = image.mode
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise DataError(f"{where} has mode {mode}: images are grey or RGB with 8 bits a channel.")
    alpha = mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if alpha and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise DataError(f"{where} is partly transparent: save it with the background that is meant.")
    grey = channels == 1 if channels else mode in ("1", "L", "LA")
    if first is not None and first[0] != (1 if grey else 3):
        kinds = "is grey, but the first image is RGB" if grey else "is RGB, but the first image is grey"
        raise DataError(f"{where} {kinds}: `channels` makes them alike.")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return np.ascontiguousarray(pixels[None] if grey else pixels.transpose(2, 0, 1))
