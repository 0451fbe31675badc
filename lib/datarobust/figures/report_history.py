"""The commands behind a report: drawn as a graph, and as text to be copied."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datarobust.figures.report_graph import BOX, Drawing, draw
from datarobust.figures.report_html import (
    Content,
    Markup,
    clipped,
    count,
    digest,
    element,
    join,
    more,
    name,
    plural,
    scrolling,
    spelled,
    table,
    text,
)  # fmt: skip

MOST_DRAWN: Final = 200
"""Steps of a history that is drawn."""
MOST_EDGES: Final = 1200
MOST_LISTED: Final = 2000
MOST_WORDS: Final = 20_000
"""Characters of one command on the page."""
_TITLE: Final = 22
_OUTPUT: Final = 24
_HOVER: Final = 600
_WHOLE: Final = 28
"""Characters of a word that stays on one line."""


@dataclass(frozen=True)
class Result:
    """What a step has made, as far as it is known.

    Attributes:
        kind: of the artifact.
        digest: of the artifact.
        name: of its file; empty where it is not in the report.
        anchor: of its card; empty where it is not in the report.
    """

    kind: str
    digest: str
    name: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Source:
    """What a step has read.

    Attributes:
        role: as the history calls it.
        digest: as the history tells it; empty where the step is known and what it handed on is not.
        step: place of the step that made it, from 0; None where no step of the report has.
        certain: whether the digest, or the order of the history, says so; otherwise the names do.
    """

    role: str
    digest: str
    step: int | None = None
    certain: bool = True


@dataclass(frozen=True)
class Command:
    """A step of the history.

    Attributes:
        tool: the name of the command, with its first word where it has several uses.
        words: all words of the command, its name first.
        output: what it wrote, by name; empty where it does not say.
        version: of datarobust.
        seed: of its random numbers.
        device: where it was computed.
        sources: what it read.
        results: what it made.
    """

    tool: str
    words: Sequence[str]
    output: str
    version: str
    seed: int | None
    device: str | None
    sources: Sequence[Source]
    results: Sequence[Result]

    def line(self) -> str:
        """The command as a shell takes it."""
        return " ".join(quoted(word) for word in self.words)


def quoted(word: str) -> str:
    r"""A word as a shell takes it; what cannot be printed is spelled in bash's ``$'...'``.

    >>> quoted("a b")
    "'a b'"
    """
    if word.isprintable():
        return shlex.quote(word)
    parts = []
    for character in word:
        code = ord(character)
        if character in "\\'":
            parts.append(f"\\{character}")
        elif character.isprintable():
            parts.append(character)
        elif 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no text
            parts.append(f"\\x{code - 0xDC00:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f"$'{''.join(parts)}'"


def graph(commands: Sequence[Command]) -> Markup:
    """The steps as boxes, and arrows from what was made to what read it; a sentence where they are too many."""
    edges = sorted(
        {(one.step, place) for place, step in enumerate(commands) for one in step.sources if one.step is not None}
    )
    if not commands:
        return element("p", "Nothing here tells where it comes from.", class_="note")
    if len(commands) > MOST_DRAWN or len(edges) > MOST_EDGES:
        many = f"{count(len(commands))} steps and {count(len(edges))} arrows"
        return element("p", f"{many} are too many to be drawn; the steps are listed below.", class_="note")
    drawing = draw(len(commands), edges)
    sure = {(one.step, place) for place, step in enumerate(commands) for one in step.sources if one.certain}
    arrows = [_arrow(route, edge in sure) for route, edge in zip(drawing.routes, edges, strict=True)]
    boxes = [_box(place, step, drawing) for place, step in enumerate(commands)]
    tip = element("marker", element("path", d="M0 0L7 3.5L0 7Z"), id="tip", viewBox="0 0 7 7", refX=6.5, refY=3.5,
                  markerWidth=7, markerHeight=7, orient="auto")  # fmt: skip
    svg = element(
        "svg",
        element("defs", tip),
        *arrows,
        *boxes,
        viewBox=f"0 0 {drawing.width:.0f} {drawing.height:.0f}",
        width=round(drawing.width),
        height=round(drawing.height),
        role="group",
        aria_label=f"History: {len(commands)} steps, each beneath what it read",
        class_="graph",
    )
    dashed = any(edge not in sure for edge in edges)
    legend = (
        "Every box is a command, with what it wrote; arrows lead to what read it, and boxes to their commands below."
    )
    legend += " Dashed: told by names of files, as no digest tells what was handed on." if dashed else ""
    return Markup(scrolling(svg, "History", "scroll canvas") + element("p", legend, class_="note"))


def _arrow(route: Sequence[tuple[float, float]], certain: bool) -> Markup:
    """A curve between layers, straight past the boxes of a layer."""
    (x, y), *rest = route
    path = [f"M{x:.1f} {y:.1f}"]
    for place, (to_x, to_y) in enumerate(rest):
        if place % 2:
            path.append(f"V{to_y:.1f}")
        else:
            middle = (y + to_y) / 2
            path.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return element("path", d="".join(path), class_="edge" if certain else "edge guess", marker_end="url(#tip)")


def _box(place: int, step: Command, drawing: Drawing) -> Markup:
    """A box: number and tool, the output's name, kind and digest."""
    x, y = drawing.boxes[place]
    made = step.results[0] if step.results else None
    third = "not in this report" if made is None else f"{made.kind} {made.digest[:10]}"
    if len(step.results) > 1:
        third = f"{len(step.results)} {made.kind}s" if made else third
    kind = "other" if made is None else made.kind
    inner = element(
        "svg",
        element("rect", x=0.5, y=0.5, width=BOX[0] - 1, height=BOX[1] - 1, rx=8, class_="box"),
        element("rect", x=0.5, y=9, width=4, height=BOX[1] - 18, rx=2, class_=f"kind k-{slug(kind)}"),
        element("text", f"{place + 1}", x=BOX[0] - 10, y=19, text_anchor="end", class_="nth"),
        element("text", clipped(spelled(step.tool), _TITLE), x=14, y=20, class_="tool"),
        element("text", clipped(spelled(step.output) or "(stdout)", _OUTPUT), x=14, y=37, class_="output"),
        element("text", clipped(spelled(third), _OUTPUT + 6), x=14, y=52, class_="made"),
        x=x,
        y=y,
        width=BOX[0],
        height=BOX[1],
    )
    hover = element("title", f"{place + 1}. {clipped(spelled(step.line()), _HOVER)}")
    return element("a", hover, inner, href=f"#step-{place + 1}" if place < MOST_LISTED else None)


