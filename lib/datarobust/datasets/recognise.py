"""Which format a source has, by its content. A new format is a module with a :class:`Source` and a row of the table.

One source needs no file: scikit-learn's real handwritten digits, 1,797 images of 8x8, are always there.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datarobust.datasets import cifar, idx, npz, parquet, unpickle
from datarobust.datasets.files import read_start
from datarobust.datasets.folder import FolderSource, is_zip_of_images
from datarobust.datasets.sources import Block, Labels, Layout, Names, Source, Spec
from datarobust.errors import DataError, UsageError
from datarobust.text import shown
from datarobust.types import Rows

Format = Literal["digits", "npz", "npy", "folder", "cifar", "ti500k", "idx", "parquet"]
DIGITS = 1797


class DigitsSource(Source):
    """The test part of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak 1998).

    It has 17 grey levels 0..16. A level v becomes the byte round(255 v / 16). No such value lies halfway but 127.5
    (v = 8), which goes up to 128; rising levels stay rising, so the order of l_inf distances of single pixels is kept.
    """

    published = "digits"

    def __init__(self) -> None:
        self.spec = Spec("digits", DIGITS, "images", (1, 8, 8), tuple("0123456789"))

    def digest(self) -> str:
        """sha256 of the levels as bytes, image by image, then of the labels as bytes."""
        levels, labels = self._raw
        return hashlib.sha256(levels.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()

    def unchanged(self) -> None:
        """They are always the same."""

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        levels, labels = self._raw
        if start < stop:
            images = (levels[start:stop].astype(np.int32) * 255 + 8) // 16
            yield {"images": images.astype(np.uint8), "labels": labels[start:stop]}

    @cached_property
    def _raw(self) -> tuple[npt.NDArray[np.uint8], Rows]:
        from sklearn.datasets import load_digits

        levels, labels = load_digits(return_X_y=True)
        if levels.shape != (DIGITS, 64) or levels.min() < 0 or levels.max() > 16:
            raise DataError(f"scikit-learn's digits have shape {levels.shape}, not ({DIGITS}, 64) of 0..16.")
        return levels.astype(np.uint8).reshape(DIGITS, 1, 8, 8), labels.astype(np.int64)


class _Reader(NamedTuple):
    title: str  # in sentences
    places: tuple[str, ...]  # word, file or folder
    source: Callable[..., Source]
    matches: Callable[[Path, bytes], bool] = lambda path, start: False  # ``start`` are the first bytes of a file

    @property
    def options(self) -> set[str]:
        """What the constructor takes beside the path."""
        return set(inspect.signature(self.source).parameters) - {"path"}


_READERS: Mapping[Format, _Reader] = {
    "digits": _Reader("the digits", ("word",), DigitsSource),
    "npz": _Reader("npz files", ("file",), npz.NpzSource, npz.looks_like),
    "npy": _Reader(".npy files", ("file",), npz.NpySource, npz.looks_like_npy),
    "folder": _Reader("folders of images", ("folder", "file"), FolderSource, is_zip_of_images),  # and any other folder
    "cifar": _Reader("CIFAR", ("file", "folder"), cifar.CifarSource, cifar.looks_like),
    "ti500k": _Reader("the TI500K pickle", ("file",), cifar.Ti500kSource, unpickle.looks_like),
    "idx": _Reader("idx files", ("file", "folder"), idx.IdxSource, idx.looks_like),
    "parquet": _Reader("Parquet files", ("file", "folder"), parquet.ParquetSource, parquet.looks_like),
}


def recognise(source: str) -> Format:
    """The format of ``source``: the word ``digits``, or what a file or folder holds (``./digits`` is a path).

    Raises DataError where it is none of them.
    """
    if source == "digits":
        return "digits"
    path = Path(source)
    place = "folder" if path.is_dir() else "file"
    if place == "folder" and (path / "zarr.json").exists():
        raise DataError(f"{shown(path)} is an artifact already: it needs no import.")
    start = b"" if place == "folder" else read_start(path)
    for name, reader in _READERS.items():
        if place in reader.places and reader.matches(path, start):
            return name
    if place == "folder":
        return "folder"
    titles = ", ".join(reader.title for reader in _READERS.values())
    raise DataError(f"{shown(source)} has an unsupported format; supported are {titles}.")


def open_source(
    source: str,
    *,
    format: Literal["auto"] | Format = "auto",
    name: str | None = None,
    classes: Names | None = None,
    keys: tuple[str, str] | None = None,
    layout: Layout | None = None,
    channels: int | None = None,
    split: str | None = None,
    labels: Labels | Path | None = None,
    resize: str | None = None,
    skip_broken: bool = False,
) -> Source:
    """The reader of ``source``; ``auto`` recognises its format. ``labels`` chooses labels, or is a file of them.

    Raises UsageError where an option does not belong to the format, DataError where the source is not what it claims.
    """
    chosen = recognise(source) if format == "auto" else format
    reader = _READERS[chosen]
    options: dict[str, Any] = {"classes": classes, "keys": keys, "layout": layout, "channels": channels}
    options |= {"split": split, "resize": resize, "skip_broken": skip_broken or None}
    options |= {"table": labels} if isinstance(labels, Path) else {"labels": labels}
    options = {option: value for option, value in options.items() if value is not None}
    for option in options:
        if option not in reader.options:
            *titles, last = [other.title for other in _READERS.values() if option in other.options]
            fitting = f"{', '.join(titles)} and {last}" if titles else last
            spelled = {"table": "`labels` FILE", "labels": f"`labels` {labels}"}.get(option, f"`{option}`")
            raise UsageError(f"{spelled} belongs to {fitting}, not to {reader.title}.")
    if channels not in (None, 1, 3):
        raise UsageError(f"`channels` is 1 or 3, not {channels}.")
    if chosen == "digits":
        if source != "digits":
            raise UsageError(f"`format` digits goes with the word digits, not with {shown(source)}.")
        made = reader.source()
    else:
        path = Path(source)
        place = "folder" if path.is_dir() else "file"
        start = read_start(path) if format != "auto" and place == "file" else b""
        if place not in reader.places:
            raise DataError(f"{shown(source)} is a {place}: `format` {chosen} does not fit.")
        if start and chosen == "folder" and not reader.matches(path, start):
            raise DataError(f"{shown(source)} is a file without images: `format` {chosen} does not fit.")
        made = reader.source(path, **options)
    if name is not None:
        made.spec = replace(made.spec, name=name)
    return made
