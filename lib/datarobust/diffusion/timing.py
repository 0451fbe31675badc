"""How long a denoiser takes on this machine: what a dry run tells, measured."""

from __future__ import annotations

import time

import torch

from datarobust.diffusion.denoisers import Denoiser, one_hot


def seconds_an_image(denoiser: Denoiser, batch: int) -> float:
    """Seconds to denoise one image once, of the second of two batches: the first one warms up."""
    device = next(denoiser.parameters()).device
    x = torch.zeros((batch, *denoiser.shape), device=device)
    labels = one_hot(torch.zeros(batch, dtype=torch.int64, device=device), denoiser.classes)
    began = 0.0
    with torch.no_grad():
        for _ in range(2):
            began = time.perf_counter()
            found = denoiser(x, torch.ones((), device=device), labels)
            float(found.flatten()[0])  # waits for the device
    return (time.perf_counter() - began) / batch
