"""A search for the sampler's arguments as it was asked for: which points, on which images, and what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from datarobust import artifacts
from datarobust.clones.job import Job
from datarobust.clones.lines import Lines
from datarobust.diffusion import search
from datarobust.diffusion.cloning import clones
from datarobust.diffusion.search import Point, Result, Rung
from datarobust.distributed import Group
from datarobust.errors import DataError, DatarobustError, UsageError
from datarobust.fid.features import FeatureSpace
from datarobust.fid.frechet import Moments
from datarobust.norms import L2, LINF
from datarobust.randomness import Domain, permutation

T = TypeVar("T")
Progress = Callable[[Iterable[T]], Iterable[T]]
Images = npt.NDArray[np.uint8]
"""Domain of the order in which images are taken; prefixes of it are the rungs' sets."""


@dataclass(frozen=True)
class Search:
    """Points of a grid to be compared by their clones of the same images.

    Attributes:
        job: dataset, denoiser, chosen points, and how they are cloned but for what the grid varies.
        measure: features that clones are compared by.
        points: of the grid.
        seeds: of the last rung; the others take the first.
        strategy: all points on all images, or by halving.
        batch: clones at a time.
        shard: this run's place among runs that share the work without knowing of each other, and their number.
        also: files of those runs.
    """

    job: Job
    measure: FeatureSpace
    points: Sequence[Point]
    seeds: tuple[int, ...]
    strategy: Literal["full", "halving"]
    batch: int
    shard: tuple[int, int] = (0, 1)
    also: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if len(self.job.chosen.rows) < 2:
            raise DataError("a Fréchet distance is of two images or more: choose more points")
        if self.measure.extract is None:
            raise UsageError("a search makes its clones itself: features in a file are for fid alone")

    @cached_property
    def rungs(self) -> list[Rung]:
        """Of the search, first to last."""
        return search.ladder(self.strategy, len(self.points), len(self.job.chosen.rows), self.seeds)

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The chosen rows in the order in which rungs take them; a function of their number alone."""
        rows = self.job.chosen.rows
        return rows[permutation(0, Domain.SEARCH_ORDER.of(0), len(rows))]

    @property
    def asked(self) -> dict[str, Any]:
        """What decides the results, up to rounding."""
        told = self.job.attributes
        return {
            "tool": "clone-search",
            "features": self.measure.name,
            "strategy": self.strategy,
            "seeds": list(self.seeds),
            "grid": {name: sorted({point.values()[name] for point in self.points}) for name in search.GRID},
            "clones": told["request"],
            **{name: told[name] for name in ("dataset", "model", "precision", "conditioning")},
            "start": {name: told["start"][name] for name in ("name", "noise_weight")},
            "num_steps": told["sampler"]["num_steps"],
            "points": len(self.rows),
        }

    @property
    def cost(self) -> int:
        """How many clones are made at most."""
        made, before = 0, 0
        for rung in self.rungs:
            made += rung.points * (rung.images * len(rung.seeds) - before)
            before = rung.images
        return made

    def run(
        self, output: Path, processes: Group, progress: Callable[[str], Progress[Any]], overwrite: bool = False
    ) -> list[list[Result]]:
        """The results of each rung; what the lines already have is not done again.

        Raises:
            DatarobustError: another shard has not done its part of a rung yet.
        """
        lines = Lines(output, self.asked)
        known = lines.begin(overwrite) if processes.leads else []
        processes.agree(True)
        known = known if processes.leads else lines.results()
        for other in self.also:
            known += Lines(other, self.asked).results()
        work = _Work(self, lines, processes)
        candidates, found = list(range(len(self.points))), []
        for number, rung in enumerate(self.rungs):
            wanted = [(point, seed) for point in candidates for seed in rung.seeds]
            results = [
                result for result in known if result.images == rung.images and (result.point, result.seed) in wanted
            ]
            done = {(result.point, result.seed) for result in results}
            place, shards = self.shard
            todo = [unit for at, unit in enumerate(wanted) if at % shards == place and unit not in done]
            after = self.rungs[number + 1].points if number + 1 < len(self.rungs) else 0
            results += work.rung(
                rung, todo, results, after, progress(f"rung {number + 1} of {len(self.rungs)}, points")
            )
            if len(results) < len(wanted):
                missing = f"{len(wanted) - len(results)} of {len(wanted)} results"
                raise DatarobustError(
                    f"rung {number + 1} lacks {missing}, which other shards have to bring: run them, and name their "
                    "files with `also`"
                )
            candidates = search.survivors(results, after)
            found.append(results)
        if processes.leads:
            work.clean()
        return found


class _Work:
    """Evaluates points; features of points that may be wanted again are kept beside the lines."""

    def __init__(self, asked: Search, lines: Lines, processes: Group) -> None:
        self._search, self._lines, self._processes = asked, lines, processes
        self._references: dict[int, Moments] = {}

    def rung(
        self, rung: Rung, todo: list[tuple[int, int]], results: Sequence[Result], after: int, progress: Progress[Any]
    ) -> list[Result]:
        """The results of so many units (point, seed), of which the processes take turns."""
        found: list[Result] = []
        size = self._processes.size
        for start in progress(range(0, len(todo), size)):
            mine = todo[start + self._processes.rank : start + size][:1]
            numbers = np.full(6, -1.0)
            for point, seed in mine:
                numbers[:] = [point, seed, *self._evaluate(point, seed, rung, keep=after > 0)]
            for row in self._processes.all_gather(numbers):
                if row[0] >= 0:
                    found.append(self._told(row))
            self._prune([*results, *found], after)
        return found

    def _told(self, row: npt.NDArray[np.float64]) -> Result:
        """One gathered row as a result, which is in the lines when this returns."""
        result = Result(int(row[0]), int(row[1]), int(row[2]), float(row[3]))
        if self._processes.leads:
            values = self._search.points[result.point].values()
            self._lines.add(result, {**values, "l2": float(row[4]), "linf": float(row[5])})
        return result

    def _evaluate(self, point: int, seed: int, rung: Rung, keep: bool) -> tuple[int, float, float, float]:
        """Images, score, mean l2 and mean linf distance of clones from their images."""
        asked = self._search
        journal = self._journal(point, seed)
        state = journal.load() or {}
        features = [state["features"]] if state else []
        distances = [state["distances"]] if state else []
        begun = len(features[0]) if features else 0
        for images, made in self._cloned(point, seed, begun, rung.images):
            features.append(asked.measure.of(made))
            keys = [norm.distances(norm.keys(images, made), np.uint8) for norm in (L2, LINF)]
            distances.append(np.stack(keys, 1))
        whole, apart = np.concatenate(features)[: rung.images], np.concatenate(distances)[: rung.images]
        if keep:
            journal.save({"features": whole, "distances": apart})
        score = self._reference(rung.images).distance(Moments.of(whole))
        if not np.isfinite(score):
            raise DatarobustError(f"point {point} has no finite score: its clones have features that are not finite")
        return rung.images, score, float(apart[:, 0].mean()), float(apart[:, 1].mean())

    def _cloned(self, point: int, seed: int, start: int, stop: int) -> Iterator[tuple[Images, Images]]:
        """Images and their clones, a batch at a time, from number ``start`` on."""
        asked = self._search
        if start >= stop:
            return
        request = replace(asked.job.request, sampler=asked.points[point].sampler, seed=seed)
        rows = asked.rows[start:stop]
        job = replace(asked.job, request=request, chosen=replace(asked.job.chosen, rows=rows))
        for number, made in clones(job.model, job.task, asked.batch):
            yield job.task.images.take(rows[number : number + len(made)]), made

    def _reference(self, count: int) -> Moments:
        if count not in self._references:
            images = self._search.job.dataset.column("images").take(self._search.rows[:count])
            self._references[count] = Moments.of(self._search.measure.of(images))
        return self._references[count]

    def _journal(self, point: int, seed: int) -> artifacts.Journal:
        output = self._lines.path
        return artifacts.Journal(output.with_name(f"{output.name}.{point}-{seed}"), self._lines.request)

    def _prune(self, results: Sequence[Result], after: int) -> None:
        """Drop the features of points that will not come again."""
        if self._processes.leads and after and results:
            best = set(search.survivors(results, after))
            for point, seed in {(result.point, result.seed) for result in results if result.point not in best}:
                self._journal(point, seed).discard()

    def clean(self) -> None:
        """Drop all features, once the search is done."""
        for point in range(len(self._search.points)):
            for seed in self._search.seeds:
                self._journal(point, seed).discard()
