"""The guides in examples/guides, executed: the lines of each in one shell, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import commandlines, dependencies

RUN = [path for path in commandlines.GUIDES if commandlines.session(path)]


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_the_lines_of_a_guide_run(path: Path, tmp_path: Path, scripts: Path, quick: Path) -> None:
    commandlines.run_session(path, tmp_path, quick, scripts)


def test_the_index_has_every_guide() -> None:
    index = (commandlines.ROOT / "examples/guides/README.md").read_text(encoding="utf-8")
    for path in commandlines.GUIDES:
        assert path.name == "README.md" or f"]({path.name})" in index


def test_every_promise_names_tests_that_exist() -> None:
    text = (commandlines.ROOT / "examples/guides/reliability.md").read_text(encoding="utf-8")
    promises = re.findall(r"(?m)^\| (\d+) \|.*\| (.*) \|$", text)
    assert [int(number) for number, _ in promises] == list(range(1, 29))
    for number, tests in promises:
        names = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
        assert names, number
        for file, name in names:
            assert re.search(rf"(?m)^def {name}\(", (commandlines.ROOT / "tests" / file).read_text(encoding="utf-8")), (
                name
            )


def test_every_dependency_has_its_licence() -> None:
    rows = (commandlines.ROOT / "examples/guides/dependencies.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if row.startswith("| ")][1:]
    for package in dependencies.packages():
        licence = dependencies.licence(package)
        listed = [row for row in rows if row.startswith(f"| {package} |")]
        assert len(listed) == 1, package
        assert licence is None or listed == [f"| {package} | {licence} |"]
