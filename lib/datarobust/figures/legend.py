"""A legend that knows its size before it is drawn, so that it can be put where no curve runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from datarobust.figures import style

Place = Literal["upper left", "lower left", "upper right", "lower right", "beside"]
Style = Mapping[str, Any]
"""Of a line or marker, as arguments of :class:`matplotlib.lines.Line2D`."""

LINE_WIDTH: Final = 1.1

_NAME_WIDTH: Final = 105.0  # points
# In units of the font's size, as matplotlib counts them.
_HANDLE: Final = 2.6
_HANDLE_GAP: Final = 0.8
_ENTRY_GAP: Final = 0.35
_BORDER: Final = 0.4
_EDGE: Final = 0.2
_LEADING: Final = 1.25


@dataclass(frozen=True)
class Legend:
    """What a legend says.

    Attributes:
        title: One or more lines of our own text, mathtext allowed.
        entries: Name of each set with notes on further lines, plain text whatever it holds.
        styles: Of their lines or markers.
    """

    title: str
    entries: tuple[str, ...]
    styles: tuple[Style, ...]

    @property
    def width(self) -> float:
        """In points, with the distance to the frame; never less than what is drawn."""
        em = style.SMALL
        entries = max(style.width_of(line, em) for entry in self.entries for line in entry.split("\n"))
        title = max(style.width_of(line.replace("$", ""), em) for line in self.title.split("\n"))
        return max((_HANDLE + _HANDLE_GAP) * em + entries, title) + 2 * (_BORDER + _EDGE) * em

    @property
    def height(self) -> float:
        """In points, with the distance to the frame; never less than what is drawn."""
        em = style.SMALL
        lines = sum(text.count("\n") + 1 for text in (self.title, *self.entries))
        return (lines * _LEADING + len(self.entries) * _ENTRY_GAP + 2 * (_BORDER + _EDGE)) * em

    def draw(self, axes: Axes, place: Place) -> None:
        """Put it into a corner of ``axes``, or ``beside`` them at the right."""
        lines = [Line2D([], [], **each) for each in self.styles]
        beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        drawn = axes.legend(
            lines,
            [str(number) for number in range(len(lines))],  # matplotlib drops entries whose text begins with "_"
            title=self.title,
            alignment="left",
            handlelength=_HANDLE,
            handletextpad=_HANDLE_GAP,
            labelspacing=_ENTRY_GAP,
            borderpad=_BORDER,
            borderaxespad=_EDGE,
            **(beside if place == "beside" else {"loc": place}),
        )
        for text, entry in zip(drawn.get_texts(), self.entries, strict=True):
            text.set_parse_math(False)  # a "$" in a name is a dollar
            text.set_text(entry)


def line(number: int) -> Style:
    """How the ``number``-th curve (from 0) looks, in the panel and in the legend."""
    return {"linewidth": LINE_WIDTH, **style.line_style(number)}


def compose(
    title: str, names: Sequence[str], notes: Sequence[str], styles: Sequence[Style], tails: Sequence[str] = ()
) -> Legend:
    """A legend of sets, names shortened to fit; a note that all of them share is said once, in the title.

    Args:
        title: Our own text, mathtext allowed.
        names: Of the sets, any text.
        notes: What was left out of each, our own words; empty where nothing was.
        styles: Of their lines or markers.
        tails: What stands behind each name, our own words; nothing where there are none.
    """
    shared = notes[0] if len(set(notes)) == 1 else ""
    if shared:
        title = f"{title}, without\n{shared}" if len(names) == 1 else f"{title}, each without\n{shared}"
    entries = [
        style.fitted(name, _NAME_WIDTH, style.SMALL) + tail + (f"\nwithout {note}" if note and not shared else "")
        for name, note, tail in zip(names, notes, tails or [""] * len(names), strict=True)
    ]
    return Legend(title, tuple(entries), tuple(styles))
