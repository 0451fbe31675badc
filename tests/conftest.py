"""What every test may use: the installed commands, the root of the repository, the folder of shared real data."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pty
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import settings

# Small networks are slower with several threads, and on a busy machine much slower; commands inherit this. What depends
# on the number of threads sets it itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The machine may be busy: no example of a property has to be quick.
settings.register_profile("any time", deadline=None)
settings.load_profile("any time")

ROOT = Path(__file__).resolve().parent.parent


def _obey_permissions() -> None:
    """Give up the right of root to write everywhere (Linux), for this process and all that it starts."""
    libc = ctypes.CDLL(None)
    libc.prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: what is started does not get it back
    head, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # of capabilities' version 3
    libc.capget(head, rights)
    for place in range(3):  # effective, permitted, inheritable
        rights[place] &= ~(1 << 1)
    libc.capset(head, rights)


if sys.platform == "linux" and os.geteuid() == 0:
    _obey_permissions()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last files first (commands, documents, training): they take longest; the last one has one processor alone."""
    items.sort(key=lambda item: str(item.path), reverse=True)


@pytest.fixture(scope="session", autouse=True)
def _nobody_waits_for_the_disk() -> Iterator[None]:
    """Tests stop processes, not machines; in commands that start quickly ``faults.c`` does the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data sets, which DATAROBUST_SHARED names in the environment; unset, the test is skipped."""
    place = os.environ.get("DATAROBUST_SHARED")
    if not place:
        pytest.skip("DATAROBUST_SHARED is not set")
    folder = Path(place)
    assert folder.is_dir(), f"DATAROBUST_SHARED names {folder}, which is no folder"
    return folder


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The folder of the installed commands."""
    return Path(sys.executable).parent


@pytest.fixture(scope="session")
def quick(scripts: Path) -> Iterator[Path]:
    """A folder of the installed commands that start quickly, for all that is not about how a command starts or dies."""
    from . import faults

    with faults.quick_commands(ROOT, scripts) as folder:
        yield folder


@pytest.fixture(scope="session")
def command(scripts: Path, quick: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an installed command as a user would: ``command("sens-rank", store, "--norm", "l2", cwd=...)``.

    The result has the exit code and both streams as text; keyword arguments go to :func:`subprocess.run`. With an
    environment of its own, which some packages read where they are imported, a command is started anew.
    """

    def run(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        defaults: dict[str, object] = {"capture_output": True, "text": True, "timeout": 120}
        if "stdout" in options or "stderr" in options:
            del defaults["capture_output"]
        started = scripts if {"env", "preexec_fn"} & set(options) else quick
        return subprocess.run([started / name, *map(str, arguments)], check=False, **{**defaults, **options})

    return run


@pytest.fixture(scope="session")
def terminal(command: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Any]:
    """Run a command as ``command`` does, with a terminal as its stdout."""

    def run(name: str, *arguments: object, **options: object) -> Any:
        main, side = pty.openpty()
        tty.setraw(side)
        with open(main, "rb", buffering=0) as reader, ThreadPoolExecutor(1) as pool:  # noqa: PTH123 - a descriptor
            reading = pool.submit(_all_of, reader)
            try:
                done = command(name, *arguments, stdout=side, stderr=subprocess.PIPE, **options)
            finally:
                os.close(side)
            done.stdout = reading.result().decode()
        return done

    return run


def _all_of(terminal: IO[bytes]) -> bytes:
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := terminal.read(1 << 16):
            seen += part
    return seen


def free_port() -> int:
    """The number of a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def pair(quick: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in two processes, which start quickly, in the environment that torchrun would give them.

    The result has the larger exit code, of a signal without its sign, and the output of both. Where it is given, both
    are killed as soon as ``until`` is true. ``machines`` are processes of each machine, where they pretend to be on
    several. The command ``script`` runs the file that is its first argument.
    """

    def run(
        name: str,
        *arguments: object,
        cwd: Path | None = None,
        until: Callable[[], object] | None = None,
        machines: Sequence[int] = (2,),
    ) -> subprocess.CompletedProcess[str]:
        told = {"WORLD_SIZE": f"{sum(machines)}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free_port()}"}
        words = [quick / name, *map(str, arguments)]
        places = [{"LOCAL_WORLD_SIZE": f"{here}", "LOCAL_RANK": f"{n}"} for here in machines for n in range(here)]
        processes = [
            subprocess.Popen(
                words, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=os.environ | told | place | {"RANK": f"{rank}"},
            )
            for rank, place in enumerate(places)
        ]  # fmt: skip
        try:
            while until is not None and not until() and any(process.poll() is None for process in processes):
                time.sleep(0.01)
            for process in processes if until is not None else ():
                process.kill()
            said = [process.communicate(timeout=120) for process in processes]
        finally:
            for process in processes:
                process.kill()
        code = max(abs(process.returncode) for process in processes)
        return subprocess.CompletedProcess(words, code, *map("".join, zip(*said, strict=True)))

    return run


@pytest.fixture(scope="session")
def on_gpu(
    pytestconfig: pytest.Config, scripts: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as ``command`` does, or a script, where a CUDA device is pretended; skipped where none can be.

    ``on_gpu("clone", ..., waits=path)`` writes to a JSON file what a GPU would wait for. See ``pretended.py``.
    """
    from . import pretended

    if (lack := pretended.lack()) is not None:
        pytest.skip(lack)
    folder = pytestconfig.cache.mkdir("pretended")
    pretended.build(folder)

    def run(name: str, *arguments: object, waits: Path = Path(os.devnull), **options: object) -> Any:
        return command("pretended.py", folder, waits, scripts / name, *arguments, **options)

    return run
