"""A map in a report: each point tells what it is where the pointer rests on it, and shows its image; no script runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from datarobust.artifacts import Store
from datarobust.datasets.contents import class_names, picture_shape, pictures
from datarobust.datasets.contents import names as point_names
from datarobust.figures import map as maps
from datarobust.figures import style
from datarobust.figures.images import mosaic
from datarobust.figures.report_parts import Picture, drawn, fixed, part

_SCALE: Final = 1.35
_MOST: Final = 2000  # points that tell something
_SIDE: Final = 48  # longer side of an image on the sprite, at most
_SMALL: Final = 400_000  # bytes of pixels, up to which the sprite is a PNG; else it is a JPEG
_SHOWN: Final = 84.0  # longer side of an image that is shown, in units of the drawing


@dataclass(frozen=True)
class Dot:
    """A point on the map."""

    x: float
    y: float
    words: str
    column: int  # of the sprite
    row: int
    left: float  # of its image where it is shown
    top: float


@dataclass(frozen=True)
class Sprite:
    """The images of all points as one."""

    anchor: str
    source: Markup
    width: int
    height: int
    tile: tuple[int, int]  # width and height
    shown: tuple[float, float]


def shown_map(anchor: str, name: str, store: Store, dataset: Store | None) -> Markup:
    """An embedding as ``figure map`` draws it, with the names of its points, and their images where those are known."""
    figure = maps.draw([maps.map_of(store, name)])
    words = "The least robust points are large and red."
    index = store.column("index").read()
    if len(index) > _MOST:
        return drawn(figure, f"Map of {len(index):,} points", words, _SCALE)
    size = [_SCALE * 96.0 * side for side in figure.get_size_inches()]
    picture = Picture("image/svg+xml", style.picture(figure, "svg"), *size).bare(f"Map of {len(index):,} points")
    places = _places(figure, store.column("position").read())
    width, height = (96.0 * side for side in figure.get_size_inches())
    sprite = None if dataset is None else _sprite(anchor, dataset, index)
    columns = 1 if sprite is None else sprite.width // sprite.tile[0]
    wide, high = (0.0, 0.0) if sprite is None else sprite.shown
    dots = []
    for number, ((x, y), about) in enumerate(
        zip((places * (width, height)).tolist(), _about(store, dataset), strict=True)
    ):
        left, top = (x + 8 if x < width / 2 else x - wide - 8), (y + 8 if y < height / 2 else y - high - 8)
        dots.append(Dot(x, y, about, number % columns, number // columns, left, top))
    words += " Rest the pointer on a point to see what it is."
    return part("map_of_points", picture=picture, dots=dots, sprite=sprite, width=width, height=height, caption=words)


def _places(figure: Figure, position: np.ndarray) -> np.ndarray:
    """Where points were drawn, (M, 2), as shares of the figure from its upper left corner."""
    drawn_at = figure.axes[0].transData.transform(position) / (figure.bbox.width, figure.bbox.height)
    return np.stack([drawn_at[:, 0], 1 - drawn_at[:, 1]], axis=1)


def _about(store: Store, dataset: Store | None) -> list[str]:
    """Row, class, name and robustness of every point, in words."""
    index = store.column("index").read()
    distance = fixed(store.column("distance").read().tolist())
    names = point_names(store) or (None if dataset is None else point_names(dataset, index)) or [""] * len(index)
    classes = [""] * len(index)
    if dataset is not None:
        classes = class_names(dataset, np.asarray(dataset.column("labels").take(index), np.int64))
    rows = zip(index.tolist(), classes, names, distance, strict=True)
    return [", ".join(filter(None, [called, f"row {row}", label, f"r = {r}"])) for row, label, called, r in rows]


def _sprite(anchor: str, dataset: Store, index: np.ndarray) -> Sprite | None:
    shape = picture_shape(dataset)
    if shape is None or shape[0] not in (1, 3):
        return None
    images = pictures(dataset, index)
    step = math.ceil(max(images.shape[2:]) / _SIDE)
    images = images[:, :, ::step, ::step]
    height, width = images.shape[2:]
    raster = mosaic(images, math.ceil(math.sqrt(len(images))), 1, 0)
    form: Literal["PNG", "JPEG"] = "PNG" if raster.nbytes <= _SMALL else "JPEG"
    source = Picture.of(raster.transpose(2, 0, 1), max(raster.shape), form).source
    scale = _SHOWN / max(width, height)
    size = raster.shape[1], raster.shape[0]
    return Sprite(f"sprite-{anchor}", source, *size, (width, height), (width * scale, height * scale))
