"""Parquet files of the Hugging Face hub: what is recognised, what is streamed, what is refused."""

import hashlib
import io
import json
import random
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

pa = pytest.importorskip("pyarrow", reason="pyarrow comes with datarobust[hf]")
pq = pytest.importorskip("pyarrow.parquet")

from tests.lib.stored import import_dataset  # noqa: E402

from datarobust import artifacts  # noqa: E402 - only where pyarrow is there
from datarobust.artifacts import Step  # noqa: E402
from datarobust.datasets import parquet  # noqa: E402
from datarobust.datasets.parquet import BadHeader, ParquetSource, looks_like  # noqa: E402
from datarobust.errors import DataError, UsageError  # noqa: E402

from .releases import read  # noqa: E402

RNG = np.random.default_rng(0)


def png(array, **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", **options)
    return out.getvalue()


def pictures(rows=10, *shape):
    return RNG.integers(0, 256, (rows, *(shape or (4, 5, 3))), dtype=np.uint8)


def table(images, labels, names=None, *, struct=True, image="img", **more):
    """As the ``datasets`` library writes it; ``more`` are further columns, ``names`` those of ClassLabels."""
    encoded = [png(i) if isinstance(i, np.ndarray) else i for i in images]
    column = pa.array(
        [{"bytes": e, "path": f"{k}.png"} for k, e in enumerate(encoded)] if struct else encoded,
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary(),
    )
    columns = {image: column, "label": None if labels is None else pa.array(labels), **more}
    columns = {name: values for name, values in columns.items() if values is not None}
    found = pa.table(columns)
    if names is not None:
        features = {k: {"names": v, "_type": "ClassLabel"} for k, v in names.items()}
        info = {"info": {"features": {image: {"_type": "Image"}, **features}}}
        found = found.replace_schema_metadata({"huggingface": json.dumps(info)})
    return found


def write(path, found, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(found, path, **options)
    return path


@pytest.mark.parametrize("struct", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5)])
def test_a_file(tmp_path, shape, struct):
    images = pictures(7, *shape)
    path = write(
        tmp_path / "a.parquet",
        table(images, np.arange(7) % 3, {"label": ["x", "y", "z"]}, struct=struct, image="image"),
        row_group_size=3,
    )
    assert looks_like(path, b"")
    source = ParquetSource(path)
    points, labels, index = read(source)
    expected = images[:, None] if len(shape) == 2 else images.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(points, expected)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert index.tolist() == list(range(7))
    assert source.spec.classes == ("x", "y", "z")
    assert (source.spec.name, source.spec.rows, source.spec.shape) == ("a", 7, expected.shape[1:])
    assert not source.spec.coarse
    assert bool(source.spec.names) == struct
    called = [bytes(name) for block in source.blocks() for name in block.get("names", [])]
    assert called == [f"{number}.png".encode() for number in range(7)] * struct
    assert source.digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ParquetSource(path, classes=("p", "q", "r")).spec.classes == ("p", "q", "r")


def test_names_of_points(tmp_path):
    images, labels = pictures(3), np.arange(3)
    keys = pa.array(["k1", None, "k\N{CAT FACE}"], pa.large_string())
    found = table(images, labels, struct=False, id=pa.array([7, 8, 9]), file_name=keys)  # numbers are no names
    [block] = ParquetSource(write(tmp_path / "a.parquet", found)).blocks()
    assert [bytes(name).rstrip(b"\0").decode() for name in block["names"]] == ["k1", "", "k\N{CAT FACE}"]
    found = table(images, labels, struct=False, path=pa.array([None] * 3, pa.string()))
    assert not ParquetSource(write(tmp_path / "b.parquet", found)).spec.names
    odd = {"use_dictionary": False, "column_encoding": {"file_name": "DELTA_BYTE_ARRAY"}}
    found = table(images, labels, struct=False, file_name=keys.cast(pa.string()))
    source = ParquetSource(write(tmp_path / "c.parquet", found, **odd))
    assert not source.spec.names
    assert "points have no names" in source.spec.notes[-1]
    assert len(read(source)[0]) == 3


