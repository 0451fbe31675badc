"""Images and what a diffusion model made of them: Figure 3, and Figures 7 to 15 of Appendix B."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.mosaic import Sheet, mosaic
from datarobust.norms import L2, LINF

MOST: Final = 400
"""Images of one set on a picture."""

# Dots.
_PAGE: Final = 1950
_GAP: Final = 4  # between images
_BETWEEN: Final = 24  # between squares
_APART: Final = 60  # between sets
_LINE: Final = 40  # of text
_MARGIN: Final = 20
_LARGEST: Final = 112  # what the longer side of an image is about, where there is room
_ACROSS: Final = 2  # sets in a row


@dataclass(frozen=True)
class Copies:
    """Images of one set with their clones.

    Attributes:
        name: what the picture calls the set; any text.
        images: uint8 (M, C, H, W), C = 1 (grey) or 3 (RGB).
        clones: uint8 (M, R, C, H, W).
        index: int64 (M), rows of the images in their dataset.
        labels: int64 (M), the classes that the clones were made for.

    Raises:
        DataError: nothing to show, or images that are neither grey nor RGB.
        UsageError: more images than :data:`MOST`.
    """

    name: str
    images: NDArray[np.uint8]
    clones: NDArray[np.uint8]
    index: NDArray[np.int64]
    labels: NDArray[np.int64]

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
    side = math.ceil(math.sqrt(max(len(one.images) for one in sets)))
    across = min(_ACROSS, len(sets))
    widest = max(_columns(one, side) * one.images.shape[3] for one in sets)
    tallest = max(one.images.shape[2] for one in sets)
    room = (_PAGE - 2 * _MARGIN - (across - 1) * _APART) // across - 2 * _BETWEEN - 3 * side * _GAP
    times = max(1, min(room // widest, round(_LARGEST / tallest)))
    width = widest * times + 3 * side * _GAP + 2 * _BETWEEN
    height = side * (tallest * times + _GAP) + 2 * _LINE
    rows = math.ceil(len(sets) / across)
    with style.look():
        sheet = Sheet(
            2 * _MARGIN + across * width + (across - 1) * _APART, 2 * _MARGIN + rows * height + (rows - 1) * _LINE
        )
        for number, one in enumerate(sets):
            row, column = divmod(number, across)
            _square(sheet, one, side, times, (_MARGIN + column * (width + _APART), _MARGIN + row * (height + _LINE)))
    return sheet.figure


def _columns(one: Copies, side: int) -> int:
    """How many images wide a set is."""
    return 2 * side + (math.ceil(one.repeats / side) if one.repeats > 1 else 0)


def _square(sheet: Sheet, one: Copies, side: int, times: int, corner: tuple[int, int]) -> None:
    left, top = corner
    parts = [("images", one.images, side), ("clones", one.clones[:, 0], side)]
    if one.repeats > 1:
        parts.append(("of the first", one.clones[0], math.ceil(one.repeats / side)))
    begin = left
    for words, images, columns in parts:
        raster = mosaic(images, columns, times, _GAP)
        sheet.show(raster, left, top + _LINE)
        below = top + _LINE + side * (images.shape[2] * times + _GAP) + _LINE // 2
        sheet.write(words, left + raster.shape[1] / 2, below, room=raster.shape[1] + _BETWEEN)
        left += raster.shape[1] + _BETWEEN
    width = left - _BETWEEN - begin
    sheet.write(one.name, begin + width / 2, top + _LINE // 2, style.NORMAL, room=width)


def rows(sets: Sequence[Copies]) -> Figure:
    """A line for each image: the image, then all its clones (Figures 8 to 15).

    Args:
        sets: in order, one above the other.

    Raises:
        UsageError: no set.
    """
    if not sets:
        raise UsageError("nothing to draw: give at least one set of clones")
    longest = max((1 + one.repeats) * one.images.shape[3] for one in sets)
    most = max(one.repeats for one in sets)
    tallest = max(one.images.shape[2] for one in sets)
    room = _PAGE - 2 * _MARGIN - _BETWEEN - most * _GAP
    times = max(1, min(room // longest, round(_LARGEST / tallest)))
    heights = [_LINE + len(one.images) * (one.images.shape[2] * times + _GAP) for one in sets]
    with style.look():
        width = 2 * _MARGIN + longest * times + _BETWEEN + most * _GAP
        sheet = Sheet(width, 2 * _MARGIN + sum(heights) + (len(sets) - 1) * _LINE)
        top = _MARGIN
        for one, height in zip(sets, heights, strict=True):
            sheet.write(one.name, width / 2, top + _LINE // 2, style.NORMAL, room=width - 2 * _MARGIN)
            first = mosaic(one.images, 1, times, _GAP)
            flat = one.clones.reshape(-1, *one.clones.shape[2:])
            sheet.show(first, _MARGIN, top + _LINE)
            sheet.show(mosaic(flat, one.repeats, times, _GAP), _MARGIN + first.shape[1] + _BETWEEN, top + _LINE)
            top += height + _LINE
    return sheet.figure


def table(sets: Sequence[Copies]) -> Iterator[str]:
    """Every clone as a line of a TSV file, a header first.

    Columns: set, index (row of the image), label (the clone's class), repeat, and the l2 and l-infinity distance
    between image and clone in [0, 1] units.
    """
    yield "set\tindex\tlabel\trepeat\tl2\tlinf\n"
    for one in sets:
        name = " ".join(one.name.split())
        for repeat in range(one.repeats):
            apart = [norm.distances(norm.keys(one.images, one.clones[:, repeat]), np.uint8) for norm in (L2, LINF)]
            for place, (l2, linf) in enumerate(zip(*(part.tolist() for part in apart), strict=True)):
                yield f"{name}\t{one.index[place]}\t{one.labels[place]}\t{repeat}\t{l2!r}\t{linf!r}\n"
