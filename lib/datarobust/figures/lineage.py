"""The union of all histories of a report as one graph of commands, and where its boxes and arrows are drawn.

An arrow means that a digest which one step made is one that another has read. Histories of version 2 name what each
step made; of older ones only the last step's digest is known, that of the artifact. One thing more follows without any
name of a file: a history has only steps that led to its end, so a step whose output nobody reads by its digest, such as
a ranking that chose rows, was read by the one later step that has an input of unknown origin, if there is exactly one.
What then is still unknown is not drawn.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import fmean
from typing import Final

import networkx as nx

from datarobust.artifacts import Step
from datarobust.artifacts.history import to_json

_SEVERAL: Final = frozenset({"artifact", "dataset", "figure", "model"})  # commands whose first word says what they do
_OUTSIDE: Final = frozenset({"source", "weights", "labels"})  # roles of files that no command of ours has written
_CHOICES: Final = frozenset({"focus", "hold_out", "track", "selection", "rows"})  # roles that may be of row numbers

BOX: Final = (196.0, 62.0)  # width and height
_SLOT: Final = 10.0
_GAP: Final = (22.0, 46.0)
_MARGIN: Final = 10.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Result:
    """What a step has made; all but the digest is empty where the artifact is not in the report."""

    digest: str
    kind: str = ""
    name: str = ""  # of its file
    anchor: str = ""  # of its card


@dataclass(frozen=True)
class Source:
    """What a step has read; role and digest are empty where only the step that made it is known."""

    role: str
    digest: str
    step: int | None = None  # place of the step that made it, from 0; None where no step of the report has


@dataclass(frozen=True)
class Command:
    """A step of the histories."""

    step: Step
    sources: Sequence[Source]
    results: Sequence[Result]

    @property
    def tool(self) -> str:
        """The name of the command, with its first word where it has several uses."""
        first = self.step.argv[:1] if self.step.tool in _SEVERAL else ()
        return " ".join([self.step.tool, *filter(str.isalpha, first)])

    @property
    def output(self) -> str:
        """What it wrote, by name; empty where it does not say."""
        return ", ".join(name.rpartition("/")[2] for name in outputs(self.step) if name)

    def shell_words(self) -> list[str]:
        """Its words as a shell takes them."""
        return list(map(quoted, [*self.step.tool.split(), *self.step.argv]))


def quoted(word: str) -> str:
    r"""A word as a shell takes it; what cannot be printed is spelled byte by byte in bash's ``$'...'``.

    >>> quoted("a b")
    "'a b'"
    """
    if word.isprintable():
        return shlex.quote(word)

    def spelled(character: str) -> str:
        if character.isprintable():
            return f"\\{character}" if character in "\\'" else character
        of_a_file_name = "\udc80" <= character <= "\udcff"  # a byte that is no text
        encoded = character.encode("utf-8", "surrogateescape" if of_a_file_name else "surrogatepass")
        return "".join(f"\\x{byte:02x}" for byte in encoded)

    return f"$'{''.join(map(spelled, word))}'"


_OPTIONS: Final = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_OPTIONS.add_argument("-o", "--output", nargs="?", const="", action="append", default=[])


def outputs(step: Step) -> list[str]:
    """What ``-o`` names among a command's words."""
    return [name.rstrip("/") for name in _OPTIONS.parse_known_args(step.argv)[0].output]


@dataclass
class _Node:
    """A step: of a command that wrote several artifacts all steps together."""

    step: Step
    inputs: set[tuple[str, str]] = field(default_factory=set)  # (role, digest)
    outputs: set[str] = field(default_factory=set)  # digests


def commands(artifacts: Iterable[tuple[Result, Sequence[Step]]]) -> list[Command]:
    """The steps of all histories, each once and after what it reads; the order depends on the steps alone."""
    nodes: dict[str, _Node] = {}
    known: dict[str, set[Result]] = {}
    histories: list[list[str]] = []
    for result, history in artifacts:
        known.setdefault(result.digest, set()).add(result)
        keys = []
        for step in history:
            fields = to_json([step])[0]
            fields.pop("output", None)
            if len(outputs(step)) > 1:  # it wrote several artifacts, each with the inputs that it has
                del fields["inputs"]
            keys.append(json.dumps([fields.pop("tool"), fields.pop("argv"), fields], sort_keys=True))
            node = nodes.setdefault(keys[-1], _Node(step))
            node.inputs |= set(step.inputs.items())
            node.outputs |= set() if step.output is None else {step.output}
        histories.append(keys)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(sorted(nodes))
    makers = {digest: key for key in sorted(nodes) for digest in sorted(nodes[key].outputs)}
    for keys in histories:
        own = {digest: key for key in keys for digest in nodes[key].outputs}  # of equal artifacts the history's own
        for key in keys:
            for _, digest in nodes[key].inputs:
                if (maker := own.get(digest, makers.get(digest, key))) != key:
                    graph.add_edge(maker, key)
    for keys in sorted(histories):
        later: set[str] = set()
        unknown: dict[str, list[str]] = {}  # roles of the inputs of later steps whose origin is unknown
        for key in reversed(keys):
            if later and later.isdisjoint(graph.succ[key]) and len(unknown) == 1:
                [(reader, roles)] = unknown.items()
                graph.add_edge(key, reader)
                if len(roles) == 1 and roles[0] not in _CHOICES:
                    del unknown[reader]
            later.add(key)
            roles = [role for role, digest in nodes[key].inputs if digest not in makers and role not in _OUTSIDE]
            unknown |= {key: roles} if roles else {}
    # Histories that contradict one another, which no command writes, lose the arrows that go in a circle.
    for circle in [part for part in nx.strongly_connected_components(graph) if len(part) > 1]:
        graph.remove_edges_from([(start, end) for start in circle for end in list(graph[start]) if end in circle])
    order = list(nx.lexicographical_topological_sort(graph))
    number = {key: i for i, key in enumerate(order)}
    listing = []
    for key in order:
        node = nodes[key]
        made = {number[start]: nodes[start].outputs for start in graph.pred[key]}  # by the steps that it reads
        sources = []
        for role, digest in sorted(node.inputs):
            steps = sorted(i for i in made if digest in made[i])
            sources += [Source(role, digest, i) for i in steps] or [Source(role, digest)]
        sources += [Source("", "", i) for i in sorted(set(made) - {source.step for source in sources})]
        results = [result for digest in node.outputs for result in known.get(digest, {Result(digest)})]
        results.sort(key=lambda each: (not each.kind, each.kind, each.name, each.digest, each.anchor))
        listing.append(Command(node.step, sources, results))
    return listing


