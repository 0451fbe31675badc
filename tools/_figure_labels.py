"""``figure labels``: which classes the least and the most robust points are of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datarobust.errors import UsageError

from . import _cli
from ._figure_output import Table, write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datarobust.artifacts import Store


def labels(
    stores: Annotated[
        list[Path],
        typer.Argument(metavar="R.zarr... D.zarr", help="Rankings of one dataset, and the dataset; - for stdin."),
    ],
    output: _cli.Output,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="How many points.")] = 1024,
    seed: _cli.Seed = 0,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw label distributions (Figures 4a, 4b).

    Three bars a class: how many of the N least robust points (left), of N random points (centre) and of the N most
    robust points (right) are of it. One panel for each ranking, that is for each norm. The random points are those of
    `random:N:SEED`, the others those of `R.zarr:least:N` and `R.zarr:most:N`: of points that tie at the cut, those of
    lowest index enter, and how many is said.

    The columns of --tsv: norm, label, class, least, random, most.

    For example:

        figure labels c10-l2.zarr c10-linf.zarr c10.zarr --n 1024 -o figure4.pdf --tsv figure4.tsv
    """
    from datarobust import artifacts
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    opened = [artifacts.open_store(_cli.argument_path(path), ("ranking", "dataset")) for path in stores]
    rankings = [store for store in opened if store.kind == "ranking"]
    datasets = [store for store in opened if store.kind == "dataset"]
    if len(datasets) != 1 or not rankings:
        raise UsageError(
            f"{len(rankings)} rankings and {len(datasets)} datasets are given: "
            "name one or more rankings and the one dataset they rank."
        )
    from datarobust.figures import labels as figure  # matplotlib takes its time: only when there is something to draw
    from datarobust.figures import style

    data = datasets[0]
    values, names = _classes(data)
    all_labels = data.column("labels").read()
    found = [
        figure.Distribution(
            ranking.attributes["norm"], figure.count(all_labels, values, _groups(ranking, data, n, seed))
        )
        for ranking in rankings
    ]
    drawn = figure.draw(found, names, n)
    write(output, style.picture(drawn, form), tsv, lambda: figure.table(found, values.tolist(), names), overwrite)


def _classes(data: Store) -> tuple[NDArray[np.int64], list[str]]:
    """Every class that has a name or points, ascending by label; a class without a name is called by its label."""
    import numpy as np

    named = data.attributes["classes"]
    values = np.union1d(np.arange(len(named)), data.column("labels").read()).astype(np.int64)
    return values, [named[label] if 0 <= label < len(named) else f"{label}" for label in values.tolist()]


def _groups(ranking: Store, data: Store, n: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of the least robust, random and most robust points."""
    from datarobust.selection import Selection, choose

    path, chosen = str(ranking.path), []
    for how in ("least", "random", "most"):
        picked = choose(Selection(f"--n {n}", how, path=path, count=n, seed=seed), data)
        for remark in picked.remarks():
            _cli.say(f"{how} robust, {ranking.attributes['norm']}: {remark}")
        chosen.append(picked.rows)
    return chosen
