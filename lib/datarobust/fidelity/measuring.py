"""By which features images are held against each other: Inception's, a classifier's, pixels, or those in a file.

Only distances by Inception's features, with its published weights, are called FID.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datarobust.classifiers import subject
from datarobust.datasets.npzfile import Archive
from datarobust.datasets.sources import file_sha256
from datarobust.errors import DataError, UsageError
from datarobust.features import BATCH, Extractor
from datarobust.networks.precision import products
from datarobust.published.inception import load_inception, wanted
from datarobust.text import shown

Images = npt.NDArray[np.uint8]
Features = npt.NDArray[Any]
INCEPTION_BATCH = 64
MODES = {
    "inception": "299 x 299 as TensorFlow 1, (v - 128)/128, pool features, fp32",
    "pixels": "v/255",
    "classifier": "v/255, input of the last linear layer, fp32",
    "file": "as they are",
}
"""How images become features; moments of one mode are never held against those of another."""
_MOST_BYTES = 8 << 30
"""Of an array in a file of features."""


@dataclass(frozen=True)
class Measure:
    """Features of images."""

    name: str
    """What they are called: ``inception``, ``pixels``, ``classifier:DIGEST``, ``file:SHA256``."""
    extract: Callable[[Images], Features] | None
    """From images uint8 (B, C, H, W) to features (B, D); None where they come from a file."""
    mode: str = MODES["pixels"]
    """How images become features."""
    weights: str | None = None
    """Digest of the network's weights."""
    batch: int = BATCH
    """Images at a time, where nobody says so."""
    operations: int = 0
    """Multiplications and additions for one image."""
    arrays: tuple[Features, Features] | None = None
    """Features of all points of A and of B, from a file."""

    def of(self, images: Images, batch: int | None = None) -> Features:
        """The features (N, D) of any number of images."""
        assert self.extract is not None
        size = batch or self.batch
        return np.concatenate([self.extract(images[start : start + size]) for start in range(0, len(images), size)])


def measure_of(spec: str, some: Images, device: torch.device, weights: Path | None = None) -> Measure:
    """The features that ``features`` names.

    Args:
        spec: ``inception``; ``pixels``; ``classifier:M`` where M is a classifier or ``module:factory``; ``file:F``
            where F is an npz file with arrays a and b, a row for each point.
        some: a few images, which a network is tried with.
        device: where a network runs.
        weights: of Inception.

    Raises:
        UsageError: the spelling is none, or weights are missing or belong to nothing.
        ArtifactError, DataError: the network or the file cannot be used.
    """
    kind, _, name = spec.partition(":")
    if kind not in MODES or bool(name) != (kind in ("classifier", "file")):
        raise UsageError(f"`features` {shown(spec)}: choose inception, classifier:M, pixels or file:F")
    if weights is not None and kind != "inception":
        raise UsageError(f"`weights` is of `features` inception, not of {kind}: leave it out")
    if kind == "pixels":
        return Measure("pixels", _pixels)
    if kind == "file":
        return _from_file(Path(name))
    if kind == "inception":
        return _inception(weights, some, device)
    model = subject(name)
    extract: Any = Extractor(name, model.module, "penultimate", some, device)
    operations = extract.operations(some)
    return Measure(
        f"classifier:{model.identity}", extract, MODES["classifier"], weights=model.identity, operations=operations
    )


def _pixels(images: Images) -> Features:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _inception(weights: Path | None, some: Images, device: torch.device) -> Measure:
    if weights is None:
        raise UsageError(f"`features` inception needs `weights` PATH: {wanted()}")
    if some.shape[1] not in (1, 3):
        raise DataError(f"Inception takes images with 1 or 3 channels, not with {some.shape[1]}")
    network, sha256 = load_inception(weights)
    network.prepared(device)

    def extract(images: Images) -> Features:
        with products("fp32", deterministic=True), torch.no_grad():
            found: Features = network(torch.from_numpy(images).to(device)).cpu().numpy()
        return found

    return Measure("inception", extract, MODES["inception"], sha256, INCEPTION_BATCH, _INCEPTION_OPERATIONS)


_INCEPTION_OPERATIONS = 11_422_336_192
"""Of Inception's convolutions for one image."""


def _from_file(path: Path) -> Measure:
    """Features that were computed elsewhere."""
    if not path.is_file():
        raise DataError(f"{shown(path)} is no file")
    archive = Archive(path)
    found = []
    for key in ("a", "b"):
        if key not in archive.keys:
            raise DataError(f"{shown(path)} has no array {key}: it needs a and b, a row of features for each point")
        member = archive.member(key)
        if len(member.shape) != 2 or member.dtype.kind != "f" or not member.shape[1]:
            raise DataError(f"{shown(path)}: {key} is {member.dtype} {member.shape}, not floating-point numbers (N, D)")
        values = archive.whole(member, _MOST_BYTES)
        good = np.isfinite(values).all(axis=1)
        if not good.all():
            raise DataError(f"{shown(path)}: row {int(np.argmin(good))} of {key} has features that are not finite")
        found.append(values)
    if found[0].shape[1] != found[1].shape[1]:
        raise DataError(f"{shown(path)}: a has {found[0].shape[1]} features a point, b has {found[1].shape[1]}")
    return Measure(f"file:{file_sha256(path)}", None, MODES["file"], arrays=(found[0], found[1]))
