"""Parts of a report: charts, pictures that were checked, text as tables.

A part is what a macro of ``templates/parts.html.j2`` makes of its arguments. Whatever a template prints is escaped by
Jinja; before that :func:`clipped` spells characters that are not printed (escapes, line ends, turns of the direction of
writing) and cuts long text. So nothing that somebody else has written can be taken for markup or flood the page.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, Final, Literal
from xml.etree import ElementTree

import jinja2
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from datarobust.errors import DataError
from datarobust.figures import Format, style
from datarobust.norms import plain_symbol
from datarobust.text import read_json, shown
from datarobust.types import Floats, Images

MOST_CHARACTERS: Final = 400  # of any text on the page that is not preformatted
MOST_ROWS: Final = 200
MOST_COLUMNS: Final = 40
_FIRST: Final = 25  # rows of a table that are not folded away
MOST_LINES: Final = 400
MOST_LINE: Final = 2000  # characters of a preformatted line
MOST_BYTES: Final = 8 << 20  # of one picture
_MOST_SIDE: Final = 20_000
_MOST_PIXELS: Final = 60_000_000
_DOTS: Final = 96  # of the page, an inch
_MEDIA: Final[dict[str, str]] = {"png": "image/png", "svg": "image/svg+xml"}
_CHART: Final = (3.4, 1.65)  # inches
_BINS: Final = 40


def part(macro: str, /, **arguments: Any) -> Markup:
    """What a macro of ``parts.html.j2`` makes of its arguments."""
    return Markup(getattr(environment().get_template("parts.html.j2").module, macro)(**arguments))


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


def soft(words: str) -> Markup:
    """Text, escaped, that may go on in the next line after a slash, underscore or hyphen, or before a long ending."""
    text = str(escape(_printed(words)))
    if "<" in text or len(text) < 10:  # parts, and what is short
        return Markup(text)
    return Markup(re.sub(r"(?<=\w)([/_-]+|\.(?=\w{6}))(?=[^\W\d])", r"\1<wbr>", text))


def _printed(value: Any) -> Any:
    """What Jinja prints in place of a value, before it escapes it."""
    if isinstance(value, float):  # a coordinate
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return value if isinstance(value, int) else "" if value is None else clipped(value)


@cache
def environment() -> jinja2.Environment:
    """Jinja as all templates of the page need it."""
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.globals["newline"] = Markup("\n")
    jinja.filters |= {"clip": lambda words, most: escape(clipped(words, most)), "plural": plural, "soft": soft}
    jinja.filters |= {"amount": amount, "count": "{:,}".format, "fixed": fixed, "percent": percent}
    jinja.filters["symbol"] = plain_symbol
    return jinja


def page(template: str, **arguments: Any) -> str:
    """A whole page: a template with the style sheet, the only one that the page will take."""
    style = Markup((Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8"))
    sha256 = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    whole = environment().get_template(template).render(style=style, style_sha256=sha256, **arguments)
    return f"{whole.strip()}\n"


def amount(value: float, digits: int = 4) -> str:
    """A number with so many significant digits."""
    if math.isnan(value):
        return "none"
    return f"{value:.{digits}g}" if math.isfinite(value) else "∞" if value > 0 else "-∞"


def fixed(values: Sequence[float]) -> list[str]:
    """Finite numbers with equally many decimals: as many as give the largest four digits, fewer where all end in 0.

    >>> fixed([0.43529, 0.5]), fixed([2.5, 1.0])
    (['0.4353', '0.5000'], ['2.5', '1.0'])
    """
    largest = max(map(abs, values), default=0.0)
    decimals = min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest else 0
    texts = [f"{value:,.{decimals}f}" for value in values]
    zeros = min((len(text) - len(text.rstrip("0")) for text in texts), default=0) if decimals else 0
    return [text[: len(text) - zeros].rstrip(".") for text in texts] if zeros else texts


def percent(share: float) -> str:
    """A share of 0..1 in percent."""
    return f"{share:.1%}".replace("%", " %")


def plural(number: int, noun: str, several: str | None = None) -> str:
    """``1 point``, ``2 points``."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def value_text(value: Any) -> str:
    """A value of JSON as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return amount(value, 6)
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return ", ".join(map(value_text, value))
    return str(value) if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def value_part(value: Any, depth: int = 3) -> str:
    """A value of JSON as text or, where it has parts, as a table of them; what is nested deeper is JSON."""
    if depth and isinstance(value, dict) and value:
        return part("facts", pairs=[(key, value_part(item, depth - 1)) for key, item in value.items()][:MOST_LINES])
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return part("digest", value=value)
    if depth and isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return records_table(value, depth - 1)
    return value_text(value)


def records_table(records: Sequence[Mapping[str, Any]], depth: int = 2) -> Markup:
    """Objects of JSON as the rows of a table."""
    header = list(dict.fromkeys(key for record in records for key in record))
    columns = [_column([record.get(key, "") for record in records], depth) for key in header]
    return table(header, [list(row) for row in zip(*columns, strict=True)])


def _column(values: Sequence[Any], depth: int) -> list[str]:
    """A column of a table; of numbers all have equally many decimals."""
    numbers = [value for value in values if type(value) in (int, float)]
    texts = [value_part(value, depth) for value in values]
    if not any(isinstance(value, float) for value in numbers) or not all(map(math.isfinite, numbers)):
        return texts
    rounded = iter(fixed(numbers) if max(map(abs, numbers)) < 1e6 else [amount(value, 6) for value in numbers])
    return [next(rounded) if type(value) in (int, float) else text for value, text in zip(values, texts, strict=True)]


def opened_once(entries: Mapping[str, Any]) -> dict[str, Any]:
    """An object of JSON with the fields of objects in it as its own."""
    opened: dict[str, Any] = {}
    for key, value in entries.items():
        simple = isinstance(value, dict) and value and not any(isinstance(one, dict | list) for one in value.values())
        opened |= {f"{key}.{inner}": item for inner, item in value.items()} if simple else {key: value}
    return opened


def name(words: object, most: int = 300) -> Markup:
    """A foreign name in its own direction of writing, so that it cannot turn what stands beside it."""
    return part("name", words=str(words), most=most)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Markup:
    """As much of a table as a page has room for; columns of numbers are set right. On a phone each row is a card.

    A long one is folded after its first rows.
    """
    width = max([len(header), *map(len, rows)])
    note = note or _not_shown(row=len(rows) - MOST_ROWS, column=width - MOST_COLUMNS)
    header, rows = header[:MOST_COLUMNS], [row[:MOST_COLUMNS] for row in rows[:MOST_ROWS]]
    columns = [[row[i] for row in rows if i < len(row)] for i in range(min(width, MOST_COLUMNS))]
    numeric = [any(column) and all(map(_is_number, column)) for column in columns]
    cut = _FIRST if len(rows) > _FIRST + 5 else len(rows)
    first = part("table", header=header, rows=rows[:cut], numeric=numeric, note=note if cut == len(rows) else "")
    if cut == len(rows):
        return first
    rest = part("table", header=header, rows=rows[cut:], numeric=numeric, note=note)
    return first + part("details", summary=plural(len(rows) - cut, "more row"), content=rest)


def _not_shown(**left: int) -> str:
    """What was left out, in words; empty where nothing was."""
    several = [plural(number, f"more {noun}") for noun, number in left.items() if number > 0]
    return f"Not shown: {' and '.join(several)}." if several else ""


_NUMBER: Final = re.compile(
    r"[-+≤≥<>~±\s]*[\d.,]+(?:e[-+]?\d+)?\s*%?(?:\s*±\s*[\d.]+)?|nan|[-+]?inf|∞|x|–|", re.IGNORECASE
)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


# -------------------------------------------------------------------------------------------------------- charts


def drawn(figure: Figure, alt: str, caption: str, scale: float = 1.0, form: Format = "svg") -> Markup:
    """One of our own pictures, with words for who cannot see it and words below; photographs as ``png``."""
    class_ = "sheet drawn" if form == "svg" else "sheet"  # what is drawn has its colours turned on a dark screen
    picture = Picture.of_figure(figure, scale, form)
    return part("plot", picture=picture, alt=alt, caption=caption, class_=class_)


def bars(names: Sequence[str], counts: Sequence[int], label: str, short: Sequence[str]) -> Markup:
    """A bar a class (K), with its name beneath, or ``short`` where names have no room, or neither."""
    with style.look():
        figure = style.new_figure(*_CHART, layout="constrained")
        axes = figure.subplots()
        axes.bar(range(len(counts)), counts, width=0.76, color=style.COLOURS[0])
        room = 0.85 * _CHART[0] * style.POINTS_PER_INCH / len(counts)
        axes.set_xticks([])
        for beneath in (names, short):
            words = [style.plain(word) for word in beneath if len(word) <= 40]
            if len(words) == len(beneath) and max(style.width_of(word, style.SMALL) for word in words) < room:
                axes.set_xticks(range(len(words)), words, parse_math=False)
                break
    return drawn(figure, label, f"{label}.")


def histogram(values: Floats, label: str, axis: str) -> Markup:
    """How often each distance, (N,) all finite, occurs, with a line at the median; ``axis`` has mathtext."""
    with style.look():
        figure = style.new_figure(*_CHART, layout="constrained")
        axes = figure.subplots()
        distinct, counts = np.unique(values, return_counts=True)
        if len(distinct) <= _BINS:  # such as whole steps of a byte: a bar for each value, where it is
            apart = float(np.median(np.diff(distinct))) if len(distinct) > 1 else 1.0
            axes.bar(distinct, counts, width=0.8 * apart, color=style.COLOURS[0])
        else:
            axes.hist(values, bins=_BINS, color=style.COLOURS[0])
        axes.axvline(float(np.median(values)), color=style.COLOURS[1])
        axes.set_xlabel(axis)
    return drawn(figure, label, "Points by their distance; the line is the median.")


def curve(values: Sequence[float], label: str) -> Markup:
    """Values by epoch, from 1 on; NaN where there is none."""
    with style.look():
        figure = style.new_figure(*_CHART, layout="constrained")
        axes = figure.subplots()
        dot: dict[str, Any] = {"marker": "o", "markevery": [-1], "markersize": 3, "clip_on": False}
        axes.plot(range(1, len(values) + 1), values, **style.line_style(0), **dot)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Epoch")
        style.epoch_axis(axes, 1, max(2, len(values)))
    return drawn(figure, label, f"{label}.")


# ------------------------------------------------------------------------------------------------------ pictures


@dataclass(frozen=True)
class Picture:
    """A picture that may stand in a page: nothing in it runs, and nothing in it is loaded, as it is an ``img``."""

    media: str
    content: bytes  # of its file
    width: float  # as it is shown, in CSS pixels
    height: float
    caption: str = ""  # what the file says of itself

    @classmethod
    def of(cls, image: Images, most: int, form: Literal["PNG", "JPEG"] = "PNG") -> Picture:
        """An image (C, H, W), grey or RGB; where a side has more than ``most`` pixels, every n-th of them."""
        from PIL import Image

        step = math.ceil(max(image.shape[1:]) / most)
        pixels = np.ascontiguousarray(image[:, ::step, ::step].transpose(1, 2, 0))
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, form, quality=85)
        return cls(f"image/{form.lower()}", file.getvalue(), *pixels.shape[1::-1])

    @classmethod
    def of_figure(cls, figure: Figure, scale: float, form: Format = "svg") -> Picture:
        """A figure of matplotlib, shown ``scale`` times as large as it is."""
        width, height = (scale * _DOTS * side for side in figure.get_size_inches())
        return cls(_MEDIA[form], style.picture(figure, form), width, height)

    @property
    def source(self) -> Markup:
        """The file as an address."""
        return Markup(f"data:{self.media};base64,{base64.b64encode(self.content).decode('ascii')}")


#: An svg: byte order mark, declarations, comments and document type, then its root.
_SVG: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>)*+<svg[\s>]", re.DOTALL
)


def looks_like(head: bytes) -> Literal["png", "svg"] | None:
    """By the first bytes of a file; None: neither."""
    return "png" if head.startswith(b"\x89PNG") else "svg" if _SVG.match(head[: 1 << 12]) else None


def opened(kind: Literal["png", "svg"], content: bytes, where: str) -> Picture:
    """The picture of a file, called ``where`` in messages; DataError where it is damaged or has too many dots."""
    width, height, scale, caption = (_png if kind == "png" else _svg)(content, where)
    if max(width, height) > _MOST_SIDE or width * height > _MOST_PIXELS:
        raise DataError(f"{where} has {width:,.0f} x {height:,.0f} dots, too many for a page: draw it smaller")
    return Picture(_MEDIA[kind], content, width * scale, height * scale, caption)


def _png(content: bytes, where: str) -> tuple[float, float, float, str]:
    """Every chunk is verified; shown smaller where the file tells more than 96 dots to an inch."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=["PNG"])
            (width, height), dpi = image.size, image.info.get("dpi", (_DOTS, _DOTS))[0]
            caption = image.info.get("Description", "")
            image.verify()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{where} has too many dots for a page: draw it smaller") from None
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise DataError(f"{where} is a png picture that is damaged or cut short: draw it again") from error
    if not width or not height:
        raise DataError(f"{where} is a png picture that is damaged (it has no size): draw it again")
    return width, height, min(1.0, _DOTS / max(1.0, dpi)), caption if isinstance(caption, str) else ""


