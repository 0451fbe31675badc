"""Pages: well-formed, closed in themselves, the same bytes every time, whatever the words in them are."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from datarobust.artifacts import Step, Summary
from datarobust.artifacts.runs import Run
from datarobust.figures import report
from datarobust.figures import report_parts as parts
from datarobust.figures.lineage import Command, Result, Source, quoted
from datarobust.figures.report import MOST_DRAWN, MOST_LISTED, SECTIONS, Card, Item, page
from datarobust.figures.report_parts import Picture, clipped, part, table
from datarobust.text import shown as spelled

from . import pages

KINDS = tuple(SECTIONS)
CSS = (Path(report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
SCHEMES = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]

HOSTILE = [
    "</style><script>alert(1)</script>",
    "\x1b[31mred\x1b[0m",
    "a\nb\tc\r\n\0",
    "ab" * 5000,
    "\u202egnp.exe\u2066",
    "שלום عربي",
    '"onmouseover="x',
    "'><img src=x onerror=alert(1)>",
    "&amp;&#60;",
    "\udc80\ud800",
    "]]>--><!--",
    "",
]


def command(place: int, words: str = "x", source: int | None = None) -> Command:
    sources = [Source(words, "0" * 64)] if source is None else [Source(words, "1" * 64, source)]
    made = [Result(f"{place:064x}", "dataset", words, "")]
    return Command(Step(words, ("-o", f"{place}"), words, place, words, {}), sources, made)


class Stored(Summary):
    """An artifact of three rows."""

    def __len__(self) -> int:
        return 3


def card(words: str, anchor: str, kind: str = "dataset", chart: str = "") -> Card:
    """A card with these words wherever somebody else's may stand, and all else that any kind of card asks for."""
    said = {"arch": {"name": words}, "weights": words, "epoch": words, "flags": {words: 1}, "features": words}
    said |= {"norm": "l2", "method": "mds", "protocol": {}, "count": 3, "shard": 1, "shards": 2}
    content: Any = Stored(Path(words), kind, 1, "0" * 64, (), said, {})
    if kind in ("picture", "text"):
        content = Picture("image/png", b"", 1, 1, words) if kind == "picture" else words
    if kind == "run":
        content = Run({"recipe": {"epochs": words}, "arch": {"name": words}, "inputs": {}}, [{}], {})
    rows, note, classes = table([words], [[words]], words), part("note", words=words), [{"name": words, "count": 3}]
    summary = {"points": 3, "kind": "images", "dtype": words, "shape": [1], "columns": [words], "classes": classes}
    made = {"title": words, "picture": note, "text": rows, "what": words, "summary": summary, "classes": rows}
    made |= {"alike": True, "chart": chart, "samples": note, "same": False, "distinct": 1, "tied": 2, "pairs": rows}
    made |= {"special": [1, 1, 1], "ends": [1.0, 2.0, 3.0], "shape": (2, 2, 1), "map": chart, "trace": 1.0}
    made |= {"numbers": 3, "bytes": 3, "last": [(words, words)], "weights": [(words, words)], "robust": 0.5}
    made |= {"result": {"clean": 0.5, "eps": words}, "interval": (0.0, 1.0), "left_out": [(words, words)]}
    made |= {"cuts": [(0.0, 0.5, "good", words, "50 %")], "attacks": rows, "wrong": 1, "rows": rows}
    return Card(Item(kind, words, "0" * 64, content, (), anchor), made, [(words, words)], rows)


def page_of(words: str) -> str:
    chart = parts.bars([words] * 3, [3, 0, 5], words, "abc")
    cards = [card(words, f"{kind}-1", kind, chart) for kind in KINDS]
    return page(words, cards, [command(0, words), command(1, words, 0), command(2, words, 1)], "0.1.0")


@pytest.fixture(scope="module")
def plain() -> Counter[str]:
    """The elements of a page of plain words."""
    return tags(pages.check(page_of("plain")))


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_any_words_are_words(words: str, plain: Counter[str]) -> None:
    made = page_of(words)
    assert len(made) < 400_000
    if not words:
        pages.read(made)
        return
    root = pages.check(made)
    assert len(root.all("article")) == len(KINDS)
    assert root.all("h1")[0].text == clipped(words, 300)
    assert tags(root) == plain


def tags(root: pages.Node) -> Counter[str]:
    """Elements, but those that depend on the length of words."""
    return Counter(
        node.tag
        for node in pages.everything(root)
        if node.tag not in {"span", "code", "details", "summary", "text", "wbr"}
    )


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=30))
def test_parts_hold_any_text(words: str) -> None:
    (node,) = pages.read(part("plot", picture=Picture("image/png", b"", 1, 1), alt=words)).all("img")
    assert node.attributes["alt"] == spelled(words)
    node = pages.everything(pages.read(part("name", words=words)))[0]  # within are places where lines may end
    assert node.text == spelled(words)
    assert spelled(words).isprintable()


