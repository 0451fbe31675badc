"""Parts of a report: small charts, pictures that were checked, text as tables.

A part is a :class:`Part`, the name of a macro of ``templates/parts.html.j2`` and its arguments. Whatever a template
prints is escaped by Jinja; before that :func:`rendered` spells characters that are not printed (escapes, line ends,
turns of the direction of writing) and cuts long text. So nothing that somebody else has written can be taken for markup
or flood the page.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.parsers import expat

import numpy as np
from markupsafe import Markup, escape

from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array, Floats, Images

if TYPE_CHECKING:
    import jinja2

MOST_CHARACTERS: Final = 400
"""Of any text on the page that is not preformatted."""
MOST_ROWS: Final = 200
MOST_COLUMNS: Final = 40
MOST_LINES: Final = 400
MOST_LINE: Final = 2000
"""Characters of a preformatted line."""
MOST_BYTES: Final = 8 << 20
"""Of one picture."""
_MOST_SIDE: Final = 20_000
_MOST_PIXELS: Final = 60_000_000
_THUMB: Final = 96

WIDTH: Final = 320.0
"""Of a chart: what a narrow page has room for. The style sheet lets it grow to 1.4 times that."""
_LEFT, _RIGHT, _TOP, _FOOT = 38.0, 8.0, 10.0, 24.0
_PLOT: Final = WIDTH - _LEFT - _RIGHT
_NAMED: Final = 26
"""Bars of which each has its name beneath it, as far as it is short."""
_BINS: Final = 40


@dataclass(frozen=True)
class Part:
    """A macro of ``parts.html.j2`` and its arguments."""

    macro: str
    arguments: Mapping[str, Any]


Content = str | Part | Sequence["str | Part"]


def part(macro: str, /, **arguments: Any) -> Part:
    """A part of the page."""
    return Part(macro, arguments)


def rendered(content: Content) -> Markup:
    """Content as HTML: parts by their macro, all else escaped."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, Part):
        module = environment().get_template("parts.html.j2").module
        return Markup(getattr(module, content.macro)(**content.arguments))
    if not isinstance(content, str):
        return Markup("").join(rendered(item) for item in content)
    return escape(clipped(content))


def clipped(words: str, most: int = MOST_CHARACTERS) -> str:
    r"""Text on one line, printable, with an ellipsis for its middle where it has more than ``most`` characters.

    >>> clipped("cat\x1b[31m")
    'cat\\x1b[31m'
    """
    if isinstance(words, Markup):
        return words
    words = shown(words)
    head = most // 2
    return words if len(words) <= most else f"{words[:head]}…{words[len(words) - (most - head - 1) :]}"


def preformatted(words: str) -> Markup:
    """Text whose line ends stay, escaped; tabs become spaces."""
    return Markup("\n").join(escape(shown(line.expandtabs())) for line in words.split("\n"))


def _printed(value: Any) -> Any:
    """What Jinja prints in place of a value, before it escapes it."""
    if isinstance(value, float):  # a coordinate
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return value if isinstance(value, int) else "" if value is None else rendered(value)


@cache
def environment() -> jinja2.Environment:
    """Jinja as all templates of the page need it."""
    import jinja2

    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"clip": lambda words, most: escape(clipped(words, most)), "plural": plural}
    return jinja


def slug(words: str) -> str:
    """Text as a part of an identifier."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "x"


def amount(value: float, digits: int = 4) -> str:
    """A number with so many significant digits."""
    if math.isnan(value):
        return "none"
    return f"{value:.{digits}g}" if math.isfinite(value) else "∞" if value > 0 else "-∞"


def percent(share: float) -> str:
    """A share of 0..1 in percent."""
    return f"{share:.1%}".replace("%", " %")


def plural(number: int, noun: str, several: str | None = None) -> str:
    """``1 point``, ``2 points``."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def name(words: object, most: int = 300) -> Part:
    """A foreign name in its own direction of writing, so that it cannot turn what stands beside it."""
    return part("name", words=str(words), most=most)


def digest(value: object) -> Part:
    """A digest: its beginning, and all of it where the pointer rests."""
    return part("digest", value=str(value))


def table(
    header: Sequence[Content], rows: Sequence[Sequence[Content]], caption: str = "", numeric: Sequence[bool] = ()
) -> Part:
    """A table that scrolls inside its own box where it is wider than the page.

    Args:
        header: of the columns; empty for none.
        rows: cells.
        caption: what the table is.
        numeric: which columns are set to the right; by default none.
    """
    width = max([len(header), *map(len, rows)])
    return part(
        "table", header=header, rows=rows, caption=caption, numeric=[*numeric, *[False] * (width - len(numeric))]
    )


