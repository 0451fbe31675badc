"""Which format is this?  By content, never by hope: what is not recognised is refused with the list of what is read.

A new format is a module with a :class:`Source` and a row of the table here. Its options are those of the constructor.
"""

from __future__ import annotations

import inspect
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datarobust.datasets import cifar, idx, npz, parquet, unpickle
from datarobust.datasets.checks import read_start
from datarobust.datasets.digits import DigitsSource
from datarobust.datasets.folder import FolderSource
from datarobust.datasets.sources import Labels, Layout, Source, reading
from datarobust.datasets.ti500k import Ti500kSource
from datarobust.errors import DataError, UsageError
from datarobust.text import shown

Format = Literal["digits", "npz", "folder", "cifar", "ti500k", "idx", "parquet"]

_ALL = (
    "digits, an npz file, CIFAR-10 or CIFAR-100 as released (a folder or .tar.gz), the TI500K pickle, idx files, "
    "Parquet files, or a folder of class folders"
)


@dataclass(frozen=True)
class _Reader:
    """A format: its title in sentences, what its sources are, the class that reads them, and how they are recognised.

    ``matches`` takes a path and the first bytes of a file (none of a folder); without it nothing is recognised.
    """

    title: str
    places: tuple[Literal["word", "file", "folder"], ...]
    source: Callable[..., Source]
    matches: Callable[[Path, bytes], bool] | None = None

    @property
    def options(self) -> set[str]:
        """What the constructor takes beside the path and the name of the set."""
        return set(inspect.signature(self.source).parameters) - {"path", "name"}


_READERS: Mapping[Format, _Reader] = {
    "digits": _Reader("the digits", ("word",), DigitsSource),
    "npz": _Reader("npz files", ("file",), npz.NpzSource, npz.looks_like),
    "folder": _Reader("folders of images", ("folder",), FolderSource),  # any folder that is nothing else
    "cifar": _Reader("CIFAR", ("file", "folder"), cifar.CifarSource, lambda path, _: cifar.looks_like(path)),
    "ti500k": _Reader("the TI500K pickle", ("file",), Ti500kSource, lambda _, start: unpickle.looks_like(start)),
    "idx": _Reader("idx files", ("file", "folder"), idx.IdxSource, lambda path, _: idx.looks_like(path)),
    "parquet": _Reader(
        "Parquet files", ("file", "folder"), parquet.ParquetSource, lambda path, _: parquet.looks_like(path)
    ),
}


def recognise(source: str) -> Format:
    """The format of ``source``: the word ``digits``, or what a file or folder holds (``./digits`` is a path).

    Raises DataError where it is none of them.
    """
    if source == "digits":
        return "digits"
    path = Path(source)
    with reading(path):
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError(f"{shown(source)} is no regular file: an import reads it twice and cannot take a pipe.")
    place = "folder" if stat.S_ISDIR(mode) else "file"
    if place == "folder" and (path / "zarr.json").exists():
        raise DataError(f"{shown(path)} is a store already: no import is needed.")
    start = b"" if place == "folder" else read_start(path)
    for name, reader in _READERS.items():
        if place in reader.places and reader.matches is not None and reader.matches(path, start):
            return name
    if place == "folder":
        return "folder"
    raise DataError(f"{shown(source)} is no format that is read: {_ALL}.")


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
    chosen = recognise(source) if format == "auto" else format
    reader = _READERS[chosen]
    values = {
        "classes": classes,
        "keys": keys,
        "layout": layout,
        "channels": channels,
        "split": split,
        "labels": labels,
    }
    options: dict[str, Any] = {option: value for option, value in values.items() if value is not None}
    for option in options:
        if option not in reader.options:
            *titles, last = [other.title for other in _READERS.values() if option in other.options]
            fitting = f"{', '.join(titles)} and {last}" if titles else last
            raise UsageError(f"`{option}` belongs to {fitting}, not to {reader.title}.")
    if channels not in (None, 1, 3):
        raise UsageError(f"`channels` is 1 or 3, not {channels}.")
    if chosen == "digits":
        if source != "digits":
            raise UsageError(f"`format` digits goes with the word digits, not with {shown(source)}.")
        return reader.source(name=name)
    path = Path(source)
    if not path.exists():
        raise DataError(f"{shown(source)} does not exist.")
    if ("folder" if path.is_dir() else "file") not in reader.places:
        raise DataError(
            f"{shown(source)} is {'a folder' if path.is_dir() else 'a file'}: `format` {chosen} does not fit."
        )
    if format != "auto" and path.is_file():
        read_start(path)
    return reader.source(path, name=name, **options)
