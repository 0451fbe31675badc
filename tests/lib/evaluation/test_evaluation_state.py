"""What is known of each point, merged from several states."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.evaluation.state import State, Verdicts, gathered


def play(
    state: State, labels: np.ndarray, verdicts: np.ndarray, stages: int, parts: int, number: int, size: int
) -> None:
    """Take the batches of one process through a stage after the other, merging with nobody."""
    for stage in range(stages):
        for place, batch in enumerate(state.batches(labels, stage, size)):
            if place % parts == number and not state.done(batch, stage):
                record(state, batch, stage, labels, verdicts)


def record(state: State, batch: np.ndarray, stage: int, labels: np.ndarray, verdicts: np.ndarray) -> None:
    """``verdicts`` (M): the stage at which each point falls."""
    fooled = verdicts[batch] == stage
    predicted = np.where(fooled, labels[batch] + 1, labels[batch])
    images = None if stage == 0 else np.full((len(batch), 1, 1, 1), stage, np.float32)
    state.record(batch, stage, Verdicts(predicted, fooled, images, {"outside": len(batch)}), keep=True)


@settings(max_examples=50, deadline=None)
@given(
    verdicts=st.lists(st.integers(0, 4), min_size=1, max_size=25),
    size=st.integers(1, 6),
    parts=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_shared_and_interrupted_is_as_alone(verdicts: list[int], size: int, parts: int, seed: int) -> None:
    stages, falls = 4, np.array(verdicts)
    labels = np.arange(len(falls)) % 3
    alone = State(len(falls))
    for stage in range(stages):
        for batch in alone.batches(labels, stage, size):
            record(alone, batch, stage, labels, falls)
    random = np.random.default_rng(seed)
    states = [State(len(falls)) for _ in range(parts)]
    for stage in range(stages):
        for number, state in enumerate(states):
            for batch in state.batches(labels, stage, size)[number::parts]:
                record(state, batch, stage, labels, falls)
                if random.random() < 0.3:  # killed: a new state takes up what was saved
                    saved = state.arrays()
                    states[number] = state = State(len(falls))
                    state.take(saved)
                assert state.done(batch, stage)
        tables = [state.table() for state in states]
        images = [state.images() for state in states]
        for state in states:
            for table in tables:
                state.merge(table)
            for rows, found in images:
                if len(rows):
                    state.add(rows, found)
    for state in states:
        assert np.array_equal(state.table(), alone.table())
        assert state.found.keys() == alone.found.keys()
        assert all(np.array_equal(state.found[row], alone.found[row]) for row in alone.found)
    assert np.array_equal(alone.broken, np.where((falls == 0) | (falls >= stages), -1, falls - 1))
    assert alone.counts()["outside"] == sum(
        len(batch) for s in range(stages) for batch in alone.batches(labels, s, size)
    )


def test_batches_are_those_of_points_that_are_still_right() -> None:
    labels = np.zeros(6, np.int64)
    state = State(6)
    falls = np.array([9, 0, 1, 9, 2, 9])
    record(state, np.arange(6), 0, labels, falls)
    assert [batch.tolist() for batch in state.batches(labels, 1, 2)] == [[0, 2], [3, 4], [5]]
    record(state, np.array([0, 2]), 1, labels, falls)
    assert [batch.tolist() for batch in state.batches(labels, 1, 2)] == [[0, 2], [3, 4], [5]]  # as before it began
    assert state.done(np.array([0, 2]), 1)
    assert not state.done(np.array([3, 4]), 1)


def test_a_state_of_another_number_of_points_is_passed_over() -> None:
    state, other = State(4), State(5)
    record(other, np.arange(5), 0, np.zeros(5, np.int64), np.full(5, 9))
    state.take(other.arrays())
    assert (state.settled == 0).all()


def test_rows_that_fill_up_are_dropped() -> None:
    parts = [(np.array([3, -1]), np.ones((2, 1, 1, 1))), (np.array([-1, 5]), np.zeros((2, 1, 1, 1)))]
    rows, images = gathered(parts)
    assert rows.tolist() == [3, 5]
    assert images.ravel().tolist() == [1, 0]
