"""Which format is this?  By content, never by hope: what is not recognised is refused with the list of what is read."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datarobust.datasets import cifar, idx, parquet, unpickle
from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.datasets.cifar import CifarSource
from datarobust.datasets.digits import DigitsSource
from datarobust.datasets.folder import FolderSource
from datarobust.datasets.idx import IdxSource
from datarobust.datasets.npz import NpzSource
from datarobust.datasets.parquet import ParquetSource
from datarobust.datasets.sources import Source
from datarobust.datasets.ti500k import Ti500kSource
from datarobust.errors import DataError, UsageError
from datarobust.text import shown

Format = Literal["digits", "npz", "folder", "cifar", "ti500k", "idx", "parquet"]
Labels = Literal["fine", "coarse"]
Layout = Literal["nhwc", "nchw"]

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_READ = (
    "digits, an npz file, CIFAR-10 or CIFAR-100 as released (a folder or .tar.gz), the TI500K pickle, idx files, "
    "Parquet files, or a folder of class folders"
)


@dataclass(frozen=True)
class _Reader:
    """A format: ``title`` in sentences, what its sources are, the options it takes, and its class."""

    title: str
    places: tuple[Literal["word", "file", "folder"], ...]
    options: tuple[str, ...]
    source: Callable[..., Source]


_READERS: Mapping[Format, _Reader] = {
    "digits": _Reader("the digits", ("word",), (), DigitsSource),
    "npz": _Reader("npz files", ("file",), ("keys", "layout", "classes"), NpzSource),
    "folder": _Reader("folders of images", ("folder",), ("channels", "classes"), FolderSource),
    "cifar": _Reader("CIFAR", ("file", "folder"), ("split", "labels", "classes"), CifarSource),
    "ti500k": _Reader("the TI500K pickle", ("file",), ("classes",), Ti500kSource),
    "idx": _Reader("idx files", ("file", "folder"), ("split", "classes"), IdxSource),
    "parquet": _Reader(
        "Parquet files", ("file", "folder"), ("keys", "channels", "split", "labels", "classes"), ParquetSource
    ),
}


def recognise(source: str) -> Format:
    """The format of ``source``: the word ``digits``, or what a file or folder holds (``./digits`` is a path).

    Raises DataError where it is none of them.
    """
    if source == "digits":
        return "digits"
    path = Path(source)
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{shown(source)} cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(state.st_mode):
        return _of_folder(path)
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{shown(source)} is no regular file: an import reads it twice and cannot take a pipe.")
    found = _of_file(path, _start(path))
    if found is None:
        raise DataError(f"{shown(source)} is no format that is read: {_READ}.")
    return found


def _start(path: Path) -> bytes:
    """The first bytes of a file. Raises DataError where they tell that it is not the data it is taken for."""
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}.") from error
    refuse_placeholder(path, start)
    return start


def _of_folder(path: Path) -> Format:
    if (path / "zarr.json").exists():
        raise DataError(f"{shown(path)} is a store already: no import is needed.")
    if cifar.looks_like(path):
        return "cifar"
    if idx.looks_like(path):
        return "idx"
    return "parquet" if parquet.looks_like(path) else "folder"


def _of_file(path: Path, start: bytes) -> Format | None:
    if start.startswith(_ZIP_STARTS) or path.suffix == ".npz":
        return "npz"
    if unpickle.looks_like(start):
        return "ti500k"
    if cifar.looks_like(path):
        return "cifar"
    if idx.looks_like(path):
        return "idx"
    return "parquet" if parquet.looks_like(path) else None


def open_source(
    source: str,
    *,
    format: Literal["auto"] | Format = "auto",
    name: str | None = None,
    classes: tuple[str, ...] | None = None,
    keys: tuple[str, str] | None = None,
    layout: Layout | None = None,
    channels: int | None = None,
    split: str | None = None,
    labels: Labels | None = None,
) -> Source:
    """The reader of ``source``; ``auto`` recognises its format.

    Raises UsageError where an option does not belong to the format, DataError where the source is not what it claims.
    """
    found = recognise(source) if format == "auto" else format
    reader = _READERS[found]
    asked = {"classes": classes, "keys": keys, "layout": layout, "channels": channels, "split": split, "labels": labels}
    given: dict[str, Any] = {option: value for option, value in asked.items() if value is not None}
    for option in given:
        if option not in reader.options:
            fitting = [other.title for other in _READERS.values() if option in other.options]
            raise UsageError(f"`{option}` belongs to {_joined(fitting)}, not to {reader.title}.")
    if channels not in (None, 1, 3):
        raise UsageError(f"`channels` is 1 or 3, not {channels}.")
    if found == "digits":
        if source != "digits":
            raise UsageError(f"`format` digits goes with the word digits, not with {shown(source)}.")
        return reader.source(name)
    path = Path(source)
    if not path.exists():
        raise DataError(f"{shown(source)} does not exist.")
    if ("folder" if path.is_dir() else "file") not in reader.places:
        raise DataError(
            f"{shown(source)} is {'a folder' if path.is_dir() else 'a file'}: `format` {found} does not fit."
        )
    if format != "auto" and path.is_file():
        _start(path)
    return reader.source(path, name=name, **given)


def _joined(titles: list[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
