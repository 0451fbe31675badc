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
import runpy
import select
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

#: What takes long to import, and starts no thread.
IMPORTED = (
    *("torch", "torch._dynamo", "zarr", "scipy.linalg", "safetensors.torch", "sklearn.utils", "matplotlib.figure"),
    *(
        "datarobust.jobs.advtrain",
        "datarobust.jobs.edmtrain",
        "datarobust.jobs.clone_search",
        "datarobust.sensitivity",
    ),
    "datarobust.jobs.aaeval",
    "datarobust.jobs.embed",
)

_CLIENT = """#!{python} -SE
import os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    lines = [os.getcwd(), *(f"{{name}}={{value}}" for name, value in os.environ.items()), "", *{scripts}, *sys.argv[1:]]
    words = "\\0".join(lines).encode(errors="surrogateescape")
    socket.send_fds(server, [len(words).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(words)
    process = int.from_bytes(server.recv(8), "little")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(process, number))
    code = int(server.recv(16) or 70)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def serve(folder: Path, scripts: list[Path]) -> None:
    """Write the executables, say ``ready``, and fork for each that is called until stdin ends."""
    for name in IMPORTED:
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
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the supervisors are nobody's to wait for
        while True:
            waiting, _, _ = select.select([listener, 0], [], [])
            if 0 in waiting:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _supervise(connection)
            connection.close()


def _supervise(connection: socket.socket) -> NoReturn:
    """Run one command in a fork; tell its process and its exit code, or kill it where nobody waits for it any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    words = b""
    while len(words) < int.from_bytes(length, "little"):
        words += connection.recv(1 << 16)
    cwd, *lines = words.decode(errors="surrogateescape").split("\0")
    end = lines.index("")
    child = os.fork()
    if child == 0:
        connection.close()
        _become(cwd, dict(line.partition("=")[::2] for line in lines[:end]), lines[end + 1 :], streams)
    with contextlib.suppress(BrokenPipeError):  # whoever asked may be gone
        connection.sendall(child.to_bytes(8, "little"))
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(str(code).encode())
    os._exit(0)


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
