"""The command ``figure``: pictures whole or absent, in agreement with their artifacts, the same bytes every time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from datarobust import artifacts
from datarobust.artifacts import Step, Store

from .failing import rows

Run = Callable[..., subprocess.CompletedProcess[str]]
STEP = Step(tool="test", argv=(), version="0", seed=None, device=None, inputs={})


def write(path: Path, kind: str, arrays: Mapping[str, NDArray[Any]], **attributes: object) -> Store:
    columns = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    with artifacts.create(path, kind, columns, attributes=attributes, history=[STEP]) as writer:
        for name, array in arrays.items():
            writer.append(name, array)
    return artifacts.open_store(path, kind)


def dataset(path: Path, count: int = 30, seed: int = 0, classes: tuple[str, ...] = ("cat", "dog", "$x$")) -> Store:
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.int64)
    images = random.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    arrays = {"images": images, "labels": labels, "index": np.arange(count, dtype=np.int64)}
    return write(path, "dataset", arrays, name="random", classes=list(classes))


def ranking(path: Path, data: Store, norm: str, other: Store | None = None, **arrays: NDArray[Any]) -> Store:
    """By brute force: nearest neighbours with another label, in ``other`` if it is given."""
    against = data if other is None else other
    x, z = (store.column("images").read().reshape(len(store), -1).astype(np.int64) for store in (data, against))
    apart = np.square(x[:, None] - z).sum(axis=2) if norm == "l2" else np.abs(x[:, None] - z).max(axis=2)
    same = data.column("labels").read()[:, None] == against.column("labels").read()
    apart = np.where(same, np.iinfo(np.int64).max, apart)
    least = apart.min(axis=1)
    distance = (np.sqrt(least) if norm == "l2" else least.astype(np.float64)) / 255
    whole = {"distance": distance, "neighbour": apart.argmin(axis=1).astype(np.int64), **arrays}
    return write(
        path,
        "ranking",
        whole,
        norm=norm,
        labels="hard",
        dataset=data.digest,
        against=None if other is None else other.digest,
        duplicates="inf",
        k=1,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset ``d.zarr`` and its rankings ``d-l2.zarr`` and ``d-linf.zarr``."""
    folder = tmp_path_factory.mktemp("figure")
    data = dataset(folder / "d.zarr")
    for norm in ("l2", "linf"):
        ranking(folder / f"d-{norm}.zarr", data, norm)
    return folder


def refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("figure: error: ")
    for word in words:
        assert word in lines[0]


def test_sensitivity_prints_the_path_and_tells_all_values(command: Run, place: Path, tmp_path: Path) -> None:
    table, picture = tmp_path / "t.tsv", tmp_path / "a b.svg"
    done = command("figure", "sensitivity", place / "d-l2.zarr", place / "d-linf.zarr", "-o", picture, "--tsv", table)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{picture}\n", "")
    found = rows(table)
    assert len(found) == 60
    for norm in ("l2", "linf"):
        distance = artifacts.open_store(place / f"d-{norm}.zarr").column("distance").read()
        mine = [row for row in found if row["norm"] == norm]
        assert {row["set"] for row in mine} == {"d"}, "the norm at the end of a file's name is not part of the set's"
        assert [float(row["sensitivity"]) for row in mine] == sorted(1 / distance)
        assert [float(row["distance"]) for row in mine] == distance[[int(row["index"]) for row in mine]].tolist()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_panels(command: Run, place: Path, tmp_path: Path) -> None:
    sizes = []
    for options in ([], ["--absolute"], ["--relative"], ["--absolute", "--relative"]):
        picture = tmp_path / f"p{''.join(options)}.svg"
        assert command("figure", "sensitivity", place / "d-l2.zarr", "-o", picture, *options).returncode == 0
        sizes.append(picture.read_bytes())
    both, absolute, relative, named = sizes
    assert both == named
    assert len({both, absolute, relative}) == 3


def test_every_point_left_out_is_told(command: Run, place: Path, tmp_path: Path) -> None:
    data = artifacts.open_store(place / "d.zarr")
    distance = np.linspace(0.1, 3, 30)
    distance[[3, 4]] = 0
    distance[9] = np.nan
    ranking(tmp_path / "odd.zarr", data, "l2", distance=distance)
    out = ["-o", tmp_path / "p.svg", "--tsv", tmp_path / "t.tsv"]
    done = command("figure", "sensitivity", tmp_path / "odd.zarr", *out, "--without-least", 1)
    assert done.returncode == 0
    assert done.stderr == "figure: odd (l2) is drawn without 1 least robust, 1 at r = 0, 1 dropped\n"
    assert len(rows(tmp_path / "t.tsv")) == 27


