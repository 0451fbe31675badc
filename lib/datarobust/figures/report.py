"""A report: one page of HTML about any set of artifacts, which loads nothing and runs nothing.

What stands in a page depends on what it is made of and on nothing else: no time, no place, no order of arguments.
``templates/`` has its HTML and its style sheet.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from markupsafe import Markup

from datarobust import artifacts
from datarobust.artifacts import Step, Store, Summary, durable
from datarobust.artifacts.runs import RECIPE, Run, open_run
from datarobust.datasets.contents import class_names, pictures
from datarobust.datasets.contents import names as point_names
from datarobust.errors import DataError
from datarobust.figures import lineage
from datarobust.figures import map as maps
from datarobust.figures import report_parts as parts
from datarobust.figures.charts import SERIES, course, draw_courses
from datarobust.figures.images import copies_of, draw_samples, mosaic, side_of, squares
from datarobust.figures.lineage import Command, Result
from datarobust.figures.report_opening import PAIRS, Ranked, is_pictured, opening, ranked
from datarobust.figures.report_parts import Picture, amount, clipped, name, part, percent, plural, table, value_text
from datarobust.norms import norm_of, plain_symbol
from datarobust.text import shown
from datarobust.types import Progress, Rows

#: Kinds of cards and the headings of their sections, in the order of the page.
SECTIONS: Final = {
    "embedding": "Maps",
    "picture": "Figures",
    "evaluation": "Evaluations",
    "run": "Training runs",
    "clones": "Clones",
    "text": "Tables and text",
    "ranking": "Rankings",
    "ranking-part": "Parts of rankings",
    "dataset": "Datasets",
    "classifier": "Classifiers",
    "denoiser": "Denoisers",
    "moments": "Moments",
}
MOST_TEXT: Final = 16 << 20
MOST_PICTURES: Final = 64 << 20
MOST_DRAWN: Final = 200  # steps of a history that is drawn
MOST_EDGES: Final = 1200
MOST_LISTED: Final = 2000
MOST_WORDS: Final = 20_000  # characters of one command on the page
_INPUTS: Final = ("dataset", "generated", "test")  # of a training, whose digests are shown
_SAMPLES: Final = 20
_LEAST: Final = 24  # pairs in a table
_SCAN: Final = 1 << 16
_CLONES: Final = 16  # points that are shown, and clones of the first
_TOLD: Final = 2000  # points of a map that tell something
_MAP: Final = 1.35  # times its size in print
_TILE: Final = 48  # longer side of an image on a map, in pixels at most
_SMALL: Final = 400_000  # bytes of pixels of these images, up to which they are a PNG; else they are a JPEG


# --------------------------------------------------------------------------------------------------------- items


@dataclass(frozen=True)
class Item:
    """One of the things a report is about."""

    kind: str  # of the card
    name: str  # of the file or folder
    digest: str  # of an artifact; of other files the sha256
    content: Store | Summary | Run | Picture | str
    history: tuple[Step, ...] = ()
    anchor: str = ""  # identifier in the page

    @property
    def artifact(self) -> Summary | None:
        """What the artifact says of itself, where it is one."""
        content = self.content.summary if isinstance(self.content, Store) else self.content
        return content if isinstance(content, Summary) else None


def read(paths: Iterable[Path]) -> list[Item]:
    """All of them, in an order and with identifiers that do not depend on the order of the paths; equal ones once."""
    unique: dict[tuple[int, str, str, str], Item] = {}
    total = 0
    for path in map(Path, paths):
        with durable.os_errors(path, "read"):
            item = _item(path, path.resolve().name)
        total += len(item.content.content) if isinstance(item.content, Picture) else 0
        if total > MOST_PICTURES:
            raise DataError(f"{shown(path)} is one picture too many: a page holds {MOST_PICTURES:,} bytes of pictures")
        unique.setdefault((list(SECTIONS).index(item.kind), item.name, item.digest, repr(item.history)), item)
    anchored: list[Item] = []
    numbers: Counter[str] = Counter()
    for _, item in sorted(unique.items()):
        base = f"{item.kind}-{item.digest[:12]}"
        numbers[base] += 1
        anchored.append(replace(item, anchor=base if numbers[base] == 1 else f"{base}-{numbers[base]}"))
    return anchored


def _item(path: Path, called: str) -> Item:
    size = path.stat().st_size
    if path.is_dir() and (path / RECIPE).is_file():
        run = open_run(path)
        head = run.weights.get("last") or run.weights.get("best")
        history = head.history if head else ()
        return Item("run", called, head.digest if head else artifacts.fingerprint(run.recipe), run, history)
    if path.is_dir() or path.suffix == ".safetensors":
        artifact = artifacts.open_store(path) if path.is_dir() else artifacts.peek(path)
        return Item(artifact.kind, called, artifact.digest, artifact, artifact.history)
    if not path.is_file():
        raise DataError(
            f"{shown(path)} is neither a file nor a folder: a report is about artifacts, runs, pictures and text"
        )
    with path.open("rb") as file:
        picture = parts.looks_like(file.read(1 << 12))
    limit, what = (parts.MOST_BYTES, "a picture") if picture else (MOST_TEXT, "text")
    if size > limit:
        raise DataError(f"{shown(path)} has {size:,} bytes, more than the {limit:,} of {what} in a report")
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if picture:
        return Item("picture", called, sha256, parts.opened(picture, content, shown(path)))
    if not content.strip():
        raise DataError(f"{shown(path)} is empty: the command that writes it has failed or has not run")
    text = content.decode("utf-8-sig", "surrogateescape")
    if re.search("[\0\udc80-\udcff]", text):
        what = "no artifact, no run, no png or svg picture and no text"
        raise DataError(f"{shown(path)} is {what}: a report has no place for it")
    return Item("text", called, sha256, text)


# --------------------------------------------------------------------------------------------------------- cards


@dataclass(frozen=True)
class Card:
    """What the page shows of an item."""

    item: Item
    shown: Mapping[str, Any]  # what ``cards.html.j2`` asks for, by kind
    links: Sequence[tuple[str, str]] = ()  # names and digests of what it was made from
    settings: str = ""  # what else it says of itself, as a table


Known = Mapping[str, Item]  # the artifacts of a report, weights of its runs included, by digest


def _reference(known: Known, digest: str) -> Markup:
    """A digest, with a link to its card where it is in the report."""
    item = known.get(digest)
    return part("reference", value=digest, called=item.name if item else "", anchor=item.anchor if item else "")


def _store(known: Known, digest: str) -> Store | None:
    """The artifact of a digest, opened, if it is in the report."""
    content = known[digest].content if digest in known else None
    return content if isinstance(content, Store) else None


def collect(paths: Iterable[Path], progress: Progress = iter) -> tuple[list[Card], list[Command]]:
    """What a page shows of artifacts, runs, pictures (png, svg) and text: a card each, and the commands behind them."""
    items = read(paths)
    stored = [item for item in items if item.artifact is not None]
    for item in items:
        if isinstance(item.content, Run):
            for which, weights in sorted(item.content.weights.items()):
                file = f"{item.name}/{which}.safetensors"
                stored.append(Item(weights.kind, file, weights.digest, weights, weights.history, item.anchor))
    known = {item.digest: item for item in reversed(stored)}
    cards = [_card(item, known) for item in progress(items)]
    results = [(Result(item.digest, item.kind, item.name, item.anchor), item.history) for item in stored]
    return cards, lineage.commands(results)


def _card(item: Item, known: Known) -> Card:
    content = item.content
    if isinstance(content, Picture):
        # The name of the file as words: of digits-l2-pairs.png Digits l2 pairs.
        words = " ".join(re.split(r"[\s_-]+", re.sub(r"\.\w{1,6}$", "", item.name))).strip()
        title = words[:1].upper() + words[1:] or item.name
        return Card(item, {"title": title})
    if isinstance(content, str):
        text, what = parts.read_text(item.name, content)
        return Card(item, {"text": text, "what": what})
    if isinstance(content, Run):
        read = content.recipe["inputs"]
        inputs = {role: read[role] for role in _INPUTS if role in read}
        return Card(item, _run(item, content, known), _facts(inputs, known)[0], _settings(content.recipe["recipe"]))
    try:
        made = _KINDS[content.kind](item, content, known) if content.kind in _KINDS else {}
    except IndexError as error:
        rows = f"names rows that its dataset does not have ({error})"
        raise DataError(f"{shown(item.name)} {rows}: make it anew") from error
    attributes = {key: value for key, value in sorted(content.attributes.items()) if key != "request"}
    links, settings = _facts(attributes, known)
    return Card(item, made, links, _settings(settings) if settings else "")


def _facts(attributes: Mapping[str, Any], known: Known) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Attributes that are digests, with links; and all others but lists."""
    links, others = list[tuple[str, str]](), dict[str, Any]()
    for key, value in attributes.items():
        if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
            links.append((clipped(key.replace("_", " ").capitalize(), 80), _reference(known, value)))
        elif not isinstance(value, list):
            others[key] = plain_symbol(value) if key == "norm" else value
    return links, others


