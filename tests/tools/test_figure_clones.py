"""``figure clones`` and ``figure search``, as a user runs them, on what clone and clone-search have made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from datarobust.diffusion.search import GRID

from . import made
from .failing import fails
from .test_clone import QUICK

Run = Callable[..., subprocess.CompletedProcess[str]]
SEARCH = ("--num-steps", 2, "--threads", 1, "--seeds", 2, "--grid", "sigma_min=0.004", "--grid", "S_min=0.5")
MORE = ("--grid", "S_noise=1", "--grid", "S_churn=0.5", "--grid", "rho=1.5,2", "--grid", "sigma_max=1.3,1.4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    """A folder with a dataset, two sets of clones and a search of four points."""
    folder = tmp_path_factory.mktemp("pictures")
    made.dataset(folder / "d.zarr")
    made.denoiser(folder / "m.safetensors")
    for name, select in (("most", "first:5"), ("least", "!first:5")):
        words = ["d.zarr", "--model", "m.safetensors", "--select", select, "--repeats", 3, *QUICK]
        assert command("clone", *words, "-o", f"{name}.zarr", cwd=folder).returncode == 0
    done = command("clone-search", "d.zarr", "--model", "m.safetensors", *SEARCH, *MORE, "-o", "s.jsonl", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "s.jsonl\n"), done.stderr
    assert "Mean Fréchet distance of pixels on 12 images by sigma_max: 1.3:" in done.stderr
    assert "Points within seed-to-seed variation of the best" in done.stderr
    return folder


def test_clones_in_squares_and_rows(command: Run, place: Path, tmp_path: Path) -> None:
    for layout, ending in (("squares", "png"), ("rows", "svg")):
        output, lines = tmp_path / f"{layout}.{ending}", tmp_path / f"{layout}.tsv"
        words = ["d.zarr", "most.zarr", "least.zarr", "--layout", layout, "--name", "most", "--name", "least"]
        done = command("figure", "clones", *words, "-o", output, "--tsv", lines, "--n", 4, cwd=place)
        assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
        assert output.stat().st_size > 1000
        rows = [line.split("\t") for line in lines.read_text().splitlines()]
        assert rows[0] == ["set", "index", "label", "repeat", "l2", "linf"]
        assert len(rows) == 1 + 2 * 4 * 3
        assert [row[1] for row in rows[1:5]] == ["0", "1", "2", "3"]


def test_clones_and_their_dataset_belong_together(command: Run, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.png"
    fails(command("figure", "clones", "most.zarr", "-o", output, cwd=place), "most.zarr", "not given")
    fails(command("figure", "clones", "d.zarr", "-o", output, cwd=place), "No clones", code=2)
    fails(
        command("figure", "clones", "d.zarr", "most.zarr", "--name", "a", "--name", "b", "-o", output, cwd=place),
        code=2,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_search(command: Run, place: Path, tmp_path: Path) -> None:
    output, lines = tmp_path / "s.svg", tmp_path / "s.tsv"
    done = command("figure", "search", "s.jsonl", "-o", output, "--tsv", lines, cwd=place)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    header, *rows = (line.split("\t") for line in lines.read_text().splitlines())
    assert header == ["point", *GRID, "seed", "images", "score"]
    assert len(rows) == 4 * 2
    assert {row[header.index("S_max")] for row in rows} == {"inf"}
    (tmp_path / "empty.jsonl").write_text((place / "s.jsonl").read_text().splitlines()[0] + "\n")
    fails(command("figure", "search", tmp_path / "empty.jsonl", "-o", output), "no results")
    (tmp_path / "other.jsonl").write_text("nothing\n")
    fails(command("figure", "search", tmp_path / "other.jsonl", "-o", output), "other.jsonl", "line 1")
    asked = json.loads((place / "s.jsonl").read_text().splitlines()[0])
    (tmp_path / "second.jsonl").write_text(json.dumps(asked | {"request": "0"}) + "\n")
    done = command("figure", "search", place / "s.jsonl", "--also", tmp_path / "second.jsonl", "-o", output)
    fails(done, "second.jsonl", "another search")
