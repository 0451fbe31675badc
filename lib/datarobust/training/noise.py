"""Random starts of attacks: each number follows from (seed, purpose, step, place of the image), on any device.

They are drawn on the processor by the counter-based Philox (see :mod:`datarobust.randomness`), so they do not depend on
the device, on how a batch is shared out, or on what was drawn before. Only the last bits of normal numbers depend on
the machine's logarithm.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from datarobust.randomness import Domain


def uniform(
    shape: tuple[int, ...], seed: int, purpose: Domain, number: int, first: int = 0, device: torch.device | None = None
) -> torch.Tensor:
    """Numbers uniform in [-1, 1), multiples of 2^-23.

    Args:
        shape: (B, ...) of the images.
        seed: of the training.
        purpose: what they are for.
        number: of the step or the epoch.
        first: place of the first image among those of the step.
        device: where they go.

    Returns:
        float32 of that shape.
    """
    values = _unit(shape, seed, purpose, number, first)[:, : math.prod(shape[1:])]
    values = np.multiply(values, np.float32(2.0), order="C")
    values -= np.float32(1.0)
    return torch.from_numpy(values.reshape(shape)).to(device)


def normal(
    shape: tuple[int, ...], seed: int, purpose: Domain, number: int, first: int = 0, device: torch.device | None = None
) -> torch.Tensor:
    """Numbers of the standard normal distribution (Box and Muller 1958); arguments as for :func:`uniform`."""
    drawn = _unit(shape, seed, purpose, number, first)
    drawn = drawn.reshape(shape[0], drawn.shape[1] // 2, 2)
    # In double precision, rounded at the end: what vector and scalar code make of one number then rounds alike.
    length = np.sqrt(-2.0 * np.log(drawn[..., 0].astype(np.float64) + 2.0**-24))
    turn = drawn[..., 1].astype(np.float64) * (2.0 * math.pi)
    pairs = np.stack([length * np.cos(turn), length * np.sin(turn)], axis=2).astype(np.float32)
    values = np.ascontiguousarray(pairs.reshape(shape[0], 2 * drawn.shape[1])[:, : math.prod(shape[1:])])
    return torch.from_numpy(values.reshape(shape)).to(device)


def _unit(shape: tuple[int, ...], seed: int, purpose: Domain, number: int, first: int) -> npt.NDArray[np.float32]:
    """Numbers uniform in [0, 1), multiples of 2^-24: (B, at least one for each number of an image)."""
    steps = -(-math.prod(shape[1:]) // 8)  # Philox makes eight of 32 bits a step of its counter
    key = np.array([seed, purpose.of(number)], np.uint64)
    philox = np.random.Generator(np.random.Philox(key=key, counter=first * steps))
    return philox.random((shape[0], 8 * steps), np.float32)
