"""Pictures of clones: every pixel as it is, in the place that the paper's figures give it."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.images import MOST_CLONED, Copies, mosaic, rows, squares
from datarobust.figures.images import table_of_clones as table


def copies(count: int = 5, repeats: int = 3, shape: tuple[int, ...] = (1, 8, 8), name: str = "set") -> Copies:
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    made = random.integers(0, 256, (count, repeats, *shape), dtype=np.uint8)
    return Copies(name, images, made, np.arange(count) + 40, np.arange(count) % 3)


def rasters(figure: Figure) -> list[NDArray[np.uint8]]:
    """What the picture shows in the place of each raster, in dots."""
    picture = np.asarray(Image.open(io.BytesIO(style.picture(figure, "png"))).convert("RGB"))
    found = []
    for axes in figure.get_axes():
        box = axes.get_position()
        height, width = picture.shape[:2]
        edges = [
            round(place) for place in (box.x0 * width, box.x1 * width, (1 - box.y1) * height, (1 - box.y0) * height)
        ]
        found.append(picture[edges[2] : edges[3], edges[0] : edges[1]])
    return found


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_a_mosaic_by_hand() -> None:
    images = np.array([[[[1, 2]]], [[[3, 4]]], [[[5, 6]]]], np.uint8)
    found = mosaic(images, 2, 2, 1)
    assert found.shape == (5, 9, 3)
    assert found[:, :, 0].tolist() == [
        [1, 1, 2, 2, 255, 3, 3, 4, 4],
        [1, 1, 2, 2, 255, 3, 3, 4, 4],
        [255] * 9,
        [5, 5, 6, 6, 255, 255, 255, 255, 255],
        [5, 5, 6, 6, 255, 255, 255, 255, 255],
    ]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
@pytest.mark.parametrize("repeats", [1, 10])
def test_squares_show_images_clones_and_the_clones_of_the_first(shape: tuple[int, ...], repeats: int) -> None:
    sets = [copies(16, repeats, shape, "most"), copies(9, repeats, shape, "least")]
    figure = squares(sets)
    shown = rasters(figure)
    parts = 3 if repeats > 1 else 2
    assert len(shown) == 2 * parts
    times = next(t for t in range(1, 20) if shown[0].shape[0] == 4 * shape[1] * t + 12)
    for number, one in enumerate(sets):
        wanted = [mosaic(one.images, 4, times, 4), mosaic(one.clones[:, 0], 4, times, 4)]
        if repeats > 1:
            wanted.append(mosaic(one.clones[0], math.ceil(repeats / 4), times, 4))
        for got, expected in zip(shown[number * parts :], wanted, strict=False):
            np.testing.assert_array_equal(got, expected)
    assert {"most", "least", "images", "clones"} <= set(texts(figure))
    assert ("of the first" in texts(figure)) == (repeats > 1)
    assert figure.get_size_inches()[0] <= 6.5


def test_rows_show_each_image_and_all_its_clones() -> None:
    one = copies(6, 4, (3, 32, 32))
    first, second = rasters(rows([one]))
    times = first.shape[1] // 32
    np.testing.assert_array_equal(first, mosaic(one.images, 1, times, 4))
    np.testing.assert_array_equal(second, mosaic(one.clones.reshape(-1, 3, 32, 32), 4, times, 4))
    assert len(rasters(rows([one, copies(3, 2)]))) == 4


def test_one_set_alone_is_larger() -> None:
    alone, both = squares([copies()]), squares([copies(), copies()])
    assert rasters(alone)[0].shape[0] >= rasters(both)[0].shape[0]


def test_names_are_text() -> None:
    figure = squares([copies(name="$x$ \n [red]")])
    assert "$x$ [red]" in texts(figure)
    assert style.picture(figure, "svg") == style.picture(squares([copies(name="$x$ \n [red]")]), "svg")


def test_the_table_has_every_distance() -> None:
    one = copies(4, 2)
    header, *lines = [line.rstrip("\n").split("\t") for line in table([one])]
    assert header == ["set", "index", "label", "repeat", "l2", "linf"]
    assert len(lines) == 8
    for name, index, label, repeat, l2, linf in lines:
        place = int(index) - 40
        apart = (one.images[place].astype(float) - one.clones[place, int(repeat)]) / 255
        assert (name, int(label)) == ("set", place % 3)
        assert float(l2) == pytest.approx(math.sqrt((apart**2).sum()), rel=1e-12)
        assert float(linf) == pytest.approx(np.abs(apart).max(), rel=1e-12)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(DataError, match="neither grey nor RGB"):
        copies(shape=(2, 4, 4))
    with pytest.raises(DataError, match="neither"):
        copies(0)
    with pytest.raises(UsageError, match=f"room for {MOST_CLONED}"):
        copies(MOST_CLONED + 1)
