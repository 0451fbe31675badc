"""Networks, and classifiers by name: from a name and arguments to a network with initial weights, and back.

=========================  ===================================================================================
:mod:`.wide_resnet`        wide residual networks with SiLU: ``wrn-28-10`` (the paper's), any depth and width
:mod:`.preact_resnet`      ``preact-resnet-18``
:mod:`.classifier`         what they share: normalisation within, batch norms in groups
:mod:`.song_unet`          the diffusion models' U-Nets
:mod:`.inception`          the network of the FID
:mod:`.foreign`            networks of others, run and tried
:mod:`.precision`          of what networks multiply
=========================  ===================================================================================

Artifacts keep the architecture of a classifier as ``{"name": "wrn-28-10", "arguments": {...}}``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from datarobust.errors import UsageError

from .classifier import BatchNorm2d, Classifier
from .preact_resnet import PreActResNet18
from .wide_resnet import WideResNet

__all__ = ["build", "describe", "forward_operations", "shapes"]

_NAMES = "wrn-DEPTH-WIDTH, such as wrn-28-10, or preact-resnet-18"


def build(arch: Mapping[str, Any], seed: int = 0, bn_group: int = 0) -> Classifier:
    """A network of an architecture, with initial weights.

    Args:
        arch: "name", "wrn-DEPTH-WIDTH" or "preact-resnet-18"; "arguments" (optional), those of
            :class:`~datarobust.networks.wide_resnet.WideResNet` (but for depth and width) or
            :class:`~datarobust.networks.preact_resnet.PreActResNet18`.
        seed: the initial weights are a function of it alone; no other random numbers are touched.
        bn_group: images that share batch statistics in training, 0 for the whole batch
            (:class:`~datarobust.networks.classifier.BatchNorm2d`).

    Returns:
        The network, on the CPU, in training mode; parameters in channels-last order of memory.

    Raises:
        UsageError: there is no such network, or its arguments make no sense.
    """
    with torch.random.fork_rng(devices=[]):  # modules draw default weights from the global state
        model = _module(arch, "cpu")
    model.initialise(torch.Generator().manual_seed(seed))
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.group = bn_group
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def shapes(arch: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the state dict of the network of ``arch``, found without the memory that it takes.

    Raises:
        UsageError: there is no such network, or its arguments make no sense.
    """
    return {name: tuple(tensor.shape) for name, tensor in _module(arch, "meta").state_dict().items()}


def _module(arch: Mapping[str, Any], device: str) -> Classifier:
    """The network of ``arch`` with the weights that PyTorch's modules draw."""
    name, arguments = arch.get("name"), arch.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise UsageError(f"an architecture has a name and arguments: {_NAMES}")
    make: Callable[..., Classifier] = PreActResNet18
    allowed = {*inspect.signature(PreActResNet18).parameters}
    if name != "preact-resnet-18":
        if (match := re.fullmatch(r"wrn-([0-9]{1,4})-([0-9]{1,4})", name)) is None:
            raise UsageError(f"there is no network {name!r} here: choose {_NAMES}")
        make = partial(WideResNet, int(match[1]), int(match[2]))
        allowed = {*inspect.signature(WideResNet).parameters} - {"depth", "width"}
    if unknown := sorted(set(arguments) - allowed):
        raise UsageError(f"the network {name} has no argument {unknown[0]!r}")
    with torch.device(device):
        return make(**arguments)


def describe(module: nn.Module) -> dict[str, Any]:
    """The architecture of a network that :func:`build` made, to build its like.

    Raises:
        UsageError: it is another network.
    """
    if not isinstance(module, Classifier):
        raise UsageError(f"{type(module).__name__} is none of the networks here: {_NAMES}")
    return module.arch


def forward_operations(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiplications and additions in the convolutions and matrix products of one image's forward pass.

    10,486,657,536 for WRN-28-10 on CIFAR-10. Nothing is computed. ``shape`` is that of an image, (C, H, W).
    """
    state = {name: tensor.detach().to("meta") for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            torch.func.functional_call(model, state, torch.empty((1, *shape), device="meta"))
    finally:
        for module, mode in modes:
            module.training = mode
    return int(counter.get_total_flops())
