"""Commands that are disturbed, on damaged files, in odd surroundings, with other numbers of threads, on many classes.

Faults and damage are a sample of what ``make torture`` tries in full.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts

from . import corruption, faults, odd
from .corruption import HARMS, SUBJECTS
from .faults import CASES, KINDS, Bench

Run = Callable[..., subprocess.CompletedProcess[str]]
Whole = Callable[[str], tuple[Path, dict[str, str], int]]
ODD = "-ü [1] *"
DISTURBED = tuple(kind for kind in KINDS if kind != "count")
disturbing = pytest.mark.skipif(faults.lack() is not None, reason=str(faults.lack()))
EACH = 19  # every so many of all trials of damage


@pytest.fixture(scope="module")
def bench(quick: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Tiny artifacts of every kind, and commands that can be disturbed."""
    made = Bench(quick, scripts, tmp_path_factory.mktemp("surroundings"))
    faults.prepare(made)
    return made


@pytest.fixture(scope="module")
def whole(bench: Bench) -> Whole:
    """What a command makes where nothing disturbs it: its folder, the contents, and the number of calls to the disk."""

    @cache
    def made(case: str) -> tuple[Path, dict[str, str], int]:
        name = f"whole {case}"
        return bench.folder / name, *faults.undisturbed(bench, case, name)

    return made


# ------------------------------------------------------------------------------------------------------------ faults


@disturbing
@pytest.mark.parametrize("case", CASES)
def test_a_disturbed_command_again(bench: Bench, whole: Whole, case: str) -> None:
    _, contents, count = whole(case)
    assert count > 8
    # Each command is killed in one of its last three calls; every third one meets another fault somewhere, too.
    place = list(CASES).index(case)
    trials = [("kill", count - place % 3)]
    if place % 3 == 0:
        trials.append((DISTURBED[place // 3], 1 + 7 * place % count))
    for kind, number in trials:
        wrong = faults.trial(bench, case, kind, number, contents)
        assert wrong is None, f"{kind} at call {number} of {count}: {wrong}"


@disturbing
@pytest.mark.parametrize(
    ("case", "number"), [("sens-rank", errno.ENOSYS), ("edmtrain", errno.ENOLCK), ("figure", errno.EOPNOTSUPP)]
)
def test_a_file_system_without_flock(bench: Bench, whole: Whole, case: str, number: int) -> None:
    folder = bench.fresh("trial")
    done = bench.run(folder, CASES[case], flock=number)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no flock") == 1
    assert faults.contents(folder) == whole(case)[1]


@disturbing
def test_the_last_call_is_counted(bench: Bench, whole: Whole) -> None:
    count = whole("sens-rank")[2]
    killed = bench.run(bench.fresh("trial"), CASES["sens-rank"], "kill", count)
    assert killed.returncode == -9
    done = bench.run(bench.fresh("trial"), CASES["sens-rank"], "kill", count + 1)
    assert done.returncode == 0


# ------------------------------------------------------------------------------------------------------------ damage


@pytest.fixture(scope="module")
def others(bench: Bench) -> Bench:
    """Another artifact of every kind beside them."""
    corruption.prepare(bench)
    return bench


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_damaged_artifact_is_refused_by_name(others: Bench, name: str) -> None:
    whole = corruption.undisturbed(others, name)
    for number, (file, harm) in enumerate(corruption.trials(others, name), list(SUBJECTS).index(name)):
        if number % EACH == 0 or (harm == "flip" and file == Path()):
            wrong = corruption.trial(others, name, file, harm, number, whole)
            assert not wrong, f"{file}, {harm}: {wrong}"


def test_the_head_of_another_evaluation_fits_only_the_same_rows(others: Bench) -> None:
    inputs = others.folder / "in"
    whole = corruption.undisturbed(others, "evaluation")
    wrong = corruption.trial(others, "evaluation", Path("zarr.json"), "another", 0, whole)
    assert wrong is None
    # What has the head and the rows of another evaluation is that evaluation, byte for byte.
    mixed = others.fresh("mixed") / "x"
    shutil.copytree(inputs / "a.zarr", mixed)
    for file in corruption.files(others, SUBJECTS["evaluation"]):
        HARMS["another"](mixed / file, inputs / "a2.zarr" / file, 0)
    assert faults.contents(mixed) == faults.contents(inputs / "a2.zarr")


# ------------------------------------------------------------------------------------------------------ surroundings


@pytest.mark.parametrize("case", CASES)
def test_odd_surroundings_change_nothing(bench: Bench, whole: Whole, case: str) -> None:
    name, *words = CASES[case].split()
    strange = bench.fresh(ODD)
    output = next(word for word in words if word.startswith("o"))
    (strange / f".{output}.lock").write_text("17 another-host\n")  # no process holds it
    words = [bench.quick / "script", odd.__file__, bench.scripts / name, *words]
    done = subprocess.run(words, cwd=strange, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert faults.contents(strange) == whole(case)[1]
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


def test_threads_change_no_bit_of_a_ranking_and_rounding_elsewhere(bench: Bench, whole: Whole) -> None:
    outputs: dict[str, list[Path]] = {}
    for case in ("sens-rank", "clone", "fid --save-moments", "aaeval", "edmtrain"):
        name, *words = CASES[case].split()
        output = next(word for word in words if word[0] == "o")
        outputs[name] = [whole(case)[0] / output]  # with OMP_NUM_THREADS=1
        for threads in (1, 2) if name == "sens-rank" else (2,):
            folder = bench.fresh(f"threads {threads} {name}")
            done = subprocess.run(
                [bench.quick / name, *words, "--threads", str(threads)], cwd=folder, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            outputs[name].append(folder / output)
    assert len({artifacts.open_store(path).digest for path in outputs["sens-rank"]}) == 1
    verdicts = [artifacts.open_store(path).column("attacked").read() for path in outputs["aaeval"]]
    assert (verdicts[0] == verdicts[1]).all()
    clones = [artifacts.open_store(path).column("images").read() for path in outputs["clone"]]
    assert np.abs(clones[0].astype(int) - clones[1]).max() <= 1
    means = [artifacts.open_store(path).column("mean").read() for path in outputs["fid"]]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    weights = [artifacts.load_tensors(path / "last.safetensors") for path in outputs["edmtrain"]]
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


@disturbing
def test_a_full_disk_from_the_first_byte(bench: Bench) -> None:
    folder = bench.fresh("full")
    done = bench.run(folder, CASES["sens-rank"], "stays full", 1)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert not list(folder.iterdir())
