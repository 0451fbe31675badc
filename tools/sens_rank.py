"""Rank the points of a dataset by robustness, exactly: Equation (1) and Algorithm 1 of the paper.

For each point the command finds the nearest point with a different label, in the l2, l-infinity or l1 norm. That
distance is the robustness r of the point, and 1/r is its sensitivity. Images are compared in whole numbers, and of
equal distances the lower index counts, so the result is bit-identical for any number of threads and processes.

With -o R.zarr the ranking becomes an artifact for the other commands, and its path is printed. With -o R.csv, R.tsv,
R.jsonl or R.parquet it becomes a table with a header, for other programs. Without -o a terminal shows the ten least
robust points. A pipe or file gets all points as tab-separated values without a header, least robust first: index,
distance, neighbour, label, neighbour's label; with -k three more columns (distance, neighbour, its label) for each
further neighbour. If points have names (of the files they were imported from), the last columns are name and class of
the point and of each neighbour. Distances of images are in [0,1] units, distances of features in the units of the
features.

With --same the neighbour is the nearest other point with the same label. A point that is alone in its class has none
(inf, -1, -1). Wrong labels and outliers are far from their own class; dataset issues compares the two distances. Such a
ranking is marked, and commands that need robustness refuse it.

With --shard I/N a job does part I of the comparisons, counted from 0, without contact to the others, such as in an
array job on any number of machines. Each job writes a part of the ranking, and "artifact merge" joins all parts to the
same bits as one process. All jobs need the same options.

With --device cuda a GPU searches, with the same bits; the default is the processor. If Triton is installed, which CUDA
builds of PyTorch include, images are searched in l2 and linf by special kernels, for at most 8 neighbours and hard
labels. They keep the points on the GPU if they fit there and in --memory, with one byte per number in l2 and two in
linf.

With --curvature the last four columns are: the perceived curvature of Section 3 at the nearest point, as kappa~ =
(lambda - r)/r^3 and as kappa = (24 kappa~)^(1/2); the constant L = 4/r^2 of Theorem 1; and the largest kappa~ over all
points with other labels. lambda is the distance between two labels as a model perceives it; for images the default is
the diameter of the cube. With a smaller --lambda, kappa is imaginary (nan) at r > lambda, and the largest kappa~ may be
that of the farthest point, which is found by brute force. In JSON numbers that are not finite are null.

For example:

    sens-rank digits.zarr --norm linf -o r.zarr
    sens-rank digits.zarr --norm l2 | head -n 5
    sens-rank digits.zarr --norm l2 -o ranking.csv
    sens-rank digits.zarr --same | tail -n 5
    sens-rank digits.zarr --curvature | head -n 5 | cut -f 1,2,6-8
    torchrun --nproc_per_node=2 -m datarobust.tools.sens_rank c10.zarr --norm l2 -o r.zarr
    sens-rank c10.zarr --norm l2 --shard 0/2 -o part-0.zarr
    sens-rank c10.zarr --norm l2 --shard 1/2 -o part-1.zarr
    artifact merge part-0.zarr part-1.zarr -o r.zarr
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Literal

from datarobust.errors import UsageError
from datarobust.text import shown

from . import _cli
from ._cli import choice, flag, option
from ._console import aligned, emit_plan, on_terminal

if TYPE_CHECKING:
    from datarobust.jobs.sens_rank import Listed, Sensitivity
    from datarobust.sensitivity import Ranking

app = _cli.tool(__doc__)

_SHOWN = 10  # points on a terminal


@app.command()
def sens_rank(  # noqa: D103 - the help is the docstring of the module
    dataset: _cli.Dataset,
    norm: _cli.Norm = "l2",
    output: _cli.OptionalOutput = None,
    against: _cli.Against = None,
    k: Annotated[int, option("K", "Number of neighbours.", "-k", min=1)] = 1,
    same: Annotated[bool, flag("--same", "Search neighbours with the same label.")] = False,
    soft: Annotated[
        bool, flag("--soft", "Use label vectors in Equation (1): divide distances by ||y_i - y_j||.")
    ] = False,
    curvature: Annotated[bool, flag("--curvature", "Add perceived curvature and the constant L of Theorem 1.")] = False,
    lam: Annotated[
        float | None, option("X", "Distance between two labels as a model perceives it.", "--lambda")
    ] = None,
    duplicates: Annotated[
        Literal["inf", "drop", "error"],
        choice("Points equal to a point with another label: infinite sensitivity, dropped, or an error."),
    ] = "inf",
    memory: _cli.Memory = 8.0,
    threads: _cli.Threads = None,
    shard: _cli.OptionalShard = None,
    device: _cli.Device = "auto",
    limit: _cli.Limit = None,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    from datarobust import artifacts, distributed
    from datarobust.jobs.make import make
    from datarobust.jobs.sens_rank import Listed, Part, Sensitivity, remarks
    from datarobust.jobs.tables import is_table

    listed = is_table(output)
    if limit is not None and output is not None and not listed:
        raise UsageError("`limit` is for a quick look: leave out -o, or take a part: dataset subset --select first:N.")
    if curvature and output is not None and not listed:
        raise UsageError("`curvature` is not stored in artifacts: leave out -o, or write a table with -o R.csv.")
    if overwrite and output is None:
        raise UsageError("`overwrite` replaces an output: name it with -o.")
    if shard is not None and (output is None or listed):
        raise UsageError("`shard` makes a part of a ranking, which is an artifact: name it with -o, such as part.zarr.")
    if lam is not None and not curvature:
        raise UsageError("`lam` sets the perceived distance of the curvature: add `curvature`.")
    points = _cli.opened(dataset)
    others = None if against is None else _cli.opened(against)
    cuda = str(distributed.device_of(device)) if device.startswith("cuda") else None
    job = Sensitivity(points, others, norm, k, soft, duplicates, int(memory * 1e9), threads, limit, cuda, same)
    part = None if shard is None else Part(job, *_cli.shard_of(shard))
    perceived = job.perceived_distance(lam) if curvature else None
    if curvature and lam is None:
        _cli.say(f"Curvature for lambda = {perceived:.6g}, the diameter of the cube.")
    if dry_run:
        work = part or job
        emit_plan(work.plan(), work.expected_seconds(), cuda or "cpu", most=True)
        return
    if job.slow:
        _cli.say("The compiled search is missing (installed without a C compiler): a slow search is used.")
    count = float(len(job.points.labels))
    progress = _cli.progress(f"ranking {norm}", ("points", lambda rounds: count / rounds))
    with distributed.group() as group:
        if part is not None and group.size > 1:
            raise UsageError("`shard` is for jobs that know nothing of each other: leave it out under torchrun.")
        if output is None:
            ranking = job.rank(progress, group)
            _cli.say(*remarks(ranking.robustness, same))
            if group.is_main:
                if on_terminal() and not as_json:
                    _show(Listed(job, perceived), ranking)
                else:
                    _print(job, ranking, as_json, perceived)
            return
        _cli.resumable()
        step = _cli.step("sens-rank", None, device if cuda else "cpu")
        table = Listed(job, perceived) if listed else None
        new = make(part or table or job, output, step, overwrite=overwrite, group=group, progress=progress)
        if group.is_main:
            if table is not None:
                _cli.say(*table.notes)
            elif new and part is None:
                ranked = artifacts.open_store(output, "ranking", same=True)
                _cli.say(*remarks(ranked.column("distance").read(), same))
            made = "ranking" if part is None else "part"
            _cli.emit(json.dumps({made: str(output), "new": new}) if as_json else str(output))


def _show(job: Listed, ranking: Ranking) -> None:
    """Show the least robust points to a person, and how to get all."""
    from itertools import islice

    columns, rows = job.table(ranking)
    first = [dict(zip(columns, row, strict=True)) for row in islice(rows, _SHOWN)]
    named = bool(first) and first[0]["class"] is not None
    hidden = {"label", "neighbour_label"} if named else {"class", "neighbour_class"}
    names = [name for name in columns if name not in hidden]
    for line in aligned(names, [[row[name] for name in names] for row in first]):
        _cli.emit(line)
    total = int((ranking.robustness == ranking.robustness).sum())  # dropped points are nan
    if total > len(first):
        which = "nearest to their own class" if job.ranking.same else "least robust"
        every = f"The {len(first)} {which} of {total:,} points."
        _cli.say(f"{every} To get all, add -o R.csv (.tsv, .jsonl, .parquet), or -o R.zarr for the other commands.")


def _print(job: Sensitivity, ranking: Ranking, as_json: bool, lam: float | None) -> None:
    """Print a row a point; in JSON null stands for a neighbour that is not there, and for what is not finite."""
    from datarobust import datasets
    from datarobust.curvature import order
    from datarobust.jobs.sens_rank import table

    columns = {} if lam is None else job.geometry(ranking, lam)
    called = datasets.called(job.dataset, job.others or job.dataset)
    if lam is not None:
        _cli.say(*order(ranking.robustness, columns["kappa_tilde_perc_largest"], lam).remarks())
    for row in table(ranking, job.points.labels, job.sources[-1].labels, columns.values()):
        end = len(row) - len(columns)
        neighbours = [[row[1], row[2], row[4]], *(row[start : start + 3] for start in range(5, end, 3))]
        words = [] if called is None else [called[0](int(row[0])), *(called[1](int(of[1])) for of in neighbours)]
        if not as_json:
            _cli.emit("\t".join([*map(repr, row), *(shown(word) for pair in words for word in pair)]))
            continue
        fields = [of if of[1] >= 0 else [None] * 3 for of in neighbours]
        dicts: list[dict[str, object]] = [
            dict(zip(("distance", "neighbour", "neighbour_label"), of, strict=True)) for of in fields
        ]
        for each, pair in zip(dicts, words[1:], strict=False):
            each |= dict(zip(("neighbour_name", "neighbour_class"), (word or None for word in pair), strict=True))
        point: dict[str, object] = {"index": row[0], "label": row[3]}
        point |= dict(zip(("name", "class"), (word or None for word in words[0]), strict=True)) if words else {}
        nearest, *further = dicts
        point |= nearest
        if further:
            point["further"] = further
        if lam is not None:
            numbers = [number if math.isfinite(number) else None for number in row[end:]]
            point |= {"lambda": lam, **dict(zip(columns, numbers, strict=True))}
        _cli.emit(json.dumps(point))


main = _cli.main(app, "sens-rank")

if __name__ == "__main__":
    main()
