"""What cannot be evaluated, refused before any work, and signs that an evaluation may not be reliable.

Attacks move within [0, 1] and follow the gradient of logits. A network that expects other inputs, gives probabilities
or passes no gradients would seem robust, or fail, without a word: it is refused.

The signs ("flags") are those that AutoAttack's authors name, and some more:

====================  =========================================================================================
``randomised``        the network gives other logits for the same images: evaluate it with ``rand``
``differentiates``    it takes gradients itself as it runs (an optimisation within the defence)
``zero_gradients``    how many starts of apgd-dlr and apgd-t had images without a gradient
``square_found_more`` how much accuracy the attack without gradients took from what the gradient attacks had left
``outside``           adversarial images that are not within the ball or not in [0, 1]; they do not count
``not_finite``        images, given or adversarial, for which logits are not finite; they count as wrong, though not
                      for the library
====================  =========================================================================================
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from datarobust.errors import DataError, UsageError
from datarobust.fid.features import as_inputs
from datarobust.networks import foreign
from datarobust.norms import ATTACK_NORMS
from datarobust.types import Array, Rows

PROBED = 64
"""Images that a network is tried with."""
_GAIN, _ACCURACY, _IMAGES = 0.1, 0.4, 8
"""The network expects other inputs if it is right on so many more of all images, on so many at least, and on so many
images more."""
RUNS = 5
"""Forward passes that are compared to find chance."""
UNLIKE = 1e-4
"""Normalised logits of the same image differ by more only by chance."""
MORE = 0.002
"""Share of all points from which on Square is conspicuous."""

REMARKS = {
    "randomised": "the network depends on chance: `attacks` rand is meant for that",
    "differentiates": "the network takes gradients as it runs, so the attacks may not fit it",
    "zero_gradients": "gradients vanish, so gradient attacks may have failed",
    "square_found_more": "the attack without gradients found more than those with: gradients may mislead",
    "outside": "attacks left the ball, which did not count",
    "not_finite": "the network gives logits that are not finite for some of the images, or near them",
}

# ------------------------------------------------------------------------------------------- what cannot be evaluated


def demand_images(images: Array, labels: Rows, where: str) -> None:
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
    space = ATTACK_NORMS[norm]
    if eps >= space.largest * space.diameter(math.prod(shape)) and not force:
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
    inputs = x.clone()
    logits = foreign.run(name, module, inputs)
    if not torch.equal(inputs, x):
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
    foreign.demand_logits(name, logits)

    def gradient(images: Tensor) -> Tensor | None:
        with torch.enable_grad():
            images = images.clone().requires_grad_()
            outputs = module(images)
            return torch.autograd.grad(outputs.sum(), images, allow_unused=True)[0] if outputs.requires_grad else None

    if not isinstance(foreign.run(name, gradient, x[:2]), Tensor):
        raise DataError(
            f"{name} passes no gradients to its input, which the attacks follow: leave out torch.no_grad, detach and "
            "rounding."
        )
    return int(logits.shape[1])


def demand_width(name: str, width: int, labels: Rows, names: int, where: str) -> None:
    """Refuse a network that gives ``width`` logits for a dataset of other classes; ``names`` of them have names, or 0.

    Raises:
        DataError: it has not as many as the dataset names, or there is a label beyond them.
    """
    if names and width != names:
        raise DataError(f"{name} gives {width} logits an image, but {where} has {names} classes.")
    if width <= (most := int(labels.max())):
        raise DataError(f"{name} gives {width} logits an image, but {where} has the label {most}.")


def demand_unit_inputs(name: str, predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """Refuse a network that plainly expects other inputs than images in [0, 1].

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

    def accuracy(inputs: Tensor) -> float:
        return float((predict(inputs).argmax(1) == y).float().mean())

    usual = accuracy(x)
    for what, inputs in others.items():
        other = accuracy(inputs)
        if other >= _ACCURACY and other - usual >= _GAIN and (other - usual) * len(x) >= _IMAGES:
            raise DataError(
                f"{name} classifies {usual:.0%} of the first {len(x)} images, but {other:.0%} of them as inputs "
                f"{what}: wrap it in a module that takes images in [0, 1] and makes such inputs of them."
            )


# --------------------------------------------------------------------------------------------- signs of unreliability


def is_randomised(predict: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether logits of the same images differ between runs."""
    outputs = [predict(x) for _ in range(RUNS)]
    outputs = [output / (output.norm(dim=1, keepdim=True) + 1e-10) for output in outputs]
    return any(float((a - b).norm(dim=1).max()) > UNLIKE for a, b in itertools.combinations(outputs, 2))


class _Watch(TorchFunctionMode):
    """Notices when gradients are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.differentiated = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the function, and run it."""
        self.differentiated |= func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return func(*args, **(kwargs or {}))


def differentiates(predict: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether the network takes gradients within its forward pass; no trace hook is touched."""
    with _Watch() as watch:
        predict(x)
    return bool(watch.differentiated)


def square_found_more(points: int, robust_before: int, robust_after: int) -> float:
    """The share of all points that Square took from what all other attacks had left; 0 where it does not matter."""
    share = (robust_before - robust_after) / points
    return share if share > MORE else 0.0
