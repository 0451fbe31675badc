"""``figure training`` and ``figure schedules``, as a user runs them, on a run of ``advtrain``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .failing import refused

Run = Callable[..., subprocess.CompletedProcess[str]]
FIELDS = ["train_accuracy", "train_robust_accuracy", "test_accuracy", "test_robust_accuracy", "tracked_accuracy"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    """A folder with ``run``, three epochs on thirty digits."""
    folder = tmp_path_factory.mktemp("runs")

    def go(*arguments: object) -> None:
        done = command(str(arguments[0]), *arguments[1:], cwd=folder)
        assert done.returncode == 0, done.stderr

    go("dataset", "import", "digits", "-o", "all.zarr")
    go("dataset", "subset", "all.zarr", "--select", "first:30", "-o", "d.zarr")
    sizes = ["--arch", "wrn-10-1", "--epochs", 3, "--batch", 20, "--steps", 1, "--threads", 1, "-q"]
    sets = ["--hold-out", "first:10", "--track", "first:10", "--test", "d.zarr"]
    go("advtrain", "d.zarr", *sizes, *sets, "-o", "run")
    return folder


def test_a_run_is_drawn_as_its_log_has_it(place: Path, command: Run, tmp_path: Path) -> None:
    picture, table = tmp_path / "1b.svg", tmp_path / "1b.tsv"
    done = command("figure", "training", "run", "run", "--name", "a", "--name", "b", "-o", picture, "--tsv", table,
                   cwd=place)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{picture}\n"), done.stderr
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    assert header == ["run", "epoch", *FIELDS]
    lines = [json.loads(line) for line in (place / "run" / "log.jsonl").read_text().splitlines()]
    wanted = [[str(line[field]) if field in line else "" for field in FIELDS] for line in lines]
    assert [row[2:] for row in rows] == wanted * 2
    assert [row[:2] for row in rows] == [[name, str(epoch)] for name in "ab" for epoch in (1, 2, 3)]
    assert wanted[0][3] == ""
    assert wanted[2][3] != ""
    again = tmp_path / "again.svg"
    assert command("figure", "training", place / "run", "-o", again).returncode == 0
    piped = command("figure", "training", "-", "-o", tmp_path / "piped.svg", input=f"{place / 'run'}\n")
    assert piped.returncode == 0, piped.stderr
    assert (tmp_path / "piped.svg").read_bytes() == again.read_bytes() != picture.read_bytes()


def test_runs_that_cannot_be_drawn_are_refused(place: Path, command: Run, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "p.png"]
    refused(command("figure", "training", place / "d.zarr", *out), 1, "d.zarr/log.jsonl")
    refused(command("figure", "training", tmp_path / "absent", *out), 1, "absent")
    refused(command("figure", "training", place / "run", "--name", "a", "--name", "b", *out), 2, "1 runs, but 2 names")
    refused(command("figure", "training", place / "run", "-o", tmp_path / "p.gif"), 2, ".png, .svg or .pdf")
    for text, code, words in (
        ("", 1, "no epoch of this run is over"),
        ('{"epoch": 1, "loss": 3}\n', 1, "the log of no adversarial training"),
        ('{"epoch": 1, "test_accuracy": 7}\n', 1, "line 1: test_accuracy is not a number from 0 to 1"),
    ):
        (tmp_path / "log.jsonl").write_text(text)
        refused(command("figure", "training", tmp_path, *out), code, words, str(tmp_path))
    assert not (tmp_path / "p.png").exists()


def test_schedules(command: Run, tmp_path: Path) -> None:
    picture, table = tmp_path / "4cd.svg", tmp_path / "4cd.tsv"
    done = command("figure", "schedules", "-o", picture, "--tsv", table)
    assert (done.returncode, done.stdout) == (0, f"{picture}\n"), done.stderr
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert len(rows) == 1 + 6 * 2400
    ends = {row[0]: float(row[2]) for row in rows if row[1] == "2400"}
    paper = {"original": 8e-7, "a": 2e-4, "b": 2e-4, "c": 5e-5, "d": 1.5e-5, "e": 2e-4}
    assert ends == pytest.approx(paper)
    other = command("figure", "schedules", "--epochs", 40, "-o", picture)
    refused(other, 1, "4cd.svg", "--overwrite")
    refused(command("figure", "schedules", "--epochs", 39, "-o", tmp_path / "p.png"), 2, "--epochs 39")
    refused(command("figure", "schedules", "--lr", 0, "-o", tmp_path / "p.png"), 2, "--lr 0")
