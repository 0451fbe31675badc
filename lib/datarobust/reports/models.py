"""Cards of networks: runs, classifiers, denoisers, evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from datarobust.artifacts import Store, Summary
from datarobust.figures import report_charts as charts
from datarobust.figures.report import Card
from datarobust.figures.report_html import (
    Content,
    Markup,
    amount,
    clipped,
    count,
    element,
    join,
    name,
    percent,
    plural,
    spelled,
    table,
    text,
)  # fmt: skip
from datarobust.figures.report_pictures import Picture, opened
from datarobust.reports.points import SYMBOL, optional
from datarobust.reports.reading import Folder

if TYPE_CHECKING:
    from datarobust.reports.cards import Shelf
    from datarobust.reports.reading import Item

_BYTES: Final = {"float16": 2, "float32": 4, "float64": 8, "int64": 8, "uint8": 1, "bool": 1}
_BROKEN: Final = ("bad", "bad2")
"""Colours of the points that attacks took, in turn."""


def _settings(found: Mapping[str, Any]) -> Markup:
    """Names and values, sorted by name."""
    rows: list[list[Content]] = [
        [
            clipped(spelled(key), 80),
            clipped(spelled(optional(value) if not isinstance(value, float) else amount(value, 6)), 300),
        ]
        for key, value in sorted(found.items())
    ]
    return table(["Name", "Value"], rows)


def _arch(found: object) -> tuple[str, Mapping[str, Any]]:
    """Name and arguments of a network."""
    if not isinstance(found, dict):
        return "unknown", {}
    arguments = found.get("arguments")
    return clipped(str(found.get("name", "unknown")), 80), arguments if isinstance(arguments, dict) else {}


def weights(item: Item, found: Summary, shelf: Shelf) -> Card:
    """A classifier or a denoiser: network, epoch, number of parameters."""
    arch, arguments = _arch(found.attributes["arch"])
    sizes = [(dtype, math.prod(shape)) for dtype, shape in found.arrays.values()]
    numbers = sum(size for _, size in sizes)
    size = sum(_BYTES[dtype] * size for dtype, size in sizes)
    epoch = found.attributes.get("epoch")
    big = [("Network", spelled(arch)), ("Numbers", count(numbers))]
    big += [("Epoch", str(epoch))] if epoch is not None else []
    facts: list[tuple[str, Content]] = [
        ("Weights", found.attributes["weights"]),
        ("Tensors", count(len(found.arrays))),
        ("Size", f"{size / 1e6:.1f} MB"),
    ]
    at = "" if epoch is None else f" after epoch {epoch}"
    gist = f"{spelled(arch)}, {found.attributes['weights']} weights{at}"
    folded = [("Arguments of the network", _settings(arguments))] if arguments else []
    return Card(found.kind, item.name, item.anchor, gist, item.digest, found.version, big, facts, folded=folded)


# ---------------------------------------------------------------------------------------------------------- runs


def run(item: Item, folder: Folder, shelf: Shelf) -> Card:
    """A training: how far it is, its best and last epoch, its curves, its recipe."""
    recipe, log = folder.recipe["recipe"], folder.log
    arch, _ = _arch(folder.recipe["arch"])
    epochs = recipe.get("epochs")
    done = len(log)
    big = [("Network", spelled(arch)), ("Epochs", f"{done} of {epochs}" if epochs != done else str(done))]
    facts: list[tuple[str, Content]] = [
        (f"{role.capitalize().replace('_', ' ')}", shelf.refer(value))
        for role, value in sorted(folder.recipe["inputs"].items())
        if isinstance(role, str) and role in ("dataset", "test", "generated")
    ]
    for which, found in sorted(folder.weights.items()):
        link = shelf.refer(found.digest)
        facts.append(
            (f"{which.capitalize()} weights", join([link, f", epoch {found.attributes.get('epoch', 'unknown')}"]))
        )
    if log:
        big += _epoch_figures(log[-1])
    facts += _ends(folder)
    parts, wide = _curves(item, log)
    what = "a denoiser" if "P_mean" in recipe else "adversarial training"
    left = "" if epochs == done else ", not finished"
    gist = f"{spelled(arch)}, {what}, {plural(done, 'epoch')}{left}"
    folded = [("Recipe", _settings(recipe))]
    return Card("run", item.name, item.anchor, gist, "", None, big, facts, parts, wide, folded)


def _share(value: object) -> str | None:
    return percent(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


_TOLD: Final = {
    "test_accuracy": "Test",
    "test_robust_accuracy": "Test, PGD-40",
    "tracked_accuracy": "Tracked, PGD-40",
}


def _epoch_figures(line: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [(said, value) for key, said in _TOLD.items() if (value := _share(line.get(key))) is not None]
    if not found and isinstance(line.get("loss"), int | float):
        found.append(("Last loss", amount(float(line["loss"]))))
    return found


def _ends(folder: Folder) -> list[tuple[str, Content]]:
    """What the log says of the epochs of the weights."""
    told: list[tuple[str, Content]] = []
    best = folder.weights.get("best")
    epoch = None if best is None else best.attributes.get("epoch")
    for said, number in (("Best epoch", epoch), ("Last epoch", len(folder.log) or None)):
        if not isinstance(number, int) or not 0 < number <= len(folder.log):
            continue
        line = folder.log[number - 1]
        figures = [f"{key} {value}" for key, value in _epoch_figures(line)]
        told.append((said, f"{number}: {'; '.join(figures)}" if figures else str(number)))
    return told


def _curves(item: Item, log: Any) -> tuple[list[Markup], list[Markup]]:
    """The picture of ``figure training``; of a log without accuracies the losses."""
    if not log:
        return [], [element("p", "No epoch is over yet.", class_="note")]
    from datarobust.figures import style, training

    if not any(line.get(field) is not None for line in log for field in training.SERIES):  # a denoiser's
        losses = [line["loss"] if isinstance(line.get("loss"), int | float) else None for line in log]
        return [charts.figure(charts.curve(losses, "Loss by epoch", "Epoch"), "Loss of each epoch.")], []
    course = training.course(item.name, log, item.name)
    drawn = opened(style.picture(training.draw([course]), "svg"), item.name)
    sheet = element("div", _scaled(drawn, 1.1).markup(f"Accuracies of {item.name} by epoch"), class_="sheet drawn")
    words = element("figcaption", "Accuracies by epoch, as figure training draws them.")
    return [element("figure", sheet, words, class_="plot")], []


def _scaled(drawn: Picture, factor: float) -> Picture:
    return Picture(drawn.media, drawn.content, drawn.width * factor, drawn.height * factor)


# --------------------------------------------------------------------------------------------------- evaluations


def evaluation(item: Item, store: Store, shelf: Shelf) -> Card:
    """Clean and adversarial accuracy, what each attack took, and what a reader should know of both."""
    from datarobust.evaluation.statistics import share
    from datarobust.evaluations.lines import line, stored

    columns = stored(store)
    points = len(columns["index"])
    protocol = store.attributes["protocol"]
    bound = bool(protocol.get("upper_bound"))
    attack = "Under attack" if bound else "AutoAttack"
    norm = SYMBOL[store.attributes["norm"]]
    if not points:
        return Card("evaluation", item.name, item.anchor, "no points", item.digest, store.version)
    found = line(columns, store.attributes)
    right = columns["clean"] == columns["label"]
    robust, low, high = share(right & (columns["broken"] < 0))
    sign = "≤ " if bound else ""
    big = [("Clean accuracy", percent(found["clean"])), (attack, f"{sign}{percent(robust)}"), ("Points", count(points))]
    whole = found.get("dataset_points", points)
    facts: list[tuple[str, Content]] = [
        ("Threat", f"{norm}, radius {found['eps']}"),
        ("95 % interval", f"{percent(low)} to {percent(high)} under attack"),
        ("Protocol", f"{clipped(spelled(str(found['version'])), 40)}, seed {found['seed']}"),
        ("Points", f"{count(points)} of {count(whole)}" if whole != points else None),
        ("Dataset", shelf.refer(store.attributes["dataset"])),
        ("Classifier", shelf.refer(store.attributes["model"])),
        (
            "Signs of unreliability",
            name(", ".join(sorted(store.attributes["flags"]))) if store.attributes["flags"] else "none",
        ),
    ]
    facts += [("Left out", name(f"{one}: {optional(why)}")) for one, why in sorted(found["left_out"].items())]
    cuts: list[tuple[str, float, str]] = [("robust", robust, "good")]
    taken = [one for one in found["attacks"] if one["broken"]]
    cuts += [(one["attack"], one["broken"] / points, _BROKEN[place % 2]) for place, one in enumerate(taken)]
    cuts.append(("wrong without attack", 1.0 - found["clean"], "grey"))
    chart = charts.shares([cut for cut in cuts if cut[1] > 0], "Shares of the points: robust, taken by attacks, wrong")
    keys = [
        element(
            "span",
            element("span", class_=f"key {colour}"),
            f"{clipped(spelled(said), 40)} {percent(part)}",
            class_="item",
        )
        for said, part, colour in cuts
        if part > 0
    ]
    parts = [charts.figure(chart, join(keys, " \u2002")), _attacks(found)]
    gist = f"clean {percent(found['clean'])}, {norm} {found['eps']}: {sign}{percent(robust)}"
    return Card(
        "evaluation",
        item.name,
        item.anchor,
        gist,
        item.digest,
        store.version,
        big,
        facts,
        [Markup(element("div", *parts))],
    )


def _attacks(found: Mapping[str, Any]) -> Markup:
    rows: list[list[Content]] = [
        [name(one["attack"], 60), count(one["attacked"]), count(one["broken"]), text(percent(one["accuracy"]))]
        for one in found["attacks"]
    ]
    return table(["Attack", "Attacked", "Broken", "Left"], rows, numeric=[False, True, True, True])
