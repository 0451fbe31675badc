"""Command lines in documents: found, tried on the parsers of the installed commands, or run as a session."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

from datarobust.tools._console import Console

from . import manual

#: What a parser does as soon as it reads it.
_AT_ONCE = {"--install-completion", "--show-completion", "--version", "--help", "-h"}
#: What ends a command within a line of the shell.
_BETWEEN = re.compile(r"[|&;()<>]+")
#: What may stand before a command.
_BEFORE = {"if", "then", "do", "while", "until", "else", "!", "time", "env", "exec", "nohup", "{"}


@cache
def tools() -> dict[str, Any]:
    """The installed commands, as typer has them."""
    return manual.commands()


def lines_of(text: str) -> list[str]:
    """The lines of a text for the shell, continued ones joined; what stands in here-documents is left out."""
    text = re.sub(r"(?ms)(<<-? *['\"]?(\w+)['\"]?.*?)$.*?^\2$", r"\1", text)
    return re.sub(r"\\\n\s*", " ", text).splitlines()


def commands_in(line: str) -> Iterator[list[str]]:
    """The words of every installed command that a line of the shell calls, also under ``torchrun -m``."""
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from commands_in(inner)
    line = re.sub(r"(?<=\s)\d+(?=[<>])", "", re.sub(r"\$\([^()]*\)", "SUBSTITUTED", line))
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += ":!*?[]{}$%@+,"
    parts: list[list[str]] = [[]]
    for word in lexer:
        if _BETWEEN.fullmatch(word):
            parts.append([])
        else:
            parts[-1].append(word)
    for words in parts:
        yield from _called(words)


def _called(words: list[str]) -> Iterator[list[str]]:
    """The installed command in the words of one call, if it is one."""
    words = [word for word in words if word != "$@"]
    while (
        words
        and not words[0].partition("=")[0].endswith("_COMPLETE")
        and (words[0] in _BEFORE or re.fullmatch(r"[A-Z_]+=.*", words[0]))
    ):
        words = words[1:]
    for place, word in enumerate(words[:-1]):
        module = words[place + 1]
        if word == "-m" and module.startswith("datarobust.tools.") and not module.startswith("datarobust.tools._"):
            words = [module.removeprefix("datarobust.tools.").replace("_", "-"), *words[place + 2 :]]
            break
    if words and words[0] in tools():
        yield words


def wrong_with(words: list[str]) -> str | None:
    """What the command says to these words before it does anything; None where it takes them."""
    name, *rest = words
    if _AT_ONCE & set(rest):
        return unknown_in(words)
    command = tools()[name]
    quiet = Console.quiet
    try:
        if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            if rest[0] not in command.commands:
                return f"there is no {name} {rest[0]}"
            command.commands[rest[0]].make_context(f"{name} {rest[0]}", rest[1:]).close()
        else:
            command.make_context(name, rest).close()
    except typer.TyperException as error:
        return error.format_message()
    finally:
        Console.quiet = quiet  # -q is heard while words are parsed
    return None


def unknown_in(words: list[str]) -> str | None:
    """What of a command that is mentioned, perhaps not in full, does not exist: its sub-command, or a flag."""
    name, *rest = words
    command = tools()[name]
    if hasattr(command, "commands") and rest and re.fullmatch(r"[a-z-]+", rest[0]) and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"there is no {name} {rest[0]}"
        command = command.commands[rest[0]]
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        flag = word.partition("=")[0]
        if re.fullmatch(r"--?[A-Za-z][\w-]*", flag) and flag not in known | {"-h", "--help"}:
            return f"{name} has no {flag}"
    return None


# ------------------------------------------------------------------------------------------------------------ documents

ROOT = Path(__file__).resolve().parent.parent
GUIDES = sorted((ROOT / "examples/guides").glob("*.md"))
#: What people read and type from.
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "ARTIFACTS.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "examples/guides").rglob("*.md")),
]


def blocks(text: str, kind: str) -> list[tuple[bool, str]]:
    """Fenced blocks of a kind, such as ``sh``: whether each is marked ``run``, and its text."""
    found = re.findall(rf"^```{kind}( run)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(bool(marked), inner) for marked, inner in found]


def session(path: Path) -> str:
    """The blocks of a document that are marked ``sh run``, as one script."""
    return "".join(inner for marked, inner in blocks(path.read_text(encoding="utf-8"), "sh") if marked)


def run_session(path: Path, folder: Path, *places: Path) -> subprocess.CompletedProcess[str]:
    """Run a document's session in a folder, in one shell that ends at the first failure; ``places`` begin its PATH."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", session(path)],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join(map(str, (*places, os.environ["PATH"])))},
        capture_output=True,
        text=True,
        check=False,
        timeout=285,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for name in re.findall(r" (?:-o|--tsv) ([\w./-]+)(?=\s)(?![^\n]*--dry-run)", session(path)):
        assert (folder / name).exists(), f"{name} was not made"
    return done
