"""Known releases: what is said of them, and from a server to a store with small ones."""

import gzip
import hashlib
import io
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from tests.lib.stored import import_dataset

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets.cifar import CIFAR10, CIFAR100
from datarobust.datasets.fetch import RELEASES, Remote, fetch_release, find_release, https
from datarobust.errors import ExistsError, UsageError

RNG = np.random.default_rng(0)


def test_every_release_is_wholly_described():
    assert {"cifar10", "cifar100", "mnist", "emnist-balanced", "emnist-letters", "cifar10-1m"} <= set(RELEASES)
    for name, release in RELEASES.items():
        assert release.name == name == name.lower()
        assert "\t" not in release.title
        for remote in release.all():
            assert re.fullmatch(r"[0-9a-f]{64}", remote.sha256)
            assert remote.size > 4000
            assert all(re.fullmatch(r"https://[\w./~-]+", url) for url in remote.urls)
            assert all(url.endswith(remote.name) for url in remote.urls)
        assert release.remotes(None) == release.remotes("train" if None not in release.files else None)
    assert len({r.sha256 for release in RELEASES.values() for r in release.all()}) == 11
    places = {(release.folder, r.name, r.sha256) for release in RELEASES.values() for r in release.all()}
    assert len({place[:2] for place in places}) == len(places)  # no two files have one place in the cache


def test_names_of_classes():
    assert list(CIFAR10) == sorted(set(CIFAR10))
    assert list(CIFAR100) == sorted(set(CIFAR100))
    assert (len(CIFAR10), len(CIFAR100)) == (10, 100)


def test_releases_are_found_by_name():
    assert find_release("mnist") is RELEASES["mnist"]
    with pytest.raises(UsageError, match=r"cifar-10 is not a known release: did you mean cifar10"):
        find_release("cifar-10")
    with pytest.raises(UsageError, match=r"\\x1bzzzz is not a known release: dataset fetch `list` has all"):
        find_release("\x1bzzzz")


def test_options_that_a_release_does_not_have(tmp_path):
    class Nothing:
        def __call__(self, url, headers):
            raise AssertionError("nothing is asked for")

    def fetch(name, **options):
        return fetch_release(RELEASES[name], tmp_path, Nothing(), **options)

    with pytest.raises(UsageError, match="mnist is split into train and test, not validation"):
        fetch("mnist", split="validation")
    with pytest.raises(UsageError, match="cifar10-1m is not split: leave out `split`"):
        fetch("cifar10-1m", split="train")
    with pytest.raises(UsageError, match="cifar10 has one kind of labels: leave out `labels`"):
        fetch("cifar10", labels="coarse")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------- small releases


@pytest.fixture(autouse=True)
def trust(trusted, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))


def idx(array):
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def published(site, remote, data):
    """``remote`` with other bytes, at the server."""
    site.files[f"/{remote.name}"] = data
    return Remote(remote.name, (f"{site.address}/{remote.name}",), len(data), hashlib.sha256(data).hexdigest())


def pictures(rows=30):
    return RNG.integers(0, 256, (rows, 28, 28), dtype=np.uint8)


def labels(rows=30, first=0, classes=10):
    return (np.arange(rows) % classes + first).astype(np.uint8)


def small_mnist(site, rows=30):
    """The release of MNIST, with its first images."""
    arrays = {split: (pictures(rows), labels(rows)) for split in ("train", "test")}
    files = {
        split: tuple(
            published(site, remote, idx(array))
            for remote, array in zip(RELEASES["mnist"].files[split], arrays[split], strict=True)
        )
        for split in arrays
    }
    return replace(RELEASES["mnist"], files=files), arrays


def small_emnist(site, subset, count, first=0):
    release = RELEASES[f"emnist-{subset}"]
    arrays = {split: (pictures(60), labels(60, first, count)) for split in ("train", "test")}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for split, (images, numbers) in arrays.items():
            for member, data in zip(
                release.members[split], (idx(images.transpose(0, 2, 1)), idx(numbers)), strict=True
            ):
                archive.writestr(member, data)
    remote = published(site, release.remotes(None)[0], out.getvalue())
    return replace(release, files={"train": (remote,), "test": (remote,)}), arrays


def read(source):
    blocks = list(source.blocks())
    return tuple(np.concatenate([block[name] for block in blocks]) for name in ("images", "labels"))


def test_mnist_fetches_only_the_files_of_its_split(site, tmp_path):
    release, arrays = small_mnist(site)
    for split in (None, "test"):
        source = fetch_release(release, tmp_path, https(), split=split)
        points, numbers = read(source)
        np.testing.assert_array_equal(points[:, 0], arrays[split or "train"][0])
        np.testing.assert_array_equal(numbers, arrays[split or "train"][1])
        assert source.spec.name == f"mnist-{split or 'train'}"
    assert [path for path, _ in site.requests] == [f"/{r.name}" for r in release.all()]
    assert fetch_release(release, tmp_path, https(), name="other").spec.name == "other"
    assert len(site.requests) == 4


