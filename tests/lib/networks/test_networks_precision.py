"""The precision of products is set within alone."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from datarobust.networks import products


def switches() -> tuple[str, ...]:
    backends = torch.backends
    parts = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv
    return tuple(part.fp32_precision for part in parts)


def test_convolutions_in_tf32_are_allowed_within_alone() -> None:
    before = switches()
    for precision, expected in (("fp32", "ieee"), ("bf16", "ieee"), ("tf32", "tf32")):
        with products(precision):  # type: ignore[arg-type]
            assert switches() == ("ieee", expected, expected, "ieee", "ieee")
            assert torch.backends.cudnn.allow_tf32 == (expected == "tf32"), "the older switches can be read"
            assert torch.get_float32_matmul_precision() == "highest"
        assert switches() == before
    with pytest.raises(ZeroDivisionError), products("tf32"):
        raise ZeroDivisionError
    assert switches() == before


def test_algorithms_are_deterministic_within_alone() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.benchmark = True
    try:
        with products("fp32"):
            assert (cudnn.deterministic, cudnn.benchmark) == (before[0], True)
        with products("fp32", deterministic=True):
            assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        assert (cudnn.deterministic, cudnn.benchmark) == (before[0], True)
    finally:
        cudnn.benchmark = before[1]


def older_switch() -> None:
    torch.set_float32_matmul_precision("medium")


def newer_switch() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


@pytest.mark.parametrize("foreign", [older_switch, newer_switch])
def test_what_foreign_code_has_set_does_not_matter(foreign: Callable[[], None]) -> None:
    """In processes of their own, because PyTorch remembers which kind of switch was used."""
    source = inspect.getsource(foreign)
    code = f"""
import torch
from datarobust.networks import products
{source}
{foreign.__name__}()
before = torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
for precision in ("fp32", "tf32"):
    with products(precision, deterministic=True):
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cuda.matmul.fp32_precision == torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert before == (torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
