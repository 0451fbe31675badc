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

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from datarobust.norms import ball_of
from datarobust.randomness import Domain


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

    ``model`` takes images to logits (B, classes) float32, in the mode in which it is to be attacked. ``p`` are
    probabilities of the clean images, as softmax gives them; no gradient flows through them. ``noise`` is from
    :func:`training_noise`.
    """
    target = p.detach()
    begin = ball_of(norm).training_start(x, noise, eps)

    def divergence(images: Tensor) -> Tensor:
        # Without the entropy of p, which is constant. Not from log-probabilities: near the image the gradient is the
        # small difference of two softmaxes, and both are to be rounded alike.
        return -(target * functional.log_softmax(model(images), 1)).sum()

    return pgd(x, begin, divergence, norm, eps, step, steps)


def margin_attack(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    noise: Tensor,
    *,
    norm: str,
    eps: float,
    step: float,
    steps: int,
) -> Tensor:
    """The attack that tracks robustness: climb the margin of the best wrong class, up to 0 (Carlini & Wagner 2017).

    An image that is fooled has no gradient and stays where it is. Put the model into evaluation mode, and freeze its
    parameters to save work. ``noise`` is from :func:`uniform_noise`.
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


# ------------------------------------------------------------------------------------------- noise of random starts


def uniform_noise(
    shape: tuple[int, ...], seed: int, domain: Domain, number: int, first: int = 0, device: torch.device | None = None
) -> Tensor:
    """Numbers uniform in [-1, 1), multiples of 2^-23: float32 of the shape (B, ...) of images.

    ``number`` is that of the step or the epoch, ``first`` the place of the first image among those of the step.
    """
    values = _unit(shape, seed, domain, number, first)[:, : math.prod(shape[1:])]
    values = np.multiply(values, np.float32(2.0), order="C")
    values -= np.float32(1.0)
    return torch.from_numpy(values.reshape(shape)).to(device)


def normal_noise(
    shape: tuple[int, ...], seed: int, domain: Domain, number: int, first: int = 0, device: torch.device | None = None
) -> Tensor:
    """Numbers of the standard normal distribution (Box and Muller 1958); arguments as for :func:`uniform_noise`."""
    drawn = _unit(shape, seed, domain, number, first)
    drawn = drawn.reshape(shape[0], drawn.shape[1] // 2, 2)
    # In double precision, rounded at the end: what vector and scalar code make of one number then rounds alike.
    length = np.sqrt(-2.0 * np.log(drawn[..., 0].astype(np.float64) + 2.0**-24))
    turn = drawn[..., 1].astype(np.float64) * (2.0 * math.pi)
    pairs = np.stack([length * np.cos(turn), length * np.sin(turn)], axis=2).astype(np.float32)
    values = np.ascontiguousarray(pairs.reshape(shape[0], 2 * drawn.shape[1])[:, : math.prod(shape[1:])])
    return torch.from_numpy(values.reshape(shape)).to(device)


def training_noise(
    norm: str, shape: tuple[int, ...], seed: int, number: int, first: int = 0, device: torch.device | None = None
) -> Tensor:
    """Noise of the training attack in step ``number``: uniform or normal, as the norm has it."""
    draw = {"uniform": uniform_noise, "normal": normal_noise}[ball_of(norm).training_noise]
    return draw(shape, seed, Domain.TRAIN, number, first, device)


def _unit(shape: tuple[int, ...], seed: int, domain: Domain, number: int, first: int) -> npt.NDArray[np.float32]:
    """Numbers uniform in [0, 1), multiples of 2^-24: (B, at least one for each number of an image)."""
    steps = -(-math.prod(shape[1:]) // 8)  # Philox makes eight of 32 bits a step of its counter
    key = np.array([seed, domain.of(number)], np.uint64)
    philox = np.random.Generator(np.random.Philox(key=key, counter=first * steps))
    return philox.random((shape[0], 8 * steps), np.float32)
