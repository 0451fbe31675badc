"""Folders of images: order, modes, and files that are not what they seem."""

import hashlib
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from datarobust.datasets.folder import FolderSource
from datarobust.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def picture(path, mode="RGB", size=(5, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode in ("L", "P") else (size[1], size[0], len(mode))
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    if mode in ("RGBA", "LA"):
        pixels[..., -1] = 255
    image = Image.fromarray(pixels)
    if mode == "P":
        image = Image.fromarray(RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)).convert("P")
    image.save(path, **options)
    return path


def read(source):
    blocks = list(source.blocks())
    return np.concatenate([b["images"] for b in blocks]), np.concatenate([b["labels"] for b in blocks])


def test_classes_and_files_come_by_name(tmp_path):
    names = ["b/2.png", "b/10.png", "a/z.bmp", "c/deep/er/x.png", "c/a.png"]
    for name in names:
        picture(tmp_path / name)
    picture(tmp_path / ".hidden" / "x.png")
    picture(tmp_path / "a" / ".hidden.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no image")
    source = FolderSource(tmp_path)
    points, labels = read(source)
    assert source.spec.classes == ("a", "b", "c", "empty")
    assert labels.tolist() == [0, 1, 1, 2, 2]
    for place, name in enumerate(["a/z.bmp", "b/10.png", "b/2.png", "c/a.png", "c/deep/er/x.png"]):
        np.testing.assert_array_equal(points[place], np.asarray(Image.open(tmp_path / name)).transpose(2, 0, 1))
    notes = " ".join(source.spec.notes)
    assert "skipped because not an image: " in notes
    assert "notes.txt" in notes
    assert "classes without images: empty" in notes


def test_modes(tmp_path):
    expected = {}
    for mode in ("RGB", "RGBA", "P"):
        path = picture(tmp_path / "rgb" / "x" / f"{mode}.png", mode)
        expected[mode] = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
    points, _ = read(FolderSource(tmp_path / "rgb"))
    for place, mode in enumerate(sorted(expected)):
        np.testing.assert_array_equal(points[place], expected[mode])
    for mode in ("L", "LA"):
        picture(tmp_path / "grey" / "x" / f"{mode}.png", mode)
    assert FolderSource(tmp_path / "grey").spec.shape == (1, 4, 5)


def test_mixed_modes_are_named_and_have_a_way_out(tmp_path):
    picture(tmp_path / "x" / "1.png", "RGB")
    grey = picture(tmp_path / "x" / "2.png", "L")
    with pytest.raises(DataError, match=r"2.png is grey, but the first image is RGB: `channels`"):
        read(FolderSource(tmp_path))
    points, _ = read(FolderSource(tmp_path, channels=3))
    np.testing.assert_array_equal(points[1], np.repeat(np.asarray(Image.open(grey))[None], 3, axis=0))
    assert read(FolderSource(tmp_path, channels=1))[0].shape == (2, 1, 4, 5)


def test_other_sizes_are_named(tmp_path):
    picture(tmp_path / "x" / "1.png")
    picture(tmp_path / "x" / "2.png", size=(6, 4))
    with pytest.raises(DataError, match=r"2.png has 6x4 pixels, but the first image has 5x4: `resize`"):
        read(FolderSource(tmp_path))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_images_that_are_refused(tmp_path):
    picture(tmp_path / "x" / "1.png", "L")
    bad = tmp_path / "x" / "2.png"

    def refused(words):
        with pytest.raises(DataError, match=words) as caught:
            read(FolderSource(tmp_path))
        assert "2.png" in str(caught.value)
        assert "\n" not in str(caught.value)

    whole = (tmp_path / "x" / "1.png").read_bytes()
    for length in range(0, len(whole), 7):
        bad.write_bytes(whole[:length])
        refused("cannot be decoded")
    for place in range(8, len(whole) - 12):  # every byte of the header and of the pixels has its checksum
        raw = bytearray(whole)
        raw[place] ^= 1
        bad.write_bytes(raw)
        refused("2.png")
    bad.write_bytes(b"")
    refused("cannot be decoded")
    bad.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n")  # pillow would start a program for it
    refused("cannot be decoded")
    giant = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + giant + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b""))
    refused("pixels|decoded")
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0))
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + large + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b""))
    refused("claims 9000x9000 pixels")
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(bad)
    refused("mode I;16")
    clear = np.zeros((4, 5, 4), np.uint8)
    Image.fromarray(clear).save(bad)
    refused("partly transparent")
    frames = [Image.fromarray(np.full((4, 5), grey, np.uint8)) for grey in (0, 255)]
    frames[0].save(bad, format="GIF", save_all=True, append_images=frames[1:])
    refused("several frames")


