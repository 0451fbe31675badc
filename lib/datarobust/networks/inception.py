"""The Inception network of 2015 by which the FID is defined (Szegedy et al. 2015, Heusel et al. 2017): 2,048 features.

It is the network of the file ``inception-2015-12-05``, not the one that torchvision has: 1,008 outputs, averages in
pooling that leave out the border, a maximum in the pooling of the last block, batch norms with 1e-3. Images are
enlarged to 299 x 299 as TensorFlow 1 did it (corners not aligned, no offset of half a pixel), and v becomes
(v - 128)/128. Any of these done otherwise gives other distances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 299  # rows and columns that the network is fed with

Size = int | tuple[int, int]


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, into: int, out: int, size: Size, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, size, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, H', W')."""
        return functional.relu(self.bn(self.conv(x)))

    def fuse(self) -> None:
        """Multiply the batch norm into the convolution; outputs change by rounding alone."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Branches(nn.Module):
    """Chains of units side by side, and the pooled input beside them, through ``branch_pool`` where there is one.

    The only unit of a chain has the name of the chain; several are ``branch5x5_1``, ``branch5x5_2``. Where a chain ends
    in two units side by side, these are ``branch3x3_2a`` and ``branch3x3_2b``.
    """

    def __init__(self, pool: Callable[[Tensor], Tensor], **chains: Sequence[Unit | tuple[Unit, Unit]]) -> None:
        super().__init__()
        self._pool, self._chains = pool, chains
        for name, units in chains.items():
            for number, unit in enumerate(units, 1):
                place = name if len(units) == 1 else f"{name}_{number}"
                named = {place: unit} if isinstance(unit, Unit) else {f"{place}a": unit[0], f"{place}b": unit[1]}
                for each, module in named.items():
                    self.add_module(each, module)

    def forward(self, x: Tensor) -> Tensor:
        """Branches side by side."""
        pooled = self._pool(x)
        branches = []
        for name, units in self._chains.items():
            branch = pooled if name == "branch_pool" else x
            for unit in units:
                branch = unit(branch) if isinstance(unit, Unit) else torch.cat([each(branch) for each in unit], 1)
            branches.append(branch)
        return torch.cat(branches if "branch_pool" in self._chains else [*branches, pooled], 1)


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
        double = _chain(288, (64, 1), (96, 3), (96, 3), stride=2)
        self.Mixed_6a = Branches(_greatest, branch3x3=_chain(288, (384, 3), stride=2), branch3x3dbl=double)
        self.Mixed_6b = _long(128)
        self.Mixed_6c = _long(160)
        self.Mixed_6d = _long(160)
        self.Mixed_6e = _long(192)
        long = _chain(768, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), stride=2)
        self.Mixed_7a = Branches(_greatest, branch3x3=_chain(768, (192, 1), (320, 3), stride=2), branch7x7x3=long)
        self.Mixed_7b = _forked(1280, _average)
        self.Mixed_7c = _forked(2048, partial(functional.max_pool2d, kernel_size=3, stride=1, padding=1))
        self.fc = nn.Linear(2048, 1008)

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
        low, high, weight = _places(x.shape[axis], side, x.device)
        first = x.index_select(axis, low)
        x = first + (x.index_select(axis, high) - first) * (weight if axis == 3 else weight[:, None])
    return x


@lru_cache(maxsize=8)
def _places(length: int, side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels, of so many in a line, between which each of ``side`` lies, and how near it is to the second."""
    place = torch.arange(side, dtype=torch.float32) * (torch.tensor(length, dtype=torch.float32) / side)
    low = place.floor().long()
    return low.to(device), (low + 1).clamp(max=length - 1).to(device), (place - low).to(device)


_average = partial(functional.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_greatest = partial(functional.max_pool2d, kernel_size=3, stride=2)


def _chain(into: int, *units: tuple[int, Size], stride: int = 1) -> list[Unit]:
    """Units that follow one another, (out, size) each; they keep height and width, but for the last with a stride."""
    chain = []
    for number, (out, size) in enumerate(units, 1):
        rows, columns = (size, size) if isinstance(size, int) else size
        step = stride if number == len(units) else 1
        chain.append(Unit(into, out, size, step, (rows // 2, columns // 2) if step == 1 else 0))
        into = out
    return chain


def _small(into: int, pooled: int) -> Branches:
    """Mixed_5b to 5d."""
    return Branches(
        _average,
        branch1x1=_chain(into, (64, 1)),
        branch5x5=_chain(into, (48, 1), (64, 5)),
        branch3x3dbl=_chain(into, (64, 1), (96, 3), (96, 3)),
        branch_pool=_chain(into, (pooled, 1)),
    )


def _long(width: int) -> Branches:
    """Mixed_6b to 6e."""
    return Branches(
        _average,
        branch1x1=_chain(768, (192, 1)),
        branch7x7=_chain(768, (width, 1), (width, (1, 7)), (192, (7, 1))),
        branch7x7dbl=_chain(768, (width, 1), (width, (7, 1)), (width, (1, 7)), (width, (7, 1)), (192, (1, 7))),
        branch_pool=_chain(768, (192, 1)),
    )


def _forked(into: int, pool: Callable[[Tensor], Tensor]) -> Branches:
    """Mixed_7b and 7c, with branches that end in a row and a column."""
    ends = [(Unit(384, 384, (1, 3), padding=(0, 1)), Unit(384, 384, (3, 1), padding=(1, 0))) for _ in range(2)]
    return Branches(
        pool,
        branch1x1=_chain(into, (320, 1)),
        branch3x3=[*_chain(into, (384, 1)), ends[0]],
        branch3x3dbl=[*_chain(into, (448, 1), (384, 3)), ends[1]],
        branch_pool=_chain(into, (192, 1)),
    )
