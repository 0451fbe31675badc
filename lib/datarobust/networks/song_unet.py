"""The U-Nets of Song et al. 2021, DDPM++ and NCSN++, as Karras et al. 2022 train them: Section 4's diffusion models.

DDPM++ is the net of EDM's "VP" checkpoints, NCSN++ that of its "VE" ones. Names and shapes in the state dict are those
of the published checkpoints; arguments have their names there, too. This is F of the preconditioning, which
:mod:`datarobust.diffusion.denoiser` wraps around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datarobust.errors import UsageError
from datarobust.networks.classifier import kernels_for

# fmt: off
# What makes the network DDPM++, and what NCSN++.
DDPMPP: Final[dict[str, Any]] = {
    "embedding_type": "positional", "encoder_type": "standard", "channel_mult_noise": 1, "resample_filter": [1, 1],
}
NCSNPP: Final[dict[str, Any]] = {
    "embedding_type": "fourier", "encoder_type": "residual", "channel_mult_noise": 2, "resample_filter": [1, 3, 3, 1],
}
# The size of the published checkpoints for CIFAR-10 and CIFAR-100 (without their ``label_dim``).
CIFAR: Final[dict[str, Any]] = {
    "img_resolution": 32, "img_channels": 3, "augment_dim": 9, "model_channels": 128, "channel_mult": [2, 2, 2],
    "num_blocks": 4, "attn_resolutions": [16], "dropout": 0.13,
}
# fmt: on
HALF: Final = math.sqrt(0.5)  # a sum of two signals of variance 1, times this, has variance 1 again


class SongUNet(nn.Module):
    """DDPM++ or NCSN++, for square images of any number of channels; UsageError where arguments make no network."""

    def __init__(
        self,
        img_resolution: int,  # pixels a side; every level but the first halves it
        img_channels: int,
        label_dim: int = 0,  # number of classes; 0 makes the network unconditional
        augment_dim: int = 0,  # length of the vectors that tell how an image was augmented; 0: there are none
        model_channels: int = 128,  # the width
        channel_mult: Sequence[int] = (1, 2, 2, 2),  # one factor of the width for each level
        channel_mult_emb: int = 4,  # factor of the embedding's length
        num_blocks: int = 4,  # residual blocks of a level on the way down; one more on the way up
        attn_resolutions: Sequence[int] = (16,),  # resolutions whose blocks have attention
        dropout: float = 0.10,  # probability, in training only
        embedding_type: str = "positional",  # or fourier
        channel_mult_noise: int = 1,  # factor of the length of the noise's embedding
        encoder_type: str = "standard",  # or residual, with the image itself, made smaller, at every level
        resample_filter: Sequence[float] = (1, 1),  # taps of the filter that makes images smaller and larger
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for name, value in locals().items()
            if name not in ("self", "__class__")
        }
        _demand_sense(self.arguments)
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.label_dim, self.augment_dim = label_dim, augment_dim
        noise, width = model_channels * channel_mult_noise, model_channels * channel_mult_emb
        self.map_noise = Waves(noise, drawn=embedding_type == "fourier")
        self.map_label = nn.Linear(label_dim, noise) if label_dim else None
        self.map_augment = nn.Linear(augment_dim, noise, bias=False) if augment_dim else None
        self.map_layer0 = nn.Linear(noise, width)
        self.map_layer1 = nn.Linear(width, width)
        block = partial(Block, embedding=width, dropout=dropout, taps=resample_filter)
        levels = [(img_resolution >> level, model_channels * factor) for level, factor in enumerate(channel_mult)]

        self.enc, kept = nn.ModuleDict(), [model_channels]  # channels of what is kept for the way up
        channels, image = model_channels, img_channels
        for size, after in levels:
            if size == img_resolution:
                self.enc[f"{size}x{size}_conv"] = Conv(image, channels, 3)
            else:
                self.enc[f"{size}x{size}_down"] = block(channels, channels, resample="down")
                if encoder_type == "residual":
                    self.enc[f"{size}x{size}_aux_residual"] = Conv(image, channels, 3, "down", resample_filter)
                    image = channels
                kept.append(channels)
            for number in range(num_blocks):
                self.enc[f"{size}x{size}_block{number}"] = block(channels, after, attention=size in attn_resolutions)
                channels = after
                kept.append(channels)

        self.dec = nn.ModuleDict()
        for size, after in reversed(levels):
            if size == levels[-1][0]:
                self.dec[f"{size}x{size}_in0"] = block(channels, channels, attention=True)
                self.dec[f"{size}x{size}_in1"] = block(channels, channels)
            else:
                self.dec[f"{size}x{size}_up"] = block(channels, channels, resample="up")
            for number in range(num_blocks + 1):
                attention = size in attn_resolutions and number == num_blocks
                self.dec[f"{size}x{size}_block{number}"] = block(channels + kept.pop(), after, attention=attention)
                channels = after
        self.dec[f"{img_resolution}x{img_resolution}_aux_norm"] = Norm(channels)
        self.dec[f"{img_resolution}x{img_resolution}_aux_conv"] = Conv(channels, img_channels, 3)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        """F: (B, C, H, W) of the same shape and dtype, for noise levels c_noise float32 (B,).

        ``labels`` float32 (B, label_dim) are one-hot rows or zeros, ``augment`` (B, augment_dim); the embedding is
        computed in float32, the convolutions in the dtype of ``x``, which is that of their weights.
        """
        embedding: Tensor = self.map_noise(noise)
        if self.map_label is not None and labels is not None:
            embedding = embedding + self.map_label(labels * self.label_dim**0.5)
        if self.map_augment is not None and augment is not None:
            embedding = embedding + self.map_augment(augment)
        embedding = F.silu(self.map_layer1(F.silu(self.map_layer0(embedding))))
        kept: list[Tensor] = []
        image = x
        for part in self.enc.values():
            if isinstance(part, Block):
                x = part(x, embedding)
            elif isinstance(part, Conv) and part.resample is not None:
                x = kept[-1] = image = kept[-1].add(part.fused(image)).mul_(HALF)
                continue
            else:
                x = part(x)
            kept.append(x)
        for part in self.dec.values():
            if isinstance(part, Block):
                if part.before != x.shape[1]:
                    x = torch.cat([x, kept.pop()], 1)
                x = part(x, embedding)
            else:
                x = part.activated(x) if isinstance(part, Norm) else part(x)
        return x

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the initial values as Karras et al. do: Xavier-uniform; the output begins at nearly 0."""
        if self.map_noise.drawn:
            self.map_noise.freqs.normal_(0.0, 16.0, generator=generator)
        for linear in (self.map_label, self.map_augment, self.map_layer0, self.map_layer1):
            _draw(linear, 1.0, generator)
        for part in (*self.enc.values(), *self.dec.values()):
            if isinstance(part, Block):
                part.initialise(generator)
            elif isinstance(part, Conv):
                _draw(part, 1.0, generator)
        assert isinstance(part, Conv)  # the last one
        _draw(part, 1e-5, generator)