def test_damaged_images_never_give_a_traceback(tmp_path):
    picture(tmp_path / "x" / "1.png", "L")
    dice = np.random.default_rng(3)
    for suffix, options in {
        ".png": {},
        ".jpg": {},
        ".bmp": {},
        ".tif": {},
        ".webp": {"lossless": True},
        ".gif": {},
    }.items():
        path = picture(tmp_path / "x" / f"2{suffix}", "L", **options)
        whole = path.read_bytes()
        for _ in range(40):
            raw = bytearray(whole)
            raw[dice.integers(len(raw))] = dice.integers(256)
            path.write_bytes(raw[: dice.integers(1, len(raw) + 1)] if dice.random() < 0.3 else raw)
            try:
                read(FolderSource(tmp_path, channels=1))
            except DataError as error:
                assert "\n" not in str(error)  # noqa: PT017 - damage may also hit what does not matter
        path.unlink()


def test_links(tmp_path):
    root = tmp_path / "set"
    real = picture(tmp_path / "elsewhere" / "1.png")
    (root / "x").mkdir(parents=True)
    (root / "x" / "1.png").symlink_to(real)
    (root / "y").symlink_to(tmp_path / "elsewhere")
    assert read(FolderSource(root))[1].tolist() == [0, 1]
    (root / "x" / "loop").symlink_to(root / "x")
    with pytest.raises(DataError, match="leads back"):
        FolderSource(root)
    (root / "x" / "loop").unlink()
    (root / "x" / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        FolderSource(root)
    (root / "x" / "gone.png").unlink()
    os.mkfifo(root / "x" / "pipe.png")
    with pytest.raises(DataError, match="not a regular file"):
        FolderSource(root)


def test_folders_that_are_no_set(tmp_path):
    with pytest.raises(DataError, match="has no images in sub-folders"):
        FolderSource(tmp_path)
    picture(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"loose\.png is in no class"):
        FolderSource(tmp_path)


def test_names_of_classes(tmp_path):
    picture(tmp_path / "cat\x1b[31m" / "1.png")
    source = FolderSource(tmp_path)
    assert source.spec.classes == ("cat\x1b[31m",)
    picture(tmp_path / "cat\x1b[31m" / "2.png", size=(9, 9))
    with pytest.raises(DataError) as caught:
        read(FolderSource(tmp_path))
    assert "\x1b" not in str(caught.value)
    assert FolderSource(tmp_path, classes=("dog",)).spec.classes == ("dog",)
    with pytest.raises(DataError, match="1 class folders, but 2 names"):
        FolderSource(tmp_path, classes=("dog", "cow"))
    (tmp_path / "b\udcff").mkdir()
    with pytest.raises(DataError, match="not UTF-8"):
        FolderSource(tmp_path)


def test_a_changed_folder_is_noticed(tmp_path):
    path = picture(tmp_path / "x" / "1.png")
    source = FolderSource(tmp_path)
    before = source.identity(), source.digest()
    assert (FolderSource(tmp_path).identity(), FolderSource(tmp_path).digest()) == before
    picture(path)
    os.utime(path, ns=(1, 1))
    assert FolderSource(tmp_path).digest() != before[1]
    with pytest.raises(DataError, match="changed while it was read"):
        source.unchanged()


def test_resizing_stretches_or_cuts(tmp_path):
    wide = picture(tmp_path / "x" / "1.png", size=(12, 4))
    picture(tmp_path / "x" / "2.png", size=(4, 9))
    picture(tmp_path / "x" / "3.png", size=(6, 4))
    points, _ = read(FolderSource(tmp_path, resize="6x4"))
    image = Image.open(wide)
    np.testing.assert_array_equal(points[0], np.asarray(image.resize((6, 4), Image.BICUBIC)).transpose(2, 0, 1))
    np.testing.assert_array_equal(points[2], np.asarray(Image.open(tmp_path / "x" / "3.png")).transpose(2, 0, 1))
    points, _ = read(FolderSource(tmp_path, resize="4x4:crop"))
    np.testing.assert_array_equal(points[0], np.asarray(image)[:, 4:8].transpose(2, 0, 1))  # the middle as it is
    assert FolderSource(tmp_path, resize="6x4").identity() != FolderSource(tmp_path, resize="6x4:crop").identity()
    for size in ("6", "0x4", "6x4:cut", "99999x99999"):
        with pytest.raises(UsageError, match="is not a size: give WIDTHxHEIGHT"):
            FolderSource(tmp_path, resize=size)


def test_photographs_are_turned_upright(tmp_path):
    pixels = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    (tmp_path / "x").mkdir()
    Image.fromarray(pixels).save(tmp_path / "x" / "1.png")
    for orientation, turned in ((3, pixels[::-1, ::-1]), (6, np.rot90(pixels)), (8, np.rot90(pixels, -1))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / "x" / f"{orientation}.png", exif=exif)
    points, _ = read(FolderSource(tmp_path))
    assert len(points) == 4
    for point in points:
        np.testing.assert_array_equal(point, pixels.transpose(2, 0, 1))


def test_broken_images_can_be_left_out(tmp_path):
    for name in ("a/1.png", "a/3.png", "b/2.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / "0.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:60])
    (tmp_path / "b" / "4.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0.png cannot be decoded: .*`skip_broken` leaves such images out"):
        read(FolderSource(tmp_path))
    source = FolderSource(tmp_path, skip_broken=True)
    points, labels = read(source)
    assert labels.tolist() == [0, 0, 1]
    assert len(points) == 3
    notes = [note for note in source.spec.notes if note.startswith("skipped")]
    assert [place for place, name in ((0, "a/0.png"), (1, "b/4.jpg")) if name in notes[place]] == [0, 1]
    assert notes[2] == "skipped 2 of 5 images"
    assert "skip_broken" not in "".join(notes)  # it is chosen already
    picture(tmp_path / "b" / "5.png", size=(9, 9))  # not broken: there is another way out
    with pytest.raises(DataError, match=r"5.png has 9x9 pixels.*`resize`"):
        FolderSource(tmp_path, skip_broken=True)
    assert len(read(FolderSource(tmp_path, skip_broken=True, resize="5x4"))[0]) == 4
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image in it can be decoded"):
        FolderSource(tmp_path, skip_broken=True)


