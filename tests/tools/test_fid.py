"""The command ``fid``, as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts import Step

from . import made
from .failing import documented, fails

Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--features", "pixels", "--threads", 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of 12 images and two clones of each of 5 of them."""
    folder = tmp_path_factory.mktemp("fid")
    made.dataset(folder / "d.zarr")
    dataset = artifacts.open_store(folder / "d.zarr")
    rows = np.array([7, 2, 11, 0, 5])
    images = dataset.column("images").take(rows)
    columns: dict[str, Any] = {"images": ("uint8", (2, 1, 8, 8)), "labels": ("int64", ()), "index": ("int64", ())}
    step = Step("clone", (), "0.1.0", 0, "cpu", {"dataset": dataset.digest})
    attributes = {"dataset": dataset.digest, "model": "1" * 64, "sampler": {}}
    with artifacts.create(
        folder / "k.zarr", "clones", columns, attributes=attributes, history=[*dataset.history, step]
    ) as writer:
        writer.append("images", np.stack([images, images // 2], 1))
        writer.append("labels", rows % 3)
        writer.append("index", rows)
    return folder


def test_clones_and_moments(command: Run, place: Path) -> None:
    done = command("fid", "d.zarr", "k.zarr", *QUICK, cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    assert (told["a"], told["b"], told["n"], told["paired"]) == ("d.zarr", "k.zarr", {"a": 5, "b": 10}, True)
    assert told["frechet"] > 0
    assert told["fid"] is None
    assert set(told) == documented("fid")
    assert told["oc"]["pairs"] == 10
    assert told["oc"]["l2"] == pytest.approx(told["cc"]["l2"] / 2, rel=1e-12), "every second clone is its image"
    assert "A is restricted to the 5 points" in done.stderr
    assert "biased upwards" in done.stderr

    saved = command("fid", "d.zarr", *QUICK, "--save-moments", "m.zarr", cwd=place)
    assert (saved.returncode, saved.stdout) == (0, "m.zarr\n"), saved.stderr
    before = (place / "m.zarr" / "zarr.json").stat().st_mtime_ns
    assert command("fid", "d.zarr", *QUICK, "--save-moments", "m.zarr", cwd=place).stdout == "m.zarr\n"
    assert (place / "m.zarr" / "zarr.json").stat().st_mtime_ns == before
    piped = command("fid", "-", "k.zarr", *QUICK, cwd=place, input="m.zarr\n")
    whole = command("fid", "d.zarr", "k.zarr", *QUICK, "--whole", "-q", cwd=place)
    assert whole.stderr == ""
    first, second = json.loads(piped.stdout), json.loads(whole.stdout)
    assert first["frechet"] == pytest.approx(second["frechet"], rel=1e-9)
    assert (first["kid"], second["oc"]) == (None, None)
    assert second["kid"]["points"] == 10
    none = command("fid", "m.zarr", "m.zarr", cwd=place)
    assert json.loads(none.stdout)["frechet"] == 0.0
    fails(command("fid", "m.zarr", "k.zarr", "--features", f"file:{place}/f.npz", cwd=place), "f.npz is not a file")


def test_a_line_in_a_file(command: Run, place: Path) -> None:
    words = ("fid", "d.zarr", "k.zarr", *QUICK, "-o", "line.json")
    done = command(*words, cwd=place)
    assert done.returncode == 0, done.stderr
    assert (place / "line.json").read_text() == done.stdout
    assert not list(place.glob(".line*"))
    again = command(*words, cwd=place)
    assert again.stdout == done.stdout
    assert "nothing to do" in again.stderr
    fails(command(*words, "--seed", 1, cwd=place), "line.json", "--overwrite")
    other = command(*words, "--seed", 1, "--overwrite", cwd=place)
    assert json.loads(other.stdout)["seed"] == 1
    assert (place / "line.json").read_text() == other.stdout


def test_a_classifier_a_limit_and_what_it_would_take(command: Run, place: Path) -> None:
    (place / "net.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    print('talk')\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4), torch.nn.Linear(4, 3))\n"
    )
    words = ["d.zarr", "k.zarr", "--features", "classifier:net.py:make", "--threads", 1, "--limit", 4]
    told = json.loads(command("fid", *words, "--extrapolate", "--kid", 0, cwd=place).stdout)
    assert (told["n"], told["dimensions"], told["kid"]) == ({"a": 4, "b": 8}, 4, None)
    assert told["features"] == f"classifier:{told['weights']}"
    assert told["extrapolated"] is not None
    plan = json.loads(command("fid", *words, "--dry-run", cwd=place).stdout)
    assert (plan["n"], plan["dimensions"], plan["bytes"]) == ({"a": 4, "b": 8}, 4, 768)
    assert plan["operations"] == 12 * 2 * (64 * 4 + 4 * 3)
    assert plan["expected_seconds"] >= 0


def test_what_a_terminal_shows(terminal: Run, place: Path) -> None:
    shown = terminal("fid", "d.zarr", "k.zarr", *QUICK, cwd=place).stdout.splitlines()
    assert shown[0].startswith("Fréchet distance (pixels) ")
    assert shown[0].endswith(": A d.zarr (5 images), B k.zarr (10 images)")
    assert "noise floor" in shown[1]
    assert shown[2].startswith("mean distance in pixels: image and clone l2 ")
    assert len(shown) == 3


def test_two_processes_have_the_bits_of_one(command: Run, pair: Run, place: Path) -> None:
    shutil.copy(place / "net.py", place / "three.py")
    words = ["../d.zarr", "../k.zarr", "--features", "classifier:../three.py:make", "--threads", 1, "--batch", 2]
    words += ["--extrapolate", "--save-moments", "m.zarr", "-o", "line.json"]
    runs = ((command, place / "one"), (pair, place / "two"))
    for _, folder in runs:
        folder.mkdir()
    for turn in ("new", "known moments"):
        done = [run("fid", *words, cwd=folder) for run, folder in runs]
        assert [one.returncode for one in done] == [0, 0], done[1].stderr
        assert done[0].stdout == done[1].stdout, f"{turn}: one process prints"
        for _, folder in runs:
            assert {entry.name for entry in folder.iterdir()} == {"line.json", "m.zarr"}
        if turn == "new":
            again = pair("fid", *words, cwd=place / "two")
            assert (again.returncode, again.stdout) == (0, done[0].stdout), again.stderr
        for _, folder in runs:
            (folder / "line.json").unlink()
    words = ["fid", "d.zarr", "k.zarr", *QUICK]
    assert pair(*words, cwd=place).stdout == command(*words, cwd=place).stdout != ""
    one, two = (artifacts.open_store(folder / "m.zarr") for _, folder in runs)
    assert np.array_equal(one.column("covariance").read(), two.column("covariance").read())


def test_mistakes_are_one_sentence(command: Run, place: Path) -> None:
    (place / "w.pth").write_bytes(b"<!DOCTYPE html>")
    (place / "v.pth").write_bytes(b"x" * 5000)
    for words, says, code in (
        (("d.zarr", "k.zarr"), ("--weights", "pt_inception-2015-12-05-6726825d.pth", "sha256 6726825d"), 2),
        (("d.zarr", "k.zarr", "--weights", "w.pth"), ("w.pth is a web page",), 1),
        (("d.zarr", "k.zarr", "--weights", "v.pth"), ("v.pth is cut short or another file, with 5,000 bytes",), 1),
        (("d.zarr",), ("--save-moments",), 2),
        (("d.zarr", "--save-moments", "n.zarr", "-o", "l.json", *QUICK), ("-o",), 2),
        (("d.zarr", "k.zarr", "--overwrite", *QUICK), ("--save-moments",), 2),
        (("d.zarr", "none.zarr", *QUICK), ("none.zarr does not exist",), 1),
        (("d.zarr", "k.zarr", "--features", "dino"), ("choose inception",), 2),
    ):
        fails(command("fid", *words, cwd=place), *says, code=code)
