"""Maps of points, coloured and sized by sensitivity, Figure 2 (c, d), or by robustness, Figures 6 and 17.

As in the paper the least robust points are large and red and the most robust small and blue.  Large ones are drawn
first and let what is beneath them shine through, so that small ones stay visible among them.  Directions and units of
a map mean nothing, so there are no ticks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy.stats import rankdata

from datarobust.datasets.contents import names
from datarobust.errors import DataError, UsageError
from datarobust.figures import demand_room, records, style
from datarobust.norms import norm_of
from datarobust.text import shown, tsv
from datarobust.types import Floats, Rows

if TYPE_CHECKING:
    from datarobust.artifacts import Store

Scale = Literal["value", "rank"]
Color = Literal["robustness", "sensitivity"]

MOST: Final = 24  # maps on one picture
LEVELS: Final = 24  # steps of colour and size, more than the eye can tell apart

# Inches.
_LARGEST: Final = 3.2  # width of a panel
_KEY: Final = 0.55  # title above and key beneath a panel

_ENDS: Final = (8.0, 2.0)  # diameters of the least and the most robust points in a panel of _LARGEST, points
_SMALLEST: Final = 1.4
_KEYS: Final = 4  # sizes that the key shows
_SHADES: Final = ("#C8102E", "#E8743B", "#B9A4A8", "#5B8DB8", "#08519C")
_OPAQUE: Final = 0.72
_MARGIN: Final = 0.04

_COLOURS: Final = LinearSegmentedColormap.from_list("robustness", _SHADES, N=LEVELS)


@dataclass(frozen=True)
class Map:
    """Points in the plane."""

    name: str  # of the set; any text
    method: str  # how they were placed, in our own words; mathtext allowed
    norm: str  # of ``distance``
    position: Floats  # (M, 2)
    distance: Floats  # (M,) r(x) in [0, 1] units
    index: Rows  # (M,) rows in the dataset
    method_key: str  # the method without mathtext, for tables
    stress: float | None = None  # Kruskal's stress-1, where there is one
    correlation: float | None = None  # of robustness between nearest neighbours on the map (datarobust.embedding)
    permuted: float | None = None  # the largest of the permutations there
    names: Sequence[str] | None = None  # M, of the points in their source, any text

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if not len(self.position):
            raise DataError(f"{self.name}: there are no points on the map")
        if not (np.isfinite(self.position).all() and np.isfinite(self.distance).all()):
            raise DataError(f"{self.name}: positions or distances on the map are not finite")

    def values(self, color: Color) -> Floats:
        """(M,) what colour and size show, the least robust points lowest: r(x), or -1/r(x) for sensitivity."""
        if color == "robustness":
            return self.distance
        with np.errstate(divide="ignore", over="ignore"):
            return np.asarray(-np.reciprocal(self.distance))


def levels(values: Floats, scale: Scale = "value") -> Rows:
    """Which of :data:`LEVELS` equal steps from the least (0) to the most robust point each point is in, int64 (M,).

    Steps of the values, or of their ranks, the mean one of equal values; all in the middle where all are equal.
    """
    values = rankdata(values) if scale == "rank" else values
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return np.minimum((share * LEVELS).astype(np.int64), LEVELS - 1)


def draw(
    maps: Sequence[Map], columns: int | None = None, scale: Scale = "value", color: Color = "robustness"
) -> Figure:
    """A panel for each map, row by row in their order.

    Colour and diameter go evenly from the least to the most robust point of each panel, by robustness, by sensitivity
    or by rank; the key beneath it has the numbers. Without ``columns`` a row has 1 to 3 panels. Raises DataError where
    an infinite sensitivity would have to be drawn by value.
    """
    demand_room(maps, "maps", MOST)
    if columns is None:
        columns = len(maps) if len(maps) < 4 else 2 if len(maps) == 4 else 3
    if not 1 <= columns <= len(maps):
        raise UsageError(f"`columns` {columns}: a picture of {len(maps)} maps has 1 to {len(maps)} in a row")
    rows = math.ceil(len(maps) / columns)
    width = min(_LARGEST, style.PAGE / columns)
    large, small = (max(_SMALLEST, end * width / _LARGEST) for end in _ENDS)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.25}
    looks = [
        dot | {"markersize": size, "color": (*_COLOURS(level)[:3], _OPAQUE)}
        for level, size in enumerate(np.linspace(large, small, LEVELS).tolist())
    ]
    with style.look():
        figure = style.new_figure(columns * width, rows * (width + _KEY), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(maps) :]:
            axes.set_visible(False)
        for axes, points in zip(grid.flat, maps, strict=False):
            measure = points.values(color)
            infinite = int(np.count_nonzero(np.isinf(measure)))
            if infinite and scale == "value":
                raise DataError(
                    f"{points.name}: {infinite:,} points are at distance 0, so their sensitivity is infinite: give "
                    "`scale` rank or `color` robustness"
                )
            level = levels(measure, scale)
            for step in np.unique(level).tolist():
                x, y = points.position[level == step].T
                axes.plot(x, y, zorder=2 + step / LEVELS, **looks[step])
            axes.set(xticks=[], yticks=[])
            axes.margins(_MARGIN)
            axes.set_box_aspect(1)
            axes.set_aspect("equal", adjustable="datalim")
            axes.spines[["top", "right"]].set_visible(True)
            axes.spines[:].set_color(style.QUIET)
            tail = f", {points.method}"
            room = (width - 0.2) * style.POINTS_PER_INCH - style.width_of(tail.replace("$", ""), style.NORMAL)
            name = style.fitted(points.name, room, style.NORMAL)
            # the method has mathtext, and a dollar in a name is a dollar
            axes.set_title(name.replace("\\", "\\\\").replace("$", r"\$") + tail, pad=3)

            # The key beneath: even steps of the values, or of their ranks.
            ordered = np.sort(measure)
            low, high = float(ordered[0]), float(ordered[-1])
            if scale == "rank":
                values = np.unique(ordered[np.linspace(0, len(ordered) - 1, _KEYS).round().astype(int)])
                steps = levels(ordered, scale)[np.searchsorted(ordered, values)].tolist()
            else:
                steps = np.linspace(0, LEVELS - 1, _KEYS).round().astype(int).tolist() if high > low else [LEVELS // 2]
                values = np.linspace(low, high, len(steps))
            style.legend(
                axes,
                [looks[step] for step in steps],
                [f"{abs(value):.3g}" for value in values.tolist()],
                title=f"{color} in {norm_of(points.norm).symbol}{', by rank' if scale == 'rank' else ''}",
                loc="upper center",
                bbox_to_anchor=(0.5, 0.0),
                ncols=len(steps),
                handlelength=1.0,
                handletextpad=0.2,
                columnspacing=0.7,
                borderaxespad=0.2,
                borderpad=0.1,
            )
    return figure


def table(maps: Sequence[Map]) -> Iterator[str]:
    """Every point as a line of a TSV file; stress and correlations are of the whole map, empty where there is none."""
    named = any(m.names is not None for m in maps)
    lines = (
        (m.name, m.method_key, m.norm, m.stress, m.correlation, m.permuted, index, distance, *place, *[called] * named)
        for m in maps
        for index, distance, place, called in records(m.index, m.distance, m.position, m.names or [""] * len(m.index))
    )
    return tsv(f"set method norm stress correlation permuted index distance x y{' name' * named}", lines)


def map_of(store: Store, name: str) -> Map:
    """An embedding as it is drawn, under this name."""
    attributes = store.attributes
    norm, scaling = attributes["norm"], attributes.get("scaling", "metric")
    dissimilarity = attributes.get("dissimilarity", norm)
    method, key = "RTE", "rte"
    if attributes["method"] == "mds":
        method = {"metric": "", "nonmetric": "non-metric ", "classical": "classical "}[scaling] + "MDS"
        key = "mds" if scaling == "metric" else f"mds {scaling}"
        if dissimilarity != norm:
            method, key = f"{method} of {norm_of(dissimilarity).symbol}", f"{key} of {dissimilarity}"
    neighbours = attributes.get("coherence", {})
    try:
        return Map(
            name,
            f"{method}, {norm_of(norm).symbol}",
            norm,
            store.column("position").read(),
            store.column("distance").read(),
            store.column("index").read(),
            key,
            attributes.get("stress"),
            neighbours.get("correlation"),
            neighbours.get("permuted"),
            names(store),
        )
    except DataError as error:
        raise DataError(f"{shown(store.path)}: {error}") from error
