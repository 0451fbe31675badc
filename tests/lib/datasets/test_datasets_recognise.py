"""What a source is, and which options go with it."""

import os

import numpy as np
import pytest
from PIL import Image

from datarobust.datasets import open_source, recognise
from datarobust.datasets.digits import DigitsSource
from datarobust.errors import DataError, UsageError


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("set.npz", x=np.zeros((2, 3)), y=np.arange(2))
    (tmp_path / "set.npz").rename("without_suffix")
    np.savez("set.npz", x=np.zeros((2, 3)), y=np.arange(2))
    (tmp_path / "pictures" / "x").mkdir(parents=True)
    Image.new("L", (3, 3)).save("pictures/x/1.png")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty.npz").write_bytes(b"")
    os.mkfifo("pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "format"),
    [("digits", "digits"), ("set.npz", "npz"), ("without_suffix", "npz"), ("pictures", "folder"), ("empty.npz", "npz")],
)
def test_formats(places, source, format):
    assert recognise(source) == format


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("text", "text is no format that is read"),
        ("nowhere", "nowhere cannot be read"),
        ("./digits", "digits cannot be read"),
        ("store.zarr", "is a store already"),
        ("pipe", "no regular file"),
        ("empty.npz", "empty.npz is no complete npz file"),
    ],
)
def test_what_is_no_source(places, source, words):
    with pytest.raises(DataError, match=words):
        open_source(source)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("digits", {"layout": "nhwc"}, "belong to npz"),
        ("digits", {"classes": ("a",)}, "have their class names"),
        ("set.npz", {"channels": 3}, "belongs to folders"),
        ("pictures", {"keys": ("a", "b")}, "belong to npz"),
        ("pictures", {"channels": 2}, "is 1 or 3"),
        ("set.npz", {"format": "digits"}, "goes with the word digits"),
    ],
)
def test_options_that_do_not_fit(places, source, options, words):
    with pytest.raises(UsageError, match=words):
        open_source(source, **options)


def test_a_format_by_hand(places):
    assert open_source("pictures", format="folder").spec.shape == (1, 3, 3)
    with pytest.raises(DataError, match="--format npz does not fit"):
        open_source("pictures", format="npz")
    with pytest.raises(DataError, match="does not exist"):
        open_source("nowhere", format="npz")


def test_the_real_digits():
    from sklearn.datasets import load_digits

    block = next(DigitsSource().blocks())
    levels, labels = load_digits(return_X_y=True)
    exact = levels.astype(int) * 255 / 16
    assert np.abs(block.points.reshape(1797, 64) - exact).max() <= 0.5
    assert block.points[levels.reshape(1797, 1, 8, 8) == 8].min() == 128  # the one half, upwards
    assert {int(v) for v in np.unique(block.points)} == {int(np.floor(v * 255 / 16 + 0.5)) for v in range(17)}
    np.testing.assert_array_equal(block.labels, labels)
    part = next(DigitsSource().blocks(1790, 1900))
    np.testing.assert_array_equal(part.points, block.points[1790:])
    assert not list(DigitsSource().blocks(1797))
