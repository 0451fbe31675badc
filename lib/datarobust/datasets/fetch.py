"""Published files, fetched once and kept: over https alone, resumed where they broke off, whole or absent.

``.NAME.partial`` holds what has come; a server is asked for the rest (Range; RFC 9110, section 14). Redirects are
followed, to https alone. Whatever a server says, size and sha256 of the whole decide: then the file gets its name, and
what came in parts of different versions is fetched once more as a whole. A lock keeps two commands from fetching one
file at once.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from zlib import crc32

from datarobust import __version__
from datarobust.artifacts import Lock, whole_or_absent
from datarobust.artifacts.durable import hidden, os_errors, remove, sync_folder
from datarobust.datasets.files import file_sha256, reading
from datarobust.datasets.sources import Counted
from datarobust.errors import ArtifactError, DataError, FetchError
from datarobust.text import shown
from datarobust.types import Progress

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without any answer after which a connection is given up."""
ATTEMPTS = 5
"""Requests in a row that bring nothing before an address is given up."""
LONGEST_PAUSE = 60.0
MOST_REDIRECTS = 10
MOST_UNPACKED = 1 << 30
"""Bytes of a member that is taken out of an archive."""

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))

Transport = Callable[[str, Mapping[str, str]], HTTPResponse]
"""GET an address with these headers. Every status is an answer; raises OSError where there is none."""


@dataclass(frozen=True)
class Remote:
    """A published file: its name, where it is (in the order to try), its bytes and its sha256."""

    name: str
    urls: tuple[str, ...]
    size: int
    sha256: str


def https(context: ssl.SSLContext | None = None) -> Transport:
    """Requests by urllib over https, with proxies of the environment; redirects are answers, and not followed.

    ``context`` holds the certificates to trust; those of the system (``SSL_CERT_FILE``) if not given.
    """
    opener = urllib.request.OpenerDirector()  # without the handlers of http, ftp, files and redirects
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(urllib.request.HTTPSHandler(context=context or ssl.create_default_context()))
    opener.add_handler(urllib.request.UnknownHandler())

    def get(url: str, headers: Mapping[str, str]) -> HTTPResponse:
        if not url.startswith("https://"):
            raise OSError(f"{url} is not https")
        request = urllib.request.Request(url, headers={"User-Agent": f"datarobust/{__version__}", **headers})
        try:
            response = opener.open(request, timeout=TIMEOUT)
        except urllib.error.URLError as error:
            raise (error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason))) from error
        except (HTTPException, ValueError) as error:  # a broken answer, an address that cannot be asked for
            raise OSError(str(error) or type(error).__name__) from error
        assert isinstance(response, HTTPResponse)
        return response

    return get


