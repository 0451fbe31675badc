"""Models in: from a checkpoint as it was published to an artifact, without running anything in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datarobust import artifacts
from datarobust.checkpoints import edm, inception, robustbench
from datarobust.datasets.sources import raw_file
from datarobust.errors import UsageError
from datarobust.jobs.make import Artifact, Form, Output
from datarobust.types import Array

Weights = Literal["best", "last"]
Normalisation = Literal["cifar10", "cifar100", "none"]


@dataclass(frozen=True)
class Import:
    """A published checkpoint that becomes an artifact.

    Attributes:
        kind: classifier or denoiser.
        arrays: the state dict.
        decides: the attributes that decide the artifact: arch, weights, source (sha256 of the file), averaged.
        about: more attributes.
        remarks: what was taken of the file, and what was not.
    """

    kind: Literal["classifier", "denoiser"]
    arrays: Mapping[str, Array]
    decides: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def form(self) -> Form:
        """An artifact of its kind."""
        return Artifact(self.kind)

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        return {"tool": "model import", **self.decides}

    def run(self, output: Output) -> None:
        """Write the artifact."""
        artifacts.save_tensors(
            output.path,
            self.kind,
            self.arrays,
            attributes={**self.decides, **self.about, "request": output.request},
            history=[output.step({"source": self.decides["source"]})],
            overwrite=output.overwrite,
        )


def read_published(
    path: Path,
    *,
    arch: str | None = None,
    raw: bool = False,
    normalise: Normalisation | None = None,
    weights: Weights | None = None,
) -> Import:
    """A denoiser of EDM, Inception, or a classifier, by what the file is.

    Args:
        path: the file.
        arch: of a classifier, as `robustbench.read_checkpoint` takes it; so are the next two.
        raw: the weights before averaging.
        normalise: of images within the network.
        weights: which of a classifier's training they are; last where the file's name says so, else best.

    Raises:
        DataError, UsageError: the file is none of them, is damaged, or does not say what it needs to.
    """
    if is_bare_pickle(path):
        denoiser = edm.read_edm_pickle(path)
        remarks = tuple(f"{name} is passed over: the averaged network is what samples." for name in denoiser.ignored)
        decides: dict[str, Any] = {"arch": denoiser.arch, "weights": "last", "source": denoiser.sha256}
        return Import("denoiser", denoiser.arrays, decides, remarks=remarks)
    if inception.is_inception(path):
        network, sha256 = inception.load_inception(path)
        arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        return Import("classifier", arrays, {"arch": {"name": inception.ARCH}, "weights": "last", "source": sha256})
    checkpoint = robustbench.read_checkpoint(path, arch=arch, raw=raw, normalisation=normalise)
    classes = checkpoint.arch["arguments"]["classes"]
    remarks = (f"{checkpoint.arch['name']}, {classes} classes, normalised as {checkpoint.normalisation}.",)
    if checkpoint.averaged is not None:
        remarks += (f"The {'averaged' if checkpoint.averaged else 'raw'} weights are taken.",)
    if checkpoint.ignored:
        remarks += (f"Passed over: {', '.join(checkpoint.ignored)}.",)
    decides = {
        "arch": checkpoint.arch,
        "weights": weights or ("last" if "last" in path.stem else "best"),
        "averaged": checkpoint.averaged,
        "source": checkpoint.sha256,
    }
    return Import("classifier", checkpoint.arrays, decides, {"epoch": checkpoint.epoch}, remarks)


def is_bare_pickle(path: Path) -> bool:
    """Whether a file is a pickle as EDM's are; those of torch.save are archives, or begin with its own number."""
    with raw_file(path).open() as file:
        start = file.read(len(edm.LEGACY))
    return start.startswith(b"\x80") and start[2:] != edm.LEGACY[2:]


def summary(path: Path, normalise: Normalisation | None = None) -> dict[str, Any]:
    """What a model is, of an artifact or of a published classifier, as JSON has it.

    Raises:
        UsageError: an artifact and ``normalise``; a bare pickle.
        ArtifactError, DataError: the file is no model, or is not intact.
    """
    if path.suffix == ".safetensors":
        if normalise is not None:
            raise UsageError(
                f"{path} is an artifact, which says itself how its network normalises: leave `normalise` out."
            )
        artifact = artifacts.load_tensors(path)
        return {
            "kind": artifact.kind,
            **{key: artifact.attributes[key] for key in ("arch", "weights", "epoch") if key in artifact.attributes},
            "tensors": len(artifact),
            "numbers": sum(array.size for array in artifact.values()),
            "digest": artifact.digest,
            "history": [step.tool for step in artifact.history],
        }
    if is_bare_pickle(path):
        raise UsageError(f"{path} is a bare pickle: make an artifact of it with model import first.")
    checkpoint = robustbench.read_checkpoint(path, normalisation=normalise)
    return {
        "kind": "published classifier",
        "arch": checkpoint.arch,
        "normalisation": checkpoint.normalisation,
        "averaged": checkpoint.averaged,
        "epoch": checkpoint.epoch,
        "tensors": len(checkpoint.arrays),
        "numbers": sum(array.size for array in checkpoint.arrays.values()),
        "sha256": checkpoint.sha256,
        "ignored": list(checkpoint.ignored),
    }
