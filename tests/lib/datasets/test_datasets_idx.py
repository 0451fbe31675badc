"""idx files: what is recognised, what is streamed, what is refused."""

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lib.stored import import_dataset

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets import open_source, sources
from datarobust.datasets.idx import IdxFile, IdxSource, looks_like
from datarobust.errors import DataError

from .releases import read

RNG = np.random.default_rng(0)


def idx(array, kind=8):
    """The bytes of an idx file, spelled out."""
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, stem, images, labels, *, dot="-", packed=False):
    """The two files of a set; the path of the images."""
    for what, array in (("labels", labels), ("images", images)):
        data = idx(array)
        path = folder / f"{stem}{what}{dot}idx{array.ndim}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return path


def pictures(rows=10, height=5, width=4):
    return RNG.integers(0, 256, (rows, height, width), dtype=np.uint8)


def digits(rows=10):
    return RNG.integers(0, 10, rows, dtype=np.uint8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_mnist_in_a_folder_and_by_its_images(tmp_path, dot, packed):
    sets = {"train-": (pictures(), digits()), "t10k-": (pictures(4), digits(4))}
    files = {stem: write(tmp_path, stem, *arrays, dot=dot, packed=packed) for stem, arrays in sets.items()}
    assert looks_like(tmp_path, b"")
    for split, stem in (("train", "train-"), ("test", "t10k-")):
        assert looks_like(files[stem], b"")
        for source in (IdxSource(tmp_path, split=split), IdxSource(files[stem])):
            points, labels, index = read(source)
            np.testing.assert_array_equal(points, sets[stem][0][:, None])
            np.testing.assert_array_equal(labels, sets[stem][1])
            np.testing.assert_array_equal(index, np.arange(len(labels)))
            assert points.flags.c_contiguous
            assert (source.spec.rows, source.spec.shape) == (len(labels), (1, 5, 4))
            assert source.spec.classes == tuple("0123456789")
            assert source.spec.name == f"{tmp_path.name}-{split}"
    assert IdxSource(tmp_path).spec.rows == 10
    assert open_source(str(tmp_path), name="other").spec.name == "other"


def test_spellings_may_differ_and_the_plain_file_is_preferred(tmp_path):
    images, labels = pictures(), digits()
    write(tmp_path, "train-", pictures(3), digits(3), packed=True)
    write(tmp_path, "train-", images, labels)
    source = IdxSource(tmp_path)
    np.testing.assert_array_equal(read(source)[0][:, 0], images)
    assert "train-images-idx3-ubyte.gz left aside" in source.spec.notes
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "train-labels.idx1-ubyte")
    np.testing.assert_array_equal(read(IdxSource(tmp_path))[1], labels)


MAPPINGS = {
    "balanced": [*range(48, 58), *range(65, 91), *b"abdefghnqrt"],
    "byclass": [*range(48, 58), *range(65, 91), *range(97, 123)],
    "bymerge": [*range(48, 58), *range(65, 91), *b"abdefghnqrt"],
    "digits": range(48, 58),
    "letters": range(65, 91),
    "mnist": range(48, 58),
}


@pytest.mark.parametrize("subset", MAPPINGS)
def test_emnist_is_upright_and_starts_at_zero(tmp_path, subset):
    codes = list(MAPPINGS[subset])
    first = 1 if subset == "letters" else 0
    upright = pictures(len(codes))
    raw = np.arange(first, first + len(codes), dtype=np.uint8)
    stored = np.ascontiguousarray(upright.transpose(0, 2, 1))
    path = write(tmp_path, f"emnist-{subset}-train-", stored, raw, packed=True)
    write(tmp_path, f"emnist-{subset}-test-", stored[:2], raw[:2], packed=True)
    source = IdxSource(tmp_path)
    points, labels, _ = read(source)
    np.testing.assert_array_equal(points[:, 0], upright)
    np.testing.assert_array_equal(labels, np.arange(len(codes)))
    assert source.spec.shape == (1, 5, 4)
    assert source.spec.name == f"emnist-{subset}-train"
    assert any("upright" in note for note in source.spec.notes)
    assert IdxSource(tmp_path, split="test").spec.rows == 2
    assert source.spec.classes == IdxSource(path).spec.classes == tuple(map(chr, codes))


def test_several_sets_in_a_folder_are_ambiguous(tmp_path):
    one = write(tmp_path, "emnist-digits-train-", pictures(), digits(), packed=True)
    write(tmp_path, "emnist-mnist-train-", pictures(), digits(), packed=True)
    with pytest.raises(DataError, match=r"emnist-digits-train-images.*emnist-mnist-train-images.*give the file"):
        IdxSource(tmp_path)
    assert IdxSource(one).spec.rows == 10
    write(tmp_path, "t10k-", pictures(), digits())
    assert IdxSource(tmp_path, split="test").spec.rows == 10


