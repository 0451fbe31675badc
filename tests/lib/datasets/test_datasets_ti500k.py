"""The pickle of TI500K: read in place, whoever wrote it, and what is refused."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.lib.stored import import_dataset

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets import open_source, recognise, sources
from datarobust.datasets.cifar import CIFAR10, Ti500kSource
from datarobust.errors import DataError

from .releases import Cifar, python2, python3

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 50)
WRITERS = {
    **{f"python 3, protocol {protocol}": python3(protocol) for protocol in range(6)},
    **{f"python 2, protocol {protocol}": python2(protocol) for protocol in (0, 1, 2)},
    "python 2, Fortran": python2(2, fortran=True),
}


def step(inputs):
    return Step("dataset", ("import",), "0", None, None, inputs)


def save(path, writer=None, **changed):
    held = {"data": IMAGES, "extrapolated_targets": LABELS, "prediction_model": "x" * 9000, **changed}
    path.write_bytes((writer or python3(4))({key: value for key, value in held.items() if value is not None}))
    return path


def read(source, start=0, stop=None):
    blocks = list(source.blocks(start, stop))
    return [np.concatenate([getattr(block, name) for block in blocks]) for name in ("points", "labels", "index")]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.uint8), LABELS.tolist()])
def test_whoever_wrote_it(tmp_path, monkeypatch, writer, labels):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 7 * 3080)
    path = save(tmp_path / "ti_500K.pickle", WRITERS[writer], extrapolated_targets=labels)
    assert recognise(str(path)) == "ti500k"
    source = open_source(str(path))
    assert (source.spec.name, source.spec.rows, source.spec.shape) == ("ti_500K", 50, (3, 32, 32))
    assert source.spec.classes == CIFAR10
    assert "left aside: prediction_model" in source.spec.notes
    for start, stop in ((0, None), (13, 29), (49, 50)):
        points, found, index = read(source, start, stop)
        np.testing.assert_array_equal(points, IMAGES.transpose(0, 3, 1, 2)[start:stop])
        np.testing.assert_array_equal(found, LABELS[start:stop])
        assert index.tolist() == list(range(50))[start:stop]
    import_dataset(source, tmp_path / "d.zarr", step, shuffle=3)
    store = artifacts.open_store(tmp_path / "d.zarr", "dataset")
    order = store.column("index").read()
    np.testing.assert_array_equal(store.column("images").read(), IMAGES.transpose(0, 3, 1, 2)[order])
    np.testing.assert_array_equal(store.column("labels").read(), LABELS[order])


def test_names(tmp_path):
    source = open_source(str(save(tmp_path / "a")), classes=("a", "b"), name="mine")
    assert (source.spec.classes, source.spec.name) == (("a", "b"), "mine")
    with pytest.raises(DataError, match=r"a: extrapolated_targets\[\d+\] = \d is not among the 2 classes"):
        read(source)


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"data": None},
            "a.pickle has the keys extrapolated_targets, prediction_model; expected: data, extrapolated_tar",
        ),
        ({"extrapolated_targets": None}, "has the keys data, prediction_model; expected"),
        ({"data": IMAGES.reshape(50, -1)}, r"data are uint8 of shape \(50, 3072\); uint8 \(N, H, W, 3\) are expected"),
        ({"data": IMAGES.transpose(0, 3, 1, 2)}, r"uint8 of shape \(50, 3, 32, 32\)"),
        ({"data": IMAGES / 255}, r"data are float64 of shape \(50, 32, 32, 3\)"),
        ({"data": np.zeros((50, 0, 32, 3), np.uint8)}, r"uint8 of shape \(50, 0, 32, 3\)"),
        ({"data": np.zeros((1, 3000, 3000, 3), np.uint8)}, "which no set of images has"),
        ({"data": "text"}, "a.pickle: data is no array of numbers"),
        ({"extrapolated_targets": LABELS[:49]}, r"int64 of shape \(49,\), not one integer for each of 50 images"),
        ({"extrapolated_targets": LABELS / 2}, r"extrapolated_targets are float64"),
        ({"extrapolated_targets": LABELS * 10}, r"extrapolated_targets\[\d+\] = \d0 is not among the 10 classes"),
        ({"extrapolated_targets": LABELS - 10}, r"extrapolated_targets\[0\] = -\d+ is negative"),
        ({"extrapolated_targets": np.array([None])}, "an array of Python objects"),
        ({"prediction_model": Touch("MARK")}, "a.pickle wants posix.system, which is not data"),
    ],
)
def test_pickles_that_are_refused(tmp_path, monkeypatch, changed, words):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "a.pickle", **changed)
    with pytest.raises(DataError, match=words):
        import_dataset(open_source(str(path)), tmp_path / "d.zarr", step)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pickle"]


def test_a_file_of_cifar_is_sent_to_its_folder(tmp_path):
    path = tmp_path / "data_batch_1"
    path.write_bytes(Cifar(10).python(python2(2))["data_batch_1"])
    with pytest.raises(DataError, match=r"has the keys batch_label, labels, data, filenames; .* its whole folder"):
        open_source(str(path))


def test_identity_and_change(tmp_path):
    path = save(tmp_path / "a.pickle")
    source = Ti500kSource(path)
    source.unchanged()
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match="changed while it was read"):
        source.unchanged()
    with pytest.raises(DataError, match=r"a.pickle is cut short: it claims 153,600 bytes, but ends after"):
        Ti500kSource(path)


PEAK = """
import sys
from pathlib import Path
from datarobust.artifacts import Step
from datarobust.datasets import open_source
from datarobust.jobs.dataset import Import
from datarobust.jobs.make import make
make(Import(open_source(sys.argv[1])), Path(sys.argv[2]), lambda inputs: Step("dataset", (), "0", None, None, inputs))
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def write(path, rows, text):
    """A file of any size, piece by piece: row r has r % 256 as its first byte; its bytes spelled as text, or plain."""
    dtype = b"cnumpy\ndtype\n(X\x02\0\0\0u1\x89\x88tR(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    shape = b"(J" + struct.pack("<i", rows) + b"K\x20K\x20K\x03t"
    made = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\x01btR(K\x01" + shape + dtype + b"\x89"
    size = rows * 3072 + (sum(row % 256 > 127 for row in range(rows)) if text else 0)
    with path.open("wb") as file:
        file.write(
            b"\x80\x02}(U\x04data" + made + (b"c_codecs\nencode\n(X" if text else b"T") + struct.pack("<i", size)
        )
        for row in range(rows):
            first = bytes([row % 256])
            file.write((first.decode("latin-1").encode() if text else first) + bytes(3071))
        file.write(
            (b"X\x06\0\0\0latin1tR" if text else b"") + b"tbU\x14extrapolated_targets](" + b"K\x01" * rows + b"eu."
        )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize(("text", "times"), [(False, 1), (True, 3)])
def test_memory_is_that_of_the_file(tmp_path, text, times):
    """A file of 86 MB takes so much more than one of 25 MB; bytes spelled as text are held as what they spell, too."""
    peaks = []
    for rows in (8000, 28_000):
        write(tmp_path / "a.pickle", rows, text)
        words = [sys.executable, "-c", PEAK, tmp_path / "a.pickle", tmp_path / f"{rows}.zarr"]
        peaks.append(int(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
        (tmp_path / "a.pickle").unlink()
    found = artifacts.open_store(tmp_path / "28000.zarr")
    assert found.column("images").read()[:, 0, 0, 0].tolist() == [row % 256 for row in range(28_000)]
    assert peaks[1] - peaks[0] < times * 62_000 + 40_000  # kB, of 62,000 more in the file
