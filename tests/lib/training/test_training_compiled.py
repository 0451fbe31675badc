"""A training of what torch.compile makes of the network: the numbers of the network, few programs, resumed as ever."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from datarobust.errors import UsageError
from datarobust.training.adversarial import Training
from datarobust.training.recipe import Recipe, count

from . import test_training_loop as loops

# No less than 16 images anywhere: a processor would have a program of its own for them.
WAY: dict[str, Any] = {"focus": list(range(8, 16)), "focus_batch": 8, "epochs": 1, "bn_group": 12}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of PyTorch's own operations: to compile them for a processor takes a minute."""
    compiled = nn.Module.compile

    def traced(model: nn.Module, *, dynamic: bool, options: dict[str, Any]) -> None:
        assert set(options) <= set(torch._inductor.list_options())
        compiled(model, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(nn.Module, "compile", traced)
    monkeypatch.setattr("datarobust.training.adversarial.TRACK_STEPS", 3)
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)  # pytest would keep it all


def training(compiled: bool) -> Training:
    return loops.training(track=loops.points(20, 5), compiled=compiled, **WAY)


@pytest.mark.usefixtures("quick")
def test_a_compiled_training_has_the_numbers_of_the_network_and_is_resumed() -> None:
    eager, log = loops.finished(lambda: training(False))
    assert not counters["frames"]
    fused, fused_log = loops.finished(lambda: training(True))
    # A group that is remembered, one that is not, their attack; the average under attack and without. The first step,
    # with a momentum of its own, has none.
    assert counters["stats"]["unique_graphs"] <= 5
    assert not counters["graph_break"]
    for name, expected in eager.state().items():
        torch.testing.assert_close(fused.state()[name], expected, rtol=1e-4, atol=1e-5)
    for line, expected in zip(loops.timeless(fused_log.lines), loops.timeless(log.lines), strict=True):
        assert line == pytest.approx(expected, rel=1e-4)
    memory = loops.Memory()
    assert not training(True).run(memory, loops.Quiet(2), save_every=1e9)
    assert loops.bits(loops.finished(lambda: training(True), memory)[0]) == loops.bits(fused)


def test_groups_of_several_processes_are_refused_before_any_work() -> None:
    recipe = Recipe(batch=64, compiled=True)
    assert count(recipe, 64, 0, False, 0, processes=4).spans(4) == 1
    counts = count(Recipe(batch=64), 64, 0, False, 0, processes=8)
    assert [counts.spans(processes) for processes in (1, 2, 4, 8, 16)] == [1, 1, 1, 2, 4]
    with pytest.raises(UsageError, match=r"of 16 images span 2 processes.*`bn_group` 8 or less"):
        count(recipe, 64, 0, False, 0, processes=8)


def test_attacks_leave_parameters_as_they_were() -> None:
    model = loops.training().model
    assert all(parameter.requires_grad for parameter in model.parameters())
    eager = loops.training()
    eager.train_step(0, eager.draw(0))
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in eager.model.parameters())
    assert np.isfinite(float(eager.sums[0]))
