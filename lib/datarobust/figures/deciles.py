"""Accuracy by robustness of the points: the red pentagons of Figure 1 (b), for a whole set.

The paper has two points of this curve: adversarial accuracy on the 1,024 most and on the 1,024 least robust points.
Here a test set is cut into parts of almost equal size by the distance of each point to the nearest point of another
label, the least robust part first, and every part has its clean accuracy and its accuracy under attack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from datarobust.errors import UsageError
from datarobust.figures import style
from datarobust.figures.legend import LINE_WIDTH

MOST: Final = len(style.COLOURS)
"""Networks on one picture: each has a colour of its own."""
FIELDS: Final = ("quantile", "points", "lowest", "highest", "clean", "robust", "low", "high")

_SIZE: Final = (5.6, 3.3)  # inches
_APART: Final = 0.09
"""Between the markers of two networks, in parts."""
_PERCENT: Final = 100.0
_FEW: Final = 12
"""So many parts, or fewer, have their distances written beneath them."""
_NAME_WIDTH: Final = 150.0  # points


@dataclass(frozen=True)
class Profile:
    """Accuracy of one network, part by part.

    Attributes:
        name: any text.
        rows: one a part, least robust first, with :data:`FIELDS` (:func:`datarobust.evaluations.comparing.deciles`).
        upper_bound: whether more attacks could lower ``robust``.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    upper_bound: bool = False


def draw(profiles: Sequence[Profile], norm: str, eps: str) -> Figure:
    """One panel: pentagons with 95 % intervals for accuracy under attack, small dots for clean accuracy.

    Args:
        profiles: all with the same parts.
        norm: of the distances, l2 or linf.
        eps: norm and radius of the attack, in words.

    Raises:
        UsageError: nothing to draw, more networks than :data:`MOST`, or other parts for one than for another.
    """
    if not profiles:
        raise UsageError("nothing to draw: give at least one evaluation")
    if len(profiles) > MOST:
        raise UsageError(f"{len(profiles)} evaluations cannot be told apart on one picture: it has room for {MOST}")
    parts = len(profiles[0].rows)
    if any(len(one.rows) != parts for one in profiles):
        raise UsageError("evaluations with different parts cannot be drawn side by side")
    with style.look():
        figure = style.new_figure(*_SIZE, layout="constrained")
        axes = figure.subplots()
        for number, one in enumerate(profiles):
            _curve(axes, one, style.COLOURS[number], (number - (len(profiles) - 1) / 2) * _APART)
        axes.set_ylim(0, 100)
        axes.set_xlim(0.5, parts + 0.5)
        axes.set_ylabel("Accuracy [%]")
        _label_parts(axes, profiles[0].rows, "l∞" if norm == "linf" else norm)
        _legend(figure, profiles, eps)
    return figure


def table(profiles: Sequence[Profile]) -> Iterator[str]:
    """Every part as a line of a TSV file, a header first: evaluation, upper_bound and :data:`FIELDS`."""
    yield "\t".join(["evaluation", "upper_bound", *FIELDS]) + "\n"
    for one in profiles:
        name = " ".join(one.name.split())
        for row in one.rows:
            fields = [str(one.upper_bound).lower(), *(repr(row[field]) for field in FIELDS)]
            yield "\t".join([name, *fields]) + "\n"


def _curve(axes: Axes, one: Profile, colour: str, shift: float) -> None:
    places = [row["quantile"] + shift for row in one.rows]
    robust = [row["robust"] * _PERCENT for row in one.rows]
    ends = [[abs(row["robust"] - row[end]) * _PERCENT for row in one.rows] for end in ("low", "high")]
    axes.errorbar(
        places, robust, ends, color=colour, marker="p", markersize=6.0, markeredgecolor="white", markeredgewidth=0.4,
        linewidth=LINE_WIDTH, elinewidth=0.7, zorder=3, clip_on=False,
    )  # fmt: skip
    clean = [row["clean"] * _PERCENT for row in one.rows]
    axes.plot(
        places, clean, color=colour, marker="o", markersize=2.5, linestyle=(0, (1.2, 1.3)), linewidth=0.8, clip_on=False
    )


def _label_parts(axes: Axes, rows: Sequence[Mapping[str, Any]], norm: str) -> None:
    """Number the parts, and say up to which distance each goes where there is room for it."""
    parts = len(rows)
    label = f"{'Decile' if parts == 10 else f'Part, of {parts}'}, the least robust points first"
    if parts <= _FEW:
        ends = ["∞" if math.isinf(row["highest"]) else f"{row['highest']:#.3g}" for row in rows]
        numbers = [f"{row['quantile']}\n≤ {end}" for row, end in zip(rows, ends, strict=True)]
        axes.set_xticks([row["quantile"] for row in rows], numbers)
        label += f"\n(≤: largest {norm} distance to another label)"
    axes.set_xlabel(label)


def _legend(figure: Figure, profiles: Sequence[Profile], eps: str) -> None:
    """A colour a network; which marker is what; an upper bound is called so."""
    bounds = [one.upper_bound for one in profiles]
    tails = [" (upper bound)" if bound else "" for bound in bounds]
    attack = "under attack" if any(bounds) else "AutoAttack"
    lines = [Line2D([], [], color=style.COLOURS[number], linewidth=2.0) for number in range(len(profiles))]
    names = [style.fitted(one.name, _NAME_WIDTH, style.SMALL) + tail for one, tail in zip(profiles, tails, strict=True)]
    lines += [
        Line2D([], [], color=style.INK, marker="p", markersize=6.0, linewidth=LINE_WIDTH),
        Line2D([], [], color=style.INK, marker="o", markersize=2.5, linestyle=(0, (1.2, 1.3)), linewidth=0.8),
    ]
    entries = [*names, f"{attack}, {eps}; 95 % interval", "clean"]
    # Names that begin with "_" would be dropped: the texts are set afterwards.
    shown = figure.legend(
        lines, [str(number) for number in range(len(lines))], loc="outside upper center",
        ncols=2, handlelength=2.4, columnspacing=1.4,
    )  # fmt: skip
    for text, entry in zip(shown.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(entry)
