"""A gallery: a page of HTML with pairs of images, their names, labels and scores, as many as one wants.

It loads nothing and runs nothing, as a report. A browser's search finds names of files on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from datarobust.figures import report_parts as parts
from datarobust.types import Images

_LARGEST: Final = 256  # pixels of an image's longer side; larger ones are shown smaller, by whole steps
_SHOWN: Final = 112  # of the page, at least


@dataclass(frozen=True)
class Point:
    """One image of a pair."""

    image: Images  # (C, H, W), C = 1 (grey) or 3 (RGB)
    row: int
    label: int
    called: str  # its class
    name: str | None  # where it is from
    other_set: bool = False

    @property
    def picture(self) -> parts.Picture:
        """The image as a PNG whose sides on the page are whole multiples of the pixels of a small image."""
        picture = parts.Picture.of(self.image, _LARGEST)
        times = max(1, round(_SHOWN / max(picture.width, picture.height)))
        return replace(picture, width=times * picture.width, height=times * picture.height)


@dataclass(frozen=True)
class Pair:
    """A finding: a point, what it is beside, and how clear it is."""

    points: Sequence[Point]  # one or two
    distance: float | None
    score: float | None = None


@dataclass(frozen=True)
class Section:
    """Pairs of one kind, the clearest first."""

    title: str
    meaning: str
    pairs: Sequence[Pair]
    total: int  # with those that are not shown

    @property
    def anchor(self) -> str:
        """Its identifier in the page."""
        return self.title.replace(" ", "-")


def page(title: str, sections: Sequence[Section], version: str) -> str:
    """The whole page."""
    return parts.page("gallery.html.j2", title=title, sections=sections, version=version, amount=parts.amount)
