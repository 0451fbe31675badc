"""PGD stays in its ball and box, climbs what it should, and touches nothing but images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from datarobust.attacks import margin_attack, pgd, training_attack
from datarobust.errors import UsageError
from datarobust.norms import L2_START
from datarobust.training.recipe import Recipe

NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


def network(seed: int = 0, classes: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(6 * 64, classes))


def batch(count: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.random((count, 3, 8, 8), np.float32))
    return (
        x,
        torch.from_numpy(random.integers(0, 4, count)),
        torch.from_numpy(random.uniform(-1, 1, (count, 3, 8, 8)).astype(np.float32)),
    )


def lengths(offset: Tensor, norm: str) -> Tensor:
    flat = offset.double().flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


@NORMS
@settings(max_examples=25)
@given(eps=st.floats(1e-3, 2.0), step=st.floats(1e-3, 3.0), steps=st.integers(0, 6), seed=st.integers(0, 100))
def test_every_adversary_is_in_the_ball_and_in_the_box(
    norm: str, eps: float, step: float, steps: int, seed: int
) -> None:
    model, (x, y, noise) = network(seed), batch(seed=seed)
    asked = {"norm": norm, "eps": eps, "step": step, "steps": steps}
    tracked = margin_attack(model, x, y, noise, **asked)  # type: ignore[arg-type]
    trained = training_attack(model, x, model(x).softmax(1), noise, **asked)  # type: ignore[arg-type]
    for found in [tracked, trained] if norm == "linf" or steps else [tracked]:  # l2 training starts outside a tiny ball
        assert (lengths(found - x, norm) <= eps * (1 + 1e-5) + 1e-6).all()
        assert found.min() >= 0.0
        assert found.max() <= 1.0
        assert not found.requires_grad


@NORMS
def test_it_is_the_obvious_loop(norm: str) -> None:
    """One image after the other, each step written out."""
    model, (x, y, noise) = network(), batch()
    eps, step = (0.1, 0.03) if norm == "linf" else (0.9, 0.4)
    found = margin_attack(model, x, y, noise, norm=norm, eps=eps, step=step, steps=7)
    for i in range(len(x)):
        image, label = x[i : i + 1].double(), int(y[i])
        twin = network().double()
        offset = eps * noise[i : i + 1].double() if norm == "linf" else (noise[i : i + 1].double() + 1) / 2 - image
        if norm == "l2" and offset.norm() > eps:
            offset = offset / offset.norm() * eps
        now = (image + offset).clamp(0, 1)
        for _ in range(7):
            now.requires_grad_(True)
            z = twin(now)[0]
            wrong = max(z[k] for k in range(4) if k != label)
            loss = -torch.clamp(z[label] - wrong, min=0.0)
            (gradient,) = torch.autograd.grad(loss, [now])
            now = now.detach()
            if norm == "linf":
                now = torch.max(torch.min(now + step * gradient.sign(), image + eps), image - eps).clamp(0, 1)
            else:
                length = gradient.norm()
                now = (now + (step * gradient / length if length > 0 else 0 * gradient)).clamp(0, 1)
                offset = now - image
                now = image + offset * min(1.0, eps / float(offset.norm()))
        torch.testing.assert_close(found[i : i + 1].double(), now.detach(), atol=2e-5, rtol=0)


@NORMS
def test_it_climbs(norm: str) -> None:
    model, (x, y, noise) = network(), batch(40)
    eps = 0.05 if norm == "linf" else 0.5
    before = (model(x).argmax(1) == y).sum()
    found = margin_attack(model, x, y, noise, norm=norm, eps=eps, step=eps / 4, steps=20)
    p = model(x).softmax(1)

    def divergence(images: Tensor) -> float:
        return float(functional.kl_div(model(images).log_softmax(1), p, reduction="sum").detach())

    assert (model(found).argmax(1) == y).sum() <= before
    worse = training_attack(model, x, p, noise, norm=norm, eps=eps, step=eps / 4, steps=20)
    start = (x + eps * noise).clamp(0, 1) if norm == "linf" else x + L2_START * noise
    assert divergence(worse) > 2 * divergence(start)


@NORMS
def test_parameters_never_see_a_gradient(norm: str) -> None:
    model, (x, y, noise) = network(), batch()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    margin_attack(model, x, y, noise, norm=norm, eps=0.1, step=0.1, steps=2)
    training_attack(model, x, model(x).softmax(1), noise, norm=norm, eps=0.1, step=0.1, steps=2)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert x.grad is None


def test_an_image_without_a_gradient_stays() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (0.0 * x.flatten(1).sum(1, keepdim=True)).expand(-1, 4) + torch.tensor([0.0, 1.0, 2.0, 3.0])

    x, y, noise = batch()
    for norm in ("linf", "l2"):
        found = margin_attack(Flat(), x, y, noise, norm=norm, eps=0.1, step=0.1, steps=3)
        once = margin_attack(Flat(), x, y, noise, norm=norm, eps=0.1, step=0.1, steps=0)
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, once, atol=1e-6, rtol=0)


def test_a_fooled_image_stays() -> None:
    model, (x, y, noise) = network(), batch(30)
    found = margin_attack(model, x, y, noise, norm="linf", eps=0.1, step=0.02, steps=0)
    fooled = model(found).argmax(1) != y
    later = margin_attack(model, x, y, noise, norm="linf", eps=0.1, step=0.02, steps=5)
    assert fooled.any()
    torch.testing.assert_close(later[fooled], found[fooled], atol=1e-6, rtol=0)


def test_batches_do_not_matter() -> None:
    model, (x, y, noise) = network(), batch(6)
    whole = margin_attack(model, x, y, noise, norm="l2", eps=0.5, step=0.2, steps=5)
    parts = [
        margin_attack(model, x[i : i + 2], y[i : i + 2], noise[i : i + 2], norm="l2", eps=0.5, step=0.2, steps=5)
        for i in (0, 2, 4)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-4, rtol=0)


def test_no_norm_is_taken_for_another() -> None:
    """An unknown norm is refused, and so is one whose record says nothing of attacks."""
    x, noise = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    with pytest.raises(UsageError, match="no norm 'l3'"):
        pgd(x, x, torch.sum, "l3", 0.1, 0.1, 1)
    model, (images, y, start) = network(), batch()
    asked: dict[str, Any] = {"norm": "l1", "eps": 0.1, "step": 0.1, "steps": 1}
    for attack in (
        lambda: pgd(x, noise, torch.sum, "l1", 0.1, 0.1, 1),
        lambda: margin_attack(model, images, y, start, **asked),
        lambda: training_attack(model, images, model(images).softmax(1), start, **asked),
        lambda: Recipe(norm="l1"),
    ):
        with pytest.raises(UsageError, match="norm l1: choose l2 or linf"):
            attack()
