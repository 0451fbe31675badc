"""Import, fetch, inspect, select, join and relabel datasets; find duplicates and issues.

    dataset fetch cifar100 -o c100.zarr
    dataset import generated.npz -o generated.zarr --shuffle 0
    dataset subset c100.zarr --exclude r.zarr:least:40 -o rest.zarr

Robustness (Section 3 of the paper) is a property of labelled points: every other command reads them from these stores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from datarobust.errors import UsageError
from datarobust.text import shown

from . import _cli
from ._cli import argument, choice, flag, option
from ._console import emit_plan

if TYPE_CHECKING:
    from datarobust.artifacts import Store
    from datarobust.datasets.contents import Equal
    from datarobust.distributed import Group
    from datarobust.jobs.dataset import Representation
    from datarobust.jobs.make import Job
    from datarobust.pairs import Pairs
    from datarobust.types import Progress

app = _cli.tool(__doc__)
_FINISHED = "{} was finished before; nothing to do"
Shuffle = Annotated[
    int | None, option("SEED", "Put the points in a random order with this seed.", "--shuffle", min=0, max=2**64 - 1)
]
Split = Annotated[str | None, option("NAME", "Part of the data set: train (default) or test.", "--split")]
Labels = Annotated[
    Literal["fine", "coarse"] | None,
    choice("For CIFAR-100: the 100 classes, or the 20 super-classes (CIFAR-100s).", "--labels"),
]


def _make(
    job: Job,
    output: Path,
    seed: int | None,
    overwrite: bool,
    progress: Progress,
    device: str | None = None,
    remarks: Callable[[Store], Iterable[str]] | None = None,
    group: Group | None = None,
) -> None:
    """Make a dataset unless the very same command made it before; say ``remarks`` on a new one, and print its path."""
    from datarobust import artifacts
    from datarobust.jobs.make import ALONE, make

    _cli.resumable()
    step = _cli.step("dataset", seed, device)
    with _cli.foreign_code():
        new = make(job, output, step, overwrite=overwrite, group=group or ALONE, progress=progress)
    if not new:
        _cli.say(_FINISHED.format(output))
    elif remarks is not None:
        _cli.say(*remarks(artifacts.open_store(output, "dataset")))
    _cli.emit(str(output))


@app.command("import")
def import_(
    source: Annotated[str, argument("SOURCE", "digits, a file or a folder; see above.")],
    output: _cli.Output,
    format: Annotated[
        Literal["auto", "digits", "npz", "npy", "folder", "cifar", "ti500k", "idx", "parquet"],
        choice("Format of the source."),
    ] = "auto",
    shuffle: Shuffle = None,
    classes: _cli.Classes = None,
    keys: Annotated[
        str | None, option("POINTS,LABELS", "Names of the two arrays in an npz file, or of two columns.")
    ] = None,
    layout: Annotated[
        Literal["nhwc", "nchw"] | None, choice("Axis order of npz and npy images, if it cannot be recognised.")
    ] = None,
    channels: Annotated[int | None, option("1|3", "Convert all encoded images to grey (1) or RGB (3).")] = None,
    resize: Annotated[
        str | None, option("WxH[:crop]", "Bring all encoded images to one size: stretched, or scaled and cut.")
    ] = None,
    skip_broken: Annotated[
        bool, flag("--skip-broken", "Leave out images that cannot be decoded, and list them.")
    ] = False,
    split: Split = None,
    labels: Annotated[
        str | None, option("fine|coarse|FILE", "For CIFAR-100: the 100 classes or the 20 super-classes. Or a file.")
    ] = None,
    name: _cli.Name = None,
    limit: _cli.Limit = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Import a data set; its format is recognised by its content.

    CIFAR-10 and CIFAR-100: the python and binary releases, as the .tar.gz or the folder in it; the super-classes of
    CIFAR-100 are kept as `coarse`, or become the labels. MNIST and EMNIST: idx files, gzipped or not, upright, labels
    from 0. TI500K (Carmon et al. 2019): its pickle; pickles are read without running them. Parquet: image sets of the
    Hugging Face hub. digits: a built-in set of 1,797 real digits.

    Folders, or zip files of them: a sub-folder for each class, or a table with the columns file_name and label:
    metadata.csv in the folder, or --labels FILE (CSV, TSV, or JSON lines). Images are turned upright as their EXIF
    data say. --resize stretches them to W x H pixels; with :crop they are scaled and cut around their centre instead.
    --skip-broken reports on stderr what it leaves out; each image is then decoded twice.

    npz: arrays `image,label`, `x,y`, `X,y` or `images,labels`; with --split, `train_images,train_labels` (MedMNIST) or
    `x_train,y_train` (Keras) and so on. .npy: with --labels FILE, another .npy file or a text with one label per line.
    Images have 1 or 3 channels, NHWC or NCHW, or are (N, H, W); (N, D) become float features, and so do float images
    that are no bytes. Labels are 0..C-1, one-hot, probabilities, or text. Generated sets (Wang et al. 2023) are sorted
    by class: --shuffle puts them in a random order that depends on SEED only; --limit then takes the first N.

    Sources are streamed: they may be larger than the memory.

    For example:

        dataset import digits -o digits.zarr
    """
    from datarobust import datasets
    from datarobust.artifacts import durable
    from datarobust.jobs.dataset import Import

    points, _, vectors = (keys or "").partition(",")
    if keys is not None and (not points or not vectors or "," in vectors):
        raise UsageError("--keys takes two names with a comma between them, as in --keys x_train,y_train.")
    durable.checked_output(output)  # before each image is decoded
    names = None if classes is None else datasets.read_names(classes)
    pair = None if keys is None else (points, vectors)
    kinds: dict[str, Literal["fine", "coarse"]] = {"fine": "fine", "coarse": "coarse"}
    chosen = None if labels is None else kinds.get(labels) or Path(labels)
    reader = datasets.open_source(
        source, format=format, name=name, classes=names, keys=pair, layout=layout, channels=channels,
        split=split, labels=chosen, resize=resize, skip_broken=skip_broken,
    )  # fmt: skip
    _cli.say(*reader.spec.notes)
    progress = _cli.progress("importing")
    _make(Import(reader, shuffle, limit), output, shuffle, overwrite, progress, remarks=datasets.remarks)


