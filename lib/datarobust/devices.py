"""Arrays and random numbers on an accelerator, so that nobody waits for it: the bits are those of the processor.

A copy from ordinary memory waits for all that was asked of an accelerator before, one from pinned memory does not.
Random numbers are those of Philox-4x64-10 (:mod:`datarobust.randomness`), by PyTorch's operations on whole numbers.
"""

from __future__ import annotations

import functools
import os
import warnings
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from datarobust import randomness
from datarobust.errors import DatarobustWarning
from datarobust.types import Array

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_LOW = 0xFFFFFFFF


def to_device(array: Array, device: torch.device) -> Tensor:
    """The array as a tensor on a device; nothing waits until it is there."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


@functools.cache
def triton_runs(device: torch.device) -> bool:
    """Whether kernels of Triton run on a device: a GPU from Ampere on, and a C compiler, which is tried once.

    Where Triton is there and fails, this is warned of. Under TRITON_INTERPRET=1 the processor stands in for the GPU.
    """
    if find_spec("triton") is None:
        return False
    if os.environ.get("TRITON_INTERPRET") != "1":
        cuda = device.type == "cuda" and torch.version.cuda is not None
        if not cuda or torch.cuda.get_device_capability(device) < (8, 0):
            return False
    import triton

    @triton.jit
    def nothing(number):  # type: ignore[no-untyped-def]
        pass

    number = torch.zeros(1, device=device)
    try:
        with torch.cuda.device_of(number):  # type: ignore[no-untyped-call]  # Triton launches where PyTorch is
            nothing[(1,)](number, enable_fp_fusion=False)  # unsaid, Triton 3.9 warns of another default to come
    except Exception as error:  # noqa: BLE001 - of Triton, of a compiler, of a driver
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        text = f"Triton does not run here, so PyTorch's own kernels serve: {reason}"
        warnings.warn(text, DatarobustWarning, stacklevel=2)
        return False
    return True


def row_keys(seed: int, domain: int, start: int, stop: int, device: torch.device) -> Tensor:
    """:func:`datarobust.randomness.row_keys` as the same 64 bits in int64 (stop - start), on a device."""
    if device.type == "cpu":
        return torch.from_numpy(randomness.row_keys(seed, domain, start, stop).view(np.int64))
    skipped = start % 4
    steps = -(-(stop - start + skipped) // 4)
    return philox(seed, domain, start // 4, steps, device).view(-1)[skipped : skipped + stop - start]


def uniforms(seed: int, domain: int, counter: int, steps: int, device: torch.device) -> Tensor:
    """Numbers uniform in [0, 1), multiples of 2^-24, float32 (8 steps): as NumPy draws at a counter."""
    if device.type == "cpu":
        key = np.array([seed, domain], np.uint64)
        numbers = np.random.Generator(np.random.Philox(key=key, counter=counter)).random(8 * steps, np.float32)
        return torch.from_numpy(numbers)
    words = philox(seed, domain, counter, steps, device)
    halves = torch.stack([words >> 8 & 0xFFFFFF, words >> 40 & 0xFFFFFF], 2)  # the lower half of a word comes first
    return halves.view(-1).to(torch.float32).mul_(2.0**-24)


def philox(seed: int, domain: int, counter: int, steps: int, device: torch.device) -> Tensor:
    """Philox-4x64-10 under the key (seed, domain): its words after a counter, int64 (steps, 4), on a device."""
    one = torch.arange(steps, device=device) + _signed(counter + 1)  # NumPy counts on before it draws
    two = three = four = torch.zeros_like(one)
    keys = [seed, domain]
    for _ in range(10):
        first, second = _product(_MULTIPLIERS[0], one), _product(_MULTIPLIERS[1], three)
        one, three = second[0] ^ two ^ _signed(keys[0]), first[0] ^ four ^ _signed(keys[1])
        two, four = second[1], first[1]
        keys = [key + weyl for key, weyl in zip(keys, _WEYL, strict=True)]
    return torch.stack([one, two, three, four], 1)


def _product(factor: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of a product of numbers of 64 bits; int64 stands for them without a sign."""
    left, right = factor >> 32, factor & _LOW
    upper, lower = x >> 32 & _LOW, x & _LOW
    # Each of these products has 64 bits, too, so it is shifted as one without a sign.
    inner, outer = lower * _signed(left), upper * _signed(right)
    carried = (lower * _signed(right) >> 32 & _LOW) + (inner & _LOW) + (outer & _LOW)
    high = upper * _signed(left) + (inner >> 32 & _LOW) + (outer >> 32 & _LOW) + (carried >> 32)
    return high, x * _signed(factor)


def _signed(number: int) -> int:
    """The number in int64 that has the same lower 64 bits."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
