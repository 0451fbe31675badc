"""One writer for each output."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from datarobust.artifacts.files import checked_output, hidden, told
from datarobust.errors import LockedError


@dataclass
class _Held:
    descriptor: int
    thread: int
    count: int


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


def _forget_in_child() -> None:
    """A forked worker must not keep its parent's locks alive; closing its copies leaves the parent's in force."""
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


class Lock:
    """The right to write one output, for one process; a context manager, and re-entrant within its thread.

    A ``flock`` on ``.NAME.lock`` beside the output, which holds the process id and the host for the message. The
    kernel drops the lock with the process, so it is never stale; a lock file without a holder is harmless.

    Raises:
        LockedError: at once, if another process or thread holds it.
        ArtifactError: the folder is missing or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file: Path | None = None

    def __enter__(self) -> Self:
        """Take the lock."""
        checked_output(self.path)
        with told(self.path), _guard:
            file = hidden(self.path.parent.resolve(strict=True) / self.path.name, "lock")
            held = _held.get(file)
            if held is None:
                _held[file] = _Held(self._take(file), threading.get_ident(), 1)
            elif held.thread == threading.get_ident():
                held.count += 1
            else:
                raise LockedError(f"{self.path} is being written by another thread of this process")
            self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back; the file goes first, while it is still locked, so that nobody locks a dead file."""
        with _guard:
            file, self._file = self._file, None
            held = _held.get(file) if file else None
            if file is None or held is None:
                return
            held.count -= 1
            if held.count == 0:
                del _held[file]
                with contextlib.suppress(OSError):  # a folder that became read-only keeps an empty lock file, no more
                    file.unlink()
                os.close(held.descriptor)

    def _take(self, file: Path) -> int:
        while True:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same_file(descriptor, file):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
                    return descriptor
            except BlockingIOError:
                holder = os.pread(descriptor, 300, 0).decode(errors="replace").split()
                os.close(descriptor)
                who = f"process {holder[0]} on {holder[1]}" if len(holder) == 2 else "another process"
                raise LockedError(f"{self.path} is being written by {who}: wait for it to end, or stop it") from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the last holder removed this file between our open and our lock: try again


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
