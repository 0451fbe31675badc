"""Figures 2 (b) and 5 (b): markers, their places, and the legend."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.compare import By, Difference, difference
from datarobust.figures.curves import ordered
from datarobust.figures.difference import MARKERS, draw, medians


def one(name: str = "other", by: By = "rank", count: int = 200, times: float = 1.5) -> Difference:
    mine = np.geomspace(0.2, 1, count)
    return difference(ordered("base", "linf", mine), name, mine * times, by)


def test_markers_are_the_papers_and_stand_at_their_differences() -> None:
    first, second = one("ten", "rank"), one("super", "point", times=2.0)
    axes = draw([first, second]).get_axes()[0]
    markers = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [line.get_marker() for line in markers] == ["+", "o"]
    for line, values in zip(markers, (first, second), strict=True):
        drawn = np.asarray(line.get_xydata())
        known = {(x, y) for x, y in zip(values.fraction.tolist(), values.values.tolist(), strict=True)}
        assert set(map(tuple, drawn.tolist())) <= known
        assert len(drawn) > 50
        across = np.interp(values.fraction, drawn[:, 0], drawn[:, 1])
        assert np.abs(across - values.values).max() < 0.1 * np.ptp(values.values)
    assert axes.get_ylim()[0] < 0 < axes.get_ylim()[1]


def test_every_outlier_is_drawn() -> None:
    """Of 50,000 differences few markers are left, but none that stands alone is lost."""
    random = np.random.default_rng(0)
    mine = random.gamma(20, 0.1, 50_000)
    theirs = mine * 1.01
    far = random.choice(50_000, 20, replace=False)
    theirs[far] *= np.linspace(2, 8, 20)
    values = difference(ordered("base", "l2", mine), "other", theirs, "point")
    figure = draw([values])
    drawn = np.asarray(figure.get_axes()[0].lines[1].get_xydata())
    assert len(drawn) < 3000
    shape = np.array([198.0, 151.0]) / [1.0, np.ptp(values.values)]
    for x, y in zip(values.fraction, values.values, strict=True):
        if y > 0.2:
            assert (np.abs(drawn - [x, y]) * shape).max(axis=1).min() < 5
    assert len(style.picture(figure, "svg")) < 300_000


def test_a_line_joins_the_medians_of_equal_parts_where_points_are_compared() -> None:
    values = one(by="point", count=640)
    across, up = medians(values)
    assert len(across) == len(up) == 64
    for part in range(64):
        inside = slice(10 * part, 10 * part + 10)
        assert across[part] == np.median(values.fraction[inside])
        assert up[part] == np.median(values.values[inside])
    few = medians(one(by="point", count=3))
    assert [len(part) for part in few] == [3, 3]
    lines = [
        sum(line.get_marker() == "None" for line in draw([one(by=by)]).get_axes()[0].lines) for by in ("point", "rank")
    ]
    assert lines == [2, 1], "the line at 0 and that of medians"


def test_the_legend_tells_norm_names_ways_and_what_is_missing() -> None:
    base = ordered("$base", "l2", np.array([0.0, 0.5, 0.6, 0.7]))
    sets = [
        difference(base, "_ten", np.array([0.5, 0.6, 0.7]), "rank"),
        difference(base, "$x$", np.array([0.5, 0.0, 0.6, np.nan]), "point"),
    ]
    axes = draw(sets).get_axes()[0]
    legend = axes.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in (legend.get_title(), *legend.get_texts())]
    assert texts == [
        r"$\ell_2$ norm",
        "_ten, by rank",
        "$x$, by point\n(line: median)\nwithout 1 at r = 0, 1 dropped",
    ]
    assert axes.get_xlabel() == "Fraction of $base without 1 at r = 0\n(most to least robust)"
    assert "$base" in axes.get_ylabel()
    assert style.picture(draw(sets), "svg"), "a dollar in a name is a dollar"


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.floats(0.3, 3), st.sampled_from(["point", "rank"]), st.text(max_size=30)),
        min_size=1,
        max_size=6,
        unique_by=lambda s: s[2],
    )
)
def test_the_legend_lies_on_no_marker_and_inside_the_picture(sets: list[tuple[float, By, str]]) -> None:
    figure = draw([one(name, by, times=times) for times, by, name in sets])
    assert figure.get_size_inches()[0] <= 6.5
    with style.look():
        figure.canvas.draw()
        axes = figure.get_axes()[0]
        legend = axes.get_legend()
        assert legend is not None
        box = legend.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1 + 1
        for line in axes.lines:
            if line.get_linestyle() == "None":
                assert not box.count_contains(axes.transData.transform(np.asarray(line.get_xydata())))


def test_equal_sets_and_single_points_can_be_drawn() -> None:
    flat = style.picture(draw([one(times=1.0)]), "png")
    lone = style.picture(draw([one(count=1, by="point")]), "png")
    for picture in (flat, lone):
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        assert (pixels == (0x00, 0x72, 0xB2)).all(axis=2).any()


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_the_same_values_give_the_same_bytes(form: style.Format) -> None:
    pictures = {style.picture(draw([one(), one("b", "point")]), form) for _ in range(2)}
    assert len(pictures) == 1


def test_refusals() -> None:
    with pytest.raises(UsageError, match="at least two rankings"):
        draw([])
    with pytest.raises(UsageError, match=r"two sets .* are called 'other'"):
        draw([one(), one(by="point")])
    with pytest.raises(UsageError, match=f"{len(MARKERS) + 1} sets"):
        draw([one(f"{number}") for number in range(len(MARKERS) + 1)])
