"""``figure labels``, as a user runs it: the counts are those of the selections of the same spelling."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts, selection

from .failing import refused, rows

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    """``d.zarr``, three of four named classes with points, and its rankings."""
    folder = tmp_path_factory.mktemp("labels")
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 80)
    np.savez(folder / "d.npz", x=random.integers(0, 256, (80, 4, 4, 3), dtype=np.uint8), y=labels)
    (folder / "names").write_text("cat\ndog\n$x$\nnobody\n")
    done = command("dataset", "import", folder / "d.npz", "--classes", folder / "names", "-o", folder / "d.zarr")
    assert done.returncode == 0, done.stderr
    for norm in ("l2", "linf"):
        out = folder / f"d-{norm}.zarr"
        assert command("sens-rank", folder / "d.zarr", "--norm", norm, "-o", out).returncode == 0
    return folder


def test_counts_are_those_of_the_selections(command: Run, place: Path, tmp_path: Path) -> None:
    picture, table = tmp_path / "4.svg", tmp_path / "4.tsv"
    three = [place / "d-l2.zarr", place / "d-linf.zarr", place / "d.zarr"]
    fixed = ["--n", 10, "--seed", 7]
    done = command("figure", "labels", *three, *fixed, "-o", picture, "--tsv", table)
    assert (done.returncode, done.stdout) == (0, f"{picture}\n"), done.stderr
    data = artifacts.open_store(place / "d.zarr")
    labels = data.column("labels").read()
    found = rows(table)
    for norm in ("l2", "linf"):
        mine = [row for row in found if row["norm"] == norm]
        assert [row["class"] for row in mine] == ["cat", "dog", "$x$", "nobody"]
        assert [row["label"] for row in mine] == ["0", "1", "2", "3"]
        for column in ("least", "random", "most"):
            spelling = "random:10:7" if column == "random" else f"{place / f'd-{norm}.zarr'}:{column}:10"
            expected = Counter(labels[selection.choose(spelling, data).rows].tolist())
            assert [int(row[column]) for row in mine] == [expected[label] for label in range(4)]
    again = tmp_path / "again.svg"
    assert command("figure", "labels", *three, *fixed, "-o", again).returncode == 0
    assert again.read_bytes() == picture.read_bytes()
    seeded = ["--n", 10, "--seed", 8, "-o", tmp_path / "o.svg", "--tsv", tmp_path / "other.tsv"]
    assert command("figure", "labels", *three[::-1], *seeded).returncode == 0
    other = rows(tmp_path / "other.tsv")
    assert [row["norm"] for row in found + other] == ["l2"] * 4 + ["linf"] * 8 + ["l2"] * 4, "the order of the rankings"
    other = other[4:] + other[:4]
    assert [row["least"] for row in other] == [row["least"] for row in found]
    assert [row["random"] for row in other] != [row["random"] for row in found]


def test_ties_at_the_cut_are_told(command: Run, place: Path, tmp_path: Path) -> None:
    distance = np.sort(artifacts.open_store(place / "d-linf.zarr").column("distance").read())
    cut = next(n for n in range(1, 80) if distance[n - 1] == distance[n])
    done = command("figure", "labels", place / "d-linf.zarr", place / "d.zarr", "--n", cut, "-o", tmp_path / "p.png")
    assert done.returncode == 0
    assert "figure: least robust, linf: " in done.stderr
    assert "points tie at the cut-off" in done.stderr


def test_a_set_without_names_is_told_by_its_labels(command: Run, place: Path, tmp_path: Path) -> None:
    assert command("dataset", "import", place / "d.npz", "-o", tmp_path / "d.zarr").returncode == 0
    assert command("sens-rank", tmp_path / "d.zarr", "-o", tmp_path / "r.zarr").returncode == 0
    table = tmp_path / "t.tsv"
    given = f"{tmp_path / 'r.zarr'}\n"
    fixed = ["--n", 3, "-o", tmp_path / "p.pdf", "--tsv", table]
    assert command("figure", "labels", "-", tmp_path / "d.zarr", *fixed, input=given).returncode == 0
    assert [row["class"] for row in rows(table)] == ["0", "1", "2"]
    assert sum(int(row["most"]) for row in rows(table)) == 3


def test_the_least_and_the_most_robust_do_not_overlap_by_default(command: Run, place: Path, tmp_path: Path) -> None:
    words = ["figure", "labels", place / "d-l2.zarr", place / "d.zarr", "-o", tmp_path / "p.png"]
    done = command(*words, "--tsv", tmp_path / "t.tsv")
    assert done.returncode == 0, done.stderr
    assert "--n is 40, because there are only 80 points" in done.stderr
    assert sum(int(row["least"]) for row in rows(tmp_path / "t.tsv")) == 40
    assert "the least and the most robust overlap" in command(*words, "--n", 41, "--overwrite").stderr


def test_what_cannot_be_drawn_is_refused(command: Run, place: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "p.png"]
    rank, data = place / "d-l2.zarr", place / "d.zarr"
    refused(command("figure", "labels", rank, *out), 2, "1 rankings and 0 datasets")
    refused(command("figure", "labels", data, *out), 2, "0 rankings and 1 datasets")
    refused(command("figure", "labels", rank, data, data, *out), 2, "1 rankings and 2 datasets")
    refused(command("figure", "labels", rank, rank, data, *out, "--n", 5), 2, "two rankings are in the l2 norm")
    refused(command("figure", "labels", rank, data, *out, "--n", 81), 1, "--n 81", "81 points are asked for", "has 80")
    refused(command("figure", "labels", rank, data, *out, "--n", 0), 2, "--n")
    refused(command("figure", "labels", rank, data, "-o", tmp_path / "p.jpg"), 2, ".png, .svg or .pdf")
    np.savez(tmp_path / "o.npz", x=np.zeros((4, 4, 4, 3), np.uint8), y=np.arange(4))
    assert command("dataset", "import", tmp_path / "o.npz", "-o", tmp_path / "o.zarr").returncode == 0
    refused(command("figure", "labels", rank, tmp_path / "o.zarr", *out, "--n", 2), 1, "d-l2.zarr", "another dataset")
    assert not (tmp_path / "p.png").exists()
