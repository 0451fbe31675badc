"""Commands where packages are missing: those that do without work, the others say in one sentence what to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from datarobust import artifacts

# Runs commands one after the other in one process, in which some modules cannot be imported.
_RUN = """
import importlib, json, sys
absent, commands = map(json.loads, sys.argv[1:])
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
for name, *arguments in commands:
    sys.argv = [name, *arguments]
    try:
        importlib.import_module("datarobust.tools." + name.replace("-", "_")).main()
    except SystemExit as end:
        print("exit code", end.code, file=sys.stderr, flush=True)
"""


def run(folder: Path, absent: list[str], *commands: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", _RUN, json.dumps(absent), json.dumps([command.split() for command in commands])]
    result = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    assert "Traceback" not in result.stderr
    return result


def test_without_pytorch(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 6, 6), np.uint8)
    images[4] = images[1]  # a finding for the gallery
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(30) % 3)
    works = [
        "dataset import d.npz -o d.zarr",
        "dataset subset d.zarr --select first:20 -o s.zarr",
        "dataset duplicates d.zarr --near 2",
        "dataset relabel d.zarr --random 0 -o l.zarr",
        "sens-rank d.zarr -q",
        "sens-rank d.zarr -o r.zarr",
        "artifact check d.zarr r.zarr",
        "artifact show r.zarr",
        "figure sensitivity r.zarr -o s.svg",
        "figure pairs d.zarr r.zarr -o p.png",
        "embed d.zarr --ranking r.zarr --n 12 --max-iter 5 -q -o m.zarr",
        "figure map m.zarr -o m.svg",
        "dataset issues d.zarr -o i.csv",
        "figure gallery d.zarr i.csv -o g.html",
        "figure report d.zarr r.zarr m.zarr s.svg -o r.html",
    ]
    needs = [
        "aaeval d.zarr net.safetensors -o e.zarr",
        "advtrain d.zarr -o run",
        "clone d.zarr --model m.safetensors -o c.zarr",
        "clone-search d.zarr --model m.safetensors -o c.jsonl",
        "dataset features d.zarr --model net.safetensors -o f.zarr",
        "edmtrain d.zarr -o run",
        "fid d.zarr s.zarr --features pixels",
        "model info net.safetensors",
        "sens-rank d.zarr --device cuda",
    ]
    result = run(tmp_path, ["torch"], *works, *needs)
    codes = [line for line in result.stderr.splitlines() if line.startswith("exit code")]
    assert codes == ["exit code 0"] * len(works) + ["exit code 1"] * len(needs)
    sentences = [line for line in result.stderr.splitlines() if "error: " in line]
    assert sentences == [
        f"{name}: error: {name} needs PyTorch, which is not installed: pip install torch"
        for name in (command.split()[0] for command in needs)
    ]
    assert artifacts.open_store(tmp_path / "r.zarr", "ranking").column("distance").shape == (30,)


def test_without_packages_that_some_commands_need(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "photos" / "cat" / "0.png")
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 4, 4), np.uint8), y=np.arange(2))
    result = run(
        tmp_path,
        ["PIL", "sklearn", "matplotlib"],
        "dataset import photos -o p.zarr",
        "dataset import digits -o digits.zarr",
        "dataset import d.npz -q -o d.zarr",
        "sens-rank d.zarr -q -o r.zarr",
        "figure sensitivity r.zarr -o s.svg",
    )
    sentences = [line.partition("error: ")[2] for line in result.stderr.splitlines() if "error: " in line]
    assert sentences == [
        "dataset needs pillow, which is not installed: pip install pillow",
        "dataset needs scikit-learn, which is not installed: pip install scikit-learn",
        "figure needs matplotlib, which is not installed: pip install matplotlib",
    ]
    assert result.stdout.splitlines() == ["d.zarr", "r.zarr"]
