"""Figures 4 (a) and (b): three bars a class, as high as the counts, and names that can be read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.charts import GROUPS
from datarobust.figures.charts import MOST_CLASSES as MOST
from datarobust.figures.charts import class_counts as count
from datarobust.figures.charts import draw_labels as draw
from datarobust.figures.charts import table_of_labels as table
from datarobust.types import Rows


def some(classes: int, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).integers(1, 300, (3, classes))


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


def heights(axes: Axes) -> list[list[int]]:
    """Of the bars of each group, from left to right."""
    return [[round(bar.get_height()) for bar in bars.patches] for bars in axes.containers]  # type: ignore[attr-defined]


@given(st.lists(st.sampled_from([0, 1, 5, 7]), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_counts_are_those_of_a_loop(labels: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    chosen = [random.permutation(len(labels))[: random.integers(1, len(labels) + 1)] for _ in range(3)]
    classes = [0, 1, 2, 5, 7]
    found = count(np.array(labels), np.array(classes), chosen)
    assert found.tolist() == [[sum(labels[row] == label for row in rows) for label in classes] for rows in chosen]


def test_left_centre_right_are_least_random_most() -> None:
    one = some(4)
    axes = draw({"l2": one}, names(4), 1024).get_axes()[0]
    assert heights(axes) == one.tolist()
    for least, random, most in zip(*(bars.patches for bars in axes.containers), strict=True):  # type: ignore[attr-defined]
        assert least.get_x() + least.get_width() <= random.get_x()
        assert random.get_x() + random.get_width() <= most.get_x()
    assert [round(random.get_x() + random.get_width() / 2, 9) for random in axes.containers[1].patches] == [0, 1, 2, 3]  # type: ignore[attr-defined]


def test_a_class_without_points_has_no_bar() -> None:
    counts = np.array([[3, 0], [1, 2], [0, 3]])
    axes = draw({"l2": counts}, names(2), 3).get_axes()[0]
    assert heights(axes) == [[3], [1, 2], [3]]


def test_one_panel_a_norm_and_more_where_classes_are_many() -> None:
    figure = draw({"l2": some(10), "linf": some(10, 1)}, names(10), 1024)
    assert [axes.get_ylabel() for axes in figure.get_axes()] == [
        "Points of 1,024\n($\\ell_2$ norm)",
        "Points of 1,024\n($\\ell_\\infty$ norm)",
    ]
    one = some(100)
    panels = draw({"l2": one}, names(100), 1024).get_axes()
    assert len(panels) == 3
    shown = [text.get_text() for axes in panels for text in axes.get_xticklabels()]
    assert shown == names(100)
    for group in range(3):
        assert list(itertools.chain(*(heights(axes)[group] for axes in panels))) == one[group].tolist()


def bounds(figure: Figure) -> list[list[tuple[float, float, float, float]]]:
    """Boxes of the class names of every panel, in dots, drawn and inside the picture."""
    with style.look():
        figure.draw_without_rendering()
        found = []
        for axes in figure.get_axes():
            boxes = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_text()]
            for box in boxes:
                assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
                assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
            found.append([(box.x0, box.y0, box.x1, box.y1) for box in boxes])
    return found


@pytest.mark.parametrize(("classes", "length"), [(1, 60), (10, 1), (26, 60), (50, 60)])
def test_names_stay_inside_the_picture(classes: int, length: int) -> None:
    long = [f"{number}{'x' * length}" for number in range(classes)]
    figure = draw({"l2": some(classes), "linf": some(classes)}, long, 1024)
    assert figure.get_size_inches()[0] <= 6.5
    assert [panel for panel in bounds(figure) if panel]
    for text in figure.get_axes()[-1].get_xticklabels():
        assert text.get_fontsize() == style.SMALL


def test_level_names_do_not_touch() -> None:
    (boxes,) = bounds(draw({"l2": some(10)}, [f"name {number}" for number in range(10)], 10))
    assert all(one[2] < other[0] for one, other in itertools.pairwise(boxes))


def test_upright_names_do_not_touch() -> None:
    boxes, *_ = bounds(draw({"l2": some(68)}, ["a rather long name"] * 68, 10))
    assert all(one[2] <= other[0] for one, other in itertools.pairwise(boxes))


def test_names_are_shown_as_they_are() -> None:
    figure = draw({"l2": some(2)}, [r"$\frac$", "_cat"], 5)
    assert [text.get_text() for text in figure.get_axes()[0].get_xticklabels()] == [r"$\frac$", "_cat"]
    assert style.picture(figure, "svg")


def test_the_legend_has_the_groups_in_the_order_of_the_bars() -> None:
    legend = draw({"l2": some(2)}, names(2), 5).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == list(GROUPS) == ["least robust", "random", "most robust"]


def test_table() -> None:
    counts = np.array([[3, 0], [1, 2], [0, 3]])
    lines = [line.rstrip("\n").split("\t") for line in table({"linf": counts}, np.array([0, 7]), ["a\tb", "7"])]
    assert lines == [
        ["norm", "label", "class", "least", "random", "most"],
        ["linf", "0", "a b", "3", "1", "0"],
        ["linf", "7", "7", "0", "2", "3"],
    ]


def test_refusals() -> None:
    with pytest.raises(UsageError, match=f"{MOST + 1} classes"):
        draw({"l2": some(MOST + 1)}, names(MOST + 1), 1)
