"""What a search for the sampler's arguments found (Appendix B): main effects, and the best points with their seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datarobust.diffusion.sampler import Sampler
from datarobust.diffusion.search import GRID, Result, main_effects, mean_scores, seed_spread, survivors, top_set, varied
from datarobust.figures import style
from datarobust.text import tsv

SHOWN: Final = 40
"""Points of the last rung that are shown, best first."""
_SIZE: Final = (6.5, 4.6)  # inches


def draw(points: Sequence[Sampler], first: Sequence[Result], last: Sequence[Result], features: str) -> Figure:
    """Above, the mean score of all points by the value of each argument; below, the points of the last rung.

    A point of the last rung is the mean over its seeds with a line from the lowest to the highest; those that seeds
    cannot tell from the best are coloured. ``features`` are what the scores are distances of, any text.
    """
    with style.look():
        figure = style.new_figure(*_SIZE, layout="constrained")
        grid = figure.add_gridspec(2, len(GRID))
        shared: Axes | None = None
        for column, (name, effect) in enumerate(main_effects(first, points).items()):
            axes = figure.add_subplot(grid[0, column], sharey=shared)
            shared = shared or axes
            axes.plot(range(len(effect)), list(effect.values()), marker="o", markersize=3, color=style.COLOURS[0])
            axes.set_xticks(range(len(effect)), [f"{value:g}" for value in effect])
            axes.margins(x=0.15)
            axes.set_title(name, parse_math=False)
            axes.tick_params(labelleft=not column)
        figure.axes[0].set_ylabel(f"mean score, {first[0].images:,} images")

        axes = figure.add_subplot(grid[1, :])
        means, best, order = mean_scores(last), set(top_set(last)), survivors(last, SHOWN)
        for place, number in enumerate(order):
            scores = [result.score for result in last if result.point == number]
            colour = style.COLOURS[1] if number in best else style.QUIET
            axes.plot([place, place], [min(scores), max(scores)], color=colour, linewidth=1.0)
            axes.plot([place], [means[number]], marker="o", markersize=3.5, color=colour)
        axes.set_xticks(range(len(order)), [str(number) for number in order], rotation=90 if len(order) > 12 else 0)
        axes.set_xlabel("point of the grid, best first")
        axes.set_ylabel(f"score, {last[0].images:,} images")
        spread = seed_spread(last)
        seeds = "one seed" if spread is None else f"deviation from seed to seed {spread:.3g}"
        features = style.fitted(features, 220, style.NORMAL)
        axes.set_title(f"{features}: {len(best)} that seeds cannot tell from the best ({seeds})", parse_math=False)
    return figure


def table(points: Sequence[Sampler], results: Sequence[Result]) -> Iterator[str]:
    """Every result as a line of a TSV file."""
    return tsv(
        f"point {' '.join(GRID)} seed images score",
        (
            (
                result.point,
                *(f"{value:g}" for value in varied(points[result.point]).values()),
                result.seed,
                result.images,
                result.score,
            )
            for result in sorted(results, key=lambda result: (result.images, result.point, result.seed))
        ),
    )
