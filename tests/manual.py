"""The guides to all commands, in Markdown, made of what their ``--help`` is made of. ``make guides`` calls it:

    python tests/manual.py examples/guides/commands

A guide is text that follows from the commands alone, so it can be compared with what they say today.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from datarobust.tools import _cli

#: Of every command; README.md has the same table.
EXIT_CODES = (
    ("0", "done; also if the reader of stdout closes it early, as `head` does"),
    ("1", "failed: one sentence on stderr, nothing on stdout that could be taken for a result"),
    ("2", "usage: an option or argument makes no sense"),
    ("129, 130, 143", "SIGHUP, SIGINT, SIGTERM; the state is saved"),
)


class Entry(NamedTuple):
    """An argument or an option."""

    names: str  # as "-o, --output PATH"
    text: str
    limits: str  # as "default: 1; x>=1", "required", or nothing


class Block(NamedTuple):
    """A paragraph, or lines that stay as they are."""

    text: str
    verbatim: bool


class Page(NamedTuple):
    """A command, or a sub-command."""

    name: str  # as it is called: "dataset import"
    usage: str
    blocks: tuple[Block, ...]
    arguments: tuple[Entry, ...]
    options: tuple[Entry, ...]
    parts: tuple[Page, ...]  # its sub-commands


@cache
def _apps() -> dict[str, Any]:
    """The apps of the installed commands by name: the modules of the tools without an underscore in front."""
    modules = sorted(path.stem for path in Path(_cli.__file__).parent.glob("[a-z]*.py"))
    return {module.replace("_", "-"): import_module(f"datarobust.tools.{module}").app for module in modules}


def commands() -> dict[str, Any]:
    """The installed commands by name, as typer has them; new ones each time, because a command keeps its first help."""
    return {name: _cli.command_of(app) for name, app in _apps().items()}


def page(name: str, command: Any, above: Any = None) -> Page:
    """What a command says of itself; ``above`` is the context of the command that it is a part of."""
    context = command.context_class(command, above, name, **command.context_settings)
    records = [(parameter, parameter.get_help_record(context)) for parameter in command.get_params(context)]

    def entries(kind: str) -> tuple[Entry, ...]:
        return tuple(_entry(*record) for parameter, record in records if record and parameter.param_type_name == kind)

    pieces = re.sub(r"[{}]", "", " ".join(command.collect_usage_pieces(context)))
    return Page(
        name,
        f"{name} {re.sub(r'[.]{3,}', '...', pieces)}",
        tuple(_blocks(command.help)),
        entries("argument"),
        entries("option"),
        tuple(page(f"{name} {word}", part, context) for word, part in getattr(command, "commands", {}).items()),
    )


def _entry(names: str, text: str) -> Entry:
    words, _, limits = text.partition("  [")
    return Entry(re.sub(r" <(path|str)>", "", names), words.strip(), limits.removesuffix("]"))


def _blocks(text: str) -> Iterator[Block]:
    for part in re.split(r"\n\n+", text):
        if part.startswith("\b\n"):
            yield Block("\n".join(line[4:] for line in part.splitlines()[1:]), verbatim=True)
        elif part.strip():
            yield Block(part.strip(), verbatim=False)


# ------------------------------------------------------------------------------------------------------------ Markdown


def markdown(page: Page) -> str:
    """The guide to a command."""
    top = (f"# {page.name}", "", "*Made of the command's own help by `make guides`.*", "")
    codes = (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES)
    return "\n".join([*top, *_section(page, 2), "## Exit codes", "", "| Code | |", "|---|---|", *codes, ""])


def index(pages: list[Page]) -> str:
    """The list of all guides, with the first sentence of each command's help."""
    lines = ["# Commands", "", "A guide to each, made of its own help by `make guides`.", ""]
    lines += ["| Command | |", "|---|---|"]
    for page in pages:
        first = re.split(r"\.(?:\s|$)", " ".join(page.blocks[0].text.split()), maxsplit=1)[0]
        lines.append(f"| [{page.name}]({page.name}.md) | {_safe(first)} |")
    return "\n".join([*lines, ""])


def _section(page: Page, level: int) -> Iterator[str]:
    yield from ("```text", page.usage, "```", "")
    known = "|".join([*_apps(), "torchrun", "python"])
    for block in page.blocks:
        fence = "```sh" if re.match(rf"({known}) ", block.text) else "```text"
        yield from (fence, block.text, "```", "") if block.verbatim else (_safe(block.text), "")
    for entries, title in ((page.arguments, "Argument"), (page.options, "Option")):
        if entries:
            yield from (f"| {title} | | Default, range |", "|---|---|---|")
            for entry in entries:
                limits = entry.limits.removeprefix("default: ")
                yield f"| `{_cell(entry.names)}` | {_safe(entry.text)} | {_safe(limits)} |"
            yield ""
    for part in page.parts:
        yield from (f"{'#' * level} {part.name}", "", *_section(part, level + 1))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _safe(text: str) -> str:
    """Text of a help as Markdown: what is code stays code, and nothing else becomes markup."""
    words, codes = re.split(r"`[^`]*`", text), [*re.findall(r"`[^`]*`", text), ""]
    escaped = (re.sub(r"([\\*|]|<(?=[a-z]))", r"\\\1", part) for part in words)
    return "".join(part + _cell(code) for part, code in zip(escaped, codes, strict=True))


def pages() -> list[Page]:
    """All commands, by name."""
    return [page(name, command) for name, command in commands().items()]


def guide_files() -> dict[str, str]:
    """Every guide by the name of its file."""
    every = pages()
    return {"README.md": index(every)} | {f"{page.name}.md": markdown(page) for page in every}


if __name__ == "__main__":
    for name, text in guide_files().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
