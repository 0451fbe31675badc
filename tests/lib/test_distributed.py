"""Lists of neighbours are merged as if one process had made them, and who is who is read from the environment."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datarobust import distributed
from datarobust.distributed import Group, merge_lists
from datarobust.errors import UsageError

INF = math.inf


def as_lists(found: list[list[tuple[float, int]]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of (key, index), sorted, filled with (inf, -1) to k, as two arrays."""
    rows = [sorted(row)[:k] for row in found]
    rows = [row + [(INF, -1)] * (k - len(row)) for row in rows]
    keys = np.array([[key for key, _ in row] for row in rows], np.float64).reshape(len(rows), k)
    return keys, np.array([[index for _, index in row] for row in rows], np.int64).reshape(len(rows), k)


@st.composite
def shares(draw: st.DrawFn) -> tuple[int, list[dict[int, float]], list[list[list[tuple[float, int]]]]]:
    """k, the keys of all neighbours of some rows by index, and what each of several processes found of them."""
    k, rows, processes = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    indices = st.dictionaries(st.integers(0, 9), st.sampled_from([0.0, 1.0, 2.0, 7.5]), max_size=8)
    every = [draw(indices) for _ in range(rows)]
    found = [
        [[(key, index) for index, key in row.items() if draw(st.booleans())] for row in every]
        for _ in range(processes - 1)
    ]
    # Between them they know everything.
    missing = [
        [(key, index) for index, key in row.items() if all((key, index) not in part[r] for part in found)]
        for r, row in enumerate(every)
    ]
    return k, every, [*found, missing]


@given(shares())
def test_merged_lists_are_the_best_of_all(
    drawn: tuple[int, list[dict[int, float]], list[list[list[tuple[float, int]]]]],
) -> None:
    k, every, found = drawn
    lists = [as_lists(part, k) for part in found]
    keys, indices = merge_lists([part for part, _ in lists], [part for _, part in lists])
    expected = as_lists([[(key, index) for index, key in row.items()] for row in every], k)
    np.testing.assert_array_equal(keys, expected[0])
    np.testing.assert_array_equal(indices, expected[1])
    assert indices.dtype == np.int64


def test_equal_keys_go_to_the_lower_index_and_twice_is_once() -> None:
    keys = [np.array([[1.0, 1.0]]), np.array([[1.0, 2.0]])]
    indices = [np.array([[3, 8]]), np.array([[3, 0]])]
    merged = merge_lists(keys, indices)
    assert (merged[0].tolist(), merged[1].tolist()) == ([[1.0, 1.0]], [[3, 8]])
    merged = merge_lists(keys, [np.array([[3, 8]]), np.array([[5, 0]])])
    assert merged[1].tolist() == [[3, 5]]


def test_no_neighbours_at_all() -> None:
    keys, indices = as_lists([[], []], 3)
    merged = merge_lists([keys] * 3, [indices] * 3)
    np.testing.assert_array_equal(merged[0], keys)
    np.testing.assert_array_equal(merged[1], indices)


# ----------------------------------------------------------------------------------------------------- processes


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_without_torchrun_a_process_is_alone() -> None:
    with distributed.group() as group:
        assert group == Group(0, 1)
        assert group.is_main
        array = np.arange(3)
        assert group.all_gather(array)[0] is array
        assert (group.agree(True), group.agree(False)) == (True, False)