def _demand_sense(arguments: dict[str, Any]) -> None:
    """Raise UsageError where the arguments make no network."""

    def demand(fits: bool, name: str, expected: str) -> None:
        if not fits:
            raise UsageError(f"{name} of a U-Net is {expected}, not {arguments[name]!r}")

    counts = "img_resolution", "img_channels", "model_channels", "channel_mult_emb", "channel_mult_noise", "num_blocks"
    for name in (*counts, "label_dim", "augment_dim"):
        least = 1 if name in counts else 0
        demand(type(arguments[name]) is int and arguments[name] >= least, name, f"a whole number from {least} on")
    factors, size, taps = (arguments[name] for name in ("channel_mult", "img_resolution", "resample_filter"))
    whole = [type(factor) is int and factor >= 1 for factor in factors]
    demand(bool(factors) and all(whole), "channel_mult", "one whole number for each level")
    if size % (1 << (len(factors) - 1)):
        halved = f"images of {size} pixels a side cannot be halved {len(factors) - 1} times"
        raise UsageError(f"{halved}: give a network of fewer levels")
    demand(arguments["embedding_type"] in ("positional", "fourier"), "embedding_type", "positional or fourier")
    demand(arguments["encoder_type"] in ("standard", "residual"), "encoder_type", "standard or residual")
    noise = arguments["model_channels"] * arguments["channel_mult_noise"]
    demand(noise % 2 == 0 and noise >= 4, "model_channels", "an even number from 4 on")
    demand(0 <= arguments["dropout"] < 1, "dropout", "a probability below 1")
    demand(len(taps) >= 2 and len(taps) % 2 == 0 and sum(taps) != 0, "resample_filter", "an even number of taps")


