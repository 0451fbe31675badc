"""Real networks: verdicts equal those of the plain library. tests/bench/evaluation.py compares whole evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datarobust.evaluation import ATTACKS, STANDARD, Norm, plan
from datarobust.evaluation.driver import Options, evaluate

from . import made, real


@pytest.mark.parametrize(("norm", "eps"), [("linf", 4 / 255), ("l2", 0.4)])
def test_a_robust_network_on_real_images(shared: Path, norm: Norm, eps: float) -> None:
    """All of the attacks of AutoAttack, with fewer iterations and targets."""
    model = real.resnet2b(shared)
    images, labels = real.cifar10(shared, 12)
    protocol = plan("custom", norm, eps, 10, attacks=STANDARD, iterations=4, targets=2, queries=30, batch=8)
    found, predicted = made.plain(model, images, labels, protocol)
    ours = evaluate(model, images, labels, protocol, Options(made.CPU, keep=True))
    assert np.array_equal(ours.attacked, predicted)
    assert np.array_equal(ours.adversarial, found)
    assert 2 < ((ours.clean == labels) & (ours.broken < 0)).sum() < (ours.clean == labels).sum()


def test_the_network_that_comes_with_the_library() -> None:
    """A trained ResNet-18; what it calls random images is taken for right."""
    model = real.resnet18()
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)).astype(np.uint8)
    images[1:] = images[1:] // 4 + 90
    with torch.no_grad():
        labels = model(made.as_tensor(images)).argmax(1).numpy()
    protocol = plan(
        "custom", "linf", 3 / 255, 10, attacks=ATTACKS, restarts=1, iterations=2, targets=1, queries=4, batch=2
    )
    _, predicted = made.plain(model, images, labels, protocol)
    ours = evaluate(model, images, labels, protocol, Options(made.CPU, keep=True))
    assert np.array_equal(ours.attacked, predicted)
    assert (ours.broken >= 0).any()
