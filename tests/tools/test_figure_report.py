"""``figure report`` as a user runs it: one page, whole or absent, the same bytes every time."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40"><rect width="60" height="40" fill="red"/></svg>'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    """A folder with digits, a ranking of some of them, a picture and lines."""
    folder = tmp_path_factory.mktemp("report")
    for words in (
        "dataset import digits -o digits.zarr -q",
        "dataset subset digits.zarr --select first:60 -o d.zarr -q",
        "sens-rank d.zarr --norm l2 -o r.zarr -q",
    ):
        name, *rest = words.split()
        assert command(name, *rest, cwd=folder).returncode == 0
    (folder / "p.svg").write_text(SVG)
    (folder / "lines.jsonl").write_text(json.dumps({"frechet": 1.5}) + "\n" + json.dumps({"frechet": 2.5}) + "\n")
    return folder


class Links(HTMLParser):
    def __init__(self, words: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.feed(words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


def test_a_page(command: Run, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "r.html"
    words = ["digits.zarr", "d.zarr", "r.zarr", "p.svg", "lines.jsonl"]
    done = command("figure", "report", *words, "-o", output, "--title", "Fish & <chips>", cwd=place)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    page = output.read_text(encoding="utf-8")
    assert "<title>Fish &amp; &lt;chips&gt;</title>" in page
    links = Links(page)
    assert all(link.startswith(("#", "data:")) for link in links.found)
    assert "script" not in links.tags
    assert links.tags.count("article") == len(words) + 1  # a card each, and a gallery
    pairs = page.count('class="side"') // 2
    assert 12 < pairs <= 60
    assert links.tags.count("img") == 2 * 2 + 2 * pairs + 2 + 1  # samples and charts; pairs; chart and curve; picture
    fewer = command("figure", "report", *words, "-o", tmp_path / "f.html", "--pairs", 5, cwd=place)
    assert fewer.returncode == 0, fewer.stderr
    assert (tmp_path / "f.html").read_text(encoding="utf-8").count('class="side"') == 2 * 5
    steps = ["dataset import digits -o digits.zarr -q", "dataset subset digits.zarr --select first:60 -o d.zarr -q"]
    shown = re.sub(r"<[^>]*>", "", page)
    for step in [*steps, "sens-rank d.zarr --norm l2 -o r.zarr -q"]:
        assert step in shown
        assert shlex.split(step)
    assert str(place) not in page
    before = output.stat().st_mtime_ns
    done = command("figure", "report", *words[::-1], "-o", output, "--title", "Fish & <chips>", cwd=place)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), "the same artifacts give the same page"
    assert output.stat().st_mtime_ns == before


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("figure: error: ")
    for word in words:
        assert word in line


def test_what_is_refused(command: Run, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "r.html"

    def report(*words: object) -> subprocess.CompletedProcess[str]:
        return command("figure", "report", *words, "-o", output, cwd=place)

    refused(report("none.zarr"), 1, "none.zarr")
    (tmp_path / "x.bin").write_bytes(b"\0\1\2")
    refused(report("d.zarr", tmp_path / "x.bin"), 1, "x.bin", "no text")
    (tmp_path / "bad\x1b[31m\nname.txt").write_bytes(b"\xff")
    refused(report(tmp_path / "bad\x1b[31m\nname.txt"), 1, "bad", "no text")
    assert not output.exists()
    refused(command("figure", "report", "d.zarr", "-o", tmp_path / "r.pdf", cwd=place), 2, ".html")
    (tmp_path / "t.html").write_text("words")
    refused(command("figure", "report", tmp_path / "t.html", "-o", tmp_path / "t.html", "--overwrite"), 2, "part of it")
    refused(command("figure", "report", "d.zarr", "-o", tmp_path / "t.html", cwd=place), 1, "--overwrite")
    assert (tmp_path / "t.html").read_text() == "words"
    assert command("figure", "report", "d.zarr", "-o", tmp_path / "t.html", "--overwrite", cwd=place).returncode == 0
    assert command("figure", "report", "-", "-o", output, cwd=place, input="d.zarr\n").returncode == 0
