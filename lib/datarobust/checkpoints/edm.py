"""Checkpoints of Karras et al. 2022 and Wang et al. 2023, ``edm-*.pkl``: which network, and its weights.

They are pickles whose objects carry the source of their classes along (NVIDIA's ``torch_utils.persistence``), and their
own loader runs it. Here it is text: :class:`datarobust.datasets.unpickle.Unpickler` reads the file, such an object
becomes a record of its state (:class:`Persistent`), and the stream of bytes that holds a tensor's numbers goes to
``torch.load`` with ``weights_only``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from datarobust.checkpoints.models import assemble_denoiser
from datarobust.checkpoints.torchfiles import Checkpoint, load_weights, published_file
from datarobust.datasets import unpickle
from datarobust.datasets.files import file_sha256
from datarobust.datasets.unpickle import Name, Refusal, Unpickler
from datarobust.diffusion.denoiser import FORMS, NAME, as_json
from datarobust.errors import ArtifactError, DataError
from datarobust.text import shown

LEGACY: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 "  # begins a stream of torch.save that is no archive; those could swell
_MOST_BYTES: Final = 2 << 30  # of a checkpoint; the published ones have 0.22 GB
_MOST_PARTS: Final = 100_000  # modules and tensors of one network; the published ones have 1,100
_MOST: Final = 1 << 16  # of any size in the arguments of a network
_MOST_INSTRUCTIONS: Final = 4096  # of the stream of one tensor, which has fewer than 200
_VERSION: Final = 6  # of the way of pickling, in all checkpoints of EDM
_WRAPPERS: Final = {"EDMPrecond": FORMS["edm"], "VPPrecond": FORMS["vp"], "VEPrecond": FORMS["ve"]}
# fmt: off
_KEPT: Final = (
    "augment_dim", "model_channels", "channel_mult", "channel_mult_emb", "num_blocks", "attn_resolutions", "dropout",
    "embedding_type", "channel_mult_noise", "encoder_type", "resample_filter",
)
# fmt: on


def read_edm_pickle(path: Path) -> Checkpoint:
    """The averaged network ``ema`` of a checkpoint, without running anything in it.

    Its architecture comes from the arguments that it was made with, and is held against its tensors both ways. Raises
    DataError where the file is no such checkpoint, is damaged, or wants something that no such checkpoint needs.
    """
    where, raw = shown(path), published_file(path)
    with raw.open() as file:
        if file.read(4) == b"PK\x03\x04":
            raise DataError(f"{where} is an archive of torch.save, no pickle of EDM: get the checkpoint as published")
    content = unpickle.load(raw, EdmUnpickler, most_bytes=_MOST_BYTES)
    network = content.get("ema") if isinstance(content, dict) else content
    if not isinstance(network, Persistent):
        raise DataError(f"{where} is a pickle, but holds no averaged network 'ema': it is not a checkpoint of EDM")
    arch = _arch(network, where)
    tensors = _tensors(network, where)
    blocks, levels = arch["arguments"].get("num_blocks", 1), arch["arguments"].get("channel_mult", [1])
    if not isinstance(blocks, int) or not isinstance(levels, list) or blocks * len(levels) > len(tensors):
        raise DataError(f"{where} holds a network of more blocks than tensors: get the file again")
    try:
        assemble_denoiser(arch, tensors, where)
    except ArtifactError as error:
        raise DataError(str(error)) from error
    arrays = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy()
        for name, tensor in tensors.items()
    }
    ignored = tuple(name for name in content if name != "ema") if isinstance(content, dict) else ()
    return Checkpoint(arch, arrays, file_sha256(path), ignored)


def _arch(network: Persistent, where: str) -> dict[str, Any]:
    """Name and arguments of a wrapper and the network in it."""
    inner = _dict(network.state, "_modules", where).get("model")
    title = f"{network.class_name} of version {network.version}"
    if isinstance(inner, Persistent):
        title += f" around {inner.class_name}"
    known = network.class_name in _WRAPPERS and network.version == _VERSION
    if not known or not isinstance(inner, Persistent) or inner.class_name != "SongUNet":
        readable = f"{', '.join(_WRAPPERS)} of version {_VERSION} around SongUNet"
        raise DataError(f"{where} holds {shown(title[:200])}; read are {readable}")
    if "_init_kwargs" not in inner.state or inner.state.get("_init_args") not in ((), []):
        raise DataError(f"{where} does not tell the arguments of its network")
    names = ("img_resolution", "in_channels", "out_channels", "label_dim", "decoder_type", *_KEPT)
    kwargs = _dict(inner.state, "_init_kwargs", where)
    kwargs = {name: _argument(kwargs[name], name, where) for name in names if name in kwargs}
    if kwargs.get("decoder_type", "standard") != "standard":
        raise DataError(f"{where} holds a network with decoder_type {kwargs['decoder_type']!r}; read is 'standard'")
    if kwargs.get("out_channels") != kwargs.get("in_channels"):
        raise DataError(f"{where} holds a network that makes other channels than it takes")
    arguments: dict[str, Any] = {
        "img_resolution": kwargs.get("img_resolution"),
        "img_channels": kwargs.get("in_channels"),
        "label_dim": kwargs.get("label_dim", 0),
        **{name: kwargs[name] for name in _KEPT if name in kwargs},
    }
    form = _WRAPPERS[network.class_name]
    numbers = {each.name: network.state[each.name] for each in fields(form) if each.name in network.state}
    for name, value in numbers.items():
        if type(value) not in (int, float) or not abs(value) < 1e9:
            raise DataError(f"{where} holds a network whose {name} is not a number")
    return {"name": NAME, "arguments": {"precondition": as_json(form(**numbers)), **arguments}}


def _argument(value: object, name: str, where: str) -> object:
    """An argument of a network as JSON has it: None, a short text, a number of moderate size, or a short list."""
    match value:
        case None | bool():
            return value
        case int() | float() if abs(value) <= _MOST:
            return value
        case str() if len(value) < 100:
            return value
        case [*items] if len(items) < 100 and not any(isinstance(item, list | tuple) for item in items):
            return [_argument(item, name, where) for item in items]
    raise DataError(f"{where} holds a network whose argument {shown(name)} makes no sense")


def _dict(state: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """A dict in the state of a module."""
    value = state.get(key, {})
    if not isinstance(value, dict):
        raise DataError(f"{where} holds a network whose {key} (arguments of its network, parts, tensors) have no names")
    return value


def _tensors(network: Persistent, where: str) -> dict[str, Tensor]:
    """Names and tensors, as PyTorch's ``state_dict`` has them: parameters, then buffers that persist, then parts."""
    tensors: dict[str, Tensor] = {}
    parts: list[tuple[str, object]] = [("", network)]
    for _ in range(_MOST_PARTS):
        if not parts:
            return tensors
        prefix, part = parts.pop()
        if not isinstance(part, Persistent | Container):
            raise DataError(f"{where} holds {shown(prefix[:99])}, which is no part of a network")
        passing = part.state.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for name, tensor in _dict(part.state, kind, where).items():
                if tensor is None or (kind == "_buffers" and isinstance(passing, set) and name in passing):
                    continue
                if not isinstance(tensor, Tensor):
                    raise DataError(f"{where} holds {shown((prefix + name)[:99])}, which is no tensor")
                tensors[prefix + name] = tensor
        inner = [(f"{prefix}{name}.", each) for name, each in _dict(part.state, "_modules", where).items()]
        parts += [each for each in reversed(inner) if each[1] is not None]
    raise DataError(f"{where} holds a network whose parts are nested without end")


