"""Outputs that survive ``kill -9`` and full disks: whole or absent, with one writer each; states of unfinished work.

Hidden names stand beside the output ``NAME``: ``.NAME.lock`` (held while it is written; ``.NAME.lease`` where the file
system has no flock), ``.NAME.partial`` (being written), ``.NAME.old`` and ``.NAME.trash`` (while an output is
replaced), ``.NAME.resume`` (`Resume`), ``.NAME.shuffle`` (rows of an import, being reordered). Whoever holds the lock
owns them all, so leftovers of killed runs are found and removed by the next run, never guessed by age.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import socket
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datarobust.artifacts.history import canonical
from datarobust.errors import ArtifactError, DatarobustWarning, ExistsError, LockedError
from datarobust.types import Array

_KEY = "datarobust"  # of the metadata of a state
_STATES = ("resume", "*of*.resume", "part-*.resume")  # of a process alone or the first, of others, of parts
_JOURNALS = ("journal", "*of*.journal", "[ab].journal", "*-*.journal")  # of version 0.1, not continued
LEASE, RENEWED = 60.0, 5.0  # seconds after which a lease is dead, and between two renewals
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextlib.contextmanager
def os_errors(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn an OSError inside into an ArtifactError: "``path`` cannot be written: the disk is full"."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{path} cannot be {doing}: {_reason(error, path)}") from error


def _reason(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space, or choose another place, and run the command again"
    words = (error.strerror or str(error)).lower()
    return f"{words} ({error.filename})" if error.filename and str(error.filename) != str(path) else words


def hidden(path: Path, role: str) -> Path:
    """The hidden file or folder beside ``path`` that is its lock, partial, old, trash or resume."""
    return path.with_name(f".{path.name}.{role}")


def checked_output(path: Path) -> Path:
    """``path``; ArtifactError where it has no name of its own, or its folder does not exist."""
    path = Path(path)
    if path.name in ("", ".."):
        raise ArtifactError(f"{path} cannot be written: it names no file")
    with os_errors(path):
        if not path.parent.is_dir():
            raise ArtifactError(f"{path} cannot be written: the folder {path.parent} does not exist")
    return path


def sync_folder(path: Path) -> None:
    """Bring a folder's entries, or a file, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(path: Path) -> None:
    """Bring a file, or a folder and all in it, to the disk; folders last."""
    if path.is_dir():
        for entry in path.iterdir():
            _sync_tree(entry)
    sync_folder(path)


def replace_file(path: Path, data: Any) -> None:
    """Replace the file ``path``: readers see the old or the new bytes, also after a crash. Hold its output's lock."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        new.write_bytes(data)
        sync_folder(new)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the first error matters; the next call cleans up
            new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder that this package made; nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """The right to write one output: LockedError, at once, where another process or thread has it.

    It is a ``flock``, re-entrant within its thread, or a lease where the file system has none (`_leased`). A forked
    process does not inherit it.
    """
    from filelock import FileLock, Timeout

    path = checked_output(path)
    with os_errors(path):
        place = path.parent.resolve(strict=True) / path.name
        file = _lock_file(path, hidden(place, "lock"))
        # One object for each file makes it re-entrant: a second object would find the lock held.
        lock: Any = FileLock(file, blocking=False, is_singleton=True, fallback_to_soft=False, on_acquired=_sign)
        try:
            lock.acquire()
        except Timeout:
            _demand_files_in(place.parent, path)  # filelock takes a folder that refuses them, as /proc, for a held lock
            raise LockedError(f"{path} is being written by {_holder(file)}: wait for it to end, or stop it") from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            with contextlib.suppress(FileNotFoundError):
                if file.stat().st_size == 0:  # made just now, and signed by nobody
                    file.unlink()
            lock = _leased(path, _lock_file(path, hidden(place, "lease")))
    try:
        yield
    finally:
        if lock.is_locked:  # in a forked process it is the parent's
            if lock.lock_counter == 1:
                # filelock would leave the file. It goes while it is still locked, so that nobody locks a dead file.
                with contextlib.suppress(OSError):  # a folder that became read-only keeps an empty lock file, no more
                    Path(lock.lock_file).unlink()
            lock.release()


def _demand_files_in(folder: Path, path: Path) -> None:
    """ArtifactError where no file can be made in the folder of an output."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ArtifactError(
            f"{path} cannot be written: no file can be made in the folder {folder} ({reason})"
        ) from error


