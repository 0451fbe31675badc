"""One file from one address, received in as many requests as it takes.

``.NAME.partial`` holds what has come, ``.NAME.progress`` the address and which version of the file it is (its ETag, or
its date of change), so that a server is asked for the rest of the same version (Range, If-Range; RFC 9110, sections 13
and 14). Redirects are followed, to https alone. Whatever a server says, the sha256 of the whole decides.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from datarobust.artifacts.files import hidden, remove, replace_file, sync_folder, told
from datarobust.datasets.sources import Counted, file_sha256
from datarobust.datasets.transport import Response, Transport
from datarobust.errors import ArtifactError, FetchError
from datarobust.text import shown
from datarobust.types import Progress

CHUNK = 1 << 20
ATTEMPTS = 5
"""Requests in a row that bring nothing before an address is given up."""
MOST_REDIRECTS = 10
LONGEST_PAUSE = 60.0

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True)
class Remote:
    """A published file: its name, where it is (in the order to try), its bytes and its sha256."""

    name: str
    urls: tuple[str, ...]
    size: int
    sha256: str


class _Again(Exception):
    """This request brought nothing or not all; another may. ``pause`` is what the server asked for, in seconds."""

    def __init__(self, fault: str, pause: float = 0.0) -> None:
        super().__init__(fault)
        self.pause = pause


class Download:
    """The download of one file from one address, into ``.NAME.partial`` beside ``target``; under its lock.

    ``pause`` waits for a number of seconds before another attempt.
    """

    def __init__(
        self, remote: Remote, target: Path, transport: Transport, url: str, pause: Callable[[float], None]
    ) -> None:
        self._remote = remote
        self._target = target
        self._transport = transport
        self._url = url
        self._pause = pause
        self._partial = hidden(target, "partial")
        self._note = hidden(target, "progress")
        self._best = 0  # the most bytes that this run had
        self._pieced = False  # whether what is there came in several parts

    def run(self, progress: Progress) -> None:
        """Fetch, verify, give the file its name. ``progress`` counts MiB.

        Raises:
            FetchError: this address does not give the published file.
            ArtifactError: the folder cannot be written, or the disk has no room.
        """
        for last in (False, True):
            self._pieced = self._have() > 0
            self._demand_room()
            missing = -(-(self._remote.size - self._have()) // CHUNK)
            for _ in progress(Counted(self._chunks(), missing)):
                pass  # the work is done as the chunks are counted
            with told(self._partial, "read"):
                found = file_sha256(self._partial)
            if found == self._remote.sha256:
                break
            self._restart()
            if last or not self._pieced:
                raise FetchError(f"what came has the sha256 {found}, not {self._remote.sha256}")
        with told(self._target):
            self._partial.replace(self._target)
            remove(self._note)
            sync_folder(self._target.parent)

    def _have(self) -> int:
        """Bytes that are there; more than there can be are dropped."""
        size = self._partial.stat().st_size if self._partial.is_file() else 0
        if size > self._remote.size:
            self._restart()
            return 0
        return size

    def _restart(self) -> None:
        with told(self._target):
            remove(self._partial)
            remove(self._note)

    def _demand_room(self) -> None:
        """Refuse before the work what a full disk would refuse after it."""
        with told(self._target):
            free = shutil.disk_usage(self._target.parent).free
        needed = self._remote.size - self._have()
        if needed > free:
            raise ArtifactError(
                f"{shown(self._target)} needs {needed:,} bytes more, but the disk has {free:,}: free some space, or "
                "choose another place with `cache`."
            )

    def _chunks(self) -> Iterator[int]:
        """Receive what is missing, and yield the size of each part when it is written."""
        failed = 0
        while self._have() < self._remote.size:
            try:
                yield from self._request()
            except _Again as fault:
                have = self._have()
                failed = 0 if have > self._best else failed + 1  # a server may begin anew each time, and break off
                self._best = max(self._best, have)
                if failed >= ATTEMPTS:
                    raise FetchError(str(fault)) from fault
                self._pause(min(LONGEST_PAUSE, max(fault.pause, 2.0 ** max(0, failed - 1))))

    def _request(self) -> Iterator[int]:
        """One request for the rest of the file, written as it comes."""
        have = self._have()
        with closing(self._answer(have)) as response:
            if response.status == 200 and have:  # the whole file: ranges are not served, or the file changed
                self._restart()
                have = 0
            self._pieced = have > 0
            self._remember(response)
            with told(self._target), self._partial.open("ab") as file:
                while True:
                    data = _received(response)
                    if not data:
                        break
                    have += len(data)
                    if have > self._remote.size:
                        self._restart()
                        raise FetchError(f"the server sends more than the {self._remote.size:,} bytes of the file")
                    file.write(data)
                    yield len(data)
                file.flush()
                os.fsync(file.fileno())
        if have < self._remote.size:
            raise _Again(f"the connection ended after {have:,} of {self._remote.size:,} bytes")

    def _answer(self, have: int) -> Response:
        """The answer to a request for the bytes from ``have`` on, after redirects; its status is 200 or 206."""
        headers = {"Accept-Encoding": "identity"}
        version = self._version()
        if have:
            headers["Range"] = f"bytes={have}-"
            if version:
                headers["If-Range"] = version
        response = self._follow(headers)
        try:
            self._check(response, have, version)
        except BaseException:
            response.close()
            raise
        return response

    def _follow(self, headers: dict[str, str]) -> Response:
        url = self._url
        for _ in range(MOST_REDIRECTS + 1):
            if not url.startswith("https://"):
                raise FetchError(f"the server leads to {shown(url[:200])}, which is not https")
            try:
                response = self._transport.open(url, headers)
            except ssl.SSLCertVerificationError as error:
                raise FetchError(f"its certificate is not to be trusted ({shown(error.verify_message)})") from error
            except socket.gaierror as error:
                if self._best == 0:  # else the network was there, and may come back
                    raise FetchError(f"its address cannot be found ({_words(error)})") from error
                raise _Again(_words(error)) from error
            except OSError as error:
                raise _Again(_words(error)) from error
            if response.status not in _REDIRECTS:
                return response
            response.close()
            location = response.headers.get("location", "")
            try:
                url = urljoin(url, location)
            except ValueError as error:
                raise FetchError(f"the server leads to {shown(location[:200])}, which is no address") from error
        raise FetchError(f"the server redirects more than {MOST_REDIRECTS} times")

    def _check(self, response: Response, have: int, version: str | None) -> None:
        """Raise FetchError or _Again where an answer does not bring what was asked for."""
        status, headers = response.status, response.headers
        if status in _PASSING:
            asked = headers.get("retry-after", "")
            raise _Again(f"the server answers {status}", float(asked) if asked.isascii() and asked.isdigit() else 0.0)
        if status == 416:
            self._restart()
            raise _Again("the server has no such part of the file")
        if status not in (200, 206):
            raise FetchError(f"the server answers {status}")
        if "html" in headers.get("content-type", ""):
            raise FetchError("the server sends a web page in place of the file")
        if status == 206:
            given = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", headers.get("content-range", ""))
            changed = version is not None and _version(response) not in (version, None)
            if given is None or int(given[1]) != have or changed:
                self._restart()
                raise _Again("the server gives another part than was asked for, or of another version")
            total = given[2]
        else:
            total = headers.get("content-length", "*")
        if total not in ("*", str(self._remote.size)):
            raise FetchError(f"the server offers {shown(total[:20])} bytes, not {self._remote.size}")

    def _version(self) -> str | None:
        """What the partial file is a version of, at this address; None where that is not known."""
        if not self._note.is_file():
            return None
        with told(self._note, "read"):
            lines = self._note.read_text(encoding="utf-8", errors="replace").split("\n")
        return lines[1] if len(lines) == 3 and lines[0] == self._url and lines[1] else None

    def _remember(self, response: Response) -> None:
        """Write down which version comes, before its first byte."""
        with told(self._note):
            replace_file(self._note, f"{self._url}\n{_version(response) or ''}\n".encode())


def _version(response: Response) -> str | None:
    """A strong ETag, else the date of change; a weak ETag does not promise equal bytes."""
    for name in ("etag", "last-modified"):
        value = response.headers.get(name, "")
        if value and value.isprintable() and not value.startswith("W/"):
            return value
    return None


def _received(response: Response) -> bytes:
    try:
        return response.read(CHUNK)
    except OSError as error:
        raise _Again(f"the connection broke ({_words(error)})") from error


def _words(error: OSError) -> str:
    """An error of the network, fit for a sentence."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = error.strerror or str(error) or type(error).__name__
    return shown(text.splitlines()[0][:160]).rstrip(".")
