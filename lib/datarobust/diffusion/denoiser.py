"""Denoisers D(x; σ): a U-Net under a preconditioning, built from what an artifact says of it, and made fast.

``D = c_skip x + c_out F(c_in x, c_noise)`` of a network F (Table 1 of Karras et al. 2022), in the forms that published
checkpoints have: EDM (theirs), and VP and VE, under which the networks of Song et al. were trained. σ is the deviation
of the noise in images scaled to [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datarobust.errors import UsageError
from datarobust.networks import Precision, timed
from datarobust.networks.song_unet import Block, SongUNet


class Coefficients(NamedTuple):
    """What a noise level makes of input and output, float32 (B,) each."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Edm:
    """The form of Karras et al.: inputs and training targets have variance 1 at every noise level."""

    name: ClassVar[str] = "edm"
    range: ClassVar[tuple[float, float]] = 0.0, math.inf  # the smallest and largest σ that the network was made for
    sigma_data: float = 0.5  # deviation of the data

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Of noise levels float32 (B,), positive."""
        total = sigma.square() + self.sigma_data**2
        into = total.rsqrt()
        return Coefficients(self.sigma_data**2 / total, sigma * self.sigma_data * into, into, sigma.log() / 4)


@dataclass(frozen=True)
class Vp:
    """The form of variance-preserving diffusion: F tells the noise, at one of M steps of its own time."""

    name: ClassVar[str] = "vp"
    beta_d: float = 19.9
    beta_min: float = 0.1
    M: int = 1000
    epsilon_t: float = 1e-5

    @property
    def range(self) -> tuple[float, float]:
        """σ at the times ``epsilon_t`` and 1."""
        exponents = (0.5 * self.beta_d * time**2 + self.beta_min * time for time in (self.epsilon_t, 1.0))
        low, high = (math.sqrt(math.expm1(exponent)) for exponent in exponents)
        return low, high

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Of noise levels float32 (B,), positive."""
        grown = (1 + sigma.square()).log()
        time = ((self.beta_min**2 + 2 * self.beta_d * grown).sqrt() - self.beta_min) / self.beta_d
        into = (1 + sigma.square()).rsqrt()
        return Coefficients(torch.ones_like(sigma), -sigma, into, (self.M - 1) * time)


