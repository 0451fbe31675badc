"""``dataset duplicates``: equal points, and the pairs that are nearly equal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from datarobust.errors import UsageError

from . import _cli
from ._derive import Store

if TYPE_CHECKING:
    from datarobust import artifacts
    from datarobust.datasets.duplicates import Equal
    from datarobust.pairs import Pairs

Near = Annotated[
    int | None, typer.Option("--near", metavar="K", min=1, help="The K nearest pairs of points, whatever their labels.")
]
Within = Annotated[
    float | None,
    typer.Option(
        "--within", metavar="DISTANCE", parser=_cli.fraction, help="All pairs up to this distance, as 1.5 or 54/255."
    ),
]
Labels = Annotated[Literal["own", "coarse"], typer.Option("--labels", help="Which labels are compared.")]
Drop = Annotated[
    bool, typer.Option("--drop", help="Print the rows to leave out instead, so that no such points remain.")
]


def duplicates(
    dataset: Store,
    against: _cli.Against = None,
    near: Near = None,
    within: Within = None,
    norm: _cli.Norm = "l2",
    labels: Labels = "own",
    drop: Drop = False,
    memory: _cli.Memory = 8.0,
    threads: _cli.Threads = None,
    limit: _cli.Limit = None,
    as_json: _cli.Json = False,
    quiet: _cli.Quiet = False,
) -> None:
    """List equal points, or with --near and --within the nearest pairs.

    Equal points with different labels have distance 0 and infinite sensitivity; the paper leaves 40 such images of
    CIFAR-100 out (Section 4). A line a point, tab-separated: group, same or different (the labels of the group), row,
    label, index. With --against groups are listed that have points in both sets, and a last column says of which set
    a point is: 0, or 1 for the other. So leaks of test images into training sets are found.

    --near and --within print a line a pair, the nearest first, exactly: row, other row, distance, label, other's label,
    index, other's index; the lower row first, or that of D.zarr. Distances of images are in [0,1] units.

    --drop prints rows of D.zarr, one a line, for dataset subset --exclude. A row goes if a lower one that stays is its
    equal or in a pair with it; with --against it goes in any case. Sensitivity is local (Theorem 1): taking
    near-duplicates out of a set lowers it.

    For example, without the images of CIFAR-100 that equal one of another class:

        dataset duplicates c100.zarr | grep different | cut -f3 | dataset subset c100.zarr --exclude - -o rest.zarr

    For example, the nearest pairs, and a set without near-duplicates:

        dataset duplicates c10.zarr --near 100 --norm linf
        dataset duplicates c10.zarr --within 3.5 --drop | dataset subset c10.zarr --exclude - -o rest.zarr
    """
    from datarobust import artifacts, datasets

    if near is not None and within is not None:
        raise UsageError("Give either --near or --within.")
    stores = [artifacts.open_store(_cli.argument_path(path), "dataset") for path in (dataset, against) if path]
    if near is None and within is None:
        groups = datasets.equal_points(
            stores[0], *stores[1:], labels=labels, limit=limit, progress=_cli.progress(quiet, "hashing")
        )
        _cli.say(groups.remark())
        rows, lines = groups.surplus(), _of_groups(groups, as_json, len(stores) > 1)
    else:
        from datarobust import pairs

        columns = [datasets.label_column(store, labels).read() for store in stores]
        found = _search(stores, norm, near, within, int(memory * 1e9), threads, limit, quiet)
        _cli.say(found.remark())
        rows, lines = pairs.surplus(found, len(stores) > 1), _of_pairs(found, stores, columns, as_json)
    if drop:
        _cli.say(f"{len(rows):,} of {len(stores[0]):,} points to leave out")
    for line in map(str, rows.tolist()) if drop else lines:
        _cli.emit(line)


def _search(
    stores: list[artifacts.Store],
    norm: str,
    near: int | None,
    within: float | None,
    memory: int,
    threads: int | None,
    limit: int | None,
    quiet: bool,
) -> Pairs:
    """The pairs asked for."""
    from datarobust import pairs, sensitivity
    from datarobust.jobs.sens_rank import points_of

    sensitivity.when_compiling(lambda: _cli.say("Compiling the kernels for this machine, once: about half a minute."))
    points, *others = [points_of(store, limit if store is stores[0] else None) for store in stores]
    how: dict[str, Any] = {
        "against": others[0] if others else None,
        "memory": memory,
        "options": sensitivity.Options(threads=threads),
        "progress": _cli.progress(quiet, f"searching {norm}"),
    }
    if near is not None:
        return pairs.nearest_pairs(points, norm, near, **how)
    return pairs.pairs_within(points, norm, float(within or 0), **how)


def _of_groups(groups: Equal, as_json: bool, both: bool) -> Iterator[str]:
    """A line a point, or a JSON object a group."""
    for number, members in enumerate(groups.members()):
        kind = "different" if groups.different[number] else "same"
        columns = {
            "rows": groups.row[members].tolist(),
            "labels": groups.label[members].tolist(),
            "index": groups.index[members].tolist(),
        } | ({"sets": groups.second[members].astype(int).tolist()} if both else {})
        if as_json:
            yield json.dumps({"group": number, "kind": kind, **columns})
        else:
            yield from ("\t".join(map(str, (number, kind, *row))) for row in zip(*columns.values(), strict=True))


def _of_pairs(found: Pairs, stores: list[artifacts.Store], labels: list[Any], as_json: bool) -> Iterator[str]:
    """A line or a JSON object a pair."""
    ends = [(stores[0], labels[0], found.first), (stores[-1], labels[-1], found.second)]
    index = [store.column("index").take(rows).tolist() for store, _, rows in ends]
    label = [values[rows].tolist() for _, values, rows in ends]
    rows = zip(found.first.tolist(), found.second.tolist(), found.distance.tolist(), *label, *index, strict=True)
    for row in rows:
        if as_json:
            names = {"rows": row[:2], "distance": row[2], "labels": row[3:5], "index": row[5:]}
            yield json.dumps(names)
        else:
            yield "\t".join(map(repr, row))
