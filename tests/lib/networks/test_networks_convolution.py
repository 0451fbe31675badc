"""What is made of weights once is never stale and never seen; frozen weights have no gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from datarobust.networks import winograd
from datarobust.networks.convolution import Conv2d, weights_frozen, weights_kept
from datarobust.networks.precision import casting, products


class Net(nn.Module):
    """A convolution that takes Winograd's way within :func:`weights_kept`, and two that never do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.wide, self.last = (
            Conv2d(3, 128, 3, padding=1),
            Conv2d(128, 128, 3, padding=1),
            Conv2d(128, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.wide(self.first(x).relu()).relu()).mean((2, 3))


@pytest.fixture
def net() -> Net:
    return Net().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def gradients(net: Net, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(net(x).square().sum(), list(net.parameters())))


def test_within_the_network_is_the_same(net: Net, x: Tensor) -> None:
    expected = [net(x).detach(), *gradients(net, x)]
    with weights_kept(net):
        found = [net(x).detach(), *gradients(net, x)]
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    assert not torch.equal(found[0], expected[0])  # it did go another way


def test_weights_are_transformed_once(net: Net, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(winograd, "transform", lambda *given, real=winograd.transform: calls.append(1) or real(*given))
    with weights_kept(net):
        for _ in range(3):
            net(x)
        with weights_kept(net), weights_frozen(net):
            net(x)
        net(x)
    assert len(calls) == 1


def test_a_changed_weight_is_seen(net: Net, x: Tensor) -> None:
    for train in (True, False):
        net.train(train)
        with weights_kept(net):
            before = net(x).detach()
        with torch.no_grad():
            net.wide.weight.mul_(-2.0)
        plain = net(x).detach()
        with weights_kept(net):
            found = net(x).detach()
        torch.testing.assert_close(found, plain, atol=1e-6, rtol=1e-4)
        assert not torch.allclose(found, before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frozen_convolutions_have_no_gradient(net: Net, x: Tensor, precision: str) -> None:
    images = x.clone().requires_grad_(True)
    with weights_frozen(net):
        with casting(precision, "cpu"):  # type: ignore[arg-type]
            found = net(images).float()
        (gradient,) = torch.autograd.grad(found.square().sum(), [images], retain_graph=True)
        assert torch.autograd.grad(found.sum(), list(net.parameters()), allow_unused=True) == (None, None, None)
    with casting(precision, "cpu"):  # type: ignore[arg-type]
        expected = net(images).float()
    (plain,) = torch.autograd.grad(expected.square().sum(), [images])
    close = {"atol": 1e-6, "rtol": 1e-3} if precision == "fp32" else {"atol": 0.0, "rtol": 0.0}
    torch.testing.assert_close(found, expected, **close)
    torch.testing.assert_close(gradient, plain, **close)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert len(gradients(net, x)) == 3


def test_casts_are_made_once_and_given_up(net: Net, x: Tensor) -> None:
    with weights_frozen(net):
        with casting("bf16", "cpu"):
            net(x)
            held = net.wide.kept.casts[torch.bfloat16]
            net(x)
        assert net.wide.kept.casts[torch.bfloat16] is held
        assert held.dtype == torch.bfloat16
        assert not held.requires_grad
    assert not net.wide.kept.casts


def test_the_modes_end_where_an_error_ends_them(net: Net) -> None:
    def fail() -> None:
        with weights_kept(net), weights_frozen(net):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not net.wide.kept.frozen
    assert net.wide.kept.depth == 0


def test_memory_is_kept_in_training_alone(net: Net, x: Tensor) -> None:
    with weights_kept(net):
        net(x)
    assert len(net.wide.kept.transforms) == 2
    assert not net.first.kept.transforms
    net.eval()
    with weights_kept(net):
        net(x)
    assert not net.wide.kept.transforms


def test_a_copy_and_the_state_dict_know_nothing_of_it(net: Net, x: Tensor) -> None:
    with weights_kept(net):
        net(x)
        assert set(net.state_dict()) == {"first.weight", "wide.weight", "last.weight"}
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.wide.weight.zero_()
    with weights_kept(other):
        assert not other(x).any()
    with weights_kept(net):
        assert net(x).any()


def test_a_graph_from_within_is_not_used_with_other_weights(net: Net, x: Tensor) -> None:
    """The transforms' memory is filled anew in the next step: autograd refuses a graph that is older."""
    with weights_kept(net):
        loss = net(x).sum()
    with torch.no_grad():
        net.wide.weight.zero_()
    with weights_kept(net):
        net(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_products_in_tf32_are_allowed_within_alone() -> None:
    def flags() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = flags()
    for precision, expected in (("fp32", False), ("bf16", False), ("tf32", True)):
        with products(precision):  # type: ignore[arg-type]
            assert flags() == (expected, expected)
        assert flags() == before
    with pytest.raises(ZeroDivisionError), products("tf32"):
        raise ZeroDivisionError
    assert flags() == before