@dataclass(frozen=True)
class Ve:
    """The form of variance-exploding diffusion: images and noise go in as they are."""

    name: ClassVar[str] = "ve"
    sigma_min: float = 0.02
    sigma_max: float = 100.0

    @property
    def range(self) -> tuple[float, float]:
        """As it was trained."""
        return self.sigma_min, self.sigma_max

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Of noise levels float32 (B,), positive."""
        ones = torch.ones_like(sigma)
        return Coefficients(ones, sigma, ones, (sigma / 2).log())


Precondition = Edm | Vp | Ve
FORMS: dict[str, type[Precondition]] = {form.name: form for form in (Edm, Vp, Ve)}


def as_json(form: Precondition) -> dict[str, Any]:
    """Name and parameters of a preconditioning."""
    return {"name": form.name, **asdict(form)}


def from_json(described: object) -> Precondition:
    """The inverse of :func:`as_json`. Raises UsageError where there is no such form."""
    if not isinstance(described, dict) or described.get("name") not in FORMS:
        raise UsageError(f"there is no preconditioning {described!r} here: known are {', '.join(FORMS)}")
    form = FORMS[described["name"]]
    parameters = {name: value for name, value in described.items() if name != "name"}
    for name, value in parameters.items():
        known = name in form.__dataclass_fields__ and type(value) in (int, float)
        if not (known and math.isfinite(value) and value > 0):
            raise UsageError(f"preconditioning {form.name} has no parameter {name} = {value!r}")
    return form(**parameters)


NAME = "song-unet"  # the one architecture of denoisers, in ``arch``; DDPM++ and NCSN++ are sets of its arguments


class Denoiser(nn.Module):
    """D(x; σ), from noisy images to denoised ones. Its state dict is that of published checkpoints."""

    def __init__(self, model: SongUNet, precondition: Precondition) -> None:
        super().__init__()
        self.model = model
        self.precondition = precondition
        self.dtype = torch.float32  # in which convolutions compute; see :func:`prepare`
        self.precision: Precision = "fp32"  # in which products are computed; see :func:`prepare`

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
        """Number of classes that it is conditioned on; 0 without labels."""
        return self.model.label_dim

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        """Denoised images float32 (B, C, H, W), in [-1, 1] or near it.

        Noisy images ``x`` have any float dtype; ``sigma``, the deviation of their noise, is one number or (B,);
        ``labels`` are :func:`one_hot`, None for a denoiser without classes; ``augment`` (B, augment_dim) tells, in
        training, how images were augmented. Raises UsageError where labels are missing, or there are no classes.
        """
        if labels is None and self.classes:
            raise UsageError(f"the denoiser was trained with labels of {self.classes} classes: give every image one")
        if labels is not None and not self.classes:
            raise UsageError("the denoiser was trained without labels: give it none")
        x = x.to(torch.float32)
        sigma = sigma.to(torch.float32).reshape(-1)
        c = self.precondition.coefficients(sigma)
        skip, out, into = (part[:, None, None, None] for part in (c.skip, c.out, c.into))
        inner = (into * x).to(self.dtype, memory_format=torch.channels_last)
        outputs = self.model(inner, c.noise.expand(len(x)), labels, augment)
        return torch.addcmul(skip * x, out, outputs.to(torch.float32))


def one_hot(labels: Tensor, classes: int) -> Tensor | None:
    """float32 (B, classes) of labels int64 (B); None where a denoiser has no classes."""
    return F.one_hot(labels, classes).to(torch.float32) if classes else None


def build_denoiser(arch: Mapping[str, Any]) -> Denoiser:
    """The denoiser that ``arch`` describes, on the CPU, its values still to be loaded; UsageError for another one."""
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
    """The same denoiser, ready to denoise many images: on its device, in its precision, frozen; changed in place.

    Weights lie in the order in which kernels read them (channels last), and constant factors are multiplied into them:
    what was prepared is not to be saved. ``bf16`` computes convolutions and attention in bfloat16 and all else in
    float32. ``tf32`` takes :func:`datarobust.networks.products` around the sampling. ``compiled`` has ``torch.compile``
    fuse what lies between convolutions, for one shape of batches.
    """
    if precision == "tf32" and device == "cpu":
        raise UsageError("`precision` tf32 is of NVIDIA's processors: choose fp32 or bf16 on a CPU")
    denoiser.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    denoiser.eval().requires_grad_(False)
    for module in denoiser.modules():
        if isinstance(module, Block):
            module.fold()
    if compiled:
        denoiser.model.compile(dynamic=False)
    if precision == "bf16":
        for module in denoiser.modules():
            if isinstance(module, nn.Conv2d):
                module.to(torch.bfloat16)
        denoiser.dtype = torch.bfloat16
    denoiser.precision = precision
    return denoiser


def flops(denoiser: Denoiser) -> int:
    """Operations of convolutions and attention to denoise one image once; linear layers have a thousandth of them."""
    total = 0
    for name, part in (*denoiser.model.enc.items(), *denoiser.model.dec.items()):
        side = int(name.split("x")[0])
        for key, module in part.named_modules():
            if isinstance(module, nn.Conv2d):
                size = 2 * side if key == "" and name.endswith("aux_residual") else side
                total += 2 * size**2 * module.weight.numel()
                if key == "qkv":
                    total += 4 * side**4 * module.in_channels
    return total


def seconds_of(operations: float, denoiser: Denoiser) -> float:
    """Seconds that so many operations of a denoiser (:func:`flops`) take on its device."""

    def denoised(x: Tensor) -> Tensor:
        labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        result: Tensor = denoiser(x, torch.ones((), device=x.device), one_hot(labels, denoiser.classes))
        return result

    return timed(denoised, denoiser.shape, next(denoiser.parameters()).device, 2) * operations / flops(denoiser)
