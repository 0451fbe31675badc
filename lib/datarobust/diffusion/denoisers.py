"""Denoisers: a U-Net under a preconditioning, built from what an artifact says of it, and made fast for sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datarobust.diffusion.precondition import Edm, Precondition, as_json, from_json
from datarobust.errors import UsageError
from datarobust.networks.precision import Precision
from datarobust.networks.song_unet import SongUNet
from datarobust.networks.unet_blocks import Block

NAME = "song-unet"
"""The one architecture of denoisers, in ``arch``; DDPM++ and NCSN++ are sets of its arguments."""


class Denoiser(nn.Module):
    """D(x; σ): from noisy images to what they may have been. Its state dict is that of published checkpoints."""

    def __init__(self, model: SongUNet, precondition: Precondition) -> None:
        super().__init__()
        self.model = model
        self.precondition = precondition
        self.dtype = torch.float32
        """Of the convolutions; see :func:`prepare`."""
        self.precision: Precision = "fp32"
        """Of products."""

    @property
    def arch(self) -> dict[str, Any]:
        """Name and arguments, enough for :func:`build_denoiser`; JSON values."""
        return {"name": NAME, "arguments": {"precondition": as_json(self.precondition), **self.model.arguments}}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        return self.model.img_channels, self.model.img_resolution, self.model.img_resolution

    @property
    def classes(self) -> int:
        """How many classes it is told apart; 0 without labels."""
        return self.model.label_dim

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest σ it is made for."""
        return self.precondition.range

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        """Denoised images float32 (B, C, H, W), in [-1, 1] or near it.

        Args:
            x: noisy images (B, C, H, W), of any float dtype.
            sigma: deviation of their noise, one number or (B,).
            labels: one-hot float32 (B, classes) (:func:`one_hot`); None for a denoiser without classes.
            augment: how they were augmented, (B, augment_dim), in training.

        Raises:
            UsageError: labels are missing, or there are no classes.
        """
        if (labels is None) != (self.classes == 0):
            raise UsageError(
                f"the denoiser was trained with labels of {self.classes} classes, and without one its answer means "
                "nothing: give every image a label"
                if labels is None
                else "the denoiser was trained without labels: give it none"
            )
        x = x.to(torch.float32)
        sigma = sigma.to(torch.float32).reshape(-1)
        c = self.precondition.coefficients(sigma)
        inner = (_wide(c.into) * x).to(self.dtype, memory_format=torch.channels_last)
        found = self.model(inner, c.noise.expand(len(x)), labels, augment)
        return torch.addcmul(_wide(c.skip) * x, _wide(c.out), found.to(torch.float32))


def one_hot(labels: Tensor, classes: int) -> Tensor | None:
    """float32 (B, classes) of labels int64 (B); None where a denoiser has no classes."""
    return F.one_hot(labels, classes).to(torch.float32) if classes else None


def build_denoiser(arch: Mapping[str, Any]) -> Denoiser:
    """The denoiser of ``arch``, on the CPU; its values are still to be loaded or drawn.

    Raises:
        UsageError: there is no such architecture here.
    """
    arguments = arch.get("arguments")
    if arch.get("name") != NAME or not isinstance(arguments, Mapping):
        raise UsageError(f"there is no architecture {arch.get('name')!r} of denoisers here: the one known is {NAME}")
    inner = {name: value for name, value in arguments.items() if name != "precondition"}
    form = from_json(arguments["precondition"]) if "precondition" in arguments else Edm()
    try:
        return Denoiser(SongUNet(**inner), form)
    except TypeError as error:
        raise UsageError(f"the architecture {NAME} does not take these arguments: {error}") from error


def prepare(
    denoiser: Denoiser, precision: Precision = "fp32", device: str = "cpu", *, compiled: bool = False
) -> Denoiser:
    """Make a denoiser ready to denoise many images: on its device, in its precision, frozen. Changes it in place.

    Weights lie in the order in which kernels read them (channels last), and constant factors are multiplied into them:
    what was prepared is not to be saved. ``bf16`` computes convolutions and attention in bfloat16; embeddings,
    statistics of norms, what surrounds the network and all states stay in float32. ``tf32`` takes
    :func:`datarobust.networks.precision.products` around the sampling. ``compiled`` has ``torch.compile`` fuse what
    lies between convolutions, for one shape of batches.
    """
    denoiser.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    denoiser.eval().requires_grad_(False)
    for module in denoiser.modules():
        if isinstance(module, Block):
            module.fold()
    if compiled:
        denoiser.model.compile(dynamic=False)
    if precision == "bf16":
        for conv in denoiser.model.convolutions():
            conv.to(torch.bfloat16)
        denoiser.dtype = torch.bfloat16
    denoiser.precision = precision
    return denoiser


def flops(denoiser: Denoiser) -> int:
    """Operations to denoise one image once, multiplications and additions, of convolutions and attention.

    Linear layers of the embedding are a thousandth of it and are left out.
    """
    model = denoiser.model
    found = 0
    for name, part in (*model.enc.items(), *model.dec.items()):
        side = int(name.split("x")[0])
        for own, module in part.named_modules():
            if isinstance(module, nn.Conv2d):
                size = 2 * side if own == "" and name.endswith("aux_residual") else side
                found += 2 * size**2 * module.weight.numel()
                if own == "qkv":
                    found += 4 * side**4 * module.in_channels
    return found


def _wide(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


__all__ = ["NAME", "Denoiser", "Precision", "build_denoiser", "flops", "one_hot", "prepare"]
