"""Kernels of Triton for what lies between convolutions: a norm and SiLU or ReLU at once, channels last in memory.

PyTorch reads and writes the features once for each operation; for group norms it also turns channels last around and
back. Here a norm with its activation reads them twice and writes them once; going back, twice and once more. The input
of the activation is computed again on the way back, so nothing is kept but the norm's. All sums are made in one order.

Features are (B, C, H, W) of any float type up to 32 bits, in memory (B, H, W, C); sums and statistics are float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS, CHANNELS = 128, 32
"""Pixels and channels of a tile."""
PROGRAMS = 1024
"""Partial sums of a channel at most, where there are several tiles for each."""
_HOW = {"enable_fp_fusion": True}  # unsaid, Triton 3.9 warns of another default to come


class _BatchNorm(torch.autograd.Function):
    """The activation of features normalised by their own statistics; mean and variance, which have no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, channels, _ = _sizes(x)
        sums, grid, steps = _partial(x)
        sums_kernel[grid](x, sums, rows, channels, steps, ROWS, CHANNELS, **_HOW)
        # Sums are of what numbers are above the first of their channel, lest squares cancel.
        first = x[0, :, 0, 0].double()
        total, squares = sums.double().sum(1)
        mean, variance = total / rows, squares / rows - (total / rows).square()
        mean, variance = mean + first, variance.clamp(min=0.0)
        deviation = (variance + eps).rsqrt()
        scale = weight.double() * deviation
        shift = bias.double() - mean * scale
        saved = [part.float() for part in (scale, shift, mean, deviation)]
        ctx.save_for_backward(x, *saved)
        ctx.relu = relu
        result = mean.float(), variance.float()
        ctx.mark_non_differentiable(*result)
        return _activated(x, saved[0], saved[1], relu), *result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        x, scale, shift, mean, deviation = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        rows, channels, tiles = _sizes(x)
        sums, grid, steps = _partial(x)
        arguments = x, gradient, scale, shift, mean, deviation
        back_sums_kernel[grid](*arguments, sums, rows, channels, ctx.relu, steps, ROWS, CHANNELS, **_HOW)
        of_bias, of_weight = sums.double().sum(1).float()
        of_x = torch.empty_like(x)
        means = of_bias / rows, of_weight / rows
        back_kernel[tiles](*arguments, *means, of_x, rows, channels, ctx.relu, ROWS, CHANNELS, **_HOW)
        wants = ctx.needs_input_grad
        return of_x, of_weight if wants[1] else None, of_bias if wants[2] else None, None, None


class _Affine(torch.autograd.Function):
    """The activation of scale x + shift, by channel; only x has a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
        ctx.save_for_backward(x, scale, shift)
        ctx.relu = relu
        return _activated(x, scale, shift, relu)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        x, scale, shift = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        rows, channels, tiles = _sizes(x)
        of_x = torch.empty_like(x)
        back_affine_kernel[tiles](x, gradient, scale, shift, of_x, rows, channels, ctx.relu, ROWS, CHANNELS, **_HOW)
        return of_x, None, None, None


class _GroupNorm(torch.autograd.Function):
    """A group norm, with SiLU or without."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        batch, channels, height, width = x.shape
        moments, result = torch.empty(batch, 2, channels, device=x.device), torch.empty_like(x)
        ctx.sizes = height * width, channels // groups, silu, ROWS, CHANNELS
        ctx.eps = eps
        ctx.grid = batch, triton.cdiv(channels, CHANNELS), triton.cdiv(height * width, ROWS)
        moments_kernel[ctx.grid[:2]](x, moments, channels, height * width, ROWS, CHANNELS, **_HOW)
        groups_kernel[ctx.grid](x, moments, weight, bias, result, channels, eps, *ctx.sizes, **_HOW)
        ctx.save_for_backward(x, moments, weight, bias)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        x, moments, weight, bias = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        sums, of_x = torch.empty_like(moments), torch.empty_like(x)
        arguments = x, gradient, moments, weight, bias, sums
        back_moments_kernel[ctx.grid[:2]](*arguments, x.shape[1], ctx.eps, *ctx.sizes, **_HOW)
        back_groups_kernel[ctx.grid](*arguments, of_x, x.shape[1], ctx.eps, *ctx.sizes, **_HOW)
        of_bias, of_weight = sums.double().sum(0).float()
        return of_x, of_weight, of_bias, None, None, None


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, relu: bool) -> tuple[Tensor, Tensor, Tensor]:
    """ReLU or SiLU of a batch norm in training, in the dtype of ``x``; mean and variance (C) of the batch."""
    with torch.cuda.device_of(x):  # Triton launches where PyTorch is
        result: tuple[Tensor, Tensor, Tensor] = _BatchNorm.apply(x, weight, bias, eps, relu)
    return result


