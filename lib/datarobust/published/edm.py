"""Checkpoints of Karras et al. 2022 and Wang et al. 2023, ``edm-*.pkl``: which network, and its weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.datasets.extents import Extent, Reader
from datarobust.datasets.sources import Raw, file_sha256, raw_file
from datarobust.denoisers import assemble
from datarobust.diffusion.denoiser import NAME
from datarobust.diffusion.precondition import Edm, Ve, Vp, as_json
from datarobust.errors import ArtifactError, DataError
from datarobust.published.persistence import Container, Persistent, load
from datarobust.text import shown

MOST_BYTES: Final = 2 << 30
"""Of a checkpoint; the published ones have 0.22 GB."""
VERSION: Final = 6
"""Of the way of pickling, in all checkpoints of EDM."""
_DEEPEST: Final = 32
_WRAPPERS: Final[dict[str, type[Edm] | type[Vp] | type[Ve]]] = {"EDMPrecond": Edm, "VPPrecond": Vp, "VEPrecond": Ve}
_FIXED: Final = {"decoder_type": "standard", "label_dropout": 0, "use_fp16": False}
"""Arguments of the network that have one value here; other values of the last two change nothing in sampling."""
_KEPT: Final = (
    "augment_dim",
    "model_channels",
    "channel_mult",
    "channel_mult_emb",
    "num_blocks",
    "attn_resolutions",
    "dropout",
    "embedding_type",
    "channel_mult_noise",
    "encoder_type",
    "resample_filter",
)


@dataclass(frozen=True)
class EdmCheckpoint:
    """What a checkpoint holds.

    Attributes:
        arch: name and arguments, as artifacts have them.
        arrays: the state dict.
        sha256: of the file.
        source_sha256: of the program text that it carries and that was not run; None without one.
        ignored: names of what else the file holds.
    """

    arch: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    sha256: str
    source_sha256: str | None
    ignored: tuple[str, ...]


def read_edm_pickle(path: Path) -> EdmCheckpoint:
    """Read a checkpoint without running anything in it.

    The averaged network ``ema`` is taken. Its architecture comes from the arguments that it was made with, and names
    and shapes of its tensors are checked against that architecture in both directions.

    Raises:
        DataError: the file is no such checkpoint, is damaged, or wants something that no such checkpoint needs.
    """
    raw = raw_file(path)
    _demand_pickle(path, raw)
    held = load(raw)
    network = held.get("ema") if isinstance(held, dict) else held
    if not isinstance(network, Persistent):
        raise DataError(f"{shown(path)} is a pickle, but holds no averaged network 'ema': it is no checkpoint of EDM")
    arch = _arch(network, shown(path))
    arrays = dict(_tensors(network, "", shown(path), 0))
    try:
        assemble(arch, arrays, shown(path))
    except ArtifactError as error:
        raise DataError(str(error)) from error
    ignored = tuple(name for name in held if name != "ema") if isinstance(held, dict) else ()
    return EdmCheckpoint(arch, arrays, file_sha256(path), _source_digest(network.source), ignored)


def _demand_pickle(path: Path, raw: Raw) -> None:
    with raw.open() as file:
        start = file.read(START_BYTES)
    refuse_placeholder(path, start)
    if start.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{shown(path)} is an archive of torch.save, not a pickle of EDM: get the checkpoint as it was published"
        )
    if raw.size > MOST_BYTES:
        raise DataError(f"{shown(path)} has {raw.size:,} bytes, more than any checkpoint of EDM: get the file again")


def _arch(network: Persistent, where: str) -> dict[str, Any]:
    """Name and arguments of a wrapper and the network in it."""
    inner = _children(network, where).get("model")
    found = f"{network.class_name} of version {network.version}"
    if isinstance(inner, Persistent):
        found += f" around {inner.class_name}"
    fits = isinstance(inner, Persistent) and inner.class_name == "SongUNet"
    if network.class_name not in _WRAPPERS or network.version != VERSION or not fits:
        raise DataError(
            f"{where} holds {shown(found)}; read are {', '.join(_WRAPPERS)} of version {VERSION} around SongUNet"
        )
    assert isinstance(inner, Persistent)
    made = _arguments(inner, where)
    for name, value in _FIXED.items():
        if name == "decoder_type" and made.get(name, value) != value:
            raise DataError(f"{where} holds a network with {name} {made[name]!r}; read are those with {value!r}")
    arguments: dict[str, Any] = {
        "img_resolution": made.get("img_resolution"),
        "img_channels": made.get("in_channels"),
        "label_dim": made.get("label_dim", 0),
        **{name: _plain(made[name]) for name in _KEPT if name in made},
    }
    if made.get("out_channels") != made.get("in_channels"):
        raise DataError(f"{where} holds a network that makes other channels than it takes")
    form = _WRAPPERS[network.class_name]
    given: dict[str, Any] = {each.name: network.state[each.name] for each in fields(form) if each.name in network.state}
    for name, value in given.items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise DataError(f"{where} holds a network with {name} = {shown(repr(value))}, which is no number")
    return {"name": NAME, "arguments": {"precondition": as_json(form(**given)), **arguments}}


def _arguments(module: Persistent, where: str) -> dict[str, Any]:
    """The arguments that a module was made with."""
    found = module.state.get("_init_kwargs")
    if not isinstance(found, dict) or module.state.get("_init_args") not in ((), []):
        raise DataError(f"{where} does not tell the arguments of its network")
    return found


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _children(module: Persistent | Container, where: str) -> Mapping[str, Any]:
    found = module.state.get("_modules", {})
    if not isinstance(found, dict):
        raise DataError(f"{where} holds a network whose parts have no names")
    return found


def _tensors(
    module: Persistent | Container, prefix: str, where: str, depth: int
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Names and tensors, as PyTorch's ``state_dict`` has them: parameters, then buffers that persist, then parts."""
    if depth > _DEEPEST:
        raise DataError(f"{where} holds a network whose parts are nested without end")
    passing = module.state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in dict(module.state.get(kind) or {}).items():
            if tensor is None or (kind == "_buffers" and name in passing):
                continue
            if not isinstance(tensor, np.ndarray):
                raise DataError(f"{where} holds {shown(prefix + name)}, which is no tensor")
            yield prefix + name, tensor
    for name, part in _children(module, where).items():
        if part is None:
            continue
        if not isinstance(part, Persistent | Container):
            raise DataError(f"{where} holds {shown(prefix + name)}, which is no part of a network")
        yield from _tensors(part, f"{prefix}{name}.", where, depth + 1)


def _source_digest(source: str | Extent | None) -> str | None:
    if source is None:
        return None
    if isinstance(source, str):
        return hashlib.sha256(source.encode()).hexdigest()
    with Reader(Extent(source.raw, source.offset, source.length)) as reader:
        return hashlib.sha256(reader.read(source.length)).hexdigest()
