"""Files of ``torch.save``: read with ``weights_only``, which runs nothing of theirs, and in bounded memory.

PyTorch reads their pickle instruction by instruction, each of which may make an object of a hundred times its size, so
the instructions are limited; and archives may be compressed, so it is what they unpack to that must fit.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, Final

import torch

from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.datasets.sources import raw_file
from datarobust.errors import DataError
from datarobust.text import shown

MOST_BYTES: Final = 4 << 30
"""Of a file; WRN-70-16 has 1.1 GB."""
MOST_INSTRUCTIONS: Final = 2_000_000
"""Of the pickle of a file; a state dict takes about thirty a tensor."""
MOST_PICKLE: Final = 8 << 20
"""Bytes of the pickle in an archive, which is read at once; that of WRN-70-16 has 0.1 MB."""


class _Limited(io.BufferedReader):
    """A file from which so many single bytes may be read: PyTorch reads instructions one by one."""

    def __init__(self, raw: Any, most: int) -> None:
        super().__init__(raw)
        self._left = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size == 1:
            self._left -= 1
            if self._left < 0:
                raise pickle.UnpicklingError("it has more instructions than any file of weights")
        return super().read(size)


def load_weights(raw: Any, most: int) -> Any:
    """What ``torch.save`` wrote to an unbuffered stream, in at most so many instructions.

    Raises anything where that is more than tensors, or damaged.
    """
    with warnings.catch_warnings(), _Limited(raw, most) as file:
        warnings.simplefilter("ignore")  # of pickles that are refused in the next moment
        return torch.load(file, map_location="cpu", weights_only=True)


def read_weights(path: Path) -> dict[str, Any]:
    """The dict in a file.

    Raises:
        DataError: it is no file of torch.save, is damaged or too large, or asks for more than tensors.
    """
    where, raw = shown(path), raw_file(path)
    with raw.open() as file:
        refuse_placeholder(path, file.read(START_BYTES))
    _demand_small(path, raw.size)
    try:
        content = load_weights(path.open("rb", buffering=0), MOST_INSTRUCTIONS)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for {shown(name[1])}" if name else "is no file of torch.save, or asks for more than tensors"
        raise DataError(f"{where} {what}: only tensors are read, and nothing in it was run.") from error
    except Exception as error:  # of a damaged file PyTorch raises anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{where} is damaged or no file of torch.save ({first}): get the file again.") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{where} holds a {type(content).__name__}, not the weights of a network by name.")
    return content


def _demand_small(path: Path, size: int) -> None:
    """Refuse what would not fit, also where it is compressed."""
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                sizes = {member.filename: member.file_size for member in archive.infolist()}
        except zipfile.BadZipFile as error:
            raise DataError(f"{shown(path)} is damaged ({error}): get the file again.") from error
        size = sum(sizes.values())
        if any(name.endswith("data.pkl") and bytes_ > MOST_PICKLE for name, bytes_ in sizes.items()):
            raise DataError(f"{shown(path)} has a pickle of more than {MOST_PICKLE:,} bytes: it holds no weights.")
    if size > MOST_BYTES:
        raise DataError(f"{shown(path)} holds {size:,} bytes, more than any network that is read here.")
