"""The search: encode all points, give each a good first neighbour, then let every pair of blocks meet once.

Blocks meet as in a round-robin tournament: within a round no block plays twice, so threads never touch the same point
and need no locks. A round is also the unit of resuming (the state after it is all there is to save) and its matches
are what shards divide. Keys only fall and equal keys go to the lower index, so neither the order of the matches nor
who plays them can change the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from datarobust.norms import norm_of

from . import l2_kernels as _l2_kernels  # noqa: F401  registers the overloads
from . import linf_kernels as _linf_kernels  # noqa: F401
from .compiled import SOURCES
from .encoding import Encoding
from .kernels import match, seed
from .panels import Panel, Panels
from .schedule import Round, Schedule, windows
from .simd import ROWS, VNNI
from .tables import NO_INDEX, Array, Points, State, new_state
from .workers import Workers

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
        self.schedule = Schedule(panels, options.block, options.shard[1], soft is not None)
        self.soft = np.zeros((0, 0), np.float32) if soft is None else soft
        self.state: State = new_state(panels.positions, k, widest, soft is None and panels.dtype == np.uint8)
        if not self.both:
            self.state.radius[panels.queries :] = 0.0

    def run(self, progress: Progress[Round], checkpoint: Checkpoint | None) -> State:
        """Search all pairs; a checkpoint left by an earlier run is continued."""
        with Workers(self.options.threads) as workers:
            encoding = Encoding(self.panels, self.norm, self.options.vector, workers)
            done = self._restore(checkpoint)
            if done < 0:
                self._seed(encoding, workers)
            if encoding.refinable:
                fresh = done < 0
                encoding.refine(self.state.radius * (self._scout(encoding, workers) if fresh else 1.0))
                if fresh:
                    self._seed(encoding, workers)
            self._play(encoding, done, progress, checkpoint, workers)
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
        shrink = float(np.median(state.radius[known] / before[known])) if len(known) else 1.0
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

    def _play(
        self,
        encoding: Encoding,
        done: int,
        progress: Progress[Round],
        checkpoint: Checkpoint | None,
        workers: Workers,
    ) -> None:
        saved = time.monotonic()
        for at, turn in enumerate(progress(self.schedule)):
            if at < done:
                continue
            self.panels.make_resident(*turn.panels)
            points = self._points(encoding)

            def task(ends: tuple[int, int, int, int], points: Points = points) -> Callable[[], object]:
                return lambda: match(encoding.codes, points, self.state, *ends, self.both)

            number, shards = self.options.shard
            workers.all([task(ends) for ends in turn.matches[number::shards]])
            if checkpoint is not None and (time.monotonic() - saved >= SAVE_EVERY or at + 1 == len(self.schedule)):
                self._save(checkpoint, at + 1)
                saved = time.monotonic()

    def _layout(self) -> Array:
        """What a count of rounds depends on: the schedule, this shard of it, and the code that plays it."""
        return np.append(self.schedule.layout, [*self.options.shard, int(SOURCES[:15], 16)])

    def _save(self, checkpoint: Checkpoint, done: int) -> None:
        key, neighbour = self.nearest()
        checkpoint.save({"key": key, "neighbour": neighbour, "layout": self._layout(), "done": np.array([done])})

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        """Take up a saved state; returns the number of rounds it is after, -1 without one.

        The state is kept in the order of the data set. Neighbours found stay true whoever looks on, so with another
        cut, block or number of shards the rounds begin again with them.
        """
        saved = None if checkpoint is None else checkpoint.load()
        if saved is None:
            return -1
        chosen, rows = self._ranked()
        self.state.key[chosen] = saved["key"][rows]
        found = saved["neighbour"][rows]
        self.state.neighbour[chosen] = np.where(found < 0, NO_INDEX, found)
        reach = norm_of(self.norm).to_distance(self.state.key[chosen, -1])
        self.state.radius[chosen] = reach * self.state.widest
        return int(saved["done"][0]) if np.array_equal(saved["layout"], self._layout()) else 0

    def _ranked(self) -> tuple[Array, Array]:
        """Positions of the points that are ranked, and their rows in the data set."""
        chosen = np.flatnonzero(self.panels.origin[: self.panels.queries] >= 0)
        return chosen, self.panels.origin[chosen]

    def nearest(self) -> tuple[Array, Array]:
        """Keys (N, k) and neighbours (N, k; -1: none) of the points, in the order of their data set."""
        chosen, rows = self._ranked()
        key, index = np.empty_like(self.state.key[: len(rows)]), np.empty_like(self.state.neighbour[: len(rows)])
        key[rows], index[rows] = self.state.key[chosen], self.state.neighbour[chosen]
        return key, np.where(index == NO_INDEX, -1, index)
