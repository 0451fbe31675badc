"""Accuracy by decile of robustness: what is drawn is what the rows say, and an upper bound is called so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.charts import FIELDS, Profile
from datarobust.figures.charts import MOST_PROFILES as MOST
from datarobust.figures.charts import draw_deciles as draw
from datarobust.figures.charts import table_of_deciles as table


def profile(name: str, seed: int = 0, parts: int = 10, upper_bound: bool = False) -> Profile:
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(1, parts + 1):
        robust = float(random.uniform(0.2, 0.6))
        ends = {"lowest": 0.2 + 0.01 * number, "highest": 0.2 + 0.01 * (number + 1)}
        shares = {"clean": robust + 0.3, "robust": robust, "low": robust - 0.05, "high": robust + 0.06}
        rows.append({"quantile": number, "points": 100, **ends, **shares})
    rows[-1]["highest"] = math.inf
    return Profile(name, rows, upper_bound)


def test_every_part_has_a_pentagon_a_dot_and_an_interval() -> None:
    one = profile("a")
    axes = draw([one], "linf", "linf", "8/255").get_axes()[0]
    (bars,) = axes.containers
    points, _, (sticks,) = bars.lines  # type: ignore[attr-defined]
    assert points.get_marker() == "p"
    assert np.asarray(points.get_xdata()).tolist() == list(range(1, 11))
    assert np.asarray(points.get_ydata()).tolist() == pytest.approx([100 * row["robust"] for row in one.rows])
    for stick, row in zip(sticks.get_segments(), one.rows, strict=True):
        assert stick[:, 1].tolist() == pytest.approx([100 * row["low"], 100 * row["high"]])
    clean = axes.get_lines()[-1]
    assert np.asarray(clean.get_ydata()).tolist() == pytest.approx([100 * row["clean"] for row in one.rows])
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert (labels[0], labels[-1]) == ("1\n≤ 0.220", "10\n≤ ∞")
    assert axes.get_xlabel().startswith("Decile, the least robust points first")
    assert r"$\ell_\infty$" in axes.get_xlabel()


def test_an_upper_bound_is_called_so() -> None:
    def texts(*profiles: Profile) -> list[str]:
        return [text.get_text() for text in draw(list(profiles), "l2", "l2", "0.5").legends[0].get_texts()]

    assert texts(profile("a"), profile("b", 1)) == ["a", "b", "AutoAttack, $\\ell_2$ 0.5; 95 % interval", "clean"]
    bound = texts(profile("a"), profile("b", 1, upper_bound=True))
    assert bound == ["a", "b (upper bound)", "under attack, $\\ell_2$ 0.5; 95 % interval", "clean"]


def test_everything_is_inside_the_picture_and_networks_differ_in_colour() -> None:
    figure = draw([profile("_x$y$" * 20, number) for number in range(MOST)], "linf", "linf", "8/255")
    with style.look():
        figure.draw_without_rendering()
        box = figure.get_axes()[0].get_tightbbox()
        legend = figure.legends[0].get_window_extent()
    assert box is not None
    for extent in (box, legend):
        assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= extent.y0 < extent.y1 <= figure.bbox.y1
    colours = {bars.lines[0].get_color() for bars in figure.get_axes()[0].containers}  # type: ignore[attr-defined]
    assert len(colours) == MOST
    assert style.picture(figure, "svg")


def test_many_parts_have_no_distances_beneath_them() -> None:
    axes = draw([profile("a", parts=40)], "l2", "l2", "0.5").get_axes()[0]
    assert axes.get_xlabel() == "Part, of 40, the least robust points first"


def test_table_has_every_part() -> None:
    one, two = profile("a\tb", upper_bound=True), profile("c", 1)
    header, *rows = (line.rstrip("\n").split("\t") for line in table([one, two]))
    assert header == ["evaluation", "upper_bound", *FIELDS]
    assert [row[:3] for row in rows] == [["a b", "true", str(n)] for n in range(1, 11)] + [
        ["c", "false", str(n)] for n in range(1, 11)
    ]
    assert [float(row[7]) for row in rows[:10]] == [row["robust"] for row in one.rows]


def test_refusals() -> None:
    with pytest.raises(UsageError, match=f"{MOST + 1} evaluations"):
        draw([profile("a")] * (MOST + 1), "l2", "l2", "")
