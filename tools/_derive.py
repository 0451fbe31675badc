"""Datasets made of datasets: the commands of ``dataset`` that read stores and write stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datarobust.errors import UsageError

from . import _cli

Store = Annotated[
    Path, typer.Argument(metavar="D.zarr", help="A dataset; - takes its path from stdin.", show_default=False)
]
Sets = Annotated[
    list[Path], typer.Argument(metavar="A.zarr B.zarr...", help="Datasets of one shape and one list of classes.")
]


def done(output: Path, fresh: bool) -> None:
    """Print where the result is."""
    if not fresh:
        _cli.say(f"{output} was finished before; nothing to do")
    _cli.emit(str(output))


def subset(
    dataset: Store,
    output: _cli.Output,
    select: _cli.Select = None,
    exclude: _cli.Exclude = None,
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Take the selected points of a dataset.

    They come in the order of the selection: that of the ranking, or of the index file; all others are ascending.
    `index` still says where they were in the original set. --exclude takes what is left: the paper leaves out the 40
    least robust points of CIFAR-100 and EMNIST.

    For example:

        dataset subset c100.zarr --exclude r.zarr:least:40 -o rest.zarr
    """
    from datarobust import artifacts, datasets, selection

    if (select is None) == (exclude is None):
        raise UsageError("Give either --select or --exclude.")
    store = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    wanted = selection.parse(select) if select is not None else selection.parse(str(exclude)).inverted()
    chosen = selection.choose(wanted, store)
    for remark in chosen.remarks():
        _cli.say(remark)
    _cli.resumable()
    fresh = datasets.subset(
        store,
        chosen.rows,
        output,
        lambda inputs: _cli.step("dataset", wanted.seed if wanted.how == "random" else None, None, inputs),
        inputs=chosen.inputs,
        histories=[chosen.history],
        name=name,
        overwrite=overwrite,
        progress=_cli.progress(quiet, "writing"),
    )
    done(output, fresh)


def merge(
    sets: Sets,
    output: _cli.Output,
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Join datasets, one after the other.

    `source` is the number of the input, from 0; `index` is what it was there.

    For example:

        dataset merge train.zarr generated.zarr -o both.zarr
    """
    from datarobust import artifacts, datasets

    stores = [artifacts.open_store(_cli.argument_path(path), "dataset") for path in sets]
    _cli.resumable()
    fresh = datasets.merge(
        stores,
        output,
        lambda inputs: _cli.step("dataset", None, None, inputs),
        name=name,
        overwrite=overwrite,
        progress=_cli.progress(quiet, "merging"),
    )
    done(output, fresh)
