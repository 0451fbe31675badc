"""What a clone is started from: the image, and random noise, in the proportions that Section 4 may mean.

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

The noise of an image is a function of (seed, repeat, row), whatever the batch or the device: it is drawn on the CPU. An
image has a key of 64 bits (:mod:`datarobust.randomness`); the numbers of its part s (the start, or a step) are those of
a Philox generator under the key (the image's key, s).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datarobust.diffusion.sampler import Sampler
from datarobust.errors import UsageError
from datarobust.randomness import Domain, row_keys
from datarobust.types import Floats, Rows

Name = Literal["paper", "matched", "unit", "noise"]
Keys = npt.NDArray[np.uint64]
Normals = npt.NDArray[np.float32]
SIGMA_DATA = 0.5
"""Deviation of images in [-1, 1]."""
NOISE_WEIGHT = 0.45
"""Share of noise in the paper."""


@dataclass(frozen=True)
class Start:
    """x = ``image`` x0 + ``noise`` n, told to the denoiser as noise of deviation ``told``."""

    name: str
    noise_weight: float
    """w."""
    image: float
    """Coefficient of the image."""
    noise: float
    """True deviation of the noise in x."""
    told: float
    """σ that the sampler starts at."""

    def as_json(self) -> dict[str, Any]:
        """Names and values."""
        return asdict(self)

    def remark(self) -> str:
        """The sentence that every run says of its start."""
        return (
            f"Start {self.name}: x = {self.image:.4g} image + {self.noise:.4g} noise (true deviation of the noise "
            f"{self.noise:.4g}), and the denoiser is told {self.told:.4g}."
        )


DEFAULTS: dict[str, Sampler] = {
    "paper": Sampler(),
    "unit": Sampler(),
    "matched": Sampler(rho=7.0, S_churn=0.0, S_min=0.0, S_noise=1.0),
    "noise": Sampler(num_steps=18, sigma_min=0.002, sigma_max=80.0, rho=7.0, S_churn=0.0, S_min=0.0, S_noise=1.0),
}
"""The default sampler of each start: the centre of the paper's grid; for ``matched`` and ``noise``, which need no
churn, that of Karras et al."""


def sampler_of(start: str, changes: Mapping[str, float | None]) -> Sampler:
    """The default sampler of a start, with those of these arguments that are not None.

    Raises:
        UsageError: numbers that make no schedule, or a ``sigma_max`` for ``matched``, which has one of its own.
    """
    if start == "matched" and changes.get("sigma_max") is not None:
        raise UsageError("`start` matched begins at the noise that there is: give `noise_weight`, not `sigma_max`")
    changed: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    return replace(DEFAULTS[start], **changed)


def start(name: str, sampler: Sampler, noise_weight: float = NOISE_WEIGHT) -> tuple[Start, Sampler]:
    """The start of that name, and the sampler that goes on from it (``matched`` has a ``sigma_max`` of its own).

    Raises:
        UsageError: no such start, or a weight that is no share between 0 and 1.
    """
    w, told = noise_weight, sampler.sigma_max
    if not 0 < w < 1:
        raise UsageError(f"the weight of the noise is a share between 0 and 1, not {w:g}")
    if name == "matched":
        ratio = w / (1 - w)
        if ratio < sampler.sigma_min:
            raise UsageError(
                f"the noise of the start, {ratio:.4g}, is below sigma_min = {sampler.sigma_min:g}: make one larger"
            )
        return Start(name, w, 1.0, ratio, ratio), replace(sampler, sigma_max=ratio)
    if name == "noise":
        return Start(name, 1.0, 0.0, told, told), sampler
    scales = {"paper": math.hypot(1 - w, w), "unit": math.hypot((1 - w) * SIGMA_DATA, w)}
    if name not in scales:
        raise UsageError(f"there is no start {name!r}: choose {', '.join(DEFAULTS)}")
    scale = told / scales[name]
    return Start(name, w, scale * (1 - w), scale * w, told), sampler


def image_keys(seed: int, repeats: Rows, rows: Rows) -> Keys:
    """The keys uint64 (B) of clones: number ``repeats`` (B) of the images ``rows`` (B) of a dataset."""
    pairs = zip(repeats.tolist(), rows.tolist(), strict=True)
    keys = [row_keys(seed, Domain.CLONE.of(repeat), row, row + 1)[0] for repeat, row in pairs]
    return np.array(keys, np.uint64)


def normals(keys: Keys, part: int, shape: tuple[int, ...]) -> Normals:
    """Standard normal numbers float32 (B, *shape) of one part: the start, a step, a noise level; shape is not ()."""
    noise = np.empty((len(keys), *shape), np.float32)
    for row, key in zip(noise, keys.tolist(), strict=True):
        _generator(key, part).standard_normal(dtype=np.float32, out=row)
    return noise


def uniforms(keys: Keys, part: int, count: int) -> Floats:
    """Numbers float64 (B, count), uniform in [0, 1), of one part."""
    numbers = np.empty((len(keys), count))
    for row, key in zip(numbers, keys.tolist(), strict=True):
        _generator(key, part).random(out=row)
    return numbers


def random_labels(seed: int, rows: Rows, classes: int) -> Rows:
    """A random label int64 (B), from 0 to classes - 1, for each row of a dataset."""
    labels = [int(row_keys(seed, Domain.CLONE_LABEL.of(0), row, row + 1)[0]) % classes for row in rows.tolist()]
    return np.array(labels, np.int64)


def _generator(key: int, part: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([key, part], np.uint64)))
