"""Evaluations side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust.errors import ArtifactError, DataError
from datarobust.evaluation import power
from datarobust.evaluation.statistics import paired, spread, unpaired
from datarobust.jobs.aacompare import (
    FEW_SEEDS,
    INDEPENDENT,
    ONE_PAIR,
    OTHER_ATTACKS,
    UPPER_BOUNDS,
    compare,
    deciles,
    opened,
)

from . import evaluated

RANDOM = np.random.default_rng(0)
POINTS = 200


def made(path: Path, seed: int = 0, accuracy: float = 0.7, **more: Any) -> Any:
    random = np.random.default_rng(seed)
    right = random.random(POINTS) < 0.9
    broken = np.where(right & (random.random(POINTS) > accuracy), random.integers(0, 2, POINTS), -1)
    return opened(evaluated.evaluation(path, right, broken, **more))


def test_two_are_compared_point_by_point(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a.zarr", 1), made(tmp_path / "b.zarr", 2)
    found = compare([a], [b], None, 10, seed=0)
    assert found["autoattack"] == paired(a.robust, b.robust)
    assert found["clean"] == paired(a.clean, b.clean)
    assert (found["a"], found["b"], found["points"]) == (str(a.path), str(b.path), POINTS)
    assert found["remarks"] == [ONE_PAIR]
    assert "several seeds" in ONE_PAIR
    assert json.loads(json.dumps(found)) == found


def test_groups_are_compared_by_their_means(tmp_path: Path) -> None:
    a = [made(tmp_path / f"a{n}.zarr", n) for n in range(3)]
    b = [made(tmp_path / f"b{n}.zarr", 10 + n, 0.8) for n in range(3)]
    found = compare(a, b, None, 10, seed=0)
    means = [[float(each.robust.mean()) for each in group] for group in (a, b)]
    assert found["autoattack"] == {"a": spread(means[0]), "b": spread(means[1]), **unpaired(*means)}
    assert found["remarks"] == []
    assert found["a"] == [str(each.path) for each in a]
    assert compare(a[:2], b, None, 10, seed=0)["remarks"] == [FEW_SEEDS]


def test_power_stands_beside_the_difference(tmp_path: Path) -> None:
    a = [made(tmp_path / f"a{n}.zarr", n) for n in range(3)]
    b = [made(tmp_path / f"b{n}.zarr", 10 + n, 0.8) for n in range(3)]
    ranked = evaluated.ranking(tmp_path / "r.zarr", np.arange(POINTS, dtype=np.float64))
    for some, others in ((a, b), (a[:1], b[:1])):
        plain, found = (compare(some, others, ranked, 2, 0, with_power=flag) for flag in (False, True))
        flags = [[each.robust for each in group] for group in (some, others)]
        assert found["autoattack"].pop("power") == power.attainable(*flags)
        halves = [[each[:100] for each in group] for group in flags]
        assert found["quantiles"][0].pop("power") == power.attainable(*halves)
        assert found["clean"].pop("power")
        assert found["quantiles"][1].pop("power")
        assert found == plain


def test_power_before_there_is_a_result(tmp_path: Path) -> None:
    a = [made(tmp_path / f"a{n}.zarr", n) for n in range(3)]
    found = compare(a, [], None, 10, 0, with_power=True)
    robust = [each.robust for each in a]
    assert found["autoattack"] == {
        "a": spread([float(flags.mean()) for flags in robust]),
        "power": power.attainable(robust, robust),
    }
    assert (found["a"], found["b"], found["remarks"]) == ([str(each.path) for each in a], None, [])
    one = compare(a[:1], [], None, 10, 0, with_power=True)
    assert one["autoattack"] == {"a": robust[0].mean(), "power": power.attainable(robust[:1], [])}
    assert (one["a"], one["b"], one["remarks"]) == (str(a[0].path), None, [ONE_PAIR, INDEPENDENT])
    assert compare(a[:2], [], None, 10, 0, with_power=True)["remarks"] == [FEW_SEEDS]
    assert json.loads(json.dumps(one)) == one


def test_by_robustness(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a.zarr", 1), made(tmp_path / "b.zarr", 2)
    distance = RANDOM.integers(1, 20, POINTS) / 255
    distance[3], distance[4] = np.inf, np.nan
    ranked = evaluated.ranking(tmp_path / "r.zarr", distance)
    rows = compare([a], [b], ranked, 5, seed=0)["quantiles"]
    assert [row["quantile"] for row in rows] == [1, 2, 3, 4, 5]
    assert sum(row["points"] for row in rows) == POINTS - 1
    assert rows[-1]["distance"][1] is None  # no other label: nothing is farther
    order = np.argsort(distance, kind="stable")[: POINTS - 1]
    first = np.array_split(order, 5)[0]
    assert rows[0]["a"] == a.robust[first].mean()
    assert rows[0]["distance"] == [distance[first[0]], distance[first[-1]]]
    drawn = deciles(a, ranked, 5)
    assert [row["robust"] for row in drawn] == [row["a"] for row in rows]
    assert all(row["low"] <= row["robust"] <= row["high"] for row in drawn)
    assert drawn[0]["clean"] == a.clean[first].mean()
    assert drawn[-1]["highest"] == np.inf


def test_a_ranking_is_by_rows_of_the_dataset(tmp_path: Path) -> None:
    index = np.arange(POINTS)[::-1].copy()
    some = made(tmp_path / "a.zarr", index=index)
    ranked = evaluated.ranking(tmp_path / "r.zarr", np.arange(POINTS, dtype=np.float64))
    assert deciles(some, ranked, POINTS)[0]["robust"] == float(some.robust[-1])
    other = evaluated.ranking(tmp_path / "o.zarr", np.arange(POINTS, dtype=np.float64), "5" * 64)
    with pytest.raises(ArtifactError, match=r"ranks another dataset than that of .*a\.zarr"):
        deciles(some, other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dataset": "9" * 64}, "different datasets"),
        ({"norm": "l2"}, "norm are linf and l2"),
        ({"eps": 0.5}, "eps are 0.03"),
        ({"index": np.arange(POINTS) + 1}, "different points"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    a, b = made(tmp_path / "a.zarr"), made(tmp_path / "b.zarr", **change)
    with pytest.raises(DataError, match=says):
        compare([a], [b], None, 10, seed=0)


def test_upper_bounds_and_other_attacks_are_told(tmp_path: Path) -> None:
    a = made(tmp_path / "a.zarr")
    b = made(
        tmp_path / "b.zarr", protocol={"upper_bound": True, "version": "fast", "parameters": [{"name": "apgd-ce"}]}
    )
    found = compare([a], [b], None, 10, seed=0)
    assert found["upper_bound"] is True
    assert found["remarks"] == [ONE_PAIR, UPPER_BOUNDS, OTHER_ATTACKS]


def test_what_is_no_evaluation(tmp_path: Path) -> None:
    evaluated.ranking(tmp_path / "r.zarr", np.arange(3.0))
    with pytest.raises(ArtifactError, match="evaluation"):
        opened(tmp_path / "r.zarr")
