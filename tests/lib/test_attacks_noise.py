"""Starts of attacks are functions of (seed, purpose, step, place): batches and processes do not change them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.attacks import start_noise
from datarobust.randomness import Domain

KINDS = pytest.mark.parametrize("kind", ["uniform", "normal"])


@KINDS
@settings(max_examples=40)
@given(
    count=st.integers(1, 9),
    size=st.integers(1, 15),
    cut=st.integers(0, 9),
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(0, 10**9),
)
def test_parts_are_parts_of_the_whole(kind: Any, count: int, size: int, cut: int, seed: int, step: int) -> None:
    whole = start_noise(kind, (count, size, 2), seed, Domain.TRAIN, step)
    cut = min(cut, count)
    parts = [
        start_noise(kind, (cut, size, 2), seed, Domain.TRAIN, step),
        start_noise(kind, (count - cut, size, 2), seed, Domain.TRAIN, step, first=cut),
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.dtype == torch.float32


@KINDS
def test_seeds_purposes_and_steps_draw_differently(kind: Any) -> None:
    asked = [
        (0, Domain.TRAIN, 0),
        (1, Domain.TRAIN, 0),
        (0, Domain.TRACK, 0),
        (0, Domain.TEST, 0),
        (0, Domain.FOCUS, 0),
        (0, Domain.TRAIN, 1),
    ]
    drawn = [start_noise(kind, (2, 8), *each).numpy().tobytes() for each in asked]
    assert len(set(drawn)) == len(asked)


def test_uniform_numbers_are_uniform() -> None:
    values = start_noise("uniform", (50, 4001), 3, Domain.TRAIN, 5).numpy()
    assert values.min() >= -1.0
    assert values.max() < 1.0
    counts, _ = np.histogram(values, 20, (-1.0, 1.0))
    assert (np.abs(counts - values.size / 20) < 5 * np.sqrt(values.size / 20)).all()
    assert abs(float(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1])) < 0.01


def test_normal_numbers_are_normal() -> None:
    from scipy import stats

    values = start_noise("normal", (50, 4001), 3, Domain.TRAIN, 5).numpy()
    assert np.isfinite(values).all()
    assert stats.kstest(values.ravel()[:50_000], "norm").pvalue > 1e-4
    assert abs(float(np.corrcoef(values[:, 0:4000:2].ravel(), values[:, 1:4000:2].ravel())[0, 1])) < 0.01


def test_normal_numbers_are_those_of_box_and_muller() -> None:
    """Each two of the uniform ones make two; a change would break every resumed training in l2."""
    first, second = (start_noise("uniform", (3, 10), 0, Domain.TRAIN, 0).double().numpy().reshape(-1, 2).T + 1) / 2
    length = np.sqrt(-2 * np.log(first + 2.0**-24))
    expected = np.stack([length * np.cos(2 * np.pi * second), length * np.sin(2 * np.pi * second)], 1)
    found = start_noise("normal", (3, 10), 0, Domain.TRAIN, 0).numpy()
    np.testing.assert_allclose(found, expected.reshape(3, 10), rtol=1e-6)


def test_the_numbers_are_the_same_for_ever() -> None:
    """A change would break every resumed training."""
    assert (start_noise("uniform", (1, 3), 0, Domain.TRAIN, 0).numpy() * 2**23).tolist() == [
        [-4977594.0, 3947495.0, -1310624.0]
    ]
