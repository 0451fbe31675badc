"""Readers on bytes that nobody wrote: valid ones, valid ones after a few changes, and what a fuzzer once found."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from . import fuzz
from .fuzz import TARGETS

FOUND = Path(__file__).parent / "data" / "fuzz"
MUTATIONS = 15  # of each seed


@pytest.mark.parametrize("name", TARGETS)
def test_a_value_or_a_sentence(name: str, tmp_path: Path) -> None:
    seeds = list(fuzz.seeds(name))
    assert seeds
    for number, seed in enumerate(seeds):
        assert fuzz.attempt(name, seed, tmp_path) is None
        for data in fuzz.mutations(seed, MUTATIONS, number):
            assert fuzz.attempt(name, data, tmp_path) is None, data[:200]


@pytest.mark.parametrize("path", sorted(FOUND.rglob("*")) or [None], ids=lambda path: path and path.name)
def test_what_a_fuzzer_found(path: Path | None, tmp_path: Path) -> None:
    if path is None:
        pytest.skip("nothing was found")
    name = path.name.rpartition("-")[0].replace("-sealed", ", sealed")
    tracemalloc.start()
    try:
        assert fuzz.attempt(name, path.read_bytes(), tmp_path) is None
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