def slug(words: str) -> str:
    """Text as a part of an identifier."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "x"


def listed(commands: Sequence[Command]) -> Markup:
    """The commands in an order in which they can be run, each with what it read; and all of them as one script."""
    shown = commands[:MOST_LISTED]
    if not shown:
        return Markup()
    steps = element("ol", *(_item(place, step) for place, step in enumerate(shown)), class_="steps")
    left = len(commands) - len(shown)
    note = element("p", f"Not shown: {count(left)} more steps.", class_="note") if left else None
    lines = [_script_line(step) for step in shown]
    script = element("pre", element("code", text("\n".join(lines), "\n")), class_="copy", tabindex=0, role="region",
                     aria_label="All commands")  # fmt: skip
    return join([steps, note, more("All commands as one script", script)])


def _script_line(step: Command) -> str:
    line = step.line()
    return (
        line
        if len(line) <= MOST_WORDS
        else f"# {spelled(step.tool)}: {len(line):,} characters are too many for this page"
    )


def _words(step: Command) -> Markup:
    """The line of a command, in which words of ordinary length are not broken at their hyphens."""
    found = [quoted(word) for word in step.words]
    return join([element("span", word, class_="word") if len(word) <= _WHOLE else word for word in found], " ")


def _item(place: int, step: Command) -> Markup:
    line = step.line()
    cut = f"Not whole: {count(len(line))} characters; artifact show has them all." if len(line) > MOST_WORDS else None
    told = [f"datarobust {clipped(step.version, 40)}"]
    told += [f"seed {step.seed}"] if step.seed is not None else []
    told += [clipped(step.device, 120)] if step.device else []
    made: list[Content] = []
    for one in step.results:
        made += [" → " if not made else ", ", _result(one)]
    head = element(
        "p",
        element("span", str(place + 1), class_="nth"),
        element("strong", name(step.tool, 60)),
        *made,
        class_="head",
    )
    said = _words(step) if cut is None else clipped(line, MOST_WORDS)
    command = element(
        "pre", element("code", said), class_="copy", tabindex=0, role="region", aria_label=f"Command {place + 1}"
    )
    note = element("p", cut, class_="note") if cut else None
    sources = [[name(one.role, 60) if one.role else "", _origin(one)] for one in step.sources]
    read = (
        more(", ".join([plural(len(sources), "input"), *told]), table(["role", "from"], sources)) if sources else None
    )
    foot = element("p", ", ".join(told), class_="note") if read is None else None
    return element("li", head, command, note, read, foot, id=f"step-{place + 1}")


def _result(one: Result) -> Markup:
    if one.anchor:
        return join([element("a", name(one.name, 60), href=f"#{one.anchor}"), Markup(" "), digest(one.digest)])
    return join([one.kind, Markup(" "), digest(one.digest)])


def _origin(one: Source) -> Markup:
    said: list[Content] = [digest(one.digest)] if one.digest else []
    if one.step is not None:
        link = element("a", f"step {one.step + 1}", href=f"#step-{one.step + 1}") if one.step < MOST_LISTED else None
        said += [
            Markup(" of ") if said else None,
            link or f"step {one.step + 1}",
            None if one.certain else ", by its name",
        ]
    return join(said)
