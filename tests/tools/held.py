"""Commands that are held in the middle of their work, to be stopped there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(quick: Path, script: str, count: int, *arguments: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A script that runs a command and lets it do no more than so many batches or steps; killed at the end."""
    (cwd / "held.py").write_text(script)
    words = [quick / "script", "held.py", str(count), *map(str, arguments)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate()  # until it has ended, too
            (cwd / "held.py").unlink()


def wait_for(path: Path, process: subprocess.Popen[str], newer: int = 0) -> None:
    """Until there is a file, or a newer one."""
    deadline = time.monotonic() + 90
    while not path.exists() or path.stat().st_mtime_ns == newer:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
