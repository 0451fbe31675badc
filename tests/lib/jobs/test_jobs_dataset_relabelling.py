"""Other labels: from files, chance, super-classes and classifiers; columns, names, resuming."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lib.stored import Interrupt, dataset, relabel, stopping

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.errors import DataError, ExistsError, UsageError
from datarobust.jobs import dataset as jobs
from datarobust.jobs.dataset import (
    Representation,
    coarse_labels,
    labels_from_file,
    predicted_labels,
    random_labels,
)
from datarobust.randomness import Domain, row_keys

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")


def step(inputs):
    return Step("dataset", ("relabel",), "0", None, None, inputs)


def labels_of(path):
    return artifacts.open_store(path, "dataset").column("labels").read()


def brightest(points):
    """A classifier: the mean of each column of pixels."""
    return points.reshape(len(points), -1, 3).mean(axis=1).astype(np.float32)


def classifier(extract=brightest, batch=4, **more):
    return Representation(extract, 3, "net", "output", batch, **more)


def test_labels_of_a_file(tmp_path):
    soft = RNG.dirichlet(np.ones(3), 20).astype(np.float32)
    store, arrays = dataset(tmp_path / "a.zarr", soft=soft, coarse=np.arange(20) % 2, source=np.arange(20) // 10)
    wanted = (arrays["labels"] + np.arange(20) % 2) % 3
    (tmp_path / "l").write_text("".join(f"{label}\n" for label in wanted))
    assert relabel(store, labels_from_file(store, tmp_path / "l"), tmp_path / "r.zarr", step, name="new") == 10
    made = artifacts.open_store(tmp_path / "r.zarr", "dataset")
    assert made.names() == ("coarse", "images", "index", "labels", "source")
    for name in made.names():
        np.testing.assert_array_equal(made.column(name).read(), wanted if name == "labels" else arrays[name])
    assert (made.attributes["name"], made.attributes["classes"]) == ("new", ["a", "b", "c"])
    assert [s.tool for s in made.history] == ["make", "dataset"]
    assert made.history[-1].inputs == {
        "dataset": store.digest,
        "labels": jobs.read_labels(tmp_path / "l", 20, 3)[1],
    }
    (tmp_path / "l").write_text("7\n" * 20)
    with pytest.raises(DataError, match=r"line 1 is 7, but the classes are 0\.\.2"):
        labels_from_file(store, tmp_path / "l")
    new = labels_from_file(store, tmp_path / "l", tuple("abcdefgh"))
    assert relabel(store, new, tmp_path / "e.zarr", step) == 20
    assert artifacts.open_store(tmp_path / "e.zarr").attributes["classes"] == list("abcdefgh")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**64 - 1), st.integers(2, 12), st.sampled_from([0.0, 0.25, 1.0]), st.integers(1, 9))
def test_random_labels_are_those_of_seed_and_row(tmp_path_factory, seed, count, fraction, rows_at_once):
    folder = tmp_path_factory.mktemp("r")
    store, arrays = dataset(folder / "a.zarr", classes=[str(n) for n in range(count)], labels=np.arange(20) % count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "LABELS_AT_ONCE", rows_at_once)
        relabel(store, random_labels(store, seed, fraction), folder / "r.zarr", step)
    expected = [
        int(key) % count if int(chosen) < int(fraction * 2**64) else label
        for key, chosen, label in zip(
            row_keys(seed, Domain.RELABEL, 0, 20),
            row_keys(seed, Domain.CORRUPTION, 0, 20),
            arrays["labels"].tolist(),
            strict=True,
        )
    ]
    assert labels_of(folder / "r.zarr").tolist() == expected


def test_random_labels_are_uniform(tmp_path):
    """50,000 labels of 10 classes: chi-squared with 9 degrees of freedom exceeds 27.9 once in a thousand seeds."""
    images = np.zeros((50_000, 1, 1, 1), np.uint8)
    store, arrays = dataset(
        tmp_path / "a.zarr",
        classes=[str(n) for n in range(10)],
        images=images,
        labels=np.arange(50_000) % 10,
        index=np.arange(50_000),
    )
    changed = relabel(store, random_labels(store, 0), tmp_path / "r.zarr", step)
    counts = np.bincount(labels_of(tmp_path / "r.zarr"), minlength=10)
    assert ((counts - 5000) ** 2 / 5000).sum() < 27.9
    assert changed == (labels_of(tmp_path / "r.zarr") != arrays["labels"]).sum()
    assert abs(changed - 45_000) < 300  # one in ten stays what it was: 4.5 deviations
    half = relabel(store, random_labels(store, 0, 0.5), tmp_path / "h.zarr", step)
    assert abs(half - 22_500) < 600
    assert not relabel(store, random_labels(store, 0, 0.0), tmp_path / "n.zarr", step)


def test_random_labels_without_names(tmp_path):
    store, _ = dataset(tmp_path / "a.zarr", classes=(), labels=np.arange(20) % 5)
    relabel(store, random_labels(store, 1), tmp_path / "r.zarr", step)
    assert set(labels_of(tmp_path / "r.zarr").tolist()) <= set(range(5))
    relabel(store, random_labels(store, 1, classes=("x", "y")), tmp_path / "two.zarr", step)
    assert set(labels_of(tmp_path / "two.zarr").tolist()) == {0, 1}
    with pytest.raises(DataError, match=r"a.zarr: labels\[2\] = 2 is not among the 2 classes 0\.\.1: name others"):
        relabel(store, random_labels(store, 1, 0.0, ("x", "y")), tmp_path / "no.zarr", step)
    one, _ = dataset(tmp_path / "one.zarr", classes=(), labels=np.zeros(20, np.int64))
    with pytest.raises(DataError, match="has one class"):
        random_labels(one, 1)
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="from 0 to 1"):
            random_labels(store, 1, fraction)


def test_coarse_labels(tmp_path):
    coarse = np.arange(20) % 2
    store, _ = dataset(tmp_path / "a.zarr", coarse=coarse)
    new = coarse_labels(store)
    assert "`classes`" in new.remarks[0]
    relabel(store, new, tmp_path / "r.zarr", step)
    assert labels_of(tmp_path / "r.zarr").tolist() == coarse.tolist()
    assert artifacts.open_store(tmp_path / "r.zarr").attributes["classes"] == []
    named = coarse_labels(store, ("x", "y"))
    assert not named.remarks
    relabel(store, named, tmp_path / "n.zarr", step)
    assert artifacts.open_store(tmp_path / "n.zarr").attributes["classes"] == ["x", "y"]
    with pytest.raises(DataError, match=r"a.zarr: labels\[1\] = 1 is not among the 1 classes 0\.\.0: name others"):
        relabel(store, coarse_labels(store, ("x",)), tmp_path / "no.zarr", step)
    plain, _ = dataset(tmp_path / "b.zarr")
    with pytest.raises(UsageError, match=r"b\.zarr has no coarse labels"):
        coarse_labels(plain)


def test_labels_of_a_classifier(tmp_path):
    store, arrays = dataset(tmp_path / "a.zarr", rows=21)
    relabel(store, predicted_labels(store, classifier()), tmp_path / "r.zarr", step)
    assert labels_of(tmp_path / "r.zarr").tolist() == brightest(arrays["images"]).argmax(axis=1).tolist()
    made = artifacts.open_store(tmp_path / "r.zarr")
    assert made.attributes["classes"] == ["a", "b", "c"]
    assert made.history[-1].inputs == {"dataset": store.digest, "model": "net"}
    equal = classifier(lambda points: np.ones((len(points), 3), np.float32))
    relabel(store, predicted_labels(store, equal), tmp_path / "e.zarr", step, overwrite=True)
    assert not labels_of(tmp_path / "e.zarr").any()  # of equal numbers the lowest class
    other, _ = dataset(tmp_path / "b.zarr", classes=("a", "b"))
    new = predicted_labels(other, classifier())
    assert new.classes == ()
    assert "names of 2 classes are left out: the model has 3" in new.remarks[0]
    with pytest.raises(DataError, match="2 class names are given, but the model has 3 classes"):
        predicted_labels(store, classifier(), ("x", "y"))


def test_outputs_that_are_not_finite_are_named_by_row_and_index(tmp_path):
    store, _ = dataset(tmp_path / "a.zarr")
    seen = []

    def broken(points):
        values = brightest(points)
        seen.append(len(points))
        if len(seen) == 3:
            values[1, 2] = np.nan
        return values

    with pytest.raises(DataError, match=r"a\.zarr: what layer output gives for row 9 \(index 109\) is not finite"):
        relabel(store, predicted_labels(store, classifier(broken)), tmp_path / "r.zarr", step)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_interrupted_predictions_go_on(tmp_path):
    store, arrays = dataset(tmp_path / "a.zarr", rows=22)
    batches = []

    def counted(points):
        batches.append(len(points))
        return brightest(points)

    new = predicted_labels(store, classifier(counted, device="here"))
    for count in (2, 3):
        with pytest.raises(Interrupt):
            relabel(store, new, tmp_path / "r.zarr", step, save_every=0.0, progress=stopping(count))
    assert not (tmp_path / "r.zarr").exists()
    batches.clear()
    assert relabel(store, new, tmp_path / "r.zarr", step) is not None
    assert batches == [2]  # 20 of 22 were there
    assert labels_of(tmp_path / "r.zarr").tolist() == brightest(arrays["images"]).argmax(axis=1).tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "r.zarr"]
    with pytest.raises(Interrupt):
        relabel(store, new, tmp_path / "s.zarr", step, save_every=0.0, progress=stopping(4))
    batches.clear()
    relabel(store, predicted_labels(store, classifier(counted, device="there")), tmp_path / "s.zarr", step)
    assert batches == [4, 4, 4, 4, 4, 2]  # work that was begun elsewhere begins again


def test_finished_work_is_not_redone(tmp_path):
    store, _ = dataset(tmp_path / "a.zarr")
    assert relabel(store, random_labels(store, 1), tmp_path / "r.zarr", step) is not None
    assert relabel(store, random_labels(store, 1), tmp_path / "r.zarr", step) is None
    for other in (random_labels(store, 2), random_labels(store, 1, 0.5), predicted_labels(store, classifier())):
        with pytest.raises(ExistsError):
            relabel(store, other, tmp_path / "r.zarr", step)
    assert relabel(store, random_labels(store, 2), tmp_path / "r.zarr", step, overwrite=True) is not None
