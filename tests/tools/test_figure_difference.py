"""``figure difference``, as a user runs it, on sets imported and ranked by the commands themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts

from .failing import refused, rows

Run = Callable[..., subprocess.CompletedProcess[str]]


def distance(path: Path) -> np.ndarray:
    return artifacts.open_store(path, "ranking").column("distance").read()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    """Rankings of one set under 6 and under 3 labels, of another set, and of one with equal points."""
    folder = tmp_path_factory.mktemp("difference")
    random = np.random.default_rng(0)
    x, fine = random.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8), np.arange(40) % 6
    twice = x.copy()
    twice[1] = twice[0]
    sets = {"fine": (x, fine), "coarse": (x, fine // 2), "twice": (twice, fine), "small": (255 - x[:25], fine[:25])}
    for name, (points, labels) in sets.items():
        np.savez(folder / f"{name}.npz", x=points, y=labels)
        assert command("dataset", "import", folder / f"{name}.npz", "-o", folder / f"{name}.zarr").returncode == 0
        assert command("sens-rank", folder / f"{name}.zarr", "-o", folder / f"{name}-l2.zarr").returncode == 0
    assert command("sens-rank", folder / "fine.zarr", "--norm", "linf", "-o", folder / "fine-linf.zarr").returncode == 0
    return folder


def test_the_papers_figure(command: Run, place: Path, tmp_path: Path) -> None:
    picture, table = tmp_path / "2b.svg", tmp_path / "2b.tsv"
    three = [place / f"{name}-l2.zarr" for name in ("fine", "small", "coarse")]
    done = command("figure", "difference", *three, "--by", "rank", "--by", "point", "-o", picture, "--tsv", table)
    assert (done.returncode, done.stdout) == (0, f"{picture}\n"), done.stderr
    assert done.stderr == (
        "figure: fine has 40 points and small 25: values are compared at equal fractions of the sets\n"
    )
    fine, coarse = distance(three[0]), distance(three[2])
    found = rows(table)
    small, same = ([row for row in found if row["set"] == name] for name in ("small", "coarse"))
    assert [len(small), len(same)] == [40, 40]
    for row in same:
        assert float(row["difference"]) == 1 / fine[int(row["index"])] - 1 / coarse[int(row["index"])] >= 0
    assert [float(row["sensitivity"]) for row in small] == sorted(1 / fine)
    assert {row["by"] for row in small} == {"rank"}
    again = command("figure", "difference", *three, "--by", "rank", "--by", "point", "-o", tmp_path / "again.svg", "-q")
    assert (again.stderr, (tmp_path / "again.svg").read_bytes()) == ("", picture.read_bytes())


def test_without_by_rankings_of_one_dataset_are_compared_by_point(command: Run, place: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    fixed = ["-o", tmp_path / "p.png", "--tsv", table]
    against = tmp_path / "against.zarr"
    ranked = command("sens-rank", place / "fine.zarr", "--against", place / "small.zarr", "-o", against)
    assert ranked.returncode == 0, ranked.stderr
    assert (
        command("figure", "difference", place / "fine-l2.zarr", against, place / "coarse-l2.zarr", *fixed).returncode
        == 0
    )
    assert {(row["set"], row["by"]) for row in rows(table)} == {("against", "point"), ("coarse", "rank")}


def test_infinite_sensitivities_are_left_out_and_told(command: Run, place: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    two = [place / "fine-l2.zarr", place / "twice-l2.zarr"]
    done = command("figure", "difference", *two, "--by", "point", "-o", tmp_path / "p.svg", "--tsv", table)
    assert done.returncode == 0
    assert done.stderr == "figure: twice is compared without 2 at r = 0\n"
    assert sorted(int(row["index"]) for row in rows(table)) == list(range(2, 40))
    done = command("figure", "difference", *two[::-1], "--by", "rank", "-o", tmp_path / "q.svg")
    assert done.stderr == (
        "figure: twice is compared without 2 at r = 0\n"
        "figure: twice has 38 points and fine 40: values are compared at equal fractions of the sets\n"
    )


def test_names(command: Run, place: Path, tmp_path: Path) -> None:
    two, table = [place / "fine-l2.zarr", place / "small-l2.zarr"], tmp_path / "t.tsv"
    fixed = ["-o", tmp_path / "p.svg", "--tsv", table]
    refused(command("figure", "difference", *two, *fixed, "--name", "A"), 2, "2 rankings, but 1 names")
    assert command("figure", "difference", *two, *fixed, "--name", "A", "--name", "$B").returncode == 0
    assert {(row["base"], row["set"]) for row in rows(table)} == {("A", "$B")}


def test_what_does_not_compare_is_refused(command: Run, place: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "p.png"]
    fine, small = place / "fine-l2.zarr", place / "small-l2.zarr"
    refused(command("figure", "difference", fine, *out), 2, "two rankings or more")
    refused(command("figure", "difference", fine, small, *out, "--by", "point"), 2, "40 points", "25", "by rank")
    refused(command("figure", "difference", fine, place / "fine-linf.zarr", *out), 2, "fine-linf.zarr", "norm differ")
    refused(command("figure", "difference", fine, small, *out, "--by", "rank", "--by", "rank"), 2, "--by", "2 times")
    refused(command("figure", "difference", fine, small, *out, "--by", "row"), 2, "--by", "point", "rank")
    refused(command("figure", "difference", fine, small, small, *out), 2, "are called 'small'")
    refused(command("figure", "difference", fine, place / "fine.zarr", *out), 1, "fine.zarr", "dataset")
    refused(command("figure", "difference", fine, small, "-o", tmp_path / "p.gif"), 2, ".png, .svg or .pdf")
    assert not list(tmp_path.iterdir())


def test_soft_and_hard_sensitivities_do_not_compare(command: Run, place: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    soft = np.eye(3)[np.arange(30) % 3] * 0.9 + 0.1 / 3
    np.savez(tmp_path / "soft.npz", x=random.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8), y=soft)
    assert command("dataset", "import", tmp_path / "soft.npz", "-o", tmp_path / "d.zarr").returncode == 0
    for name, options in (("hard", []), ("soft", ["--soft"])):
        done = command("sens-rank", tmp_path / "d.zarr", *options, "-o", tmp_path / f"{name}.zarr")
        assert done.returncode == 0, done.stderr
    done = command("figure", "difference", tmp_path / "hard.zarr", tmp_path / "soft.zarr", "-o", tmp_path / "p.png")
    refused(done, 2, "labels differ (hard and soft)")


def test_a_path_from_a_pipe(command: Run, place: Path, tmp_path: Path) -> None:
    given = f"{place / 'small-l2.zarr'}\n"
    done = command("figure", "difference", place / "fine-l2.zarr", "-", "-o", tmp_path / "p.png", input=given)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'p.png'}\n"), done.stderr
