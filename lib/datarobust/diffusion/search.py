"""The search for the sampler's arguments (Section 4; Appendix B: 729 points, three seeds), in full or by halving.

Halving ranks all points on a tenth of the images, the best ninth of them on three tenths, and the best ninth of those
on all images with all seeds: 1.24 million clones in place of 21.9 million on 10,000 images. Every point clones the same
images with the same noise, so points differ by their arguments alone; sets of images are prefixes of one another, so
what was cloned for a rung serves the next.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance
from typing import Any, Final, Literal, NamedTuple

from datarobust.diffusion.sampler import NOISE_WEIGHT, Sampler, start
from datarobust.errors import UsageError

# Appendix B; 20 steps.
GRID: Final[dict[str, tuple[float, ...]]] = {
    "sigma_min": (0.003, 0.004, 0.005),
    "sigma_max": (1.3, 1.4, 1.5),
    "rho": (1.5, 1.6, 1.7),
    "S_churn": (2.4, 2.5, 2.6),
    "S_min": (0.4, 0.5, 0.6),
    "S_max": (math.inf,),
    "S_noise": (1.006, 1.012, 1.015),
}
KEPT: Final = 9  # one in so many points goes on to the next rung, and so many do at least
SHARES: Final = (0.1, 0.3, 1.0)  # of the images, by rung


class Result(NamedTuple):
    """The score of one point with one seed."""

    point: int
    seed: int
    images: int
    score: float  # the Fréchet distance between images and clones; less is better
    l2: float = math.nan  # mean distances between images and clones
    linf: float = math.nan


@dataclass(frozen=True)
class Rung:
    """Points that are compared with one another."""

    points: int
    images: int
    seeds: tuple[int, ...]


def varied(point: Sampler) -> dict[str, float | None]:
    """The arguments that the grid varies, as JSON has them: None for an infinite ``S_max``."""
    arguments = point.as_json()
    return {name: arguments[name] for name in GRID}


def grid(
    changes: Mapping[str, Sequence[float]], base: Sampler, begin: str = "paper", noise_weight: float = NOISE_WEIGHT
) -> list[Sampler]:
    """All points, the last argument running fastest, with other values for some of them than :data:`GRID` has.

    ``base`` has the arguments that the grid does not vary; ``begin`` names the start, of which ``matched`` has a
    ``sigma_max`` of its own. Raises UsageError for an argument that the grid does not have, or that would say nothing.
    """
    for name in changes:
        if name not in GRID:
            raise UsageError(f"the grid does not have {name}: it has {', '.join(GRID)}")
    axes = {name: tuple(changes.get(name, values)) for name, values in GRID.items()}
    if not all(axes.values()):
        raise UsageError(f"the grid has no value of {next(name for name in axes if not axes[name])}")
    if begin == "matched" and len(axes["sigma_max"]) > 1:
        advice = "leave one, as in `grid` sigma_max=1.4, and choose the noise with `noise_weight`"
        raise UsageError(f"`start` matched begins at the noise that there is, whatever sigma_max is: {advice}")
    points = (dict[str, Any](zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    return [start(begin, replace(base, **values), noise_weight)[1] for values in points]


def ladder(strategy: Literal["full", "halving"], points: int, images: int, seeds: Sequence[int]) -> list[Rung]:
    """The rungs of a search. Halving by :data:`SHARES`; a rung that would not narrow the choice is left out."""
    whole = Rung(points, images, tuple(seeds))
    if strategy == "full":
        return [whole]
    sizes = [points]
    for _ in SHARES[1:]:
        sizes.append(min(sizes[-1], max(KEPT, math.ceil(sizes[-1] / KEPT))))
    rungs = [
        Rung(size, max(2, math.ceil(share * images)), tuple(seeds[:1]))
        for size, after, share in zip(sizes, sizes[1:], SHARES, strict=False)
        if after < size
    ]
    return [*rungs, replace(whole, points=sizes[-1])]


def survivors(results: Sequence[Result], count: int) -> list[int]:
    """The best points of a rung, best first; equal scores by number."""
    means = mean_scores(results)
    return sorted(means, key=lambda point: (means[point], point))[:count]


def mean_scores(results: Sequence[Result]) -> dict[int, float]:
    """Point -> mean score over its seeds."""
    return {point: fmean(scores) for point, scores in _by_point(results).items()}


def main_effects(results: Sequence[Result], points: Sequence[Sampler]) -> dict[str, dict[float, float]]:
    """Argument -> value -> mean score of all points with that value."""
    means = mean_scores(results)
    effects: dict[str, dict[float, float]] = {}
    for name in GRID:
        by_value: dict[float, list[float]] = {}
        for number, score in means.items():
            by_value.setdefault(getattr(points[number], name), []).append(score)
        effects[name] = {value: fmean(scores) for value, scores in sorted(by_value.items())}
    return effects


def seed_spread(results: Sequence[Result]) -> float | None:
    """Deviation of a score from seed to seed, pooled over all points with several seeds; None where there is none."""
    several = [scores for scores in _by_point(results).values() if len(scores) > 1]
    if not several:
        return None
    freedom = sum(len(scores) - 1 for scores in several)
    return math.sqrt(sum(variance(scores) * (len(scores) - 1) for scores in several) / freedom)


def top_set(results: Sequence[Result]) -> list[int]:
    """The points that seeds cannot tell from the best, best first: within two deviations of a difference of means."""
    means, spread = mean_scores(results), seed_spread(results)
    best = min(means.values())
    seeds = min(len(scores) for scores in _by_point(results).values())
    margin = 2 * spread * math.sqrt(2 / seeds) if spread is not None else 0.0
    return [point for point in survivors(results, len(means)) if means[point] <= best + margin]


def _by_point(results: Sequence[Result]) -> dict[int, list[float]]:
    """Point -> its scores, one a seed."""
    scores: dict[int, list[float]] = {}
    for result in results:
        scores.setdefault(result.point, []).append(result.score)
    return scores
