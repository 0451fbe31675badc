"""Where the boxes and arrows of a history stand: a layered drawing, as Sugiyama, Tagawa and Toda (1981) make it.

Every node is in a layer beneath those of all that lead to it. An edge over several layers has a narrow slot in each
layer that it passes, so no edge crosses a box. The order within layers follows the means of neighbours; places follow
from the order by isotonic regression, which moves nodes least from where their neighbours want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

BOX: Final = (196.0, 62.0)
"""Width and height of a box."""
_SLOT: Final = 10.0
_GAP: Final = (22.0, 46.0)
_MARGIN: Final = 10.0
_SWEEPS: Final = 8

Point = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """A drawing of n nodes and m edges.

    Attributes:
        boxes: upper left corner of each node's box.
        routes: of each edge, from the lower edge of a box to the upper edge of another: points, each beneath the one
            before. Between the ends they come in pairs, the slot's upper and lower end.
        width: of all.
        height: of all.
    """

    boxes: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def draw(nodes: int, edges: Sequence[tuple[int, int]], widest: int = 4) -> Drawing:
    """Lay out a graph without cycles.

    Args:
        nodes: how many, n; at least one.
        edges: (m) pairs (from, to) with from < to.
        widest: most boxes in a layer.
    """
    layers = layered(nodes, edges, widest)
    depth = max(layers) + 1
    rows: list[list[int]] = [[] for _ in range(depth)]
    for node, layer in enumerate(layers):
        rows[layer].append(node)
    chains: list[list[int]] = []
    pieces: list[tuple[int, int]] = []
    total = nodes
    for start, end in edges:
        chain = [start]
        for layer in range(layers[start] + 1, layers[end]):
            rows[layer].append(total)
            chain.append(total)
            total += 1
        chain.append(end)
        chains.append(chain)
        pieces += pairwise(chain)
    centres = _centres(rows, pieces, total, nodes)
    down = BOX[1] + _GAP[1]
    boxes = tuple((centres[node] - BOX[0] / 2, _MARGIN + layers[node] * down) for node in range(nodes))
    ends = _ends(chains, centres)
    routes = []
    for chain, arrival in zip(chains, ends, strict=True):
        points = [(centres[chain[0]], boxes[chain[0]][1] + BOX[1])]
        for place, slot in enumerate(chain[1:-1], layers[chain[0]] + 1):
            top = _MARGIN + place * down
            points += [(centres[slot], top), (centres[slot], top + BOX[1])]
        routes.append((*points, (arrival, boxes[chain[-1]][1])))
    width = max(box[0] for box in boxes) + BOX[0]
    width = max([width, *(x for route in routes for x, _ in route)]) + _MARGIN
    return Drawing(boxes, tuple(routes), width, depth * down - _GAP[1] + 2 * _MARGIN)


def layered(nodes: int, edges: Sequence[tuple[int, int]], widest: int) -> list[int]:
    """The layer of each node, from 0: beneath all that lead to it, and at most ``widest`` in one layer.

    What nothing leads to stands as near above what it leads to as there is room.
    """
    before: list[list[int]] = [[] for _ in range(nodes)]
    after: list[list[int]] = [[] for _ in range(nodes)]
    for start, end in edges:
        before[end].append(start)
        after[start].append(end)
    taken: list[int] = []
    layers: list[int] = []
    full = 0  # all layers above this one are full
    for node in range(nodes):
        layer = max([full, *(layers[one] + 1 for one in before[node])]) if before[node] else full
        while layer < len(taken) and taken[layer] >= widest:
            layer += 1
        taken += [0] * (layer + 1 - len(taken))
        taken[layer] += 1
        layers.append(layer)
        while full < len(taken) and taken[full] >= widest:
            full += 1
    for node in range(nodes):
        if not before[node] and after[node]:
            for layer in range(min(layers[one] for one in after[node]) - 1, layers[node], -1):
                if taken[layer] < widest and taken[layers[node]] > 1:
                    taken[layers[node]] -= 1
                    taken[layer] += 1
                    layers[node] = layer
                    break
    return layers


def _centres(rows: list[list[int]], pieces: Sequence[tuple[int, int]], total: int, boxes: int) -> list[float]:
    """The middle of every box and slot; ``rows`` are brought into order."""
    above: list[list[int]] = [[] for _ in range(total)]
    below: list[list[int]] = [[] for _ in range(total)]
    for start, end in pieces:
        above[end].append(start)
        below[start].append(end)
    place = [0.0] * total
    for row in rows:
        for number, node in enumerate(row):
            place[node] = float(number)
    for sweep in range(_SWEEPS):
        side, order = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for row in order:
            row.sort(key=lambda node: _mean([place[one] for one in side[node]], place[node]))
            for number, node in enumerate(row):
                place[node] = number - (len(row) - 1) / 2
    centres = [0.0] * total
    for row in rows:
        _settle(row, centres, [0.0] * len(row), boxes)
    for sweep in range(_SWEEPS):
        both = sweep == _SWEEPS - 1
        side, order = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for row in order:
            wanted = [
                _mean([centres[one] for one in (above[node] + below[node] if both else side[node])], centres[node])
                for node in row
            ]
            _settle(row, centres, wanted, boxes)
    left = min(centres[node] - _half(node, boxes) for row in rows for node in row)
    return [centre - left + _MARGIN for centre in centres]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _half(node: int, boxes: int) -> float:
    return (BOX[0] if node < boxes else _SLOT) / 2


def _settle(row: Sequence[int], centres: list[float], wanted: Sequence[float], boxes: int) -> None:
    """Put a row as near as can be, in the sum of squares, to where its nodes are wanted, without overlap.

    With the distances that they must keep taken off, the places need only ascend: isotonic regression, by pooling
    neighbours that are in each other's way.
    """
    offsets = [0.0]
    for one, other in pairwise(row):
        offsets.append(offsets[-1] + _half(one, boxes) + _GAP[0] + _half(other, boxes))
    pools: list[tuple[float, int]] = []  # mean, number
    for want, offset in zip(wanted, offsets, strict=True):
        mean, size = want - offset, 1
        while pools and pools[-1][0] > mean:
            other_mean, other_size = pools.pop()
            mean = (mean * size + other_mean * other_size) / (size + other_size)
            size += other_size
        pools.append((mean, size))
    places = [mean for mean, size in pools for _ in range(size)]
    for node, base, offset in zip(row, places, offsets, strict=True):
        centres[node] = base + offset


def _ends(chains: Sequence[Sequence[int]], centres: Sequence[float]) -> list[float]:
    """Where on the upper edge of its box each edge arrives: side by side, in the order in which they come."""
    arriving: dict[int, list[int]] = {}
    for number, chain in enumerate(chains):
        arriving.setdefault(chain[-1], []).append(number)
    ends = [0.0] * len(chains)
    for node, numbers in arriving.items():
        numbers.sort(key=lambda number: (centres[chains[number][-2]], number))
        step = min(18.0, BOX[0] * 0.8 / len(numbers))
        for place, number in enumerate(numbers):
            ends[number] = centres[node] + (place - (len(numbers) - 1) / 2) * step
    return ends