def _svg(content: bytes, where: str) -> tuple[float, float, float, str]:
    """Width and height of a well-formed svg in CSS pixels, else those of its view box, else the usual ones."""
    if b"<!ENTITY" in content:
        raise DataError(f"{where} declares entities, which can make a small file very large: write it without them")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{where} is not an svg picture that can be read ({error}): draw it again") from error
    caption = root.findtext(".//{http://purl.org/dc/elements/1.1/}description") or ""
    box = [*re.split(r"[\s,]+", root.get("viewBox", "").strip()), "", "", ""]
    sizes = ((root.get("width", ""), root.get("height", "")), (box[2], box[3]), ("640", "480"))
    width, height = next((wide, tall) for wide, tall in (map(_length, size) for size in sizes) if wide and tall)
    return width, height, 1.0, " ".join(caption.split())


def _length(written: str) -> float:
    """A length of SVG in CSS pixels; 0 where it is none, or relative."""
    units = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*([a-z]*)\s*", written)
    return float(match[1]) * units.get(match[2], 0.0) if match else 0.0


# ---------------------------------------------------------------------------------------------------------- text

_DECIMAL: Final = re.compile(r"-?\d{1,15}\.\d+(?:e[-+]?\d{1,2})?")
_NO_NUMBERS: Final = ("", "inf", "-inf", "nan")
_LONG: Final = 9  # characters of a number
_RULE: Final = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")


