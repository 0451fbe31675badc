"""The network under attack: put into the state it is evaluated in, and run in parts where memory is short."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from datarobust.networks.convolution import Conv2d

_FAILURES = 100
"""Calls whose failures are kept."""


class Runner:
    """From images to logits, for the attacks.

    Args:
        module: the network.
        fast: what is run in its place by attacks, such as a compiled one; verdicts are the network's own.
        limit: images that are in memory at a time, None for all.

    A batch above the limit is run in parts. Its gradients are computed part by part too, each from a forward pass of
    its own, so that only one part's intermediate results are held; that costs a forward pass more. The parts do not
    change what is drawn at random, as the attacks do that for the whole batch; they change rounding.
    """

    def __init__(self, module: nn.Module, fast: nn.Module | None = None, limit: int | None = None) -> None:
        self._module, self._fast = module, module if fast is None else fast
        self.limit = limit
        self.watching = False
        """Whether to keep the images for which logits are not finite; looking for them waits for the device."""
        self.failures: list[Tensor] = []
        """Images for which attacks got logits that are not finite; attacks take those for the class that is right."""
        self._failed: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W), as attacks get them."""
        logits = self._run(self._fast, x)
        finite = torch.isfinite(logits.detach())
        if not self.watching:
            failed = ~finite.all()
            self._failed = failed if self._failed is None else self._failed | failed
        elif not bool(finite.all()) and len(self.failures) < _FAILURES:
            self.failures.append(x.detach()[~finite.all(1)])
        return logits

    def begin(self, watching: bool) -> None:
        """Forget what failed before."""
        self.watching, self._failed = watching, None
        self.failures.clear()

    def failed(self) -> bool:
        """Whether logits were not finite since :meth:`begin`, without watching."""
        return self._failed is not None and bool(self._failed)

    def exact(self, x: Tensor) -> Tensor:
        """Logits as verdicts take them: of the network itself, in single precision, without gradients."""
        if self._fast is self._module and not _is_cuda(x):
            return self._run(self._module, x)
        with _single_precision():
            return self._run(self._module, x)

    def rounds_otherwise(self, x: Tensor) -> bool:
        """Whether attacks and verdicts may differ by rounding on such a batch."""
        return self._fast is not self._module or _is_cuda(x)

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.limit is None or len(x) <= self.limit:
            found: Tensor = module(x)
            return found
        if torch.is_grad_enabled() and x.requires_grad:
            parts: Tensor = _Parts.apply(x, module, self.limit)  # type: ignore[no-untyped-call]
            return parts
        with torch.no_grad():
            return torch.cat([module(part) for part in torch.split(x, self.limit)])


class _Parts(torch.autograd.Function):
    """Run a batch in parts, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module, limit: int) -> Tensor:
        """Logits of all parts."""
        ctx.save_for_backward(x)
        ctx.module, ctx.limit = module, limit
        return torch.cat([module(part) for part in torch.split(x, limit)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Gradients with respect to the images, each part from a forward pass of its own."""
        (x,) = ctx.saved_tensors
        found = []
        for part, gradient in zip(*(torch.split(each, ctx.limit) for each in (x, gradients[0])), strict=True):
            with torch.enable_grad():
                images = part.detach().requires_grad_()
                found.append(torch.autograd.grad(ctx.module(images), images, gradient)[0])
        return torch.cat(found), None, None


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, its parameters wanting no gradient; afterwards everything is as it was.

    Without that FAB would compute gradients of all parameters too, a quarter of its work, and leave them behind.
    """
    modes = [(part, part.training) for part in module.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    module.eval()
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, want in wanted:
            parameter.requires_grad_(want)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seeded random numbers of torch; afterwards the caller's go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else []):
        torch.manual_seed(seed)
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less at a time might do."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _is_cuda(x: Tensor) -> bool:
    return x.device.type == "cuda"


@contextmanager
def _single_precision() -> Iterator[None]:
    """No TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def accelerated(module: nn.Module, device: torch.device, faster: bool, compiled: bool) -> nn.Module | None:
    """What attacks run in the place of the network, or None for the network itself.

    With ``faster`` a copy with channels last in memory: on CUDA, where tensor cores prefer that; on the CPU, where the
    network is one of ours, with quicker convolutions (:mod:`datarobust.networks.winograd`), which give that order. With
    ``compiled`` what torch.compile makes of it. All of these differ from the network by rounding alone.
    """
    fast = module
    if faster and (device.type == "cuda" or any(isinstance(part, Conv2d) for part in module.modules())):
        fast = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        # Batches shrink as images are fooled: one program for all sizes.
        fast = torch.compile(fast, dynamic=True)  # type: ignore[assignment]
    return None if fast is module else fast