@app.command()
def info(dataset: _cli.Dataset, as_json: _cli.Json = False) -> None:
    """Show what a dataset holds.

    Points, shape, classes with counts, digest and history.

    For example:

        dataset info digits.zarr --json
    """
    from datarobust import datasets

    summary = datasets.describe(_cli.opened(dataset))
    for line in [json.dumps(summary)] if as_json else datasets.lines(summary):
        _cli.emit(line)


@app.command()
def fetch(
    known: Annotated[
        str | None, argument("NAME", "Name of a data set, such as cifar10; see --list.", show_default=False)
    ] = None,
    output: _cli.OptionalOutput = None,
    split: Split = None,
    labels: Labels = None,
    shuffle: Shuffle = None,
    name: _cli.Name = None,
    limit: _cli.Limit = None,
    cache: _cli.Cache = None,
    listing: _cli.Listing = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
    as_json: _cli.Json = False,
) -> None:
    """Download a published data set, verify it, and import it.

    Files are downloaded over https, compared with their published sizes and sha256, and kept in DIR. An interrupted
    download resumes. Proxies and certificates are those of the environment (https_proxy, SSL_CERT_FILE). Without a
    network put the files into their folders in DIR yourself.

    For example:

        dataset fetch --list
    """
    from datarobust.datasets import fetch as releases
    from datarobust.jobs.dataset import Import

    if listing:
        if known is not None or output is not None:
            raise UsageError("--list stands alone, or with --json.")
        _list(as_json)
        return
    if known is None or output is None:
        raise UsageError("Give a NAME and -o PATH, or --list.")
    if as_json:
        raise UsageError("--json belongs to --list.")
    release = releases.find_release(known)
    if _was_fetched(output, known, overwrite):
        _cli.say(_FINISHED.format(output))
        _cli.emit(str(output))
        return
    _cli.resumable()
    folder, progress = cache or _cli.default_cache(), _cli.progress("fetching, MiB")
    source = releases.fetch_release(
        release, folder, releases.https(), split=split, labels=labels, name=name, progress=progress
    )
    _cli.say(*source.spec.notes)
    _make(Import(source, shuffle, limit), output, shuffle, overwrite, _cli.progress("importing"))


