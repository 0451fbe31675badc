"""``dataset import`` of published releases, as a user runs it."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image
from tests.lib import stored

from datarobust import artifacts
from datarobust.datasets.contents import pictures, remarks

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 3072), dtype=np.uint8)
FINE, COARSE = RNG.integers(0, 100, 30), RNG.integers(0, 20, 30)
NAMES = {"fine_label_names": [f"f{i}" for i in range(100)], "coarse_label_names": [f"c{i}" for i in range(20)]}


@pytest.fixture(scope="module")
def cifar100(tmp_path_factory):
    """A CIFAR-100 of 30 rows, as its archive."""
    path = tmp_path_factory.mktemp("cifar100") / "cifar-100-python.tar.gz"
    rows = {"data": IMAGES, "fine_labels": FINE.tolist(), "coarse_labels": COARSE.tolist()}
    with tarfile.open(path, "w:gz") as tar:
        for name, value in {"train": rows, "test": {k: v[:5] for k, v in rows.items()}, "meta": NAMES}.items():
            data = pickle.dumps(value, 2)
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def store_at(path):
    return artifacts.open_store(path, "dataset")


def test_a_release_from_its_archive(command, cifar100, tmp_path):
    done = command("dataset", "import", cifar100, "-o", tmp_path / "c100.zarr", "--shuffle", "3")
    assert done.stdout == f"{tmp_path / 'c100.zarr'}\n", done.stderr
    assert "CIFAR-100, python release, train set" in done.stderr
    found = store_at(tmp_path / "c100.zarr")
    order = found.column("index").read()
    assert sorted(order) == list(range(30))
    np.testing.assert_array_equal(found.column("images").read(), IMAGES.reshape(-1, 3, 32, 32)[order])
    np.testing.assert_array_equal(found.column("labels").read(), FINE[order])
    np.testing.assert_array_equal(found.column("coarse").read(), COARSE[order])
    told = json.loads(command("dataset", "info", tmp_path / "c100.zarr", "--json").stdout)
    assert (told["name"], told["classes"][7]["name"]) == ("cifar100-train", "f7")
    assert "coarse" in told["columns"]
    words = ["import", cifar100, "-o", tmp_path / "s.zarr", "--split", "test", "--labels", "coarse", "-q"]
    assert command("dataset", *words).returncode == 0
    found = store_at(tmp_path / "s.zarr")
    assert (found.attributes["name"], found.names()) == ("cifar100s-test", ("images", "index", "labels"))
    np.testing.assert_array_equal(found.column("labels").read(), COARSE[:5])
    words[words.index("test")] = "validation"
    assert "is split into train and test" in command("dataset", *words).stderr


def test_mistakes_are_one_sentence(command, cifar100, tmp_path):
    marker, output = tmp_path / "marker", tmp_path / "d.zarr"

    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    (tmp_path / "evil.pickle").write_bytes(pickle.dumps({"data": Touch(), "extrapolated_targets": [1]}))
    (tmp_path / "page.tar.gz").write_bytes(b"<!DOCTYPE html><title>Quota exceeded</title>")
    (tmp_path / "cut.tar.gz").write_bytes(cifar100.read_bytes()[:20_000])
    for name, words in {
        "evil.pickle": "evil.pickle wants posix.system, which is not data",
        "page.tar.gz": "page.tar.gz is a web page",
        "cut.tar.gz": "cut.tar.gz is cut short",
    }.items():
        done = command("dataset", "import", tmp_path / name, "-o", output)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert words in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    for options, words in {
        ("--keys", "a,b"): "--keys belongs to npz files and Parquet files, not to CIFAR",
        ("--format", "npz", "--channels", "1"): "--channels belongs to",
    }.items():
        done = command("dataset", "import", cifar100, "-o", output, *options)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert words in done.stderr.splitlines()[-1]
    assert not marker.exists()
    assert not output.exists()


def test_the_real_cifar10(command, shared, tmp_path):
    """Images of the test set as both releases have them give the store of the npz file."""
    path = shared / "data" / "cifar10_test.npz"
    with np.load(path, allow_pickle=False) as arrays:
        rows = np.ascontiguousarray(arrays["x"][:2000].transpose(0, 3, 1, 2)).reshape(-1, 3072)
        labels, names = arrays["y"][:2000].astype(np.uint8), [str(name) for name in arrays["classes"]]
    held = {"data": rows, "labels": labels.tolist()}
    files = {"test_batch": pickle.dumps(held, 2), "batches.meta": pickle.dumps({"label_names": names}, 0)}
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz", compresslevel=1) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"x/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test_batch.bin").write_bytes(np.column_stack([labels, rows]).tobytes())
    (tmp_path / "set" / "batches.meta.txt").write_text("".join(f"{name}\n" for name in names))
    stores = []
    for words in (
        [path, "--limit", 2000],
        [tmp_path / "set.tar.gz", "--split", "test"],
        [tmp_path / "set", "--split", "test"],
    ):
        output = tmp_path / f"{len(stores)}.zarr"
        done = command("dataset", "import", *words, "-o", output, "-q")
        assert done.returncode == 0, done.stderr
        stores.append(store_at(output))
    np.testing.assert_array_equal(stores[0].column("images").read().reshape(-1, 3072), rows)
    np.testing.assert_array_equal(stores[0].column("labels").read(), labels)
    assert len({store.digest for store in stores}) == 1
    assert all(store.attributes["classes"] == names for store in stores)


def test_a_real_folder(command, tmp_path):
    for row, (place, size) in enumerate({"cat/a.png": (6, 4), "cat/b.jpg": (8, 8), "dog/c.png": (6, 4)}.items()):
        path = tmp_path / "photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(path)
        if row == 1:
            path.write_bytes(path.read_bytes()[:-200])
    words = ["dataset", "import", "photos", "-o", "d.zarr"]
    refused = command(*words, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "photos/cat/b.jpg cannot be decoded" in refused.stderr
    assert "--skip-broken leaves such images out" in refused.stderr
    nowhere = command(*words[:-1], "no/d.zarr", "--skip-broken", cwd=tmp_path)  # told before the images are decoded
    assert nowhere.stderr == "dataset: error: no/d.zarr cannot be written: the folder no does not exist\n"
    done = command(*words, "--skip-broken", "--resize", "4x4:crop", cwd=tmp_path)
    assert done.stdout == "d.zarr\n", done.stderr
    assert "dataset: skipped: photos/cat/b.jpg cannot be decoded" in done.stderr
    assert "dataset: skipped 1 of 3 images" in done.stderr
    assert store_at(tmp_path / "d.zarr").column("images").shape == (2, 3, 4, 4)
    again = command(*words, "--skip-broken", "--resize", "4x4:crop", cwd=tmp_path)
    assert "nothing to do" in again.stderr
    (tmp_path / "labels.csv").write_text("file,label\ncat/a.png,owl\ndog/c.png,hen\n")
    done = command("dataset", "import", "photos", "--labels", "labels.csv", "-o", "t.zarr", cwd=tmp_path)
    assert done.stdout == "t.zarr\n", done.stderr
    assert store_at(tmp_path / "t.zarr").attributes["classes"] == ["hen", "owl"]
    refused = command("dataset", "import", "photos", "--labels", "fine", "-o", "u.zarr", cwd=tmp_path)
    assert "--labels fine belongs to CIFAR and Parquet files, not to folders of images" in refused.stderr


def test_dark_images_and_labels_that_begin_at_1_are_remarked(command, tmp_path):
    labels, dark = "No point has a label below 1", "No pixel is above {0}, of 255"
    np.savez(tmp_path / "d.npz", x=np.full((3, 4, 4), 16, np.uint8), y=np.arange(1, 4))
    done = command("dataset", "import", "d.npz", "-o", "d.zarr", cwd=tmp_path)
    assert done.returncode == 0
    assert labels in done.stderr
    assert f"{dark.format(16)} that are possible" in done.stderr
    assert "multiply them by 15.9375" in done.stderr
    for first, brightest, said in ((0, 17, []), (0, 1, [dark.format(1)]), (1, 17, [labels])):
        images = np.full((3, 1, 4, 4), brightest, np.uint8)
        columns = {"images": images, "labels": np.arange(first, first + 3), "index": np.arange(3)}
        store, _ = stored.dataset(tmp_path / f"{first}-{brightest}.zarr", **columns)
        remarked = list(remarks(store))
        assert len(remarked) == len(said)
        assert all(words in sentence for words, sentence in zip(said, remarked, strict=True))


def test_arrays_as_users_have_them(command, tmp_path):
    images, labels = RNG.integers(0, 256, (12, 6, 6), np.uint8), np.array(["no", "yes", "may be"] * 4)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", labels)
    np.savez(tmp_path / "set.npz", x_train=images[:8], y_train=labels[:8], x_test=images[8:], y_test=labels[8:])
    done = command("dataset", "import", "x.npy", "--labels", "y.npy", "-o", "d.zarr", cwd=tmp_path)
    assert done.stdout == "d.zarr\n", done.stderr
    assert store_at(tmp_path / "d.zarr").attributes["classes"] == ["may be", "no", "yes"]
    refused = command("dataset", "import", "x.npy", "-o", "e.zarr", cwd=tmp_path)
    assert "x.npy has no labels: give them with --labels FILE" in refused.stderr
    done = command("dataset", "import", "set.npz", "--split", "test", "-o", "t.zarr", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert store_at(tmp_path / "t.zarr").column("labels").read().tolist() == [0, 1, 2, 0]
    assert store_at(tmp_path / "t.zarr").attributes["name"] == "set-test"


def test_float_images_are_features_that_can_be_seen(command, tmp_path):
    images = RNG.random((12, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(12) % 3)
    done = command("dataset", "import", "d.npz", "-o", "d.zarr", cwd=tmp_path)
    assert "are no bytes: they become features, with distances in their own units" in done.stderr
    command("dataset", "subset", "d.zarr", "--select", "first:9", "-o", "s.zarr", cwd=tmp_path)
    command("dataset", "merge", "s.zarr", "d.zarr", "-o", "m.zarr", cwd=tmp_path)
    picture = {"shape": [1, 6, 6], "low": 0.0, "high": 1.0}
    assert [store_at(tmp_path / f"{name}.zarr").attributes["picture"] for name in "dsm"] == [picture] * 3
    command("sens-rank", "s.zarr", "-o", "r.zarr", cwd=tmp_path)
    done = command("figure", "pairs", "s.zarr", "r.zarr", "-o", "p.png", cwd=tmp_path)
    assert done.stdout == "p.png\n", done.stderr
    shown = pictures(store_at(tmp_path / "s.zarr"), np.array([3]))
    np.testing.assert_array_equal(shown[0, 0], np.rint(images[3].astype(float) * 255))
