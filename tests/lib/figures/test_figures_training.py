"""Figure 1 (b): accuracies by epoch as the log has them, pentagons on what was tracked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from datarobust.errors import DataError, UsageError
from datarobust.figures import style
from datarobust.figures.charts import MOST_RUNS as MOST
from datarobust.figures.charts import SERIES, TRACKED, Course, course
from datarobust.figures.charts import draw_courses as draw
from datarobust.figures.charts import table_of_courses as table


def log(epochs: int, seed: int = 0, every: int = 25) -> list[dict[str, Any]]:
    """Lines as ``advtrain`` writes them."""
    random = np.random.default_rng(seed)
    lines = []
    for epoch in range(1, epochs + 1):
        line: dict[str, Any] = {"epoch": epoch, "loss": 1.0}
        line |= {field: float(random.random()) for field in SERIES if field != "test_robust_accuracy"}
        if epoch % every == 0 or epoch == epochs:
            line["test_robust_accuracy"] = float(random.random())
        lines.append(line)
    return lines


def some(epochs: int, name: str = "a run", seed: int = 0) -> Course:
    return course(name, log(epochs, seed), "run")


def drawn(axes: Axes) -> dict[str, Line2D]:
    """Lines of a panel by their field; every one is there."""
    return dict(zip(SERIES, axes.get_lines(), strict=True))


def test_every_point_is_a_value_of_the_log() -> None:
    lines = log(60)
    found = drawn(draw([course("a", lines, "run")]).get_axes()[0])
    for field, curve in found.items():
        wanted = {line["epoch"]: 100 * line[field] for line in lines if field in line}
        x, y = np.asarray(curve.get_xdata()).tolist(), np.asarray(curve.get_ydata()).tolist()
        assert dict(zip(x, y, strict=True)) == pytest.approx(wanted), field
    assert np.asarray(found["test_robust_accuracy"].get_xdata()).tolist() == [25, 50, 60]


def test_tracked_accuracies_are_red_pentagons_and_the_last_is_told() -> None:
    lines = log(2400)
    lines[-1][TRACKED] = 0.5098
    axes = draw([course("a", lines, "run")]).get_axes()[0]
    curve = drawn(axes)[TRACKED]
    red, green, blue = style.matplotlib.colors.to_rgb(curve.get_color())
    assert curve.get_marker() == "p"
    assert red > 0.7 > 0.1 > max(green, blue)
    marked = curve.get_markevery()
    assert isinstance(marked, list)
    assert len(marked) == 12
    assert np.asarray(curve.get_xdata())[marked[-1]] == 2400
    assert [text.get_text() for text in axes.texts] == ["51.0"]


def test_a_panel_a_run_with_one_vertical_axis() -> None:
    figure = draw([some(3, "most"), some(5, "least", 1), some(4, "v", 2)])
    panels = [axes for axes in figure.get_axes() if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["most", "least", "v"]
    assert [axes.get_ylim() for axes in panels] == [(0, 100)] * 3
    assert [axes.get_xlim()[1] for axes in panels] == [3, 5, 4]
    assert figure.get_size_inches()[0] <= 6.5
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [words for words, _ in SERIES.values()]


def test_what_was_not_measured_is_neither_drawn_nor_named() -> None:
    lines = [{"epoch": 1, "train_accuracy": 0.5, "tracked_accuracy": None}]
    figure = draw([course("a", lines, "run")])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training, clean"]
    (curve,) = figure.get_axes()[0].get_lines()
    assert curve.get_marker() == "."  # one epoch is a dot, since a line through it has no length
    assert not figure.get_axes()[0].texts


def test_names_are_shown_as_they_are() -> None:
    figure = draw([some(2, r"$\frac$"), some(2, "x" * 300, 1)])
    first, second = (axes.get_title() for axes in figure.get_axes())
    assert first == r"$\frac$"
    assert "…" in second
    assert style.picture(figure, "svg")


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_everything_is_inside_the_picture(runs: int) -> None:
    figure = draw([some(30, f"run {number}" * 9, number) for number in range(runs)])
    with style.look():
        figure.draw_without_rendering()
        for axes in figure.get_axes():
            if axes.get_visible():
                box = axes.get_tightbbox()
                assert box is not None
                assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
                assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        legend = figure.legends[0].get_window_extent()
        assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
        assert legend.y0 >= max(axes.bbox.y1 for axes in figure.get_axes())


def test_table_has_every_epoch() -> None:
    lines = log(26)
    header, *rows = (line.rstrip("\n").split("\t") for line in table([course("a\tb", lines, "run")]))
    assert header == ["run", "epoch", *SERIES]
    assert [row[:2] for row in rows] == [["a b", str(epoch)] for epoch in range(1, 27)]
    for row, line in zip(rows, lines, strict=True):
        for field, text in zip(SERIES, row[2:], strict=True):
            assert text == (repr(line[field]) if field in line else "")


@pytest.mark.parametrize("value", [1.5, -0.1, "0.5", True, [1], math.nan, math.inf])
def test_what_is_no_accuracy_is_refused(value: object) -> None:
    lines = [{"epoch": 1, "test_accuracy": 0.5}, {"epoch": 2, "test_accuracy": value}]
    with pytest.raises(DataError, match=r"^run/x, line 2: test_accuracy is not a number from 0 to 1$"):
        course("a", lines, "run/x")


def test_refusals() -> None:
    with pytest.raises(DataError, match="run: no epoch of this run is over"):
        course("a", [], "run")
    with pytest.raises(DataError, match="the log of no adversarial training"):
        course("a", [{"epoch": 1, "loss": 2.0}], "run")
    with pytest.raises(UsageError, match=f"{MOST + 1} runs"):
        draw([some(1)] * (MOST + 1))