def test_sections_come_by_kind() -> None:
    cards = [card(f"n{number}", f"a{number}", KINDS[-number % len(KINDS)]) for number in range(30)]
    made = page("t", cards, [command(0), command(1, source=0)], "1")
    headings = [node.text for node in pages.check(made).all("h2")]
    assert headings == [*SECTIONS.values(), "History", "Commands to reproduce", "Files"]


def test_only_our_style_sheet_is_allowed() -> None:
    made = page("t", [], [], "1")
    (sheet,) = pages.check(made).all("style")
    sha = base64.b64encode(hashlib.sha256(sheet.text.encode()).digest()).decode()
    assert f"style-src &#x27;sha256-{sha}&#x27;" in made or f"style-src 'sha256-{sha}'" in made
    assert sheet.text == CSS


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_contrast(scheme: str) -> None:
    assert f"color-scheme: {'light' if scheme is SCHEMES[0] else 'dark'};" in scheme
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", scheme))
    pairs = [(ink, back) for ink in ("ink", "quiet", "link") for back in ("page", "card", "well")]
    pairs += [("on", back) for back in ("good", "bad", "fill")]
    for ink, back in pairs:
        light, dark = sorted((_luminance(colours[ink]), _luminance(colours[back])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, back)


# ------------------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize(
    "word", ["a", "a b", "it's", "$HOME", "", "new\nline", "\x1b[31m", "\u202e", "\udc80", "é", "\\"]
)
def test_quoted_words_are_what_bash_takes(word: str) -> None:
    written = quoted(word)
    assert written.isprintable()
    done = subprocess.run(
        ["bash", "-c", f"printf %s {written}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout == word.encode("utf-8", "surrogateescape")
    if word.isprintable():
        assert shlex.split(written) == [word]


def test_history_as_a_graph_and_as_text() -> None:
    steps = [command(0), command(1, source=0), command(2, source=1), command(3, source=0)]
    root = pages.check(page("t", [], steps, "1"))
    assert len(root.classes("box")) == 4
    assert len(root.classes("edge")) == 3
    anchors = [node.attributes["id"] for node in root.all("li") if "id" in node.attributes]
    assert anchors == [f"step-{place}" for place in (1, 2, 3, 4)]
    assert root.all("pre")[-1].text.splitlines() == [" ".join(step.shell_words()) for step in steps]


def test_thousands_of_steps_are_listed_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_LISTED == 2000
    monkeypatch.setattr(report, "MOST_LISTED", 300)
    steps = [command(0), *(command(place, source=place - 1) for place in range(1, 800))]
    made = page("t", [], steps, "1")
    assert len(made) < 600_000
    root = pages.check(made)
    assert not root.classes("graph")
    assert "800 steps" in root.text
    assert "500 more steps" in root.text
    assert pages.check(page("t", [], steps[:MOST_DRAWN], "1")).classes("graph")


def test_a_very_long_command_says_that_it_is_cut() -> None:
    long = Command(Step("t", ("x" * 100_000,), "1"), [], [])
    made = page("t", [], [long], "1")
    assert len(made) < 60_000
    assert "Not whole" in made


# -------------------------------------------------------------------------------------------------------- charts


@pytest.mark.parametrize(
    ("names", "beneath"),
    [
        (["cat", "dog", "x"], ["cat", "dog", "x"]),
        (["cat", "automobile" * 3, "x"], ["0", "1", "2"]),
        (["w" * 30] * 60, []),
    ],
)
def test_bars_have_all_their_names_or_all_their_numbers(
    names: list[str], beneath: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(parts, "drawn", lambda figure, *words: figures.append(figure))
    parts.bars(names, [1] * len(names), "t", [f"{label}" for label in range(len(names))] if beneath else names)
    assert [text.get_text() for text in figures[0].get_axes()[0].get_xticklabels()] == beneath


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 1.0], [0.0, 1e-12], list(np.linspace(0, 1, 500)), [0.1, 0.2, 0.2, 5e8]], ids=range(5)
)
def test_histograms_count_every_point(values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(parts, "drawn", lambda figure, *words: figures.append(figure))
    parts.histogram(np.array(values), "t", "x")
    (axes,) = figures[0].get_axes()
    assert sum(round(bar.get_height()) for bar in axes.patches) == len(values)  # type: ignore[attr-defined]
    assert axes.lines[0].get_xdata()[0] == np.median(values)  # type: ignore[index]


@pytest.mark.parametrize("values", [[math.nan], [1.0], [2.0, math.nan, 1.0], [math.inf, 3.0], [0.0, 0.0], [1.0] * 5000])
def test_curves(values: list[float]) -> None:
    made = parts.curve(values, "t")
    assert len(made) < 40_000
    pages.read(made)
