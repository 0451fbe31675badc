"""Classifiers by name: artifacts, whose names and shapes are checked one by one, and models of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from datarobust import artifacts, external
from datarobust.artifacts import Step, Tensors
from datarobust.errors import ArtifactError, DatarobustError
from datarobust.networks import build
from datarobust.networks.classifier import Classifier
from datarobust.text import shown

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A model that a user named."""

    name: str
    """As the user named it."""
    module: nn.Module
    identity: str
    """Digest of a classifier; of a ``module:factory`` as :class:`datarobust.external.Model` has it."""
    about: Mapping[str, Any]
    """What a classifier says about itself: arch, weights, epoch."""
    history: tuple[Step, ...] = ()


def subject(name: str) -> Subject:
    """The model of that name: a classifier artifact, ``module:factory`` or ``path/to/file.py:factory``.

    Raises:
        ArtifactError: the artifact is no classifier or is not intact.
        UsageError, DataError: the factory cannot be used.
    """
    path = Path(name)
    if path.suffix in (".safetensors", ".pt", ".pth", ".pkl") or (":" not in name and path.exists()):
        network, found = load_classifier(path)
        about = {key: found.attributes[key] for key in ("arch", "weights", "epoch") if key in found.attributes}
        return Subject(name, network, found.digest, about, tuple(found.history))
    model = external.load(name)
    return Subject(name, model.module, model.identity, {})


def load_classifier(path: Path) -> tuple[Classifier, Tensors]:
    """The network in a file, on the CPU and in evaluation mode, and the verified artifact it came from.

    Raises:
        ArtifactError: the file is no classifier, was altered, or its tensors are not those of its architecture.
    """
    if path.suffix in (".pt", ".pth", ".pkl"):
        raise ArtifactError(
            f"{shown(path)} is no artifact: convert it with model import {shown(path)} -o M.safetensors"
        )
    found = artifacts.load_tensors(path, "classifier")
    return assemble(found.attributes["arch"], found, shown(path)), found


def assemble(arch: Mapping[str, Any], arrays: Arrays, where: str) -> Classifier:
    """A network of an architecture with these values, in evaluation mode.

    Raises:
        ArtifactError: there is no such architecture, or names or shapes are not its; the sentence names ``where`` and
            the first of them.
    """
    try:
        network = build(arch)
    except DatarobustError as error:
        raise ArtifactError(f"{where} describes a network that cannot be built: {error}") from error
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in arrays:
            raise ArtifactError(f"{where} has no tensor {name}, which {_name(arch)} needs")
        there, due = tuple(arrays[name].shape), tuple(tensor.shape)
        if there != due:
            raise ArtifactError(f"{where} has {name} of shape {there}, where {_name(arch)} has {due}")
    for name in arrays:
        if name not in wanted:
            raise ArtifactError(f"{where} has a tensor {shown(name)}, which {_name(arch)} does not have")
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network.eval()


def _name(arch: Mapping[str, Any]) -> str:
    arguments = arch.get("arguments", {})
    classes = f" for {arguments['classes']} classes" if "classes" in arguments else ""
    return f"{arch['name']}{classes}"
