"""Text as tables: JSON lines, tabs, Markdown, and what is none of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.figures.report_parts import MOST_ROWS, read_text

from . import pages


def read(name: str, words: str) -> tuple[str, str]:
    return read_text(name, words)


def rows(words: str, name: str) -> list[list[str]]:
    root = pages.read(read(name, words)[0])
    return [[cell.text for cell in row.children if isinstance(cell, pages.Node)] for row in root.all("tr")]


def test_json_lines() -> None:
    lines = [{"a": 1, "kid": {"value": 0.25, "n": None}, "l": [1, {"x": "<b>"}]}, {"a": 2, "z": True}]
    words = "".join(json.dumps(line) + "\n" for line in lines)
    assert rows(words, "x") == [
        ["a", "kid.value", "kid.n", "l", "z"],
        ["1", "0.25", "–", '[1, {"x": "<b>"}]', ""],
        ["2", "", "", "", "yes"],
    ]
    (one,) = pages.read(read("x.json", json.dumps(lines[0], indent=2))[0].strip()).children
    assert isinstance(one, pages.Node)
    assert [node.text for node in one.all("dt")] == ["a", "kid.value", "kid.n", "l"]


@pytest.mark.parametrize(
    ("words", "header"),
    [("name\tvalue\na\t1.5\n", True), ("1\t2\n3\t4\n", False), ("a\tb\nc\td\n", False), ("a\tb\n", False)],
)
def test_tabs(words: str, header: bool) -> None:
    root = pages.read(read("x.tsv", words)[0])
    assert bool(root.all("th")) == header
    assert rows(words, "x.tsv") == [line.split("\t") for line in words.splitlines()]
    assert rows(words, "x") == rows(words, "x.tsv")
    assert rows(words.replace("\t", ","), "x.csv") == rows(words, "x.tsv")
    assert rows('name,score\n"a, ""b""",1.5\n', "x.csv") == [["name", "score"], ['a, "b"', "1.5"]]


def test_json_within_json_is_a_table_too() -> None:
    clean, parts = {"a": 0.9, "interval": [-0.02, 0.01]}, [{"q": 1, "r": 0.123456}]
    made, _ = read("x.json", json.dumps({"a": {"points": 300, "clean": clean}, "parts": parts}))
    assert "{" not in made
    assert "-0.02, 0.01" in made
    (table,) = pages.read(made).all("table")
    assert [cell.text for cell in table.all("td")] == ["1", "0.1235"]
    head, lines = {"request": "1" * 64}, [{"score": 2.0, "l2": 10}, {"score": 1.25, "l2": 7}]
    made, _ = read("x.jsonl", "\n".join(map(json.dumps, [head, *lines])))
    (table,) = pages.read(made).all("table")
    assert [cell.text for cell in table.all("td")] == ["2.00", "10", "1.25", "7"]


def test_long_decimals_are_rounded_to_equally_many() -> None:
    words = "a\tb\n1.6704539626823292\tx\n12.5\ty\ninf\tz\n"
    assert rows(words, "x.tsv") == [["a", "b"], ["1.67", "x"], ["12.50", "y"], ["inf", "z"]]
    words = "a\tb\n1.5\t1.25\n"
    assert rows(words, "x.tsv") == [["a", "b"], ["1.5", "1.25"]]
    words = "digest\n1.6704539626823292e\n1\n"
    assert rows(words, "x.tsv")[1] == ["1.6704539626823292e"]


def test_long_tables_are_folded() -> None:
    root = pages.read(read("x.tsv", "".join(f"{row}\t{row}\n" for row in range(40)))[0])
    (fold,) = root.all("details")
    assert fold.all("summary")[0].text == "15 more rows"
    assert len(root.all("tr")) == 40


def test_long_tables_say_what_is_missing() -> None:
    words = "".join(f"{row}\t{row}\n" for row in range(MOST_ROWS + 7))
    made, gist = read("x.tsv", words)
    assert len(pages.read(made).all("tr")) == MOST_ROWS
    assert "7 more rows" in made
    assert gist == f"table of {MOST_ROWS + 7} lines"
    wide, _ = read("x.tsv", "\t".join(map(str, range(100))) + "\n")
    assert "60 more columns" in wide
    made, _ = read("x.txt", "line\n" * 1000)
    assert "600 more lines" in made
    lines = "".join(json.dumps({"a": number}) + "\n" for number in range(MOST_ROWS + 1))
    assert "1 more row." in read("x", lines)[0]


def test_markdown_of_our_tables() -> None:
    words = "# Head\n\n| a | \\|b\\* |\n|---|:-:|\n| 1 | <i> |\n|  | 93.1 ± 0.2 |\n\nSome words\nmore.\n\n"
    words += "- [1] first\n- [2] second\n"
    root = pages.read(read("t.md", words)[0])
    assert rows(words, "t.md") == [["a", "|b*"], ["1", "<i>"], ["", "93.1 ± 0.2"]]
    assert [node.text for node in root.all("li")] == ["[1] first", "[2] second"]
    assert [node.text for node in root.all("p")] == ["Head", "Some words more."]
    assert "number" in (root.all("td")[0].attributes["class"] or "")


@settings(max_examples=60)
@given(st.text(max_size=120), st.sampled_from(["a.md", "a.tsv", "a.csv", "a.jsonl", "a.txt", "a"]))
def test_any_text_is_shown_or_counted(words: str, name: str) -> None:
    made, gist = read(name, words + "x")
    pages.read(made)
    assert gist
    assert "<script" not in made


@pytest.mark.parametrize("words", ["{", "[" * 5000, "{" + '"a":{' * 3000, '{"a": 1}\nnot json\n', "[1]\n[2]\n"])
def test_what_is_no_json_is_text(words: str) -> None:
    made, gist = read("x.json", words)
    assert pages.read(made).all("pre")
    assert gist.startswith("text")
