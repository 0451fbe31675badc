"""Images in folders and zip files: each sub-folder a class, as in torchvision's ImageFolder, or a table of labels.

Classes are the sub-folders in the order of their names (by code point); the points are a class's files, also those in
folders below it, in the order of their paths. Hidden files are left out; files that are no images are left out and
counted in a note. With a table, ``metadata.csv`` in the folder (as the Hugging Face imagefolder has it) or a file of
labels, the points are the files that it lists, in its order.

All images have one size, unless ``resize`` brings them to one, and one mode: grey (1 channel) or RGB (3), as the first
has it or as ``channels`` says. They are turned upright as their EXIF orientation says. The name of a point is the path
of its file below the folder.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datarobust.datasets.files import ZIP_STARTS, brief, reading, zip_entries
from datarobust.datasets.linefiles import numbered, read_table
from datarobust.datasets.sources import Block, Names, Source, Spec, as_names, name_bytes, spans
from datarobust.errors import DataError, ImageError, UsageError
from datarobust.text import shown
from datarobust.types import Images

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # others that pillow knows run programs, as EPS does
MOST_PIXELS = 1 << 24  # of one image; checked on its header
MOST_RESIZED = 1 << 26  # the same where it is made smaller: photographs
MOST_BYTES = 1 << 28  # of one encoded image
_WAY_OUT = "; `skip_broken` leaves such images out."
TABLES = ("metadata.csv", "metadata.jsonl")
# Folders with such names are no classes.
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
_MOST_DEPTH = 64  # of folders
_DIRECTORY_BYTES = 64 << 20  # of a zip file; half a million names


Resize = Callable[["PIL.Image.Image"], "PIL.Image.Image"]


def resizing(text: str) -> Resize:
    """What brings images to WIDTHxHEIGHT: stretched, or with :crop scaled until they cover it and cut at the edges.

    Bicubic, with the antialiasing of pillow. Raises UsageError where ``text`` is no size.
    """
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})(:crop)?", text)
    if match is None or not 0 < int(match[1]) * int(match[2]) <= MOST_PIXELS:
        raise UsageError(f"`resize` {shown(text)} is not a size: give WIDTHxHEIGHT, or as in 32x32:crop.")
    size, crop = (int(match[1]), int(match[2])), match[3] is not None

    def resized(image: PIL.Image.Image) -> PIL.Image.Image:
        from PIL import Image, ImageOps

        if image.size == size:
            return image
        bicubic = Image.Resampling.BICUBIC
        return ImageOps.fit(image, size, bicubic) if crop else image.resize(size, bicubic)

    return resized


class _Folder:
    """A folder on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def listed(self) -> tuple[list[str], list[str]]:
        """Its sub-folders, and all files in and below it, in the order of their names."""
        folders: list[str] = []
        files: list[str] = []
        for entry in _entries(self.path):
            if entry.is_dir():
                folders.append(entry.name)
                files += _walk(self.path, entry.name, (_place(entry.stat()),))
            else:
                files.append(entry.name)
        return folders, files

    def read(self, file: str) -> bytes:
        """The bytes of a file, MOST_BYTES + 1 at most."""
        path = self.path / file
        with reading(path), path.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)


