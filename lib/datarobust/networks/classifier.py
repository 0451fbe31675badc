"""Classifiers by name: from a name and arguments to a network with initial weights.

Artifacts keep the architecture of a classifier as ``{"name": "wrn-28-10", "arguments": {...}}``. Names of parameters,
paddings and initial values are those of the implementations that published weights were trained in.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from datarobust.devices import triton_runs
from datarobust.errors import UsageError

Channels = Sequence[float] | None  # a number for each channel
_NAMES = "wrn-DEPTH-WIDTH, such as wrn-28-10, or preact-resnet-18"


def build(arch: Mapping[str, Any], seed: int = 0, bn_group: int = 0) -> Classifier:
    """A network of an architecture, with initial weights; on the CPU, in training mode, channels last in memory.

    ``arch`` has a "name" and may have "arguments", those of :class:`WideResNet` (but for depth and width) or
    :class:`PreActResNet18`. The initial weights are a function of the seed alone; no other random numbers are touched.
    ``bn_group`` is that of :class:`BatchNorm2d`. Raises UsageError where there is no such network.
    """
    with torch.random.fork_rng(devices=[]):  # modules draw default weights from the global state
        model = _module(arch, "cpu")
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # As He et al. 2015, by the outputs: those with SiLU, too.
            deviation = math.sqrt(2.0 / (math.prod(module.kernel_size) * module.out_channels))
            nn.init.normal_(module.weight, 0.0, deviation, generator=generator)
        elif isinstance(module, BatchNorm2d):
            module.reset_parameters()
            module.group = bn_group
    for module in model.modules():
        if isinstance(module, nn.Linear):
            bound = 1.0 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.zeros_(module.bias)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def shapes(arch: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the state dict of the network of ``arch``, without the memory that it takes."""
    return {name: tuple(tensor.shape) for name, tensor in _module(arch, "meta").state_dict().items()}


def _module(arch: Mapping[str, Any], device: str) -> Classifier:
    """The network of ``arch`` with the weights that PyTorch's modules draw."""
    name, arguments = arch.get("name"), arch.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise UsageError(f"an architecture has a name and arguments: {_NAMES}")
    make: Callable[..., Classifier] = PreActResNet18
    if name != "preact-resnet-18":
        if (match := re.fullmatch(r"wrn-([0-9]{1,4})-([0-9]{1,4})", name)) is None:
            raise UsageError(f"there is no network {name!r} here: choose {_NAMES}")
        make = partial(WideResNet, int(match[1]), int(match[2]))
    if unknown := sorted(set(arguments) - {*inspect.signature(make).parameters}):
        raise UsageError(f"the network {name} has no argument {unknown[0]!r}")
    with torch.device(device):
        return make(**arguments)


