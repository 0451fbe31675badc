"""Clones, one of each point, read as a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts, selection
from datarobust.artifacts import Step
from datarobust.errors import ArtifactError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (7, 1, 3, 2, 2), dtype=np.uint8)


def clones(path: Path, images: np.ndarray, **attributes: object) -> Path:
    told = {"dataset": "0" * 64, "model": "1" * 64, "sampler": {}} | attributes
    columns = {"images": ("uint8", images.shape[1:]), "labels": ("int64", ()), "index": ("int64", ())}
    step = Step("clone", (), "0.1.0", 0, "cpu", {})
    with artifacts.create(path, "clones", columns, attributes=told, history=[step]) as writer:
        writer.append("images", images)
        writer.append("labels", np.arange(len(images)) % 3)
        writer.append("index", np.arange(len(images)) * 2)
    return path


def test_one_clone_of_each_reads_as_a_dataset(tmp_path: Path) -> None:
    path = clones(tmp_path / "k.zarr", IMAGES, classes=["a", "b", "c"], name="digits")
    store = artifacts.open_store(path, "dataset")
    plain = artifacts.open_store(path)
    assert (store.kind, plain.kind) == ("dataset", "clones")
    assert store.digest == plain.digest
    assert store.history == plain.history
    assert (store.attributes["name"], store.attributes["classes"]) == ("digits", ["a", "b", "c"])
    column = store.column("images")
    assert (len(store), column.shape, column.dtype) == (7, (7, 3, 2, 2), np.uint8)
    np.testing.assert_array_equal(column.read(), IMAGES[:, 0])
    np.testing.assert_array_equal(column.read(2, 5), IMAGES[2:5, 0])
    np.testing.assert_array_equal(column.take(np.array([6, 0, 6])), IMAGES[[6, 0, 6], 0])
    assert [(start, part.shape) for start, part in column.blocks()] == [(0, (7, 3, 2, 2))]
    np.testing.assert_array_equal(store.column("index").read(), np.arange(7) * 2)
    assert plain.column("images").shape == (7, 1, 3, 2, 2)
    store.verify()
    assert selection.choose("first:2", store).rows.tolist() == [0, 1]


def test_without_names_it_still_is_one(tmp_path: Path) -> None:
    store = artifacts.open_store(clones(tmp_path / "k.zarr", IMAGES), ("dataset", "ranking"))
    assert (store.attributes["name"], store.attributes["classes"]) == ("clones", [])


def test_several_clones_are_no_dataset_and_other_kinds_stay_what_they_are(tmp_path: Path) -> None:
    path = clones(tmp_path / "k.zarr", np.repeat(IMAGES, 3, axis=1))
    with pytest.raises(ArtifactError, match="3 clones of each point"):
        artifacts.open_store(path, "dataset")
    assert artifacts.open_store(path, ("dataset", "clones")).kind == "clones"
    with pytest.raises(ArtifactError, match="is a clones, where a ranking is needed"):
        artifacts.open_store(path, "ranking")


def test_damage_is_seen_through_it(tmp_path: Path) -> None:
    path = clones(tmp_path / "k.zarr", IMAGES)
    shard = next(file for file in (path / "images").rglob("*") if file.is_file() and file.suffix != ".json")
    data = bytearray(shard.read_bytes())
    data[3] ^= 1
    shard.write_bytes(data)
    store = artifacts.open_store(path, "dataset")
    for look in (store.verify, store.column("images").read, lambda: list(store.column("images").blocks())):
        with pytest.raises(ArtifactError, match=r"k\.zarr"):
            look()
