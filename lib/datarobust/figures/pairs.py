"""Points beside their nearest neighbours with another label, the pairs whose distance is r(x) in Section 3.

Pixels are shown as they are: every pixel of an image is a square of whole dots, in all formats, so neither the picture
nor the program that shows it can blur one into another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.norms import LEVELS, norm_of
from datarobust.text import tsv
from datarobust.types import Floats, Images, Rows

#: More than this on one picture helps nobody.
MOST: Final = 200

# Dots, at style.DPI.
_SIDE: Final = 192  # what the longer side of an image is about, where class names are short
_WIDEST: Final = 270  # where they are long: three pairs to a page then
_LARGEST: Final = 384  # images with a longer side are shown smaller, by whole steps
_GAP: Final = 10  # within a pair
_BETWEEN: Final = 84  # between pairs
_ROWS: Final = 28  # between rows of pairs
_MARGIN: Final = 18
_LINE: Final = 36  # of text
_MOST_COLUMNS: Final = 4


@dataclass(frozen=True)
class Side:
    """One image of every pair.

    Attributes:
        images: uint8 (M, C, H, W), C = 1 (grey) or 3 (RGB).
        index: (M,) their rows in their set.
        labels: int64 (M,).
        names: M names of their classes, any text.
    """

    images: Images
    index: Rows
    labels: Rows
    names: Sequence[str]


def distances(points: Side, neighbours: Side, norm: str) -> Floats:
    """The distance of every pair in [0, 1] units, (M,), taken of exact integers."""
    return norm_of(norm).distances(norm_of(norm).keys(points.images, neighbours.images), np.uint8)


def demand_count(count: int) -> None:
    """Refuse more pairs, or fewer, than one picture can show.

    Raises:
        UsageError: ``count`` is not from 1 to :data:`MOST`.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count:,} pairs cannot be shown on one picture: choose 1 to {MOST}.")


def draw(points: Side, neighbours: Side, norm: str, claimed: Floats | None = None) -> Figure:
    """Each point at the left of its neighbour, their classes and rows below, their distance above.

    The distance is that of the two images as they are shown, decimal; where all distances in the norm are whole steps
    of a byte, as in l-infinity, as ``k/255`` too.

    Args:
        points: in the order in which they are shown, row by row.
        neighbours: one for each.
        norm: of the distances.
        claimed: (M,) the distances according to a ranking; they must be those of the images.

    Raises:
        DataError: images that are neither grey nor RGB, or of two sizes, or not as far apart as claimed.
        UsageError: no pairs, more than :data:`MOST`, or an unknown norm.
    """
    record, count, shape = norm_of(norm), len(points.index), points.images.shape
    demand_count(count)
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise DataError(f"images of shape {shape[1:]} (C, H, W) are neither grey (C = 1) nor RGB (C = 3).")
    if neighbours.images.shape != shape:
        raise DataError(f"points and neighbours are images of two shapes, {shape} and {neighbours.images.shape}.")
    distance = distances(points, neighbours, norm)
    wrong = [] if claimed is None else np.flatnonzero(~np.isclose(distance, claimed, rtol=1e-9, atol=0.0)).tolist()
    if claimed is not None and wrong:
        raise DataError(
            f"point {points.index[wrong[0]]} and its neighbour {neighbours.index[wrong[0]]} lie "
            f"{distance[wrong[0]]:.6g} apart ({norm}), but the ranking says {claimed[wrong[0]]:.6g}: make the ranking "
            "anew."
        )

    # An image is about as wide as its class's name below, within limits.
    known = {style.plain(name[:100]) for name in (*points.names, *neighbours.names)}
    widest = math.ceil(max(style.width_of(name, style.SMALL) for name in known) * style.DPI / style.POINTS_PER_INCH)
    slot = min(max(_SIDE, widest + _GAP), _WIDEST)
    step = math.ceil(max(shape[2:]) / _LARGEST)  # of too large images every n-th pixel
    sides = [(side, side.images[:, :, ::step, ::step]) for side in (points, neighbours)]
    height, width = sides[0][1].shape[2:]
    times = max(1, round(slot / max(height, width)))
    height, width = height * times, width * times
    slot = max(width, slot)  # narrow images stand in the middle of theirs: names need the room
    across, down = 2 * slot + _GAP + _BETWEEN, height + 3 * _LINE + _ROWS
    fitting = max(1, (round(style.PAGE * style.DPI) - 2 * _MARGIN + _BETWEEN // 2) // across)
    columns = min(count, fitting, _MOST_COLUMNS)
    edge = _MARGIN + _BETWEEN // 4  # a long distance is a little wider than its pair
    with style.look():
        sheet = style.Sheet(
            2 * edge + columns * across - _BETWEEN, 2 * _MARGIN + math.ceil(count / columns) * down - _ROWS
        )
        for number in range(count):
            row, column = divmod(number, columns)
            left, top = edge + column * across, _MARGIN + row * down
            steps = f"{round(distance[number] * LEVELS)}/255 = " if record.whole else ""
            text = f"{record.symbol}: {steps}{distance[number]:.4f}"
            sheet.write(text, left + slot + _GAP / 2, top + _LINE / 2 - 8, style.NORMAL, parse_math=True)
            for (side, images), x in zip(sides, (left, left + slot + _GAP), strict=True):
                raster = style.mosaic(images[number : number + 1], 1, times, 0)
                sheet.show(raster, x + (slot - width) // 2, top + _LINE, frame=True)
                middle, line = x + slot / 2, top + _LINE + height + _LINE / 2 + 2
                sheet.write(style.fitted_dots(side.names[number], slot - _GAP), middle, line)
                sheet.write(f"{side.index[number]}", middle, line + _LINE, color=style.QUIET)
    return sheet.figure


def table(points: Side, neighbours: Side, norm: str) -> Iterator[str]:
    """The pairs as lines of a TSV file.

    Columns: index, distance, neighbour, label, neighbour's label (as ``sens-rank`` prints them), both classes' names.

    Args:
        points: in order.
        neighbours: one for each.
        norm: of the distances.
    """
    yield from tsv(
        "index distance neighbour label neighbour_label class neighbour_class",
        zip(
            points.index.tolist(),
            distances(points, neighbours, norm).tolist(),
            neighbours.index.tolist(),
            points.labels.tolist(),
            neighbours.labels.tolist(),
            points.names,
            neighbours.names,
            strict=True,
        ),
    )