def _list(as_json: bool) -> None:
    """Print the known releases, as lines of text with tabs between, or as one JSON object."""
    from datarobust.datasets.fetch import RELEASES

    listed = []
    for release in RELEASES.values():
        if not as_json:
            _cli.emit(f"{release.name}\t{sum(remote.size for remote in release.all())}\t{release.title}")
        splits = [split for split in release.files if split is not None]
        files = [{"name": r.name, "urls": r.urls, "bytes": r.size, "sha256": r.sha256} for r in release.all()]
        about = {"name": release.name, "title": release.title, "folder": release.folder}
        listed.append(about | {"splits": splits, "files": files})
    if as_json:
        _cli.emit(json.dumps({"releases": listed}))


def _was_fetched(output: Path, known: str, overwrite: bool) -> bool:
    """Whether the very same command made ``output``: then its files are not needed, which may be gone.

    Raises ExistsError, before anything is fetched, where another command made it and it may not be replaced.
    """
    from datarobust import __version__, artifacts

    if overwrite or not output.exists():
        artifacts.demand_vacant(output, "dataset", overwrite)
        return False
    steps = artifacts.peek(output).history
    if not steps or steps[-1].tool != "dataset" or steps[-1].argv[:1] != ("fetch",) or known not in steps[-1].argv:
        artifacts.demand_vacant(output, "dataset")
    before, now = ([word for word in argv if word not in ("-q", "--quiet")] for argv in (steps[-1].argv, sys.argv[1:]))
    return steps[-1].version == __version__ and before == now


