"""Algorithm 2, against the reference's own run and against closed forms on Gaussian data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.diffusion.sampler import Sampler, sample
from datarobust.errors import UsageError

from .test_diffusion_denoiser import reference


def gaussian(deviation: float):  # type: ignore[no-untyped-def]
    """The ideal denoiser of data N(0, deviation²): the posterior mean."""
    return lambda x, sigma: x * deviation**2 / (deviation**2 + sigma**2)


def zeros(number: int) -> torch.Tensor:
    return torch.zeros(1, 1, 1, 1)


def test_equals_the_reference(shared: Path) -> None:
    denoiser, _ = reference(shared)
    data = np.load(shared / "oracles" / "sampler_ddpmpp_cond.npz")
    names = ("num_steps", "sigma_min", "sigma_max", "rho", "S_churn", "S_min", "S_noise")
    sampler = Sampler(**{name: data[name].item() for name in names})
    labels, noise = torch.from_numpy(data["labels"]), torch.from_numpy(data["step_noise"])
    start = torch.from_numpy(data["start"]).double() * sampler.sigma_max
    with torch.no_grad():
        found = sample(lambda x, sigma: denoiser(x, sigma, labels), start, sampler.steps(), lambda i: noise[i])
    np.testing.assert_allclose(found.numpy(), data["result"], rtol=0, atol=1e-5)
    assert sampler.evaluations == 39


def test_schedule_is_equation_5_and_churn_acts_between_its_bounds() -> None:
    sampler = Sampler(num_steps=5, sigma_min=0.1, sigma_max=10.0, rho=7.0, S_churn=1.0, S_min=0.5, S_max=5.0)
    times = [(10 ** (1 / 7) + i / 4 * (0.1 ** (1 / 7) - 10 ** (1 / 7))) ** 7 for i in range(5)]
    for step, time, after in zip(sampler.steps(), times, [*times[1:], 0.0], strict=True):
        gamma = 0.2 if 0.5 <= time <= 5.0 else 0.0
        assert step.sigma == pytest.approx(time * (1 + gamma), rel=1e-12)
        assert step.after == pytest.approx(after, rel=1e-12)
        assert step.noise == pytest.approx(math.sqrt(step.sigma**2 - time**2) * 1.012, abs=1e-9)
    assert [step.noise > 0 for step in sampler.steps()] == [0.5 <= time <= 5.0 for time in times]
    most = Sampler(S_churn=1e9).steps()[0]
    assert most.sigma == pytest.approx(1.4 * math.sqrt(2), rel=1e-12)
    assert len(Sampler(num_steps=1).steps()) == 1


@settings(max_examples=30)
@given(
    deviation=st.floats(0.1, 3.0),
    sampler=st.builds(
        Sampler,
        num_steps=st.integers(1, 12),
        sigma_min=st.floats(0.002, 0.1),
        sigma_max=st.floats(0.2, 80.0),
        rho=st.floats(0.5, 9.0),
        S_churn=st.floats(0.0, 10.0),
        S_min=st.floats(0.0, 1.0),
        S_noise=st.floats(0.9, 1.1),
    ),
)
def test_on_gaussian_data_each_step_is_a_known_factor(deviation: float, sampler: Sampler) -> None:
    """The ideal denoiser is linear, and so is a Heun step: the output is a sum of the start and of every noise, each
    times the product of the factors after it; written here as plain numbers."""

    def slope(time: float) -> float:
        return (1 - deviation**2 / (deviation**2 + time**2)) / time

    factors = []
    for step in sampler.steps():
        euler = 1 + (step.after - step.sigma) * slope(step.sigma)
        if step.after:
            mean = (slope(step.sigma) + slope(step.after) * euler) / 2
            factors.append(1 + (step.after - step.sigma) * mean)
        else:
            factors.append(euler)
    start = torch.tensor([1.7, -0.3], dtype=torch.float64).reshape(1, 2, 1, 1)
    noise = torch.randn((len(factors), 1, 2, 1, 1), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = sample(gaussian(deviation), start, sampler.steps(), lambda i: noise[i])
    wanted = start * math.prod(factors)
    for number, step in enumerate(sampler.steps()):
        wanted = wanted + noise[number] * step.noise * math.prod(factors[number:])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_on_gaussian_data_it_converges_to_the_flow_as_a_method_of_second_order() -> None:
    """The probability flow of N(0, s²) is x(t) = x(T) sqrt((s² + t²) / (s² + T²))."""
    deviation, begin = 0.5, 5.0
    exact = math.sqrt(deviation**2 / (deviation**2 + begin**2))
    errors = []
    for steps in (40, 80, 160):
        sampler = Sampler(num_steps=steps, sigma_min=0.002, sigma_max=begin, rho=7.0, S_churn=0.0)
        found = sample(gaussian(deviation), torch.ones(1, 1, 1, 1, dtype=torch.float64), sampler.steps(), zeros)
        errors.append(abs(float(found) / exact - 1))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.35)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.35)
    assert errors[2] < 1e-3


def test_with_churn_the_variance_of_gaussian_data_is_kept() -> None:
    """Noise that is added and taken away again leaves the distribution: squares of all linear parts add up to s²."""
    deviation, begin = 0.5, 3.0
    sampler = Sampler(num_steps=400, sigma_min=0.002, sigma_max=begin, rho=3.0, S_churn=40.0, S_min=0.01, S_noise=1.0)
    steps = sampler.steps()
    start = torch.zeros(1, len(steps) + 1, 1, 1, dtype=torch.float64)  # a channel for the start and for every noise
    start[0, 0] = math.hypot(deviation, begin)
    unit = torch.eye(len(steps) + 1, dtype=torch.float64)[:, None, :, None, None]
    parts = sample(gaussian(deviation), start, steps, lambda i: unit[i + 1])
    assert float(parts.square().sum().sqrt()) == pytest.approx(deviation, rel=0.01)


def test_noise_is_asked_for_only_where_it_is_added_and_the_start_is_left_alone() -> None:
    asked: list[int] = []

    def noise(number: int) -> torch.Tensor:
        asked.append(number)
        return torch.ones(1, 1, 1, 1)

    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    steps = Sampler().steps()
    found = sample(gaussian(0.5), start, steps, noise)
    assert asked == [number for number, step in enumerate(steps) if step.noise]
    assert 0 < len(asked) < len(steps)
    assert found.dtype == torch.float64
    assert float(start) == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_steps": 0}, "one step or more"),
        ({"sigma_min": 0.0}, "sigma_min > 0"),
        ({"sigma_min": 2.0}, "not 1.4 to 2.0"),
        ({"rho": 0.0}, "rho"),
        ({"rho": math.nan}, "rho"),
        ({"S_churn": -1.0}, "S_churn"),
        ({"S_max": math.nan}, "S_max"),
        ({"S_noise": math.inf}, "S_noise"),
    ],
)
def test_numbers_that_make_no_schedule(changes: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sampler(**changes)  # type: ignore[arg-type]


def test_within_the_range_of_a_denoiser() -> None:
    found = Sampler(sigma_min=0.004, sigma_max=80.0).within(0.02, 50.0)
    assert (found.sigma_min, found.sigma_max) == (0.02, 50.0)
    assert Sampler().within(0.0, math.inf) == Sampler()
    assert Sampler().as_json()["S_max"] is None
    assert Sampler(S_max=3.0).as_json()["S_max"] == 3.0
