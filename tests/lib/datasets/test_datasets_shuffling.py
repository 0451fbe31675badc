"""One permutation, through one file and through many."""

import shutil
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.datasets.sources import Shuffled, Spec
from datarobust.errors import DataError
from datarobust.randomness import Domain, permutation


class Rows:
    """A source of ``rows`` points whose values follow from their place."""

    def __init__(self, rows: int, shape=(1, 2, 3), soft: int = 0, step: int = 7, coarse: bool = False) -> None:
        self.spec = Spec("rows", rows, "images", shape, soft=soft, coarse=coarse)
        self.step = step

    def blocks(self, start=0, stop=None):
        for row in range(0, self.spec.rows, self.step):
            index = np.arange(row, min(row + self.step, self.spec.rows))
            points = (index.reshape(-1, 1, 1, 1) + np.zeros(self.spec.shape)).astype(np.uint8)
            soft = np.repeat(index[:, None], self.spec.soft, axis=1).astype(np.float32)
            columns = {"images": points, "labels": index * 3, "index": index, "soft": soft, "coarse": index * 5}
            yield {name: columns[name] for name in self.spec.columns}


def joined(blocks):
    blocks = list(blocks)
    return [np.concatenate([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())]


@settings(max_examples=40)
@given(
    rows=st.integers(1, 120),
    seed=st.integers(0, 2**64 - 1),
    budget=st.integers(1, 4000),
    soft=st.sampled_from([0, 3]),
    coarse=st.booleans(),
    data=st.data(),
)
def test_many_files_give_what_one_gives(rows, seed, budget, soft, coarse, data):
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    source = Rows(rows, soft=soft, coarse=coarse)
    with TemporaryDirectory() as folder:
        spill = Path(folder, "spill")
        inside = joined(Shuffled(source, seed, spill, 1 << 30).blocks(start, stop))
        through = Shuffled(source, seed, spill, budget)
        outside = joined(through.blocks(start, stop))
        through.close()
        assert not spill.exists()
    assert len(inside) == len(outside)
    for one, two in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(one, two)
    if start < stop:
        index = permutation(seed, Domain.IMPORT, rows)[start:stop]
        np.testing.assert_array_equal(inside[2], index)
        np.testing.assert_array_equal(inside[1], index * 3)
        np.testing.assert_array_equal(inside[0][:, 0, 0, 0], index.astype(np.uint8))


def test_memory_stays_within_the_budget(tmp_path):
    source = Rows(60_000, shape=(1, 32, 32), step=2000)
    shuffled = Shuffled(source, 0, tmp_path / "spill", 8 << 20)
    tracemalloc.start()
    seen = sum(len(block["labels"]) for block in shuffled.blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 60_000
    assert peak < 40 << 20, f"{peak / 2**20:.0f} MiB for a set of 60 MiB"  # blocks of the source take 16 MiB of it


def test_a_full_disk_is_foreseen(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(DataError, match="temporary files"):
        Shuffled(Rows(50), 0, tmp_path / "spill", 10).blocks()


def test_a_killed_runs_files_are_replaced(tmp_path):
    spill = tmp_path / "spill"
    spill.mkdir()
    (spill / "0").write_bytes(b"torn")
    found = joined(Shuffled(Rows(50), 0, spill, 100).blocks())
    np.testing.assert_array_equal(found[2], permutation(0, Domain.IMPORT, 50))
