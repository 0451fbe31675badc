"""A report: one page of HTML about any set of artifacts, which loads nothing and runs nothing.

::

    report_html      elements from parts; foreign text is always escaped
    report_style     the style sheet
    report_charts    small charts in the page's own colours
    report_pictures  files of pictures, checked; images as rasters
    report_tables    text of commands as tables
    report_graph     where boxes and arrows of a history stand
    report_history   the history as a graph, and as commands to be copied

What stands in a page depends on what it is made of and on nothing else: no time, no place, no order of arguments.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from datarobust.figures.report_history import Command, graph, listed, slug
from datarobust.figures.report_html import (
    Content,
    Markup,
    count,
    cut,
    digest,
    element,
    facts,
    more,
    name,
    plural,
    table,
)
from datarobust.figures.report_style import CSS

_SECTIONS: Final = {
    "dataset": "Datasets",
    "ranking": "Rankings",
    "embedding": "Maps",
    "run": "Training runs",
    "classifier": "Classifiers",
    "evaluation": "Evaluations",
    "denoiser": "Denoisers",
    "clones": "Clones",
    "moments": "Moments",
    "picture": "Figures",
    "text": "Tables and text",
}
_BIG: Final = 60
"""Characters of a main figure."""
KINDS: Final = tuple(_SECTIONS)
"""Kinds of cards, in the order of their sections."""


@dataclass(frozen=True)
class Card:
    """One thing that the report is about.

    Attributes:
        kind: one of :data:`KINDS`.
        name: of its file.
        anchor: the identifier of the card in the page.
        gist: what it is, in a few words.
        digest: of an artifact; empty for pictures and text.
        version: of the kind's schema, for artifacts.
        big: the main figures, name and value.
        facts: more of them.
        parts: charts, beside the facts.
        wide: tables and pictures, beneath.
        folded: what is folded away, under its heading.
    """

    kind: str
    name: str
    anchor: str
    gist: str
    digest: str = ""
    version: int | None = None
    big: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, Content]] = ()
    parts: Sequence[Markup] = ()
    wide: Sequence[Markup] = ()
    folded: Sequence[tuple[str, Markup]] = field(default=())

    def markup(self) -> Markup:
        """The card as an article."""
        kind = self.kind if self.version is None else f"{self.kind}, version {self.version}"
        head = element(
            "header",
            element("h3", name(self.name)),
            element("span", kind, class_=f"badge b-{slug(self.kind)}")
            if self.kind not in ("picture", "text")
            else None,
            digest(self.digest) if self.digest else None,
        )
        big = element(
            "dl",
            *(
                element("div", element("dt", cut(key, _BIG)), element("dd", cut(value, _BIG)))
                for key, value in self.big
            ),
            class_="big",
        )
        told = [*([big] if self.big else []), *([facts(self.facts)] if self.facts else [])]
        columns = [*([element("div", *told)] if told else []), *self.parts]
        return element(
            "article",
            head,
            element("p", cut(self.gist), class_="gist") if not self.big else None,
            element("div", *columns, class_="cols") if columns else None,
            *self.wide,
            *(more(summary, content) for summary, content in self.folded),
            class_="card",
            id=self.anchor,
        )


def order(card: Card) -> tuple[int, str, str, str]:
    """Where a card stands, whatever the order in which its file was named."""
    return KINDS.index(card.kind), card.name, card.digest, card.anchor


def page(title: str, cards: Sequence[Card], commands: Sequence[Command], version: str) -> str:
    """The whole page.

    Args:
        title: its title; any text.
        cards: in any order.
        commands: steps of the history, each after what it reads.
        version: of datarobust.
    """
    cards = sorted(cards, key=order)
    sections = [
        (_SECTIONS[kind], kind, found) for kind in KINDS if (found := [one for one in cards if one.kind == kind])
    ]
    ends = [("History", "history"), ("Commands to reproduce", "commands")] if commands else []
    entries = [("Overview", "overview", len(cards)), *((said, kind, len(found)) for said, kind, found in sections)]
    entries += [(said, anchor, len(commands)) for said, anchor in ends]
    links = element(
        "ul",
        *(
            element("li", element("a", said, href=f"#{anchor}"), Markup(" "), element("span", count(number)))
            for said, anchor, number in entries
        ),
    )
    body = [_section("Overview", "overview", _overview(cards))]
    body += [
        _section(said, kind, element("div", *(one.markup() for one in found), class_=f"cards {kind}s"))
        for said, kind, found in sections
    ]
    if commands:
        body.append(_section("History", "history", graph(commands)))
        body.append(_section("Commands to reproduce", "commands", _remark(), listed(commands)))
    told = [plural(sum(bool(one.digest) for one in cards), "artifact")]
    told += [plural(number, said) for kind, said in (("run", "run"), ("picture", "figure"), ("text", "text"))
             if (number := sum(one.kind == kind for one in cards))]  # fmt: skip
    told.append(plural(len(commands), "command"))
    shell = element(
        "body",
        element("a", "To the content", href="#content", class_="skip"),
        element("header", element("h1", name(title)), element("p", " · ".join(told)), class_="top"),
        element(
            "div", element("nav", links, aria_label="Sections"), element("main", *body, id="content"), class_="frame"
        ),
        element(
            "footer",
            element("p", f"Written by datarobust {version}. The same artifacts give the same page."),
            class_="foot",
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', _head(title), shell, lang='en')}\n"


def _head(title: str) -> Markup:
    """Nothing may be loaded or run; of styles only this very sheet counts."""
    sheet = Markup(CSS)
    sha = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{sha}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", cut(title)),
        element("link", rel="icon", href="data:,"),
        element("style", sheet),
    )


def _section(said: str, anchor: str, *content: Content) -> Markup:
    return element("section", element("h2", said, id=f"h-{anchor}"), *content, id=anchor, aria_labelledby=f"h-{anchor}")


def _overview(cards: Sequence[Card]) -> Markup:
    rows = [
        [
            element("a", name(one.name, 60), href=f"#{one.anchor}"),
            element("span", one.kind, class_=f"badge b-{slug(one.kind)}"),
            cut(one.gist),
            digest(one.digest) if one.digest else "",
        ]
        for one in cards
    ]
    return table(["Name", "Kind", "What it is", "Digest"], rows, class_="scroll full")


def _remark() -> Markup:
    words = (
        "In an order in which they can be run, with names of files as they were typed. A click selects a whole command."
    )
    return element("p", words, class_="note")
