"""The three forms of preconditioning, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from datarobust.diffusion.denoiser import Edm, Precondition, Ve, Vp, as_json, from_json
from datarobust.errors import UsageError

SIGMAS = torch.tensor([0.002, 0.1, 0.5, 1.4, 80.0])
FORMS: list[Precondition] = [Edm(), Vp(), Ve()]


def test_edm_makes_inputs_and_targets_of_variance_one() -> None:
    c = Edm(0.5).coefficients(SIGMAS)
    total = SIGMAS**2 + 0.25
    torch.testing.assert_close(c.into**2 * total, torch.ones(5))
    # The target of F is (y - c_skip (y + n)) / c_out: of variance 1, and c_skip makes c_out smallest.
    variance = (1 - c.skip) ** 2 * 0.25 + c.skip**2 * SIGMAS**2
    torch.testing.assert_close(c.out**2, variance)
    torch.testing.assert_close(c.skip, 0.25 / total)
    torch.testing.assert_close(c.noise, SIGMAS.log() / 4)


def test_vp_tells_the_time_of_its_schedule() -> None:
    form = Vp()
    times = torch.tensor([1e-5, 0.1, 0.5, 1.0], dtype=torch.float64)
    sigma = ((0.5 * 19.9 * times**2 + 0.1 * times).exp() - 1).sqrt()
    c = form.coefficients(sigma)
    torch.testing.assert_close(c.noise, 999 * times, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(c.out, -sigma)
    torch.testing.assert_close(c.into, 1 / (1 + sigma**2).sqrt())
    assert form.range == (pytest.approx(float(sigma[0]), rel=1e-6), pytest.approx(float(sigma[-1]), rel=1e-9))


def test_ve() -> None:
    c = Ve().coefficients(SIGMAS)
    assert torch.equal(c.out, SIGMAS)
    assert torch.equal(c.skip, torch.ones(5))
    assert torch.equal(c.into, torch.ones(5))
    torch.testing.assert_close(c.noise, (SIGMAS / 2).log())
    assert Ve().range == (0.02, 100.0)
    assert Edm().range == (0.0, math.inf)


@pytest.mark.parametrize("form", [*FORMS, Edm(0.3), Vp(10.0, 0.2, 500, 1e-3), Ve(0.1, 50.0)])
def test_json_and_back(form: Precondition) -> None:
    assert from_json(as_json(form)) == form


@pytest.mark.parametrize(
    "wrong", [None, "edm", {}, {"name": "ddim"}, {"name": "edm", "sigma_data": 0}, {"name": "edm", "other": 1.0}]
)
def test_what_is_no_form(wrong: object) -> None:
    with pytest.raises(UsageError, match="preconditioning"):
        from_json(wrong)
