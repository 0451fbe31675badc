"""A strict reader of our pages, for tests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}
LOADING = {
    "src",
    "href",
    "srcset",
    "action",
    "formaction",
    "data",
    "poster",
    "xlink:href",
    "background",
    "ping",
    "style",
}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    def all(self, tag: str) -> list[Node]:
        found = [self] if self.tag == tag else []
        return found + [node for child in self.children if isinstance(child, Node) for node in child.all(tag)]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def classes(self, name: str) -> list[Node]:
        own = [self] if name in (self.attributes.get("class") or "").split() else []
        return own + [node for child in self.children if isinstance(child, Node) for node in child.classes(name)]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of <{tag}> comes twice"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> is not how we write elements")

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError("we write no comments")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError("we write no declarations")


def read(words: str) -> Node:
    """The tree of a piece of HTML; every element must be closed where it was opened."""
    reader = _Reader()
    reader.feed(words)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is not closed"
    return reader.root


def check(words: str) -> Node:
    """The tree of a whole page, after all that holds for every page of ours."""
    assert words.startswith("<!DOCTYPE html>\n<html lang=")
    root = read(words)
    nodes = everything(root)
    assert not {node.tag for node in nodes} & {"script", "iframe", "object", "embed", "form", "base", "foreignobject"}
    anchors = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(set(anchors)) == len(anchors), "an identifier comes twice"
    for node in nodes:
        for name, value in node.attributes.items():
            assert not name.startswith("on"), f"{name} of <{node.tag}> runs code"
            if name in LOADING:
                assert value is not None
                inner = value.startswith("#") and value[1:] in anchors
                assert inner or value.startswith("data:"), (
                    f"{name}={value[:80]!r} of <{node.tag}> leads out of the page"
                )
        if node.tag == "img":
            assert node.attributes.get("alt")
            assert node.attributes.get("width")
        if node.tag == "svg" and node.attributes.get("class"):
            assert node.attributes.get("aria-label")
    (sheet,) = root.all("style")
    assert not re.search(r"url\(|@import|https?:|expression", sheet.text)
    (policy,) = [n for n in root.all("meta") if n.attributes.get("http-equiv") == "Content-Security-Policy"]
    said = policy.attributes["content"] or ""
    assert "default-src 'none'" in said
    assert "unsafe" not in said
    assert "script-src" not in said
    levels = [int(node.tag[1]) for node in nodes if re.fullmatch("h[1-6]", node.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), "a level is left out"
    for tag in ("header", "nav", "main", "footer", "title", "h1"):
        assert root.all(tag), f"there is no <{tag}>"
    assert root.all("title")[0].text.strip()
    for character in words:
        assert character == "\n" or character.isprintable(), f"U+{ord(character):04x} is in the page"
    return root


def everything(node: Node) -> list[Node]:
    """All elements within, in the order of the page."""
    return [one for child in node.children if isinstance(child, Node) for one in [child, *everything(child)]]