# -------------------------------------------------------------------------------------------------------- charts


def nice(top: float) -> list[float]:
    """Two to five round numbers from 0 to about ``top``."""
    if not 0 < top < math.inf:
        return [0.0, 1.0]
    raw = top / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [i * step for i in range(round(top / step * 1e6) // 1000000 + 1)]


def _chart(label: str, caption: Content, height: float, top: float, foot: float, **shapes: Any) -> Part:
    """A chart with horizontal rules at round values of 0..``top``; ``foot``: room beneath the axis."""
    tall = height - _TOP - foot
    rules = [
        (_TOP + tall * (1 - value / top), f"{value:.0e}" if value >= 1e4 else amount(value)) for value in nice(top)
    ]
    usual: dict[str, Any] = {"bars": [], "texts": [], "mark": None, "path": "", "dot": None, "left": _LEFT}
    frame = {"width": WIDTH, "height": height, "right": WIDTH - _RIGHT, "top": _TOP, "base": _TOP + tall}
    return part("chart", label=label, caption=caption, rules=rules, **(usual | frame | shapes))


def bars(names: Sequence[str], counts: Sequence[int], label: str, short: Sequence[str] = ()) -> Part:
    """A bar a class.

    Args:
        names: (K) of the classes.
        counts: (K) how many.
        label: what the chart shows; also read out.
        short: (K) what stands beneath the bars where there is no room for all names.
    """
    height, top, step = 140.0, float(max([*counts, 1])), _PLOT / max(1, len(counts))
    base = height - _FOOT
    rects = []
    for i, (called, count) in enumerate(zip(names, counts, strict=True)):
        tall = (base - _TOP) * count / top
        title = f"{clipped(called, 80)}: {count:,}"
        rects.append((_LEFT + (i + 0.12) * step, base - tall, step * 0.76, tall, "fill", title))
    texts: list[tuple[float, float, str, str, str]] = []
    for beneath in (names, short):
        if 0 < len(beneath) <= _NAMED and max(len(shown(word)) for word in beneath) <= int(step / 6.2):
            texts = [(_LEFT + (i + 0.5) * step, base + 15, word, "middle", "") for i, word in enumerate(beneath)]
            break
    return _chart(label, f"{label}.", height, top, _FOOT, bars=rects, texts=texts)


def histogram(values: Floats, label: str, axis: str, caption: str) -> Part:
    """How often each distance occurs, with a line at the median.

    Args:
        values: float64 (N), all finite, N at least 1.
        label: what the chart shows, read out.
        axis: what stands beneath.
        caption: the words below.
    """
    height, foot = 168.0, _FOOT + 12
    low, high = float(values.min()), float(values.max())
    least, most = low, high
    if not low < high:
        low, high = low - 0.5, high + 0.5
    distinct, counts = np.unique(values, return_counts=True)
    if discrete := len(distinct) <= _BINS:  # such as whole steps of a byte: a bar for each value, where it is
        apart = float(np.median(np.diff(distinct))) if len(distinct) > 1 else high - low
        half = 0.5 * min(14.0, max(4.0, 0.8 * apart / (high - low) * _PLOT)) / _PLOT * (high - low)
        low, high = low - half, high + half
        starts, ends = distinct - half, distinct + half
    else:
        counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
        starts, ends = edges[:-1], edges[1:]
    top, base = float(counts.max()), height - foot

    def across(value: float) -> float:
        return _LEFT + _PLOT * (value - low) / (high - low)

    rects = []
    for count, start, end in zip(counts.tolist(), starts.tolist(), ends.tolist(), strict=True):
        tall = (base - _TOP) * count / top
        title = f"{amount((start + end) / 2) if discrete else f'{amount(start)} to {amount(end)}'}: {count:,}"
        x = across(start) + 0.4
        rects.append((x, base - tall, max(0.5, across(end) - x - 0.4), tall, "fill", title))
    marks = [(least, "start"), ((low + high) / 2, "middle"), (most, "end")]
    texts = [(across(value), base + 14, amount(value, 3), anchor, "") for value, anchor in marks]
    texts.append((_LEFT + _PLOT / 2, height - 5, axis, "middle", ""))
    rects = [rect for rect in rects if rect[3]]
    return _chart(label, caption, height, top, foot, bars=rects, texts=texts, mark=across(float(np.median(values))))


def curve(values: Sequence[float | None], label: str, axis: str, caption: str) -> Part:
    """Values by epoch, from 1 on; None and what is not finite is left out."""
    height, foot = 160.0, _FOOT + 12
    measured = [(epoch, value) for epoch, value in enumerate(values, 1) if value is not None and math.isfinite(value)]
    top = max([value for _, value in measured], default=1.0) or 1.0
    last, base = max(2, len(values)), height - foot
    points = [
        (_LEFT + _PLOT * (epoch - 1) / (last - 1), _TOP + (base - _TOP) * (1 - max(0.0, value) / top))
        for epoch, value in [*measured[: -1 : max(1, len(measured) // 600)], *measured[-1:]]
    ]
    path = Markup(" ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points)))
    texts = [(_LEFT, base + 14, "1", "middle", ""), (WIDTH - _RIGHT, base + 14, f"{last:,}", "end", "")]
    texts.append((_LEFT + _PLOT / 2, height - 5, axis, "middle", ""))
    return _chart(label, caption, height, top, foot, path=path, dot=points[-1] if points else None, texts=texts)


def shares(parts: Sequence[tuple[str, float, str]], label: str) -> Part:
    """One bar cut into parts, with a legend.

    Args:
        parts: name, share of 0..1, and class of the colour, of each; together 1.
        label: what the chart shows, read out.
    """
    x, rects, texts = 0.0, [], []
    for called, share, colour in parts:
        wide = WIDTH * share
        rects.append((x, 0.0, max(0.0, wide - 1), 26.0, colour, f"{clipped(called, 80)}: {percent(share)}"))
        if wide > 44:
            texts.append((x + wide / 2, 17.5, percent(share), "middle", "on"))
        x += wide
    legend = part("keys", keys=[(colour, f"{clipped(called, 40)} {percent(share)}") for called, share, colour in parts])
    frame = {"width": WIDTH, "height": 26.0, "left": 0.0, "right": WIDTH, "top": 0.0, "base": 26.0}
    shapes = {"rules": [], "bars": rects, "texts": texts, "mark": None, "path": "", "dot": None}
    return part("chart", label=label, caption=legend, **frame, **shapes)


# ------------------------------------------------------------------------------------------------------ pictures


@dataclass(frozen=True)
class Picture:
    """A picture that may stand in a page: nothing in it runs, and nothing in it is loaded, as it is an ``img``.

    Attributes:
        media: its media type.
        content: the bytes of its file.
        width: as it is shown, in CSS pixels.
        height: likewise.
    """

    media: str
    content: bytes
    width: float
    height: float

    def part(self, alt: str, class_: str = "", scale: float = 1.0) -> Part:
        """The picture as an image; ``alt``: for who cannot see it."""
        source = Markup(f"data:{self.media};base64,{base64.b64encode(self.content).decode('ascii')}")
        size = {"width": max(1, round(self.width * scale)), "height": max(1, round(self.height * scale))}
        return part("image", source=source, alt=alt, class_=class_, **size)


def looks_like(content: bytes) -> str | None:
    """``png`` or ``svg`` by the first bytes of a file; None: neither."""
    if content.startswith(b"\x89PNG"):
        return "png"
    head = content[: 1 << 12].removeprefix(b"\xef\xbb\xbf").lstrip()
    before = {b"<?xml": b"?>", b"<!--": b"-->", b"<!DOCTYPE": b">", b"<!ENTITY": b">"}
    while not re.match(rb"<svg[\s>]", head):  # what may stand before the root, and how it ends
        end = next((close for begin, close in before.items() if head.startswith(begin)), None)
        if end is None or end not in head:
            return None
        head = head.partition(end)[2].lstrip(b" \t\r\n]>")
    return "svg"


def opened(content: bytes, where: str) -> Picture:
    """The picture of a file.

    Args:
        content: its bytes.
        where: its name, for messages.

    Raises:
        DataError: it is too large, damaged, or neither png nor svg.
    """
    kind = looks_like(content)
    if kind is None:
        raise DataError(f"{where} is neither a png nor an svg picture")
    if len(content) > MOST_BYTES:
        raise DataError(
            f"{where} has {len(content):,} bytes, more than the {MOST_BYTES:,} of a picture in a page: draw it smaller"
        )
    if kind == "png":
        return _png(content, where)
    width, height = _svg_size(content, where)
    _demand_size(width, height, where)
    return Picture("image/svg+xml", content, width, height)


def _demand_size(width: float, height: float, where: str) -> None:
    if max(width, height) > _MOST_SIDE or width * height > _MOST_PIXELS:
        raise DataError(f"{where} has {width:,.0f} x {height:,.0f} dots, too many for a page: draw it smaller")


def _png(content: bytes, where: str) -> Picture:
    """Every chunk is verified; the size is that of dots, or smaller where the file tells more than 96 to an inch."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=["PNG"])
            (width, height), dpi = image.size, image.info.get("dpi", (96.0, 96.0))[0]
            image.verify()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{where} has too many dots for a page: draw it smaller") from None
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise DataError(f"{where} is a png picture that is damaged or cut short: draw it again") from error
    if not width or not height:
        raise DataError(f"{where} is a png picture that is damaged (it has no size): draw it again")
    _demand_size(width, height, where)
    scale = min(1.0, 96 / max(1.0, dpi))
    return Picture("image/png", content, width * scale, height * scale)


def _svg_size(content: bytes, where: str) -> tuple[float, float]:
    """Width and height of a well-formed svg in CSS pixels."""
    root: dict[str, str] = {}
    parser = expat.ParserCreate()

    def entity(*_: object) -> None:
        raise DataError(f"{where} declares entities, which can make a small file very large: write it without them")

    def start(tag: str, attributes: dict[str, str]) -> None:
        if not root:
            root.update({"": tag, **attributes})

    parser.EntityDeclHandler = entity
    parser.StartElementHandler = start
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise DataError(f"{where} is no svg picture that can be read ({error}): draw it again") from error
    width, height = (_length(root.get(side, "")) for side in ("width", "height"))
    box = [_length(side) for side in re.split(r"[\s,]+", root.get("viewBox", "").strip())]
    if width is None or height is None:
        width, height = (box[2], box[3]) if len(box) == 4 else (None, None)
    return (640.0, 480.0) if width is None or height is None else (width, height)


def _length(written: str) -> float | None:
    """A length of SVG in CSS pixels; None where it is none, or relative."""
    units = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*([a-z]*)\s*", written)
    value = float(match[1]) * units.get(match[2], 0.0) if match else 0.0
    return value if value > 0 else None


def raster(image: Array) -> Picture:
    """One image as a small png, shown with square pixels; large ones are made smaller by averages.

    Args:
        image: uint8 (C, H, W), C = 1 (grey) or 3 (RGB).
    """
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)))
    if max(picture.size) > _THUMB:
        size = [max(1, round(side * _THUMB / max(picture.size))) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.BOX)
    target = io.BytesIO()
    picture.save(target, format="png", optimize=False, compress_level=9)
    return Picture("image/png", target.getvalue(), float(picture.width), float(picture.height))


def rasters(images: Images, alts: Sequence[str]) -> list[Part]:
    """Images as small pictures, each with its words for who cannot see it.

    Args:
        images: uint8 (M, C, H, W), C = 1 or 3.
        alts: (M).
    """
    return [raster(image).part(alt, "pixels") for image, alt in zip(images, alts, strict=True)]


# ---------------------------------------------------------------------------------------------------------- text

_NUMBER: Final = re.compile(
    r"[-+≤≥<>~±\s]*[\d.,]+(?:e[-+]?\d+)?\s*%?(?:\s*±\s*[\d.]+)?|nan|[-+]?inf|∞|x|–|", re.IGNORECASE
)
_RULE: Final = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")


def read_text(called: str, words: str) -> tuple[list[Part], str]:
    """A file of text as parts, and what it is in a few words: JSON lines, tabs, Markdown, or text as it is.

    Args:
        called: name of the file; its ending decides where the text leaves it open.
        words: its text.
    """
    lines = [line.removesuffix("\r") for line in words.rstrip().split("\n")]
    ending = called.lower().rpartition(".")[2]
    if ending in ("md", "markdown"):
        return list(_markdown(lines)), "Markdown"
    if objects := _objects(words, lines):
        return [_json_table(objects)], f"JSON, {plural(len(objects), 'object')}"
    if ending == "tsv" or all("\t" in line for line in lines):
        return [_tabs(lines)], f"table of {plural(len(lines), 'line')}"
    left = len(lines) - MOST_LINES
    note = f"Not shown: {plural(left, 'more line')}." if left > 0 else ""
    text = preformatted("\n".join(line[:MOST_LINE] for line in lines[:MOST_LINES]))
    return [part("plain", text=text, note=note)], f"text of {plural(len(lines), 'line')}"


def _objects(words: str, lines: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects of a text, one a line or one in all; none where it is something else."""
    for texts in ([line for line in lines if line.strip()], [words]) if words.lstrip().startswith("{") else ():
        try:
            objects = [json.loads(text) for text in texts]
        except (ValueError, RecursionError):
            continue
        return objects if all(isinstance(value, dict) for value in objects) else []
    return []


def _fields(entries: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields and values as text; objects within an object are opened once."""
    for key, value in entries.items():
        if isinstance(value, dict) and value and not any(isinstance(inner, dict | list) for inner in value.values()):
            yield from ((f"{key}.{inner}", _json_value(item)) for inner, item in value.items())
        else:
            yield key, _json_value(value)


def _json_value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return amount(value, 6)
    return str(value) if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _json_table(objects: Sequence[Mapping[str, Any]]) -> Part:
    """Objects as a table, a row each; a single one as names and values."""
    rows = [dict(_fields(entries)) for entries in objects[:MOST_ROWS]]
    if len(objects) == 1:
        return part("facts", pairs=list(rows[0].items())[:MOST_LINES], class_="facts many")
    fields = list(dict.fromkeys(field for row in rows for field in row))
    header = fields[:MOST_COLUMNS]
    body = [[row.get(field, "") for field in header] for row in rows]
    return _text_table(header, body, len(objects) - len(rows), len(fields) - len(header))


def _tabs(lines: Sequence[str]) -> Part:
    """Lines with tabs as a table; the first is its header if none of its fields is a number and others are."""
    rows = [line.split("\t") for line in lines[: MOST_ROWS + 1]]
    headed = not any(_is_number(cell) for cell in rows[0] if cell)
    headed = headed and any(_is_number(cell) and cell for row in rows[1:] for cell in row)
    width = max(len(row) for row in rows)
    rows = [(row + [""] * width)[:MOST_COLUMNS][:width] for row in rows]
    body = rows[1:] if headed else rows[:MOST_ROWS]
    return _text_table(rows[0] if headed else [], body, len(lines) - len(body) - headed, width - len(rows[0]))


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _text_table(header: Sequence[str], body: Sequence[Sequence[str]], rows: int, columns: int) -> Part:
    """A table of text in which columns of numbers are set to the right; so many rows and columns were left out."""
    width = max([len(header), *(len(row) for row in body)])
    cells = [[row[i] for row in body if i < len(row)] for i in range(width)]
    numeric = [any(column) and all(map(_is_number, column)) for column in cells]
    left = [plural(number, noun) for number, noun in ((rows, "more row"), (columns, "more column")) if number > 0]
    return part(
        "table", header=header, rows=body, numeric=numeric, note=f"Not shown: {' and '.join(left)}." if left else ""
    )


def _markdown(lines: Sequence[str]) -> Iterator[Part]:
    """Tables, lists and paragraphs of a Markdown file; all else of Markdown is shown as it is written."""

    def sort(line: str) -> str:
        head = line.lstrip()
        if not head:
            return ""
        return {"|": "table", "#": "heading"}.get(head[0], "list" if re.match(r"[-*] ", head) else "text")

    def unescaped(words: str) -> str:
        return re.sub(r"\\([\\|*_`\[\]<>#])", r"\1", words).strip()

    def cells(line: str) -> list[str]:
        inner = line.strip().removeprefix("|")
        inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
        return [unescaped(cell) for cell in re.split(r"(?<!\\)\|", inner)[:MOST_COLUMNS]]

    for kind, group in groupby(lines[: MOST_ROWS + MOST_LINES], sort):
        block = list(group)
        if kind == "table":
            rows = [cells(line) for line in block if not _RULE.fullmatch(line)]
            headed = len(block) > 1 and _RULE.fullmatch(block[1]) is not None and bool(rows)
            body = rows[1:] if headed else rows
            yield _text_table(rows[0] if headed else [], body[:MOST_ROWS], len(body) - MOST_ROWS, 0)
        elif kind == "list":
            bare = all(re.match(r"\s*[-*] \[", line) for line in block)  # notes, which have their own numbers
            yield part("listing", items=[unescaped(line.lstrip()[2:]) for line in block], bare=bare)
        elif kind:
            text = unescaped(" ".join(line.lstrip("# ") if kind == "heading" else line for line in block))
            yield part("paragraph", words=text[:MOST_LINE], strong=kind == "heading")
    left = len(lines) - MOST_ROWS - MOST_LINES
    if left > 0:
        yield part("paragraph", words=f"Not shown: {plural(left, 'more line')}.", strong=False)
