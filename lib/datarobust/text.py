"""Text for sentences: foreign names, such as those of files, classes and labels; sizes."""

from __future__ import annotations

from pathlib import Path


def shown(text: str | Path) -> str:
    r"""``text`` with everything a terminal could act upon (escapes, newlines, lone surrogates) spelled out.

    >>> shown("cat\x1b[31m")
    'cat\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def sized(shape: tuple[int, ...]) -> str:
    """A shape as sentences have it: 3 x 32 x 32."""
    return " x ".join(str(length) for length in shape)
