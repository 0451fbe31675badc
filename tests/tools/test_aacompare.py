"""The command ``aacompare``, as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lib.jobs import evaluated

from datarobust.errors import UsageError
from datarobust.tools import aacompare

from .failing import documented

Run = Callable[..., subprocess.CompletedProcess[str]]


def evaluation(path: Path, seed: int, accuracy: float, **more: Any) -> None:
    broken = np.where(np.random.default_rng(seed).random(300) < accuracy, -1, 0)
    evaluated.evaluation(path, np.ones(300, bool), broken, **more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    for seed in range(3):
        evaluation(folder / f"a{seed}.zarr", seed, 0.6)
        evaluation(folder / f"b{seed}.zarr", 10 + seed, 0.75)
    evaluation(folder / "other.zarr", 0, 0.6, dataset="9" * 64)
    return folder


def test_a_pair_and_what_it_cannot_say(command: Run, place: Path) -> None:
    done = command("aacompare", "a0.zarr", "b0.zarr", cwd=place)
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout)
    assert set(whole) == documented("aacompare")
    found = whole["autoattack"]
    assert found["difference"] == pytest.approx(found["b"] - found["a"])
    assert found["interval"][0] < found["difference"] < found["interval"][1]
    assert found["difference"] * 300 == pytest.approx(found["only_b"] - found["only_a"])
    assert 0 < found["p"] < 0.01
    assert "cannot show training variance" in done.stderr
    quiet = command("aacompare", "a0.zarr", "b0.zarr", "-q", cwd=place)
    assert (quiet.stdout, quiet.stderr) == (done.stdout, "")


def test_what_a_terminal_shows(terminal: Run, place: Path) -> None:
    shown = terminal("aacompare", "a0.zarr", "b0.zarr", cwd=place).stdout.splitlines()
    assert shown[0] == "A a0.zarr, B b0.zarr: 300 points, linf 8/255"
    assert [line.partition(":")[0] for line in shown[1:]] == ["clean", "AutoAttack"]
    groups = terminal("aacompare", "a0.zarr", "a1.zarr", "vs", "b0.zarr", "b1.zarr", cwd=place).stdout.splitlines()
    assert groups[0].startswith("A a0.zarr a1.zarr, B b0.zarr b1.zarr: 300 points")
    alone = terminal("aacompare", "--power", "a0.zarr", "vs", cwd=place).stdout.splitlines()
    assert alone[2].startswith("AutoAttack: A ")
    assert len(shown) == len(groups) == len(alone) == 3
    assert json.loads(terminal("aacompare", "a0.zarr", "b0.zarr", "--json", cwd=place).stdout)["points"] == 300


def test_groups_of_seeds(command: Run, place: Path) -> None:
    groups = [f"a{n}.zarr" for n in range(3)], [f"b{n}.zarr" for n in range(3)]
    done = command("aacompare", *groups[0], "vs", *groups[1], cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["a"], found["b"]) == groups
    assert len(found["autoattack"]["a"]["values"]) == 3
    assert found["autoattack"]["interval"][0] > 0
    assert found["remarks"] == []


def test_power(command: Run, place: Path) -> None:
    """A difference that is detectable is more likely shown than not, and a group may stand alone."""
    groups = ["a0.zarr", "a1.zarr", "a2.zarr"], ["b0.zarr", "b1.zarr", "b2.zarr"]
    for words in (["a0.zarr", "b0.zarr"], [*groups[0], "vs", *groups[1]]):
        done = command("aacompare", "--power", *words, cwd=place)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["autoattack"]
        low, high = found["interval"]
        assert (high - low) / 2 < found["power"]["detectable"] < high - low, "a little more than half the interval"
    for words, size in ((["a0.zarr", "vs"], "points"), ([*groups[0], "vs"], "seeds")):
        done = command("aacompare", *words, "--power", "-q", cwd=place)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["autoattack"]
        assert found.keys() == {"a", "power"}
        assert found["power"][f"{size}_for_gain"] > (300 if size == "points" else 3)


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (("a0.zarr", "other.zarr"), "different datasets", 1),
        (("a0.zarr", "--power"), "With --power vs may also be the last word", 2),
        (("a0.zarr", "none.zarr"), "none.zarr does not exist", 1),
    ],
)
def test_mistakes_are_one_sentence(command: Run, place: Path, words: tuple[str, ...], says: str, code: int) -> None:
    done = command("aacompare", *words, cwd=place)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("words", "alone"), [("a", False), ("a b c", False), ("a vs", False), ("vs a", True)])
def test_groups_need_one_vs_between(words: str, alone: bool) -> None:
    with pytest.raises(UsageError, match="one vs between"):
        aacompare._groups([Path(word) for word in words.split()], alone)
