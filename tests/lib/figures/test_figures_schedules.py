"""Figures 4 (c) and (d): six curves, where they part and where they end."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.lines import Line2D

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.charts import MOST_EPOCHS, schedules
from datarobust.figures.charts import draw_schedules as draw
from datarobust.figures.charts import table_of_schedules as table
from datarobust.schedules import SCHEDULES, momentum_and_rate
from datarobust.types import Floats


def curves(found: dict[str, Floats], panel: int) -> list[Line2D]:
    return list(draw(found).get_axes()[panel].get_lines())


def test_the_values_are_those_of_the_training() -> None:
    found = schedules(400, 0.1)
    assert list(found) == list(SCHEDULES)
    for name, (rates, momenta) in found.items():
        for epoch in (0, 9, 10, 250, 333, 399):
            assert (momenta[epoch], rates[epoch]) == momentum_and_rate(name, 7 * epoch, 400, 7, 0.1)


@pytest.mark.parametrize("panel", [0, 1])
def test_what_is_drawn_lies_on_the_curves(panel: int) -> None:
    found = schedules(2400, 0.2)
    for (expected, _), drawn in zip(found.values(), curves(found, panel), strict=True):
        epochs, rates = np.asarray(drawn.get_xdata(), np.float64), np.asarray(drawn.get_ydata(), np.float64)
        assert (np.diff(epochs) > 0).all()
        assert epochs[-1] == 2400
        assert rates.tolist() == expected[epochs.astype(int) - 1].tolist()


def test_versions_are_drawn_from_where_they_leave_the_original() -> None:
    found = schedules(2400, 0.2)
    begins = [int(drawn.get_xdata()[0]) for drawn in curves(found, 0)]  # type: ignore[index]
    assert begins == [1, 60, 60, 2000, 1900, 2000]
    whole, last = draw(found).get_axes()
    assert (whole.get_xlim(), last.get_xlim()) == ((1, 2400), (2001, 2400))
    assert (whole.get_yscale(), last.get_yscale()) == ("linear", "log")
    low, high = last.get_ylim()
    for rates, _ in found.values():
        assert low < rates[2000:].min()
        assert rates[2000:].max() < high


def test_the_legend_has_the_final_values_of_the_paper() -> None:
    axes = draw(schedules(2400, 0.2)).get_axes()[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "original: 8·10⁻⁷", "a: 2·10⁻⁴", "b: 2·10⁻⁴", "c: 5·10⁻⁵", "d: 1.5·10⁻⁵", "e: 2·10⁻⁴",
    ]  # fmt: skip


def test_no_curve_runs_under_the_legend() -> None:
    for epochs in (40, 1600, 2400, 3000):
        figure = draw(schedules(epochs, 0.2))
        with style.look():
            figure.draw_without_rendering()
            axes = figure.get_axes()[0]
            legend = axes.get_legend()
            assert legend is not None
            box = legend.get_window_extent()
        for drawn in axes.get_lines():
            assert not box.count_contains(axes.transData.transform(np.array(drawn.get_xydata()))), epochs


def test_table_has_every_epoch() -> None:
    header, *lines = (line.rstrip("\n").split("\t") for line in table(schedules(40, 1.0)))
    assert header == ["schedule", "epoch", "lr", "momentum"]
    assert len(lines) == 6 * 40
    name, epoch, rate, momentum = lines[3 * 40 + 39]
    assert (name, epoch) == ("c", "40")
    assert (float(momentum), float(rate)) == momentum_and_rate("c", 39, 40, 1, 1.0)


@pytest.mark.parametrize(
    ("epochs", "largest", "words"),
    [
        (39, 0.2, "`epochs` 39: from 40 to 100,000"),
        (-1, 0.2, "`epochs` -1"),
        (MOST_EPOCHS + 1, 0.2, f"`epochs` {MOST_EPOCHS + 1}"),
        (100, 0.0, "`lr` 0: a positive"),
        (100, float("nan"), "`lr` nan"),
        (100, float("inf"), "`lr` inf"),
    ],
)
def test_what_no_training_has_is_refused(epochs: int, largest: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        schedules(epochs, largest)
