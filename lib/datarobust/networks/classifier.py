"""What classifiers of images share: normalisation inside the network, batch norms in groups, averaged features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from datarobust.errors import UsageError


class Classifier(nn.Module):
    """A network from images (B, channels, H, W) in [0, 1] to logits (B, classes), float32.

    ``mean`` and ``std``, a number for each channel, normalise the images within the network, so that attacks act on
    images in [0, 1]. They are no part of the state dict: the architecture has them. Without them images go in as they
    are.

    Raises:
        UsageError: classes or channels are no counts, or ``mean`` and ``std`` do not fit the channels.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, classes: int, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        super().__init__()
        self.classes = _count("classes", classes, 2)
        self.channels = _count("channels", channels, 1)
        if (mean is None) != (std is None):
            raise UsageError("a network needs both mean and std to normalise its images, or neither")
        self._normalisation: dict[str, Any] = {}
        for name, values in (("mean", mean), ("std", std)):
            tensor = None
            if values is not None:
                self._normalisation[name] = _per_channel(name, values, channels)
                tensor = torch.tensor(self._normalisation[name]).view(1, -1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    @property
    def arch(self) -> dict[str, Any]:
        """Name and arguments, enough for :func:`datarobust.networks.build` to make the like; JSON values."""
        raise NotImplementedError

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all initial values anew."""
        raise NotImplementedError

    @property
    def _arguments(self) -> dict[str, Any]:
        """The arguments that all classifiers have."""
        return {"classes": self.classes, "channels": self.channels, **self._normalisation}

    def _normalised(self, x: Tensor) -> Tensor:
        return x if self.mean is None or self.std is None else (x - self.mean) / self.std


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over groups of ``group`` consecutive images, 0 for the whole batch.

    In training, each group of images is normalised by its own statistics, and the running ones take in those of the
    first group only: what several devices do that share a batch (``DataParallel``), and "ghost" batch norm (Hoffer et
    al. 2017). In evaluation, and with batches no larger than a group, it is PyTorch's.

    Raises:
        UsageError: in training, where the group does not divide the batch.
    """

    group: int = 0

    def forward(self, x: Tensor) -> Tensor:
        """The normalised features, of the shape and dtype of ``x`` (B, C, H, W)."""
        if not (self.training and 0 < self.group < len(x)):
            normalised: Tensor = super().forward(x)
            return normalised
        demand_division(len(x), self.group)
        first, *others = torch.split(x, self.group)
        parts = [super().forward(first)]
        parts += [F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in others]
        return torch.cat(parts)


def group_of(model: nn.Module, batch: int) -> int:
    """Images of a batch that share statistics in all batch norms of a model: its ``group``, or the whole batch.

    Raises:
        UsageError: the group does not divide the batch.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    groups = {module.group if isinstance(module, BatchNorm2d) else 0 for module in norms}
    group = groups.pop() if len(groups) == 1 else 0
    if not 0 < group < batch:
        return max(batch, 1)
    demand_division(batch, group)
    return group


def demand_division(batch: int, group: int) -> None:
    """Raise UsageError where groups do not divide a batch."""
    if batch % group:
        raise UsageError(f"batch statistics of {group} images do not divide a batch of {batch}")


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within, the model is in evaluation mode and no parameter wants a gradient; afterwards it is as it was.

    Without that the attacks that take gradients class by class would compute those of all parameters too.
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, requires_grad in gradients:
            parameter.requires_grad_(requires_grad)


def pooled_logits(x: Tensor, linear: nn.Linear) -> Tensor:
    """Logits of features (B, C, H, W), each channel averaged over the image: in float32 whatever came before."""
    if x.dtype == torch.float32:
        logits: Tensor = linear(x.mean((2, 3)))
        return logits
    with torch.autocast(x.device.type, enabled=False):
        return pooled_logits(x.float(), linear)


def initialise_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """Uniform weights within 1/sqrt(inputs) of 0, biases 0."""
    bound = 1.0 / math.sqrt(linear.in_features)
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    nn.init.zeros_(linear.bias)


def _count(name: str, value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"a network's {name} are a whole number from {least} on, not {value!r}")
    return value


def _per_channel(name: str, values: object, channels: int) -> list[float]:
    numbers = list(values) if isinstance(values, Sequence) else []
    right = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    if len(numbers) != channels or not right:
        raise UsageError(f"{name} of a network for {channels} channels has {channels} finite numbers, not {values!r}")
    if name == "std" and min(numbers) <= 0:
        raise UsageError(f"std of a network has positive numbers, not {values!r}")
    return [float(number) for number in numbers]
