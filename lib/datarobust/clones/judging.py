"""What a classifier that was trained on real images, and is left as it is, says of clones and samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datarobust import artifacts
from datarobust.artifacts import Store
from datarobust.clones.job import Job, Request
from datarobust.diffusion.cloning import clones
from datarobust.diffusion.denoiser import Denoiser
from datarobust.diffusion.starts import DEFAULTS
from datarobust.fid.features import BATCH, as_inputs
from datarobust.selection import Chosen, random
from datarobust.types import Progress

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judgement:
    """Of how many images the classifier finds the right label, as shares."""

    images: int
    """How many were judged, of each kind."""
    held_out: float
    """Real images that the denoiser was not trained on: what to hold the others against."""
    clones: float
    """Their clones, by the paper's start, for their own labels."""
    samples: float | None
    """Images made from nothing but their labels; None for a denoiser without labels."""

    def as_json(self) -> dict[str, Any]:
        """Names and values."""
        return asdict(self)

    def sentence(self) -> str:
        """In words."""
        samples = "" if self.samples is None else f"{self.samples:.1%} of samples, "
        return (
            f"The judge finds the right label of {samples}{self.clones:.1%} of clones, and {self.held_out:.1%} of the "
            f"real held-out images ({self.images:,} of each)."
        )


def right(network: nn.Module, images: Images, labels: Labels, device: torch.device) -> float:
    """The share of images uint8 (N, C, H, W) of which a classifier finds the label, (N,)."""
    hits = 0
    network = network.to(device).eval()
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            logits = network(as_inputs(images[start : start + BATCH], device))
            hits += int((logits.argmax(1).cpu().numpy() == labels[start : start + BATCH]).sum())
    return hits / len(images)


def judge(
    test: Store,
    denoiser: Denoiser,
    weights: artifacts.Tensors,
    classifier: nn.Module,
    count: int,
    batch: int,
    device: torch.device,
    progress: Callable[[str], Progress],
) -> Judgement:
    """Have a classifier judge held-out images, their clones, and samples for their labels.

    Args:
        test: images that neither the denoiser nor the classifier was trained on.
        denoiser: ready on the device.
        weights: its artifact.
        classifier: from images in [0, 1] to logits.
        count: how many images; a random choice of the test set's.
        batch: how many at a time.
        device: where it is done.
        progress: of a label.
    """
    rows = random(len(test), min(count, len(test)), 0)
    real, labels = test.column("images").take(rows), test.column("labels").take(rows)
    shares: list[float | None] = [right(classifier, real, labels, device)]
    for start in ("paper", "noise"):
        if start == "noise" and not denoiser.classes:
            shares.append(None)
            continue
        job = Job(test, denoiser, weights, Chosen(rows), Request(DEFAULTS[start], start))
        made = clones(denoiser, job.task, batch, progress=progress("judged clones" if start == "paper" else "samples"))
        shares.append(right(classifier, np.concatenate([images for _, images in made]), labels, device))
    held_out, copies, samples = shares
    assert held_out is not None
    assert copies is not None
    return Judgement(len(rows), held_out, copies, samples)
