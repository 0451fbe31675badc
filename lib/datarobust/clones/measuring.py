"""By which features clones are held against their images: pixels, or what a classifier makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datarobust.classifiers import subject
from datarobust.errors import UsageError
from datarobust.features import BATCH, Extractor

Images = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measure:
    """Features of images."""

    name: str
    """What they are called: ``pixels``, ``classifier:DIGEST``."""
    extract: Callable[[Images], Features]
    """From images uint8 (B, C, H, W) to features (B, D)."""

    def of(self, images: Images) -> Features:
        """The features (N, D) of any number of images."""
        parts = [self.extract(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return np.concatenate(parts)


def measure_of(spec: str, some: Images, device: torch.device) -> Measure:
    """The features that ``--features`` names.

    Args:
        spec: ``pixels``, or ``classifier:M`` where M is a classifier or ``module:factory``.
        some: a few images, which a classifier is tried with.
        device: where a classifier runs.

    Raises:
        UsageError: the spelling is none.
        ArtifactError, DataError: the classifier cannot be used.
    """
    if spec == "pixels":
        return Measure("pixels", _pixels)
    kind, _, name = spec.partition(":")
    if kind != "classifier" or not name:
        raise UsageError(f"--features {spec}: choose pixels or classifier:M")
    model = subject(name)
    extract: Any = Extractor(name, model.module, "penultimate", some, device)
    return Measure(f"classifier:{model.identity}", extract)


def _pixels(images: Images) -> Features:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
