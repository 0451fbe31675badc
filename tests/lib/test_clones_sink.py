"""Finished clones on their way to the disk: what the store has, the journal need not hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datarobust import artifacts
from datarobust.artifacts import Writer
from datarobust.clones.sink import Sink

ROW = (2, 1, 1024, 2048)
"""Two clones of 2 MiB: a block of the store has 4 points."""


class Store:
    """Stands for a writer."""

    def __init__(self, done: int = 0) -> None:
        self.rows: list[np.ndarray] = []
        self.begun = done

    def done(self, name: str) -> int:
        return self.begun

    def append(self, name: str, rows: np.ndarray) -> None:
        assert name == "images"
        assert rows.shape[1:] == ROW
        self.rows += [row[:, 0, 0, 0] for row in rows]


def clones(first: int, count: int) -> np.ndarray:
    return np.broadcast_to(np.arange(first, first + count, dtype=np.uint8)[:, None, None, None], (count, *ROW[1:]))


def sink(store: Store, journal: artifacts.Journal) -> Sink:
    writer: Writer = store  # type: ignore[assignment]
    return Sink(writer, journal, ROW, 1e9)


def test_points_are_appended_when_they_are_complete_and_blocks_leave_the_journal(tmp_path: Path) -> None:
    journal, store = artifacts.Journal(tmp_path / "k.zarr", "request"), Store()
    kept = sink(store, journal)
    kept.take(0, clones(0, 3))
    assert [row.tolist() for row in store.rows] == [[0, 1]]
    kept.take(0, clones(0, 9))  # some of them come again
    assert [row.tolist() for row in store.rows] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert kept.done == 9
    kept.save()
    state = journal.load()
    assert state is not None
    assert int(state["first"]) == 8
    assert state["images"][:, 0, 0, 0].tolist() == [8]

    again = Store(done=4)
    resumed = sink(again, journal)
    assert resumed.done == 9
    assert not again.rows
    resumed.take(8, clones(8, 4))
    assert [row.tolist() for row in again.rows] == [[8, 9], [10, 11]]


def test_a_journal_that_knows_more_or_less_than_the_store(tmp_path: Path) -> None:
    journal = artifacts.Journal(tmp_path / "k.zarr", "request")
    journal.save({"first": 0, "images": clones(0, 5)})
    behind = sink(Store(done=4), journal)  # the store has 8 clones, the journal fewer
    assert behind.done == 8
    journal.save({"first": 8, "images": clones(8, 2)})
    lost = Store(done=0)  # a block of the store was damaged: what comes after it is of no use
    assert sink(lost, journal).done == 0
    assert not lost.rows
