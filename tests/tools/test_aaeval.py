"""The command ``aaeval``, as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts

from .failing import documented, fails

Run = Callable[..., subprocess.CompletedProcess[str]]
FACTORY = """
import torch
from torch import nn

print("made")

class Small(nn.Module):
    def __init__(self, seed, classes=10):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(1, 4, 3, 2, 1)
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).flatten(1))

def one():
    return Small(0)

def two():
    return Small(1)

def wide():
    return Small(0, 100)

class Random(Small):
    def forward(self, x):
        return super().forward(x + 0.05 * torch.randn_like(x))

def chance():
    return Random(0)
"""
SHORT = ("--attacks", "apgd-ce,apgd-t,fab-t,square", "--iterations", 6, "--targets", 2, "--queries", 30)
QUICK = (*SHORT, "--batch", 8, "--eps", "0.02", "--threads", 1)


@pytest.fixture(scope="module")
def place(command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits that the first network is mostly right on, and with models.py."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "models.py").write_text(FACTORY)
    done = command("dataset", "import", "digits", "-o", folder / "all.zarr", "-q")
    assert done.returncode == 0, done.stderr
    done = command("dataset", "subset", folder / "all.zarr", "--select", "first:24", "-o", folder / "few.zarr", "-q")
    assert done.returncode == 0, done.stderr
    command("dataset", "relabel", "few.zarr", "--model", "models.py:one", "-o", "d.zarr", "-q", cwd=folder)
    assert (folder / "d.zarr").is_dir()
    return folder


@pytest.fixture(scope="module")
def first(command: Run, place: Path) -> dict[str, Any]:
    """The line of a first evaluation, ``one.zarr``, beside that of another model."""
    outputs = ("-o", "one.zarr", "-o", "two.zarr", "--adversarial")
    done = command("aaeval", "d.zarr", "models.py:one", "models.py:two", *QUICK, *outputs, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "made" in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["model"] for line in lines] == ["models.py:one", "models.py:two"]
    found: dict[str, Any] = lines[0]
    return found


def test_a_line_says_what_was_found(place: Path, first: dict[str, Any]) -> None:
    store = artifacts.open_store(place / "one.zarr", "evaluation")
    right = store.column("clean").read() == store.column("label").read()
    robust = right & (store.column("broken").read() < 0)
    assert (first["clean"], first["autoattack"]) == (right.mean(), robust.mean())
    assert 0 < robust.sum() < right.sum()
    assert (first["points"], first["evaluation"], first["dataset"]) == (24, "one.zarr", "d.zarr")
    assert (first["eps"], first["eps_value"], first["batch"], first["seed"]) == ("0.02", 0.02, 8, 0)
    assert set(first["libraries"]) == {"datarobust", "pyautoattack", "torch"}
    assert first["dataset_points"] == 24
    assert set(first) == documented("aaeval")
    step = store.history[-1]
    assert (step.tool, step.seed, step.device) == ("aaeval", 0, "cpu")
    assert step.inputs["dataset"] == artifacts.open_store(place / "d.zarr").digest
    assert store.column("adversarial").read().shape == (24, 1, 8, 8)


def test_what_a_terminal_shows(terminal: Run, place: Path, first: dict[str, Any]) -> None:
    words = ("d.zarr", "models.py:one", *QUICK, "-o", "one.zarr", "--adversarial")
    shown = terminal("aaeval", *words, cwd=place).stdout.splitlines()
    assert shown[0] == "models.py:one on d.zarr: 24 points, linf 0.02, custom"
    assert f"AutoAttack at most {100 * first['autoattack']:.2f} %, difference at least" in shown[1]
    assert shown[2].startswith("accuracy after apgd-ce ")
    assert len(shown) == 3


def test_a_finished_evaluation_is_told_again(command: Run, place: Path, first: dict[str, Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "one.zarr").rglob("*")}
    done = command("aaeval", "d.zarr", "models.py:one", *QUICK, "-o", "one.zarr", "--adversarial", cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == first
    assert "finished before" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (place / "one.zarr").rglob("*")} == before
    fails(command("aaeval", "d.zarr", "models.py:two", *QUICK, "-o", "one.zarr", cwd=place), "--overwrite")


def test_two_processes_that_were_killed_go_on_and_end_with_the_same_bits(
    pair: Run, place: Path, first: dict[str, Any]
) -> None:
    words = ["d.zarr", "models.py:one", *map(str, QUICK), "-o", "k.zarr", "--adversarial", "-q"]
    killed = pair("aaeval", *words, cwd=place, until=lambda: list(place.glob(".k.zarr*resume")))
    assert killed.returncode in (0, signal.SIGKILL), killed.stderr
    done = pair("aaeval", *words, cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) | {"evaluation": "one.zarr"} == first
    one, other = (artifacts.open_store(place / name) for name in ("one.zarr", "k.zarr"))
    assert other.digest == one.digest
    assert other.attributes["flags"] == one.attributes["flags"]
    assert not list(place.glob(".k.zarr*"))


def test_fast_is_an_upper_bound_and_limit_a_quick_look(command: Run, place: Path) -> None:
    quick = ("--limit", 3, "--eps", "0.3", "--threads", 1)
    done = command("aaeval", "d.zarr", "models.py:one", "--fast", *quick, cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["version"], found["points"], found["evaluation"]) == ("fast", 3, None)
    assert found["upper_bound"] is True
    assert found["autoattack"] <= found["clean"]
    assert [attack["attack"] for attack in found["attacks"]] == ["apgd-ce", "apgd-t"]
    fails(command("aaeval", "d.zarr", "models.py:one", "--limit", 3, "-o", "x.zarr", cwd=place), "--select", code=2)


def test_strict_refuses_what_cannot_be_relied_on(command: Run, place: Path) -> None:
    words = ("d.zarr", "models.py:chance", *QUICK, "--select", "first:8", "--strict", "-o", "c.zarr")
    done = command("aaeval", *words, cwd=place)
    fails(done, "models.py:chance (randomised)", "--strict")
    assert '"randomised": true' in done.stderr  # the line is told, but is no product
    assert "models.py:chance: randomised: the network depends on chance: --attacks rand, which" in done.stderr
    again = command("aaeval", *words[:-3], "-o", "c.zarr", cwd=place)
    assert json.loads(again.stdout)["flags"]["randomised"] is True


def test_a_dry_run_costs_nothing(command: Run, place: Path) -> None:
    done = command("aaeval", "d.zarr", "models.py:one", "--dry-run", cwd=place)
    assert done.returncode == 0, done.stderr
    cost = json.loads(done.stdout)
    assert cost["expected_seconds"] > 0
    assert cost["attacks"] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert cost["forward_passes"] == 24 * cost["forward_passes_an_image"]


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (("d.zarr", "models.py:one", "--eps", "8"), "8 levels are 8/255", 2),
        (("d.zarr", "models.py:wide"), "100 logits", 1),
        (("d.zarr", "models.py:one", "--attacks", "pgd"), "no attack 'pgd'", 2),
        (("d.zarr", "models.py:one", "--queries", "5"), "--attacks apgd-ce,square", 2),
        (("d.zarr", "models.py:one", "models.py:two", "-o", "x.zarr"), "an -o for each", 2),
        (("d.zarr", "weights.pt"), "model import", 1),
    ],
)
def test_mistakes_are_one_sentence(command: Run, place: Path, words: tuple[str, ...], says: str, code: int) -> None:
    fails(command("aaeval", *words, "--threads", 1, cwd=place), says, code=code)


def test_the_evaluations_compare(command: Run, place: Path, first: dict[str, Any]) -> None:
    """From ``sens-rank`` to ``aacompare``, one pipeline."""
    ranked = command("sens-rank", "d.zarr", "--norm", "linf", "-o", "r.zarr", "-q", cwd=place)
    assert ranked.returncode == 0, ranked.stderr
    done = command("aacompare", "one.zarr", "two.zarr", "--ranking", "-", "--quantiles", 4, input="r.zarr\n", cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["autoattack"]["a"] == first["autoattack"]
    assert [row["points"] for row in found["quantiles"]] == [6, 6, 6, 6]
    assert np.mean([row["a"] for row in found["quantiles"]]) == pytest.approx(first["autoattack"])