def read_text(called: str, words: str) -> tuple[Markup, str]:
    """A file of text as parts, and what it is in a few words: JSON lines, tabs, CSV, Markdown, or text as it is.

    Objects are a row each, a single one names and values. The first line of a table is its header if no field of it is
    a number and others are.
    """
    lines = [line.removesuffix("\r") for line in words.rstrip().split("\n")]
    ending = called.lower().rpartition(".")[2]
    if ending in ("md", "markdown"):
        return Markup("").join(_markdown(lines)), "Markdown"
    if objects := _objects(words, lines):
        kind = f"JSON, {plural(len(objects), 'object')}"
        groups: list[list[dict[str, Any]]] = []
        for entries in map(opened_once, objects):  # a first line that tells of the others is a table of its own
            if not groups or entries.keys().isdisjoint(groups[-1][0]):
                groups.append([])
            groups[-1].append(entries)
        made = Markup("")
        for group in groups:
            pairs = [(key, value_part(value)) for key, value in group[0].items()][:MOST_LINES]
            made += records_table(group) if len(group) > 1 else part("facts", pairs=pairs, class_="facts many")
        return made, kind
    rows = [line.split("\t") for line in lines] if ending == "tsv" or all("\t" in line for line in lines) else []
    if ending == "csv":
        with suppress(csv.Error):  # then it is shown as text
            rows = list(csv.reader(lines))
    if rows:
        numeric = [any(cell and _is_number(cell) for cell in row) for row in rows]
        header = rows.pop(0) if any(numeric) and not numeric[0] else []
        note = _not_shown(row=len(rows) - MOST_ROWS, column=max(map(len, rows)) - MOST_COLUMNS)
        cells = [row[:MOST_COLUMNS] for row in rows[:MOST_ROWS]]
        columns = map(_shortened, zip_longest(*cells, fillvalue=""))
        return table(header, list(zip(*columns, strict=True)), note), f"table of {plural(len(lines), 'line')}"
    text = Markup("\n").join(escape(shown(line[:MOST_LINE].expandtabs())) for line in lines[:MOST_LINES])
    whole = part("plain", text=text, note=_not_shown(line=len(lines) - MOST_LINES))
    return whole, f"text of {plural(len(lines), 'line')}"


