"""Rankings as artifacts: what is asked, what is written, what goes on after a kill."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.curvature import diameter, kappa, kappa_tilde
from datarobust.errors import ArtifactError, DataError, DuplicateError, UsageError
from datarobust.jobs import sens_rank
from datarobust.jobs.make import make
from datarobust.jobs.sens_rank import Joined, Part, Sensitivity, remarks, table
from datarobust.lipschitz import bound
from datarobust.sensitivity import Labelled, Ranking, generic, panels, rank, search


def step(inputs: Mapping[str, str]) -> Step:
    return Step("sens-rank", ("d.zarr",), "0.1.0", None, "cpu", inputs)


def dataset_of(path: Path, images: np.ndarray, labels: np.ndarray, soft: np.ndarray | None = None, **rest: Any) -> Path:
    """A dataset of images (N, C, H, W) uint8, or of features (N, D) float32."""
    name = "images" if images.dtype == np.uint8 else "features"
    columns: dict[str, Any] = {
        name: (images.dtype.name, images.shape[1:]),
        "labels": ("int64", ()),
        "index": ("int64", ()),
    }
    if soft is not None:
        columns["soft"] = ("float32", soft.shape[1:])
    classes = [f"class {n}" for n in range(int(labels.max()) + 1)]
    attributes = {"name": "made", "classes": classes, "request": "none"} | rest
    step = Step("dataset", ("import", path.name), "0.1.0", None, None, {"source": "0" * 64})
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[step]) as writer:
        writer.append(name, images)
        writer.append("labels", labels)
        writer.append("index", np.arange(len(labels)))
        if soft is not None:
            writer.append("soft", soft.astype(np.float32))
    return path


def small_set(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, 2, 4, 5), dtype=np.uint8), random.integers(0, 4, n)


@pytest.fixture
def dataset(tmp_path: Path) -> artifacts.Store:
    images, labels = small_set()
    soft = np.random.default_rng(1).dirichlet(np.ones(4), 400).astype(np.float32)
    return artifacts.open_store(dataset_of(tmp_path / "d.zarr", images, labels, soft))


@pytest.fixture
def others(tmp_path: Path) -> artifacts.Store:
    return artifacts.open_store(dataset_of(tmp_path / "o.zarr", *small_set(150, seed=5)))


def job(dataset: artifacts.Store, others: artifacts.Store | None = None, **options: Any) -> Sensitivity:
    usual: dict[str, Any] = {"norm": "l2", "k": 1, "soft": False, "duplicates": "inf", "memory": 1 << 30}
    return Sensitivity(dataset, others, **(usual | options))


def saved(path: Path) -> Ranking:
    """The ranking in an artifact."""
    store = artifacts.open_store(path, "ranking")
    if "distances" in store:
        return Ranking(store.column("distances").read(), store.column("neighbours").read())
    return Ranking(store.column("distance").read()[:, None], store.column("neighbour").read()[:, None])


def same(found: Ranking, expected: Ranking) -> None:
    np.testing.assert_array_equal(found.distance, expected.distance)
    np.testing.assert_array_equal(found.neighbour, expected.neighbour)


# ------------------------------------------------------------------------------------------------------- reading


def test_the_rows_of_a_column_are_flat(dataset: artifacts.Store) -> None:
    flat = small_set()[0].reshape(400, 40)
    rows = dataset.column("images").flat(300)
    assert rows.shape == (300, 40)
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows[7:90], flat[7:90])
    np.testing.assert_array_equal(rows[np.array([299, 3, 3])], flat[[299, 3, 3]])


def test_classes_with_other_names_are_not_held_against_each_other(tmp_path: Path, dataset: artifacts.Store) -> None:
    images, labels = small_set(50, seed=2)
    names = ["class 0", "class 2", "class 1", "class 3"]
    clash = artifacts.open_store(dataset_of(tmp_path / "clash.zarr", images, labels, classes=names))
    with pytest.raises(DataError, match=r"do not mean the same: class 1 is class 1 and class 2\. .*`classes`") as told:
        job(dataset, clash)
    assert "\n" not in str(told.value)
    more = artifacts.open_store(dataset_of(tmp_path / "more.zarr", images, labels, classes=[*names, "class 4"]))
    with pytest.raises(DataError, match="they have 4 and 5 class names"):
        job(dataset, more)
    unnamed = artifacts.open_store(dataset_of(tmp_path / "unnamed.zarr", images, labels, classes=[]))
    assert job(dataset, unnamed).rank().distance.shape == (400, 1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("memory", [1, 6_000, 1 << 30])
def test_a_store_is_ranked_like_its_arrays(
    dataset: artifacts.Store, others: artifacts.Store, norm: str, memory: int
) -> None:
    whole = Labelled.of(*small_set())
    asked: dict[str, Any] = {"norm": norm, "k": 2, "memory": memory}
    same(job(dataset, **asked).rank(), rank(whole, norm, k=2))
    other = Labelled.of(*small_set(150, seed=5))
    same(job(dataset, others, **asked).rank(), rank(whole, norm, k=2, against=other))
    first = Labelled.of(*(part[:90] for part in small_set()))
    same(job(dataset, **asked, limit=90).rank(), rank(first, norm, k=2))
    same(job(dataset, others, **asked, limit=90).rank(), rank(first, norm, k=2, against=other))
    same(job(dataset, **asked, limit=4000).rank(), rank(whole, norm, k=2))
    vectors = np.random.default_rng(1).dirichlet(np.ones(4), 400).astype(np.float32)
    expected = rank(Labelled.of(*small_set(), vectors), norm, k=2, soft=True)
    same(job(dataset, **asked, soft=True).rank(), expected)


def test_features_are_ranked(tmp_path: Path) -> None:
    features = np.random.default_rng(2).standard_normal((120, 11)).astype(np.float32)
    store = artifacts.open_store(dataset_of(tmp_path / "f.zarr", features, np.arange(120) % 3))
    same(job(store).rank(), rank(Labelled.of(features, np.arange(120) % 3), "l2"))


def test_label_vectors_that_are_not_there(dataset: artifacts.Store, others: artifacts.Store) -> None:
    for pair in ((others, None), (dataset, others)):
        with pytest.raises(UsageError, match=r"o\.zarr has no label vectors.*`soft`"):
            job(*pair, soft=True)


# ------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("k", [1, 3])
def test_what_is_saved_is_the_ranking(
    dataset: artifacts.Store, others: artifacts.Store, tmp_path: Path, k: int
) -> None:
    ranked = job(dataset, others, norm="linf", k=k)
    assert make(ranked, tmp_path / "r.zarr", step)
    same(saved(tmp_path / "r.zarr"), ranked.rank())
    store = artifacts.open_store(tmp_path / "r.zarr", "ranking")
    assert ("distances" in store) == ("neighbours" in store) == (k > 1)
    np.testing.assert_array_equal(store.column("distance").read(), ranked.rank().robustness)
    names = ("norm", "labels", "dataset", "against", "duplicates", "k")
    assert {name: store.attributes[name] for name in names} == {
        "norm": "linf",
        "labels": "hard",
        "dataset": dataset.digest,
        "against": others.digest,
        "duplicates": "inf",
        "k": k,
    }
    assert store.history[:-1] == (*dataset.history, *others.history)
    assert store.history[-1].inputs == {"dataset": dataset.digest, "against": others.digest}
    artifacts.demand_same_points(store, dataset)
    assert not make(ranked, tmp_path / "r.zarr", step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr", "o.zarr", "r.zarr"]


def test_infinite_and_dropped_distances_are_saved(tmp_path: Path) -> None:
    images, labels = small_set(50)
    images[9] = images[8]
    labels[:] = 1
    labels[9] = 0
    store = artifacts.open_store(dataset_of(tmp_path / "d.zarr", images, labels))
    make(job(store, duplicates="drop"), tmp_path / "r.zarr", step)
    distance = saved(tmp_path / "r.zarr").robustness
    assert np.flatnonzero(np.isnan(distance)).tolist() == [8, 9]
    assert np.isinf(np.delete(distance, [8, 9])).all()
    assert (saved(tmp_path / "r.zarr").neighbour == -1).all()


def test_a_request_names_all_that_decides_the_bits_and_nothing_else(
    dataset: artifacts.Store, others: artifacts.Store
) -> None:
    asked = [
        job(dataset),
        job(others),
        job(dataset, others),
        job(others, dataset),
        job(dataset, norm="linf"),
        job(dataset, k=2),
        job(dataset, soft=True),
        job(dataset, duplicates="drop"),
    ]
    keys = [artifacts.fingerprint(one.request()) for one in asked]
    assert len(set(keys)) == len(keys)
    assert artifacts.fingerprint(job(dataset, memory=5, threads=3).request()) == keys[0]


# ------------------------------------------------------------------------------------------------- going on


class Killed(BaseException):
    """What stands for the end of the process."""


def killed_after(rounds: int) -> Callable[[Iterable[Any]], Iterator[Any]]:
    def progress(work: Iterable[Any]) -> Iterator[Any]:
        for number, one in enumerate(work):
            if number == rounds:
                raise Killed
            yield one

    return progress


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("memory", [6_000, 1 << 30])
@pytest.mark.parametrize("against", [False, True])
def test_a_killed_run_is_gone_on_with(
    dataset: artifacts.Store,
    others: artifacts.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    norm: str,
    memory: int,
    against: bool,
) -> None:
    monkeypatch.setattr(panels, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(panels, "SAVE_SHARE", math.inf)
    monkeypatch.setattr(search, "WINDOW", 8)
    output = tmp_path / "r.zarr"
    asked: dict[str, Any] = {"norm": norm, "k": 2}
    sets = (dataset, others if against else None)
    expected = job(*sets, **asked).rank()
    for rounds, threads, later in ((1, 1, memory), (2, 2, memory), (3, 3, 1 << 30), (3, 3, 11_000)):
        killed = job(*sets, **asked, memory=memory, threads=threads)
        with pytest.raises(Killed):
            make(killed, output, step, overwrite=True, progress=killed_after(rounds))
        assert (tmp_path / ".r.zarr.resume").is_file()
        make(job(*sets, **asked, memory=later), output, step, overwrite=True)
        same(saved(output), expected)
        assert not (tmp_path / ".r.zarr.resume").exists()


def test_a_state_of_another_request_is_not_used(
    dataset: artifacts.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(panels, "SAVE_SHARE", math.inf)
    output = tmp_path / "r.zarr"
    with pytest.raises(Killed):
        make(job(dataset), output, step, progress=killed_after(2))
    for asked in ({"norm": "linf"}, {"soft": True}, {"k": 2}):
        make(job(dataset, **asked), output, step, overwrite=True)
        same(saved(output), job(dataset, **asked).rank())


def test_a_damaged_state_is_not_used(dataset: artifacts.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(panels, "SAVE_SHARE", math.inf)
    output, state = tmp_path / "r.zarr", tmp_path / ".r.zarr.resume"
    expected = job(dataset).rank()
    for place in (0, 100, 1000, -1):
        with pytest.raises(Killed):
            make(job(dataset), output, step, overwrite=True, progress=killed_after(2))
        data = bytearray(state.read_bytes())
        data[place] ^= 1
        state.write_bytes(data)
        make(job(dataset), output, step, overwrite=True)
        same(saved(output), expected)


# -------------------------------------------------------------------------------------------------------- parts


def parts_of(ranking: Sensitivity, folder: Path, shards: int, **changed: Any) -> list[artifacts.Store]:
    """All parts of a ranking, made one after another."""
    paths = [folder / f"part-{number}.zarr" for number in range(shards)]
    for number, path in enumerate(paths):
        make(Part(ranking, number, shards), path, step, **changed)
    return [artifacts.open_store(path, "ranking-part") for path in paths]


@pytest.mark.parametrize(
    ("norm", "shards", "options"),
    [
        ("l2", 2, {"k": 3}),
        ("linf", 3, {"k": 3}),
        ("l1", 3, {}),
        ("l2", 5, {"memory": 6_000}),
        ("linf", 2, {"memory": 6_000, "k": 2}),
        ("l2", 3, {"soft": True, "k": 2}),
        ("linf", 2, {"soft": True}),
        ("l2", 1, {}),
        ("linf", 12, {}),
        ("l2", 3, {"same": True, "k": 2}),
        ("linf", 2, {"same": True, "memory": 6_000}),
        ("l1", 2, {"same": True}),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_parts_joined_are_the_ranking_in_one_piece(
    dataset: artifacts.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    norm: str,
    shards: int,
    options: dict[str, Any],
    held: bool,
) -> None:
    monkeypatch.setattr(search, "WINDOW", 8)
    monkeypatch.setattr(generic, "BLOCK", 64)
    monkeypatch.setattr(sens_rank, "_MERGED", 130)
    soft = np.random.default_rng(7).dirichlet(np.ones(4), 150) if options.get("soft") else None
    others = artifacts.open_store(dataset_of(tmp_path / "o.zarr", *small_set(150, seed=5), soft)) if held else None
    asked = job(dataset, others, norm=norm, **options)
    make(asked, tmp_path / "whole.zarr", step)
    parts = parts_of(asked, tmp_path, shards)
    make(Joined(tuple(parts[::-1])), tmp_path / "joined.zarr", step)
    whole, joined = (artifacts.open_store(tmp_path / name) for name in ("whole.zarr", "joined.zarr"))
    assert joined.digest == whole.digest
    assert joined.attributes == whole.attributes
    assert not make(asked, tmp_path / "joined.zarr", step)  # it is that request's result
    if shards > 1:
        assert any(part.digest != parts[0].digest for part in parts)  # they have shared the work
    assert [made.inputs for made in joined.history][-1] == {f"part {n}": part.digest for n, part in enumerate(parts)}


def test_a_part_is_no_ranking(dataset: artifacts.Store, tmp_path: Path) -> None:
    parts_of(job(dataset), tmp_path, 1)
    with pytest.raises(
        ArtifactError, match=r"part-0.zarr is a ranking-part, where a ranking is needed: .*artifact merge"
    ):
        artifacts.open_store(tmp_path / "part-0.zarr", "ranking")


def test_parts_that_are_not_all_of_one_ranking(
    dataset: artifacts.Store, others: artifacts.Store, tmp_path: Path
) -> None:
    a, b, c = parts_of(job(dataset), tmp_path, 3)
    with pytest.raises(DataError, match=r"2 of the 3 parts are missing, the first is 0/3: .*`shard` 0/3"):
        Joined((b,))
    with pytest.raises(DataError, match=r"part-1\.zarr and .*part-1\.zarr are both part 1/3"):
        Joined((a, b, c, b))
    for number, (other, shards, name) in enumerate([
        (job(dataset, norm="linf"), 3, "norm"),
        (job(dataset, k=2), 3, "k"),
        (job(others), 3, "dataset"),
        (job(dataset, others), 3, "against"),
        (job(dataset), 4, "shards"),
        (job(dataset, memory=6_000), 3, "split"),
        (job(dataset, duplicates="error"), 3, "duplicates"),
        (job(dataset, same=True), 3, "neighbours"),
    ]):  # fmt: skip
        path = tmp_path / f"foreign-{number}.zarr"
        make(Part(other, 2, shards), path, step)
        with pytest.raises(DataError, match=rf"part-0\.zarr and .*{path.name} are not parts of .* {name} is") as told:
            Joined((a, b, artifacts.open_store(path)))
        assert "\n" not in str(told.value)


def test_a_ranking_by_points_of_the_same_label_says_so(
    dataset: artifacts.Store, others: artifacts.Store, tmp_path: Path
) -> None:
    images, labels = small_set()
    for number, held in enumerate((None, others)):
        path = tmp_path / f"{number}.zarr"
        make(job(dataset, held, same=True, k=2), path, step)
        with pytest.raises(ArtifactError, match=rf"{number}.zarr ranks .* the same label.*without `same`$"):
            artifacts.open_store(path, "ranking")
        store = artifacts.open_store(path, "ranking", same=True)
        assert (store.attributes["neighbours"], store.summary.version) == ("same", 3)
        against = Labelled.of(*small_set(150, seed=5)) if held else None
        expected = rank(Labelled.of(images, labels), "l2", k=2, against=against, same=True)
        same(Ranking(store.column("distances").read(), store.column("neighbours").read()), expected)
    make(job(dataset), tmp_path / "other.zarr", step)
    other = artifacts.open_store(tmp_path / "other.zarr", "ranking")
    assert ("neighbours" in other.attributes, other.summary.version) == (False, 2)
    assert list(remarks(np.array([0.0, 1.0, math.inf, math.inf]), same=True)) == [
        "1 points equal another point with the same label: distance 0.",
        "2 points have no other point with the same label: distance inf.",
    ]


def test_misuse_of_same_is_refused(dataset: artifacts.Store) -> None:
    for options, words in (({"soft": True}, "`soft`"), ({"duplicates": "error"}, "`duplicates` error")):
        with pytest.raises(UsageError, match=words):
            job(dataset, same=True, **options)
    with pytest.raises(UsageError, match=r"its own nearest one: leave out `against`"):
        job(dataset, dataset, same=True)
    with pytest.raises(UsageError, match="`curvature` is about points of different labels: leave out `same`"):
        job(dataset, same=True).perceived_distance(None)


def test_duplicates_are_refused_when_all_parts_are_there(tmp_path: Path) -> None:
    images, labels = small_set()
    images[350], labels[350] = images[30], (labels[30] + 1) % 4
    asked = job(artifacts.open_store(dataset_of(tmp_path / "d.zarr", images, labels)), duplicates="error")
    parts = parts_of(asked, tmp_path, 3)
    with pytest.raises(
        DuplicateError, match="2 points equal a point of another label, the first is row 30, equal to row 350"
    ):
        make(Joined(tuple(parts)), tmp_path / "r.zarr", step)
    assert not (tmp_path / "r.zarr").exists()
    with pytest.raises(UsageError, match=r"`duplicates` drop .* `shard`"):
        Part(job(parts[0], duplicates="drop"), 0, 3)


def test_a_part_that_was_killed_is_gone_on_with(
    dataset: artifacts.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(panels, "SAVE_SHARE", math.inf)
    part = Part(job(dataset, k=2), 1, 2)
    make(part, tmp_path / "straight.zarr", step)
    with pytest.raises(Killed):
        make(part, tmp_path / "killed.zarr", step, progress=killed_after(3))
    assert (tmp_path / ".killed.zarr.resume").is_file()
    make(part, tmp_path / "killed.zarr", step)
    straight, killed = (artifacts.open_store(tmp_path / f"{name}.zarr") for name in ("straight", "killed"))
    assert killed.digest == straight.digest


# --------------------------------------------------------------------------------------------------------- text


def ranking_of(distance: list[list[float]], neighbour: list[list[int]]) -> Ranking:
    return Ranking(np.array(distance, np.float64), np.array(neighbour, np.int64))


def test_a_table_is_least_robust_first() -> None:
    ranking = ranking_of([[0.5], [math.nan], [0.25], [math.inf], [0.25], [0.0]], [[2], [-1], [0], [-1], [1], [0]])
    rows = list(table(ranking, np.array([7, 8, 9, 7, 9, 5]), np.array([70, 80, 90])))
    assert rows == [
        [5, 0.0, 0, 5, 70],
        [2, 0.25, 0, 9, 70],
        [4, 0.25, 1, 9, 80],
        [0, 0.5, 2, 7, 90],
        [3, math.inf, -1, 7, -1],
    ]
    assert {type(field) for row in rows for field in row} == {int, float}


def test_a_table_of_several_neighbours() -> None:
    ranking = ranking_of([[1.0, 2.0, math.inf], [0.5, 0.5, 3.0]], [[1, 0, -1], [0, 1, 2]])
    assert list(table(ranking, np.array([4, 5]), np.array([1, 2, 3]))) == [
        [1, 0.5, 0, 5, 1, 0.5, 1, 2, 3.0, 2, 3],
        [0, 1.0, 1, 4, 2, 2.0, 0, 1, math.inf, -1, -1],
    ]


@given(st.lists(st.sampled_from([0.0, 0.3, 0.7, math.inf, math.nan]), min_size=1, max_size=12))
def test_a_table_has_every_point_that_was_not_dropped_once(distance: list[float]) -> None:
    ranking = ranking_of([[d] for d in distance], [[-1] for _ in distance])
    rows = list(table(ranking, np.zeros(len(distance)), np.zeros(1)))
    assert sorted(int(row[0]) for row in rows) == [i for i, d in enumerate(distance) if not math.isnan(d)]
    assert [row[1:2] for row in rows] == sorted(row[1:2] for row in rows)


def test_remarks() -> None:
    assert list(remarks(np.array([0.5, 0.1]))) == []
    said = list(remarks(np.array([0.0, 0.0, math.inf, math.nan, 0.5])))
    assert len(said) == 3
    for number, words in ((1, "dropped"), (2, "distance 0, infinite sensitivity"), (1, "distance inf, sensitivity 0")):
        assert any(line.startswith(f"{number} ") and words in line for line in said)


# ------------------------------------------------------------------------------------------------- curvature


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_lambda_is_the_diameter_unless_given(dataset: artifacts.Store, tmp_path: Path, norm: str) -> None:
    assert job(dataset, norm=norm).perceived_distance(None) == diameter(norm, 40)
    assert job(dataset, norm=norm).perceived_distance(0.25) == 0.25
    for lam in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="positive number"):
            job(dataset, norm=norm).perceived_distance(lam)
    with pytest.raises(UsageError, match="leave out `soft`"):
        job(dataset, norm=norm, soft=True).perceived_distance(2.0)
    features = np.ones((4, 3), np.float32)
    store = artifacts.open_store(dataset_of(tmp_path / "f.zarr", features, np.arange(4)))
    assert job(store, norm=norm).perceived_distance(2.5) == 2.5
    with pytest.raises(UsageError, match=r"f\.zarr holds features.*`lam`"):
        job(store, norm=norm).perceived_distance(None)


def test_curvature_at_the_end_of_rows(dataset: artifacts.Store, others: artifacts.Store) -> None:
    one = job(dataset, others, k=2)
    ranking = one.rank()
    labels = (one.points.labels, others.column("labels").read())
    plain = list(table(ranking, *labels))
    lam = float(np.median(ranking.robustness))
    rows = list(table(ranking, *labels, one.geometry(ranking, lam).values()))
    r = ranking.robustness[[row[0] for row in plain]]
    assert [row[:8] for row in rows] == plain
    np.testing.assert_array_equal(
        [row[8:11] for row in rows], np.transpose([kappa_tilde(r, lam), kappa(r, lam), bound(r)])
    )
    for row in rows:
        own = one.points.rows[row[0] : row[0] + 1].astype(np.float64)
        far = others.column("images").read().reshape(len(others), -1)[labels[1] != row[3]]
        distance = np.sqrt(((far - own) ** 2).sum(axis=1)) / 255
        assert row[11] == pytest.approx(kappa_tilde(distance, lam).max(), rel=1e-12)
    assert {type(field) for row in rows for field in row} == {int, float}


def test_curvature_without_a_distance(dataset: artifacts.Store) -> None:
    values = [0.0, 0.25, math.inf, math.nan]
    ranking = Ranking(np.array(values)[:, None], np.zeros((4, 1), np.int64))
    np.testing.assert_array_equal(
        list(job(dataset).geometry(ranking, 0.5).values()),
        [
            [math.inf, 16.0, math.nan, math.nan],
            [math.inf, math.sqrt(24 * 16), math.nan, math.nan],
            [math.inf, 64.0, 0.0, math.nan],
            [math.inf, 16.0, math.nan, math.nan],
        ],
    )


def test_the_plan(dataset: artifacts.Store, others: artifacts.Store) -> None:
    alone = job(dataset, norm="linf").plan()
    assert alone["points"] == 400
    assert alone["numbers"] == 40
    assert alone["norm"] == "linf"
    assert alone["pairs"] == 400 * 399 // 2
    assert alone["brute_force_operations"] == 2 * 40 * 400 * 399 // 2
    assert alone["bytes_to_read"] == 400 * 40
    assert alone["parts"] == 1
    both = job(dataset, others).plan()
    assert both["pairs"] == 400 * 150
    assert both["bytes_to_read"] == 550 * 40
    assert job(dataset, limit=10).plan()["points"] == 10
    parts = job(dataset, memory=6_000).plan()["parts"]
    assert isinstance(parts, int)
    assert parts > 2
