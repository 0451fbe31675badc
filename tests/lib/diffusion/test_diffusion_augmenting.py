"""Augmentations: the maps do what the nine numbers tell."""

from __future__ import annotations

import numpy as np
import torch

from datarobust.diffusion.cloning import image_keys
from datarobust.diffusion.training import AUGMENT_DIM, augment, maps


def keys(count: int, seed: int = 0) -> np.ndarray:
    return image_keys(seed, np.zeros(count, np.int64), np.arange(count))


def test_without_probability_only_flips_happen_and_are_exact() -> None:
    images = torch.rand(40, 2, 6, 6) * 2 - 1
    found, told = augment(images, 0.0, keys(40), 0)
    flipped = told[:, 0] == 1
    assert 5 < int(flipped.sum()) < 35
    assert torch.equal(found[~flipped], images[~flipped])
    torch.testing.assert_close(found[flipped], images[flipped].flip(3), rtol=0, atol=1e-5)
    assert not told[:, 1:].any()
    assert told.shape == (40, AUGMENT_DIM)


def test_maps_follow_from_what_is_told() -> None:
    found, told = maps(1.0, keys(50), 0)
    for matrix, numbers in zip(found, told, strict=True):
        x_flip, y_flip, scale, cos, sin, along, across, right, low = numbers
        forward = np.linalg.inv(matrix)
        # The area grows by the scale alone, and the sign of the determinant by flips alone.
        np.testing.assert_allclose(np.linalg.det(forward), np.exp(2 * scale) * (-1) ** (x_flip + y_flip), rtol=1e-9)
        np.testing.assert_allclose(forward[:2, 2], [2 * right, 2 * low], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose((1 + cos) ** 2 + sin**2, 1, rtol=1e-9)
        stretches = np.linalg.svd(forward[:2, :2])[1] / np.exp(scale)
        np.testing.assert_allclose(np.log(stretches[0]), np.hypot(along, across), rtol=1e-6, atol=1e-9)


def test_numbers_belong_to_images_and_parts() -> None:
    _, told = maps(0.5, keys(30), 0)
    _, some = maps(0.5, keys(30)[[7, 3]], 0)
    np.testing.assert_array_equal(some, told[[7, 3]])
    assert not np.array_equal(maps(0.5, keys(30), 1)[1], told)
    done = (told[:, 1:] != 0).mean(0)
    assert (done[1:] > 0.2).all()
    assert (done[1:] < 0.8).all()


def test_images_stay_in_their_range() -> None:
    images = (torch.rand(20, 1, 8, 8) > 0.5).float() * 2 - 1
    found, _ = augment(images, 1.0, keys(20), 0)
    assert found.shape == images.shape
    assert float(found.abs().max()) <= 1.0
    assert not torch.equal(found, images)
