"""A gallery: a page of HTML with pairs of images, their names, labels and scores, as many as one wants.

It loads nothing and runs nothing, as a report. A browser's search finds names of files on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datarobust.artifacts import Store
from datarobust.figures import report_parts as parts
from datarobust.figures.images import side_of
from datarobust.types import Images, Rows


@dataclass(frozen=True)
class Point:
    """One image of a pair."""

    image: Images  # (C, H, W), C = 1 (grey) or 3 (RGB)
    row: int
    label: int
    called: str  # its class
    name: str  # where it is from; empty where it has none
    other_set: bool = False

    def picture(self, largest: int, shown: int = 0) -> parts.Picture:
        """The image, every n-th pixel where a side has more than ``largest``.

        A small one is shown in whole multiples of its pixels, with a longer side of about ``shown`` on the page.
        """
        picture = parts.Picture.of(self.image, largest)
        times = max(1, round(shown / max(picture.width, picture.height)))
        return replace(picture, width=times * picture.width, height=times * picture.height)


@dataclass(frozen=True)
class Pair:
    """A point, what it is beside, and what stands above them."""

    points: Sequence[Point]  # one or two
    distance: str  # empty where there is none
    note: str = ""  # such as how clear a finding is


@dataclass(frozen=True)
class Section:
    """Pairs of one kind, the clearest first."""

    title: str
    meaning: str
    pairs: Sequence[Pair]
    total: int  # with those that are not shown


def points_of(store: Store, rows: Rows, other_set: bool = False) -> list[Point]:
    """These rows of a dataset that has grey or RGB pictures."""
    side = side_of(store, rows)
    names = [""] * len(rows) if side.called is None else side.called
    columns = zip(side.images, side.index.tolist(), side.labels.tolist(), side.names, names, strict=True)
    return [Point(*fields, other_set=other_set) for fields in columns]


def page(title: str, sections: Sequence[Section], version: str) -> str:
    """The whole page."""
    return parts.page("gallery.html.j2", title=title, sections=sections, version=version)
