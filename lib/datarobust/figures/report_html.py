"""HTML from parts, so that nothing that somebody else has written is ever taken for markup.

Text becomes :class:`Markup` in two ways only: by :func:`text`, which escapes it, and by :func:`element`, which escapes
all children and attributes that are no markup yet.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from typing import Final

_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})
_LONGEST: Final = 300
"""Characters of a foreign name on the page."""
_SHORT: Final = 12
"""Digits of a digest that are shown."""
_PERCENT: Final = 100.0
_MOST_CELL: Final = 400
_SHORT_CELL: Final = 20
"""Characters that stay on one line."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | None
"""What an element holds: Markup as it is, other text escaped, None nothing."""


def spelled(words: str, kept: str = "") -> str:
    r"""Foreign text with all that is not printed (escapes, line ends, turns of the direction of writing) spelled out.

    >>> spelled("cat\x1b[31m")
    'cat\\x1b[31m'

    Args:
        words: any text, lone surrogates included.
        kept: characters that stay as they are, such as the line end.
    """
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode("ascii") for c in words)


def clipped(words: str, most: int = _LONGEST) -> str:
    """The text, with an ellipsis for its middle where it has more than ``most`` characters."""
    if len(words) <= most:
        return words
    head = most // 2
    return f"{words[:head]}…{words[len(words) - (most - head - 1) :]}"


def text(words: str, kept: str = "") -> Markup:
    """Any text as markup that shows it."""
    return Markup(html.escape(spelled(words, kept), quote=True))


def element(tag: str, *children: Content, **attributes: str | float | bool | None) -> Markup:
    """An element.

    Args:
        tag: its name.
        children: what it holds, in order.
        attributes: by name; an underscore at the end is dropped (``class_``), others become hyphens; None and False
            leave the attribute out, True gives it no value.
    """
    written = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        called = name.rstrip("_").replace("_", "-")
        written.append(f" {called}" if value is True else f' {called}="{text(_number(value))}"')
    start = f"<{tag}{''.join(written)}>"
    return Markup(start if tag in _VOID else f"{start}{join(children)}</{tag}>")


def join(parts: Iterable[Content], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(between.join(part if isinstance(part, Markup) else text(part) for part in parts if part is not None))


def _number(value: str | float) -> str:
    """A value as an attribute has it: coordinates with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def name(words: str, most: int = _LONGEST) -> Markup:
    """A foreign name in its own direction of writing, so that it cannot turn what stands beside it."""
    return element("bdi", clipped(spelled(words), most))


def digest(value: str) -> Markup:
    """A digest: its beginning, and all of it where the pointer rests."""
    if len(value) <= _SHORT:
        return element("code", value)
    return element("code", f"{clipped(spelled(value), 200)[:_SHORT]}…", title=clipped(value), class_="digest")


def count(value: int) -> str:
    """A whole number with thousands apart."""
    return f"{value:,}"


def amount(value: float, digits: int = 4) -> str:
    """A number with so many significant digits."""
    if math.isnan(value):
        return "none"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{digits}g}"


def percent(share: float) -> str:
    """A share of 0..1 in percent."""
    return f"{share * _PERCENT:.1f} %"


def plural(number: int, one: str, many: str | None = None) -> str:
    """``1 point``, ``2 points``."""
    return f"{count(number)} {one if number == 1 else many or f'{one}s'}"


def data_uri(media: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"


def cut(content: Content, most: int = _MOST_CELL) -> Content:
    """Content whose text is clipped; markup is left as it is."""
    return content if content is None or isinstance(content, Markup) else clipped(content, most)


def facts(pairs: Sequence[tuple[str, Content]], class_: str = "facts") -> Markup:
    """Names and values as a list of descriptions; of class ``facts many`` in two columns where there is room."""
    return element(
        "dl",
        *(
            element("div", element("dt", cut(key)), element("dd", cut(value)))
            for key, value in pairs
            if value is not None
        ),
        class_=class_,
    )


def table(
    header: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    caption: Content = None,
    numeric: Sequence[bool] = (),
    class_: str = "scroll",
) -> Markup:
    """A table that scrolls inside its own box where it is wider than the page.

    Args:
        header: of the columns; empty for none.
        rows: cells, long ones with an ellipsis in the middle.
        caption: what the table is; it also names the box for who cannot see it.
        numeric: which columns are set to the right.
        class_: of the box.
    """

    def cell(tag: str, place: int, content: Content) -> Markup:
        shown = cut(content)
        scope = "col" if tag == "th" else None
        right = place < len(numeric) and numeric[place]
        short = tag == "td" and shown is not None and not isinstance(shown, Markup) and len(shown) <= _SHORT_CELL
        return element(tag, shown, class_="number" if right else "short" if short else None, scope=scope)

    head = (
        element("thead", element("tr", *(cell("th", place, one) for place, one in enumerate(header))))
        if header
        else None
    )
    body = element(
        "tbody", *(element("tr", *(cell("td", place, one) for place, one in enumerate(row))) for row in rows)
    )
    told = element("caption", cut(caption)) if caption is not None else None
    return scrolling(element("table", told, head, body), "Table", class_)


def scrolling(content: Markup, what: str, class_: str = "scroll") -> Markup:
    """A box whose content scrolls sideways, by keys too."""
    return element("div", content, class_=class_, role="region", aria_label=what, tabindex=0)


def more(summary: Content, *children: Content) -> Markup:
    """Content that is folded away."""
    return element("details", element("summary", cut(summary)), *children)