class _Zip(_Folder):
    """A zip file, or a folder in it, read in place; a folder that holds all of it is passed over."""

    def __init__(self, path: Path, split: str | None) -> None:
        super().__init__(path)
        entries = zip_entries(path, _DIRECTORY_BYTES, "zip")
        hidden = (".", "__MACOSX")
        files = {
            name: info
            for name, info in entries.items()
            if not info.is_dir() and not any(part.startswith(hidden) for part in name.split("/"))
        }
        top = next(iter(files), "").partition("/")[0] + "/"
        inner = {name.removeprefix(top): info for name, info in files.items() if name.startswith(top)}
        images = [name for name in inner if name.lower().endswith(SUFFIXES)]
        if len(inner) == len(files) and (set(TABLES) & set(inner) or all("/" in name for name in images)):
            files = inner
        if split is not None:
            below = f"{split}/"
            files = {name.removeprefix(below): info for name, info in files.items() if name.startswith(below)}
            if not files:
                raise DataError(
                    f"{shown(path)} has no folder {shown(split)}: `split` names one with a part of the set."
                )
        self._files = files
        with reading(path):
            self._archive = zipfile.ZipFile(path)

    def listed(self) -> tuple[list[str], list[str]]:
        files = sorted(self._files, key=lambda name: name.split("/"))
        return list(dict.fromkeys(name.partition("/")[0] for name in files if "/" in name)), files

    def read(self, file: str) -> bytes:
        info, where = self._files[file], shown(self.path / file)
        if info.flag_bits & 1:
            raise ImageError(f"{where} is encrypted.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ImageError(f"{where} is compressed, but not by deflate: unpack the file and import the folder.")
        try:
            with reading(where), self._archive.open(info) as opened:
                return opened.read(MOST_BYTES + 1)
        except DataError as error:
            raise ImageError(str(error)) from error


def is_zip_of_images(path: Path, start: bytes) -> bool:
    """Whether a file is a zip file that has images and no arrays, as far as its directory tells."""
    if path.is_dir() or not start.startswith(ZIP_STARTS):
        return False
    try:
        names = list(zip_entries(path, _DIRECTORY_BYTES, "zip"))
    except DataError:
        return False
    return any(name.lower().endswith(SUFFIXES) for name in names) and not any(name.endswith(".npy") for name in names)


class FolderSource(Source):
    """A folder, or a zip file, of images in class folders, or with a table of their labels.

    ``table`` is one in place of ``metadata.csv``; ``split`` takes a sub-folder, such as ``train``; ``skip_broken``
    leaves out what cannot be decoded, each with a note, after all images were decoded once.
    """

    def __init__(
        self,
        path: Path,
        *,
        split: str | None = None,
        table: Path | None = None,
        channels: int | None = None,
        resize: str | None = None,
        skip_broken: bool = False,
        classes: Names | None = None,
    ) -> None:
        zipped = path.is_file()
        name = (path.stem if zipped else path.resolve().name or "images") + (f"-{split}" if split else "")
        tree = _Zip(path, split) if zipped else _Folder(path if split is None else path / split)
        if not zipped and not tree.path.is_dir():
            raise DataError(f"{shown(tree.path)} is not a folder: `split` names a sub-folder with a part of the set.")
        self._tree, path = tree, tree.path
        folders, below = tree.listed()
        own = next((each for each in TABLES if each in below), None)
        self._decode = Decoder(channels, resize)
        self.choices = tuple(each for each in (channels, resize) if each is not None)
        if table is not None or own is not None:
            data = tree.read(own) if zipped and table is None and own is not None else None
            listing = _listed(path, below, table or path / str(own), data, classes)
        else:
            listing = _in_classes(path, folders, below, classes)
        notes = [*listing.notes]
        files, numbers = listing.files, listing.labels
        if skip_broken:
            files, numbers = [], []
            for file, label in zip(listing.files, listing.labels, strict=True):
                try:
                    self._image(file)
                except ImageError as error:
                    notes.append(f"skipped: {str(error).replace(_WAY_OUT, '.')}")
                    continue
                files.append(file)
                numbers.append(label)
            notes.append(f"skipped {len(listing.files) - len(files):,} of {len(listing.files):,} images")
        if not files:
            raise DataError(f"{shown(path)}: no image in it can be decoded, {shown(listing.files[0])} the first.")
        root = (path.parent if zipped else path).resolve()
        others = [] if table is None else [os.path.relpath(table.resolve(), root)]
        if not zipped:
            super().__init__(path, [*files, *(others or ([own] if own else []))], root)
        elif others:
            super().__init__(path, [path.name, *others], root)
        else:
            super().__init__(path)
        self._files, self._labels = files, np.array(numbers, dtype=np.int64)
        self.spec = Spec(
            name=name,
            rows=len(files),
            kind="images",
            shape=self._image(files[0]).shape,
            classes=listing.classes,
            notes=tuple(notes),
            names=name_bytes(files),
        )

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        for begin, end in spans(stop, self.spec.step, start):
            images = np.stack([self._image(file) for file in self._files[begin:end]])
            names = as_names(self._files[begin:end], self.spec.names)
            yield {"images": images, "labels": self._labels[begin:end], "names": names}

    def _image(self, file: str) -> Images:
        return self._decode(self._tree.read(file), shown(self._tree.path / file))


class _Listing(NamedTuple):
    """The images of a folder, by their paths below it, and what is known of them."""

    files: list[str]
    labels: list[int]
    classes: Names
    notes: list[str]


def _in_classes(path: Path, folders: Sequence[str], below: Sequence[str], classes: Names | None) -> _Listing:
    """The images in sub-folders, one a class."""
    numbers = {folder: number for number, folder in enumerate(folders)}
    files: list[str] = []
    labels: list[int] = []
    skipped: list[str] = []
    for folder in folders:
        try:
            folder.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{shown(path / folder)}: the name of this class is not UTF-8.") from error
    for file in below:
        folder, inside, _ = file.partition("/")
        if not file.lower().endswith(SUFFIXES):
            skipped.append(file)
        elif inside:
            files.append(file)
            labels.append(numbers[folder])
        else:
            way = "images lie in sub-folders, one a class, or `labels` names a table with the columns file_name, label"
            raise DataError(f"{shown(path / file)} is in no class: {way}.")
    if folders and {folder.lower() for folder in folders} <= SPLITS:
        listed = " and ".join(map(shown, folders))
        raise DataError(f"{shown(path)} holds {listed}, which are no classes: choose one of them with `split`.")
    if not files:
        raise DataError(f"{shown(path)} has no images in sub-folders: each class is a folder of images.")
    if classes is not None and len(classes) != len(folders):
        raise DataError(f"{shown(path)} has {len(folders)} class folders, but {len(classes)} names are given.")
    notes = [f"{len(files):,} images in {len(folders):,} classes"]
    if skipped:
        notes.append(f"skipped because not an image: {_first(path, skipped)}")
    used = set(labels)
    if empty := [shown(folder) for label, folder in enumerate(folders) if label not in used]:
        notes.append(f"classes without images: {', '.join(empty[:8])}")
    return _Listing(files, labels, tuple(folders) if classes is None else classes, notes)


def _listed(path: Path, below: Sequence[str], table: Path, data: bytes | None, classes: Names | None) -> _Listing:
    """The images that a table lists, in its order; ``data`` are its bytes where it is in an archive.

    Names are paths below the folder, or from the place of the table; one without a suffix means the file of this stem.
    """
    images = dict.fromkeys(file for file in below if file.lower().endswith(SUFFIXES))
    stems: dict[str, list[str]] = defaultdict(list)
    for file in images:
        stems[file.rpartition(".")[0]].append(file)
    lines, files, texts = dict[str, int](), list[str](), list[str]()
    for number, name, label in read_table(table, data):
        where = f"{shown(table)}, line {number}"
        known = name.removeprefix("./")
        if known not in images:  # it may be a path from where the table is, or from the root
            below_it = os.path.relpath(os.path.abspath(table.parent / name), os.path.abspath(path))  # noqa: PTH100
            known = below_it if below_it in images else known
        matching = [known] if known in images else stems.get(known, [])
        if len(matching) != 1:
            fault = "means several files" if matching else f"is not an image in {shown(path)}"
            raise DataError(f"{where}: {shown(name)} {fault}.")
        if lines.setdefault(matching[0], number) != number:
            raise DataError(f"{where}: {shown(name)} has a label already in line {lines[matching[0]]}.")
        files += matching
        texts.append(label)
    labels, names = numbered(texts, list(lines.values()), shown(table), classes)
    notes = [f"{len(files):,} images with the labels of {shown(table)}"]
    if others := [file for file in images if file not in lines]:
        notes.append(f"skipped because not listed in it: {_first(path, others)}")
    return _Listing(files, labels, names, notes)


def _first(path: Path, files: Sequence[str]) -> str:
    """The first of some files, and how many others there are."""
    count = len(files) - 1
    return shown(path / files[0]) + (f" and {count:,} other{'s' * (count > 1)}" if count else "")


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
            raise DataError(f"{shown(entry.path)} is not a regular file.")
        else:
            yield name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is not hidden, by name; macOS puts what it hides in archives into a folder of its own."""
    with reading(folder), os.scandir(folder) as entries:
        seen = (entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX")
        return sorted(seen, key=lambda entry: entry.name)


def _place(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


class Decoder:
    """Makes arrays of encoded images, all of the mode and the size of the first.

    ``channels`` makes all grey (1) or RGB (3), ``resize`` brings them to one size, WIDTHxHEIGHT or WIDTHxHEIGHT:crop.
    """

    def __init__(self, channels: int | None, resize: str | None) -> None:
        self._channels, self._resize = channels, resizing(resize) if resize else None
        self._first: tuple[int, ...] | None = None  # the shape of the first

    def __call__(self, data: bytes, where: str) -> Images:
        """An image, called ``where`` in sentences, as uint8 (C, H, W); its header is checked before it is decoded.

        It is turned as its EXIF orientation says. Grey stays one channel, palettes become RGB, opaque alpha is dropped.
        Raises ImageError where it is damaged, too large, animated, partly transparent, or of more than 8 bits,
        DataError where it has another shape than the first.
        """
        from PIL import Image, ImageOps

        if len(data) > MOST_BYTES:
            raise ImageError(f"{where} has more than {MOST_BYTES >> 20} MiB: this is not an image of a data set.")
        most, way = (MOST_PIXELS, "; `resize` makes it smaller") if self._resize is None else (MOST_RESIZED, "")
        try:
            with warnings.catch_warnings(action="ignore"):
                with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                    width, height = image.size
                    if width * height > most:
                        raise ImageError(f"{where} claims {width}x{height} pixels, more than {most:,}{way}.")
                    if getattr(image, "is_animated", False) and image.format != "MPO":  # cameras add previews to a JPEG
                        raise ImageError(f"{where} has several frames: save the one that is meant.")
                    image.verify()  # a PNG's checksums, which decoding passes over
                with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                    ImageOps.exif_transpose(image, in_place=True)
                    pixels = as_pixels(image, where, self._channels, self._first, self._resize)
        except DataError:
            raise
        except Exception as error:  # a damaged image makes pillow's decoders raise nearly anything
            reason = "it is damaged or no image" if "BytesIO" in str(error) else brief(error)
            raise ImageError(f"{where} cannot be decoded: {reason}{_WAY_OUT}") from error
        self._first = pixels.shape
        return pixels


def as_pixels(
    image: PIL.Image.Image,
    where: str,
    channels: int | None,
    first: tuple[int, ...] | None,
    resize: Resize | None = None,
) -> Images:
    """A picture of pillow as uint8 (C, H, W), as :class:`Decoder` has it, with its errors."""
    mode = image.mode
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ImageError(f"{where} has mode {mode}: images are grey or RGB with 8 bits a channel.")
    alpha = mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if alpha and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise ImageError(f"{where} is partly transparent: save it with the background that is meant.")
    grey = channels == 1 if channels else mode in ("1", "L", "LA")
    if first is not None and first[0] != (1 if grey else 3):
        kinds = "is grey, but the first image is RGB" if grey else "is RGB, but the first image is grey"
        raise DataError(f"{where} {kinds}: `channels` makes them alike.")
    image = image.convert("L" if grey else "RGB")
    image = image if resize is None else resize(image)
    if first is not None and first[1:] != image.size[::-1]:
        sizes = f"{image.width}x{image.height} pixels, but the first image has {first[2]}x{first[1]}"
        raise DataError(f"{where} has {sizes}: `resize` WIDTHxHEIGHT brings them to one size.")
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if grey else pixels.transpose(2, 0, 1))
