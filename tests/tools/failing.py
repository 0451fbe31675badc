"""How a command refuses, for the tests of all of them."""

from __future__ import annotations

import subprocess


def fails(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> str:
    """One sentence on stderr, which has these words, and nothing on stdout; returns the sentence."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.rstrip("\n").splitlines()[-1]
    for word in words:
        assert word in last
    return last
