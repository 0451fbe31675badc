"""Embeddings as artifacts: what is asked, what is written, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lib import made

from datarobust import artifacts, embedding
from datarobust.artifacts import Step, Store
from datarobust.datasets import names
from datarobust.errors import ArtifactError, DataError, ExistsError, UsageError
from datarobust.jobs import embed
from datarobust.jobs.embed import Embedding, options_of
from datarobust.jobs.make import make


def step(inputs: Mapping[str, str]) -> Step:
    return Step("embed", ("d.zarr",), "0.1.0", 0, "cpu", inputs)


def ranking(path: Path, dataset: Store, distance: np.ndarray, norm: str = "l2") -> Store:
    """A ranking with these distances."""
    attributes = {
        "norm": norm,
        "labels": "hard",
        "dataset": dataset.digest,
        "against": None,
        "duplicates": "inf",
        "k": 1,
    }
    columns: dict[str, Any] = {"distance": ("float64", ()), "neighbour": ("int64", ())}
    with artifacts.create(path, "ranking", columns, attributes=attributes, history=[made.STEP]) as writer:
        writer.append("distance", distance)
        writer.append("neighbour", np.zeros(len(distance), np.int64))
    return artifacts.open_store(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made.dataset(tmp_path_factory.mktemp("embeddings") / "d.zarr", 30)


@pytest.fixture
def job(data: Store, tmp_path: Path) -> Embedding:
    distance = np.random.default_rng(0).uniform(1, 2, 30)
    distance[[3, 4]] = [np.inf, np.nan]
    ranked = ranking(tmp_path / "r.zarr", data, distance, "linf")
    return Embedding(data, ranked, 12, "mds", options_of("mds", {}), seed=7)


def tree(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def test_what_is_written(job: Embedding, tmp_path: Path) -> None:
    assert make(job, tmp_path / "e.zarr", step)
    found = artifacts.open_store(tmp_path / "e.zarr", "embedding")
    found.verify()
    rows = embedding.stratified(job.distance, 12, 7)
    np.testing.assert_array_equal(found.column("index").read(), rows)
    np.testing.assert_array_equal(found.column("distance").read(), job.distance[rows])
    told = found.attributes
    assert (told["dataset"], told["ranking"]) == (job.dataset.digest, job.ranking.digest)
    assert (told["method"], told["scaling"], told["dissimilarity"], told["norm"]) == ("mds", "metric", "linf", "linf")
    assert told["arguments"] == {"init": "classical", "max_iter": 300}
    assert (told["seed"], told["left_out"], told["name"]) == (7, 2, "made")
    apart = embedding.dissimilarities(job.dataset.column("images").take(rows), "linf")
    assert (told["raw_stress"], told["stress"]) == embedding.stress_of(found.column("position").read(), apart)
    assert set(told["libraries"]) == {"numpy", "scipy", "scikit-learn"}
    assert found.history[:-1] == (*job.dataset.history, *job.ranking.history)
    assert found.history[-1].tool == "embed"
    assert embed.summary(found)["points"] == 12
    assert next(text.split(" is ")[0] for text in embed.remarks(found)) == "Kruskal's stress-1"
    assert list(job.remarks()) == ["2 points have no finite distance to another label and are not on the map."]


def test_a_map_keeps_the_names_of_its_points(job: Embedding, tmp_path: Path) -> None:
    every = [f"{row}.png" for row in range(30)]
    data = made.dataset(tmp_path / "d.zarr", 30, names=every)
    ranked = ranking(tmp_path / "named.zarr", data, np.linspace(1, 2, 30))
    assert make(replace(job, dataset=data, ranking=ranked), tmp_path / "e.zarr", step)
    map_of_them = artifacts.open_store(tmp_path / "e.zarr", "embedding")
    assert names(map_of_them) == [every[row] for row in map_of_them.column("index").read()]


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("mds", {"scaling": "classical", "norm": "l2"}),
        ("mds", {"scaling": "nonmetric", "init": "random", "n_init": 2, "max_iter": 20}),
        ("rte", {"n_estimators": 10, "max_depth": 2}),
    ],
)
def test_two_runs_have_the_same_bytes_and_another_seed_has_others(
    job: Embedding, tmp_path: Path, method: Any, asked: dict[str, Any]
) -> None:
    job = replace(job, method=method, options=options_of(method, asked))
    for name, one in (("a", job), ("b", job), ("c", replace(job, seed=8))):
        make(one, tmp_path / f"{name}.zarr", step)
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
    assert not make(job, tmp_path / "a.zarr", step)
    a, c = (artifacts.open_store(tmp_path / f"{name}.zarr") for name in "ac")
    assert a.digest != c.digest
    assert ("leaves" in a.attributes) == (method == "rte")
    assert ("stress" in a.attributes) == (method == "mds")
    kept = {name: value for name, value in asked.items() if name not in ("scaling", "norm")}
    assert a.attributes["arguments"] == kept
    with pytest.raises(ExistsError):
        make(job, tmp_path / "c.zarr", step)
    make(job, tmp_path / "c.zarr", step, overwrite=True)
    assert tree(tmp_path / "c.zarr") == tree(tmp_path / "a.zarr")


def test_without_a_number_all_of_a_small_set_are_taken(job: Embedding) -> None:
    whole = replace(job, count=None)
    assert sorted(whole.rows.tolist()) == [row for row in range(30) if row not in (3, 4)]
    assert list(whole.remarks())[1].startswith("All 28 points with a distance are on the map")
    first = replace(job, count=None, limit=6)
    assert sorted(first.rows.tolist()) == [0, 1, 2, 5]
    assert first.request() != whole.request()


def test_the_plan_counts_before_the_work(job: Embedding) -> None:
    plan = job.plan()
    assert (plan["points"], plan["numbers"], plan["left_out"]) == (12, 64, 2)
    less = replace(job, options=options_of("mds", {"scaling": "classical"})).plan()
    more = replace(job, options=options_of("mds", {"init": "random"})).plan()
    assert less["operations"] < plan["operations"] < more["operations"]
    assert replace(job, method="rte", options=options_of("rte", {})).plan()["arguments"]["n_estimators"] == 100


def test_what_cannot_be_mapped_is_refused(job: Embedding, data: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"r\.zarr: 28 points have a finite distance: choose `n` from 3 to 28"):
        replace(job, count=29)
    with pytest.raises(DataError, match=r"r\.zarr, first 2 points: a map takes 3 points or more, not 2"):
        replace(job, count=None, limit=2)
    alone = ranking(tmp_path / "alone.zarr", data, np.full(30, np.inf))
    with pytest.raises(DataError, match=r"alone\.zarr: no point has a finite distance.*two classes or more"):
        replace(job, ranking=alone)
    other = made.dataset(tmp_path / "o.zarr", 31)
    with pytest.raises(ArtifactError, match="made from another dataset"):
        replace(job, dataset=other)
    short = ranking(tmp_path / "short.zarr", data, np.ones(20))
    with pytest.raises(DataError, match=r"ranks 20 points, but .* has 30"):
        replace(job, ranking=short)
    with pytest.raises(UsageError, match="2\\*\\*64"):
        make(replace(job, seed=2**64), tmp_path / "e.zarr", step)


def test_a_sample_of_equal_points_is_refused_by_name(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"features": ("float32", (3,)), "labels": ("int64", ()), "index": ("int64", ())}
    with artifacts.create(
        tmp_path / "f.zarr", "dataset", columns, attributes={"name": "f", "classes": []}, history=[made.STEP]
    ) as writer:
        writer.append("features", np.ones((5, 3), np.float32))
        writer.append("labels", np.arange(5))
        writer.append("index", np.arange(5))
    data = artifacts.open_store(tmp_path / "f.zarr")
    ranked = ranking(tmp_path / "r.zarr", data, np.zeros(5))
    for method in ("mds", "rte"):
        job = Embedding(data, ranked, None, method, options_of(method, {}))  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"f\.zarr: all points of the sample are equal"):
            make(job, tmp_path / "e.zarr", step)
    assert not (tmp_path / "e.zarr").exists()


@pytest.mark.parametrize(
    ("method", "asked", "words"),
    [
        ("rte", {"scaling": "metric"}, "`scaling` says nothing to `method` rte"),
        ("rte", {"norm": "l2"}, "`norm` says nothing to `method` rte"),
        ("mds", {"max_depth": 3}, "`max_depth` says nothing to `method` mds"),
        ("mds", {"scaling": "classical", "max_iter": 3}, "`max_iter` is of SMACOF"),
        ("mds", {"n_init": 3}, "`n_init` counts random starts: add `init` random"),
    ],
)
def test_options_that_say_nothing_are_refused(method: Any, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options_of(method, asked)
