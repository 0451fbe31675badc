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
from numpy.typing import NDArray

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.norms import norm_of

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
_TRIFLE: Final = 1e-4
_PAGE: Final = 1950  # 6.5 inches

_MOST_COLUMNS: Final = 4


@dataclass(frozen=True)
class Side:
    """One image of every pair.

    Attributes:
        images: uint8, (M, C, H, W), C = 1 (grey) or 3 (RGB).
        index: int64, (M,), their rows in their set.
        labels: int64, (M,).
        names: M names of their classes, any text.
    """

    images: NDArray[np.uint8]
    index: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: Sequence[str]


def separation(points: NDArray[np.uint8], neighbours: NDArray[np.uint8], norm: str) -> NDArray[np.int64]:
    """How far the two images of every pair lie apart, exact, in units of the pixels: l2 squared or l_inf.

    Args:
        points: (M, C, H, W) uint8.
        neighbours: The same shape.
        norm: ``"l2"`` or ``"linf"``.

    Returns:
        (M,) int64: the distance in [0, 1] units is sqrt(value)/255 for l2 and value/255 for l_inf.
    """
    return norm_of(norm).keys(points, neighbours)


def distances(points: Side, neighbours: Side, norm: str) -> NDArray[np.float64]:
    """The distance of every pair in [0, 1] units, (M,) float64."""
    return norm_of(norm).distances(separation(points.images, neighbours.images, norm), np.uint8)


def demand_count(count: int) -> None:
    """Refuse more pairs, or fewer, than one picture can show.

    Raises:
        UsageError: ``count`` is not from 1 to :data:`MOST`.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count:,} pairs cannot be shown on one picture: choose 1 to {MOST}.")


def draw(points: Side, neighbours: Side, norm: str, claimed: NDArray[np.float64] | None = None) -> Figure:
    """Each point at the left of its neighbour, their classes and rows below, their distance above.

    The distance is that of the two images as they are shown: ``k/255`` and decimal for l_inf, decimal for l2.

    Args:
        points: In the order in which they are shown, row by row.
        neighbours: One for each.
        norm: ``"l2"`` or ``"linf"``.
        claimed: (M,) float64, the distances according to a ranking; they must be those of the images.

    Raises:
        DataError: Images that are neither grey nor RGB, or of two sizes, or not as far apart as claimed.
        UsageError: No pairs, more than :data:`MOST`, or an unknown norm.
    """
    _check(points, neighbours, norm)
    if claimed is not None:
        _compare(points, neighbours, norm, claimed)
    apart = separation(points.images, neighbours.images, norm)
    slot = _slot([*points.names, *neighbours.names])
    sheet = _Sheet(slot, _enlarged(points.images, slot), _enlarged(neighbours.images, slot))
    with style.look():
        figure = style.new_figure(sheet.width / style.DPI, sheet.height / style.DPI)
        for number in range(len(apart)):
            left, top = sheet.corner(number)
            middle = left + sheet.slot + _GAP / 2
            sheet.write(figure, middle, top + _LINE / 2 - 8, _told(int(apart[number]), norm), size=style.NORMAL)
            for side, images, x in (
                (points, sheet.left, left),
                (neighbours, sheet.right, left + sheet.slot + _GAP),
            ):
                sheet.show(figure, images[number], x + (sheet.slot - sheet.across) // 2, top + _LINE)
                room = (sheet.slot - _GAP) * style.POINTS_PER_INCH / style.DPI
                name = style.fitted(side.names[number], room, style.SMALL)
                x, y = x + sheet.slot / 2, top + _LINE + sheet.down + _LINE / 2 + 2
                sheet.write(figure, x, y, name, plain=True)
                sheet.write(figure, x, y + _LINE, f"{side.index[number]}", color=style.QUIET)
    return figure


def table(points: Side, neighbours: Side, norm: str) -> Iterator[str]:
    """The pairs as lines of a TSV file, a header first.

    Columns: index, distance, neighbour, label, neighbour's label (as ``sens-rank`` prints them), both classes' names.

    Args:
        points: In order.
        neighbours: One for each.
        norm: ``"l2"`` or ``"linf"``.
    """
    yield "index\tdistance\tneighbour\tlabel\tneighbour_label\tclass\tneighbour_class\n"
    for number, distance in enumerate(distances(points, neighbours, norm).tolist()):
        label, other = points.labels[number], neighbours.labels[number]
        names = "\t".join(" ".join(side.names[number].split()) for side in (points, neighbours))
        yield f"{points.index[number]}\t{distance!r}\t{neighbours.index[number]}\t{label}\t{other}\t{names}\n"


def _told(apart: int, norm: str) -> str:
    symbol = norm_of(norm).symbol
    if norm == "linf":
        return f"{symbol}: {apart}/255 = {apart / 255:.4f}"
    return f"{symbol}: {math.sqrt(apart) / 255:.4f}"


def _check(points: Side, neighbours: Side, norm: str) -> None:
    norm_of(norm)
    demand_count(len(points.index))
    shape = points.images.shape
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise DataError(f"images of shape {shape[1:]} (C, H, W) are neither grey (C = 1) nor RGB (C = 3).")
    if neighbours.images.shape != shape:
        raise DataError(f"points and neighbours are images of two shapes, {shape} and {neighbours.images.shape}.")


def _compare(points: Side, neighbours: Side, norm: str, claimed: NDArray[np.float64]) -> None:
    found = distances(points, neighbours, norm)
    wrong = np.flatnonzero(~np.isclose(found, claimed, rtol=1e-9, atol=0.0))
    if wrong.size:
        first = int(wrong[0])
        raise DataError(
            f"point {points.index[first]} and its neighbour {neighbours.index[first]} lie {found[first]:.6g} apart "
            f"({norm}), but the ranking says {claimed[first]:.6g}: make the ranking anew."
        )


def _slot(names: Sequence[str]) -> int:
    """How wide an image should be for its class's name to fit below, within limits."""
    widest = max(style.width_of(style.plain(name[:100]), style.SMALL) for name in set(names))
    return min(max(_SIDE, math.ceil(widest * style.DPI / style.POINTS_PER_INCH) + _GAP), _WIDEST)


