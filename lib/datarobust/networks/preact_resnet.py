"""The pre-activation ResNet-18 for small images (He et al. 2016, "Identity Mappings in Deep Residual Networks").

It is the variant that most work on adversarial training of small networks uses (Rice et al. 2020): a 3x3 stem without
batch norm, four groups of two blocks with 64, 128, 256 and 512 channels, a batch norm and activation before the
average, 11,172,170 parameters for ten classes; its names of parameters are those of that work. Activations are ReLU, or
SiLU on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datarobust.errors import UsageError

from .classifier import BatchNorm2d, Classifier, initialise_linear, pooled_logits

WIDTHS = (64, 128, 256, 512)
_ACTIVATIONS = {"relu": F.relu, "silu": F.silu}


class PreActResNet18(Classifier):
    """Pre-activation ResNet-18, for images of any size.

    ``activation`` is "relu" or "silu". The other arguments are those of
    :class:`~datarobust.networks.classifier.Classifier`.

    Raises:
        UsageError: an argument makes no sense.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        activation: Literal["relu", "silu"] = "relu",
    ) -> None:
        super().__init__(classes, channels, mean, std)
        if activation not in _ACTIVATIONS:
            raise UsageError(f"there is no activation {activation!r} here: choose relu or silu")
        self.activation = activation
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.layer1 = _group(WIDTHS[0], WIDTHS[0], 1, activation)
        self.layer2 = _group(WIDTHS[0], WIDTHS[1], 2, activation)
        self.layer3 = _group(WIDTHS[1], WIDTHS[2], 2, activation)
        self.layer4 = _group(WIDTHS[2], WIDTHS[3], 2, activation)
        self.bn = BatchNorm2d(WIDTHS[-1])
        self.linear = nn.Linear(WIDTHS[-1], classes)

    @property
    def arch(self) -> dict[str, Any]:
        """Name and arguments."""
        return {"name": "preact-resnet-18", "arguments": {**self._arguments, "activation": self.activation}}

    def initialise(self, generator: torch.Generator) -> None:
        """Convolutions as He et al. 2015 (normal, by their outputs), batch norms of the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        initialise_linear(self.linear, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 (B, classes), of images (B, channels, H, W)."""
        x = self.conv1(self._normalised(x))
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = group(x)
        return pooled_logits(_ACTIVATIONS[self.activation](self.bn(x)), self.linear)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.bn1 = BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        same = stride == 1 and before == after
        # In a list of one, because published weights call it shortcut.0.
        self.shortcut = None if same else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        activate = _ACTIVATIONS[self.activation]
        y = activate(self.bn1(x))
        if self.shortcut is not None:
            x = self.shortcut(y)
        total: Tensor = x + self.conv2(activate(self.bn2(self.conv1(y))))
        return total


def _group(before: int, after: int, stride: int, activation: str) -> nn.Sequential:
    return nn.Sequential(_Block(before, after, stride, activation), _Block(after, after, 1, activation))
