"""The guides to all commands, in Markdown, made of what their ``--help`` is made of. ``make guides`` calls it:

    python -m datarobust.tools._manual examples/guides/commands

A guide is text that follows from the commands alone, so it can be compared with what they say today.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from . import _cli

app = _cli.tool(__doc__)

#: Of every command; README.md has the same table.
EXIT_CODES = (
    ("0", "done; also if the reader of stdout closes it early, as `head` does"),
    ("1", "failed: one sentence on stderr, nothing on stdout that could be taken for a result"),
    ("2", "usage: an option or argument makes no sense"),
    ("129, 130, 143", "SIGHUP, SIGINT, SIGTERM; the state is saved"),
)

# -------------------------------------------------------------------------------------- what commands say of themselves


@dataclass(frozen=True)
class Entry:
    """An argument or an option."""

    names: str
    """As ``-o, --output PATH``."""
    text: str
    limits: str
    """As ``default: 1; x>=1``, ``required``, or nothing."""


@dataclass(frozen=True)
class Block:
    """A paragraph, or lines that stay as they are."""

    text: str
    verbatim: bool


@dataclass(frozen=True)
class Page:
    """A command, or a sub-command."""

    name: str
    """As it is called: ``dataset import``."""
    usage: str
    blocks: tuple[Block, ...]
    arguments: tuple[Entry, ...]
    options: tuple[Entry, ...]
    parts: tuple[Page, ...] = ()
    """Its sub-commands."""

    @property
    def summary(self) -> str:
        """The first sentence of its help, without the stop."""
        return re.split(r"\.(?:\s|$)", " ".join(self.blocks[0].text.split()), maxsplit=1)[0]


@cache
def names() -> tuple[str, ...]:
    """The installed commands: every module of this folder without an underscore in front is one."""
    modules = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    return tuple(module.replace("_", "-") for module in modules)


def commands() -> dict[str, Any]:
    """The installed commands by name, as typer has them."""
    return {name: _cli.command_of(import_module(f"{__package__}.{name.replace('-', '_')}").app) for name in names()}


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


def markdown(one: Page) -> str:
    """The guide to a command."""
    top = [f"# {one.name}", "", "*Made of the command's own help by `make guides`.*", ""]
    return "\n".join([*top, *_section(one, 2), "## Exit codes", "", *_codes(), ""])


def index(pages: list[Page]) -> str:
    """The list of all guides."""
    lines = [
        "# Commands",
        "",
        "A guide to each, made of its own help by `make guides`.",
        "",
        "| Command | |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| [{one.name}]({one.name}.md) | {_safe(one.summary)} |" for one in pages), ""])


def _section(one: Page, level: int) -> Iterator[str]:
    yield from ("```text", one.usage, "```", "")
    for block in one.blocks:
        yield from (_fence(block.text), block.text, "```", "") if block.verbatim else (_safe(block.text), "")
    for entries, title in ((one.arguments, "Argument"), (one.options, "Option")):
        if entries:
            yield from (f"| {title} | | Default, range |", "|---|---|---|")
            for entry in entries:
                limits = entry.limits.removeprefix("default: ")
                yield f"| `{_cell(entry.names)}` | {_safe(entry.text)} | {_safe(limits)} |"
            yield ""
    for part in one.parts:
        yield from (f"{'#' * level} {part.name}", "")
        yield from _section(part, level + 1)


def _fence(text: str) -> str:
    """How a block of commands begins, or one of something else."""
    known = "|".join(map(re.escape, [*names(), "torchrun", "python"]))
    return "```sh" if re.match(rf"({known}) ", text) else "```text"


def _codes() -> Iterator[str]:
    yield from ("| Code | |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _safe(text: str) -> str:
    """Text of a help as Markdown: what is code stays code, and nothing else becomes markup."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        _cell(part) if number % 2 else re.sub(r"([\\*|]|<(?=[a-z]))", r"\\\1", part)
        for number, part in enumerate(parts)
    )


# ------------------------------------------------------------------------------------------------------------ commands


def pages() -> list[Page]:
    """All commands, by name."""
    return [page(name, command) for name, command in commands().items()]


def guide_files() -> dict[str, str]:
    """Every guide by the name of its file."""
    every = pages()
    return {"README.md": index(every)} | {f"{one.name}.md": markdown(one) for one in every}


@app.command()
def guides(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they go; made where it is absent.")],
) -> None:
    """Write a guide to each command, in Markdown.

    For example:

        python -m datarobust.tools._manual examples/guides/commands
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in guide_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    _cli.emit(str(folder))


if __name__ == "__main__":
    _cli.run(app, "manual")
