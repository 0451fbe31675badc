"""Searches for the sampler's arguments: points of a grid, compared by their clones of the same images (Appendix B)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Resume, durable
from datarobust.diffusion import search
from datarobust.diffusion.cloning import clones
from datarobust.diffusion.denoiser import flops
from datarobust.diffusion.sampler import Sampler
from datarobust.diffusion.search import Result, Rung
from datarobust.errors import DataError, DatarobustError, UsageError
from datarobust.fid import Moments
from datarobust.jobs.clone import Cloning
from datarobust.jobs.make import Form, Output, Text, first_line
from datarobust.networks.features import FeatureSpace
from datarobust.norms import L2, LINF
from datarobust.randomness import Domain, permutation
from datarobust.text import read_json, shown
from datarobust.types import Array, Rows

SHARE = "share"  # role of the hidden file in which other shards find what this one has done of its rungs
_FILE_BYTES = 1 << 28  # of a file of lines, at most
_KEYS = {"point": int, "seed": int, "images": int, "score": float}
Pair = tuple[int, int]  # a point and a seed


@dataclass(frozen=True)
class Search:
    """Points of a grid to be compared by their clones of the same images.

    The output has the request in its first line, and a line for each finished point.
    """

    cloning: Cloning  # dataset, denoiser, chosen points, and how they are cloned but for what the grid varies
    space: FeatureSpace  # by which clones are compared
    points: Sequence[Sampler]  # of the grid
    seeds: tuple[int, ...]  # of the last rung; the others take the first
    strategy: Literal["full", "halving"]
    shard: tuple[int, int] = (0, 1)  # place among runs that share the work without knowing of each other; their number
    also: tuple[Path, ...] = ()  # files of those runs

    def __post_init__(self) -> None:
        if len(self.cloning.chosen.rows) < 2:
            raise DataError("a Fréchet distance is of two images or more: choose more points")
        if self.space.extract is None:
            raise UsageError("a search makes its clones itself: features in a file are for fid alone")

    @property
    def form(self) -> Form:
        """A text file, which is complete where no rung lacks a result."""

        def complete(path: Path) -> bool:
            standings = self.standings(self._results_in(path, *self.also))
            return len(standings) == len(self.rungs) and len(standings[-1]) == len(self.pairs(standings[:-1]))

        return Text(complete)

    @cached_property
    def rungs(self) -> list[Rung]:
        """Of the search, first to last."""
        return search.ladder(self.strategy, len(self.points), len(self.cloning.chosen.rows), self.seeds)

    @cached_property
    def rows(self) -> Rows:
        """The chosen rows in the order in which rungs take them; a function of their number alone."""
        rows = self.cloning.chosen.rows
        return rows[permutation(0, Domain.SEARCH_ORDER.of(0), len(rows))]

    @property
    def measure(self) -> dict[str, str]:
        """What a score is: the FID, or the Fréchet distance of other features than Inception's."""
        return {"measure": "fid" if self.space.name == "inception" else "frechet", "features": self.space.name}

    def request(self) -> dict[str, Any]:
        """All that decides the results, up to rounding."""
        settings = self.cloning.settings
        grid = {name: sorted({getattr(point, name) for point in self.points}) for name in search.GRID}
        grid["S_max"] = [value if math.isfinite(value) else None for value in grid["S_max"]]
        if grid["S_max"] == [None]:  # as in searches of before, whose grid did not have it
            del grid["S_max"]
        return {
            "tool": "clone-search",
            "features": self.space.name,
            "strategy": self.strategy,
            "seeds": list(self.seeds),
            "grid": grid,
            "clones": artifacts.fingerprint(self.cloning.request()),
            **{name: settings[name] for name in ("dataset", "model", "precision", "conditioning")},
            "start": {name: settings["start"][name] for name in ("name", "noise_weight")},
            "num_steps": settings["sampler"]["num_steps"],
            "points": len(self.rows),
        }

    def plan(self) -> dict[str, Any]:
        """The cost: how many clones are made at most."""
        made, before = 0, 0
        for rung in self.rungs:
            made += rung.points * (rung.images * len(rung.seeds) - before)
            before = rung.images
        evaluations = self.points[0].evaluations
        return {
            **self.measure,
            "points": len(self.points),
            "rungs": [{"points": r.points, "images": r.images, "seeds": len(r.seeds)} for r in self.rungs],
            "clones": made,
            "operations": made * evaluations * flops(self.cloning.model),
        }

    def pairs(self, before: Sequence[Sequence[Result]]) -> list[Pair]:
        """The points and seeds that the rung after these rungs needs."""
        rung = self.rungs[len(before)]
        points = search.survivors(before[-1], rung.points) if before else range(len(self.points))
        return [(point, seed) for point in points for seed in rung.seeds]

    def standings(self, known: Sequence[Result]) -> list[list[Result]]:
        """The results of each rung; the last is the first that lacks some, or the last of the search."""
        standings: list[list[Result]] = []
        for rung in self.rungs:
            pairs = set(self.pairs(standings))
            results = {(r.point, r.seed): r for r in known if r.images == rung.images and (r.point, r.seed) in pairs}
            standings.append(list(results.values()))
            if len(results) < len(pairs):
                break
        return standings

    def _results_in(self, *paths: Path) -> list[Result]:
        """What these files have of this search; nothing where they are of another one, or not there yet."""
        request = artifacts.fingerprint(self.request())
        files = [file for path in paths for file in (path, durable.hidden(path, SHARE))]
        of_this = [file for file in files if first_line(file).get("request") == request]
        return [_of_line(line) for file in of_this for line in read(file)[1]]

    def findings(self, path: Path) -> dict[str, Any]:
        """Of the finished search: main effects over all points, the spread of seeds, the top set."""
        standings = self.standings(self._results_in(path, *self.also))
        means = search.mean_scores(standings[-1])
        effects = search.main_effects(standings[0], self.points)
        top = search.top_set(standings[-1])
        return {
            **self.measure,
            "main_effects": {name: {f"{v:g}": score for v, score in by.items()} for name, by in effects.items()},
            "main_effects_images": self.rungs[0].images,
            "seed_spread": search.seed_spread(standings[-1]),
            "images": self.rungs[-1].images,
            "top": [{"point": n, **search.varied(self.points[n]), "score": means[n]} for n in top],
        }

    def run(self, output: Output) -> None:
        """Evaluate all points that are not known; several processes take turns.

        Raises DatarobustError where another shard has not done its part of a rung yet. That of this one is written: to
        the output where it was the last rung, else beside it.
        """
        group, (place, shards) = output.group, self.shard
        own = self._begun(output)
        known = [*own, *self._results_in(*self.also)]

        @cache
        def reference(images: int) -> Moments:
            return Moments.of(self.space.of(self.cloning.dataset.column("images").take(self.rows[:images])))

        for number, rung in enumerate(self.rungs):
            standings = self.standings(known)
            pairs = self.pairs(standings[:number])
            done = {(result.point, result.seed) for result in standings[number]}
            todo = [pair for at, pair in enumerate(pairs) if at % shards == place and pair not in done]
            after = self.rungs[number + 1].points if number + 1 < len(self.rungs) else 0
            progress = output.labelled(f"rung {number + 1} of {len(self.rungs)}, points")
            for start in progress(range(0, len(todo), group.size)):
                row = np.full(6, -1.0)
                for pair in todo[start + group.rank : start + group.size][:1]:
                    row[:] = self._evaluated(*pair, rung, reference, output.resume, after > 0)
                new = [_of_row(row) for row in group.all_gather(row) if row[0] >= 0]
                own += new
                known += new
                if group.is_main:
                    output.resume.save({"rows": np.array(own)})
                    results = self.standings(known)[number]
                    best = set(search.survivors(results, after))
                    for result in results:  # features of points that will not come again
                        if result.point not in best:
                            output.resume.part(f"{result.point}-{result.seed}").discard_part()
            missing = len(pairs) - len(self.standings(known)[number])
            if missing:
                self._write(output, own, whole=number + 1 == len(self.rungs))
                lack = f"rung {number + 1} lacks {missing} of {len(pairs)} results"
                raise DatarobustError(f"{lack}: run the other shards, and name their files with `also`")
        self._write(output, own, whole=True)

    def _begun(self, output: Output) -> list[Result]:
        """What earlier runs have done."""
        table = np.zeros((0, 6))
        if output.group.is_main:
            table = np.array(self._results_in(output.path)).reshape(-1, 6)
            if (state := output.resume.load()) is not None:
                table = np.concatenate([table, state["rows"].reshape(-1, 6)])
        count = int(output.group.all_gather(np.array([len(table)]))[0][0])
        table = output.group.all_gather(table if output.group.is_main else np.zeros((count, 6)))[0]
        return list({result[:3]: result for result in map(_of_row, table)}.values())

    def _evaluated(
        self, point: int, seed: int, rung: Rung, reference: Callable[[int], Moments], resume: Resume, keep: bool
    ) -> Result:
        """The result of a point with a seed; ``keep`` features for the next rung."""
        expected = reference(rung.images)  # before there are features of clones: both are large
        part = resume.part(f"{point}-{seed}")
        state = part.load() or {}
        features, distances = ([state[name]] if state else [] for name in ("features", "distances"))
        start = len(features[0]) if features else 0
        if start < rung.images:
            rows = self.rows[start : rung.images]
            chosen = replace(self.cloning.chosen, rows=rows)
            job = replace(self.cloning, sampler=self.points[point], seed=seed, chosen=chosen)
            for number, made in clones(job.model, job.task, job.batch, pad=job.compiled):
                images = job.task.images(rows[number : number + len(made)])
                features.append(self.space.of(made))
                both = [norm.distances(norm.keys(images, made), np.uint8) for norm in (L2, LINF)]
                distances.append(np.stack(both, 1))
        whole, apart = np.concatenate(features)[: rung.images], np.concatenate(distances)[: rung.images]
        features.clear()
        if keep:
            part.save({"features": whole, "distances": apart})
        score = expected.distance(Moments.of(whole))
        if not np.isfinite(score):
            raise DatarobustError(f"point {point} has no finite score: its clones have features that are not finite")
        return Result(point, seed, rung.images, score, *(float(column.mean()) for column in apart.T))

    def _write(self, output: Output, results: Sequence[Result], whole: bool) -> None:
        """Write the file, the request and a line a result; until it has all of this shard, under a hidden name."""
        if not output.group.is_main:
            return
        lines: list[dict[str, Any]] = [{"request": output.request, **self.request(), "compiled": self.cloning.compiled}]
        for point, seed, images, score, l2, linf in results:
            values = {**search.varied(self.points[point]), "l2": l2, "linf": linf}
            lines.append({"point": point, **values, "seed": seed, "images": images, "score": score, **self.measure})
        text, share = "".join(f"{json.dumps(line)}\n" for line in lines), durable.hidden(output.path, SHARE)
        if whole:
            output.write_text(text)
        with durable.os_errors(output.path):
            durable.remove(share) if whole else durable.replace_file(share, text.encode())
        output.resume.discard_part()  # the file has all of it


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first line of a file of clone-search, and the others, without a line that a kill of version 0.1 tore."""
    with durable.os_errors(path, "read"):
        if path.stat().st_size > _FILE_BYTES:
            raise DataError(f"{shown(path)} is too large for lines of clone-search")
        data = path.read_bytes()
    lines = []
    for number, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines() or [b""], 1):
        try:
            line = read_json(text)
        except ValueError as error:
            raise DataError(f"{shown(path)}, line {number} is not a line of clone-search ({error})") from error
        if not isinstance(line, dict):
            raise DataError(f"{shown(path)}, line {number} is not a line of clone-search")
        for key, kind in _KEYS.items() if number > 1 else ():
            if type(line.get(key)) not in (kind, int):
                raise DataError(f"{shown(path)}, line {number} has no {key}: it is not a line of clone-search")
        lines.append(line)
    if "request" not in lines[0]:
        raise DataError(f"{shown(path)} holds no lines of clone-search: its first line has no request")
    return lines[0], lines[1:]


def gather(paths: Sequence[Path]) -> tuple[str, list[Sampler], list[Result]]:
    """The features that scores are distances of, the points of the grid, and the results in files of one search."""
    files = [read(path) for path in paths]
    first, _ = files[0]
    if not isinstance(changes := first.get("grid"), dict):
        raise DataError(f"{shown(paths[0])} holds no lines of clone-search: its first line has no grid")
    try:
        axes = {name: [math.inf if value is None else float(value) for value in axis] for name, axis in changes.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{shown(paths[0])} holds no lines of clone-search: its grid is not made of numbers") from error
    points = search.grid(axes, Sampler())
    results = {}
    for path, (header, lines) in zip(paths, files, strict=True):
        if header["request"] != first["request"]:
            raise DataError(f"{shown(path)} has lines of another search than {shown(paths[0])}")
        for number, result in enumerate(map(_of_line, lines), 2):
            if not 0 <= result.point < len(points):
                raise DataError(f"{shown(path)}, line {number} has point {result.point}, which the grid does not have")
            results[result[:3]] = result
    return str(first.get("features", "")), points, list(results.values())


def sentences(findings: Mapping[str, Any]) -> Iterator[str]:
    """The findings of a search in words, each with what its scores are."""
    measure = "FID" if findings["measure"] == "fid" else f"Fréchet distance of {findings['features']}"
    for name, effects in findings["main_effects"].items():
        means = ", ".join(f"{value}: {score:.4g}" for value, score in effects.items())
        yield f"Mean {measure} on {findings['main_effects_images']:,} images by {name}: {means}."
    spread = findings["seed_spread"]
    images = f"{findings['images']:,} images"
    known = "unknown, because only one seed was run" if spread is None else f"{spread:.3g}"
    yield f"Seed-to-seed variation of the {measure} on {images}: {known}."
    yield f"Points within seed-to-seed variation of the best {measure}: {len(findings['top'])}."
    for point in findings["top"]:
        values = ", ".join(
            f"{name} {math.inf if value is None else value:g}"
            for name, value in point.items()
            if name not in ("point", "score")
        )
        yield f"  {measure} {point['score']:.4g} on {images}: {values}"


def _of_line(line: Mapping[str, Any]) -> Result:
    return Result(*(line.get(key, math.nan) for key in Result._fields))


def _of_row(row: Array) -> Result:
    return Result(*map(int, row[:3]), *map(float, row[3:]))
