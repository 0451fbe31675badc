"""What cannot be evaluated is refused in one sentence; signs of unreliability."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datarobust.errors import DataError, UsageError
from datarobust.evaluation import checks, plan
from datarobust.evaluation.checks import demand_classifier, demand_radius, demand_unit_inputs, demand_width
from datarobust.evaluation.driver import Options, evaluate

from . import made

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8)).astype(np.uint8)


class Wrapped(nn.Module):
    """A network with something done to its input or output."""

    def __init__(self, inner: nn.Module, before: Any = lambda x: x, after: Any = lambda x: x) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.inner(self.before(x)))


@pytest.mark.parametrize(
    ("norm", "meant", "slip"), [("linf", 8 / 255, 8.0), ("linf", 0.3, 1.0), ("l2", 3.0, 128.0), ("l1", 12.0, 1000.0)]
)
def test_radii(norm: str, meant: float, slip: float) -> None:
    shape = (3, 32, 32)
    demand_radius(norm, meant, shape, force=False)
    with pytest.raises(UsageError, match="8 levels are 8/255; `force_eps`"):
        demand_radius(norm, slip, shape, force=False)
    demand_radius(norm, slip, shape, force=True)


def test_a_classifier_is_one() -> None:
    assert demand_classifier("m", made.network(7).eval(), IMAGES, made.CPU) == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"after": lambda z: z.softmax(1)}, "probabilities"),
        ({"after": lambda z: z[:, 0]}, r"shape \(30,\) for 30 points"),
        ({"after": lambda z: [z]}, "gives a list, not a tensor"),
        ({"after": lambda z: z[:, :1]}, r"shape \(30, 1\) for 30 points"),
        ({"after": lambda z: z / 0}, "not finite, first for point 0"),
        ({"after": lambda z: z.detach()}, "passes no gradients"),
        ({"before": lambda x: x.round().detach()}, "passes no gradients"),
        ({"before": lambda x: x.sub_(0.5)}, "changes its input"),
        ({"before": lambda x: x[:, :2]}, "m fails on a batch"),
    ],
    ids=["softmax", "scalars", "list", "one", "infinite", "detached", "rounded", "in place", "fails"],
)
def test_what_is_no_classifier(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says) as told:
        demand_classifier("m", Wrapped(made.network(), **change).eval(), IMAGES, made.CPU)
    assert "\n" not in str(told.value)


def test_widths() -> None:
    demand_width("m", 10, np.array([0, 9]), 10, "d.zarr")
    demand_width("m", 12, np.array([0, 9]), 0, "d.zarr")
    with pytest.raises(DataError, match=r"m gives 100 logits an image, but d\.zarr has 10 classes"):
        demand_width("m", 100, np.array([0, 9]), 10, "d.zarr")
    with pytest.raises(DataError, match=r"but d\.zarr has the label 9"):
        demand_width("m", 9, np.array([0, 9]), 0, "d.zarr")


class Nearest(nn.Module):
    """Classifies by the nearest of ten images."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.images[None]).square().flatten(2).sum(2)


@pytest.mark.parametrize(
    ("wants", "says"),
    [
        (lambda x: x / 255.0, "from 0 to 255"),
        (lambda x: (x + 1.0) / 2.0, r"in \[-1, 1\]"),
        (lambda x: x * 0.3 + 0.5, "standardised"),
    ],
)
def test_a_network_that_wants_other_inputs(wants: Any, says: str) -> None:
    random = torch.Generator().manual_seed(0)
    kinds = torch.linspace(0.05, 0.95, 10).view(10, 1, 1, 1).expand(10, 3, 8, 8)  # grey, from dark to bright
    y = torch.arange(120) % 10
    x = (kinds[y] + 0.01 * torch.randn(120, 3, 8, 8, generator=random)).clamp(0, 1)
    usual = Nearest(kinds)
    with pytest.raises(DataError, match=f"but 100% of them as inputs {says}: choose the `normalise` .*, or wrap it"):
        demand_unit_inputs("m", Wrapped(usual, before=wants), x, y)
    demand_unit_inputs("m", usual, x, y)
    demand_unit_inputs("m", usual, x, (y + 1) % 10)  # wrong on all, whatever the inputs


# --------------------------------------------------------------------------------------------- signs of unreliability


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
            assert checks.differentiates(Purifies(model, how), x)
            assert not checks.differentiates(model, x)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


def test_chance_is_noticed() -> None:
    model = made.network().eval()
    x = torch.rand(6, 3, 8, 8)
    with torch.no_grad():
        assert checks.is_randomised(Random(model), x)
        assert not checks.is_randomised(model, x)


def test_signs_are_in_the_outcome() -> None:
    model = made.network()
    images, labels = made.points(model, 8)
    protocol = plan("custom", "linf", 0.02, 10, attacks=["square"], queries=2)
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
    protocol = plan(
        "custom", "linf", 16 / 255, 10, attacks=["apgd-ce", "apgd-dlr", "square"], iterations=5, queries=200
    )
    found = evaluate(model, images, labels, protocol, Options(made.CPU))
    assert found.flags["square_found_more"] == (found.broken == 2).sum() / 24
    assert found.flags["square_found_more"] > 0.1
    assert set(found.flags) <= {"square_found_more", "zero_gradients"}
