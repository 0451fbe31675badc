"""The union of histories: every step once, after what it reads, with arrows that the digests tell."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.artifacts import Step
from datarobust.artifacts.history import join
from datarobust.figures.lineage import Command, Result, commands, outputs


def step(tool: str, *argv: str, **inputs: str) -> Step:
    return Step(tool, argv, "0", None, None, inputs)


Known = tuple[Result, tuple[Step, ...]]


def known(digest: str, *history: Step) -> Known:
    """An artifact of the report, opened: its last step has made its digest."""
    last = [replace(step, output=digest) for step in history[-1:]]
    return Result(digest, "dataset", digest, f"a-{digest}"), (*history[:-1], *last)


def made(digest: str, step: Step) -> Step:
    """A step as histories of version 2 have it."""
    return replace(step, output=digest)


IMPORT = step("dataset", "import", "digits", "-o", "d.zarr", source="S")
OTHER = step("dataset", "import", "other", "-o", "o.zarr", source="T")
TRAIN = step("dataset", "subset", "d.zarr", "-o", "train.zarr", dataset="D")
TEST = step("dataset", "subset", "d.zarr", "-o", "test.zarr", dataset="D")
RANK = step("sens-rank", "train.zarr", "-o", "r.zarr", dataset="TRAIN")
RUN = step(
    "advtrain", "train.zarr", "--test=test.zarr", "--focus", "r.zarr:least:9", "-o", "run",
    dataset="TRAIN", test="TEST", focus="rows", track="rows",
)  # fmt: skip


def arrows(found: list[Command]) -> set[tuple[str, str]]:
    """(output, output)."""
    return {(found[one.step].output, to.output) for to in found for one in to.sources if one.step is not None}


NEW = (made("D", IMPORT), made("TRAIN", TRAIN), made("TEST", TEST), made("R", RANK), RUN)
ALL = {
    ("d.zarr", "train.zarr"),
    ("d.zarr", "test.zarr"),
    ("train.zarr", "r.zarr"),
    ("train.zarr", "run"),
    ("test.zarr", "run"),
    ("r.zarr", "run"),
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
    assert arrows(found) == ALL
    assert [one.digest for one in found[-1].results] == ["W"]
    assert [(one.role, one.step) for one in found[0].sources] == [("source", None)]
    assert {one.tool for one in found} == {"dataset import", "dataset subset", "sens-rank", "advtrain"}


def test_the_last_artifact_alone_tells_all_of_its_lineage() -> None:
    found = commands([known("W", *NEW)])
    assert arrows(found) == ALL, "with row numbers chosen by the ranking, whose digest no step names"
    assert [[one.digest for one in step.results] for step in found] == [["D"], ["TEST"], ["TRAIN"], ["R"], ["W"]]
    assert [one.kind for step in found for one in step.results] == ["", "", "", "", "dataset"]


def test_of_an_old_artifact_alone_no_arrow_is_invented() -> None:
    """Which of the subsets the ranking has read, and which is the test set, version 1 does not tell."""
    found = commands([known("W", IMPORT, TRAIN, TEST, RANK, RUN)])
    assert arrows(found) == {("r.zarr", "run")}
    assert arrows(commands([known("W", IMPORT, TRAIN, TEST, RANK, RUN), known("D", IMPORT)])) >= {
        ("d.zarr", "train.zarr"),
        ("d.zarr", "test.zarr"),
        ("r.zarr", "run"),
    }


def test_an_old_chain_is_known_from_its_end() -> None:
    found = commands([known("R", IMPORT, TRAIN, RANK)])
    assert arrows(found) == {("d.zarr", "train.zarr"), ("train.zarr", "r.zarr")}
    assert [one.digest for step in found for one in step.results] == ["R"]


def test_a_mixed_history_of_old_and_new() -> None:
    found = commands([known("R", IMPORT, made("TRAIN", TRAIN), RANK)])
    assert arrows(found) == {("d.zarr", "train.zarr"), ("train.zarr", "r.zarr")}
    old_and_new = commands([known("R", IMPORT, TRAIN, RANK), known("W", *NEW)])
    assert len(old_and_new) == 5, "steps that differ only in what is known of their output are one"
    assert arrows(old_and_new) == ALL


def test_row_numbers_are_not_taken_for_the_ranking_that_chose_them() -> None:
    run = step("advtrain", "d.zarr", "-o", "run", dataset="D", focus="rows")
    found = commands([known("W", made("D", IMPORT), RANK, run)])
    assert ("r.zarr", "run") in arrows(found)
    assert [one.digest for one in found[-1].sources if one.step is not None] == ["D", ""]


def test_a_ranking_that_several_steps_may_have_read_has_no_arrow() -> None:
    first = made("W", step("advtrain", "d.zarr", "-o", "w", dataset="D", focus="rows"))
    last = step("aaeval", "d.zarr", "w", "-o", "e", dataset="D", model="W", selection="other rows")
    rank = made("R", step("sens-rank", "d.zarr", "-o", "r", dataset="D"))
    found = commands([known("E", made("D", IMPORT), rank, first, last)])
    assert arrows(found) == {("d.zarr", "r"), ("d.zarr", "w"), ("d.zarr", "e"), ("w", "e")}


def test_of_equal_artifacts_a_history_leads_to_its_own() -> None:
    other = step("dataset", "import", "digits", "-o", "copy.zarr", source="S")
    rank = step("sens-rank", "copy.zarr", "-o", "r.zarr", dataset="D")
    found = commands([known("D", IMPORT), known("D", other), known("R", made("D", other), rank)])
    assert arrows(found) == {("copy.zarr", "r.zarr")}


def test_what_an_old_history_tells_holds_for_the_others() -> None:
    later = step("aaeval", "train.zarr", "-o", "e", dataset="TRAIN", model="unknown")
    found = commands([known("R", IMPORT, TRAIN, RANK), known("E", IMPORT, TRAIN, later)])
    assert arrows(found) == {("d.zarr", "train.zarr"), ("train.zarr", "r.zarr"), ("train.zarr", "e")}


def test_sources_are_from_outside() -> None:
    merge = step("dataset", "merge", "-", "x", "-o", "m.zarr", first="A", second="B")
    found = commands([known("M", IMPORT, OTHER, merge)])
    assert arrows(found) == {("d.zarr", "m.zarr"), ("o.zarr", "m.zarr")}


def test_the_two_weights_of_a_run_are_one_step() -> None:
    train = step("advtrain", "d.zarr", "-o", "run", dataset="D")
    test = step("aaeval", "d.zarr", "run/best.safetensors", "-o", "e", dataset="D", model="BEST")
    history = (made("D", IMPORT), made("BEST", train), test)
    found = commands([known("LAST", made("D", IMPORT), train), known("E", *history)])
    assert arrows(found) == {("d.zarr", "run"), ("d.zarr", "e"), ("run", "e")}
    assert [one.digest for one in found[1].results] == ["LAST", "BEST"], "what is in the report first"


def test_two_outputs_of_a_command_are_one_step() -> None:
    both = [step("aaeval", "d.zarr", "a", "b", "-o", "1", "-o", "2", dataset="D", model=model) for model in ("A", "B")]
    found = commands([known("E1", IMPORT, both[0]), known("E2", IMPORT, both[1])])
    assert len(found) == 2
    assert found[1].output == "1, 2"
    assert [one.digest for one in found[1].results] == ["E1", "E2"]
    assert [one.digest for one in found[1].sources if one.role == "model"] == ["A", "B"]


def test_outputs() -> None:
    words = ["-o", "a", "--output", "b/", "--output=c", "-od", "--other", "--seed", "1", "-", "-x", "-o"]
    assert outputs(step("t", *words)) == ["a", "b", "c", "d", ""]


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
    assert sum(one.step is not None for to in found for one in to.sources) == 1999


@st.composite
def workshops(make: st.DrawFn) -> list[Known]:
    """Artifacts made of one another at random, with the histories that commands write."""
    known_: list[Known] = []
    for place in range(make(st.integers(1, 7))):
        read = make(st.lists(st.sampled_from(known_), max_size=3, unique_by=lambda one: one[0])) if known_ else []
        inputs: dict[str, Any] = {f"r{number}": one.digest for number, (one, _) in enumerate(read)}
        own = step("t", *(one.name for one, _ in read), "-o", f"{place}", **inputs or {"source": "S"})
        known_.append(known(f"{place}", *join(history for _, history in read), own))
    return known_


@settings(max_examples=50)
@given(workshops(), st.randoms())
def test_arrows_are_those_of_the_digests(made: list[Known], chance: random.Random) -> None:
    found = commands(made)
    assert len(found) == len(made)
    assert commands(sorted(made, key=lambda one: chance.random())) == found
    alone = commands(made[-1:])  # the last artifact alone tells the same of what led to it
    assert len(alone) == len(made[-1][1])
    for several in (found, alone):
        for to in several:
            wanted = {one.digest for one in to.sources if one.role.startswith("r")}
            assert {several[one.step].results[0].digest for one in to.sources if one.step is not None} == wanted


@settings(max_examples=50)
@given(workshops())
def test_of_old_histories_no_arrow_is_wrong(made: list[Known]) -> None:
    old = [(result, (*(replace(one, output=None) for one in history[:-1]), history[-1])) for result, history in made]
    right = arrows(commands(made))
    assert arrows(commands(old)) == right, "all artifacts are in the report"
    assert arrows(commands(old[-1:])) <= right


@st.composite
def choosing(make: st.DrawFn) -> list[Known]:
    """Artifacts some of which were read only to choose rows: of those a step has the digest of the rows."""
    known_: list[Known] = []
    for place in range(make(st.integers(1, 6))):
        read = make(st.lists(st.sampled_from(known_), max_size=3, unique_by=lambda one: one[0])) if known_ else []
        inputs = {}
        for number, (one, _) in enumerate(read):
            rows = make(st.booleans())
            inputs["focus" if rows else f"r{number}"] = f"rows {place}" if rows else one.digest
        own = step("t", *(one.name for one, _ in read), "-o", f"{place}", **inputs or {"source": "S"})
        known_.append(known(f"{place}", *join(history for _, history in read), own))
    return known_


@settings(max_examples=60)
@given(choosing(), st.booleans())
def test_no_arrow_is_wrong_where_artifacts_only_chose_rows(made: list[Known], old: bool) -> None:
    """The truth is what the commands name; every digest that is attributed is the right one."""
    histories = [
        (result, tuple(replace(one, output=None) for one in history[:-1]) + history[-1:]) if old else (result, history)
        for result, history in made
    ]
    for some in (histories, histories[-1:]):
        for to in (found := commands(some)):
            named = set(to.step.argv[: to.step.argv.index("-o")])
            assert {found[one.step].output for one in to.sources if one.step is not None} <= named
            assert {one.digest for one in to.results} <= {to.output}
