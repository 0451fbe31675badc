"""What a source is, and which options go with it."""

import gzip
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datarobust.datasets import open_source
from datarobust.datasets.recognise import DigitsSource, recognise
from datarobust.errors import DataError, UsageError

from .releases import Cifar, archive, folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("places")
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 3)), y=np.arange(2))
    (tmp_path / "set.npz").rename(tmp_path / "without_suffix")
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 3)), y=np.arange(2))
    (tmp_path / "pictures" / "x").mkdir(parents=True)
    Image.new("L", (3, 3)).save(tmp_path / "pictures" / "x" / "1.png")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes(b"PK")
    (tmp_path / "page.tar.gz").write_bytes(b"<html><body>Quota exceeded</body></html>")
    (tmp_path / "error.npz").write_bytes(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>')
    (tmp_path / "pointer.pickle").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    (tmp_path / "set.pickle").write_bytes(pickle.dumps({"a": 1}))
    archive(tmp_path / "cifar.tar.gz", Cifar(10).binary())
    folder(tmp_path / "cifar", Cifar(100).binary())
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + bytes(12))
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes(12)))
    (tmp_path / "table").write_bytes(b"PAR1" + bytes(100))
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as zipped, tarfile.open(tmp_path / "photos.tar", "w") as tar:
        zipped.write(tmp_path / "pictures" / "x" / "1.png", "cat/1.png")
        tar.add(tmp_path / "pictures" / "x" / "1.png", "cat/1.png")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.fixture
def places(made, monkeypatch):
    """A folder of files of every format, in which a test is."""
    monkeypatch.chdir(made)
    return made


@pytest.mark.parametrize(
    ("source", "format"),
    [
        ("digits", "digits"),
        ("set.npz", "npz"),
        ("without_suffix", "npz"),
        ("cut.npz", "npz"),
        ("pictures", "folder"),
        ("photos.zip", "folder"),
        ("set.pickle", "ti500k"),
        ("cifar", "cifar"),
        ("cifar.tar.gz", "cifar"),
        ("t10k-images-idx3-ubyte", "idx"),
        ("idx", "idx"),
        ("table", "parquet"),
        ("tables", "parquet"),
    ],
)
def test_formats(places, source, format):
    assert recognise(source) == format


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("text", "text has an unsupported format"),
        ("nowhere", "nowhere cannot be read"),
        ("./digits", "digits cannot be read"),
        ("store.zarr", "is an artifact already"),
        ("pipe", "not a regular file"),
        ("photos.tar", r"photos.tar holds images \(cat/1.png\): unpack it and import the folder"),
        ("cut.npz", "cut.npz is not a complete npz file"),
        ("empty.npz", "empty.npz is empty"),
        ("page.tar.gz", "page.tar.gz is a web page"),
        ("error.npz", "error.npz is a web page or an XML message"),
        ("pointer.pickle", "pointer.pickle is a pointer of Git LFS"),
    ],
)
def test_what_is_no_source(places, source, words):
    with pytest.raises(DataError, match=words):
        open_source(source)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("digits", {"layout": "nhwc"}, r"`layout` belongs to npz files and \.npy files, not to the digits"),
        ("digits", {"classes": ("a",)}, "`classes` belongs to npz files, .*, not to the digits"),
        ("set.npz", {"channels": 3}, "`channels` belongs to folders of images and Parquet files, not to npz files"),
        (
            "set.pickle",
            {"split": "test"},
            "`split` belongs to npz files, folders of images, CIFAR, .*, not to the TI500K",
        ),
        (
            "set.npz",
            {"labels": Path("y.npy")},
            r"`labels` FILE belongs to \.npy files and folders of images, not to npz",
        ),
        (
            "set.pickle",
            {"labels": "fine"},
            "`labels` fine belongs to CIFAR and Parquet files, not to the TI500K pickle",
        ),
        ("cifar", {"keys": ("a", "b")}, "`keys` belongs to npz files and Parquet files, not to CIFAR"),
        ("idx", {"labels": "fine"}, "not to idx files"),
        ("table", {"layout": "nchw"}, "not to Parquet files"),
        ("pictures", {"keys": ("a", "b")}, "`keys` belongs to"),
        ("pictures", {"channels": 2}, "is 1 or 3"),
        ("set.npz", {"format": "digits"}, "goes with the word digits"),
    ],
)
def test_options_that_do_not_fit(places, source, options, words):
    with pytest.raises(UsageError, match=words):
        open_source(source, **options)


def test_a_format_by_hand(places):
    assert open_source("pictures", format="folder").spec.shape == (1, 3, 3)
    with pytest.raises(DataError, match="`format` npz does not fit"):
        open_source("pictures", format="npz")
    with pytest.raises(DataError, match="nowhere cannot be read"):
        open_source("nowhere", format="npz")
    with pytest.raises(DataError, match="`format` folder does not fit"):
        open_source("set.npz", format="folder")
    assert open_source("cifar", format="cifar").spec.name == "cifar100-train"
    with pytest.raises(DataError, match="is a pointer of Git LFS"):
        open_source("pointer.pickle", format="ti500k")
    with pytest.raises(DataError, match="a web page"):
        open_source("page.tar.gz", format="cifar")


def test_the_real_digits():
    from sklearn.datasets import load_digits

    block = next(DigitsSource().blocks())
    levels, labels = load_digits(return_X_y=True)
    exact = levels.astype(int) * 255 / 16
    assert np.abs(block["images"].reshape(1797, 64) - exact).max() <= 0.5
    assert block["images"][levels.reshape(1797, 1, 8, 8) == 8].min() == 128  # the one half, upwards
    assert {int(v) for v in np.unique(block["images"])} == {int(np.floor(v * 255 / 16 + 0.5)) for v in range(17)}
    np.testing.assert_array_equal(block["labels"], labels)
    part = next(DigitsSource().blocks(1790, 1900))
    np.testing.assert_array_equal(part["images"], block["images"][1790:])
    assert not list(DigitsSource().blocks(1797))
