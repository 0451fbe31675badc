"""Cards of what is made from datasets: clones, embeddings, moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from datarobust.artifacts import Store
from datarobust.figures.map import map_of
from datarobust.figures.report import Card
from datarobust.figures.report_html import (
    Content,
    Markup,
    amount,
    clipped,
    count,
    digest,
    element,
    name,
    plural,
    spelled,
    table,
    text,
)
from datarobust.figures.report_pictures import opened, raster
from datarobust.reports.points import SYMBOL, optional
from datarobust.text import sized

if TYPE_CHECKING:
    from datarobust.reports.cards import Shelf
    from datarobust.reports.reading import Item

_CLONES: Final = (8, 8)
"""Points, and clones of each, that are shown."""


def clones(item: Item, store: Store, shelf: Shelf) -> Card:
    """How many of which points, by which model, and some of them, beside the originals where they are known."""
    column = store.column("images")
    points, repeats = column.shape[:2]
    shape = sized(tuple(column.shape[2:]))
    big = [("Points", count(points)), ("Clones of each", count(repeats)), ("Pixels", shape)]
    facts: list[tuple[str, Content]] = [
        ("Dataset", shelf.refer(store.attributes["dataset"])),
        ("Denoiser", shelf.refer(store.attributes["model"])),
    ]
    sampler = [
        (clipped(spelled(key), 60), clipped(spelled(optional(value)), 120))
        for key, value in sorted(store.attributes["sampler"].items())
    ]
    wide: list[Markup] = []
    if column.shape[2] in (1, 3) and points and repeats:
        wide.append(_copies(store, shelf))
    gist = f"{plural(repeats, 'clone')} of {plural(points, 'point')}, {shape}"
    listing = table(["Argument", "Value"], [[key, value] for key, value in sampler])
    return Card(
        "clones",
        item.name,
        item.anchor,
        gist,
        item.digest,
        store.version,
        big,
        facts,
        [],
        wide,
        [("Arguments of the sampler", listing)],
    )


def _copies(store: Store, shelf: Shelf) -> Markup:
    data = shelf.dataset(store.attributes["dataset"])
    shown = min(_CLONES[0], len(store))
    copies = store.column("images").read(0, shown)[:, : _CLONES[1]]
    rows = np.asarray(store.column("index").read(0, shown), np.int64)
    originals = data.column("images").take(rows) if data is not None and "images" in data else None
    lines = []
    for place, row in enumerate(rows.tolist()):
        images = [
            raster(one).markup(f"clone {number} of point {row}", "pixels")
            for number, one in enumerate(copies[place], 1)
        ]
        if originals is not None:
            images.insert(0, raster(originals[place]).markup(f"point {row}", "pixels"))
        lines.append(element("div", *images))
    words = (
        "Points, framed, and their clones."
        if originals is not None
        else "Clones, a row for each point; name the dataset for the originals."
    )
    return Markup(
        element("p", words, class_="note")
        + element("div", *lines, class_="copies" if originals is not None else "copies bare")
    )


def embedding(item: Item, store: Store, shelf: Shelf) -> Card:
    """Method, stress, whether patterns emerge, and the map as ``figure map`` draws it."""
    from datarobust.figures import map as maps
    from datarobust.figures import style

    told = store.attributes
    norm = SYMBOL[told["norm"]]
    method = {"mds": "multidimensional scaling", "rte": "random trees"}[told["method"]]
    seen = told.get("coherence", {})
    facts: list[tuple[str, Content]] = [
        ("Method", f"{told['scaling']} {method}" if "scaling" in told else method),
        ("Robustness in", norm),
        ("Dataset", shelf.refer(told["dataset"])),
        ("Ranking", shelf.refer(told["ranking"])),
        ("Seed", str(told["seed"])),
        ("Leaves", count(told["leaves"]) if "leaves" in told else None),
    ]
    big = [("Points", count(len(store)))]
    big += [("Stress", amount(told["stress"], 3))] if "stress" in told else []
    if isinstance(seen.get("correlation"), int | float) and isinstance(seen.get("permuted"), int | float):
        said = f"{amount(float(seen['correlation']), 3)} between nearest neighbours on the map"
        facts.append(("Robustness", f"{said}; by chance {amount(float(seen['permuted']), 3)} at most"))
    drawn = opened(style.picture(maps.draw([map_of(store, item.name)]), "svg"), item.name)
    sheet = element("div", drawn.markup(f"Map of {len(store)} points"), class_="sheet drawn")
    words = element("figcaption", "The least robust points are large and red, as figure map draws them.")
    gist = f"{plural(len(store), 'point')} in the plane, {method}"
    parts = [element("figure", sheet, words, class_="plot")]
    return Card("embedding", item.name, item.anchor, gist, item.digest, store.version, big, facts, parts)


def moments(item: Item, store: Store, shelf: Shelf) -> Card:
    """Of how many points, in which features, and how far two halves of them are apart."""
    dimensions = store.column("mean").shape[0]
    told = store.attributes
    trace = float(np.trace(store.column("covariance").read()))
    features = str(told["features"])
    kind, colon, rest = features.partition(":")
    facts: list[tuple[str, Content]] = [
        ("Features", Markup(name(kind) + text(" ") + digest(rest)) if colon else name(features)),
        ("Dataset", shelf.refer(told["dataset"]) if "dataset" in told else None),
        ("Mode", name(told["mode"]) if "mode" in told else None),
        ("Weights", digest(told["weights"]) if "weights" in told else None),
        ("Trace of the covariance", amount(trace)),
    ]
    calibration = told.get("calibration")
    if isinstance(calibration, dict) and isinstance(calibration.get("frechet"), int | float):
        facts.append(("Fréchet distance of two halves", amount(float(calibration["frechet"]))))
    big = [("Points", count(told["count"])), ("Dimensions", count(dimensions))]
    gist = f"mean and covariance of {plural(told['count'], 'point')} in {clipped(spelled(kind), 40)}"
    return Card("moments", item.name, item.anchor, gist, item.digest, store.version, big, facts)
