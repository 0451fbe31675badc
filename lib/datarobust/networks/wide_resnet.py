"""Wide residual networks with SiLU (Zagoruyko & Komodakis 2016; Gowal et al. 2020): the paper's WRN-28-10.

Names of parameters, paddings and initial values are those of the implementation that Wang et al. 2023 train, so that
published weights fit. What differs from other wide residual networks: a convolution of stride 2 pads as TensorFlow's
"SAME" does, at the right and at the bottom only (at all sides where the size is odd); a shortcut starts after the first
batch norm and activation; batch norms have momentum 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datarobust.errors import UsageError

from .classifier import BatchNorm2d, Classifier, initialise_linear, pooled_logits

FIRST_WIDTH = 16
MOMENTUM = 0.01
"""Of batch norms; PyTorch's default is 0.1."""


class WideResNet(Classifier):
    """A wide residual network of any depth 6n + 4 and any width, for images of any size.

    ``depth`` 6n + 4 gives three groups of n blocks; their convolutions have ``width`` times 16, 32 and 64 channels.
    The other arguments are those of :class:`~datarobust.networks.classifier.Classifier`.

    Raises:
        UsageError: the depth is no 6n + 4, or an argument makes no sense.
    """

    def __init__(
        self,
        depth: int = 28,
        width: int = 10,
        classes: int = 10,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(classes, channels, mean, std)
        if depth < 10 or depth % 6 != 4:
            raise UsageError(f"a wide residual network has a depth of 6n + 4 (10, 16, 22, 28, ...), not {depth}")
        if width < 1:
            raise UsageError(f"a wide residual network has a width from 1 on, not {width}")
        self.depth, self.width = depth, width
        widths = [FIRST_WIDTH * width * factor for factor in (1, 2, 4)]
        self.init_conv = nn.Conv2d(channels, FIRST_WIDTH, 3, padding=1, bias=False)
        self.layer = nn.ModuleList(
            _Group(before, after, (depth - 4) // 6, stride)
            for before, after, stride in zip([FIRST_WIDTH, *widths[:-1]], widths, (1, 2, 2), strict=True)
        )
        self.batchnorm = _batch_norm(widths[-1])
        self.logits = nn.Linear(widths[-1], classes)

    @property
    def arch(self) -> dict[str, Any]:
        """Name and arguments."""
        return {"name": f"wrn-{self.depth}-{self.width}", "arguments": self._arguments}

    def initialise(self, generator: torch.Generator) -> None:
        """Normal convolutions of variance 2 / (9 outputs), 2 / outputs in shortcuts; batch norms of the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                outputs = math.prod(module.kernel_size) * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / outputs), generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        initialise_linear(self.logits, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 (B, classes), of images (B, channels, H, W)."""
        x = self.init_conv(self._normalised(x))
        for group in self.layer:
            x = group(x)
        return pooled_logits(F.silu(self.batchnorm(x)), self.logits)


class _Group(nn.Module):
    def __init__(self, before: int, after: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            _Block(before if number == 0 else after, after, stride if number == 0 else 1) for number in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0 = _batch_norm(before)
        self.conv_0 = nn.Conv2d(before, after, 3, stride, padding=1 if stride == 1 else 0, bias=False)
        self.batchnorm_1 = _batch_norm(after)
        self.conv_1 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        # Not in place: silu(inplace=True) copies what its backward pass needs, and saves no memory.
        y = F.silu(self.batchnorm_0(x))
        if self.shortcut is not None:
            x = self.shortcut(y)
        if self.conv_0.stride != (1, 1):
            height, width = y.shape[2:]
            y = F.pad(y, (width % 2, 1, height % 2, 1))
        y = F.silu(self.batchnorm_1(self.conv_0(y)))
        total: Tensor = x + self.conv_1(y)
        return total


def _batch_norm(channels: int) -> BatchNorm2d:
    return BatchNorm2d(channels, eps=1e-5, momentum=MOMENTUM)
