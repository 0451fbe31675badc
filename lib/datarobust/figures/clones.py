"""Images and what a diffusion model made of them: Figure 3, and Figures 7 to 15 of Appendix B."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.norms import L2, LINF
from datarobust.text import tsv
from datarobust.types import Images, Rows

MOST: Final = 400
"""Images of one set on a picture."""

# Dots, at style.DPI.
_PAGE: Final = round(style.PAGE * style.DPI)
_GAP: Final = 4  # between images
_BETWEEN: Final = 24  # between squares
_APART: Final = 60  # between sets
_LINE: Final = 40  # of text
_MARGIN: Final = 20
_LARGEST: Final = 112  # what the longer side of an image is about, where there is room


@dataclass(frozen=True)
class Copies:
    """Images of one set with their clones.

    Attributes:
        name: what the picture calls the set; any text.
        images: uint8 (M, C, H, W), C = 1 (grey) or 3 (RGB).
        clones: uint8 (M, R, C, H, W).
        index: (M,) rows of the images in their dataset.
        labels: int64 (M,), the classes that the clones were made for.

    Raises:
        DataError: nothing to show, or images that are neither grey nor RGB.
        UsageError: more images than :data:`MOST`.
    """

    name: str
    images: Images
    clones: Images
    index: Rows
    labels: Rows

    def __post_init__(self) -> None:
        if not len(self.images) or self.images.shape[1] not in (1, 3):
            raise DataError(f"{self.name}: images of shape {self.images.shape[1:]} are neither grey nor RGB")
        if len(self.images) > MOST:
            raise UsageError(f"{len(self.images):,} images cannot be shown on one picture: choose at most {MOST}")

    @property
    def repeats(self) -> int:
        """R, clones of each image."""
        return int(self.clones.shape[1])


def squares(sets: Sequence[Copies]) -> Figure:
    """For each set a square of its images, one of their first clones, and all clones of the first image (Figures 3, 7).

    The third part is left out where there is one clone of each.

    Args:
        sets: in order, two in a row.

    Raises:
        UsageError: no set.
    """
    if not sets:
        raise UsageError("nothing to draw: give at least one set of clones")
    side = math.ceil(math.sqrt(max(len(copies.images) for copies in sets)))
    across = min(2, len(sets))
    widest = max((2 * side + _third(copies, side)) * copies.images.shape[3] for copies in sets)
    tallest = max(copies.images.shape[2] for copies in sets)
    room = (_PAGE - 2 * _MARGIN - (across - 1) * _APART) // across - 2 * _BETWEEN - 3 * side * _GAP
    times = max(1, min(room // widest, round(_LARGEST / tallest)))
    width = widest * times + 3 * side * _GAP + 2 * _BETWEEN
    height = side * (tallest * times + _GAP) + 2 * _LINE
    rows = math.ceil(len(sets) / across)
    with style.look():
        sheet = style.Sheet(
            2 * _MARGIN + across * width + (across - 1) * _APART, 2 * _MARGIN + rows * height + (rows - 1) * _LINE
        )
        for number, copies in enumerate(sets):
            row, column = divmod(number, across)
            left, top = _MARGIN + column * (width + _APART), _MARGIN + row * (height + _LINE)
            parts = [("images", copies.images, side), ("clones", copies.clones[:, 0], side)]
            if copies.repeats > 1:
                parts.append(("of the first", copies.clones[0], _third(copies, side)))
            start = left
            for words, images, columns in parts:
                raster = style.mosaic(images, columns, times, _GAP)
                sheet.show(raster, left, top + _LINE)
                below = top + _LINE + side * (images.shape[2] * times + _GAP) + _LINE // 2
                room = raster.shape[1] + _BETWEEN
                sheet.write(style.fitted_dots(words, room), left + raster.shape[1] / 2, below)
                left += room
            room = left - _BETWEEN - start
            name = style.fitted_dots(copies.name, room, style.NORMAL)
            sheet.write(name, start + room / 2, top + _LINE // 2, style.NORMAL)
    return sheet.figure


def _third(copies: Copies, side: int) -> int:
    """How many images wide the clones of the first image are."""
    return math.ceil(copies.repeats / side) if copies.repeats > 1 else 0


def rows(sets: Sequence[Copies]) -> Figure:
    """A line for each image: the image, then all its clones (Figures 8 to 15).

    Args:
        sets: in order, one above the other.

    Raises:
        UsageError: no set.
    """
    if not sets:
        raise UsageError("nothing to draw: give at least one set of clones")
    longest = max((1 + copies.repeats) * copies.images.shape[3] for copies in sets)
    most = max(copies.repeats for copies in sets)
    tallest = max(copies.images.shape[2] for copies in sets)
    room = _PAGE - 2 * _MARGIN - _BETWEEN - most * _GAP
    times = max(1, min(room // longest, round(_LARGEST / tallest)))
    heights = [_LINE + len(copies.images) * (copies.images.shape[2] * times + _GAP) for copies in sets]
    with style.look():
        width = 2 * _MARGIN + longest * times + _BETWEEN + most * _GAP
        sheet = style.Sheet(width, 2 * _MARGIN + sum(heights) + (len(sets) - 1) * _LINE)
        top = _MARGIN
        for copies, height in zip(sets, heights, strict=True):
            name = style.fitted_dots(copies.name, width - 2 * _MARGIN, style.NORMAL)
            sheet.write(name, width / 2, top + _LINE // 2, style.NORMAL)
            first = style.mosaic(copies.images, 1, times, _GAP)
            flat = copies.clones.reshape(-1, *copies.clones.shape[2:])
            sheet.show(first, _MARGIN, top + _LINE)
            clones = style.mosaic(flat, copies.repeats, times, _GAP)
            sheet.show(clones, _MARGIN + first.shape[1] + _BETWEEN, top + _LINE)
            top += height + _LINE
    return sheet.figure


def table(sets: Sequence[Copies]) -> Iterator[str]:
    """Every clone as a line of a TSV file.

    Columns: set, index (row of the image), label (the clone's class), repeat, and the l2 and l-infinity distance
    between image and clone in [0, 1] units.
    """

    def lines() -> Iterator[tuple[object, ...]]:
        for copies in sets:
            for repeat in range(copies.repeats):
                l2, linf = (
                    norm.distances(norm.keys(copies.images, copies.clones[:, repeat]), np.uint8).tolist()
                    for norm in (L2, LINF)
                )
                for index, label, *apart in zip(copies.index.tolist(), copies.labels.tolist(), l2, linf, strict=True):
                    yield (copies.name, index, label, repeat, *apart)

    yield from tsv("set index label repeat l2 linf", lines())
