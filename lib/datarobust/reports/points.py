"""Cards of datasets and rankings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from datarobust.artifacts import Store
from datarobust.datasets.summary import describe
from datarobust.figures import report_charts as charts
from datarobust.figures.report import Card
from datarobust.figures.report_html import (
    Content,
    Markup,
    amount,
    clipped,
    count,
    element,
    name,
    plural,
    spelled,
    table,
)  # fmt: skip
from datarobust.figures.report_pictures import raster, strip
from datarobust.norms import LEVELS
from datarobust.text import sized

if TYPE_CHECKING:
    from datarobust.reports.cards import Shelf
    from datarobust.reports.reading import Item

_SAMPLES: Final = 20
_LEAST: Final = 12
_NAMED: Final = 60
"""Classes that are listed."""
_SCAN: Final = 1 << 16
SYMBOL: Final = {"l2": "l2", "linf": "l∞", "l1": "l1"}


def optional(value: object) -> str:
    """A value of an attribute as text."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else str(value)


def dataset(item: Item, store: Store, shelf: Shelf) -> Card:
    """Size, shape, classes, and the first points of each class."""
    told = describe(store)
    classes = told["classes"]
    images = "images" in store
    shape = sized(tuple(told["shape"]))
    facts: list[tuple[str, Content]] = [
        ("Name of the set", name(told["name"])),
        ("Numbers", f"{told['dtype']}, {shape}"),
    ]
    others = [column for column in told["columns"] if column not in ("images", "features", "labels", "index")]
    facts += [("Also has", ", ".join(others))] if others else []
    facts += [("Shuffled by seed", str(store.attributes["shuffled"]))] if "shuffled" in store.attributes else []
    names = [str(one["label"]) if one["name"] is None else one["name"] for one in classes]
    parts = []
    if classes:
        labels = [str(one["label"]) for one in classes][:1000]
        drawn = charts.bars(names[:1000], [one["count"] for one in classes][:1000], "Points of each class", labels)
        parts.append(charts.figure(drawn, "Points of each class."))
    listing = table(
        ["Label", "Class", "Points"],
        [
            [str(one["label"]), name(called, 80), count(one["count"])]
            for one, called in list(zip(classes, names, strict=True))[:_NAMED]
        ],
        f"Not shown: {count(len(classes) - _NAMED)} more." if len(classes) > _NAMED else None,
        numeric=[True, False, True],
    )
    big = [("Points", count(len(store))), ("Pixels" if images else "Numbers", shape), ("Classes", count(len(classes)))]
    called = {one["label"]: name for one, name in zip(classes, names, strict=True)}
    wide = [_samples(store, called)] if images and _shown(store) else []
    gist = f"{plural(len(store), 'point')} of {plural(len(classes), 'class', 'classes')}, {shape}"
    folded = [("Classes", listing)] if classes else []
    return Card("dataset", item.name, item.anchor, gist, item.digest, store.version, big, facts, parts, wide, folded)


def _shown(store: Store) -> bool:
    """Whether images can be shown: grey or RGB."""
    shape = store.column("images").shape
    return len(shape) == 4 and shape[1] in (1, 3) and len(store) > 0


def _samples(store: Store, names: Mapping[int, str]) -> Markup:
    """The first image of every class among the first 65,536 points, of 20 classes at most."""
    labels = store.column("labels").read(0, min(len(store), _SCAN))
    values, first = np.unique(labels, return_index=True)
    images = store.column("images").take(first[:_SAMPLES].astype(np.int64))
    found = [names[label] for label in values[:_SAMPLES].tolist()]
    return strip(images, found, [f"the first point of class {clipped(spelled(one), 80)}" for one in found])


