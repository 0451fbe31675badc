"""Figures 2 (c, d), 6, 17: which point is drawn where, in which colour and size, and what the key says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.map import LEVELS, Map, draw, levels, table


def one(name: str = "set", count: int = 60, norm: str = "l2", **more: float) -> Map:
    random = np.random.default_rng(count)
    distance = np.sort(random.gamma(5, 0.1, count))
    return Map(name, "MDS", norm, random.normal(size=(count, 2)), distance, np.arange(count), "mds", **more)


def test_every_point_is_where_its_map_has_it_large_and_red_where_least_robust() -> None:
    drawn = one()
    axes = draw([drawn]).get_axes()[0]
    level = levels(drawn.distance)
    shown = np.concatenate([np.asarray(line.get_xydata()) for line in axes.lines])
    assert sorted(map(tuple, shown.tolist())) == sorted(map(tuple, drawn.position.tolist()))
    found = [set(map(tuple, np.asarray(line.get_xydata()).tolist())) for line in axes.lines]
    expected = [set(map(tuple, drawn.position[level == step].tolist())) for step in range(LEVELS)]
    assert found == [points for points in expected if points]
    sizes = [line.get_markersize() for line in axes.lines]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    orders = [line.get_zorder() for line in axes.lines]
    assert orders == sorted(orders), "small ones over large ones"
    least, most = (to_rgb(axes.lines[place].get_color()) for place in (0, -1))
    assert least[0] > 0.7 > 0.3 > least[2]
    assert most[2] > 0.5 > 0.2 > most[0]


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from(["value", "rank"]))
def test_levels_rise_with_robustness(values: list[float], scale: str) -> None:
    distance = np.array(values)
    found = levels(distance, scale)  # type: ignore[arg-type]
    assert found.min() >= 0
    assert found.max() < LEVELS
    order = np.argsort(distance)
    assert (np.diff(found[order]) >= 0).all()
    if distance.min() < distance.max():
        assert (found[distance.argmin()], found[distance.argmax()]) == (0, LEVELS - 1)
    else:
        assert set(found.tolist()) == {LEVELS // 2}


def test_ranks_show_what_outliers_hide() -> None:
    distance = np.append(np.linspace(0.98, 1.0, 99), 0.1)
    assert len(set(levels(distance).tolist())) == 2
    assert len(set(levels(distance, "rank").tolist())) == LEVELS


def test_titles_and_keys_have_set_method_norm_and_numbers() -> None:
    figure = draw([one("a_$b$"), one("c", norm="linf")], scale="rank")
    first, second = figure.get_axes()
    assert first.get_title() == r"a_\$b\$, MDS"
    legend = second.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == r"robustness in $\ell_\infty$, by rank"
    values = [float(text.get_text()) for text in legend.get_texts()]
    np.testing.assert_allclose(values, one().distance[[0, 20, 39, 59]], rtol=0.01)
    linear = draw([one()]).get_axes()[0].get_legend()
    assert linear is not None
    ends = one().distance[[0, -1]]
    np.testing.assert_allclose(
        [float(text.get_text()) for text in linear.get_texts()], np.linspace(*ends, 4), rtol=0.01
    )
    tied = Map("t", "MDS", "l2", np.zeros((9, 2)), np.repeat([0.1, 0.2], [7, 2]), np.arange(9), "mds")
    axes = draw([tied], scale="rank").get_axes()[0]
    keys = axes.get_legend()
    assert keys is not None
    assert [text.get_text() for text in keys.get_texts()] == ["0.1", "0.2"]
    for shown, key in zip(axes.lines, keys.get_lines(), strict=True):
        assert (shown.get_color(), shown.get_markersize()) == (key.get_color(), key.get_markersize())
    equal = Map("e", "RTE", "l2", np.zeros((3, 2)), np.ones(3), np.arange(3), "rte")
    alone = draw([equal]).get_axes()[0].get_legend()
    assert alone is not None
    assert [text.get_text() for text in alone.get_texts()] == ["1"]


def test_sensitivity_has_the_same_ends_and_its_own_steps() -> None:
    distance = np.array([0.1, 0.2, 0.4, 1.0])  # 1/r: 10, 5, 2.5, 1
    drawn = Map("s", "MDS", "linf", np.eye(4, 2), distance, np.arange(4), "mds")
    share = (10 - 1 / distance) / 9
    assert levels(drawn.values("sensitivity")).tolist() == [min(int(part * LEVELS), LEVELS - 1) for part in share]
    by_value, by_rank = (draw([drawn], scale=scale, color="sensitivity").get_axes()[0] for scale in ("value", "rank"))
    assert [line.get_xydata().tolist() for line in by_value.lines] == [[point] for point in drawn.position.tolist()]
    sizes = [line.get_markersize() for line in by_value.lines]
    np.testing.assert_allclose(np.diff(sizes) / (sizes[-1] - sizes[0]), np.diff(share), atol=2 / LEVELS)
    for axes, title, values in (
        (by_value, r"sensitivity in $\ell_\infty$", ["10", "7", "4", "1"]),
        (by_rank, r"sensitivity in $\ell_\infty$, by rank", ["10", "5", "2.5", "1"]),
    ):
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_title().get_text() == title
        assert [text.get_text() for text in legend.get_texts()] == values


def test_an_infinite_sensitivity_is_drawn_by_rank_only() -> None:
    drawn = Map("s", "MDS", "l2", np.eye(3, 2), np.array([0.0, 0.0, 0.5]), np.arange(3), "mds")
    with pytest.raises(
        DataError, match="s: 2 points are at distance 0, so their sensitivity is infinite: give `scale`"
    ):
        draw([drawn], color="sensitivity")
    legend = draw([drawn], scale="rank", color="sensitivity").get_axes()[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["inf", "2"]
    assert draw([drawn]).get_axes()[0].get_legend() is not None


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(1, None, (1, 1)), (4, None, (2, 2)), (5, 3, (2, 3)), (6, 2, (3, 2))]
)
def test_panels_stand_row_by_row(count: int, columns: int | None, shape: tuple[int, int]) -> None:
    figure = draw([one(f"set {number}", 5) for number in range(count)], columns)
    assert figure.get_size_inches()[0] <= 6.5
    assert figure.get_axes()[0].get_gridspec().get_geometry() == shape
    shown = [axes.get_title() for axes in figure.get_axes() if axes.get_visible()]
    assert shown == [f"set {number}, MDS" for number in range(count)]


def test_panels_and_keys_lie_inside_the_picture_and_apart() -> None:
    figure = draw([one("a very long name of a set that nobody could read " * 2, 9)] * 6, 3)
    with style.look():
        figure.draw_without_rendering()
        boxes = [axes.get_tightbbox() for axes in figure.get_axes()]
    for box in boxes:
        assert box is not None
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1 + 1
    for number, box in enumerate(boxes):
        assert box is not None
        assert not any(box.overlaps(other) for other in boxes[number + 1 :] if other is not None)


def test_the_table_has_every_point_exactly() -> None:
    drawn = one("a\tset", 7, stress=0.25, correlation=0.5)
    header, *lines = (line.rstrip("\n").split("\t") for line in table([drawn, one("b", 4)]))
    assert header == ["set", "method", "norm", "stress", "correlation", "permuted", "index", "distance", "x", "y"]
    assert [line[0] for line in lines] == ["a set"] * 7 + ["b"] * 4
    assert {tuple(line[1:6]) for line in lines[:7]} == {("mds", "l2", "0.25", "0.5", "")}
    np.testing.assert_array_equal([float(line[7]) for line in lines[:7]], drawn.distance)
    np.testing.assert_array_equal([[float(n) for n in line[8:]] for line in lines[:7]], drawn.position)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="25 maps cannot be shown"):
        draw([one()] * 25)
    with pytest.raises(UsageError, match="`columns` 3: a picture of 2 maps has 1 to 2 in a row"):
        draw([one()] * 2, 3)
    with pytest.raises(DataError, match="e: positions or distances on the map are not finite"):
        Map("e", "MDS", "l2", np.full((1, 2), np.nan), np.ones(1), np.arange(1), "mds")
    with pytest.raises(DataError, match="e: there are no points"):
        Map("e", "MDS", "l2", np.zeros((0, 2)), np.ones(0), np.arange(0), "mds")
