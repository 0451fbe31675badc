"""Classifiers that others publish as files of ``torch.save``: which network, and its weights.

Read are state dicts of networks that this project has: the checkpoints of Wang et al. 2023, whose names begin with
``module.0.`` and which hold averaged and raw weights, and those of RobustBench, whose names have no prefix. PyTorch
reads them with ``weights_only``: what asks for anything but tensors is refused, and nothing of it is run.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datarobust.classifiers import assemble
from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.datasets.sources import file_sha256, raw_file
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.runs.sets import PUBLISHED
from datarobust.text import shown

Arrays = dict[str, npt.NDArray[Any]]
MOST_BYTES: Final = 4 << 30
"""Of a checkpoint; WRN-70-16 has 1.1 GB."""
AVERAGED, RAW = "model_state_dict", "unaveraged_model_state_dict"
"""Keys of Wang et al. 2023."""
_HOLDERS: Final = (AVERAGED, "state_dict", "model", "net")
"""Keys under which a checkpoint may have its state dict."""
_PREFIXES: Final = ("module.", "0.", "model.", "_orig_mod.")
"""What wrappers put in front of every name."""
NORMALISATIONS: Final = {"cifar10": PUBLISHED[0], "cifar100": PUBLISHED[1], "none": None}


@dataclass(frozen=True)
class Checkpoint:
    """What a published file holds.

    Attributes:
        arch: name and arguments, as artifacts have them.
        arrays: the state dict, without prefixes.
        averaged: whether these are averaged weights; None where the file does not say.
        epoch: after which they were saved, where it says.
        sha256: of the file.
        ignored: names of what else it holds.
        normalisation: as it was taken: cifar10, cifar100 or none.
    """

    arch: dict[str, Any]
    arrays: Arrays
    averaged: bool | None
    epoch: int | None
    sha256: str
    ignored: tuple[str, ...]
    normalisation: str


def read_checkpoint(
    path: Path, *, arch: str | None = None, raw: bool = False, normalisation: str | None = None
) -> Checkpoint:
    """Read a published classifier without running anything in it.

    Args:
        path: the file.
        arch: name of the network, where its tensors are not to tell.
        raw: the weights before averaging, where there are both.
        normalisation: of images within the network: cifar10, cifar100 or none. Without it the one that wide residual
            networks of Wang et al. have for as many classes.

    Raises:
        DataError: it is no such file, is damaged, or has other names or shapes than its network.
        UsageError: normalisation or network cannot be told from the file.
    """
    where = shown(path)
    held = _loaded(path)
    state, averaged, ignored = _state(held, raw, where)
    arrays = _arrays(state, where)
    found = _arch(arrays, arch, normalisation, where)
    try:
        assemble(found[0], arrays, where)
    except ArtifactError as error:
        raise DataError(f"{error}: name another network with `arch`, or get the file again.") from error
    epoch = held.get("epoch")
    return Checkpoint(
        found[0], arrays, averaged, epoch if type(epoch) is int else None, file_sha256(path), ignored, found[1]
    )


def _loaded(path: Path) -> dict[str, Any]:
    """The dictionary in a file of torch.save."""
    raw = raw_file(path)
    with raw.open() as file:
        refuse_placeholder(path, file.read(START_BYTES))
    _demand_small(path, raw.size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are refused in the next moment
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for {shown(wanted[1])}" if wanted else "is no file of torch.save, or asks for more than tensors"
        raise DataError(f"{shown(path)} {what}: only tensors are read, and nothing in it was run.") from error
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{shown(path)} is damaged or no file of torch.save ({first}): get the file again.") from error
    if not isinstance(held, dict) or not held:
        raise DataError(f"{shown(path)} holds a {type(held).__name__}, not the weights of a network by name.")
    return held


def _demand_small(path: Path, size: int) -> None:
    """Refuse what would not fit, also where it is compressed."""
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except zipfile.BadZipFile as error:
            raise DataError(f"{shown(path)} is damaged ({error}): get the file again.") from error
    if size > MOST_BYTES:
        raise DataError(f"{shown(path)} holds {size:,} bytes, more than any classifier that is read here.")


def _state(held: Mapping[str, Any], raw: bool, where: str) -> tuple[Mapping[str, Any], bool | None, tuple[str, ...]]:
    """The state dict, whether it is averaged, and the names of what is passed over."""
    if raw and RAW not in held:
        raise UsageError(f"{where} has no weights before averaging ({RAW}): leave out `raw`.")
    key = RAW if raw else next((name for name in _HOLDERS if isinstance(held.get(name), Mapping)), None)
    if key is None:
        return held, None, ()
    state = held[key]
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{where} has no weights under {key}.")
    return state, (key == AVERAGED if RAW in held else None), tuple(sorted(str(name) for name in held if name != key))


def _arrays(state: Mapping[str, Any], where: str) -> Arrays:
    """Tensors by name without prefix: floating-point numbers as float32, whole ones as int64."""
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise DataError(f"{where} holds {shown(str(name))}, which is no tensor: it is no state dict.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise DataError(f"{where} holds {shown(name)} in a form that is not read here: {tensor.layout}.")
    names = list(state)
    plain = names
    while prefix := next((each for each in _PREFIXES if all(name.startswith(each) for name in plain)), None):
        plain = [name.removeprefix(prefix) for name in plain]
    arrays = {}
    for name, old in zip(plain, names, strict=True):
        tensor = state[old].detach()
        array = tensor.float().numpy() if tensor.is_floating_point() else tensor.long().numpy()
        if not np.isfinite(array).all():
            raise DataError(f"{where} holds numbers in {shown(old)} that are not finite: get the file again.")
        arrays[name] = array
    return arrays


def _arch(arrays: Arrays, name: str | None, normalisation: str | None, where: str) -> tuple[dict[str, Any], str]:
    """The architecture that the tensors tell, and which normalisation it has."""
    shapes = {key: array.shape for key, array in arrays.items()}
    wide = "init_conv.weight" in shapes
    first, last = ("init_conv.weight", "logits.weight") if wide else ("conv1.weight", "linear.weight")
    if len(shapes.get(first, ())) != 4 or len(shapes.get(last, ())) != 2:
        some = ", ".join(shown(key) for key in list(shapes)[:3])
        raise DataError(
            f"{where} has the tensors {some} and others, which no network here has: evaluate it as module:factory."
        )
    told = _wide_name(shapes) if wide else "preact-resnet-18"
    classes, channels = shapes[last][0], shapes[first][1]
    taken = normalisation or {10: "cifar10", 100: "cifar100"}.get(classes if wide and channels == 3 else 0)
    if taken is None:
        raise UsageError(
            f"{where} does not tell how its network normalises images: give `normalise` cifar10, cifar100 or none."
        )
    numbers = NORMALISATIONS[taken]
    given = {} if numbers is None else {"mean": list(numbers[0]), "std": list(numbers[1])}
    return {"name": name or told, "arguments": {"classes": classes, "channels": channels, **given}}, taken


def _wide_name(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """``wrn-DEPTH-WIDTH``: blocks of the first group, and channels after it."""
    blocks = len({key.split(".")[3] for key in shapes if re.match(r"layer\.0\.block\.\d+\.", key)})
    channels = shapes.get("layer.0.block.0.conv_1.weight", (0,))[0]
    return f"wrn-{6 * blocks + 4}-{channels // 16}"