class Norm(nn.GroupNorm):
    """Group norm with groups of at least four channels, 32 groups at most; statistics in float32 whatever comes in."""

    def __init__(self, channels: int) -> None:
        groups = min(32, channels // 4)
        if groups < 1 or channels % groups:
            what = f"a U-Net cannot normalise {channels} channels in {max(groups, 1)} groups"
            raise UsageError(f"{what}: choose a width that is a multiple of 32, or of 4 up to 16")
        super().__init__(groups, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised (B, C, H, W), in the dtype of ``x``."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if (kernels := kernels_for(x, self)) is not None:
            result: Tensor = kernels.group_norm(x, self.num_groups, weight, bias, self.eps, silu=False)
            return result
        if x.device.type != "cpu":  # only the CPU's kernel takes parameters of another dtype
            weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        return F.group_norm(x, self.num_groups, weight, bias, self.eps)

    def activated(self, x: Tensor) -> Tensor:
        """SiLU of the normalised."""
        if (kernels := kernels_for(x, self)) is not None:
            result: Tensor = kernels.group_norm(x, self.num_groups, self.weight, self.bias, self.eps, silu=True)
            return result
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
        self._margin = (len(taps) - 1) // 2
        if resample is not None:
            line = torch.tensor(taps, dtype=torch.float32)
            self.register_buffer("resample_filter", (line.outer(line) / line.sum().square())[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, after, H', W') of (B, before, H, W)."""
        if self.resample == "down":
            x = F.avg_pool2d(x, 2) if self._box else self._filtered(x, self._margin)
        elif self.resample == "up" and self._box:
            x = F.interpolate(x, scale_factor=2.0)
        elif self.resample == "up":
            taps = (4 * self.resample_filter).to(x.dtype).expand(x.shape[1], -1, -1, -1)
            x = F.conv_transpose2d(x, taps, stride=2, padding=self._margin, groups=x.shape[1])
        return super().forward(x)

    def fused(self, x: Tensor) -> Tensor:
        """The convolution first and then the filter, as the auxiliary inputs of NCSN++ are made half as large."""
        wide = F.conv2d(x, self.weight, None, padding=self.kernel_size[0] // 2 + self._margin)
        assert self.bias is not None
        return self._filtered(wide, 0) + self.bias.to(x.dtype)[:, None, None]

    def _filtered(self, x: Tensor, margin: int) -> Tensor:
        taps = self.resample_filter.to(x.dtype).expand(x.shape[1], -1, -1, -1)
        return F.conv2d(x, taps, stride=2, padding=margin, groups=x.shape[1])


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

    @torch.no_grad()
    def fold(self) -> None:
        """Multiply sqrt(1/2) into the convolutions before it, once: for sampling, where weights are never saved."""
        for part in (self.conv1, self.skip, self.proj):
            if not self._folded and part is not None and part.bias is not None:
                part.weight.mul_(HALF)
                part.bias.mul_(HALF)
        self._folded = True

    def initialise(self, generator: torch.Generator) -> None:
        """Xavier-uniform weights; what ends the block or its attention begins at nearly 0."""
        for part in (self.conv0, self.affine, self.skip):
            _draw(part, 1.0, generator)
        _draw(self.conv1, 1e-5, generator)
        _draw(self.qkv, math.sqrt(0.2), generator)
        _draw(self.proj, 1e-5, generator)


def _attend(x: Tensor, qkv: Conv) -> Tensor:
    """One head of attention over the pixels of (B, C, H, W)."""
    batch, channels, height, width = x.shape
    # Published weights have the channels of query, key and value in turns: q0 k0 v0 q1 ...
    weight = qkv.weight.view(channels, 3, channels, 1, 1).transpose(0, 1).reshape(3 * channels, channels, 1, 1)
    assert qkv.bias is not None
    bias = qkv.bias.view(channels, 3).t().reshape(-1)
    packed = F.conv2d(x, weight, bias).permute(0, 2, 3, 1).reshape(batch, 1, height * width, 3 * channels)
    q, k, v = packed.chunk(3, dim=-1)
    attended = F.scaled_dot_product_attention(q, k, v)
    return attended.view(batch, height, width, channels).permute(0, 3, 1, 2)


class Waves(nn.Module):
    """Sines and cosines of the noise level: (B, channels) of (B,).

    Frequencies are those of Vaswani et al. 2017, periods from 2π to 20,000π, or random ones (Tancik et al. 2020), which
    are part of the state, drawn once.
    """

    freqs: Tensor

    def __init__(self, channels: int, drawn: bool) -> None:
        super().__init__()
        half = channels // 2
        fixed = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / (half - 1))
        self.register_buffer("freqs", torch.zeros(half) if drawn else fixed, persistent=drawn)
        self.drawn = drawn

    def forward(self, noise: Tensor) -> Tensor:
        """Sines, then cosines."""
        angle = noise[:, None] * (2 * math.pi * self.freqs if self.drawn else self.freqs)
        return torch.cat([angle.sin(), angle.cos()], 1)


def _draw(part: nn.Conv2d | nn.Linear | None, scale: float, generator: torch.Generator) -> None:
    """Xavier-uniform weights times ``scale``, and a bias of 0, where there is such a part."""
    if part is not None:
        nn.init.xavier_uniform_(part.weight, scale, generator=generator)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
