"""What cannot be evaluated, refused before any work: a network, images or labels that an attack would mistake.

Attacks move within [0, 1] and follow the gradient of logits. A network that wants other inputs, gives probabilities or
passes no gradients would seem robust, or fail, without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datarobust import external
from datarobust.errors import DataError, UsageError
from datarobust.features import as_inputs

Array = npt.NDArray[Any]
LARGEST = {"linf": 1.0, "l2": 0.1, "l1": 0.1}
"""Radii from here on are taken for a slip: as a share of the diameter of the cube of all images."""
BETTER, WELL = 0.1, 0.4
"""Other inputs are what the network wants if it has so many more of all images right on them, and so many at least."""
PROBED = 64
_MANY = 8


def demand_images(images: Array, labels: Array, where: str) -> None:
    """Refuse what are no labelled images in [0, 1].

    Args:
        images: (M, C, H, W), uint8 (as v/255) or float32.
        labels: int64 (M).
        where: their name, for messages.

    Raises:
        DataError: the first that is wrong, by its place.
    """
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        raise DataError(f"{where} holds no images (N, C, H, W) of bytes or float32 in [0, 1], which attacks need.")
    if not len(images) or len(labels) != len(images):
        raise DataError(f"{where} has {len(images)} images and {len(labels)} labels to evaluate.")
    if images.dtype == np.float32:
        flat = images.reshape(len(images), -1)
        with np.errstate(invalid="ignore"):
            wrong = ~((flat >= 0) & (flat <= 1)).all(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            low, high = float(flat[row].min()), float(flat[row].max())
            what = "NaN" if np.isnan(low) else f"pixels from {low:g} to {high:g}"
            raise DataError(f"{where}: image {row} has {what}, outside [0, 1]: divide bytes by 255.")


def demand_radius(norm: str, eps: float, shape: tuple[int, ...], force: bool) -> None:
    """Refuse a radius that must be a slip, such as 8 for 8/255.

    Raises:
        UsageError: it is none, or a considerable part of the whole cube; the latter not with ``force``.
    """
    if not (np.isfinite(eps) and eps > 0):
        raise UsageError(f"`eps` {eps:g} is no radius: give a positive number, as 8/255.")
    numbers = float(np.prod(shape))
    limit = LARGEST[norm] * {"linf": 1.0, "l2": numbers**0.5, "l1": numbers}[norm]
    if eps >= limit and not force:
        raise UsageError(
            f"`eps` {eps:g} in {norm} is too large to be meant: pixels are in [0, 1], so 8 levels are 8/255; "
            "`force_eps` takes it all the same."
        )


def demand_classifier(name: str, module: nn.Module, images: Array, device: torch.device) -> int:
    """Refuse a network that attacks cannot work on; it is in evaluation mode.

    Args:
        name: of the network, for messages.
        module: from images to logits.
        images: some of those to be evaluated.
        device: where the network is.

    Returns:
        How many numbers it gives for an image.

    Raises:
        DataError: it fails, changes its input, gives no finite (B, classes) logits but something else, among that
            probabilities, or passes no gradients.
    """
    x = as_inputs(images[:PROBED], device)
    given = x.clone()
    logits = external.run(name, module, given)
    if not torch.equal(given, x):
        raise DataError(f"{name} changes its input in place: let it work on a copy.")
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x) or not logits.is_floating_point():
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"{name} gives {shape} for {len(x)} images: a classifier gives one row of logits an image.")
    if logits.shape[1] < 2:
        raise DataError(f"{name} gives {logits.shape[1]} logit an image: a classifier has two classes or more.")
    finite = torch.isfinite(logits).all(dim=1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise DataError(f"{name} gives logits that are not finite, first for image {row}: it is broken.")
    external.demand_logits(name, logits)
    _demand_gradients(name, module, x[:2])
    return int(logits.shape[1])


def demand_width(name: str, width: int, labels: Array, names: int, where: str) -> None:
    """Refuse a network that gives ``width`` logits for a dataset of other classes; ``names`` of them have names, or 0.

    Raises:
        DataError: it has not as many as the dataset names, or there is a label beyond them.
    """
    if names and width != names:
        raise DataError(f"{name} gives {width} logits an image, but {where} has {names} classes.")
    if width <= (most := int(labels.max())):
        raise DataError(f"{name} gives {width} logits an image, but {where} has the label {most}.")


def _demand_gradients(name: str, module: nn.Module, x: Tensor) -> None:
    """Refuse a network through which no gradient can be taken."""

    def gradient(images: Tensor) -> Tensor | None:
        with torch.enable_grad():
            wanted = images.clone().requires_grad_()
            logits = module(wanted)
            if not logits.requires_grad:
                return None
            (found,) = torch.autograd.grad(logits.sum(), wanted, allow_unused=True)
        return found if isinstance(found, Tensor) else None

    if external.run(name, gradient, x) is None:
        raise DataError(
            f"{name} passes no gradients to its input, which the attacks follow: leave out torch.no_grad, detach and "
            "rounding."
        )


def demand_unit_inputs(name: str, predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """Refuse a network that plainly wants other inputs than images in [0, 1].

    Args:
        name: of the network, for messages.
        predict: from inputs to logits.
        x: images (B, C, H, W) in [0, 1].
        y: their labels (B).

    Raises:
        DataError: it classifies many more of them when they are given as bytes, in [-1, 1] or standardised.
    """
    mean = x.mean((0, 2, 3), keepdim=True)
    deviation = x.std((0, 2, 3), keepdim=True).clamp_min(1e-3)
    others = {
        "from 0 to 255": x * 255.0,
        "in [-1, 1]": x * 2.0 - 1.0,
        "standardised": (x - mean) / deviation,
    }
    right = float((predict(x).argmax(1) == y).float().mean())
    for what, inputs in others.items():
        there = float((predict(inputs).argmax(1) == y).float().mean())
        if there >= WELL and there - right >= BETTER and (there - right) * len(x) >= _MANY:
            raise DataError(
                f"{name} classifies {right:.0%} of the first {len(x)} images, but {there:.0%} of them as inputs "
                f"{what}: wrap it in a module that takes images in [0, 1] and makes such inputs of them."
            )