def _settings(values: Mapping[str, Any]) -> Markup:
    """Names and values, sorted by name; objects within are opened once."""
    rows = [
        [clipped(key, 80), clipped(parts.value_part(value), 300)]
        for key, value in sorted(parts.opened_once(values).items(), key=lambda entry: entry[0])
    ]
    return table(["Name", "Value"], rows)


def _dataset(item: Item, store: Store, known: Known) -> dict[str, Any]:
    """Size, shape, classes, and the first point of each class."""
    from datarobust.datasets.contents import describe

    summary = describe(store)
    labels = [str(entry["label"]) for entry in summary["classes"]]
    names = [entry["name"] or label for label, entry in zip(labels, summary["classes"], strict=True)]
    counts = [entry["count"] for entry in summary["classes"]]
    made = {"summary": summary, "alike": len(set(counts)) == 1, "chart": "", "classes": "", "samples": ""}
    if counts:
        rows = [[label, name(called, 80), f"{n:,}"] for label, called, n in zip(labels, names, counts, strict=True)]
        made["classes"] = table(["Label", "Class", "Points"], rows)
    if len(set(counts)) > 1:  # bars of one height say nothing
        made["chart"] = parts.bars(names[:1000], counts[:1000], "Points of each class", labels[:1000])
    if "images" in store and is_pictured(store):  # the first image of every class among the first points
        _, first = np.unique(store.column("labels").read(0, min(len(store), _SCAN)), return_index=True)
        figure = draw_samples(side_of(store, first[:_SAMPLES].astype(np.int64)))
        made["samples"] = parts.drawn(figure, "First points", "The first point of each class.", form="png")
    return made