def test_splits_that_are_not_there(tmp_path):
    write(tmp_path, "train-", pictures(), digits())
    with pytest.raises(DataError, match="no idx files of a test set: it has the train set"):
        IdxSource(tmp_path, split="test")
    with pytest.raises(DataError, match="is the train set by its name: leave out `split` test"):
        IdxSource(tmp_path / "train-images-idx3-ubyte", split="test")
    (tmp_path / "empty").mkdir()
    assert not looks_like(tmp_path / "empty", b"")
    with pytest.raises(DataError, match="their names are train-images"):
        IdxSource(tmp_path / "empty")


def test_other_stems_and_more_classes(tmp_path):
    path = write(tmp_path, "k49-val-", pictures(60), np.arange(60, dtype=np.uint8) % 49)
    source = IdxSource(path)
    assert source.spec.name.endswith("-k49-val")
    with pytest.raises(DataError, match=r"labels-idx1-ubyte\[10\] = 10 is not among the 10 .*`classes`"):
        read(source)
    names = tuple(f"c{i}" for i in range(49))
    assert read(IdxSource(path, classes=names))[1].max() == 48


def test_labels_of_letters_begin_at_one(tmp_path):
    path = write(tmp_path, "emnist-letters-test-", pictures(3), np.array([1, 26, 0], np.uint8))
    with pytest.raises(DataError, match=r"\[2\] = 0 is not among the 26 classes 1\.\.26"):
        read(IdxSource(path))


@pytest.mark.parametrize("packed", [False, True])
def test_every_part_can_be_read(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 500 * 72)
    images, labels = pictures(900, 8, 8), digits(900)
    source = IdxSource(write(tmp_path, "train-", images, labels, packed=packed))
    assert source.spec.step == 500
    for start, stop in ((0, None), (1, 2), (499, 800), (899, None), (7, 7), (0, 99_999)):
        blocks = list(source.blocks(start, stop))
        got = np.concatenate([b["images"] for b in blocks]) if blocks else np.empty((0, 1, 8, 8))
        np.testing.assert_array_equal(got, images[start:stop, None])
        assert [int(i) for b in blocks for i in b["index"]] == list(range(900)[start:stop])


@settings(max_examples=25)
@given(st.integers(0, 6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.data())
def test_rows_are_those_of_numpy(tmp_path_factory, rows, height, width, step, data):
    array = pictures(rows, height, width)
    path = tmp_path_factory.mktemp("idx") / "a"
    packed = data.draw(st.booleans())
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    got = [part for _, part in IdxFile(path, 3).rows(step, start, stop)]
    np.testing.assert_array_equal(np.concatenate([np.empty((0, height, width)), *got]), array[start:stop])
    assert all(len(part) == step for part in got[:-1])


def test_identity_digest_and_change(tmp_path):
    path = write(tmp_path, "train-", pictures(), digits())
    source = IdxSource(path)
    lines = "".join(
        f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    )
    assert source.digest() == hashlib.sha256(lines.encode()).hexdigest()
    assert source.identity() == IdxSource(tmp_path).identity()
    source.unchanged()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(digits(10)) + b"\0")
    with pytest.raises(DataError, match="changed while it was read"):
        source.unchanged()


def test_plain_packed_and_npz_give_the_same_store(tmp_path):
    images, labels = pictures(300, 28, 28), digits(300)
    np.savez(tmp_path / "train.npz", x=images, y=labels)
    sources = {"npz": tmp_path / "train.npz"}
    for name, packed in (("plain", False), ("packed", True)):
        (tmp_path / name).mkdir()
        sources[name] = write(tmp_path / name, "train-", images, labels, packed=packed)
    found = set()
    for name, source in sources.items():
        output = tmp_path / f"{name}.zarr"
        made = open_source(str(source))
        import_dataset(made, output, lambda inputs: Step("test", (), "0", None, None, dict(inputs)))
        found.add(artifacts.open_store(output).digest)
    assert len(found) == 1


# --------------------------------------------------------------------------------------------- what is refused


def refused(tmp_path, data, words, what="images"):
    """The set with this file in the place of a good one is refused in one sentence, at the latest when it is read."""
    path = write(tmp_path, "train-", pictures(), digits())
    name = {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}[what]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        read(IdxSource(path))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


