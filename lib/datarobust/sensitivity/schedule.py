"""Who meets whom, and when: a round-robin tournament of blocks, panel after panel.

The schedule depends on the points, the cut into panels, the block and the number of shards, never on the machine: all
shards must play the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datarobust.types import Array

from .panels import PAD, Panel, Panels

LANES = 32
"""Blocks a panel is cut into at least, for each shard, so that threads do not run out of matches within a round."""


@dataclass(frozen=True)
class Round:
    """Matches that share no block, so that threads can play them side by side without locks."""

    panels: tuple[Panel, Panel]
    """What must be resident."""
    matches: list[tuple[int, int, int, int]]
    """Positions i0, i1, j0, j1: rows i0..i1 meet columns j0..j1."""


class Schedule:
    """All rounds of a search; each is made when it is reached, since a large search has millions of matches."""

    def __init__(self, panels: Panels, block: int, shards: int, soft: bool, same: bool = False) -> None:
        """``block`` the most points of a block; ``soft``: labels are vectors, so that any two points may matter;
        ``same``: only points of equal labels do.
        """
        self._panels, self._soft, self._same = panels, soft, same
        self._most, self._lanes = max(PAD, block // PAD * PAD), LANES * shards
        both = len(panels.sources) == 1
        self._pairs = [
            (first, second)
            for first in panels.panels
            for second in panels.panels[first.number :]
            if both or (first.source, second.source) == (0, 1)
        ]

    def _blocks(self, panel: Panel) -> list[tuple[int, int]]:
        """First and last-but-one positions of the blocks of a panel."""
        size = max(PAD, min(self._most, -(-len(panel) // self._lanes // PAD) * PAD))
        stop = panel.first + len(panel)
        return [(start, min(start + size, stop)) for start in range(panel.first, stop, size)]

    @property
    def layout(self) -> Array:
        """All that the numbering of the rounds depends on, (n,) int64."""
        edges = [edge for panel in self._panels.panels for edge in (panel.source, panel.start, panel.stop)]
        return np.array([self._most, self._lanes, *edges], np.int64)

    def __len__(self) -> int:
        """How many rounds there are."""
        total = 0
        for first, second in self._pairs:
            left, right = self._blocks(first), self._blocks(second)
            if first is not second:
                total += max(len(left), len(right))
            else:
                total += 1 + 2 * self._reach(left) if self._same else len(left) + len(left) % 2
        return total

    def __iter__(self) -> Iterator[Round]:
        for first, second in self._pairs:
            left, right = self._blocks(first), self._blocks(second)
            if first is not second:
                pairings = round_robin(len(left), len(right))
            else:
                pairings = within_reach(len(left), self._reach(left)) if self._same else tournament(len(left))
            for pairing in pairings:
                matches = [(*left[x], *right[y]) for x, y in pairing if self._may_matter(left[x], right[y])]
                yield Round((first, second), matches)

    def _may_matter(self, a: tuple[int, int], b: tuple[int, int]) -> bool:
        """Whether two blocks can hold points that matter to each other (a panel is sorted by label)."""
        label = self._panels.label
        if self._same:
            return bool(label[a[0]] <= label[b[1] - 1] and label[b[0]] <= label[a[1] - 1])
        return self._soft or len({int(label[p]) for p in (a[0], a[1] - 1, b[0], b[1] - 1)}) > 1

    def _reach(self, blocks: list[tuple[int, int]]) -> int:
        """How far apart, in blocks of one panel, two can be that share a label."""
        starts, stops = np.array(blocks).T
        last = np.searchsorted(self._panels.label[starts], self._panels.label[stops - 1], "right") - 1
        return int((last - np.arange(len(blocks))).max())


def windows(leading: Array, positions: Array, size: int) -> list[Array]:
    """Positions in groups of at most ``size`` with similar leading coordinates: halved along each in turn."""
    groups, depth = [positions], 0
    while max(len(group) for group in groups) > size:
        halves: list[Array] = []
        for group in groups:
            order = group[np.argsort(leading[group, depth % leading.shape[1]], kind="stable")]
            halves += [order[: len(order) // 2], order[len(order) // 2 :]]
        groups, depth = halves, depth + 1
    return groups


def tournament(teams: int) -> Iterator[list[tuple[int, int]]]:
    """Rounds in which every two of ``teams`` meet once, after one in which each meets itself (the circle method)."""
    yield [(team, team) for team in range(teams)]
    seats = teams + teams % 2
    for turn in range(seats - 1):
        pairs = [(seats - 1, turn)]
        pairs += [((turn + k) % (seats - 1), (turn - k) % (seats - 1)) for k in range(1, seats // 2)]
        yield [(min(pair), max(pair)) for pair in pairs if max(pair) < teams]


def within_reach(teams: int, reach: int) -> Iterator[list[tuple[int, int]]]:
    """Rounds in which every two of ``teams`` at most ``reach`` apart meet once, first each itself, then the nearest."""
    yield [(team, team) for team in range(teams)]
    for apart in range(1, reach + 1):
        for half in (0, 1):
            yield [(team, team + apart) for team in range(teams - apart) if team // apart % 2 == half]


def round_robin(left: int, right: int) -> Iterator[list[tuple[int, int]]]:
    """Rounds in which every one of ``left`` meets every one of ``right`` once."""
    seats = max(left, right)
    for turn in range(seats):
        yield [(x, (x + turn) % seats) for x in range(left) if (x + turn) % seats < right]
