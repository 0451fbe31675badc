"""An evaluation as a line of JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.errors import UsageError
from datarobust.evaluations.lines import demand_distinct, line, stored

from . import helpers

RIGHT = np.array([True] * 8 + [False] * 2)
BROKEN = np.array([0, 0, 1, -1, -1, -1, -1, -1, -1, -1])


def test_the_numbers_of_a_line(tmp_path: Path) -> None:
    about = {"arch": {"name": "wrn-28-10", "arguments": {}}, "weights": "best", "epoch": 2384}
    store = artifacts.open_store(helpers.evaluation(tmp_path / "e.zarr", RIGHT, BROKEN, about=about))
    found = line(stored(store), store.attributes)
    assert (found["clean"], found["autoattack"], found["delta"]) == (0.8, 0.5, pytest.approx(0.3))
    assert (found["points"], found["clean_points"], found["robust_points"]) == (10, 8, 5)
    assert found["attacks"] == [
        {"attack": "apgd-ce", "attacked": 8, "broken": 2, "accuracy": 0.6},
        {"attack": "apgd-t", "attacked": 6, "broken": 1, "accuracy": 0.5},
    ]
    assert (found["eps"], found["eps_value"]) == ("8/255", 0.031373)
    assert (found["arch"], found["weights"], found["epoch"]) == ("wrn-28-10", "best", 2384)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("version", ["fast", "custom"])
def test_an_upper_bound_is_called_so_wherever_it_stands(tmp_path: Path, version: str) -> None:
    protocol = {"version": version, "upper_bound": True}
    store = artifacts.open_store(helpers.evaluation(tmp_path / "e.zarr", RIGHT, BROKEN, protocol=protocol))
    found = line(stored(store), store.attributes)
    assert (found["autoattack_upper_bound"], found["delta_lower_bound"]) == (0.5, pytest.approx(0.3))
    assert "autoattack" not in found
    assert "delta" not in found


def test_outputs_differ(tmp_path: Path) -> None:
    demand_distinct([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(UsageError, match="another with each -o"):
        demand_distinct([Path("a"), Path.cwd() / "a"])
