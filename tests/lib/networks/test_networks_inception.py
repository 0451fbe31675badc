"""Inception of 2015, against plain functions; names and shapes against those of the published file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from datarobust.networks.inception import SIDE, Inception, enlarged

from .inception_twin import resized, seeded, trunk

NAMES = "8cdd2faeb41211e17f0fb47e66168d0cb1f981aa773b5f44e5b9cc93857fe492"
"""sha256 over names and shapes of the published file."""


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return seeded({name: tuple(tensor.shape) for name, tensor in Inception().state_dict().items()})


@pytest.fixture(scope="module")
def network(state: dict[str, torch.Tensor]) -> Inception:
    made = Inception()
    made.load_state_dict(state)
    return made.prepared(torch.device("cpu"))


def test_names_and_shapes_are_those_of_the_published_file(state: dict[str, torch.Tensor]) -> None:
    lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in state.items())
    assert len(lines) == 566
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == NAMES


def test_the_fingerprint_is_that_of_the_published_names(shared: Path) -> None:
    lines = (shared / "oracles" / "keys" / "keys_inception.txt").read_text(encoding="utf-8").splitlines()
    assert hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() == NAMES


def test_features_are_those_of_the_twin(network: Inception, state: dict[str, torch.Tensor]) -> None:
    """Prepared, with batch norms multiplied in."""
    x = torch.rand((2, 3, 75, 77), generator=torch.Generator().manual_seed(75)) * 2 - 1
    with torch.no_grad():
        found = network.features(x.contiguous(memory_format=torch.channels_last))
        wanted = trunk({name: tensor.double() for name, tensor in state.items()}, x.double())
    assert found.shape == (2, 2048)
    assert wanted.std() > 1e-2, "signals are alive"
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_an_image_of_bytes(network: Inception, state: dict[str, torch.Tensor]) -> None:
    """Start to end at 299 x 299: resize, scale, network; grey is each colour."""
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        found = network(torch.from_numpy(image))
        large = torch.from_numpy(resized(image[0, 0], SIDE))
        wanted = trunk(state, ((large - 128) * 0.0078125).expand(1, 3, -1, -1))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(("height", "width", "side"), [(8, 5, 23), (32, 32, 57), (40, 31, 17), (1, 1, 4)])
def test_resize_is_tensorflow_1s_to_the_bit(height: int, width: int, side: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    found = enlarged(torch.from_numpy(images).float(), side).numpy()
    for image in range(2):
        for channel in range(3):
            np.testing.assert_array_equal(found[image, channel], resized(images[image, channel], side))
