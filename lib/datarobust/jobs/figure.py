"""Pictures and tables of artifacts, behind ``figure``: what is read, checked and put in order before it is drawn.

A function a command; each gives a drawing, which the tool writes. What needs torch or SciPy is imported where it is
needed: a picture should not wait for what it does without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from datarobust import artifacts, selection
from datarobust.artifacts import Store
from datarobust.artifacts.runs import RECIPE, open_run, read_log
from datarobust.datasets.contents import class_names, picture_shape
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.figures import Drawing, Table, charts, demand_room, images
from datarobust.figures import gallery as galleries
from datarobust.figures import sensitivity as curves
from datarobust.figures import table as tables
from datarobust.figures.report_parts import amount
from datarobust.issues import KINDS, MEANINGS
from datarobust.jobs import tables as tables_of_data
from datarobust.jobs.issues import COLUMNS
from datarobust.text import shown
from datarobust.types import Rows

if TYPE_CHECKING:
    from datarobust.figures.map import Color
    from datarobust.figures.map import Scale as MapScale

_LABELLED: Final = 1024  # points whose labels are counted by default
_PAIRS: Final = 8  # that are shown where none are selected


def _names_of(what: str, names: Sequence[str] | None, defaults: Sequence[str]) -> list[str]:
    """What each set or run is called: as ``names`` has it, one for each, else as ``defaults`` has it."""
    if names and len(names) != len(defaults):
        raise UsageError(f"{len(defaults)} {what}, but {len(names)} names: give `name` once for each, in their order.")
    return list(names or defaults)


def _names_of_rankings(rankings: Sequence[Store], names: Sequence[str] | None) -> list[str]:
    """The norm at the end of a file's name is left out, which the legend has anyway."""
    stems = [re.sub(rf"(?<=.)[-_.]{store.attributes['norm']}$", "", _stem(store.path)) for store in rankings]
    return _names_of("rankings", names, stems)


def _stem(path: Path) -> str:
    return path.resolve().stem


def sensitivity(
    rankings: Sequence[Store], scales: Sequence[curves.Scale], names: Sequence[str] | None, without_least: int
) -> Drawing:
    """Ordered sensitivity of each ranking, without so many of its least robust points."""
    sets = [
        curves.ordered(name, store.attributes["norm"], store.column("distance").read(), without_least=without_least)
        for name, store in zip(_names_of_rankings(rankings, names), rankings, strict=True)
    ]
    remarks = [f"{curve.name} ({curve.norm}) is drawn without {curve.left_out}" for curve in sets if curve.left_out]
    called = ", ".join(f"{curve.name} ({curve.norm})" for curve in sets)
    caption = f"Sensitivity 1/r of all points, from the most to the least robust: {called}."
    return Drawing(curves.draw(sets, scales), partial(curves.table, sets), remarks, caption)


def difference(rankings: Sequence[Store], by: Sequence[curves.By], names: Sequence[str] | None) -> Drawing:
    """Sensitivity in the first ranking minus that in each of the others.

    Where ``by`` is empty, rankings of one dataset are compared by point and all others by rank.
    """
    base, *others = rankings
    if len(by) not in (0, 1, len(others)):
        times = f"{len(others)} sets are compared with {base.path}, but `by` is given {len(by)} times"
        raise UsageError(f"{times}: give it once, or once for each of them.")
    for other in others:
        for attribute, remedy in (("norm", "rank both in one norm"), ("labels", "rank both with `soft` or neither")):
            if (mine := base.attributes[attribute]) != (theirs := other.attributes[attribute]):
                differ = f"because their {attribute} differ ({mine} and {theirs})"
                raise UsageError(f"{base.path} and {other.path} do not compare, {differ}: {remedy}.")
    same = [other.attributes["dataset"] == base.attributes["dataset"] for other in others]
    ways = by if len(by) > 1 else [by[0] if by else "point" if dataset else "rank" for dataset in same]
    title, *called = _names_of_rankings(rankings, names)
    curve = curves.ordered(title, base.attributes["norm"], base.column("distance").read())
    differences = [
        curves.difference(curve, name, other.column("distance").read(), way)
        for name, other, way in zip(called, others, ways, strict=True)
    ]
    remarks = [f"{title} is compared without {curve.left_out}"] if curve.left_out else []
    remarks += [remark for pair in differences for remark in pair.remarks()]
    table = partial(curves.table_of_differences, differences)
    caption = f"Sensitivity in {title} minus that in {' and '.join(called)}, point by point or rank by rank."
    return Drawing(curves.draw_differences(differences), table, remarks, caption)


