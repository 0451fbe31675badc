"""The kernels for GPUs against the definition, bit for bit, in Triton's interpreter: test_sensitivity_tiles.py runs it.

TRITON_INTERPRET=1 must be in the environment before Triton is imported, so these tests have a process of their own.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.sensitivity import Labelled, Options, generic, panels, rank, tiles

from .oracle import COMPILED as NORMS
from .oracle import Array, all_equal, assert_same, brute, byte_sets, keys, near_duplicates, nearest, ranked, saturated

#: The device that the interpreter has.
OPTIONS = Options(device="cpu")
BOUNDS, SHAPE_OF = generic.block_bounds, tiles.shape_of


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Tiles, programs, pieces and blocks so small that little sets have several of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "shape_of", lambda *_: tiles.Shape(16, 16, 32, 2, 1, 1))
        patch.setattr(tiles, "_PIECE", 1 << 11)
        patch.setattr(generic, "BLOCK", 24)
        patch.setattr(generic, "_LANES", 2)
        patch.setattr(generic, "block_bounds", None)  # the kernels do it all
        yield


NORM, K, MEMORY = st.sampled_from(NORMS), st.sampled_from([1, 1, 2, 3, 8]), st.sampled_from([1, 1 << 30])


@settings(max_examples=15)
@given(byte_sets(45, 80), NORM, K, st.booleans(), MEMORY, st.sampled_from([1, 1, 2]))
def test_they_are_the_definition(
    data: tuple[Array, Array], norm: str, k: int, same: bool, memory: int, shards: int
) -> None:
    expected = brute(*data, norm, k, same=same)
    way = {"options": OPTIONS, "memory": memory, "shards": shards}
    assert_same(ranked(norm, Labelled.of(*data), k=k, same=same, **way), expected)


@settings(max_examples=10)
@given(byte_sets(45, 40, least=2), NORM, K, st.booleans(), MEMORY, st.integers(0, 100))
def test_a_set_against_another(data: tuple[Array, Array], norm: str, k: int, same: bool, memory: int, cut: int) -> None:
    (points, labels), cut = data, 1 + cut % (len(data[0]) - 1)
    sets = Labelled.of(points[:cut], labels[:cut]), Labelled.of(points[cut:], labels[cut:])
    expected = brute(points[:cut], labels[:cut], norm, k, points[cut:], labels[cut:], same=same)
    assert_same(rank(sets[0], norm, against=sets[1], k=k, same=same, options=OPTIONS, memory=memory), expected)


@pytest.mark.parametrize("make", [near_duplicates, saturated, all_equal])
def test_points_of_all_kinds(make: Any) -> None:
    for norm, width in (("l2", 640), ("linf", 100)):
        points, labels = make(33, width)
        assert_same(rank(Labelled.of(points, labels), norm, k=2, options=OPTIONS), brute(points, labels, norm, 2))


def test_the_widest_points() -> None:
    points = np.zeros((3, tiles.WIDEST), np.uint8)
    points[1:] = 255  # as far as points can be from each other
    labels = np.array([0, 1, 1]) - (1 << 40)
    assert_same(rank(Labelled.of(points, labels), "l2", options=OPTIONS), brute(points, labels, "l2"))


def test_what_another_program_has_found_rules_out_no_tie_of_a_lower_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU programs run in any order, in the interpreter one after another."""
    points, labels = saturated(40, 20)
    key, column = nearest(keys(points, points, "linf"), labels, labels, 1)
    limits = torch.from_numpy(((key.astype(np.int64) << 32) | column)[:, 0] + 1)

    class Limited(tiles.LargestTiles):
        def _arguments(self, rows: tiles.Side, columns: tiles.Side) -> Any:
            *sides, _, row, pair, other = super()._arguments(rows, columns)
            return *sides, limits[rows[-1].long()], row, pair, other

    monkeypatch.setitem(tiles.KERNELS, "linf", Limited)
    whole = Labelled.of(points, labels)
    assert_same(rank(whole, "linf", options=OPTIONS), brute(points, labels, "linf"))
    limits -= 1
    assert np.isinf(rank(whole, "linf", options=OPTIONS).distance).all()  # nothing is below what is known


class Stopped(Exception):
    """What stands for a killed process."""


@pytest.mark.parametrize("norm", NORMS)
def test_a_search_that_was_stopped_goes_on_by_any_engine(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(panels, "SAVE_SHARE", math.inf)
    monkeypatch.setattr(generic, "block_bounds", BOUNDS)
    points, labels = near_duplicates(100, 20)
    whole, state = Labelled.of(points, labels), dict[str, Array]()

    class Notes:
        stop = True

        def load(self) -> dict[str, Array] | None:
            return state or None

        def save(self, arrays: dict[str, Array]) -> None:
            state.update({name: part.copy() for name, part in arrays.items()})
            if self.stop:
                raise Stopped

    notes, expected = Notes(), brute(points, labels, norm, 2)
    for options in (OPTIONS, Options(engine="generic", threads=1), OPTIONS):
        with pytest.raises(Stopped):
            rank(whole, norm, k=2, options=options, checkpoint=notes)
    notes.stop = False
    assert state["done"][0] == 4
    assert_same(rank(whole, norm, k=2, options=OPTIONS, checkpoint=notes), expected)


def test_what_they_cannot_do_is_done_by_the_plain_search(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = near_duplicates(40, 30)
    monkeypatch.setattr(generic, "block_bounds", BOUNDS)
    monkeypatch.setattr(tiles, "Tiles", None)
    cases: list[tuple[Labelled, str, dict[str, Any]]] = [
        (Labelled.of(points, labels), "l1", {}),
        (Labelled.of(points, labels), "l2", {"k": tiles.MOST + 1}),
        (Labelled.of(points.astype(np.float32), labels), "l2", {}),
        (Labelled.of(points, labels, np.eye(3)[labels]), "l2", {"soft": True}),
    ]
    for subject, norm, arguments in cases:
        expected = rank(subject, norm, **arguments)
        assert_same(rank(subject, norm, options=OPTIONS, **arguments), expected)


def test_the_benchmark_tries_shapes_of_tiles(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other stages are rehearsed without the interpreter, which takes too long for them."""
    monkeypatch.syspath_prepend(root / "tests/bench")
    gpu = importlib.import_module("gpu")
    bench = gpu.Bench(torch.device("cpu"), True, 60.0)
    points = Labelled.of(*near_duplicates(20, 20))
    for norm in NORMS:
        assert gpu.searcher(bench, points, norm) == "triton"
        gpu.shapes(bench, points, norm)
    assert len(bench.rows) == sum(map(len, gpu.SHAPES.values()))
    assert [tiles.Shape(*gpu.SHAPES[norm][0]) for norm in NORMS] == [SHAPE_OF(norm, 1, True) for norm in NORMS]
