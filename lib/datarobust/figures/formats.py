"""The formats of pictures; without matplotlib, so that a wrong name is refused at once."""

from __future__ import annotations

from typing import Final, Literal, get_args

from datarobust.errors import UsageError

Format = Literal["png", "svg", "pdf"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def format_of(suffix: str) -> Format:
    """The format that the ending of a file's name asks for.

    Args:
        suffix: With its dot, in any case: ``.png``, ``.SVG``.

    Raises:
        UsageError: It is none that we write.
    """
    for known in FORMATS:
        if suffix.lower() == f".{known}":
            return known
    asked = f"this one in {suffix!r}" if suffix else "this one has no ending"
    raise UsageError(f"a picture's name ends in .png, .svg or .pdf, and {asked}: name the output so.")
