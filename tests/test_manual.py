"""The manual that is made of the commands' own help: guides that are up to date."""

from __future__ import annotations

import re
from pathlib import Path

from . import manual

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "examples/guides/commands"


def test_guides_are_what_make_guides_makes() -> None:
    wanted = manual.guide_files()
    assert {path.name for path in GUIDES.iterdir()} == set(wanted)
    stale = [name for name, text in wanted.items() if (GUIDES / name).read_text(encoding="utf-8") != text]
    assert not stale, "run make guides"


def test_guides_have_every_option() -> None:
    for page in manual.pages():
        guide = manual.markdown(page)
        for one in (page, *page.parts):
            assert one.options
            assert {"--help", "-h"} <= set(re.findall(r"--?[\w-]+", " ".join(entry.names for entry in one.options)))
            for entry in (*one.arguments, *one.options):
                assert entry.names.replace("|", "\\|") in guide


def test_exit_codes_are_those_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for code, meaning in manual.EXIT_CODES:
        assert f"| {code} | {meaning} |" in readme


def test_markdown_stays_text() -> None:
    assert manual._safe(r"a|b *c* <d> `e|*` x<=1 \n") == r"a\|b \*c\* \<d> `e\|*` x<=1 \\n"
