"""Accuracies, measured without touching what is trained: tracking is a pure function of weights and images.

The model is a copy of its own (the averaged one), in evaluation mode, with frozen parameters; scores are taken without
gradients, and random numbers follow from (seed, epoch, place). So no tracked set and no strength of attack can change a
weight, which Appendix D of the paper suspects and ``examples/glitch.mk`` shows to a reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from datarobust.attacks import margin_attack
from datarobust.randomness import Domain
from datarobust.training import noise
from datarobust.training.augment import to_float
from datarobust.training.images import Points
from datarobust.training.recipe import TRACK_STEPS, Recipe

BATCH = 512
"""Images measured at a time; it changes nothing but rounding."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode, with parameters that ask for no gradient; afterwards exactly as it was."""
    modes = [(module, module.training) for module in model.modules()]
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    for parameter, _ in asked:
        parameter.requires_grad_(False)
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in asked:
            parameter.requires_grad_(flag)


def clean_hits(model: nn.Module, points: Points, share: tuple[int, int] = (0, 1)) -> torch.Tensor:
    """How many images are classified as labelled: int64 () on the device; of ``share`` (i, n) the i-th part."""
    hits = torch.zeros((), dtype=torch.int64, device=points.labels.device)
    with frozen(model), torch.no_grad():
        for start, stop in _spans(len(points), share):
            images = _images(points, start, stop)
            hits += (model(images).argmax(1) == points.labels[start:stop]).sum()
    return hits


def robust_hits(
    model: nn.Module, points: Points, recipe: Recipe, purpose: Domain, epoch: int, share: tuple[int, int] = (0, 1)
) -> torch.Tensor:
    """How many images are still classified as labelled after PGD-40 on the margin; int64 () on the device."""
    hits = torch.zeros((), dtype=torch.int64, device=points.labels.device)
    with frozen(model):
        for start, stop in _spans(len(points), share):
            labels = points.labels[start:stop]
            adversaries = attacked(model, _images(points, start, stop), labels, recipe, purpose, epoch, start)
            with torch.no_grad():
                hits += (model(adversaries).argmax(1) == labels).sum()
    return hits


def attacked(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, recipe: Recipe, purpose: Domain, epoch: int, first: int
) -> torch.Tensor:
    """PGD-40 examples of images (B, C, H, W) float32; ``first`` is the place of the first one in its set."""
    start = noise.uniform(tuple(x.shape), recipe.seed, purpose, epoch, first, x.device)
    return margin_attack(model, x, y, start, norm=recipe.norm, eps=recipe.eps, step=recipe.step, steps=TRACK_STEPS)


def _images(points: Points, start: int, stop: int) -> torch.Tensor:
    return to_float(points.images[start:stop]).contiguous(memory_format=torch.channels_last)


def _spans(count: int, share: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Spans of one process's part of ``count`` places."""
    place, processes = share
    begin, end = count * place // processes, count * (place + 1) // processes
    for start in range(begin, end, BATCH):
        yield start, min(start + BATCH, end)
