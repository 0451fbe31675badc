"""Which format is this?  By content, never by hope: what is not recognised is refused with the list of what is read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Literal

from datarobust.datasets.sources import Source
from datarobust.datasets.text import shown
from datarobust.errors import DataError, UsageError

Format = Literal["digits", "npz", "folder"]

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


def recognise(source: str) -> Format:
    """The format of ``source``: the word ``digits``, an npz file or a folder of images (``./digits`` is a path).

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
        if (path / "zarr.json").exists():
            raise DataError(f"{shown(source)} is a store already: no import is needed.")
        return "folder"
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{shown(source)} is no regular file: an import reads it twice and cannot take a pipe.")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{shown(source)} cannot be read: {error.strerror}.") from error
    if start in _ZIP_STARTS or path.suffix == ".npz":
        return "npz"
    raise DataError(f"{shown(source)} is no format that is read: digits, an npz file, or a folder of class folders.")


def open_source(
    source: str,
    *,
    format: Literal["auto"] | Format = "auto",
    name: str | None = None,
    classes: tuple[str, ...] | None = None,
    keys: tuple[str, str] | None = None,
    layout: Literal["nhwc", "nchw"] | None = None,
    channels: int | None = None,
) -> Source:
    """The reader of ``source``; ``auto`` recognises its format.

    Raises UsageError where an option does not belong to the format, DataError where the source is not what it claims.
    """
    found = recognise(source) if format == "auto" else format
    if format == "digits" and source != "digits":
        raise UsageError(f"--format digits goes with the word digits, not with {shown(source)}.")
    if found != "npz" and (keys or layout):
        raise UsageError("--keys and --layout belong to npz files.")
    if found != "folder" and channels is not None:
        raise UsageError("--channels belongs to folders of images.")
    if channels not in (None, 1, 3):
        raise UsageError(f"--channels is 1 or 3, not {channels}.")
    if found == "digits":
        from datarobust.datasets.digits import DigitsSource

        if classes is not None:
            raise UsageError("The digits have their class names; --classes belongs to files.")
        return DigitsSource(name)
    path = Path(source)
    if not path.exists():
        raise DataError(f"{shown(source)} does not exist.")
    if path.is_dir() != (found == "folder"):
        raise DataError(
            f"{shown(source)} is {'a folder' if path.is_dir() else 'a file'}: --format {found} does not fit."
        )
    if found == "npz":
        from datarobust.datasets.npz import NpzSource

        return NpzSource(path, keys=keys, layout=layout, classes=classes, name=name)
    from datarobust.datasets.folder import FolderSource

    return FolderSource(path, channels=channels, classes=classes, name=name)
