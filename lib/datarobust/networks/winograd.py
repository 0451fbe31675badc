"""3x3 convolutions with a quarter of the multiplications (Winograd 1980; Lavin & Gray 2016), in fp32 on processors.

Tiles of 6x6 pixels that overlap by two give 4x4 outputs each: Y = A' [(G w G') * (B' d B)] A, where * multiplies
channels as matrices, at each of 36 places of a tile. So a convolution is three steps: B' and B on all tiles; 36
products of (tiles, inputs) and (inputs, outputs); A' and A. Gradients are of the same kind. With many channels this
takes about half the time of oneDNN's direct convolution. Its errors are those of rounding, about twice the direct
one's: polynomials are evaluated at 0, ±3/4, ±3/2 and infinity; the usual 0, ±1, ±2 are three times worse.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

OUT: Final = 4
"""Outputs of a tile along one axis."""
TILE: Final = OUT + 2
"""Inputs of a tile along one axis."""
_POINTS: Final = (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))
_LEAST_CHANNELS: Final = 128 * 128
"""Inputs times outputs from which on it pays."""
_MOST_WASTE: Final = 1.3
"""Largest share of tiles to pixels: tiles stand over where the size is no multiple of 4."""
_BLOCK: Final = 1 << 22
"""Bytes of tiles that are in work at a time, to stay in the cache."""

Rows = list[list[Fraction]]
_local = threading.local()


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether to convolve this way, with stride 1 and padding 1: fp32 on a processor, 3x3, many channels."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    height, width = x.shape[2:]
    covered = _tiles(height) * _tiles(width) * OUT * OUT
    return (
        weight.shape[2:] == (3, 3)
        and weight.shape[0] * weight.shape[1] >= _LEAST_CHANNELS
        and covered <= _MOST_WASTE * height * width
        and not torch.compiler.is_compiling()
    )


def buffers(weight: Tensor) -> list[Tensor]:
    """Room for the two transforms of a weight (K, C, 3, 3): (36, C, K) and (36, K, C)."""
    outputs, inputs = weight.shape[:2]
    return [weight.new_empty(TILE * TILE, *sizes) for sizes in ((inputs, outputs), (outputs, inputs))]


def transform(weight: Tensor, direct: Tensor, turned: Tensor) -> None:
    """Fill the buffers: weights as products with x need them, and turned by 180 degrees for the gradient of x."""
    spread, weight = _matrices()[1], weight.detach()
    torch.mm(spread, weight.permute(2, 3, 1, 0).reshape(9, -1), out=direct.view(TILE * TILE, -1))
    torch.mm(spread.flip(1), weight.permute(2, 3, 0, 1).reshape(9, -1), out=turned.view(TILE * TILE, -1))


class Convolution(torch.autograd.Function):
    """x (B, C, H, W) and weight (K, C, 3, 3), stride 1, padding 1, to (B, K, H, W), channels-last.

    ``direct`` and ``turned`` are the weights, transformed for this pass and for the gradient of ``x``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, direct: Tensor, turned: Tensor) -> Tensor:
        """The convolution."""
        ctx.save_for_backward(x, turned)
        return _convolved(x, direct)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of x and weight."""
        x, turned = ctx.saved_tensors
        of_x = _convolved(gradient, turned) if ctx.needs_input_grad[0] else None
        of_weight = _gradient_of_weight(x, gradient) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None, None


def _convolved(x: Tensor, weights: Tensor) -> Tensor:
    """The convolution (B, K, H, W) of x (B, C, H, W), weights transformed to (36, C, K)."""
    count, _, height, width = x.shape
    outputs = weights.shape[2]
    down, across = _tiles(height), _tiles(width)
    found = x.new_empty(count, OUT * down, OUT * across, outputs)
    for block in _blocks(count, down * across * x.shape[1], weights.numel()):
        spread = torch.bmm(_spread(x[block]), weights).view(TILE * TILE, -1)
        tiles = torch.mm(_matrices()[2], spread).view(OUT, OUT, -1, down, across, outputs)
        found[block].view(-1, down, OUT, across, OUT, outputs).copy_(tiles.permute(2, 3, 0, 4, 1, 5))
    return found[:, :height, :width].contiguous().permute(0, 3, 1, 2)


def _gradient_of_weight(x: Tensor, gradient: Tensor) -> Tensor:
    """(K, C, 3, 3), channels-last, of x (B, C, H, W) and the output's gradient (B, K, H, W)."""
    inputs, outputs = x.shape[1], gradient.shape[1]
    down, across = _tiles(x.shape[2]), _tiles(x.shape[3])
    total = _scratch(TILE * TILE * outputs * inputs).view(TILE * TILE, outputs, inputs)
    for block in _blocks(len(x), down * across * max(inputs, outputs), total.numel()):
        right, bottom = OUT * across - x.shape[3], OUT * down - x.shape[2]
        part = F.pad(gradient[block].permute(0, 2, 3, 1), (0, 0, 0, right, 0, bottom))
        tiles = part.view(-1, down, OUT, across, OUT, outputs).permute(2, 4, 0, 1, 3, 5).reshape(OUT * OUT, -1)
        spread = torch.mm(_matrices()[2].t(), tiles).view(TILE * TILE, -1, outputs)
        total.baddbmm_(spread.transpose(1, 2), _spread(x[block]), beta=1 if block.start else 0)
    places = torch.mm(_matrices()[1].t(), total.view(TILE * TILE, -1))
    return places.view(3, 3, outputs, inputs).permute(2, 0, 1, 3).contiguous().permute(0, 3, 1, 2)