def test_emnist_is_taken_out_of_its_archive(site, tmp_path):
    release, arrays = small_emnist(site, "letters", 26, 1)
    source = fetch_release(release, tmp_path, https(), split="test")
    points, numbers = read(source)
    np.testing.assert_array_equal(points[:, 0], arrays["test"][0])
    np.testing.assert_array_equal(numbers, arrays["test"][1] - 1)
    assert source.spec.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert source.spec.name == "emnist-letters-test"
    assert sorted(p.name for p in (tmp_path / "emnist").iterdir()) == [
        "emnist-letters-test-images-idx3-ubyte.gz",
        "emnist-letters-test-labels-idx1-ubyte.gz",
        "gzip.zip",
    ]
    fetch_release(release, tmp_path, https())
    assert len(site.requests) == 1


def test_generated_images_have_the_names_of_their_classes(site, tmp_path):
    release = RELEASES["cifar10-1m"]
    out = io.BytesIO()
    images = RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(out, image=images, label=np.arange(20) // 2)
    remote = published(site, release.remotes(None)[0], out.getvalue())
    source = fetch_release(replace(release, files={None: (remote,)}), tmp_path, https())
    points, numbers = read(source)
    np.testing.assert_array_equal(points, images.transpose(0, 3, 1, 2))
    assert numbers.tolist() == [i // 2 for i in range(20)]
    assert source.spec.classes == CIFAR10
    assert source.spec.name == "cifar10-1m"


def test_cifar_comes_as_its_binary_archive(site, tmp_path):
    def archive(folder, files):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(f"{folder}/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()

    pixels = RNG.integers(0, 256, (40, 3072), dtype=np.uint8)
    fine, coarse = np.arange(40, dtype=np.uint8), (np.arange(40) % 20).astype(np.uint8)
    rows = np.concatenate([coarse[:, None], fine[:, None], pixels], axis=1).tobytes()
    names = {
        "fine_label_names.txt": "\n".join(CIFAR100).encode() + b"\n",
        "coarse_label_names.txt": "\n".join(f"c{i}" for i in range(20)).encode() + b"\n",
    }
    data = archive("cifar-100-binary", {"train.bin": rows, "test.bin": rows[: 3074 * 4], **names})
    release = RELEASES["cifar100"]
    remote = published(site, release.remotes(None)[0], data)
    release = replace(release, files={"train": (remote,), "test": (remote,)})
    source = fetch_release(release, tmp_path, https())
    points, numbers = read(source)
    np.testing.assert_array_equal(points.reshape(40, -1), pixels)
    assert numbers.tolist() == fine.tolist()
    assert source.spec.classes == CIFAR100
    assert (source.spec.coarse, source.spec.name) == (True, "cifar100-train")
    source = fetch_release(release, tmp_path, https(), labels="coarse", split="test")
    assert read(source)[1].tolist() == coarse[:4].tolist()
    assert source.spec.name == "cifar100s-test"


def test_the_place_and_time_of_the_download_do_not_matter(site, tmp_path):
    release, _ = small_mnist(site)

    def run(cache, **options):
        source = fetch_release(release, tmp_path / cache, https(), **options)
        return import_dataset(source, tmp_path / "d.zarr", lambda i: Step("test", (), "0", None, None, dict(i)))

    assert run("one")
    assert not run("two")
    with pytest.raises(ExistsError, match="`overwrite`"):
        run("two", split="test")


# ------------------------------------------------------------------------------------ as a user runs it

SCRIPT = """
import sys
from datarobust.datasets import fetch
from datarobust.tools.dataset import main

fetch.RELEASES = {{"mnist": {release!r}}}
sys.argv = ["dataset", *sys.argv[1:]]
main()
"""


def process(release, *words, **options):
    code = SCRIPT.format(release=release).replace("Release(", "fetch.Release(").replace("Remote(", "fetch.Remote(")
    return [sys.executable, "-c", code, "fetch", "mnist", *map(str, words)], {"text": True, **options}


def run(release, *words, **options):
    command, options = process(release, *words, **options)
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **options)


def test_the_whole_chain_killed_and_again(site, tmp_path):
    release, arrays = small_mnist(site, 4000)
    words = ("-o", "d.zarr", "--cache", "cache", "--limit", 3000)
    site.breaks = [100_000, 100_000]
    command, options = process(release, *words, cwd=tmp_path)
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    for _ in range(3000):
        if len(site.requests) >= 2 or killed.poll() is not None:
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    partial = tmp_path / "cache" / "mnist" / ".train-images-idx3-ubyte.gz.partial"
    assert partial.stat().st_size >= 100_000
    done = run(release, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "d.zarr\n"), done.stderr
    assert any(asked and int(asked[6:-1]) >= 100_000 for _, asked in site.requests)
    store = artifacts.open_store(tmp_path / "d.zarr", "dataset")
    np.testing.assert_array_equal(store.column("images").read()[:, 0], arrays["train"][0][:3000])
    assert store.history[-1].argv[:2] == ("fetch", "mnist")
    asked = len(site.requests)
    for path in (tmp_path / "cache" / "mnist").iterdir():
        path.unlink()
    again = run(release, *words, cwd=tmp_path)  # what was fetched is gone, and is not needed
    assert (again.returncode, again.stdout) == (0, "d.zarr\n"), again.stderr
    assert "finished before" in again.stderr
    other = run(
        release,
        "-o",
        "d.zarr",
        "--split",
        "test",
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "xdg")},
    )
    assert (other.returncode, other.stdout) == (1, "")
    assert "--overwrite" in other.stderr
    assert len(site.requests) == asked + 2
    assert sorted(p.name for p in (tmp_path / "xdg" / "datarobust" / "mnist").iterdir()) == [
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
