"""Preconditioning: a denoiser D(x; σ) of a network F, after Table 1 of Karras et al. 2022.

``D = c_skip x + c_out F(c_in x, c_noise)``, in the forms that published checkpoints have: EDM (theirs), and VP and VE,
under which the networks of Song et al. were trained. σ is the deviation of the noise in images scaled to [-1, 1].
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from datarobust.errors import UsageError


class Coefficients(NamedTuple):
    """What a noise level makes of input and output, float32 (B,) each."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


class Precondition(Protocol):
    """One of the forms; a frozen dataclass, whose fields are its parameters."""

    @property
    def name(self) -> str:
        """As architectures spell it."""

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest σ that the network was made for."""

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Of noise levels float32 (B,), positive."""


@dataclass(frozen=True)
class Edm:
    """The form of Karras et al.: inputs and training targets have variance 1 at every noise level."""

    sigma_data: float = 0.5
    """Deviation of the data."""

    name = "edm"

    @property
    def range(self) -> tuple[float, float]:
        """All noise levels."""
        return 0.0, math.inf

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Of noise levels float32 (B,)."""
        total = sigma.square() + self.sigma_data**2
        into = total.rsqrt()
        return Coefficients(self.sigma_data**2 / total, sigma * self.sigma_data * into, into, sigma.log() / 4)


@dataclass(frozen=True)
class Vp:
    """The form of variance-preserving diffusion: F tells the noise, at one of M steps of its own time."""

    beta_d: float = 19.9
    beta_min: float = 0.1
    M: int = 1000
    epsilon_t: float = 1e-5

    name = "vp"

    @property
    def range(self) -> tuple[float, float]:
        """σ at the times ``epsilon_t`` and 1."""
        return self._sigma(self.epsilon_t), self._sigma(1.0)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Of noise levels float32 (B,)."""
        grown = (1 + sigma.square()).log()
        time = ((self.beta_min**2 + 2 * self.beta_d * grown).sqrt() - self.beta_min) / self.beta_d
        into = (1 + sigma.square()).rsqrt()
        return Coefficients(torch.ones_like(sigma), -sigma, into, (self.M - 1) * time)

    def _sigma(self, time: float) -> float:
        return math.sqrt(math.expm1(0.5 * self.beta_d * time**2 + self.beta_min * time))


@dataclass(frozen=True)
class Ve:
    """The form of variance-exploding diffusion: images and noise go in as they are."""

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    name = "ve"

    @property
    def range(self) -> tuple[float, float]:
        """As it was trained."""
        return self.sigma_min, self.sigma_max

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Of noise levels float32 (B,)."""
        one = torch.ones_like(sigma)
        return Coefficients(one, sigma, one, (sigma / 2).log())


FORMS: dict[str, type[Edm] | type[Vp] | type[Ve]] = {"edm": Edm, "vp": Vp, "ve": Ve}


def as_json(form: Precondition) -> dict[str, Any]:
    """Name and parameters of a form."""
    return {"name": form.name, **asdict(form)}  # type: ignore[call-overload]  # the protocol is met by dataclasses


def from_json(described: object) -> Precondition:
    """The inverse of :func:`as_json`.

    Raises:
        UsageError: there is no such form.
    """
    if not isinstance(described, dict) or described.get("name") not in FORMS:
        raise UsageError(f"there is no preconditioning {described!r} here: known are {', '.join(FORMS)}")
    parameters = {name: value for name, value in described.items() if name != "name"}
    kind = FORMS[described["name"]]
    known = kind.__dataclass_fields__
    for name, value in parameters.items():
        if name not in known or type(value) not in (int, float) or not (math.isfinite(value) and value > 0):
            raise UsageError(f"preconditioning {described['name']} has no parameter {name} = {value!r}")
    return kind(**parameters)
