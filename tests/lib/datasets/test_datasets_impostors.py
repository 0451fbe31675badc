"""What is no data at all is told by its first bytes."""

import gzip
import pickle
from pathlib import Path

import pytest

from datarobust.datasets.impostors import START_BYTES, refuse_impostor
from datarobust.errors import DataError

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
def test_impostors_are_named(start, words):
    with pytest.raises(DataError, match=words) as caught:
        refuse_impostor(Path("some.npz"), start)
    assert str(caught.value).startswith("some.npz is ")
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
def test_data_pass(start):
    refuse_impostor(Path("some"), start[:START_BYTES])
