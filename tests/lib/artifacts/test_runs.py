"""Logs of trainings are read line by line; what is none is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datarobust.artifacts.runs import read_log, recorded
from datarobust.errors import ArtifactError


@pytest.mark.parametrize("cut", [0, 1, 5, 18, 19, 30])
def test_a_torn_line_is_left_out(tmp_path: Path, cut: int) -> None:
    content = "".join(json.dumps({"epoch": epoch, "loss": 1.0}) + "\n" for epoch in (1, 2, 3)).encode()
    (tmp_path / "log.jsonl").write_bytes(content[: len(content) - cut])
    whole = content[: len(content) - cut].count(b"\n")
    assert read_log(tmp_path) == [{"epoch": epoch, "loss": 1.0} for epoch in range(1, whole + 1)]
    assert read_log(tmp_path, 1) == [{"epoch": 1, "loss": 1.0}]


@pytest.mark.parametrize(
    "text", ["nonsense\n", '{"epoch": 2}\n', "[1]\n", '{"loss": 1}\n', f'{{"epoch": 1, "loss": {10**400}}}\n']
)
def test_what_is_no_log_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(ArtifactError, match=r"log\.jsonl, line 1: no line of a log") as error:
        read_log(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_log(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "[1]", '{"request": "a"', "null"])
def test_a_damaged_recipe_names_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    assert recorded(tmp_path) == {}
    assert recorded(tmp_path / "absent") == {}
