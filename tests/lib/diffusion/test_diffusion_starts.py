"""The starts of cloning against their formulas in words; noise as a function of seed, row and part."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarobust.diffusion.cloning import image_keys, normals, random_labels, uniforms
from datarobust.diffusion.sampler import DEFAULTS, Sampler, start
from datarobust.errors import UsageError


def test_the_papers_mixture() -> None:
    """0.55 image and 0.45 noise, of norm 1, times sigma_max; at 1.292 the image's coefficient is 1."""
    norm = math.sqrt(0.55**2 + 0.45**2)
    for sigma, image, noise in ((1.3, 1.006, 0.823), (1.4, 1.084, 0.887), (1.5, 1.161, 0.950)):
        found, sampler = start("paper", Sampler(sigma_max=sigma))
        assert found.image == pytest.approx(sigma * 0.55 / norm, rel=1e-12)
        assert (found.image, found.noise) == (pytest.approx(image, abs=5e-4), pytest.approx(noise, abs=5e-4))
        assert found.told == sigma == sampler.sigma_max
    assert start("paper", Sampler(sigma_max=norm / 0.55))[0].image == pytest.approx(1.0, rel=1e-12)


def test_a_mixture_of_variance_one() -> None:
    found, _ = start("unit", Sampler(sigma_max=1.4))
    assert (found.image, found.noise) == (pytest.approx(1.46, abs=5e-3), pytest.approx(1.20, abs=6e-3))
    assert math.hypot(found.image * 0.5, found.noise) == pytest.approx(1.4, rel=1e-12)


@given(st.floats(0.05, 0.95))
def test_matched_tells_the_noise_that_there_is(weight: float) -> None:
    found, sampler = start("matched", DEFAULTS["matched"], weight)
    assert found.image == 1.0
    assert found.noise == found.told == sampler.sigma_max == pytest.approx(weight / (1 - weight))
    assert found.noise / found.image == pytest.approx(
        start("paper", Sampler(), weight)[0].noise / start("paper", Sampler(), weight)[0].image
    )


def test_plain_noise() -> None:
    found, sampler = start("noise", DEFAULTS["noise"])
    assert (found.image, found.noise, found.told) == (0.0, 80.0, 80.0)
    assert sampler.evaluations == 35
    assert not any(step.noise for step in sampler.steps())


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.1, math.nan])
def test_a_weight_that_is_no_share(weight: float) -> None:
    with pytest.raises(UsageError, match="share between 0 and 1"):
        start("paper", Sampler(), weight)


def test_what_makes_no_start() -> None:
    with pytest.raises(UsageError, match="no start"):
        start("other", Sampler())
    with pytest.raises(UsageError, match="below sigma_min"):
        start("matched", Sampler(sigma_min=1.0), 0.1)


def test_keys_depend_on_seed_row_and_repeat_alone() -> None:
    rows, repeats = np.array([5, 0, 1_000_000, 5]), np.array([0, 0, 3, 1])
    keys = image_keys(7, repeats, rows)
    assert keys.dtype == np.uint64
    for place in range(4):
        assert image_keys(7, repeats[place : place + 1], rows[place : place + 1])[0] == keys[place]
    assert len(set(keys.tolist()) | set(image_keys(8, repeats, rows).tolist())) == 8


def test_numbers_depend_on_key_and_part_alone() -> None:
    keys = image_keys(0, np.zeros(3, np.int64), np.arange(3))
    drawn = normals(keys, 4, (2, 3, 3))
    assert drawn.shape == (3, 2, 3, 3)
    np.testing.assert_array_equal(normals(keys[[2, 0]], 4, (2, 3, 3)), drawn[[2, 0]])
    assert not np.array_equal(normals(keys, 5, (2, 3, 3)), drawn)
    assert not np.array_equal(normals(keys[:1], 4, (2, 3, 3)), drawn[1:2])


def test_they_are_normal_and_uniform() -> None:
    keys = image_keys(1, np.zeros(50, np.int64), np.arange(50))
    drawn = normals(keys, 0, (400,)).astype(np.float64)
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03
    between = np.corrcoef(drawn)[~np.eye(50, dtype=bool)]
    assert np.abs(between).max() < 0.3
    numbers = uniforms(keys, 0, 400)
    assert 0 <= numbers.min() < 0.01 < 0.99 < numbers.max() < 1


def test_random_labels() -> None:
    rows = np.arange(3000)
    labels = random_labels(0, rows, 10)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(random_labels(0, rows[[7, 3]], 10), labels[[7, 3]])
    assert np.bincount(labels, minlength=10).min() > 230
    assert not np.array_equal(random_labels(1, rows, 10), labels)