def _ranking(item: Item, store: Store, known: Known) -> dict[str, Any]:
    """Least, median and largest distance, ties, and the nearest pairs in words where there are no images of them."""
    stores = {digest: of.content for digest, of in known.items() if of.kind == "dataset"}
    one = ranked(item, store, {digest: of for digest, of in stores.items() if isinstance(of, Store)})
    distinct, times = np.unique(one.finite, return_counts=True)
    special = (one.distance == 0.0, np.isinf(one.distance), np.isnan(one.distance))
    made: dict[str, Any] = {"same": one.same, "distinct": len(distinct), "tied": int(times[times > 1].sum())}
    made |= {"special": [int(which.sum()) for which in special], "ends": [], "chart": "", "pairs": ""}
    if len(one.finite):
        made["ends"] = [float(one.finite[0]), float(np.median(one.finite)), float(one.finite[-1])]
        axis = f"distance to the nearest point of {'the same' if one.same else 'another'} label"
        norm = store.attributes["norm"]
        label = f"Histogram of {plain_symbol(norm)} distances"
        made["chart"] = parts.histogram(one.finite, label, f"{norm_of(norm).symbol} {axis}")
        near = one.neighbour[np.isfinite(one.distance)]
        for own, places in ((one.points, np.arange(len(store))), (one.others, near)):
            if own is not None and not 0 <= int(places.min()) <= int(places.max()) < len(own):
                raise IndexError(f"rows {places.min()} to {places.max()} of {len(own)}")
        if not one.pictured:  # else they stand in the galleries
            words = "The points nearest to their own class." if one.same else "The least robust points."
            made["pairs"] = _pairs_table(one, words)
    return made


