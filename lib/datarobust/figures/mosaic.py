"""Images side by side in one raster, and a sheet that shows rasters without blurring a pixel."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from datarobust.figures import style

WHITE: Final = 255
_TRIFLE: Final = 1e-4


def mosaic(images: NDArray[np.uint8], columns: int, times: int, gap: int) -> NDArray[np.uint8]:
    """Images in rows of so many columns, each pixel a square of ``times`` dots, ``gap`` white dots between images.

    Args:
        images: uint8 (M, C, H, W), C = 1 or 3; M at least 1.
        columns: images in a row; the last row may have fewer.
        times: dots a pixel.
        gap: dots between images.

    Returns:
        uint8 (height, width, 3).
    """
    count, _, height, width = images.shape
    rows = math.ceil(count / columns)
    down, across = height * times + gap, width * times + gap
    found = np.full((rows * down - gap, columns * across - gap, 3), WHITE, np.uint8)
    colour = np.broadcast_to(images.transpose(0, 2, 3, 1), (count, height, width, 3))
    for number, image in enumerate(colour.repeat(times, axis=1).repeat(times, axis=2)):
        row, column = divmod(number, columns)
        top, left = row * down, column * across
        found[top : top + height * times, left : left + width * times] = image
    return found


class Sheet:
    """A figure measured in dots from its upper left corner, :data:`datarobust.figures.style.DPI` to an inch."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self.figure: Figure = style.new_figure(width / style.DPI, height / style.DPI)

    def show(self, raster: NDArray[np.uint8], left: int, top: int) -> None:
        """Put a raster uint8 (height, width, 3) at a place, dot for dot."""
        down, across = raster.shape[:2]
        # A trifle inside its dots: rounded outwards, as matplotlib rounds, it must not grow by a dot.
        bounds = (
            (left + _TRIFLE) / self._width,
            1 - (top + down - _TRIFLE) / self._height,
            (across - 2 * _TRIFLE) / self._width,
            (down - 2 * _TRIFLE) / self._height,
        )
        axes = self.figure.add_axes(bounds, xticks=[], yticks=[])
        axes.imshow(raster, interpolation="nearest", aspect="auto")
        for spine in axes.spines.values():
            spine.set_visible(False)

    def write(self, text: str, middle: float, line: float, size: float = style.SMALL, room: float = math.inf) -> None:
        """One line of plain text, centred at ``middle``, its middle at ``line``, cut to ``room`` dots."""
        points = room * style.POINTS_PER_INCH / style.DPI
        self.figure.text(
            middle / self._width,
            1 - (line + 0.36 * size * style.DPI / style.POINTS_PER_INCH) / self._height,
            style.fitted(text, points, size) if math.isfinite(points) else text,
            size=size,
            ha="center",
            va="baseline",
            parse_math=False,
        )
