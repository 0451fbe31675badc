"""Text for sentences: foreign names, such as those of files, classes and labels; sizes. Lines of TSV files. JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

_DEPTH = 64


def shown(text: str | Path) -> str:
    r"""``text`` with everything a terminal could act upon (escapes, newlines, lone surrogates) spelled out.

    >>> shown("cat\x1b[31m")
    'cat\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def read_json(text: str | bytes, **options: Any) -> Any:
    """The value of JSON text, with options of json.loads; ValueError where it is none, or is nested beyond reason.

    Nesting beyond reason would be a RecursionError, of json.loads or of whoever walks through the value.
    """

    def depth(value: object) -> int:
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + max(map(depth, items), default=0)

    try:
        value = json.loads(text, **options)
        too_deep = depth(value) > _DEPTH
    except RecursionError:
        too_deep = True
    if too_deep:
        raise ValueError("it is nested too deeply")
    return value


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