# ------------------------------------------------------------------------------------------------------- drawing


@dataclass(frozen=True)
class Layout:
    """Where n nodes and m edges of a graph are drawn."""

    boxes: tuple[Point, ...]  # upper left corner of each node's box
    #: Of each edge, from the lower edge of a box to the upper edge of another: points, each beneath the one before.
    #: Between the ends they come in pairs, upper and lower end of the way through a layer.
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def draw(nodes: int, edges: Sequence[tuple[int, int]], widest: int = 4) -> Layout:
    """Lay out a graph without cycles in layers of at most ``widest`` boxes, as Sugiyama, Tagawa and Toda (1981) do.

    Edges are pairs (from, to) with from < to. One over several layers has a narrow slot in each layer that it passes,
    so no edge crosses a box. The order within layers follows the means of neighbours.
    """
    rows = layered(nodes, edges, widest)
    layers = {node: i for i, row in enumerate(rows) for node in row}
    chains: list[list[int]] = []
    total = nodes
    for start, end in edges:
        slots = range(total, total + layers[end] - layers[start] - 1)
        for slot, layer in zip(slots, range(layers[start] + 1, layers[end]), strict=True):
            rows[layer].append(slot)
        chains.append([start, *slots, end])
        total += len(slots)
    pieces: nx.Graph[int] = nx.Graph([piece for chain in chains for piece in pairwise(chain)])
    pieces.add_nodes_from(range(nodes))
    centres = _centres(rows, pieces, nodes)
    down = BOX[1] + _GAP[1]
    tops = {node: _MARGIN + i * down for i, row in enumerate(rows) for node in row}
    boxes = tuple((centres[node] - BOX[0] / 2, tops[node]) for node in range(nodes))
    routes = []
    for chain in chains:  # from beneath the first to the top of the last
        ends = [(centres[node], y) for node in chain for y in (tops[node], tops[node] + BOX[1])]
        routes.append(tuple(ends[1:-1]))
    right = [x + BOX[0] for x, _ in boxes] + [x for route in routes for x, _ in route]
    return Layout(boxes, tuple(routes), max(right) + _MARGIN, len(rows) * down - _GAP[1] + 2 * _MARGIN)


def layered(nodes: int, edges: Sequence[tuple[int, int]], widest: int) -> list[list[int]]:
    """The nodes in layers of at most ``widest``, each beneath all that lead to it.

    What nothing leads to stands next above what it leads to.
    """
    graph: nx.DiGraph[int] = nx.DiGraph(edges)
    graph.add_nodes_from(range(nodes))
    depth = {node: i for i, layer in enumerate(nx.topological_generations(graph)) for node in layer}
    for node in range(nodes):
        if not graph.pred[node] and graph.succ[node]:
            depth[node] = min(depth[end] for end in graph.succ[node]) - 1
    layers = [[node for node in range(nodes) if depth[node] == i] for i in sorted(set(depth.values()))]
    return [layer[start : start + widest] for layer in layers for start in range(0, len(layer), widest)]


def _centres(rows: list[list[int]], graph: nx.Graph[int], boxes: int) -> dict[int, float]:
    """The middle of every box and slot; ``rows`` are brought into order. Nodes from ``boxes`` on are slots.

    A row is packed, and shifted as a whole to where its neighbours above are.
    """
    above = {node: i for i, row in enumerate(rows) for node in row}
    order = {node: float(i) for row in rows for i, node in enumerate(row)}

    def near(node: int, where: dict[int, float], up: bool) -> float:
        """The mean place of the neighbours above, or below."""
        places = [where[other] for other in graph[node] if (above[other] < above[node]) == up]
        return fmean(places) if places else where[node]

    for up in [True, False] * 4:
        for row in rows if up else rows[::-1]:
            row.sort(key=lambda node: near(node, order, up))
            order |= {node: i - (len(row) - 1) / 2 for i, node in enumerate(row)}
    width = {node: BOX[0] if node < boxes else _SLOT for node in above}
    centres: dict[int, float] = {}
    for row in rows:
        ends = list(accumulate(width[node] + _GAP[0] for node in row))
        centres |= {node: end - width[node] / 2 for node, end in zip(row, ends, strict=True)}
        shift = fmean(near(node, centres, True) - centres[node] for node in row)
        centres |= {node: centres[node] + shift for node in row}
    left = min(centres[node] - width[node] / 2 for node in above)
    return {node: centre - left + _MARGIN for node, centre in centres.items()}
