"""Pictures of images: points beside their nearest neighbours (Section 3), and images beside their clones (Figures 3, 7
to 15).

Pixels are shown as they are: every pixel of an image is a square of whole dots, in all formats, so neither the picture
nor the program that shows it can blur one into another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure

from datarobust.datasets.contents import class_names, names, pictures
from datarobust.errors import DataError
from datarobust.figures import demand_room, records, style
from datarobust.norms import L2, LEVELS, LINF, norm_of
from datarobust.text import tsv
from datarobust.types import Floats, Images, Rows

if TYPE_CHECKING:
    from datarobust.artifacts import Store

MOST_PAIRS: Final = 200  # more on one picture help nobody
MOST_CLONED: Final = 400  # images of one set

# All lengths are in dots, at style.DPI.
_PAGE: Final = round(style.PAGE * style.DPI)
_SAMPLE: Final = 168  # what the longer side of a sample is about: ten to a page


def mosaic(images: Images, columns: int, times: int, gap: int) -> Images:
    """Images (M, C, H, W), C = 1 or 3, M at least 1, in rows of so many columns, as a raster (height, width, 3).

    Each pixel is a square of ``times`` dots, and ``gap`` white dots are between images.
    """
    count, _, height, width = images.shape
    down, across = height * times + gap, width * times + gap
    raster = np.full((math.ceil(count / columns) * down - gap, columns * across - gap, 3), 255, np.uint8)
    pixels = np.broadcast_to(images.transpose(0, 2, 3, 1), (count, height, width, 3))
    for number, image in enumerate(pixels.repeat(times, axis=1).repeat(times, axis=2)):
        row, column = divmod(number, columns)
        raster[row * down :, column * across :][: height * times, : width * times] = image
    return raster


class Sheet:
    """A figure of rasters that are shown dot for dot, and text between them; all places in dots from the upper left."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self.figure: Figure = style.new_figure(width / style.DPI, height / style.DPI)

    def show(self, raster: Images, left: int, top: int, frame: bool = False) -> None:
        """Put a raster uint8 (height, width, 3) at a place; ``frame`` draws an edge, for images on white."""
        height, width = raster.shape[:2]
        trifle = 1e-4  # inside its dots: rounded outwards, as matplotlib rounds, it must not grow by a dot
        bounds = (
            (left + trifle) / self._width,
            1 - (top + height - trifle) / self._height,
            (width - 2 * trifle) / self._width,
            (height - 2 * trifle) / self._height,
        )
        axes = self.figure.add_axes(bounds, xticks=[], yticks=[])
        axes.imshow(raster, interpolation="nearest", aspect="auto")
        axes.spines[:].set(visible=frame, linewidth=0.4, edgecolor=style.QUIET)

    def write(
        self, text: str, middle: float, line: float, size: float = style.SMALL, room: float = math.inf, **options: Any
    ) -> None:
        """One plain line, :func:`style.fitted` to ``room`` dots, centred at ``middle``, its middle at ``line``."""
        if room < math.inf:
            text = style.fitted(text, room * style.POINTS_PER_INCH / style.DPI, size)
        baseline = line + 0.36 * size * style.DPI / style.POINTS_PER_INCH  # half of a capital letter below
        where = middle / self._width, 1 - baseline / self._height
        self.figure.text(*where, text, size=size, ha="center", va="baseline", **{"parse_math": False} | options)


