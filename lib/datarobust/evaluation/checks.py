"""What cannot be evaluated, refused before any work, and signs that an evaluation may not be reliable.

A network that expects other inputs than images in [0, 1], gives probabilities or passes no gradients would seem robust,
or fail, without a word: it is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from datarobust.errors import DataError, UsageError
from datarobust.networks.features import as_inputs, demand_logits, demand_scores, run_network
from datarobust.norms import norm_of
from datarobust.types import Array, Rows

PROBED = 64  # images that a network is tried with
RUNS = 5  # forward passes that are compared to find chance
UNLIKE = 1e-4  # normalised logits of the same image differ by more only by chance
MORE = 0.002  # share of all points above which it is conspicuous what Square alone has found

#: Signs of unreliability ("flags"): those that AutoAttack's authors name, and some more; and what they mean. The values
#: of the last four count starts with images without a gradient, accuracy, and adversarial images.
REMARKS = {
    "randomised": "the network depends on chance: `attacks` rand, which averages gradients, is meant for that",
    "differentiates": "the network takes gradients as it runs, so the attacks may not fit it",
    "zero_gradients": "gradients vanish, so gradient attacks may have failed",
    "square_found_more": "the attack without gradients found more than those with: gradients may mislead",
    "outside": "attacks left the ball, which did not count",
    "not_finite": "the network gives logits that are not finite for some of the images, or near them",
}


def demand_radius(norm: str, eps: float, shape: tuple[int, ...], force: bool) -> None:
    """Raise UsageError where a radius must be a slip, such as 8 for 8/255: a considerable part of the whole cube."""
    space = norm_of(norm)
    if eps >= space.slip * space.diameter(math.prod(shape)) and not force:
        why = f"`eps` {eps:g} in {norm} is too large to be meant: pixels are in [0, 1], so 8 levels are 8/255"
        raise UsageError(f"{why}; `force_eps` takes it all the same.")


def demand_classifier(name: str, module: nn.Module, images: Array, device: torch.device) -> int:
    """How many logits a network in evaluation mode gives for an image; DataError where it cannot be attacked."""
    x = as_inputs(images[:PROBED], device)
    inputs = x.clone()
    outputs = run_network(name, module, inputs)
    if not torch.equal(inputs, x):
        raise DataError(f"{name} changes its input in place: let it work on a copy.")
    logits = demand_scores(name, outputs, x)
    demand_logits(name, logits)

    def gradient(images: Tensor) -> Tensor | None:
        with torch.enable_grad():
            images = images.clone().requires_grad_()
            outputs = module(images)
            return torch.autograd.grad(outputs.sum(), images, allow_unused=True)[0] if outputs.requires_grad else None

    if not isinstance(run_network(name, gradient, x[:2]), Tensor):
        why = "passes no gradients to its input, which the attacks follow"
        raise DataError(f"{name} {why}: leave out torch.no_grad, detach and rounding.")
    return int(logits.shape[1])


def demand_width(name: str, width: int, labels: Rows, names: int, where: str) -> None:
    """Raise DataError where ``width`` logits do not fit the labels of a dataset, or its so many named classes."""
    if names and width != names:
        raise DataError(f"{name} gives {width} logits an image, but {where} has {names} classes.")
    if width <= (most := int(labels.max())):
        raise DataError(f"{name} gives {width} logits an image, but {where} has the label {most}.")


def demand_unit_inputs(name: str, predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """Refuse a network that is right on many more images (B, C, H, W), of labels y, where they are not in [0, 1]."""
    mean = x.mean((0, 2, 3), keepdim=True)
    deviation = x.std((0, 2, 3), keepdim=True).clamp_min(1e-3)
    others = {"from 0 to 255": x * 255.0, "in [-1, 1]": x * 2.0 - 1.0, "standardised": (x - mean) / deviation}

    def accuracy(inputs: Tensor) -> float:
        return float((predict(inputs).argmax(1) == y).float().mean())

    usual = accuracy(x)
    for what, inputs in others.items():
        other = accuracy(inputs)
        if other >= 0.4 and other - usual >= 0.1 and (other - usual) * len(x) >= 8:  # images: not by chance
            shares = f"{usual:.0%} of the first {len(x)} images, but {other:.0%} of them as inputs {what}"
            remedy = "wrap it in a module that takes images in [0, 1] and makes such inputs of them"
            raise DataError(
                f"{name} classifies {shares}: choose the `normalise` that it was trained with, or {remedy}."
            )


# --------------------------------------------------------------------------------------------- signs of unreliability


def is_randomised(predict: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether logits of the same images differ between runs."""
    outputs = [predict(x) for _ in range(RUNS)]
    outputs = [output / (output.norm(dim=1, keepdim=True) + 1e-10) for output in outputs]
    return any(float((a - b).norm(dim=1).max()) > UNLIKE for a, b in itertools.combinations(outputs, 2))


class _Watch(TorchFunctionMode):
    """Notices when gradients are taken."""

    differentiated = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.differentiated |= func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return func(*args, **(kwargs or {}))


def differentiates(predict: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether the network takes gradients within its forward pass; no trace hook is touched."""
    with _Watch() as watch:
        predict(x)
    return bool(watch.differentiated)
