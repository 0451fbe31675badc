"""Writing that survives ``kill -9`` and full disks: one mechanism for each need.

`files.write_file`
    a new file, whole and on the disk when the call returns.
`locks.Lock`
    one writer for each output; never stale, because the kernel drops it with the process.
`durable.whole_or_absent`
    an output, file or folder, is born under a hidden name and renamed when it is complete.
`journal.Journal`
    the state of a long computation, for the next run of the same request.

Hidden names stand beside the output ``NAME``: ``.NAME.lock``, ``.NAME.partial`` (being written), ``.NAME.old`` and
``.NAME.trash`` (while an output is replaced), ``.NAME.progress`` and ``.NAME.journal`` (resume). Whoever holds the lock
owns them all, so leftovers of killed runs are found and removed by the next run, never guessed by age.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from datarobust.artifacts.files import checked_output, hidden, reason, remove, sync_folder, told
from datarobust.artifacts.locks import Lock
from datarobust.errors import ArtifactError, ExistsError

__all__ = ["Lock", "checked_output", "hidden", "recover", "remove", "told", "whole_or_absent"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def recover(path: Path) -> None:
    """Put the folder around ``path`` in order after a killed run: under the lock, before anything is written.

    A run killed while it replaced ``NAME`` left either ``NAME`` or ``.NAME.old`` whole; the latter gets its name back.
    """
    old, trash = hidden(path, "old"), hidden(path, "trash")
    remove(trash)
    if os.path.lexists(old):
        old.rename(trash if os.path.lexists(path) else path)
        sync_folder(path.parent)
        remove(trash)


def _sync_tree(path: Path) -> None:
    """Bring a file, or a folder and all in it, to the disk; folders last."""
    if path.is_dir():
        for entry in path.iterdir():
            _sync_tree(entry)
        sync_folder(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(partial: Path, path: Path) -> None:
    """Give the finished ``partial`` its name, in the place of what had it."""
    if path.is_dir() and not path.is_symlink():
        old, trash = hidden(path, "old"), hidden(path, "trash")
        path.rename(old)
        try:
            partial.rename(path)
        except OSError:
            old.rename(path)
            raise
        sync_folder(path.parent)
        old.rename(trash)  # from here on it is rubbish, never to be mistaken for the whole old output
        remove(trash)
    else:
        partial.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def whole_or_absent(
    path: Path,
    *,
    overwrite: bool = False,
    keep: bool = False,
    may_replace: Callable[[Path], bool] = Path.is_file,
) -> Iterator[Path]:
    """A place to write an output that appears under its name complete, or not at all.

    Args:
        path: the output, a file or a folder.
        overwrite: replace what is there, if ``may_replace`` says that it is ours to replace.
        keep: leave the unfinished work where it is on an exception, and offer it again next time (resume).
        may_replace: whether an existing output may be replaced.

    Yields:
        A hidden path beside ``path`` to create; with ``keep`` it may hold the work of an earlier run.

    Raises:
        ExistsError: ``path`` exists and ``overwrite`` is not given, or it is not ours to replace.
        LockedError: another process is writing it.
        ArtifactError: the system refuses, for instance because the disk is full; what was there is untouched.
    """
    path = checked_output(path)
    partial = hidden(path, "partial")
    with Lock(path):
        with told(path):
            recover(path)
            _refuse(path, overwrite, may_replace)
            if not keep:
                remove(partial)
        try:
            with _full(path):
                yield partial
            with told(path):
                _sync_tree(partial)
                _publish(partial, path)
        except BaseException:
            if not keep:
                with contextlib.suppress(OSError):  # the first error matters; the next run cleans up
                    remove(partial)
            raise


def demand_vacant(path: Path, overwrite: bool, may_replace: Callable[[Path], bool]) -> None:
    """Refuse, before long work, what :func:`whole_or_absent` would refuse after it.

    Raises:
        ExistsError: ``path`` exists and ``overwrite`` is not given, or it is not ours to replace.
        ArtifactError: its folder does not exist.
    """
    path = checked_output(path)
    with Lock(path), told(path):
        recover(path)
        _refuse(path, overwrite, may_replace)


def _refuse(path: Path, overwrite: bool, may_replace: Callable[[Path], bool]) -> None:
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise ExistsError(f"{path} exists already: choose another name, or replace it with `overwrite`")
    if path.is_symlink():
        raise ExistsError(f"{path} is a symbolic link, which `overwrite` does not replace: name what it points to")
    if not may_replace(path):
        raise ExistsError(
            f"{path} is not what `overwrite` may replace here: remove it yourself, or choose another name"
        )


@contextlib.contextmanager
def _full(path: Path) -> Iterator[None]:
    """A full or failing disk inside the caller's own writing; other OSErrors are the caller's business."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ArtifactError(f"{path} cannot be written: {reason(error)}") from error
