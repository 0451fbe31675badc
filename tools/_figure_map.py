"""``figure map``: points in the plane, coloured and sized by robustness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from datarobust.errors import UsageError

from . import _cli
from ._figure_output import Table, write


def map_(
    embeddings: Annotated[
        list[Path], typer.Argument(metavar="E.zarr...", help="Results of embed; - for one on stdin.")
    ],
    output: _cli.Output,
    columns: Annotated[
        int | None, typer.Option("--columns", metavar="N", min=1, help="Panels in a row; at most 3 if not given.")
    ] = None,
    scale: Annotated[
        Literal["value", "rank"], typer.Option("--scale", help="Colour and size by robustness, or by its rank.")
    ] = "value",
    name: _cli.Names = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw maps of points, coloured and sized by robustness (Figures 2c, 2d, 6, 17).

    A panel for each embedding, row by row in the order given: for Figure 6 the sets in l2, the sets in l-infinity, and
    --columns 3. The least robust points are large and red, the most robust small and blue; between the two, colour and
    size are linear in robustness, and the key beneath a panel has its numbers, in [0, 1] units. Where a few points lie
    far from the rest, as in l-infinity on MNIST, --scale rank shows more. Small points are drawn over large ones, which
    are not opaque. Directions and units of a map mean nothing, so there are no ticks.

    The columns of --tsv: set, method, norm, stress, correlation, permuted (of the whole map: Kruskal's stress-1, the
    rank correlation of robustness between nearest neighbours on it, the largest by chance), index, distance, x, y.

    For example:

        figure map c10-mds-l2.zarr c10-rte-l2.zarr --name CIFAR-10 --name CIFAR-10 -o figure6.png
    """
    from datarobust import artifacts
    from datarobust.figures.formats import format_of
    from datarobust.figures.map import map_of

    form = format_of(output.suffix)
    stores = [artifacts.open_store(_cli.argument_path(path), "embedding") for path in embeddings]
    if name and len(name) != len(stores):
        raise UsageError(f"{len(stores)} embeddings, but {len(name)} names: give --name once for each, in their order.")
    from datarobust.figures import map as figure
    from datarobust.figures import style

    names = name or [str(store.attributes.get("name", store.path.resolve().stem)) for store in stores]
    maps = [map_of(store, called) for store, called in zip(stores, names, strict=True)]
    write(output, style.picture(figure.draw(maps, columns, scale), form), tsv, lambda: figure.table(maps), overwrite)