GOOD = idx(pictures())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\0\0\x08", "not an idx file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull|begins with 76 65 72 73"),
        (b"\x89PNG" + GOOD, "begins with 89 50 4e 47, not 00 00 08"),
        (b"\0\0\x0d\x03" + GOOD[4:], "holds floats, not bytes"),
        (b"\0\0\x42\x03" + GOOD[4:], "values of type 0x42, not bytes"),
        (idx(digits()), "has 1 dimensions by its header; images have 3"),
        (GOOD[:13], "ends in its header"),
        (GOOD[:16], "cut short"),
        (GOOD[:-1], "cut short"),
        (GOOD + b"x", "something else follows|goes on after its last row 9"),
        (idx(np.empty((10, 0, 4), np.uint8)), r"shape \(10, 0, 4\), which no set of images has"),
        (b"\0\0\x08\x03" + b"\0\0\0\x0a" + b"\xff" * 8, "which no set of images has"),
        (b"\0\0\x08\x03" + b"\xff" * 4 + b"\0\0\x10\0" * 2 + bytes(999), "cut short|gzipped bytes cannot hold"),
    ],
)
def test_images_that_are_not_what_they_claim(tmp_path, data, words, packed):
    if packed and not data:
        return
    refused(tmp_path, gzip.compress(data) if packed else data, words)


def test_labels_that_are_not_what_they_claim(tmp_path):
    refused(tmp_path, GOOD, "has 3 dimensions by its header; labels have 1", "labels")
    refused(tmp_path, idx(digits(11)), "has 11 labels for the 10 images of train-images-idx3-ubyte", "labels")
    refused(tmp_path, idx(digits(10)) + b"1", "something else follows", "labels")
    refused(tmp_path, gzip.compress(idx(digits(10)) + b"1"), "goes on after its last row 9", "labels")
    refused(tmp_path, idx(np.full(10, 255, np.uint8)), r"\[0\] = 255 is not among the 10 classes", "labels")


def test_damaged_gzip(tmp_path):
    packed = gzip.compress(idx(pictures()))
    for cut in (3, 12, len(packed) // 2, len(packed) - 9, len(packed) - 4, len(packed) - 1):
        refused(tmp_path, packed[:cut], "damaged|cut short")
    wrong_crc = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    refused(tmp_path, wrong_crc, "damaged.*CRC")
    refused(tmp_path, packed[:-4] + b"\1\0\0\0", "damaged")
    refused(tmp_path, packed + b"rubbish", "damaged")
    for place in range(0, len(packed), 7):
        flipped = packed[:place] + bytes([packed[place] ^ 0x10]) + packed[place + 1 :]
        write(tmp_path, "train-", pictures(), digits())
        (tmp_path / "train-images-idx3-ubyte").write_bytes(flipped)
        try:
            points = read(IdxSource(tmp_path))[0]
        except DataError:
            continue
        assert points.tobytes() == GOOD[16:] or points.tobytes() == gzip.decompress(packed)[16:]


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = write(tmp_path, "train-", pictures(), digits())
    bomb = gzip.compress(GOOD + bytes(64 << 20))
    path.write_bytes(bomb)
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(DataError, match="goes on after its last row 9"):
        read(IdxSource(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_memory_is_bounded_by_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1 << 20)
    rows = 30_000
    path = write(tmp_path, "train-", np.zeros((rows, 28, 28), np.uint8), np.zeros(rows, np.uint8), packed=True)
    tracemalloc.start()
    assert sum(len(block["labels"]) for block in IdxSource(path).blocks(20_000)) == rows - 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows * 784 / 2


def test_names_that_lead_nowhere(tmp_path):
    path = write(tmp_path, "train-", pictures(), digits())
    with pytest.raises(DataError, match="are labels: give the file of the images, train-images-idx3-ubyte"):
        IdxSource(tmp_path / "train-labels-idx1-ubyte")
    (tmp_path / "odd.bin").write_bytes(GOOD)
    assert looks_like(tmp_path / "odd.bin", b"")
    assert not looks_like(tmp_path / "nowhere", b"")
    with pytest.raises(DataError, match=r"odd.bin: labels are found by the name"):
        IdxSource(tmp_path / "odd.bin")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte is not beside it"):
        IdxSource(path)
    (tmp_path / "text").write_text("hello")
    assert not looks_like(tmp_path / "text", b"")


def test_the_real_mnist(shared, tmp_path):
    """The arrays of the shared set, as idx files, are byte for byte the published files."""
    published = {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    arrays = {}
    for stem, name in (("train-", "mnist_train.npz"), ("t10k-", "mnist_test.npz")):
        with np.load(shared / "data" / name, allow_pickle=False) as both:
            arrays[stem] = (both["x"], both["y"].astype(np.uint8))
        write(tmp_path, stem, *arrays[stem])
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert found == published
    points, labels, _ = read(IdxSource(tmp_path, split="test"))
    np.testing.assert_array_equal(points[:, 0], arrays["t10k-"][0])
    np.testing.assert_array_equal(labels, arrays["t10k-"][1])
