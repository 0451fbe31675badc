"""Real networks: a small robust one for CIFAR-10, and the ResNet-18 that comes with the official attacks.

This file imports nothing of its neighbours, so that tests/bench can read it too.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyautoattack
import torch
from torch import Tensor, nn
from torch.nn import functional


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
    """The network of ``cifar10_resnet2b.pth``; it normalises its images itself."""

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


def resnet2b(shared: Path) -> nn.Module:
    """The robust network, trained for a radius of 2/255."""
    model = ResNet2b()
    model.load_state_dict(_weights(shared / "models" / "cifar10_resnet2b.pth"))
    return model.eval()


def resnet18() -> nn.Module:
    """The network in the wheel of the official attacks."""
    folder = Path(pyautoattack.__file__).parent / "examples"
    spec = importlib.util.spec_from_file_location("resnet_of_the_library", folder / "resnet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.ResNet18()
    model.load_state_dict(_weights(folder / "model_test.pt"))
    return model.eval()


def cifar10(shared: Path, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The first images of the test set, (count, 3, 32, 32), and their labels."""
    with np.load(shared / "data" / "cifar10_test.npz", allow_pickle=False) as archive:
        images = np.ascontiguousarray(archive["x"][:count].transpose(0, 3, 1, 2))
        return images, archive["y"][:count].astype(np.int64)


def _weights(path: Path) -> Any:
    held = torch.load(path, map_location="cpu", weights_only=True)
    return held.get("state_dict", held)
