"""A gallery: a page of HTML with pairs of images, their names, labels and scores, as many as one wants.

It loads nothing and runs nothing, as a report. A browser's search finds names of files on it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup
from PIL import Image

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
    def source(self) -> Markup:
        """The image as a PNG in the page."""
        step = math.ceil(max(self.image.shape[1:]) / _LARGEST)
        pixels = self.image[:, ::step, ::step].transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)).save(file, "PNG")
        return Markup(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the page: whole multiples of the pixels of a small image."""
        height, width = self.image.shape[1:]
        step = math.ceil(max(height, width) / _LARGEST)
        times = max(1, round(_SHOWN * step / max(height, width)))
        return times * math.ceil(width / step), times * math.ceil(height / step)


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
