"""The paper's figures: arrays in, a :class:`matplotlib.figure.Figure` out.

::

    sensitivity   ordered sensitivity, differences     charts     accuracies, learning rates, labels, clone-search
    map           points in the plane                  table      Tables 2 to 4, as Markdown
    images        pairs of nearest points, clones      report     any artifacts, as one page
    lineage       their histories as one graph

A figure has a function ``draw`` for the picture, and ``table`` for the numbers behind it, as lines of a TSV file; where
a module has several, their names say of what. :mod:`datarobust.figures.style` is the shared look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from datarobust.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["png", "svg", "pdf"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

Table = Callable[[], Iterator[str]]  # the numbers behind a picture as lines of a TSV file


@dataclass(frozen=True)
class Drawing:
    """A picture, the numbers behind it, and sentences that a reader should know."""

    figure: Figure
    table: Table
    remarks: Sequence[str] = ()
    caption: str = ""  # what the picture shows; its file has it as its description


def format_of(suffix: str) -> Format:
    """The format of a picture by its name's ending, with its dot, in any case; UsageError where it has another."""
    for known in FORMATS:
        if suffix.lower() == f".{known}":
            return known
    ending = f"this one in {suffix!r}" if suffix else "this one has no ending"
    raise UsageError(f"a picture's name ends in .png, .svg or .pdf, and {ending}: name the output so.")


def demand_room(drawn: Sized, what: str, most: int) -> None:
    """Refuse more of something than one picture can show."""
    if len(drawn) > most:
        raise UsageError(f"{len(drawn):,} {what} cannot be shown on one picture: it has room for {most}; draw fewer")


def records(*columns: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of columns, arrays among them, with Python's own numbers."""
    return zip(*(column.tolist() if hasattr(column, "tolist") else column for column in columns), strict=True)
