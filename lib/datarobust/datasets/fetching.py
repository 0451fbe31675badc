"""Published files, fetched once and kept: over https, verified by size and sha256, resumed where they broke off.

A file is received under a hidden name and gets its own when its sha256 is right, so it is whole or absent; a lock keeps
two commands from fetching one file at once.
"""

from __future__ import annotations

import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from datarobust.artifacts import Lock, whole_or_absent
from datarobust.artifacts.files import told
from datarobust.datasets.downloads import Download, Remote
from datarobust.datasets.sources import file_sha256
from datarobust.datasets.transport import Transport
from datarobust.errors import DataError, FetchError
from datarobust.text import shown
from datarobust.types import Progress

MOST_UNPACKED = 1 << 30
"""Bytes of a member that is taken out of an archive."""


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
    if _is_there(target, remote):  # without a lock: a cache that others keep may be one to read alone
        return target
    with told(target):
        folder.mkdir(parents=True, exist_ok=True)
    with Lock(target):
        if _is_there(target, remote):  # meanwhile
            return target
        faults = []
        for url in remote.urls:
            try:
                Download(remote, target, transport, url, pause).run(progress)
                return target
            except FetchError as error:
                faults.append(f"{urlsplit(url).hostname}: {error}")
    raise FetchError(
        f"{shown(remote.name)} cannot be fetched ({'; '.join(faults)}): try again later, or put the file into "
        f"{shown(folder)} yourself."
    )


def _is_there(target: Path, remote: Remote) -> bool:
    """Whether the published file is at its place. Raises FetchError where another file is."""
    with told(target, "read"):
        if not target.exists():
            return False
        if target.is_file() and target.stat().st_size == remote.size and file_sha256(target) == remote.sha256:
            return True
    raise FetchError(
        f"{shown(target)} is not the published file, which has {remote.size:,} bytes and the sha256 {remote.sha256}: "
        "remove it, or choose another folder with `cache`."
    )


def unzip(archive: Path, member: str, folder: Path) -> Path:
    """The file ``member`` of a zip archive, unpacked into ``folder`` under its last name unless it is there.

    Raises:
        DataError: the archive is damaged, has no such member, or one that claims to be larger than 1 GiB.
        LockedError: another process is unpacking it.
        ArtifactError: the folder cannot be written.
    """
    where = f"{shown(archive)}: {shown(member)}"
    target = folder / Path(member).name
    try:
        with zipfile.ZipFile(archive) as opened:
            info = opened.getinfo(member)
            if info.file_size > MOST_UNPACKED:
                raise DataError(f"{where} claims {info.file_size:,} bytes: this is no file of a data set.")
            if target.is_file() and target.stat().st_size == info.file_size and _crc(target) == info.CRC:
                return target
            with (
                whole_or_absent(target, overwrite=True) as partial,
                opened.open(info) as packed,
                partial.open("wb") as file,
            ):
                shutil.copyfileobj(packed, file, 1 << 20)
    except KeyError as error:
        raise DataError(f"{shown(archive)} has no member {shown(member)}: it is another archive.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{where} is damaged ({shown(text[:160])}): remove the archive, and fetch it again.") from error
    return target


def _crc(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            found = zlib.crc32(data, found)
    return found
