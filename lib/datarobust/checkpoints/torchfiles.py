"""Files of ``torch.save`` as others publish them: classifiers, and the Inception network by which the FID is defined.

They are read with ``weights_only``, which runs nothing of theirs, and in bounded memory. PyTorch reads their pickle
instruction by instruction, each of which may make an object of a hundred times its size, so the instructions are
limited; and archives may be compressed, so it is what they unpack to that must fit.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datarobust import artifacts
from datarobust.checkpoints.models import assemble_classifier, demand_tensors, normalisation_of
from datarobust.datasets.fetch import Remote
from datarobust.datasets.files import Raw, file_sha256, raw_file, read_start, reading
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.networks.inception import Inception
from datarobust.text import shown
from datarobust.types import Array

MOST_BYTES: Final = 4 << 30  # of a file; WRN-70-16 has 1.1 GB
MOST_INSTRUCTIONS: Final = 2_000_000  # of the pickle of a file; a state dict takes about thirty a tensor
MOST_PICKLE: Final = 8 << 20  # bytes of the pickle in an archive, which is read at once; that of WRN-70-16 has 0.1 MB


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
    """What ``torch.save`` wrote to an unbuffered stream; raises anything where that is damaged or more than tensors."""
    with warnings.catch_warnings(), _Limited(raw, most) as file:
        warnings.simplefilter("ignore")  # of pickles that are refused in the next moment
        return torch.load(file, map_location="cpu", weights_only=True)


def published_file(path: Path) -> Raw:
    """The file. Raises DataError where it is none, or the web page or pointer that stands for one."""
    read_start(path)
    return raw_file(path)


def read_weights(path: Path) -> dict[str, Any]:
    """The dict in a file; DataError where it is damaged, too large, or asks for more than tensors."""
    where, size = shown(path), published_file(path).size
    with reading(path):
        archived = zipfile.is_zipfile(path)
    if archived:
        with reading(path), zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
        size = sum(sizes.values())
        if any(name.endswith("data.pkl") and bytes_ > MOST_PICKLE for name, bytes_ in sizes.items()):
            raise DataError(f"{where} has a pickle of more than {MOST_PICKLE:,} bytes: it holds no weights.")
    if size > MOST_BYTES:
        raise DataError(f"{where} holds {size:,} bytes, more than any network that is read here.")
    try:
        content = load_weights(path.open("rb", buffering=0), MOST_INSTRUCTIONS)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for {shown(name[1])}" if name else "is not a file of torch.save, or asks for more than tensors"
        raise DataError(f"{where} {what}: only tensors are read, and nothing in it was run.") from error
    except Exception as error:  # of a damaged file PyTorch raises anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{where} is damaged or no file of torch.save ({first}): get the file again.") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{where} holds a {type(content).__name__}, not the weights of a network by name.")
    return content


# ------------------------------------------------------------------------------------------------- classifiers

AVERAGED, RAW = "model_state_dict", "unaveraged_model_state_dict"  # keys of Wang et al. 2023
_HOLDERS: Final = (AVERAGED, "state_dict", "model", "net")  # keys under which a checkpoint may have its state dict
_ANCHORS: Final = ("init_conv.weight", "linear.weight")  # one of each network that is read; wrappers put names before


@dataclass(frozen=True)
class Checkpoint:
    """A published classifier or denoiser."""

    arch: dict[str, Any]  # name and arguments, as artifacts have them
    arrays: dict[str, Array]  # the state dict, without prefixes
    sha256: str  # of the file
    ignored: tuple[str, ...]  # names of what else the file holds
    averaged: bool | None = None  # None where the file does not say
    epoch: int | None = None  # after which they were saved, where the file says
    normalisation: str = "none"  # of images, as `normalisation_of` has it


def read_checkpoint(
    path: Path, *, arch: str | None = None, raw: bool = False, normalisation: str | None = None
) -> Checkpoint:
    """A published classifier: of Wang et al. 2023, whose names begin with ``module.0.``, or of RobustBench.

    ``arch`` names the network, where its tensors are not to tell; ``raw`` takes the weights before averaging;
    ``normalisation`` of images within the network is as :func:`normalisation_of` has it, and without it the one that
    wide residual networks of Wang et al. have for as many classes. Raises DataError for another or a damaged file, and
    UsageError where it does not tell its network or normalisation.
    """
    where = shown(path)
    content = read_weights(path)
    if raw and RAW not in content:
        raise UsageError(f"{where} has no weights before averaging ({RAW}): leave out `raw`.")
    key = RAW if raw else next((name for name in _HOLDERS if isinstance(content.get(name), Mapping)), None)
    state = content if key is None else content[key]
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{where} has no weights under {key}.")
    arrays, others = _arrays(state, where)
    architecture, normalised = _architecture(arrays, arch, normalisation, where)
    try:
        assemble_classifier(architecture, arrays, where)
    except ArtifactError as error:
        raise DataError(f"{error}: name another network with `arch`, or get the file again.") from error
    return Checkpoint(
        architecture,
        arrays,
        file_sha256(path),
        (*others, *(() if key is None else sorted(str(name) for name in content if name != key))),
        averaged=key == AVERAGED if key is not None and RAW in content else None,
        epoch=content["epoch"] if type(content.get("epoch")) is int else None,
        normalisation=normalised,
    )


def _arrays(state: Mapping[str, Any], where: str) -> tuple[dict[str, Array], list[str]]:
    """Tensors by name without prefix, floating-point numbers as float32, whole ones as int64; what else there is.

    The prefix is whatever wrappers (DataParallel, torch.compile, Lightning) put before the names of the network.
    """
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise DataError(f"{where} holds {shown(str(name))}, which is no tensor: it is not a state dict.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise DataError(f"{where} holds {shown(name)} in a form that is not read here: {tensor.layout}.")
    if 4 * sum(tensor.numel() for tensor in state.values()) > MOST_BYTES:  # one number may be a tensor of any size
        raise DataError(f"{where} holds more numbers than any network that is read here.")
    places = {name.removesuffix(anchor) for name in state for anchor in _ANCHORS if name.endswith(anchor)}
    prefixes = sorted(prefix for prefix in places if not prefix or prefix.endswith("."))
    if len(prefixes) > 1:
        several = " and ".join(shown(prefix) or "no prefix" for prefix in prefixes[:3])
        raise DataError(f"{where} holds several networks ({several}): save the one that you mean alone.")
    prefix, arrays = "".join(prefixes), {}
    for full_name, tensor in state.items():
        if not full_name.startswith(prefix):
            continue
        name, tensor = full_name.removeprefix(prefix), tensor.detach()
        arrays[name] = tensor.float().numpy() if tensor.is_floating_point() else tensor.long().numpy()
        if not np.isfinite(arrays[name]).all():
            raise DataError(f"{where} holds numbers in {shown(full_name)} that are not finite: get the file again.")
    return arrays, sorted(name for name in state if not name.startswith(prefix))


def _architecture(
    arrays: dict[str, Array], name: str | None, normalisation: str | None, where: str
) -> tuple[dict[str, Any], str]:
    """The architecture that the tensors tell, and which normalisation it has."""
    shapes = {key: array.shape for key, array in arrays.items()}
    wide = "init_conv.weight" in shapes
    first, last = ("init_conv.weight", "logits.weight") if wide else ("conv1.weight", "linear.weight")
    if len(shapes.get(first, ())) != 4 or len(shapes.get(last, ())) != 2:
        some = ", ".join(shown(key) for key in list(shapes)[:3])
        raise DataError(f"{where} has the tensors {some} and others of no network here: evaluate it as module:factory.")
    if name is None:
        blocks = len({key.split(".")[3] for key in shapes if re.match(r"layer\.0\.block\.\d+\.", key)})
        width = shapes.get("layer.0.block.0.conv_1.weight", (0,))[0] // 16
        name = f"wrn-{6 * blocks + 4}-{width}" if wide else "preact-resnet-18"
    classes, channels = shapes[last][0], shapes[first][1]
    normalised = normalisation or {10: "cifar10", 100: "cifar100"}.get(classes if wide and channels == 3 else 0)
    if normalised is None:
        raise UsageError(f"{where} does not tell how it normalises images: give `normalise`, such as cifar10 or none.")
    numbers = normalisation_of(normalised)
    statistics = {}
    if numbers is not None:
        mean, std = (list(part) * (channels if len(part) == 1 else 1) for part in numbers)
        statistics = {"mean": mean, "std": std}
    return {"name": name, "arguments": {"classes": classes, "channels": channels, **statistics}}, normalised


# --------------------------------------------------------------------------------------------------- Inception

INCEPTION = "inception-2015-12-05"  # name of the architecture in artifacts


# Other files give other numbers, so it is known by its sha256 or not taken at all.
INCEPTION_FILE = Remote(
    "pt_inception-2015-12-05-6726825d.pth",
    (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


def inception_advice() -> str:
    """Which file to get, and how."""
    file = INCEPTION_FILE
    return (
        f"run model fetch inception -o inception.safetensors, or get {file.name} ({file.size:,} bytes, sha256 "
        f"{file.sha256}), a release asset of pytorch-fid (fid_weights) on GitHub"
    )


def is_inception(path: Path) -> bool:
    """Whether a file of torch.save has the names of this network near its start."""
    with raw_file(path).open() as file:
        return b"Conv2d_1a_3x3." in file.read(1 << 13)


def load_inception(path: Path) -> tuple[Inception, str]:
    """The network, on the CPU in evaluation mode, and the sha256 of the published file.

    ``path`` is that file, or the artifact that ``model import`` made of it; any other is refused.
    """
    where, advice = shown(path), inception_advice()
    if path.suffix == ".safetensors":
        artifact = artifacts.load_tensors(path, "classifier")
        if artifact.attributes["arch"].get("name") != INCEPTION:
            raise ArtifactError(f"{where} is another network than Inception: {advice}")
        sha256 = str(artifact.attributes.get("source"))
        if sha256 != INCEPTION_FILE.sha256:
            raise ArtifactError(f"{where} was made of another file ({sha256[:12]}…): {advice}")
        return assemble_inception(artifact, where), sha256
    size = published_file(path).size
    if size != INCEPTION_FILE.size:
        how = "is cut short or another file" if size < INCEPTION_FILE.size else "is another file"
        raise DataError(f"{where} {how}, with {size:,} bytes: {advice}")
    sha256 = file_sha256(path)
    if sha256 != INCEPTION_FILE.sha256:
        raise DataError(f"{where} is damaged or another file, with the sha256 {sha256}: {advice}")
    content = read_weights(path)
    if not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise DataError(f"{where} holds more than tensors by name: {advice}")
    arrays = {str(name): tensor.detach().numpy() for name, tensor in content.items()}
    return assemble_inception(arrays, where), sha256


def assemble_inception(arrays: Mapping[str, Array], where: str) -> Inception:
    """The network with these values, in evaluation mode. Raises ArtifactError where a name or shape is not its."""
    with torch.device("meta"):  # without values of its own
        network = Inception()
    expected = network.state_dict()
    demand_tensors({name: tuple(tensor.shape) for name, tensor in expected.items()}, arrays, where, "Inception")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ArtifactError(f"{where} has numbers in {name} that are not finite")
    values = {name: torch.tensor(array, dtype=expected[name].dtype) for name, array in arrays.items()}
    network.load_state_dict(values, assign=True)
    return network.eval()
