"""Crops, flips and rotations of a whole batch at once, where the images are; a function of (seed, step, place)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from datarobust.randomness import Domain, row_keys

if TYPE_CHECKING:
    from datarobust.training.recipe import Augment

PAD = 4
"""Pixels of black around an image before it is cropped to its size again."""
MOST_DEGREES = 15.0
"""Rotations of CIFAR-100 are uniform from -15 to 15 degrees."""


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 to float32 in [0,1]."""
    return images.to(torch.float32).div_(255.0)


def augment(images: torch.Tensor, kind: Augment, seed: int, step: int, first: int = 0) -> torch.Tensor:
    """Augmented images, as the reference has them: zero padding, random crop, flip; then rotation for CIFAR-100.

    Args:
        images: uint8 (B, C, H, W), on any device.
        kind: "crop-flip", "crop", "none" or "cifar100" (crop, flip and rotation by at most 15 degrees, nearest pixel).
        seed: of the training.
        step: of the training, from 0.
        first: place of the first of these images in the batch, where processes share one.

    Returns:
        float32 (B, C, H, W) in [0,1], in channels-last order of memory.
    """
    if kind == "none":
        return to_float(images).contiguous(memory_format=torch.channels_last)
    keys = row_keys(seed, Domain.AUGMENT.of(step), first, first + len(images))
    shifts = 2 * PAD + 1
    dy, dx = _below(keys, 0, shifts), _below(keys, 16, shifts)
    flip = _below(keys, 32, 2) if kind != "crop" else np.zeros(len(keys), np.int64)
    found = to_float(_crop(images, dy, dx, flip))
    if kind == "cifar100":
        degrees = (_below(keys, 40, 1 << 16) / ((1 << 16) - 1) * 2.0 - 1.0) * MOST_DEGREES
        found = _rotate(found, degrees)
    return found


def _below(keys: npt.NDArray[np.uint64], shift: int, count: int) -> npt.NDArray[np.int64]:
    """16 bits of each key as a number 0..count-1; the counts here divide 2^16 to within 0.01 %."""
    bits = (keys >> np.uint64(shift)) & np.uint64(0xFFFF)
    return (bits * np.uint64(count) >> np.uint64(16)).astype(np.int64)


def _crop(
    images: torch.Tensor, dy: npt.NDArray[np.int64], dx: npt.NDArray[np.int64], flip: npt.NDArray[np.int64]
) -> torch.Tensor:
    """Each image, padded, from its own corner on, mirrored where ``flip`` is 1: one gather for the batch."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (PAD, PAD, PAD, PAD)).permute(0, 2, 3, 1).contiguous()
    rows = dy[:, None] + np.arange(height)
    across = np.arange(width)
    columns = dx[:, None] + np.where(flip[:, None] == 1, across[::-1], across)
    wide = width + 2 * PAD
    place = (np.arange(count)[:, None, None] * (height + 2 * PAD) + rows[:, :, None]) * wide + columns[:, None, :]
    index = torch.from_numpy(place.reshape(-1)).to(images.device)
    flat = padded.view(-1, images.shape[1]).index_select(0, index)
    return flat.view(count, height, width, -1).permute(0, 3, 1, 2)


def _rotate(images: torch.Tensor, degrees: npt.NDArray[np.float64]) -> torch.Tensor:
    """Each image turned about its centre, the nearest pixel taken, black outside."""
    angle = torch.from_numpy(degrees * math.pi / 180.0).to(images.device, torch.float32)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    ratio = images.shape[2] / images.shape[3]
    turn = torch.stack([torch.stack([cos, -sin * ratio, zero], 1), torch.stack([sin / ratio, cos, zero], 1)], 1)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
    found = functional.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return found.contiguous(memory_format=torch.channels_last)
