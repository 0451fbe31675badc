"""Foreign text on its way to a terminal: file names, class names, labels."""

from __future__ import annotations

from pathlib import Path


def shown(text: str | Path) -> str:
    r"""``text`` with everything a terminal could act upon (escapes, newlines, lone surrogates) spelled out.

    >>> shown("cat\x1b[31m")
    'cat\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