def draw_samples(samples: Side) -> Figure:
    """Images row by row, each with its class below."""
    step = math.ceil(max(samples.images.shape[2:]) / _SAMPLE)  # of too large images every n-th pixel
    images = samples.images[:, :, ::step, ::step]
    times = max(1, round(_SAMPLE / max(images.shape[2:])))
    height, width = (times * side for side in images.shape[2:])
    across, down = max(width, _SAMPLE // 2) + _PARTS, height + _LINE + _WITHIN
    columns = min(len(images), (_PAGE - 2 * _WITHIN) // across)
    with style.look():
        sheet = Sheet(2 * _WITHIN + columns * across, 2 * _WITHIN + math.ceil(len(images) / columns) * down)
        for number, name in enumerate(samples.names):
            row, column = divmod(number, columns)
            left, top = _WITHIN + column * across, _WITHIN + row * down
            sheet.show(mosaic(images[number : number + 1], 1, times, 0), left + (across - width) // 2, top, frame=True)
            sheet.write(name, left + across / 2, top + height + _LINE / 2, room=across - _WITHIN)
    return sheet.figure


# --------------------------------------------------------------------------------------------------------- pairs

_SIDE: Final = 192  # what the longer side of an image is about, where class names are short
_WIDEST: Final = 270  # where they are long: three pairs to a page then
_LARGEST: Final = 384  # images with a longer side are shown smaller, by whole steps
_WITHIN: Final = 10  # a pair
_BETWEEN: Final = 84  # pairs
_ROWS: Final = 28  # between rows of pairs
_EDGE: Final = 18
_TEXT: Final = 36  # a line of it


@dataclass(frozen=True)
class Side:
    """One image of every pair."""

    images: Images  # (M, C, H, W), C = 1 (grey) or 3 (RGB)
    index: Rows  # (M,) their rows in their set
    labels: Rows  # (M,)
    names: Sequence[str]  # M, of their classes, any text
    called: Sequence[str] | None = None  # M, of the points in their source, any text


def side_of(dataset: Store, rows: Rows) -> Side:
    """These rows of a dataset that has pictures."""
    labels = dataset.column("labels").take(rows)
    return Side(pictures(dataset, rows), rows, labels, class_names(dataset, labels), names(dataset, rows))


def least_robust_pairs(distance: Floats, neighbour: Rows, within: bool, most: int) -> Rows:
    """Rows of the least robust points of finite distance; of two that are each other's neighbour the first.

    ``within``: whether neighbours are of the same set.
    """
    order = np.argsort(distance, kind="stable")
    order = order[np.isfinite(distance[order])][: 2 * most]
    pairs: set[tuple[int, int]] = set()
    rows = []
    for row, other in zip(order.tolist(), neighbour[order].tolist(), strict=True):
        if not within or (other, row) not in pairs:
            rows.append(row)
        pairs.add((row, other))
    return np.array(rows[:most], np.int64)


def distances(points: Side, neighbours: Side, norm: str) -> Floats:
    """The distance of every pair in [0, 1] units, (M,), taken of exact integers."""
    return norm_of(norm).distances(norm_of(norm).keys(points.images, neighbours.images), np.uint8)


def draw_pairs(
    points: Side, neighbours: Side, norm: str, claimed: Floats | None = None, of_features: Floats | None = None
) -> Figure:
    """Each point at the left of its neighbour, their classes, rows and names below, their distance above.

    The distance is that of the two images as they are shown, decimal; where all distances in the norm are whole steps
    of a byte, as in l-infinity, as ``k/255`` too. Where a ranking has ``claimed`` distances (M,), they must be those.
    Distances ``of_features`` (M,) stand in place of those of the images.
    """
    record, count, shape = norm_of(norm), len(points.index), points.images.shape
    if shape[1] not in (1, 3):
        raise DataError(f"images of shape {shape[1:]} (C, H, W) are neither grey (C = 1) nor RGB (C = 3).")
    if neighbours.images.shape != shape:
        raise DataError(f"points and neighbours are images of two shapes, {shape} and {neighbours.images.shape}.")
    distance = distances(points, neighbours, norm) if of_features is None else of_features
    if claimed is not None and not (close := np.isclose(distance, claimed, rtol=1e-9, atol=0.0)).all():
        wrong = int(close.argmin())
        pair = f"point {points.index[wrong]} and its neighbour {neighbours.index[wrong]}"
        apart = f"lie {distance[wrong]:.6g} apart ({norm}), but the ranking says {claimed[wrong]:.6g}"
        raise DataError(f"{pair} {apart}: make the ranking anew.")

    # An image is about as wide as its class's name below, within limits.
    files = [[_file(name) for name in side.called or ()] for side in (points, neighbours)]
    known = {style.plain(name[:100]) for name in (*points.names, *neighbours.names, *chain(*files))}
    widest = math.ceil(max(style.width_of(name, style.SMALL) for name in known) * style.DPI / style.POINTS_PER_INCH)
    slot = min(max(_SIDE, widest + _WITHIN), _WIDEST)
    step = math.ceil(max(shape[2:]) / _LARGEST)  # of too large images every n-th pixel
    sides = [(side, side.images[:, :, ::step, ::step]) for side in (points, neighbours)]
    height, width = sides[0][1].shape[2:]
    times = max(1, round(slot / max(height, width)))
    height, width = height * times, width * times
    slot = max(width, slot)  # narrow images stand in the middle of theirs: names need the room
    named = any(side.called is not None for side, _ in sides)
    across, down = 2 * slot + _WITHIN + _BETWEEN, height + (3 + named) * _TEXT + _ROWS
    columns = min(count, max(1, (_PAGE - 2 * _EDGE + _BETWEEN // 2) // across), 4)
    edge = _EDGE + _BETWEEN // 4  # a long distance is a little wider than its pair
    with style.look():
        sheet = Sheet(2 * edge + columns * across - _BETWEEN, 2 * _EDGE + math.ceil(count / columns) * down - _ROWS)
        for number in range(count):
            row, column = divmod(number, columns)
            left, top = edge + column * across, _EDGE + row * down
            steps = f"{round(distance[number] * LEVELS)}/255 = " if record.whole and of_features is None else ""
            text = f"{record.symbol}: {steps}{distance[number]:.4f}"
            if of_features is not None:
                text = f"{record.symbol} of features: {distance[number]:.4g}"
            sheet.write(text, left + slot + _WITHIN / 2, top + _TEXT / 2 - 8, style.NORMAL, parse_math=True)
            places = (left, left + slot + _WITHIN)
            for (side, images), called, x in zip(sides, files, places, strict=True):
                raster = mosaic(images[number : number + 1], 1, times, 0)
                sheet.show(raster, x + (slot - width) // 2, top + _TEXT, frame=True)
                middle, line = x + slot / 2, top + _TEXT + height + _TEXT / 2 + 2
                sheet.write(side.names[number], middle, line, room=slot - _WITHIN)
                sheet.write(f"{side.index[number]}", middle, line + _TEXT, color=style.QUIET)
                if called:
                    sheet.write(called[number], middle, line + 2 * _TEXT, room=slot - _WITHIN, color=style.QUIET)
    return sheet.figure


def _file(name: str) -> str:
    """The last part of a path: the folder is mostly the class, which stands above it."""
    return name.rstrip("/").rpartition("/")[2]


def table_of_pairs(points: Side, neighbours: Side, norm: str, of_features: Floats | None = None) -> Iterator[str]:
    """The pairs as lines of a TSV file; labels as ``sens-rank`` prints them, distances as they are drawn."""
    apart = distances(points, neighbours, norm) if of_features is None else of_features
    places = (points.index, apart, neighbours.index)
    classes = (points.labels, neighbours.labels, points.names, neighbours.names)
    called = [side.called for side in (points, neighbours)]
    header, columns = "index distance neighbour label neighbour_label class neighbour_class", [*places, *classes]
    if called != [None, None]:
        header += " name neighbour_name"
        columns += [[""] * len(points.index) if column is None else column for column in called]
    return tsv(header, records(*columns))


# -------------------------------------------------------------------------------------------------------- clones

_GAP: Final = 4  # between images
_PARTS: Final = 24  # between squares
_APART: Final = 60  # between sets
_LINE: Final = 40  # of text
_MARGIN: Final = 20
_TALLEST: Final = 112  # what the longer side of an image is about, where there is room


@dataclass(frozen=True)
class Copies:
    """Images of one set with their clones."""

    name: str  # any text
    images: Images  # (M, C, H, W), C = 1 (grey) or 3 (RGB)
    clones: Images  # (M, R, C, H, W)
    index: Rows  # (M,) rows of the images in their dataset
    labels: Rows  # (M,) the classes that the clones were made for
    names: Sequence[str] | None = None  # M, of the points in their source, any text
    classes: Sequence[str] = ()  # M, names of their classes, any text; needed beside names

    def __post_init__(self) -> None:
        if not len(self.images) or self.images.shape[1] not in (1, 3):
            raise DataError(f"{self.name}: images of shape {self.images.shape[1:]} are neither grey nor RGB")
        demand_room(self.images, "images", MOST_CLONED)

    @property
    def repeats(self) -> int:
        """R, clones of each image."""
        return int(self.clones.shape[1])


def copies_of(name: str, clones: Store, dataset: Store, most: int) -> Copies:
    """The first ``most`` points of a set of clones, with their images in its dataset."""
    end = min(most, len(clones))
    index, labels = (np.asarray(clones.column(key).read(0, end), np.int64) for key in ("index", "labels"))
    images, copies = dataset.column("images").take(index), clones.column("images").read(0, end)
    return Copies(name, images, copies, index, labels, names(dataset, index), class_names(dataset, labels))


def squares(sets: Sequence[Copies]) -> Figure:
    """For each set a square of its images, one of their first clones, and all clones of the first image (Figures 3, 7).

    The third part is left out where there is one clone of each. Sets stand in order, two in a row.
    """
    side = math.ceil(math.sqrt(max(len(copies.images) for copies in sets)))
    across = min(2, len(sets))
    thirds = [math.ceil(copies.repeats / side) if copies.repeats > 1 else 0 for copies in sets]  # columns
    widest = max((2 * side + third) * copies.images.shape[3] for copies, third in zip(sets, thirds, strict=True))
    tallest = max(copies.images.shape[2] for copies in sets)
    room = (_PAGE - 2 * _MARGIN - (across - 1) * _APART) // across - 2 * _PARTS - 3 * side * _GAP
    times = max(1, min(room // widest, round(_TALLEST / tallest)))
    width = widest * times + 3 * side * _GAP + 2 * _PARTS
    height = side * (tallest * times + _GAP) + 2 * _LINE
    rows = math.ceil(len(sets) / across)
    edges = 2 * _MARGIN - _APART, 2 * _MARGIN - _LINE
    with style.look():
        sheet = Sheet(across * (width + _APART) + edges[0], rows * (height + _LINE) + edges[1])
        for number, (copies, third) in enumerate(zip(sets, thirds, strict=True)):
            row, column = divmod(number, across)
            left = start = _MARGIN + column * (width + _APART)
            top = _MARGIN + row * (height + _LINE)
            parts = [("images", copies.images, side), ("clones", copies.clones[:, 0], side)]
            parts += [("of the first", copies.clones[0], third)] if third else []
            for words, images, columns in parts:
                raster = mosaic(images, columns, times, _GAP)
                sheet.show(raster, left, top + _LINE)
                below = top + _LINE + side * (images.shape[2] * times + _GAP) + _LINE // 2
                sheet.write(words, left + raster.shape[1] / 2, below, room=raster.shape[1] + _PARTS)
                left += raster.shape[1] + _PARTS
            room = left - _PARTS - start
            sheet.write(copies.name, start + room / 2, top + _LINE // 2, style.NORMAL, room)
    return sheet.figure


def rows(sets: Sequence[Copies]) -> Figure:
    """A line for each image, the image, then all its clones, set after set (Figures 8 to 15)."""
    longest = max((1 + copies.repeats) * copies.images.shape[3] for copies in sets)
    most = max(copies.repeats for copies in sets)
    tallest = max(copies.images.shape[2] for copies in sets)
    room = _PAGE - 2 * _MARGIN - _PARTS - most * _GAP
    times = max(1, min(room // longest, round(_TALLEST / tallest)))
    heights = [_LINE + len(copies.images) * (copies.images.shape[2] * times + _GAP) for copies in sets]
    with style.look():
        width = 2 * _MARGIN + longest * times + _PARTS + most * _GAP
        sheet = Sheet(width, 2 * _MARGIN + sum(heights) + (len(sets) - 1) * _LINE)
        top = _MARGIN
        for copies, height in zip(sets, heights, strict=True):
            sheet.write(copies.name, width / 2, top + _LINE // 2, style.NORMAL, width - 2 * _MARGIN)
            first = mosaic(copies.images, 1, times, _GAP)
            clones = mosaic(copies.clones.reshape(-1, *copies.clones.shape[2:]), copies.repeats, times, _GAP)
            sheet.show(first, _MARGIN, top + _LINE)
            sheet.show(clones, _MARGIN + first.shape[1] + _PARTS, top + _LINE)
            top += height + _LINE
    return sheet.figure


def table_of_clones(sets: Sequence[Copies]) -> Iterator[str]:
    """Every clone as a line of a TSV file, with its distances to its image in [0, 1] units."""
    named = any(copies.names is not None for copies in sets)

    def lines() -> Iterator[tuple[object, ...]]:
        for copies in sets:
            words = [copies.names or [""] * len(copies.index), copies.classes] if named else []
            for repeat, clones in enumerate(copies.clones.swapaxes(0, 1)):
                apart = (norm.distances(norm.keys(copies.images, clones), np.uint8) for norm in (L2, LINF))
                for index, label, *rest in records(copies.index, copies.labels, *apart, *words):
                    yield (copies.name, index, label, repeat, *rest)

    return tsv(f"set index label repeat l2 linf{' name class' if named else ''}", lines())