def _spread(x: Tensor) -> Tensor:
    """B' d B of all tiles of x (B, C, H, W): (36, tiles, C)."""
    count, channels, height, width = x.shape
    down, across = _tiles(height), _tiles(width)
    right, bottom = OUT * across - width + 1, OUT * down - height + 1
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, bottom)).contiguous()
    image, row, column, _ = padded.stride()
    tiles = padded.as_strided(
        (TILE, TILE, count, down, across, channels), (row, column, image, OUT * row, OUT * column, 1)
    )
    return torch.mm(_matrices()[0], tiles.reshape(TILE * TILE, -1)).view(TILE * TILE, -1, channels)


def _scratch(numbers: int) -> Tensor:
    """Room for so many float32, the same whenever this thread asks: fresh memory would take longer than the sums."""
    if not hasattr(_local, "room") or _local.room.numel() < numbers:
        _local.room = torch.empty(numbers)
    room: Tensor = _local.room
    return room[:numbers]


def _tiles(size: int) -> int:
    return -(-size // OUT)


def _blocks(images: int, of_an_image: int, of_weights: int) -> list[slice]:
    """Slices of images whose tiles stay in the cache, unless reading the weights for each would take longer."""
    size = max(1, max(_BLOCK // 4, of_weights // 2) // (TILE * TILE * of_an_image))
    return [slice(start, start + size) for start in range(0, images, size)]


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """B' (36, 36), G (36, 9) and A' (16, 36), each the Kronecker product of its one-dimensional matrix with itself."""
    return tuple(torch.kron(one, one).float() for one in _one_dimensional())  # type: ignore[return-value]


def _one_dimensional() -> tuple[Tensor, Tensor, Tensor]:
    """B' (6, 6), G (6, 3) and A' (4, 6), float64, by the method of Toom and Cook.

    The product of polynomials is interpolated from its values at the points and at infinity; transposed, that is a
    convolution.
    """
    nodes = [[*_product([q for q in _POINTS if q != p]), Fraction(0)] for p in _POINTS]
    b = [*nodes, _product(_POINTS)]
    norms = [_value(node, p) for node, p in zip(nodes, _POINTS, strict=True)]
    g = [[p**i / norm for i in range(3)] for p, norm in zip(_POINTS, norms, strict=True)] + [
        [Fraction(0)] * 2 + [Fraction(1)]
    ]
    a = [[p**i for p in _POINTS] + [Fraction(int(i == OUT - 1))] for i in range(OUT)]
    return _tensor(b), _tensor(g), _tensor(a)


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the polynomial with these roots, lowest first."""
    found = [Fraction(1)]
    for root in roots:
        found = [low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found


def _value(coefficients: list[Fraction], at: Fraction) -> Fraction:
    return sum((c * at**i for i, c in enumerate(coefficients)), Fraction(0))


def _tensor(rows: Rows) -> Tensor:
    return torch.tensor([[float(entry) for entry in row] for row in rows], dtype=torch.float64)
