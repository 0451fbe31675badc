"""The state of a long computation, kept beside its output for the next run of the same request."""

from __future__ import annotations

import glob
import hashlib
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from datarobust.artifacts import durable
from datarobust.artifacts.history import canonical, parse
from datarobust.types import Array

_KEY = "datarobust"


class Resume:
    """Named arrays in ``.NAME.resume`` beside the output ``NAME``: at every moment one whole state, or none.

    The file is a safetensors file, replaced at once: after a crash the state before or the new one is there. Its
    metadata name the request, a `fingerprint`, and have the sha256 of each array. A state of another request, or a
    damaged one, is removed and never used. Hold the output's lock while using it. Of ``size`` processes each keeps a
    state of its own, as ``.NAME.3of8.resume``. States are `due` ``every`` so many seconds.
    """

    def __init__(self, output: Path, request: str, rank: int = 0, size: int = 1, every: float = 20.0) -> None:
        self.output = durable.checked_output(Path(output))
        self.request = request
        self.every = every
        self.path = durable.hidden(self.output, "resume" if rank == 0 else f"{rank}of{size}.resume")
        self._saved = time.monotonic()

    def part(self, name: str) -> Resume:
        """A state of one part of the computation, whichever process works at it; discarded with the rest."""
        part = Resume(self.output, self.request, every=self.every)
        part.path = durable.hidden(self.output, f"part-{name}.resume")
        return part

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved >= self.every

    @property
    def left(self) -> bool:
        """Whether some process has left a state, be it of another request."""
        return bool(self._states("*of*", "part-*"))

    def load(self) -> dict[str, Array] | None:
        """The arrays of the last `save` of this request, writable; None if there are none."""
        return self._load(self.path)

    def load_all(self) -> list[dict[str, Array]]:
        """The states of this request that any process has left, this process's first."""
        paths = [self.path, *(path for path in self._states("*of*") if path != self.path)]
        return [state for path in paths if (state := self._load(path)) is not None]

    def load_journal(self) -> dict[str, Array] | None:
        """The arrays of this request that version 0.1 left in ``.NAME.journal``; None if there are none.

        The line ``datarobust journal 1``; the sha256 of all that follows its line; a line of JSON with the request and
        name, dtype and shape of each array; their bytes. `discard` removes it.
        """
        try:
            mark, digest, body = durable.hidden(self.output, "journal").read_bytes().split(b"\n", 2)
            if mark != b"datarobust journal 1" or digest != hashlib.sha256(body).hexdigest().encode():
                return None
            head, rest = body.split(b"\n", 1)
            described, arrays, start = parse(head), {}, 0
            if described["key"] != self.request:
                return None
            for name, code, shape in described["arrays"]:
                dtype, count = np.dtype(code), math.prod(shape)
                arrays[name] = np.frombuffer(rest, dtype, count, start).reshape(shape).copy()
                start += dtype.itemsize * count
        except (OSError, ValueError, TypeError, LookupError):  # none, or bytes that version 0.1 did not write
            return None
        return arrays

    def save(self, arrays: Mapping[str, Array | int | float]) -> None:
        """Replace the state at once with arrays of numbers or booleans; it is on the disk when this returns.

        Raises:
            ArtifactError: the system refuses, for instance because the disk is full; the state before is still there.
        """
        from safetensors.numpy import save

        whole = {}
        for name, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"a state cannot hold {name} of dtype {array.dtype}")
            whole[name] = np.require(array, array.dtype.newbyteorder("="), "C")
        head = canonical({"request": self.request, "sha256": _hashes(whole)}).decode()
        with durable.os_errors(self.output):
            durable.replace_file(self.path, save(whole, {_KEY: head}))
        self._saved = time.monotonic()

    def discard(self) -> None:
        """Remove the states of all processes and parts, and journals of version 0.1: the work is done or not wanted."""
        journals = self._siblings("journal", "*of*", "[ab]", "*-*")
        self._remove([self.path, *self._states("*of*", "part-*"), *journals])

    def discard_part(self) -> None:
        """Remove this state alone."""
        self._remove([self.path])

    def _remove(self, paths: Iterable[Path]) -> None:
        with durable.os_errors(self.output):
            for path in paths:
                path.unlink(missing_ok=True)
                path.with_name(f"{path.name}.new").unlink(missing_ok=True)

    def _states(self, *parts: str) -> list[Path]:
        """Files of states that are there, also of other processes and parts."""
        return [path for path in self._siblings("resume", *parts) if path.is_file()]

    def _siblings(self, role: str, *parts: str) -> list[Path]:
        """Hidden files of the output that have this role: its own, and those there are of parts with such names."""
        name, folder = glob.escape(self.output.name), self.output.parent
        others = sorted(path for part in parts for path in folder.glob(f".{name}.{part}.{role}"))
        return [durable.hidden(self.output, role), *others]

    def _load(self, path: Path) -> dict[str, Array] | None:
        with durable.os_errors(self.output, "resumed"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
            arrays = self._decoded(data)
            if arrays is None:
                path.unlink(missing_ok=True)
        return arrays

    def _decoded(self, data: bytes) -> dict[str, Array] | None:
        """The arrays in the bytes of a state; None if they are damaged or belong to another request."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            length = int.from_bytes(data[:8], "little")
            head = parse(parse(data[8 : 8 + length])["__metadata__"][_KEY].encode())
            if head["request"] != self.request:
                return None
            arrays = load(data)
            return arrays if head == {"request": self.request, "sha256": _hashes(arrays)} else None
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, SafetensorError):
            return None  # bytes that `save` did not write


def _hashes(arrays: Mapping[str, Array]) -> dict[str, str]:
    """sha256 of each array, its dtype and shape included."""
    hashes = {}
    for name, array in arrays.items():
        hashed = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
        hashed.update(array.reshape(-1).view(np.uint8).data)
        hashes[name] = hashed.hexdigest()
    return hashes
