"""Commands in odd surroundings, with other numbers of threads, and on many classes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts

from . import faults, odd
from .faults import CASES, Bench

Run = Callable[..., subprocess.CompletedProcess[str]]
ODD = "-ü [1] *"


@pytest.fixture(scope="module")
def bench(quick: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Small inputs."""
    made = Bench(quick, scripts, tmp_path_factory.mktemp("surroundings"))
    faults.prepare(made)
    return made


@pytest.mark.parametrize("case", CASES)
def test_odd_surroundings_change_nothing(bench: Bench, case: str) -> None:
    name, *words = CASES[case].split()
    plain, strange = bench.fresh("plain"), bench.fresh(ODD)
    output = next(word for word in words if word.startswith("o"))
    (strange / f".{output}.lock").write_text("17 another-host\n")  # no process holds it
    wrapper = [bench.quick / "script", odd.__file__]
    trees = []
    for start, folder in (([bench.quick / name], plain), ([*wrapper, bench.scripts / name], strange)):
        done = subprocess.run([*start, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        trees.append(faults.contents(folder))
    assert trees[0] == trees[1]
    for path in strange.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_network_is_forbidden_there(bench: Bench) -> None:
    code = "import socket; socket.create_connection(('localhost', 9))"
    script = bench.folder / "connects.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, odd.__file__, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "AssertionError: socket." in done.stderr


@pytest.mark.parametrize(
    "line", ["dataset import digits --limit 9 -o ü.zarr", "figure sensitivity ../in/r.zarr -o ü.svg"]
)
def test_a_plain_locale_and_no_home(bench: Bench, scripts: Path, line: str) -> None:
    name, *words = line.split()
    folder = bench.fresh("plain")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/dev/null/home", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [scripts / name, *words], cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{words[-1]}\n"), done.stderr
    assert [path.name for path in folder.iterdir()] == [words[-1]]


def test_threads_change_no_bit_of_a_ranking_and_rounding_elsewhere(bench: Bench) -> None:
    folders = {threads: bench.fresh(f"threads-{threads}") for threads in (1, 2)}
    cases = ("sens-rank", "clone", "fid --save-moments", "aaeval", "edmtrain")
    for threads, folder in folders.items():
        for case in cases:
            name, *words = CASES[case].split()
            words = [word if word[0] != "o" else f"{name}{word[1:]}" for word in words]
            words = [bench.quick / name, *words, "--threads", str(threads)]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    rankings = [artifacts.open_store(folder / "sens-rank.zarr").digest for folder in folders.values()]
    assert rankings[0] == rankings[1]
    verdicts = [artifacts.open_store(folder / "aaeval.zarr").column("attacked").read() for folder in folders.values()]
    assert (verdicts[0] == verdicts[1]).all()
    clones = [artifacts.open_store(folder / "clone.zarr").column("images").read() for folder in folders.values()]
    assert np.abs(clones[0].astype(int) - clones[1]).max() <= 1
    means = [artifacts.open_store(folder / "fid.zarr").column("mean").read() for folder in folders.values()]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    weights = [artifacts.load_tensors(folder / "edmtrain/last.safetensors") for folder in folders.values()]
    for name in weights[0]:
        np.testing.assert_allclose(weights[0][name], weights[1][name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_ten_thousand_classes(command: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points, labels = random.normal(size=(11_000, 8)).astype(np.float32), np.arange(11_000) % 10_000
    np.savez(tmp_path / "a.npz", x=points, y=labels, classes=np.array([f"class {label}" for label in range(10_000)]))
    for line in ("dataset import a.npz -o d.zarr", "sens-rank d.zarr -o r.zarr", "dataset info d.zarr --json"):
        name, *words = line.split()
        done = command(name, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"] == 11_000
    neighbours = artifacts.open_store(tmp_path / "r.zarr").column("neighbour").read().reshape(-1)
    rows = random.integers(0, 11_000, 20)
    distances = np.square(points[rows, None].astype(float) - points[None]).sum(-1)
    distances[labels[rows, None] == labels[None]] = np.inf
    assert neighbours[rows].tolist() == distances.argmin(1).tolist()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("case", ["sens-rank", "edmtrain", "figure"])
def test_a_folder_that_may_not_be_written(bench: Bench, case: str) -> None:
    folder = bench.fresh("read-only")
    folder.chmod(0o555)
    name, *words = CASES[case].split()
    done = subprocess.run([bench.quick / name, *words], cwd=folder, capture_output=True, text=True, check=False)
    folder.chmod(0o755)
    assert done.returncode == 1
    assert "cannot be written: permission denied" in done.stderr
    assert not list(folder.iterdir())


def test_a_full_disk_from_the_first_byte(bench: Bench) -> None:
    folder = bench.fresh("full")
    done = bench.run(folder, CASES["sens-rank"], "stays full", 1)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert not list(folder.iterdir())
