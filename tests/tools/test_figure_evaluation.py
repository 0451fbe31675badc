"""``figure deciles`` and ``figure table``, as a user runs them, on evaluations and runs."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.lib.jobs import evaluated

from datarobust import artifacts

from .failing import refused

Run = Callable[..., subprocess.CompletedProcess[str]]
POINTS = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``run``, evaluations of its weights, of which ``b.zarr`` is an upper bound, and a ranking."""
    folder = tmp_path_factory.mktemp("evaluated")
    random = np.random.default_rng(0)
    (folder / "run").mkdir()
    recipe = {"norm": "linf", "eps": 8 / 255, "epochs": 2, "batch": 64, "seed": 3}
    document = {"request": "r", "recipe": recipe, "arch": evaluated.ARCH, "inputs": {}}
    (folder / "run" / "recipe.json").write_text(json.dumps(document))
    log = [json.dumps({"epoch": epoch, "tracked_accuracy": 0.5 + epoch / 10}) for epoch in (1, 2)]
    (folder / "run" / "log.jsonl").write_text("\n".join(log) + "\n")
    best, last = (
        artifacts.peek(evaluated.classifier(folder / "run" / f"{name}.safetensors", seed, weights=name, epoch=2)).digest
        for seed, name in enumerate(("best", "last"))
    )
    fast = {"version": "fast", "upper_bound": True}
    for name, model, protocol in (("a", best, {}), ("b", last, fast), ("c", last, {})):
        broken = np.where(random.random(POINTS) < 0.6, -1, 0)
        evaluated.evaluation(folder / f"{name}.zarr", np.ones(POINTS, bool), broken, protocol=protocol, model=model)
    evaluated.ranking(folder / "r.zarr", random.integers(10, 90, POINTS) / 255)
    evaluated.ranking(folder / "other.zarr", np.arange(POINTS) / 255, "5" * 64)
    return folder


def test_deciles_are_drawn_as_evaluations_have_them(place: Path, command: Run, tmp_path: Path) -> None:
    picture, table = tmp_path / "d.svg", tmp_path / "d.tsv"
    words = ["deciles", "a.zarr", "b.zarr", "--ranking", "r.zarr", "--quantiles", 6, "-o", picture, "--tsv", table]
    done = command("figure", *words, cwd=place)
    assert (done.returncode, done.stdout) == (0, f"{picture}\n"), done.stderr
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["evaluation"] for row in found] == ["a"] * 6 + ["b"] * 6
    assert [row["upper_bound"] for row in found] == ["false"] * 6 + ["true"] * 6
    assert sum(int(row["points"]) for row in found[:6]) == POINTS
    store = artifacts.open_store(place / "a.zarr")
    robust = (store.column("clean").read() == 0) & (store.column("broken").read() < 0)
    assert np.mean([float(row["robust"]) for row in found[:6]]) == pytest.approx(robust.mean())
    again = command("figure", *words[:-4], "-o", tmp_path / "again.svg", cwd=place)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.svg").read_bytes() == picture.read_bytes()


def test_deciles_that_cannot_be_drawn(place: Path, command: Run, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "p.png"]
    ranked = ["--ranking", "r.zarr"]
    refused(command("figure", "deciles", "a.zarr", *out, cwd=place), 2, "--ranking")
    other = command("figure", "deciles", "a.zarr", "--ranking", "other.zarr", *out, cwd=place)
    refused(other, 1, "ranks another dataset", "--against the training set")
    refused(command("figure", "deciles", "r.zarr", *ranked, *out, cwd=place), 1, "r.zarr", "evaluation")
    many = command("figure", "deciles", "a.zarr", *ranked, "--quantiles", POINTS + 1, *out, cwd=place)
    refused(many, 2, "60 points do not make 61 parts")
    named = command("figure", "deciles", "a.zarr", *ranked, "--name", "x", "--name", "y", *out, cwd=place)
    refused(named, 2, "1 evaluations, but 2 names")
    refused(command("figure", "deciles", "a.zarr", *ranked, "-o", "p.md", cwd=place), 2, ".png, .svg or .pdf")
    assert not (tmp_path / "p.png").exists()


def test_a_table_has_the_papers_row_beside_ours(place: Path, root: Path, command: Run, tmp_path: Path) -> None:
    paper, output = root / "examples" / "table2.tsv", tmp_path / "t.md"
    words = ["table", "a.zarr", "run", "c.zarr", "--name", "c10inf-v_s", "--beside", paper, "-o", output]
    done = command("figure", *words, "--tsv", tmp_path / "t.tsv", cwd=place)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    lines = output.read_text().splitlines()
    assert len([line for line in lines if " | paper | " in line]) == 12
    at = next(place for place, line in enumerate(lines) if "C10∞,-v(s) | paper | 92.40 - 67.77" in line)
    assert lines[at + 1].startswith("|  |  | ours [1, 2] | ")
    assert re.search(r" \| 2 \| 70\.00( \| 2\d\.\d\d){2} \|$", lines[at + 1]), "60 points show 20 points of percent"
    assert "- [1] wrn-10-1, linf 8/255, 2 epochs in batches of 64, seed 3." in lines
    (row,) = [line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines()[1:]]
    assert row[:2] == ["c10inf-v_s", "seed 3"]
    again = command("figure", *words, cwd=place)
    assert again.returncode == 0, "the same table is there already"


def test_an_upper_bound_is_called_so_in_a_table(place: Path, command: Run, tmp_path: Path) -> None:
    done = command("figure", "table", "run", "b.zarr", "-o", tmp_path / "t.md", cwd=place)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in (tmp_path / "t.md").read_text().splitlines() if "ours" in line]
    cells = [cell.strip() for cell in row.split("|")]
    assert (cells[4], cells[6]) == ("x", "x")
    assert "- ≤ " in cells[5]
    assert cells[7].startswith("≥ ")


def test_tables_that_cannot_be_written(place: Path, command: Run, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "t.md"]
    refused(command("figure", "table", "run", "-o", tmp_path / "t.txt", cwd=place), 2, "ends in .md")
    refused(command("figure", "table", "run", "a.zarr", "b.zarr", *out, cwd=place), 1, "evaluate both weights alike")
    refused(command("figure", "table", "run", "b.zarr", "c.zarr", *out, cwd=place), 1, "of the same weights")
    refused(command("figure", "table", "run", "--beside", "run/log.jsonl", *out, cwd=place), 1, "no rows of the paper")
    refused(command("figure", "table", "run", "--beside", "none.tsv", *out, cwd=place), 1, "none.tsv cannot be read")
    refused(command("figure", "table", "none", *out, cwd=place), 1, "none does not exist")
    refused(command("figure", "table", "run", "--name", "a", "--name", "b", *out, cwd=place), 2, "1 runs, but 2 names")
    assert not (tmp_path / "t.md").exists()
