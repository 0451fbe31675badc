"""``figure training`` and ``figure schedules``: what a training did, and the learning rates it may follow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datarobust.errors import UsageError

from . import _cli
from ._figure_output import Table, write


def training(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of advtrain; - for one on stdin.")],
    output: _cli.Output,
    name: _cli.Names = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw accuracies by epoch (Figure 1b).

    One panel a run: clean and adversarial accuracy on the training batches (against the attack that trains) and on the
    test set (against PGD-40, every 25 epochs and at the end); the red pentagons are the accuracy on the tracked points
    against PGD-40, with the last value beside them. In the paper one run has the most robust 1,024 points in focus, and
    one the least robust. A run that goes on is drawn as far as it is.

    The columns of --tsv are fields of the run's log: run, epoch, train_accuracy, train_robust_accuracy, test_accuracy,
    test_robust_accuracy, tracked_accuracy; empty where nothing was measured.

    For example:

        figure training most least --name 'most robust' --name 'least robust' -o figure1b.svg
    """
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    folders = [_cli.argument_path(path) for path in runs]
    if name and len(name) != len(folders):
        raise UsageError(f"{len(folders)} runs, but {len(name)} names: give --name once for each, in their order.")
    from datarobust.artifacts.runs import read_log
    from datarobust.figures import style
    from datarobust.figures import training as figure

    names = name or [folder.resolve().name for folder in folders]
    courses = [
        figure.course(called, read_log(folder), str(folder)) for called, folder in zip(names, folders, strict=True)
    ]
    write(output, style.picture(figure.draw(courses), form), tsv, lambda: figure.table(courses), overwrite)


def schedules(
    output: _cli.Output,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", help="Of the training.")] = 2400,
    lr: _cli.Rate = 0.2,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Draw the learning rates of advtrain --schedule (Figures 4c, 4d).

    At the left the original and the five modified schedules over all epochs, with their last values in the top right;
    at the right the last sixth of the epochs (400 of 2400) on a logarithmic scale. A modified schedule is drawn from
    where it leaves the original.

    The columns of --tsv: schedule, epoch, lr, momentum (of the first step of the epoch).

    For example:

        figure schedules --epochs 1600 -o figure4cd.svg --tsv figure4cd.tsv
    """
    from datarobust.figures.formats import format_of

    form = format_of(output.suffix)
    from datarobust.figures import schedules as figure
    from datarobust.figures import style

    found = figure.schedules(epochs, lr)
    write(output, style.picture(figure.draw(found), form), tsv, lambda: figure.table(found), overwrite)
