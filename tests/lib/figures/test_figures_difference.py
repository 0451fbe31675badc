"""Figures 2 (b) and 5 (b): differences beside plain loops that do the same, markers, their places, and the legend."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.sensitivity import MARKERS, By, Difference, difference, medians, ordered
from datarobust.figures.sensitivity import draw_differences as draw
from datarobust.figures.sensitivity import table_of_differences as table

DISTANCE = st.one_of(st.floats(0.01, 8), st.sampled_from([0.0, np.inf, np.nan, 0.25, 0.5]))
FINITE = st.lists(st.floats(0.01, 8), min_size=1, max_size=30)


def usable(distance: float) -> bool:
    return not math.isnan(distance) and distance > 0


@given(st.lists(st.tuples(DISTANCE, DISTANCE), min_size=1, max_size=30))
def test_by_point_every_point_is_compared_with_itself(pairs: list[tuple[float, float]]) -> None:
    mine, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    order = [i for d, i in sorted((d, i) for i, d in enumerate(mine.tolist()) if usable(d))][::-1]
    both = [i for i in order if usable(theirs[i])]
    if not both:
        with pytest.raises(DataError, match=r"is left to draw|no point has a finite"):
            difference(ordered("base", "l2", mine), "other", theirs, "point")
        return
    found = difference(ordered("base", "l2", mine), "other", theirs, "point")
    assert found.base.index[found.place].tolist() == both
    assert found.values.tolist() == [1 / mine[i] - 1 / theirs[i] for i in both]
    assert found.fraction.tolist() == [(order.index(i) + 0.5) / len(order) for i in both]
    assert found.size == len(both)
    missing = sum(not usable(theirs[i]) for i in order)
    told = sum(int(part.split()[0].replace(",", "")) for part in found.left_out.split(", ") if part)
    assert told == missing


@given(FINITE, FINITE)
def test_by_rank_values_at_equal_fractions_are_compared(mine: list[float], theirs: list[float]) -> None:
    found = difference(ordered("base", "linf", np.array(mine)), "other", np.array(theirs), "rank")
    one, other = (sorted(1 / d for d in distances) for distances in (mine, theirs))
    assert len(found.values) == len(one)
    for rank, (value, drawn) in enumerate(zip(one, found.values.tolist(), strict=True)):
        at = (rank + 0.5) / len(one) * len(other) - 0.5  # in ranks of the other set, from 0
        at = min(max(at, 0.0), len(other) - 1.0)
        below = min(math.floor(at), max(len(other) - 2, 0))
        above = min(below + 1, len(other) - 1)
        expected = other[below] + (at - below) * (other[above] - other[below])
        assert drawn == pytest.approx(value - expected, rel=1e-9, abs=1e-9)


@given(FINITE, st.randoms(use_true_random=False))
def test_by_rank_sets_of_one_size_are_compared_exactly(mine: list[float], random: object) -> None:
    theirs = [d * 1.5 for d in mine]
    random.shuffle(theirs)  # type: ignore[attr-defined]
    found = difference(ordered("base", "l2", np.array(mine)), "other", np.array(theirs), "rank")
    one, other = (np.sort(1 / np.array(distances)) for distances in (mine, theirs))
    assert found.values.tolist() == (one - other).tolist()
    assert list(found.remarks()) == []


def test_infinite_sensitivities_leave_the_order_before_ranks_are_compared() -> None:
    mine = np.array([0.0, 0.5, 1.0])
    theirs = np.array([0.0, 0.0, np.nan, 0.25, 0.5])
    found = difference(ordered("base", "l2", mine), "other", theirs, "rank")
    assert found.values.tolist() == [1 - 2, 2 - 4]
    assert found.left_out == "2 at r = 0, 1 dropped"
    assert found.base.left_out == "1 at r = 0"
    assert list(found.remarks()) == ["other is compared without 2 at r = 0, 1 dropped"]


def test_merging_classes_never_raises_sensitivity() -> None:
    """What the paper compares by point: with coarse labels fewer points have another one."""
    random = np.random.default_rng(0)
    x, fine = random.random((40, 3)), random.integers(0, 6, 40)
    apart = np.linalg.norm(x[:, None] - x, axis=2)

    def robustness(labels: np.ndarray) -> np.ndarray:
        return np.where(labels[:, None] == labels, np.inf, apart).min(axis=1)

    found = difference(ordered("fine", "l2", robustness(fine)), "coarse", robustness(fine // 2), "point")
    assert (found.values >= 0).all()
    assert found.values.any()


def test_sizes_that_differ_are_told_or_refused() -> None:
    base = ordered("base", "l2", np.array([0.0, 1.0, np.nan]))
    assert list(difference(base, "other", np.ones(2), "rank").remarks()) == [
        "base has 1 points and other 2: values are compared at equal fractions of the sets"
    ]
    with pytest.raises(UsageError, match=r"'base' has 3 points and 'other' has 2, .* by rank"):
        difference(base, "other", np.ones(2), "point")
    assert difference(base, "other", np.ones(3), "point").values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("theirs", "by", "error", "words"),
    [
        ([1.0, -1.0], "rank", DataError, "negative distance"),
        ([1.0, -1.0], "point", DataError, "negative distance"),
        ([0.0, 0.0], "rank", DataError, "no point of 'other' is left"),
        ([0.0, 1.0], "point", DataError, "no point has a finite sensitivity in both"),
    ],
)
def test_sets_that_do_not_compare(theirs: list[float], by: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        difference(ordered("base", "l2", np.array([1.0, 0.0])), "other", np.array(theirs), by)  # type: ignore[arg-type]


def test_the_table_has_all_values_exactly() -> None:
    base = ordered("a\tset", "linf", np.array([0.3, 0.1, 0.0]))
    found = [difference(base, name, np.array([0.7, 0.9, 0.2]), by) for name, by in (("b", "point"), ("c", "rank"))]
    header, *lines = (line.rstrip("\n").split("\t") for line in table(found))
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert [row["index"] for row in rows] == ["0", "1", "0", "1"]
    assert {(row["base"], row["norm"]) for row in rows} == {("a set", "linf")}
    assert [(row["set"], row["by"]) for row in rows[1:3]] == [("b", "point"), ("c", "rank")]
    for row in rows:
        assert float(row["difference"]) == float(row["sensitivity"]) - float(row["other"])
    assert [float(row["other"]) for row in rows[:2]] == [1 / 0.7, 1 / 0.9]


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


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
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
        figure.draw_without_rendering()
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


def test_refusals() -> None:
    with pytest.raises(UsageError, match=r"two sets .* are called 'other'"):
        draw([one(), one(by="point")])
    with pytest.raises(UsageError, match=f"{len(MARKERS) + 1} sets"):
        draw([one(f"{number}") for number in range(len(MARKERS) + 1)])
