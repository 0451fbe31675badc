"""Fetching: what a network can do to a file, and a file that is right or absent in the end."""

import hashlib
import io
import multiprocessing
import random
import re
import socket
import ssl
import zipfile

import pytest

from datarobust import artifacts
from datarobust.datasets import fetch as module
from datarobust.datasets.fetch import ATTEMPTS, CHUNK, Remote, fetch_file, unzip
from datarobust.errors import ArtifactError, DataError, FetchError, LockedError

DATA = random.Random(0).randbytes(3 * CHUNK + 12345)
URL = "https://one.example/data.bin"
MIRROR = "https://two.example/data.bin"


def remote(data=DATA, *urls):
    return Remote("data.bin", urls or (URL,), len(data), hashlib.sha256(data).hexdigest())


class Answer:
    """A response with a body that may break; ``sent`` counts what was read of it."""

    def __init__(self, status, body=b"", breaks=None, **headers):
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._body = io.BytesIO(body)
        self._breaks = breaks
        self.closed = False

    def read(self, size):
        data = self._body.read(size)
        if not data and self._breaks is not None:
            raise self._breaks
        return data

    def close(self):
        self.closed = True


class Web:
    """A server that answers each request by the next of its functions, the last for all that follow."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.requests = []
        self.given = []

    def __call__(self, url, headers):
        self.requests.append((url, dict(headers)))
        make = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        answer = make(url, headers) if callable(make) else make
        if isinstance(answer, Exception):
            raise answer
        self.given.append(answer)
        return answer


def serve(data=DATA, *, ranges=True, until=None, breaks=None, length=True, **more):
    """A server of one file: whole or from the asked place on, cut after ``until`` bytes."""

    def answer(url, headers):
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        fields = {}
        if wanted and ranges:
            start = int(wanted[1])
            if start >= len(data):
                return Answer(416, content_range=f"bytes */{len(data)}")
            fields["content_range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Answer(206, data[start:until], breaks, **fields, **more)
        if length:
            fields["content_length"] = str(len(data))
        return Answer(200, data[:until], breaks, **fields, **more)

    return answer


def fetch(folder, web, wanted=None, **options):
    pauses = []
    path = fetch_file(wanted or remote(), folder, web, pause=pauses.append, **options)
    assert path.read_bytes() == DATA
    assert [p.name for p in folder.iterdir()] == ["data.bin"]
    assert all(answer.closed for answer in web.given)
    return pauses


def fails(folder, web, words, wanted=None, kind=FetchError):
    """One sentence, and no file under its name."""
    pauses = []
    with pytest.raises(kind, match=words) as caught:
        fetch_file(wanted or remote(), folder, web, pause=pauses.append)
    assert not (folder / "data.bin").exists()
    assert "\n" not in str(caught.value)
    assert all(answer.closed for answer in web.given)
    return pauses


def test_a_file_is_fetched_once(tmp_path):
    seen = []

    def progress(items):
        seen.append(items.__length_hint__())
        for item in items:
            seen.append(item)
            yield item

    web = Web(serve())
    assert fetch(tmp_path / "a" / "b", web, progress=progress) == []
    assert web.requests == [(URL, {"Accept-Encoding": "identity"})]
    assert seen == [4, CHUNK, CHUNK, CHUNK, 12345]
    fetch(tmp_path / "a" / "b", Web(AssertionError("nothing is asked for")))


def test_a_cache_may_be_one_to_read_alone(tmp_path, monkeypatch):
    fetch(tmp_path, Web(serve()))

    def refuse(path):
        raise ArtifactError(f"{path} cannot be written: read-only file system")

    monkeypatch.setattr(module, "locked", refuse)
    fetch(tmp_path, Web(AssertionError("nothing is asked for")))


def test_what_is_there_and_another_file_is_refused_and_kept(tmp_path):
    for data in (b"", DATA[:-1] + b"x", DATA + b"x"):
        (tmp_path / "data.bin").write_bytes(data)
        with pytest.raises(FetchError, match=r"data.bin is not the published file.*remove it, or choose .* `cache`"):
            fetch_file(remote(), tmp_path, Web(serve()))
        assert (tmp_path / "data.bin").read_bytes() == data


@pytest.mark.parametrize("breaks", [None, ConnectionResetError("reset"), TimeoutError(), ssl.SSLError(1, "bad record")])
def test_a_broken_connection_is_resumed(tmp_path, breaks):
    web = Web(serve(until=CHUNK + 5, breaks=breaks), serve(until=2 * CHUNK, breaks=breaks), serve())
    assert fetch(tmp_path, web) == [1.0, 1.0]
    ranges = [headers.get("Range") for _, headers in web.requests]
    assert ranges == [None, f"bytes={CHUNK + 5}-", f"bytes={2 * CHUNK}-"]


def test_a_killed_run_is_resumed(tmp_path):
    class Killed(BaseException):
        pass

    def killing(items):
        for count, item in enumerate(items):
            if count == 2:
                raise Killed
            yield item

    with pytest.raises(Killed):
        fetch_file(remote(), tmp_path, Web(serve()), progress=killing)
    assert (tmp_path / ".data.bin.partial").stat().st_size >= 2 * CHUNK
    web = Web(serve())
    fetch(tmp_path, web)
    assert int(re.findall(r"\d+", web.requests[0][1]["Range"])[0]) >= 2 * CHUNK


def half(folder, data=DATA, size=CHUNK):
    """What an earlier run left."""
    (folder / ".data.bin.partial").write_bytes(data[:size])


def test_a_server_that_ignores_ranges_begins_anew(tmp_path):
    half(tmp_path, data=bytes(len(DATA)))
    web = Web(serve(ranges=False))
    fetch(tmp_path, web)
    assert len(web.requests) == 1


def test_wrong_bytes_in_what_was_there_begin_anew_once(tmp_path):
    half(tmp_path, data=bytes(len(DATA)))
    web = Web(serve())
    fetch(tmp_path, web)
    assert [headers.get("Range") for _, headers in web.requests] == [f"bytes={CHUNK}-", None]
    (tmp_path / "data.bin").unlink()
    half(tmp_path, data=bytes(len(DATA)), size=len(DATA))  # complete, and wrong
    fetch(tmp_path, Web(serve()))
    (tmp_path / "data.bin").unlink()
    half(tmp_path, size=len(DATA))  # complete, and right
    fetch(tmp_path, Web(AssertionError("nothing is asked for")))
    (tmp_path / "data.bin").unlink()
    half(tmp_path, data=DATA + b"x", size=len(DATA) + 1)  # more than there can be
    fetch(tmp_path, Web(serve()))


def test_another_file_of_the_same_size_is_refused(tmp_path):
    other = bytes(len(DATA))
    web = Web(serve(other))
    fails(tmp_path, web, f"has the sha256 {hashlib.sha256(other).hexdigest()}, not {remote().sha256}")
    assert len(web.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "words", "requests"),
    [
        (serve(DATA[:-1]), rf"offers {len(DATA) - 1} bytes, not {len(DATA)}", 1),
        (serve(DATA + b"x"), "offers", 1),
        (serve(DATA + b"x", length=False), "sends more than", 1),
        (serve(DATA[:-1], length=False, ranges=False), rf"ended after {len(DATA) - 1:,} of", ATTEMPTS + 1),
        (serve(content_type="text/html; charset=utf-8"), "a web page in place of the file", 1),
        (lambda url, headers: Answer(404, b"no"), "one.example: the server answers 404", 1),
        (lambda url, headers: Answer(403, b"no"), "answers 403", 1),
        (lambda url, headers: Answer(204), "answers 204", 1),
        (lambda url, headers: Answer(500), "answers 500", ATTEMPTS),
        (lambda url, headers: Answer(503), "answers 503", ATTEMPTS),
        (lambda url, headers: Answer(416), "no such part", ATTEMPTS),
        (lambda url, headers: Answer(206, DATA), "another part", ATTEMPTS),
        (lambda url, headers: Answer(206, DATA, content_range="bytes 5-9/10"), "another part", ATTEMPTS),
        (lambda url, headers: Answer(206, DATA, content_range=f"bytes 0-9/{10**30}"), "another part", ATTEMPTS),
        (lambda url, headers: Answer(206, DATA, content_range="bytes 0-9/10"), "offers 10 bytes", 1),
        (lambda url, headers: ConnectionRefusedError(111, "Connection refused"), "Connection refused", ATTEMPTS),
        (lambda url, headers: TimeoutError(), "no answer in time", ATTEMPTS),
        (lambda url, headers: OSError("odd\nlines"), "odd", ATTEMPTS),
        (lambda url, headers: socket.gaierror(-2, "Name or service not known"), "address cannot be found", 1),
        (
            lambda url, headers: Answer(302, location="http://one.example/x"),
            "leads to http://one.example/x, which is not https",
            1,
        ),
        (lambda url, headers: Answer(302, location="file:///etc/passwd"), "leads to file:///etc/passwd", 1),
        (lambda url, headers: Answer(301, location="ftp://x/\x1b[31m"), r"ftp://x/\\x1b", 1),
        (lambda url, headers: Answer(302, location="https://[oh"), "which is no address", 1),
        (lambda url, headers: Answer(302), "redirects more than 10 times", 11),
        (lambda url, headers: Answer(307, location="/again"), "redirects more than 10 times", 11),
    ],
)
def test_servers_that_do_not_give_the_file(tmp_path, answer, words, requests):
    web = Web(answer)
    pauses = fails(tmp_path, web, rf"data.bin cannot be fetched \(.*{words}.*\): try again later, or put the file into")
    assert len(web.requests) == requests
    assert len(pauses) == max(0, (requests if requests in (ATTEMPTS, ATTEMPTS + 1) else 1) - 1)


def test_a_certificate_that_is_not_trusted_is_not_tried_again(tmp_path):
    fault = ssl.SSLCertVerificationError(1, "certificate verify failed")
    fault.verify_message = "self-signed certificate"
    web = Web(fault)
    assert fails(tmp_path, web, r"not to be trusted \(self-signed certificate\)") == []


def test_faults_that_pass(tmp_path):
    busy = Answer(503, retry_after="7")
    forever = Answer(429, retry_after="99999")
    dated = Answer(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    web = Web(lambda url, headers: busy, lambda url, headers: forever, lambda url, headers: dated, serve())
    assert fetch(tmp_path, web) == [7.0, 60.0, 4.0]


def test_a_name_that_was_known_may_come_back(tmp_path):
    web = Web(serve(until=CHUNK), socket.gaierror(-3, "Temporary failure"), serve())
    assert fetch(tmp_path, web) == [1.0, 1.0]


def test_a_server_that_always_begins_anew_and_breaks_off_is_given_up(tmp_path):
    web = Web(serve(ranges=False, until=CHUNK, breaks=ConnectionResetError("reset")))
    fails(tmp_path, web, "the connection broke .reset.")
    assert len(web.requests) == ATTEMPTS + 1


def test_redirects_to_https_are_followed(tmp_path):
    web = Web(
        Answer(302, location="https://cdn.example/there?sig=1"), Answer(307, location="/data"), serve(until=CHUNK),
        Answer(302, location="https://cdn.example/there?sig=2"), serve(),
    )  # fmt: skip
    fetch(tmp_path, web)
    assert [url for url, _ in web.requests] == [
        URL, "https://cdn.example/there?sig=1", "https://cdn.example/data", URL, "https://cdn.example/there?sig=2",
    ]  # fmt: skip
    assert web.requests[4][1]["Range"] == f"bytes={CHUNK}-"


def test_addresses_that_are_not_https_are_not_asked(tmp_path):
    for url in ("http://one.example/data.bin", "file:///etc/passwd", "one.example/data.bin"):
        web = Web(AssertionError("nothing is asked for"))
        fails(tmp_path, web, "which is not https", remote(DATA, url))


def test_mirrors_are_tried_in_order(tmp_path):
    def both(url, headers):
        return Answer(404) if url == URL else serve()(url, headers)

    web = Web(both)
    fetch(tmp_path, web, remote(DATA, URL, MIRROR))
    assert [url for url, _ in web.requests] == [URL, MIRROR]
    (tmp_path / "data.bin").unlink()
    web = Web(serve(until=CHUNK), *[OSError("gone")] * ATTEMPTS, serve())
    fetch(tmp_path, web, remote(DATA, URL, MIRROR))  # the rest of the file from another server
    assert web.requests[-1] == (MIRROR, {"Accept-Encoding": "identity", "Range": f"bytes={CHUNK}-"})
    web = Web(Answer(404))
    (tmp_path / "data.bin").unlink()
    fails(
        tmp_path,
        web,
        r"one.example: the server answers 404; two.example: the server answers 404",
        remote(DATA, URL, MIRROR),
    )


def test_a_disk_without_room_is_told_before_the_work(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    web = Web(serve())
    fails(tmp_path, web, r"needs 3,158,073 bytes more, but the disk has 1,000: .*`cache`", kind=ArtifactError)
    assert web.requests == []


def test_a_disk_that_fills_is_told_and_what_came_is_kept(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 2 * CHUNK:
                raise OSError(28, "No space left on device")
            return super().write(data)

    plain = module.Path.open
    monkeypatch.setattr(
        module.Path,
        "open",
        lambda self, mode="r", *a, **k: Full(self, "ab") if mode == "ab" else plain(self, mode, *a, **k),
    )
    fails(tmp_path, Web(serve()), "the disk is full; free some space", kind=ArtifactError)
    assert (tmp_path / ".data.bin.partial").stat().st_size == 2 * CHUNK
    monkeypatch.undo()
    web = Web(serve())
    fetch(tmp_path, web)
    assert web.requests[0][1]["Range"] == f"bytes={2 * CHUNK}-"


def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o555)
    fails(tmp_path, Web(serve()), "cannot be written: permission denied", kind=ArtifactError)


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="cannot be written"):
        fetch_file(remote(), tmp_path / "file", Web(serve()))


def _hold(path, held, release):
    with artifacts.locked(path):
        held.set()
        release.wait(60)


def test_two_at_once_are_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "data.bin", held, release))
    process.start()
    try:
        assert held.wait(60)
        with pytest.raises(LockedError, match="being written by process"):
            fetch_file(remote(), tmp_path, Web(serve()))
    finally:
        release.set()
        process.join()
    fetch(tmp_path, Web(serve()))


def test_any_weather_gives_the_file_or_an_error(tmp_path):
    dice = random.Random(3)
    got = 0
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        if dice.random() < 0.5:
            half(folder, data=dice.choice((DATA, bytes(len(DATA)))), size=dice.randrange(len(DATA)))

        def weather(url, headers):
            match dice.randrange(8):
                case 0:
                    return Answer(dice.choice((404, 416, 429, 500, 503)))
                case 1:
                    return ConnectionResetError("reset")
                case 2:
                    return serve(ranges=False, until=dice.randrange(len(DATA)))(url, headers)
                case 3:
                    return serve()(url, headers)
                case _:
                    return serve(until=dice.randrange(len(DATA) + 1), breaks=dice.choice((None, TimeoutError())))(
                        url, headers
                    )

        try:
            path = fetch_file(remote(), folder, Web(weather), pause=lambda seconds: None)
        except FetchError:
            assert not (folder / "data.bin").exists()
            continue
        assert path.read_bytes() == DATA
        assert [p.name for p in folder.iterdir()] == ["data.bin"]
        got += 1
    assert got > 10


# --------------------------------------------------------------------------------------------- zip archives


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_members_are_unpacked_once(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"gzip/one.gz": b"one" * 1000, "gzip/two.gz": b"two"}, zipfile.ZIP_DEFLATED)
    path = unzip(archive, "gzip/one.gz", tmp_path)
    assert path == tmp_path / "one.gz"
    assert path.read_bytes() == b"one" * 1000
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert unzip(archive, "gzip/one.gz", tmp_path) == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    path.write_bytes(b"eno" * 1000)
    assert unzip(archive, "gzip/one.gz", tmp_path).read_bytes() == b"one" * 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "one.gz"]


def test_members_that_are_not_what_they_claim(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "a.zip", {"gzip/one.gz": b"one" * 1000})
    with pytest.raises(DataError, match=r"a.zip has no member gzip/two.gz"):
        unzip(archive, "gzip/two.gz", tmp_path)
    data = archive.read_bytes()
    place = data.index(b"oneone")
    archive.write_bytes(data[:place] + b"x" + data[place + 1 :])
    with pytest.raises(DataError, match=r"a.zip: gzip/one.gz is damaged \(Bad CRC-32"):
        unzip(archive, "gzip/one.gz", tmp_path)
    archive.write_bytes(data[:100])
    with pytest.raises(DataError, match=r"a.zip: gzip/one.gz is damaged"):
        unzip(archive, "gzip/one.gz", tmp_path)
    archive.write_bytes(data)
    monkeypatch.setattr(module, "MOST_UNPACKED", 2999)
    with pytest.raises(DataError, match="claims 3,000 bytes"):
        unzip(archive, "gzip/one.gz", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