def test_every_part_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr("datarobust.datasets.sources.BLOCK_BYTES", 700)  # some rows a block
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1500)  # other numbers of rows a batch
    images, labels = pictures(60), RNG.integers(0, 5, 60)
    for first, last, name in (
        (0, 25, "train-00000-of-00003"),
        (25, 26, "train-00001-of-00003"),
        (26, 60, "train-00002-of-00003-ab12"),
    ):
        write(tmp_path / "data" / f"{name}.parquet", table(images[first:last], labels[first:last]), row_group_size=9)
    source = ParquetSource(tmp_path)
    step = source.spec.step
    assert 1 < step < 30
    for start, stop in ((0, None), (0, 1), (24, 27), (8, 9), (9, 44), (59, None), (30, 30), (33, 999)):
        blocks = list(source.blocks(start, stop))
        assert all(len(b["labels"]) == step for b in blocks[:-1])
        assert [int(i) for b in blocks for i in b["index"]] == list(range(60)[start:stop])
        got = np.concatenate([np.empty((0, 3, 4, 5)), *(b["images"] for b in blocks)])
        np.testing.assert_array_equal(got, images[start:stop].transpose(0, 3, 1, 2))
        assert [int(i) for b in blocks for i in b["labels"]] == labels[start:stop].tolist()


FINE, COARSE = ["a", "b", "c", "d"], ["low", "high"]


