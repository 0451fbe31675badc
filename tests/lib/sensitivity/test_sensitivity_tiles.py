"""The kernels for GPUs: their logic in Triton's interpreter, and that they compile for a GPU, which is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datarobust.norms import norm_of
from datarobust.sensitivity import Labelled, kernels_of

triton = pytest.importorskip("triton")
tiles = pytest.importorskip("datarobust.sensitivity.tiles")


def test_the_kernels_in_the_interpreter(root: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/lib/sensitivity/interpreted.py"]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        words, cwd=root, env=usual | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_serve_where_triton_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    points, features = (Labelled.of(np.zeros((2, 3), dtype), [0, 1]) for dtype in (np.uint8, np.float32))
    wide = Labelled.of(np.zeros((2, tiles.WIDEST + 1), np.uint8), [0, 1])

    def kernels(points: Labelled = points, norm: str = "l2", k: int = 1, device: str | None = "cuda") -> object:
        return kernels_of(points, points, norm_of(norm), k, device)

    monkeypatch.setattr(tiles, "triton_runs", lambda device: device.type == "cuda")
    assert kernels() is tiles.Tiles
    assert kernels(norm="linf", k=tiles.MOST) is tiles.LargestTiles
    assert kernels(norm="l1") is kernels(k=tiles.MOST + 1) is kernels(features) is kernels(wide) is None
    assert kernels(device="cpu") is kernels(device=None) is None


def test_columns_take_what_may_be_held_and_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80, 96))
    assert [tiles._room(memory, "cuda") for memory in (50, 70)] == [50, 60]
    assert tiles._room(70, "cpu") == 70


@pytest.mark.parametrize(
    ("norm", "k", "capability", "instruction"),
    [
        ("l2", 1, 80, "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32"),  # tensor cores; no sum saturates
        ("l2", 1, 90, "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8"),
        ("l2", 3, 90, "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8"),
        ("l2", 1, 100, "tcgen05.mma"),
        ("linf", 3, 90, "max.f16x2"),  # two numbers at once
    ],
)
def test_a_kernel_compiles_and_has_all_in_registers(
    norm: str, k: int, capability: int, instruction: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    shape, kernel = tiles.shape_of(norm, k, capability == 90), tiles.KERNELS[norm].kernel
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
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert instruction in compiled.asm["ptx"]
    assert compiled.metadata.shared <= 99 << 10  # of all GPUs with these instructions the least
    (tmp_path / "kernel.cubin").write_bytes(compiled.asm["cubin"])
    words = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", tmp_path / "kernel.cubin"]
    usage = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "STACK:0 " in usage
