"""The Inception network of 2015 as plain functions of a state dict: no modules, one statement a layer, loops."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def seeded(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random weights of these shapes that keep signals alive; statistics of batch norms are no 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(7)
        elif len(shape) > 1:
            fan = math.prod(shape[1:])
            made[name] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            made[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            made[name] = 0.1 * torch.randn(shape, generator=generator)
    return made


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow 1's bilinear resize of an image (H, W), pixel by pixel, in float32."""
    height, width = image.shape
    out = np.zeros((side, side), np.float32)
    scale_y, scale_x = np.float32(height) / np.float32(side), np.float32(width) / np.float32(side)
    for y in range(side):
        at_y = np.float32(y) * scale_y
        top = int(at_y)
        bottom = min(top + 1, height - 1)
        for x in range(side):
            at_x = np.float32(x) * scale_x
            left = int(at_x)
            right = min(left + 1, width - 1)
            a, b, c, d = (
                np.float32(v) for v in (image[top, left], image[top, right], image[bottom, left], image[bottom, right])
            )
            upper = a + (b - a) * (at_x - np.float32(left))
            lower = c + (d - c) * (at_x - np.float32(left))
            out[y, x] = upper + (lower - upper) * (at_y - np.float32(top))
    return out


def conv(s: State, name: str, x: Tensor, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
    x = F.conv2d(x, s[f"{name}.conv.weight"], None, stride, padding)
    mean, var = s[f"{name}.bn.running_mean"], s[f"{name}.bn.running_var"]
    shape = (1, -1, 1, 1)
    x = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 0.001)
    return torch.relu(x * s[f"{name}.bn.weight"].view(shape) + s[f"{name}.bn.bias"].view(shape))


def average(x: Tensor) -> Tensor:
    """3 x 3 averages of what is there: sums of zero-padded values over counts."""
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    window = torch.ones((x.shape[1], 1, 3, 3), dtype=x.dtype)
    sums = F.conv2d(x, window, padding=1, groups=x.shape[1])
    return sums / F.conv2d(ones, torch.ones((1, 1, 3, 3), dtype=x.dtype), padding=1)


def block_a(s: State, n: str, x: Tensor) -> Tensor:
    one = conv(s, f"{n}.branch1x1", x)
    five = conv(s, f"{n}.branch5x5_2", conv(s, f"{n}.branch5x5_1", x), padding=2)
    three = conv(s, f"{n}.branch3x3dbl_2", conv(s, f"{n}.branch3x3dbl_1", x), padding=1)
    three = conv(s, f"{n}.branch3x3dbl_3", three, padding=1)
    return torch.cat([one, five, three, conv(s, f"{n}.branch_pool", average(x))], 1)


def block_b(s: State, n: str, x: Tensor) -> Tensor:
    three = conv(s, f"{n}.branch3x3", x, 2)
    double = conv(s, f"{n}.branch3x3dbl_2", conv(s, f"{n}.branch3x3dbl_1", x), padding=1)
    double = conv(s, f"{n}.branch3x3dbl_3", double, 2)
    return torch.cat([three, double, F.max_pool2d(x, 3, 2)], 1)


def block_c(s: State, n: str, x: Tensor) -> Tensor:
    row, column = (0, 3), (3, 0)
    seven = conv(s, f"{n}.branch7x7_1", x)
    seven = conv(s, f"{n}.branch7x7_2", seven, padding=row)
    seven = conv(s, f"{n}.branch7x7_3", seven, padding=column)
    double = conv(s, f"{n}.branch7x7dbl_1", x)
    double = conv(s, f"{n}.branch7x7dbl_2", double, padding=column)
    double = conv(s, f"{n}.branch7x7dbl_3", double, padding=row)
    double = conv(s, f"{n}.branch7x7dbl_4", double, padding=column)
    double = conv(s, f"{n}.branch7x7dbl_5", double, padding=row)
    return torch.cat([conv(s, f"{n}.branch1x1", x), seven, double, conv(s, f"{n}.branch_pool", average(x))], 1)


def block_d(s: State, n: str, x: Tensor) -> Tensor:
    three = conv(s, f"{n}.branch3x3_2", conv(s, f"{n}.branch3x3_1", x), 2)
    seven = conv(s, f"{n}.branch7x7x3_2", conv(s, f"{n}.branch7x7x3_1", x), padding=(0, 3))
    seven = conv(s, f"{n}.branch7x7x3_3", seven, padding=(3, 0))
    seven = conv(s, f"{n}.branch7x7x3_4", seven, 2)
    return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


def block_e(s: State, n: str, x: Tensor, pooled: Tensor) -> Tensor:
    three = conv(s, f"{n}.branch3x3_1", x)
    double = conv(s, f"{n}.branch3x3dbl_2", conv(s, f"{n}.branch3x3dbl_1", x), padding=1)
    parts = [conv(s, f"{n}.branch1x1", x)]
    for name, start in (("branch3x3_2", three), ("branch3x3dbl_3", double)):
        parts.append(conv(s, f"{n}.{name}a", start, padding=(0, 1)))
        parts.append(conv(s, f"{n}.{name}b", start, padding=(1, 0)))
    return torch.cat([*parts, conv(s, f"{n}.branch_pool", pooled)], 1)


def trunk(s: State, x: Tensor) -> Tensor:
    """(B, 2048) of inputs (B, 3, H, W) in [-1, 1]."""
    x = conv(s, "Conv2d_1a_3x3", x, 2)
    x = conv(s, "Conv2d_2b_3x3", conv(s, "Conv2d_2a_3x3", x), padding=1)
    x = conv(s, "Conv2d_4a_3x3", conv(s, "Conv2d_3b_1x1", F.max_pool2d(x, 3, 2)))
    x = F.max_pool2d(x, 3, 2)
    for name in "bcd":
        x = block_a(s, f"Mixed_5{name}", x)
    x = block_b(s, "Mixed_6a", x)
    for name in "bcde":
        x = block_c(s, f"Mixed_6{name}", x)
    x = block_d(s, "Mixed_7a", x)
    x = block_e(s, "Mixed_7b", x, average(x))
    x = block_e(s, "Mixed_7c", x, F.max_pool2d(x, 3, 1, 1))
    return x.flatten(2).sum(2) / (x.shape[2] * x.shape[3])
