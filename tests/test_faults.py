"""Commands whose n-th call to the disk fails or is their last: nothing is lost, and the same command again ends well.

A sample of what ``make torture`` tries in full.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from . import faults
from .faults import CASES, KINDS, Bench

DISTURBED = tuple(kind for kind in KINDS if kind != "count")


@pytest.fixture(scope="module")
def bench(quick: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Inputs, and commands that can be disturbed."""
    if (lack := faults.lack()) is not None:
        pytest.skip(lack)
    made = Bench(quick, scripts, tmp_path_factory.mktemp("faults"))
    faults.prepare(made)
    return made


@pytest.mark.parametrize("case", CASES)
def test_a_disturbed_command_again(bench: Bench, case: str) -> None:
    whole, count = faults.undisturbed(bench, case)
    assert count > 8
    # Each command is killed in one of its last three calls; every other one meets another fault somewhere, too.
    place = list(CASES).index(case)
    trials = [("kill", count - place % 3)]
    if place % 2:
        trials.append((DISTURBED[place // 2 % len(DISTURBED)], 1 + 7 * place % count))
    for kind, number in trials:
        wrong = faults.trial(bench, case, kind, number, whole)
        assert wrong is None, f"{kind} at call {number} of {count}: {wrong}"


@pytest.mark.parametrize(
    ("case", "number"), [("sens-rank", errno.ENOSYS), ("edmtrain", errno.ENOLCK), ("figure", errno.EOPNOTSUPP)]
)
def test_a_file_system_without_flock(bench: Bench, case: str, number: int) -> None:
    whole, _ = faults.undisturbed(bench, case)
    folder = bench.fresh("trial")
    done = bench.run(folder, CASES[case], flock=number)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no flock") == 1
    assert faults.contents(folder) == whole


def test_the_last_call_is_counted(bench: Bench) -> None:
    _, count = faults.undisturbed(bench, "sens-rank")
    killed = bench.run(bench.fresh("trial"), CASES["sens-rank"], "kill", count)
    assert killed.returncode == -9
    done = bench.run(bench.fresh("trial"), CASES["sens-rank"], "kill", count + 1)
    assert done.returncode == 0