def _enlarged(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(M, C, H, W) as (M, h, w, 3), each pixel a square of whole dots, the longer side about ``side``; of too large
    images every n-th pixel.
    """
    longer = max(images.shape[2:])
    step = math.ceil(longer / _LARGEST)
    shown = images[:, :, ::step, ::step].transpose(0, 2, 3, 1)
    times = max(1, round(side / max(shown.shape[1:3])))
    return np.broadcast_to(shown, (*shown.shape[:3], 3)).repeat(times, axis=1).repeat(times, axis=2)


class _Sheet:
    """Where everything goes, in dots from the upper left corner."""

    def __init__(self, slot: int, left: NDArray[np.uint8], right: NDArray[np.uint8]) -> None:
        self.left, self.right = left, right
        count = len(left)
        self.down, self.across = left.shape[1:3]
        self.slot = max(self.across, slot)  # narrow images stand in the middle of theirs: names need the room
        pair = 2 * self.slot + _GAP
        fitting = max(1, (_PAGE - 2 * _MARGIN + _BETWEEN // 2) // (pair + _BETWEEN))
        self.columns = min(count, fitting, _MOST_COLUMNS)
        self.rows = math.ceil(count / self.columns)
        self._step = (pair + _BETWEEN, self.down + 3 * _LINE + _ROWS)
        self._side = _MARGIN + _BETWEEN // 4  # a long distance is a little wider than its pair
        self.width = 2 * self._side + self.columns * self._step[0] - _BETWEEN
        self.height = 2 * _MARGIN + self.rows * self._step[1] - _ROWS

    def corner(self, number: int) -> tuple[int, int]:
        row, column = divmod(number, self.columns)
        return self._side + column * self._step[0], _MARGIN + row * self._step[1]

    def show(self, figure: Figure, image: NDArray[np.uint8], left: int, top: int) -> None:
        # A trifle inside its dots: rounded outwards, as matplotlib rounds, an image must not grow by a dot.
        bounds = (
            (left + _TRIFLE) / self.width,
            1 - (top + self.down - _TRIFLE) / self.height,
            (self.across - 2 * _TRIFLE) / self.width,
            (self.down - 2 * _TRIFLE) / self.height,
        )
        axes = figure.add_axes(bounds, xticks=[], yticks=[])
        axes.imshow(image, interpolation="nearest", aspect="auto")
        for spine in axes.spines.values():  # an edge for images on white
            spine.set(visible=True, linewidth=0.4, edgecolor=style.QUIET)

    def write(
        self,
        figure: Figure,
        x: float,
        y: float,
        text: str,
        *,
        size: float = style.SMALL,
        color: str = style.INK,
        plain: bool = False,
    ) -> None:
        figure.text(
            x / self.width,
            1 - (y + 0.36 * size * style.DPI / style.POINTS_PER_INCH) / self.height,  # half of a capital letter
            text,
            size=size,
            color=color,
            ha="center",
            va="baseline",
            parse_math=not plain,
        )
