"""Decay of weights, averaging with its warm-up, and the first step's statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from datarobust.training.adversarial import Ema, first_momentum, sgd


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 4, 2))


def test_batch_norms_do_not_decay_and_the_classifiers_bias_does() -> None:
    model = network()
    optimiser = sgd(model, 0.5)
    for group in optimiser.param_groups:
        group["lr"], group["momentum"] = 1.0, 0.9
        assert group["nesterov"]
    before = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for (name, parameter), old in zip(model.named_parameters(), before.parameters(), strict=True):
        # A gradient of zero leaves the decay alone: one step of Nesterov is (1 + momentum) times it.
        expected = old if name.startswith("1.") else old - 1.9 * 0.5 * old
        torch.testing.assert_close(parameter, expected)


@pytest.mark.parametrize(("epochs", "steps"), [(2400, 25), (4, 10), (1, 1), (10, 100)])
def test_the_average_is_the_documented_one(epochs: int, steps: int) -> None:
    model, total = nn.Linear(1, 1, bias=False), epochs * steps
    average = Ema(model, 0.995, epochs, steps)
    expected, warm_up = float(model.weight.detach()), 0.025 * epochs * steps
    for step in range(min(total, 4000)):
        with torch.no_grad():
            model.weight.fill_(float(step % 7))
        average.update(model, step)
        count = step + 1
        if count < warm_up:
            expected = float(step % 7)
        else:
            after = count - warm_up
            decay = min(0.995, (1 + after) / (10 + after))
            expected = decay * expected + (1 - decay) * (step % 7)
        assert float(average.model.weight.detach()) == pytest.approx(expected, abs=1e-5)


def test_the_decay_of_the_papers_training() -> None:
    average = Ema(nn.Linear(1, 1), 0.995, 2400, 25)
    assert average.decay_at(1498) == 0.0
    assert average.decay_at(1499) == pytest.approx(0.1)
    assert average.decay_at(1499 + 1789) < 0.995
    assert average.decay_at(1499 + 1791) == 0.995


def test_the_average_has_the_models_statistics_and_asks_for_no_gradient() -> None:
    model = network()
    average = Ema(model, 0.9, 1, 1)
    model.train()
    model(torch.randn(5, 2, 4, 4))
    average.copy_buffers(model)
    for mine, theirs in zip(average.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert not average.model.training


def test_the_first_step_takes_over_the_statistics_of_the_batch() -> None:
    model, images = network().train(), torch.randn(5, 2, 4, 4)

    def fail() -> None:
        with first_momentum(model, True):
            model(images)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    mean = model[0](images).mean((0, 2, 3))
    torch.testing.assert_close(model[1].running_mean, mean)
    assert model[1].momentum == 0.1
    with first_momentum(model, False):
        assert model[1].momentum == 0.1
