"""Starts commands quickly: a process that has imported what they import, and forks for each of them.

Importing PyTorch takes longer than most commands of the tests. ``python forkserver.py FOLDER SCRIPT...`` imports it
once, and writes into FOLDER an executable of the name of each script, which hands its arguments, its working folder,
its environment and its three streams to a fork of this process, passes signals on to it, and ends as the fork ends.
The fork runs the script itself; the executable ``script`` runs the file that is its first argument. The server ends
when its stdin does.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn

import datarobust

#: What takes long to import, and starts no thread; ours is imported, too, but for what is no module of Python's.
IMPORTED = (
    *("torch", "torch._dynamo", "zarr", "scipy.linalg", "safetensors.torch", "sklearn.utils", "filelock", "jinja2"),
    *("networkx", "matplotlib.figure", "matplotlib.style", "pydantic.type_adapter", "torch.distributed.run"),
    *(f"matplotlib.backends.backend_{name}" for name in ("agg", "pdf", "svg")),
)
_COMPILED = "datarobust.sensitivity._native"

_CLIENT = """#!{python} -SE
import os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    lines = [os.getcwd(), *(f"{{name}}={{value}}" for name, value in os.environ.items()), "", *{scripts}, *sys.argv[1:]]
    words = "\\0".join(lines).encode(errors="surrogateescape")
    socket.send_fds(server, [len(words).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(words)
    process = int.from_bytes(server.recv(8), "little")
    def pass_on(number, _):
        try:
            os.kill(process, number)
        except ProcessLookupError:  # it has just ended
            pass
    handled = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    for number in handled:
        signal.signal(number, pass_on)
    code = int(server.recv(16) or 70)
if code < 0:
    if -code in handled:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def serve(folder: Path, scripts: list[Path]) -> None:
    """Write the executables, say ``ready``, and fork for each that is called until stdin ends."""
    library = {module.name for module in pkgutil.walk_packages(datarobust.__path__, "datarobust.")} - {_COMPILED}
    tools = [f"datarobust.tools.{script.name.replace('-', '_')}" for script in scripts if not script.suffix]
    for name in (*IMPORTED, *sorted(library), *tools):
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy every page
    address = folder / ".server"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        for name, words in {"script": [], **{script.name: [str(script)] for script in scripts}}.items():
            client = folder / name
            client.write_text(_CLIENT.format(python=sys.executable, address=str(address), scripts=words))
            client.chmod(0o755)
        print("ready", flush=True)
        running: dict[int | socket.socket, Running] = {}  # by its pidfd and by its connection
        while True:
            ready, _, _ = select.select([0, listener, *running], [], [])
            if 0 in ready:
                return
            if listener in ready:
                connection, _ = listener.accept()
                one = _start(connection, running.values())
                running |= {one.ended: one, connection: one}
            for one in {running[place] for place in ready if place in running}:
                _end(one, killed=one.ended not in ready)
                del running[one.ended], running[one.connection]


class Running(NamedTuple):
    """A command, who asked for it, and its streams, which are kept open until it has ended."""

    process: int
    ended: int
    connection: socket.socket
    streams: tuple[int, ...]


def _start(connection: socket.socket, others: Iterable[Running]) -> Running:
    """Run one command in a fork, and tell its process."""
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    words = b""
    while len(words) < int.from_bytes(length, "little"):
        words += connection.recv(1 << 16)
    cwd, *lines = words.decode(errors="surrogateescape").split("\0")
    end = lines.index("")
    process = os.fork()
    if process == 0:
        for number in {number for one in others for number in (one.ended, one.connection.fileno(), *one.streams)}:
            os.close(number)  # else the end of what another writes would not be seen before this one ends
        connection.close()
        _become(cwd, dict(line.partition("=")[::2] for line in lines[:end]), lines[end + 1 :], streams)
    with contextlib.suppress(BrokenPipeError):  # whoever asked may be gone
        connection.sendall(process.to_bytes(8, "little"))
    return Running(process, os.pidfd_open(process), connection, tuple(streams))


def _end(one: Running, *, killed: bool) -> None:
    """Tell the exit code of a command that has ended; kill it first where nobody waits for it any more."""
    if killed:
        os.kill(one.process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(one.process, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        one.connection.sendall(str(code).encode())
    one.connection.close()
    for number in (one.ended, *one.streams):
        os.close(number)


def _become(cwd: str, environment: dict[str, str], words: list[str], streams: list[int]) -> NoReturn:
    """Run a script with these arguments, as if it had been started with these streams."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    code = 0
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001 - told as the interpreter tells it
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # to take everything down that was imported would cost a second


if __name__ == "__main__":
    serve(Path(sys.argv[1]), [Path(script) for script in sys.argv[2:]])