def _lock_file(path: Path, file: Path) -> Path:
    """``file``; ArtifactError where something else than a file has its name."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(file.lstat().st_mode):
            raise ArtifactError(
                f"{path} cannot be written: {file} is not a file, but has the name of its lock: remove it"
            )
    return file


def _leased(path: Path, file: Path) -> Any:
    """A lease for a file system without flock: a file with host, process and its start, renewed while it is held.

    It is taken over where its holder is dead on this machine, or has not renewed it for `LEASE` seconds; LockedError
    where it has, which takes up to `RENEWED` seconds to see.
    """
    from filelock import SoftFileLease, Timeout

    options: dict[str, Any] = {"lease_duration": LEASE, "heartbeat_interval": RENEWED, "on_compromise": _lost}
    lease = SoftFileLease(file, is_singleton=True, **options)
    warnings.warn(
        "this file system has no flock, so hidden files .NAME.lease are the locks: remove none while its command runs",
        DatarobustWarning,
        stacklevel=1,  # so it is said once
    )
    try:
        lease.acquire(timeout=min(1.0, RENEWED))
        return lease
    except Timeout:
        owner, renewed = lease.owner, _changed(file)
    who = f"process {owner.pid} on {owner.hostname}" if owner else "another process"
    warnings.warn(f"{path} was being written by {who}: waiting to see whether it still is", DatarobustWarning, 1)
    try:
        lease.acquire(timeout=LEASE + 5 * RENEWED, cancel_check=lambda: _changed(file) not in (None, renewed))
    except Timeout:
        raise LockedError(f"{path} is being written by {who}: wait for it to end, or stop it") from None
    return lease


def _changed(file: Path) -> int | None:
    """When a file was changed last; None where there is none."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _lost(_: Any) -> None:
    """End this process: another one has taken its lease over, and may be writing in its place."""
    text = "datarobust: error: the lease of the output was lost: another process writes it, so this one ends\n"
    os.write(2, text.encode())
    os._exit(1)


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _holder(file: Path) -> str:
    try:
        words = file.read_bytes()[:300].decode(errors="replace").split()
    except FileNotFoundError:  # given back just now
        words = []
    if words == [str(os.getpid()), socket.gethostname()]:
        return "another thread of this process"
    return f"process {words[0]} on {words[1]}" if len(words) == 2 else "another process"


@contextlib.contextmanager
def whole_or_absent(
    path: Path, *, overwrite: bool = False, keep: bool = False, may_replace: Callable[[Path], bool] = Path.is_file
) -> Iterator[Path]:
    """A hidden path, to create there a file or folder that appears as ``path`` whole, or not at all.

    With ``keep`` unfinished work stays there on an exception, and may be there from an earlier run.
    Raises ExistsError where ``path`` exists and may not be replaced, LockedError where another process is writing it,
    ArtifactError where the system refuses; what was there is then untouched.
    """
    path = checked_output(path)
    partial = hidden(path, "partial")
    with locked(path):
        demand_vacant(path, overwrite, may_replace)
        if not keep:
            with os_errors(path):
                remove(partial)
        try:
            try:
                yield partial
            except OSError as error:  # a full or failing disk; other OSErrors are the caller's business
                if error.errno not in _FULL:
                    raise
                raise ArtifactError(f"{path} cannot be written: {_reason(error, path)}") from error
            with os_errors(path):
                _sync_tree(partial)
                _publish(partial, path)
        except BaseException:
            if not keep:
                with contextlib.suppress(OSError):  # the first error matters; the next run cleans up
                    remove(partial)
            raise


def holds(path: Path, write: Callable[[Path], None]) -> bool:
    """Whether the file or folder ``path`` is what ``write`` makes, byte for byte; then leftovers are cleared, too."""
    with locked(path), os_errors(path):
        recover(path)
        partial = hidden(path, "partial")
        remove(partial)
        try:
            write(partial)
            same = _bytes(partial) == _bytes(path)
        finally:
            with contextlib.suppress(OSError):  # the next run cleans up
                remove(partial)
    return same


