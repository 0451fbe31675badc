"""Pairs of nearest neighbours: pixels are shown as they are, and no distance is printed that is not theirs."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from datarobust.errors import DataError
from datarobust.figures import style
from datarobust.figures.images import Side, distances
from datarobust.figures.images import draw_pairs as draw
from datarobust.figures.images import table_of_pairs as table


def side(images: NDArray[np.uint8], start: int = 0, name: str = "class") -> Side:
    rows = np.arange(start, start + len(images))
    return Side(images, rows, rows % 10, [f"{name} {row % 10}" for row in rows])


def some(count: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["l2", "linf"]))
def test_distances_are_those_of_integers(seed: int, norm: str) -> None:
    one, other = some(3, 3, 4, 5, seed=seed), some(3, 3, 4, 5, seed=seed + 1)
    found = distances(side(one), side(other), norm)
    for number in range(3):
        apart = [int(a) - int(b) for a, b in zip(one[number].flat, other[number].flat, strict=True)]
        expected = math.sqrt(sum(a * a for a in apart)) / 255 if norm == "l2" else max(map(abs, apart)) / 255
        assert found[number] == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 5, 9), (1, 1, 1), (3, 400, 20)])
def test_every_pixel_is_a_square_of_whole_dots(shape: tuple[int, int, int]) -> None:
    one, other = some(2, *shape), some(2, *shape, seed=1)
    figure = draw(side(one), side(other), "l2")
    picture = np.asarray(Image.open(io.BytesIO(style.picture(figure, "png"))).convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    shown = [one[0], other[0], one[1], other[1]]
    for axes, image in zip(figure.get_axes(), shown, strict=True):
        box = axes.get_position()
        left, top = box.x0 * width, (1 - box.y1) * height
        assert abs(left - round(left)) < 1e-3
        assert abs(top - round(top)) < 1e-3
        step = -(-max(shape[1:]) // 384)
        expected = np.broadcast_to(image[:, ::step, ::step].transpose(1, 2, 0), (*image[0, ::step, ::step].shape, 3))
        times = box.width * width / expected.shape[1]
        assert times == pytest.approx(round(times), abs=1e-3)
        times = round(times)
        expected = expected.repeat(times, axis=0).repeat(times, axis=1)
        found = picture[round(top) :, round(left) :][: expected.shape[0], : expected.shape[1]]
        inner = (
            (slice(1, -1), slice(1, -1)) if times > 2 else (slice(2, -2), slice(2, -2))
        )  # the frame lies on the edge
        assert np.array_equal(found[inner], expected[inner])


def test_vector_pictures_carry_the_same_pixels() -> None:
    one, other = some(1, 3, 8, 8), some(1, 3, 8, 8, seed=1)
    svg = style.picture(draw(side(one), side(other), "l2"), "svg").decode()
    embedded = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]*)\"", svg, re.DOTALL)]
    assert len(embedded) == 2
    for data, image in zip(embedded, (one[0], other[0]), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[::-1]  # the svg turns it over
        assert np.array_equal(picture, image.transpose(1, 2, 0).repeat(24, axis=0).repeat(24, axis=1))


def test_distance_classes_and_rows_are_printed() -> None:
    one = np.zeros((1, 1, 2, 2), np.uint8)
    other = np.array([[[[3, 0], [4, 0]]]], np.uint8)
    printed = texts(draw(side(one, 7), side(other, 11, "other"), "linf"))
    assert printed == [r"$\ell_\infty$: 4/255 = 0.0157", "class 7", "7", "other 1", "11"]
    assert texts(draw(side(one), side(other), "l2"))[0] == r"$\ell_2$: 0.0196"


def test_names_are_no_mathtext_and_stay_in_their_place() -> None:
    image = some(1, 1, 8, 8)
    names = Side(image, np.array([0]), np.array([0]), ["$x$ " + "very " * 20 + "long"])
    figure = draw(names, names, "l2")
    name = figure.texts[1]
    assert name.get_text().startswith("$x$ ver")
    assert not name.get_parse_math()
    with style.look():
        figure.draw_without_rendering()
        boxes = [figure.texts[number].get_window_extent() for number in (1, 3)]
    assert boxes[0].x0 >= 0
    assert boxes[0].x1 <= boxes[1].x0
    assert boxes[1].x1 <= figure.bbox.x1


def test_class_names_of_cifar_100_are_shown_in_full() -> None:
    images = some(6, 3, 32, 32)
    names = ["aquarium_fish", "sweet_pepper", "pickup_truck", "caterpillar", "rocket", "bee"]
    both = Side(images, np.arange(6), np.arange(6), names)
    assert [text for text in texts(draw(both, both, "l2")) if text in names] == [n for n in names for _ in range(2)]


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, (1, 8, 8)), (5, (1, 8, 8)), (4, (3, 32, 32)), (8, (3, 32, 32)), (5, (3, 300, 300)), (8, (1, 28, 5))],
)
def test_nothing_sticks_out_of_the_picture(count: int, shape: tuple[int, int, int]) -> None:
    images = np.zeros((count, *shape), np.uint8)
    other = np.full_like(images, 123)
    figure = draw(side(images, 50_000), side(other, 60_000), "linf")
    assert figure.get_size_inches()[0] <= 6.5
    with style.look():
        figure.draw_without_rendering()
        for text in figure.texts:
            box = text.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_a_ranking_that_is_wrong_is_refused() -> None:
    one, other = side(some(3, 1, 8, 8), 5), side(some(3, 1, 8, 8, seed=1), 9)
    right = distances(one, other, "l2")
    draw(one, other, "l2", right)
    wrong = right.copy()
    wrong[1] += 1e-6
    with pytest.raises(DataError, match=r"point 6 and its neighbour 10 lie .* apart \(l2\), but the ranking says"):
        draw(one, other, "l2", wrong)


def test_table() -> None:
    one, other = side(np.zeros((2, 1, 2, 2), np.uint8), 3, "a\tb"), side(np.full((2, 1, 2, 2), 51, np.uint8), 12)
    lines = [line.rstrip("\n").split("\t") for line in table(one, other, "linf")]
    assert lines[0] == ["index", "distance", "neighbour", "label", "neighbour_label", "class", "neighbour_class"]
    assert lines[1:] == [
        ["3", "0.2", "12", "3", "2", "a b 3", "class 2"],
        ["4", "0.2", "13", "4", "3", "a b 4", "class 3"],
    ]


def test_refusals() -> None:
    grey = side(some(1, 1, 8, 8))
    with pytest.raises(DataError, match=r"\(4, 8, 8\) .* neither grey"):
        draw(side(some(1, 4, 8, 8)), side(some(1, 4, 8, 8)), "l2")
    with pytest.raises(DataError, match="two shapes"):
        draw(grey, side(some(1, 1, 8, 9)), "l2")
