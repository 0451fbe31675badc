"""Figures 2 (a), 5 (a) and 16: the order of the values, panels, legends, and what is drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.sensitivity import Curve, draw, ordered, table

RANKED = st.lists(
    st.one_of(st.floats(0.001, 8), st.just(0.0), st.just(np.inf), st.just(np.nan)), min_size=1, max_size=40
)


@given(RANKED, st.integers(0, 5))
def test_order_is_that_of_algorithm_1(distances: list[float], least: int) -> None:
    ranked = sorted((d, i) for i, d in enumerate(distances) if not np.isnan(d))
    expected = [(d, i) for d, i in ranked[least:] if d > 0][::-1]
    if not expected:
        with pytest.raises(DataError, match="no point of 'set' is left"):
            ordered("set", "l2", np.array(distances), without_least=least)
        return
    curve = ordered("set", "l2", np.array(distances), without_least=least)
    assert curve.index.tolist() == [i for _, i in expected]
    assert curve.sensitivity.tolist() == [1 / d for d, _ in expected]
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert curve.least + curve.equal + curve.dropped + len(expected) == len(distances)
    assert curve.dropped == sum(map(np.isnan, distances))
    assert curve.equal == sum(d == 0 for d, _ in ranked[least:])


def test_fraction_is_the_middle_of_each_points_share() -> None:
    curve = ordered("set", "l2", np.array([1.0, 2.0, 4.0, 8.0]))
    assert curve.fraction.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert curve.relative.tolist() == [0.125, 0.25, 0.5, 1.0]


def test_no_other_label_is_sensitivity_0_and_has_no_relative_value() -> None:
    curve = ordered("set", "linf", np.array([np.inf, np.inf]))
    assert curve.sensitivity.tolist() == [0, 0]
    with pytest.raises(DataError, match="no point of 'set' has a neighbour with another label"):
        _ = curve.relative


def test_what_is_left_out_is_told() -> None:
    curve = ordered("set", "linf", np.array([0, 0, 0, 0.5, np.nan, 1.0]), without_least=1)
    assert curve.left_out == "1 least robust, 2 at r = 0, 1 dropped"
    assert ordered("set", "linf", np.array([1.0])).left_out == ""


@pytest.mark.parametrize(
    ("distance", "norm", "least", "error", "words"),
    [
        ([1.0, -0.5], "l2", 0, DataError, "point 1 of 'set' has the negative distance -0.5"),
        ([1.0, -np.inf], "l2", 0, DataError, "point 1"),
        ([np.nan], "l2", 0, DataError, "left to draw, out of 1"),
        ([], "l2", 0, DataError, "left to draw, out of 0"),
    ],
)
def test_curves_that_are_none(distance: list[float], norm: str, least: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ordered("set", norm, np.array(distance, dtype=np.float64), without_least=least)


def test_the_table_has_all_values_exactly() -> None:
    distance = np.array([0.3, np.inf, 0.1, np.nan, 0.0])
    lines = list(table([ordered("a\tset\nof mine", "l2", distance)]))
    assert lines[0].rstrip("\n").split("\t") == ["rank", "fraction", "sensitivity", "set", "norm", "index", "distance"]
    rows = [line.rstrip("\n").split("\t") for line in lines[1:]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [float(row[2]) for row in rows] == [0.0, 1 / 0.3, 1 / 0.1]
    assert {row[3] for row in rows} == {"a set of mine"}
    assert [int(row[5]) for row in rows] == [1, 0, 2]
    assert [float(row[6]) for row in rows] == [np.inf, 0.3, 0.1]


def curve(name: str = "set", norm: str = "linf", low: float = 0.2, count: int = 200) -> Curve:
    return ordered(name, norm, np.geomspace(low, 1.0, count))


def legend_texts(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in (legend.get_title(), *legend.get_texts())]


def test_one_panel_a_norm_and_scale() -> None:
    figure = draw([curve("a", "l2"), curve("a", "linf"), curve("b", "linf")])
    panels = figure.get_axes()
    assert len(panels) == 4
    assert [len(axes.lines) for axes in panels] == [1, 1, 2, 2]
    assert ["maximum" in axes.get_ylabel() for axes in panels] == [False, True, False, True]
    assert len(draw([curve()], ["relative"]).get_axes()) == 1


def test_curves_rise_to_the_right_between_0_and_1() -> None:
    values = curve(low=0.25)
    absolute, relative = (np.asarray(axes.lines[0].get_xydata()) for axes in draw([values]).get_axes())
    for drawn, top in ((absolute, 4.0), (relative, 1.0)):
        assert (np.diff(drawn, axis=0) >= 0).all()
        assert drawn[0].tolist() == [0.5 / 200, top / 4]
        assert drawn[-1].tolist() == [199.5 / 200, top]


def test_a_set_looks_the_same_in_every_panel_and_unlike_the_others() -> None:
    figure = draw([curve("a", "l2"), curve("b", "linf"), curve("a", "linf")])
    looks = [[(line.get_color(), str(line._dash_pattern)) for line in axes.lines] for axes in figure.get_axes()]  # type: ignore[attr-defined]
    assert looks[0] == looks[1] == [looks[2][1]]
    assert looks[2][0] != looks[2][1]


def test_the_legend_has_norm_names_and_what_was_left_out() -> None:
    first = ordered("$x$_names", "l2", np.array([0.0, 0.0, 0.5, np.nan]))
    figure = draw([first, curve("_plain", "l2")])
    texts = [text for axes in figure.get_axes() for text in legend_texts(axes)]
    assert texts == [r"$\ell_2$ norm", "$x$_names\nwithout 2 at r = 0, 1 dropped", "_plain"]


def test_what_all_sets_lack_is_said_once() -> None:
    both = [ordered(name, "l2", np.geomspace(0.2, 1, 99), without_least=40) for name in "ab"]
    assert legend_texts(draw(both, ["absolute"]).get_axes()[0]) == [
        "$\\ell_2$ norm, each without\n40 least robust",
        "a",
        "b",
    ]


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.floats(0.05, 0.9), st.text(max_size=30)), min_size=1, max_size=9, unique_by=lambda s: s[1]),
    st.sampled_from([("absolute",), ("relative",), ("absolute", "relative")]),
)
def test_the_legend_lies_on_no_curve_and_inside_the_picture(
    sets: list[tuple[float, str]], scales: tuple[str, ...]
) -> None:
    figure = draw([curve(name, "linf", low) for low, name in sets], scales)  # type: ignore[arg-type]
    with style.look():
        figure.draw_without_rendering()
        sheet = figure.bbox
        for axes in figure.get_axes():
            assert axes.bbox.width > 0.25 * style.DPI * 3.4 / 2
            legend = axes.get_legend()
            if legend is None:
                continue
            box = legend.get_window_extent()
            assert sheet.x0 <= box.x0 < box.x1 <= sheet.x1 + 1
            assert sheet.y0 <= box.y0 < box.y1 <= sheet.y1 + 1
            for line in axes.lines:
                points = axes.transData.transform(np.asarray(line.get_xydata()))
                assert not box.count_contains(points)


def test_legends_stand_in_a_column_where_one_has_no_room_inside() -> None:
    low = [curve(f"a long name of a set {low}", "l2", low) for low in (0.15, 0.3, 0.5, 0.7, 0.8, 0.9)]
    figure = draw([*low, curve("b", "linf")])
    with style.look():
        figure.draw_without_rendering()
        boxes = [axes.get_legend().get_window_extent() for axes in figure.get_axes()[1::2]]  # type: ignore[union-attr]
    assert boxes[0].x0 == boxes[1].x0 > figure.get_axes()[1].bbox.x1 - 1
    assert figure.get_size_inches()[0] <= 6.5


def test_names_are_shown_as_they_are() -> None:
    def pixels(name: str) -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(style.picture(draw([curve(name)], ["absolute"]), "png"))))

    assert pixels(r"$\frac$").any(), "broken mathtext is not an error, because it is none"
    assert not np.array_equal(pixels("$1$"), pixels("1"))
    assert np.array_equal(pixels("a\n\tb"), pixels("a b"))


def test_a_single_point_can_be_seen() -> None:
    lone = style.picture(draw([ordered("set", "l2", np.array([0.5]))], ["absolute"]), "png")
    picture = np.asarray(Image.open(io.BytesIO(lone)).convert("RGB"))
    blue = (picture == (0x00, 0x72, 0xB2)).all(axis=2)
    assert blue[:, picture.shape[1] // 2 :].any()


def test_only_zeros_can_be_drawn_as_absolute_values() -> None:
    lone = ordered("set", "l2", np.full(3, np.inf))
    assert style.picture(draw([lone], ["absolute"]), "svg")
    with pytest.raises(DataError, match="draw absolute values only"):
        draw([lone])


def test_vector_pictures_of_large_sets_are_small() -> None:
    distance = np.random.default_rng(0).gamma(20, 0.1, 700_000)
    figure = draw([ordered("large", "l2", distance)], ["absolute"])
    assert len(style.picture(figure, "svg")) < 60_000
    assert len(style.picture(figure, "pdf")) < 60_000


def test_refusals() -> None:
    with pytest.raises(UsageError, match="two curves of the linf panel are called 'set'"):
        draw([curve(), curve()])
    with pytest.raises(UsageError, match="50 sets cannot be shown"):
        draw([curve(f"{number}", count=3) for number in range(50)])
