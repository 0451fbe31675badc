"""Which points of A the points of B were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.errors import DataError
from datarobust.jobs.fid import open_sides

from .stores import clones, dataset, images, part


@pytest.fixture
def whole(tmp_path: Path) -> Store:
    return dataset(tmp_path / "a.zarr", images(20), index=np.arange(20) * 3 + 100)


def rows(a: Store, b: Store, **options: bool) -> list[int] | None:
    one, _, paired, _ = open_sides(a, b, **options)
    return one.rows.tolist() if paired else None


def test_clones_say_rows_and_parts_say_what_the_set_calls_them(whole: Store, tmp_path: Path) -> None:
    chosen = [7, 2, 11]
    made = clones(tmp_path / "k.zarr", whole, chosen, 2)
    assert rows(whole, made) == chosen
    assert rows(whole, made, whole=True) is None
    some = part(tmp_path / "p.zarr", whole, [9, 3, 4])
    assert rows(whole, some) == [9, 3, 4]
    assert rows(whole, part(tmp_path / "pp.zarr", some, [2, 0], "relabel")) == [4, 9]
    assert rows(whole, whole) == list(range(20))


def test_a_part_of_clones_has_their_rows(whole: Store, tmp_path: Path) -> None:
    """One clone each reads as a dataset, whose index is that of the clones: rows, not what the set calls them."""
    clones(tmp_path / "k.zarr", whole, [7, 2, 11, 5], 1)
    made = artifacts.open_store(tmp_path / "k.zarr", "dataset")
    assert rows(whole, made) == [7, 2, 11, 5]
    some = part(tmp_path / "p.zarr", made, [3, 1])
    assert rows(whole, some) == [5, 2]
    assert rows(made, some) == [3, 1], "of the clones themselves"
    again = clones(tmp_path / "kk.zarr", made, [1, 0], 1)
    assert rows(made, again) == [1, 0]
    one, _, paired, remark = open_sides(whole, again)
    assert (len(one.rows), paired) == (20, False)
    assert remark is not None
    assert "goes back to" in remark


def test_what_was_not_made_of_a_is_not_paired(whole: Store, tmp_path: Path) -> None:
    other = dataset(tmp_path / "b.zarr", images(9, 1))
    assert open_sides(whole, other)[2:] == (False, None)
    some = part(tmp_path / "p.zarr", whole, [9, 3, 4])
    of_part = clones(tmp_path / "k.zarr", some, [2, 1], 1)
    assert rows(some, of_part) == [2, 1]
    assert rows(whole, of_part) is None, "rows of the part are no rows of the whole"
    merged = dataset(
        tmp_path / "m.zarr",
        images(3, 2),
        history=[*some.history, Step("dataset", ("merge",), "0.1.0", None, None, {"dataset 0": some.digest})],
    )
    assert rows(whole, merged) is None
    twice = dataset(tmp_path / "t.zarr", images(4, 3), index=np.array([1, 1, 2, 3]))
    assert rows(twice, part(tmp_path / "tp.zarr", twice, [0, 2])) is None, "an index that is there twice"


def test_items_are_repeats_of_rows(whole: Store, tmp_path: Path) -> None:
    made = clones(tmp_path / "k.zarr", whole, [7, 2, 11], 3)
    _, side, _, _ = open_sides(whole, made)
    flat = made.column("images").read().reshape(9, 1, 4, 4)
    items = np.array([8, 0, 4, 3])
    np.testing.assert_array_equal(side.take(items), flat[items])
    assert (side.count, side.shape) == (9, (1, 4, 4))


def test_images_of_other_sizes_and_none(whole: Store, tmp_path: Path) -> None:
    other = dataset(tmp_path / "b.zarr", images(5, shape=(1, 4, 5)))
    with pytest.raises(DataError, match=r"1 x 4 x 4 and .*b.zarr of 1 x 4 x 5: bring them to one size"):
        open_sides(whole, other)
    coloured = dataset(tmp_path / "c.zarr", images(5, shape=(3, 4, 4)))
    assert open_sides(whole, coloured)[2] is False
    with artifacts.create(
        tmp_path / "f.zarr",
        "dataset",
        {"features": ("float32", (3,)), "labels": ("int64", ()), "index": ("int64", ())},
        attributes={"name": "f", "classes": []},
        history=list(whole.history),
    ) as writer:
        for name, values in (("features", np.zeros((2, 3), np.float32)), ("labels", [0, 0]), ("index", [0, 1])):
            writer.append(name, np.asarray(values))
    with pytest.raises(DataError, match="holds features, not images"):
        open_sides(whole, artifacts.open_store(tmp_path / "f.zarr"))
