"""The kernels for GPUs: their logic in Triton's interpreter, and that they compile for a GPU, which is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")


def test_the_kernels_in_the_interpreter(root: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/lib/sensitivity/interpreted.py"]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        words, cwd=root, env=usual | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("norm", "k", "instruction"),
    [
        ("l2", 1, "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8"),  # tensor cores
        ("l2", 3, "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8"),
        ("linf", 3, "max.f16x2"),  # two numbers at once
    ],
)
def test_a_kernel_compiles_for_hopper(
    norm: str, k: int, instruction: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from datarobust.sensitivity import tiles

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    shape, kernel = tiles.shape_of(norm, k), tiles.KERNELS[norm].kernel
    pointers = dict.fromkeys(("a", "b"), "*i8" if norm == "l2" else "*fp16") | {"limits": "*i64", "lists": "*i64"}
    pointers |= dict.fromkeys((f"{side}_{name}" for side in "ab" for name in ("squares", "labels", "numbers")), "*i32")
    constants = {"K": k, "SLOTS": triton.next_power_of_2(k), "SAME": False, "WIDTH": 3072, "ROWS": shape.rows}
    constants |= {"COLUMNS": shape.columns, "NUMBERS": shape.numbers, "STEPS": shape.steps}
    types = pointers | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    multiples = [number for number, name in enumerate(kernel.arg_names) if name in {*pointers, "a_row", "b_pair"}]
    aligned = {(number,): [["tt.divisibility", 16]] for number in multiples}
    options = {"num_warps": shape.warps, "num_stages": shape.stages, "enable_fp_fusion": False}
    source = ASTSource(kernel, signature, constants, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert instruction in compiled.asm["ptx"]
    assert compiled.metadata.shared <= 227 << 10
    (tmp_path / "kernel.cubin").write_bytes(compiled.asm["cubin"])
    words = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", tmp_path / "kernel.cubin"]
    usage = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "STACK:0 " in usage  # all is in registers
