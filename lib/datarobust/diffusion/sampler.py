"""Algorithm 2 of Karras et al. 2022: Heun's method with churn, from noisy images to clean ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from datarobust.errors import UsageError

Denoise = Callable[[Tensor, Tensor], Tensor]
"""D: from float64 (B, C, H, W) and σ, float64 (), to (B, C, H, W)."""


@dataclass(frozen=True)
class Sampler:
    """Arguments of the sampler, under their names in Karras et al.; defaults are the centre of the grid in Appendix B.

    Raises:
        UsageError: numbers that make no schedule.
    """

    num_steps: int = 20
    sigma_min: float = 0.004
    sigma_max: float = 1.4
    rho: float = 1.6
    S_churn: float = 2.5
    S_min: float = 0.5
    S_max: float = math.inf
    S_noise: float = 1.012

    def __post_init__(self) -> None:
        numbers = [(name, value) for name, value in asdict(self).items() if name != "S_max"]
        for name, value in numbers:
            if not math.isfinite(value):
                raise UsageError(f"the sampler's {name} is a number, not {value}")
        if self.num_steps < 1:
            raise UsageError(f"the sampler takes one step or more, not {self.num_steps}")
        if not 0 < self.sigma_min <= self.sigma_max:
            raise UsageError(
                f"noise falls from sigma_max to sigma_min > 0, not from {self.sigma_max} to {self.sigma_min}"
            )
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
        return [self._step(time, after) for time, after in pairwise(times)]

    def _step(self, time: float, after: float) -> HeunStep:
        churned = self.S_min <= time <= self.S_max
        gamma = min(self.S_churn / self.num_steps, math.sqrt(2) - 1) if churned else 0.0
        raised = time * (1 + gamma)
        return HeunStep(raised, after, math.sqrt(max(raised**2 - time**2, 0.0)) * self.S_noise)

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

    sigma: float
    """t^ of Algorithm 2."""
    after: float
    """The next t; 0 in the last step."""
    noise: float
    """Deviation of the noise that is added; 0: none is."""


def sample(
    denoise: Denoise,
    x: Tensor,
    steps: Iterable[HeunStep],
    noise: Callable[[int], Tensor],
) -> Tensor:
    """Run Algorithm 2.

    Args:
        denoise: D.
        x: float64 (B, C, H, W), images with noise of the first step's deviation; not changed.
        steps: of :meth:`Sampler.steps`.
        noise: standard normal numbers (B, C, H, W) of a step's number; asked only where a step adds noise.

    Returns:
        float64 (B, C, H, W).
    """
    for number, step in enumerate(steps):
        if step.noise:
            x = x + noise(number).to(x) * step.noise
        slope = (x - denoise(x, _level(step.sigma, x)).to(x)) / step.sigma
        moved = x + (step.after - step.sigma) * slope
        if step.after:
            other = (moved - denoise(moved, _level(step.after, x)).to(x)) / step.after
            moved = x + (step.after - step.sigma) * (slope + other) / 2
        x = moved
    return x


def _level(sigma: float, x: Tensor) -> Tensor:
    """σ where ``x`` is; a fill, because a copy would make the device wait."""
    return torch.full((), sigma, dtype=x.dtype, device=x.device)


__all__ = ["Denoise", "HeunStep", "Sampler", "sample"]
