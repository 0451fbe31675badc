"""Real networks: verdicts equal those of the plain library."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyautoattack
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from datarobust.evaluation import ATTACKS, Options, Wishes, evaluate, plan

from . import made


class Block(nn.Module):
    """A residual block without batch norm."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        changes = stride != 1 or before != after
        self.shortcut = nn.Sequential(*([nn.Conv2d(before, after, 1, stride)] if changes else []))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv2(functional.relu(self.conv1(x))) + self.shortcut(x))


class ResNet2b(nn.Module):
    """The small network that is robust on CIFAR-10; it normalises its images itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer1 = nn.Sequential(Block(8, 16, 2), Block(16, 16, 1))
        self.linear1 = nn.Linear(1024, 100)
        self.linear2 = nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
        deviation = torch.tensor([0.2471, 0.2435, 0.2616]).view(1, 3, 1, 1)
        x = self.layer1(functional.relu(self.conv1((x - mean) / deviation))).flatten(1)
        found: Tensor = self.linear2(functional.relu(self.linear1(x)))
        return found


def weights(path: Path) -> Any:
    held = torch.load(path, map_location="cpu", weights_only=True)
    return held.get("state_dict", held)


@pytest.mark.timeout(900)
def test_a_robust_network_on_real_images(shared: Path) -> None:
    model = ResNet2b()
    model.load_state_dict(weights(shared / "models" / "cifar10_resnet2b.pth"))
    with np.load(shared / "data" / "cifar10_test.npz", allow_pickle=False) as archive:
        images = np.ascontiguousarray(archive["x"][:30].transpose(0, 3, 1, 2))
        labels = archive["y"][:30].astype(np.int64)
    protocol = plan("standard", "linf", 2 / 255, 10)
    found, predicted = made.plain(model, images, labels, protocol)
    ours = evaluate(model, images, labels, protocol, Options(made.CPU, keep=True))
    assert np.array_equal(ours.attacked, predicted)
    assert np.array_equal(ours.adversarial, found)
    assert 10 < ((ours.clean == labels) & (ours.broken < 0)).sum() < (ours.clean == labels).sum()


def test_the_network_that_comes_with_the_library() -> None:
    """A trained ResNet-18; what it calls random images is taken for right."""
    folder = Path(pyautoattack.__file__).parent / "examples"
    spec = importlib.util.spec_from_file_location("resnet_of_the_library", folder / "resnet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.ResNet18()
    model.load_state_dict(weights(folder / "model_test.pt"))
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    images[1:] = images[1:] // 4 + 90
    with torch.no_grad():
        labels = model.eval()(made.as_tensor(images)).argmax(1).numpy()
    wishes = Wishes(ATTACKS, restarts=1, iterations=3, targets=2, queries=8)
    protocol = plan("custom", "linf", 3 / 255, 10, wishes=wishes, batch=3)
    _, predicted = made.plain(model, images, labels, protocol)
    ours = evaluate(model, images, labels, protocol, Options(made.CPU, keep=True))
    assert np.array_equal(ours.attacked, predicted)
    assert (ours.broken >= 0).any()
