"""The kernels for GPUs: their logic in Triton's interpreter, and that they compile for a GPU, which is not needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")


def test_the_kernels_in_the_interpreter(root: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/lib/networks/interpreted.py"]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        words, cwd=root, env=usual | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


VECTORS = dict.fromkeys(("scale", "shift", "mean", "deviation", "mean_bias", "mean_weight", "sums", "moments"), "*fp32")
VECTORS |= dict.fromkeys(("weight", "bias"), "*fp32")
SIZES: dict[str, Any] = {"STEPS": 8, "PIXELS": 1024, "SIZE": 12, "SILU": True}


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_they_compile_for_hopper(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    from datarobust.networks import kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    sizes = SIZES | {"ROWS": kernels.ROWS, "CHANNELS": kernels.CHANNELS, "RELU": dtype == "fp32"}
    types = VECTORS | dict.fromkeys(("x", "gradient", "result", "of_x"), f"*{dtype}") | {"eps": "fp32"}
    compiled = []
    for name in dir(kernels):
        kernel = getattr(kernels, name)
        if not (isinstance(kernel, JITFunction) and name.endswith("_kernel")):
            continue
        constants = {argument: sizes[argument] for argument in kernel.arg_names if argument in sizes}
        signature = {argument: types.get(argument, "i32") for argument in kernel.arg_names}
        source = ASTSource(kernel, signature | dict.fromkeys(constants, "constexpr"), constants)
        result = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
        (tmp_path / "kernel.cubin").write_bytes(result.asm["cubin"])
        words = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", tmp_path / "kernel.cubin"]
        usage = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        stack = re.search(r"STACK:(\d+) ", usage)
        assert stack, name
        assert int(stack[1]) <= 8, name  # all tiles are in registers; Triton 3.8's assembler takes 8 bytes once
        compiled.append(name)
    assert len(compiled) == 9
