"""Datasets made of datasets: the commands of ``dataset`` that read stores and write stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datarobust.errors import UsageError

from . import _cli, _models

if TYPE_CHECKING:
    from datarobust import artifacts
    from datarobust.jobs.dataset import Representation
    from datarobust.jobs.make import Job
    from datarobust.types import Progress

Store = Annotated[
    Path, typer.Argument(metavar="D.zarr", help="A dataset; - takes its path from stdin.", show_default=False)
]
Sets = Annotated[
    list[Path], typer.Argument(metavar="A.zarr B.zarr...", help="Datasets of one shape and one list of classes.")
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Labels from a file: one whole number a line, or a .npy array."),
]
Random = Annotated[
    int | None,
    typer.Option("--random", metavar="SEED", min=0, max=2**64 - 1, help="Labels drawn uniformly from all classes."),
]
Fraction = Annotated[
    float | None,
    typer.Option("--fraction", metavar="F", min=0.0, max=1.0, help="With --random: of the points; all if not given."),
]
Coarse = Annotated[bool, typer.Option("--coarse", help="Labels from the column coarse, as in CIFAR-100s.")]
Layer = Annotated[
    str,
    typer.Option(
        "--layer", metavar="NAME", help="Whose output is taken; penultimate: the input of the last torch.nn.Linear."
    ),
]


def make(
    job: Job,
    output: Path,
    seed: int | None,
    overwrite: bool,
    progress: Progress,
    device: str | None = None,
) -> bool:
    """Make a dataset; False where the very same command had made it before."""
    from datarobust.jobs import make as jobs

    _cli.resumable()
    return jobs.make(job, output, _cli.step("dataset", seed, device), overwrite=overwrite, progress=progress)


def announce(output: Path, fresh: bool) -> None:
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
    from datarobust import artifacts, selection
    from datarobust.jobs.dataset import Subset

    if (select is None) == (exclude is None):
        raise UsageError("Give either --select or --exclude.")
    store = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    wanted = selection.parse(select) if select is not None else selection.parse(str(exclude)).inverted()
    chosen = selection.choose(wanted, store)
    for remark in chosen.remarks():
        _cli.say(remark)
    seed = wanted.seed if wanted.how == "random" else None
    fresh = make(Subset(store, chosen, name), output, seed, overwrite, _cli.progress(quiet, "writing"))
    announce(output, fresh)


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
    from datarobust import artifacts
    from datarobust.jobs.dataset import Merge

    stores = [artifacts.open_store(_cli.argument_path(path), "dataset") for path in sets]
    fresh = make(Merge(stores, name), output, None, overwrite, _cli.progress(quiet, "merging"))
    announce(output, fresh)


def relabel(
    dataset: Store,
    output: _cli.Output,
    labels: Labels = None,
    random: Random = None,
    fraction: Fraction = None,
    coarse: Coarse = False,
    model: _models.OptionalNetwork = None,
    classes: _cli.Classes = None,
    batch: _models.Batch = 256,
    device: _cli.Device = "auto",
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Give the points of a dataset other labels: of a file, at random, of super-classes, or of a classifier.

    Sensitivity belongs to labelled points: random labels can raise it (Section 3), and the paper's TI500K and 1m have
    labels that classifiers gave (Section 4). --random draws each label uniformly from all classes (Zhang et al. 2016),
    so one in C stays what it was; --fraction draws which points get one. Both are functions of seed and row. --model
    takes the class of the largest output, the lowest of equal ones, of images in [0,1], in float32 and evaluation mode.
    Names of classes stay where they fit. Label vectors (soft) are left out: they belong to the old labels.

    For example:

        dataset relabel digits.zarr --random 0 -o random.zarr
    """
    from datarobust import artifacts, datasets
    from datarobust.jobs import dataset as jobs

    if sum(way is not None for way in (labels, random, model)) + coarse != 1:
        raise UsageError("Give one of `labels`, `random`, `coarse` and `model`.")
    if fraction is not None and random is None:
        raise UsageError("`fraction` goes with `random`.")
    store = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    names = None if classes is None else datasets.read_names(classes)
    if labels is not None:
        new = jobs.labels_from_file(store, labels, names)
    elif random is not None:
        new = jobs.random_labels(store, random, 1.0 if fraction is None else fraction, names)
    elif model is not None:
        classifier = _representation(store, model, "output", batch, device, classifies=True)
        new = jobs.predicted_labels(store, classifier, names)
    else:
        new = jobs.coarse_labels(store, names)
    job = jobs.Relabel(store, new, name)
    for remark in job.remarks():
        _cli.say(remark)
    with _models.foreign_code():
        fresh = make(job, output, random, overwrite, _cli.progress(quiet, "relabelling"), new.device)
    if fresh:
        changed = job.changed(artifacts.open_store(output, "dataset"))
        _cli.say(f"{changed:,} of {len(store):,} labels are others than before")
    announce(output, fresh)


def features(
    dataset: Store,
    model: _models.Network,
    output: _cli.Output,
    layer: Layer = "penultimate",
    batch: _models.Batch = 256,
    device: _cli.Device = "auto",
    limit: _cli.Limit = None,
    dry_run: _cli.DryRun = False,
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Make the points of a dataset what a network sees in them: a dataset of float features.

    Equation (1) takes any metric; distances of features give rankings in the representation of a network. Labels,
    index and all other columns stay. --layer takes the output of any submodule, as named_modules() names it, made a
    vector; penultimate is the input of the torch.nn.Linear that is run last, output what the whole network gives. The
    network gets images in [0,1], in float32 and evaluation mode. The size of a batch changes features by no more than
    rounding; a network whose features depend on the other points of a batch, or on chance, is refused.

    For example:

        dataset features c10.zarr --model nets.py:resnet18 -o f.zarr
        sens-rank f.zarr --norm l2 | head
    """
    from datarobust import artifacts
    from datarobust.jobs.dataset import Features

    store = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    representation = _representation(store, model, layer, batch, device)
    job = Features(store, representation, name, limit)
    if dry_run:
        with _models.foreign_code():
            plan = job.plan()
        _cli.emit(json.dumps(plan))
        return
    _cli.say(f"{representation.width:,} features of a point")
    with _models.foreign_code():
        fresh = make(job, output, None, overwrite, _cli.progress(quiet, "features"), representation.device)
    announce(output, fresh)


def _representation(
    store: artifacts.Store, spec: str, layer: str, batch: int, device: str, classifies: bool = False
) -> Representation:
    """A layer of a network, tried on the first points; ``classifies``: its output must be a number a class."""
    from datarobust.checkpoints.models import load_model
    from datarobust.fid import features as networks
    from datarobust.jobs.dataset import Representation
    from datarobust.networks import foreign

    model = load_model(spec)
    there = _cli.torch_device(device, None)
    some = store.column("images" if "images" in store else "features").read(0, min(len(store), networks.PROBED))
    with _models.foreign_code():
        extractor = networks.Extractor(spec, model.module, layer, some, there)
        if classifies:
            foreign.demand_classes(spec, model.module, networks.as_inputs(some, there))
        operations = extractor.operations(some)
    place = _models.place_of(there)
    return Representation(extractor, extractor.width, model.identity, layer, batch, place, operations)
