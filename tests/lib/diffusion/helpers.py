"""Small denoisers for the tests of this folder and of those who use them."""

from __future__ import annotations

from typing import Any

import torch

from datarobust.diffusion.denoiser import Denoiser, Edm, Precondition
from datarobust.networks.song_unet import DDPMPP, SongUNet


def small(classes: int = 3, precondition: Precondition | None = None, seed: int = 0, **more: Any) -> Denoiser:
    """A denoiser of grey 8x8 images with random weights, none of them 0."""
    arguments: dict[str, Any] = {"img_resolution": 8, "img_channels": 1, "model_channels": 8, "channel_mult": [1, 2]}
    arguments |= {"num_blocks": 1, "attn_resolutions": [4], "label_dim": classes, **DDPMPP, **more}
    denoiser = Denoiser(SongUNet(**arguments), precondition or Edm())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in denoiser.named_parameters():
            tensor.normal_(0.0, 0.3 if tensor.ndim < 2 else tensor[0].numel() ** -0.5, generator=generator)
            if "norm" in name and name.endswith("weight"):
                tensor.add_(1.0)
    return denoiser.eval()
