"""Draw the paper's figures from artifacts, as png, svg or pdf by the ending of the output's name.

The same artifacts give the same bytes, so a picture can be a target of make and a figure can be compared with cmp.
The path of the finished picture is printed.

    figure sensitivity c10-l2.zarr c10-linf.zarr -o figure2a.pdf
    sens-rank c10.zarr --norm linf -o r.zarr | figure pairs c10.zarr - -o least.png
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datarobust.errors import ArtifactError, DataError, UsageError

from . import _cli

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datarobust.artifacts import Store
    from datarobust.figures.pairs import Side

app = _cli.tool(__doc__)

Table = Annotated[
    Path | None,
    typer.Option("--tsv", metavar="FILE", help="Also write the values behind the picture, a header line first."),
]


@app.command()
def sensitivity(
    rankings: Annotated[list[Path], typer.Argument(metavar="R.zarr...", help="Rankings; - for one on stdin.")],
    output: _cli.Output,
    absolute: Annotated[bool, typer.Option("--absolute", help="Only the panel of absolute values.")] = False,
    relative: Annotated[bool, typer.Option("--relative", help="Only the panel of relative values.")] = False,
    name: _cli.Names = None,
    without_least: Annotated[
        int,
        typer.Option("--without-least", metavar="N", min=0, help="Leave out the N least robust points of each set."),
    ] = 0,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw ordered sensitivity (Figures 2a, 5a, 16).

    One curve a set, one value a point: 1/r, with r the distance to the nearest point that has another label (Section
    3, Algorithm 1). The most robust points are at the left, and the axis is the fraction of the set, so that sets of
    different size compare; relative values are divided by their maximum. One row of panels for each norm.

    Points at distance 0 have an infinite sensitivity and are left out and counted in the legend, as are points that
    the ranking dropped; points without a neighbour of another label have sensitivity 0. The paper left out the 40
    least robust points of CIFAR-100 and EMNIST: --without-least 40.

    The picture has as many points as the eye can tell apart; --tsv has all of them, a row each, most robust first:
    rank, fraction, sensitivity, set, norm, index, distance.

    For example:

        figure sensitivity mnist-l2.zarr letters-l2.zarr --name M --name L -o figure16.svg --tsv figure16.tsv
    """
    from datarobust import artifacts
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    stores = [artifacts.open_store(_cli.argument_path(path), "ranking") for path in rankings]
    from datarobust.figures import curves, style  # matplotlib takes its time: only when there is something to draw
    from datarobust.figures.sensitivity import draw

    if name and len(name) != len(stores):
        raise UsageError(f"{len(stores)} rankings, but {len(name)} names: give --name once for each, in their order.")
    lines = [
        curves.ordered(known, store.attributes["norm"], store.column("distance").read(), without_least=without_least)
        for known, store in zip(name or [_name(store) for store in stores], stores, strict=True)
    ]
    for line in lines:
        if line.left_out:
            _cli.say(f"{line.name} ({line.norm}) is drawn without {line.left_out}")
    scales: list[curves.Scale] = ["absolute"] if absolute or not relative else []
    scales += ["relative"] if relative or not absolute else []
    _write(output, style.picture(draw(lines, scales), form), tsv, lambda: curves.table(lines), overwrite)


@app.command()
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
    _write(output, style.picture(drawn, form), tsv, lambda: figure.table(points, nearest, norm), overwrite)


def _name(store: Store) -> str:
    """What the legend calls a ranking: its file's name, without the norm at its end, which the legend has anyway."""
    stem = store.path.resolve().stem
    return re.sub(rf"[-_.]{store.attributes['norm']}$", "", stem) or stem


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


def _write(picture: Path, drawn: bytes, tsv: Path | None, lines: Callable[[], Iterable[str]], overwrite: bool) -> None:
    """Both files or none; one that exists already with the same bytes is as good as written."""
    from datarobust.artifacts import whole_or_absent

    outputs: list[tuple[Path, Callable[[], Iterable[bytes]]]] = [(picture, lambda: [drawn])]
    if tsv is not None:
        if tsv.resolve() == picture.resolve():
            raise UsageError(f"{tsv} cannot be both the picture and the table: give two names.")
        outputs.append((tsv, lambda: (line.encode() for line in lines())))
    with ExitStack() as stack:
        for path, parts in outputs:
            if not _holds(path, parts()):
                partial = stack.enter_context(whole_or_absent(path, overwrite=overwrite))
                with partial.open("wb") as file:
                    file.writelines(parts())
    _cli.emit(str(picture))


def _holds(path: Path, parts: Iterable[bytes]) -> bool:
    """Whether a file is there and has exactly these bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return all(file.read(len(part)) == part for part in parts) and not file.read(1)


def main() -> None:
    """The installed command."""
    _cli.run(app, "figure")


if __name__ == "__main__":
    main()
