"""The search: which engine does it, and the compiled one's plan.

The compiled search encodes all points, gives each a good first neighbour, and lets every pair of blocks meet once.
Blocks meet as in a round-robin tournament: within a round no block plays twice, so threads never touch the same point
and need no locks. A round is also the unit of resuming (the state after it is all there is to save) and its matches
are what shards divide. Keys only fall and equal keys go to the lower index, so neither the order of the matches nor
who plays them can change the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from datarobust.norms import norm_of
from datarobust.types import Array, Floats, Progress, Rows

from . import generic, native
from .codes import Encoding
from .generic import PlainSearch
from .panels import NO_INDEX, PAD, Checkpoint, Labelled, Panel, Panels, Saves, padded_width, panel_rows

BLOCK = 2048
"""Points of a block: its codes stay in the processor's second-level cache."""

LANES = 32
"""Blocks a panel is cut into at least, for each shard, so that threads do not run out of matches within a round."""

SCOUTS, ROWS = 8, 8
"""Groups of ROWS rows that look at all points before the codes are chosen; ROWS as in native.c."""

WINDOW = 1024
"""Points among which the first neighbours are looked for."""

_FORMAT = 2
"""Of saved states: another number in their layout, and the rounds begin again with the neighbours they hold."""

COMPILED = ("l2", "linf")
"""Norms of the compiled search."""


@dataclass(frozen=True)
class Options:
    """How to search; nothing here changes the result."""

    threads: int | None = None
    block: int = BLOCK
    shard: tuple[int, int] = (0, 1)
    """This process's number and how many there are: it plays every such match of a round."""
    engine: Literal["auto", "generic"] = "auto"
    device: str | None = None
    """A device of PyTorch for the generic engine, such as "cuda"; None: the processor, without PyTorch."""


def engine_of(norm: str, options: Options) -> Literal["native", "generic"]:
    """The engine that serves a search.

    Raises:
        UsageError: the environment forces instructions that the processor lacks.
    """
    able = norm in COMPILED and options.device is None and native.library() is not None
    if able:
        native.level()
    return "native" if able and options.engine != "generic" else "generic"


def division(sources: list[Labelled], norm: str, memory: int, options: Options) -> dict[str, int | str]:
    """How :func:`nearest` divides comparisons among shards: shards that do not agree on it leave some out."""
    if engine_of(norm, options) == "generic":
        return {"engine": "generic", "block": generic.BLOCK}
    total, dtype = sum(len(source.labels) for source in sources), np.dtype(sources[0].rows.dtype)
    size = panel_rows(total, padded_width(sources[0].rows.shape[1], dtype) * dtype.itemsize, memory)
    return {"engine": "native", "block": options.block, "panel": size, "lanes": LANES, "format": _FORMAT}


