"""Embeddings as artifacts: from a dataset and its ranking to a map of a sample of its points (Figures 2, 6, 17)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from datarobust import artifacts, embedding
from datarobust.artifacts import Step, Store
from datarobust.artifacts.history import join
from datarobust.embedding.scaling import Progress
from datarobust.errors import DataError, UsageError
from datarobust.norms import norm_of
from datarobust.text import shown

if TYPE_CHECKING:
    from datarobust.figures.map import Map

Method = Literal["mds", "rte"]
Norm = Literal["l2", "linf"]

POINTS: Final = 1000
"""Of a map, as in Section 4, 'Experimental Setup'."""
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "mds": {"scaling": "metric", "norm": None, "init": "classical", "n_init": 4, "max_iter": 300},
    "rte": {"n_estimators": 100, "max_depth": 5},
}
"""Method -> its options and what they are where nobody says; the norm is the ranking's then."""
_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn")


def options_of(method: Method, asked: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the method: those asked for, else the defaults.

    Args:
        method: mds or rte.
        asked: options of any method by name; None where nobody said anything.

    Raises:
        UsageError: an option of the other method, or of another scaling or start.
    """
    given = {name for name, value in asked.items() if value is not None}
    for name in sorted(given - set(OPTIONS[method])):
        raise UsageError(f"`{name}` says nothing to `method` {method}: leave it out")
    found = {name: default if asked.get(name) is None else asked[name] for name, default in OPTIONS[method].items()}
    if found.get("scaling") == "classical":
        for name in sorted(given & {"init", "n_init", "max_iter"}):
            raise UsageError(f"`{name}` is of SMACOF, and `scaling` classical has no iterations: leave it out")
    if found.get("init") == "classical" and "n_init" in given:
        raise UsageError("`n_init` counts random starts: add `init` random, or leave it out")
    return found


@dataclass(frozen=True)
class Job:
    """One map to be made: everything that decides its bits.

    Attributes:
        dataset: the points.
        ranking: of that dataset.
        count: points of the sample; None for :data:`POINTS`, or all that have a distance where there are fewer.
        method: mds or rte.
        options: as :func:`options_of` gives them.
        seed: of sample, random starts, trees and permutations.
        limit: sample only the first points of the dataset.

    Raises:
        ArtifactError: the ranking is of another dataset.
        DataError: fewer than three points, or none, have a finite distance.
        UsageError: more points are asked for than have a finite distance; no such seed.
    """

    dataset: Store
    ranking: Store
    count: int | None
    method: Method
    options: Mapping[str, Any]
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        artifacts.same_digest(self.ranking, self.dataset)
        embedding.demand_seed(self.seed)
        finite, asked = self.finite, POINTS if self.count is None else self.count
        where = f"{shown(self.ranking.path)}{'' if self.limit is None else f', first {self.limit:,} points'}"
        if not finite:
            raise DataError(
                f"{where}: no point has a finite distance to another label, so there is no robustness to map: rank a "
                "dataset of two classes or more"
            )
        if self.count is not None and asked > finite:
            raise UsageError(f"{where}: {finite:,} points have a finite distance: choose `n` from 3 to {finite:,}")
        if min(asked, finite) < embedding.FEWEST:
            raise DataError(f"{where}: a map takes {embedding.FEWEST} points or more, not {min(asked, finite)}")

    @cached_property
    def distance(self) -> npt.NDArray[np.float64]:
        """(N,) float64, robustness of the points that may be sampled."""
        found = self.ranking.column("distance").read()
        if len(found) != len(self.dataset):
            raise DataError(
                f"{shown(self.ranking.path)} ranks {len(found):,} points, but {shown(self.dataset.path)} has "
                f"{len(self.dataset):,}: make it again"
            )
        return np.asarray(found, np.float64)[: self.limit]

    @property
    def finite(self) -> int:
        """Points that may be sampled."""
        return int(np.isfinite(self.distance).sum())

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """int64 (M,), the sample, least robust first."""
        return embedding.stratified(self.distance, min(self.finite, self.count or POINTS), self.seed)

    @cached_property
    def points(self) -> npt.NDArray[Any]:
        """(M, ...), the sample's images or features, verified."""
        return self.dataset.column("images" if "images" in self.dataset else "features").take(self.rows)

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the embedding, before anything is computed (ARTIFACTS.md), and the request that leads to the same map."""
        options = dict(self.options)
        told: dict[str, Any] = {"method": self.method, "norm": self.ranking.attributes["norm"], "seed": self.seed}
        if self.method == "mds":
            told |= {"scaling": options.pop("scaling"), "dissimilarity": options.pop("norm") or told["norm"]}
            if told["scaling"] == "classical":
                options = {}
            elif options["init"] == "classical":
                del options["n_init"]
        told |= {"arguments": options, "dataset": self.dataset.digest, "ranking": self.ranking.digest}
        key = artifacts.fingerprint({"tool": "embed", "points": len(self.rows), "limit": self.limit, **told})
        named = {"name": str(self.dataset.attributes["name"]), "left_out": len(self.distance) - self.finite}
        return {**told, **named, "request": key}

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role, for the history."""
        return {"dataset": self.dataset.digest, "ranking": self.ranking.digest}

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        if left := len(self.distance) - self.finite:
            yield f"{left:,} points have no finite distance to another label and are not on the map."
        if self.count is None and self.finite < POINTS:
            yield f"All {self.finite:,} points that have a distance are on the map, as there are fewer than {POINTS:,}."

    def plan(self) -> dict[str, Any]:
        """What the job takes: the operations of all iterations at most, and bytes held."""
        count, width = len(self.rows), int(np.prod(self.points.shape[1:]))
        told = {key: value for key, value in self.attributes.items() if key not in ("request", "dataset", "ranking")}
        if self.method == "rte":
            operations = count * self.options["n_estimators"] * self.options["max_depth"]
            held = 4 * count * width + 12 * count * self.options["n_estimators"]
        else:
            starts = self.options["n_init"] if self.options["init"] == "random" else 1
            rounds = 0 if self.options["scaling"] == "classical" else starts * self.options["max_iter"]
            operations = 3 * count * count // 2 * width + 20 * rounds * count * count
            held = 8 * count * width + 8 * 8 * count * count
        return {"points": count, "numbers": width, **told, "operations": operations, "bytes_to_hold": held}

    def run(self, output: Path, step: Step, *, overwrite: bool = False, progress: Progress = iter) -> None:
        """Make the map and write it.

        Raises:
            DataError: points that are all equal or not finite.
            ExistsError, LockedError: the output is taken.
        """
        columns: dict[str, tuple[str, tuple[int, ...]]] = {
            "position": ("float64", (2,)),
            "index": ("int64", ()),
            "distance": ("float64", ()),
        }
        attributes = self.attributes
        with artifacts.Lock(output):
            artifacts.demand_vacant(output, "embedding", overwrite)
            position, found = self._placed(attributes, progress)
            robustness = self.distance[self.rows]
            found["coherence"] = embedding.coherence(position, robustness, self.seed).as_json()
            found["libraries"] = {name: importlib.metadata.version(name) for name in _LIBRARIES}
            history = [*join([self.dataset.history, self.ranking.history]), step]
            with artifacts.create(
                output, "embedding", columns, attributes=attributes | found, history=history, overwrite=overwrite
            ) as writer:
                for name, rows in (("position", position), ("index", self.rows), ("distance", robustness)):
                    writer.append(name, rows)

    def _placed(
        self, attributes: Mapping[str, Any], progress: Progress
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Positions (M, 2), and what the method tells of them."""
        where = shown(self.dataset.path)
        try:
            if self.method == "rte":
                position, leaves = embedding.random_trees(self.points, **self.options, seed=self.seed)
                return position, {"leaves": leaves}
            apart = embedding.dissimilarities(self.points, attributes["dissimilarity"])
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        steps = {name: self.options[name] for name in ("init", "n_init", "max_iter")}
        made = embedding.scaled(apart, self.options["scaling"], **steps, seed=self.seed, progress=progress)
        told: dict[str, Any] = {"stress": made.stress, "raw_stress": made.raw_stress}
        if self.options["scaling"] != "classical":
            told |= {"iterations": made.iterations, "converged": made.converged}
        return made.position, told


def summary(store: Store) -> dict[str, Any]:
    """What an embedding is and how good it is, as one JSON object has it."""
    attributes = store.attributes
    fixed = ("name", "method", "scaling", "dissimilarity", "norm", "seed", "arguments", "left_out")
    found = ("stress", "raw_stress", "iterations", "converged", "leaves", "coherence", "libraries")
    told = {name: attributes[name] for name in (*fixed, *found) if name in attributes}
    return {"points": len(store), **told}


def remarks(store: Store) -> Iterator[str]:
    """What a reader of the map should know, a sentence each."""
    told = store.attributes
    if "stress" in told:
        yield f"Kruskal's stress-1 is {told['stress']:.3f}."
    if told.get("converged") is False:
        yield f"SMACOF was still at work after {told['iterations']:,} iterations: raise `max_iter`."
    seen = told.get("coherence", {})
    if seen.get("correlation") is not None:
        yield (
            f"Robustness of a point and of its nearest neighbour on the map correlate by {seen['correlation']:.3f}; "
            f"by chance, in {seen['permutations']:,} permutations, by {seen['permuted']:.3f} at most."
        )


def as_map(store: Store, called: str) -> Map:
    """What ``figure map`` and ``figure report`` draw of an embedding, under this name."""
    from datarobust.figures.map import Map  # matplotlib takes its time: only when there is something to draw

    told = store.attributes
    norm, scaling, apart = told["norm"], told.get("scaling", "metric"), told.get("dissimilarity", told["norm"])
    method, key = "RTE", "rte"
    if told["method"] == "mds":
        method = {"metric": "", "nonmetric": "non-metric ", "classical": "classical "}[scaling] + "MDS"
        key = "mds" if scaling == "metric" else f"mds {scaling}"
        if apart != norm:
            method, key = f"{method} of {norm_of(apart).symbol}", f"{key} of {apart}"
    seen = told.get("coherence", {})
    return Map(
        called,
        f"{method}, {norm_of(norm).symbol}",
        norm,
        store.column("position").read(),
        store.column("distance").read(),
        store.column("index").read(),
        key,
        told.get("stress"),
        seen.get("correlation"),
        seen.get("permuted"),
    )