def _bytes(path: Path) -> dict[str, str]:
    """sha256 of a file, or of each file in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if not file.is_dir()]
    hashes = {}
    for file in files:
        with file.open("rb") as stream:
            hashes[str(file.relative_to(path))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


def demand_vacant(path: Path, overwrite: bool, may_replace: Callable[[Path], bool]) -> None:
    """ExistsError where :func:`whole_or_absent` would raise it."""
    path = checked_output(path)
    with locked(path), os_errors(path):
        recover(path)
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


def recover(path: Path) -> None:
    """Put in order what killed runs left beside ``path``. Hold its lock.

    ``.NAME.old`` gets its name back where there is no other; unfinished work stays where a state belongs to it.
    """
    old, trash = hidden(path, "old"), hidden(path, "trash")
    remove(trash)
    if os.path.lexists(old):
        old.rename(trash if os.path.lexists(path) else path)
        sync_folder(path.parent)
        remove(trash)
    for role in ("resume.new", "shuffle", "progress", "progress.new"):  # progress: of version 0.1, not continued
        remove(hidden(path, role))
    if not hidden(path, "resume").exists():
        remove(hidden(path, "partial"))


def tidy(path: Path) -> None:
    """Lock and :func:`recover`, where killed runs left anything but states beside ``path``."""
    if set(leftovers(path)) - {hidden(path, role) for role in ("journal", "resume")}:
        with locked(path), os_errors(path):
            recover(path)


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


def leftovers(path: Path) -> list[Path]:
    """Hidden files and folders of the output ``path`` that are there now."""
    roles = ("lock", "lease", "partial", "old", "trash", "shuffle", "resume", "resume.new")
    before = ("journal", "journal.new", "progress")  # of version 0.1
    return [file for role in (*roles, *before) if os.path.lexists(file := hidden(path, role))]


class Resume:
    """Named arrays in ``.NAME.resume`` beside the output ``NAME``: at every moment one whole state, or none.

    A state of another ``request``, a `fingerprint`, or a damaged one, is removed and never used. Of ``size`` processes
    each keeps a state of its own. One is `due` after ``every`` seconds, later where saving would take more than a tenth
    of the time, and always where ``every`` is 0. Hold the output's lock while using it.
    """

    def __init__(self, output: Path, request: str, rank: int = 0, size: int = 1, every: float = 20.0) -> None:
        self.output = checked_output(Path(output))
        self.request = request
        self.every = every
        self.path = hidden(self.output, "resume" if rank == 0 else f"{rank}of{size}.resume")
        self._saved, self._cost = time.monotonic(), 0.0

    def part(self, name: str) -> Resume:
        """A state of one part of the work, whichever process does it."""
        part = Resume(self.output, self.request, every=self.every)
        part.path = hidden(self.output, f"part-{name}.resume")
        return part

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        pause = max(self.every, 10 * self._cost) if self.every else 0.0
        return time.monotonic() - self._saved >= pause

    @property
    def left(self) -> bool:
        """Whether some process has left a state, be it of another request."""
        return bool(self._files(*_STATES))

    def load(self) -> dict[str, Array] | None:
        """The arrays of the last `save` of this request, writable; None if there are none."""
        return self._load(self.path)

    def load_all(self) -> list[dict[str, Array]]:
        """The states of this request that any process has left, this process's first."""
        paths = [self.path, *(path for path in self._files(*_STATES[:2]) if path != self.path)]
        return [state for path in paths if (state := self._load(path)) is not None]

    def save(self, arrays: Mapping[str, Array | int | float]) -> None:
        """Replace the state with arrays of numbers or booleans; it is on the disk when this returns.

        Raises ArtifactError where the system refuses; the state before is then still there.
        """
        from safetensors.numpy import save

        start = time.monotonic()
        whole = {}
        for name, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"a state cannot hold {name} of dtype {array.dtype}")
            whole[name] = np.require(array, array.dtype.newbyteorder("="), "C")
        with os_errors(self.output):
            replace_file(self.path, save(whole, self._head(whole)))
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def discard(self) -> None:
        """Remove the states of all processes and parts, and journals of version 0.1: the work is done or not wanted."""
        roles = (*_STATES, *_JOURNALS)
        self._remove(self._files(*roles, *(f"{role}.new" for role in roles)))

    def discard_part(self) -> None:
        """Remove this state alone."""
        self._remove([self.path, self.path.with_name(f"{self.path.name}.new")])

    def _remove(self, paths: Iterable[Path]) -> None:
        with os_errors(self.output):
            for path in paths:
                path.unlink(missing_ok=True)

    def _files(self, *roles: str) -> list[Path]:
        """Hidden files of the output that are there and have such roles, with wildcards."""
        name, folder = glob.escape(self.output.name), self.output.parent
        return [path for role in roles for path in sorted(folder.glob(f".{name}.{role}")) if path.is_file()]

    def _load(self, path: Path) -> dict[str, Array] | None:
        from safetensors import SafetensorError, safe_open

        with os_errors(self.output, "resumed"):
            if not path.exists():
                return None
            damage = contextlib.suppress(SafetensorError, TypeError, AttributeError)  # bytes that `save` did not write
            with damage, safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
                if file.metadata() == self._head(arrays):
                    return arrays
            path.unlink(missing_ok=True)
        return None

    def _head(self, arrays: Mapping[str, Array]) -> dict[str, str]:
        """What a state says of itself: the request, and the sha256 of each array."""
        return {_KEY: canonical({"request": self.request, "sha256": _hashes(arrays)}).decode()}


def _hashes(arrays: Mapping[str, Array]) -> dict[str, str]:
    """sha256 of each array, its dtype and shape included."""
    hashes = {}
    for name, array in arrays.items():
        hashed = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
        hashed.update(array.reshape(-1).view(np.uint8).data)
        hashes[name] = hashed.hexdigest()
    return hashes
