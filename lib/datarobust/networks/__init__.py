"""Networks: classifiers, the U-Nets of diffusion models, the network of the FID; in which precision they multiply.

=========================  ===================================================================================
:mod:`.classifier`         ``wrn-28-10`` (the paper's), any depth and width, and ``preact-resnet-18``, by name
:mod:`.song_unet`          the diffusion models' U-Nets
:mod:`.inception`          the network of the FID
:mod:`.features`           what any network makes of points; networks of others, run and tried
=========================  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from .classifier import build, forward_operations, shapes

__all__ = ["Precision", "build", "casting", "forward_operations", "products", "shapes"]

Precision = Literal["fp32", "tf32", "bf16"]
"""Of the factors in convolutions and matrix products; sums, statistics and losses are fp32 always."""


@contextmanager
def products(precision: Precision, *, deterministic: bool = False) -> Iterator[None]:
    """Within, products of float32 on NVIDIA's accelerators are of 24 bits, or of 11 for "tf32"; elsewhere of 24.

    PyTorch by itself takes 11 in convolutions and 24 in matrix products. Backward passes belong within too.
    ``deterministic``: take algorithms for convolutions that always give the same bits. Afterwards all is as it was.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    torch.set_float32_matmul_precision("highest")
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    if deterministic:
        cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before[1:]


def casting(precision: Precision, device: str) -> torch.autocast:
    """Within, "bf16" casts what is multiplied to bfloat16, on a device type; for forward passes alone."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
