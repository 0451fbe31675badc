"""The guides in examples/guides, executed: the lines of each in one shell, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import commandlines

RUN = [path for path in commandlines.GUIDES if commandlines.session(path)]


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_the_lines_of_a_guide_run(path: Path, tmp_path: Path, scripts: Path, quick: Path) -> None:
    commandlines.run_session(path, tmp_path, quick, scripts)


def test_the_index_has_every_guide() -> None:
    index = (commandlines.ROOT / "examples/guides/README.md").read_text(encoding="utf-8")
    for path in commandlines.GUIDES:
        assert path.name == "README.md" or f"]({path.name})" in index
