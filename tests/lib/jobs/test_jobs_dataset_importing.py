"""From source to store: the columns, the history, the rerun, the resume."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from tests.lib.stored import Interrupt, import_dataset, stopping

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets import open_source, read_names
from datarobust.datasets.recognise import DigitsSource
from datarobust.errors import DataError, ExistsError
from datarobust.randomness import Domain, permutation

RNG = np.random.default_rng(0)


def step(inputs):
    return Step("dataset", ("import",), "0", None, None, inputs)


def tree(path):
    """Every byte of a store."""
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def columns(path):
    store = artifacts.open_store(path, "dataset")
    return {name: store.column(name).read() for name in store.names()}


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """12,000 images of 3 KiB: three shards."""
    path = tmp_path_factory.mktemp("big") / "big.npz"
    images = RNG.integers(0, 256, (12_000, 3, 32, 32), dtype=np.uint8)
    np.savez(path, image=images, label=np.sort(RNG.integers(0, 10, 12_000)).astype(np.int32))
    return path


def test_digits(tmp_path):
    assert import_dataset(DigitsSource(), tmp_path / "d.zarr", step)
    store = artifacts.open_store(tmp_path / "d.zarr", "dataset")
    block = next(DigitsSource().blocks())
    found = columns(store.path)
    np.testing.assert_array_equal(found["images"], block["images"])
    np.testing.assert_array_equal(found["labels"], block["labels"])
    np.testing.assert_array_equal(found["index"], np.arange(1797))
    assert (store.attributes["name"], store.attributes["classes"]) == ("digits", list("0123456789"))
    assert store.history == (replace(step({"source": DigitsSource().digest()}), output=store.digest),)
    artifacts.check(store.path)


def test_history_has_the_sum_of_the_file(tmp_path, big):
    import_dataset(open_source(str(big)), tmp_path / "d.zarr", step, limit=3)
    assert artifacts.open_store(tmp_path / "d.zarr").history[0].inputs == {
        "source": hashlib.sha256(big.read_bytes()).hexdigest()
    }


def test_soft_labels_and_features_are_kept(tmp_path):
    rows, values = RNG.dirichlet(np.ones(3), 20).astype(np.float32), RNG.normal(size=(20, 4))
    np.savez(tmp_path / "a.npz", x=values, y=rows)
    import_dataset(open_source(str(tmp_path / "a.npz")), tmp_path / "d.zarr", step, shuffle=5)
    found, order = columns(tmp_path / "d.zarr"), permutation(5, Domain.IMPORT, 20)
    np.testing.assert_array_equal(found["features"], values[order].astype(np.float32))
    np.testing.assert_array_equal(found["soft"], rows[order])
    np.testing.assert_array_equal(found["labels"], rows[order].argmax(1))


def test_a_shuffle_is_the_same_in_memory_and_through_files_and_in_parts(tmp_path, big):
    import_dataset(open_source(str(big)), tmp_path / "memory.zarr", step, shuffle=3)
    import_dataset(open_source(str(big)), tmp_path / "files.zarr", step, shuffle=3, budget=4 << 20)
    assert tree(tmp_path / "memory.zarr") == tree(tmp_path / "files.zarr")
    import_dataset(open_source(str(big)), tmp_path / "part.zarr", step, shuffle=3, limit=1000, budget=4 << 20)
    whole, part = columns(tmp_path / "memory.zarr"), columns(tmp_path / "part.zarr")
    np.testing.assert_array_equal(whole["index"], permutation(3, Domain.IMPORT, 12_000))
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][:1000])
    with np.load(big) as arrays:
        np.testing.assert_array_equal(whole["images"], arrays["image"][whole["index"]])
        np.testing.assert_array_equal(whole["labels"], arrays["label"][whole["index"]])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["files.zarr", "memory.zarr", "part.zarr"]


def test_a_finished_import_does_nothing(tmp_path, big, monkeypatch):
    output = tmp_path / "d.zarr"
    assert import_dataset(open_source(str(big)), output, step, limit=100)
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    source = open_source(str(big))
    monkeypatch.setattr(type(source), "blocks", lambda *_: pytest.fail("the source was read again"))
    assert not import_dataset(source, output, step, limit=100)
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before
    for other in ({"limit": 99}, {"limit": 100, "shuffle": 0}):
        with pytest.raises(ExistsError):
            import_dataset(open_source(str(big)), output, step, **other)
    with pytest.raises(ExistsError):
        import_dataset(open_source(str(big), name="another"), output, step, limit=100)
    monkeypatch.undo()
    assert import_dataset(open_source(str(big)), output, step, limit=99, overwrite=True)
    assert len(artifacts.open_store(output)) == 99


def test_files_of_a_shuffle_that_could_not_be_removed_are_removed_by_the_same_command(tmp_path, big):
    output = tmp_path / "d.zarr"
    import_dataset(open_source(str(big)), output, step, limit=100, shuffle=0)
    (tmp_path / ".d.zarr.shuffle").mkdir()
    (tmp_path / ".d.zarr.shuffle" / "0").touch()
    assert not import_dataset(open_source(str(big)), output, step, limit=100, shuffle=0)
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


@pytest.mark.parametrize("options", [{}, {"shuffle": 1}, {"shuffle": 1, "budget": 8 << 20}])
def test_an_interrupted_import_goes_on_with_the_same_bits(tmp_path, big, options):
    straight, output = tmp_path / "straight.zarr", tmp_path / "d.zarr"
    import_dataset(open_source(str(big)), straight, step, **options)
    for blocks in (0, 2, 0, 1, 2):  # after those that an earlier run has left
        with pytest.raises(Interrupt):
            import_dataset(open_source(str(big)), output, step, progress=stopping(blocks), **options)
        assert not output.exists()
    first = tmp_path / ".d.zarr.partial" / "images" / "c.0.0.0.0"
    kept = {} if "shuffle" in options else {"inode": first.stat().st_ino}
    import_dataset(open_source(str(big)), output, step, **options)
    assert tree(output) == tree(straight)
    if kept:
        assert (output / "images" / "c.0.0.0.0").stat().st_ino == kept["inode"], "a durable shard was written again"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.zarr", "straight.zarr"]


def test_wrong_rows_leave_nothing_behind(tmp_path):
    labels = np.zeros(12_000, int)
    labels[11_999] = -1
    np.savez(tmp_path / "a.npz", x=np.zeros((12_000, 1, 32, 96), np.uint8), y=labels)
    with pytest.raises(DataError, match=r"a\.npz: y\[11999\] = -1 is negative"):
        import_dataset(open_source(str(tmp_path / "a.npz")), tmp_path / "d.zarr", step)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_a_source_that_changes_meanwhile_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((50, 4)), y=np.zeros(50, int))

    def meddle(items):
        path.touch()
        yield from items

    with pytest.raises(DataError, match="changed while it was read"):
        import_dataset(open_source(str(path)), tmp_path / "d.zarr", step, progress=meddle)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((0, 4)), "y": np.zeros(0, int)}, "a holds no points"),
        ({"x": np.zeros((2, 4)), "y": np.arange(2), "classes": np.array(["a", "a"])}, "0 and 1 are both called a"),
        ({"x": np.zeros((2, 4)), "y": np.arange(2), "classes": np.array(["a", ""])}, "class 1 has an empty name"),
    ],
)
def test_sets_that_are_refused_at_once(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=words):
        import_dataset(open_source(str(tmp_path / "a.npz")), tmp_path / "d.zarr", step)


def test_the_request_tells_nothing_of_the_machine(tmp_path, big):
    import_dataset(open_source(str(big)), tmp_path / "d.zarr", step, limit=5)
    assert str(big.parent) not in json.dumps(json.loads((tmp_path / "d.zarr" / "zarr.json").read_text()))


def test_names_of_classes_in_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\r\nsnow dog \nbée\n".encode())
    assert read_names(path) == ("cat", "snow dog ", "bée")
    for data, words in {
        b"": "holds no class names",
        b"cat\n\ndog\n": "class 1 has an empty name",
        b"cat\ndog\ncat": "0 and 2 are both called cat",
        b"cat\n\xff\n": "line 2: class names are UTF-8",
    }.items():
        path.write_bytes(data)
        with pytest.raises(DataError, match=words):
            read_names(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_names(tmp_path / "nowhere")
