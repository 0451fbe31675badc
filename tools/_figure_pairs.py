"""``figure pairs``: points beside their nearest neighbours with another label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datarobust.errors import ArtifactError, DataError, UsageError

from . import _cli
from ._figure_output import Table, write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datarobust.artifacts import Store
    from datarobust.figures.pairs import Side


def pairs(
    dataset: Annotated[Path, typer.Argument(metavar="D.zarr", help="The points; - for stdin.")],
    ranking: Annotated[Path, typer.Argument(metavar="R.zarr", help="A ranking of them; - for stdin.")],
    output: _cli.Output,
    select: _cli.Select = None,
    against: _cli.Against = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw points beside their nearest neighbours.

    The neighbour is the nearest point with another label; above each pair stands their distance r(x) (Section 3), in
    [0, 1] units and as it is between the images shown: a ranking by hard labels that says otherwise is refused. Below
    each image stand its class and its row in its set. Without --select the 8 least robust pairs are shown.

    The columns of --tsv: index, distance, neighbour, label, neighbour_label, class, neighbour_class.

    For example:

        figure pairs c10.zarr c10-linf.zarr --select c10-linf.zarr:least:12 -o pairs.pdf
    """
    from datarobust import artifacts
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    data = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    rank = artifacts.open_store(_cli.argument_path(ranking), "ranking")
    artifacts.same_digest(rank, data)
    other = _other(rank, data, against)
    for store in (data, other):
        if "images" not in store:
            raise DataError(f"{store.path} holds features, not images: pairs can be shown of images only.")
    rows = _rows(data, rank, select)
    neighbours, claimed = _neighbours(rank, other, rows)

    from datarobust.figures import pairs as figure
    from datarobust.figures import style

    figure.demand_count(len(rows))
    points, nearest, norm = _side(data, rows), _side(other, neighbours), rank.attributes["norm"]
    by_hard = rank.attributes["labels"] == "hard"  # else distances are weighed with the labels, not those of the images
    drawn = figure.draw(points, nearest, norm, claimed if by_hard else None)
    write(output, style.picture(drawn, form), tsv, lambda: figure.table(points, nearest, norm), overwrite)


def _other(rank: Store, data: Store, against: Path | None) -> Store:
    """The set that the neighbours in a ranking belong to."""
    from datarobust import artifacts

    wanted = rank.attributes["against"]
    if against is None:
        if wanted is not None:
            raise UsageError(f"{rank.path} was made against another set: name it with --against OTHER.zarr.")
        return data
    if wanted is None:
        raise UsageError(f"{rank.path} was not made against another set: leave out --against.")
    other = artifacts.open_store(_cli.argument_path(against), "dataset")
    if other.digest != wanted:
        raise ArtifactError(
            f"{rank.path} was made against another dataset ({str(wanted)[:12]}…) than {other.path}"
            f" ({other.digest[:12]}…): name that one."
        )
    return other


def _rows(data: Store, rank: Store, select: str | None) -> NDArray[np.int64]:
    """The points to show: those selected, or the 8 least robust pairs; two points nearest each other are one pair."""
    import numpy as np

    from datarobust import selection

    if select is not None:
        chosen = selection.choose(select, data)
    else:
        distance = rank.column("distance").read()
        there = np.isfinite(distance)
        if not there.any():
            raise DataError(f"{rank.path}: no point has a neighbour with another label, so there is no pair to show.")
        rows, *_ = selection.extreme(np.where(there, distance, np.nan), min(16, int(there.sum())), "least")
        nearest = dict(zip(rows.tolist(), rank.column("neighbour").take(rows).tolist(), strict=True))
        within = rank.attributes["against"] is None
        again = {q for p, q in nearest.items() if within and nearest.get(q) == p and p < q}
        return np.array([row for row in rows.tolist() if row not in again][:8], np.int64)
    for remark in chosen.remarks():
        _cli.say(remark)
    return chosen.rows


def _neighbours(rank: Store, other: Store, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the neighbours in ``other``, and the distances, according to the ranking."""
    import numpy as np

    found, distance = rank.column("neighbour").take(rows), rank.column("distance").take(rows)
    lone = np.flatnonzero(~np.isfinite(distance))
    if lone.size:
        why = "was dropped" if np.isnan(distance[lone[0]]) else "has no neighbour with another label"
        raise DataError(f"{rank.path}: point {rows[lone[0]]} {why}: choose other points with --select.")
    strange = np.flatnonzero((found < 0) | (found >= len(other)))
    if strange.size:
        raise DataError(
            f"{rank.path}: point {rows[strange[0]]} has neighbour {found[strange[0]]}, but {other.path} has only "
            f"{len(other)} points: make the ranking anew."
        )
    return found, distance


def _side(data: Store, rows: NDArray[np.int64]) -> Side:
    from datarobust.figures.pairs import Side

    labels, names = data.column("labels").take(rows), data.attributes["classes"]
    classes = [names[label] if 0 <= label < len(names) else f"{label}" for label in labels.tolist()]
    return Side(data.column("images").take(rows), rows, labels, classes)