def nearest(
    sources: list[Labelled],
    norm: str,
    k: int,
    *,
    soft: bool = False,
    same: bool = False,
    memory: int,
    options: Options,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> tuple[Floats, Rows]:
    """Keys (N, k) and neighbours (N, k; -1: none) of the points of the first source, among those of the last.

    Neighbours have another label, or with ``same`` are other points of the same label.

    Raises:
        DataError: a number is not finite, or numbers span more than float32 can hold.
        UsageError: see :func:`engine_of`.
    """
    if not soft:
        sources = [Labelled(source.rows, source.labels) for source in sources]
    if engine_of(norm, options) == "native":
        return Search(sources, norm, k, memory, options, same).run(progress, checkpoint)
    search = PlainSearch(sources, norm, k, memory, options.shard, options.device, same)
    return search.run(options.threads, progress, checkpoint)


class Search:
    """One compiled search; arrays are by position (see :mod:`.panels`)."""

    def __init__(
        self, sources: list[Labelled], norm: str, k: int, memory: int, options: Options, same: bool = False
    ) -> None:
        """``sources``: points, and the set they are held against if that is another; ``same``: neighbours are of the
        same label.
        """
        self.panels = Panels([(source.rows, source.labels) for source in sources], memory)
        self.norm, self.options, self.same = norm, options, same
        self.both = len(sources) == 1
        self.soft, self.widest = _label_vectors(sources, self.panels)
        self.schedule = Schedule(self.panels, options.block, options.shard[1], self.soft is not None, same)
        positions = self.panels.positions
        self.key = np.full((positions, k), np.inf)
        self.neighbour = np.full((positions, k), NO_INDEX)
        self.radius = np.full(positions, np.inf)
        """A pair farther apart than this cannot improve the point."""
        if not self.both:
            self.radius[self.panels.queries :] = 0.0

    def run(self, progress: Progress, checkpoint: Checkpoint | None) -> tuple[Floats, Rows]:
        """Search all pairs; a checkpoint left by an earlier run is continued."""
        saves = Saves(checkpoint, [*self.schedule.layout, *self.options.shard, _FORMAT])
        state, done = saves.load(), 0
        with native.Workers(self.options.threads) as workers:
            encoding = Encoding(self.panels, self.norm, workers)
            if state is None:
                self._seed(encoding, workers)
            else:
                done = self._restore(*state)
            if self.norm == "linf":
                encoding.refine(self.radius * (self._scout(encoding, workers) if state is None else 1.0), self.same)
                if state is None:
                    self._seed(encoding, workers)
            self._play(encoding, done, progress, saves, workers)
        return self._nearest()

    def _kernel(self, encoding: Encoding) -> native.Kernel:
        panels = self.panels
        arrays = {
            "bytes" if panels.dtype == np.uint8 else "floats": panels.data,
            "place": panels.place,
            "origin": panels.origin,
            "label": panels.label,
            "key": self.key,
            "neighbour": self.neighbour,
            "radius": self.radius,
        }
        if self.soft is not None:
            arrays["soft"] = self.soft
        numbers = {
            "width": panels.padded,
            "classes": 0 if self.soft is None else self.soft.shape[1],
            "k": self.key.shape[1],
            "whole": int(self.soft is None and panels.dtype == np.uint8),
            "same": int(self.same),
            "widest": self.widest,
        }
        return native.Kernel(arrays | encoding.arrays, numbers | encoding.numbers)

    def _seed(self, encoding: Encoding, workers: native.Workers) -> None:
        """First neighbours, from windows of points with similar leading coordinates (and of one label, with `same`)."""
        queries = NO_INDEX if self.both else self.panels.queries
        for resident in self._resident_groups():
            self.panels.make_resident(*resident)
            kernel = self._kernel(encoding)
            positions = np.concatenate([np.arange(p.first, p.first + len(p)) for p in resident])

            groups = [positions]
            if self.same:
                positions = positions[np.argsort(self.panels.label[positions], kind="stable")]
                groups = np.split(positions, np.flatnonzero(np.diff(self.panels.label[positions])) + 1)
            parts = [window for group in groups for window in windows(encoding.leading, group, WINDOW)]
            workers.each(partial(kernel.seed, queries=queries, both=self.both), parts)

    def _scout(self, encoding: Encoding, workers: native.Workers) -> float:
        """By what factor radii will yet shrink: a few rows meet all resident points."""
        resident = self._resident_groups()[0]
        self.panels.make_resident(*resident)
        kernel = self._kernel(encoding)
        others = [panel for panel in resident if self.both or panel.source == 1]
        step = max(1, len(resident[0]) // (SCOUTS * ROWS)) * ROWS
        starts = range(resident[0].first, resident[0].first + len(resident[0]) - ROWS + 1, step)
        before = self.radius.copy()

        def scout(start: int) -> None:
            for panel in others:
                kernel.match((start, start + ROWS, panel.first, panel.first + len(panel)), False)

        workers.each(scout, starts)
        rows = np.concatenate([np.arange(0), *(np.arange(start, start + ROWS) for start in starts)])
        known = rows[np.isfinite(before[rows]) & (before[rows] > 0)]
        shrink = float(np.median(self.radius[known] / before[known])) if len(known) else 1.0
        return max(shrink, 0.01)

    def _resident_groups(self) -> list[list[Panel]]:
        """Panels whose windows are formed together."""
        if self.panels.whole:
            return [self.panels.panels]
        if self.both:
            return [[panel] for panel in self.panels.panels]
        references = [panel for panel in self.panels.panels if panel.source == 1]
        queries = [panel for panel in self.panels.panels if panel.source == 0]
        return [[panel, references[n % len(references)]] for n, panel in enumerate(queries)]

    def _play(self, encoding: Encoding, done: int, progress: Progress, saves: Saves, workers: native.Workers) -> None:
        number, shards = self.options.shard
        for at, turn in enumerate(progress(self.schedule), 1):
            if at <= done:
                continue
            self.panels.make_resident(*turn.panels)
            kernel = self._kernel(encoding)
            workers.each(partial(kernel.match, both=self.both), turn.matches[number::shards])
            saves.save(self._nearest, at, last=at == len(self.schedule))

    def _restore(self, key: Array, neighbour: Array, done: int) -> int:
        """Take up a saved state, which is in the order of the data set; returns after how many rounds it is."""
        positions, rows = self._ranked()
        self.key[positions], self.neighbour[positions] = key[rows], neighbour[rows]
        self.radius[positions] = norm_of(self.norm).to_distance(self.key[positions, -1]) * self.widest
        return done

    def _ranked(self) -> tuple[Rows, Rows]:
        """Positions of the points that are ranked, and their rows in the data set."""
        positions = np.flatnonzero(self.panels.origin[: self.panels.queries] >= 0)
        return positions, self.panels.origin[positions]

    def _nearest(self) -> tuple[Floats, Rows]:
        """Keys (N, k) and neighbours (N, k; -1: none) of the points, in the order of their data set."""
        positions, rows = self._ranked()
        key, index = np.empty_like(self.key[: len(rows)]), np.empty_like(self.neighbour[: len(rows)])
        key[rows], index[rows] = self.key[positions], self.neighbour[positions]
        return key, np.where(index == NO_INDEX, -1, index)


def _label_vectors(sources: list[Labelled], panels: Panels) -> tuple[Array | None, float]:
    """Label vectors (P, C) by position, and a bound on the distance of any two; None and 1 where labels are classes."""
    vectors = [source.soft for source in sources if source.soft is not None]
    if len(vectors) < len(sources):
        return None, 1.0
    placed = np.zeros((panels.positions, vectors[0].shape[1]), np.float32)
    for panel in panels.panels:
        placed[panel.positions] = vectors[panel.source][panels.origin[panel.positions]]
    everything = np.concatenate(vectors).astype(np.float64)
    centre = everything.mean(axis=0)
    widest = 2.0 * float(np.sqrt(((everything - centre) ** 2).sum(axis=1).max())) * (1.0 + 1e-9)
    return placed, max(widest, 1e-300)


# -------------------------------------------------------------------------------------------------------- schedule


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
    def layout(self) -> list[int]:
        """All that the numbering of the rounds depends on."""
        edges = [edge for panel in self._panels.panels for edge in (panel.source, panel.start, panel.stop)]
        return [self._most, self._lanes, *edges]

    def __len__(self) -> int:
        """How many rounds there are."""
        return sum(self._pairings(first, second)[0] for first, second in self._pairs)

    def __iter__(self) -> Iterator[Round]:
        for first, second in self._pairs:
            left, right = self._blocks(first), self._blocks(second)
            for pairing in self._pairings(first, second)[1]:
                matches = [(*left[x], *right[y]) for x, y in pairing if self._may_matter(left[x], right[y])]
                yield Round((first, second), matches)

    def _pairings(self, first: Panel, second: Panel) -> tuple[int, Iterator[list[tuple[int, int]]]]:
        """How many rounds the blocks of two panels play, and the pairs of blocks of each."""
        left, right = self._blocks(first), self._blocks(second)
        if first is not second:
            return max(len(left), len(right)), round_robin(len(left), len(right))
        if self._same:
            reach = self._reach(left)
            return 1 + 2 * reach, within_reach(len(left), reach)
        return len(left) + len(left) % 2, tournament(len(left))

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
