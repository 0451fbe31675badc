"""Power: against simulated experiments, against published numbers, and against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datarobust.evaluation import power
from datarobust.evaluation.power import POWER, detectable_by_points, detectable_by_seeds, mcnemar_power, welch_power
from datarobust.evaluation.statistics import mcnemar

DRAWS = 20_000


def error(share: float) -> float:
    """Four standard errors of a share of simulated experiments."""
    return 4 * math.sqrt(share * (1 - share) / DRAWS) + 1 / DRAWS


@pytest.mark.parametrize(
    ("points", "discordant", "difference"),
    [(50, 0.4, 0.24), (300, 0.1, 0.04), (300, 0.0, 0.03), (10_000, 0.06, 0.007), (10_000, 0.44, 0.0), (8, 0.9, 0.9)],
)
def test_the_power_of_mcnemars_test_is_that_of_simulated_evaluations(
    points: int, discordant: float, difference: float
) -> None:
    share = max(discordant, difference)
    shares = [(share - difference) / 2, (share + difference) / 2, 1 - share]
    drawn = np.random.default_rng(0).multinomial(points, shares, size=DRAWS)
    only_a, only_b, _ = drawn.T
    p = 2 * stats.binom.cdf(np.minimum(only_a, only_b), only_a + only_b, 0.5)  # as mcnemar is tested to be
    rejected = np.mean((only_b > only_a) & (p <= 0.05))
    value = mcnemar_power(points, discordant, difference)
    assert rejected == pytest.approx(value, abs=error(value))


def test_the_sum_over_numbers_of_discordant_points() -> None:
    """The definition: every number of discordant points and every split of them, for a few points."""
    points, discordant, difference = 12, 0.6, 0.5
    shares = [(discordant - difference) / 2, (discordant + difference) / 2, 1 - discordant]
    total = sum(
        stats.multinomial.pmf([only_a, only_b, points - only_a - only_b], points, shares)
        for only_a in range(points + 1)
        for only_b in range(only_a + 1, points + 1 - only_a)
        if mcnemar(only_a, only_b) <= 0.05
    )
    assert mcnemar_power(points, discordant, difference) == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize(("discordant", "difference", "published"), [(0.45, 0.15, 155), (0.5, 0.4, 23)])
def test_the_points_needed_are_the_published_ones(discordant: float, difference: float, published: int) -> None:
    """Examples of two calculators that follow Connor (1987)."""
    assert power.points_needed(discordant, difference) == published


@pytest.mark.parametrize("discordant", [0.0, 0.002, 0.005, 0.06])
def test_the_points_that_the_papers_gain_needs(discordant: float) -> None:
    """The exact test agrees with the formula; a gain takes as many discordant points."""
    needed = power.points_needed(discordant)
    assert mcnemar_power(needed, discordant, 0.002) == pytest.approx(POWER, abs=0.025)
    assert mcnemar_power(math.ceil(1.06 * needed), discordant, 0.002) >= POWER
    assert detectable_by_points(needed, discordant) == pytest.approx(0.002, rel=0.03)


@settings(max_examples=30)
@given(st.integers(1, 3000), st.floats(0, 1))
def test_a_detectable_difference_is_found_with_the_power(points: int, discordant: float) -> None:
    smallest = detectable_by_points(points, discordant)
    if smallest is None:
        assert points < 6, "six points that all speak for one side are the fewest that are significant"
        return
    assert 0 < smallest <= 1
    assert mcnemar_power(points, discordant, smallest) == pytest.approx(POWER, abs=1e-6)
    assert mcnemar_power(points, discordant, 0.9 * smallest) < POWER
    assert mcnemar_power(points, discordant, 1e-9) <= 0.025 + 1e-6


def test_independent_networks_are_two_proportions() -> None:
    """The share of discordant points, and the detectable difference of the test of two proportions."""
    random = np.random.default_rng(0)
    a, b = random.random((2, 100_000)) < 0.675
    assert power.independent(0.675) == pytest.approx((a != b).mean(), abs=0.01)
    of_two_proportions = (1.959964 + 0.841621) * math.sqrt(2 * 0.675 * 0.325 / 10_000)
    assert detectable_by_points(10_000, power.independent(0.675)) == pytest.approx(of_two_proportions, rel=0.02)
    assert power.independent(1) == 0


@pytest.mark.parametrize(("seeds", "difference", "known"), [(20, 1.0, 0.8689528), (64, 0.5, 0.8014596)])
def test_the_power_of_welchs_test_is_near_the_published_one_of_students(
    seeds: int, difference: float, known: float
) -> None:
    """R's ``power.t.test`` and G*Power, for two groups of equal deviation and many values."""
    assert welch_power([1, 1], [seeds, seeds], difference) == pytest.approx(known, abs=0.003)


