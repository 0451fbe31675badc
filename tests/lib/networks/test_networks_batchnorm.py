"""Batch statistics by groups are those of devices that share a batch."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from datarobust.errors import UsageError
from datarobust.networks import build
from datarobust.networks.classifier import BatchNorm2d


def layer(group: int) -> BatchNorm2d:
    norm = BatchNorm2d(3, momentum=0.1)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, 3.0]))
    norm.group = group
    return norm


def devices(norm: nn.BatchNorm2d, x: Tensor, group: int) -> Tensor:
    """What several devices do: a copy of the layer for each group; the first one's running statistics are kept."""
    copies = [copy.deepcopy(norm) for _ in x.split(group)]
    found = torch.cat([each(part) for each, part in zip(copies, x.split(group), strict=True)])
    norm.load_state_dict(copies[0].state_dict())
    return found


@settings(max_examples=30)
@given(group=st.integers(1, 5), groups=st.integers(1, 4), seed=st.integers(0, 99), last=st.booleans())
def test_groups_are_devices(group: int, groups: int, seed: int, last: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(group * groups, 3, 4, 5, generator=generator) * 2 + 1
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    mine, theirs = layer(group), nn.BatchNorm2d(3, momentum=0.1)
    theirs.load_state_dict(mine.state_dict())
    left, right = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    found, expected = mine(left), devices(theirs, right, group)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], msg=name)
    weights = torch.randn(found.shape, generator=generator)
    (left_gradient,) = torch.autograd.grad(found, [left], weights)
    (right_gradient,) = torch.autograd.grad(expected, [right], weights)
    torch.testing.assert_close(left_gradient, right_gradient, atol=1e-4, rtol=1e-4)


def test_gradients_of_weights_sum_over_groups() -> None:
    x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    norm = layer(2)
    norm(x).square().sum().backward()
    whole = [parameter.grad.clone() for parameter in norm.parameters() if parameter.grad is not None]
    norm.zero_grad()
    for part in x.split(2):
        norm(part).square().sum().backward()
    for mine, parameter in zip(whole, norm.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad)


def test_evaluation_knows_no_groups() -> None:
    x = torch.randn(5, 3, 4, 4)
    norm, plain = layer(2).eval(), layer(0).eval()
    assert torch.equal(norm(x), plain(x))


def test_without_tracking_nothing_is_remembered() -> None:
    norm = layer(2)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(4, 3, 4, 4)
    tracked = layer(2)(x)
    norm.track_running_stats = False
    assert torch.equal(norm(x), tracked)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_a_group_that_does_not_divide_the_batch() -> None:
    with pytest.raises(UsageError, match="statistics of 4 images do not divide a batch of 6"):
        layer(4)(torch.zeros(6, 3, 2, 2))


def test_the_registry_sets_the_group() -> None:
    model = build({"name": "wrn-10-1"}, bn_group=8)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 7
    assert {norm.group for norm in norms if isinstance(norm, BatchNorm2d)} == {8}
    assert len(model.state_dict()) == len(build({"name": "wrn-10-1"}).state_dict())