def ranking(item: Item, store: Store, shelf: Shelf) -> Card:
    """Norm, least, median and largest distance, ties, and the least robust points, as images where they are known."""
    distance = np.asarray(store.column("distance").read(), np.float64)
    neighbour = np.asarray(store.column("neighbour").read(), np.int64)
    finite = np.sort(distance[np.isfinite(distance)])
    norm = SYMBOL[store.attributes["norm"]]
    distinct, times = np.unique(finite, return_counts=True)
    facts: list[tuple[str, Content]] = [
        ("Norm", norm),
        ("Dataset", shelf.refer(store.attributes["dataset"])),
        (
            "Neighbours from",
            shelf.refer(store.attributes["against"]) if store.attributes["against"] else "the same set",
        ),
        ("Labels", store.attributes["labels"]),
        (
            "Ties",
            f"{count(int(times[times > 1].sum()))} points share a distance; {plural(len(distinct), 'distance')} in all",
        ),
    ]
    special = [
        ("Equal to a point of another label", int((distance == 0.0).sum())),
        ("No point of another label", int(np.isinf(distance).sum())),
        ("Dropped", int(np.isnan(distance).sum())),
    ]
    facts += [(said, count(number)) for said, number in special if number]
    big, parts = [("Points", count(len(store)))], []
    gist = f"{plural(len(store), 'point')} in {norm}"
    if len(finite):
        values = [float(finite[0]), float(np.median(finite)), float(finite[-1])]
        big += [
            (said, amount(value)) for said, value in zip(("Least robust", "Median", "Most robust"), values, strict=True)
        ]
        gist += f", distances {amount(values[0])} to {amount(values[2])}"
        drawn = charts.histogram(
            finite, f"Histogram of {norm} distances", f"{norm} distance to the nearest point of another label"
        )
        parts.append(charts.figure(drawn, "Points by their distance; the line is the median."))
    order = _chosen(distance, neighbour, store.attributes["against"] is None)
    wide = [_least(store, shelf, order, distance, neighbour)] if len(order) else []
    return Card("ranking", item.name, item.anchor, gist, item.digest, store.version, big, facts, parts, wide)


def _chosen(distance: npt.NDArray[Any], neighbour: npt.NDArray[Any], same: bool) -> npt.NDArray[np.int64]:
    """The least robust points, of two that are each other's neighbour the first."""
    order = np.argsort(distance, kind="stable")
    order = order[np.isfinite(distance[order])][: 4 * _LEAST]
    seen: set[tuple[int, int]] = set()
    rows = []
    for row in order.tolist():
        other = int(neighbour[row])
        if not same or (other, row) not in seen:
            rows.append(row)
        seen.add((row, other))
    return np.array(rows[:_LEAST], np.int64)


def _least(
    store: Store, shelf: Shelf, order: npt.NDArray[Any], distance: npt.NDArray[Any], neighbour: npt.NDArray[Any]
) -> Markup:
    """The least robust points: pairs of images where both sets are in the report, else a table."""
    own = shelf.dataset(store.attributes["dataset"])
    other = own if store.attributes["against"] is None else shelf.dataset(store.attributes["against"])
    rows = order.astype(np.int64)
    if own is None or other is None or not all("images" in one and _shown(one) for one in (own, other)):
        lines = [[str(row), _distance(float(distance[row]), store), str(neighbour[row])] for row in rows.tolist()]
        return table(["Index", "Distance", "Neighbour"], lines, "The least robust points.", numeric=[True] * 3)
    near = neighbour[rows]
    sides = [
        (raster_of, [_class(data, int(label)) for label in data.column("labels").take(at).tolist()])
        for data, at in ((own, rows), (other, near))
        for raster_of in [data.column("images").take(at)]
    ]
    pairs = []
    for place, row in enumerate(rows.tolist()):
        images = [
            raster(found[place]).markup(f"point {at} of class {labels[place]}", "pixels")
            for (found, labels), at in zip(sides, (row, int(near[place])), strict=True)
        ]
        words = element(
            "figcaption", f"{sides[0][1][place]} | {sides[1][1][place]}", element("br"), amount(float(distance[row]), 3)
        )
        pairs.append(element("figure", element("div", *images, class_="pair"), words))
    said = element(
        "p",
        "The least robust points, each beside its nearest point of another class, with the distance.",
        class_="note",
    )
    return Markup(said + element("div", *pairs, class_="pairs"))


def _distance(value: float, store: Store) -> str:
    steps = value * LEVELS
    whole = store.attributes["norm"] == "linf" and abs(steps - round(steps)) < 1e-6
    return f"{amount(value)} ({round(steps)}/255)" if whole else amount(value)


def _class(store: Store, label: int) -> str:
    names = store.attributes["classes"]
    return clipped(spelled(names[label]), 16) if 0 <= label < len(names) else str(label)
