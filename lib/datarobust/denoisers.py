"""Denoisers as artifacts: a network and its weights in one safetensors file, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from datarobust import artifacts
from datarobust.artifacts import Tensors
from datarobust.diffusion.denoiser import Denoiser, build_denoiser
from datarobust.errors import ArtifactError, DatarobustError
from datarobust.text import shown

Arrays = Mapping[str, npt.NDArray[Any]]


def load_denoiser(path: Path) -> tuple[Denoiser, Tensors]:
    """The denoiser in a file, on the CPU, and the verified artifact it came from.

    Raises:
        ArtifactError: the file is no denoiser, was altered, or its tensors are not those of its architecture.
    """
    if path.suffix in (".pkl", ".pt", ".pth"):
        raise ArtifactError(
            f"{shown(path)} is no artifact: convert it with model import {shown(path)} -o M.safetensors"
        )
    found = artifacts.load_tensors(path, "denoiser")
    return assemble(found.attributes["arch"], found, shown(path)), found


def assemble(arch: Mapping[str, Any], arrays: Arrays, where: str) -> Denoiser:
    """A denoiser of an architecture with these values.

    Raises:
        ArtifactError: names or shapes are not those of the architecture; the sentence names ``where`` and the first.
    """
    try:
        denoiser = build_denoiser(arch)
    except DatarobustError as error:
        raise ArtifactError(f"{where} describes a denoiser that cannot be built: {error}") from error
    wanted = denoiser.state_dict()
    for name in wanted:
        if name not in arrays:
            raise ArtifactError(f"{where} has no tensor {name}, which its architecture needs: get the file again")
    for name, array in arrays.items():
        if name not in wanted:
            raise ArtifactError(
                f"{where} has a tensor {shown(name)}, which its architecture has not: get the file again"
            )
        if tuple(array.shape) != tuple(wanted[name].shape):
            raise ArtifactError(
                f"{where} has the tensor {name} of shape {tuple(array.shape)}, where its architecture has "
                f"{tuple(wanted[name].shape)}: get the file again"
            )
    denoiser.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return denoiser
