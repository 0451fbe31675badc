"""Values are what they claim to be, or the first that is not is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarobust.datasets import sources
from datarobust.errors import DataError

pixels = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=4, max_side=5))


@given(pixels, st.sampled_from([np.float16, np.float32, np.float64, ">f4"]))
def test_fractions_of_255_come_back_exactly(bytes_, dtype):
    unit = (bytes_ / 255.0).astype(dtype)
    scale = sources.tell_scale(unit) or "unit"
    assert scale == "unit"
    np.testing.assert_array_equal(sources.as_images(unit, scale, 0, "x"), bytes_)


@given(pixels, st.sampled_from([np.float32, np.float64, np.int64, np.int16, np.uint16, np.uint8]))
def test_whole_numbers_come_back_exactly(bytes_, dtype):
    found = sources.as_images(bytes_.astype(dtype), "bytes", 0, "x")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, bytes_)


def test_every_byte_as_float16_fraction():
    every = np.arange(256, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(sources.as_images((every / 255).astype(np.float16), "unit", 0, "x"), every)


def test_booleans_are_black_and_white():
    np.testing.assert_array_equal(sources.as_images(np.array([[False, True]]), "unit", 0, "x"), [[0, 255]])


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0, 1, 1, 0], None),
        ([0, 1, 0.5], "unit"),
        ([0, 1, 7, 0.5], "bytes"),
        ([np.nan, 0, 200], "bytes"),
        ([-3, 1], None),
    ],
)
def test_the_first_telling_value_decides_the_scale(values, scale):
    assert sources.tell_scale(np.array(values, dtype=np.float64)) == scale


@pytest.mark.parametrize(
    ("value", "scale", "words"),
    [
        (np.nan, "unit", "not a pixel value"),
        (np.inf, "bytes", "not a pixel value"),
        (-np.inf, "unit", "not a pixel value"),
        (0.5, "unit", "not a multiple of 1/255"),
        (2.0, "unit", "outside 0..1"),
        (-1.0, "unit", "outside 0..1"),
        (0.5, "bytes", "not a whole number"),
        (256.0, "bytes", "outside 0..255"),
        (-1.0, "bytes", "outside 0..255"),
        (1e300, "unit", "outside 0..1"),
    ],
)
def test_the_first_wrong_float_is_named(value, scale, words):
    images = np.zeros((3, 2, 2))
    images[1, 0, 1] = images[2, 1, 1] = value
    with pytest.raises(DataError, match=words) as caught:
        sources.as_images(images, scale, 100, "f.npz: x")
    assert str(caught.value).startswith("f.npz: x[101, 0, 1] = ")


@pytest.mark.parametrize("value", [-1, 256])
def test_integers_out_of_range_are_named(value):
    images = np.zeros((2, 2, 2), dtype=np.int32)
    images[1, 1, 0] = value
    with pytest.raises(DataError, match=rf"x\[5, 1, 0\] = {value} is not a byte"):
        sources.as_images(images, "bytes", 4, "x")


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e30, 1e30)))
def test_features_are_rounded_to_float32(values):
    np.testing.assert_array_equal(sources.as_features(values, 0, "x"), values.astype(np.float32))


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (np.nan, np.float32, "is not a number"),
        (np.inf, np.float64, "is not a number"),
        (1e39, np.float64, "exceeds float32"),
        ((1 << 24) + 1, np.int64, "not exact in float32"),
        (-(1 << 25), np.int32, "not exact in float32"),
        (1 << 40, np.uint64, "not exact in float32"),
    ],
)
def test_the_first_wrong_feature_is_named(value, dtype, words):
    values = np.zeros((2, 3), dtype=dtype)
    values[1, 2] = value
    with pytest.raises(DataError, match=words) as caught:
        sources.as_features(values, 7, "x")
    assert str(caught.value).startswith("x[8, 2] = ")


@given(st.lists(st.integers(0, 9), min_size=1), st.sampled_from(["u1", "i8", ">i4", "f4", "f8"]), st.booleans())
def test_whole_labels_of_any_dtype(labels, dtype, column):
    raw = np.array(labels).astype(dtype).reshape((-1, 1) if column else -1)
    hard, soft = sources.as_labels(raw, 0, "y", 10)
    assert hard.dtype == np.int64
    assert hard.tolist() == labels
    assert soft is None


@pytest.mark.parametrize(
    ("value", "dtype", "classes", "words"),
    [
        (-1, np.int64, 0, "is negative"),
        (10, np.int64, 10, "not among the 10 classes 0..9"),
        (2**63, np.uint64, 0, "too large"),
        (10**7, np.int32, 0, "too large"),
        (0.5, np.float32, 0, "not a whole number"),
        (np.nan, np.float64, 0, "not a whole number"),
        (np.inf, np.float64, 0, "not a whole number"),
        (-2.0, np.float64, 0, "is negative"),
    ],
)
def test_the_first_wrong_label_is_named(value, dtype, classes, words):
    labels = np.zeros(4, dtype=dtype)
    labels[2:] = value
    with pytest.raises(DataError, match=words) as caught:
        sources.as_labels(labels, 10, "y", classes)
    assert str(caught.value).startswith("y[12] = ")


def test_one_hot_rows_are_hard_labels():
    for dtype in (np.uint8, np.int64, np.bool_):
        hard, soft = sources.as_labels(np.eye(4, dtype=dtype)[[2, 0, 3]], 0, "y")
        assert hard.tolist() == [2, 0, 3]
        assert soft is None


def test_probabilities_are_soft_labels_with_ties_to_the_lower_class():
    rows = np.array([[0.25, 0.5, 0.25], [0.4, 0.2, 0.4]])
    hard, soft = sources.as_labels(rows, 0, "y")
    assert hard.tolist() == [1, 0]
    assert soft.dtype == np.float32
    np.testing.assert_array_equal(soft, rows.astype(np.float32))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([0.5, 0.4], r"y\[4\] sums to 0.9"),
        ([1.5, -0.5], r"y\[4, 1\] = -0.5 is negative"),
        ([np.nan, 1], r"y\[4, 0\] = nan is not a probability"),
    ],
)
def test_rows_that_are_no_distribution_are_named(row, words):
    with pytest.raises(DataError, match=words):
        sources.as_labels(np.array([[0.5, 0.5], row]), 3, "y")


def test_two_ones_are_not_one_hot():
    with pytest.raises(DataError, match="sums to 2"):
        sources.as_labels(np.array([[1, 1, 0]]), 0, "y")
