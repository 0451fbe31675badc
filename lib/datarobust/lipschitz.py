"""How far the sensitivity of a point speaks for the points around it: Theorem 1 of the paper, with the constant.

Theorem 1 says that the sensitivity ::

    s_y(x) = max_j ||y(p_j) - y(x)|| / d(p_j, x)

is Lipschitz continuous on some open set around a point p_i of the data, if y is locally constant there; its proof
(Appendix A) names neither the set nor the constant. Both can be named. Let r be the robustness of p_i, the distance to
the nearest point of another label, and let y be constant on the ball of radius ρ < r around p_i, closed or open. Then

- a point p_j of the label of p_i contributes nothing: its numerator is 0 on the ball;
- d(p_j, ·) of any other p_j is 1-Lipschitz, and at least r - ρ on the ball: by Proposition B its reciprocal has the
  constant 1 / (r - ρ)²;
- the numerator is at most δ, and constant; by Proposition D the maximum has the largest constant of all::

      L = δ / (r - ρ)²

With hard labels, where all numerators are δ, no smaller constant holds: at p_i + t (p_j - p_i) / r with the nearest p_j
the sensitivity is δ / (r - t), whose slope reaches L as t goes to ρ.

ρ = r/2 is the default, because one map y then serves all points at once: points of different labels are at least
(r_i + r_j) / 2 apart, so their open balls do not meet. With a larger share of r they may.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datarobust.errors import UsageError
from datarobust.types import Floats


def bound(robustness: npt.ArrayLike, radius: npt.ArrayLike | None = None, delta: float = 1.0) -> Floats:
    """L = δ / (r - ρ)², the Lipschitz constant of s_y on the ball of radius ρ around each point (Theorem 1).

    ``robustness`` is r, distances to the nearest points of another label. ``radius`` is ρ, one for each point or one
    for all; r/2 if not given, so L = 4 δ / r². ``delta`` is δ, the largest distance between two labels: 1 for
    s_y = 1/r, as Algorithm 1 has it; √2 for one-hot labels in l2.

    The result is in 1/units²: +inf where ρ >= r, also at r = 0, as y is not constant on that ball, and s_y has no bound
    on it; 0 at r = +inf, where no point has another label and s_y is 0; NaN where r is NaN.
    Raises UsageError where a radius is negative or NaN, or δ is no positive number.
    """
    if not (0.0 < delta < math.inf):
        raise UsageError(f"delta is the distance between two labels, a positive number, not {delta}")
    r = np.asarray(robustness, np.float64)
    rho = r / 2.0 if radius is None else np.asarray(radius, np.float64)
    if radius is not None and not (rho >= 0.0).all():
        raise UsageError(f"a radius is a distance, and not {rho[~(rho >= 0.0)].ravel()[0]}")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        gap = r - rho
        constant = np.where(gap > 0.0, delta / gap / gap, math.inf)  # a square would leave the range of a double
    return np.asarray(np.where(np.isnan(r), math.nan, np.where(np.isinf(r), 0.0, constant)))