def names_of(source):
    names = np.concatenate([block["names"] for block in source.blocks()])
    return [name.decode() for name in np.ascontiguousarray(names).view(f"S{names.shape[1]}").ravel().tolist()]


def test_a_table_has_the_labels(tmp_path):
    for name in ("2.png", "1.png", "sub/3.png", "4.png"):
        picture(tmp_path / name)
    table = tmp_path / "metadata.csv"
    table.write_text('file_name,split,label\n2.png,x,dog\n"1.png",x,"a ""cat"""\nsub/3.png,x,dog\n')
    source = FolderSource(tmp_path)
    assert names_of(source) == ["2.png", "1.png", "sub/3.png"]
    assert source.spec.classes == ('a "cat"', "dog")
    assert read(source)[1].tolist() == [1, 0, 1]
    assert source.spec.notes[-1] == f"skipped because not listed in it: {tmp_path}/4.png"
    before = source.identity()
    table.write_text("file_name,label\n2.png,dog\n")
    assert FolderSource(tmp_path).identity() != before
    for name, text in {
        "labels.csv": "\ufeffid;LABEL\r\n1;7\r\n4;3\r\n",  # as Kaggle has it, without suffixes
        "labels.tsv": "image\tclass\n1.png\t7\n4.png\t3\n",
        "labels.jsonl": '{"file_name": "1.png", "label": 7}\n\n{"file_name": "./4.png", "label": "3"}\n',
    }.items():
        path = tmp_path.parent / f"{tmp_path.name}-{name}"
        path.write_text(text, encoding="utf-8")
        source = FolderSource(tmp_path, table=path)
        assert names_of(source) == ["1.png", "4.png"]
        assert read(source)[1].tolist() == [7, 3]
        assert source.spec.classes == ()
        assert len(source.digest()) == 64
    path.write_text(f"path,label\n{tmp_path}/1.png,7\n{tmp_path.name}/4.png,3\n")  # from the root, from the table
    path = path.rename(path.with_suffix(".csv"))
    assert names_of(FolderSource(tmp_path, table=path)) == ["1.png", "4.png"]
    classes = tuple(map(str, range(8)))
    assert read(FolderSource(tmp_path, table=path, classes=classes))[1].tolist() == [7, 3]
    assert FolderSource(tmp_path, table=path, skip_broken=True).spec.rows == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b\n1.png,cat\n", "has the columns a, b: name two of them file_name and label"),
        ("label,file_name,label\n", "has the columns label, file_name, label"),
        ("file_name,label\n2.png,cat\n", "line 2: 2.png is not an image in"),
        ("file_name,label\n../1.png,cat\n", "line 2: ../1.png is not an image in"),
        ("file_name,label\n1.png,cat\n1.png,cat\n", "line 3: 1.png has a label already in line 2"),
        ("file_name,label\n1.png,cat\n1,cat\n", "line 3: 1 has a label already"),
        ("file_name,label\n1.png\n", "line 2 has 1 fields, but its header has 2"),
        ("file_name,label\n1.png,\n", "line 2 has no label"),
        ("file_name,label\n1.png,1234567\n", "line 2: the label 1234567 is too large for a class number"),
        ("file_name,label\n", "lists nothing"),
        ("", "has the columns none"),
        ('file_name,label\n"1.png,cat\n', "is not a CSV"),
        ("file_name,label\n1.png,c\xe4t\n", "is not UTF-8 text"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, fault):
    picture(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=fault):
        FolderSource(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]\n", "{\n", '{"file_name": "1.png"}\n', '{"file_name": 1, "label": 2}\n', "[" * 9999 + "\n"]
)
def test_json_lines_that_are_wrong(tmp_path, text):
    picture(tmp_path / "1.png")
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"metadata\.jsonl"):
        FolderSource(tmp_path)


