"""Text for sentences: foreign names, such as those of files, classes and labels; sizes. Lines of TSV files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any


def shown(text: str | Path) -> str:
    r"""``text`` with everything a terminal could act upon (escapes, newlines, lone surrogates) spelled out.

    >>> shown("cat\x1b[31m")
    'cat\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def sized(shape: tuple[int, ...]) -> str:
    """A shape as sentences have it: 3 x 32 x 32."""
    return " x ".join(str(length) for length in shape)


def tsv(header: str, rows: Iterable[Iterable[object]]) -> Iterator[str]:
    r"""Lines of a TSV file: the names of columns, which spaces divide in ``header``, then rows of Python's own values.

    Floats are written so that reading gives them back exactly, None is an empty field, white space in text becomes one
    space, and text is as :func:`shown` has it.

    >>> list(tsv("set index distance", [("a\tset", 3, 0.1), ("b", None, float("inf"))]))
    ['set\tindex\tdistance\n', 'a set\t3\t0.1\n', 'b\t\tinf\n']
    """
    yield "\t".join(header.split()) + "\n"
    for row in rows:
        yield "\t".join([_FIELDS[type(value)](value) for value in row]) + "\n"


@lru_cache(maxsize=1024)  # the name of a set stands in millions of lines
def _on_one_line(text: str) -> str:
    return shown(" ".join(text.split()))


_FIELDS: dict[type, Callable[[Any], str]] = {
    str: _on_one_line,
    int: repr,
    float: repr,
    bool: lambda value: str(value).lower(),
    type(None): lambda value: "",
}
