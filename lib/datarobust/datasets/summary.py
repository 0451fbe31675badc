"""What a dataset holds, as a plain mapping and as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from datarobust.artifacts import Store
from datarobust.text import shown, sized


def describe(dataset: Store) -> dict[str, Any]:
    """Name, points, shape and dtype, columns, classes with counts, digest and history; ready for JSON.

    ``classes`` is a list of ``{"label", "name", "count"}``: all named classes, also those without points, and every
    label that occurs; ``name`` is None where the dataset has no names.
    """
    kind = "images" if "images" in dataset else "features"
    points = dataset.column(kind)
    counts: Counter[int] = Counter()
    for _, labels in dataset.column("labels").blocks():
        counts.update(labels.tolist())
    names = list(dataset.attributes["classes"])
    return {
        "path": str(dataset.path),
        "name": dataset.attributes["name"],
        "points": len(dataset),
        "kind": kind,
        "shape": list(points.shape[1:]),
        "dtype": str(points.dtype),
        "columns": list(dataset.names()),
        "classes": [
            {"label": label, "name": names[label] if 0 <= label < len(names) else None, "count": counts[label]}
            for label in sorted({*range(len(names)), *counts})
        ],
        "digest": dataset.digest,
        "history": [
            {"tool": step.tool, "argv": list(step.argv), "version": step.version, "seed": step.seed}
            for step in dataset.history
        ],
    }


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people: one fact a line, then a line for each class; foreign text is escaped."""
    yield f"name     {shown(summary['name'])}"
    yield f"points   {summary['points']:,}"
    yield f"{summary['kind']:<9}{sized(summary['shape'])} {summary['dtype']}"
    others = [column for column in summary["columns"] if column not in (summary["kind"], "labels", "index")]
    if others:
        yield f"with     {', '.join(others)}"
    yield f"digest   {summary['digest']}"
    for step in summary["history"]:
        yield f"history  {shown(' '.join([step['tool'], *step['argv']]))}"
    yield f"classes  {len(summary['classes']):,}"
    width = len(f"{max((entry['count'] for entry in summary['classes']), default=0):,}")
    for entry in summary["classes"]:
        name = "" if entry["name"] is None else f"  {shown(entry['name'])}"
        yield f"{entry['label']:>7}  {entry['count']:>{width},}{name}"


def remarks(dataset: Store) -> Iterator[str]:
    """What a user of a new dataset should know, a sentence each: labels that seem to begin at 1."""
    lowest = min((int(rows.min()) for _, rows in dataset.column("labels").blocks() if len(rows)), default=0)
    if lowest > 0:
        yield (
            f"No point has a label below {lowest}: labels are 0 to C - 1, and a class without points is one all the "
            "same for training and random labels. If yours begin at 1, take 1 from each."
        )


def other_classes(first: Store, other: Store) -> str:
    """In what the class names of two datasets differ, as the end of a sentence."""
    one, two = first.attributes["classes"], other.attributes["classes"]
    if len(one) != len(two):
        return f"they have {len(one)} and {len(two)} class names"
    place = next(i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    return f"class {place} is {shown(one[place])} and {shown(two[place])}"
