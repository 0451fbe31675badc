"""The grid of Appendix B, halving, main effects, and which points seeds cannot tell apart."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarobust.diffusion.sampler import Sampler
from datarobust.diffusion.search import (
    GRID,
    Result,
    grid,
    ladder,
    main_effects,
    mean_scores,
    seed_spread,
    survivors,
    top_set,
    varied,
)
from datarobust.errors import UsageError


def results(*scores: tuple[int, int, float]) -> list[Result]:
    return [Result(point, seed, 100, score) for point, seed, score in scores]


def test_the_papers_grid() -> None:
    points = grid({}, Sampler())
    assert len(points) == 729
    assert len(set(points)) == 729
    assert [point.S_noise for point in points[:3]] == list(GRID["S_noise"])  # runs fastest
    middle = [point for point in points if point == Sampler()]
    assert len(middle) == 1
    assert varied(middle[0]) == {
        "sigma_min": 0.004,
        "sigma_max": 1.4,
        "rho": 1.6,
        "S_churn": 2.5,
        "S_min": 0.5,
        "S_max": None,
        "S_noise": 1.012,
    }
    assert all(math.isinf(point.S_max) and point.num_steps == 20 for point in points)


def test_other_values() -> None:
    points = grid({"rho": [2.0, 7.0], "S_noise": [1.0], "S_churn": [0.0]}, Sampler(num_steps=5))
    assert len(points) == 54
    assert {point.rho for point in points} == {2.0, 7.0}
    assert points[0].num_steps == 5
    with pytest.raises(UsageError, match="does not have num_steps"):
        grid({"num_steps": [1.0]}, Sampler())
    with pytest.raises(UsageError, match="no value of rho"):
        grid({"rho": []}, Sampler())
    with pytest.raises(UsageError, match="sigma_min"):
        grid({"sigma_min": [2.0]}, Sampler())


def test_s_max_is_in_the_grid_as_in_the_sampler() -> None:
    points = grid({"S_max": [1.0, math.inf]}, Sampler())
    assert len(points) == 2 * 729
    assert [varied(point)["S_max"] for point in points[:6]] == [1.0] * 3 + [None] * 3
    assert points[0] == Sampler(
        S_max=1.0, sigma_min=0.003, sigma_max=1.3, rho=1.5, S_churn=2.4, S_min=0.4, S_noise=1.006
    )
    for wrong in (-1.0, math.nan):
        with pytest.raises(UsageError, match="S_max"):
            grid({"S_max": [wrong]}, Sampler())


def test_matched_has_a_sigma_max_of_its_own() -> None:
    for changes in ({}, {"sigma_max": [1.3, 1.4]}):
        with pytest.raises(UsageError, match=r"`start` matched .* `grid` sigma_max=1.4, .* `noise_weight`"):
            grid(changes, Sampler(), "matched")
    points = grid({"sigma_max": [1.4]}, Sampler(), "matched", 0.5)
    assert len(points) == 243
    assert {point.sigma_max for point in points} == {1.0}
    assert {point.sigma_max for point in grid({}, Sampler(), "unit")} == {1.3, 1.4, 1.5}


def test_halving_of_the_paper_is_a_seventeenth_of_the_full_search() -> None:
    rungs = ladder("halving", 729, 10_000, (0, 1, 2))
    assert [(rung.points, rung.images, len(rung.seeds)) for rung in rungs] == [
        (729, 1000, 1),
        (81, 3000, 1),
        (9, 10_000, 3),
    ]
    full = ladder("full", 729, 10_000, (0, 1, 2))
    assert [(rung.points, rung.images, rung.seeds) for rung in full] == [(729, 10_000, (0, 1, 2))]
    clones = sum(rung.points * rung.images * len(rung.seeds) for rung in rungs)
    assert 21_870_000 / clones == pytest.approx(17.6, abs=0.1)


@given(st.integers(1, 1000), st.integers(2, 20_000), st.integers(1, 5))
def test_rungs_narrow_and_grow(points: int, images: int, seeds: int) -> None:
    rungs = ladder("halving", points, images, tuple(range(seeds)))
    assert rungs[0].points == points
    assert rungs[-1].images == images
    assert rungs[-1].seeds == tuple(range(seeds))
    for one, after in pairwise(rungs):
        assert one.points > after.points
        assert 2 <= one.images <= after.images
        assert one.seeds == (0,)
    assert all(rung.points >= min(points, 9) for rung in rungs)


def test_survivors_are_the_best_by_mean_and_ties_go_by_number() -> None:
    found = results((3, 0, 1.0), (3, 1, 3.0), (1, 0, 2.0), (1, 1, 2.0), (2, 0, 1.5), (0, 0, 9.0))
    assert mean_scores(found) == {3: 2.0, 1: 2.0, 2: 1.5, 0: 9.0}
    assert survivors(found, 3) == [2, 1, 3]
    assert survivors(found, 99) == [2, 1, 3, 0]


def test_main_effects_recover_an_additive_score() -> None:
    points = grid({}, Sampler())
    slopes = {"sigma_min": 0.0, "sigma_max": 5.0, "rho": -1.0, "S_churn": 0.3, "S_min": 0.0, "S_noise": 2.0}
    scores = [sum(slope * getattr(point, name) for name, slope in slopes.items()) for point in points]
    found = main_effects(results(*((n, 0, score) for n, score in enumerate(scores))), points)
    assert list(found.pop("S_max")) == [math.inf]
    for name, effects in found.items():
        assert list(effects) == sorted(GRID[name])
        values = list(effects)
        for one, other in pairwise(values):
            assert effects[other] - effects[one] == pytest.approx(slopes[name] * (other - one), abs=1e-9)


def test_spread_and_top_set() -> None:
    assert seed_spread(results((0, 0, 1.0), (1, 0, 2.0))) is None
    assert top_set(results((0, 0, 1.0), (1, 0, 1.0001))) == [0]
    truth = [5.0, 5.05, 5.1, 5.2]
    found = results(*((p, s, truth[p] + 0.07 * (s - 1)) for p in range(4) for s in range(3)))
    assert seed_spread(found) == pytest.approx(0.07)
    assert top_set(found) == [0, 1, 2]  # two deviations of a difference of means are 0.114
    exact = results((0, 0, 1.0), (0, 1, 3.0), (1, 0, 3.9), (1, 1, 4.0), (2, 0, 9.0), (2, 1, 9.0))
    assert seed_spread(exact) == pytest.approx(math.sqrt((2 + 0.005 + 0) / 3))
    assert top_set(exact) == [0]
