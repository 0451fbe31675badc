"""Rows of the tables, from runs and evaluations that are told to belong together by digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lib.jobs import evaluated

from datarobust import artifacts
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.figures.table import Accuracy
from datarobust.jobs.figure import table_rows

RIGHT = np.array([True] * 8 + [False] * 2)
BROKEN = np.array([0, 0, 1, -1, -1, -1, -1, -1, -1, -1])


def run(path: Path, epochs: int = 9, tracked: bool = True, **recipe: Any) -> Path:
    """A run folder whose best weights are of epoch 7 of 9; they are those of seed 0, the last ones of seed 1."""
    path.mkdir()
    told = {"norm": "linf", "eps": 8 / 255, "epochs": 9, "batch": 64, "seed": 3, **recipe}
    (path / "recipe.json").write_text(
        json.dumps({"request": "r", "recipe": told, "arch": evaluated.ARCH, "inputs": {}})
    )
    log = [{"epoch": n, **({"tracked_accuracy": n / 10} if tracked else {})} for n in range(1, epochs + 1)]
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    if tracked:
        evaluated.classifier(path / "best.safetensors")
    evaluated.classifier(path / "last.safetensors", seed=1, weights="last", epoch=epochs)
    return path


def judged(path: Path, weights: Path, broken: np.ndarray = BROKEN, **more: Any) -> Path:
    return evaluated.evaluation(path, RIGHT, broken, model=artifacts.peek(weights).digest, **more)


def test_a_row_has_what_the_artifacts_have(tmp_path: Path) -> None:
    one = run(tmp_path / "c10inf-v_s.3")
    best = judged(tmp_path / "x.zarr", one / "best.safetensors")
    last = judged(tmp_path / "y.zarr", one / "last.safetensors", np.full(10, -1))
    (row,) = table_rows([last, one, best])
    assert (row.name, row.label) == ("c10inf-v_s.3", "seed 3")
    assert (row.best, row.last) == (Accuracy(0.8, 0.5), Accuracy(0.8, 0.8))
    assert (row.epoch, row.tracked, row.points) == (7, 0.7, 10)
    assert row.remarks == (
        "wrn-10-1, linf 8/255, 9 epochs in batches of 64, seed 3.",
        "Evaluated on 10 points, one of which is 10 percentage points: linf 8/255, standard (apgd-ce, apgd-t).",
    )
    (named,) = table_rows([one], ["c10inf-v_s"])
    assert (named.name, named.best, named.last, named.epoch, named.points) == ("c10inf-v_s", None, None, 7, None)
    assert named.remarks[-1] == "Its weights are in no evaluation that was given."


def test_where_nothing_was_tracked_no_epoch_is_best(tmp_path: Path) -> None:
    one = run(tmp_path / "r", tracked=False)
    (row,) = table_rows([one, judged(tmp_path / "l.zarr", one / "last.safetensors")])
    assert (row.best, row.epoch, row.tracked) == (None, None, None)
    assert row.last == Accuracy(0.8, 0.5)


def test_what_should_be_known_is_told(tmp_path: Path) -> None:
    one = run(tmp_path / "r", epochs=8)
    more = {"flags": {"randomised": True}, "dataset_points": 10_000}
    protocol = {"version": "fast", "upper_bound": True, "left_out": {"apgd-t": "few classes"}}
    (row,) = table_rows([one, judged(tmp_path / "l.zarr", one / "last.safetensors", protocol=protocol, **more)])
    assert row.last == Accuracy(0.8, 0.5, upper_bound=True)
    assert row.remarks == (
        "wrn-10-1, linf 8/255, 9 epochs in batches of 64, seed 3, unfinished: after epoch 8.",
        "Evaluated on 10 of 10,000 points, one of which is 10 percentage points: linf 8/255, fast (apgd-ce, apgd-t).",
        "apgd-t was left out: few classes.",
        "There are signs of an unreliable evaluation: randomised.",
    )


def test_weights_of_no_run_make_rows_of_their_own(tmp_path: Path) -> None:
    about = {"arch": {"name": "wrn-28-10", "arguments": {}}, "weights": "best"}
    (row,) = table_rows([evaluated.evaluation(tmp_path / "wang2023.zarr", RIGHT, BROKEN, about=about)])
    assert (row.name, row.best, row.last, row.points) == ("wang2023", Accuracy(0.8, 0.5), None, 10)
    assert row.remarks[0] == "wrn-28-10, no run is given."


def test_equal_evaluations_of_the_same_weights_are_one(tmp_path: Path) -> None:
    one = run(tmp_path / "r")
    same = [
        judged(tmp_path / f"{name}.zarr", one / "best.safetensors", about={"weights": weights})
        for name, weights in (("a", "best"), ("b", "last"))
    ]
    assert table_rows([one, *same])[0].best == Accuracy(0.8, 0.5)
    other = judged(tmp_path / "c.zarr", one / "best.safetensors", np.full(10, -1))
    with pytest.raises(DataError, match=r"a\.zarr and .*c\.zarr are different evaluations of the same weights"):
        table_rows([one, same[0], other])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"norm": "l2"}, "their norm are linf and l2"),
        ({"eps": 0.5}, r"their eps_value are 0\.031373 and 0\.5"),
        ({"dataset": "9" * 64}, "their dataset_digest are"),
        ({"index": np.arange(10) + 1}, "of different points"),
        ({"protocol": {"version": "fast", "upper_bound": True}}, "their version are standard and fast"),
    ],
)
def test_evaluations_that_belong_into_no_row(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    one = run(tmp_path / "r")
    best = judged(tmp_path / "b.zarr", one / "best.safetensors")
    with pytest.raises(DataError, match=says) as told:
        table_rows([one, best, judged(tmp_path / "l.zarr", one / "last.safetensors", **change)])
    assert "\n" not in str(told.value)


def test_runs_that_are_none(tmp_path: Path) -> None:
    one = run(tmp_path / "r")
    with pytest.raises(UsageError, match="1 runs, but 2 names"):
        table_rows([one], ["a", "b"])
    for name in ("best", "last"):
        (one / f"{name}.safetensors").unlink()
    with pytest.raises(ArtifactError, match="has no weights yet"):
        table_rows([one])
    told = {"norm": "linf", "eps": 0.5, "epochs": None, "batch": 64, "seed": 3}
    nothing = json.dumps({"recipe": told, "arch": evaluated.ARCH, "inputs": {}})
    for text in ("", "[]", "{}", '{"recipe": {"norm": "linf"}}', nothing):
        (one / "recipe.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"recipe\.json is not a recipe of"):
            table_rows([one])
    (one / "recipe.json").unlink()
    with pytest.raises(ArtifactError, match="r is a folder, but not an artifact"):
        table_rows([tmp_path / "r"])
