"""The search: encode all points, give each a good first neighbour, then let every pair of blocks meet once.

Blocks meet as in a round-robin tournament: within a round no block plays twice, so threads never touch the same point
and need no locks. A round is also the unit of resuming (the state after it is all there is to save) and its matches
are what shards divide. Keys only fall and equal keys go to the lower index, so neither the order of the matches nor
who plays them can change the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from . import l2_kernels as _l2_kernels  # noqa: F401  registers the overloads
from . import linf_kernels as _linf_kernels  # noqa: F401
from .encoding import Encoding
from .kernels import match, seed
from .panels import Panel, Panels
from .simd import ROWS, VNNI
from .tables import NO_INDEX, PAD, Array, Points, State, new_state
from .workers import Workers, available_threads

T = TypeVar("T")
Progress = Callable[[Iterable[T]], Iterable[T]]

BLOCK = 2048
"""Points of a block: its codes stay in the processor's second-level cache."""

SCOUTS = 8
"""Groups of ROWS rows that look at all points before the codes are chosen."""

SAVE_EVERY = 3.0
"""Seconds between two saves of the state."""

WINDOW = 1024
"""Points among which the first neighbours are looked for."""


class Checkpoint(Protocol):
    """Where the state of a long search survives the process."""

    def load(self) -> dict[str, Array] | None:
        """The arrays last saved, or None."""

    def save(self, arrays: dict[str, Array]) -> None:
        """Save them, atomically."""


@dataclass(frozen=True)
class Options:
    """How to search; nothing here changes the result."""

    threads: int | None = None
    vector: bool = VNNI
    block: int = BLOCK
    shard: tuple[int, int] = (0, 1)
    """This process's number and how many there are: it plays every such match of a round."""


