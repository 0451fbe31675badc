"""Pictures of artifacts, behind ``figure``: what is read, checked and put in order before it is drawn.

A function a command; each gives a :class:`Drawing`, which the tool writes. What draws is imported where it is needed,
because some of it needs torch or SciPy, and a picture should not wait for what it does without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from datarobust import artifacts, selection
from datarobust.artifacts import Store
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.types import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from datarobust.figures.difference import By
    from datarobust.figures.map import Scale as MapScale
    from datarobust.figures.pairs import Side
    from datarobust.figures.sensitivity import Scale

_PAIRS: Final = 8
"""Pairs that are shown where none are selected."""


@dataclass(frozen=True)
class Drawing:
    """A picture, the numbers behind it, and what a reader should know."""

    figure: Figure
    table: Callable[[], Iterator[str]]
    """The numbers as lines of a TSV file."""
    remarks: Sequence[str] = ()
    """Sentences."""


def names_of(what: str, names: Sequence[str] | None, defaults: Sequence[str]) -> list[str]:
    """What each set or run is called: as ``names`` has it, else as ``defaults`` has it.

    Raises:
        UsageError: there are names, but not one for each.
    """
    if names and len(names) != len(defaults):
        raise UsageError(f"{len(defaults)} {what}, but {len(names)} names: give `name` once for each, in their order.")
    return list(names or defaults)


def _names_of_rankings(rankings: Sequence[Store], names: Sequence[str] | None) -> list[str]:
    """As :func:`names_of`; the norm at the end of a file's name is left out, which the legend has anyway."""
    stems = [(store.path.resolve().stem, store.attributes["norm"]) for store in rankings]
    return names_of("rankings", names, [re.sub(rf"[-_.]{norm}$", "", stem) or stem for stem, norm in stems])


def sensitivity(
    rankings: Sequence[Store],
    scales: Sequence[Scale],
    names: Sequence[str] | None = None,
    without_least: int = 0,
) -> Drawing:
    """Ordered sensitivity of each ranking, without so many of its least robust points."""
    from datarobust.figures.sensitivity import draw, ordered, table

    curves = [
        ordered(name, store.attributes["norm"], store.column("distance").read(), without_least=without_least)
        for name, store in zip(_names_of_rankings(rankings, names), rankings, strict=True)
    ]
    remarks = [f"{curve.name} ({curve.norm}) is drawn without {curve.left_out}" for curve in curves if curve.left_out]
    return Drawing(draw(curves, scales), partial(table, curves), remarks)


def difference(rankings: Sequence[Store], by: Sequence[By], names: Sequence[str] | None = None) -> Drawing:
    """Sensitivity in the first ranking minus that in each of the others.

    Args:
        rankings: two or more.
        by: how the others are compared with the first, one way for all or one for each; where it is empty, rankings of
            one dataset by point and all others by rank.
        names: of all rankings.

    Raises:
        UsageError: rankings that do not compare, or another number of ways.
    """
    from datarobust.figures.difference import difference as compared
    from datarobust.figures.difference import draw, table
    from datarobust.figures.sensitivity import ordered

    base, *others = rankings
    if len(by) not in (0, 1, len(others)):
        raise UsageError(
            f"{len(others)} sets are compared with {base.path}, but `by` is given {len(by)} times: give it once, or "
            "once for each of them."
        )
    for other in others:
        for attribute, remedy in (("norm", "rank both in one norm"), ("labels", "rank both with `soft` or neither")):
            mine, theirs = base.attributes[attribute], other.attributes[attribute]
            if mine != theirs:
                raise UsageError(
                    f"{base.path} and {other.path} do not compare, because their {attribute} differ "
                    f"({mine} and {theirs}): {remedy}."
                )
    ways = list(by) * len(others) if len(by) == 1 else list(by)
    if not ways:
        same = [other.attributes["dataset"] == base.attributes["dataset"] for other in others]
        ways = ["point" if dataset else "rank" for dataset in same]
    title, *called = _names_of_rankings(rankings, names)
    curve = ordered(title, base.attributes["norm"], base.column("distance").read())
    differences = [
        compared(curve, name, other.column("distance").read(), way)
        for name, other, way in zip(called, others, ways, strict=True)
    ]
    remarks = [f"{title} is compared without {curve.left_out}"] if curve.left_out else []
    remarks += [remark for pair in differences for remark in pair.remarks()]
    return Drawing(draw(differences), partial(table, differences), remarks)


