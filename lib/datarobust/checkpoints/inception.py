"""The published weights of the Inception network of 2015, by which the FID is defined.

Others give other numbers, so a file is known by its sha256 or not taken at all. It is never downloaded: where it is
published is told in the sentence that asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datarobust import artifacts
from datarobust.checkpoints.models import demand_tensors
from datarobust.checkpoints.torchfiles import read_weights
from datarobust.datasets.checks import START_BYTES, refuse_placeholder
from datarobust.datasets.sources import file_sha256, raw_file
from datarobust.errors import ArtifactError, DataError
from datarobust.networks.inception import Inception
from datarobust.text import shown
from datarobust.types import Array

ARCH = "inception-2015-12-05"
"""Name of the architecture in artifacts."""


@dataclass(frozen=True)
class Known:
    """A published file."""

    name: str
    bytes: int
    sha256: str
    places: str
    """Where it is published."""

    def sentence(self) -> str:
        """What it is and where it is."""
        return f"{self.name} ({self.bytes:,} bytes, sha256 {self.sha256}), {self.places}"


KNOWN = (
    Known(
        "pt_inception-2015-12-05-6726825d.pth",
        95_628_359,
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "a release asset of pytorch-fid (fid_weights) on GitHub, and of torch-fidelity (v0.2.0) under the name "
        "weights-inception-2015-12-05-6726825d.pth",
    ),
)


def wanted() -> str:
    """The file that is asked for where there is none."""
    return f"get {KNOWN[0].sentence()}"


def is_inception(path: Path) -> bool:
    """Whether a file of torch.save has the names of this network near its start."""
    with raw_file(path).open() as file:
        return b"Conv2d_1a_3x3." in file.read(1 << 13)


def load_inception(path: Path) -> tuple[Inception, str]:
    """The network with its weights, on the CPU in evaluation mode, and the sha256 of the published file.

    Args:
        path: a file as it is published, or the artifact that ``model import`` made of one.

    Raises:
        DataError: it is no such file: another one, cut short, or damaged.
        ArtifactError: the artifact is another one, or is not intact.
    """
    if path.suffix == ".safetensors":
        artifact = artifacts.load_tensors(path, "classifier")
        if artifact.attributes["arch"].get("name") != ARCH:
            raise ArtifactError(f"{shown(path)} is another network than Inception: {wanted()}")
        sha256 = str(artifact.attributes.get("source"))
        if sha256 not in {known.sha256 for known in KNOWN}:
            raise ArtifactError(f"{shown(path)} was made of another file ({sha256[:12]}…): {wanted()}")
        return assemble(artifact, shown(path)), sha256
    arrays, sha256 = read_inception(path)
    return assemble(arrays, shown(path)), sha256


def read_inception(path: Path) -> tuple[Mapping[str, Array], str]:
    """The state dict in a published file, and its sha256. Nothing in the file is run.

    Raises:
        DataError: it is none of the known files.
    """
    raw = raw_file(path)
    with raw.open() as file:
        start = file.read(START_BYTES)
    refuse_placeholder(path, start)
    sizes = {known.bytes for known in KNOWN}
    if raw.size not in sizes:
        how = "is cut short or another file" if raw.size < max(sizes) else "is another file"
        raise DataError(f"{shown(path)} {how}, with {raw.size:,} bytes: {wanted()}")
    sha256 = file_sha256(path)
    if sha256 not in {known.sha256 for known in KNOWN}:
        raise DataError(f"{shown(path)} is damaged or another file, with the sha256 {sha256}: {wanted()}")
    content = read_weights(path)
    if not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise DataError(f"{shown(path)} holds more than tensors by name: {wanted()}")
    return {str(name): tensor.detach().numpy() for name, tensor in content.items()}, sha256


def assemble(arrays: Mapping[str, Array], where: str) -> Inception:
    """The network with these values, in evaluation mode.

    Raises:
        ArtifactError: a name or shape is not its; the sentence names ``where`` and the first of them.
    """
    with torch.random.fork_rng(devices=[]):
        network = Inception()
    demand_tensors(
        {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, arrays, where, "Inception"
    )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ArtifactError(f"{where} has numbers in {name} that are not finite")
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return network.eval()
