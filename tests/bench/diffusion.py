"""Measure sampling: the CIFAR-10 denoiser in bf16 and fp32 beside a plain fp32 network; prints Markdown tables.

    python tests/bench/diffusion.py [--batch N] [--rounds N] [--device cuda] [--compile]

The peer is the same network as PyTorch runs it by itself: float32, images and weights in the order (N, C, H, W), no
factor multiplied into weights. All have the same random weights and denoise the same batch; the time is the least of so
many rounds, in which they take turns, so that what else the machine does weighs on all alike.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from datarobust.diffusion.denoiser import Denoiser, Edm, flops, one_hot, prepare
from datarobust.networks import Precision, products
from datarobust.networks.song_unet import CIFAR, DDPMPP, SongUNet

EVALUATIONS = 39
"""Of a clone, in 20 steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    describe(asked.device)
    plain = Denoiser(SongUNet(**CIFAR, label_dim=10, **DDPMPP), Edm()).eval().requires_grad_(False)
    randomise(plain)
    operations = flops(plain)
    subjects: dict[str, Denoiser | Plain] = {
        "plain fp32": Plain(plain.to(asked.device)),
        "prepared fp32": prepare(copy.deepcopy(plain), "fp32", asked.device, compiled=asked.compile),
        "prepared bf16": prepare(copy.deepcopy(plain), "bf16", asked.device, compiled=asked.compile),
    }
    if asked.device != "cpu":
        subjects["prepared tf32"] = prepare(copy.deepcopy(plain), "tf32", asked.device, compiled=asked.compile)
    x = torch.randn((asked.batch, 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(asked.device)
    labels = one_hot(torch.arange(asked.batch) % 10, 10).to(asked.device)
    with torch.no_grad():
        outputs = {name: one(x, torch.full((), 1.4), labels) for name, one in subjects.items()}  # also warms up
        best = dict.fromkeys(subjects, float("inf"))
        for _ in range(asked.rounds):
            for name, one in subjects.items():
                best[name] = min(best[name], seconds(lambda one=one: one(x, torch.full((), 0.5), labels), one))
    print(f"Batches of {asked.batch}; one evaluation takes {operations / 1e9:.1f} GFLOP an image.\n")
    print("| | ms an image and evaluation | GFLOP/s | faster than plain | largest difference | 10,000 clones (h) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, took in best.items():
        one = took / asked.batch
        apart = float((outputs[name] - outputs["plain fp32"]).abs().max())
        clones = one * EVALUATIONS * 10_000 / 3600
        speed = f"{operations / one / 1e9:.3g} | {best['plain fp32'] / took:.2f} x"
        print(f"| {name} | {1e3 * one:.3g} | {speed} | {apart:.1e} | {clones:.3g} |")


class Plain:
    """The network as it is, fed with images in PyTorch's own order."""

    precision: Precision = "fp32"

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        c = self._denoiser.precondition.coefficients(sigma.to(x.device).reshape(-1))
        found = self._denoiser.model(c.into[:, None, None, None] * x, c.noise.expand(len(x)), labels)
        return c.skip[:, None, None, None] * x + c.out[:, None, None, None] * found


def randomise(denoiser: Denoiser) -> None:
    """Weights that keep the variance of signals, none of them 0, so that outputs can be compared."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in denoiser.named_parameters():
        scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.1
        tensor.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, scale, generator=generator)


def seconds(work: Callable[[], torch.Tensor], denoiser: Denoiser | Plain) -> float:
    start = time.perf_counter()
    with products(denoiser.precision):
        float(work().flatten()[0])  # waits for the device
    return time.perf_counter() - start


def describe(device: str) -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    place = torch.cuda.get_device_name(device) if device != "cpu" else f"{torch.get_num_threads()} threads"
    print(f"{len(os.sched_getaffinity(0))} processors ({model}), {place}, torch {torch.__version__}\n")


if __name__ == "__main__":
    main()
