"""The command ``clone``, as a user runs it."""

from __future__ import annotations

import inspect
import json
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.diffusion.sampler import Sampler
from datarobust.tools import clone
from datarobust.tools._cli import command_of

from . import made
from .failing import fails
from .held import held, wait_for
from .made import tree

Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--num-steps", 3, "--threads", 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of 12 images and a denoiser of such images."""
    folder = tmp_path_factory.mktemp("clone")
    made.dataset(folder / "d.zarr")
    made.denoiser(folder / "m.safetensors")
    return folder


def test_clones_of_chosen_points(command: Run, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "k.zarr"
    words = [place / "d.zarr", "--model", place / "m.safetensors", "--select", "!first:4", "--repeats", 2, *QUICK]
    done = command("clone", *words, "-o", output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    assert "1.084 image + 0.8865 noise" in done.stderr
    assert "sigma given to the denoiser: 1.4" in done.stderr
    found = artifacts.open_store(output, "clones")
    assert found.column("images").shape == (8, 2, 1, 8, 8)
    np.testing.assert_array_equal(found.column("index").read(), np.arange(4, 12))
    assert found.attributes["sampler"]["num_steps"] == 3
    assert found.attributes["start"]["noise"] == pytest.approx(0.8865, abs=1e-4)
    step = found.history[-1]
    assert (step.tool, step.seed, step.device) == ("clone", 0, "cpu, 1 threads")
    assert set(step.inputs) == {"dataset", "model"}

    before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    again = command("clone", *words, "-o", output, "--json", "-q")
    assert json.loads(again.stdout)["new"] is False
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before
    fails(command("clone", *words, "-o", output, "--seed", 1), "k.zarr", "--overwrite")
    replaced = command("clone", *words, "-o", output, "--seed", 1, "--overwrite", "--json", "-q")
    told = json.loads(replaced.stdout)
    assert (told["new"], told["count"], told["start"]["name"]) == (True, 16, "paper")


def test_options_of_the_sampler_and_the_start(command: Run, place: Path, tmp_path: Path) -> None:
    base = ["clone", place / "d.zarr", "--model", place / "m.safetensors", *QUICK, "--limit", 2, "-q"]
    given = ["--sigma-min", 0.01, "--sigma-max", 1.2, "--rho", 2, "--S-churn", 1, "--S-min", 0.1, "--S-max", 1]
    done = command(*base, *given, "--S-noise", 1.01, "--noise-weight", 0.4, "-o", tmp_path / "a.zarr")
    assert done.returncode == 0, done.stderr
    assert artifacts.open_store(tmp_path / "a.zarr").attributes["sampler"] == {
        "num_steps": 3,
        "sigma_min": 0.01,
        "sigma_max": 1.2,
        "rho": 2.0,
        "S_churn": 1.0,
        "S_min": 0.1,
        "S_max": 1.0,
        "S_noise": 1.01,
    }
    for start, told in (("matched", 0.45 / 0.55), ("unit", 1.4), ("noise", 80.0)):
        output = tmp_path / f"{start}.zarr"
        done = command(*base, "--start", start, "--labels", "random", "--precision", "bf16", "-o", output)
        assert done.returncode == 0, done.stderr
        assert artifacts.open_store(output).attributes["start"]["told"] == pytest.approx(told)


def test_the_options_are_those_of_the_sampler() -> None:
    """Sampler is their home: each of its fields is an option, under its name in Karras et al."""
    options = {word.lstrip("-").replace("-", "_") for param in command_of(clone.app).params for word in param.opts}
    assert {field.name for field in fields(Sampler)} <= options
    taken = set(inspect.signature(clone.clone).parameters)
    assert {field.name.lower() for field in fields(Sampler)} <= taken


def test_one_clone_of_each_point_is_a_dataset(command: Run, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "k.zarr"
    words = [place / "d.zarr", "--model", place / "m.safetensors", "--select", "!first:4", *QUICK]
    assert command("clone", *words, "-o", output).returncode == 0
    done = command("dataset", "subset", output, "--select", "first:3", "-o", tmp_path / "part.zarr")
    assert done.returncode == 0, done.stderr
    part = artifacts.open_store(tmp_path / "part.zarr", "dataset")
    np.testing.assert_array_equal(
        part.column("images").read(), artifacts.open_store(output).column("images").read()[:3, 0]
    )
    assert part.attributes["classes"] == ["class 0", "class 1", "class 2"]
    assert [step.tool for step in part.history][-2:] == ["clone", "dataset"]


def test_a_dry_run_says_what_it_takes(command: Run, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "k.zarr"
    words = [place / "d.zarr", "--model", place / "m.safetensors", "--repeats", 3, *QUICK]
    done = command("clone", *words, "-o", output, "--dry-run")
    plan = json.loads(done.stdout)
    assert (plan["clones"], plan["evaluations_a_clone"]) == (36, 5)
    assert plan["operations"] > 0
    assert plan["expected_seconds"] >= 0
    assert not output.exists()


def test_misuse_is_one_sentence(command: Run, place: Path, tmp_path: Path) -> None:
    output, data, model = tmp_path / "k.zarr", place / "d.zarr", place / "m.safetensors"
    run = lambda *more: command("clone", data, "--model", model, "-o", output, *QUICK, *more)  # noqa: E731
    fails(run("--sigma-max", "0.001"), "sigma_max", code=2)
    fails(run("--start", "matched", "--sigma-max", "2"), "--noise-weight", code=2)
    fails(run("--labels", tmp_path / "no.txt"), "no.txt")
    fails(run("--precision", "tf32"), "CPU", code=2)
    fails(command("clone", data, "--model", tmp_path / "edm.pkl", "-o", output), "model import")
    fails(command("clone", data, "--model", data, "-o", output), "d.zarr")
    assert list(tmp_path.iterdir()) == []


HELD = """
import sys, time
from datarobust.jobs.make import make
from datarobust.diffusion import cloning
from datarobust.tools import clone
left, sample = int(sys.argv.pop(1)), cloning.sample
def held(*arguments):
    global left
    left -= 1
    while left < 0:
        time.sleep(0.05)
    return sample(*arguments)
cloning.sample = held
make.__kwdefaults__["save_every"] = 0.0
clone.main()
"""


def test_killed_at_any_moment_the_same_command_goes_on(command: Run, quick: Path, place: Path, tmp_path: Path) -> None:
    words = [place / "d.zarr", "--model", place / "m.safetensors", "--repeats", 2, "--batch", 2, *QUICK, "-o", "k.zarr"]
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    assert command("clone", *words, cwd=tmp_path / "straight").returncode == 0
    state = tmp_path / "killed" / ".k.zarr.resume"
    for batches in (1, 3):  # 4 of 12
        seen = state.stat().st_mtime_ns if state.exists() else 0
        with held(quick, HELD, batches, *words, cwd=tmp_path / "killed") as process:
            wait_for(state, process, seen)
    done = command("clone", *words, cwd=tmp_path / "killed")
    assert done.stdout == "k.zarr\n", done.stderr
    assert tree(tmp_path / "killed" / "k.zarr") == tree(tmp_path / "straight" / "k.zarr")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["k.zarr"]


def test_terminated_the_state_is_kept_and_a_second_writer_refused(
    command: Run, quick: Path, place: Path, tmp_path: Path
) -> None:
    output = tmp_path / "k.zarr"
    words = [place / "d.zarr", "--model", place / "m.safetensors", "--batch", 5, *QUICK, "-o", output]
    with held(quick, HELD, 2, *words, cwd=tmp_path) as process:
        wait_for(tmp_path / ".k.zarr.resume", process)
        fails(command("clone", *words), "k.zarr", "being written")
        process.terminate()
        out, talk = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert talk.splitlines()[-1] == "clone: terminated; run the same command again to resume"
    assert not output.exists()
    done = command("clone", *words, "-q")
    assert done.stdout == f"{output}\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["k.zarr"]


def test_two_processes_make_the_clones_of_one(command: Run, pair: Run, place: Path, tmp_path: Path) -> None:
    words = [place / "d.zarr", "--model", place / "m.safetensors", "--batch", 4, *QUICK]
    assert command("clone", *words, "-o", tmp_path / "one.zarr").returncode == 0
    done = pair("clone", *words, "-o", tmp_path / "two.zarr")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'two.zarr'}\n"
    one, two = (artifacts.open_store(tmp_path / name) for name in ("one.zarr", "two.zarr"))
    assert one.attributes["request"] == two.attributes["request"]
    assert np.abs(one.column("images").read().astype(int) - two.column("images").read()).max() <= 1