def _pairs_table(ranking: Ranked, caption: str) -> Markup:
    """The nearest pairs in words, with names of points and classes as far as the report knows their set."""
    rows = ranking.rows[:_LEAST]
    columns = {"Row": list(map(str, rows.tolist())), "Distance": parts.fixed(ranking.distance[rows].tolist())}
    columns |= _described(ranking.points, rows, "Class", "Name")
    columns["Neighbour"] = list(map(str, ranking.neighbour[rows].tolist()))
    columns |= _described(ranking.others, ranking.neighbour[rows], "Neighbour's class", "Neighbour's name")
    return table(list(columns), list(zip(*columns.values(), strict=True)), caption)


def _described(store: Store | None, rows: Rows, class_: str, called: str) -> dict[str, list[str]]:
    """Columns of a table: classes and names of points, as far as they are known."""
    if store is None:
        return {}
    labels = np.asarray(store.column("labels").take(rows), np.int64)
    names = point_names(store, rows)
    columns: dict[str, list[str]] = {class_: [name(each, 60) for each in class_names(store, labels)]}
    return columns if names is None else columns | {called: [name(each, 120) for each in names]}


def _clones(item: Item, store: Store, known: Known) -> dict[str, Any]:
    """How many of which points, and some of them beside the originals where those are known."""
    shape = store.column("images").shape
    data, picture = _store(known, store.attributes["dataset"]), ""
    alike = data is not None and "images" in data and shape[2:] == data.column("images").shape[1:]
    if data is not None and alike and is_pictured(data) and all(shape):
        copies = copies_of(item.name, store, data, _CLONES)
        figure = squares([replace(copies, clones=copies.clones[:, :_CLONES])])
        picture = parts.drawn(figure, "Points and their clones", "As figure clones draws them.", form="png")
    return {"shape": shape, "picture": picture}


def _embedding(item: Item, store: Store, known: Known) -> dict[str, Any]:
    sets = [_store(known, digest) for digest in artifacts.row_by_row(store.history, store.attributes["dataset"])]
    return {"map": _map(item, store, next(filter(is_pictured, sets), next(filter(None, sets), None)))}


def _map(item: Item, store: Store, dataset: Store | None) -> Markup:
    """An embedding as ``figure map`` draws it; each point tells what it is where the pointer rests on it, without code.

    It shows its image there, too, if that is known.
    """
    figure = maps.draw([maps.map_of(store, item.name)])
    index, title = store.column("index").read(), f"Map of {len(store):,} points"
    words = "The least robust points are large and red."
    if len(index) > _TOLD:
        return parts.drawn(figure, title, words, _MAP)
    picture = Picture.of_figure(figure, _MAP)  # drawn, so that every point has its place now
    position = figure.axes[0].transData.transform(store.column("position").read())
    width, height = (96.0 * side for side in figure.get_size_inches())
    x, y = position[:, 0] / figure.bbox.width * width, (1 - position[:, 1] / figure.bbox.height) * height
    names = point_names(store) or (None if dataset is None else point_names(dataset, index)) or [""] * len(index)
    classes = [""] * len(index)
    if dataset is not None:
        classes = class_names(dataset, np.asarray(dataset.column("labels").take(index), np.int64))
    distance = parts.fixed(store.column("distance").read().tolist())
    about = [
        ", ".join(filter(None, [called, f"row {row}", label, f"r = {r}"]))
        for called, row, label, r in zip(names, index.tolist(), classes, distance, strict=True)
    ]
    sprite, tile = None, (1, 1)
    if dataset is not None and is_pictured(dataset):  # all images as one
        images = pictures(dataset, index)
        step = math.ceil(max(images.shape[2:]) / _TILE)
        images = images[:, :, ::step, ::step]
        raster = mosaic(images, math.ceil(math.sqrt(len(images))), 1, 0)
        form: Literal["PNG", "JPEG"] = "PNG" if raster.nbytes <= _SMALL else "JPEG"
        sprite, tile = Picture.of(raster.transpose(2, 0, 1), max(raster.shape), form), images.shape[:1:-1]
    return part(
        "map_of_points",
        anchor=item.anchor,
        picture=picture,
        title=title,
        points=list(zip(x.tolist(), y.tolist(), about, strict=True)),
        width=width,
        height=height,
        sprite=sprite,
        tile=tile,
        caption=f"{words} Rest the pointer on a point to see what it is.",
    )


