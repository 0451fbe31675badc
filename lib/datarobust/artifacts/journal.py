"""The state of a long computation, kept for the next run of the same request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarobust.artifacts import durable
from datarobust.artifacts.format import canonical, parse, sha256

_MAGIC = b"datarobust journal 1\n"
_HEAD = len(_MAGIC) + 64 + 1
_KINDS = "biuf"


class Journal:
    """Arrays in ``.NAME.journal`` beside the output ``NAME``; at every moment one whole state, or none.

    Hold the output's `Lock` while using it.

    Args:
        path: the output that the computation works for.
        key: names the request, for instance `format.fingerprint` of the inputs' digests and the options. A journal
            of another request is removed, and so is one that is not whole.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = durable.hidden(durable.checked_output(Path(path)), "journal")
        self._output = Path(path)
        self.key = key

    def load(self) -> dict[str, NDArray[Any]] | None:
        """The arrays of the last `save` of the same request, writable; None if there are none.

        Raises:
            ArtifactError: the file cannot be read.
        """
        with durable.os_errors(self._output, "resumed"):
            try:
                data = np.fromfile(self.path, np.uint8)
            except FileNotFoundError:
                return None
        arrays = self._decode(data)
        if arrays is None:
            self.discard()
        return arrays

    def save(self, arrays: Mapping[str, NDArray[Any] | int | float]) -> None:
        """Replace the state at once: after a crash the old or the new one is there, whole.

        Args:
            arrays: name -> array of numbers or booleans, of any shape; plain numbers become arrays of no dimension.

        Raises:
            ArtifactError: the system refuses, for instance because the disk is full.
            TypeError: an array that holds objects.
        """
        parts = {name: np.asarray(value) for name, value in arrays.items()}
        for name, part in parts.items():
            if part.dtype.kind not in _KINDS:
                raise TypeError(f"a journal cannot hold {name} of dtype {part.dtype}")
        contents = [[name, part.dtype.str, list(part.shape)] for name, part in parts.items()]
        header = canonical({"key": self.key, "arrays": contents}) + b"\n"
        pieces: list[Any] = [
            header,
            *(np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in parts.values()),
        ]
        total = hashlib.sha256()
        for piece in pieces:
            total.update(piece)
        with durable.os_errors(self._output):
            durable.replace_file(self.path, _MAGIC, total.hexdigest().encode(), b"\n", *pieces)

    def discard(self) -> None:
        """Remove the state, because the work is done or is not wanted."""
        with durable.os_errors(self._output):
            self.path.unlink(missing_ok=True)
            self.path.with_name(f"{self.path.name}.new").unlink(missing_ok=True)

    def _decode(self, data: NDArray[np.uint8]) -> dict[str, NDArray[Any]] | None:
        """The arrays in the bytes of a journal file, or None if it is torn or belongs to another request."""
        if data.size < _HEAD or data[: len(_MAGIC)].tobytes() != _MAGIC:
            return None
        body = data[_HEAD:]
        if data[len(_MAGIC) : _HEAD].tobytes() != sha256(body).encode() + b"\n":
            return None
        end = int(np.argmax(body == ord("\n")))
        header = parse(body[:end].tobytes())  # its checksum is right, so it is what `save` wrote
        if header["key"] != self.key:
            return None
        arrays: dict[str, NDArray[Any]] = {}
        start = end + 1
        for name, dtype, shape in header["arrays"]:
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            arrays[name] = body[start : start + size].copy().view(dtype).reshape(shape)
            start += size
        return arrays
