"""Accuracies, measured without touching what is trained: tracking is a pure function of weights and images.

The model is a copy of its own (the averaged one), in evaluation mode, with frozen parameters; scores are taken without
gradients, and random numbers follow from (seed, epoch, place). So no tracked set and no strength of attack can change a
weight, which Appendix D of the paper suspects and ``examples/glitch.mk`` shows to a reader.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from datarobust.attacks import margin_attack, uniform_noise
from datarobust.networks.classifier import frozen
from datarobust.randomness import Domain
from datarobust.training.images import Points, to_float
from datarobust.training.recipe import TRACK_STEPS, Recipe

BATCH = 512
"""Images measured at a time; it changes nothing but rounding."""


def clean_hits(model: nn.Module, points: Points, share: tuple[int, int] = (0, 1)) -> torch.Tensor:
    """How many images are classified as labelled: int64 () on the device; of ``share`` (i, n) the i-th part."""
    return _hits(model, points, share, lambda x, y, first: x)


def robust_hits(
    model: nn.Module, points: Points, recipe: Recipe, domain: Domain, epoch: int, share: tuple[int, int] = (0, 1)
) -> torch.Tensor:
    """How many images are still classified as labelled after PGD-40 on the margin; int64 () on the device."""
    return _hits(model, points, share, lambda x, y, first: attacked(model, x, y, recipe, domain, epoch, first))


def attacked(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, recipe: Recipe, domain: Domain, epoch: int, first: int
) -> torch.Tensor:
    """PGD-40 examples of images (B, C, H, W) float32; ``first`` is the place of the first one in its set."""
    noise = uniform_noise(tuple(x.shape), recipe.seed, domain, epoch, first, x.device)
    return margin_attack(model, x, y, noise, norm=recipe.norm, eps=recipe.eps, step=recipe.step, steps=TRACK_STEPS)


def _hits(
    model: nn.Module,
    points: Points,
    share: tuple[int, int],
    change: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor],
) -> torch.Tensor:
    """Hits on one process's part of the points, whose images (x, y, place of the first) are changed before."""
    hits = torch.zeros((), dtype=torch.int64, device=points.labels.device)
    rank, processes = share
    begin, end = len(points) * rank // processes, len(points) * (rank + 1) // processes
    with frozen(model):
        for first in range(begin, end, BATCH):
            part = slice(first, min(first + BATCH, end))
            x = to_float(points.images[part]).contiguous(memory_format=torch.channels_last)
            y = points.labels[part]
            changed = change(x, y, first)
            with torch.no_grad():
                hits += (model(changed).argmax(1) == y).sum()
    return hits
