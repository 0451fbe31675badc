"""Layered drawings: no arrow goes up, no two boxes overlap, no arrow crosses a box."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.figures.lineage import BOX, Layout, draw, layered

Graph = tuple[int, list[tuple[int, int]]]


@st.composite
def graphs(make: st.DrawFn) -> Graph:
    nodes = make(st.integers(1, 14))
    pairs = list(combinations(range(nodes), 2))
    edges = make(st.lists(st.sampled_from(pairs), unique=True, max_size=24)) if pairs else []
    return nodes, sorted(edges)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < BOX[0] and abs(one[1] - other[1]) < BOX[1]


def check(drawing: Layout, edges: list[tuple[int, int]]) -> None:
    assert len(drawing.routes) == len(edges)
    assert not [pair for pair in combinations(drawing.boxes, 2) if overlap(*pair)]
    for (start, end), route in zip(edges, drawing.routes, strict=True):
        assert all(below[1] > above[1] for above, below in pairwise(route)), "an arrow goes up or stands still"
        (from_x, from_y), (to_x, to_y) = route[0], route[-1]
        left, top = drawing.boxes[start]
        assert left <= from_x <= left + BOX[0]
        assert from_y == top + BOX[1]
        left, top = drawing.boxes[end]
        assert left <= to_x <= left + BOX[0]
        assert to_y == top
        for place in range(1, len(route) - 1, 2):  # straight through a layer
            (x, upper), (same, lower) = route[place], route[place + 1]
            assert x == same
            assert lower - upper == BOX[1]
            beside = [box for box in drawing.boxes if box[1] == upper]
            assert all(x <= box[0] or x >= box[0] + BOX[0] for box in beside), "an arrow crosses a box"
    corners = [*drawing.boxes, *((x + BOX[0], y + BOX[1]) for x, y in drawing.boxes), *sum(drawing.routes, ())]
    assert all(0 <= x <= drawing.width and 0 <= y <= drawing.height for x, y in corners)


@settings(max_examples=60)
@given(graphs(), st.integers(1, 5))
def test_any_graph(graph: Graph, widest: int) -> None:
    nodes, edges = graph
    layers = layered(nodes, edges, widest)
    assert sorted(node for layer in layers for node in layer) == list(range(nodes))
    assert all(0 < len(layer) <= widest for layer in layers)
    place = {node: i for i, layer in enumerate(layers) for node in layer}
    assert all(place[start] < place[end] for start, end in edges)
    drawing = draw(nodes, edges, widest)
    check(drawing, edges)
    assert drawing == draw(nodes, edges, widest)


def test_a_chain_is_straight() -> None:
    drawing = draw(5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    assert len({x for x, _ in drawing.boxes}) == 1
    check(drawing, [(0, 1), (1, 2), (2, 3), (3, 4)])


def test_what_comes_in_late_stands_near_what_it_leads_to() -> None:
    layers = layered(6, [(0, 1), (1, 2), (2, 3), (3, 5), (4, 5)], 4)
    assert layers[3] == [3, 4]


def test_many() -> None:
    edges = [(0, end) for end in range(1, 200)] + [(place, place + 1) for place in range(1, 199, 2)]
    check(draw(200, sorted(edges)), sorted(edges))
