"""Canonical JSON and the three hashes of an artifact: fingerprint, digest, seal.

ARTIFACTS.md defines them so that a stranger can recompute them; this is the only code that does.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from datarobust.errors import ArtifactError

_DEPTH = 64


def plain(value: object, where: str) -> Any:
    """``value`` as the types that JSON has, with NumPy scalars and tuples made ordinary.

    Args:
        value: what an attribute or a history step holds.
        where: what to call it in the error.

    Returns:
        None, bool, int, float, str, list or dict (keys are strings), nested.

    Raises:
        ArtifactError: NaN or an infinity, which JSON cannot hold, or another type.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArtifactError(f"{where} is {value}, which JSON cannot hold: leave it out or write null")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArtifactError(f"{where} has the key {key!r}: keys of attributes are strings")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(item, f"{where}[{place}]") for place, item in enumerate(value)]
    raise ArtifactError(f"{where} is of type {type(value).__name__}, which JSON cannot hold")


def canonical(value: object) -> bytes:
    """The one spelling of a JSON value that is hashed: sorted keys, no spaces, ASCII, finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def pretty(value: object) -> bytes:
    """The one spelling of a metadata file on disk: sorted keys, two spaces, ASCII, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def parse(text: bytes) -> Any:
    """Read JSON strictly.

    Raises:
        ValueError: not UTF-8, not JSON, NaN or an infinity in it, or nested beyond reason.
    """

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON number")

    try:
        value = json.loads(text.decode("utf-8"), parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(_DEPTH):
        level = [item for one in level for item in _items(one)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def _items(value: object) -> list[Any]:
    """The containers directly inside a container."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in inside if isinstance(item, dict | list)]


def sha256(data: Any) -> str:
    """The sha256 of a contiguous buffer, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(value: object) -> str:
    """A short name of a request: sha256 over the canonical JSON of its inputs' digests and its options.

    It serves as ``resume_key`` of a writer, as key of a journal and as the attribute ``request``.
    """
    return sha256(canonical(plain(value, "the request")))


def digest_of(arrays: Mapping[str, tuple[str, Sequence[int], Sequence[str]]]) -> str:
    """What an artifact *is*: sha256 over names, dtypes, shapes and the hashes of the bytes of its arrays.

    Args:
        arrays: name -> (dtype, shape, sha256 of each block in order). How many rows are one block is a function of
            the shape of a row alone (`layout.block_rows`), so the digest does not depend on how an array was written.
    """
    return sha256(
        canonical({name: [kind, list(shape), list(hashes)] for name, (kind, shape, hashes) in arrays.items()})
    )


def seal_of(attributes: Mapping[str, Any]) -> str:
    """What protects the metadata: sha256 over all attributes except the seal itself, the digest among them."""
    return sha256(canonical({name: value for name, value in attributes.items() if name != "seal"}))
