"""A whole batch cropped and flipped at once is what one image after the other would be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.randomness import Domain, row_keys
from datarobust.training.images import PAD, augment


def images(count: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), np.uint8)
    return torch.from_numpy(values)


def one_by_one(batch: torch.Tensor, kind: str, seed: int, step: int) -> np.ndarray:
    """The obvious way: pad, cut, mirror."""
    found = []
    for place, image in enumerate(batch.numpy()):
        key = int(row_keys(seed, Domain.AUGMENT.of(step), place, place + 1)[0])
        dy, dx = ((key & 0xFFFF) * 9 >> 16, (key >> 16 & 0xFFFF) * 9 >> 16)
        flip = (key >> 32 & 0xFFFF) * 2 >> 16
        _, height, width = image.shape
        padded = np.pad(image, ((0, 0), (PAD, PAD), (PAD, PAD)))
        cut = padded[:, dy : dy + height, dx : dx + width]
        found.append(cut[:, :, ::-1] if flip and kind != "crop" else cut)
    return np.stack(found).astype(np.float32) / np.float32(255.0)


@settings(max_examples=40)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    kind=st.sampled_from(["crop", "crop-flip"]),
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(0, 10**6),
)
def test_it_is_the_obvious_way(
    count: int, channels: int, height: int, width: int, kind: str, seed: int, step: int
) -> None:
    batch = images(count, channels, height, width)
    np.testing.assert_array_equal(augment(batch, kind, seed, step).numpy(), one_by_one(batch, kind, seed, step))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["crop", "crop-flip", "cifar100", "none"])
def test_parts_of_a_batch_are_the_batch(kind: str) -> None:
    batch = images(12, 3, 8, 8)
    whole = augment(batch, kind, 5, 9)  # type: ignore[arg-type]
    parts = [augment(batch[start : start + 4], kind, 5, 9, first=start) for start in (0, 4, 8)]  # type: ignore[arg-type]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert whole.dtype == torch.float32


def test_every_shift_and_both_directions_come_up() -> None:
    batch = torch.zeros(4000, 1, 9, 9, dtype=torch.uint8)
    batch[:, 0, 4, 4] = 255
    batch[:, 0, 4, 5] = 128
    found = augment(batch, "crop-flip", 1, 2)
    places = {tuple(np.argwhere(image[0] == 1.0)[0]) for image in found.numpy() if (image == 1.0).any()}
    assert places == {(y, x) for y in range(9) for x in range(9)}
    mirrored = sum(
        1 for image in found.numpy()[:, 0] for y, x in np.argwhere(image == 1.0) if x and 0.4 < image[y, x - 1] < 0.6
    )
    assert 1500 < mirrored < 2100


def test_rotations_stay_within_fifteen_degrees_and_keep_pixels() -> None:
    batch = images(64, 3, 32, 32)
    batch[:, :, 15:17, 15:17] = 77
    plain = augment(batch, "crop-flip", 3, 4)
    turned = augment(batch, "cifar100", 3, 4)
    levels = set(np.unique(batch.numpy()).astype(np.float32) / np.float32(255.0)) | {0.0}
    assert set(np.unique(turned.numpy())) <= levels  # nearest pixel: no new values
    same = [float((a == b).float().mean()) for a, b in zip(plain, turned, strict=True)]
    assert 0.001 < min(same) < 0.5  # some turn far
    assert max(same) > 0.7  # some hardly


def test_a_quarter_turn_would_be_a_quarter_turn() -> None:
    from datarobust.training.images import _rotate

    image = torch.arange(16, dtype=torch.float32).view(1, 1, 4, 4)
    for degrees, turned in (
        (0.0, image),
        (90.0, torch.rot90(image, 1, (2, 3))),
        (180.0, torch.rot90(image, 2, (2, 3))),
    ):
        assert torch.equal(_rotate(image, torch.tensor([degrees], dtype=torch.float64)), turned)
