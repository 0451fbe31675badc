"""Projected gradient descent (Madry et al. 2018): one loop for training, tracking and focus, in l2 and l-infinity.

Gradients are taken with respect to images alone, by ``torch.autograd.grad``, so an attack cannot leave a gradient
behind in a parameter. Random starts are given by the caller: an attack draws nothing.

The training attack of TRADES and the tracking attack differ in what they climb and where they start:

============  ==================================  =================================================
training      KL(p(x) || p(x'))                   linf: uniform in the ball; l2: 0.001 x normal
tracking      the margin of the wrong classes     linf: uniform in the ball; l2: a uniform image,
              over the right one, up to 0         brought into the ball
============  ==================================  =================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from datarobust.networks.convolution import weights_frozen
from datarobust.norms import norm_of

L2_START = 0.001
"""Scale of the normal noise that the l2 training attack starts from."""


@dataclass(frozen=True)
class Geometry:
    """What a norm means for an attack; all on batches (B, C, H, W) float32."""

    climb: Callable[[Tensor], Tensor]
    """Steepest direction of a gradient: of length 1 in the norm."""
    into_ball: Callable[[Tensor, float], Tensor]
    """Offsets brought into the ball of a radius."""


def _unit(gradient: Tensor) -> Tensor:
    """Each image's gradient over its l2 length; where it is zero there is no direction, and it stays zero."""
    length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return gradient / torch.where(length > 0, length, torch.ones_like(length))


def _shorten(offset: Tensor, radius: float) -> Tensor:
    return offset.renorm(p=2, dim=0, maxnorm=radius)


def _clip(offset: Tensor, radius: float) -> Tensor:
    return offset.clamp(-radius, radius)


GEOMETRIES = {"linf": Geometry(torch.sign, _clip), "l2": Geometry(_unit, _shorten)}


def geometry_of(norm: str) -> Geometry:
    """The geometry of a norm. Raises UsageError where there is no such norm."""
    return GEOMETRIES[norm_of(norm).name]


def pgd(
    x: Tensor, begin: Tensor, loss: Callable[[Tensor], Tensor], norm: str, eps: float, step: float, steps: int
) -> Tensor:
    """Climb a loss within the ball around images and within [0,1].

    Args:
        x: images, float32 (B, C, H, W) in [0,1].
        begin: where to start, of the same shape.
        loss: images to a scalar, the sum of the images' losses.
        norm: "l2" or "linf".
        eps: radius of the ball, in [0,1] units.
        step: length of a step.
        steps: how many.

    Returns:
        The last images, detached; each within eps of its original up to rounding, and within [0,1].
    """
    geometry = geometry_of(norm)
    found = begin.detach()
    for _ in range(steps):
        found = found.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(found), [found])
        moved = found.detach() + step * geometry.climb(gradient)
        # First the box, then the ball: pulling an offset from an image towards it does not leave the box.
        found = x + geometry.into_ball(moved.clamp(0.0, 1.0) - x, eps)
    return found.detach().clamp(0.0, 1.0)


def training_attack(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    p: Tensor,
    noise: Tensor,
    *,
    norm: str,
    eps: float,
    step: float,
    steps: int,
) -> Tensor:
    """The inner maximisation of TRADES (Zhang et al. 2019): climb KL(p(x) || p(x')).

    Args:
        model: images to logits (B, classes) float32, in the mode in which it is to be attacked.
        x: images, float32 (B, C, H, W) in [0,1].
        p: probabilities of the clean images (B, classes), as softmax gives them; no gradient flows through them.
        noise: of the shape of ``x``; uniform in [-1, 1) for linf, standard normal for l2.
        norm: "l2" or "linf".
        eps: radius.
        step: length of a step; the reference takes 2 eps / steps in l2.
        steps: how many.
    """
    target = p.detach()
    begin = (x + eps * noise).clamp(0.0, 1.0) if norm == "linf" else x + L2_START * noise

    def divergence(images: Tensor) -> Tensor:
        # Without the entropy of p, which is constant. Not from log-probabilities: near the image the gradient is the
        # small difference of two softmaxes, and both are to be rounded alike.
        return -(target * functional.log_softmax(model(images), 1)).sum()

    return pgd(x, begin, divergence, norm, eps, step, steps)


def margin_attack(
    model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, *, norm: str, eps: float, step: float, steps: int
) -> Tensor:
    """The attack that tracks robustness: climb the margin of the best wrong class, up to 0 (Carlini & Wagner 2017).

    An image that is fooled has no gradient and stays where it is. Put the model into evaluation mode, and freeze its
    parameters to save work.

    Args:
        model: images to logits (B, classes) float32.
        x: images, float32 (B, C, H, W) in [0,1].
        y: int64 (B), their classes.
        noise: uniform in [-1, 1), of the shape of ``x``.
        norm: "l2" or "linf".
        eps: radius.
        step: length of a step.
        steps: how many.
    """
    offset = eps * noise if norm == "linf" else (noise + 1.0) / 2.0 - x
    begin = (x + geometry_of(norm).into_ball(offset, eps)).clamp(0.0, 1.0)

    def margin(images: Tensor) -> Tensor:
        logits = model(images)
        right = logits.gather(1, y[:, None])
        wrong = logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True)
        total: Tensor = -(right - wrong).clamp(min=0.0).sum()
        return total

    with weights_frozen(model):
        return pgd(x, begin, margin, norm, eps, step, steps)
