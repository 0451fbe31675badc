"""What README.md promises, executed: its sessions as they stand, in order, and the commands it names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from . import commandlines

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_sessions_run(tmp_path: Path, scripts: Path, quick: Path) -> None:
    """One shell for all blocks marked ``sh run``: a later one uses what an earlier one made."""
    assert commandlines.session(ROOT / "README.md").count("\n") > 10
    done = commandlines.run_session(ROOT / "README.md", tmp_path, quick, scripts)
    rows = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 4]
    [(_, shown)] = commandlines.blocks(README, "text")
    assert rows[:3] == [line.split() for line in shown.splitlines()]


def test_the_table_has_every_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    commands = set(re.findall(r"`([a-z-]+)[^`]*`", "".join(re.findall(r"(?m)^\|.*\| (.*) \|$", README))))
    assert set(project["scripts"]) <= commands


def test_it_stays_short() -> None:
    assert README.count("\n") <= 160


def test_the_first_targets_are_there() -> None:
    assert {"install", "demo", "test"} == set(re.findall(r"(?m)^make ([a-z]+)", README.split("\n## ")[1]))
