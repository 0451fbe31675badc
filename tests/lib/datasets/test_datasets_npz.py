"""npz files: what is recognised, what is streamed, what is refused."""

import io
import pickle
import random
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy
from tests.lib.stored import import_dataset

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets import npz, sources
from datarobust.datasets.npz import NpySource, NpzSource
from datarobust.errors import DataError, UsageError

from .releases import read

RNG = np.random.default_rng(0)


def save(path, compressed=False, **arrays):
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def pictures(rows=10, *shape):
    return RNG.integers(0, 256, (rows, *(shape or (4, 5, 3))), dtype=np.uint8)


def header(shape, dtype="|u1", order="False", version=1):
    """A .npy header that says anything."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


LABELS = header((2,), "<i8") + np.array([0, 1]).tobytes()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("keys", [("image", "label"), ("x", "y"), ("images", "labels")])
def test_known_keys_are_found_beside_others(tmp_path, keys, compressed):
    images, labels = pictures(), RNG.integers(0, 3, 10)
    path = save(tmp_path / "set.npz", compressed, **{keys[0]: images, keys[1]: labels, "other": np.zeros(3)})
    source = NpzSource(path)
    points, found, index = read(source)
    np.testing.assert_array_equal(points, images.transpose(0, 3, 1, 2))
    assert points.flags.c_contiguous
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(index, np.arange(10))
    assert (source.spec.name, source.spec.rows, source.spec.shape) == ("set", 10, (3, 4, 5))


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((4, 5, 3), None, (3, 4, 5)),
        ((4, 5, 1), None, (1, 4, 5)),
        ((3, 4, 5), None, (3, 4, 5)),
        ((1, 4, 5), None, (1, 4, 5)),
        ((3, 4, 3), "nhwc", (3, 3, 4)),
        ((3, 4, 3), "nchw", (3, 4, 3)),
        ((4, 5), None, (1, 4, 5)),
    ],
)
def test_layouts(tmp_path, shape, layout, expected):
    images = pictures(6, *shape)
    source = NpzSource(save(tmp_path / "a.npz", x=images, y=np.zeros(6, int)), layout=layout)
    points = read(source)[0]
    assert points.shape == (6, *expected) == (6, *source.spec.shape)
    channels_last = (len(shape) == 3 and layout != "nchw" and shape[0] not in (1, 3)) or layout == "nhwc"
    np.testing.assert_array_equal(
        points, images.transpose(0, 3, 1, 2) if channels_last else images.reshape(6, *expected)
    )


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((6, 3, 4, 3), "`layout` nhwc or `layout` nchw"),
        ((6, 4, 5, 4), "1 or 3 channels"),
        ((6,), r"points are \(N, H, W, C\)"),
        ((6, 2, 2, 2, 3), r"points are \(N, H, W, C\)"),
        ((6, 0, 4, 3), r"points are \(N, H, W, C\)"),
        ((6, 0), r"points are \(N, H, W, C\)"),
    ],
)
def test_shapes_that_are_no_points(tmp_path, shape, words):
    with pytest.raises(DataError, match=words):
        NpzSource(save(tmp_path / "a.npz", x=np.zeros(shape, np.uint8), y=np.zeros(6, int)))


def test_two_dimensions_are_features(tmp_path):
    for dtype in (np.uint8, np.float64, np.int16):
        values = RNG.integers(0, 200, (5, 7)).astype(dtype)
        source = NpzSource(save(tmp_path / f"{np.dtype(dtype)}.npz", x=values, y=np.zeros(5, int)))
        points = read(source)[0]
        assert source.spec.kind == "features"
        assert points.dtype == np.float32
        np.testing.assert_array_equal(points, values)


def test_fortran_order_is_read_where_it_fits_in_memory(tmp_path):
    images, values = pictures(7), RNG.normal(size=(7, 4)).astype(np.float32)
    for name, array in {"images": images, "values": values}.items():
        path = save(tmp_path / f"{name}.npz", True, x=np.asfortranarray(array), y=np.asfortranarray(np.arange(7)))
        points, labels, _ = read(NpzSource(path), 2, 6)
        np.testing.assert_array_equal(points, array.transpose(0, 3, 1, 2)[2:6] if name == "images" else array[2:6])
        assert labels.tolist() == [2, 3, 4, 5]


def test_foreign_byte_order_and_float_images(tmp_path):
    images = pictures()
    path = save(tmp_path / "a.npz", x=(images / 255).astype(">f4"), y=np.arange(10).astype(">i2"))
    points, labels, _ = read(NpzSource(path))
    np.testing.assert_array_equal(points, images.transpose(0, 3, 1, 2))
    assert labels.tolist() == list(range(10))


def test_a_first_image_of_zeros_and_ones_does_not_fix_the_scale(tmp_path):
    images = np.zeros((3000, 32, 32))  # several blocks
    images[0] = 1
    images[2999, 5, 5] = 200
    points = read(NpzSource(save(tmp_path / "a.npz", x=images, y=np.zeros(3000, int))))[0]
    assert points[0].max() == 1
    assert points[2999, 0, 5, 5] == 200


def test_a_mixture_of_ranges_is_named(tmp_path):
    images = np.full((3000, 32, 32), 0.2)
    images[2999, 5, 7] = 200
    source = NpzSource(save(tmp_path / "a.npz", x=images, y=np.zeros(3000, int)))
    with pytest.raises(DataError, match=r"a.npz: x\[2999, 5, 7\] = 200.0 lies outside 0..1"):
        read(source)
    images[0, 0, 0], images[2999] = 0.3, 200.5  # no bytes from the start
    with pytest.raises(DataError, match=r"a.npz: x\[0\] has values within 0..1, but others reach 200.5: one array has"):
        NpzSource(save(tmp_path / "a.npz", x=images, y=np.zeros(3000, int)))


def test_every_part_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 100 * 240)
    images = pictures(500, 9, 9, 3)
    source = NpzSource(save(tmp_path / "a.npz", True, x=images, y=np.arange(500)))
    assert source.spec.step < 100
    for start, stop in [(0, 500), (1, 2), (91, 93), (499, 900), (500, None), (700, None), (30, 410)]:
        blocks = list(source.blocks(start, stop))
        index = [i for block in blocks for i in block["index"]]
        assert index == list(range(500))[start:stop]
        for block in blocks:
            np.testing.assert_array_equal(block["images"], images[block["index"]].transpose(0, 3, 1, 2))


def test_class_names(tmp_path):
    for names in (np.array(["ant", "bée"]), np.array([b"ant", "bée".encode()])):
        source = NpzSource(save(tmp_path / "a.npz", x=pictures(2), y=np.arange(2), classes=names))
        assert source.spec.classes == ("ant", "bée")
    path = save(tmp_path / "b.npz", x=pictures(2), y=np.array([0, 2]), classes=np.array(["ant", "bee"]))
    with pytest.raises(DataError, match=r"y\[1\] = 2 is not among the 2 classes"):
        read(NpzSource(path))
    assert NpzSource(path, classes=("a", "b", "c")).spec.classes == ("a", "b", "c")
    with pytest.raises(DataError, match="one name a class"):
        NpzSource(save(tmp_path / "c.npz", x=pictures(2), y=np.arange(2), classes=np.arange(2)))


def test_soft_labels(tmp_path):
    rows = RNG.dirichlet(np.ones(4), 10).astype(np.float32)
    source = NpzSource(save(tmp_path / "a.npz", x=pictures(), y=rows))
    assert source.spec.soft == 4
    block = next(source.blocks())
    np.testing.assert_array_equal(block["soft"], rows)
    np.testing.assert_array_equal(block["labels"], rows.argmax(1))
    with pytest.raises(DataError, match="has 4 columns, but there are 2 class names"):
        NpzSource(save(tmp_path / "b.npz", x=pictures(), y=rows, classes=np.array(["a", "b"])))
    hot = NpzSource(save(tmp_path / "c.npz", x=pictures(), y=np.eye(4, dtype=int)[rows.argmax(1)]))
    assert hot.spec.soft == 0


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": pictures(), "y": np.zeros(9, int)}, "9 labels for 10 points"),
        ({"x": pictures(), "y": np.zeros((10, 2, 2), int)}, "labels are"),
        ({"x": pictures(), "y": np.array([["a", "b"]] * 10)}, "labels that are text are"),
        ({"x": np.zeros((10, 4, 5, 3), "S1"), "y": np.zeros(10, int)}, "holds text"),
        ({"x": np.zeros((10, 4), complex), "y": np.zeros(10, int)}, "neither numbers nor text"),
        (
            {"x": pictures(), "z": np.zeros(10, int)},
            "expected: image, label; x, y; images, labels; X, y; train_images, train_labels",
        ),
        ({"x": pictures(), "y": np.zeros(10), "image": pictures(), "label": np.zeros(10)}, "`keys` POINTS,LABELS"),
        ({}, "has the arrays none"),
    ],
)
def test_arrays_that_are_no_data_set(tmp_path, arrays, words):
    with pytest.raises(DataError, match=words):
        NpzSource(save(tmp_path / "a.npz", **arrays))


def test_other_keys_by_name(tmp_path):
    path = save(tmp_path / "a.npz", x_train=pictures(), y_train=np.arange(10), x=pictures(3), y=np.arange(3))
    assert NpzSource(path, keys=("x_train", "y_train")).spec.rows == 10
    with pytest.raises(DataError, match="expected: x_test, y_train"):
        NpzSource(path, keys=("x_test", "y_train"))


# ------------------------------------------------------------------------------------------------ hostile and damaged


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("key", ["x", "y", "classes"])
def test_pickles_are_never_loaded(tmp_path, key):
    marker = tmp_path / "ran"
    arrays = {"x": pictures(2), "y": np.arange(2), "classes": np.array(["a", "b"])}
    arrays[key] = np.array([Bomb(marker), Bomb(marker)], dtype=object)
    with pytest.raises(DataError, match="Python objects"):
        NpzSource(save(tmp_path / "a.npz", **arrays))
    assert not marker.exists()
    assert pickle.dumps(Bomb(marker))


def test_a_structured_dtype_with_an_object_inside_is_refused(tmp_path):
    descr = "[('a', '|O')]"
    data = header((2,), "X").replace(b"'X'", descr.encode().ljust(3))
    path = zipped(tmp_path / "a.npz", {"x.npy": data, "y.npy": LABELS})
    with pytest.raises(DataError):
        NpzSource(path)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8 * 10**12 // 3072, 32, 32, 3), "claims 7,99"),
        ((10**30, 32, 32, 3), "claims 3,07"),
        ((2, 32, 32), "claims"),
        ((-2, 32, 32, 3), "claims the shape|claims -"),
        ((True, 4), "claims|header"),
        ("9" * 5000, "header"),
        ("(" * 4000, "header"),
        ((0, 1 << 62, 32, 3), "claims the shape"),  # no bytes, but strides that overflow
        ((0, 10**30), "claims the shape"),
    ],
)
def test_headers_that_lie(tmp_path, shape, words):
    rest = b"" if shape[0] == 0 else bytes(100)
    path = zipped(tmp_path / "a.npz", {"x.npy": header(shape) + rest, "y.npy": LABELS})
    started = time.process_time()
    tracemalloc.start()
    with pytest.raises(DataError, match=words):
        NpzSource(path)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()
    assert time.process_time() - started < 2  # of this process: others may be busy


def test_a_header_of_four_gigabytes_is_not_read(tmp_path):
    data = b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xFFFFFFF0) + b" " * (64 << 20)
    path = zipped(tmp_path / "a.npz", {"x.npy": data, "y.npy": LABELS}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(DataError, match="header"):
        NpzSource(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def lie_about_size(path, size):
    """Let the central directory claim ``size`` uncompressed bytes of the first member, zip64 where needed."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        start = archive.start_dir
    raw = path.read_bytes()[:start]
    directory = b""
    for place, info in enumerate(infos):
        claimed = size if place == 0 else info.file_size
        extra = struct.pack("<HHQ", 1, 8, claimed)
        directory += struct.pack(
            "<4s4B4HL2L5H2L", b"PK\x01\x02", 45, 3, 45, 0, info.flag_bits, info.compress_type, 0, 33, info.CRC,
            info.compress_size, 0xFFFFFFFF, len(info.filename), len(extra), 0, 0, 0, 0, info.header_offset,
        ) + info.filename.encode() + extra  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(infos), len(infos), len(directory), start, 0)
    path.write_bytes(raw + directory + end)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_that_claims_terabytes(tmp_path, method):
    shape = (8 * 10**12 // 3072, 32, 32, 3)
    path = zipped(tmp_path / "a.npz", {"x.npy": header(shape) + bytes(1000), "y.npy": LABELS}, method)
    lie_about_size(path, len(header(shape)) + 3072 * shape[0])
    with pytest.raises(DataError, match="cannot hold"):
        NpzSource(path)


def test_an_archive_that_claims_a_little_more_than_it_has(tmp_path):
    path = zipped(
        tmp_path / "a.npz", {"x.npy": header((3, 4)) + bytes(8), "y.npy": LABELS.replace(b"(2,)", b"(3,)")},
        zipfile.ZIP_DEFLATED,
    )  # fmt: skip
    lie_about_size(path, len(header((3, 4))) + 12)
    with pytest.raises(DataError):
        read(NpzSource(path))


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_BOMB_BYTES", 1 << 20)
    members = {"x.npy": header((3000, 1024)) + bytes(3000 * 1024), "y.npy": header((3000,)) + bytes(3000)}
    path = zipped(tmp_path / "a.npz", members, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="would grow"):
        NpzSource(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path, method):
    path = zipped(tmp_path / "a.npz", {"x.npy": header((2, 3)) + bytes(6), "y.npy": LABELS}, method)
    with pytest.raises(DataError, match="savez_compressed"):
        NpzSource(path)


def test_two_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header((2, 3)) + bytes(6))
        archive.writestr("y.npy", LABELS)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", header((2, 3)) + bytes(6))
    with pytest.raises(DataError, match="two members are called x\\.npy"):
        NpzSource(tmp_path / "a.npz")


def test_a_newer_header_version(tmp_path):
    data = bytearray(header((2, 3), version=2) + bytes(6))
    data[6] = 3
    path = zipped(tmp_path / "a.npz", {"x.npy": bytes(data), "y.npy": LABELS})
    with pytest.raises(DataError, match=r"version 3\.0"):
        NpzSource(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"PK\x05\x06", b"not a zip file at all" * 100, b"PK\x05\x06" + b"\xff" * 18]
)
def test_files_that_are_no_archive(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.npz"):
        NpzSource(tmp_path / "a.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_every_damage_is_noticed(tmp_path, compressed):
    """One byte changed, or the end cut off: one sentence, or exactly the right rows; nothing else, ever."""
    images = pictures(30, 8, 8, 3)
    path = save(tmp_path / "a.npz", compressed, x=images, y=np.arange(30), classes=np.array(list(map(str, range(30)))))
    whole = path.read_bytes()
    expected = read(NpzSource(path))
    dice = random.Random(7)
    noticed = 0
    # Every byte around the headers and the directory would take long: 150 places of all, and every third of the tail.
    places = [dice.randrange(len(whole)) for _ in range(150)] + list(range(len(whole) - 300, len(whole), 3))
    for place in places:
        raw = bytearray(whole)
        raw[place] ^= 1 << dice.randrange(8)
        noticed += outcome(path, raw, expected)
    for _ in range(30):
        noticed += outcome(path, whole[: dice.randrange(len(whole))], expected)
    assert noticed > 130


def outcome(path, raw, expected):
    path.write_bytes(raw)
    try:
        found = read(NpzSource(path))
    except DataError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert "a.npz" in sentence
        return 1
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    return 0


def test_names_from_the_file_are_shown_harmless(tmp_path):
    path = save(tmp_path / "a\x1b[31m.npz", **{"k\x1b]0;evil\x07": np.zeros(2)})
    with pytest.raises(DataError) as caught:
        NpzSource(path)
    assert "\x1b" not in str(caught.value)
    assert "\x07" not in str(caught.value)


# --------------------------------------------------------------------------------------------------- size and real data


@pytest.mark.parametrize("compressed", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, compressed):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1 << 20)
    rows, block = 6000, pictures(400, 32, 32, 3)
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method, compresslevel=1) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            npy.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (rows, 32, 32, 3)})
            for _ in range(rows // 400):
                stream.write(block.tobytes())
        buffer = io.BytesIO()
        np.save(buffer, np.arange(rows, dtype=np.int32))
        archive.writestr("y.npy", buffer.getvalue())
    tracemalloc.start()
    source = NpzSource(tmp_path / "a.npz")
    seen = sum(len(block["labels"]) for block in source.blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == rows
    assert peak < 8 << 20, f"{peak / 2**20:.0f} MiB for a file of {rows * 3072 / 2**20:.0f} MiB"


@pytest.mark.parametrize("name", ["cifar10_test", "mnist_test"])
def test_real_sets_equal_numpys_reading(shared, name):
    path = shared / "data" / f"{name}.npz"
    points, labels, index = read(NpzSource(path))
    with np.load(path, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    np.testing.assert_array_equal(points, x.transpose(0, 3, 1, 2) if x.ndim == 4 else x[:, None])
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(index, np.arange(len(y)))


def test_a_file_that_changes_is_noticed(tmp_path):
    path = save(tmp_path / "a.npz", x=pictures(), y=np.arange(10))
    source = NpzSource(path)
    save(path, x=pictures(11), y=np.arange(11))
    with pytest.raises(DataError, match="changed while it was read"):
        source.unchanged()


def resized(shape=(10, 3, 4, 5), high=1.0):
    return (RNG.random(shape) * high).astype(np.float32)


@pytest.mark.parametrize(
    ("images", "drawn"),
    [
        (resized(), (0, 1)),
        (resized(high=255.0), (0, 255)),
        (resized() - np.float32(0.5), None),
        (np.concatenate([np.zeros((5, 3, 4, 5), np.float32), resized((5, 3, 4, 5))]), (0, 1)),
    ],
)
def test_float_images_that_are_no_bytes_become_features_with_a_picture(tmp_path, images, drawn):
    low, high = drawn or (images.min(), images.max())
    for name, array in {"nchw": images, "nhwc": np.ascontiguousarray(images.transpose(0, 2, 3, 1))}.items():
        source = NpzSource(save(tmp_path / f"{name}.npz", x=array, y=np.arange(10)))
        assert (source.spec.kind, source.spec.shape) == ("features", (60,))
        assert source.spec.picture == ((3, 4, 5), pytest.approx(low), pytest.approx(high))
        assert "they become features" in source.spec.notes[-1]
        np.testing.assert_array_equal(read(source)[0].reshape(images.shape), images)
    import_dataset(source, tmp_path / "d.zarr", lambda inputs: Step("made", (), "0", None, None, inputs))
    store = artifacts.open_store(tmp_path / "d.zarr", "dataset")
    assert store.attributes["picture"] == {"shape": [3, 4, 5], "low": pytest.approx(low), "high": pytest.approx(high)}
    assert store.column("features").shape == (10, 60)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.3, np.nan], r"x\[0, 0, 1\] = nan is not a number"),
        ([0.3, np.inf], r"x\[0, 0, 1\] = inf is not a number"),
        ([-1.0, 3.0], "lies outside 0..255"),
        ([-1.0, 0.0], "lies outside 0..1"),
        ([2.0, 300.0], "has values up to 300: images reach 1 or 255"),
        ([2.5, 300.0], "has values up to 300: images reach 1 or 255"),
    ],
)
def test_float_images_that_are_damaged(tmp_path, values, words):
    images = np.resize(np.array(values), (4, 6, 6))
    with pytest.raises(DataError, match=words):
        read(NpzSource(save(tmp_path / "a.npz", x=images, y=np.arange(4))))


def test_labels_that_are_text(tmp_path):
    text = ["dog", "ant", "dog", "bee"]
    for array in (np.array(text), np.array(text, "S"), np.array(text)[:, None]):
        source = NpzSource(save(tmp_path / "a.npz", x=pictures(4), y=array))
        assert source.spec.classes == ("ant", "bee", "dog")
        assert read(source)[1].tolist() == [2, 0, 2, 1]
        assert read(source, 1, 3)[1].tolist() == [0, 2]
    named = NpzSource(
        save(tmp_path / "b.npz", x=pictures(4), y=np.array(text), classes=np.array(["dog", "bee", "ant"]))
    )
    assert read(named)[1].tolist() == [0, 2, 0, 1]
    with pytest.raises(DataError, match=r"y\[3\] = 'bee' is not among the 2 class names"):
        NpzSource(save(tmp_path / "c.npz", x=pictures(4), y=np.array(text)), classes=("ant", "dog"))


def test_names_of_points(tmp_path):
    for names in (np.array(["a.png", "bé.png", "c"]), np.array([b"a.png", "bé.png".encode(), b"c"])):
        [block] = NpzSource(save(tmp_path / "a.npz", x=pictures(3), y=np.arange(3), filenames=names)).blocks()
        assert [bytes(name).rstrip(b"\0").decode() for name in block["names"]] == ["a.png", "bé.png", "c"]
    for other in (np.array(["a", "b"]), np.arange(3)):  # of something else
        assert not NpzSource(save(tmp_path / "a.npz", x=pictures(3), y=np.arange(3), names=other)).spec.names


def test_splits_as_medmnist_and_keras_have_them(tmp_path):
    sizes = {"train": 5, "val": 2, "test": 3}
    for name, spelled in {"medmnist": "{}_images {}_labels", "keras": "x_{} y_{}", "other": "X_{} y_{}"}.items():
        arrays = {}
        for split, size in sizes.items():
            points, labels = spelled.format(split, split).split()
            arrays |= {points: pictures(size), labels: np.arange(size)[:, None]}
        path = save(tmp_path / f"{name}.npz", **arrays)
        for split, size in sizes.items():
            source = NpzSource(path, split=split)
            assert (source.spec.name, source.spec.rows) == (f"{name}-{split}", size)
        assert NpzSource(path).identity() == NpzSource(path, split="train").identity()
        assert NpzSource(path).spec.rows == 5
    for options, words in ({"split": "valid"}, "is train, val, test, not valid"), (
        {"split": "test", "keys": ("x", "y")}, "leave out `split`",
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            NpzSource(path, **options)
    path = save(tmp_path / "part.npz", x_test=pictures(2), y_test=np.arange(2))
    with pytest.raises(DataError, match="has no arrays of the split train, but of test"):
        NpzSource(path)
    path = save(tmp_path / "both.npz", x=pictures(2), y=np.arange(2), x_train=pictures(2), y_train=np.arange(2))
    with pytest.raises(DataError, match="holds several data sets"):
        NpzSource(path)
    assert NpzSource(path, split="train").spec.name == "both-train"


def test_a_pair_of_npy_files(tmp_path):
    images = pictures(6)
    np.save(tmp_path / "x.npy", images)
    for name, content in {"y.npy": np.arange(6) % 2, "t.npy": np.array(["no", "yes"] * 3)}.items():
        np.save(tmp_path / name, content)
    (tmp_path / "y.txt").write_text("# labels\n0\n1\n\n0\n1\n0\n1\n")
    (tmp_path / "t.txt").write_text("no\nyes\n" * 3)
    for name in ("y.npy", "t.npy", "y.txt", "t.txt"):
        source = NpySource(tmp_path / "x.npy", table=tmp_path / name)
        points, labels, _ = read(source)
        np.testing.assert_array_equal(points, images.transpose(0, 3, 1, 2))
        assert labels.tolist() == [0, 1] * 3
        assert read(source, 2, 5)[1].tolist() == [0, 1, 0]
        assert source.spec.classes == (("no", "yes") if name[0] == "t" else ())
        assert source.spec.name == "x"
        before = source.identity()
        (tmp_path / name).touch()
        assert NpySource(tmp_path / "x.npy", table=tmp_path / name).identity() != before
    np.save(tmp_path / "f.npy", np.asfortranarray(RNG.normal(size=(6, 3))))
    assert NpySource(tmp_path / "f.npy", table=tmp_path / "y.npy").spec.kind == "features"
    with pytest.raises(UsageError, match=r"x.npy has no labels: give them with `labels` FILE"):
        NpySource(tmp_path / "x.npy")
    for name, content, words in (
        ("a.txt", b"1\n" * 5, "a.txt has 5 labels, but there are 6 points"),
        ("b.txt", b"1\n" * 7, "b.txt, line 7 is one label too many"),
        ("c.txt", b"1\n\xff\n", "c.txt, line 2 is not UTF-8"),
        ("d.npy", b"1\n" * 7, "d.npy has no readable .npy header"),
        ("e.npy", b"", "e.npy is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            NpySource(tmp_path / "x.npy", table=tmp_path / name)
    np.save(tmp_path / "g.npy", np.array([{}] * 6), allow_pickle=True)
    with pytest.raises(DataError, match="holds Python objects"):
        NpySource(tmp_path / "x.npy", table=tmp_path / "g.npy")
    whole = (tmp_path / "x.npy").read_bytes()
    for cut in (whole[:-1], whole + b"0", whole[:60], whole[:7]):
        (tmp_path / "cut.npy").write_bytes(cut)
        with pytest.raises(DataError, match=r"cut\.npy"):
            NpySource(tmp_path / "cut.npy", table=tmp_path / "y.npy")
