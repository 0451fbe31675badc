"""From an image to its clone: what the sampler starts from, and Algorithm 2 of Karras et al. 2022.

The paper starts "with a normalised weighted combination of random normal noise (45%) and the original images (55%)",
and does not say what is normalised, nor what noise the denoiser is told of. With w = 0.45 and z = (1 - w) x0 + w n:

============  ===========================================  ================  =================================
start         x                                            told σ            in words
============  ===========================================  ================  =================================
``paper``     sigma_max z / sqrt((1 - w)² + w²)            sigma_max         weights of norm 1: the least change to
                                                                             EDM's program, and the only reading whose
                                                                             best sigma_max lies in the paper's grid
``unit``      sigma_max z / sqrt((1 - w)² sd² + w²)        sigma_max         z of variance 1, where images have the
                                                                             deviation sd = 0.5
``matched``   x0 + w/(1 - w) n                             w/(1 - w)         the denoiser is told the true noise
``noise``     sigma_max n                                  sigma_max         no image: plain sampling
============  ===========================================  ================  =================================

Under ``paper`` the denoiser is told more noise than there is; churn makes up for it. Under ``matched`` it is told the
truth, and no churn is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from datarobust.errors import UsageError

SIGMA_DATA = 0.5  # deviation of images in [-1, 1]
NOISE_WEIGHT = 0.45  # share of noise in the paper


@dataclass(frozen=True)
class Sampler:
    """Arguments of the sampler, named as in Karras et al.; defaults are the centre of the grid in Appendix B."""

    num_steps: int = 20
    sigma_min: float = 0.004
    sigma_max: float = 1.4
    rho: float = 1.6
    S_churn: float = 2.5
    S_min: float = 0.5
    S_max: float = math.inf
    S_noise: float = 1.012

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "S_max" and not math.isfinite(value):
                raise UsageError(f"the sampler's {name} is a number, not {value}")
        if self.num_steps < 1:
            raise UsageError(f"the sampler takes one step or more, not {self.num_steps}")
        if not 0 < self.sigma_min <= self.sigma_max:
            raise UsageError(f"noise falls from sigma_max to sigma_min > 0, not {self.sigma_max} to {self.sigma_min}")
        if not self.rho > 0:
            raise UsageError(f"the sampler's rho is a positive number, not {self.rho}")
        for name in ("S_churn", "S_min", "S_max", "S_noise"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"the sampler's {name} is a number from 0 on, not {getattr(self, name)}")

    def within(self, lowest: float, highest: float) -> Sampler:
        """The same, with ``sigma_min`` and ``sigma_max`` put into the range of noise that a denoiser is made for."""
        return replace(self, sigma_min=max(self.sigma_min, lowest), sigma_max=min(self.sigma_max, highest))

    def steps(self) -> list[HeunStep]:
        """The steps in order, as plain numbers: nothing waits for a device in the loop."""
        n = self.num_steps
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        times = [(high + i / max(n - 1, 1) * (low - high)) ** self.rho for i in range(n)] + [0.0]
        steps = []
        for time, after in pairwise(times):
            churned = self.S_min <= time <= self.S_max
            raised = time * (1 + (min(self.S_churn / n, math.sqrt(2) - 1) if churned else 0.0))
            steps.append(HeunStep(raised, after, math.sqrt(max(raised**2 - time**2, 0.0)) * self.S_noise))
        return steps

    @property
    def evaluations(self) -> int:
        """How often each image is denoised."""
        return 2 * self.num_steps - 1

    def as_json(self) -> dict[str, Any]:
        """Names and values; null for an infinite ``S_max``."""
        return asdict(self) | {"S_max": self.S_max if math.isfinite(self.S_max) else None}


@dataclass(frozen=True)
class HeunStep:
    """One step: noise is added up to ``sigma``, then the image goes along the flow to ``after``."""

    sigma: float  # t^ of Algorithm 2
    after: float  # the next t; 0 in the last step
    noise: float  # deviation of the noise that is added; 0: none is


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: Iterable[HeunStep], noise: Callable[[int], Tensor]
) -> Tensor:
    """The images that Algorithm 2 ends with, float64 (B, C, H, W), from ``x`` with noise of the first step's deviation.

    ``denoise`` is D, of x and σ, float64 (); ``noise`` gives the standard normal numbers (B, C, H, W) of a step by its
    number, and is called only where a step adds noise.
    """

    def level(sigma: float) -> Tensor:  # a fill, because a copy would make the device wait
        return torch.full((), sigma, dtype=x.dtype, device=x.device)

    for number, step in enumerate(steps):
        if step.noise:
            x = x + noise(number).to(x) * step.noise
        slope = (x - denoise(x, level(step.sigma)).to(x)) / step.sigma
        moved = x + (step.after - step.sigma) * slope
        if step.after:
            other = (moved - denoise(moved, level(step.after)).to(x)) / step.after
            moved = x + (step.after - step.sigma) * (slope + other) / 2
        x = moved
    return x


@dataclass(frozen=True)
class Start:
    """x = ``image`` x0 + ``noise`` n, told to the denoiser as noise of deviation ``told``."""

    name: str
    noise_weight: float  # w
    image: float  # coefficient of the image
    noise: float  # true deviation of the noise in x
    told: float  # σ that the sampler starts at


DEFAULTS: dict[str, Sampler] = {
    "paper": Sampler(),
    "unit": Sampler(),
    "matched": Sampler(rho=7.0, S_churn=0.0, S_min=0.0, S_noise=1.0),
    "noise": Sampler(num_steps=18, sigma_min=0.002, sigma_max=80.0, rho=7.0, S_churn=0.0, S_min=0.0, S_noise=1.0),
}
"""The default sampler of each start: the centre of the paper's grid; for ``matched`` and ``noise``, which need no
churn, that of Karras et al."""


def sampler_of(start: str, changes: Mapping[str, float | None]) -> Sampler:
    """The default sampler of a start, with those of these arguments that are not None."""
    if start == "matched" and changes.get("sigma_max") is not None:
        raise UsageError("`start` matched begins at the noise that there is: give `noise_weight`, not `sigma_max`")
    changed: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    return replace(DEFAULTS[start], **changed)


def start(name: str, sampler: Sampler, noise_weight: float = NOISE_WEIGHT) -> tuple[Start, Sampler]:
    """The start of that name, and the sampler that goes on from it (``matched`` has a ``sigma_max`` of its own)."""
    w, sigma_max = noise_weight, sampler.sigma_max
    if not 0 < w < 1:
        raise UsageError(f"the weight of the noise is a share between 0 and 1, not {w:g}")
    if name == "matched":
        ratio = w / (1 - w)
        if ratio < sampler.sigma_min:
            raise UsageError(f"the start's noise {ratio:.4g} is below sigma_min = {sampler.sigma_min:g}: change one")
        return Start(name, w, 1.0, ratio, ratio), replace(sampler, sigma_max=ratio)
    if name == "noise":
        return Start(name, 1.0, 0.0, sigma_max, sigma_max), sampler
    scales = {"paper": math.hypot(1 - w, w), "unit": math.hypot((1 - w) * SIGMA_DATA, w)}
    if name not in scales:
        raise UsageError(f"there is no start {name!r}: choose {', '.join(DEFAULTS)}")
    scale = sigma_max / scales[name]
    return Start(name, w, scale * (1 - w), scale * w, sigma_max), sampler
