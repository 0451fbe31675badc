"""Points in another representation: columns, batches that always begin alike, resuming, what is not finite."""

import numpy as np
import pytest
from tests.lib.stored import Interrupt, dataset, represent, stopping

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.errors import DataError, ExistsError
from datarobust.jobs.dataset import Features, Representation

RNG = np.random.default_rng(0)


def step(inputs):
    return Step("dataset", ("features",), "0", None, "here", inputs)


def make(path, rows=50, shape=(1, 2, 3)):
    soft = RNG.dirichlet(np.ones(3), rows).astype(np.float32)
    return dataset(path, rows, shape=shape, coarse=np.arange(rows) % 2, soft=soft)


def halves(points):
    return points.reshape(len(points), -1)[:, :4].astype(np.float32) / 2


def test_features_take_the_place_of_points(tmp_path):
    store, arrays = make(tmp_path / "a.zarr")
    representation = Representation(halves, 4, "net", "penultimate", 7)
    assert represent(store, representation, tmp_path / "f.zarr", step)
    made = artifacts.open_store(tmp_path / "f.zarr", "dataset")
    assert made.names() == ("coarse", "features", "index", "labels", "soft")
    for name in made.names():
        expected = halves(arrays["images"]) if name == "features" else arrays[name]
        np.testing.assert_array_equal(made.column(name).read(), expected)
    assert (made.attributes["name"], made.attributes["classes"]) == ("a", ["a", "b", "c"])
    assert [s.tool for s in made.history] == ["make", "dataset"]
    assert made.history[-1].inputs == {"dataset": store.digest, "model": "net"}
    again = Representation(lambda points: points[:, 1:] + np.float32(1), 3, "other", "x", 64)
    assert represent(made, again, tmp_path / "g.zarr", step, limit=9, name="short")
    short = artifacts.open_store(tmp_path / "g.zarr", "dataset")
    assert (len(short), short.attributes["name"]) == (9, "short")
    np.testing.assert_array_equal(short.column("features").read(), halves(arrays["images"])[:9, 1:] + 1)
    assert short.column("index").read().tolist() == list(range(100, 109))


def test_a_plan(tmp_path):
    store, _ = make(tmp_path / "a.zarr")
    plan = Features(store, Representation(halves, 4, "net", "x", 7, "cpu", 11), limit=20).plan()
    assert plan.pop("expected_seconds") >= 0
    assert plan == {
        "points": 20,
        "layer": "x",
        "features": 4,
        "bytes_to_read": 120,
        "bytes_to_write": 320,
        "operations": 220,
        "device": "cpu",
    }


def test_finished_work_is_not_redone(tmp_path):
    store, _ = make(tmp_path / "a.zarr")
    assert represent(store, Representation(halves, 4, "net", "x", 7), tmp_path / "f.zarr", step)
    assert not represent(store, Representation(halves, 4, "net", "x", 9, "elsewhere"), tmp_path / "f.zarr", step)
    for other in (Representation(halves, 4, "net", "y", 7), Representation(halves, 4, "new", "x", 7)):
        with pytest.raises(ExistsError):
            represent(store, other, tmp_path / "f.zarr", step)
    with pytest.raises(ExistsError):
        represent(store, Representation(halves, 4, "net", "x", 7), tmp_path / "f.zarr", step, limit=3)


def test_features_that_are_not_finite_are_named_by_row_and_index(tmp_path):
    store, _ = make(tmp_path / "a.zarr")

    def broken(points):
        values = halves(points)
        values[2 % len(points), 1] = np.inf
        return values

    with pytest.raises(DataError, match=r"what layer x gives for row 2 \(index 102\) is not finite"):
        represent(store, Representation(broken, 4, "net", "x", 7), tmp_path / "f.zarr", step)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_interrupted_work_goes_on_at_the_same_batches(tmp_path):
    """A block of features has 1,024 rows, a batch 300: after six batches the next begins at row 1,800."""
    store, arrays = make(tmp_path / "a.zarr", rows=2500, shape=(1, 1, 4))
    batches = []

    def wide(points):
        batches.append(points)
        return np.repeat(points.reshape(len(points), 4).astype(np.float32), 1000, axis=1)

    representation = Representation(wide, 4000, "net", "x", 300, "here")
    with pytest.raises(Interrupt):
        represent(store, representation, tmp_path / "f.zarr", step, progress=stopping(6))
    batches.clear()
    assert represent(store, representation, tmp_path / "f.zarr", step)
    np.testing.assert_array_equal(batches[0], arrays["images"][1800:2100])
    assert sum(map(len, batches)) == 700
    made = artifacts.open_store(tmp_path / "f.zarr", "dataset")
    np.testing.assert_array_equal(made.column("features").read(), wide(arrays["images"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "f.zarr"]
