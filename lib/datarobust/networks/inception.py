"""The Inception network of 2015 by which the FID is defined (Szegedy et al. 2015, Heusel et al. 2017): 2,048 features.

It is the network of the file ``inception-2015-12-05``, not the one that torchvision has: 1,008 outputs, averages in
pooling that leave out the border, a maximum in the pooling of the last block, batch norms with 1e-3. Images are
enlarged to 299 x 299 as TensorFlow 1 did it (corners not aligned, no offset of half a pixel), and v becomes
(v - 128)/128. Any of these done otherwise gives other distances.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 299
"""Rows and columns that the network is fed with."""
FEATURES = 2048
CLASSES = 1008
_EPSILON = 1e-3

Size = int | tuple[int, int]


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, into: int, out: int, size: Size, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, size, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, H', W')."""
        return functional.relu(self.bn(self.conv(x)))

    def fuse(self) -> None:
        """Multiply the batch norm into the convolution; outputs change by rounding alone."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Averages(nn.Module):
    """Mixed_5b to 5d and 6b to 6e: chains of units side by side, and an average of 3 x 3 before the last unit."""

    def __init__(self, branches: dict[str, Unit]) -> None:
        super().__init__()
        for name, unit in branches.items():
            self.add_module(name, unit)
        self._chains = _chains([name for name in branches if name != "branch_pool"])

    def forward(self, x: Tensor) -> Tensor:
        """Branches side by side."""
        branches = [self._through(chain, x) for chain in self._chains]
        return torch.cat([*branches, self.get_submodule("branch_pool")(_average(x))], 1)

    def _through(self, chain: list[str], x: Tensor) -> Tensor:
        for name in chain:
            x = self.get_submodule(name)(x)
        return x


class Halving(Averages):
    """Mixed_6a and 7a: chains that end with a stride, and the greatest of 3 x 3."""

    def forward(self, x: Tensor) -> Tensor:
        """Branches side by side, half as high and wide."""
        branches = [self._through(chain, x) for chain in self._chains]
        return torch.cat([*branches, functional.max_pool2d(x, 3, 2)], 1)


class Forked(nn.Module):
    """Mixed_7b and 7c: branches that end in a row and a column."""

    def __init__(self, into: int, greatest: bool) -> None:
        super().__init__()
        self._greatest = greatest
        self.branch1x1 = Unit(into, 320, 1)
        self.branch3x3_1 = Unit(into, 384, 1)
        self.branch3x3_2a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Unit(into, 448, 1)
        self.branch3x3dbl_2 = Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Unit(into, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, 2048, H, W)."""
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, 3, 1, 1) if self._greatest else _average(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """The network; names and shapes of its tensors are those of the published files."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b = _small(192, 32)
        self.Mixed_5c = _small(256, 64)
        self.Mixed_5d = _small(288, 64)
        self.Mixed_6a = Halving({"branch3x3": Unit(288, 384, 3, 2), **_double(288, 2)})
        self.Mixed_6b = _long(128)
        self.Mixed_6c = _long(160)
        self.Mixed_6d = _long(160)
        self.Mixed_6e = _long(192)
        self.Mixed_7a = _second_halving()
        self.Mixed_7b = Forked(1280, greatest=False)
        self.Mixed_7c = Forked(FEATURES, greatest=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Features float32 (B, 2048) of images (B, 1 or 3, H, W) with values 0 to 255; grey ones count thrice."""
        x = enlarged(images.float(), SIDE).expand(-1, 3, -1, -1)
        return self.features(((x - 128) / 128).contiguous(memory_format=torch.channels_last))

    def features(self, x: Tensor) -> Tensor:
        """Features (B, 2048) of inputs (B, 3, H, W) in [-1, 1], of at least 75 x 75."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(functional.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))

    def prepared(self, device: torch.device) -> Inception:
        """Ready to be used, changed in place: batch norms multiplied in, channels last, no gradients."""
        self.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, Unit):
                module.fuse()
        return self.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def enlarged(x: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) with ``side`` rows and columns, bilinear as TensorFlow 1 did it: columns, then rows."""
    for axis in (3, 2):
        low, high, weight = (part.to(x.device) for part in _places(x.shape[axis], side))
        shape = [1, 1, 1, 1]
        shape[axis] = side
        first = x.index_select(axis, low)
        x = first + (x.index_select(axis, high) - first) * weight.view(shape)
    return x


def _places(length: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``side`` new places the old ones to its left and right, int64, and the weight of the right one."""
    scale = torch.tensor(length, dtype=torch.float32) / side
    at = torch.arange(side, dtype=torch.float32) * scale
    low = at.floor().long()
    return low, (low + 1).clamp(max=length - 1), at - low


def _average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _chains(names: list[str]) -> list[list[str]]:
    """Units that follow one another: ``branch5x5_1``, ``branch5x5_2``."""
    chains: dict[str, list[str]] = {}
    for name in names:
        stem, _, number = name.rpartition("_")
        chains.setdefault(stem if number.isdigit() else name, []).append(name)
    return list(chains.values())


def _double(into: int, stride: int) -> dict[str, Unit]:
    padding = 1 if stride == 1 else 0
    return {
        "branch3x3dbl_1": Unit(into, 64, 1),
        "branch3x3dbl_2": Unit(64, 96, 3, padding=1),
        "branch3x3dbl_3": Unit(96, 96, 3, stride, padding),
    }


def _small(into: int, pooled: int) -> Averages:
    """Mixed_5b to 5d."""
    branches = {"branch1x1": Unit(into, 64, 1), "branch5x5_1": Unit(into, 48, 1)}
    branches["branch5x5_2"] = Unit(48, 64, 5, padding=2)
    return Averages(branches | _double(into, 1) | {"branch_pool": Unit(into, pooled, 1)})


def _across(into: int, out: int) -> Unit:
    return Unit(into, out, (1, 7), padding=(0, 3))


def _down(into: int, out: int) -> Unit:
    return Unit(into, out, (7, 1), padding=(3, 0))


def _long(width: int) -> Averages:
    """Mixed_6b to 6e."""
    return Averages(
        {
            "branch1x1": Unit(768, 192, 1),
            "branch7x7_1": Unit(768, width, 1),
            "branch7x7_2": _across(width, width),
            "branch7x7_3": _down(width, 192),
            "branch7x7dbl_1": Unit(768, width, 1),
            "branch7x7dbl_2": _down(width, width),
            "branch7x7dbl_3": _across(width, width),
            "branch7x7dbl_4": _down(width, width),
            "branch7x7dbl_5": _across(width, 192),
            "branch_pool": Unit(768, 192, 1),
        }
    )


def _second_halving() -> Halving:
    """Mixed_7a."""
    return Halving(
        {
            "branch3x3_1": Unit(768, 192, 1),
            "branch3x3_2": Unit(192, 320, 3, 2),
            "branch7x7x3_1": Unit(768, 192, 1),
            "branch7x7x3_2": _across(192, 192),
            "branch7x7x3_3": _down(192, 192),
            "branch7x7x3_4": Unit(192, 192, 3, 2),
        }
    )
