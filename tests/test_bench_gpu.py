"""The measurements of a GPU: all stages, rehearsed on the processor with small networks."""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

#: Words that rehearse.
SMALL = ("--device", "cpu", "--small")


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(root / "tests/bench")
    spec = importlib.util.spec_from_file_location("gpu", root / "tests/bench/gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu", module)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measure(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Run it in this process; the exit code."""

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["gpu.py", *SMALL, "--out", str(tmp_path), *words])
        code: int = script.main()
        return code

    return run


@pytest.mark.timeout(600)  # twenty seconds where nothing else runs
def test_every_stage_runs_from_the_repository_alone(root: Path, script: ModuleType, tmp_path: Path) -> None:
    words = [sys.executable, root / "tests/bench/gpu.py", *SMALL, "--out", tmp_path, "--budget", "3600"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=580, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    result, table = json.loads((tmp_path / "gpu.json").read_text()), (tmp_path / "gpu.md").read_text()
    assert {stage["name"]: stage["state"] for stage in result["stages"]} == dict.fromkeys(script.STAGES, "done")
    assert {row["stage"] for row in result["rows"]} == set(script.STAGES)
    assert sum(row["good"] is True for row in result["rows"]) > 30
    assert all(row["what"] in table for row in result["rows"])


def test_what_does_not_fit_is_named(measure: Callable[..., int], script: ModuleType, tmp_path: Path) -> None:
    assert measure("--budget", "10", "--only", "bits,compile") == 0
    states = {stage["name"]: stage["state"] for stage in json.loads((tmp_path / "gpu.json").read_text())["stages"]}
    assert states == {"bits": "done", "compile": "skipped"}
    assert "| compile | skipped | | | | it may take 150 s" in (tmp_path / "gpu.md").read_text()
    *prices, _ = (price for _, price in script.STAGES.values())
    assert sum(prices) <= script.BUDGET


def test_a_wrong_result_is_an_error(
    measure: Callable[..., int], script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, calls = script.augment, itertools.count()
    monkeypatch.setattr(script, "augment", lambda *arguments: plain(*arguments) + next(calls))
    assert measure("--only", "bits") == 1
    assert "wrong: augmentation crop-flip, augmentation crop" in capsys.readouterr().out


def test_a_stage_that_fails_is_an_error_and_one_that_lacks_a_package_is_left_out(
    measure: Callable[..., int], script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(bench: object) -> None:
        raise RuntimeError("no kernel")

    def lacks(bench: object) -> None:
        importlib.import_module("no_such_package")

    monkeypatch.setitem(script.STAGES, "bits", (fails, 1))
    monkeypatch.setitem(script.STAGES, "fid", (lacks, 1))
    assert measure("--only", "bits,fid") == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "0 rows; wrong: none; failed: bits; skipped or left out: fid"
