"""The optimiser and the averaged weights, as the reference has them (Appendix B)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

WARM_UP = 0.025
"""Share of the training before weights are averaged."""


def sgd(model: nn.Module, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum; learning rate and momentum are set before every step.

    Weights and biases of batch norms do not decay; all others do, the bias of the classifier too.
    """
    norms = {id(p) for module in model.modules() if isinstance(module, _BatchNorm) for p in module.parameters()}
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in norms], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if id(p) in norms], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=0.1, momentum=0.9, nesterov=True, foreach=True
    )


class Ema:
    """Exponentially averaged parameters; the buffers (statistics of batch norms) are those of the model itself.

    After step g (from 1): a copy during the first 2.5 % of the training; then the decay rises as (1 + n) / (10 + n), n
    steps after that, up to its value. The reference counts floor(50000 / batch) + 1 steps an epoch for this; here it
    is the steps there are, the same number for its batches.

    Args:
        model: whose weights are averaged.
        decay: 0.995 in the paper.
        epochs: of the training.
        steps: of an epoch.
    """

    def __init__(self, model: nn.Module, decay: float, epochs: int, steps: int) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        self._warm_up = WARM_UP * epochs * steps

    def decay_at(self, step: int) -> float:
        """Share of the old average that step 0, 1, ... keeps."""
        after = step + 1 - self._warm_up
        return 0.0 if after < 0 else min(self._decay, (1.0 + after) / (10.0 + after))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take the parameters of a step into the average."""
        averages: list[Tensor] = list(self.model.parameters())
        parameters: list[Tensor] = list(model.parameters())
        decay = self.decay_at(step)
        if decay == 0.0:
            torch._foreach_copy_(averages, parameters)
        else:
            torch._foreach_lerp_(averages, parameters, 1.0 - decay)

    @torch.no_grad()
    def copy_buffers(self, model: nn.Module) -> None:
        """Take over the statistics of the batch norms, as at the end of an epoch."""
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)


@contextmanager
def first_momentum(model: nn.Module, first: bool) -> Iterator[None]:
    """In the first step batch norms take over the statistics of the batch (momentum 1), as the reference has it."""
    if not first:
        yield
        return
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 1.0
    try:
        yield
    finally:
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum
