"""CIFAR-10, CIFAR-100 and TI500K in every form they are published in: the same rows from each, and what is refused."""

import hashlib
import os
import struct
import tracemalloc

import numpy as np
import pytest
from tests.lib.stored import import_dataset, merge, subset

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets import open_source, sources
from datarobust.datasets.cifar import CIFAR10, CifarSource, Ti500kSource
from datarobust.datasets.recognise import recognise
from datarobust.errors import DataError, UsageError
from datarobust.randomness import Domain, permutation

from .releases import COARSE, FINE, TEN, Cifar, archive, folder, python2, python3, read

SETS = {10: Cifar(10), 100: Cifar(100, rows=40)}
FORMS = {
    "python 2, protocol 2": lambda cifar: cifar.python(python2(2)),
    "python 2, protocol 0": lambda cifar: cifar.python(python2(0)),
    "python 2, Fortran": lambda cifar: cifar.python(python2(2, fortran=True)),
    "python 3, protocol 0": lambda cifar: cifar.python(python3(0)),
    "python 3, protocol 2": lambda cifar: cifar.python(python3(2)),
    "python 3, protocol 4": lambda cifar: cifar.python(python3(4)),
    "python 3, protocol 5": lambda cifar: cifar.python(python3(5)),
    "binary": lambda cifar: cifar.binary(),
}
PLACES = {
    "folder": folder,
    "tar.gz": archive,
    "tar": lambda path, files: archive(path, files, mode="w"),
    "tar.gz without a folder": lambda path, files: archive(path, files, top="./"),
}


def step(inputs):
    return Step("dataset", ("import",), "0", None, None, inputs)


def columns(path):
    store = artifacts.open_store(path, "dataset")
    return {name: store.column(name).read() for name in store.names()}


@pytest.mark.parametrize("classes", SETS)
@pytest.mark.parametrize(
    ("form", "place"),
    [
        *((form, "folder") for form in FORMS),
        *((form, place) for form in ("python 2, protocol 2", "binary") for place in list(PLACES)[1:]),
    ],
)
def test_every_form_has_the_same_rows(tmp_path, classes, form, place):
    cifar = SETS[classes]
    path = PLACES[place](tmp_path / "set", FORMS[form](cifar))
    assert recognise(str(path)) == "cifar"
    for split in ("train", "test"):
        source = open_source(str(path), split=split)
        points, labels, index, *coarse = read(source)
        expected = cifar.rows(split)
        np.testing.assert_array_equal(points, expected[0])
        np.testing.assert_array_equal(labels, expected[1])
        np.testing.assert_array_equal(index, np.arange(len(expected[0])))
        assert points.flags.c_contiguous
        assert (source.spec.rows, source.spec.shape, source.spec.kind) == (len(points), (3, 32, 32), "images")
        assert source.spec.name == f"cifar{classes}-{split}"
        assert source.spec.classes == (TEN if classes == 10 else FINE)
        assert source.spec.coarse == (classes == 100)
        if coarse:
            np.testing.assert_array_equal(coarse[0], expected[2])


@pytest.mark.parametrize("form", ["python 2, protocol 2", "python 3, protocol 4", "binary"])
def test_super_classes_as_labels(tmp_path, form):
    source = open_source(str(archive(tmp_path / "set", FORMS[form](SETS[100]))), labels="coarse")
    points, labels, index = read(source)
    expected = SETS[100].rows()
    np.testing.assert_array_equal(points, expected[0])
    np.testing.assert_array_equal(labels, expected[2])
    assert index.tolist() == list(range(40))
    assert (source.spec.name, source.spec.classes, source.spec.coarse) == ("cifar100s-train", COARSE, False)


@pytest.mark.parametrize(
    ("form", "place"),
    [
        ("python 2, protocol 2", "folder"),
        ("python 2, protocol 0", "tar.gz"),
        ("python 2, Fortran", "tar"),
        ("binary", "folder"),
        ("binary", "tar.gz without a folder"),
    ],
)
def test_every_span_of_rows(tmp_path, monkeypatch, form, place):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 3 * 3100)
    source = CifarSource(PLACES[place](tmp_path / "set", FORMS[form](SETS[10])))
    whole = read(source)
    assert len(list(source.blocks())) == 12  # of three rows, across the files of seven
    for start, stop in ((0, 35), (1, 34), (6, 8), (7, 14), (20, 21), (34, 35), (5, None), (0, 99)):
        for found, expected in zip(read(source, start, stop), whole, strict=True):
            np.testing.assert_array_equal(found, expected[start:stop])
        called = [bytes(name).decode() for block in source.blocks(start, stop) for name in block.get("names", [])]
        every = [f"data_batch_{batch}_{place}.png" for batch in range(1, 6) for place in range(7)]
        assert called == (every[start:stop] if form != "binary" else [])
    assert not list(source.blocks(12, 12))


# ------------------------------------------------------------------------------------------------------ as a store


@pytest.mark.parametrize("options", [{}, {"shuffle": 3}, {"shuffle": 3, "budget": 40_000}, {"shuffle": 3, "limit": 11}])
def test_coarse_labels_stay_with_their_rows(tmp_path, options):
    source = open_source(str(folder(tmp_path / "set", SETS[100].binary())))
    import_dataset(source, tmp_path / "d.zarr", step, **options)
    order = permutation(3, Domain.IMPORT, 40)[: options.get("limit", 40)] if "shuffle" in options else np.arange(40)
    found, expected = columns(tmp_path / "d.zarr"), SETS[100].rows()
    assert set(found) == {"images", "labels", "index", "coarse"}
    np.testing.assert_array_equal(found["index"], order)
    for name, values in zip(("images", "labels", "coarse"), expected, strict=True):
        np.testing.assert_array_equal(found[name], values[order])
    store = artifacts.open_store(tmp_path / "d.zarr", "dataset")
    assert store.column("coarse").dtype == np.int64
    artifacts.check(store.path)
    chosen = np.array([5, 2, 9])
    subset(store, chosen, tmp_path / "s.zarr", step)
    merge([artifacts.open_store(tmp_path / "s.zarr"), store], tmp_path / "m.zarr", step)
    np.testing.assert_array_equal(columns(tmp_path / "s.zarr")["coarse"], found["coarse"][chosen])
    np.testing.assert_array_equal(
        columns(tmp_path / "m.zarr")["coarse"], np.concatenate([found["coarse"][chosen], found["coarse"]])
    )


class Interrupt(BaseException):
    """As abrupt as a kill for the code above it."""


def test_an_interrupted_import_goes_on_with_the_same_bits(tmp_path):
    """Two shards of images; the archive is opened anew by every run."""
    path = archive(tmp_path / "set.tar.gz", Cifar(100, rows=6000).binary(), compresslevel=0)

    def stop_after(blocks):
        def progress(items):
            for place, item in enumerate(items):
                if place == blocks:
                    raise Interrupt
                yield item

        return progress

    straight, output = tmp_path / "straight.zarr", tmp_path / "d.zarr"
    import_dataset(open_source(str(path)), straight, step)
    with pytest.raises(Interrupt):
        import_dataset(open_source(str(path)), output, step, progress=stop_after(4))
    import_dataset(open_source(str(path)), output, step)
    for name, values in columns(straight).items():
        np.testing.assert_array_equal(columns(output)[name], values)
    assert artifacts.open_store(output).digest == artifacts.open_store(straight).digest


def test_identity_and_digest(tmp_path):
    files = SETS[100].binary()
    inside, packed = folder(tmp_path / "set", files), archive(tmp_path / "set.tar.gz", files)
    made = [
        CifarSource(path, split=split, labels=labels)
        for path in (inside, packed)
        for split in ("train", "test")
        for labels in ("fine", "coarse")
    ]
    assert len({source.identity() for source in made}) == 8
    assert made[-1].digest() == hashlib.sha256(packed.read_bytes()).hexdigest()
    read_files = ("train.bin", "coarse_label_names.txt", "fine_label_names.txt")
    lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in read_files)
    assert made[0].digest() == hashlib.sha256(lines.encode()).hexdigest()
    for source in made:
        source.unchanged()
    os.utime(inside / "train.bin", (0, 0))
    made[2].unchanged()  # of the test set, which does not read it
    os.utime(packed, (0, 0))
    for source in (made[0], made[4]):
        with pytest.raises(DataError, match="changed while it was read"):
            source.unchanged()


# --------------------------------------------------------------------------------------------------- what is refused


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    ("place", "file"),
    [("folder", "data_batch_1"), ("tar.gz", "data_batch_5"), ("tar", "batches.meta"), ("folder", "batches.meta")],
)
def test_hostile_files_are_refused_and_not_run(tmp_path, place, file):
    files = SETS[10].python(python2(2))
    files[file] = python3(4)({"data": np.zeros((7, 3072), np.uint8), "labels": Touch(tmp_path / "marker")})
    path = PLACES[place](tmp_path / "set", files)
    with pytest.raises(DataError, match=rf"{file} wants posix\.system, which is not data"):
        import_dataset(open_source(str(path)), tmp_path / "d.zarr", step)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def batch(**changed):
    held = {"data": np.zeros((7, 3072), np.uint8), "labels": [0] * 7, "filenames": [], **changed}
    return python3(4)({key: value for key, value in held.items() if value is not None})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": None}, "data_batch_3 has the keys data, filenames; expected: data, labels"),
        ({"data": None}, "data_batch_3 has the keys labels, filenames; expected"),
        ({"labels": [0] * 6}, r"data_batch_3: labels are int64 of shape \(6,\), not one integer for each of 7 images"),
        ({"labels": np.zeros(7)}, r"labels are float64 of shape \(7,\)"),
        ({"labels": ["0"] * 7}, r"data_batch_3: labels\[0\] is not an integer"),
        ({"labels": [0, 0, 10, 0, 0, 0, 0]}, r"data_batch_3: labels\[2\] = 10 is not among the 10 classes"),
        ({"labels": [0, 0, 0, -1, 0, 0, 0]}, r"data_batch_3: labels\[3\] = -1 is negative"),
        ({"data": np.zeros((7, 3072))}, r"data are float64 of shape \(7, 3072\); uint8 \(N, 3072\) are expected"),
        ({"data": np.zeros((7, 32, 32, 3), np.uint8)}, r"uint8 of shape \(7, 32, 32, 3\)"),
        ({"data": np.zeros((7, 3071), np.uint8)}, r"uint8 of shape \(7, 3071\)"),
        ({"data": [1, 2, 3]}, r"data are int64 of shape \(3,\)"),
        ({"data": "text"}, "data is not an array of numbers"),
    ],
)
def test_pickles_that_are_no_rows(tmp_path, changed, words):
    files = {**SETS[10].python(python3(4)), "data_batch_3": batch(**changed)}
    for path in (folder(tmp_path / "set", files), archive(tmp_path / "set.tar.gz", files)):
        with pytest.raises(DataError, match=words):
            read(CifarSource(path))


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("data_batch_2.bin", bytes(3073 * 2 - 1), "has 6,145 bytes, no whole number of records of 3,073"),
        ("data_batch_2.bin", bytes(3073) + b"\x0a" + bytes(3072), r"data_batch_2.bin: labels\[1\] = 10 is not among"),
        ("batches.meta.txt", b"\n\n", "batches.meta.txt holds no class names"),
        ("batches.meta.txt", b"a\xff\n", "batches.meta.txt holds class names that are not UTF-8"),
        ("batches.meta.txt", b"a\n" * 40_000, "more than 64 KiB"),
        ("batches.meta.txt", b"cat\ndog\n", r"labels\[\d\] = \d is not among the 2 classes"),
        ("batches.meta.txt", b"a\nb\n\nd\ne\nf\ng\nh\ni\nj\n", "class 2 has an empty name"),
        ("batches.meta.txt", b"a\nb\na\nd\ne\nf\ng\nh\ni\nj\n", "0 and 2 are both called a"),
    ],
)
def test_binary_files_that_are_no_rows(tmp_path, file, data, words):
    files = {**SETS[10].binary(), file: data}
    for path in (folder(tmp_path / "set", files), archive(tmp_path / "set.tar.gz", files)):
        with pytest.raises(DataError, match=words):
            import_dataset(CifarSource(path), tmp_path / "d.zarr", step)


def test_coarse_labels_are_checked_too(tmp_path):
    files = SETS[100].binary()
    rows = bytearray(files["train.bin"])
    rows[3074 * 4] = 20
    with pytest.raises(DataError, match=r"train.bin: coarse_labels\[4\] = 20 is not among the 20 classes"):
        CifarSource(folder(tmp_path / "set", {**files, "train.bin": bytes(rows)}))


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (python3(2)({"label_name": list(TEN)}), "batches.meta has no list label_names"),
        (python3(2)({"label_names": "text"}), "batches.meta has no list label_names"),
        (python3(2)({"label_names": []}), "batches.meta holds no class names"),
        (python3(2)({"label_names": ["a", 5]}), r"label_names\[1\] is not text"),
        (python3(2)(list(TEN)), "batches.meta holds no dict"),
        (b"airplane\nautomobile\n", "batches.meta is not a pickle, or is damaged"),
    ],
)
def test_names_that_are_none(tmp_path, meta, words):
    with pytest.raises(DataError, match=words):
        CifarSource(folder(tmp_path / "set", {**SETS[10].python(python3(2)), "batches.meta": meta}))


@pytest.mark.parametrize("place", PLACES)
def test_files_that_are_absent(tmp_path, place):
    files = SETS[10].binary()
    kept = {name: data for name, data in files.items() if name != "data_batch_4.bin"}
    path = PLACES[place](tmp_path / "one", kept)
    with pytest.raises(DataError, match=r"one lacks data_batch_4\.bin of CIFAR-10's train set: get the release again"):
        CifarSource(path)
    assert CifarSource(path, split="test").spec.rows == 7
    kept = {name: data for name, data in files.items() if name.startswith("data")}
    path = PLACES[place](tmp_path / "two", kept)
    source = CifarSource(path)  # without its names
    assert source.spec.classes == tuple("0123456789")
    assert "batches.meta.txt is missing: classes are called 0 to 9; `classes` names them" in source.spec.notes
    named = CifarSource(path, classes=tuple("abcdefghij"))
    assert named.spec.classes == tuple("abcdefghij")
    assert "missing" not in " ".join(named.spec.notes)
    other = {"data.bin": b"x", "readme.html": b"<html>"}
    path = PLACES[place](tmp_path / "three", other)
    with pytest.raises(DataError, match="three is not a release of CIFAR-10 or CIFAR-100"):
        open_source(str(path), format="cifar")


def test_options(tmp_path):
    ten = folder(tmp_path / "ten", SETS[10].binary())
    hundred = folder(tmp_path / "hundred", SETS[100].binary())
    assert open_source(str(ten), classes=tuple("abcdefghij"), name="x").spec.classes == tuple("abcdefghij")
    with pytest.raises(DataError, match="ten has 10 classes, but 2 names are given"):
        open_source(str(ten), classes=("a", "b"))
    with pytest.raises(UsageError, match="CIFAR-10 has one kind of labels: `labels` belongs to CIFAR-100"):
        open_source(str(ten), labels="fine")
    with pytest.raises(UsageError, match="is split into train and test, not validation"):
        open_source(str(hundred), split="validation")
    assert open_source(str(hundred), labels="coarse", classes=COARSE[::-1]).spec.classes == COARSE[::-1]


def test_what_stands_beside_a_release(tmp_path):
    """Files of no use are passed over; two releases in one place are not guessed at; folders have other meanings."""
    both = {**SETS[10].binary(), **SETS[10].python(python3(4)), "readme.html": b"<html>", ".hidden": b""}
    for path in (folder(tmp_path / "both", both), archive(tmp_path / "both.tar.gz", both)):
        with pytest.raises(DataError, match=r"holds several releases \(CIFAR-10 python, CIFAR-10 binary\)"):
            CifarSource(path)
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    (tmp_path / "pictures" / "meta").mkdir()
    assert recognise(str(tmp_path / "pictures")) == "folder"
    folder(tmp_path / "other", {"train": b"", "test": b""})
    assert recognise(str(tmp_path / "other")) == "folder"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "data_batch_2 is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "data_batch_2 is a web page"),
        (b"", "data_batch_2 is empty"),
    ],
)
def test_impostors_in_the_folder(tmp_path, data, words):
    path = folder(tmp_path / "set", {**SETS[10].python(python3(4)), "data_batch_2": data})
    with pytest.raises(DataError, match=words):
        CifarSource(path)


@pytest.mark.parametrize("form", FORMS)
def test_truncated_files_are_told(tmp_path, form):
    files = FORMS[form](Cifar(10, rows=2))
    name = next(iter(files))
    for size in range(1, len(files[name]) - 1, 997):
        path = folder(tmp_path / str(size), {**files, name: files[name][:size]})
        with pytest.raises(DataError, match=name):
            read(CifarSource(path))


def test_a_file_that_shrinks_meanwhile_is_told(tmp_path):
    for form in ("binary", "python 2, protocol 2", "python 2, Fortran"):
        path = folder(tmp_path / form, FORMS[form](SETS[10]))
        source = CifarSource(path)
        for file in path.glob("data_batch_4*"):
            file.write_bytes(file.read_bytes()[:9000])
        with pytest.raises(DataError, match="changed while it was read"):
            source.unchanged()
        assert len(read(source)[0]) == 35  # they are in memory by now


# ---------------------------------------------------------------------------------------------------------- TI500K

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 50)
WRITERS = {
    **{f"python 3, protocol {protocol}": python3(protocol) for protocol in range(6)},
    **{f"python 2, protocol {protocol}": python2(protocol) for protocol in (0, 1, 2)},
    "python 2, Fortran": python2(2, fortran=True),
}


def save(path, writer=None, **changed):
    held = {"data": IMAGES, "extrapolated_targets": LABELS, "prediction_model": "x" * 9000, **changed}
    path.write_bytes((writer or python3(4))({key: value for key, value in held.items() if value is not None}))
    return path


@pytest.mark.parametrize(
    ("writer", "labels"),
    [
        *((writer, LABELS) for writer in WRITERS),
        ("python 3, protocol 3", LABELS.astype(np.uint8)),
        ("python 3, protocol 3", LABELS.tolist()),
        ("python 2, protocol 0", LABELS.tolist()),
    ],
)
def test_ti500k_whoever_wrote_it(tmp_path, monkeypatch, writer, labels):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 7 * 3110)
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


def test_names_of_ti500k(tmp_path):
    source = open_source(str(save(tmp_path / "a")), classes=("a", "b"), name="mine")
    assert (source.spec.classes, source.spec.name) == (("a", "b"), "mine")
    with pytest.raises(DataError, match=r"a: extrapolated_targets\[\d+\] = \d is not among the 2 classes"):
        read(source)


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
        ({"data": "text"}, "a.pickle: data is not an array of numbers"),
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


@pytest.mark.parametrize(("text", "times"), [(False, 1), (True, 3)])
def test_memory_is_that_of_the_file(tmp_path, text, times):
    """A file of 25 MB; bytes spelled as text are held as what they spell, too."""
    write(tmp_path / "a.pickle", 8000, text)
    tracemalloc.start()
    first = [
        int(point[0, 0, 0]) for block in open_source(str(tmp_path / "a.pickle")).blocks() for point in block["images"]
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first == [row % 256 for row in range(8000)]
    assert peak < times * (tmp_path / "a.pickle").stat().st_size + (16 << 20)  # and some blocks
