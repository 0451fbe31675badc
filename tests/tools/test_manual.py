"""The manual that is made of the commands' own help: guides that are up to date, pages without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from datarobust.tools import _manual

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "examples/guides/commands"


@pytest.fixture(scope="module")
def man_files() -> dict[str, str]:
    return _manual.man_files()


def test_guides_are_what_make_guides_makes() -> None:
    wanted = _manual.guide_files()
    assert {path.name for path in GUIDES.iterdir()} == set(wanted)
    stale = [name for name, text in wanted.items() if (GUIDES / name).read_text(encoding="utf-8") != text]
    assert not stale, "run make guides"


def test_guides_and_pages_have_every_option(man_files: dict[str, str]) -> None:
    for page in _manual.pages():
        guide, manual = _manual.markdown(page), man_files[f"{page.name}.1"]
        for one in (page, *page.parts):
            assert one.options
            assert {"--help", "-h"} <= set(re.findall(r"--?[\w-]+", " ".join(entry.names for entry in one.options)))
            for entry in (*one.arguments, *one.options):
                assert entry.names.replace("|", "\\|") in guide
                assert f".B {_manual._roff(entry.names)}\n" in manual


def test_exit_codes_are_those_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for code, meaning in _manual.EXIT_CODES:
        assert f"| {code} | {meaning} |" in readme


def test_markdown_stays_text() -> None:
    assert _manual._safe(r"a|b *c* <d> `e|*` x<=1 \n") == r"a\|b \*c\* \<d> `e\|*` x<=1 \\n"


HOSTILE = [
    _manual.Block(".so /etc/passwd\n'br\n.B bold \\fB", True),
    _manual.Block("\\n(.x -1 'a' `b` ^~ \"≤λ∞\"", False),
]


def read(page: str) -> tuple[str, str]:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-c"], input=page.encode(), capture_output=True, check=False, timeout=60
    )
    return re.sub(r".\x08", "", done.stdout.decode()), done.stderr.decode()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_pages_are_read_without_a_warning(man_files: dict[str, str]) -> None:
    for name, text in man_files.items():
        assert text.isascii()
        shown, warnings = read(text)
        assert warnings == "", name
        assert "EXIT STATUS" in shown
        assert f"{name.removesuffix('.1')} - " in shown


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_no_text_becomes_a_request() -> None:
    entry = _manual.Entry("-o, --output .P'A`TH", ".sp 100", "default: \\")
    page = _manual.Page("x", "x [OPTIONS]", tuple(HOSTILE[::-1]), (), (entry,))
    shown, warnings = read(_manual.roff(page, ["y"]))
    assert warnings == ""
    for text in (
        ".so /etc/passwd",
        "'br",
        ".B bold \\fB",
        "\\n(.x -1 'a' `b` ^~ \"≤λ∞\"",
        "-o, --output .P'A`TH",
        ".sp 100",
    ):
        assert text in shown


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_finds_them(man_files: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "share/man/man1"
    _manual._write(folder, man_files)
    found = subprocess.run(
        ["man", "-M", folder.parent, "-w", "sens-rank"], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.stdout.strip() == str(folder / "sens-rank.1"), found.stderr
