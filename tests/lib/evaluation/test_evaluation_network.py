"""The network under attack: parts of a batch, its state, random numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from datarobust.evaluation.network import Runner, accelerated, evaluated, own_randomness
from datarobust.networks import build

from . import made


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
def test_parts_give_the_logits_and_gradients_of_the_whole(limit: int) -> None:
    model = made.network().eval()
    x = torch.rand(8, 3, 8, 8)
    weights = torch.randn(8, 10)
    found = []
    for each in (None, limit):
        images = x.clone().requires_grad_()
        logits = Runner(model, limit=each)(images)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), images)
        found.append((logits.detach(), gradient))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(Runner(model, limit=limit)(x), found[0][0], atol=1e-5)


def test_gradients_of_parts_can_be_taken_class_by_class() -> None:
    """As FAB does it: several backward passes through one forward pass."""
    model = made.network().eval()
    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    logits = Runner(model, limit=2)(images)
    for number in range(3):
        (part,) = torch.autograd.grad(logits[:, number].sum(), images, retain_graph=True)
        (whole,) = torch.autograd.grad(model(images)[:, number].sum(), images)
        assert torch.allclose(part, whole, atol=1e-5)


def test_failures_are_kept() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = x.flatten(1)[:, :4]
            return logits.masked_fill(x.flatten(1)[:, :1] > 0.5, torch.inf)

    runner = Runner(Fails())
    x = torch.zeros(3, 1, 2, 2)
    runner(x)
    assert not runner.failed()
    x[1] = 0.7
    runner(x)
    runner(torch.zeros(3, 1, 2, 2))
    assert runner.failed()
    assert not runner.failures
    runner.begin(watching=True)
    runner(x)
    assert torch.equal(torch.cat(runner.failures), x[1:2])
    runner.begin(watching=False)
    assert not runner.failed()
    assert not runner.failures


def test_exact_is_the_network_and_calling_is_what_is_fast() -> None:
    model, fast = made.network().eval(), made.network(seed=1).eval()
    x = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(Runner(model, fast)(x), fast(x))
        assert torch.equal(Runner(model, fast).exact(x), model(x))
        assert torch.equal(Runner(model)(x), model(x))
    assert Runner(model, fast).rounds_otherwise(x)
    assert not Runner(model).rounds_otherwise(x)


def test_nothing_replaces_the_network_unasked() -> None:
    ours = build({"name": "wrn-10-1"})
    assert accelerated(ours, made.CPU, faster=False, compiled=False) is None
    assert accelerated(made.network(), made.CPU, faster=True, compiled=False) is None
    copied = accelerated(ours, made.CPU, faster=True, compiled=False)
    assert copied is not None
    assert copied is not ours
    x = torch.rand(2, 3, 8, 8)
    assert torch.allclose(copied.eval()(x), ours.eval()(x), atol=1e-5)


def test_evaluated_puts_everything_back_after_an_error() -> None:
    model = made.network()
    model[1].eval()
    with evaluated(model):
        assert not any(part.training for part in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(KeyError), evaluated(model):
        raise KeyError
    assert [part.training for part in model] == [True, False, True, True, True, True, True]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_own_randomness() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with own_randomness(5):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with own_randomness(5):
        assert torch.equal(torch.rand(3), inside)
