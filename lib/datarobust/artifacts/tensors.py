"""Classifiers and denoisers: safetensors files with checksum, history and atomic birth."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datarobust.artifacts import durable
from datarobust.artifacts.history import (
    RESTORE,
    Blocks,
    Step,
    Summary,
    build_head,
    canonical,
    confirm_arrays,
    parse,
    read_head,
    sha256,
)
from datarobust.artifacts.kinds import KINDS
from datarobust.errors import ArtifactError
from datarobust.types import Array

# Dtypes of safetensors that are read and written, with NumPy's names; bfloat16 has none and is refused.
CODES = {"F16": "float16", "F32": "float32", "F64": "float64", "I64": "int64", "U8": "uint8", "BOOL": "bool"}
KEY = "datarobust"  # the one key of the metadata; several would be written in random order
_HEADER_BYTES = 1 << 26


class Tensors(dict[str, Array]):
    """A verified classifier or denoiser in memory: its state dict, and what it says about itself."""

    def __init__(self, summary: Summary, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.summary, self.path, self.kind = summary, summary.path, summary.kind
        self.digest, self.history, self.attributes = summary.digest, summary.history, summary.attributes


def save_tensors(
    path: Path,
    kind: str,
    tensors: Mapping[str, Array],
    *,
    attributes: Mapping[str, Any] | None = None,
    history: Sequence[Step],
    overwrite: bool = False,
) -> None:
    """Write a state dict as a safetensors artifact, whole or not at all; arguments and errors are those of `create`."""
    from safetensors.numpy import save

    path = durable.checked_output(Path(path))
    schema = KINDS.get(kind)
    if schema is None or schema.format != "safetensors":
        raise ArtifactError(f"{path} cannot be written: {kind!r} is not a kind of safetensors artifact")
    if not tensors:
        raise ArtifactError(f"{path} cannot be written: it would hold no tensor")
    plain: dict[str, Array] = {}
    for name, tensor in sorted(tensors.items()):
        if name == "__metadata__":
            raise ArtifactError(f"{path} cannot be written: a tensor cannot be called {name}")
        if tensor.dtype.name not in CODES.values():
            allowed = ", ".join(CODES.values())
            raise ArtifactError(f"{path} cannot be written: {name} has dtype {tensor.dtype}; allowed are {allowed}")
        plain[name] = np.require(tensor, tensor.dtype.newbyteorder("="), "C")
    arrays = {name: (tensor.dtype.name, tensor.shape) for name, tensor in plain.items()}
    blocks = {name: [sha256(tensor.reshape(-1).view(np.uint8))] for name, tensor in plain.items()}
    head = build_head(schema, attributes or {}, history, arrays, blocks, path)
    data = save(plain, {KEY: canonical(head).decode()})
    with durable.whole_or_absent(path, overwrite=overwrite) as partial, durable.os_errors(path):
        partial.write_bytes(data)


def load_tensors(path: Path, kind: str | Collection[str] | None = None) -> Tensors:
    """A safetensors artifact of a ``kind`` that will do, or of any, as writable arrays, every byte verified.

    Raises ArtifactError where it is not there, cut short, altered, or of another kind or version.
    """
    import safetensors

    deserialize: Any = safetensors.deserialize  # has no annotations
    path = Path(path)
    with _opened(path) as file:
        summary, blocks = _head(file, path, kind)
        file.seek(0)
        data = file.read()
    try:
        parts = deserialize(data)
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"{path} was altered or cut short ({error}): {RESTORE}") from error
    tensors: dict[str, Array] = {}
    for name, part in parts:
        dtype, shape = summary.arrays[name]
        if sha256(part["data"]) != blocks[name][0]:
            raise ArtifactError(f"{path} was altered (tensor {name} does not have the recorded sha256): {RESTORE}")
        if dtype == "bool" and part["data"].strip(b"\0\1"):
            raise ArtifactError(f"{path} holds a boolean in {name} that is neither 0 nor 1: {RESTORE}")
        tensors[name] = np.frombuffer(part["data"], dtype).reshape(shape)
    return Tensors(summary, tensors)


def peek_tensors(path: Path) -> Summary:
    """What a safetensors artifact says about itself; its metadata are verified, its tensors are not."""
    with _opened(path) as file:
        return _head(file, path, None)[0]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, whose bytes stay the same even if another takes its name meanwhile."""
    with durable.os_errors(path, "read"):
        if not path.is_file():
            raise ArtifactError(f"{path} is not a safetensors file" if path.exists() else f"{path} does not exist")
        with path.open("rb") as file:
            yield file


def _head(file: BinaryIO, path: Path, kind: str | Collection[str] | None) -> tuple[Summary, Blocks]:
    """The checked metadata of a file, and the hash of each tensor."""
    try:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_HEADER_BYTES, size - 8):
            raise ValueError("its header does not fit into it")
        text = file.read(length)
        content = parse(text)
        if json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode().ljust(length) != text:
            raise ValueError("its header is not spelled as it was written")
        if not isinstance(content, dict) or not isinstance(content.get("__metadata__"), dict):
            raise ValueError("it has no metadata")
        metadata = content.pop("__metadata__")
        if set(metadata) != {KEY} or not isinstance(metadata[KEY], str):
            raise ValueError("it was not written by datarobust; `model import` reads foreign files")
        arrays = {name: _described(name, entry) for name, entry in content.items()}
        attributes = parse(metadata[KEY].encode())
    except ValueError as error:
        raise ArtifactError(f"{path} is not a safetensors artifact, or was altered ({error}): {RESTORE}") from error
    summary, blocks = read_head(attributes, path, path, kind)
    if KINDS[summary.kind].format != "safetensors" or set(blocks) != set(arrays):
        raise ArtifactError(f"{path} was altered (its tensors are not those recorded): {RESTORE}")
    if any(len(hashes) != 1 for hashes in blocks.values()):
        raise ArtifactError(f"{path} was not written by datarobust: {RESTORE}")
    return confirm_arrays(summary, arrays, blocks, path), blocks


def _described(name: str, entry: object) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape of a tensor by its entry in the header."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name} does not have dtype, shape and data_offsets alone")
    code, shape = entry["dtype"], entry["shape"]
    if str(code) not in CODES:
        raise ValueError(f"tensor {name} has dtype {code!r}; read are {', '.join(CODES)}")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"tensor {name} has the shape {shape}")
    return CODES[str(code)], tuple(shape)
