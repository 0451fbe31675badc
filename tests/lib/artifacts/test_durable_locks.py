"""One writer for each output."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datarobust import artifacts
from datarobust.artifacts import durable, locked
from datarobust.artifacts.durable import leftovers
from datarobust.errors import ArtifactError, DatarobustWarning, LockedError

from .conftest import in_child, write

HOLD = """
import sys, time
from datarobust.artifacts import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing ``out``."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_process_is_refused_at_once_and_told_by_whom(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    start = time.monotonic()
    with (
        pytest.raises(LockedError, match=f"out is being written by process {holder.pid} on "),
        locked(tmp_path / "out"),
    ):
        pass
    with pytest.raises(LockedError):
        write(tmp_path / "out", overwrite=True, resume_key="k")
    assert time.monotonic() - start < 2
    assert [entry.name for entry in tmp_path.iterdir()] == [".out.lock"]
    with locked(tmp_path / "another"):
        pass


def test_a_killed_holder_leaves_nothing_that_matters(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".out.lock").exists()
    with locked(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_is_held_until_its_outermost_end(tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        with locked(tmp_path / "." / "out"):
            pass
        assert in_child(lambda: attempt(tmp_path / "out")) == 7
        assert leftovers(tmp_path / "out")
    assert not leftovers(tmp_path / "out")
    assert in_child(lambda: attempt(tmp_path / "out")) == 0


def attempt(path: Path) -> None:
    try:
        with locked(path):
            pass
    except LockedError:
        os._exit(7)


def test_another_thread_is_refused(tmp_path: Path) -> None:
    found: list[str] = []

    def other() -> None:
        try:
            with locked(tmp_path / "out"):
                found.append("taken")
        except LockedError as error:
            found.append(str(error))

    with locked(tmp_path / "out"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(found) == 1
    assert "another thread" in found[0]


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        worker = os.fork()
        if worker == 0:
            time.sleep(30)
            os._exit(0)
    try:
        with locked(tmp_path / "out"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_a_forked_worker_does_not_free_the_lock(tmp_path: Path) -> None:
    lock = locked(tmp_path / "out")
    with lock:
        assert in_child(lambda: lock.__exit__(None, None, None)) == 0
        assert in_child(lambda: attempt(tmp_path / "out")) == 7


def contend(path: Path, rounds: int, results: multiprocessing.Queue[int]) -> None:
    """Take the lock again and again; inside, nobody else may be."""
    taken, witness = 0, path.with_name("witness")
    while taken < rounds:
        try:
            with locked(path):
                witness.mkdir()  # fails if another process is inside
                witness.rmdir()
                taken += 1
        except LockedError:
            continue
    results.put(taken)


def test_removal_of_the_lock_file_is_no_race(tmp_path: Path) -> None:
    results: multiprocessing.Queue[int] = multiprocessing.get_context("fork").Queue()
    workers = [
        multiprocessing.get_context("fork").Process(target=contend, args=(tmp_path / "out", 50, results))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert not leftovers(tmp_path / "out")


@pytest.mark.parametrize(("role", "what"), [("lock", "link"), ("lock", "folder"), ("lease", "fifo"), ("lease", "link")])
def test_what_is_no_lock_file_is_named(tmp_path: Path, no_flock: None, role: str, what: str) -> None:
    precious, place = tmp_path / "precious", tmp_path / f".out.{role}"
    precious.write_text("x")
    {"link": lambda: place.symlink_to(precious), "folder": place.mkdir, "fifo": lambda: os.mkfifo(place)}[what]()
    with pytest.raises(ArtifactError, match=rf"out\.{role} is not a file.*remove it"), locked(tmp_path / "out"):
        pass
    assert precious.read_text() == "x"
    assert place.lstat()


@pytest.fixture
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without flock, as some of Lustre and NFS are; a lease is short."""
    code = getattr(request, "param", errno.ENOLCK)

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(durable, "LEASE", 1.0)
    monkeypatch.setattr(durable, "RENEWED", 0.1)


@pytest.mark.parametrize(
    "no_flock", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get, indirect=True
)
@pytest.mark.filterwarnings("ignore::datarobust.errors.DatarobustWarning")
def test_without_flock_there_is_a_lease(tmp_path: Path, no_flock: None) -> None:
    with locked(tmp_path / "out"):
        with pytest.warns(DatarobustWarning, match="no flock"), locked(tmp_path / "out"):  # once more in this thread
            assert [entry.name for entry in tmp_path.iterdir()] == [".out.lease"]
        start = time.monotonic()
        assert in_child(lambda: attempt(tmp_path / "out")) == 7
        assert time.monotonic() - start < 2
        lease = (tmp_path / ".out.lease").read_text()
        assert f"pid={os.getpid()}\n" in lease
        assert "host=" in lease
        assert "start=" in lease
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::datarobust.errors.DatarobustWarning")
def test_a_lease_of_a_dead_process_is_taken_over(tmp_path: Path, no_flock: None) -> None:
    def die() -> None:
        with locked(tmp_path / "out"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    assert (tmp_path / ".out.lease").exists()
    with locked(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::datarobust.errors.DatarobustWarning")
def test_a_lease_of_another_host_is_taken_over_once_it_is_not_renewed(
    tmp_path: Path, no_flock: None, recwarn: pytest.WarningsRecorder
) -> None:
    lease = tmp_path / ".out.lease"
    fields = ["pid=1", "host=elsewhere", "mode=lease", "token=ab", "duration=1.0"]
    lease.write_text("\n".join(["filelock/2", *fields, ""]))
    os.utime(lease, (0, 0))  # a clock that goes wrong does not matter
    start = time.monotonic()
    with locked(tmp_path / "out"):
        assert time.monotonic() - start >= 1
        assert "elsewhere" not in lease.read_text()
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::datarobust.errors.DatarobustWarning")
def test_who_lost_a_lease_ends(tmp_path: Path, no_flock: None) -> None:
    def lose() -> None:
        with locked(tmp_path / "out"):
            (tmp_path / ".out.lease").unlink()
            time.sleep(20)

    assert in_child(lose) == 1


@pytest.mark.parametrize("path", ["", ".", ".."])
def test_no_name(path: str) -> None:
    with pytest.raises(ArtifactError, match="names no file"), locked(Path(path)):
        pass


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"), artifacts.locked(tmp_path / "none" / "out"):
        pass


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_folder_that_takes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As /proc, where a new file is ENOENT, and what is mounted read-only."""
    whole, creating = os.open, os.O_CREAT | getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY

    def refuse(path: str | Path, flags: int, *more: int, **options: int) -> int:
        if flags & creating:
            raise OSError(code, os.strerror(code), path)
        return whole(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(ArtifactError, match=f"out cannot be written: .*{os.strerror(code).lower()}") as error,
        locked(tmp_path / "out"),
    ):
        pass
    assert not isinstance(error.value, LockedError)
