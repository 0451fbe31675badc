"""A card for each thing of a report, and the commands behind all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datarobust.artifacts import Store, Summary
from datarobust.figures.report import Card
from datarobust.figures.report_history import Command, Result
from datarobust.figures.report_html import Content, Markup, digest, element, join, name
from datarobust.figures.report_pictures import Picture
from datarobust.figures.report_tables import read as read_table
from datarobust.reports import lineage, reading
from datarobust.reports.reading import Folder, Item

_SMALL_DIGEST: Final = 10


@dataclass(frozen=True)
class Shelf:
    """Everything in a report, by digest: cards refer to one another."""

    items: Mapping[str, Item]

    def refer(self, value: object) -> Markup:
        """A digest, with a link to its card where it is in the report."""
        if not isinstance(value, str):
            return Markup("none")
        item = self.items.get(value)
        if item is None:
            return digest(value)
        return join([element("a", name(item.name, 60), href=f"#{item.anchor}"), Markup(" "), digest(value)])

    def dataset(self, value: object) -> Store | None:
        """The dataset of a digest, if it is in the report."""
        item = self.items.get(value) if isinstance(value, str) else None
        return item.subject if item is not None and item.kind == "dataset" and isinstance(item.subject, Store) else None


def collect(
    paths: Iterable[Path], progress: Callable[[Iterable[Item]], Iterable[Item]] = iter
) -> tuple[list[Card], list[Command]]:
    """What a page shows of these files: a card for each, and the commands that led to them.

    Args:
        paths: artifacts of any kind, folders of runs, pictures (png, svg) and text, in any order.
        progress: counts the cards.

    Raises:
        ArtifactError: one is not intact.
        DataError: one has no place in a report, or is too large.
    """
    items = reading.read(list(paths))
    shelf = Shelf(_by_digest(items))
    cards = [_card(item, shelf) for item in progress(items)]
    return cards, lineage.commands(list(_known(items)))


def _by_digest(items: Sequence[Item]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for item in items:
        if item.is_artifact:
            found.setdefault(item.digest, item)
    for item in items:
        if isinstance(item.subject, Folder):
            for which, weights in item.subject.weights.items():
                alone = Item("run", f"{item.name}/{which}.safetensors", weights.digest, (), weights, item.anchor)
                found.setdefault(weights.digest, alone)
    return found


def _known(items: Sequence[Item]) -> Iterable[lineage.Known]:
    for item in items:
        if isinstance(item.subject, Folder):
            for which, weights in sorted(item.subject.weights.items()):
                made = Result(weights.kind, weights.digest, f"{item.name}/{which}.safetensors", item.anchor)
                yield lineage.Known(made, weights.history)
        elif item.is_artifact:
            yield lineage.Known(Result(item.kind, item.digest, item.name, item.anchor), item.history)


def _card(item: Item, shelf: Shelf) -> Card:
    from datarobust.reports import derived, models, points

    subject = item.subject
    if isinstance(subject, Picture):
        return _picture(item, subject)
    if isinstance(subject, str):
        content, gist = read_table(item.name, subject)
        return Card("text", item.name, item.anchor, gist, wide=[content])
    if isinstance(subject, Folder):
        return models.run(item, subject, shelf)
    if isinstance(subject, Summary):
        return models.weights(item, subject, shelf)
    makers: dict[str, Callable[[Item, Store, Shelf], Card]] = {
        "dataset": points.dataset,
        "ranking": points.ranking,
        "clones": derived.clones,
        "embedding": derived.embedding,
        "moments": derived.moments,
        "evaluation": models.evaluation,
    }
    return makers[subject.kind](item, subject, shelf)


def _picture(item: Item, subject: Picture) -> Card:
    kind = "svg" if "svg" in subject.media else "png"
    gist = f"{kind}, {len(subject.content):,} bytes"
    sheet: Content = element("div", subject.markup(f"Picture {item.name}"), class_="sheet")
    return Card("picture", item.name, item.anchor, gist, wide=[element("figure", sheet, class_="plot")])
