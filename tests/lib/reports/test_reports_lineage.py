"""The union of histories: every step once, after what it reads, with arrows that the digests tell."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.artifacts import Step
from datarobust.figures.report_history import Command, Result
from datarobust.reports.lineage import Known, commands, outputs


def step(tool: str, *argv: str, **inputs: str) -> Step:
    return Step(tool, argv, "0", None, None, inputs)


def known(digest: str, *history: Step) -> Known:
    return Known(Result("dataset", digest, digest, f"a-{digest}"), history)


IMPORT = step("dataset", "import", "digits", "-o", "d.zarr", source="S")
OTHER = step("dataset", "import", "other", "-o", "o.zarr", source="T")
TRAIN = step("dataset", "subset", "d.zarr", "-o", "train.zarr", dataset="D")
TEST = step("dataset", "subset", "d.zarr", "-o", "test.zarr", dataset="D")
RANK = step("sens-rank", "train.zarr", "-o", "r.zarr", dataset="TRAIN")
RUN = step(
    "advtrain", "train.zarr", "--test=test.zarr", "--focus", "r.zarr:least:9", "-o", "run",
    dataset="TRAIN", test="TEST", focus="rows", track="rows",
)  # fmt: skip


def arrows(found: list[Command]) -> dict[tuple[str, str], bool]:
    """(output, output) to whether it is certain."""
    return {
        (found[one.step].output, to.output): one.certain for to in found for one in to.sources if one.step is not None
    }


def test_everything_in_the_report() -> None:
    found = commands(
        [
            known("D", IMPORT),
            known("TRAIN", IMPORT, TRAIN),
            known("TEST", IMPORT, TEST),
            known("R", IMPORT, TRAIN, RANK),
            known("W", IMPORT, TRAIN, TEST, RANK, RUN),
        ]
    )
    assert len(found) == 5
    assert arrows(found) == dict.fromkeys(
        [
            ("d.zarr", "train.zarr"),
            ("d.zarr", "test.zarr"),
            ("train.zarr", "r.zarr"),
            ("train.zarr", "run"),
            ("test.zarr", "run"),
            ("r.zarr", "run"),
        ],
        True,
    )
    assert [one.digest for one in found[-1].results] == ["W"]
    assert [(one.role, one.step) for one in found[0].sources] == [("source", None)]
    assert {one.tool for one in found} == {"dataset import", "dataset subset", "sens-rank", "advtrain"}


def test_the_last_artifact_alone() -> None:
    found = commands([known("W", IMPORT, TRAIN, TEST, RANK, RUN)])
    told = arrows(found)
    assert told[("test.zarr", "run")]
    assert told[("r.zarr", "run")]
    assert ("train.zarr", "r.zarr") in told
    assert ("train.zarr", "run") in told
    assert ("d.zarr", "train.zarr") in told
    assert ("r.zarr", "train.zarr") not in told
    assert ("other", "run") not in told


def test_a_chain_is_known_from_its_end() -> None:
    found = commands([known("R", IMPORT, TRAIN, RANK)])
    assert arrows(found) == {("d.zarr", "train.zarr"): True, ("train.zarr", "r.zarr"): True}
    piped = step("sens-rank", "-", "-o", "r.zarr", dataset="TRAIN")
    assert arrows(commands([known("R", IMPORT, TRAIN, piped)]))[("train.zarr", "r.zarr")]


def test_sources_are_from_outside() -> None:
    merge = step("dataset", "merge", "-", "x", "-o", "m.zarr", first="A", second="B")
    found = commands([known("M", IMPORT, OTHER, merge)])
    assert arrows(found) == {("d.zarr", "m.zarr"): True, ("o.zarr", "m.zarr"): True}


def test_two_outputs_of_a_command_are_one_step() -> None:
    both = [step("aaeval", "d.zarr", "a", "b", "-o", "1", "-o", "2", dataset="D", model=model) for model in ("A", "B")]
    found = commands([known("E1", IMPORT, both[0]), known("E2", IMPORT, both[1])])
    assert len(found) == 2
    assert found[1].output == "1, 2"
    assert [one.digest for one in found[1].results] == ["E1", "E2"]
    assert [one.digest for one in found[1].sources if one.role == "model"] == ["A", "B"]


def test_outputs() -> None:
    assert outputs(step("t", "-o", "a", "--output", "b/", "--output=c", "-od", "--other", "-o")) == ["a", "b", "c", "d"]


def test_histories_that_contradict_one_another_are_drawn_without_a_cycle() -> None:
    one, other = step("a", "-o", "x", dataset="Y"), step("b", "-o", "y", dataset="X")
    found = commands([known("Y", one, other), known("X", other, one)])
    assert len(found) == 2
    assert all(source.step is None or source.step < place for place, to in enumerate(found) for source in to.sources)


def test_thousands_of_steps() -> None:
    chain = [
        step("dataset", "subset", f"{place}.zarr", "-o", f"{place + 1}.zarr", dataset=f"{place}")
        for place in range(2000)
    ]
    found = commands([known("E", *chain), known("F", *chain[:900])])
    assert len(found) == 2000
    assert sum(one.step is not None and one.certain for to in found for one in to.sources) == 1999


@st.composite
def workshops(make: st.DrawFn) -> list[Known]:
    """Artifacts made of one another at random, with the histories that commands write."""
    made: list[Known] = []
    for place in range(make(st.integers(1, 7))):
        read = (
            make(st.lists(st.sampled_from(made), max_size=3, unique_by=lambda one: one.result.digest)) if made else []
        )
        history: list[Step] = []
        for one in read:
            history += [each for each in one.history if each not in history]
        inputs: dict[str, Any] = {f"r{number}": one.result.digest for number, one in enumerate(read)}
        own = step("t", *(one.result.name for one in read), "-o", f"{place}", **inputs or {"source": "S"})
        made.append(known(f"{place}", *history, own))
    return made


@settings(max_examples=80, deadline=None)
@given(workshops(), st.randoms())
def test_arrows_are_those_of_the_digests(made: list[Known], chance: random.Random) -> None:
    found = commands(made)
    assert len(found) == len(made)
    for to in found:
        wanted = {one.digest for one in to.sources if one.role.startswith("r")}
        got = {found[one.step].results[0].digest for one in to.sources if one.step is not None}
        assert got == wanted
        assert all(one.certain for one in to.sources)
    mixed = sorted(made, key=lambda one: chance.random())
    assert commands(mixed) == found
    last = made[-1]
    alone = commands([last])  # what digests do not tell names do, as every name is another
    assert len(alone) == len(last.history)
    for to in alone:
        want = set(to.words[1 : to.words.index("-o")])
        assert {alone[one.step].output for one in to.sources if one.step is not None} == want
