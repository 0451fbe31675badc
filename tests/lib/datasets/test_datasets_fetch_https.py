"""Requests over https, to a real server on this machine."""

import hashlib
import random
import ssl

import pytest

from datarobust import __version__
from datarobust.datasets.fetch import Remote, fetch_file
from datarobust.datasets.fetch import https as transport
from datarobust.errors import FetchError

DATA = random.Random(0).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def data(site):
    site.files["/data.bin"] = DATA


@pytest.fixture
def https(trusted):
    return transport(ssl.create_default_context(cafile=trusted))


def remote(site, path="/data.bin"):
    return Remote("data.bin", (site.address + path,), len(DATA), hashlib.sha256(DATA).hexdigest())


def test_a_file_comes_and_is_resumed(site, https, tmp_path):
    site.breaks = [1_234_567, 1_000_000]
    assert fetch_file(remote(site), tmp_path, https, pause=lambda seconds: None).read_bytes() == DATA
    assert site.requests == [("/data.bin", None), ("/data.bin", "bytes=1234567-"), ("/data.bin", "bytes=2234567-")]
    assert site.agents == {f"datarobust/{__version__}"}


def test_redirects(site, https, tmp_path):
    site.moved = {
        "/a": "/b",
        "/b": site.address + "/data.bin",
        "/out": "http://localhost/x",
        "/file": "file:///etc/passwd",
    }
    assert fetch_file(remote(site, "/a"), tmp_path / "a", https).read_bytes() == DATA
    for path in ("/out", "/file"):
        with pytest.raises(FetchError, match="which is not https"):
            fetch_file(remote(site, path), tmp_path / "b", https)


def test_what_is_not_there(site, https, tmp_path):
    with pytest.raises(FetchError, match="localhost: the server answers 404"):
        fetch_file(remote(site, "/nowhere"), tmp_path, https)


def test_strangers_are_not_trusted(site, tmp_path):
    with pytest.raises(FetchError, match=r"not to be trusted .self-signed certificate"):
        fetch_file(remote(site), tmp_path, transport())
    assert site.requests == []


def test_nobody_answers(https, tmp_path):
    closed = Remote("data.bin", ("https://localhost:1/data.bin",), 5, "0" * 64)
    with pytest.raises(FetchError, match=r"[Cc]onnection refused"):
        fetch_file(closed, tmp_path, https, pause=lambda seconds: None)


@pytest.mark.parametrize("url", ["http://localhost/x", "file:///etc/passwd", "ftp://localhost/x", "x", ""])
def test_only_https_is_asked(https, url):
    with pytest.raises(OSError, match="is not https"):
        https(url, {})


@pytest.mark.parametrize("path", ["/\u20ac", "/a b", "/\x01", "/\r\nX: y"])
def test_addresses_that_cannot_be_asked_for(site, https, path):
    with pytest.raises(OSError):  # noqa: PT011 - http.client's own words
        https(site.address + path, {})


def test_certificates_of_the_environment(site, trusted, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    assert fetch_file(remote(site), tmp_path, transport()).read_bytes() == DATA