@app.command()
def subset(
    dataset: _cli.Dataset,
    output: _cli.Output,
    select: _cli.Select = None,
    exclude: _cli.Exclude = None,
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Make a dataset of the selected points.

    They are in the order of the ranking or of the index file, otherwise ascending. `index` is their row in the original
    set. --exclude keeps all other points: the paper leaves out the 40 least robust points of CIFAR-100 and EMNIST.

    For example:

        dataset subset c100.zarr --exclude r.zarr:least:40 -o rest.zarr
    """
    from datarobust import selection
    from datarobust.jobs.dataset import Subset

    if (select is None) == (exclude is None):
        raise UsageError("Give either --select or --exclude.")
    store = _cli.opened(dataset)
    selected = selection.parse(select) if select is not None else selection.parse(str(exclude)).inverted()
    chosen = selection.choose(selected, store)
    _cli.say(*chosen.remarks())
    seed = selected.seed if selected.how == "random" else None
    _make(Subset(store, chosen, name), output, seed, overwrite, _cli.progress("writing"))


@app.command()
def merge(
    sets: Annotated[list[Path], argument("A.zarr B.zarr...", "Datasets with the same shape and classes.")],
    output: _cli.Output,
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Join datasets, one after the other.

    `source` is the number of the input, counted from 0; `index` is unchanged.

    For example:

        dataset merge train.zarr generated.zarr -o both.zarr
    """
    from datarobust.jobs.dataset import Merge

    job = Merge([_cli.opened(path) for path in sets], name)
    _make(job, output, None, overwrite, _cli.progress("merging"))


@app.command()
def relabel(
    dataset: _cli.Dataset,
    output: _cli.Output,
    labels: Annotated[
        Path | None, option("FILE", "Take labels from a file: one whole number per line, or a .npy array.")
    ] = None,
    random: Annotated[
        int | None, option("SEED", "Draw labels uniformly from all classes, with this seed.", min=0, max=2**64 - 1)
    ] = None,
    fraction: Annotated[
        float | None, option("F", "With --random: fraction of the points; default all.", min=0.0, max=1.0)
    ] = None,
    coarse: Annotated[bool, flag("--coarse", "Take the labels from the column coarse, as in CIFAR-100s.")] = False,
    model: _cli.OptionalNetwork = None,
    normalise: _cli.Normalise = None,
    classes: _cli.Classes = None,
    batch: _cli.Batch = 256,
    device: _cli.Device = "auto",
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Replace the labels of a dataset: from a file, at random, by super-classes, or by a classifier.

    Random labels can raise sensitivity (Section 3); the paper's TI500K and 1m have labels that classifiers gave
    (Section 4). --random draws each label uniformly from all classes (Zhang et al. 2016), so one of C labels stays the
    same; --fraction draws which points get a new one. Both depend on seed and row only. --model takes the class with
    the largest output (of equal ones the lowest), for images in [0,1], in float32 and evaluation mode. Class names are
    kept if they fit. Label vectors (soft) are left out, because they belong to the old labels. Processes of torchrun
    take turns with the batches.

    For example:

        dataset relabel digits.zarr --random 0 -o random.zarr
    """
    from datarobust import datasets, distributed
    from datarobust.jobs import dataset as jobs

    if sum(way is not None for way in (labels, random, model)) + coarse != 1:
        raise UsageError("Give one of `labels`, `random`, `coarse` and `model`.")
    if fraction is not None and random is None:
        raise UsageError("`fraction` goes with `random`.")
    if normalise is not None and model is None:
        raise UsageError("`normalise` needs `model`.")
    with distributed.group() as group:
        store = _cli.opened(dataset)
        names = None if classes is None else datasets.read_names(classes)
        if labels is not None:
            new = jobs.labels_from_file(store, labels, names)
        elif random is not None:
            new = jobs.random_labels(store, random, 1.0 if fraction is None else fraction, names)
        elif model is not None:
            classifier = _representation(
                store, model, "output", batch, device, normalise, classifies=True, here=group.here
            )
            new = jobs.predicted_labels(store, classifier, names)
        else:
            new = jobs.coarse_labels(store, names)
        job = jobs.Relabel(store, new, name)
        _cli.say(*job.remarks())

        def remarks(made: Store) -> Iterator[str]:
            yield f"{job.changed(made):,} of {len(store):,} labels changed"

        _make(job, output, random, overwrite, _cli.progress("relabelling"), new.device, remarks, group)


@app.command()
def features(
    dataset: _cli.Dataset,
    model: _cli.Network,
    output: _cli.Output,
    layer: Annotated[
        str, option("NAME", "Layer whose output is used; penultimate: the input of the last torch.nn.Linear.")
    ] = "penultimate",
    normalise: _cli.Normalise = None,
    batch: _cli.Batch = 256,
    device: _cli.Device = "auto",
    limit: _cli.Limit = None,
    dry_run: _cli.DryRun = False,
    name: _cli.Name = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Replace the points of a dataset by their features in a network.

    Equation (1) allows any metric, so a ranking of features measures robustness in the representation of a network.
    Labels, index and all other columns are kept. --layer takes the output of any submodule, named as in
    named_modules(), as a vector; penultimate is the input of the torch.nn.Linear that runs last, output is the output
    of the whole network. The network gets images in [0,1], in float32 and evaluation mode. The batch size changes only
    rounding. A network whose features are random or depend on the other points of a batch is refused. A ranking of
    features also works with the images: figure pairs, figure labels, --select, --focus, embed and the report accept it.
    Processes of torchrun take turns with the batches.

    For example:

        dataset features c10.zarr --model nets.py:resnet18 -o f.zarr
        sens-rank f.zarr --norm l2 -o f-l2.zarr
        figure pairs c10.zarr f-l2.zarr -o pairs.png
        torchrun --nproc_per_node=2 -m datarobust.tools.dataset features c10.zarr --model nets.py:resnet18 -o f.zarr
    """
    from datarobust import distributed
    from datarobust.jobs.dataset import Features

    with distributed.group() as group:
        store = _cli.opened(dataset)
        representation = _representation(store, model, layer, batch, device, normalise, here=group.here)
        job = Features(store, representation, name, limit)
        if dry_run:
            with _cli.foreign_code():
                plan = job.plan()
            emit_plan(plan, float(plan["expected_seconds"]) / group.size, representation.device)
            return
        _cli.say(f"{representation.width:,} features per point")
        progress = _cli.progress("features")
        _make(job, output, None, overwrite, progress, representation.device, group=group)


def _representation(
    store: Store,
    spec: str,
    layer: str,
    batch: int,
    device: str,
    normalise: str | None,
    classifies: bool = False,
    here: int = 1,
) -> Representation:
    """A layer of a network, tried on the first points; ``classifies``: its output must be a number a class."""
    from datarobust.checkpoints.models import load_model
    from datarobust.datasets import point_column
    from datarobust.jobs.dataset import Representation
    from datarobust.networks.features import PROBED, Extractor, as_inputs, demand_classes, sparing

    model = load_model(spec, normalise)
    torch_device = _cli.torch_device(device, None, here)
    first = point_column(store).read(0, min(len(store), PROBED))
    with _cli.foreign_code():
        extractor = Extractor(spec, model.module, layer, first, torch_device)
        if classifies:
            demand_classes(spec, model.module, as_inputs(first, torch_device))
        operations = extractor.operations(first)
    described = _cli.place_of(torch_device)
    return Representation(sparing(extractor), extractor.width, model.identity, layer, batch, described, operations)


@app.command()
def duplicates(
    dataset: _cli.Dataset,
    against: _cli.Against = None,
    near: Annotated[
        int | None, option("K", "List the K nearest pairs of points, regardless of their labels.", min=1)
    ] = None,
    within: Annotated[
        float | None,
        option("DISTANCE", "List all pairs up to this distance, such as 1.5 or 54/255.", parser=_cli.fraction),
    ] = None,
    norm: _cli.Norm = "l2",
    labels: Annotated[Literal["own", "coarse"], choice("Labels to compare.")] = "own",
    drop: Annotated[bool, flag("--drop", "Print the rows to remove instead, so that no such points remain.")] = False,
    memory: _cli.Memory = 8.0,
    threads: _cli.Threads = None,
    limit: _cli.Limit = None,
    as_json: _cli.Json = False,
    quiet: _cli.Quiet = False,
) -> None:
    """List equal points, or with --near and --within the nearest pairs.

    Equal points with different labels have distance 0 and infinite sensitivity; the paper leaves 40 such images of
    CIFAR-100 out (Section 4). One line per point, tab-separated: group, same or different (the labels of the group),
    row, label, index. With --against only groups with points in both sets are listed, and the last column is the set of
    the point: 0, or 1 for the other. This finds test images in training sets. Where points have names (from the files
    they were imported from), name and class stand at the end.

    --near and --within print one line per pair, the nearest first, exactly: row, other row, distance, label, other's
    label, index, other's index, and where points have names: name, other's name, class, other's class; the lower row
    first, or that of D.zarr. Distances of images are in [0,1] units.

    --drop prints rows of D.zarr, one per line, for dataset subset --exclude. A row is printed if it is equal to, or in
    a pair with, a lower row that is kept; with --against always.

    For example:

        dataset duplicates c100.zarr | grep different | cut -f3 | dataset subset c100.zarr --exclude - -o rest.zarr
        dataset duplicates c10.zarr --near 100 --norm linf
        dataset duplicates c10.zarr --within 3.5 --drop | dataset subset c10.zarr --exclude - -o rest.zarr
    """
    from datarobust import datasets, pairs, sensitivity

    if near is not None and within is not None:
        raise UsageError("Give either --near or --within.")
    stores = [_cli.opened(path) for path in (dataset, against) if path]
    result: Equal | Pairs
    if near is None and within is None:
        progress = _cli.progress("hashing")
        result = datasets.equal_points(*stores, labels=labels, limit=limit, progress=progress)
        rows, lines = result.surplus(), _of_groups(result, stores, as_json)
    else:
        columns = [datasets.label_column(store, labels).read() for store in stores]
        points, *others = [datasets.point_column(store).flat(limit if store is stores[0] else None) for store in stores]
        result = pairs.nearest_pairs(
            points,
            norm,
            near,
            within=within,
            against=others[0] if others else None,
            memory=int(memory * 1e9),
            options=sensitivity.Options(threads=threads),
            progress=_cli.progress(f"searching {norm}"),
        )
        rows, lines = pairs.surplus(result, len(stores) > 1), _of_pairs(result, stores, columns, as_json)
    _cli.say(result.remark())
    if drop:
        _cli.say(f"{len(rows):,} of {len(stores[0]):,} points to remove")
    for line in map(str, rows.tolist()) if drop else lines:
        _cli.emit(line)


@app.command()
def issues(
    dataset: _cli.Dataset,
    output: _cli.Output,
    features: Annotated[
        Path | None,
        option("F.zarr", "Result of dataset features for these points; distances are then those of the features."),
    ] = None,
    against: _cli.Against = None,
    norm: _cli.Norm = "l2",
    k: Annotated[
        int, option("K", "How many nearest points of each kind the score of label compares.", "-k", min=1)
    ] = 5,
    label_score: Annotated[float, option("X", "The least score of label.", min=1.0)] = 1.2,
    near_score: Annotated[float, option("X", "The least score of near duplicate and leak.", min=1.0)] = 2.0,
    ambiguous_score: Annotated[float, option("X", "The least score of ambiguous.", min=1.0)] = 1.5,
    memory: _cli.Memory = 8.0,
    threads: _cli.Threads = None,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """List what to look at: labels that look wrong, copies, leaks into the test set, ambiguous points.

    A row a finding, with its kind, its score, the distance, and index, name, label and class of the point and of the
    other point that it is about. The ending of the output decides the format: .csv, .tsv, .jsonl or .parquet. Rows
    come by kind, the clearest first. A score says by how many times something is nearer than it should be:

    leak: with --against T.zarr, the other point is one of T.zarr; the score is that of near duplicate, or inf.
    duplicate: both points are equal; inf.
    near duplicate: distance of the 5th nearest point over the distance of the two.
    label: mean distance to the K nearest points of the same label over that to the K nearest of other labels, the
    nearest of which is the other point. Its class is a guess at the right one.
    ambiguous: no clear label, and another class is nearer than usual: the median of that distance over it.
    alone: the only point of its class; no score.

    With --features, leaks into a set of images are searched in the images, all else in the features.

    How many there are of each kind is said. Raise a least score for fewer findings, lower it for more. In pixels this
    works where images of a class are alike, such as digits. For photographs take features of a network. Points of a
    pair of duplicates are not listed once more as label or ambiguous.

    For example:

        dataset issues digits.zarr -o issues.csv
        dataset features c10.zarr --model net.safetensors -o c10-f.zarr
        dataset issues c10.zarr --features c10-f.zarr -o issues.csv
        dataset issues train.zarr --against test.zarr -o issues.csv
    """
    from datarobust.issues import KINDS, Thresholds
    from datarobust.jobs.issues import Issues
    from datarobust.jobs.make import make
    from datarobust.jobs.tables import is_table

    if not is_table(output):
        raise UsageError(f"{output} is not a table: end its name in .csv, .tsv, .jsonl or .parquet.")
    measured, others = (None if path is None else _cli.opened(path) for path in (features, against))
    thresholds = Thresholds(label_score, near_score, ambiguous_score)
    job = Issues(_cli.opened(dataset), measured, others, norm, thresholds, int(memory * 1e9), threads, k)
    make(
        job, output, _cli.step("dataset", None, None), overwrite=overwrite, progress=_cli.progress("hashing"),
        labelled=_cli.progress,
    )  # fmt: skip
    _cli.say(*job.remarks())
    assert job.findings is not None
    counts = {kind: job.findings.count(kind) for kind in KINDS}
    line = {"issues": str(output), "counts": counts, "agreement": job.findings.agreement}
    _cli.emit(json.dumps(line) if as_json else str(output))


def _of_groups(groups: Equal, stores: list[Store], as_json: bool) -> Iterator[str]:
    """A line a point, or a JSON object a group."""
    from datarobust import datasets

    columns = {"rows": groups.row, "labels": groups.label, "index": groups.index}
    columns |= {"sets": groups.second.astype(int)} if len(stores) > 1 else {}
    called = datasets.called(*stores)
    for number, members in enumerate(groups.members()):
        kind = "different" if groups.different[number] else "same"
        values = {name: column[members].tolist() for name, column in columns.items()}
        if called is not None:
            points = zip(groups.second[members].tolist(), values["rows"], strict=True)
            names, classes = zip(*(called[second](row) for second, row in points), strict=True)
            values |= {"names": names, "classes": classes}
        if as_json:
            yield json.dumps({"group": number, "kind": kind, **values})
        else:
            yield from (
                "\t".join(shown(str(field)) for field in (number, kind, *row))
                for row in zip(*values.values(), strict=True)
            )


def _of_pairs(pairs: Pairs, stores: list[Store], labels: list[Any], as_json: bool) -> Iterator[str]:
    """A line or a JSON object a pair."""
    from datarobust import datasets

    called = datasets.called(stores[0], stores[-1])
    ends = [(stores[0], labels[0], pairs.first), (stores[-1], labels[-1], pairs.second)]
    index = [store.column("index").take(rows).tolist() for store, _, rows in ends]
    label = [values[rows].tolist() for _, values, rows in ends]
    for row in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), *label, *index, strict=True):
        words = (
            []
            if called is None
            else list(zip(*(of(end) for of, end in zip(called, row[:2], strict=True)), strict=True))
        )
        if as_json:
            named = dict(zip(("names", "classes"), words, strict=False))
            yield json.dumps({"rows": row[:2], "distance": row[2], "labels": row[3:5], "index": row[5:]} | named)
        else:
            yield "\t".join([*map(repr, row), *(shown(word) for pair in words for word in pair)])


main = _cli.main(app, "dataset")

if __name__ == "__main__":
    main()