def labels(rankings: Sequence[Store], dataset: Store, count: int, seed: int) -> Drawing:
    """How many of the least robust, of random and of the most robust points are of each class."""
    from datarobust.figures import labels as figure

    every, named = dataset.column("labels").read(), dataset.attributes["classes"]
    classes = np.union1d(np.arange(len(named)), every).astype(np.int64)
    names = _class_names(dataset, classes)
    distributions, remarks = [], []
    for ranking in rankings:
        norm, groups = ranking.attributes["norm"], []
        for how in ("least", "random", "most"):
            selected = selection.Selection(f"`n` {count}", how, path=str(ranking.path), count=count, seed=seed)
            chosen = selection.choose(selected, dataset)
            remarks += [f"{how} robust, {norm}: {remark}" for remark in chosen.remarks()]
            groups.append(chosen.rows)
        distributions.append(figure.Distribution(norm, figure.count(every, classes, groups)))
    return Drawing(
        figure.draw(distributions, names, count),
        partial(figure.table, distributions, classes.tolist(), names),
        remarks,
    )


def _class_names(dataset: Store, labels: Rows) -> list[str]:
    """The classes' names; a class without one is called by its label."""
    names = dataset.attributes["classes"]
    return [names[label] if 0 <= label < len(names) else f"{label}" for label in labels.tolist()]


def pairs(dataset: Store, ranking: Store, against: Store | None, select: str | None) -> Drawing:
    """Points beside their nearest neighbours with another label.

    Args:
        dataset: the points.
        ranking: of them.
        against: the set of the neighbours, where the ranking has one.
        select: which points; None: the least robust pairs, two points nearest each other being one.

    Raises:
        ArtifactError: the ranking is of other sets.
        DataError: features, points without a neighbour, or a ranking that is wrong.
        UsageError: ``against`` is missing, or needless.
    """
    from datarobust.figures.pairs import demand_count, draw, table

    artifacts.same_digest(ranking, dataset)
    ranked_against = ranking.attributes["against"]
    if against is None and ranked_against is not None:
        raise UsageError(f"{ranking.path} was made against another set: name it with `against` OTHER.zarr.")
    if against is not None and ranked_against is None:
        raise UsageError(f"{ranking.path} was not made against another set: leave out `against`.")
    if against is not None and against.digest != ranked_against:
        raise ArtifactError(
            f"{ranking.path} was made against another dataset ({str(ranked_against)[:12]}…) than {against.path}"
            f" ({against.digest[:12]}…): name that one."
        )
    other = dataset if against is None else against
    for store in (dataset, other):
        if "images" not in store:
            raise DataError(f"{store.path} holds features, not images: pairs can be shown of images only.")
    remarks: list[str] = []
    if select is None:
        rows = _least_robust_pairs(ranking)
    else:
        chosen = selection.choose(select, dataset)
        rows, remarks = chosen.rows, chosen.remarks()
    neighbours, distance = ranking.column("neighbour").take(rows), ranking.column("distance").take(rows)
    alone = np.flatnonzero(~np.isfinite(distance))
    if alone.size:
        why = "was dropped" if np.isnan(distance[alone[0]]) else "has no neighbour with another label"
        raise DataError(f"{ranking.path}: point {rows[alone[0]]} {why}: choose other points with `select`.")
    strange = np.flatnonzero((neighbours < 0) | (neighbours >= len(other)))
    if strange.size:
        raise DataError(
            f"{ranking.path}: point {rows[strange[0]]} has neighbour {neighbours[strange[0]]}, but {other.path} has "
            f"only {len(other)} points: make the ranking anew."
        )
    demand_count(len(rows))
    left, right = _side(dataset, rows), _side(other, neighbours)
    hard = ranking.attributes["labels"] == "hard"  # else distances are weighed with the labels, not those of the images
    norm = ranking.attributes["norm"]
    return Drawing(draw(left, right, norm, distance if hard else None), partial(table, left, right, norm), remarks)


def _least_robust_pairs(ranking: Store) -> Rows:
    distance = ranking.column("distance").read()
    finite = np.isfinite(distance)
    if not finite.any():
        raise DataError(f"{ranking.path}: no point has a neighbour with another label, so there is no pair to show.")
    count = min(2 * _PAIRS, int(finite.sum()))
    rows, *_ = selection.extreme(np.where(finite, distance, np.nan), count, "least")
    nearest = dict(zip(rows.tolist(), ranking.column("neighbour").take(rows).tolist(), strict=True))
    within = ranking.attributes["against"] is None
    again = {q for p, q in nearest.items() if within and nearest.get(q) == p and p < q}
    return np.array([row for row in rows.tolist() if row not in again][:_PAIRS], np.int64)


