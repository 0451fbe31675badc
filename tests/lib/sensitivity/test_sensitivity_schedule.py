"""Every two blocks that can matter to each other meet once, and none plays twice in a round."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.sensitivity.panels import PAD, Panels
from datarobust.sensitivity.search import Schedule, round_robin, tournament, windows, within_reach

from .oracle import Array, labels_of


@given(teams=st.integers(1, 40))
def test_in_a_tournament_every_two_meet_once(teams: int) -> None:
    rounds = list(tournament(teams))
    met = [pair for pairs in rounds for pair in pairs]
    assert sorted(met) == sorted(combinations_with_replacement(range(teams), 2))
    for pairs in rounds:
        players = [player for pair in pairs for player in set(pair)]
        assert len(players) == len(set(players)), "a block plays twice in a round"


@given(teams=st.integers(1, 40), reach=st.integers(0, 40))
def test_within_reach_every_two_meet_once(teams: int, reach: int) -> None:
    reach = min(reach, teams - 1)
    rounds = list(within_reach(teams, reach))
    met = [pair for pairs in rounds for pair in pairs]
    assert sorted(met) == [(x, y) for x, y in combinations_with_replacement(range(teams), 2) if y - x <= reach]
    for pairs in rounds:
        players = [player for pair in pairs for player in set(pair)]
        assert len(players) == len(set(players)), "a block plays twice in a round"


@given(left=st.integers(1, 30), right=st.integers(1, 30))
def test_between_two_teams_everyone_meets_everyone_once(left: int, right: int) -> None:
    rounds = list(round_robin(left, right))
    assert sorted(pair for pairs in rounds for pair in pairs) == sorted(product(range(left), range(right)))
    for pairs in rounds:
        assert len({x for x, _ in pairs}) == len({y for _, y in pairs}) == len(pairs)


@given(n=st.integers(1, 500), size=st.integers(1, 100), columns=st.integers(1, 5), seed=st.integers(0, 99))
def test_windows_hold_every_position_once(n: int, size: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    leading = random.integers(0, 4, (2 * n, columns)).astype(np.float32)
    positions = random.permutation(2 * n)[:n]
    found = windows(leading, positions, size)
    assert max(len(part) for part in found) <= size
    assert sorted(np.concatenate(found).tolist()) == sorted(positions.tolist())


@settings(max_examples=60)
@given(
    data=st.data(), sizes=st.lists(st.integers(1, 700), min_size=1, max_size=2),
    memory=st.sampled_from([1, 20_000, 1 << 30]), block=st.sampled_from([1, 64, 100, 128, 4096]),
    shards=st.integers(1, 3), matters=st.sampled_from(["all", "same", "other"]),
)  # fmt: skip
def test_every_pair_that_matters_meets_once(
    data: st.DataObject, sizes: list[int], memory: int, block: int, shards: int, matters: str
) -> None:
    soft, same = matters == "all", matters == "same"
    labels = [data.draw(labels_of(n)) for n in sizes]
    panels = Panels([(np.zeros((len(part), 9), np.uint8), part) for part in labels], memory)
    schedule = Schedule(panels, block, shards, soft, same)
    rounds = list(schedule)
    assert len(rounds) == len(schedule)
    met = np.zeros((panels.positions, panels.positions), int)
    for turn in rounds:
        players: list[int] = []
        resident = [panel.positions for panel in turn.panels]
        for i0, i1, j0, j1 in turn.matches:
            assert i0 % PAD == j0 % PAD == 0
            assert resident[0].start <= i0 < i1 <= resident[0].stop
            assert resident[1].start <= j0 < j1 <= resident[1].stop
            met[i0:i1, j0:j1] += 1
            if i0 != j0:
                met[j0:j1, i0:i1] += 1
            players += {i0, j0}
        assert len(players) == len(set(players)), "a block plays twice in a round"
    assert met.max(initial=0) <= 1
    needed = matter(panels, soft, same)
    assert (met[needed] == 1).all()
    assert schedule.layout == Schedule(panels, block, shards, soft, same).layout


def matter(panels: Panels, soft: bool, same: bool) -> Array:
    """Pairs of positions, as a matrix, that a search must look at."""
    there = panels.origin >= 0
    needed = there[:, None] & there[None, :]
    if not soft:
        needed &= (panels.label[:, None] == panels.label[None, :]) == same
    if len(panels.sources) == 2:
        query = np.arange(panels.positions) < panels.queries
        needed &= query[:, None] != query[None, :]
    return needed


@pytest.mark.parametrize("memories", [(2 * 64 * 256, 2 * 64 * 520), (2 * 64 * 256, 1 << 30)])
def test_another_cut_is_another_layout(memories: tuple[int, int]) -> None:
    points, labels = np.zeros((1000, 64), np.uint8), np.arange(1000) % 3
    cuts = [Panels([(points, labels)], memory) for memory in memories]
    layouts = [Schedule(panels, 2048, 1, False).layout for panels in cuts]
    assert layouts[0] != layouts[1]
    assert Schedule(cuts[0], 64, 1, False).layout != layouts[0]
    assert Schedule(cuts[0], 2048, 2, False).layout != layouts[0]
