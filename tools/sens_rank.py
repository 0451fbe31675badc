"""Rank the points of a dataset by robustness, exactly: Equation (1) and Algorithm 1 of the paper.

For every point the nearest point of another label is found, in the l2 or the l-infinity norm; its distance is the
point's robustness r, and 1/r its sensitivity. On images whole-number arithmetic decides, equal distances go to the
lower index, and neither threads nor processes change a bit.

With -o the ranking becomes an artifact, and its path is printed. Without, rows of tab-separated values are printed,
least robust first: index, distance, neighbour, label, neighbour's label; with -k three more columns (distance,
neighbour, its label) for each further neighbour. Distances of images are in [0,1] units, those of features in the
features' own.

For example:

    sens-rank digits.zarr --norm linf -o r.zarr
    sens-rank digits.zarr --norm l2 | head -n 5
    torchrun --nproc_per_node=2 -m datarobust.tools.sens_rank c10.zarr --norm l2 -o r.zarr
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from datarobust.errors import UsageError

from . import _cli

if TYPE_CHECKING:
    from datarobust.distributed import Group
    from datarobust.rankings import Job
    from datarobust.sensitivity import Ranking

app = _cli.tool(__doc__)
Dataset = Annotated[Path, typer.Argument(metavar="D.zarr", help="A dataset; - takes its path from stdin.")]
Neighbours = Annotated[int, typer.Option("-k", metavar="K", min=1, help="How many neighbours of another label.")]
Soft = Annotated[
    bool,
    typer.Option("--soft", help="Equation (1) with label vectors: distances are divided by ||y_i - y_j||."),
]
Duplicates = Annotated[
    Literal["inf", "drop", "error"],
    typer.Option(
        "--duplicates", help="Points that equal one of another label: sensitivity inf, left out, or an error."
    ),
]
Memory = Annotated[
    float,
    typer.Option(
        "--memory", metavar="GB", min=0.001, max=1e6, help="For points, in each process; more are read in parts."
    ),
]


@app.command()
def sens_rank(  # noqa: D103 - the help is the docstring of the module
    dataset: Dataset,
    norm: _cli.Norm = "l2",
    output: _cli.OptionalOutput = None,
    against: _cli.Against = None,
    k: Neighbours = 1,
    soft: Soft = False,
    duplicates: Duplicates = "inf",
    memory: Memory = 8.0,
    threads: _cli.Threads = None,
    device: _cli.Device = "auto",
    limit: _cli.Limit = None,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    from datarobust import artifacts, distributed, rankings, sensitivity

    if device.startswith("cuda"):
        raise UsageError("sens-rank has no CUDA kernels: leave out --device, it runs on the CPU.")
    if limit is not None and output is not None:
        raise UsageError(
            "--limit is for a quick look: leave out -o, or take a part with dataset subset --select first:N."
        )
    if overwrite and output is None:
        raise UsageError("--overwrite replaces an output: name it with -o.")
    points = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    others = None if against is None else artifacts.open_store(_cli.argument_path(against), "dataset")
    job = rankings.Job(points, others, norm, k, soft, duplicates, int(memory * 1e9), threads, limit)
    if dry_run:
        _cli.emit(json.dumps(job.plan()))
        return
    with distributed.group() as processes:
        if output is not None and processes.agree(
            processes.leads and not overwrite and artifacts.finished(output, job.attributes["request"])
        ):
            _announce(output, None, as_json, processes)
            return
        sensitivity.when_compiling(
            lambda: _cli.say("Compiling the kernels for this machine, once: about half a minute.")
        )
        if output is not None:
            _cli.resumable()
        with artifacts.Lock(rankings.part_of(output, processes)) if output is not None else nullcontext():
            if output is not None and processes.leads:
                artifacts.demand_vacant(output, "ranking", overwrite)
            ranking = job.run(_cli.progress(quiet, f"ranking {norm}"), output, processes)
            for remark in rankings.remarks(ranking):
                _cli.say(remark)
            if output is not None and processes.leads:
                step = _cli.step("sens-rank", None, "cpu", job.inputs)
                job.save(output, ranking, step, overwrite)
                job.clean(output)
            processes.agree(True)  # nobody leaves before the result is safe
        if output is not None:
            _announce(output, ranking, as_json, processes)
        elif processes.leads:
            _print(job, ranking, as_json)


def _announce(output: Path, ranking: Ranking | None, as_json: bool, processes: Group) -> None:
    """Print where the ranking is."""
    if processes.leads:
        _cli.emit(json.dumps({"ranking": str(output), "new": ranking is not None}) if as_json else str(output))


def _print(job: Job, ranking: Ranking, as_json: bool) -> None:
    """Print the ranking, a row a point."""
    for row in job.rows(ranking):
        _cli.emit(json.dumps(_as_object(row)) if as_json else "\t".join(map(repr, row)))


def _as_object(row: list[int | float]) -> dict[str, object]:
    """A row as JSON has it: null where there is no neighbour, a list of objects for further neighbours."""

    def known(distance: float, neighbour: float, label: float) -> dict[str, object]:
        if neighbour < 0:
            return {"distance": None, "neighbour": None, "neighbour_label": None}
        return {"distance": distance, "neighbour": neighbour, "neighbour_label": label}

    index, distance, neighbour, label, other = row[:5]
    further = [known(*row[start : start + 3]) for start in range(5, len(row), 3)]
    return {"index": index, "label": label, **known(distance, neighbour, other)} | (
        {"further": further} if further else {}
    )


def main() -> None:
    """Run the command."""
    _cli.run(app, "sens-rank")


if __name__ == "__main__":
    main()
