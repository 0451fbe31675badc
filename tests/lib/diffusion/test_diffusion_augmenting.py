"""Augmentations: the maps do what the nine numbers tell, and the numbers are those of Karras et al."""

from __future__ import annotations

import numpy as np
import torch

from datarobust.diffusion.cloning import image_keys
from datarobust.diffusion.training import AUGMENT_DIM, augment, maps


def keys(count: int, seed: int = 0) -> np.ndarray:
    return image_keys(seed, np.zeros(count, np.int64), np.arange(count))


def test_without_probability_only_flips_happen_and_are_exact() -> None:
    images = torch.rand(40, 2, 6, 6) * 2 - 1
    found, told = augment(images, *maps(0.0, keys(40), 0))
    flipped = told[:, 0] == 1
    assert 5 < int(flipped.sum()) < 35
    assert torch.equal(found[~flipped], images[~flipped])
    torch.testing.assert_close(found[flipped], images[flipped].flip(3), rtol=0, atol=1e-5)
    assert not told[:, 1:].any()
    assert told.shape == (40, AUGMENT_DIM)


def rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_maps_are_those_of_karras_et_al() -> None:
    """Flips, scale, turn, stretch and translation, one after the other, by the numbers that are told."""
    found, told = maps(1.0, keys(50), 0)
    for matrix, numbers in zip(found, told, strict=True):
        x_flip, y_flip, scale, cos, sin, along, across, right, low = numbers
        np.testing.assert_allclose((1 + cos) ** 2 + sin**2, 1, rtol=1e-9)
        turned = rotation(-np.arctan2(sin, 1 + cos)) @ np.diag([(-1) ** x_flip, (-1) ** y_flip, 1])
        turned = np.diag([2 ** (0.2 * scale)] * 2 + [1]) @ turned
        expected = []
        for sign in (1, -1):  # a stretch, and its inverse along the opposite direction, are told by the same numbers
            length, angle = 2 ** (0.2 * sign * np.hypot(along, across)), np.arctan2(sign * across, sign * along)
            moved = rotation(-angle) @ np.diag([length, 1 / length, 1]) @ rotation(angle) @ turned
            moved[:2, 2] += [2 * right / 8, 2 * low / 8]
            expected.append(moved)
        forward = np.linalg.inv(matrix)
        assert min(np.abs(forward - moved).max() for moved in expected) < 1e-9


def test_the_numbers_are_told_as_they_are_drawn() -> None:
    """Standard normal ones for scale, stretch and translation: a published denoiser expects them so."""
    _, told = maps(1.0, keys(4000), 0)
    x_flip, y_flip, scale, cos, sin, along, across, right, low = told.T
    for normal in (scale, right, low):
        assert abs(normal.mean()) < 0.08
        assert abs(normal.std() - 1) < 0.05
    assert abs(np.sqrt((along**2 + across**2).mean()) - 1) < 0.05
    for half in (x_flip, y_flip, sin > 0, 1 + cos > 0, across == 0, y_flip == (sin > 0)):
        assert abs(np.mean(half) - 0.5) < 0.04
    _, told = maps(0.12, keys(4000), 0)
    shares = (told != 0).mean(0)
    expected = [0.5, 0.06, 0.12, 0.12, 0.12, 0.12, 0.06, 0.12, 0.12]
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_numbers_belong_to_images_and_parts() -> None:
    _, told = maps(0.5, keys(30), 0)
    _, some = maps(0.5, keys(30)[[7, 3]], 0)
    np.testing.assert_array_equal(some, told[[7, 3]])
    assert not np.array_equal(maps(0.5, keys(30), 1)[1], told)


def test_images_stay_in_their_range() -> None:
    images = (torch.rand(20, 1, 8, 8) > 0.5).float() * 2 - 1
    found, _ = augment(images, *maps(1.0, keys(20), 0))
    assert found.shape == images.shape
    assert float(found.abs().max()) <= 1.0
    assert not torch.equal(found, images)