class Search:
    """One search over panels, in one norm."""

    def __init__(self, panels: Panels, norm: str, k: int, soft: Array | None, widest: float, options: Options) -> None:
        """``soft`` (P, C) label vectors by position, or None; ``widest`` their largest distance."""
        self.panels, self.norm, self.options = panels, norm, options
        self.both = len(panels.sources) == 1
        self.soft = np.zeros((0, 0), np.float32) if soft is None else soft
        self.state: State = new_state(panels.positions, k, widest, soft is None and panels.dtype == np.uint8)
        if not self.both:
            self.state.radius[panels.queries :] = 0.0

    def run(self, progress: Progress[list[tuple[int, int]]], checkpoint: Checkpoint | None) -> State:
        """Search all pairs; a checkpoint left by an earlier run is continued."""
        with Workers(self.options.threads) as workers:
            encoding = Encoding(self.panels, self.norm, self.options.vector, workers)
            done = self._restore(checkpoint)
            if done < 0:
                self._seed(encoding, workers)
            shrink = self._scout(encoding, workers) if done < 0 else 1.0
            if encoding.refine(shrink * self.state.radius) and done < 0:
                self._seed(encoding, workers)
            self._play(encoding, list(self._rounds()), done, progress, checkpoint, workers)
        return self.state

    def _points(self, encoding: Encoding) -> Points:
        panels = self.panels
        where = (panels.data, panels.place, panels.origin, panels.label)
        return Points(*where, self.soft, encoding.total, encoding.square, vector=self.options.vector)

    def _seed(self, encoding: Encoding, workers: Workers) -> None:
        """First neighbours, from windows of points with similar leading coordinates."""
        queries = np.iinfo(np.int64).max if self.both else self.panels.queries
        for resident in self._resident_groups():
            self.panels.make_resident(*resident)
            points = self._points(encoding)
            positions = np.concatenate([np.arange(p.first, p.first + len(p)) for p in resident])

            def task(window: Array, points: Points = points) -> Callable[[], object]:
                return lambda: seed(encoding.codes, points, self.state, window, queries, self.both)

            workers.all([task(window) for window in windows(encoding.leading, positions, WINDOW)])

    def _scout(self, encoding: Encoding, workers: Workers) -> float:
        """By what factor radii will yet shrink: a few rows meet all resident points."""
        resident = self._resident_groups()[0]
        self.panels.make_resident(*resident)
        points, state = self._points(encoding), self.state
        others = [panel for panel in resident if self.both or panel.source == 1]
        step = max(1, len(resident[0]) // (SCOUTS * ROWS)) * ROWS
        starts = range(resident[0].first, resident[0].first + len(resident[0]) - ROWS + 1, step)
        before = state.radius.copy()

        def scout(a: int) -> None:
            for panel in others:
                match(encoding.codes, points, state, a, a + ROWS, panel.first, panel.first + len(panel), False)

        workers.all([lambda a=start: scout(a) for start in starts])  # type: ignore[misc]
        rows = np.concatenate([np.arange(0), *(np.arange(start, start + ROWS) for start in starts)])
        known = rows[np.isfinite(before[rows]) & (before[rows] > 0)]
        return float(np.median(state.radius[known] / before[known])) if len(known) else 1.0

    def _resident_groups(self) -> list[list[Panel]]:
        """Panels whose windows are formed together."""
        if self.panels.whole:
            return [self.panels.panels]
        if self.both:
            return [[panel] for panel in self.panels.panels]
        references = [panel for panel in self.panels.panels if panel.source == 1]
        queries = [panel for panel in self.panels.panels if panel.source == 0]
        return [[panel, references[n % len(references)]] for n, panel in enumerate(queries)]

    def _rounds(self) -> Iterator[tuple[tuple[Panel, Panel], list[tuple[int, int]]]]:
        """Rounds of matches (first positions of two blocks), with the panels that must be resident."""
        panels = self.panels.panels
        for a, first in enumerate(panels):
            for second in panels[a:]:
                if not self.both and (first.source, second.source) != (0, 1):
                    continue
                left, right = self._blocks(first), self._blocks(second)
                pairs = tournament(len(left)) if first is second else round_robin(len(left), len(right))
                for pairing in pairs:
                    matches = [(left[x], right[y]) for x, y in pairing if self._may_differ(left[x], right[y])]
                    if matches:
                        yield (first, second), matches

    def _blocks(self, panel: Panel) -> list[int]:
        return list(range(panel.first, panel.first + len(panel), self._block_size))

    @property
    def _block_size(self) -> int:
        """Small enough to keep every thread of every shard busy in each round."""
        lanes = 4 * (self.options.threads or available_threads()) * self.options.shard[1]
        smallest = min(len(panel) for panel in self.panels.panels)
        return max(PAD, min(self.options.block, -(-smallest // lanes // PAD) * PAD))

    def _stop(self, first: int) -> int:
        """The end of the block that begins at ``first``."""
        panel = next(p for p in self.panels.panels if p.first <= first < p.first + len(p))
        return min(first + self._block_size, panel.first + len(panel))

    def _may_differ(self, a: int, b: int) -> bool:
        """Whether two blocks can hold a pair of different labels (blocks are sorted by label)."""
        if len(self.soft):
            return True
        label = self.panels.label
        return len({int(label[p]) for p in (a, self._stop(a) - 1, b, self._stop(b) - 1)}) > 1

    def _play(
        self,
        encoding: Encoding,
        rounds: list[tuple[tuple[Panel, Panel], list[tuple[int, int]]]],
        done: int,
        progress: Progress[list[tuple[int, int]]],
        checkpoint: Checkpoint | None,
        workers: Workers,
    ) -> None:
        number, shards = self.options.shard
        saved = time.monotonic()
        for at, matches in enumerate(progress([matches for _, matches in rounds])):
            if at < done:
                continue
            self.panels.make_resident(*rounds[at][0])
            points = self._points(encoding)

            def task(pair: tuple[int, int], points: Points = points) -> Callable[[], object]:
                a, b = pair
                return lambda: match(encoding.codes, points, self.state, a, self._stop(a), b, self._stop(b), self.both)

            workers.all([task(pair) for pair in matches[number::shards]])
            if checkpoint is not None and (time.monotonic() - saved >= SAVE_EVERY or at + 1 == len(rounds)):
                self._save(checkpoint, at + 1)
                saved = time.monotonic()

    def _layout(self) -> Array:
        """What the positions of a saved state, and its count of rounds, depend on."""
        panels = self.panels
        return np.array([panels.positions, len(panels.panels), self._block_size, *self.options.shard])

    def _save(self, checkpoint: Checkpoint, done: int) -> None:
        arrays = {"key": self.state.key, "neighbour": self.state.neighbour, "layout": self._layout()}
        checkpoint.save(arrays | {"done": np.array([done])})

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        """Take up a saved state; returns the number of rounds it is after, -1 without one.

        Neighbours found stay true whoever looks on, so another number of threads or shards begins the rounds again
        with them.
        """
        saved = None if checkpoint is None else checkpoint.load()
        layout = self._layout()
        if saved is None or not np.array_equal(saved["layout"][:2], layout[:2]):
            return -1
        self.state.key[:], self.state.neighbour[:] = saved["key"], saved["neighbour"]
        worst = self.state.key[:, -1]
        radius = np.sqrt(worst) if self.norm == "l2" else worst
        ranked = slice(0, self.panels.queries)
        self.state.radius[ranked] = radius[ranked] * self.state.widest
        return int(saved["done"][0]) if np.array_equal(saved["layout"], layout) else 0

    def nearest(self) -> tuple[Array, Array]:
        """Keys (N, k) and neighbours (N, k; -1: none) of the points, in the order of their data set."""
        chosen = np.flatnonzero(self.panels.origin[: self.panels.queries] >= 0)
        order = self.panels.origin[chosen]
        key, index = np.empty((len(order), self.state.key.shape[1])), np.empty_like(self.state.neighbour[: len(order)])
        key[order], index[order] = self.state.key[chosen], self.state.neighbour[chosen]
        return key, np.where(index == NO_INDEX, -1, index)


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


def round_robin(left: int, right: int) -> Iterator[list[tuple[int, int]]]:
    """Rounds in which every one of ``left`` meets every one of ``right`` once."""
    seats = max(left, right)
    for turn in range(seats):
        yield [(x, (x + turn) % seats) for x in range(left) if (x + turn) % seats < right]