def test_fine_and_coarse_labels(tmp_path):
    images, fine = pictures(8), np.arange(8) % 4
    found = table(
        images,
        fine,
        {"fine_label": FINE, "coarse_label": COARSE},
        fine_label=pa.array(fine),
        coarse_label=pa.array(fine // 2),
    ).drop_columns(["label"])
    # metadata are those of the table: dropping a column keeps them
    path = write(tmp_path / "c.parquet", found, row_group_size=3)
    for source in (ParquetSource(path), ParquetSource(path, labels="fine")):
        [block] = source.blocks()
        assert source.spec.classes == tuple(FINE)
        assert source.spec.coarse
        assert block["labels"].tolist() == fine.tolist()
        assert block["coarse"].tolist() == (fine // 2).tolist()
    source = ParquetSource(path, labels="coarse")
    [block] = source.blocks()
    assert source.spec.classes == tuple(COARSE)
    assert not source.spec.coarse
    assert "coarse" not in block
    assert block["labels"].tolist() == (fine // 2).tolist()
    source = ParquetSource(path, keys=("img", "coarse_label"))
    assert source.spec.classes == tuple(COARSE)
    with pytest.raises(UsageError, match="`keys`"):
        ParquetSource(path, keys=("img", "fine_label"), labels="fine")
    plain = write(tmp_path / "p.parquet", table(images, fine))
    with pytest.raises(DataError, match="none of them labels \\(coarse_label\\)"):
        ParquetSource(plain, labels="coarse")
    output = tmp_path / "c.zarr"
    import_dataset(ParquetSource(path), output, lambda inputs: Step("test", (), "0", None, None, dict(inputs)))
    assert artifacts.open_store(output).column("coarse").read().tolist() == (fine // 2).tolist()


def test_other_columns_by_keys(tmp_path):
    found = table(pictures(4), [3, 2, 1, 0], image="photo", kind=pa.array([0, 1, 2, 3], pa.uint8()))
    path = write(tmp_path / "a.parquet", found)
    with pytest.raises(DataError, match=r"has the columns photo, label, kind, none of them pictures .*`keys`"):
        ParquetSource(path)
    assert read(ParquetSource(path, keys=("photo", "kind")))[1].tolist() == [0, 1, 2, 3]
    both = write(tmp_path / "b.parquet", table(pictures(4), [0] * 4).append_column("labels", pa.array([0] * 4)))
    with pytest.raises(DataError, match=r"several columns of labels \(label, labels\)"):
        ParquetSource(both)


def test_channels_make_pictures_alike(tmp_path):
    path = write(tmp_path / "a.parquet", table([*pictures(2), pictures(1, 4, 5)[0]], [0, 1, 2]))
    with pytest.raises(DataError, match=r"a.parquet: img\[2\] is grey, but the first image is RGB: `channels`"):
        read(ParquetSource(path))
    points = read(ParquetSource(path, channels=3))[0]
    assert points.shape == (3, 3, 4, 5)
    assert (points[2] == points[2, :1]).all()


# -------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize(
    "name",
    [
        "data/{}-00000-of-00001-0123456789abcdef.parquet",
        "plain_text/{}-00000-of-00001.parquet",
        "{}-00000-of-00001.parquet",
        "default/{}/0000.parquet",
        "plain_text/cifar10-{}.parquet",
        "{}.parquet",
    ],
)
def test_layouts_of_the_hub(tmp_path, name):
    sets = {"train": pictures(3), "test": pictures(2)}
    for split, images in sets.items():
        write(tmp_path / name.format(split), table(images, np.zeros(len(images), int)))
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.parquet").write_bytes(b"")
    assert looks_like(tmp_path, b"")
    for split, images in sets.items():
        source = ParquetSource(tmp_path, split=split)
        np.testing.assert_array_equal(read(source)[0], images.transpose(0, 3, 1, 2))
        assert source.spec.name == f"{tmp_path.name}-{split}"
    assert ParquetSource(tmp_path).spec.rows == 3
    with pytest.raises(DataError, match="no Parquet files of the split validation; its splits are: test, train"):
        ParquetSource(tmp_path, split="validation")


def test_shards_have_to_be_complete_and_of_one_set(tmp_path):
    one = table(pictures(3), [0, 1, 2])
    folder = tmp_path / "data"
    write(folder / "train-00000-of-00003.parquet", one)
    write(folder / "train-00002-of-00003.parquet", one)
    with pytest.raises(DataError, match="lacks file 1 of split train: of 3 files only 2 are there"):
        ParquetSource(tmp_path)
    write(folder / "train-00001-of-00003.parquet", table(pictures(3), [0, 1, 2], {"label": ["a", "b", "c"]}))
    with pytest.raises(DataError, match=r"train-00001-of-00003.parquet differs from train-00000-of-00003.parquet in"):
        ParquetSource(tmp_path)
    write(folder / "train-00001-of-00003.parquet", one)
    assert ParquetSource(tmp_path).spec.rows == 9
    write(folder / "train-00001-of-00003-ffff.parquet", one)
    with pytest.raises(DataError, match="mixes files of different sets"):
        ParquetSource(tmp_path)
    (folder / "train-00001-of-00003-ffff.parquet").unlink()
    write(tmp_path / "other" / "train-00000-of-00001.parquet", one)
    with pytest.raises(DataError, match=r"several data sets \(data, other\)"):
        ParquetSource(tmp_path)
    assert ParquetSource(tmp_path / "data").spec.rows == 9
    write(tmp_path / "odd" / "pictures.parquet", one)
    with pytest.raises(DataError, match=r"pictures.parquet: its name tells no split"):
        ParquetSource(tmp_path / "odd")
    (tmp_path / "none").mkdir()
    assert not looks_like(tmp_path / "none", b"")
    with pytest.raises(DataError, match="its splits are: none"):
        ParquetSource(tmp_path / "none")


def test_numbered_shards_have_to_be_complete(tmp_path):
    one = table(pictures(3), [0, 1, 2])
    for number in (0, 2):
        write(tmp_path / "train" / f"{number:04}.parquet", one)
    with pytest.raises(DataError, match="lacks file 1 of split train"):
        ParquetSource(tmp_path)
    write(tmp_path / "train" / "train.parquet", one)  # numbered ones in the folder itself are of the one above it
    with pytest.raises(DataError, match=r"several data sets \(\.\., \.\)"):
        ParquetSource(tmp_path / "train")


def test_identity_digest_and_change(tmp_path):
    found = table(pictures(3), [0, 1, 2])
    names = [f"train-0000{i}-of-00002.parquet" for i in range(2)]
    paths = [write(tmp_path / name, found) for name in names]
    source = ParquetSource(tmp_path)
    lines = "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in paths)
    assert source.digest() == hashlib.sha256(lines.encode()).hexdigest()
    assert source.identity() == ParquetSource(tmp_path).identity()
    assert source.identity() != ParquetSource(tmp_path, channels=1).identity()
    source.unchanged()
    write(paths[1], table(pictures(4), [0, 1, 2, 0]))
    with pytest.raises(DataError, match="changed while it was read"):
        source.unchanged()


def test_without_pyarrow(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", table(pictures(3), [0, 1, 2]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert looks_like(path, b"")
    with pytest.raises(DataError, match=r"pip install 'datarobust\[hf\]'"):
        ParquetSource(path)


# --------------------------------------------------------------------------------------------- what is refused


def refused(source, words):
    """One sentence."""
    with pytest.raises(DataError, match=words) as caught:
        read(source()) if callable(source) else read(source)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def vast():
    """A picture of 25 million pixels in a few bytes."""
    out = io.BytesIO()
    Image.new("1", (5000, 5000)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (lambda: table([*pictures(2), None], [0, 1, 2]), r"img\[2\] has no bytes"),
        (lambda: table([None, *pictures(2)], [0, 1, 2], struct=False), r"img\[0\] has no bytes"),
        (lambda: table([*pictures(2), b"no picture"], [0, 1, 2]), r"img\[2\] cannot be decoded"),
        (lambda: table([*pictures(2), pictures(1, 6, 5, 3)[0]], [0, 1, 2]), r"img\[2\] has 5x6 pixels, but the first"),
        (lambda: table([*pictures(2), vast()], [0, 1, 2]), r"img\[2\] claims 5000x5000 pixels"),
        (lambda: table([vast()], [0]), r"img\[0\] claims 5000x5000 pixels"),
        (lambda: table([*pictures(2), png(pictures(1)[0])[:-20]], [0, 1, 2]), r"img\[2\] cannot be decoded"),
        (lambda: table(pictures(3), [0, None, 2]), r"label\[1\] is empty"),
        (lambda: table(pictures(3), [0, 1, -1]), r"label\[2\] = -1 is negative"),
        (lambda: table(pictures(3), [0, 1, 2], {"label": ["a", "b"]}), r"label\[2\] = 2 is not among the 2 classes"),
        (lambda: table(pictures(3), [0.0, 1.0, 2.0]), "label has type double: labels are integers or text"),
        (lambda: table(pictures(3), [[0], [1], [2]]), "label has type list"),
        (
            lambda: table(["text"] * 3, [0, 1, 2], struct=False).set_column(0, "img", pa.array(["t"] * 3)),
            "img has type string",
        ),
        (lambda: table(pictures(3), [0, 1, 2]).set_column(0, "img", pa.array([[1.0]] * 3)), "img has type list"),
        (
            lambda: table(pictures(3), [0, 1, 2]).set_column(0, "img", pa.array([{"path": "a"}] * 3)),
            "img has type struct",
        ),
        (lambda: table([], pa.array([], pa.int64())), "has no rows"),
        (lambda: table(pictures(3), None), "none of them labels"),
        (lambda: table(pictures(2), [0, 1]).replace_schema_metadata({"huggingface": "{"}), "huggingface metadata"),
        (lambda: table(pictures(2), [0, 1]).replace_schema_metadata({"huggingface": "[1]"}), "huggingface metadata"),
        (
            lambda: table(pictures(2), [0, 1]).replace_schema_metadata({"huggingface": "[" * 9999}),
            "huggingface metadata",
        ),
        (lambda: table(pictures(2), [0, 1], {"label": [1, 2]}), "names of label .* are no texts"),
        (lambda: table(pictures(2), [0, 1], {"label": "ab"}), "names of label .* are no texts"),
    ],
)
def test_columns_that_are_not_what_they_claim(tmp_path, found, words):
    path = write(tmp_path / "a.parquet", found())
    refused(lambda: ParquetSource(path), words)


def test_two_columns_of_one_name(tmp_path):
    found = table(pictures(2), [0, 1])
    path = write(tmp_path / "a.parquet", found.append_column("label", pa.array([1, 0])))
    refused(lambda: ParquetSource(path), "several columns of labels")


def test_files_that_are_cut_or_damaged(tmp_path):
    images = pictures(40)
    good = write(
        tmp_path / "good.parquet", table(images, np.arange(40) % 3), row_group_size=15, write_page_checksum=True
    )
    data = good.read_bytes()
    path = tmp_path / "a.parquet"
    for cut in (0, 3, 8, 11, 50, len(data) // 2, len(data) - 9, len(data) - 1):
        path.write_bytes(data[:cut])
        refused(lambda: ParquetSource(path), "is empty|not a Parquet file|cut short|cannot be read|claims")
    path.write_bytes(data[:-8] + b"\xff\xff\xff\x7fPAR1")
    refused(lambda: ParquetSource(path), "claims a footer of 2,147,483,647 bytes")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused(lambda: ParquetSource(path), "git lfs pull")
    path.write_bytes(data[:-4] + b"PARE")
    refused(lambda: ParquetSource(path), "is encrypted")
    dice = random.Random(0)
    expected = images.transpose(0, 3, 1, 2)
    footer = int.from_bytes(data[-8:-4], "little")
    for number in range(80):
        place = dice.randrange(len(data) - footer - 8 if number % 2 else 0, len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :])
        try:
            points = read(ParquetSource(path))[0]
        except DataError:
            continue
        if len(points) == 40:  # pages have checksums; a flip in the footer may drop a group
            np.testing.assert_array_equal(points, expected)


def test_pages_are_those_that_pyarrow_wrote(tmp_path):
    plain = {"use_dictionary": False}
    for options in ({}, {"data_page_version": "2.0", **plain}, {"compression": "zstd", **plain}):
        found = table([*pictures(500)], np.arange(500) % 7)
        path = write(tmp_path / "a.parquet", found, data_page_size=2000, write_batch_size=10, **options)
        chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
        start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        with path.open("rb") as file:
            found_pages = list(parquet._pages(file, start, chunk.total_compressed_size))
        assert sum(values for kind, _, values, _ in found_pages if kind != 2) == 500
        assert [kind for kind, *_ in found_pages].count(2) == chunk.has_dictionary_page
        assert all(0 < unpacked <= chunk.total_uncompressed_size for _, unpacked, _, _ in found_pages)
        assert len(found_pages) > 3 or not options


def peak_of(work):
    """The most memory that arrow and Python held during some work, in bytes."""
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    base = pool.max_memory()
    tracemalloc.start()
    work()
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return python + max(0, pool.max_memory() - max(before, base))


def test_a_dictionary_that_many_rows_name_is_read_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1 << 20)
    large = png(np.zeros((4, 5, 3), np.uint8)) + bytes(1 << 18)  # what follows the end of a PNG is passed over
    path = write(
        tmp_path / "a.parquet", table([large] * 300, [0] * 300, struct=False), dictionary_pagesize_limit=1 << 22
    )
    assert path.stat().st_size < 1 << 18
    sizes = []
    for _, batch in parquet.ParquetFile(path).batches(["img"], 300):
        sizes.append(batch.num_rows)
        assert batch.nbytes <= 5 << 18
    assert sum(sizes) == 300


def test_a_page_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MOST_PAGE_BYTES", 1 << 20)
    bomb = png(np.zeros((4, 5, 3), np.uint8)) + bytes(32 << 20)
    path = write(tmp_path / "a.parquet", table([bomb] * 2, [0, 1], struct=False), compression="zstd")
    assert path.stat().st_size < 1 << 18
    peak = peak_of(
        lambda: refused(lambda: ParquetSource(path), r"column img in row group 0 has a page of 33,5\d\d,\d{3}")
    )
    assert peak < 16 << 20


def test_a_chunk_that_lies_about_its_pages(tmp_path):
    """A footer that leaves out the first page of a column has too few values for its rows."""
    found = table(pictures(500), np.arange(500) % 7, struct=False)
    path = write(tmp_path / "a.parquet", found, data_page_size=2000, write_batch_size=10, use_dictionary=False)
    file = parquet.ParquetFile(path)
    chunk, i32, i64 = file._chunks[0][0], parquet._I32, parquet._I64
    header = parquet._Header(path.read_bytes()[chunk[9, i64] :])
    skipped = header.struct()[3, i32] + header.tell()
    chunk[9, i64] += skipped  # where its first page is
    chunk[7, i64] -= skipped  # its bytes
    with pytest.raises(DataError, match=r"has pages of 4\d\d values, but claims 500"):
        next(file.batches(["img"], 10))


def test_prefixes_of_earlier_values_are_refused(tmp_path):
    found = table(pictures(20), [0] * 20, struct=False)
    path = write(
        tmp_path / "a.parquet",
        found,
        use_dictionary=False,
        column_encoding={"img": "DELTA_BYTE_ARRAY", "label": "PLAIN"},
    )
    refused(lambda: ParquetSource(path), "img in row group 0 has an encoding that is not read")
    path = write(
        tmp_path / "b.parquet",
        found,
        use_dictionary=False,
        column_encoding={"img": "DELTA_LENGTH_BYTE_ARRAY", "label": "DELTA_BINARY_PACKED"},
    )
    assert len(read(ParquetSource(path))[0]) == 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15",
        b"\x15\x00\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x1c" * 40,
        b"\x19\xfc\xff\xff\xff\xff\x0f",
        b"\x1b\x01\x01",
        b"\x18\xff\xff\x03",
        b"\x15\x00\x15\x01\x15\x02\x00",
        b"\x15\x00\x15\x02\x15\x02\x00",
        b"\x15\x00\x15\x02\x15\x7e\x2c\x15\x02\x15\x00\x00\x00",
        b"\x15\x00\x15\x02\x15\x00\x05\x04\x04\x1c\x15\x02\x15\x00\x00\x00",  # its size a second time, smaller
    ],
)
def test_bytes_that_are_no_page_headers(data):
    with pytest.raises(BadHeader):
        list(parquet._pages(io.BytesIO(data), 0, max(1, len(data))))


