"""CONTRIBUTING.md: its worked example is a tool that runs, passes its tests and obeys the rules of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(
    re.findall(r"`((?:lib|tools|tests)/[\w/]+\.py)`:\n\n```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
)
#: Commands of the copy have no scripts: they are run as modules.
CONFTEST = """
import subprocess, sys
import pytest

@pytest.fixture
def command():
    def run(name, *arguments):
        words = [sys.executable, "-m", f"datarobust.tools.{name}", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    return run
"""
RULES = (
    "imports",
    "heavy",
    "has_a_layer",
    "that_exists",
    "mirror",
    "every_part_has",
    "ships",
    "docstrings and medoids",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with the files of the example."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("lib", "tools", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tree)
    (tree / "lib/datarobust/tools").symlink_to(tree / "tools")
    for name, text in FILES.items():
        assert not (tree / name).exists()
        (tree / name).write_text(text, encoding="utf-8")
    (tree / "tests/tools/conftest.py").write_text(CONFTEST, encoding="utf-8")
    [script] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    put(tree / "pyproject.toml", "[project.scripts]\n", f"[project.scripts]\n{script}")
    put(tree / "tests/test_layout.py", '{"sensitivity", ', '{"medoids", "sensitivity", ')
    return tree


def put(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(tree: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(tree / "lib"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_is_whole() -> None:
    assert sorted(FILES) == [
        "lib/datarobust/jobs/medoids.py",
        "lib/datarobust/medoids.py",
        "tests/lib/test_medoids.py",
        "tests/tools/test_medoids.py",
        "tools/medoids.py",
    ]


def test_the_files_it_names_exist() -> None:
    folders = (ROOT, ROOT / "lib/datarobust", ROOT / "lib/datarobust/datasets")
    named = set(re.findall(r"`([\w/]+\.py)`", TEXT.partition("## How to add a data format")[2]))
    assert len(named) > 5
    assert not [name for name in named if not any((folder / name).exists() for folder in folders)]


def test_it_passes_its_tests_and_obeys_the_rules(tree: Path) -> None:
    tests = ["tests/lib/test_medoids.py", "tests/tools/test_medoids.py", "tests/test_layout.py"]
    chosen = " or ".join(["test_medoids", *(f"({rule})" for rule in RULES)])
    said = run(tree, "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *tests)
    assert "passed" in said


def test_it_is_formatted_and_has_no_lint(tree: Path) -> None:
    run(tree, "ruff", "format", "--no-cache", "--check", *FILES)
    run(tree, "ruff", "check", "--no-cache", *FILES)
