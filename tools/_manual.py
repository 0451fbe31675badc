"""The manual of all commands, made of what their ``--help`` is made of: guides in Markdown, and pages for man.

Two commands of the Makefile call it:

    python -m datarobust.tools._manual guides examples/guides/commands
    python -m datarobust.tools._manual man .venv/share/man/man1

A guide or page is text that follows from the commands alone, so it can be compared with what they say today.
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

from datarobust import __version__

from . import _cli

app = _cli.tool(__doc__)

#: Of every command; README.md has the same table.
EXIT_CODES = (
    ("0", "done; also where the reader of stdout had enough, as `head` does"),
    ("1", "failed: one sentence on stderr, nothing on stdout that could be taken for a result"),
    ("2", "usage: an option or argument makes no sense"),
    ("129, 130, 143", "hung up, interrupted, terminated; the state is saved"),
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


# ---------------------------------------------------------------------------------------------------------------- roff


def roff(one: Page, others: list[str]) -> str:
    """The man page of a command, in ASCII; ``others`` are the names of the other commands."""
    lines = [f'.TH "{_roff(one.name.upper())}" 1 "" "datarobust {_roff(__version__)}" "datarobust"', ".ad l", ".nh"]
    lines += [".SH NAME", f"{_roff(one.name)} \\- {_roff(one.summary)}", *_described(one, ".SH")]
    if one.parts:
        lines.append(".SH COMMANDS")
        for part in one.parts:
            lines += [f'.SS "{_roff(part.name)}"', *_described(part, ".PP")]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES:
        lines += [".TP", f".B {_roff(code)}", _roff(meaning.replace("`", ""))]
    lines += [".SH SEE ALSO", *(f".BR {_roff(name)} (1)," for name in others[:-1]), f".BR {_roff(others[-1])} (1)", ""]
    return "\n".join(lines)


def _described(one: Page, heading: str) -> Iterator[str]:
    """Synopsis, description and options, under headings of their own or, in a sub-command, without."""
    top = heading == ".SH"
    yield from [".SH SYNOPSIS"] if top else []
    yield f".B {_roff(one.usage)}"
    yield from [".SH DESCRIPTION"] if top else []
    for block in one.blocks:
        yield from (
            (".PP", ".RS 4", ".EX", _roff(block.text), ".EE", ".RE")
            if block.verbatim
            else (
                ".PP",
                _roff(" ".join(block.text.split())),
            )
        )
    yield from [".SH OPTIONS"] if top and one.options else []
    for entry in (*one.arguments, *one.options):
        limits = f" [{entry.limits}]" if entry.limits else ""
        yield from (".TP", f".B {_roff(entry.names)}", _roff(f"{entry.text}{limits}"))


_GLYPHS = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}


def _roff(text: str) -> str:
    """Text that roff prints as it is: no line begins a request, and no character means anything but itself."""
    plain = "".join(
        _GLYPHS.get(character, character if ord(character) < 128 else f"\\[u{ord(character):04X}]")
        for character in text
    )
    return re.sub(r"(?m)^(?=\.)", r"\\&", plain)


# ------------------------------------------------------------------------------------------------------------ commands

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they go; made where it is not there.")]


def pages() -> list[Page]:
    """All commands, by name."""
    return [page(name, command) for name, command in commands().items()]


def guide_files() -> dict[str, str]:
    """Every guide by the name of its file."""
    every = pages()
    return {"README.md": index(every)} | {f"{one.name}.md": markdown(one) for one in every}


def man_files() -> dict[str, str]:
    """Every page for man by the name of its file."""
    return {f"{one.name}.1": roff(one, [name for name in names() if name != one.name]) for one in pages()}


@app.command()
def guides(folder: Folder) -> None:
    """Write a guide to each command, in Markdown.

    For example:

        python -m datarobust.tools._manual guides examples/guides/commands
    """
    _write(folder, guide_files())


@app.command()
def man(folder: Folder) -> None:
    """Write a page for man of each command.

    For example:

        python -m datarobust.tools._manual man .venv/share/man/man1
    """
    _write(folder, man_files())


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    _cli.emit(str(folder))


if __name__ == "__main__":
    _cli.run(app, "manual")
