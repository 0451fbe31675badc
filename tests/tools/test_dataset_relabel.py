"""The commands ``dataset relabel`` and ``dataset features``, as a user runs them."""

import hashlib
import json

import numpy as np
import pytest

from datarobust import artifacts

from .failing import fails

NETS = """
import torch
from torch import nn

print("code of mine")

class Net(nn.Module):
    def __init__(self, rows=(0, 4)):
        super().__init__()
        self.rows = rows
        self.head = nn.Linear(8, 10)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(10, 8))
            self.head.bias.zero_()
    def forward(self, x):
        print("it runs")
        return self.head(x[:, 0, self.rows[0]] + x[:, 0, self.rows[1]])

def small():
    return Net()
def broken():
    raise OSError("no weights")
class Hungry(nn.Flatten):
    def forward(self, x):
        if len(x) > 100:
            raise RuntimeError("CUDA error: out of memory")
        return super().forward(x)
def hungry():
    return Hungry()
def twenty():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20))
"""


@pytest.fixture(scope="module")
def folder(command, tmp_path_factory):
    """A folder with the digits and a file of networks."""
    folder = tmp_path_factory.mktemp("digits")
    assert command("dataset", "import", "digits", "-o", folder / "d.zarr").returncode == 0
    (folder / "nets.py").write_text(NETS)
    return folder


def columns(path):
    store = artifacts.open_store(path, "dataset")
    return {name: store.column(name).read() for name in store.names()}


def test_random_labels(command, folder, tmp_path):
    done = command("dataset", "relabel", folder / "d.zarr", "--random", "3", "-o", tmp_path / "r.zarr")
    assert done.stdout == f"{tmp_path / 'r.zarr'}\n", done.stderr
    assert "labels changed" in done.stderr
    before, after = columns(folder / "d.zarr"), columns(tmp_path / "r.zarr")
    assert 0.85 < (before["labels"] != after["labels"]).mean() < 0.95
    np.testing.assert_array_equal(before["images"], after["images"])
    made = artifacts.open_store(tmp_path / "r.zarr")
    assert made.history[-1].seed == 3
    assert len(made.attributes["classes"]) == 10
    again = command("dataset", "relabel", folder / "d.zarr", "--random", "3", "-o", tmp_path / "r.zarr")
    assert "finished before" in again.stderr
    part = command(
        "dataset", "relabel", folder / "d.zarr", "--random", "3", "--fraction", "0.1", "-o", tmp_path / "p.zarr", "-q"
    )
    assert (part.returncode, part.stderr) == (0, "")
    assert 0.05 < (before["labels"] != columns(tmp_path / "p.zarr")["labels"]).mean() < 0.13


def test_random_labels_raise_sensitivity(command, folder, tmp_path):
    """As the paper expects of them (Section 3)."""
    command("dataset", "relabel", folder / "d.zarr", "--random", "0", "-o", tmp_path / "r.zarr", "-q")
    means = []
    for path in (folder / "d.zarr", tmp_path / "r.zarr"):
        rows = command("sens-rank", path, "-q").stdout.splitlines()
        means.append(np.mean([1 / float(row.split("\t")[1]) for row in rows]))
    assert means[1] > 1.2 * means[0]


def test_labels_of_a_file(command, folder, tmp_path):
    lines = "".join(f"{row % 7}\n" for row in range(1797))
    (tmp_path / "l.txt").write_text(lines)
    done = command("dataset", "relabel", folder / "d.zarr", "--labels", tmp_path / "l.txt", "-o", tmp_path / "r.zarr")
    assert done.returncode == 0, done.stderr
    made = artifacts.open_store(tmp_path / "r.zarr")
    assert made.column("labels").read().tolist() == [row % 7 for row in range(1797)]
    assert made.history[-1].inputs["labels"] == hashlib.sha256(lines.encode()).hexdigest()


def test_label_vectors_are_left_out(command, tmp_path):
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 9).astype(np.float32)
    np.savez(tmp_path / "s.npz", x=np.arange(36, dtype=np.uint8).reshape(9, 2, 2), y=soft)
    command("dataset", "import", tmp_path / "s.npz", "-o", tmp_path / "s.zarr", "-q")
    assert "soft" in columns(tmp_path / "s.zarr")
    done = command("dataset", "relabel", tmp_path / "s.zarr", "--random", "0", "-o", tmp_path / "r.zarr")
    assert "label vectors (soft) are left out" in done.stderr
    assert set(columns(tmp_path / "r.zarr")) == {"images", "index", "labels"}


