"""Files that are no data at all; archives read without unpacking them: every form that is written, what is refused."""

import gzip
import io
import pickle
import tarfile
import tracemalloc
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.datasets import files
from datarobust.datasets.files import is_tar, read_start, tar_files
from datarobust.errors import DataError

from .releases import archive

RNG = np.random.default_rng(0)
FILES = {
    "one": RNG.bytes(200_000),
    "two": bytes(300_000),
    "empty": b"",
    "block": RNG.bytes(512),
    "a" * 90 + "/" + "b" * 140: b"long name",
    "ünï": b"text\n" * 999,
}


def contents(path):
    found = {}
    for name, raw in tar_files(path).items():
        with raw.open() as file:
            found[name] = file.read()
        assert raw.size == len(found[name])
        assert raw.where == f"{path}: {name}"
    return found


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("top", ["release/", "./", "./x/"])
def test_archives_as_they_are_written(tmp_path, format, mode, top):
    path = archive(tmp_path / "a.tar.gz", FILES, top, mode, format=format)
    assert is_tar(path)
    prefix = top.removeprefix("./")
    assert contents(path) == {prefix + name: data for name, data in FILES.items()}


def test_the_old_form_and_odd_entries(tmp_path):
    """Headers without a magic number; hidden files are left out; headers of no use here are passed over."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 3000}) as tar:
        for name in ("._one", "r/.hidden", "r/one"):
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = 3, {"mtime": "1.5", "path": f"renamed/{name}"}
            tar.addfile(entry, io.BytesIO(b"abc"))
    assert contents(path) == {"renamed/r/one": b"abc"}
    old = bytearray(512)
    old[:3], old[124:135], old[148:156] = b"one", b"00000000003", b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    path.write_bytes(bytes(old) + b"abc".ljust(512, b"\0") + bytes(1024))
    assert contents(path) == {"one": b"abc"}


def entry(name="one", kind=tarfile.REGTYPE, size=None, link=""):
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    found.size = 0 if size is None else size
    return found.tobuf(tarfile.USTAR_FORMAT)


END = bytes(1024)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (entry("/etc/passwd"), "holds /etc/passwd, a name that leads out of it"),
        (entry("../one"), r"holds \.\./one, a name that leads out of it"),
        (entry("x/../../one"), "a name that leads out of it"),
        (entry("x/.."), "a name that leads out of it"),
        (entry("one", tarfile.SYMTYPE, link="/etc/passwd"), "holds one, which is neither a file nor a folder"),
        (entry("one", tarfile.LNKTYPE, link="two"), "holds one, which is neither a file nor a folder"),
        (entry("one", tarfile.CHRTYPE), "holds one, which is neither a file nor a folder"),
        (entry("one", tarfile.BLKTYPE), "holds one, which is neither a file nor a folder"),
        (entry("one", tarfile.FIFOTYPE), "holds one, which is neither"),
        (entry("one", tarfile.GNUTYPE_SPARSE), "holds one, which is neither"),
        (entry("one", b"V"), "holds one, which is neither"),
        (entry("one") + entry("./one"), "has two entries called one"),
        (entry("one", tarfile.DIRTYPE) + entry("one"), "has two entries called one"),
        (entry("x\x1b[31m", tarfile.SYMTYPE), r"holds x\\x1b\[31m, which is neither"),
        (entry("one", tarfile.DIRTYPE, 512) + bytes(512), "claims a size for one"),
        (entry("one", size=3 << 30), "claims a size for one that no file"),
        (entry("one", size=1000), "is cut short|is damaged"),
        (entry("one", size=1000) + bytes(1000), "is cut short|is damaged"),
        (entry("one", tarfile.XHDTYPE, 1 << 20), "an extra header of more than 64 KiB"),
        (entry("one", tarfile.GNUTYPE_LONGNAME, 1 << 20), "an extra header of more than 64 KiB"),
        (entry("x", tarfile.XHDTYPE, 9) + b"99 path=x".ljust(512, b"\0"), "is damaged"),
        (entry("x", tarfile.XHDTYPE, 9) + b"0 path=xx".ljust(512, b"\0"), "is damaged"),
        (entry("x", tarfile.XHDTYPE, 9) + b"99999999 ".ljust(512, b"\0"), "is damaged"),
        (
            entry("x", tarfile.XHDTYPE, 20) + b"20 GNU.sparse.a=bcd\n".ljust(512, b"\0"),
            "no release has|is damaged",
        ),
        (entry("x", tarfile.XGLTYPE, 10) + b"10 path=x\n".ljust(512, b"\0"), "no release has|is damaged"),
        (entry("x", tarfile.XHDTYPE, 12) + b"12 path=/x/\n".ljust(512, b"\0") + entry(), "leads out of it"),
        (entry("x", tarfile.XHDTYPE, 11) + b"11 size=-1\n".ljust(512, b"\0") + entry(), "claims a size|is damaged"),
        (entry("x", tarfile.GNUTYPE_LONGNAME, 4) + b"../x".ljust(512, b"\0") + entry(), "leads out of it"),
        (b"".join(entry(str(number)) for number in range(1001)), "has more than 1,000 entries"),
        (b"x" * 512, r"is damaged \(invalid header"),
        (entry() + b"x" * 512, r"is damaged \(at byte 512 there is no header"),
        (entry(), "is cut short"),
    ],
)
@pytest.mark.parametrize("gzipped", [False, True])
def test_archives_that_are_refused(tmp_path, data, words, gzipped):
    ended = data if "cut short" in words else data + END
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(ended) if gzipped else ended)
    with pytest.raises(DataError, match=f"{path}.*({words})"):
        tar_files(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_truncation_and_damage_are_told(tmp_path, mode):
    whole = archive(tmp_path / "a.tar", {"one": RNG.bytes(3000), "two": b"x" * 2000}, mode=mode).read_bytes()
    end = len(whole) if mode == "w:gz" else 512 * (1 + 1 + 6 + 1 + 4 + 1)  # a plain one is padded after its end mark
    path = tmp_path / "cut.tar"
    for size in range(0, end, 97):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.tar is (cut short|damaged)"):
            tar_files(path)
    if mode == "w:gz":
        for place in range(16, len(whole), 97):  # after the header, which has the name in it
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
            with pytest.raises(DataError, match=r"cut\.tar .*(cut short|damaged|not gzip)"):
                tar_files(path)
        path.write_bytes(whole + b"rubbish")
        with pytest.raises(DataError, match="is damaged"):
            tar_files(path)
        path.write_bytes(whole + bytes(5000))
        assert len(contents(path)) == 2


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "a.tar.gz"
    for data in (b"", b"\x1f\x8b", gzip.compress(b""), gzip.compress(b"text" * 999), b"\x1f\x8bxxxxxxxxx", bytes(9999)):
        path.write_bytes(data)
        assert not is_tar(path)
        if data[:1] != b"\0":
            with pytest.raises(DataError, match=r"a\.tar\.gz"):
                tar_files(path)
    assert not is_tar(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere cannot be read"):
        tar_files(tmp_path / "nowhere")


def test_bombs_are_bounded(tmp_path, monkeypatch):
    """A file that unpacks to a thousand times its size is read in pieces, and not beyond the limit."""
    path = tmp_path / "a.tar.gz"
    size = 24 << 20
    path.write_bytes(gzip.compress(entry("one", size=size) + bytes(size) + END, 1))
    tracemalloc.start()
    raw = tar_files(path)["one"]
    with raw.open() as file:
        file.seek(size - 5)
        assert file.read() == bytes(5)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    monkeypatch.setattr(files, "MOST_BYTES", 1 << 20)
    with pytest.raises(DataError, match="claims a size for one that no file"):
        tar_files(path)
    path.write_bytes(gzip.compress(entry("one", size=3) + bytes(512) + END + bytes(size), 1))
    with pytest.raises(DataError, match="unpacks to more than"):
        tar_files(path)


def header(name="x", value="", *, kind=tarfile.XHDTYPE):
    """An extra header with one record."""
    record = f" {name}={value}\n"
    record = f"{len(record) + 2}{record}" if len(record) < 98 else f"{len(record) + 3}{record}"
    size = len(record)
    return entry("x", kind, size) + record.encode().ljust(-(-size // 512) * 512, b"\0")


def test_bombs_in_headers_are_bounded(tmp_path, monkeypatch):
    """Chains of headers, and a map of a sparse file that would be read from the data."""
    monkeypatch.setattr(files, "_MOST_HEADERS", 1 << 17)
    record = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    sparse = entry("x", tarfile.XHDTYPE, len(record)) + record.ljust(512, b"\0")
    vast = b"999999999\n" + b"0\n" * (4 << 20)
    for data in (
        header("comment", "y" * 60) * 500 + entry(),
        header("comment", "y" * 60, kind=tarfile.XGLTYPE) * 500 + entry(),
        sparse + entry("one", size=len(vast)) + vast.ljust(-(-len(vast) // 512) * 512, b"\0"),
        (entry("x", tarfile.GNUTYPE_LONGNAME, 1 << 15) + b"y" * (1 << 15)) * 200 + entry(),
    ):
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(data + END, 1))
        tracemalloc.start()
        with pytest.raises(DataError, match=r"a\.tar\.gz is damaged \(it has an extra header"):
            tar_files(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12 << 20


@settings(max_examples=30)
@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4000), st.integers(0, 500)), max_size=8),
    st.sampled_from(["w", "w:gz"]),
)
def test_members_seek_as_files_do(tmp_path_factory, parts, moves, mode):
    """Forwards and backwards, also beyond the end, several members at once."""
    files = {str(number): data for number, data in enumerate(parts)}
    path = archive(tmp_path_factory.mktemp("s") / "a", files, mode=mode)
    with ExitStack() as stack:
        members = [stack.enter_context(raw.open()) for raw in tar_files(path).values()]
        for number, place, size in moves:
            member, data = members[number % len(members)], parts[len(parts) - 1 - number % len(parts)]
            member.seek(place)
            assert member.read(size) == data[place : place + size]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 3080000614\n"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"", "is empty"),
        (LFS, "git lfs pull"),
        (b"/annex/objects/SHA256E-s123--abc.npz\n", "git annex get"),
        (b"../../.git/annex/objects/aa/bb/SHA256E-s1--c/SHA256E-s1--c", "git annex get"),
        (b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>", "a web page"),
        (b"\xef\xbb\xbf\r\n  <HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "a web page or an XML message"),
        (b"<Error><Code>NoSuchKey</Code></Error>", "an XML message"),
        (b'{"error":"Repository not found"}', 'begins with {"error":"Repository not found"}'),
        (b' {\n "message" : "Not Found"}', "a message of a server"),
        (b"{}", "a message of a server"),
        (b"Entry not found", "begins with Entry not found;"),
        (b"404: Not Found", "begins with 404: Not Found;"),
        (b"Access denied\x1b[31m", r"Access denied\\x1b\[31m"),
    ],
)
def test_placeholders_are_named(tmp_path, start, words):
    path = tmp_path / "some.npz"
    path.write_bytes(start)
    with pytest.raises(DataError, match=words) as caught:
        read_start(path)
    assert str(caught.value).startswith(f"{path} is ")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "start",
    [
        b"\0\0\x08\x03\0\0\xea\x60",
        gzip.compress(b"\0" * 100, mtime=0),
        b"PK\x03\x04",
        b"PAR1\x15\x04",
        pickle.dumps({"data": 1}),
        pickle.dumps({"data": 1}, protocol=0),
        pickle.dumps([], protocol=2),
        b"cifar-10-batches-py/" + bytes(80),
        b"<",
        b"{" + bytes(20),
        b"\x89PNG\r\n",
    ],
)
def test_data_pass(tmp_path, start):
    (tmp_path / "some").write_bytes(start)
    assert read_start(tmp_path / "some") == start
