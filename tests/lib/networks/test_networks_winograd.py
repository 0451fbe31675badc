"""Convolutions by Winograd's algorithm are convolutions, but for rounding, and so are their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datarobust.networks import winograd


def sample(images: int, inputs: int, outputs: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, inputs, height, width, generator=generator)
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator) / (3 * inputs**0.5)
    return (
        x.contiguous(memory_format=torch.channels_last).requires_grad_(True),
        weight.contiguous(memory_format=torch.channels_last).requires_grad_(True),
    )


def ours(x: Tensor, weight: Tensor) -> Tensor:
    direct, turned = winograd.buffers(weight)
    winograd.transform(weight, direct, turned)
    return winograd.Convolution.apply(x, weight, direct, turned)


def exact(x: Tensor, weight: Tensor, towards: Tensor) -> tuple[Tensor, ...]:
    """The convolution and its gradients in double precision."""
    wide = [tensor.detach().double().requires_grad_(True) for tensor in (x, weight)]
    y = F.conv2d(*wide, padding=1)
    return (y.detach(), *torch.autograd.grad(y, wide, towards.double()))


def assert_near(found: Tensor, expected: Tensor, most: float) -> None:
    assert float((found.detach().double() - expected).norm() / expected.norm()) < most


@settings(deadline=None, max_examples=25)
@given(
    images=st.integers(1, 5),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    seed=st.integers(0, 99),
    block=st.sampled_from([4, 1 << 12, 1 << 22]),
)
def test_any_shape(images: int, inputs: int, outputs: int, height: int, width: int, seed: int, block: int) -> None:
    x, weight = sample(images, inputs, outputs, height, width, seed)
    towards = torch.randn(images, outputs, height, width, generator=torch.Generator().manual_seed(seed + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_BLOCK", block)
        y = ours(x, weight)
        found = (y, *torch.autograd.grad(y, [x, weight], towards))
    for mine, expected in zip(found, exact(x, weight, towards), strict=True):
        assert mine.shape == expected.shape
        assert_near(mine, expected, 5e-6)


def test_errors_are_those_of_rounding() -> None:
    """About twice the direct convolution's; with the usual points they would be three times larger."""
    x, weight = sample(4, 160, 192, 16, 16)
    towards = torch.randn(4, 192, 16, 16, generator=torch.Generator().manual_seed(1))
    y = ours(x, weight)
    for mine, expected in zip(
        (y, *torch.autograd.grad(y, [x, weight], towards)), exact(x, weight, towards), strict=True
    ):
        assert_near(mine, expected, 2.5e-6)


def test_results_are_channels_last_as_the_network_is() -> None:
    x, weight = sample(2, 5, 7, 8, 6)
    y = ours(x, weight)
    gradients = torch.autograd.grad(y.sum(), [x, weight])
    for tensor in (y, *gradients):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_an_image_in_another_order_of_memory() -> None:
    x, weight = sample(2, 5, 7, 8, 6)
    torch.testing.assert_close(ours(x.detach().contiguous(), weight.detach()), ours(x.detach(), weight.detach()))


def test_batches_by_blocks_are_the_same_convolution() -> None:
    x, weight = sample(9, 4, 4, 8, 8)
    whole = ours(x, weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_BLOCK", 1 << 12)
        assert len(winograd._blocks(9, 4 * 4, 0)) == 9
        torch.testing.assert_close(ours(x, weight), whole)


@pytest.mark.parametrize(
    ("shape", "weight", "expected"),
    [
        ((2, 160, 32, 32), (160, 160, 3, 3), True),
        ((2, 320, 28, 28), (320, 320, 3, 3), True),
        ((2, 64, 32, 32), (64, 64, 3, 3), False),  # few channels
        ((2, 160, 32, 32), (160, 160, 1, 1), False),
        ((2, 640, 2, 2), (640, 640, 3, 3), False),  # tiles would mostly stand over
    ],
)
def test_where_it_pays(shape: tuple[int, ...], weight: tuple[int, ...], expected: bool) -> None:
    x, w = torch.empty(shape, device="meta"), torch.empty(weight, device="meta")
    assert not winograd.pays(x, w)  # on processors alone
    x, w = torch.empty(shape), torch.empty(weight)
    assert winograd.pays(x, w) == expected
    assert not winograd.pays(x.bfloat16(), w)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.pays(x, w)