def test_labels_of_a_classifier(command, folder, tmp_path):
    words = ["relabel", "d.zarr", "--model", "nets:small", "--device", "cpu", "-o", tmp_path / "r.zarr"]
    done = command("dataset", *words, cwd=folder)
    assert done.stdout == f"{tmp_path / 'r.zarr'}\n", done.stderr
    assert "code of mine" in done.stderr
    assert "it runs" in done.stderr
    images = columns(folder / "d.zarr")["images"].astype(np.float32) / 255
    expected = (images[:, 0, 0] + images[:, 0, 4]).argmax(axis=1)
    assert columns(tmp_path / "r.zarr")["labels"].tolist() == expected.tolist()
    made = artifacts.open_store(tmp_path / "r.zarr")
    assert len(made.attributes["classes"]) == 10
    assert "torch" in made.history[-1].device


def test_features_can_be_ranked(command, folder, tmp_path):
    words = ["features", "d.zarr", "--model", "./nets.py:small", "--device", "cpu", "-o", tmp_path / "f.zarr"]
    done = command("dataset", *words, cwd=folder)
    assert done.stdout == f"{tmp_path / 'f.zarr'}\n", done.stderr
    assert "8 features per point" in done.stderr
    before, after = columns(folder / "d.zarr"), columns(tmp_path / "f.zarr")
    images = before["images"].astype(np.float32) / 255
    np.testing.assert_allclose(after["features"], images[:, 0, 0] + images[:, 0, 4], rtol=1e-6)
    for name in ("labels", "index"):
        np.testing.assert_array_equal(before[name], after[name])
    ranked = command("sens-rank", tmp_path / "f.zarr", "-q")
    assert len(ranked.stdout.splitlines()) == 1797, ranked.stderr
    plan = command("dataset", *words, "--dry-run", cwd=folder)
    assert json.loads(plan.stdout)["bytes_to_write"] == 4 * 8 * 1797
    more = ["--layer", "output", "--limit", "5", "--model", "nets:twenty"]
    short = command("dataset", *words[:-1], tmp_path / "g.zarr", *more, cwd=folder)
    assert short.returncode == 0, short.stderr
    assert columns(tmp_path / "g.zarr")["features"].shape == (5, 20)


def test_where_memory_runs_out_fewer_points_are_taken_at_a_time(command, folder, tmp_path):
    words = ["features", "d.zarr", "--model", "nets:hungry", "--layer", "output", "--device", "cpu", "--limit", 600]
    done = command("dataset", *words, "-o", tmp_path / "f.zarr", cwd=folder)
    assert done.returncode == 0, done.stderr
    images = columns(folder / "d.zarr")["images"][:600].astype(np.float32) / 255
    np.testing.assert_array_equal(columns(tmp_path / "f.zarr")["features"], images.reshape(600, -1))


@pytest.mark.parametrize("name", ["features", "relabel"])
def test_two_processes_have_the_bits_of_one(command, pair, folder, tmp_path, name):
    words = [name, "d.zarr", "--model", f"nets:{'twenty' if name == 'features' else 'small'}", "--device", "cpu"]
    words += ["--batch", 100]
    done = [run("dataset", *words, "-o", tmp_path / to, cwd=folder) for run, to in ((command, "one"), (pair, "two"))]
    assert done[1].returncode == 0, done[1].stderr
    assert done[1].stdout == f"{tmp_path / 'two'}\n"
    one, two = columns(tmp_path / "one"), columns(tmp_path / "two")
    assert one.keys() == two.keys()
    for column in one:
        np.testing.assert_array_equal(one[column], two[column])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    if name == "relabel":  # the network is made in one place for both
        return
    broken = pair("dataset", *words, "--model", "nets:broken", "-o", tmp_path / "three", cwd=folder)
    assert "OSError (no weights)" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_mistakes_are_one_sentence(command, folder, tmp_path):
    d, o = folder / "d.zarr", tmp_path / "o.zarr"
    (tmp_path / "l.txt").write_text("0\n" * 1796 + "10\n")
    fails(command("dataset", "relabel", d, "-o", o), "one of --labels", code=2)
    fails(command("dataset", "relabel", d, "--random", "0", "--coarse", "-o", o), "one of --labels", code=2)
    fails(command("dataset", "relabel", d, "--coarse", "--fraction", "1", "-o", o), "goes with --random", code=2)
    fails(command("dataset", "relabel", d, "--labels", tmp_path / "l.txt", "-o", o), "l.txt, line 1797 is 10")
    fails(command("dataset", "relabel", d, "--model", "x.safetensors", "-o", o), "x.safetensors does not exist")
    fails(command("dataset", "features", d, "--model", "nets:broken", "-o", o, cwd=folder), "OSError (no weights)")
    fails(command("dataset", "relabel", d, "--model", "torch.nn:ReLU", "-o", o), "a classifier gives one row")
    assert [p.name for p in tmp_path.iterdir()] == ["l.txt"]
