"""Maps as artifacts: from a dataset and its ranking to a map of a sample of its points (Figures 2 (c, d), 6, 17)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

import numpy as np

from datarobust import artifacts, embedding
from datarobust.artifacts import Store
from datarobust.artifacts.history import join
from datarobust.errors import DataError, UsageError
from datarobust.jobs.dataset import named
from datarobust.jobs.make import Artifact, Form, Output
from datarobust.text import shown
from datarobust.types import Array, Floats, Rows

Method = Literal["mds", "rte"]

POINTS: Final = 1000  # of a map, as in Section 4, 'Experimental Setup'
#: Method -> its options and their defaults; the norm is the ranking's then.
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "mds": {"scaling": "metric", "norm": None, "init": "classical", "n_init": 4, "max_iter": 300},
    "rte": {"n_estimators": 100, "max_depth": 5},
}


def options_of(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the method: those that are not None, else the defaults; one that would say nothing is refused."""
    chosen = {name: value for name, value in options.items() if value is not None}
    for name in sorted(set(chosen) - set(OPTIONS[method])):
        raise UsageError(f"`{name}` says nothing to `method` {method}: leave it out")
    complete = {**OPTIONS[method], **chosen}
    if complete.get("scaling") == "classical":
        for name in sorted(set(chosen) & {"init", "n_init", "max_iter"}):
            raise UsageError(f"`{name}` is of SMACOF, and `scaling` classical has no iterations: leave it out")
    if complete.get("init") == "classical" and "n_init" in chosen:
        raise UsageError("`n_init` counts random starts: add `init` random, or leave it out")
    return complete