def _shortened(column: Sequence[str]) -> list[str]:
    """A column of a table of text: long decimals rounded, to equally many places."""
    numbers = [float(cell) for cell in column if _DECIMAL.fullmatch(cell)]
    others = [cell for cell in column if cell not in _NO_NUMBERS]
    if len(others) > len(numbers) or not any(len(cell) > _LONG for cell in others):
        return list(column)
    texts = iter(fixed(numbers))
    return [cell if cell in _NO_NUMBERS else next(texts) for cell in column]


def _objects(words: str, lines: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects of a text, one a line or one in all; none where it is something else."""
    for texts in ([line for line in lines if line.strip()], [words]) if words.lstrip().startswith("{") else ():
        try:
            objects = [read_json(text) for text in texts]
        except ValueError:
            continue
        return objects if all(isinstance(value, dict) for value in objects) else []
    return []


def _markdown(lines: Sequence[str]) -> Iterator[Markup]:
    """Tables, lists and paragraphs of a Markdown file; all else of Markdown is shown as it is written."""

    def sort(line: str) -> str:
        kinds = {"": "", "|": "table", "#": "heading"}
        return kinds.get(line.lstrip()[:1], "list" if re.match(r"\s*[-*] ", line) else "text")

    def unescaped(words: str) -> str:
        return re.sub(r"\\([\\|*_`\[\]<>#])", r"\1", words).strip()

    def cells(line: str) -> list[str]:
        inner = re.sub(r"^\||(?<!\\)\|$", "", line.strip())
        return [unescaped(cell) for cell in re.split(r"(?<!\\)\|", inner)]

    for kind, group in groupby(lines[: MOST_ROWS + MOST_LINES], sort):
        block = list(group)
        if kind == "table":
            rows = [cells(line) for line in block if not _RULE.fullmatch(line)]
            headed = len(block) > 1 and _RULE.fullmatch(block[1]) is not None and bool(rows)
            yield table(rows[0] if headed else [], rows[headed:])
        elif kind == "list":
            bare = all(re.match(r"\s*[-*] \[", line) for line in block)  # notes, which have their own numbers
            yield part("listing", items=[unescaped(line.lstrip()[2:]) for line in block], bare=bare)
        elif kind:
            text = unescaped(" ".join(line.lstrip("# ") if kind == "heading" else line for line in block))
            yield part("paragraph", words=text[:MOST_LINE], strong=kind == "heading")
    if left := _not_shown(line=len(lines) - MOST_ROWS - MOST_LINES):
        yield part("note", words=left)