@dataclass
class Persistent:
    """An object of a class that carries its source along, which is passed over: its attributes."""

    class_name: str  # as the file has it; nobody looks for that class
    version: int  # of the way of pickling
    state: dict[str, Any]


@dataclass
class Container:
    """A module of PyTorch that only holds others; its state comes after it."""

    state: dict[str, Any] = field(default_factory=dict)


class EdmUnpickler(Unpickler):
    """What reads the pickle; every object in it becomes a dict, a set, a tensor, Persistent or Container."""

    # fmt: off
    names: ClassVar[frozenset[str]] = (Unpickler.names - {"numpy.ndarray", "numpy.core.multiarray._reconstruct"}) | {
        "torch_utils.persistence._reconstruct_persistent_obj", "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter", "torch.storage._load_from_bytes", "collections.OrderedDict",
        "dnnlib.util.EasyDict", "torch.nn.modules.container.ModuleDict", "torch.nn.modules.container.ModuleList",
        "torch.nn.modules.container.Sequential", "builtins.set",
    }
    # fmt: on
    instructions: ClassVar[Mapping[int, Callable[[Any], object]]] = {
        **Unpickler.instructions,
        0x81: lambda self: self._new_object(),
        0x8F: lambda self: self.append(set()),
        0x90: lambda self: self._add_items(),
    }
    unknown: ClassVar[str] = (
        "which no checkpoint of EDM is known to need; it is refused, and nothing of it was run: if the file is from "
        "its authors, report the name"
    )

    def called(self, name: str, arguments: tuple[object, ...]) -> object:
        """What a pickle gets for a call. Raises Refusal for arguments that no checkpoint has."""
        match name.rpartition(".")[2], arguments:
            case "_reconstruct_persistent_obj", (dict(meta),):
                match meta:
                    case {"type": "class", "version": int(version), "class_name": str(name), "state": dict(state)}:
                        return Persistent(name, version, state)
                raise Refusal("has an object of torch_utils.persistence without a class, a version or a state")
            case "_load_from_bytes", (bytes(data),):
                self.spend(len(data))
                return _storage(data)
            case "_rebuild_tensor_v2", (torch.TypedStorage() as storage, offset, tuple(size), tuple(stride), _, _):
                return _view(storage, offset, size, stride)
            case "_rebuild_parameter", (Tensor() as tensor, _, _):
                return tensor
            case "OrderedDict" | "EasyDict", ():
                return {}
            case "OrderedDict" | "EasyDict", ([*pairs],):
                if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
                    raise Refusal("has a dict of what are no pairs")
                self.append({})
                self._update([item for pair in pairs for item in pair])  # type: ignore[attr-defined]
                return self.stack.pop()
            case "set", ([*items],):
                return _names(items)
        return super().called(name, arguments)

    def built(self, target: object, state: object) -> None:
        """Set the state of a container. Raises Refusal for other states."""
        if isinstance(target, Container) and isinstance(state, dict):
            target.state = state
        else:
            super().built(target, state)

    def _new_object(self) -> None:
        arguments, cls = self.stack.pop(), self.stack.pop()
        name = cls.name.rpartition(".")[2] if isinstance(cls, Name) and arguments == () else ""
        if name in ("ModuleDict", "ModuleList", "Sequential"):
            self.append(Container())
        elif name in ("OrderedDict", "EasyDict"):
            self.append({})
        else:
            raise Refusal("makes an object of what is not a class, or with arguments")

    def _add_items(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise Refusal("adds to what is not a set")
        self.stack[-1].update(_names(items))


def _names(items: list[object]) -> set[object]:
    if not all(isinstance(item, str) or (type(item) is int and abs(item) < 1 << 31) for item in items):
        raise Refusal("has a set of what are no names")
    return set(items)


def _storage(data: bytes) -> torch.TypedStorage:
    """The numbers of a tensor that was pickled without ``torch.save``. Raises Refusal where they are none."""
    if not data.startswith(LEGACY):
        raise Refusal("has a tensor whose bytes are no stream of PyTorch")
    try:
        storage = load_weights(io.BytesIO(data), _MOST_INSTRUCTIONS)
    except Exception as error:  # of a stream by somebody else PyTorch raises anything
        raise Refusal("has a tensor whose bytes PyTorch does not read, or that wants more than numbers") from error
    if not isinstance(storage, torch.TypedStorage):
        raise Refusal("has a tensor whose bytes are something else")
    return storage


def _view(storage: torch.TypedStorage, offset: Any, size: tuple[Any, ...], stride: tuple[Any, ...]) -> Tensor:
    """The tensor that lies in a storage, without a copy. Raises Refusal where it reaches out of it."""
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > 16 or any(type(n) is not int or not 0 <= n < 1 << 63 for n in numbers):
        raise Refusal("has a tensor of no shape")
    elements = torch.empty(0, dtype=storage.dtype).set_(storage)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if count > len(elements) or (count and last >= len(elements)):
        raise Refusal("has a tensor that reaches out of its storage")
    return elements.as_strided(size, stride, offset) if count else elements.new_empty(size)
