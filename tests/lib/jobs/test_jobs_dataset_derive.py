"""Subsets and merges: rows, places, histories, and what does not fit together."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lib.stored import Interrupt, dataset, merge, stopping, subset

from datarobust import artifacts, selection
from datarobust.artifacts import Step
from datarobust.datasets import describe, lines
from datarobust.datasets.sources import as_names, as_texts, name_bytes
from datarobust.errors import DataError, ExistsError, UsageError
from datarobust.jobs import dataset as jobs

RNG = np.random.default_rng(0)


def step(inputs):
    return Step("dataset", ("derive",), "0", None, None, inputs)


def columns(path):
    store = artifacts.open_store(path, "dataset")
    return {name: store.column(name).read() for name in store.names()}


def test_a_subset_keeps_order_places_and_columns(tmp_path):
    soft = RNG.dirichlet(np.ones(3), 20).astype(np.float32)
    store, arrays = dataset(tmp_path / "a.zarr", soft=soft, coarse=np.arange(20) % 2, source=np.arange(20) // 10)
    rows = np.array([7, 2, 19, 0, 3])
    other = (store.history[0], Step("sens-rank", (), "0"))
    assert subset(store, rows, tmp_path / "s.zarr", step, inputs={"selection": "abc"}, histories=[other])
    found = columns(tmp_path / "s.zarr")
    assert set(found) == set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(found[name], arrays[name][rows])
    made = artifacts.open_store(tmp_path / "s.zarr")
    assert made.attributes["name"] == "a"
    assert made.attributes["classes"] == ["a", "b", "c"]
    assert [s.tool for s in made.history] == ["make", "sens-rank", "dataset"]
    assert made.history[-1].inputs == {"dataset": store.digest, "selection": "abc"}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(12)), st.integers(1, 11), st.integers(1, 60))
def test_subset_and_its_complement_make_the_whole(tmp_path_factory, order, cut, taken):
    folder = tmp_path_factory.mktemp("s")
    store, arrays = dataset(folder / "a.zarr", rows=12)
    (folder / "rows").write_text("".join(f"{row}\n" for row in order[:cut]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "COPIED_BYTES", taken)
        for name, text in {"one": f"{folder}/rows", "two": f"!{folder}/rows"}.items():
            subset(store, selection.choose(text, store).rows, folder / f"{name}.zarr", step)
        stores = [artifacts.open_store(folder / f"{name}.zarr") for name in ("one", "two")]
        merge(stores, folder / "m.zarr", step)
    found = columns(folder / "m.zarr")
    assert found["index"].tolist() == [100 + row for row in [*order[:cut], *sorted(order[cut:])]]
    assert found["source"].tolist() == [0] * cut + [1] * (12 - cut)
    back = np.argsort(found["index"])
    for name in arrays:
        np.testing.assert_array_equal(found[name][back], arrays[name])


def test_the_whole_in_order_is_the_same_data(tmp_path):
    store, _ = dataset(tmp_path / "a.zarr")
    subset(store, np.arange(20), tmp_path / "s.zarr", step)
    assert artifacts.open_store(tmp_path / "s.zarr").digest == store.digest


def test_finished_work_is_not_redone(tmp_path):
    store, _ = dataset(tmp_path / "a.zarr")
    for work in (
        lambda: subset(store, np.arange(5), tmp_path / "s.zarr", step),
        lambda: merge([store, store], tmp_path / "m.zarr", step),
    ):
        assert work()
        assert not work()
    with pytest.raises(ExistsError):
        subset(store, np.arange(6), tmp_path / "s.zarr", step)
    with pytest.raises(ExistsError):
        merge([store, store, store], tmp_path / "m.zarr", step)
    assert subset(store, np.arange(6), tmp_path / "s.zarr", step, overwrite=True)


def test_a_merge(tmp_path):
    one, first = dataset(tmp_path / "one.zarr", rows=5)
    two, second = dataset(tmp_path / "two.zarr", rows=4, index=np.arange(4), source=np.full(4, 9))
    assert merge([one, two], tmp_path / "m.zarr", step)
    found = columns(tmp_path / "m.zarr")
    for name in ("images", "labels", "index"):
        np.testing.assert_array_equal(found[name], np.concatenate([first[name], second[name]]))
    assert found["source"].tolist() == [0] * 5 + [1] * 4
    made = artifacts.open_store(tmp_path / "m.zarr")
    assert made.attributes["name"] == "one + two"
    assert [s.argv for s in made.history] == [("one",), ("two",), ("derive",)]
    assert made.history[-1].inputs == {"dataset 0": one.digest, "dataset 1": two.digest}


def test_names_of_any_length_are_merged(tmp_path):
    names = [["a.png", "bcd.png"], ["longer/e.png", "f.png"]]
    stores = [
        dataset(tmp_path / f"{place}.zarr", rows=2, names=as_names(called, name_bytes(called)))[0]
        for place, called in enumerate(names)
    ]
    nameless, _ = dataset(tmp_path / "2.zarr", rows=2)
    merge([*stores, nameless], tmp_path / "m.zarr", step)
    found = as_texts(columns(tmp_path / "m.zarr")["names"])
    assert found == [*names[0], *names[1], "", ""]


def test_interrupted_work_goes_on(tmp_path, monkeypatch):
    """Several shards of images, taken in pieces, and interrupted again and again."""
    store, arrays = dataset(tmp_path / "a.zarr", rows=6_000, shape=(3, 32, 32))
    monkeypatch.setattr(jobs, "COPIED_BYTES", 3 << 20)
    rows = RNG.permutation(6_000)

    for name, work in {
        "s": lambda **o: subset(store, rows, tmp_path / "s.zarr", step, **o),
        "m": lambda **o: merge([store, store], tmp_path / "m.zarr", step, **o),
    }.items():
        for count in (1, 2, 1):  # each goes on where the one before was
            with pytest.raises(Interrupt):
                work(progress=stopping(count))
        assert work()
        found = columns(tmp_path / f"{name}.zarr")
        expected = arrays["images"][rows] if name == "s" else np.concatenate([arrays["images"]] * 2)
        np.testing.assert_array_equal(found["images"], expected)


def test_what_does_not_fit_together(tmp_path):
    base, _ = dataset(tmp_path / "base.zarr")
    soft = RNG.dirichlet(np.ones(3), 20).astype(np.float32)
    others = {
        "shape of one point|shape": dataset(tmp_path / "shape.zarr", shape=(1, 3, 2))[0],
        "3 and 2 class names": dataset(tmp_path / "fewer.zarr", classes=("a", "b"))[0],
        "3 and 0 class names": dataset(tmp_path / "none.zarr", classes=())[0],
        r"class 1 is b and x\\x1b": dataset(tmp_path / "names.zarr", classes=("a", "x\x1b", "c"))[0],
        r"only .*soft\.zarr has soft": dataset(tmp_path / "soft.zarr", soft=soft)[0],
    }
    for words, other in others.items():
        with pytest.raises(DataError, match=words):
            merge([base, base, other], tmp_path / "m.zarr", step)
    with pytest.raises(UsageError, match="two datasets or more"):
        merge([base], tmp_path / "m.zarr", step)
    assert not (tmp_path / "m.zarr").exists()


def test_a_summary(tmp_path):
    store, arrays = dataset(tmp_path / "a.zarr", classes=("cat\x1b[31m", "[red]dog", "cow", "nobody"))
    found = describe(store)
    counts = np.bincount(arrays["labels"], minlength=4)
    assert [entry["count"] for entry in found["classes"]] == counts.tolist()
    assert [entry["name"] for entry in found["classes"]] == ["cat\x1b[31m", "[red]dog", "cow", "nobody"]
    assert (found["points"], found["shape"], found["dtype"]) == (20, [1, 2, 3], "uint8")
    assert found["digest"] == store.digest
    text = "\n".join(lines(found))
    assert "\x1b" not in text
    assert "cat\\x1b[31m" in text
    assert "[red]dog" in text
    nameless, _ = dataset(tmp_path / "b.zarr", classes=())
    assert all(entry["name"] is None for entry in describe(nameless)["classes"])
