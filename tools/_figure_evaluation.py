"""``figure deciles`` and ``figure table``: what evaluations found, by robustness of the points and row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datarobust.errors import DataError, UsageError

from . import _cli, _evaluations
from ._figure_output import Table, write

Beside = Annotated[
    Path | None,
    typer.Option("--beside", metavar="FILE", help="The paper's rows, a TSV file such as examples/table2.tsv."),
]


def deciles(
    evaluations: Annotated[
        list[Path], typer.Argument(metavar="E.zarr...", help="Results of aaeval on one dataset; - for one on stdin.")
    ],
    ranking: _evaluations.Ranking,
    output: _cli.Output,
    quantiles: _evaluations.Quantiles = 10,
    name: _cli.Names = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw accuracy by decile of data robustness (Figure 1b's pentagons, for a whole set).

    The points of an evaluation are ordered by their robustness in --ranking and cut into parts of equal size, the least
    robust at the left. Pentagons are the accuracy under attack with its 95 % interval (Wilson), dots the clean
    accuracy. The ranking is of the evaluated dataset, most usefully --against the training set: how far test points are
    from training points of other classes. What --fast or a choice of attacks found is called an upper bound.

    The columns of --tsv: evaluation, upper_bound, quantile, points, lowest and highest distance, clean, robust, low,
    high (accuracies are shares).

    For example:

        sens-rank c10-test.zarr --against c10.zarr --norm linf -o r.zarr
        figure deciles baseline.zarr focus.zarr --ranking r.zarr -o deciles.svg
    """
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    if name and len(name) != len(evaluations):
        raise UsageError(f"{len(evaluations)} evaluations, but {len(name)} names: give --name once for each, in order.")
    from datarobust import artifacts
    from datarobust.evaluation import eps_text
    from datarobust.evaluations import comparing

    ranked = artifacts.open_store(_cli.argument_path(ranking), "ranking")
    found = [comparing.opened(_cli.argument_path(path)) for path in evaluations]
    for other in found[1:]:
        comparing.demand_comparable(found[0], other)
    from datarobust.figures import deciles as figure
    from datarobust.figures import style

    names = name or [one.path.resolve().stem for one in found]
    profiles = [
        figure.Profile(
            called, comparing.deciles(one, ranked, quantiles), bool(one.attributes["protocol"]["upper_bound"])
        )
        for called, one in zip(names, found, strict=True)
    ]
    attack = f"{'l∞' if found[0].attributes['norm'] == 'linf' else found[0].attributes['norm']} "
    drawn = figure.draw(profiles, ranked.attributes["norm"], attack + eps_text(found[0].attributes["eps"]))
    write(output, style.picture(drawn, form), tsv, lambda: figure.table(profiles), overwrite)


def table(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RUN... E.zarr...", help="Folders of advtrain, and results of aaeval; in any order."),
    ],
    output: _cli.Output,
    beside: Beside = None,
    name: _cli.Names = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Write Tables 2 to 4 as Markdown, the paper's row beside ours.

    A run is a row: clean and AutoAttack accuracy of its best and last weights with their differences, the epoch of the
    best weights, and the PGD-40 accuracy on the tracked points there. Evaluations are told to runs by the digests of
    the weights; those of other weights, such as published ones, make rows of their own, called as their files. --name
    names runs, once for each in their order; a run stands beneath the paper's row of its name, and several runs of one
    name are followed by their mean and deviation. Beneath the table stands what each row is: network, epochs, seed,
    points, attacks. What --fast or a choice of attacks found has ≤ before it: AutoAttack could lower it.

    The columns of --tsv: name, label, clean_b, aa_b, upper_bound_b, clean_l, aa_l, upper_bound_l, epoch_b, pgd_b
    (accuracies are shares).

    For example:

        figure table run best.zarr last.zarr -o table.md
        figure table base focus *.zarr --name c10inf-v_v --name c10inf-v_s --beside examples/table2.tsv -o table2.md
    """
    if output.suffix.lower() != ".md":
        raise UsageError(f"{output}: a table is Markdown, so its name ends in .md.")
    from datarobust.evaluations import tables
    from datarobust.figures import table as figure

    paths = [_cli.argument_path(path) for path in sources]
    runs = [path for path in paths if tables.is_run(path)]
    rows = tables.rows(runs, [path for path in paths if path not in runs], name or None)
    theirs = [] if beside is None else figure.read_paper(_text(beside), str(beside))
    text = "".join(figure.markdown(rows, theirs))
    write(output, text.encode(), tsv, lambda: figure.table(rows), overwrite)


def _text(path: Path) -> str:
    """A small file of text."""
    try:
        if path.stat().st_size > 1 << 20:
            raise DataError(f"{path} is too large for the paper's rows.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