def affine(x: Tensor, scale: Tensor, shift: Tensor, *, relu: bool) -> Tensor:
    """ReLU or SiLU of scale x + shift, float32 (C) each: a batch norm in evaluation."""
    with torch.cuda.device_of(x):
        result: Tensor = _Affine.apply(x, scale, shift, relu)
    return result


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, *, silu: bool) -> Tensor:
    """A group norm of float32 (C) parameters, with SiLU where that is asked for, of the dtype of ``x``."""
    with torch.cuda.device_of(x):
        result: Tensor = _GroupNorm.apply(x, weight, bias, groups, eps, silu)
    return result


def _activated(x: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    rows, channels, tiles = _sizes(x)
    result = torch.empty_like(x)
    affine_kernel[tiles](x, scale, shift, result, rows, channels, relu, ROWS, CHANNELS, **_HOW)
    return result


def _sizes(x: Tensor) -> tuple[int, int, tuple[int, int]]:
    """Rows and channels of features as a matrix, and how many tiles they are."""
    rows, channels = x.numel() // x.shape[1], x.shape[1]
    return rows, channels, (triton.cdiv(rows, ROWS), triton.cdiv(channels, CHANNELS))


def _partial(x: Tensor) -> tuple[Tensor, tuple[int, int], int]:
    """Room for two sums of each channel by each program, float32 (2, programs, C); the programs, and tiles of each."""
    rows, channels, tiles = _sizes(x)
    steps = int(triton.next_power_of_2(triton.cdiv(tiles[0], PROGRAMS)))  # a power of two, so that few are compiled
    sums = torch.empty(2, triton.cdiv(rows, ROWS * steps), channels, device=x.device)
    return sums, (sums.shape[1], tiles[1]), steps


# ---------------------------------------------------------------------------------------------------------- kernels


@triton.jit
def _places(tile, column, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Channels of a tile, which are there, its places in memory, and which are there."""
    row = tile.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = column * CHANNELS + tl.arange(0, CHANNELS)
    inside = (row < rows)[:, None] & (channel < channels)[None, :]
    return channel, channel < channels, row[:, None] * channels + channel[None, :], inside


@triton.jit
def _normal(x, place, inside, scale, shift, channel, known):
    """Numbers of a tile in float32, and scale x + shift."""
    value = tl.load(x + place, mask=inside, other=0).to(tl.float32)
    a = tl.load(scale + channel, mask=known, other=0)[None, :]
    return value, value * a + tl.load(shift + channel, mask=known, other=0)[None, :]


@triton.jit
def _silu(z):
    return z / (1.0 + tl.exp(-z))


@triton.jit
def _back(z, gradient, place, inside, RELU: tl.constexpr):
    """The gradient of the activation's input."""
    outer = tl.load(gradient + place, mask=inside, other=0).to(tl.float32)
    if RELU:
        inner = tl.where(z <= 0, 0.0, outer)
    else:
        s = 1.0 / (1.0 + tl.exp(-z))
        inner = outer * s * (1.0 + z * (1.0 - s))
    return inner


@triton.jit
def _keep(sums, first, second, channel, known, channels):
    """Write two sums of a program."""
    place = tl.program_id(0).to(tl.int64) * channels + channel
    tl.store(sums + place, first, mask=known)
    tl.store(sums + tl.num_programs(0).to(tl.int64) * channels + place, second, mask=known)


@triton.jit
def sums_kernel(x, sums, rows, channels, STEPS: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sums, and of squares, of what numbers are above the first of their channel."""
    total = tl.zeros((CHANNELS,), tl.float32)
    squares = tl.zeros((CHANNELS,), tl.float32)
    column = tl.program_id(1)
    channel = column * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    first = tl.load(x + channel, mask=known, other=0).to(tl.float32)[None, :]
    for step in range(STEPS):
        tile = tl.program_id(0) * STEPS + step
        channel, known, place, inside = _places(tile, column, rows, channels, ROWS, CHANNELS)
        value = tl.load(x + place, mask=inside, other=0).to(tl.float32)
        above = tl.where(inside, value - first, 0.0)
        total += tl.sum(above, 0)
        squares += tl.sum(above * above, 0)
    _keep(sums, total, squares, channel, known, channels)


@triton.jit
def affine_kernel(
    x, scale, shift, result, rows, channels, RELU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr
):
    """The activation of scale x + shift."""
    channel, known, place, inside = _places(tl.program_id(0), tl.program_id(1), rows, channels, ROWS, CHANNELS)
    _, z = _normal(x, place, inside, scale, shift, channel, known)
    z = tl.where(z < 0, 0.0, z) if RELU else _silu(z)  # NaN stays NaN
    tl.store(result + place, z, mask=inside)


@triton.jit
def back_affine_kernel(
    x, gradient, scale, shift, of_x, rows, channels, RELU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr
):
    """Its gradient."""
    channel, known, place, inside = _places(tl.program_id(0), tl.program_id(1), rows, channels, ROWS, CHANNELS)
    _, z = _normal(x, place, inside, scale, shift, channel, known)
    a = tl.load(scale + channel, mask=known, other=0)[None, :]
    tl.store(of_x + place, _back(z, gradient, place, inside, RELU) * a, mask=inside)


@triton.jit
def back_sums_kernel(
    x, gradient, scale, shift, mean, deviation, sums, rows, channels,
    RELU: tl.constexpr, STEPS: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums over a channel: the gradients of bias and weight."""
    of_bias = tl.zeros((CHANNELS,), tl.float32)
    of_weight = tl.zeros((CHANNELS,), tl.float32)
    column = tl.program_id(1)
    channel = column * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    m = tl.load(mean + channel, mask=known, other=0)[None, :]
    d = tl.load(deviation + channel, mask=known, other=0)[None, :]
    for step in range(STEPS):
        tile = tl.program_id(0) * STEPS + step
        channel, known, place, inside = _places(tile, column, rows, channels, ROWS, CHANNELS)
        value, z = _normal(x, place, inside, scale, shift, channel, known)
        inner = _back(z, gradient, place, inside, RELU)  # zero outside, where the gradient is
        of_bias += tl.sum(inner, 0)
        of_weight += tl.sum(inner * (value - m) * d, 0)
    _keep(sums, of_bias, of_weight, channel, known, channels)


@triton.jit
def back_kernel(
    x, gradient, scale, shift, mean, deviation, mean_bias, mean_weight, of_x, rows, channels,
    RELU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of a batch norm's input: what is left of it once the batch's statistics have moved along."""
    channel, known, place, inside = _places(tl.program_id(0), tl.program_id(1), rows, channels, ROWS, CHANNELS)
    value, z = _normal(x, place, inside, scale, shift, channel, known)
    m = tl.load(mean + channel, mask=known, other=0)[None, :]
    normalised = (value - m) * tl.load(deviation + channel, mask=known, other=0)[None, :]
    inner = _back(z, gradient, place, inside, RELU) - tl.load(mean_bias + channel, mask=known, other=0)[None, :]
    inner -= normalised * tl.load(mean_weight + channel, mask=known, other=0)[None, :]
    tl.store(of_x + place, inner * tl.load(scale + channel, mask=known, other=0)[None, :], mask=inside)


@triton.jit
def _pixels(first, image, channel, known, channels, PIXELS: tl.constexpr, ROWS: tl.constexpr):
    """Places in memory of a tile of an image, from a pixel on, and which are there."""
    row = first + tl.arange(0, ROWS)
    inside = (row < PIXELS)[:, None] & known[None, :]
    return image * PIXELS * channels + row[:, None] * channels + channel[None, :], inside


@triton.jit
def moments_kernel(x, moments, channels, PIXELS: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Of each channel of an image the mean, and the sum of squares about it."""
    image, column = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = column * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    total = tl.zeros((CHANNELS,), tl.float32)
    for first in range(0, PIXELS, ROWS):
        place, inside = _pixels(first, image, channel, known, channels, PIXELS, ROWS)
        total += tl.sum(tl.load(x + place, mask=inside, other=0).to(tl.float32), 0)
    mean = total / PIXELS
    squares = tl.zeros((CHANNELS,), tl.float32)
    for first in range(0, PIXELS, ROWS):
        place, inside = _pixels(first, image, channel, known, channels, PIXELS, ROWS)
        value = tl.load(x + place, mask=inside, other=0).to(tl.float32)
        apart = tl.where(inside, value - mean[None, :], 0.0)
        squares += tl.sum(apart * apart, 0)
    own = moments + image * 2 * channels + channel
    tl.store(own, mean, mask=known)
    tl.store(own + channels, squares, mask=known)


@triton.jit
def _group(moments, weight, bias, channels, eps, PIXELS: tl.constexpr, SIZE: tl.constexpr, CHANNELS: tl.constexpr):
    """A program's image and channels, which are there; mean, and one over the deviation, of the groups they are in;
    weight, scale and shift.
    """
    image = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    own = moments + image * 2 * channels + (channel // SIZE) * SIZE
    mean = tl.zeros_like(channel).to(tl.float32)
    for other in range(SIZE):
        mean += tl.load(own + other, mask=known, other=0)
    mean /= SIZE
    squares = tl.zeros_like(mean)
    for other in range(SIZE):
        apart = tl.load(own + other, mask=known, other=0) - mean
        squares += tl.load(own + channels + other, mask=known, other=0) + PIXELS * apart * apart
    deviation = 1.0 / tl.sqrt(squares / (PIXELS * SIZE) + eps)
    w = tl.load(weight + channel, mask=known, other=0)
    shift = tl.load(bias + channel, mask=known, other=0) - mean * w * deviation
    return image, channel, known, mean, deviation, w, w * deviation, shift


@triton.jit
def groups_kernel(
    x, moments, weight, bias, result, channels, eps,
    PIXELS: tl.constexpr, SIZE: tl.constexpr, SILU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Features normalised by groups of SIZE channels."""
    image, channel, known, _, _, _, scale, shift = _group(moments, weight, bias, channels, eps, PIXELS, SIZE, CHANNELS)
    place, inside = _pixels(tl.program_id(2) * ROWS, image, channel, known, channels, PIXELS, ROWS)
    z = tl.load(x + place, mask=inside, other=0).to(tl.float32) * scale[None, :] + shift[None, :]
    if SILU:
        z = _silu(z)
    tl.store(result + place, z, mask=inside)


@triton.jit
def _back_group(x, gradient, place, inside, mean, deviation, scale, shift, SILU: tl.constexpr):
    """The gradient of SiLU's input, and what was normalised, of a tile."""
    value = tl.load(x + place, mask=inside, other=0).to(tl.float32)
    if SILU:
        inner = _back(value * scale[None, :] + shift[None, :], gradient, place, inside, False)
    else:
        inner = tl.load(gradient + place, mask=inside, other=0).to(tl.float32)
    return inner, (value - mean[None, :]) * deviation[None, :]


@triton.jit
def back_moments_kernel(
    x, gradient, moments, weight, bias, sums, channels, eps,
    PIXELS: tl.constexpr, SIZE: tl.constexpr, SILU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Of each channel of an image its part of the gradients of bias and weight."""
    image, channel, known, mean, deviation, _, scale, shift = _group(
        moments, weight, bias, channels, eps, PIXELS, SIZE, CHANNELS
    )
    of_bias = tl.zeros((CHANNELS,), tl.float32)
    of_weight = tl.zeros((CHANNELS,), tl.float32)
    for first in range(0, PIXELS, ROWS):
        place, inside = _pixels(first, image, channel, known, channels, PIXELS, ROWS)
        inner, normalised = _back_group(x, gradient, place, inside, mean, deviation, scale, shift, SILU)
        of_bias += tl.sum(inner, 0)
        of_weight += tl.sum(inner * normalised, 0)
    tl.store(sums + image * 2 * channels + channel, of_bias, mask=known)
    tl.store(sums + (image * 2 + 1) * channels + channel, of_weight, mask=known)


@triton.jit
def back_groups_kernel(
    x, gradient, moments, weight, bias, sums, of_x, channels, eps,
    PIXELS: tl.constexpr, SIZE: tl.constexpr, SILU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of a group norm's input: what is left of it once the group's statistics have moved along."""
    image, channel, known, mean, deviation, w, scale, shift = _group(
        moments, weight, bias, channels, eps, PIXELS, SIZE, CHANNELS
    )
    of_mean = tl.zeros((CHANNELS,), tl.float32)
    of_deviation = tl.zeros((CHANNELS,), tl.float32)
    for other in range(SIZE):
        member = (channel // SIZE) * SIZE + other
        share = tl.load(weight + member, mask=known, other=0) / (PIXELS * SIZE)
        of_mean += share * tl.load(sums + image * 2 * channels + member, mask=known, other=0)
        of_deviation += share * tl.load(sums + (image * 2 + 1) * channels + member, mask=known, other=0)
    place, inside = _pixels(tl.program_id(2) * ROWS, image, channel, known, channels, PIXELS, ROWS)
    inner, normalised = _back_group(x, gradient, place, inside, mean, deviation, scale, shift, SILU)
    moved = inner * w[None, :] - of_mean[None, :] - normalised * of_deviation[None, :]
    tl.store(of_x + place, moved * deviation[None, :], mask=inside)
