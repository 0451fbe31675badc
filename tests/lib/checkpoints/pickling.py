"""Checkpoints as Karras et al. pickle them, made of our own denoisers: the same names, nesting and kinds of values."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from datarobust.diffusion.denoiser import Denoiser, Edm
from datarobust.networks.song_unet import DDPMPP, SongUNet

SOURCE = "import torch\n" + "# a module's whole source, longer than 4 KiB\n" * 200
_CLASSES = {"Block": "UNetBlock", "Conv": "Conv2d", "Norm": "GroupNorm", "Linear": "Linear"}
_WRAPPERS = {"edm": "EDMPrecond", "vp": "VPPrecond", "ve": "VEPrecond"}


def small(label_dim: int = 3, **more: Any) -> Denoiser:
    """A denoiser of 8x8 images with random weights."""
    arguments = {"img_resolution": 8, "img_channels": 1, "augment_dim": 9, "model_channels": 8, "channel_mult": [1, 2]}
    arguments |= {"num_blocks": 1, "attn_resolutions": [4], **DDPMPP, **more}
    denoiser = Denoiser(SongUNet(label_dim=label_dim, **arguments), Edm())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in denoiser.state_dict().values():
            tensor.normal_(generator=generator)
    return denoiser


class Persistent:
    """What pickles as an object of a class that carries its source along."""

    def __init__(self, class_name: str, state: dict[str, Any], version: int = 6, source: str = SOURCE) -> None:
        self.meta = {"type": "class", "version": version, "module_src": source, "class_name": class_name}
        self.meta["state"] = state

    def __reduce__(self) -> Any:
        return _reconstruct_persistent_obj, (self.meta,)


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("run")


class EasyDict(dict):  # type: ignore[type-arg]
    """A dict of theirs."""


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
EasyDict.__module__ = "dnnlib.util"


@contextmanager
def their_modules() -> Iterator[None]:
    """Modules whose names their pickles have, for as long as a pickle is made."""
    made = {
        name: types.ModuleType(name) for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    }
    vars(made["torch_utils.persistence"])["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    vars(made["dnnlib.util"])["EasyDict"] = EasyDict
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def network(denoiser: Denoiser, **changes: Any) -> Persistent:
    """The denoiser as an object that pickles like theirs."""
    arguments = denoiser.model.arguments
    channels = arguments["img_channels"]
    inner = {name: value for name, value in arguments.items() if name != "img_channels"}
    inner |= {"in_channels": channels, "out_channels": channels, "decoder_type": "standard", "label_dropout": 0}
    form = denoiser.precondition
    state = _state(denoiser) | dict(form.__dict__) | {"label_dim": denoiser.classes, "use_fp16": False}
    state |= {"sigma_min": 0, "sigma_max": float("inf")} if form.name == "edm" else {}
    state |= {"_init_args": (), "_init_kwargs": {"img_channels": channels, "model_type": "SongUNet", **inner}}
    model = _converted(denoiser.model)
    model.meta["class_name"] = "SongUNet"
    model.meta["state"] |= {"_init_args": (), "_init_kwargs": inner} | changes.pop("inner", {})
    state["_modules"] = OrderedDict(model=model)
    return Persistent(_WRAPPERS[form.name], state | changes.pop("state", {}), **changes)


def dump(value: object, protocol: int = 4) -> bytes:
    """The pickle of a checkpoint."""
    with their_modules():
        return pickle.dumps(value, protocol)


def checkpoint(denoiser: Denoiser, **changes: Any) -> dict[str, Any]:
    """All that a training of theirs saves."""
    kwargs = EasyDict(class_name="training.dataset.ImageFolderDataset", xflip=False)
    loss = Persistent("EDMLoss", {"P_mean": -1.2, "P_std": 1.2, "sigma_data": np.float64(0.5)})
    return {"ema": network(denoiser, **changes), "loss_fn": loss, "dataset_kwargs": kwargs}


def _converted(module: nn.Module) -> Any:
    if isinstance(module, nn.ModuleDict):
        found = nn.ModuleDict()
        found._modules = {name: _converted(part) for name, part in module._modules.items()}  # type: ignore[misc]
        return found
    return Persistent(_CLASSES.get(type(module).__name__, type(module).__name__), _state(module))


def _state(module: nn.Module) -> dict[str, Any]:
    state = dict(vars(nn.Module()))
    state["_parameters"] = dict(module._parameters)
    state["_buffers"] = dict(module._buffers)
    state["_non_persistent_buffers_set"] = set(module._non_persistent_buffers_set)
    state["_modules"] = {name: _converted(part) for name, part in module._modules.items() if part is not None}
    return state | {"skip_scale": np.sqrt(0.5), "training": False}


class Evil:
    """Runs a command when a pickle of it is read as Python does."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


def stream(value: object, legacy: bool = True) -> bytes:
    """What ``torch.save`` writes."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()
