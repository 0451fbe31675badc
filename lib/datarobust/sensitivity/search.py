"""The search: which engine does it, and the compiled one's plan.

The compiled search encodes all points, gives each a good first neighbour, and lets every pair of blocks meet once.
Blocks meet as in a round-robin tournament: within a round no block plays twice, so threads never touch the same point
and need no locks. A round is also the unit of resuming (the state after it is all there is to save) and its matches
are what shards divide. Keys only fall and equal keys go to the lower index, so neither the order of the matches nor
who plays them can change the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from datarobust.errors import UsageError
from datarobust.norms import norm_of
from datarobust.types import Array, Floats, Progress, Rows

from . import generic, native
from .codes import Encoding
from .generic import PlainSearch
from .panels import NO_INDEX, Checkpoint, Labelled, Panel, Panels, Saves, padded_width, panel_rows
from .schedule import LANES, Schedule, windows
from .workers import Workers

BLOCK = 2048
"""Points of a block: its codes stay in the processor's second-level cache."""

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
    engine: Literal["auto", "native", "generic"] = "auto"
    device: str | None = None
    """A device of PyTorch for the generic engine, such as "cuda"; None: the processor, without PyTorch."""


def engine_of(norm: str, options: Options) -> Literal["native", "generic"]:
    """The engine that serves a search.

    Raises:
        UsageError: the compiled search was demanded and cannot serve it, or the environment forces instructions that
            the processor lacks.
    """
    able = norm in COMPILED and options.device is None and native.library() is not None
    if able:
        native.level()
    if options.engine == "native" and not able:
        raise UsageError(f"the compiled search does not serve the norm {norm} here: leave the choice to datarobust")
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
        with Workers(self.options.threads) as workers:
            encoding = Encoding(self.panels, self.norm, workers)
            done = self._restore(checkpoint)
            if done < 0:
                self._seed(encoding, workers)
            if encoding.refinable:
                fresh = done < 0
                encoding.refine(self.radius * (self._scout(encoding, workers) if fresh else 1.0), self.same)
                if fresh:
                    self._seed(encoding, workers)
            self._play(encoding, max(done, 0), progress, checkpoint, workers)
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

    def _seed(self, encoding: Encoding, workers: Workers) -> None:
        """First neighbours, from windows of points with similar leading coordinates (and of one label, with `same`)."""
        queries = NO_INDEX if self.both else self.panels.queries
        for resident in self._resident_groups():
            self.panels.make_resident(*resident)
            kernel = self._kernel(encoding)
            positions = np.concatenate([np.arange(p.first, p.first + len(p)) for p in resident])

            def task(window: Rows, kernel: native.Kernel = kernel) -> Callable[[], object]:
                return lambda: kernel.seed(window, queries, self.both)

            groups = [positions]
            if self.same:
                positions = positions[np.argsort(self.panels.label[positions], kind="stable")]
                groups = np.split(positions, np.flatnonzero(np.diff(self.panels.label[positions])) + 1)
            workers.all([task(window) for group in groups for window in windows(encoding.leading, group, WINDOW)])

    def _scout(self, encoding: Encoding, workers: Workers) -> float:
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
                kernel.match((start, start + ROWS), (panel.first, panel.first + len(panel)), False)

        workers.all([lambda start=start: scout(start) for start in starts])  # type: ignore[misc]
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

    def _play(
        self, encoding: Encoding, done: int, progress: Progress, checkpoint: Checkpoint | None, workers: Workers
    ) -> None:
        saves = Saves(checkpoint)
        for at, turn in enumerate(progress(self.schedule)):
            if at < done:
                continue
            self.panels.make_resident(*turn.panels)
            kernel = self._kernel(encoding)

            def task(ends: tuple[int, int, int, int], kernel: native.Kernel = kernel) -> Callable[[], object]:
                return lambda: kernel.match(ends[:2], ends[2:], self.both)

            number, shards = self.options.shard
            workers.all([task(ends) for ends in turn.matches[number::shards]])
            saves.save(partial(self._state, at + 1), last=at + 1 == len(self.schedule))

    def _state(self, done: int) -> dict[str, Array]:
        """What is saved after a number of rounds."""
        key, neighbour = self._nearest()
        return {"key": key, "neighbour": neighbour, "layout": self._layout(), "done": np.array([done])}

    def _layout(self) -> Array:
        """What a count of rounds depends on."""
        return np.append(self.schedule.layout, [*self.options.shard, _FORMAT])

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        """Take up a saved state; returns the number of rounds it is after, -1 without one.

        The state is kept in the order of the data set. Neighbours found stay true whoever looks on, so with another
        cut, block or number of shards the rounds begin again with them.
        """
        saved = None if checkpoint is None else checkpoint.load()
        if saved is None:
            return -1
        positions, rows = self._ranked()
        self.key[positions] = saved["key"][rows]
        self.neighbour[positions] = np.where(saved["neighbour"][rows] < 0, NO_INDEX, saved["neighbour"][rows])
        self.radius[positions] = norm_of(self.norm).to_distance(self.key[positions, -1]) * self.widest
        return int(saved["done"][0]) if np.array_equal(saved["layout"], self._layout()) else 0

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
