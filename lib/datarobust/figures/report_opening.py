"""What a report says first: findings in words, and galleries of the nearest pairs; all computed from the artifacts."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Final

import numpy as np
from markupsafe import Markup
from scipy.stats import hypergeom

from datarobust.artifacts import Store, row_by_row
from datarobust.datasets.contents import class_names, picture_shape, pictures
from datarobust.datasets.contents import names as point_names
from datarobust.errors import SelectionError
from datarobust.figures import sensitivity
from datarobust.figures.images import least_robust_pairs
from datarobust.figures.report_parts import Picture, drawn, fixed, percent, plural
from datarobust.norms import LEVELS, norm_of, plain_symbol
from datarobust.selection import extreme
from datarobust.types import Floats, Rows

PAIRS: Final = 60  # of a ranking that a page shows, where it is not told otherwise
MOST_PAIRS: Final = 1000
_OPEN: Final = 12  # pairs that are not folded away
_SIDE: Final = 96  # longer side of an image in a gallery, in pixels at most
_LEAST: Final = 20  # the least robust 1/20 of the points, whose classes are counted
_CHANCE: Final = 0.01  # how likely a class may stand out so far where it does not
_FINDINGS: Final = 5
_CURVES: Final = 8
_FIFTHS: Final = 5


@dataclass(frozen=True)
class Ranked:
    """A ranking in a report, with the datasets of its points and of their neighbours where the report has them."""

    anchor: str
    name: str  # of its file
    store: Store
    points: Store | None
    others: Store | None
    of_features: bool  # whether distances are of features, not of images

    @cached_property
    def distance(self) -> Floats:
        """(N,)."""
        return np.asarray(self.store.column("distance").read(), np.float64)

    @cached_property
    def neighbour(self) -> Rows:
        """(N,)."""
        return np.asarray(self.store.column("neighbour").read(), np.int64)

    @cached_property
    def rows(self) -> Rows:
        """The least robust points, of two nearest each other the first; as many as a page may show."""
        return least_robust_pairs(self.distance, self.neighbour, self.store.attributes["against"] is None, MOST_PAIRS)

    @property
    def norm(self) -> str:
        """Its symbol, and whether distances are of features."""
        return plain_symbol(self.store.attributes["norm"]) + (" of features" if self.of_features else "")

    @property
    def of(self) -> str:
        """What neighbours have in common with their points, or not."""
        return "the same class" if self.store.attributes.get("neighbours") == "same" else "another class"

    @property
    def pictured(self) -> bool:
        """Whether images of both sides can be shown."""
        return all(store is not None and _is_pictured(store) for store in (self.points, self.others))


def _is_pictured(store: Store) -> bool:
    shape = picture_shape(store)
    return shape is not None and shape[0] in (1, 3) and len(store) > 0


def ranked(anchor: str, name: str, store: Store, datasets: Mapping[str, Store]) -> Ranked:
    """A ranking beside the datasets of a report, by digest: the images themselves where it is of their features."""
    own, against = store.attributes["dataset"], store.attributes["against"]

    def shown_as(digest: str, whole: bool) -> Store | None:
        digests = [each for each in row_by_row(store.history, digest) if each in datasets]
        known = [datasets[each] for each in digests if each == digest or not whole or len(datasets[each]) == len(store)]
        return next((each for each in known if _is_pictured(each)), next(iter(known), None))

    points, others = shown_as(own, whole=True), shown_as(against or own, whole=against is None)
    of_features = points is not None and (points.digest != own or "images" not in points)
    return Ranked(anchor, name, store, points, others, of_features)


# --------------------------------------------------------------------------------------------------------- pairs


@dataclass(frozen=True)
class Point:
    """One side of a pair."""

    row: int
    label: str  # the name of its class
    name: str  # in its source; empty where it has none
    image: Markup


@dataclass(frozen=True)
class Pair:
    """A point and its neighbour."""

    distance: str
    steps: str  # of a byte, where the norm counts them
    sides: Sequence[Point]


@dataclass(frozen=True)
class Gallery:
    """The nearest pairs of a ranking."""

    anchor: str  # of the card of the ranking
    name: str
    title: str
    pairs: Sequence[Pair]  # that are shown at once
    more: Sequence[Pair]  # that are folded away
    rows: str  # of the points, one a line
    names: str  # the same in words; empty where points have no names


def gallery(ranking: Ranked, most: int) -> Gallery | None:
    """The pairs of a ranking as images; None where those are not in the report, or no point has a neighbour."""
    rows = ranking.rows[:most]
    points, others = ranking.points, ranking.others
    if not ranking.pictured or not len(rows) or points is None or others is None:
        return None
    distance, attributes = ranking.distance[rows], ranking.store.attributes
    left, right = _points(points, rows), _points(others, ranking.neighbour[rows])
    whole = norm_of(attributes["norm"]).whole and attributes["labels"] == "hard" and not ranking.of_features
    steps = [f"{round(value * LEVELS)}/255" if whole else "" for value in distance.tolist()]
    pairs = [Pair(*each[:2], each[2:]) for each in zip(fixed(distance.tolist()), steps, left, right, strict=True)]
    title = f"{plural(len(pairs), 'pair')}, {ranking.norm}: each point beside its nearest point of {ranking.of}"
    named = "\n".join(f"{one.sides[0].name}\t{one.sides[1].name}" for one in pairs if one.sides[0].name)
    places = "\n".join(map(str, rows.tolist()))
    return Gallery(ranking.anchor, ranking.name, title, pairs[:_OPEN], pairs[_OPEN:], places, named)


def _points(store: Store, rows: Rows) -> list[Point]:
    labels = class_names(store, np.asarray(store.column("labels").take(rows), np.int64))
    names = point_names(store, rows) or [""] * len(rows)
    words = [f"{label}, row {row}" for label, row in zip(labels, rows.tolist(), strict=True)]
    images = [Picture.of(image, _SIDE).bare(about) for image, about in zip(pictures(store, rows), words, strict=True)]
    return [Point(*fields) for fields in zip(rows.tolist(), labels, names, images, strict=True)]


# ------------------------------------------------------------------------------------------------------ findings


@dataclass(frozen=True)
class Finding:
    """A sentence, and the card that has more of it."""

    words: str
    anchor: str
    figure: str = ""  # that stands out


@dataclass(frozen=True)
class Evaluated:
    """An evaluation in a report."""

    anchor: str
    name: str
    store: Store
    clean: np.ndarray
    robust: np.ndarray
    index: Rows
    attack: str  # norm and radius


@dataclass(frozen=True)
class Opening:
    """What a page begins with."""

    findings: Sequence[Finding] = ()
    galleries: Sequence[Gallery] = ()
    curves: Markup = field(default=Markup(""))


def main_rankings(rankings: Iterable[Ranked]) -> list[Ranked]:
    """The rankings of the largest set, one for each norm: pixels before features, within the set before across."""
    robust = [one for one in rankings if one.store.attributes.get("neighbours") != "same" and len(one.store)]
    sets: dict[str, list[Ranked]] = {}
    for one in robust:
        sets.setdefault(row_by_row(one.store.history, one.store.attributes["dataset"])[-1], []).append(one)
    if not sets:
        return []

    def weight(members: Iterable[Ranked]) -> tuple[bool, int, str]:
        each = [(one.store.attributes["against"] is not None, -len(one.store), one.name) for one in members]
        return min(each)

    norms: dict[str, Ranked] = {}
    order = {"l2": 0, "linf": 1, "l1": 2}
    for one in sorted(
        min(sets.values(), key=weight),
        key=lambda one: (
            one.of_features,
            one.store.attributes["against"] is not None,
            order[one.store.attributes["norm"]],
            one.name,
        ),
    ):
        norms.setdefault(one.norm, one)
    return list(norms.values())


_ISSUES: Final = {
    "leak": ("copy in the other set", "copies in the other set"),
    "duplicate": ("duplicate", "duplicates"),
    "near duplicate": ("near-duplicate", "near-duplicates"),
    "label": ("label that looks wrong", "labels that look wrong"),
    "ambiguous": ("point between two classes", "points between two classes"),
    "alone": ("point alone in its class", "points alone in their class"),
}


def issues(anchor: str, name: str, words: str) -> Iterator[Finding]:
    """What a table of ``dataset issues`` has found, by kind; nothing where the text is no such table."""
    lines = words.splitlines()
    head = lines[0] if lines else ""
    if {"kind", "score", "index"} <= set(head.replace("\t", ",").split(",")):
        try:
            counts = Counter(row["kind"] for row in csv.DictReader(lines, delimiter="\t" if "\t" in head else ","))
        except csv.Error:  # it is shown as text
            return
        listed = [plural(counts[kind], *words) for kind, words in _ISSUES.items() if counts[kind]]
        if listed:
            yield Finding(f"{name} lists {', '.join(listed)}.", anchor, f"{counts.total():,}")


def findings(
    rankings: Sequence[Ranked],
    evaluations: Sequence[Evaluated],
    maps: Sequence[tuple[str, Store]],
    texts: Sequence[tuple[str, str, str]] = (),
) -> list[Finding]:
    """The most telling sentences, at most five; ``rankings`` are the main ones, all of one set.

    ``texts`` are anchor, name and content of files.
    """
    sentences = [one for text in texts for one in issues(*text)]
    sentences += [*_of_distances(rankings), *_of_classes(rankings), *_of_norms(rankings)]
    sentences += [*_of_evaluations(evaluations, rankings), *_of_maps(maps)]
    return sentences[:_FINDINGS]


def _called(ranking: Ranked) -> str:
    name = ranking.points.attributes["name"] if ranking.points is not None else ranking.name
    return str(name)


def _of_distances(rankings: Sequence[Ranked]) -> Iterator[Finding]:
    for ranking in rankings[:1]:
        finite = ranking.distance[np.isfinite(ranking.distance)]
        if not len(finite):
            continue
        median, least = float(np.median(finite)), float(finite.min())
        others = "" if ranking.store.attributes["against"] is None else " of the other set"
        half = f"Half of the {plural(len(ranking.store), 'point')} of {_called(ranking)} lie within"
        words = f"{half} {_short(median)} ({ranking.norm}) of a point of another class{others}"
        if others_norms := [
            f"{_short(float(np.median(one.distance[np.isfinite(one.distance)])))} ({one.norm})"
            for one in rankings[1:]
            if np.isfinite(one.distance).any()
        ]:
            words += f", or {' and '.join(others_norms)}"
        yield Finding(f"{words}.", ranking.anchor, _short(median))
        equal = int((ranking.distance == 0).sum())
        if equal:
            yield Finding(
                f"{plural(equal, 'point')} equal a point with another label: their distance is 0, and no classifier is "
                "right on all of them. Look for copies and wrong labels.",
                ranking.anchor,
                f"{equal:,}",
            )
        elif len(ranking.rows):
            row = int(ranking.rows[0])
            near = int(ranking.neighbour[row])
            pair = f"{_named(ranking.points, row)} and {_named(ranking.others, near)}"
            yield Finding(
                f"The closest pair is {_short(least)} apart ({ranking.norm}): {pair}.", ranking.anchor, _short(least)
            )


def _named(store: Store | None, row: int) -> str:
    """A point in a sentence: its name or row, and its class."""
    if store is None or row >= len(store):
        return f"row {row}"
    rows = np.array([row])
    [label] = class_names(store, np.asarray(store.column("labels").take(rows), np.int64))
    name = point_names(store, rows)
    return f"{name[0]} (row {row}, class {label})" if name and name[0] else f"row {row} (class {label})"


def _of_classes(rankings: Sequence[Ranked]) -> Iterator[Finding]:
    """Which class stands out among the least robust points, if any does."""
    for ranking in rankings[:1]:
        if ranking.points is None or len(ranking.store) < 10 * _LEAST:
            continue
        labels = np.asarray(ranking.points.column("labels").read(0, len(ranking.store)), np.int64)
        try:
            least, _, _ = extreme(ranking.distance, len(labels) // _LEAST, "least")
        except SelectionError:  # nearly all were dropped
            continue
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2 or not np.isfinite(ranking.distance[least]).all():
            continue
        among = np.array([np.count_nonzero(labels[least] == one) for one in classes])
        chances = hypergeom.sf(among - 1, len(labels), counts, len(least)) * len(classes)  # Bonferroni
        first = int(chances.argmin())
        [name] = class_names(ranking.points, classes[first : first + 1])
        if chances[first] < _CHANCE:
            share, whole = among[first] / len(least), counts[first] / len(labels)
            yield Finding(
                f"Class {name} stands out: it has {percent(share)} of the {len(least):,} least robust points "
                f"({ranking.norm}), but {percent(whole)} of all.",
                ranking.anchor,
                percent(share),
            )
        else:
            yield Finding(
                f"No class stands out among the {len(least):,} least robust points ({ranking.norm}).", ranking.anchor
            )


def _of_norms(rankings: Sequence[Ranked]) -> Iterator[Finding]:
    """How far the first two norms agree."""
    for one, other in list(combinations(rankings[:2], 2)):
        count = len(one.store) // _LEAST
        if len(one.store) != len(other.store) or not count:
            continue
        try:
            sets = [set(extreme(each.distance, count, "least")[0].tolist()) for each in (one, other)]
        except SelectionError:
            continue
        both = len(sets[0] & sets[1])
        chance = count * count / len(one.store)
        yield Finding(
            f"{one.norm} and {other.norm} agree on {both:,} of the {count:,} least robust points; chance alone gives "
            f"about {chance:.0f}.",
            other.anchor,
            f"{both:,} of {count:,}",
        )


def _of_evaluations(evaluations: Sequence[Evaluated], rankings: Sequence[Ranked]) -> Iterator[Finding]:
    from datarobust.evaluation import statistics

    groups: dict[tuple[str, str, bytes], list[Evaluated]] = {}
    for one in evaluations:
        groups.setdefault((one.store.attributes["dataset"], one.attack, one.index.tobytes()), []).append(one)
    for members in sorted(groups.values(), key=lambda group: (-len(group), -len(group[0].index))):
        first = members[0]
        if len({one.store.attributes["model"] for one in members}) == len(members) == 2:
            second = members[1]
            result = statistics.paired(first.robust, second.robust, 0)
            low, high = result["interval"]
            verdict = "more than chance explains" if result["p"] < 0.05 else "no more than chance explains"
            yield Finding(
                f"Under attack ({first.attack}) {second.name} is right on {percent(result['b'])} of "
                f"{plural(len(first.index), 'point')} and {first.name} on {percent(result['a'])}: a difference of "
                f"{100 * result['difference']:+.1f} percentage points (95 % interval {100 * low:+.1f} to "
                f"{100 * high:+.1f}), {verdict}.",
                second.anchor,
                percent(result["b"]),
            )
        else:
            best = max(members, key=lambda one: (float(one.robust.mean()), one.name))
            share, low, high = statistics.share(best.robust)
            yield Finding(
                f"{best.name} is right on {percent(float(best.clean.mean()))} of {plural(len(best.index), 'point')}, "
                f"and on {percent(share)} (95 % interval {percent(low)} to {percent(high)}) "
                f"under attack ({best.attack}).",
                best.anchor,
                percent(share),
            )
        yield from _by_robustness(first, rankings)
        return


def _by_robustness(one: Evaluated, rankings: Sequence[Ranked]) -> Iterator[Finding]:
    from datarobust.evaluation import statistics

    for ranking in rankings:
        digests = row_by_row(ranking.store.history, ranking.store.attributes["dataset"])
        if one.store.attributes["dataset"] not in digests or one.index.max() >= len(ranking.store):
            continue
        distance = ranking.distance[one.index]
        if np.count_nonzero(~np.isnan(distance)) < 20 * _FIFTHS:
            return
        parts = statistics.parts_by(distance, _FIFTHS)
        least, most = (float(one.robust[part].mean()) for part in (parts[0], parts[-1]))
        yield Finding(
            f"{one.name} withstands the attack on {percent(least)} of the least robust fifth of the points and on "
            f"{percent(most)} of the most robust fifth ({ranking.norm}).",
            one.anchor,
            f"{percent(least)} / {percent(most)}",
        )
        return


def _of_maps(maps: Sequence[tuple[str, Store]]) -> Iterator[Finding]:
    for anchor, store in maps:
        quality = store.attributes.get("coherence", {})
        values = [quality.get(key) for key in ("correlation", "permuted", "permutations")]
        if all(isinstance(value, int | float) for value in values):
            correlation, permuted, permutations = (float(value or 0) for value in values)
            yes = (
                "have similar robustness"
                if correlation > permuted
                else "are no more alike in robustness than by chance"
            )
            yield Finding(
                f"Neighbours on the map {yes}: their rank correlation is {correlation:.2f}; {permutations:,.0f} random "
                f"permutations reach {permuted:.2f} at most.",
                anchor,
                f"{correlation:.2f}",
            )
            return


def _short(value: float) -> str:
    return fixed([value])[0]


def curves(rankings: Sequence[Ranked]) -> Markup:
    """Ordered sensitivity, Figure 2 (a), of rankings of images, or of features where there are no others."""
    drawable = [one for one in rankings if ((one.distance > 0) & np.isfinite(one.distance)).any()]
    drawable = [one for one in drawable if not one.of_features] or drawable
    panels: dict[tuple[str, str], sensitivity.Curve] = {}
    for one in drawable[:_CURVES]:
        name = one.name.removesuffix(".zarr").removesuffix(f"-{one.store.attributes['norm']}")
        key = (one.store.attributes["norm"], name)
        panels.setdefault(key, sensitivity.ordered(name, one.store.attributes["norm"], one.distance))
    if not panels:
        return Markup("")
    figure = sensitivity.draw(list(panels.values()))
    words = "Sensitivity 1/r of all points, from the most to the least robust: absolute, and divided by the largest."
    words += " A steep rise at the right means that a few points are much nearer to another class than all others."
    return drawn(figure, "Ordered sensitivity", words, scale=1.5)