def test_page_headers_of_noise():
    dice = random.Random(1)
    for _ in range(3000):
        data = dice.randbytes(dice.randrange(1, 60))
        try:
            found = list(parquet._pages(io.BytesIO(data), 0, len(data)))
        except BadHeader:
            continue
        assert all(number >= 0 for page in found for number in page)


def test_broken_pictures_and_other_sizes(tmp_path):
    images = [pictures(1, *size)[0] for size in ((4, 5, 3), (6, 9, 3), (4, 5, 3), (4, 5, 3), (5, 5, 3))]
    encoded = [png(image) for image in images]
    encoded[0], encoded[3] = encoded[0][:50], b"none"
    path = write(tmp_path / "a.parquet", table(encoded, np.arange(5)), row_group_size=2)
    with pytest.raises(DataError, match=r"img\[0\] cannot be decoded: .*`skip_broken`"):
        ParquetSource(path)
    with pytest.raises(DataError, match=r"img\[2\] has 5x4 pixels, but the first image has 9x6: `resize`"):
        ParquetSource(path, skip_broken=True)
    source = ParquetSource(path, skip_broken=True, resize="5x4")
    points, labels, index = read(source)
    assert labels.tolist() == [1, 2, 4]
    assert index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(points[1], images[2].transpose(2, 0, 1))
    resized = np.asarray(Image.fromarray(images[1]).resize((5, 4), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(points[0], resized.transpose(2, 0, 1))
    assert [note.partition(":")[0] for note in source.spec.notes[1:]] == ["skipped"] * 2 + ["skipped 2 of 5 images"]
    called = np.concatenate([block["names"] for block in source.blocks()])
    assert [bytes(name) for name in called] == [b"1.png", b"2.png", b"4.png"]
    for start, stop in ((0, 1), (1, 3), (2, 3), (3, 3)):
        assert [int(row) for block in source.blocks(start, stop) for row in block["labels"]] == [1, 2, 4][start:stop]
    broken = write(tmp_path / "b.parquet", table([b"none"], [0]))
    with pytest.raises(DataError, match="no picture that can be decoded"):
        ParquetSource(broken, skip_broken=True)


def test_labels_that_are_strange_text(tmp_path):
    """What is no UTF-8, and longer than a name may be, of which the end is taken."""
    data = pa.array([b"\xff\xfea", b"b" * 5000, b"\xff\xfea"], pa.binary())
    texts = pa.StringArray.from_buffers(len(data), data.buffers()[1], data.buffers()[2])
    source = ParquetSource(write(tmp_path / "a.parquet", table(pictures(3), texts)))
    assert source.spec.classes == ("b" * 4096, "\ufffd\ufffda")
    assert read(source)[1].tolist() == [1, 0, 1]


def test_labels_that_are_text(tmp_path):
    images = pictures(5)
    for kind in (pa.string(), pa.large_string()):
        labels = pa.array(["dog", "ant", "dog", "bee", "ant"], kind)
        source = ParquetSource(write(tmp_path / "a.parquet", table(images, labels), row_group_size=2))
        assert source.spec.classes == ("ant", "bee", "dog")
        assert read(source)[1].tolist() == [2, 0, 2, 1, 0]
    path = tmp_path / "a.parquet"
    assert read(ParquetSource(path, classes=("dog", "bee", "ant")))[1].tolist() == [0, 2, 0, 1, 2]
    with pytest.raises(DataError, match=r"label\[3\] = 'bee' is not among the 2 class names"):
        read(ParquetSource(path, classes=("dog", "ant")))
    with pytest.raises(DataError, match=r"label\[1\] is empty: every point has a label"):
        read(ParquetSource(write(path, table(pictures(2), pa.array(["dog", None])))))
    with pytest.raises(DataError, match=r"label\[1\] is empty"):
        read(ParquetSource(write(path, table(pictures(2), pa.array(["dog", ""])))))
