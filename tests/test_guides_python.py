"""The guide to the library, executed: its blocks of Python in order, in one folder that has the digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from . import commandlines

GUIDE = commandlines.ROOT / "examples/guides/python.md"
BLOCKS = commandlines.blocks(GUIDE.read_text(encoding="utf-8"), "python")


def test_all_blocks_run(
    command: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command("dataset", "import", "digits", "-o", "digits.zarr", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "guide"}
    for marked, text in BLOCKS:
        assert marked, "every block of Python is run"
        exec(compile(text, str(GUIDE), "exec"), names)
    assert capsys.readouterr().out
    for made in ("few.zarr", "random.zarr", "sensitivity.svg", "run/best.safetensors", "denoiser/last.safetensors"):
        assert (tmp_path / made).exists()


def test_blocks_are_about_ten_lines() -> None:
    long = [text for _, text in BLOCKS if sum(bool(line.strip()) for line in text.splitlines()) > 15]
    assert not long


def test_every_tool_is_there() -> None:
    headings = GUIDE.read_text(encoding="utf-8")
    shown = [
        "sens-rank",
        "dataset",
        "figures",
        "advtrain",
        "aaeval",
        "edmtrain",
        "clone",
        "embed",
        "fid",
        "dataset features",
    ]
    assert all(f"\n## {name}\n" in headings for name in shown)
