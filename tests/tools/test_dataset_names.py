"""What commands say of points that have names: their row, their name and their class."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from datarobust.text import shown

Command = Callable[..., CompletedProcess[str]]

FILES = {"cat/1.png": 10, "cat/2.png": 14, "dog/\x1b[1m\t.png": 10, "dog/4.png": 90}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    folder = tmp_path_factory.mktemp("names")
    for name, level in FILES.items():
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(folder / "set" / name)
    assert command("dataset", "import", folder / "set", "-o", folder / "d.zarr").returncode == 0
    return folder / "d.zarr"


def fields(done: CompletedProcess[str]) -> list[list[str]]:
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_a_ranking(data: Path, command: Command) -> None:
    called = sorted(FILES)
    classes = ["cat", "cat", "dog", "dog"]
    lines = fields(command("sens-rank", data, "--norm", "linf", "-k", "2"))
    assert len(lines) == 4
    for line in lines:
        assert len(line) == 8 + 6  # the columns of every ranking, then names and classes
        rows = [int(line[place]) for place in (0, 2, 6)]
        assert line[8:] == [word for row in rows for word in (shown(called[row]), classes[row])]
    points = [json.loads(line) for line in command("sens-rank", data, "--norm", "linf", "--json").stdout.splitlines()]
    for point in points:
        assert (point["name"], point["class"]) == (called[point["index"]], classes[point["index"]])
        neighbour = point["neighbour"]
        assert (point["neighbour_name"], point["neighbour_class"]) == (called[neighbour], classes[neighbour])


def test_a_ranking_as_a_table(data: Path, command: Command, tmp_path: Path) -> None:
    called = sorted(FILES)
    assert command("sens-rank", data, "-o", tmp_path / "r.csv").returncode == 0
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        assert (row["name"], row["neighbour_name"]) == (called[int(row["index"])], called[int(row["neighbour"])])


def test_duplicates(data: Path, command: Command) -> None:
    called = [shown(name) for name in sorted(FILES)]
    assert fields(command("dataset", "duplicates", data)) == [
        ["0", "different", "0", "0", "0", called[0], "cat"],
        ["0", "different", "2", "1", "2", called[2], "dog"],
    ]
    [pair] = fields(command("dataset", "duplicates", data, "--near", "1"))
    assert pair == ["0", "2", "0.0", "0", "1", "0", "2", called[0], called[2], "cat", "dog"]
    group = json.loads(command("dataset", "duplicates", data, "--json").stdout)
    assert (group["names"], group["classes"]) == ([sorted(FILES)[0], sorted(FILES)[2]], ["cat", "dog"])
    assert fields(command("dataset", "duplicates", data, "--drop")) == [["2"]]


def test_pictures_and_their_tables(data: Path, command: Command, tmp_path: Path) -> None:
    called = [shown(" ".join(name.split())) for name in sorted(FILES)]
    ranking, table = tmp_path / "r.zarr", tmp_path / "pairs.tsv"
    assert command("sens-rank", data, "-o", ranking).returncode == 0
    done = command("figure", "pairs", data, ranking, "-o", tmp_path / "pairs.svg", "--tsv", table)
    assert done.returncode == 0, done.stderr
    header, *lines = [line.split("\t") for line in table.read_text().splitlines()]
    assert header[-2:] == ["name", "neighbour_name"]
    assert lines
    for line in lines:
        assert line[-2:] == [called[int(line[0])], called[int(line[2])]]
    assert "\x1b" not in table.read_text()
    words = (tmp_path / "pairs.svg").read_text()
    assert "4.png" in words
