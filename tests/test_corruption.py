"""Commands on artifacts of which one file is damaged: one sentence that names it, or the result of the whole artifact.

A sample of what ``make torture`` tries in full.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from . import corruption, faults
from .corruption import HARMS, SUBJECTS
from .faults import Bench

EACH = 13  # every so many of all trials


@pytest.fixture(scope="module")
def bench(quick: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Artifacts of every kind, and another one of each."""
    made = Bench(quick, scripts, tmp_path_factory.mktemp("corruption"))
    faults.prepare(made)
    corruption.prepare(made)
    return made


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_damaged_artifact_is_refused_by_name(bench: Bench, name: str) -> None:
    whole = corruption.undisturbed(bench, name)
    for number, (file, harm) in enumerate(corruption.trials(bench, name), list(SUBJECTS).index(name)):
        if number % EACH == 0 or (harm == "flip" and file == Path()):
            wrong = corruption.trial(bench, name, file, harm, number, whole)
            assert not wrong, f"{file}, {harm}: {wrong}"


def test_the_head_of_another_evaluation_fits_only_the_same_rows(bench: Bench) -> None:
    inputs = bench.folder / "in"
    whole = corruption.undisturbed(bench, "evaluation")
    wrong = corruption.trial(bench, "evaluation", Path("zarr.json"), "another", 0, whole)
    assert wrong is None
    # What has the head and the rows of another evaluation is that evaluation, byte for byte.
    mixed = bench.fresh("mixed") / "x"
    shutil.copytree(inputs / "a.zarr", mixed)
    for file in corruption.files(bench, SUBJECTS["evaluation"]):
        HARMS["another"](mixed / file, inputs / "a2.zarr" / file, 0)
    assert faults.contents(mixed) == faults.contents(inputs / "a2.zarr")
