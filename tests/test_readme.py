"""What README.md promises, executed: its sessions as they stand, in order, and the commands it names."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh( run)?\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_sessions_run(tmp_path: Path, scripts: Path, quick: Path) -> None:
    """One shell for all blocks marked ``sh run``: a later one uses what an earlier one made."""
    session = "".join(text for marked, text in BLOCKS if marked)
    assert session.count("\n") > 10
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", session],
        cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join(map(str, (quick, scripts, os.environ["PATH"])))},
        capture_output=True,
        text=True,
        check=False,
        timeout=285,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 4]
    distances = [float(row[1]) for row in rows[:5]]
    assert len(distances) == 5
    assert distances == sorted(distances)
    for name in re.findall(r" -o (\S+)", session):
        assert (tmp_path / name).exists(), f"{name} was not made"


def test_all_commands_that_exist_are_shown() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    session = "".join(text for marked, text in BLOCKS if marked)
    for command in project["scripts"]:
        assert re.search(rf"\b{command} ", session), f"README shows no {command}"
        assert re.search(rf"\| `{command}` \| here \|", README), f"README's table lacks {command}"


def test_what_is_coming_is_not_there_yet() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    coming = [row for row in README.splitlines() if row.endswith("| coming |")]
    promised = {name for row in coming for name in re.findall(r"`([a-z-]+)`", row)} - {"dataset"}
    assert promised, "take the table apart when all of it is there"
    assert not promised & set(project["scripts"])


def test_make_targets_exist() -> None:
    makefiles = [ROOT / "examples/Makefile", *(ROOT / "examples").glob("*.mk")]
    rules = "".join(path.read_text(encoding="utf-8") for path in makefiles)
    examples = set(re.findall(r"^([a-z0-9]+):", rules, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= TARGETS
    recipes = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`make -C examples ([a-z0-9]+)`", recipes)) <= examples


@pytest.mark.parametrize("document", ["README.md", "examples/README.md", "CHANGELOG.md", "ARTIFACTS.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing
