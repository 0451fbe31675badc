"""The search visits every pair that matters, however the work is cut and however often it is interrupted."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from datarobust.sensitivity import Labelled, Options, Ranking, codes, native, panels, rank, search

from .oracle import COMPILED as NORMS
from .oracle import HARD_SETS, LEVELS, Array, assert_same, brute, clustered, near_duplicates, ranked, saturated


@pytest.fixture(autouse=True)
def few_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are learned from a part of the points, and several windows give first neighbours, as in large sets."""
    monkeypatch.setattr(codes, "SAMPLE", 300)
    monkeypatch.setattr(search, "WINDOW", 256)


@cache
def hard(name: str) -> tuple[Array, Array]:
    return HARD_SETS[name]()


@cache
def cut_sets(norm: str) -> list[tuple[Array, Array, tuple[Array, Array]]]:
    """Two sets of points, with their labels, and their three neighbours."""
    sets = (near_duplicates(700, 300, seed=3), saturated(800, 300, seed=4))
    return [(points, labels, brute(points, labels, norm, 3)) for points, labels in sets]


# --------------------------------------------------------------------------------------------- sets hard to rank


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", sorted(HARD_SETS))
def test_a_set_hard_to_rank(name: str, norm: str) -> None:
    points, labels = hard(name)
    expected = brute(points, labels, norm, 2)
    whole = Labelled.of(points, labels)
    found = rank(whole, norm, k=2)
    assert_same(found, expected)
    panels = points.nbytes // 3
    assert_same(rank(whole, norm, k=2, memory=panels, options=Options(threads=3, block=256)), expected)
    assert_same(Ranking(found.distance[:, :1], found.neighbour[:, :1]), rank(whole, norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["near duplicates", "saturated", "corners"])
@pytest.mark.parametrize("same", [False, True])
def test_a_set_hard_to_rank_by_every_way(same: bool, name: str, norm: str) -> None:
    points, labels = (part[:700] for part in hard(name))
    expected = brute(points, labels, norm, 2, same=same)
    for level in LEVELS:
        assert_same(ranked(norm, Labelled.of(points, labels), k=2, same=same, level=level), expected)
    plain = Options(engine="generic")
    assert_same(rank(Labelled.of(points, labels), norm, k=2, same=same, options=plain), expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["near duplicates", "clusters", "saturated"])
def test_a_part_of_a_hard_set_against_the_rest(name: str, norm: str) -> None:
    points, labels = hard(name)
    cut = len(points) // 3
    sets = Labelled.of(points[:cut], labels[:cut]), Labelled.of(points[cut:], labels[cut:])
    expected = brute(points[:cut], labels[:cut], norm, 3, points[cut:], labels[cut:])
    for memory, shards in ((1 << 30, 1), (points.nbytes // 5, 2)):
        assert_same(ranked(norm, sets[0], against=sets[1], k=3, memory=memory, shards=shards), expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "way",
    [
        {"options": Options(threads=1, block=64)},
        {"options": Options(threads=3, block=128)},
        {"shards": 3},
        {"shards": 2, "memory": 150_000},
        {"memory": 1},
        {"options": Options(threads=3, block=64), "memory": 100_000},
    ],
    ids=str,
)
def test_the_same_bits_for_every_cut(way: dict[str, Any], norm: str) -> None:
    for points, labels, expected in cut_sets(norm):
        assert_same(ranked(norm, Labelled.of(points, labels), k=3, **way), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_a_block_of_any_size(norm: str) -> None:
    points, labels = clustered(900, 90, seed=7)
    expected = brute(points, labels, norm)
    for block in (1, 63, 65, 100, 200):
        assert_same(rank(Labelled.of(points, labels), norm, options=Options(threads=1, block=block)), expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("same", [False, True])
def test_features_have_the_same_bits_for_every_cut(same: bool, norm: str) -> None:
    random = np.random.default_rng(11)
    points = np.cumsum(random.standard_normal((800, 60)), axis=1).astype(np.float32) + np.float32(300)
    points[400:] = points[:400] + random.standard_normal((400, 60)).astype(np.float32) * np.float32(1e-4)
    labels = random.integers(0, 5, 800)
    expected = rank(Labelled.of(points, labels), norm, k=2, same=same, options=Options(threads=1))
    for i in range(0, 800, 37):
        gaps = np.abs(points.astype(np.float64) - points[i].astype(np.float64))
        distance = np.sqrt((gaps**2).sum(axis=1)) if norm == "l2" else gaps.max(axis=1)
        distance[(labels == labels[i]) != same] = np.inf
        distance[i] = np.inf
        np.testing.assert_allclose(expected.distance[i], np.sort(distance)[:2], rtol=1e-14)
    for way in (
        {"options": Options(threads=3, block=64)},
        {"options": Options(engine="generic")},
        {"level": "plain"},
        {"memory": 80_000},
        {"shards": 3},
        {"memory": 1, "shards": 2},
    ):
        assert_same(ranked(norm, Labelled.of(points, labels), k=2, same=same, **way), expected)


# ---------------------------------------------------------------------------------------------------- interrupted


class Stopped(Exception):
    """What stands for a killed process."""


class Notes:
    """A checkpoint in memory that stops the search after its n-th save."""

    def __init__(self, stop_after: int = 1 << 60) -> None:
        self.kept: dict[str, Array] | None = None
        self.saves = 0
        self.stop_after = stop_after

    def load(self) -> dict[str, Array] | None:
        return None if self.kept is None else {name: part.copy() for name, part in self.kept.items()}

    def save(self, arrays: dict[str, Array]) -> None:
        self.kept = {name: part.copy() for name, part in arrays.items()}
        self.saves += 1
        if self.saves == self.stop_after:
            raise Stopped


@pytest.fixture
def every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is saved after every round, and the first neighbours leave much to find."""
    monkeypatch.setattr(panels, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(panels, "SAVE_SHARE", math.inf)
    monkeypatch.setattr(search, "WINDOW", 8)


def interrupted(stop_after: int, norm: str, *sets: Labelled, **way: Any) -> Notes:
    """The checkpoint of a search that was stopped after a number of saves."""
    notes = Notes(stop_after)
    with pytest.raises(Stopped):
        search_of(norm, *sets, checkpoint=notes, **way)
    notes.stop_after = 1 << 60
    return notes


def search_of(norm: str, *sets: Labelled, **way: Any) -> Ranking:
    return rank(sets[0], norm, against=sets[1] if len(sets) > 1 else None, k=2, **way)


def small_sets(kind: str) -> tuple[Labelled, ...]:
    """About 450 points in all: six blocks of 64."""
    points, labels = near_duplicates(450, 100, seed=1)
    if kind == "soft":
        vectors = np.random.default_rng(0).dirichlet(np.ones(4), 450)
        return (Labelled.of(points, labels, vectors),)
    if kind == "features":
        return (Labelled.of(points.astype(np.float32) / 7, labels),)
    if kind == "against":
        return Labelled.of(points[:150], labels[:150]), Labelled.of(points[150:], labels[150:])
    return (Labelled.of(points, labels),)


@pytest.mark.usefixtures("every_round")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("memory", [15_000, 1 << 30])
@pytest.mark.parametrize("kind", ["points", "against", "soft", "features", "same"])
def test_a_search_stopped_after_any_round_goes_on(kind: str, memory: int, norm: str) -> None:
    sets = small_sets(kind)
    way: dict[str, Any] = {"memory": memory, "soft": kind == "soft", "same": kind == "same"}
    expected = search_of(norm, *sets, **way)
    whole = Notes()
    assert_same(search_of(norm, *sets, checkpoint=whole, **way), expected)
    assert whole.saves >= 4
    others = ({}, {"options": Options(threads=3, block=128)}, {"options": Options(engine="generic")})
    for n, other in zip(np.linspace(1, whole.saves, 6).astype(int).tolist(), 2 * others, strict=True):
        notes = interrupted(n, norm, *sets, **way)
        assert_same(search_of(norm, *sets, checkpoint=notes, **way, **other), expected)


def test_saving_takes_at_most_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, saved = 0.0, []
    monkeypatch.setattr(panels.time, "monotonic", lambda: clock)

    class Slow:
        def load(self) -> None:
            return None

        def save(self, arrays: dict[str, Array]) -> None:
            nonlocal clock
            saved.append(clock)
            clock += 2.0

    nothing = np.empty(0), np.empty(0)
    saves = panels.Saves(Slow(), [])
    while clock < 100.0:
        clock += 1.0
        saves.save(lambda: nothing, 0, last=False)
    assert saved == [3.0, 25.0, 47.0, 69.0, 91.0]
    saves.save(lambda: nothing, 0, last=True)
    assert len(saved) == 6
    panels.Saves(None, []).save(lambda: nothing, 0, last=True)


@pytest.mark.usefixtures("every_round")
@pytest.mark.parametrize("norm", NORMS)
def test_a_search_stopped_many_times_goes_on(norm: str) -> None:
    sets = small_sets("points")
    notes = Notes()
    for n in range(1, 4):
        notes.stop_after = notes.saves + n
        with pytest.raises(Stopped):
            search_of(norm, *sets, checkpoint=notes)
    notes.stop_after = 1 << 60
    assert_same(search_of(norm, *sets, checkpoint=notes), search_of(norm, *sets))


@pytest.mark.usefixtures("every_round")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["points", "against"])
def test_a_search_goes_on_as_shards_and_the_other_way_round(kind: str, norm: str) -> None:
    sets = small_sets(kind)
    expected = search_of(norm, *sets)
    against = sets[1] if len(sets) > 1 else None
    alone = interrupted(2, norm, *sets)
    lists: list[tuple[Array, Array]] = []

    def keep(key: Array, index: Array) -> tuple[Array, Array]:
        lists.append((key, index))
        return key, index

    rank(sets[0], norm, k=2, against=against, options=Options(shard=(1, 2)), checkpoint=Notes(), merge=keep)

    def join(key: Array, index: Array) -> tuple[Array, Array]:
        return search_merge([key, lists[0][0]], [index, lists[0][1]])

    first = rank(sets[0], norm, k=2, against=against, options=Options(shard=(0, 2)), checkpoint=alone, merge=join)
    assert_same(first, expected)
    shard = Notes(1)
    with pytest.raises(Stopped):
        rank(sets[0], norm, k=2, against=against, options=Options(shard=(1, 3)), checkpoint=shard)
    shard.stop_after = 1 << 60
    assert_same(search_of(norm, *sets, checkpoint=shard), expected)


def search_merge(keys: list[Array], indices: list[Array]) -> tuple[Array, Array]:
    from datarobust.distributed import merge_lists

    return merge_lists(keys, indices)


@pytest.mark.usefixtures("every_round")
@pytest.mark.parametrize("norm", NORMS)
def test_a_search_goes_on_with_any_other_memory(norm: str) -> None:
    """Another cut into panels puts other points at the positions of the state."""
    points, labels = clustered(1000, 64, seed=2)
    whole = Labelled.of(points, labels)
    expected = rank(whole, norm)
    for before, after in [(256, 320), (320, 256), (256, 1000), (1000, 320), (64, 1000), (320, 319)]:
        notes = Notes(3)
        with pytest.raises(Stopped):
            rank(whole, norm, memory=2 * 64 * before, checkpoint=notes)
        notes.stop_after = 1 << 60
        assert_same(rank(whole, norm, memory=2 * 64 * after, checkpoint=notes), expected)


@pytest.mark.usefixtures("every_round")
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_done_is_not_done_again(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    match = native.Kernel.match

    def counted(kernel: native.Kernel, ends: tuple[int, int, int, int], both: bool) -> None:
        nonlocal calls
        calls += both  # a match of two blocks; first looks around serve one side only
        match(kernel, ends, both)

    monkeypatch.setattr(native.Kernel, "match", counted)
    sets = small_sets("points")
    options = Options(threads=1, block=64)
    whole = Notes()
    search_of(norm, *sets, checkpoint=whole, options=options)
    total, calls = calls, 0
    assert_same(search_of(norm, *sets, checkpoint=whole, options=options), search_of(norm, *sets, options=options))
    assert calls == total  # only the second search had anything to do
    calls = 0
    notes = interrupted(4, norm, *sets, options=options)
    before, calls = calls, 0
    search_of(norm, *sets, checkpoint=notes, options=options)
    assert 0 < calls == total - before
    calls = 0
    for number in range(2):
        search_of(norm, *sets, options=replace(options, shard=(number, 2)))
    assert calls == total  # shards divide the matches of the same blocks


@pytest.mark.parametrize("norm", NORMS)
def test_progress_sees_every_round(norm: str) -> None:
    seen: list[int] = []

    def progress(rounds: Any) -> Any:
        for one in rounds:
            seen.append(len(one.matches))
            yield one

    points, labels = clustered(800, 50)
    expected = rank(Labelled.of(points, labels), norm)
    assert_same(rank(Labelled.of(points, labels), norm, progress=progress), expected)
    assert len(seen) > 1
    assert sum(seen) > 1