def forward_operations(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiplications and additions in convolutions and matrix products of one image (C, H, W); nothing is computed."""
    state = {name: tensor.detach().to("meta") for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    with frozen(model), FlopCounterMode(display=False) as counter, torch.no_grad():
        torch.func.functional_call(model, state, torch.empty((1, *shape), device="meta"))
    return int(counter.get_total_flops())


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within, the model is in evaluation mode and no parameter wants a gradient; afterwards it is as it was.

    Without that the attacks that take gradients class by class would compute those of all parameters too.
    """
    with held(model.modules(), "training", False), held(model.parameters(), "requires_grad", False):
        model.eval()  # some networks do more in it
        yield


@contextmanager
def held(owners: Iterable[object], name: str, value: object) -> Iterator[None]:
    """Within, an attribute of these has a value; afterwards it is as it was."""
    before = [(owner, getattr(owner, name)) for owner in owners]
    try:
        for owner, _ in before:
            setattr(owner, name, value)
        yield
    finally:
        for owner, own in before:
            setattr(owner, name, own)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All of them."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def kernels_for(x: Tensor, module: nn.Module) -> Any:
    """:mod:`.kernels`, where they can do the work of a module on ``x`` (B, C, H, W); None: PyTorch does it.

    They are for GPUs from Ampere on where Triton is installed, for features with channels last, outside of what
    torch.compile makes, which has kernels of its own. Under TRITON_INTERPRET=1 the processor stands in for the GPU.
    """
    if torch.compiler.is_compiling() or not (x.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"):
        return None
    if module._forward_hooks or module._forward_pre_hooks or x.dtype == torch.float64 or not x.numel():
        return None
    if not x.is_contiguous(memory_format=torch.channels_last):
        return None
    return importlib.import_module("datarobust.networks.kernels") if triton_runs(x.device) else None


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "silu": F.silu}


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over groups of ``group`` consecutive images, 0 for the whole batch.

    In training, each group of images is normalised by its own statistics, and the running ones take in those of the
    first group only: what several devices do that share a batch (``DataParallel``), and "ghost" batch norm (Hoffer et
    al. 2017). In evaluation, and with batches no larger than a group, it is PyTorch's. In training it raises UsageError
    where the group does not divide the batch.

    A group that is larger than a process's part of the batch spans several processes, which share their sums; the
    gradient then is that of the losses of all of them.
    """

    group: int = 0
    span: Any = None  # the processes that share a group, of torch.distributed

    def forward(self, x: Tensor) -> Tensor:
        """The normalised features, of the shape and dtype of ``x`` (B, C, H, W)."""
        if self.training and self.span is not None:
            return self._spanning(x)
        if not (self.training and 0 < self.group < len(x)):
            normalised: Tensor = super().forward(x)
            return normalised
        _demand_division(len(x), self.group)
        first, *others = torch.split(x, self.group)
        parts = [super().forward(first)]
        parts += [F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in others]
        return torch.cat(parts)

    def activated(self, x: Tensor, activation: str = "silu") -> Tensor:
        """SiLU, or ReLU, of the normalised features."""
        split = self.training and (self.span is not None or 0 < self.group < len(x))
        plain = not split and self.affine and self.momentum is not None and self.running_mean is not None
        kernels = kernels_for(x, self) if plain else None
        if kernels is None:
            return _ACTIVATIONS[activation](self(x))
        weight, bias, mean, variance = self.weight, self.bias, self.running_mean, self.running_var
        assert mean is not None
        assert variance is not None
        result: Tensor
        relu = activation == "relu"
        if self.training:
            result, batch_mean, batch_variance = kernels.batch_norm(x, weight, bias, self.eps, relu=relu)
            if self.track_running_stats:
                count, momentum = x.numel() // x.shape[1], self.momentum or 0.0
                mean.lerp_(batch_mean, momentum)
                variance.lerp_(batch_variance * (count / (count - 1)), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
            return result
        if torch.is_grad_enabled() and (weight.requires_grad or bias.requires_grad):
            return _ACTIVATIONS[activation](self(x))
        scale = weight.float() * (variance.float() + self.eps).rsqrt()
        result = kernels.affine(x, scale, bias.float() - mean * scale, relu=relu)
        return result

    def _spanning(self, x: Tensor) -> Tensor:
        """As if the parts of all processes of the span, equally large, were one batch."""
        from torch.distributed.nn.functional import all_reduce

        count = x.numel() // x.shape[1] * self.span.size()
        mean = all_reduce(x.float().sum((0, 2, 3)), group=self.span) / count  # type: ignore[no-untyped-call]
        centred = x.float() - mean.view(1, -1, 1, 1)
        squares = (centred * centred).sum((0, 2, 3))
        variance = all_reduce(squares, group=self.span) / count  # type: ignore[no-untyped-call]
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * (count / (count - 1)), momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        normalised: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalised.to(x.dtype)


def group_of(model: nn.Module, batch: int) -> int:
    """Images of a batch that share statistics in all batch norms of a model: its ``group``, or the whole batch."""
    groups = {module.group if isinstance(module, BatchNorm2d) else 0 for module in batch_norms(model)}
    group = groups.pop() if len(groups) == 1 else 0
    if not 0 < group < batch:
        return max(batch, 1)
    _demand_division(batch, group)
    return group


def _demand_division(batch: int, group: int) -> None:
    if batch % group:
        raise UsageError(f"batch statistics of {group} images do not divide a batch of {batch}")


class Classifier(nn.Module):
    """A network from images (B, channels, H, W) in [0, 1] to logits (B, classes), float32, or float64 after double().

    ``mean`` and ``std``, a number for each channel, normalise the images within the network, so that attacks act on
    images in [0, 1]. They are no part of the state dict: the architecture has them.
    """

    arch: dict[str, Any]  # name and arguments, enough for :func:`build` to make the like; JSON values
    mean: Tensor | None
    std: Tensor | None

    def __init__(self, name: str, classes: int, channels: int, mean: Channels, std: Channels, **more: object) -> None:
        super().__init__()
        arguments: dict[str, Any] = {}
        for counted, value, least in (("classes", classes, 2), ("channels", channels, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"a network's {counted} are a whole number from {least} on, not {value!r}")
            arguments[counted] = value
        if (mean is None) != (std is None):
            raise UsageError("a network needs both mean and std to normalise its images, or neither")
        for part, values in (("mean", mean), ("std", std)):
            tensor = None
            if values is not None:
                numbers = list(values) if isinstance(values, Sequence) else []
                finite = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
                if len(numbers) != channels or not finite:
                    expected = f"a network for {channels} channels has {channels} finite numbers"
                    raise UsageError(f"{part} of {expected}, not {values!r}")
                if part == "std" and min(numbers) <= 0:
                    raise UsageError(f"std of a network has positive numbers, not {values!r}")
                arguments[part] = [float(number) for number in numbers]
                tensor = torch.tensor(arguments[part]).view(1, -1, 1, 1)
            self.register_buffer(part, tensor, persistent=False)
        self.arch = {"name": name, "arguments": arguments | more}

    def _normalised(self, x: Tensor) -> Tensor:
        return x if self.mean is None or self.std is None else (x - self.mean) / self.std


def raised(x: Tensor) -> Tensor:
    """Numbers of half precision as float32; float32 and float64 stay as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _pooled_logits(x: Tensor, linear: nn.Linear) -> Tensor:
    """Logits of features (B, C, H, W), each channel averaged over the image: in float32 or better."""
    if (full := raised(x)) is not x:
        with torch.autocast(x.device.type, enabled=False):
            return _pooled_logits(full, linear)
    logits: Tensor = linear(x.mean((2, 3)))
    return logits


class WideResNet(Classifier):
    """A wide residual network with SiLU (Zagoruyko & Komodakis 2016; Gowal et al. 2020), as Wang et al. 2023 train it.

    ``depth`` 6n + 4 gives three groups of n blocks; their convolutions have ``width`` times 16, 32 and 64 channels.
    What differs from other wide residual networks: a convolution of stride 2 pads as TensorFlow's "SAME" does, at the
    right and at the bottom only (at all sides where the size is odd); a shortcut starts after the first batch norm and
    activation; batch norms have momentum 0.01.
    """

    def __init__(
        self, depth: int, width: int, classes: int = 10, channels: int = 3, mean: Channels = None, std: Channels = None
    ) -> None:
        super().__init__(f"wrn-{depth}-{width}", classes, channels, mean, std)
        if depth < 10 or depth % 6 != 4:
            raise UsageError(f"a wide residual network has a depth of 6n + 4 (10, 16, 22, 28, ...), not {depth}")
        if width < 1:
            raise UsageError(f"a wide residual network has a width from 1 on, not {width}")
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.init_conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.layer = nn.Sequential()
        for before, after, stride in zip(widths, widths[1:], (1, 2, 2), strict=False):
            others = [_WideBlock(after, after, 1) for _ in range((depth - 4) // 6 - 1)]
            group = nn.Sequential(_WideBlock(before, after, stride), *others)
            self.layer.append(nn.Sequential(OrderedDict(block=group)))
        self.batchnorm = _WideNorm(widths[-1])
        self.logits = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 (B, classes), of images (B, channels, H, W)."""
        x = self.layer(self.init_conv(self._normalised(x)))
        return _pooled_logits(self.batchnorm.activated(x), self.logits)


_WideNorm = partial(BatchNorm2d, momentum=0.01)


class _WideBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0 = _WideNorm(before)
        self.conv_0 = nn.Conv2d(before, after, 3, stride, padding=1 if stride == 1 else 0, bias=False)
        self.batchnorm_1 = _WideNorm(after)
        self.conv_1 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        # Not in place: silu(inplace=True) copies what its backward pass needs, and saves no memory.
        y = self.batchnorm_0.activated(x)
        if self.shortcut is not None:
            x = self.shortcut(y)
        if self.conv_0.stride != (1, 1):
            height, width = y.shape[2:]
            y = F.pad(y, (width % 2, 1, height % 2, 1))
        y = self.batchnorm_1.activated(self.conv_0(y))
        total: Tensor = x + self.conv_1(y)
        return total


class PreActResNet18(Classifier):
    """The pre-activation ResNet-18 for small images (He et al. 2016, "Identity Mappings in Deep Residual Networks").

    It is the variant that most work on adversarial training of small networks uses (Rice et al. 2020): a 3x3 stem
    without batch norm, four groups of two blocks with 64, 128, 256 and 512 channels, a batch norm and activation before
    the average, 11,172,170 parameters for ten classes. Activations are ReLU, or SiLU on request.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        mean: Channels = None,
        std: Channels = None,
        activation: Literal["relu", "silu"] = "relu",
    ) -> None:
        super().__init__("preact-resnet-18", classes, channels, mean, std, activation=activation)
        if activation not in _ACTIVATIONS:
            raise UsageError(f"there is no activation {activation!r} here: choose relu or silu")
        self.activation = activation

        def group(before: int, after: int, stride: int) -> nn.Sequential:
            blocks = _PreActBlock(before, after, stride, activation), _PreActBlock(after, after, 1, activation)
            return nn.Sequential(*blocks)

        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.layer1 = group(64, 64, 1)
        self.layer2 = group(64, 128, 2)
        self.layer3 = group(128, 256, 2)
        self.layer4 = group(256, 512, 2)
        self.bn = BatchNorm2d(512)
        self.linear = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 (B, classes), of images (B, channels, H, W)."""
        x = self.conv1(self._normalised(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return _pooled_logits(self.bn.activated(x, self.activation), self.linear)


class _PreActBlock(nn.Module):
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
        y = self.bn1.activated(x, self.activation)
        if self.shortcut is not None:
            x = self.shortcut(y)
        total: Tensor = x + self.conv2(self.bn2.activated(self.conv1(y), self.activation))
        return total
