"""The command ``dataset duplicates``, as a user runs it."""

import json

import numpy as np
import pytest
from tests.lib import stored

from datarobust import artifacts

from .failing import fails

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Images of which 1 and 7 are equal, 3 and 4 have other labels, 9 is also in the other set; 5 is near 6."""
    folder = tmp_path_factory.mktemp("sets")
    x = RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8)
    y = np.arange(40) % 4
    x[7], x[4], x[6] = x[1], x[3], x[5]
    x[6, 0, 0] ^= 1
    y[7] = y[1]
    others = np.stack([x[9], x[9], 255 - x[8]])
    for name, images, labels in (("a", x, y), ("b", others, np.array([1, 3, 0]))):
        columns = {"images": images[:, None], "labels": labels, "index": np.arange(len(labels))}
        stored.dataset(folder / f"{name}.zarr", classes=(), **columns)
    return folder


def test_equal_points(command, sets):
    done = command("dataset", "duplicates", sets / "a.zarr")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0\tsame\t1\t1\t1",
        "0\tsame\t7\t1\t7",
        "1\tdifferent\t3\t3\t3",
        "1\tdifferent\t4\t0\t4",
    ]
    assert done.stderr == "dataset: 2 groups of equal points, 1 with different labels, 2 points at distance 0\n"
    quiet = command("dataset", "duplicates", sets / "a.zarr", "--json", "-q")
    assert quiet.stderr == ""
    assert [json.loads(line) for line in quiet.stdout.splitlines()] == [
        {"group": 0, "kind": "same", "rows": [1, 7], "labels": [1, 1], "index": [1, 7]},
        {"group": 1, "kind": "different", "rows": [3, 4], "labels": [3, 0], "index": [3, 4]},
    ]
    limited = command("dataset", "duplicates", sets / "a.zarr", "--limit", "5", "-q")
    assert [line.split("\t")[2] for line in limited.stdout.splitlines()] == ["3", "4"]


def test_sens_rank_agrees_on_distance_0(command, sets):
    ranked = command("sens-rank", sets / "a.zarr", "-q")
    assert [line.split("\t")[0] for line in ranked.stdout.splitlines() if line.split("\t")[1] == "0.0"] == ["3", "4"]


def test_points_of_another_set(command, sets):
    done = command("dataset", "duplicates", sets / "a.zarr", "--against", sets / "b.zarr")
    assert done.stdout.splitlines() == [
        "0\tdifferent\t9\t1\t9\t0",
        "0\tdifferent\t0\t1\t0\t1",
        "0\tdifferent\t1\t3\t1\t1",
    ]
    assert "1 groups of equal points, 1 with different labels, 1 points at distance 0" in done.stderr
    lines = command("dataset", "duplicates", sets / "b.zarr", "--against", sets / "a.zarr", "--json", "-q").stdout
    assert json.loads(lines)["sets"] == [0, 0, 1]
    drop = command("dataset", "duplicates", sets / "b.zarr", "--against", sets / "a.zarr", "--drop", "-q").stdout
    assert drop == "0\n1\n"


def test_nearest_pairs(command, sets):
    done = command("dataset", "duplicates", sets / "a.zarr", "--near", "3")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [["1", "7"], ["3", "4"], ["5", "6"]]
    assert [float(row[2]) for row in rows] == [0.0, 0.0, 1 / 255]
    assert [row[3:] for row in rows] == [["1", "1", "1", "7"], ["3", "0", "3", "4"], ["1", "2", "5", "6"]]
    assert "3 pairs at distances from 0 to 0.00392157" in done.stderr
    within = ["--against", sets / "b.zarr", "--within", "1/255", "--norm", "linf", "--json", "-q"]
    lines = command("dataset", "duplicates", sets / "a.zarr", *within).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"rows": [9, 0], "distance": 0.0, "labels": [1, 1], "index": [9, 0]},
        {"rows": [9, 1], "distance": 0.0, "labels": [1, 3], "index": [9, 1]},
    ]


def test_what_is_dropped_makes_a_set_without(command, sets, tmp_path):
    assert command("dataset", "duplicates", sets / "a.zarr", "--drop", "-q").stdout == "4\n7\n"
    near = ["--within", "1/255"]
    lines = command("dataset", "duplicates", sets / "a.zarr", "--drop", "-q", *near).stdout
    assert lines == "4\n6\n7\n"
    output = tmp_path / "rest.zarr"
    made = command("dataset", "subset", sets / "a.zarr", "--exclude", "-", "-o", output, input=lines)
    assert made.returncode == 0, made.stderr
    assert len(artifacts.open_store(output)) == 37
    again = command("dataset", "duplicates", output, *near)
    assert (again.returncode, again.stdout) == (0, "")
    assert "there is no such pair" in again.stderr


def test_mistakes_are_one_sentence(command, sets):
    a = sets / "a.zarr"
    fails(command("dataset", "duplicates", a, "--near", "1", "--within", "1"), "--near or --within", code=2)
    fails(command("dataset", "duplicates", a, "--within", "close"), "8/255", code=2)
    fails(command("dataset", "duplicates", a, "--labels", "coarse", "--near", "1"), "no coarse labels", code=2)


def test_the_pairs_of_cifar10(command, shared, tmp_path):
    """Its nearest training images are 32/255 apart in l-infinity, and of one class: these two, also among fewer."""
    with np.load(shared / "data" / "cifar10_train.npz") as arrays:
        rows = [*range(4000, 6000), *range(33000, 35000)]
        np.savez(tmp_path / "c.npz", x=arrays["x"][rows], y=arrays["y"][rows])
    path = tmp_path / "c.zarr"
    command("dataset", "import", tmp_path / "c.npz", "-o", path, "-q")
    assert command("dataset", "duplicates", path, "-q").stdout == ""
    near = command("dataset", "duplicates", path, "--near", "1", "--norm", "linf", "-q").stdout
    assert near.split() == ["103", "3936", repr(32 / 255), "4", "4", "103", "3936"]
