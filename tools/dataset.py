"""Datasets: import what you have, look at it, take points of it, join it with others.

    dataset import digits -o digits.zarr
    dataset fetch cifar100 -o c100.zarr
    dataset import cifar-10-python.tar.gz -o c10.zarr
    dataset import generated.npz -o generated.zarr --shuffle 0
    dataset subset c10.zarr --exclude r.zarr:least:40 -o rest.zarr
    dataset merge a.zarr b.zarr -o both.zarr

Robustness (Section 3 of the paper) is a property of labelled points: every other command reads them from these stores.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from datarobust.errors import UsageError

from . import _cli, _derive, _duplicates, _fetch

app = _cli.tool(__doc__)
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The word digits, a file or a folder; see above.")]
Format = Annotated[
    Literal["auto", "digits", "npz", "folder", "cifar", "ti500k", "idx", "parquet"],
    typer.Option("--format", help="Of the source."),
]
Keys = Annotated[
    str | None,
    typer.Option("--keys", metavar="POINTS,LABELS", help="Names of the two arrays of an npz file, or columns."),
]
Layout = Annotated[
    Literal["nhwc", "nchw"] | None, typer.Option("--layout", help="Of npz images, where it is not evident.")
]
Channels = Annotated[int | None, typer.Option("--channels", metavar="1|3", help="Make all encoded images grey or RGB.")]


@app.command("import")
def import_(
    source: Source,
    output: _cli.Output,
    format: Format = "auto",
    shuffle: _fetch.Shuffle = None,
    classes: _cli.Classes = None,
    keys: Keys = None,
    layout: Layout = None,
    channels: Channels = None,
    split: _fetch.Split = None,
    labels: _fetch.Labels = None,
    name: _cli.Name = None,
    limit: _cli.Limit = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Read and check a data set of another format, which is recognised by its content.

    CIFAR-10 and CIFAR-100: the python and binary releases, as the .tar.gz or the folder in it; the super-classes of
    CIFAR-100 are kept as `coarse`, or become the labels. MNIST and EMNIST: idx files, gzipped or not, upright, labels
    from 0. TI500K (Carmon et al. 2019): its pickle; pickles are read without running them. Parquet: image sets of the
    Hugging Face hub. Folders: a sub-folder for each class. The word digits: 1,797 real ones that are always there.

    npz: arrays `image,label`, `x,y` or `images,labels`; images of 1 or 3 channels, NHWC or NCHW, or (N, H, W); (N, D)
    become float features. Labels are 0..C-1, one-hot, or probabilities. Generated sets (Wang et al. 2023) are sorted
    by class: --shuffle puts them in an order drawn from SEED alone; --limit then takes its first N.

    All are streamed: a source may be larger than the memory.

    For example:

        dataset import digits -o digits.zarr
    """
    from datarobust import artifacts, datasets
    from datarobust.jobs.dataset import Import

    reader = datasets.open_source(
        source,
        format=format,
        name=name,
        classes=None if classes is None else datasets.read_names(classes),
        keys=_two_keys(keys),
        layout=layout,
        channels=channels,
        split=split,
        labels=labels,
    )
    for note in reader.spec.notes:
        _cli.say(note)
    progress = _cli.progress(quiet, "importing")
    fresh = _derive.make(Import(reader, shuffle, limit), output, shuffle, overwrite, progress)
    for remark in datasets.remarks(artifacts.open_store(output, "dataset")) if fresh else ():
        _cli.say(remark)
    _derive.announce(output, fresh)


@app.command()
def info(dataset: _derive.Store, as_json: _cli.Json = False) -> None:
    """Show what a dataset holds.

    Points, shape, classes with counts, digest and history.

    For example:

        dataset info digits.zarr --json
    """
    from datarobust import artifacts, datasets

    summary = datasets.describe(artifacts.open_store(_cli.argument_path(dataset), "dataset"))
    for line in [json.dumps(summary)] if as_json else datasets.lines(summary):
        _cli.emit(line)


app.command()(_fetch.fetch)
app.command()(_derive.subset)
app.command()(_derive.merge)
app.command()(_derive.relabel)
app.command()(_derive.features)
app.command()(_duplicates.duplicates)


def _two_keys(text: str | None) -> tuple[str, str] | None:
    """``POINTS,LABELS`` as two names."""
    if text is None:
        return None
    points, _, labels = text.partition(",")
    if not points or not labels or "," in labels:
        raise UsageError("--keys takes two names with a comma between them, as in --keys x_train,y_train.")
    return points, labels


def main() -> None:
    """Run the command."""
    _cli.run(app, "dataset")


if __name__ == "__main__":
    main()
