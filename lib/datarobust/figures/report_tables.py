"""Text that commands have written, as tables: JSON lines, tabs, Markdown; other text as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from datarobust.figures.report_html import Markup, amount, clipped, count, element, facts, spelled, table, text

MOST_ROWS: Final = 200
MOST_COLUMNS: Final = 40
_MOST_LINES: Final = 400
_MOST_WORDS: Final = 2000
_NUMBER: Final = re.compile(
    r"[-+≤≥<>~±\s]*[\d.,]+(?:e[-+]?\d+)?\s*%?(?:\s*±\s*[\d.]+)?|nan|[-+]?inf|∞|x|–|", re.IGNORECASE
)
_RULE: Final = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")


def read(name: str, words: str) -> tuple[Markup, str]:
    """A file of text as markup, and what it is in a few words.

    Args:
        name: of the file; its ending decides where the text leaves it open.
        words: its text.
    """
    lines = words.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    ending = name.lower().rpartition(".")[2]
    if ending in ("md", "markdown"):
        return markdown(lines), "Markdown"
    objects = _objects(words, lines)
    if objects:
        return json_lines(objects), f"JSON, {plural_of(len(objects), 'object')}"
    if lines and (ending == "tsv" or all("\t" in line for line in lines)):
        return tabs(lines), f"table of {plural_of(len(lines), 'line')}"
    return preformatted(lines), f"text of {plural_of(len(lines), 'line')}"


def plural_of(number: int, one: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{count(number)} {one}{'' if number == 1 else 's'}"


def _objects(words: str, lines: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects of a text, one a line or one in all; none where it is something else."""
    if not words.lstrip().startswith("{"):
        return []
    try:
        whole = [json.loads(line) for line in lines if line.strip()]
    except (ValueError, RecursionError):
        try:
            whole = [json.loads(words)]
        except (ValueError, RecursionError):
            return []
    return whole if all(isinstance(one, dict) for one in whole) else []


def _flat(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields and values as text; objects within an object are opened once."""
    for key, value in found.items():
        if isinstance(value, dict) and value and not any(isinstance(one, dict | list) for one in value.values()):
            yield from ((f"{key}.{inner}", _value(one)) for inner, one in value.items())
        else:
            yield key, _value(value)


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return amount(value, 6)
    return str(value) if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def json_lines(objects: Sequence[Mapping[str, Any]]) -> Markup:
    """Objects as a table, a row each; a single one, or those with very many fields, as names and values."""
    rows = [dict(_flat(one)) for one in objects[:MOST_ROWS]]
    fields = list(dict.fromkeys(field for row in rows for field in row))
    if len(objects) == 1:
        found = [
            (clipped(spelled(key), 80), Markup(text(clipped(value, _MOST_WORDS)))) for key, value in rows[0].items()
        ]
        return facts(found[:_MOST_LINES], "facts many")
    shown = fields[:MOST_COLUMNS]
    body = [[row.get(field, "") for field in shown] for row in rows]
    return _table(shown, body, len(objects) - len(rows), len(fields) - len(shown))


def tabs(lines: Sequence[str]) -> Markup:
    """Lines with tabs as a table; the first is its header if none of its fields is a number and others are."""
    rows = [line.split("\t") for line in lines[: MOST_ROWS + 1]]
    first = rows[0]
    headed = len(rows) > 1 and not any(_is_number(cell) for cell in first if cell)
    headed = headed and any(_is_number(cell) and cell for row in rows[1:] for cell in row)
    wide = max(len(row) for row in rows)
    body = rows[1:] if headed else rows[:MOST_ROWS]
    body = [(row + [""] * wide)[: min(wide, MOST_COLUMNS)] for row in body]
    header = (first + [""] * wide)[: min(wide, MOST_COLUMNS)] if headed else []
    return _table(header, body, len(lines) - len(body) - headed, wide - min(wide, MOST_COLUMNS))


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _table(header: Sequence[str], body: Sequence[Sequence[str]], rows: int, columns: int) -> Markup:
    wide = max([len(header), *(len(row) for row in body)])
    columns_of = [[row[place] for row in body if place < len(row)] for place in range(wide)]
    numeric = [any(column) and all(map(_is_number, column)) for column in columns_of]
    left = [plural_of(number, what) for number, what in ((rows, "more row"), (columns, "more column")) if number > 0]
    note = element("p", f"Not shown: {' and '.join(left)}.", class_="note") if left else Markup()
    return Markup(table(header, body, numeric=numeric) + note)


def preformatted(lines: Sequence[str]) -> Markup:
    """Text as it is, at most 400 lines of it."""
    kept = "\n".join(clipped(line, _MOST_WORDS) for line in lines[:_MOST_LINES])
    left = len(lines) - _MOST_LINES
    note = element("p", f"Not shown: {plural_of(left, 'more line')}.", class_="note") if left > 0 else None
    box = element("pre", text(kept, "\n\t"), class_="plain", tabindex=0, role="region", aria_label="Text")
    return Markup(box + (note or ""))


def markdown(lines: Sequence[str]) -> Markup:
    """Tables, lists and paragraphs of a Markdown file; all else of Markdown is shown as it is written."""
    parts: list[Markup] = []
    block: list[str] = []
    for line in [*lines[: MOST_ROWS + _MOST_LINES], ""]:
        if block and (not line.strip() or _sort_of(line) != _sort_of(block[-1])):
            parts.append(_block(block))
            block = []
        if line.strip():
            block.append(line)
    return Markup("".join(parts))


def _sort_of(line: str) -> str:
    head = line.lstrip()
    return (
        "table"
        if head.startswith("|")
        else "list"
        if re.match(r"[-*] ", head)
        else "heading"
        if head[0] == "#"
        else "text"
    )


def _block(lines: Sequence[str]) -> Markup:
    sort = _sort_of(lines[0])
    if sort == "table":
        rows = [_cells(line) for line in lines if not _RULE.fullmatch(line)]
        headed = len(lines) > 1 and _RULE.fullmatch(lines[1]) is not None
        body = rows[1:] if headed else rows
        return _table(rows[0] if headed else [], body[:MOST_ROWS], len(body) - len(body[:MOST_ROWS]), 0)
    if sort == "list":
        notes = all(re.match(r"\s*[-*] \[", line) for line in lines)
        items = (element("li", _plain(line.lstrip()[2:])) for line in lines)
        return element("ul", *items, class_="notes" if notes else None)
    if sort == "heading":
        return element("p", element("strong", _plain(" ".join(lines).lstrip("# "))))
    return element("p", _plain(" ".join(lines)))


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", inner)[:MOST_COLUMNS]]


def _plain(words: str) -> str:
    return clipped(re.sub(r"\\([\\|*_`\[\]<>#])", r"\1", words).strip(), _MOST_WORDS)
