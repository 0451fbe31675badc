"""Bytes to read, wherever they lie: a file, or a member of an archive that is never unpacked."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datarobust.errors import DataError
from datarobust.text import shown


@dataclass(frozen=True)
class Raw:
    """``size`` bytes; ``where`` names them in sentences, ``open()`` is a new seekable stream at their start.

    Reading raises DataError where the bytes are damaged.
    """

    where: str
    size: int
    open: Callable[[], BinaryIO]


def raw_file(path: Path) -> Raw:
    """A regular file. Raises DataError where it is none, or where it cannot be read."""
    where = shown(path)

    def opened() -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error.strerror}.") from error

    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{where} is no regular file.")
    return Raw(where, state.st_size, opened)


def state_of(path: Path) -> str:
    """Place, size and time of change of a file: another text when it changed."""
    state = path.stat()
    return f"{str(path.resolve())!a}:{state.st_size}:{state.st_mtime_ns}"
