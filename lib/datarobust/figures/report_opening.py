"""What a report says first: findings in words, and galleries of the nearest pairs; all computed from the artifacts."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup
from scipy.stats import hypergeom

from datarobust.artifacts import Store, row_by_row
from datarobust.datasets.contents import class_names, picture_shape
from datarobust.datasets.contents import names as point_names
from datarobust.errors import SelectionError
from datarobust.figures import sensitivity
from datarobust.figures.gallery import Pair, points_of
from datarobust.figures.images import least_robust_pairs
from datarobust.figures.report_parts import drawn, fixed, percent, plural
from datarobust.issues import KINDS
from datarobust.norms import LEVELS, norm_of, plain_symbol
from datarobust.selection import extreme
from datarobust.types import Floats, Rows

if TYPE_CHECKING:
    from datarobust.figures.report import Item

PAIRS: Final = 60  # of a ranking that a page shows, where it is not told otherwise
MOST_PAIRS: Final = 1000
_LEAST: Final = 20  # the least robust 1/20 of the points, whose classes are counted
_CHANCE: Final = 0.01  # how likely a class may stand out so far where it does not
_FINDINGS: Final = 5
_CURVES: Final = 8
_FIFTHS: Final = 5


@dataclass(frozen=True)
class Ranked:
    """A ranking in a report, with the datasets of its points and of their neighbours where the report has them."""

    item: Item
    store: Store
    points: Store | None
    others: Store | None
    of_features: bool  # whether distances are of features, not of images

    @cached_property
    def distance(self) -> Floats:
        """(N,)."""
        return np.asarray(self.store.column("distance").read(), np.float64)

    @cached_property
    def finite(self) -> Floats:
        """The finite distances, ascending."""
        return np.sort(self.distance[np.isfinite(self.distance)])

    @cached_property
    def neighbour(self) -> Rows:
        """(N,)."""
        return np.asarray(self.store.column("neighbour").read(), np.int64)

    @cached_property
    def rows(self) -> Rows:
        """The least robust points, of two nearest each other the first; as many as a page may show."""
        return least_robust_pairs(self.distance, self.neighbour, not self.across, MOST_PAIRS)

    @property
    def across(self) -> bool:
        """Whether neighbours are of another set."""
        return self.store.attributes["against"] is not None

    @property
    def same(self) -> bool:
        """Whether neighbours are of the same class as their points, not of another."""
        return self.store.attributes.get("neighbours") == "same"

    @property
    def norm(self) -> str:
        """Its symbol, and whether distances are of features."""
        return plain_symbol(self.store.attributes["norm"]) + (" of features" if self.of_features else "")

    @property
    def pictured(self) -> bool:
        """Whether images of both sides can be shown."""
        return is_pictured(self.points) and is_pictured(self.others)


def is_pictured(store: Store | None) -> bool:
    """Whether a dataset has points, and their images can be shown: grey or RGB."""
    shape = None if store is None else picture_shape(store)
    return shape is not None and len(shape) == 3 and shape[0] in (1, 3) and bool(store)


def ranked(item: Item, store: Store, datasets: Mapping[str, Store]) -> Ranked:
    """A ranking beside the datasets of a report, by digest: the images themselves where it is of their features."""
    own, against = store.attributes["dataset"], store.attributes["against"]

    def shown_as(digest: str, whole: bool) -> Store | None:
        digests = [each for each in row_by_row(store.history, digest) if each in datasets]
        known = [datasets[each] for each in digests if each == digest or not whole or len(datasets[each]) == len(store)]
        return next(filter(is_pictured, known), next(iter(known), None))

    points, others = shown_as(own, whole=True), shown_as(against or own, whole=against is None)
    of_features = points is not None and (points.digest != own or "images" not in points)
    return Ranked(item, store, points, others, of_features)


# --------------------------------------------------------------------------------------------------------- pairs


@dataclass(frozen=True)
class Gallery:
    """The nearest pairs of a ranking."""

    item: Item
    title: str
    pairs: Sequence[Pair]
    names: Sequence[str]  # of the two points of each pair that has some


def gallery(ranking: Ranked, most: int) -> Gallery | None:
    """The pairs of a ranking as images; None where those are not in the report, or no point has a neighbour."""
    rows, points, others = ranking.rows[:most], ranking.points, ranking.others
    if not ranking.pictured or not len(rows) or points is None or others is None:
        return None
    distance, attributes = ranking.distance[rows].tolist(), ranking.store.attributes
    whole = norm_of(attributes["norm"]).whole and attributes["labels"] == "hard" and not ranking.of_features
    steps = [f"{value * LEVELS:.0f}/255" if whole else "" for value in distance]
    sides = zip(points_of(points, rows), points_of(others, ranking.neighbour[rows]), strict=True)
    pairs = list(map(Pair, sides, fixed(distance), steps))
    of = "the same class" if ranking.same else "another class"
    title = f"{plural(len(pairs), 'pair')}, {ranking.norm}: each point beside its nearest point of {of}"
    names = [f"{one.name}\t{other.name}" for one, other in (pair.points for pair in pairs) if one.name]
    return Gallery(ranking.item, title, pairs, names)


# ------------------------------------------------------------------------------------------------------ findings


@dataclass(frozen=True)
class Finding:
    """A sentence of ``findings.html.j2``, about an item."""

    kind: str
    item: Item
    said: Mapping[str, Any]  # what the sentence asks for
    figure: str = ""  # that stands out


@dataclass(frozen=True)
class Evaluated:
    """An evaluation in a report."""

    item: Item
    store: Store
    clean: np.ndarray
    robust: np.ndarray
    index: Rows
    attack: str  # norm and radius


@dataclass(frozen=True)
class Opening:
    """What a page begins with."""

    findings: Sequence[Finding]
    galleries: Sequence[Gallery]
    curves: Markup


def opening(items: Sequence[Item], most: int = PAIRS) -> Opening:
    """Findings, at most so many pairs of each ranking, the curve of sensitivity."""
    stores = [(item, item.content) for item in items if isinstance(item.content, Store)]
    datasets = {store.digest: store for _, store in reversed(stores) if store.kind == "dataset"}
    rankings = [ranked(item, store, datasets) for item, store in stores if store.kind == "ranking"]
    main = main_rankings(rankings)
    found = [finding for item in items if isinstance(item.content, str) for finding in issues(item, item.content)]
    if main:
        found += [*_of_distances(main), *_of_classes(main[0]), *_of_norms(main)]
    found += _of_evaluations([_evaluated(*each) for each in stores if each[1].kind == "evaluation" and each[1]], main)
    found += _of_maps([(item, store) for item, store in stores if store.kind == "embedding"])
    ordered = [*main, *(one for one in rankings if one not in main)]
    galleries = [made for one in ordered if (made := gallery(one, most)) is not None]
    return Opening(found[:_FINDINGS], galleries, curves([one for one in ordered if not one.same]))


def main_rankings(rankings: Sequence[Ranked]) -> list[Ranked]:
    """The rankings of the largest set, one for each norm: pixels before features, within the set before across."""
    sets: dict[str, list[Ranked]] = {}
    for one in rankings:
        if not one.same and len(one.store):
            sets.setdefault(row_by_row(one.store.history, one.store.attributes["dataset"])[-1], []).append(one)
    if not sets:
        return []
    largest = min(sets.values(), key=lambda set_: min((one.across, -len(one.store), one.item.name) for one in set_))
    order = {"l2": 0, "linf": 1, "l1": 2}
    norms: dict[str, Ranked] = {}
    for one in sorted(
        largest, key=lambda one: (one.of_features, one.across, order[one.store.attributes["norm"]], one.item.name)
    ):
        norms.setdefault(one.norm, one)
    return list(norms.values())


def issues(item: Item, words: str) -> Iterator[Finding]:
    """What a table of ``dataset issues`` has found, by kind; nothing where the text is no such table."""
    lines = words.splitlines()
    rows = csv.DictReader(lines, delimiter="\t" if "\t" in "".join(lines[:1]) else ",")
    try:
        if not {"kind", "score", "index"} <= set(rows.fieldnames or ()):
            return
        counts = Counter(row["kind"] for row in rows)
    except csv.Error:  # it is shown as text
        return
    if not counts.keys().isdisjoint(KINDS):
        yield Finding("issues", item, {"counts": counts}, f"{counts.total():,}")


def _of_distances(rankings: Sequence[Ranked]) -> Iterator[Finding]:
    """Within which distance half of the points have another class, and which pair is the closest, or is equal."""
    first, *others = rankings
    if not len(first.finite):
        return
    medians = [(_short(np.median(one.finite)), one.norm) for one in others if len(one.finite)]
    median, equal, least = _short(np.median(first.finite)), int((first.distance == 0).sum()), _short(first.finite[0])
    yield Finding("distances", first.item, {"first": first, "median": median, "others": medians}, median)
    if equal:
        yield Finding("equal", first.item, {"equal": equal}, f"{equal:,}")
    elif len(first.rows):
        row = int(first.rows[0])
        pair = [_named(first.points, row), _named(first.others, int(first.neighbour[row]))]
        yield Finding("closest", first.item, {"least": least, "norm": first.norm, "pair": pair}, least)


def _named(store: Store | None, row: int) -> dict[str, Any]:
    """A point of a sentence: its row, and its name and class if they are known."""
    if store is None or row >= len(store):
        return {"row": row, "name": "", "label": None}
    rows = np.array([row])
    [label] = class_names(store, np.asarray(store.column("labels").take(rows), np.int64))
    return {"row": row, "name": (point_names(store, rows) or [""])[0], "label": label}


def _of_classes(ranking: Ranked) -> Iterator[Finding]:
    """Which class stands out among the least robust points, if any does."""
    least = _least(ranking)
    if ranking.points is None or len(ranking.store) < 10 * _LEAST or not np.isfinite(ranking.distance[least]).all():
        return
    labels = np.asarray(ranking.points.column("labels").read(0, len(ranking.store)), np.int64)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or not len(least):
        return
    among = np.array([np.count_nonzero(labels[least] == one) for one in classes])
    chances = hypergeom.sf(among - 1, len(labels), counts, len(least)) * len(classes)  # Bonferroni
    first = int(chances.argmin())
    said: dict[str, Any] = {"least": len(least), "norm": ranking.norm, "name": None}
    share = ""
    if chances[first] < _CHANCE:
        share = percent(among[first] / len(least))
        [said["name"]] = class_names(ranking.points, classes[first : first + 1])
        said |= {"share": share, "whole": percent(counts[first] / len(labels))}
    yield Finding("classes", ranking.item, said, share)


def _least(ranking: Ranked) -> Rows:
    """The rows of the least robust part of the points; none where nearly all were dropped."""
    count = len(ranking.store) // _LEAST
    try:
        return extreme(ranking.distance, count, "least")[0] if count else np.zeros(0, np.int64)
    except SelectionError:
        return np.zeros(0, np.int64)


def _of_norms(rankings: Sequence[Ranked]) -> Iterator[Finding]:
    """How far the first two norms agree."""
    if len(rankings) < 2 or len(rankings[0].store) != len(rankings[1].store):
        return
    one, other = rankings[:2]
    rows, others = _least(one), _least(other)
    if len(rows) and len(others):
        both, count = len(np.intersect1d(rows, others)), len(rows)
        said = {"norms": (one.norm, other.norm), "both": both, "count": count}
        said["chance"] = round(count * count / len(one.store))
        yield Finding("norms", other.item, said, f"{both:,} of {count:,}")


def _evaluated(item: Item, store: Store) -> Evaluated:
    from datarobust.evaluation import eps_text

    columns = {name: store.column(name).read() for name in ("index", "label", "clean", "broken")}
    clean = columns["clean"] == columns["label"]
    bound = ", an upper bound" if store.attributes["protocol"].get("upper_bound") else ""
    attack = f"{plain_symbol(store.attributes['norm'])} {eps_text(store.attributes['eps'])}{bound}"
    return Evaluated(item, store, clean, clean & (columns["broken"] < 0), columns["index"], attack)


def _of_evaluations(evaluations: Sequence[Evaluated], rankings: Sequence[Ranked]) -> Iterator[Finding]:
    """How two networks compare, or how good the best is, where most are evaluated on the same points."""
    from datarobust.evaluation import statistics

    if not evaluations:
        return
    groups: dict[tuple[str, str, bytes], list[Evaluated]] = {}
    for one in evaluations:
        groups.setdefault((one.store.attributes["dataset"], one.attack, one.index.tobytes()), []).append(one)
    members = min(groups.values(), key=lambda group: (-len(group), -len(group[0].index)))
    first = members[0]
    if len({one.store.attributes["model"] for one in members}) == len(members) == 2:
        result = statistics.paired(first.robust, members[1].robust, 0)
        said = {"first": first, "second": members[1], "result": result}
        yield Finding("compared", members[1].item, said, percent(result["b"]))
    else:
        best = max(members, key=lambda one: (float(one.robust.mean()), one.item.name))
        share, low, high = statistics.share(best.robust)
        said = {"best": best, "clean": float(best.clean.mean()), "share": share, "interval": (low, high)}
        yield Finding("best", best.item, said, percent(share))
    for ranking in rankings:
        digests = row_by_row(ranking.store.history, ranking.store.attributes["dataset"])
        if first.store.attributes["dataset"] not in digests or first.index.max() >= len(ranking.store):
            continue
        distance = ranking.distance[first.index]
        if np.count_nonzero(~np.isnan(distance)) >= 20 * _FIFTHS:
            parts = statistics.parts_by(distance, _FIFTHS)
            least, most = (percent(float(first.robust[part].mean())) for part in (parts[0], parts[-1]))
            yield Finding("fifths", first.item, {"shares": (least, most), "norm": ranking.norm}, f"{least} / {most}")
        return


def _of_maps(maps: Sequence[tuple[Item, Store]]) -> Iterator[Finding]:
    """Whether neighbours on the first map of which it is known are alike in robustness."""
    for item, store in maps:
        quality = store.attributes.get("coherence", {})
        values = [quality.get(key) for key in ("correlation", "permuted", "permutations")]
        if all(isinstance(value, int | float) for value in values):
            yield Finding("map", item, quality, f"{values[0]:.2f}")
            return


def _short(value: float) -> str:
    return fixed([float(value)])[0]


def curves(rankings: Sequence[Ranked]) -> Markup:
    """Ordered sensitivity, Figure 2 (a), of rankings of images, or of features where there are no others."""
    drawable = [one for one in rankings if len(one.finite) and one.finite[-1] > 0]
    drawable = [one for one in drawable if not one.of_features] or drawable
    panels: dict[tuple[str, str], sensitivity.Curve] = {}
    for one in drawable[:_CURVES]:
        norm = one.store.attributes["norm"]
        name = one.item.name.removesuffix(".zarr").removesuffix(f"-{norm}")
        panels.setdefault((norm, name), sensitivity.ordered(name, norm, one.distance))
    if not panels:
        return Markup("")
    figure = sensitivity.draw(list(panels.values()))
    words = "Sensitivity 1/r of all points, from the most to the least robust: absolute, and divided by the largest."
    words += " A steep rise at the right means that a few points are much nearer to another class than all others."
    return drawn(figure, "Ordered sensitivity", words, scale=1.5)
