"""The command ``dataset``, as a user runs it."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from datarobust import artifacts

from .failing import fails
from .made import tree

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits(command, tmp_path_factory):
    """The digits, imported once; and what the command printed."""
    path = tmp_path_factory.mktemp("digits") / "digits.zarr"
    done = command("dataset", "import", "digits", "-o", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}\n"
    return path


def test_a_finished_import_prints_its_path_again(command, digits):
    before = {p: p.stat().st_mtime_ns for p in digits.rglob("*")}
    done = command("dataset", "import", "digits", "-o", digits)
    assert (done.returncode, done.stdout) == (0, f"{digits}\n")
    assert "finished before" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in digits.rglob("*")} == before
    quiet = command("dataset", "import", "digits", "-o", digits, "-q")
    assert (quiet.stdout, quiet.stderr) == (f"{digits}\n", "")
    fails(command("dataset", "import", "digits", "-o", digits, "--limit", "5"), "--overwrite")


def test_info(command, digits):
    done = command("dataset", "info", digits)
    assert done.returncode == 0, done.stderr
    assert "1,797" in done.stdout
    assert "1 x 8 x 8 uint8" in done.stdout
    found = json.loads(command("dataset", "info", digits, "--json").stdout)
    assert (found["points"], found["kind"], len(found["classes"])) == (1797, "images", 10)
    assert sum(entry["count"] for entry in found["classes"]) == 1797
    assert found["history"][0]["argv"][:2] == ["import", "digits"]
    piped = command("dataset", "info", "-", input=f"{digits}\n")
    assert piped.stdout == done.stdout


def test_subsets(command, digits, tmp_path):
    done = command("dataset", "subset", digits, "--select", "first:5", "-o", tmp_path / "a.zarr")
    assert done.stdout == f"{tmp_path / 'a.zarr'}\n", done.stderr
    lines = "".join(f"{i}\n" for i in (9, 3, 7))
    done = command("dataset", "subset", digits, "--select", "-", "-o", tmp_path / "b.zarr", input=lines)
    assert done.returncode == 0, done.stderr
    b = artifacts.open_store(tmp_path / "b.zarr", "dataset")
    assert b.column("index").read().tolist() == [9, 3, 7]
    assert b.history[-1].inputs["selection"] == hashlib.sha256(lines.encode()).hexdigest()
    assert [s.tool for s in b.history] == ["dataset", "dataset"]
    done = command("dataset", "subset", digits, "--exclude", "random:1790:3", "-o", tmp_path / "c.zarr")
    assert done.returncode == 0, done.stderr
    c = artifacts.open_store(tmp_path / "c.zarr", "dataset")
    assert len(c) == 7
    assert c.history[-1].seed == 3
    twice = command("dataset", "subset", digits, "--exclude", "!first:5", "-o", tmp_path / "d.zarr")
    assert twice.returncode == 0, twice.stderr
    digest = artifacts.open_store(tmp_path / "d.zarr").digest
    assert digest == artifacts.open_store(tmp_path / "a.zarr").digest


def test_ties_at_the_cut_are_told(command, digits, tmp_path):
    store = artifacts.open_store(digits)
    attributes = {
        "norm": "linf",
        "labels": "hard",
        "dataset": store.digest,
        "against": None,
        "duplicates": "inf",
        "k": 1,
    }
    with artifacts.create(
        tmp_path / "r.zarr",
        "ranking",
        {"distance": ("float64", ()), "neighbour": ("int64", ())},
        attributes=attributes,
        history=store.history,
    ) as writer:
        writer.append("distance", np.arange(1797) % 3 / 255)
        writer.append("neighbour", np.zeros(1797, np.int64))
    done = command("dataset", "subset", digits, "--select", f"{tmp_path}/r.zarr:least:10", "-o", tmp_path / "s.zarr")
    assert done.returncode == 0, done.stderr
    assert "599 points tie at the cut-off: the 10 with the lowest index were selected, 589 were not" in done.stderr
    found = artifacts.open_store(tmp_path / "s.zarr")
    assert found.column("index").read().tolist() == list(range(0, 30, 3))
    assert found.history[-1].inputs["selection"] == artifacts.open_store(tmp_path / "r.zarr").digest
    small = command(
        "dataset", "subset", tmp_path / "s.zarr", "--select", f"{tmp_path}/r.zarr:least:2", "-o", tmp_path / "t"
    )
    fails(small, "r.zarr", "another dataset")


def test_merge(command, digits, tmp_path):
    done = command("dataset", "merge", digits, digits, "-o", tmp_path / "m.zarr", "--name", "both")
    assert done.stdout == f"{tmp_path / 'm.zarr'}\n", done.stderr
    merged = artifacts.open_store(tmp_path / "m.zarr", "dataset")
    assert merged.attributes["name"] == "both"
    assert np.bincount(merged.column("source").read()).tolist() == [1797, 1797]


def test_mistakes_are_one_sentence(command, digits, tmp_path):
    output = tmp_path / "o.zarr"
    np.savez(tmp_path / "bad.npz", x=np.full((3, 2, 2), np.nan), y=np.arange(3))
    fails(command("dataset", "import", tmp_path / "bad.npz", "-o", output), "bad.npz: x[0, 0, 0] = nan")
    fails(command("dataset", "import", "digits", "-o", output, "--keys", "x"), "two names", code=2)
    fails(command("dataset", "import", "digits", "-o", tmp_path / "no" / "o.zarr"), "does not exist")
    fails(command("dataset", "info", tmp_path / "nowhere"), "nowhere")
    fails(command("dataset", "subset", digits, "-o", output), "--select or --exclude", code=2)
    fails(
        command("dataset", "subset", digits, "--select", "first:2", "--exclude", "-", "-o", output), "--select", code=2
    )
    fails(command("dataset", "subset", digits, "--select", "-", "-o", output, input="5\n1797\n"), "line 2", "0..1796")
    fails(command("dataset", "merge", digits, "-o", output), "two datasets", code=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.npz"]


def test_odd_paths(command, tmp_path):
    np.savez(tmp_path / "-ü set:1.npz", x=np.zeros((3, 4)), y=np.arange(3))
    done = command("dataset", "import", "./-ü set:1.npz", "-o", "-o ut:ä.zarr", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "-o ut:ä.zarr\n"), done.stderr
    assert artifacts.open_store(tmp_path / "-o ut:ä.zarr").attributes["name"] == "-ü set:1"


def test_killed_imports_go_on_with_the_same_bits(command, scripts, tmp_path):
    """A shuffled one, as it has more to leave; test_jobs_dataset_importing interrupts all."""
    images = RNG.integers(0, 256, (5_000, 32, 32, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "big.npz", x=images, y=RNG.integers(0, 10, len(images)))
    for place in ("straight", "killed"):
        (tmp_path / place).mkdir()
    words = ["import", "../big.npz", "-o", "d.zarr", "--shuffle", "3"]
    started = time.monotonic()
    subprocess.run([scripts / "dataset", *words], cwd=tmp_path / "straight", check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - started
    dice, kills = random.Random(5), 0
    for _ in range(12):
        process = subprocess.Popen(
            [scripts / "dataset", *words], cwd=tmp_path / "killed", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(whole * dice.uniform(0.2, 1.0))
        process.send_signal(signal.SIGKILL)
        stdout, _ = process.communicate()
        kills += process.returncode == -signal.SIGKILL
        assert (tmp_path / "killed" / "d.zarr").exists() or not stdout
        if process.returncode == 0:  # the machine was quicker than at first: kill earlier, and begin again
            shutil.rmtree(tmp_path / "killed" / "d.zarr")
            whole *= 0.7
        if kills == 3:
            break
    assert kills
    done = command("dataset", *words, cwd=tmp_path / "killed")
    assert done.stdout == "d.zarr\n", done.stderr
    assert tree(tmp_path / "killed" / "d.zarr") == tree(tmp_path / "straight" / "d.zarr")
    assert [p.name for p in (tmp_path / "killed").iterdir()] == ["d.zarr"]
