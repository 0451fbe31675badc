"""Projected gradient descent (Madry et al. 2018): one loop for training, tracking and focus.

Gradients are taken with respect to images alone, by ``torch.autograd.grad``, so an attack cannot leave a gradient
behind in a parameter. The noise of random starts is given by the caller: an attack draws nothing.

The training attack of TRADES and the tracking attack differ in what they climb and where they start:

============  ==================================  =================================================
training      KL(p(x) || p(x'))                   linf: uniform in the ball; l2: 0.001 x normal
tracking      the margin of the wrong classes     linf: uniform in the ball; l2: a uniform image,
              over the right one, up to 0         brought into the ball
============  ==================================  =================================================

What differs from norm to norm is the norm's :class:`datarobust.norms.Ball`. Each number of the noise follows from
(seed, domain, step, place of the image), whatever the device and however a batch is shared out. Only the last bits of
normal numbers depend on the machine's logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from datarobust.devices import uniforms
from datarobust.norms import ball_of
from datarobust.randomness import Domain

Network = Callable[[Tensor], Tensor]
"""From images to logits."""


def pgd(
    x: Tensor, begin: Tensor, loss: Callable[[Tensor], Tensor], norm: str, eps: float, step: float, steps: int
) -> Tensor:
    """Climb a loss within the ball of radius eps around images and within [0,1], from ``begin``, in so many steps.

    Images are float32 (B, C, H, W) in [0,1]; ``loss`` takes them to the sum of their losses. Returns the last ones,
    detached; each within eps of its original up to rounding.

    Raises UsageError where there is no such norm, or no attack in it.
    """
    ball = ball_of(norm)
    x_adv = begin.detach()
    for _ in range(steps):
        x_adv = x_adv.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(x_adv), [x_adv])
        moved = x_adv.detach() + step * ball.steepest(gradient)
        # First the box, then the ball: pulling an offset from an image towards it does not leave the box.
        x_adv = x + ball.project(moved.clamp(0.0, 1.0) - x, eps)
    return x_adv.detach().clamp(0.0, 1.0)


def training_attack(
    model: Network, x: Tensor, p: Tensor, noise: Tensor, *, norm: str, eps: float, step: float, steps: int
) -> Tensor:
    """The inner maximisation of TRADES (Zhang et al. 2019): climb KL(p(x) || p(x')).

    ``model`` takes images to logits (B, classes) float32, in the mode in which it is to be attacked. ``p`` are
    probabilities of the clean images, as softmax gives them; no gradient flows through them. ``noise`` is from
    :func:`start_noise`, as the norm has it.
    """
    target = p.detach()
    begin = ball_of(norm).training_start(x, noise, eps)

    def divergence(images: Tensor) -> Tensor:
        # Without the entropy of p, which is constant. Not from log-probabilities: near the image the gradient is the
        # small difference of two softmaxes, and both are to be rounded alike.
        return -(target * functional.log_softmax(model(images), 1)).sum()

    return pgd(x, begin, divergence, norm, eps, step, steps)


def margin_attack(
    model: Network, x: Tensor, y: Tensor, noise: Tensor, *, norm: str, eps: float, step: float, steps: int
) -> Tensor:
    """The attack that tracks robustness: climb the margin of the best wrong class, up to 0 (Carlini & Wagner 2017).

    An image that is fooled has no gradient and stays where it is. Put the model into evaluation mode, and freeze its
    parameters to save work. ``noise`` is uniform.
    """
    ball = ball_of(norm)
    begin = (x + ball.project(ball.tracking_offset(x, noise, eps), eps)).clamp(0.0, 1.0)

    def margin(images: Tensor) -> Tensor:
        logits = model(images)
        right = logits.gather(1, y[:, None])
        wrong = logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True)
        total: Tensor = -(right - wrong).clamp(min=0.0).sum()
        return total

    return pgd(x, begin, margin, norm, eps, step, steps)


def start_noise(
    kind: Literal["uniform", "normal"],
    shape: tuple[int, ...],
    seed: int,
    domain: Domain,
    number: int,
    first: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """The noise of random starts, float32 of the shape (B, ...) of images.

    It is uniform in [-1, 1), multiples of 2^-23, or standard normal (Box and Muller 1958). ``number`` is that of the
    step or the epoch, ``first`` the place of the first image among those of the step.
    """
    size = math.prod(shape[1:])
    steps = -(-size // 8)  # Philox makes eight of 32 bits a step of its counter
    place = torch.device("cpu") if device is None else device
    drawn = uniforms(seed, domain.of(number), first * steps, shape[0] * steps, place).view(shape[0], 8 * steps)
    values = drawn.mul(2.0).sub_(1.0) if kind == "uniform" else _normal(drawn)
    return values[:, :size].reshape(shape)


def _normal(uniform: Tensor) -> Tensor:
    """Standard normal numbers (B, 2 n) of uniform ones in [0, 1), multiples of 2^-24."""
    # In double precision, rounded at the end: what vector and scalar code make of one number then rounds alike.
    pairs: Any = uniform.double().view(len(uniform), uniform.shape[1] // 2, 2)
    library: Any = torch
    if uniform.device.type == "cpu":  # the same functions of NumPy: its bits do not change with PyTorch
        pairs, library = pairs.numpy(), np
    length = library.sqrt(-2.0 * library.log(pairs[..., 0] + 2.0**-24))
    turn = pairs[..., 1] * (2.0 * math.pi)
    values = torch.as_tensor(library.stack([length * library.cos(turn), length * library.sin(turn)], 2))
    return values.float().flatten(1)