def _side(dataset: Store, rows: Rows) -> Side:
    from datarobust.figures.pairs import Side

    labels = dataset.column("labels").take(rows)
    return Side(dataset.column("images").take(rows), rows, labels, _class_names(dataset, labels))


def maps(
    embeddings: Sequence[Store],
    columns: int | None,
    scale: MapScale,
    names: Sequence[str] | None = None,
) -> Drawing:
    """A map of the points of each embedding."""
    from datarobust.figures.map import draw, map_of, table

    stems = [str(store.attributes.get("name", store.path.resolve().stem)) for store in embeddings]
    called = names_of("embeddings", names, stems)
    drawn = [map_of(store, name) for store, name in zip(embeddings, called, strict=True)]
    return Drawing(draw(drawn, columns, scale), partial(table, drawn))


def clones(
    stores: Sequence[Store], layout: Literal["squares", "rows"], count: int, names: Sequence[str] | None = None
) -> Drawing:
    """The first images of each set of clones, with them.

    Args:
        stores: sets of clones in order, and the datasets they are of, in any order.
        layout: squares of images and clones, or a row an image.
        count: images of each set, at most.
        names: of the sets of clones.

    Raises:
        DataError: a dataset is missing.
        UsageError: no clones.
    """
    from datarobust.figures import clones as figure

    datasets = {store.digest: store for store in stores if store.kind == "dataset"}
    sets = [store for store in stores if store.kind == "clones"]
    if not sets:
        raise UsageError("No clones are given: name one or more results of clone, and their datasets.")
    copies = []
    for name, store in zip(names_of("sets of clones", names, [s.path.resolve().stem for s in sets]), sets, strict=True):
        data = datasets.get(str(store.attributes["dataset"]))
        if data is None:
            raise DataError(f"{store.path} was made from a dataset that is not given: name it beside its clones.")
        end = min(count, len(store))
        index, labels = (np.asarray(store.column(key).read(0, end), np.int64) for key in ("index", "labels"))
        images = data.column("images").take(index)
        copies.append(figure.Copies(name, images, store.column("images").read(0, end), index, labels))
    draw = figure.squares if layout == "squares" else figure.rows
    return Drawing(draw(copies), partial(figure.table, copies))


def search(lines: Sequence[Path]) -> Drawing:
    """What a search for the sampler's arguments found, from the lines of its shards.

    Raises:
        DataError: they have no results yet, or are not of one search.
    """
    from datarobust.figures.search import draw, table
    from datarobust.jobs.clone_search import gather

    features, points, results = gather(list(lines))
    if not results:
        raise DataError(f"{lines[0]} has no results yet: there is nothing to draw.")
    sizes = sorted({result.images for result in results})
    first, last = ([result for result in results if result.images == size] for size in (sizes[0], sizes[-1]))
    return Drawing(draw(points, first, last, features), partial(table, points, results))


def training(runs: Sequence[Path], names: Sequence[str] | None = None) -> Drawing:
    """Accuracies by epoch, from the logs of runs."""
    from datarobust.artifacts.runs import read_log
    from datarobust.figures.training import course, draw, table

    called = names_of("runs", names, [run.resolve().name for run in runs])
    courses = [course(name, read_log(run), str(run)) for name, run in zip(called, runs, strict=True)]
    return Drawing(draw(courses), partial(table, courses))


def schedules(epochs: int, lr: float) -> Drawing:
    """The learning rates that a training may follow."""
    from datarobust.figures import schedules as figure

    every = figure.schedules(epochs, lr)
    return Drawing(figure.draw(every), partial(figure.table, every))


def deciles(evaluations: Sequence[Path], ranking: Store, parts: int, names: Sequence[str] | None = None) -> Drawing:
    """Accuracy of each evaluation by robustness of the points, cut into so many parts."""
    from datarobust.evaluation import eps_text
    from datarobust.figures.deciles import Profile, draw, table
    from datarobust.jobs.aacompare import deciles as profile_rows
    from datarobust.jobs.aacompare import demand_comparable, opened

    called = names_of("evaluations", names, [path.resolve().stem for path in evaluations])
    verdicts = [opened(path) for path in evaluations]
    for other in verdicts[1:]:
        demand_comparable(verdicts[0], other)
    profiles = [
        Profile(name, profile_rows(each, ranking, parts), bool(each.attributes["protocol"]["upper_bound"]))
        for name, each in zip(called, verdicts, strict=True)
    ]
    attack = verdicts[0].attributes
    return Drawing(
        draw(profiles, ranking.attributes["norm"], attack["norm"], eps_text(attack["eps"])), partial(table, profiles)
    )
