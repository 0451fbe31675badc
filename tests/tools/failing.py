"""How a command refuses, and the tables that it writes, for the tests of all of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "examples/guides/json-output.md"


def fails(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> str:
    """One sentence on stderr, which has these words, and nothing on stdout; returns the sentence."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.rstrip("\n").splitlines()[-1]
    for word in words:
        assert word in last
    return last


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """As :func:`fails`, of a sentence that is called an error."""
    assert fails(done, *words, code=code).partition(": ")[2].startswith("error: ")


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a TSV file by its header."""
    header, *lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def documented(command: str) -> set[str]:
    """The keys of a command's JSON in the guide."""
    section = GUIDE.read_text(encoding="utf-8").split(f"\n## {command}\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(\w+)`", " ".join(re.findall(r"(?m)^\| (`.*?) \|", section.split("| Column |")[0]))))
