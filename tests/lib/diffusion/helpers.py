"""Small denoisers for the tests of this folder and of those who use them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from datarobust.diffusion.denoiser import Denoiser, Edm, Precondition
from datarobust.distributed import Group
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


def in_two_processes(work: Callable[[Group], object]) -> None:
    """Do the work as the two processes of a group do it, in threads that exchange arrays."""
    meeting = threading.Barrier(2)
    exchange: list[Any] = [None, None]

    class Shared(Group):
        def all_gather(self, array: np.ndarray) -> list[np.ndarray]:
            exchange[self.rank] = array
            meeting.wait(30)
            arrays = [part.copy() for part in exchange]
            meeting.wait(30)
            return arrays

        def average(self, tensors: Any) -> None:
            for tensor in tensors:
                parts = self.all_gather(tensor.detach().numpy().copy())
                with torch.no_grad():
                    tensor.copy_(torch.from_numpy(np.asarray((parts[0] + parts[1]) / 2)))

        def broadcast(self, tensors: Any) -> None:
            for tensor in tensors:
                with torch.no_grad():
                    tensor.copy_(torch.from_numpy(self.all_gather(tensor.detach().numpy().copy())[0]))

    threads = [threading.Thread(target=work, args=(Shared(rank, 2),)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
