"""The precision of products is set within alone."""

from __future__ import annotations

import pytest
import torch

from datarobust.networks import products


def test_products_in_tf32_are_allowed_within_alone() -> None:
    def flags() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = flags()
    for precision, expected in (("fp32", False), ("bf16", False), ("tf32", True)):
        with products(precision):  # type: ignore[arg-type]
            assert flags() == (expected, expected)
        assert flags() == before
    with pytest.raises(ZeroDivisionError), products("tf32"):
        raise ZeroDivisionError
    assert flags() == before


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


def test_what_was_set_before_does_not_matter() -> None:
    """Foreign code may have set anything."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with products("fp32"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