def _moments(item: Item, store: Store, known: Known) -> dict[str, Any]:
    return {"trace": float(np.trace(store.column("covariance").read()))}


def _weights(item: Item, weights: Summary, known: Known) -> dict[str, Any]:
    sizes = [(np.dtype(dtype).itemsize, math.prod(shape)) for dtype, shape in weights.arrays.values()]
    return {"numbers": sum(size for _, size in sizes), "bytes": sum(wide * size for wide, size in sizes)}


def _run(item: Item, run: Run, known: Known) -> dict[str, Any]:
    """How far a training is, its best and last epoch, its curves."""
    log, weights = run.log, []
    for which, head in sorted(run.weights.items()):
        epoch = head.attributes.get("epoch", "unknown")
        words = f", epoch {epoch}"
        if isinstance(epoch, int) and 0 < epoch <= len(log):
            words += "".join(f"; {key} {value}" for key, value in _epoch_figures(log[epoch - 1]))
        weights.append((f"{which.capitalize()} weights", _reference(known, head.digest) + words))
    chart = Markup("")
    if any(line.get(field) is not None for line in log for field in SERIES):
        figure = draw_courses([course(item.name, log, item.name)])
        words = "Accuracies by epoch, as figure training draws them."
        chart = parts.drawn(figure, f"Accuracies of {item.name} by epoch", words, scale=1.1)
    elif log:  # such as that of a denoiser
        losses = [line.get("loss") for line in log]
        values = [float(loss) if isinstance(loss, int | float) else math.nan for loss in losses]
        chart = parts.curve(values, "Loss of each epoch")
    return {"weights": weights, "last": _epoch_figures(log[-1]) if log else [], "chart": chart}


