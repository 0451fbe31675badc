"""Augmentations that a denoiser is told of, so that it does not make augmented images (Karras et al. 2020, 2022).

Nine numbers tell what was done to an image: x flip, y flip, ln of the scale, cos - 1 and sin of the rotation, the
logarithm of the stretch times cos and sin of its direction, and the translation in x and y. Zeros: nothing was.
Everything is one affine map of each image, its border mirrored.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datarobust.diffusion.starts import Keys, normals, uniforms
from datarobust.types import Floats

LABELS = 9
"""Numbers that tell what was done."""
SCALE_STD = 0.2
"""Of log2 of scale and stretch."""
SHIFT_STD = 0.125
"""Of the translation, in sides of the image."""


def augment(images: Tensor, probability: float, keys: Keys, part: int) -> tuple[Tensor, Tensor]:
    """Augmented images and what was done to them.

    Args:
        images: float32 (B, C, H, W).
        probability: of each of scale, rotation, stretch, translation and y flip; an x flip has probability 1/2.
        keys: of the images' random numbers.
        part: of those numbers.

    Returns:
        float32 (B, C, H, W), and float32 (B, 9).
    """
    matrices, numbers = maps(probability, keys, part)
    thetas = torch.from_numpy(matrices[:, :2].astype(np.float32)).to(images.device)
    grid = F.affine_grid(thetas, list(images.shape), align_corners=False)
    mapped = F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    same = torch.from_numpy((matrices == np.eye(3)).all((1, 2))).to(images.device)  # exact, where nothing was done
    augmented = torch.where(same[:, None, None, None], images, mapped.clip(-1, 1))
    return augmented, torch.from_numpy(numbers.astype(np.float32)).to(images.device)


def maps(probability: float, keys: Keys, part: int) -> tuple[Floats, Floats]:
    """Where each pixel of an augmented image is from, (B, 3, 3) in coordinates from -1 to 1, and the nine numbers."""
    chance, angle = uniforms(keys, 2 * part, 6), uniforms(keys, 2 * part + 1, 2)
    drawn = normals(keys, (1 << 32) + part, (4,)).astype(np.float64)  # far from the parts that noise is made of
    done = chance < probability
    x_flip, y_flip = chance[:, 0] < 0.5, done[:, 1] & (angle[:, 0] < 0.5)
    scale = np.where(done[:, 2], drawn[:, 0] * SCALE_STD * math.log(2), 0.0)
    turn = np.where(done[:, 3], (angle[:, 0] * 2 - 1) * math.pi, 0.0)
    stretch = np.where(done[:, 4], drawn[:, 1] * SCALE_STD * math.log(2), 0.0)
    direction = np.where(done[:, 4], (angle[:, 1] * 2 - 1) * math.pi, 0.0)
    shift = np.where(done[:, 5:], drawn[:, 2:] * SHIFT_STD, 0.0)
    moved = _affine(np.exp(scale), np.exp(scale), shift * 2)
    moved = moved @ _rotation(turn) @ _rotation(direction)
    moved = moved @ _affine(np.exp(stretch), np.exp(-stretch), np.zeros_like(shift)) @ _rotation(-direction)
    moved = moved @ _affine(np.where(x_flip, -1.0, 1.0), np.where(y_flip, -1.0, 1.0), np.zeros_like(shift))
    numbers = [x_flip, y_flip, scale, np.cos(turn) - 1, np.sin(turn)]
    numbers += [stretch * np.cos(direction), stretch * np.sin(direction), shift[:, 0], shift[:, 1]]
    inverse: Floats = np.linalg.inv(moved).astype(np.float64)
    return inverse, np.stack([number.astype(np.float64) for number in numbers], 1)


def _affine(x: Floats, y: Floats, shift: Floats) -> Floats:
    """Matrices (B, 3, 3) that scale x and y, then shift by (B, 2)."""
    matrices = np.zeros((len(x), 3, 3))
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 2, 2] = x, y, 1.0
    matrices[:, :2, 2] = shift
    return matrices


def _rotation(angle: Floats) -> Floats:
    """Matrices (B, 3, 3) that turn by angles (B)."""
    matrices = np.zeros((len(angle), 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0] = np.sin(angle)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    matrices[:, 2, 2] = 1.0
    return matrices
