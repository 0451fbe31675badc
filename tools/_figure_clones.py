"""``figure clones`` and ``figure search``: what a diffusion model makes of images, and how it was tuned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from datarobust.errors import DataError, UsageError

from . import _cli
from ._figure_output import Table, write

if TYPE_CHECKING:
    from datarobust.artifacts import Store
    from datarobust.figures.clones import Copies


def clones(
    stores: Annotated[
        list[Path], typer.Argument(metavar="D.zarr... K.zarr...", help="Clones, and the datasets they are of.")
    ],
    output: _cli.Output,
    layout: Annotated[
        Literal["squares", "rows"], typer.Option("--layout", help="Squares of images and clones, or a row an image.")
    ] = "squares",
    n: Annotated[
        int, typer.Option("--n", metavar="N", min=1, help="How many images of each set, from the first.")
    ] = 16,
    name: _cli.Names = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw images and their clones (Figures 3, 7 to 15).

    squares is the arrangement of Figures 3 and 7: for each set of clones the images, the first clone of each, and,
    where there are several, all clones of the first image. rows is that of Figures 8 to 15: each image with all its
    clones. The images are the first N of each set, so for the most robust ones clone --select R.zarr:most:16.

    The columns of --tsv: set, index, label, repeat, l2, linf (distances between image and clone in [0, 1] units).

    For example:

        figure clones c10.zarr most.zarr least.zarr -o figure3.png
        figure clones c10.zarr most.zarr --layout rows -o figure8.png
    """
    from datarobust import artifacts
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    opened = [artifacts.open_store(_cli.argument_path(path), ("dataset", "clones")) for path in stores]
    datasets = {store.digest: store for store in opened if store.kind == "dataset"}
    sets = [store for store in opened if store.kind == "clones"]
    if not sets:
        raise UsageError("No clones are given: name one or more results of clone, and their datasets.")
    if name and len(name) != len(sets):
        raise UsageError(f"{len(sets)} sets of clones, but {len(name)} names: give --name once for each, in order.")
    from datarobust.figures import clones as figure
    from datarobust.figures import style

    names = name or [store.path.resolve().stem for store in sets]
    found = [_copies(store, datasets, called, n) for store, called in zip(sets, names, strict=True)]
    drawn = figure.squares(found) if layout == "squares" else figure.rows(found)
    write(output, style.picture(drawn, form), tsv, lambda: figure.table(found), overwrite)


def _copies(store: Store, datasets: dict[str, Store], called: str, n: int) -> Copies:
    """The first images of a set of clones, with them."""
    import numpy as np

    from datarobust.figures.clones import Copies

    data = datasets.get(str(store.attributes["dataset"]))
    if data is None:
        raise DataError(f"{store.path} was made from a dataset that is not given: name it beside its clones.")
    count = min(n, len(store))
    index = np.asarray(store.column("index").read(0, count), np.int64)
    return Copies(
        called,
        data.column("images").take(index),
        store.column("images").read(0, count),
        index,
        np.asarray(store.column("labels").read(0, count), np.int64),
    )


def search(
    lines: Annotated[Path, typer.Argument(metavar="S.jsonl", help="Lines of clone-search; - takes their path.")],
    output: _cli.Output,
    also: Annotated[
        list[Path] | None, typer.Option("--also", metavar="FILE", help="Lines of another shard; may be given again.")
    ] = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw what clone-search found (Appendix B).

    Above, the mean score of all points of the first rung by the value of each argument; below, the points of the last
    rung, best first, from their lowest to their highest seed, those in colour that seeds cannot tell from the best.

    The columns of --tsv: point, its six arguments, seed, images, score.

    For example:

        figure search search.jsonl -o effects.svg --tsv effects.tsv
    """
    from datarobust.clones.lines import gather
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    features, points, results = gather([_cli.argument_path(lines), *(also or [])])
    if not results:
        raise DataError(f"{lines} has no results yet: there is nothing to draw.")
    from datarobust.figures import search as figure
    from datarobust.figures import style

    sizes = sorted({result.images for result in results})
    first, last = ([result for result in results if result.images == size] for size in (sizes[0], sizes[-1]))
    drawn = figure.draw(points, first, last, features)
    write(output, style.picture(drawn, form), tsv, lambda: figure.table(points, results), overwrite)