@dataclass(frozen=True)
class Embedding:
    """A map of a sample of a dataset's points."""

    form: ClassVar[Form] = Artifact("embedding")

    dataset: Store
    ranking: Store  # of that dataset
    count: int | None  # points of the sample; None: POINTS, or all that have a distance where there are fewer
    method: Method
    options: Mapping[str, Any]  # as options_of gives them
    seed: int = 0  # of sample, random starts, trees and permutations
    limit: int | None = None  # sample only the first points of the dataset

    def __post_init__(self) -> None:
        artifacts.demand_same_points(self.ranking, self.dataset)
        if len(self.ranking) != len(self.dataset):
            sizes = f"ranks {len(self.ranking):,} points, but {shown(self.dataset.path)} has {len(self.dataset):,}"
            raise DataError(f"{shown(self.ranking.path)} {sizes}: make it again")
        where = f"{shown(self.ranking.path)}{'' if self.limit is None else f', first {self.limit:,} points'}"
        if not self.finite:
            raise DataError(f"{where}: no point has a finite distance: rank a dataset of two classes or more")
        if self.finite < embedding.FEWEST:
            raise DataError(f"{where}: a map takes {embedding.FEWEST} points or more, not {self.finite}")
        if self.count is not None and self.count > self.finite:
            sample = f"choose `n` from {embedding.FEWEST} to {self.finite:,}"
            raise UsageError(f"{where}: {self.finite:,} points have a finite distance: {sample}")

    @cached_property
    def distance(self) -> Floats:
        """(N,) robustness of the points that may be sampled."""
        return np.asarray(self.ranking.column("distance").read(), np.float64)[: self.limit]

    @property
    def finite(self) -> int:
        """How many points may be sampled."""
        return int(np.isfinite(self.distance).sum())

    @cached_property
    def rows(self) -> Rows:
        """(M,) the sample, least robust first."""
        return embedding.stratified(self.distance, min(self.finite, self.count or POINTS), self.seed)

    @cached_property
    def points(self) -> Array:
        """(M, ...) the sample's images (uint8) or features (float32), verified."""
        return self.dataset.column("images" if "images" in self.dataset else "features").take(self.rows)

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes that decide the map (ARTIFACTS.md)."""
        options = dict(self.options)
        settings: dict[str, Any] = {"method": self.method, "norm": self.ranking.attributes["norm"], "seed": self.seed}
        if self.method == "mds":
            settings["scaling"] = options.pop("scaling")
            settings["dissimilarity"] = options.pop("norm") or settings["norm"]
            if settings["scaling"] == "classical":
                options = {}
            elif options["init"] == "classical":
                del options["n_init"]
        return settings | {"arguments": options, "dataset": self.dataset.digest, "ranking": self.ranking.digest}

    @property
    def about(self) -> dict[str, Any]:
        """Attributes that decide nothing."""
        return {"name": str(self.dataset.attributes["name"]), "left_out": len(self.distance) - self.finite}

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        return {"tool": "embed", "points": len(self.rows), "limit": self.limit, **self.settings, **named(self.dataset)}

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        if left := self.about["left_out"]:
            yield f"{left:,} points have no finite distance to another label and are not on the map."
        if self.count is None and self.finite < POINTS:
            yield f"All {self.finite:,} points with a distance are on the map, because there are fewer than {POINTS:,}."

    def plan(self) -> dict[str, Any]:
        """The cost of the job: the operations of all iterations at most, and bytes held."""
        count, width = len(self.rows), int(np.prod(self.points.shape[1:]))
        settings = {name: value for name, value in self.settings.items() if name not in ("dataset", "ranking")}
        if self.method == "rte":
            operations = count * self.options["n_estimators"] * self.options["max_depth"]
            held = 4 * count * width + 12 * count * self.options["n_estimators"]
        else:
            starts = self.options["n_init"] if self.options["init"] == "random" else 1
            rounds = 0 if self.options["scaling"] == "classical" else starts * self.options["max_iter"]
            operations = 3 * count * count // 2 * width + 20 * rounds * count * count
            held = 8 * count * width + 8 * 8 * count * count
        cost = {"operations": operations, "bytes_to_hold": held}
        return {"points": count, "numbers": width, **settings, **self.about, **cost}

    def run(self, output: Output) -> None:
        """Make the map and write it."""
        settings, quality = self.settings, dict[str, Any]()
        try:
            if self.method == "rte":
                position, quality["leaves"] = embedding.random_trees(self.points, **self.options, seed=self.seed)
            else:
                dissimilarity = embedding.dissimilarities(self.points, settings["dissimilarity"])
        except DataError as error:
            raise DataError(f"{shown(self.dataset.path)}: {error}") from error
        if self.method == "mds":
            options = {name: value for name, value in self.options.items() if name != "norm"}
            result = embedding.scaled(dissimilarity, **options, seed=self.seed, progress=output.progress)
            position, quality = result.position, {"stress": result.stress, "raw_stress": result.raw_stress}
            if settings["scaling"] != "classical":
                quality |= {"iterations": result.iterations, "converged": result.converged}
        robustness = self.distance[self.rows]
        attributes = {
            **settings,
            **self.about,
            **quality,
            "coherence": asdict(embedding.neighbour_correlation(position, robustness, self.seed)),
            "libraries": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn")},
        }
        arrays = {"position": position, "index": self.rows, "distance": robustness}
        if "names" in self.dataset:
            arrays["names"] = self.dataset.column("names").take(self.rows)
        step = output.step({"dataset": self.dataset.digest, "ranking": self.ranking.digest})
        output.save(arrays, attributes, [*join([self.dataset.history, self.ranking.history]), step])


def summary(store: Store) -> dict[str, Any]:
    """What an embedding is and how good it is, as one JSON object has it."""
    settings = ("name", "method", "scaling", "dissimilarity", "norm", "seed", "arguments", "left_out")
    quality = ("stress", "raw_stress", "iterations", "converged", "leaves", "coherence", "libraries")
    attributes = {name: store.attributes[name] for name in (*settings, *quality) if name in store.attributes}
    return {"points": len(store), **attributes}


def remarks(store: Store) -> Iterator[str]:
    """What a reader of the map should know, a sentence each."""
    attributes = store.attributes
    if "stress" in attributes:
        yield f"Kruskal's stress-1 is {attributes['stress']:.3f}."
    if attributes.get("converged") is False:
        yield f"SMACOF had not converged after {attributes['iterations']:,} iterations: raise `max_iter`."
    neighbours = attributes.get("coherence", {})
    if neighbours.get("correlation") is not None:
        yield (
            f"Nearest neighbours on the map: rank correlation of robustness {neighbours['correlation']:.3f} "
            f"({neighbours['permutations']:,} random permutations: at most {neighbours['permuted']:.3f})."
        )