def labels(rankings: Sequence[Store], dataset: Store, n: int | None, seed: int) -> Drawing:
    """How many of the ``n`` least robust, of random and of the most robust points are of each class.

    By default 1,024, or half of the points if there are fewer than 2,048.
    """
    total = len(dataset)
    count = min(_LABELLED, max(1, total // 2)) if n is None else n
    every, named = dataset.column("labels").read(), dataset.attributes["classes"]
    classes = np.union1d(np.arange(len(named)), every).astype(np.int64)
    names = class_names(dataset, classes)
    distributions, remarks = dict[str, Rows](), list[str]()
    if n is None and count < _LABELLED:
        remarks.append(f"`n` is {count:,}, because there are only {total:,} points")
    elif 2 * count > total:
        remarks.append(
            f"`n` {count:,} is more than half of the {total:,} points: the least and the most robust overlap"
        )
    for ranking in rankings:
        norm, groups = ranking.attributes["norm"], []
        if norm in distributions:
            raise UsageError(f"two rankings are in the {norm} norm: a picture has one panel for each norm.")
        for how in ("least", "random", "most"):
            selected = selection.Selection(f"`n` {count}", how, path=str(ranking.path), count=count, seed=seed)
            chosen = selection.choose(selected, dataset)
            remarks += [f"{how} robust, {norm}: {remark}" for remark in chosen.remarks()]
            groups.append(chosen.rows)
        distributions[norm] = charts.class_counts(every, classes, groups)
    table = partial(charts.table_of_labels, distributions, classes, names)
    caption = f"Classes of the {count:,} least robust, of {count:,} random and of the {count:,} most robust points."
    return Drawing(charts.draw_labels(distributions, names, count), table, remarks, caption)


def pairs(dataset: Store, ranking: Store, against: Store | None, select: str | None) -> Drawing:
    """Points beside their nearest neighbours, which are of the set ``against`` where there is one.

    Without a selection they are the least robust pairs, two points nearest each other being one.
    """
    artifacts.demand_same_points(ranking, dataset)
    other = _other_set(dataset, ranking, against)
    for store in (dataset, other):
        if picture_shape(store) is None:
            raise DataError(f"{store.path} holds features, not images: pairs can be shown of images only.")
    every, nearest = ranking.column("distance").read(), ranking.column("neighbour").read()
    label = "the same label" if ranking.attributes.get("neighbours") == "same" else "another label"
    remarks: list[str] = []
    if select is None:
        rows = images.least_robust_pairs(every, nearest, against is None, _PAIRS)
        if not rows.size:
            raise DataError(f"{ranking.path}: no point has a neighbour with {label}: there is no pair to show.")
    else:
        chosen = selection.choose(select, dataset)
        rows, remarks = chosen.rows, list(chosen.remarks())
    demand_room(rows, "pairs", images.MOST_PAIRS)
    distance, neighbours = every[rows], nearest[rows]
    for row, away, neighbour in zip(rows, distance, neighbours, strict=True):
        if not np.isfinite(away):
            why = "was dropped" if np.isnan(away) else f"has no neighbour with {label}"
            raise DataError(f"{ranking.path}: point {row} {why}: choose other points with `select`.")
        _demand_neighbour(ranking, row, neighbour, other)
    left, right, norm = images.side_of(dataset, rows), images.side_of(other, neighbours), ranking.attributes["norm"]
    caption = f"Points of {dataset.attributes['name']} beside their nearest points with {label}."
    if ranking.attributes["dataset"] != dataset.digest or "images" not in dataset:  # features of these images
        drawn = images.draw_pairs(left, right, norm, of_features=distance)
        return Drawing(drawn, partial(images.table_of_pairs, left, right, norm, distance), remarks, caption)
    hard = ranking.attributes["labels"] == "hard"  # else distances are weighed with the labels, not those of the images
    drawn = images.draw_pairs(left, right, norm, distance if hard else None)
    return Drawing(drawn, partial(images.table_of_pairs, left, right, norm), remarks, caption)


def _demand_neighbour(ranking: Store, row: int, neighbour: int, other: Store) -> None:
    """Raise DataError where the neighbour of a point is not in the set that it is to be of."""
    if not 0 <= neighbour < len(other):
        where = f"{ranking.path}: point {row} has neighbour {neighbour}"
        raise DataError(f"{where}, but {other.path} has only {len(other)} points: make the ranking anew.")


def gallery(
    dataset: Store, source: Path, against: Store | None, kinds: Sequence[str], most: int
) -> tuple[list[galleries.Section], list[str]]:
    """Findings of a table of dataset issues, or the pairs of a ranking, with their images; and remarks.

    ``kinds`` are those of findings, all if empty; of each the first ``most`` are shown.
    """
    for store in (dataset, *([] if against is None else [against])):
        if (shape := picture_shape(store)) is None or shape[0] not in (1, 3):
            raise DataError(f"{store.path} holds no grey or RGB images: a gallery is of images.")
    if source.is_dir():
        return [_ranked(dataset, artifacts.open_store(source, "ranking", same=True), against, most)], []
    rows = tables_of_data.read(source, COLUMNS)
    sections, remarks = [], []
    for kind in KINDS:
        chosen = [row for row in rows if row["kind"] == kind and (not kinds or kind in kinds)]
        if kind == "leak" and chosen and against is None:
            remarks.append(f"{len(chosen):,} leaks are not shown: name the other set with `against`")
            continue
        other = against if kind == "leak" and against is not None else dataset
        pairs = list(_findings(source, chosen[:most], dataset, other))
        if pairs:
            sections.append(galleries.Section(kind, MEANINGS[kind], pairs, len(chosen)))
    if not sections and not remarks:
        raise DataError(f"{shown(source)} has no finding of the kinds {', '.join(kinds or KINDS)}.")
    return sections, remarks


def _findings(path: Path, rows: Sequence[Mapping[str, Any]], dataset: Store, other: Store) -> Iterator[galleries.Pair]:
    """Rows of a table of issues with their images, which must have the labels that the table says."""
    sides = []
    for prefix, store in (("", dataset), ("other_", other)):
        at = [(place, row[f"{prefix}index"]) for place, row in enumerate(rows) if row[f"{prefix}index"] is not None]
        inside = np.clip([index for _, index in at], 0, len(store) - 1).astype(np.int64)
        side = {}
        for (place, index), point in zip(at, galleries.points_of(store, inside, store is not dataset), strict=True):
            if (index, rows[place][f"{prefix}label"]) != (point.row, point.label):
                where = f"{shown(path)}: {prefix}index {index} with label {rows[place][f'{prefix}label']}"
                way = "name the dataset that the table was made from"
                raise DataError(f"{where} is no point of {shown(store.path)}: {way}.")
            side[place] = point
        sides.append(side)
    for place, row in enumerate(rows):
        distance, score = ("" if row[key] is None else amount(row[key]) for key in ("distance", "score"))
        yield galleries.Pair([side[place] for side in sides if place in side], distance, score)


def _ranked(dataset: Store, ranking: Store, against: Store | None, most: int) -> galleries.Section:
    """The nearest pairs of a ranking, with their images."""
    artifacts.demand_same_points(ranking, dataset)
    other = _other_set(dataset, ranking, against)
    distance, neighbour = ranking.column("distance").read(), ranking.column("neighbour").read()
    rows = images.least_robust_pairs(distance, neighbour, against is None, len(distance))
    same = ranking.attributes.get("neighbours") == "same"
    first = rows[:most]
    nearest = neighbour[first]
    for row, each in zip(first, nearest, strict=True):
        _demand_neighbour(ranking, row, each, other)
    sides = zip(
        galleries.points_of(dataset, first),
        galleries.points_of(other, nearest, other is not dataset),
        strict=True,
    )
    pairs = list(map(galleries.Pair, sides, map(amount, distance[first].tolist())))
    meaning = f"Points beside their nearest neighbours with {'the same' if same else 'another'} label."
    return galleries.Section("nearest pairs" if same else "least robust points", meaning, pairs, len(rows))


def _other_set(dataset: Store, ranking: Store, against: Store | None) -> Store:
    """The set that the neighbours of a ranking are of."""
    expected = ranking.attributes["against"]
    if against is None and expected is not None:
        raise UsageError(f"{ranking.path} was made against another set: name it with `against` OTHER.zarr.")
    if against is not None and expected is None:
        raise UsageError(f"{ranking.path} was not made against another set: leave out `against`.")
    if against is not None and against.digest not in artifacts.row_by_row(ranking.history, expected):
        raise ArtifactError(f"{ranking.path} was made against another dataset than {against.path}: name that one.")
    return dataset if against is None else against


def maps(
    embeddings: Sequence[Store], columns: int | None, scale: MapScale, color: Color, names: Sequence[str] | None
) -> Drawing:
    """A map of the points of each embedding."""
    from datarobust.figures.map import draw, map_of, table

    sets = [str(store.attributes.get("name", _stem(store.path))) for store in embeddings]
    called = _names_of("embeddings", names, sets)
    drawn = [map_of(store, name) for store, name in zip(embeddings, called, strict=True)]
    caption = f"Maps of points of {' and '.join(dict.fromkeys(called))}: the least robust are large and red."
    return Drawing(draw(drawn, columns, scale, color), partial(table, drawn), caption=caption)


def clones(
    stores: Sequence[Store], layout: Literal["squares", "rows"], count: int, names: Sequence[str] | None
) -> Drawing:
    """The first ``count`` images of each set of clones, with them, from the sets in order and their datasets."""
    datasets = {store.digest: store for store in stores if store.kind == "dataset"}
    sets = [store for store in stores if store.kind == "clones"]
    if not sets:
        raise UsageError("No clones are given: name one or more results of clone, and their datasets.")
    copies = []
    called = _names_of("sets of clones", names, [_stem(store.path) for store in sets])
    for name, store in zip(called, sets, strict=True):
        data = datasets.get(store.attributes["dataset"])
        if data is None:
            raise DataError(f"{store.path} was made from a dataset that is not given: name it beside its clones.")
        try:
            copies.append(images.copies_of(name, store, data, count))
        except IndexError as error:
            raise DataError(f"{store.path} is of points that its dataset does not have ({error})") from error
    draw = images.squares if layout == "squares" else images.rows
    caption = f"Images and their clones: {', '.join(called)}."
    return Drawing(draw(copies), partial(images.table_of_clones, copies), caption=caption)


def search(lines: Sequence[Path]) -> Drawing:
    """What a search for the sampler's arguments found, from the lines of its shards."""
    from datarobust.jobs.clone_search import gather

    features, points, results = gather(list(lines))
    if not results:
        raise DataError(f"{lines[0]} has no results yet: there is nothing to draw.")
    caption = "Scores of clones by the arguments of the sampler; below, the points of the last rung."
    drawn = charts.draw_search(points, results, features)
    return Drawing(drawn, partial(charts.table_of_search, points, results), caption=caption)


def training(runs: Sequence[Path], names: Sequence[str] | None) -> Drawing:
    """Accuracies by epoch, from the logs of runs."""
    called = _names_of("runs", names, [run.resolve().name for run in runs])
    courses = [charts.course(name, read_log(run), str(run)) for name, run in zip(called, runs, strict=True)]
    caption = f"Accuracies by epoch: {', '.join(called)}."
    return Drawing(charts.draw_courses(courses), partial(charts.table_of_courses, courses), caption=caption)


def schedules(epochs: int, lr: float) -> Drawing:
    """The learning rates that a training may follow."""
    every = charts.schedules(epochs, lr)
    caption = f"Learning rates of {epochs:,} epochs, and the last of them on a logarithmic scale."
    return Drawing(charts.draw_schedules(every), partial(charts.table_of_schedules, every), caption=caption)


def deciles(evaluations: Sequence[Path], ranking: Store, parts: int, names: Sequence[str] | None) -> Drawing:
    """Accuracy of each evaluation by robustness of the points, cut into so many parts."""
    from datarobust.evaluation import eps_text
    from datarobust.jobs.aacompare import deciles as profile_rows
    from datarobust.jobs.aacompare import demand_comparable, opened

    called = _names_of("evaluations", names, [_stem(path) for path in evaluations])
    verdicts = [opened(path) for path in evaluations]
    for other in verdicts[1:]:
        demand_comparable(verdicts[0], other)
    profiles = [
        charts.Profile(name, profile_rows(each, ranking, parts), bool(each.attributes["protocol"]["upper_bound"]))
        for name, each in zip(called, verdicts, strict=True)
    ]
    norm, eps = verdicts[0].attributes["norm"], eps_text(verdicts[0].attributes["eps"])
    drawn = charts.draw_deciles(profiles, ranking.attributes["norm"], norm, eps)
    caption = f"Accuracy of {' and '.join(called)} by robustness of the points, the least robust at the left."
    return Drawing(drawn, partial(charts.table_of_deciles, profiles), caption=caption)


# ------------------------------------------------------------------------------------------------- Tables 2 to 4


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation, as far as a table has it."""

    path: Path
    line: Mapping[str, Any]  # what aaeval prints of it
    index: Rows  # which points

    @property
    def accuracy(self) -> tables.Accuracy:
        """Of the network, in shares."""
        return tables.Accuracy(self.line["clean"], self.line["autoattack"], self.line["upper_bound"])

    def agrees(self, other: _Evaluation) -> bool:
        """Whether two evaluations of the same weights, which may be both best and last, agree in all that matters."""
        keys = ("dataset_digest", "norm", "eps_value", "version", "clean_points", "attacks", "left_out", "flags")
        same = all(self.line[key] == other.line[key] for key in keys)
        return same and np.array_equal(self.index, other.index)

    def remarks(self) -> Iterator[str]:
        """What a reader of the accuracy should know."""
        line = self.line
        points, every = line["points"], line["dataset_points"] or line["points"]
        some = f"{points:,} of {every:,} points" if points < every else f"{points:,} points"
        attacks = ", ".join(attack["attack"] for attack in line["attacks"])
        share = f"{100 / points:.2g} percentage point{'' if points == 100 else 's'}"
        attack = f"{line['norm']} {line['eps']}, {line['version']} ({attacks})"
        yield f"Evaluated on {some}, one of which is {share}: {attack}."
        for attack, why in line["left_out"].items():
            yield f"{attack} was left out: {why}."
        if line["flags"]:
            yield f"There are signs of an unreliable evaluation: {', '.join(line['flags'])}."


def table(sources: Sequence[Path], beside: Path | None, names: Sequence[str] | None) -> tuple[str, Table]:
    """Tables 2 to 4 as Markdown, and the numbers behind it; ``beside`` has the paper's rows."""
    ours, theirs = table_rows(sources, names), []
    if beside is not None:
        try:
            if beside.stat().st_size > 1 << 20:
                raise DataError(f"{beside} is too large for the paper's rows.")
            text = beside.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{beside} cannot be read ({error}).") from error
        theirs = tables.read_paper(text, str(beside))
    return "".join(tables.markdown(ours, theirs)), partial(tables.table, ours)


def table_rows(sources: Sequence[Path], names: Sequence[str] | None = None) -> list[tables.Row]:
    """A row for each run, in their order, and one for each evaluation of other weights, called as its file.

    Which evaluation belongs to which run is told by digests, not by names: an evaluation says which weights it is of.
    """
    from datarobust.evaluation.statistics import VERDICTS, summary

    folders = [path for path in sources if (path / RECIPE).is_file()]
    evaluations: dict[str, _Evaluation] = {}
    for path in (path for path in sources if path not in folders):
        store = artifacts.open_store(path, "evaluation")
        columns, model = {name: store.column(name).read() for name in VERDICTS}, str(store.attributes["model"])
        evaluation = _Evaluation(path, summary(columns, store.attributes), columns["index"])
        if model in evaluations and not evaluations[model].agrees(evaluation):
            pair = f"{shown(evaluations[model].path)} and {shown(path)}"
            raise DataError(f"{pair} are different evaluations of the same weights: name one of them.")
        evaluations[model] = evaluation
    rows, ours = [], set()
    called = _names_of("runs", names, [path.resolve().name for path in folders])
    for name, path in zip(called, folders, strict=True):
        row, digests = _row(name, path, evaluations)
        rows.append(row)
        ours |= digests
    for model, evaluation in evaluations.items():
        if model not in ours:  # weights that no run is given for, such as published ones
            best, arch = evaluation.line.get("weights") == "best", evaluation.line.get("arch")
            of_best, of_last = (evaluation.accuracy, None) if best else (None, evaluation.accuracy)
            remark = f"{arch}, no run is given." if arch is not None else "No run is given."
            remarks = (remark, *evaluation.remarks())
            points = evaluation.line["points"]
            rows.append(tables.Row(_stem(evaluation.path), of_best, of_last, remarks=remarks, points=points))
    return rows


def _row(name: str, path: Path, evaluations: Mapping[str, _Evaluation]) -> tuple[tables.Row, set[str]]:
    """The row of a run, from the evaluations of its weights by their digests; and these digests."""
    from datarobust.evaluation import eps_text

    run = open_run(path)
    try:
        recipe = run.recipe["recipe"]
        norm, eps, batch, seed = (recipe[key] for key in ("norm", "eps", "batch", "seed"))
        epochs, arch, radius = int(recipe["epochs"]), str(run.recipe["arch"]["name"]), eps_text(eps)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(f"{shown(path / RECIPE)} is not a recipe of an adversarial training ({error!r})") from error
    if not run.weights:
        raise ArtifactError(f"{shown(path)} has no weights yet: its training goes on when advtrain is run again")
    digests = {which: head.digest for which, head in run.weights.items()}
    best, last = (evaluations.get(digests.get(which, "")) for which in ("best", "last"))
    if best is not None and last is not None:
        pair = f"{shown(best.path)} and {shown(last.path)} are of one run, but"
        for key in ("dataset_digest", "points", "version", "norm", "eps_value"):
            if (mine := best.line[key]) != (other := last.line[key]):
                raise DataError(f"{pair} their {key} are {mine} and {other}: evaluate both weights alike.")
        if not np.array_equal(best.index, last.index):
            raise DataError(f"{pair} of different points.")
    accuracies = {entry["epoch"]: entry.get("tracked_accuracy") for entry in run.log}
    tracked = {epoch: float(share) for epoch, share in accuracies.items() if isinstance(share, int | float)}
    epoch_of = {which: head.attributes.get("epoch") for which, head in run.weights.items()}
    best_epoch, last_epoch = epoch_of.get("best") if tracked else None, epoch_of.get("last")
    unfinished = isinstance(last_epoch, int) and last_epoch < epochs
    length = f"{epochs} epoch{'' if epochs == 1 else 's'} in batches of {batch}"
    end = f", unfinished: after epoch {last_epoch}" if unfinished else ""
    remarks = [f"{arch}, {norm} {radius}, {length}, seed {seed}{end}."]
    remarks += [remark for each in (best, last) if each is not None for remark in each.remarks()]
    if best is None and last is None:
        remarks.append("Its weights are in no evaluation that was given.")
    of_best, of_last = (None if each is None else each.accuracy for each in (best, last))
    at_best = None if best_epoch is None else tracked.get(best_epoch)
    points = next((each.line["points"] for each in (best, last) if each is not None), None)
    distinct = tuple(dict.fromkeys(remarks))
    row = tables.Row(name, of_best, of_last, best_epoch, at_best, f"seed {seed}", distinct, points)
    return row, set(digests.values())