@pytest.mark.parametrize(
    ("deviations", "seeds"),
    [
        ((0.01, 0.01), (2, 2)),
        ((0.01, 0.01), (3, 3)),
        ((0.01, 0.03), (3, 3)),
        ((0.01, 0.01), (5, 5)),
        ((0.02, 0.01), (2, 9)),
        ((0.0001, 0.01), (2, 4)),
        ((0.01, 0.01), (20, 20)),
    ],
)
def test_detectable_by_seeds_is_what_simulated_trainings_show(
    deviations: tuple[float, float], seeds: tuple[int, int]
) -> None:
    difference = detectable_by_seeds(deviations, seeds)
    assert difference is not None
    assert welch_power(deviations, seeds, difference) == pytest.approx(POWER, abs=1e-6)
    random = np.random.default_rng(0)
    a, b = (
        random.normal(mean, deviation, (DRAWS, size))
        for mean, deviation, size in zip((0.5, 0.5 + difference), deviations, seeds, strict=True)
    )
    test = stats.ttest_ind(b, a, axis=1, equal_var=False)  # as unpaired is tested to be
    rejected = np.mean((test.pvalue <= 0.05) & (test.statistic > 0))
    assert rejected == pytest.approx(POWER, abs=error(POWER))


def test_the_papers_gain_by_seeds() -> None:
    needed = power.seeds_needed([0.0015, 0.0025])
    assert needed is not None
    assert welch_power([0.0015, 0.0025], [needed] * 2, 0.002) >= POWER
    assert welch_power([0.0015, 0.0025], [needed - 1] * 2, 0.002) < POWER
    assert power.seeds_needed([1e-9, 1e-9]) == 2
    assert power.seeds_needed([0.7, 0.7]) == pytest.approx(2 * 0.7**2 * (1.959964 + 0.841621) ** 2 / 0.002**2, rel=1e-3)
    assert power.seeds_needed([0.0, 0.0]) is None
    assert detectable_by_seeds([0.0, 0.0], [3, 3]) is None
    assert detectable_by_seeds([0.0, 0.01], [2, 2]) > 0.05  # one degree of freedom


def test_what_evaluations_could_show() -> None:
    random = np.random.default_rng(0)
    a, b, c, d = random.random((4, 500)) < 0.6
    pair = power.attainable([a], [b])
    assert pair["discordant"] == (a != b).mean()
    assert pair["detectable"] == detectable_by_points(500, pair["discordant"])
    assert pair["points_for_gain"] == power.points_needed(pair["discordant"])
    alone = power.attainable([a], [])
    assert alone["discordant"] == power.independent(a.mean())
    deviations = [float(np.std([x.mean(), y.mean()], ddof=1)) for x, y in ((a, b), (c, d))]
    groups = power.attainable([a, b], [c, d])
    assert groups["detectable"] == pytest.approx(detectable_by_seeds(deviations, [2, 2]))
    assert groups["seeds_for_gain"] == power.seeds_needed(deviations)
    assert power.attainable([a, b], []) == power.attainable([a, b], [a, b])
    assert power.attainable([a], [c, d])["detectable"] is None
    assert power.attainable([a, a], [b, b])["detectable"] is None, "seeds that do not differ have no deviation"
    assert power.attainable([a], [a])["detectable"] == detectable_by_points(500, 0.0)
