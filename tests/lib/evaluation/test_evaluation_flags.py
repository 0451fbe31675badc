"""Signs of unreliability."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datarobust.evaluation import Wishes, flags, plan
from datarobust.evaluation.driver import Options, evaluate

from . import made


class Random(nn.Module):
    """A network whose logits depend on chance."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x + 0.1 * torch.randn_like(x))
        return found


class Purifies(nn.Module):
    """A network that changes its input by its own gradient."""

    def __init__(self, inner: nn.Module, how: str) -> None:
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            images = x.detach().clone().requires_grad_()
            loss = self.inner(images).logsumexp(1).sum()
            if self.how == "grad":
                (gradient,) = torch.autograd.grad(loss, images)
            elif self.how == "func":
                gradient = torch.func.grad(lambda z: self.inner(z).logsumexp(1).sum())(images.detach())
            else:
                loss.backward()
                gradient = images.grad
        found: Tensor = self.inner(x - 0.001 * gradient)
        return found


@pytest.mark.parametrize("how", ["grad", "func", "backward"])
def test_gradients_within_the_network_are_noticed(how: str) -> None:
    model = made.network().eval().requires_grad_(False)
    x = torch.rand(2, 3, 8, 8)

    def tracer(*_: Any) -> Any:
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with torch.no_grad():
            assert flags.differentiates(Purifies(model, how), x)
            assert not flags.differentiates(model, x)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


def test_chance_is_noticed() -> None:
    model = made.network().eval()
    x = torch.rand(6, 3, 8, 8)
    with torch.no_grad():
        assert flags.is_randomised(Random(model), x)
        assert not flags.is_randomised(model, x)


@pytest.mark.parametrize(("before", "after", "share"), [(500, 490, 0.01), (500, 498, 0.0), (500, 500, 0.0)])
def test_square(before: int, after: int, share: float) -> None:
    assert flags.square_found_more(1000, before, after) == share


def test_every_sign_has_a_remark() -> None:
    named = {line.split("``")[1] for line in (flags.__doc__ or "").splitlines() if line.startswith("``")}
    assert named == set(flags.REMARKS)


def test_signs_are_in_the_outcome() -> None:
    model = made.network()
    images, labels = made.points(model, 8)
    protocol = plan("custom", "linf", 0.02, 10, wishes=Wishes(["square"], queries=2))
    options = Options(made.CPU)
    assert evaluate(model, images, labels, protocol, options).flags == {}
    assert evaluate(Random(model), images, labels, protocol, options).flags == {"randomised": True}
    assert evaluate(Purifies(model, "grad"), images, labels, protocol, options).flags == {"differentiates": True}
    rand = plan("rand", "linf", 0.02, 10)
    assert [attack.draws for attack in rand.attacks] == [20, 20]


def test_gradients_that_are_masked_let_square_find_more() -> None:
    """A network whose gradient says nothing: gradient attacks fail, and queries do not."""

    class Masks(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            seen: Tensor = self.inner((x * 20).round() / 20)
            return seen.detach() + 1e-9 * x.flatten(1)[:, :1]

    model = Masks(made.network())
    images, labels = made.points(model, 24)
    wishes = Wishes(["apgd-ce", "apgd-dlr", "square"], iterations=5, queries=200)
    protocol = plan("custom", "linf", 16 / 255, 10, wishes=wishes)
    found = evaluate(model, images, labels, protocol, Options(made.CPU))
    assert found.flags["square_found_more"] == (found.broken == 2).sum() / 24
    assert found.flags["square_found_more"] > 0.1
    assert set(found.flags) <= {"square_found_more", "zero_gradients"}