def _epoch_figures(line: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The accuracies of an epoch that were measured, else its loss."""
    titles = {"test_accuracy": "Test", "test_robust_accuracy": "Test, PGD-40", "tracked_accuracy": "Tracked, PGD-40"}
    shares = {title: line[key] for key, title in titles.items() if isinstance(line.get(key), int | float)}
    figures = [(title, percent(share)) for title, share in shares.items()]
    if not figures and isinstance(line.get("loss"), int | float):
        figures.append(("Last loss", amount(float(line["loss"]))))
    return figures


def _evaluation(item: Item, store: Store, known: Known) -> dict[str, Any]:
    """Clean and adversarial accuracy, what each attack took, and what a reader should know of both."""
    from datarobust.evaluation.statistics import VERDICTS, share, summary

    columns = {name: store.column(name).read() for name in VERDICTS}
    if not (points := len(columns["index"])):
        return {}
    result = summary(columns, store.attributes)
    right = (columns["clean"] == columns["label"]) & (columns["broken"] < 0)
    robust, low, high = share(right)
    taken = [attack for attack in result["attacks"] if attack["broken"]]
    shares = [("robust", robust, "good")]
    shares += [(attack["attack"], attack["broken"] / points, ("bad", "bad2")[i % 2]) for i, attack in enumerate(taken)]
    shares.append(("wrong without attack", 1.0 - result["clean"], "grey"))
    cuts, start = [], 0.0
    for called, cut, colour in shares:
        cuts += [(start, cut, colour, f"{clipped(called, 40)} {percent(cut)}", percent(cut))] if cut > 0 else []
        start += cut
    rows = [
        [name(attack["attack"], 60), f"{attack['attacked']:,}", f"{attack['broken']:,}", percent(attack["accuracy"])]
        for attack in result["attacks"]
    ]
    left_out = [
        ("Left out", name(f"{attack}: {value_text(why)}")) for attack, why in sorted(result["left_out"].items())
    ]
    made = {"result": result, "robust": robust, "interval": (low, high), "left_out": left_out, "cuts": cuts}
    wrong = np.flatnonzero(~right)
    listed = _wrong_points(store, columns, wrong, known) if len(wrong) else ""
    return made | {
        "attacks": table(["Attack", "Attacked", "Broken", "Left"], rows),
        "wrong": len(wrong),
        "rows": listed,
    }


def _wrong_points(store: Store, columns: Mapping[str, Any], places: Rows, known: Known) -> Markup:
    """Rows, names and classes of the points that a network has wrong, and which attack led to it."""
    left, places = len(places) - parts.MOST_ROWS, places[: parts.MOST_ROWS]
    dataset = _store(known, store.attributes["dataset"])
    rows, attacks = columns["index"][places], [*store.attributes["attacks"], "none"]
    called = point_names(store, places) or (None if dataset is None else point_names(dataset, rows))

    def classes(name: str) -> list[str]:
        labels = columns[name][places]
        return list(map(str, labels.tolist())) if dataset is None else class_names(dataset, labels)

    table_of = {"Row": rows.tolist()} | ({} if called is None else {"Name": called})
    table_of |= {"Class": classes("label"), "Without attack": classes("clean"), "Under attack": classes("attacked")}
    table_of["Attack"] = [attacks[place] for place in columns["broken"][places].tolist()]
    cells = [[name(cell, 120) for cell in row] for row in zip(*table_of.values(), strict=True)]
    return table(list(table_of), cells, f"Not shown: {plural(left, 'more row')}." if left > 0 else "")


_KINDS: Final[Mapping[str, Callable[[Item, Any, Known], dict[str, Any]]]] = {
    "classifier": _weights,
    "denoiser": _weights,
    "dataset": _dataset,
    "ranking": _ranking,
    "clones": _clones,
    "embedding": _embedding,
    "moments": _moments,
    "evaluation": _evaluation,
}


def page(title: str, cards: Sequence[Card], commands: Sequence[Command], version: str, pairs: int = PAIRS) -> str:
    """The whole page, of the cards and commands of :func:`collect`, with so many pairs of each ranking at most."""
    members = {kind: [card for card in cards if card.item.kind == kind] for kind in SECTIONS}
    counted = [plural(sum(card.item.artifact is not None for card in cards), "artifact")]
    nouns = {"run": "run", "picture": "figure", "text": "text"}
    counted += [plural(len(members[kind]), noun) for kind, noun in nouns.items() if members[kind]]
    arrows = {(source.step, i) for i, step in enumerate(commands) for source in step.sources}
    edges = sorted((start, end) for start, end in arrows if start is not None)
    drawn = 0 < len(commands) <= MOST_DRAWN and len(edges) <= MOST_EDGES
    return parts.page(
        "page.html.j2",
        title=title,
        counts=[*counted, plural(len(commands), "command")],
        cards=cards,
        opening=opening([card.item for card in cards], pairs),
        sections=[(title, kind, members[kind]) for kind, title in SECTIONS.items() if members[kind]],
        commands=commands,
        edges=edges,
        drawing=lineage.draw(len(commands), edges) if drawn else None,
        box=lineage.BOX,
        most_listed=MOST_LISTED,
        most_words=MOST_WORDS,
        version=version,
    )