def test_names(command: Run, place: Path, tmp_path: Path) -> None:
    two = [place / "d-l2.zarr", place / "d-l2.zarr"]
    out = ["-o", tmp_path / "p.svg", "--tsv", tmp_path / "t.tsv"]
    refused(command("figure", "sensitivity", *two, *out), 2, "two curves of the l2 panel are called 'd'")
    refused(command("figure", "sensitivity", *two, *out, "--name", "A"), 2, "2 rankings, but 1 names")
    assert command("figure", "sensitivity", *two, *out, "--name", "A", "--name", "$B_").returncode == 0
    assert {row["set"] for row in rows(tmp_path / "t.tsv")} == {"A", "$B_"}


def test_pairs_are_those_of_the_ranking(command: Run, place: Path, tmp_path: Path) -> None:
    for norm in ("l2", "linf"):
        picture, table = tmp_path / f"{norm}.png", tmp_path / f"{norm}.tsv"
        done = command("figure", "pairs", place / "d.zarr", place / f"d-{norm}.zarr", "-o", picture, "--tsv", table)
        assert (done.returncode, done.stdout) == (0, f"{picture}\n"), done.stderr
        rank = artifacts.open_store(place / f"d-{norm}.zarr")
        distance, neighbour = rank.column("distance").read(), rank.column("neighbour").read()
        labels = artifacts.open_store(place / "d.zarr").column("labels").read()
        found = rows(table)
        expected: list[int] = []  # two points that are nearest each other make one pair
        for point in np.argsort(distance, kind="stable").tolist():
            if not (neighbour[point] in expected and neighbour[neighbour[point]] == point):
                expected.append(point)
        assert [int(row["index"]) for row in found] == expected[:8]
        for row in found:
            point = int(row["index"])
            assert float(row["distance"]) == distance[point]
            assert int(row["neighbour"]) == neighbour[point]
            assert int(row["label"]) == labels[point]
            assert int(row["neighbour_label"]) == labels[neighbour[point]]
            assert row["class"] == ("cat", "dog", "$x$")[labels[point]]
            assert row["neighbour_class"] == ("cat", "dog", "$x$")[labels[neighbour[point]]]


