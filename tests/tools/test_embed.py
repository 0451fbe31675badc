"""``embed`` and ``figure map``, as a user runs them, on sets imported and ranked by the commands themselves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts

from .failing import refused

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    """``d.zarr`` and its l2 ranking, features ``f.zarr`` with theirs, and the maps ``e.zarr`` and ``t.zarr`` of d."""
    folder = tmp_path_factory.mktemp("embed")
    random = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=random.integers(0, 256, (40, 4, 4), dtype=np.uint8), y=np.arange(40) % 3)
    np.savez(folder / "f.npz", x=random.normal(size=(20, 5)).astype(np.float32), y=np.arange(20) % 2)
    for name in "df":
        for words in (
            ("dataset", "import", f"{name}.npz", "-o", f"{name}.zarr"),
            ("sens-rank", f"{name}.zarr", "-o", f"{name}-l2.zarr"),
        ):
            done = command(*words, cwd=folder)
            assert done.returncode == 0, done.stderr
    fixed = ("embed", "d.zarr", "--ranking", "d-l2.zarr", "--n", 15)
    done = command(*fixed, "-o", "e.zarr", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "e.zarr\n"), done.stderr
    assert "embed: Kruskal's stress-1 is 0." in done.stderr
    assert "rank correlation of robustness" in done.stderr
    done = command(*fixed, "--method", "rte", "--json", "-q", "-o", "t.zarr", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["embedding"], told["new"], told["points"], told["method"]) == ("t.zarr", True, 15, "rte")
    assert told["coherence"]["permutations"] == 999
    return folder


def test_the_same_command_again_does_nothing(command: Run, place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "e.zarr").rglob("*")}
    again = command("embed", "d.zarr", "--ranking", "d-l2.zarr", "--n", 15, "--json", "-o", "e.zarr", cwd=place)
    told = json.loads(again.stdout)
    assert (again.stderr, told["new"]) == ("", False)
    assert told["stress"] == artifacts.open_store(place / "e.zarr").attributes["stress"]
    assert before == {path: path.stat().st_mtime_ns for path in (place / "e.zarr").rglob("*")}
    other = ["embed", "d.zarr", "--ranking", "d-l2.zarr", "--n", 15, "--seed", 1, "-o", "e.zarr"]
    refused(command(*other, cwd=place), 1, "e.zarr", "--overwrite")


def test_the_map_is_of_the_given_norm_or_of_that_of_the_ranking(command: Run, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "linf.zarr"
    fixed = ["embed", place / "d.zarr", "--ranking", "-", "--norm", "linf", "--scaling", "classical", "-o", out]
    done = command(*fixed, input=f"{place / 'd-l2.zarr'}\n")
    assert done.returncode == 0, done.stderr
    assert "All 40 points with a distance are on the map" in done.stderr
    told = artifacts.open_store(out).attributes
    assert (told["dissimilarity"], told["norm"], told["arguments"]) == ("linf", "l2", {})
    assert artifacts.open_store(place / "e.zarr").attributes["dissimilarity"] == "l2"
    picture = tmp_path / "p.svg"
    done = command("figure", "map", out, "-o", picture, "--tsv", tmp_path / "p.tsv", "--name", "A")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "p.tsv").read_text().splitlines()
    assert lines[1].split("\t")[:3] == ["A", "mds classical of linf", "l2"]
    assert len(lines) == 41


def test_features_and_first_points(command: Run, place: Path, tmp_path: Path) -> None:
    fixed = ["embed", place / "f.zarr", "--ranking", place / "f-l2.zarr", "--limit", 8, "-o", tmp_path / "f.zarr"]
    plan = json.loads(command(*fixed, "--dry-run").stdout)
    assert (plan["points"], plan["numbers"], plan["scaling"]) == (8, 5, "metric")
    assert not list(tmp_path.iterdir())
    assert command(*fixed, "-q").returncode == 0
    assert sorted(artifacts.open_store(tmp_path / "f.zarr").column("index").read().tolist()) == list(range(8))


def test_what_cannot_be_mapped_is_refused(command: Run, place: Path, tmp_path: Path) -> None:
    mine = ["embed", place / "d.zarr", "--ranking", place / "d-l2.zarr", "-o", tmp_path / "e.zarr"]
    refused(command("embed", place / "d.zarr", "--ranking", place / "f.zarr", *mine[4:]), 1, "f.zarr", "ranking")
    refused(command(*mine, "--n", 41), 2, "d-l2.zarr", "40 points have a finite distance", "--n from 3 to 40")
    refused(command(*mine, "--n", 1), 2, "--n")
    refused(command(*mine, "--method", "rte", "--max-iter", 5), 2, "--max-iter says nothing to --method rte")
    refused(command(*mine, "--seed", 2**64), 2, "--seed", "2**64 - 1")
    other = command("embed", place / "d.zarr", "--ranking", place / "f-l2.zarr", *mine[4:], "--json")
    assert other.returncode == 1
    error = json.loads(other.stderr.splitlines()[-1])["error"]
    assert (error["type"], error["exit_code"]) == ("ArtifactError", 1)
    assert "f-l2.zarr (ranking) was made from another dataset" in error["message"]
    assert not (tmp_path / "e.zarr").exists()


def test_a_picture_of_two_maps(command: Run, place: Path, tmp_path: Path) -> None:
    picture, table = tmp_path / "6.png", tmp_path / "6.tsv"
    two = [place / "e.zarr", place / "t.zarr"]
    done = command("figure", "map", *two, "--columns", 1, "-o", picture, "--tsv", table)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{picture}\n", "")
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [("d", "mds")] * 15 + [("d", "rte")] * 15
    store = artifacts.open_store(two[1])
    np.testing.assert_array_equal([int(row[6]) for row in rows[15:]], store.column("index").read())
    assert {row[3] for row in rows[15:]} == {""}
    assert {float(row[4]) for row in rows[15:]} == {store.attributes["coherence"]["correlation"]}
    coloured = tmp_path / "s.svg"
    assert command("figure", "map", *two, "--color", "sensitivity", "-o", coloured).returncode == 0
    assert coloured.read_text().count("<!-- sensitivity in ") == 2
    refused(command("figure", "map", *two, "-o", tmp_path / "p.gif"), 2, ".png, .svg or .pdf")
    refused(command("figure", "map", *two, "--name", "A", "-o", tmp_path / "p.png"), 2, "2 embeddings, but 1 names")
    refused(command("figure", "map", *two, "--columns", 3, "-o", tmp_path / "p.png"), 2, "--columns 3", "1 to 2")
    refused(command("figure", "map", place / "d-l2.zarr", "-o", tmp_path / "p.png"), 1, "d-l2.zarr", "embedding")
