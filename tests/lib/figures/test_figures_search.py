"""The picture of a search: main effects as they are, and the points that seeds cannot tell from the best."""

from __future__ import annotations

import pytest

from datarobust.diffusion.sampler import Sampler
from datarobust.diffusion.search import GRID, Result, grid, main_effects
from datarobust.figures import style
from datarobust.figures.charts import draw_search as draw
from datarobust.figures.charts import table_of_search as table

POINTS = grid({}, Sampler())
VARIED = [name for name in GRID if name != "S_max"]  # by the paper
FIRST = [Result(number, 0, 100, 5 + point.sigma_max + 0.1 * point.rho) for number, point in enumerate(POINTS)]
LAST = [Result(point, seed, 1000, 5 + 0.04 * point + 0.07 * seed) for point in range(9) for seed in range(3)]


def test_effects_and_best_points() -> None:
    figure = draw(POINTS, [*FIRST, *LAST], "pixels")
    *panels, ordered = figure.get_axes()
    assert [axes.get_title() for axes in panels] == VARIED
    effects = main_effects(FIRST, POINTS)
    for axes, name in zip(panels, VARIED, strict=True):
        assert list(axes.get_lines()[0].get_ydata()) == pytest.approx(list(effects[name].values()))
        assert [label.get_text() for label in axes.get_xticklabels()] == [f"{value:g}" for value in GRID[name]]
    assert [label.get_text() for label in ordered.get_xticklabels()] == [str(n) for n in range(9)]
    colours = [line.get_color() for line in ordered.get_lines()[1::2]]
    assert colours == [style.COLOURS[1]] * 3 + [style.QUIET] * 6
    assert "3 that seeds cannot tell from the best" in ordered.get_title()
    assert style.picture(figure, "png") == style.picture(draw(POINTS, [*FIRST, *LAST], "pixels"), "png")


def test_s_max_has_a_panel_where_it_varies() -> None:
    points = grid({"S_max": [1.0, float("inf")]}, Sampler())[:6]
    scores = [Result(number, 0, 100, float(number)) for number in range(6)]
    panel = next(axes for axes in draw(points, scores, "pixels").get_axes() if axes.get_title() == "S_max")
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "inf"]


def test_one_seed_says_so() -> None:
    ordered = draw(POINTS, [*FIRST, *LAST[::3]], "$pixels$").get_axes()[-1]
    assert "one seed" in ordered.get_title()


def test_the_table_has_every_result() -> None:
    header, *lines = [line.rstrip("\n").split("\t") for line in table(POINTS, [*LAST, *FIRST])]
    assert header == ["point", *GRID, "seed", "images", "score"]
    assert len(lines) == 729 + 27
    assert lines[0] == ["0", "0.003", "1.3", "1.5", "2.4", "0.4", "inf", "1.006", "0", "100", repr(FIRST[0].score)]