def fetch_file(
    remote: Remote,
    folder: Path,
    transport: Transport,
    *,
    progress: Progress = iter,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """The path of ``remote`` in ``folder``, fetched unless it is there.

    Run again after a kill or a broken connection, it goes on where it was. ``progress`` counts MiB; ``pause`` waits
    for a number of seconds before another attempt.

    Raises:
        FetchError: no address gives the published file, or what is there under its name is another one.
        LockedError: another process is fetching it.
        ArtifactError: the folder cannot be written, or the disk has no room.
    """
    target = folder / remote.name
    if _is_published(target, remote):  # without a lock: a cache that others keep may be one to read alone
        return target
    with os_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
    with Lock(target):
        if _is_published(target, remote):  # another process fetched it just now
            return target
        faults = []
        for url in remote.urls:
            try:
                _Download(remote, target, url, transport, pause).run(progress)
                return target
            except FetchError as error:
                faults.append(f"{urlsplit(url).hostname}: {error}")
    raise FetchError(
        f"{shown(remote.name)} cannot be fetched ({'; '.join(faults)}): try again later, or put the file into "
        f"{shown(folder)} yourself."
    )


def _is_published(path: Path, remote: Remote) -> bool:
    """Whether the published file is there. Raises FetchError where another file is."""
    with os_errors(path, "read"):
        if not path.exists():
            return False
        if path.is_file() and path.stat().st_size == remote.size and file_sha256(path) == remote.sha256:
            return True
    raise FetchError(
        f"{shown(path)} is not the published file, which has {remote.size:,} bytes and the sha256 {remote.sha256}: "
        "remove it, or choose another folder with `cache`."
    )


class _TryAgain(Exception):
    """A request brought nothing or not all; another may. ``pause`` is what the server asked for, in seconds."""

    def __init__(self, fault: str, pause: float = 0.0) -> None:
        super().__init__(fault)
        self.pause = pause


@dataclass
class _Download:
    """The download of a file from one address, under the lock of its target."""

    remote: Remote
    target: Path
    url: str
    transport: Transport
    pause: Callable[[float], None]
    most: int = 0  # bytes that this run had at one time
    in_parts: bool = False  # whether the partial file came in several answers

    @property
    def partial(self) -> Path:
        return hidden(self.target, "partial")

    def run(self, progress: Progress) -> None:
        """Fetch, verify, give the file its name; what came in parts and is wrong is fetched once more as a whole."""
        for _ in range(2):
            missing = self.remote.size - self._size()
            self.in_parts = missing < self.remote.size
            with os_errors(self.target):
                free = shutil.disk_usage(self.target.parent).free
            if missing > free:
                raise ArtifactError(
                    f"{shown(self.target)} needs {missing:,} bytes more, but the disk has {free:,}: free some space, "
                    "or choose another place with `cache`."
                )
            for _ in progress(Counted(self._chunks(), -(-missing // CHUNK))):
                pass  # the work is done as the chunks are counted
            with os_errors(self.partial, "read"):
                sha256 = file_sha256(self.partial)
            if sha256 == self.remote.sha256:
                with os_errors(self.target):
                    self.partial.replace(self.target)
                    sync_folder(self.target.parent)
                return
            self._discard()
            if not self.in_parts:
                break
        raise FetchError(f"what came has the sha256 {sha256}, not {self.remote.sha256}")

    def _size(self) -> int:
        """Bytes of the partial file; one that is larger than the published file is discarded."""
        size = self.partial.stat().st_size if self.partial.is_file() else 0
        if size > self.remote.size:
            self._discard()
            return 0
        return size

    def _discard(self) -> None:
        with os_errors(self.target):
            remove(self.partial)

    def _chunks(self) -> Iterator[int]:
        """Receive what is missing, and yield the size of each chunk when it is written."""
        failed = 0
        while self._size() < self.remote.size:
            try:
                yield from self._request()
            except _TryAgain as fault:
                size = self._size()
                failed = 0 if size > self.most else failed + 1  # a server may begin anew each time, and break off
                self.most = max(self.most, size)
                if failed >= ATTEMPTS:
                    raise FetchError(str(fault)) from fault
                self.pause(min(LONGEST_PAUSE, max(fault.pause, 2.0 ** max(0, failed - 1))))

    def _request(self) -> Iterator[int]:
        """One request for the rest of the file, written as it comes."""
        size = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
        with closing(self._answer(headers)) as response:
            self._check(response, size)
            if response.status == 200 and size:  # the whole file: ranges are not served
                self._discard()
                size = 0
            self.in_parts = size > 0
            with os_errors(self.target), self.partial.open("ab") as file:
                while chunk := _chunk_of(response):
                    size += len(chunk)
                    if size > self.remote.size:
                        self._discard()
                        raise FetchError(f"the server sends more than the {self.remote.size:,} bytes of the file")
                    file.write(chunk)
                    yield len(chunk)
                file.flush()
                os.fsync(file.fileno())
        if size < self.remote.size:
            raise _TryAgain(f"the connection ended after {size:,} of {self.remote.size:,} bytes")

    def _answer(self, headers: Mapping[str, str]) -> HTTPResponse:
        """The answer at the end of all redirects."""
        url = self.url
        for _ in range(MOST_REDIRECTS + 1):
            if not url.startswith("https://"):
                raise FetchError(f"the server leads to {shown(url[:200])}, which is not https")
            try:
                response = self.transport(url, headers)
            except ssl.SSLCertVerificationError as error:
                raise FetchError(f"its certificate is not to be trusted ({shown(error.verify_message)})") from error
            except OSError as error:
                if isinstance(error, socket.gaierror) and not self.most:  # else the network may come back
                    raise FetchError(f"its address cannot be found ({_words(error)})") from error
                raise _TryAgain(_words(error)) from error
            if response.status not in _REDIRECTS:
                return response
            response.close()
            location = response.headers.get("location", "")
            try:
                url = urljoin(url, location)
            except ValueError as error:
                raise FetchError(f"the server leads to {shown(location[:200])}, which is no address") from error
        raise FetchError(f"the server redirects more than {MOST_REDIRECTS} times")

    def _check(self, response: HTTPResponse, size: int) -> None:
        """Raise FetchError or _TryAgain where an answer does not bring the file, or its rest from ``size`` on."""
        status, headers = response.status, response.headers
        if status in _PASSING:
            seconds = headers.get("retry-after", "")
            pause = float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0
            raise _TryAgain(f"the server answers {status}", pause)
        if status == 416:
            self._discard()
            raise _TryAgain("the server has no such part of the file")
        if status not in (200, 206):
            raise FetchError(f"the server answers {status}")
        if "html" in headers.get("content-type", ""):
            raise FetchError("the server sends a web page in place of the file")
        total = headers.get("content-length", "*")
        if status == 206:
            part = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", headers.get("content-range", ""))
            if part is None or int(part[1]) != size:
                self._discard()
                raise _TryAgain("the server gives another part than was asked for")
            total = part[2]
        if total not in ("*", str(self.remote.size)):
            raise FetchError(f"the server offers {shown(total[:20])} bytes, not {self.remote.size}")


def _chunk_of(response: HTTPResponse) -> bytes:
    """The next bytes of a body, none at its end; a body that ends early may be broken."""
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _TryAgain(f"the connection broke ({_words(error)})") from error


def _words(error: OSError | HTTPException) -> str:
    """An error of the network, fit for a sentence."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shown(text.splitlines()[0][:160]).rstrip(".")


def unzip(archive: Path, member: str, folder: Path) -> Path:
    """The file ``member`` of a zip archive, unpacked into ``folder`` under its last name unless it is there.

    Raises:
        DataError: the archive is damaged, has no such member, or one that claims to be larger than 1 GiB.
        LockedError: another process is unpacking it.
        ArtifactError: the folder cannot be written.
    """
    target = folder / Path(member).name
    with reading(f"{archive}: {member}"), zipfile.ZipFile(archive) as opened:
        if member not in opened.namelist():
            raise DataError(f"{shown(archive)} has no member {shown(member)}: it is another archive.")
        info = opened.getinfo(member)
        if info.file_size > MOST_UNPACKED:
            raise DataError(
                f"{shown(archive)}: {shown(member)} claims {info.file_size:,} bytes: this is no file of a data set."
            )
        if target.is_file() and target.stat().st_size == info.file_size and crc32(target.read_bytes()) == info.CRC:
            return target
        with whole_or_absent(target, overwrite=True) as part, opened.open(info) as packed, part.open("wb") as file:
            shutil.copyfileobj(packed, file, CHUNK)
    return target
