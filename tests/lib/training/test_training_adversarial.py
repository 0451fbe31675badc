"""Decay of weights, averaging with its warm-up, and the first step's statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from datarobust.training.adversarial import ema_decay, sgd, update_average

from . import test_training_loop as loops


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
    average = copy.deepcopy(model)
    expected, warm_up = float(model.weight.detach()), 0.025 * epochs * steps
    for step in range(min(total, 4000)):
        with torch.no_grad():
            model.weight.fill_(float(step % 7))
        update_average(average, model, ema_decay(0.995, step, epochs, steps))
        count = step + 1
        if count < warm_up:
            expected = float(step % 7)
        else:
            after = count - warm_up
            decay = min(0.995, (1 + after) / (10 + after))
            expected = decay * expected + (1 - decay) * (step % 7)
        assert float(average.weight.detach()) == pytest.approx(expected, abs=1e-5)


def test_the_decay_of_the_papers_training() -> None:
    decays = [ema_decay(0.995, step, 2400, 25) for step in (1498, 1499, 1499 + 1789, 1499 + 1791)]
    assert decays[:2] == [0.0, pytest.approx(0.1)]
    assert decays[2] < 0.995 == decays[3]


def test_the_average_has_the_models_statistics_and_asks_for_no_gradient() -> None:
    training, _ = loops.finished(lambda: loops.training(epochs=1))
    for mine, theirs in zip(training.average.buffers(), training.model.buffers(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()
    assert not any(parameter.requires_grad for parameter in training.average.parameters())
    assert not training.average.training


def test_the_first_step_takes_over_the_statistics_of_the_batch() -> None:
    """Whatever they were; later steps take in a hundredth of a batch's, twice."""
    for number, expected in ((0, 0.0), (1, 1e6 * 0.99**2)):
        training = loops.training()
        norm = training.model.get_submodule("layer.0.block.0.batchnorm_0")
        norm.running_mean.fill_(1e6)  # type: ignore[operator, union-attr]
        training.train_step(number, training.draw(number))
        torch.testing.assert_close(norm.running_mean, torch.full((16,), expected), atol=10, rtol=0)
        assert norm.momentum == 0.01
