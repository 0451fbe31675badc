"""``dataset fetch`` as a user runs it, without a network; tests/lib/datasets/test_datasets_fetch_releases has one."""

import hashlib
import json

from datarobust.datasets.fetch import RELEASES

from .failing import fails
from .made import dataset


def test_what_is_known(command):
    done = command("dataset", "fetch", "--list")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(RELEASES)
    assert {row[0]: int(row[1]) for row in rows}["cifar100"] == 168513733
    assert all(len(row) == 3 and row[2] for row in rows)
    found = json.loads(command("dataset", "fetch", "--list", "--json").stdout)["releases"]
    assert [each["name"] for each in found] == list(RELEASES)
    mnist = found[[each["name"] for each in found].index("mnist")]
    assert (mnist["splits"], mnist["folder"], len(mnist["files"])) == (["train", "test"], "mnist", 4)
    assert set(mnist["files"][0]) == {"name", "urls", "bytes", "sha256"}


def test_mistakes_are_one_sentence(command, tmp_path):
    output = ("-o", tmp_path / "d.zarr")
    fails(command("dataset", "fetch", "cifar-10", *output), "did you mean cifar10", code=2)
    fails(command("dataset", "fetch", "mnist"), "-o PATH", code=2)
    fails(command("dataset", "fetch", *output), "NAME", code=2)
    fails(command("dataset", "fetch", "--list", *output), "--list stands alone", code=2)
    fails(command("dataset", "fetch", "mnist", *output, "--json"), "--json belongs to --list", code=2)
    fails(command("dataset", "fetch", "mnist", *output, "--labels", "coarse"), "leave out --labels", code=2)
    fails(command("dataset", "fetch", "mnist", "-o", tmp_path / "no" / "d.zarr"), "does not exist")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_fetched_for_an_output_that_is_taken(command, tmp_path):
    digits = dataset(tmp_path / "digits.zarr")
    cache = tmp_path / "cache"
    fails(command("dataset", "fetch", "mnist", "-o", digits, "--cache", cache), "--overwrite")
    (tmp_path / "file").write_text("mine")
    fails(command("dataset", "fetch", "mnist", "-o", tmp_path / "file", "--cache", cache), "file")
    fails(command("dataset", "fetch", "mnist", "-o", tmp_path / "file", "--cache", cache, "--overwrite"), "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert not cache.exists()


def test_another_file_in_the_cache_is_told(command, tmp_path):
    (tmp_path / "mnist").mkdir()
    wrong = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    wrong.write_bytes(bytes(9912422))
    done = command("dataset", "fetch", "mnist", "-o", tmp_path / "d.zarr", "--cache", tmp_path)
    fails(done, f"{wrong} is not the published file", "9,912,422 bytes", "--cache")
    assert hashlib.sha256(wrong.read_bytes()).hexdigest() == hashlib.sha256(bytes(9912422)).hexdigest()
