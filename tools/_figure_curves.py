"""``figure sensitivity`` and ``figure difference``: the values of whole rankings, in order."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datarobust.errors import UsageError

from . import _cli
from ._figure_output import Table, names_of, write

if TYPE_CHECKING:
    from datarobust.artifacts import Store
    from datarobust.figures.compare import By


class Way(StrEnum):
    """Values of ``--by``; an Enum, because typer repeats no Literal."""

    POINT = "point"
    RANK = "rank"


Ways = Annotated[
    list[Way] | None,
    typer.Option(
        "--by",
        metavar="point|rank",
        help="How an OTHER is compared with BASE; once, or once for each.",
        show_default=False,
    ),
]


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

    lines = [
        curves.ordered(known, store.attributes["norm"], store.column("distance").read(), without_least=without_least)
        for known, store in zip(names_of(stores, name), stores, strict=True)
    ]
    for line in lines:
        if line.left_out:
            _cli.say(f"{line.name} ({line.norm}) is drawn without {line.left_out}")
    scales: list[curves.Scale] = ["absolute"] if absolute or not relative else []
    scales += ["relative"] if relative or not absolute else []
    write(output, style.picture(draw(lines, scales), form), tsv, lambda: curves.table(lines), overwrite)


def difference(
    rankings: Annotated[
        list[Path], typer.Argument(metavar="BASE.zarr OTHER.zarr...", help="Rankings of one norm; - for one on stdin.")
    ],
    output: _cli.Output,
    by: Ways = None,
    name: _cli.Names = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw differences between sensitivity values (Figures 2b, 5b).

    Sensitivity 1/r in BASE minus that in OTHER, a marker a point, ordered by BASE's values: its most robust points are
    at the left. The first other set has the marker +, the second o, as in the paper.

    --by point compares each point with itself, which is right where both sets hold the same points in the same order
    under other labels (CIFAR-100 and CIFAR-100s); sets of different size are refused. --by rank compares the i-th
    value in the order of BASE with the i-th in the order of OTHER, which is right for different points (CIFAR-100 and
    CIFAR-10); where sizes differ, with the value at the same fraction (rank - 1/2)/n of OTHER, on the straight line
    between its two nearest ranks. Give --by once, or once for each OTHER. Without it rankings of one dataset are
    compared by point and all others by rank: a ranking knows its dataset, not whether another has the same images.

    Infinite sensitivities (points at distance 0) have no difference. By point, a point with one in either set is left
    out; by rank, both sets are ordered without them. The legend counts them, as it does points that a ranking dropped.

    The picture leaves out markers that others would hide; where points are compared with themselves, a line joins the
    medians of 64 equal parts of the set. --tsv has all points, a row each: rank (in BASE), fraction, difference, base,
    set, norm, by, index (row in BASE), sensitivity (there), other (sensitivity in OTHER).

    For example:

        figure difference c100-l2.zarr c10-l2.zarr c100s-l2.zarr --by rank --by point -o figure2b.pdf
    """
    from datarobust import artifacts
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    if len(rankings) < 2:
        raise UsageError("A difference takes two rankings or more: BASE.zarr OTHER.zarr.")
    base, *others = stores = [artifacts.open_store(_cli.argument_path(path), "ranking") for path in rankings]
    ways = _ways(base, others, by)
    from datarobust.figures import compare, curves, style
    from datarobust.figures.difference import draw

    title, *names = names_of(stores, name)
    curve = curves.ordered(title, base.attributes["norm"], base.column("distance").read())
    found = [
        compare.difference(curve, known, store.column("distance").read(), way)
        for known, store, way in zip(names, others, ways, strict=True)
    ]
    if curve.left_out:
        _cli.say(f"{title} is compared without {curve.left_out}")
    for one in found:
        for remark in one.remarks():
            _cli.say(remark)
    write(output, style.picture(draw(found), form), tsv, lambda: compare.table(found), overwrite)


def _ways(base: Store, others: list[Store], asked: list[Way] | None) -> list[By]:
    """How each of the others is compared with BASE; rankings that do not compare at all are refused."""
    if asked and len(asked) not in (1, len(others)):
        raise UsageError(
            f"{len(others)} sets are compared with {base.path}, but --by is given {len(asked)} times: give it once, "
            "or once for each of them."
        )
    for other in others:
        for attribute, way_out in (("norm", "rank both in one norm"), ("labels", "rank both with --soft or neither")):
            mine, theirs = base.attributes[attribute], other.attributes[attribute]
            if mine != theirs:
                raise UsageError(
                    f"{base.path} and {other.path} do not compare, because their {attribute} differ "
                    f"({mine} and {theirs}): {way_out}."
                )
    if asked:
        ways: list[By] = ["point" if way is Way.POINT else "rank" for way in asked]
        return ways * len(others) if len(ways) == 1 else ways
    return ["point" if other.attributes["dataset"] == base.attributes["dataset"] else "rank" for other in others]
