"""Runs a command in odd surroundings: ``python odd.py SCRIPT ARGUMENT...``.

It may hold 64 files open, gives no rights to others (umask 077), has no home, sees a clock that goes backwards, and may
not use a network.
"""

from __future__ import annotations

import itertools
import os
import resource
import runpy
import sys
import time

NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "socket.sendto")


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """Raise where a network is used."""
    if event in NETWORK:
        raise AssertionError(f"{event} {arguments}")


def main(*words: str) -> None:
    """Run a script."""
    sys.argv = list(words)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    os.umask(0o077)
    os.environ["HOME"] = "/dev/null/home"
    seconds = itertools.count(2_000_000_000, -1000)
    time.time = lambda: float(next(seconds))
    time.time_ns = lambda: next(seconds) * 10**9
    sys.addaudithook(refuse)
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
