"""Convolutions that know when weights stay as they are, and when nobody asks for their gradients.

An attack, and a step of adversarial training, pass images through one network many times. What is made of its weights
for that is made once (:func:`weights_kept`): their cast to bfloat16, or on processors their transforms for
:mod:`.winograd`. While an attack looks for gradients of images alone, none of weights are computed or prepared
(:func:`weights_frozen`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import winograd


@dataclass
class _Kept:
    """What was made of a weight that stays as it is."""

    depth: int = 0
    """Of :func:`weights_kept` around; at 0 the weight may change at any time."""
    frozen: bool = False
    casts: dict[torch.dtype, Tensor] = field(default_factory=dict)
    transforms: list[Tensor] = field(default_factory=list)
    """Two buffers, which live on; allocating them anew takes longer than filling them."""
    fresh: bool = False
    """Whether the buffers hold the weight's transforms."""

    def forget(self, buffers: bool) -> None:
        """The weight may change; ``buffers``: give the memory back too."""
        self.casts.clear()
        self.fresh = False
        if buffers:
            self.transforms.clear()


class Conv2d(nn.Conv2d):
    """PyTorch's convolution without a bias, quicker within :func:`weights_kept`; the same state dict."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, size, stride, padding, bias=False)
        self.kept = _Kept()

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, H', W') of x (B, inputs, H, W)."""
        kept = self.kept
        if kept.depth == 0:
            found: Tensor = super().forward(x)
            return found
        if self.stride == (1, 1) and self.padding == (1, 1) and winograd.pays(x, self.weight):
            self._transform()
            weight = self.weight.detach() if kept.frozen else self.weight
            found = winograd.Convolution.apply(x, weight, *kept.transforms)  # type: ignore[no-untyped-call]
            return found
        weight = self._cast(x) if kept.frozen else self.weight
        return F.conv2d(x, weight, None, self.stride, self.padding)

    def _transform(self) -> None:
        kept = self.kept
        if not kept.fresh:
            if not kept.transforms:
                kept.transforms += winograd.buffers(self.weight)
            winograd.transform(self.weight, *kept.transforms)
            kept.fresh = True

    def _cast(self, x: Tensor) -> Tensor:
        """The weight without its gradient, in the dtype that autocast would choose."""
        weight, device = self.weight.detach(), x.device.type
        if torch.compiler.is_compiling() or not torch.is_autocast_enabled(device):
            return weight
        dtype, casts = torch.get_autocast_dtype(device), self.kept.casts
        if dtype not in casts:
            casts[dtype] = weight.to(dtype)
        return casts[dtype]


@contextmanager
def weights_kept(model: nn.Module) -> Iterator[None]:
    """Within, no weight of the model changes."""
    convolutions = [module for module in model.modules() if isinstance(module, Conv2d)]
    for module in convolutions:
        module.kept.depth += 1
    try:
        yield
    finally:
        for module in convolutions:
            module.kept.depth -= 1
            if module.kept.depth == 0:
                module.kept.forget(buffers=not module.training)


@contextmanager
def weights_frozen(model: nn.Module) -> Iterator[None]:
    """Within, no weight of a convolution of the model changes, and none has a gradient: for attacks."""
    convolutions = [module for module in model.modules() if isinstance(module, Conv2d)]
    before = [module.kept.frozen for module in convolutions]
    with weights_kept(model):
        for module in convolutions:
            module.kept.frozen = True
        try:
            yield
        finally:
            for module, frozen in zip(convolutions, before, strict=True):
                module.kept.frozen = frozen
