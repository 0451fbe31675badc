"""Do patterns emerge?  Whether neighbours on a map are alike in robustness, measured against chance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.stats import rankdata

from datarobust.randomness import Domain, permutation

Numbers = npt.NDArray[np.float64]

PERMUTATIONS: Final = 999


@dataclass(frozen=True)
class Coherence:
    """Whether neighbours on a map are alike in robustness.

    Attributes:
        correlation: Spearman's, of a point's robustness and that of its nearest neighbour; None where all are equal.
        permuted: the largest correlation with the robustness of the points exchanged at random.
        permutations: how many times.
        p: the share of permutations that reach the correlation, it among them: at least 1/(permutations + 1).
    """

    correlation: float | None
    permuted: float | None
    permutations: int
    p: float | None

    def as_json(self) -> dict[str, float | int | None]:
        """Names and values."""
        return asdict(self)


def coherence(position: Numbers, robustness: Numbers, seed: int, permutations: int = PERMUTATIONS) -> Coherence:
    """Whether patterns emerge: is a point about as robust as its nearest neighbour on the map?

    A relative of Moran's I with one neighbour a point. Robustness counts by its rank, so that no outlier rules.

    Args:
        position: (M, 2) float64, M at least 2.
        robustness: (M,) float64, finite.
        seed: of the permutations.
        permutations: how often robustness is exchanged among the points.
    """
    _, two = KDTree(position).query(position, k=2)
    nearest = np.where(two[:, 0] == np.arange(len(two)), two[:, 1], two[:, 0])  # equal positions come in any order
    ranks = rankdata(robustness)
    seen = _correlation(ranks, ranks[nearest])
    if seen is None:
        return Coherence(None, None, permutations, None)
    shuffled = [ranks[permutation(seed, Domain.MAP_SHUFFLE.of(turn), len(ranks))] for turn in range(permutations)]
    chance = [found for one in shuffled if (found := _correlation(one, one[nearest])) is not None]
    reached = 1 + sum(found >= seen for found in chance)
    return Coherence(seen, max(chance, default=None), permutations, reached / (permutations + 1))


def _correlation(one: Numbers, two: Numbers) -> float | None:
    """Pearson's; None where either does not vary."""
    one, two = one - one.mean(), two - two.mean()
    size = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / size if size else None
