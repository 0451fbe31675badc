"""Networks: classifiers, the U-Nets of diffusion models, the network of the FID; in which precision they multiply.

=========================  ===================================================================================
:mod:`.classifier`         ``wrn-28-10`` (the paper's), any depth and width, and ``preact-resnet-18``, by name
:mod:`.song_unet`          the diffusion models' U-Nets
:mod:`.inception`          the network of the FID
:mod:`.kernels`            norms with SiLU, by Triton on GPUs
:mod:`.features`           what any network makes of points; networks of others, run and tried
=========================  ===================================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from datarobust.errors import is_out_of_memory
from datarobust.types import T

from .classifier import build, forward_operations, raised, shapes

__all__ = [
    "PRECISIONS",
    "Precision",
    "build",
    "casting",
    "forward",
    "forward_operations",
    "fuse",
    "products",
    "seconds_per_image",
    "shapes",
    "timed",
    "within_memory",
]

Precision = Literal["fp32", "tf32", "bf16"]
"""Of the factors in convolutions and matrix products; sums, statistics and losses are fp32 always."""
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)


@contextmanager
def products(precision: Precision, *, deterministic: bool = False) -> Iterator[None]:
    """Within, products of float32 are of 24 bits; for "tf32", in convolutions on NVIDIA's accelerators, of 11.

    So PyTorch has it by itself, and the published trainings had it. Backward passes belong within too.
    ``deterministic``: take algorithms for convolutions that always give the same bits. Afterwards all is as it was.
    """
    backends: Any = torch.backends
    cudnn, tf32 = backends.cudnn, precision == "tf32"
    # From PyTorch 2.9 on each kind of product has a switch of its own. Where somebody has set one of them, the older
    # switches can be set, but not read. Both are set, because compilers read the older ones.
    newer = hasattr(cudnn, "conv")
    matrices = [backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv] if newer else []
    convolutions = [cudnn.conv, cudnn.rnn] if newer else []
    before = [switch.fp32_precision for switch in matrices + convolutions]
    tf32_before = before[-2] == "tf32" if newer else cudnn.allow_tf32
    try:
        matmul_before = torch.get_float32_matmul_precision()
    except RuntimeError:
        matmul_before = "highest"
    algorithms = cudnn.deterministic, cudnn.benchmark
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32 = tf32
    for switch in matrices:
        switch.fp32_precision = "ieee"
    for switch in convolutions:
        switch.fp32_precision = "tf32" if tf32 else "ieee"
    if deterministic:
        cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul_before)
        cudnn.allow_tf32 = tf32_before
        for switch, value in zip(matrices + convolutions, before, strict=True):
            switch.fp32_precision = value
        cudnn.deterministic, cudnn.benchmark = algorithms


def casting(precision: Precision, device: str) -> torch.autocast:
    """Within, "bf16" casts what is multiplied to bfloat16, on a device type; for forward passes alone."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def forward(model: nn.Module, precision: Precision, images: Tensor) -> Tensor:
    """What a model makes of images in this precision: logits in float32 or better."""
    with casting(precision, images.device.type):
        logits: Tensor = model(images)
    return raised(logits)


def fuse(model: nn.Module, *, dynamic: bool) -> None:
    """Have calls of a model run what torch.compile makes of it: with ``dynamic`` one program for all sizes of batches.

    Else it is one for each. Kernels are not chosen by their times, so that the same command has the same bits again.
    """
    deterministic = "deterministic" in torch._inductor.list_options()  # older versions do not know it
    model.compile(dynamic=dynamic, options={"deterministic": True} if deterministic else {})


def seconds_per_image(model: nn.Module, precision: Precision, shape: tuple[int, ...], device: torch.device) -> float:
    """Seconds of a forward pass of one image (C, H, W)."""
    with products(precision):
        return timed(partial(forward, model, precision), shape, device, 8)


def timed(run: Callable[[Tensor], Tensor], shape: tuple[int, ...], device: torch.device, on_cpu: int) -> float:
    """Seconds of one image (C, H, W) in the second of two batches, because the first warms up.

    A batch has 256 images, on a processor ``on_cpu``.
    """
    images = torch.zeros((on_cpu if device.type == "cpu" else 256, *shape), device=device)
    began = 0.0
    with torch.no_grad():
        for _ in range(2):
            began = time.perf_counter()
            float(run(images).flatten()[0])  # waits for the device
    return (time.perf_counter() - began) / len(images)


def within_memory(work: Callable[[int], T], size: int) -> tuple[T, int]:
    """What ``work`` gives with ``size`` points at a time, or half as many where memory runs out, and so on; the number.

    Take that number the next time. Work is begun anew each time.
    """
    while True:
        try:
            return work(size), size
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        size = -(-size // 2)
        torch.cuda.empty_cache()  # nothing where there is no GPU