def test_labels_that_are_not_among_the_class_names(tmp_path):
    picture(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,cat\n")
    assert read(FolderSource(tmp_path, classes=("dog", "cat")))[1].tolist() == [1]
    with pytest.raises(DataError, match="the label cat is not among the class names"):
        FolderSource(tmp_path, classes=("dog", "owl"))


def test_parts_of_a_set_are_no_classes(tmp_path):
    picture(tmp_path / "train" / "cat" / "1.png")
    picture(tmp_path / "test" / "cat" / "2.png")
    with pytest.raises(DataError, match="holds test and train, which are no classes: choose one of them with `split`"):
        FolderSource(tmp_path)
    source = FolderSource(tmp_path, split="train")
    assert source.spec.classes == ("cat",)
    assert source.spec.name.endswith("-train")
    assert names_of(source) == ["cat/1.png"]
    with pytest.raises(DataError, match="valid is not a folder: `split` names a sub-folder"):
        FolderSource(tmp_path, split="valid")


def test_what_cameras_and_archives_add_is_passed_over(tmp_path):
    first, second = (Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(2))
    (tmp_path / "cat").mkdir()
    first.save(tmp_path / "cat" / "1.jpg", format="MPO", save_all=True, append_images=[second])
    picture(tmp_path / "__MACOSX" / "cat" / "1.png")
    source = FolderSource(tmp_path)
    assert source.spec.classes == ("cat",)
    with Image.open(tmp_path / "cat" / "1.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
        np.testing.assert_array_equal(read(source)[0][0], np.asarray(image).transpose(2, 0, 1))


def zipped(folder, path, prefix="", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.mkdir("empty")
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("prefix", ["", "photos/"])
def test_a_zip_file_is_read_as_its_folder(tmp_path, prefix):
    for name in ("b/2.png", "b/10.png", "a/z.bmp", "c/deep/x.png", "__MACOSX/b/2.png", "b/.hidden.png"):
        picture(tmp_path / "photos" / name)
    (tmp_path / "photos" / "b" / "notes.txt").write_text("no image")
    folder = FolderSource(tmp_path / "photos")
    source = FolderSource(zipped(tmp_path / "photos", tmp_path / "p.zip", prefix, zipfile.ZIP_DEFLATED))
    assert names_of(source) == names_of(folder) == ["a/z.bmp", "b/10.png", "b/2.png", "c/deep/x.png"]
    assert source.spec.classes == folder.spec.classes == ("a", "b", "c")
    assert source.spec.name == "p"
    for one, other in zip(read(source), read(folder), strict=True):
        np.testing.assert_array_equal(one, other)
    assert source.digest() == hashlib.sha256((tmp_path / "p.zip").read_bytes()).hexdigest()
    (tmp_path / "p.zip").touch()
    with pytest.raises(DataError, match="changed while it was read"):
        source.unchanged()


def test_zip_files_with_tables_and_parts(tmp_path):
    for name in ("1.png", "2.png"):
        picture(tmp_path / "flat" / name)
    (tmp_path / "flat" / "metadata.csv").write_text("file_name,label\n2.png,dog\n1.png,cat\n")
    for prefix in ("", "flat/"):
        source = FolderSource(zipped(tmp_path / "flat", tmp_path / "flat.zip", prefix))
        assert (names_of(source), source.spec.classes) == (["2.png", "1.png"], ("cat", "dog"))
    (tmp_path / "other.csv").write_text("file_name,label\n1,owl\n")
    source = FolderSource(tmp_path / "flat.zip", table=tmp_path / "other.csv")
    assert (names_of(source), source.spec.classes) == (["1.png"], ("owl",))
    for name in ("train/cat/1.png", "test/cat/2.png"):
        picture(tmp_path / "parts" / name)
    path = zipped(tmp_path / "parts", tmp_path / "parts.zip", "parts/")
    with pytest.raises(DataError, match="holds test and train, which are no classes"):
        FolderSource(path)
    assert names_of(FolderSource(path, split="test")) == ["cat/2.png"]
    with pytest.raises(DataError, match="has no folder valid"):
        FolderSource(path, split="valid")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, compression):
    """Their decoders raise errors of their own on damaged data."""
    picture(tmp_path / "photos" / "a" / "1.png")
    with pytest.raises(DataError, match=r"p\.zip/a/1\.png is compressed, but not by deflate: unpack the file"):
        FolderSource(zipped(tmp_path / "photos", tmp_path / "p.zip", compression=compression))


def test_damaged_zip_files_never_give_a_traceback(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        picture(tmp_path / "photos" / name)
    whole = zipped(tmp_path / "photos", tmp_path / "p.zip").read_bytes()
    dice = np.random.default_rng(4)
    for number in range(120):
        raw = bytearray(whole)
        raw[dice.integers(len(raw))] = dice.integers(256)
        (tmp_path / "q.zip").write_bytes(raw[: dice.integers(1, len(raw) + 1)] if number % 3 == 0 else raw)
        for options in ({}, {"skip_broken": True}):
            try:
                read(FolderSource(tmp_path / "q.zip", **options))
            except DataError as error:
                assert "q.zip" in str(error)  # noqa: PT017 - damage may also hit what does not matter
                assert "\n" not in str(error)  # noqa: PT017