def test_pairs_of_a_selection(command: Run, place: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    fixed = ["figure", "pairs", place / "d.zarr", place / "d-l2.zarr", "-o", tmp_path / "p.png", "--tsv", table]
    assert command(*fixed, "--select", f"{place / 'd-linf.zarr'}:most:3").returncode == 0
    distance = artifacts.open_store(place / "d-linf.zarr").column("distance").read()
    assert [int(row["index"]) for row in rows(table)] == np.argsort(-distance, kind="stable")[:3].tolist()
    assert command(*fixed, "--select", "-", "--overwrite", input="7\n5\n").returncode == 0
    assert [row["index"] for row in rows(table)] == ["7", "5"]
    refused(command(*fixed, "--select", "-", "--overwrite", input="30\n"), 1, "30")
    many = dataset(tmp_path / "m.zarr", 201)
    rank = ranking(tmp_path / "r.zarr", many, "linf")
    every = ["figure", "pairs", many.path, rank.path, "-o", tmp_path / "q.png", "--select", "first:201"]
    refused(command(*every), 2, "201 pairs cannot be shown on one picture: it has room for 200")


def test_pairs_against_another_set(command: Run, place: Path, tmp_path: Path) -> None:
    data = artifacts.open_store(place / "d.zarr")
    other = dataset(tmp_path / "o.zarr", 20, seed=1)
    rank = ranking(tmp_path / "r.zarr", data, "linf", other)
    table = tmp_path / "t.tsv"
    fixed = ["figure", "pairs", data.path, rank.path, "-o", tmp_path / "p.png", "--tsv", table]
    refused(command(*fixed), 2, "r.zarr", "name it with --against OTHER.zarr")
    refused(command(*fixed, "--against", data.path), 1, "r.zarr", "made against another dataset")
    assert command(*fixed, "--against", other.path).returncode == 0
    neighbour = rank.column("neighbour").read()
    assert [int(row["neighbour"]) for row in rows(table)] == neighbour[[int(r["index"]) for r in rows(table)]].tolist()
    own = ["figure", "pairs", data.path, place / "d-l2.zarr", "-o", tmp_path / "q.png", "--against", other.path]
    refused(command(*own), 2, "leave out --against")


def test_a_ranking_of_another_set_is_refused(command: Run, place: Path, tmp_path: Path) -> None:
    other = dataset(tmp_path / "o.zarr", seed=1)
    done = command("figure", "pairs", other.path, place / "d-l2.zarr", "-o", tmp_path / "p.png")
    refused(done, 1, "d-l2.zarr", "another dataset")


def test_wrong_rankings_are_refused(command: Run, place: Path, tmp_path: Path) -> None:
    data = artifacts.open_store(place / "d.zarr")
    good = artifacts.open_store(place / "d-l2.zarr").column("distance").read()
    cases: list[tuple[dict[str, NDArray[Any]], str]] = [
        ({"distance": good * 1.001}, "but the ranking says"),
        ({"neighbour": np.full(30, 30)}, "has only 30 points"),
        ({"neighbour": np.full(30, -1)}, "has neighbour -1"),
        ({"distance": np.full(30, np.inf)}, "no pair to show"),
    ]
    for number, (arrays, words) in enumerate(cases):
        rank = ranking(tmp_path / f"{number}.zarr", data, "l2", **arrays)
        refused(command("figure", "pairs", data.path, rank.path, "-o", tmp_path / "p.png"), 1, words)
    for value, words in ((np.inf, "has no neighbour with another label"), (np.nan, "was dropped")):
        odd = good.copy()
        odd[4] = value
        rank = ranking(tmp_path / f"{value}.zarr", data, "l2", distance=odd)
        fixed = ["figure", "pairs", data.path, rank.path, "-o", tmp_path / "p.png"]
        refused(command(*fixed, "--select", "-", input="4\n"), 1, f"point 4 {words}")
    assert command(*fixed).returncode == 0, "without a selection others are shown"


def test_features_and_other_kinds_are_refused(command: Run, place: Path, tmp_path: Path) -> None:
    labels = np.arange(30, dtype=np.int64) % 3
    features = {"features": np.zeros((30, 2), np.float32), "labels": labels, "index": np.arange(30, dtype=np.int64)}
    data = write(tmp_path / "f.zarr", "dataset", features, name="f", classes=[])
    attributes = {"norm": "l2", "labels": "hard", "dataset": data.digest, "against": None, "duplicates": "inf", "k": 1}
    arrays = {"distance": np.ones(30), "neighbour": np.zeros(30, np.int64)}
    rank = write(tmp_path / "r.zarr", "ranking", arrays, **attributes)
    done = command("figure", "pairs", data.path, rank.path, "-o", tmp_path / "p.png")
    refused(done, 1, "f.zarr holds features, not images")
    refused(command("figure", "sensitivity", place / "d.zarr", "-o", tmp_path / "p.png"), 1, "d.zarr", "dataset")
    refused(command("figure", "sensitivity", tmp_path / "none.zarr", "-o", tmp_path / "p.png"), 1, "does not exist")


def test_suffix_is_judged_before_any_work(command: Run, tmp_path: Path) -> None:
    done = command("figure", "sensitivity", tmp_path / "none.zarr", "-o", tmp_path / "p.png.gz")
    refused(done, 2, "ends in .png, .svg or .pdf, and this one in '.gz'")


def test_a_path_from_a_pipe(command: Run, place: Path, tmp_path: Path) -> None:
    fixed = ["-o", tmp_path / "p.png"]
    done = command("figure", "pairs", place / "d.zarr", "-", *fixed, input=f"{place / 'd-l2.zarr'}\n")
    assert done.returncode == 0, done.stderr
    done = command("figure", "sensitivity", "-", "-o", tmp_path / "q.png", input=f"{place / 'd-l2.zarr'}\n")
    assert done.returncode == 0, done.stderr
    refused(command("figure", "sensitivity", "-", *fixed, input=""), 2, "stdin")


def test_again_is_fine_and_nothing_else_is_replaced(command: Run, place: Path, tmp_path: Path) -> None:
    picture, table = tmp_path / "p.svg", tmp_path / "t.tsv"
    first = ["figure", "sensitivity", place / "d-l2.zarr", "-o", picture, "--tsv", table]
    assert command(*first).returncode == 0
    was = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (picture, table)}
    again = command(*first)
    assert (again.returncode, again.stdout) == (0, f"{picture}\n")
    second = ["figure", "sensitivity", place / "d-linf.zarr", "-o", picture, "--tsv", table]
    refused(command(*second), 1, "p.svg exists already", "--overwrite")
    moved = ["figure", "sensitivity", place / "d-linf.zarr", "-o", tmp_path / "new.svg", "--tsv", table]
    refused(command(*moved), 1, "t.tsv exists already")
    assert not (tmp_path / "new.svg").exists(), "both files or none"
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in was} == was
    assert command(*second, "--overwrite").returncode == 0
    assert picture.read_bytes() != was[picture][0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.svg", "t.tsv"]


def test_one_file_cannot_be_both(command: Run, place: Path, tmp_path: Path) -> None:
    both = tmp_path / "p.svg"
    refused(command("figure", "sensitivity", place / "d-l2.zarr", "-o", both, "--tsv", both), 2, "give two names")
    missing = tmp_path / "none" / "p.svg"
    refused(command("figure", "sensitivity", place / "d-l2.zarr", "-o", missing), 1, "none does not exist")


def test_help_is_complete(command: Run) -> None:
    shown = command("figure", "--help")
    assert "sensitivity" in shown.stdout
    example = "figure sensitivity c10-l2.zarr c10-linf.zarr -o figure2a.pdf"
    assert example in [line.strip() for line in shown.stdout.splitlines()]
    kinds = {"sensitivity": "Algorithm 1", "pairs": "--against", "difference": "--by", "labels": "--seed"}
    for kind, words in kinds.items():
        assert words in command("figure", kind, "--help").stdout
