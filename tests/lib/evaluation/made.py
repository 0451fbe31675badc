"""Small networks and images to attack, and the plain library's verdicts on them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyautoattack
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor, nn

from datarobust.evaluation import Protocol

Array = npt.NDArray[Any]
NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
#: Radii at which about half of the points of :func:`points` fall.
RADII = {"linf": 6 / 255, "l2": 0.25, "l1": 0.9}
CPU = torch.device("cpu")


def network(classes: int = 10, seed: int = 0) -> nn.Sequential:
    """A small network with random weights for 3x8x8 images, in training mode, with batch norm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.SiLU(),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, classes),
        )
    made[1].running_mean.fill_(0.1)
    made[1].running_var.fill_(0.3)
    return made


def points(model: nn.Module, count: int = 40, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images and labels; the network is wrong on one in eight. Some pixels are black or white, as in real images."""
    random = np.random.default_rng(seed)
    images = np.clip(random.normal(128, 90, (count, 3, 8, 8)), 0, 255).astype(np.uint8)
    with torch.no_grad():
        logits = model.eval()(as_tensor(images))
    model.train()
    labels = logits.argmax(1).numpy()
    labels[::8] = (labels[::8] + 1) % logits.shape[1]
    return images, labels.astype(np.int64)


def as_tensor(images: Array) -> Tensor:
    return torch.from_numpy(images).float() / 255.0


@contextmanager
def logged() -> Iterator[list[str]]:
    """The warnings of the plain library."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("auto-attack")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def plain(model: nn.Module, images: Array, labels: Array, plan: Protocol) -> tuple[Array, Array]:
    """What the plain library makes of the points: adversarial images and predictions.

    The attacks of a ``custom`` plan get its numbers; restarts of FAB hold for ``fab`` alone, as in the library.
    """
    model.eval()
    norm, eps, seed = NORMS[plan.norm], plan.eps, plan.seed
    if plan.version != "custom":
        whole = pyautoattack.AutoAttack(model, norm=norm, eps=eps, seed=seed, version=plan.version)
    else:
        names = [attack.name for attack in plan.attacks]
        whole = pyautoattack.AutoAttack(model, norm=norm, eps=eps, seed=seed, version="custom", attacks=names)
        for attack in plan.attacks:
            common = {"eps": eps, "norm": norm, "seed": seed, "device": "cpu", "verbose": False, "rho": 0.75}
            numbers = {"n_restarts": attack.restarts, "n_iter": attack.iterations, "use_largereps": attack.radii > 1}
            logger = {"logger": logging.getLogger("auto-attack")}
            if attack.name == "apgd-t":
                targets = {"n_target_classes": attack.targets}
                whole.apgd_targeted = APGDAttack_targeted(model, **common, **numbers, **targets, **logger)
            elif attack.name.startswith("apgd"):
                whole.apgd = APGDAttack(model, **common, **numbers, **logger)
            elif attack.name == "square":
                whole.square.n_queries = attack.queries
            else:
                whole.fab.n_iter = attack.iterations
                if attack.name == "fab":
                    whole.fab.n_restarts = attack.restarts
                else:
                    whole.fab.n_target_classes = attack.targets
    with logged():
        found, predicted = whole.run_standard_evaluation(
            as_tensor(images), torch.from_numpy(labels), batch_size=plan.batch
        )
    model.train()
    return found.numpy(), predicted.numpy()