def test_alone_torch_is_not_imported() -> None:
    program = (
        "import sys\n"
        "from datarobust import distributed\n"
        "with distributed.group() as group: assert group.size == 1 and group.agree(True)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_one_process_of_torchrun_is_alone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with distributed.group() as group:
        assert group == Group(0, 1)


@pytest.mark.parametrize(
    ("rank", "size", "says"),
    [
        ("0", "two", "WORLD_SIZE='two'"),
        ("0", "1.5", "WORLD_SIZE='1.5'"),
        ("first", "2", "RANK='first'"),
        ("2", "2", "RANK=2 and WORLD_SIZE=2"),
        ("-1", "2", "RANK=-1"),
        ("0", "0", "WORLD_SIZE=0"),
        ("0", "-3", "WORLD_SIZE=-3"),
        ("1", "", "RANK=1"),
        ("0", "2", "torchrun"),  # and no MASTER_ADDR: nobody could be found
    ],
)
def test_an_environment_that_cannot_be(monkeypatch: pytest.MonkeyPatch, rank: str, size: str, says: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match=says) as told, distributed.group():
        pass
    assert "torchrun" in str(told.value)
    assert "\n" not in str(told.value)


def test_only_the_first_is_main() -> None:
    assert [Group(rank, 3).is_main for rank in range(3)] == [True, False, False]


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_tasks_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with distributed.group() as group:
        assert group == Group(0, 1)
    monkeypatch.setenv(name, "4")
    with pytest.raises(UsageError, match=f"started 4 tasks .* torchrun .* unset {name}"), distributed.group():
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")  # one task of four, in each a torchrun
    with distributed.group() as group:
        assert group == Group(0, 1)


#: What five processes check together, on what they take for two machines.
CHECKS = """
import itertools
import os
import numpy as np
from datarobust import distributed

def groups_follow_one_another(group):  # as in a notebook
    parts = group.all_gather(np.array([10 * turn + group.rank]))
    assert [int(part[0]) for part in parts] == [10 * turn + rank for rank in range(5)], parts

def lists_are_merged(group):
    def lists(rank):
        random = np.random.default_rng(rank)
        keys = np.sort(random.uniform(0, 5, (40, 3)).round())
        return keys, np.tile(np.arange(3 * rank, 3 * rank + 3), (40, 1))

    merged = group.merge_neighbours(*lists(group.rank))
    expected = distributed.merge_lists(*map(list, zip(*map(lists, range(5)))))
    for part, whole in zip(merged, expected):
        np.testing.assert_array_equal(part, whole)
        assert part.dtype == whole.dtype

def the_first_process_has_the_arrays_of_all(group):
    arrays = list(group.to_main({"numbers": np.arange(group.rank), "own": np.array([group.rank + 0.5])}))
    assert len(arrays) == (5 if group.is_main else 0)
    for rank, part in enumerate(arrays):
        assert (part["numbers"].tolist(), part["own"].tolist()) == (list(range(rank)), [rank + 0.5])

class Column:
    values = np.arange(3000, dtype=np.int64).reshape(1000, 3)
    shape, dtype, reads = values.shape, values.dtype, []

    def read(self, start, stop):
        self.reads.append((start, stop))
        return self.values[start:stop]

def a_machine_has_rows_once(group):
    rows = group.once_a_machine(Column())
    np.testing.assert_array_equal(rows, Column.values)
    first, last = [(0, 333), (333, 666), (666, 1000), (0, 500), (500, 1000)][group.rank]
    assert (Column.reads[0][0], Column.reads[-1][1]) == (first, last), "each has read its part"
    assert all(before[1] == after[0] for before, after in itertools.pairwise(Column.reads))
    group.agree(True)
    if group.local == 1:
        rows[7] = group.rank
    group.agree(True)
    assert rows[7].tolist() == [1 if group.rank < 3 else 4] * 3, "one memory on each machine, another on the other"

def processes_that_do_not_see_each_other_share_nothing(group):
    pretended, os.getpid = os.getpid, lambda: 2**22 + 1 if group.rank == 3 else pretended()
    assert group.once_a_machine(Column()) is None
    os.getpid = lambda: 1
    assert group.once_a_machine(Column()) is None
    os.getpid = pretended

for turn, check in enumerate(list(globals().values())):
    if getattr(check, "__module__", "") == "__main__" and not isinstance(check, type):
        with distributed.group() as group:
            check(group)
            group.agree(True)
            if group.is_main:
                print(check.__name__, flush=True)
"""


@pytest.fixture(scope="module")
def checked(pair: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What went well among five processes, and what they said."""
    script = tmp_path_factory.mktemp("processes") / "checks.py"
    script.write_text(CHECKS)
    done = pair("script", script, machines=(3, 2))
    return f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("check", re.findall(r"^def (\w+)\(group\)", CHECKS, re.M))
def test_among_five_processes(checked: str, check: str) -> None:
    assert check in checked.splitlines(), checked


@pytest.mark.parametrize(
    ("devices", "local", "here", "name", "expected"),
    [
        (4, 3, 4, "cuda", 3),
        (1, 3, 4, "cuda", 0),  # each process sees one device
        (4, 0, 1, "cuda:2", 2),
        (4, 0, 4, "cuda:2", "one device for 4 processes"),
        (2, 2, 4, "cuda", "there are 2 CUDA devices"),
        (2, 0, 1, "cuda:2", "there are 2 CUDA devices"),
    ],
)
def test_each_process_takes_its_device(
    monkeypatch: pytest.MonkeyPatch, devices: int, local: int, here: int, name: str, expected: int | str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setenv("LOCAL_RANK", f"{local}")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", f"{here}")
    if isinstance(expected, int):
        assert distributed.device_of(name) == torch.device("cuda", expected)
        return
    with pytest.raises(UsageError, match=expected):
        distributed.device_of(name)


def test_devices() -> None:
    assert distributed.device_of("cpu") == torch.device("cpu")
    available = torch.cuda.is_available()
    assert distributed.device_of("auto").type == ("cuda" if available else "cpu")
    with pytest.raises(UsageError, match="`device` cuda:99"):
        distributed.device_of("cuda:99")
