"""Histories: what a step made, steps of several histories, and those of artifacts of version 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.artifacts.history import from_json, join, pretty, seal_of, to_json

from .conftest import COLUMNS, HISTORY, made, rows_of

FIRST, SECOND = Step("a", ("x",), "1"), Step("b", (), "1", 3, "cpu", {"dataset": "D"})


def test_an_artifact_tells_what_each_step_made_but_does_not_repeat_its_own_digest(tmp_path: Path) -> None:
    def write(name: str, seed: int, history: list[Step]) -> artifacts.Store:
        attributes = {"name": "small", "classes": ["a", "b", "c"]}
        with artifacts.create(tmp_path / name, "dataset", COLUMNS, attributes=attributes, history=history) as writer:
            for each, array in rows_of(seed).items():
                writer.append(each, array)
        return artifacts.open_store(tmp_path / name)

    first = write("a.zarr", 0, HISTORY)
    second = write("b.zarr", 1, [*first.history, SECOND])
    assert second.history == (*made(HISTORY, first.digest), replace(SECOND, output=second.digest))
    written = json.loads((tmp_path / "b.zarr" / "zarr.json").read_bytes())["attributes"]["history"]
    assert [step.get("output") for step in written] == [first.digest, None]
    copy = write("copy.zarr", 1, list(second.history))
    assert (copy.path / "zarr.json").read_bytes() == (second.path / "zarr.json").read_bytes()


def test_version_1_is_read_and_what_its_steps_made_is_not_known(tmp_path: Path) -> None:
    with artifacts.create(tmp_path / "d.zarr", "dataset", COLUMNS, attributes={"name": "", "classes": []},
                          history=[FIRST, SECOND]) as writer:  # fmt: skip
        for name, array in rows_of().items():
            writer.append(name, array)
    head = tmp_path / "d.zarr" / "zarr.json"
    document = json.loads(head.read_bytes())
    document["attributes"]["version"] = 1
    document["attributes"]["seal"] = seal_of(document["attributes"])
    head.write_bytes(pretty(document))
    found = artifacts.check(tmp_path / "d.zarr")
    assert found.version == 1
    assert [step.output for step in found.history] == [None, found.digest]


def test_json_and_back() -> None:
    steps = [replace(FIRST, output="D"), SECOND]
    assert from_json(to_json(steps), "E") == (steps[0], replace(SECOND, output="E"))
    assert from_json([], "E") == ()
    odd = (
        {"output": None},
        {"output": 3},
        {"strange": "D"},
        {"tool": None},
        {"argv": "x"},
        {"argv": [1]},
        {"seed": True},
    )
    for wrong in (*odd, {"device": 3}, {"inputs": []}, {"inputs": {"dataset": 3}}):
        with pytest.raises(ValueError, match=r"history\[0\]"):
            from_json([to_json([FIRST])[0] | wrong], "E")


def test_join_has_each_step_once() -> None:
    known, other = replace(FIRST, output="D"), replace(FIRST, output="E")
    assert join([[FIRST, SECOND], [FIRST]]) == [FIRST, SECOND]
    assert join([[FIRST, SECOND], [known]]) == [known, SECOND]
    assert join([[known], [FIRST, SECOND]]) == [known, SECOND]
    assert join([[known, SECOND], [other]]) == [known, SECOND, other], "a command with two outputs"
    assert join([[FIRST], [known, other], [FIRST]]) == [known, other]
