"""The steps that durable writing is made of: whole files, on the disk, and refusals of the system in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datarobust.errors import ArtifactError

_VECTORS = 512  # buffers handed to one writev; POSIX systems take at least 1024 on Linux and macOS


@contextlib.contextmanager
def told(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn an OSError inside into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{path} cannot be {doing}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """An OSError in words, with the way out where the disk is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space, or choose another place, and run the command again"
    words = (error.strerror or str(error)).lower()
    return f"{words} ({error.filename})" if error.filename else words


def hidden(path: Path, role: str) -> Path:
    """The hidden sibling of ``path`` that serves as its lock, partial, old, trash, progress or journal."""
    return path.with_name(f".{path.name}.{role}")


def checked_output(path: Path) -> Path:
    """``path`` if something can be born there.

    Raises:
        ArtifactError: it has no name of its own, or its folder does not exist.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise ArtifactError(f"{path} cannot be written: it names no file")
    with told(path):
        if not path.parent.is_dir():
            raise ArtifactError(f"{path} cannot be written: the folder {path.parent} does not exist")
    return path


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, *parts: Any) -> None:
    """Write buffers one after the other, all of every one."""
    views: list[memoryview[Any]] = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
    while views:
        written = os.writev(descriptor, views[:_VECTORS])
        while views and written >= views[0].nbytes:
            written -= views.pop(0).nbytes
        if written:
            views[0] = views[0][written:]


def write_file(path: Path, *parts: Any) -> None:
    """Create ``path``, which must not exist, from buffers; on the disk when this returns. Obeys the umask.

    Raises:
        OSError: as the system gives it; the caller knows what the file is for.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, *parts)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, *parts: Any) -> None:
    """Put buffers in the place of file ``path`` at once: readers see the old or the new bytes, also after a crash.

    The caller holds the lock of the output that ``path`` belongs to.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    write_file(new, *parts)
    new.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder that this package made; nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
