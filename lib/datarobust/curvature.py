"""Curvature of the data manifold, and what a model perceives of it: Section 3 of the paper.

Two points of a curve have a distance d in the space of features and a distance d~ along the curve. The more these
differ, the more the curve bends (Haantjes 1947; Kay 1980)::

    κ  = (4! (d~ - d) / d³)^½        Finsler-Haantjes curvature
    κ~ = (d~ - d) / d³               the same without root and factor: κ = (4! κ~)^½

As the two close in on one point of a smooth curve in Euclidean space, κ goes to the classical curvature: 1/R on a
circle.

d~ is out of reach. The paper argues that a model, which sees labels and not degrees of meaning, perceives one and the
same distance λ = δ(y) between any two points of different labels. Their *perceived* curvature follows from the distance
alone: κ~_perc = (λ - d) / d³, which is :func:`kappa_tilde` with λ for d~.

**For which λ.** The paper says that κ~_perc has the order of 1/d for any real λ. Both factors of (λ - d) d⁻³ do fall as
d grows, but a product of falling factors falls only while none is negative. The derivative is (2d - 3λ) / d⁴, so

=====================  ==========================================================================================
0 < d <= λ             κ~_perc falls and κ_perc is real
λ < d <= 1.5 λ         κ~_perc still falls, but is negative: κ_perc is imaginary
1.5 λ < d              κ~_perc rises, and goes to 0 from below
=====================  ==========================================================================================

The curvature of a point is the largest over all points of other labels. With r the distance of the nearest of them and
R of the farthest, it is at one of these two: κ~_perc falls and then rises on [r, R], so that no value in between is
above both ends. If r <= λ, it is at the nearest, because κ~_perc is not negative there, less at any d up to λ, and
negative beyond. So the order is that of 1/r if r <= λ for all points; else it may be any other (:func:`largest`).

The paper itself derives d~ >= d. A λ that does not break this is at least the largest distance between points of
different labels; the diameter of the cube, :func:`diameter`, always is. With it the paper's claim holds for all points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datarobust.errors import UsageError
from datarobust.norms import norm_of
from datarobust.types import Floats


def kappa_tilde(distance: npt.ArrayLike, manifold: npt.ArrayLike) -> Floats:
    """κ~ = (d~ - d) / d³ (Section 3); with a number λ for d~, the perceived curvature κ~_perc.

    ``distance`` is d >= 0, ``manifold`` d~, in one unit and of shapes that broadcast. The result is in 1/units²: +inf
    at d = 0 < d~; negative where d~ < d, which no manifold has; NaN where nothing is defined: d = d~ = 0; d = +inf,
    which stands for "there is no such pair"; d = NaN, a point that was dropped.

    Where d <= d~ = λ the result never rises with d, not even by rounding: each step of the calculation is monotone.
    """
    near, far = np.asarray(distance, np.float64), np.asarray(manifold, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        # Divided three times: d³ would leave the range of a double for features in small or large units.
        tilde = (far - near) / near / near / near
    return np.asarray(np.where(np.isinf(near), np.nan, tilde))


def kappa_of(tilde: npt.ArrayLike) -> Floats:
    """κ = (4! κ~)^½ (Section 3), in 1/units; NaN where κ~ is negative and κ imaginary."""
    values = np.asarray(tilde, np.float64)
    with np.errstate(invalid="ignore"):
        # The sign, because a negative number that is too small for a double is -0.0, whose root is no NaN.
        return np.asarray(np.where(np.signbit(values), np.nan, math.sqrt(24.0) * np.sqrt(values)))


def kappa(distance: npt.ArrayLike, manifold: npt.ArrayLike) -> Floats:
    """Finsler-Haantjes curvature κ = (4! (d~ - d) / d³)^½ (Section 3); with a number λ for d~, κ_perc.

    Arguments and special values are those of :func:`kappa_tilde`; NaN also where d~ < d.
    """
    return kappa_of(kappa_tilde(distance, manifold))


def diameter(norm: str, numbers: int) -> float:
    """The largest distance in the cube [0,1]^n: √n in l2, 1 in l-infinity, n in l1; the default of λ on images.

    It is calculated as distances of images are, so that none of them is larger, not even in the last bit.

    ``numbers`` is n, how many numbers a point has. Raises UsageError where there is no such norm.
    """
    measure = norm_of(norm)
    black, white = np.zeros((1, numbers), np.uint8), np.full((1, numbers), 255, np.uint8)
    return float(measure.distances(measure.keys(black, white), np.uint8)[0])


def largest(nearest: Floats, farthest: Floats, lam: float) -> Floats:
    """The largest κ~_perc over all points of other labels, (N,), of the distances to the nearest and the farthest.

    See the head of this module. Where ``nearest`` is at most λ the farthest is not looked at.
    """
    near = kappa_tilde(nearest, lam)
    return np.where(nearest > lam, np.fmax(near, kappa_tilde(farthest, lam)), near)


@dataclass(frozen=True)
class Order:
    """How the order of the perceived curvature at λ stands to that of sensitivity; see the head of this module."""

    points: int  # those that have a point of another label at all
    imaginary: int  # r > λ: κ_perc of the nearest is imaginary
    elsewhere: int  # the largest κ~_perc is at the farthest point of another label, not at the nearest
    correlation: float  # Spearman's, of the largest κ~_perc and 1/r
    least: float  # the largest r, 0 where there is none: the least λ that gives the order of 1/r for sure

    def remarks(self) -> list[str]:
        """What a reader of the curvature should know, a sentence each; nothing where λ is large enough."""
        if not self.imaginary:
            return []
        return [
            f"{self.imaginary} of {self.points} points have a distance above lambda, although no distance along a "
            f"manifold is shorter: kappa_perc is imaginary there (nan). From `lam` {self.least} on it is real.",
            f"{self.elsewhere} of {self.points} points have their largest kappa_tilde_perc at the farthest point of "
            "another label, not at the nearest; its rank correlation with sensitivity is "
            f"{self.correlation:.3g}, and 1 from that `lam` on.",
        ]


def order(nearest: Floats, largest_tilde: Floats, lam: float) -> Order:
    """Compare the order of the largest κ~_perc (N,) at λ with that of the distances r (N,) to the nearest.

    Distances that are infinite or NaN are not counted. Raises UsageError where λ is not a positive number.
    """
    lam = demand_positive(lam)
    known = np.isfinite(nearest)
    r, tilde = nearest[known], largest_tilde[known]
    if not (r > lam).any():
        return Order(r.size, 0, 0, 1.0, float(r.max(initial=0.0)))
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (-r, tilde)]
    constant = any(np.ptp(values) == 0.0 for values in ranks)
    correlation = math.nan if constant else float(np.corrcoef(*ranks)[0, 1])
    elsewhere = int((tilde > kappa_tilde(r, lam)).sum())
    return Order(r.size, int((r > lam).sum()), elsewhere, correlation, float(r.max()))


def demand_positive(lam: float) -> float:
    """Return λ, a distance perceived between points of different labels (Section 3: δ(y) > 0); else UsageError."""
    if not (0.0 < lam < math.inf):
        raise UsageError(
            f"lambda is the distance perceived between points of different labels: give a positive number, not {lam}"
        )
    return lam
