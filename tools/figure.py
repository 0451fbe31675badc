"""Draw the paper's figures from artifacts, as png, svg or pdf by the ending of the output's name.

The same artifacts give the same bytes, so a picture can be a target of make and a figure can be compared with cmp.
The path of the finished picture is printed.

    figure sensitivity c10-l2.zarr c10-linf.zarr -o figure2a.pdf
    figure training most least -o figure1b.pdf
    figure table run best.zarr last.zarr -o table.md
    sens-rank c10.zarr --norm linf -o r.zarr | figure pairs c10.zarr - -o least.png
    figure report c10.zarr r.zarr run best.zarr figure1b.svg table.md -o report.html
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from datarobust import __version__
from datarobust.errors import UsageError
from datarobust.figures import Drawing, format_of
from datarobust.text import shown

from . import _cli
from ._cli import argument, choice, flag, option

if TYPE_CHECKING:
    from datarobust.artifacts import Store
    from datarobust.figures.sensitivity import By, Scale

app = _cli.tool(__doc__)


def _named(output: Path) -> Path:
    format_of(output.suffix)  # refuses what is no picture's before there is any work
    return output


Table = Annotated[
    Path | None, option("FILE", "Also write the values in the picture to a TSV file with a header.", "--tsv")
]


def _picture(draw: Callable[..., Drawing]) -> None:
    """Make a command of a function that draws a picture: it has the function's options, and those of all pictures."""

    def command(
        output: Annotated[Path, _cli.output_option(_named)],
        tsv: Table = None,
        overwrite: _cli.Overwrite = False,
        quiet: _cli.Quiet = False,
        **options: Any,
    ) -> None:
        drawing = draw(**options)
        from datarobust.figures import style

        _cli.say(*drawing.remarks)
        content = style.picture(drawing.figure, format_of(output.suffix), shown(drawing.caption))
        _write(output, content, overwrite, tsv, drawing.table)

    own, shared = (list(inspect.signature(each, eval_str=True).parameters.values()) for each in (draw, command))
    parameters = sorted([*own, *shared[:-1]], key=lambda each: each.default is not each.empty)  # required ones first
    vars(command)["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__doc__ = draw.__doc__
    app.command(draw.__name__.rstrip("_"))(command)


class Way(StrEnum):
    """Values of ``--by``; an Enum, because typer repeats no Literal."""

    POINT = "point"
    RANK = "rank"


class Kind(StrEnum):
    """Values of ``--kind``: kinds of findings."""

    LEAK = "leak"
    DUPLICATE = "duplicate"
    NEAR = "near duplicate"
    LABEL = "label"
    AMBIGUOUS = "ambiguous"
    ALONE = "alone"


@_picture
def sensitivity(
    rankings: Annotated[list[Path], argument("R.zarr...", "Rankings; - takes one path from stdin.")],
    absolute: Annotated[bool, flag("--absolute", "Draw only the panel of absolute values.")] = False,
    relative: Annotated[bool, flag("--relative", "Draw only the panel of relative values.")] = False,
    name: _cli.Names = None,
    without_least: Annotated[int, option("N", "Leave out the N least robust points of each set.", min=0)] = 0,
) -> Drawing:
    """Draw ordered sensitivity (Figures 2a, 5a, 16).

    One curve per set, one value per point: 1/r, where r is the distance to the nearest point with another label
    (Section 3, Algorithm 1). The most robust points are at the left, and the axis is the fraction of the set, so that
    sets of different size compare; relative values are divided by their maximum. One row of panels for each norm.

    Points at distance 0 have an infinite sensitivity and are left out and counted in the legend, as are points that
    the ranking dropped; points without a neighbour of another label have sensitivity 0. The paper left out the 40
    least robust points of CIFAR-100 and EMNIST: --without-least 40.

    The picture shows as many points as can be distinguished; --tsv has all points, one row each, most robust first:
    rank, fraction, sensitivity, set, norm, index, distance.

    For example:

        figure sensitivity mnist-l2.zarr letters-l2.zarr --name M --name L -o figure16.svg --tsv figure16.tsv
    """
    from datarobust.jobs import figure

    scales: list[Scale] = ["absolute"] if absolute or not relative else []
    scales += ["relative"] if relative or not absolute else []
    return figure.sensitivity(_opened(rankings, "ranking"), scales, name, without_least)


@_picture
def difference(
    rankings: Annotated[
        list[Path], argument("BASE.zarr OTHER.zarr...", "Rankings in one norm; - takes one path from stdin.")
    ],
    by: Annotated[
        list[Way] | None,
        option("point|rank", "How OTHER is compared with BASE; give it once, or once per OTHER.", show_default=False),
    ] = None,
    name: _cli.Names = None,
) -> Drawing:
    """Draw differences between sensitivity values (Figures 2b, 5b).

    Sensitivity 1/r in BASE minus that in OTHER, one marker per point, in the order of BASE: its most robust points are
    at the left. The first other set has the marker +, the second o, as in the paper.

    --by point compares each point with itself: for the same points in the same order under other labels (CIFAR-100 and
    CIFAR-100s); sets of different size are refused. --by rank compares the i-th value in the order of BASE with the
    i-th in the order of OTHER: for different points (CIFAR-100 and CIFAR-10); where sizes differ, with the value at the
    same fraction (rank - 1/2)/n of OTHER, on the straight line between its two nearest ranks. Without --by rankings of
    one dataset are compared by point and all others by rank.

    Infinite sensitivities (points at distance 0) have no difference: by point, a point with one in either set is left
    out; by rank, both sets are ordered without them. The legend counts them, as it does points that a ranking dropped.

    The picture leaves out markers that others would hide. If points are compared with themselves, a line joins the
    medians of 64 equal parts of the set. --tsv has all points, a row each: rank (in BASE), fraction, difference, base,
    set, norm, by, index (row in BASE), sensitivity (there), other (sensitivity in OTHER).

    For example:

        figure difference c100-l2.zarr c10-l2.zarr c100s-l2.zarr --by rank --by point -o figure2b.pdf
    """
    if len(rankings) < 2:
        raise UsageError("A difference takes two rankings or more: BASE.zarr OTHER.zarr.")
    from datarobust.jobs import figure

    ways: list[By] = ["point" if way is Way.POINT else "rank" for way in by or []]
    return figure.difference(_opened(rankings, "ranking"), ways, name)


@_picture
def labels(
    stores: Annotated[
        list[Path],
        argument("R.zarr... D.zarr", "Rankings of one dataset, and the dataset; - takes one path from stdin."),
    ],
    n: Annotated[int | None, option("N", "How many points; 1024, or half of the points if fewer.", min=1)] = None,
    seed: _cli.Seed = 0,
) -> Drawing:
    """Draw label distributions (Figures 4a, 4b).

    Three bars per class: how many of the N least robust points (left), of N random points (centre) and of the N most
    robust points (right) have it. One panel per ranking, that is per norm. The random points are `random:N:SEED`, the
    others `R.zarr:least:N` and `R.zarr:most:N`: of points that tie at the cut-off, those with the lowest index are
    taken, and the number is reported.

    The columns of --tsv: norm, label, class, least, random, most.

    For example:

        figure labels c10-l2.zarr c10-linf.zarr c10.zarr --n 1024 -o figure4.pdf --tsv figure4.tsv
    """
    given = _opened(stores, ("ranking", "dataset"))
    rankings, datasets = ([store for store in given if store.kind == kind] for kind in ("ranking", "dataset"))
    if len(datasets) != 1 or not rankings:
        counts = f"{len(rankings)} rankings and {len(datasets)} datasets"
        raise UsageError(f"{counts} are given: name one or more rankings and the one dataset they rank.")
    from datarobust.jobs import figure

    return figure.labels(rankings, datasets[0], n, seed)


@_picture
def map_(
    embeddings: Annotated[list[Path], argument("E.zarr...", "Results of embed; - takes one path from stdin.")],
    columns: Annotated[int | None, option("N", "Panels per row; default at most 3.", min=1)] = None,
    color: Annotated[
        Literal["robustness", "sensitivity"], choice("Colour by robustness r or by sensitivity 1/r.")
    ] = "robustness",
    scale: Annotated[Literal["value", "rank"], choice("Colour and size by value or by rank.")] = "value",
    name: _cli.Names = None,
) -> Drawing:
    """Draw maps of points, coloured and sized by robustness (Figures 6, 17) or sensitivity (Figures 2c, 2d).

    One panel per embedding, row by row in the given order: for Figure 6 the sets in l2, the sets in l-infinity, and
    --columns 3. The least robust points are large and red, the most robust small and blue; between the two, colour and
    size are linear in robustness r, in [0, 1] units, or with --color sensitivity in 1/r. The key beneath a panel has
    the numbers. Where a few points lie far from the rest, as in l-infinity on MNIST, --scale rank shows more. A point
    at distance 0 has an infinite sensitivity, so --color sensitivity needs --scale rank then.

    The columns of --tsv: set, method, norm, stress, correlation, permuted (of the whole map: Kruskal's stress-1, the
    rank correlation of robustness between nearest neighbours on it, the largest by chance), index, distance, x, y, and
    name where points have names.

    For example:

        figure map c10-mds-l2.zarr c10-rte-l2.zarr --name CIFAR-10 --name CIFAR-10 -o figure6.png
        figure map c10-mds-l2.zarr --color sensitivity -o figure2c.svg
    """
    from datarobust.jobs import figure

    return figure.maps(_opened(embeddings, "embedding"), columns, scale, color, name)


@_picture
def pairs(
    dataset: Annotated[Path, argument("D.zarr", "Points; - takes their path from stdin.")],
    ranking: Annotated[Path, argument("R.zarr", "Ranking of these points; - takes its path from stdin.")],
    select: _cli.Select = None,
    against: _cli.Against = None,
) -> Drawing:
    """Draw points beside their nearest neighbours.

    The neighbour is the nearest point with another label, or, where the ranking was made with sens-rank --same, the
    nearest other point with the same label. Above each pair stands their distance (r(x) of Section 3), in [0, 1] units
    and as it is between the images shown: a ranking by hard labels that says otherwise is refused. A ranking of
    features of the images (dataset features) shows distances of the features. Below each image are its class, its row
    in its set, and its name if it has one. Without --select the 8 nearest pairs are shown.

    The columns of --tsv: index, distance, neighbour, label, neighbour_label, class, neighbour_class, and where
    points have names: name, neighbour_name.

    For example:

        figure pairs c10.zarr c10-linf.zarr --select c10-linf.zarr:least:12 -o pairs.pdf
    """
    from datarobust.jobs import figure

    data, other = _cli.opened(dataset), None if against is None else _cli.opened(against)
    ranked = _cli.opened(ranking, "ranking", same=True)
    return figure.pairs(data, ranked, other, select)


@app.command()
def gallery(
    dataset: Annotated[Path, argument("D.zarr", "Images; - takes their path from stdin.")],
    source: Annotated[Path, argument("ISSUES|R.zarr", "A table of dataset issues, or a ranking; - for stdin.")],
    output: _cli.Output,
    against: _cli.Against = None,
    kind: Annotated[
        list[Kind] | None, option("KIND", "Only findings of this kind; may be repeated.", show_default=False)
    ] = None,
    n: Annotated[int, option("N", "How many of each kind, the clearest first.", min=1)] = 100,
    title: Annotated[str, option("TEXT", "Heading of the page.")] = "Gallery",
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Write an HTML page of findings, each with both images, names, classes, labels, rows, score and distance.

    The findings are those of "dataset issues", or the pairs of a ranking, the nearest first. The page loads nothing and
    runs nothing; its images are in it. For findings in features, D.zarr still has the images.

    For example:

        figure gallery photos.zarr issues.csv --n 1000 -o gallery.html
        figure gallery photos.zarr issues.csv --kind label --kind duplicate -o labels.html
        figure gallery train.zarr leaks.csv --against test.zarr -o leaks.html
        figure gallery photos.zarr photos-l2.zarr -o hard.html
    """
    _demand_page(output)
    from datarobust.figures.gallery import page
    from datarobust.jobs import figure

    data, other = _cli.opened(dataset), None if against is None else _cli.opened(against)
    sections, remarks = figure.gallery(data, _cli.argument_path(source), other, [each.value for each in kind or []], n)
    _cli.say(*remarks)
    _write(output, page(title, sections, __version__), overwrite)


@_picture
def clones(
    stores: Annotated[list[Path], argument("D.zarr... K.zarr...", "Clones, and the datasets they were made from.")],
    layout: Annotated[
        Literal["squares", "rows"], choice("Squares of images and clones, or one row per image.")
    ] = "squares",
    n: Annotated[int, option("N", "Images per set.", min=1)] = 16,
    name: _cli.Names = None,
) -> Drawing:
    """Draw images and their clones (Figures 3, 7 to 15).

    squares is the arrangement of Figures 3 and 7: for each set of clones the images, the first clone of each, and,
    where there are several, all clones of the first image. rows is that of Figures 8 to 15: each image with all its
    clones. The images are the first N of each set, so for the most robust ones clone --select R.zarr:most:16.

    The columns of --tsv: set, index, label, repeat, l2, linf (distances between image and clone in [0, 1] units), and
    name and class where points have names.

    For example:

        figure clones c10.zarr most.zarr least.zarr -o figure3.png
        figure clones c10.zarr most.zarr --layout rows -o figure8.png
    """
    from datarobust.jobs import figure

    return figure.clones(_opened(stores, ("dataset", "clones")), layout, n, name)


@_picture
def search(
    lines: Annotated[Path, argument("S.jsonl", "Result of clone-search; - takes its path from stdin.")],
    also: Annotated[list[Path] | None, option("FILE", "Results of another shard; may be repeated.")] = None,
) -> Drawing:
    """Draw the result of clone-search (Appendix B).

    Above, the mean score of all points of the first rung by the value of each argument; below, the points of the last
    rung, best first, from their lowest to their highest seed; coloured are those within seed-to-seed variation of the
    best.

    The columns of --tsv: point, its seven arguments, seed, images, score.

    For example:

        figure search search.jsonl -o effects.svg --tsv effects.tsv
    """
    from datarobust.jobs import figure

    return figure.search([_cli.argument_path(lines), *(also or [])])


@_picture
def training(
    runs: Annotated[list[Path], argument("RUN...", "Folders made by advtrain; - takes one path from stdin.")],
    name: _cli.Names = None,
) -> Drawing:
    """Draw accuracies by epoch (Figure 1b).

    One panel per run: clean and adversarial accuracy on the training batches (against the attack that trains) and on
    the test set (against PGD-40, every 25 epochs and at the end); the red pentagons are the accuracy on the tracked
    points against PGD-40, with the last value beside them. An unfinished run is drawn up to its last epoch.

    The columns of --tsv are fields of the run's log: run, epoch, train_accuracy, train_robust_accuracy, test_accuracy,
    test_robust_accuracy, tracked_accuracy; empty where nothing was measured.

    For example:

        figure training most least --name 'most robust' --name 'least robust' -o figure1b.svg
    """
    from datarobust.jobs import figure

    return figure.training([_cli.argument_path(path) for path in runs], name)


@_picture
def schedules(
    epochs: Annotated[int, option("N", "Epochs of the training.")] = 2400,
    lr: _cli.Rate = 0.2,
) -> Drawing:
    """Draw the learning rates of advtrain --schedule (Figures 4c, 4d).

    At the left the original and the five modified schedules over all epochs, with their last values in the top right;
    at the right the last sixth of the epochs (400 of 2400) on a logarithmic scale. A modified schedule is drawn from
    where it leaves the original.

    The columns of --tsv: schedule, epoch, lr, momentum (of the first step of the epoch).

    For example:

        figure schedules --epochs 1600 -o figure4cd.svg --tsv figure4cd.tsv
    """
    from datarobust.jobs import figure

    return figure.schedules(epochs, lr)


@_picture
def deciles(
    evaluations: Annotated[
        list[Path], argument("E.zarr...", "Results of aaeval on one dataset; - takes one path from stdin.")
    ],
    ranking: _cli.EvaluatedRanking,
    quantiles: _cli.Quantiles = 10,
    name: _cli.Names = None,
) -> Drawing:
    """Draw accuracy by decile of data robustness (Figure 1b's pentagons, for a whole set).

    The points of an evaluation are ordered by their robustness in --ranking and cut into parts of equal size, the least
    robust at the left. Pentagons are the accuracy under attack with its 95 % interval (Wilson), dots the clean
    accuracy. The ranking is of the evaluated dataset, most usefully --against the training set: how far test points are
    from training points of other classes. Results of --fast or of selected attacks are marked as upper bounds.

    The columns of --tsv: evaluation, upper_bound, quantile, points, lowest and highest distance, clean, robust, low,
    high (accuracies are fractions).

    For example:

        sens-rank c10-test.zarr --against c10.zarr --norm linf -o r.zarr
        figure deciles baseline.zarr focus.zarr --ranking r.zarr -o deciles.svg
    """
    from datarobust.jobs import figure

    ranked = _cli.opened(ranking, "ranking")
    return figure.deciles([_cli.argument_path(path) for path in evaluations], ranked, quantiles, name)


@app.command()
def table(
    sources: Annotated[
        list[Path], argument("RUN... E.zarr...", "Folders made by advtrain and results of aaeval, in any order.")
    ],
    output: _cli.Output,
    beside: Annotated[
        Path | None, option("FILE", "TSV file with the paper's rows, such as examples/table2.tsv.")
    ] = None,
    name: _cli.Names = None,
    tsv: Table = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Write Tables 2 to 4 as Markdown, the paper's row beside ours.

    One row per run: clean and AutoAttack accuracy of its best and last weights with their differences, the epoch of the
    best weights, and the PGD-40 accuracy on the tracked points there. Evaluations are matched to runs by the digests of
    the weights; those of other weights, such as published ones, get rows of their own, named after their files. --name
    names the runs, once per run, in order. A run is placed below the paper's row with its name, and several runs with
    one name are followed by their mean and standard deviation. Below the table are the details of each row: network,
    epochs, seed, points, attacks. Results of --fast or of selected attacks are marked with ≤, because AutoAttack could
    lower them. The last two columns have the smallest true difference of AutoAttack accuracy, in percentage points,
    that a test (aacompare) against another row like it can show: for one row from its number of points, for the mean of
    several seeds from the deviation between them.

    The columns of --tsv: name, label, clean_b, aa_b, upper_bound_b, clean_l, aa_l, upper_bound_l, epoch_b, pgd_b,
    detectable_b, detectable_l (by points), detectable_by_seeds_b, detectable_by_seeds_l (of all rows of that name).
    Accuracies and differences are fractions.

    For example:

        figure table run best.zarr last.zarr -o table.md
        figure table base focus *.zarr --name c10inf-v_v --name c10inf-v_s --beside examples/table2.tsv -o table2.md
    """
    if output.suffix.lower() != ".md":
        raise UsageError(f"{output}: a table is Markdown, so its name ends in .md.")
    from datarobust.jobs import figure

    text, lines = figure.table([_cli.argument_path(path) for path in sources], beside, name)
    _write(output, text, overwrite, tsv, lines)


@app.command()
def report(
    sources: Annotated[
        list[Path],
        argument("ARTIFACT...", "Artifacts, runs, PNG and SVG pictures, text files; - takes one path from stdin."),
    ],
    output: _cli.Output,
    title: Annotated[str, option("TEXT", "Heading of the page.")] = "Report",
    pairs: Annotated[int, option("N", "Nearest pairs of each ranking that are shown.", min=1, max=1000)] = 60,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Write one HTML page about any set of artifacts.

    The page begins with findings in words, computed from the artifacts, the nearest pairs with rows and names, and the
    curve of sensitivity. Then come maps, figures with the captions that "figure" writes into their files, evaluations
    and trainings, tables and text (CSV, TSV, JSON, Markdown), a card for each artifact, the histories as one graph,
    every command in an order in which it can be run again, and the list of files. Digests tell what belongs together:
    name the dataset with its ranking, features or clones to see the images. The page loads nothing and runs nothing;
    rest the pointer on a point of a map to see what it is.

    The order in which artifacts are named, and their folders, do not matter. Pictures of more than 8 MiB, and text of
    more than 16, are refused; long tables are cut, and the page says so.

    For example:

        figure report digits.zarr digits-linf.zarr run best.zarr sensitivity.svg table.md -o report.html
    """
    _demand_page(output)
    paths = [_cli.argument_path(path) for path in sources]
    if output.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"{output} cannot be both the report and a part of it: name the output otherwise.")
    from datarobust.figures.report import collect, page

    cards, commands = collect(paths, _cli.progress("reading"))
    _write(output, page(title, cards, commands, __version__, pairs), overwrite)


def _demand_page(output: Path) -> None:
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: the output is a page of HTML, so its name ends in .html.")


def _opened(paths: Iterable[Path], kind: str | tuple[str, ...]) -> list[Store]:
    return [_cli.opened(path, kind) for path in paths]


def _write(
    output: Path,
    content: str | bytes,
    overwrite: bool,
    tsv: Path | None = None,
    lines: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Write the picture, page or table and the values behind it, both or none, and print the path.

    A file that exists already with the same bytes is as good as written.
    """
    from datarobust.artifacts import durable

    whole = content.encode() if isinstance(content, str) else content
    files: dict[Path, Callable[[], Iterable[bytes]]] = {output: lambda: [whole]}
    if tsv is not None:
        if tsv.resolve() == output.resolve():
            raise UsageError(f"{tsv} cannot be both the picture and the table: give two names.")
        files[tsv] = lambda: (line.encode() for line in lines())
    with ExitStack() as stack:
        for path, parts in files.items():
            if _holds(path, parts()):
                durable.tidy(path)
            else:
                partial = stack.enter_context(durable.whole_or_absent(path, overwrite=overwrite))
                with partial.open("wb") as file:
                    file.writelines(parts())
    _cli.emit(str(output))


def _holds(path: Path, parts: Iterable[bytes]) -> bool:
    """Whether a file exists and has exactly these bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return all(file.read(len(part)) == part for part in parts) and not file.read(1)


main = _cli.main(app, "figure")

if __name__ == "__main__":
    main()
