"""Norms, each in one place: how points are compared, how attacks climb. The paper's are l2 and l-infinity.

A *key* is what decides a comparison: the squared l2 distance, else the distance, in units of the numbers
compared. On images of bytes keys are whole numbers, so comparisons are exact; a distance is taken of a key to be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from datarobust.errors import UsageError
from datarobust.types import Array, Floats

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = 255.0
"""Steps of a byte between 0 and 1: distances of images are told in [0,1] units."""


@dataclass(frozen=True)
class Ball:
    """The ball of a norm around an image, as the attacks of training climb in it; tensors are (B, C, H, W) float32."""

    step: float
    """Usual step of an attack (Appendix B)."""
    largest_eps: float
    """A larger radius is a mistake of units; inf where none can be told."""
    reference_step: Callable[[float, float, int], float]
    """(eps, step, steps) to the step of the training attack in the code that the paper modifies (Wang et al. 2023)."""
    steepest: Callable[[Tensor], Tensor]
    """Gradients to the steepest directions, of length 1 in the norm; zero where a gradient is zero."""
    project: Callable[[Tensor, float], Tensor]
    """Offsets and a radius to the offsets, those outside the ball brought into it."""
    training_noise: Literal["uniform", "normal"]
    """What the training attack's start is made of: numbers uniform in [-1, 1), or standard normal ones."""
    training_start: Callable[[Tensor, Tensor, float], Tensor]
    """(images, noise, eps) to where the training attack starts."""
    tracking_offset: Callable[[Tensor, Tensor, float], Tensor]
    """(images, uniform noise, eps) to the offset, not yet projected, that the tracking attack starts with."""


@dataclass(frozen=True)
class Norm:
    """A norm on R^D."""

    name: str
    """As options and artifacts spell it."""
    symbol: str
    """As figures write it (TeX)."""
    key: Callable[[Array], Array]
    """(..., D) differences to (...) keys, in the dtype of the differences."""
    to_distance: Callable[[Floats], Floats]
    """Keys to distances, elementwise."""
    metric: Literal["cityblock", "sqeuclidean", "chebyshev"]
    """As SciPy calls its keys."""
    order: float
    """p of the l_p norm."""
    eps: float
    """Usual radius of attacks, pixels in [0,1] (Appendix B; in l1 Croce & Hein 2021)."""
    slip: float
    """Radii of evaluations from this share of the diameter of the cube of all images on are taken for a slip."""
    large_radii: bool = False
    """Whether AutoAttack's gradient attacks come from three times the radius over twice to the radius itself, more
    often and for fewer targets (Croce & Hein 2021)."""
    ball: Ball | None = None
    """None: nothing is trained against attacks in this norm."""

    @property
    def sums(self) -> bool:
        """Whether a key is a sum over coordinates; else it is the largest of them."""
        return self.order < math.inf

    @property
    def whole(self) -> bool:
        """Whether a distance is its key, and so between images of bytes a whole number of steps."""
        return self.to_distance is np.asarray

    def keys(self, a: Array, b: Array) -> Array:
        """Keys of pairs of points, (M,) from (M, ...): int64 and exact for bytes, float64 otherwise."""
        wide = np.int64 if a.dtype == np.uint8 else np.float64
        return np.array([self.key((x.astype(wide) - y).ravel()) for x, y in zip(a, b, strict=True)], wide)

    def distances(self, keys: Array, dtype: npt.DTypeLike) -> Floats:
        """Distances, in [0,1] units where the points are of dtype uint8, else in units of the points."""
        unit = LEVELS if np.dtype(dtype) == np.uint8 else 1.0
        return self.to_distance(np.asarray(keys, np.float64)) / unit

    def diameter(self, numbers: int) -> float:
        """Of the cube of all images of so many numbers in [0,1], up to rounding."""
        return float(numbers ** (1.0 / self.order))


def _squares(differences: Array) -> Array:
    return np.asarray(np.square(differences).sum(axis=-1))


def _sum(differences: Array) -> Array:
    return np.asarray(np.abs(differences).sum(axis=-1))


def _largest(differences: Array) -> Array:
    return np.asarray(np.abs(differences).max(axis=-1, initial=0))


def _unit_l2(gradient: Tensor) -> Tensor:
    length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    unit: Tensor = gradient / length.where(length > 0, length.new_ones(()))
    return unit


L2_START = 0.001
"""Scale of the normal noise that the training attack starts from in l2."""
L2 = Norm(
    "l2",
    r"$\ell_2$",
    _squares,
    np.sqrt,
    "sqeuclidean",
    2.0,
    eps=128 / 255,
    slip=0.1,
    ball=Ball(
        step=32 / 255,
        largest_eps=math.inf,
        reference_step=lambda eps, step, steps: 2 * eps / steps,
        steepest=_unit_l2,
        project=lambda offset, radius: offset.renorm(p=2, dim=0, maxnorm=radius),
        training_noise="normal",
        training_start=lambda x, noise, eps: x + L2_START * noise,
        tracking_offset=lambda x, noise, eps: (noise + 1.0) / 2.0 - x,
    ),
)
LINF = Norm(
    "linf",
    r"$\ell_\infty$",
    _largest,
    np.asarray,
    "chebyshev",
    math.inf,
    eps=8 / 255,
    slip=1.0,
    ball=Ball(
        step=2 / 255,
        largest_eps=1.0,
        reference_step=lambda eps, step, steps: step,
        steepest=lambda gradient: gradient.sign(),
        project=lambda offset, radius: offset.clamp(-radius, radius),
        training_noise="uniform",
        training_start=lambda x, noise, eps: (x + eps * noise).clamp(0.0, 1.0),
        tracking_offset=lambda x, noise, eps: eps * noise,
    ),
)
L1 = Norm("l1", r"$\ell_1$", _sum, np.asarray, "cityblock", 1.0, eps=12.0, slip=0.1, large_radii=True)
NORMS = {norm.name: norm for norm in (L2, LINF, L1)}


def plain_symbol(name: str) -> str:
    """A norm as text without TeX writes it: l2, l∞."""
    return name.replace("inf", "∞")


def norm_of(name: str) -> Norm:
    """The norm of that name; UsageError where there is none."""
    if name not in NORMS:
        raise UsageError(f"there is no norm {name!r} here: choose {' or '.join(NORMS)}")
    return NORMS[name]


def ball_of(name: str) -> Ball:
    """The ball of the norm of that name; UsageError where there is no such norm, or no training attack in it."""
    ball = norm_of(name).ball
    if ball is None:
        able = " or ".join(norm.name for norm in NORMS.values() if norm.ball is not None)
        raise UsageError(f"there is no training against attacks in the norm {name}: choose {able}")
    return ball
