"""The parts of DDPM++ and NCSN++ (Song et al. 2021, as Karras et al. 2022 use them): resampling, blocks, embeddings.

Names of parameters and buffers are those of the published checkpoints of Karras et al., so that their weights fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datarobust.errors import UsageError

HALF: Final = math.sqrt(0.5)
"""A sum of two signals of variance 1, times this, has variance 1 again."""
_EPS: Final = 1e-6


class Norm(nn.GroupNorm):
    """Group norm with groups of at least four channels, 32 groups at most; statistics in float32 whatever comes in.

    Raises:
        UsageError: the channels do not make groups of equal size.
    """

    def __init__(self, channels: int) -> None:
        groups = min(32, channels // 4)
        if groups < 1 or channels % groups:
            raise UsageError(
                f"a U-Net with {channels} channels in one place cannot normalise them in {max(groups, 1)} groups: "
                "choose a width that is a multiple of 32, or of 4 up to 16"
            )
        super().__init__(groups, channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised (B, C, H, W), in the dtype of ``x``."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if x.device.type != "cpu":  # only the CPU's kernel takes parameters of another dtype
            weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        return F.group_norm(x, self.num_groups, weight, bias, self.eps)

    def activated(self, x: Tensor) -> Tensor:
        """SiLU of the normalised."""
        return F.silu(self(x), inplace=not torch.is_grad_enabled())


class Conv(nn.Conv2d):
    """A convolution of stride 1 that keeps the size; its input may be made half or twice as large before.

    The filter of the resampling is separable, given by its one-dimensional taps; ``[1, 1]`` is the mean of 2x2 pixels,
    and every pixel four times.
    """

    resample_filter: Tensor

    def __init__(
        self, before: int, after: int, kernel: int, resample: str | None = None, taps: Sequence[float] = (1, 1)
    ) -> None:
        super().__init__(before, after, kernel, padding=kernel // 2)
        self.resample = resample
        self._box = list(taps) == [1, 1]
        if resample is not None:
            line = torch.tensor(taps, dtype=torch.float32)
            self.register_buffer("resample_filter", (line.outer(line) / line.sum().square())[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, after, H', W') of (B, before, H, W)."""
        if self.resample == "down":
            x = F.avg_pool2d(x, 2) if self._box else self._filtered(x, self._margin)
        elif self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0) if self._box else self._spread(x)
        return super().forward(x)

    def fused(self, x: Tensor) -> Tensor:
        """The convolution first and then the filter, as the auxiliary inputs of NCSN++ are made half as large."""
        wide = F.conv2d(x, self.weight, None, padding=self.kernel_size[0] // 2 + self._margin)
        return self._filtered(wide, 0) + self.bias_of(wide)

    def bias_of(self, x: Tensor) -> Tensor:
        """The bias, to be added to (B, C, H, W)."""
        assert self.bias is not None
        return self.bias.to(x.dtype)[:, None, None]

    @property
    def _margin(self) -> int:
        return (self.resample_filter.shape[-1] - 1) // 2

    def _filtered(self, x: Tensor, margin: int) -> Tensor:
        channels = x.shape[1]
        taps = self.resample_filter.to(x.dtype).expand(channels, -1, -1, -1)
        return F.conv2d(x, taps, stride=2, padding=margin, groups=channels)

    def _spread(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        taps = (4 * self.resample_filter).to(x.dtype).expand(channels, -1, -1, -1)
        return F.conv_transpose2d(x, taps, stride=2, padding=self._margin, groups=channels)


class Block(nn.Module):
    """A residual block: two convolutions, shifted by the embedding of noise and label; attention at the end of some."""

    def __init__(
        self,
        before: int,
        after: int,
        embedding: int,
        dropout: float,
        attention: bool = False,
        resample: str | None = None,
        taps: Sequence[float] = (1, 1),
    ) -> None:
        super().__init__()
        self.before = before
        self.norm0 = Norm(before)
        self.conv0 = Conv(before, after, 3, resample, taps)
        self.affine = nn.Linear(embedding, after)
        self.norm1 = Norm(after)
        self.conv1 = Conv(after, after, 3)
        self.skip = Conv(before, after, 1, resample, taps) if resample is not None or before != after else None
        self.norm2 = Norm(after) if attention else None
        self.qkv = Conv(after, 3 * after, 1) if attention else None
        self.proj = Conv(after, after, 1) if attention else None
        self._dropout = dropout
        self._folded = False

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, after, H', W') of (B, before, H, W) and the embedding (B, E)."""
        # In place are only fresh results of convolutions and what comes of them: no backward pass needs those.
        h = self.conv0(self.norm0.activated(x))
        h.add_(self.affine(embedding).to(h.dtype)[:, :, None, None])
        h = self.conv1(F.dropout(self.norm1.activated(h), self._dropout, self.training))
        if self.skip is None:
            x = self._joined(h, x)
        elif self._folded:
            x = self.skip(x).add_(h)
        else:
            x = self.skip(x).add_(h).mul_(HALF)
        if self.norm2 is None or self.qkv is None or self.proj is None:
            return x
        return self._joined(self.proj(_attend(self.norm2(x), self.qkv)), x)

    def _joined(self, fresh: Tensor, x: Tensor) -> Tensor:
        """Sum of what a branch adds and of what it is added to, times sqrt(1/2); ``fresh`` has that in it if folded."""
        return fresh.add_(x, alpha=HALF) if self._folded else fresh.add_(x).mul_(HALF)

    def fold(self) -> None:
        """Multiply sqrt(1/2) into the convolutions before it, once: for sampling, where weights are never saved."""
        if self._folded:
            return
        self._folded = True
        with torch.no_grad():
            for part in (self.conv1, self.skip, self.proj):
                if part is not None and part.bias is not None:
                    part.weight.mul_(HALF)
                    part.bias.mul_(HALF)

    def initialise(self, generator: torch.Generator) -> None:
        """Xavier-uniform weights; what ends the block or its attention begins at nearly 0."""
        for part in (self.conv0, self.affine, self.skip):
            if part is not None:
                draw(part, 1.0, generator)
        draw(self.conv1, 1e-5, generator)
        if self.qkv is not None and self.proj is not None:
            draw(self.qkv, math.sqrt(0.2), generator)
            draw(self.proj, 1e-5, generator)


def _attend(x: Tensor, qkv: Conv) -> Tensor:
    """One head of attention over the pixels of (B, C, H, W)."""
    batch, channels, height, width = x.shape
    # Published weights have the channels of query, key and value in turns: q0 k0 v0 q1 ...
    weight = qkv.weight.view(channels, 3, channels, 1, 1).transpose(0, 1).reshape(3 * channels, channels, 1, 1)
    assert qkv.bias is not None
    bias = qkv.bias.view(channels, 3).t().reshape(-1)
    packed = F.conv2d(x, weight, bias).permute(0, 2, 3, 1).reshape(batch, 1, height * width, 3 * channels)
    q, k, v = packed.chunk(3, dim=-1)
    found = F.scaled_dot_product_attention(q, k, v)
    return found.view(batch, height, width, channels).permute(0, 3, 1, 2)


class Positional(nn.Module):
    """Sines and cosines of the noise level (Vaswani et al. 2017), periods from 2π to 20,000π."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / (half - 1))
        self.register_buffer("frequencies", frequencies, persistent=False)

    frequencies: Tensor

    def forward(self, noise: Tensor) -> Tensor:
        """(B, channels) of noise levels (B,)."""
        angle = noise[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], 1)


class Fourier(nn.Module):
    """Random frequencies of the noise level (Tancik et al. 2020); they are part of the state, drawn once."""

    freqs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.zeros(channels // 2))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the frequencies: normal, of deviation 16."""
        self.freqs.normal_(0.0, 16.0, generator=generator)

    def forward(self, noise: Tensor) -> Tensor:
        """(B, channels) of noise levels (B,)."""
        angle = noise[:, None] * (2 * math.pi * self.freqs)
        return torch.cat([angle.sin(), angle.cos()], 1)


def draw(part: nn.Conv2d | nn.Linear, scale: float, generator: torch.Generator) -> None:
    """Xavier-uniform weights times ``scale``, and a bias of 0."""
    nn.init.xavier_uniform_(part.weight, scale, generator=generator)
    if part.bias is not None:
        nn.init.zeros_(part.bias)
