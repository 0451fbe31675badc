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

import numpy as np
from matplotlib.figure import Figure

from datarobust.figures import demand_room, style
from datarobust.norms import norm_of
from datarobust.text import tsv

MOST: Final = len(style.COLOURS)  # networks on one picture: each has a colour of its own
FIELDS: Final = ("quantile", "points", "lowest", "highest", "clean", "robust", "low", "high")

_SIZE: Final = (5.6, 3.3)  # inches
_APART: Final = 0.09  # between the markers of two networks, in parts
_FEW: Final = 12  # so many parts, or fewer, have their distances written beneath them
_NAME_WIDTH: Final = 150.0  # points


@dataclass(frozen=True)
class Profile:
    """Accuracy of one network, part by part."""

    name: str  # any text
    rows: Sequence[Mapping[str, Any]]  # one a part, least robust first, with FIELDS
    upper_bound: bool = False  # whether more attacks could lower ``robust``


def draw(profiles: Sequence[Profile], ranked_by: str, norm: str, eps: str) -> Figure:
    """One panel: pentagons with 95 % intervals for accuracy under attack, small dots for clean accuracy.

    All profiles have the same parts, by distances in the norm ``ranked_by``; the attack's are ``norm`` and ``eps``.
    """
    demand_room(profiles, "evaluations", MOST)
    rows = profiles[0].rows
    parts = len(rows)
    pentagon: dict[str, Any] = {"marker": "p", "markersize": 6.0, "linewidth": style.LINE_WIDTH}
    dot: dict[str, Any] = {"marker": "o", "markersize": 2.5, "linestyle": (0, (1.2, 1.3)), "linewidth": 0.8}
    with style.look():
        figure = style.new_figure(*_SIZE, layout="constrained")
        axes = figure.subplots()
        for number, profile in enumerate(profiles):
            places = [row["quantile"] + (number - (len(profiles) - 1) / 2) * _APART for row in profile.rows]
            clean, robust, low, high = (
                style.PERCENT * np.array([row[field] for row in profile.rows])
                for field in ("clean", "robust", "low", "high")
            )
            look: dict[str, Any] = {"color": style.COLOURS[number], "clip_on": False}
            edges: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4, "elinewidth": 0.7, "zorder": 3}
            axes.errorbar(places, robust, np.abs([robust - low, robust - high]), **pentagon, **edges, **look)
            axes.plot(places, clean, **dot, **look)
        axes.set_ylim(0, 100)
        axes.set_xlim(0.5, parts + 0.5)
        axes.set_ylabel("Accuracy [%]")
        label = f"{'Decile' if parts == 10 else f'Part, of {parts}'}, the least robust points first"
        if parts <= _FEW:
            ends = ["∞" if math.isinf(row["highest"]) else f"{row['highest']:#.3g}" for row in rows]
            numbers = [f"{row['quantile']}\n≤ {end}" for row, end in zip(rows, ends, strict=True)]
            axes.set_xticks([row["quantile"] for row in rows], numbers)
            label += f"\n(≤: largest {norm_of(ranked_by).symbol} distance to another label)"
        axes.set_xlabel(label)

        # A colour a network, then which marker is what; an upper bound is called so.
        names = [
            style.fitted(profile.name, _NAME_WIDTH, style.SMALL) + (" (upper bound)" if profile.upper_bound else "")
            for profile in profiles
        ]
        attack = "under attack" if any(profile.upper_bound for profile in profiles) else "AutoAttack"
        networks = [{"color": style.COLOURS[number], "linewidth": 2.0} for number in range(len(profiles))]
        ours = [pentagon | {"color": style.INK}, dot | {"color": style.INK}]
        entries = [*names, f"{attack}, {norm_of(norm).symbol} {eps}; 95 % interval", "clean"]
        spaces = {"ncols": 2, "handlelength": 2.4, "columnspacing": 1.4}
        shown = style.legend(figure, [*networks, *ours], entries, loc="outside upper center", **spaces)
        shown.get_texts()[-2].set_parse_math(True)
    return figure


def table(profiles: Sequence[Profile]) -> Iterator[str]:
    """Every part as a line of a TSV file."""
    return tsv(
        f"evaluation upper_bound {' '.join(FIELDS)}",
        (
            (profile.name, profile.upper_bound, *(row[field] for field in FIELDS))
            for profile in profiles
            for row in profile.rows
        ),
    )
