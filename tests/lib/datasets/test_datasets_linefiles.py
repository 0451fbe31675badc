"""Files of labels: lines and arrays, and everything that is none."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.datasets.linefiles import read_labels
from datarobust.errors import DataError


@settings(max_examples=30)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=30), st.sampled_from(["", "#9\n", "\n", " \r\n"]))
def test_lines(tmp_path_factory, labels, between):
    path = tmp_path_factory.mktemp("l") / "labels.txt"
    path.write_bytes("".join(f"{between}{label}\r\n" for label in labels).encode())
    found, digest = read_labels(path, len(labels), 100)
    assert (found.tolist(), found.dtype) == (labels, np.int64)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, ">i4"])
def test_arrays(tmp_path, dtype):
    labels = np.array([3, 0, 9, 9], dtype)
    for name, array in {"flat.npy": labels, "column.npy": labels[:, None]}.items():
        np.save(tmp_path / name, array)
        found, digest = read_labels(tmp_path / name, 4, 10)
        assert (found.tolist(), found.dtype) == ([3, 0, 9, 9], np.int64)
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "classes", "words"),
    [
        ("1\n2\n", 0, r"labels\.txt has 2 labels, but the dataset has 3 points"),
        ("1\n2\n\n3\n4\n", 0, r"labels\.txt, line 5 is one label too many: the dataset has 3 points"),
        ("1\n\n12\n3\n", 10, r"line 3 is 12, but the classes are 0\.\.9: name others with `classes`"),
        ("1\n2000000\n3\n", 0, r"line 2 is 2000000, but that is not a class number"),
        (f"1\n{'9' * 400}\n3\n", 0, r"line 2 is not a label: '9{40}'"),
        ("1\n-2\n3\n", 10, r"line 2 is not a label: '-2'"),
        ("1\n2.0\n3\n", 10, r"line 2 is not a label: '2\.0'"),
        ("cat\n2\n3\n", 10, r"line 1 is not a label: 'cat'"),
        ("1\n2\t3\n3\n", 10, r"line 2 is not a label: '2\\t3'"),
        ("1\n1_0\n3\n", 10, r"line 2 is not a label: '1_0'"),
        ("\x1b[31m\n", 10, r"line 1 is not a label: '\\x1b\[31m'"),
        (f"1\n{' ' * 5000}\n3\n", 10, r"line 2 is too long"),
        ("", 10, r"labels\.txt has 0 labels"),
    ],
)
def test_lines_that_are_no_labels(tmp_path, text, classes, words):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_labels(path, 3, classes)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([0, 1]), "has 2 labels, but the dataset has 3 points"),
        (np.array([0, 1, -1]), r"l\.npy\[2\] = -1 is negative"),
        (np.array([0, 1, 10]), r"l\.npy\[2\] = 10 is not among the 10 classes"),
        (np.array([0, 1, 0.5]), r"l\.npy\[2\] = 0\.5 is not a whole number"),
        (np.array([0, 1, np.nan]), "is not a whole number"),
        (np.eye(3), r"has shape \(3, 3\): one label a point is needed"),
        (np.array(7), r"has shape \(\)"),
        (np.array(["a", "b", "c"]), "has dtype <U1: labels are whole numbers"),
        (np.array([0, 1, None], object), "holds Python objects"),
    ],
)
def test_arrays_that_are_no_labels(tmp_path, array, words):
    np.save(tmp_path / "l.npy", array)
    with pytest.raises(DataError, match=words):
        read_labels(tmp_path / "l.npy", 3, 10)


def test_damaged_arrays(tmp_path):
    np.save(tmp_path / "l.npy", np.arange(300))
    whole = (tmp_path / "l.npy").read_bytes()
    for data in (
        whole[:8],
        whole[:60],
        whole[:200],
        whole.replace(b"(300,)", b"(9**9,)"),
        whole.replace(b"<i8", b"<zz"),
    ):
        (tmp_path / "l.npy").write_bytes(data)
        with pytest.raises(DataError, match=r"l\.npy"):
            read_labels(tmp_path / "l.npy", 300, 0)
    (tmp_path / "l.npy").write_bytes(whole.replace(b"(300,)", b"(10000000000000,)".rjust(6)))
    with pytest.raises(DataError, match=r"l\.npy"):
        read_labels(tmp_path / "l.npy", 300, 0)


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="cannot be read"):
            read_labels(path, 3, 0)
