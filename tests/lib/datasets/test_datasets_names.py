"""Names of points: from the files of an import into everything that is made of it, outside its digest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.lib import stored

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.datasets import class_names, names
from datarobust.datasets.folder import FolderSource
from datarobust.datasets.sources import MOST_NAME_BYTES, as_names, name_bytes
from datarobust.jobs.dataset import NewLabels, Representation

HOSTILE = ["a/\x1b[31m<b>&.png", "a/new\nline.png", "b/\u732b.png", os.fsdecode(b"b/\xff.png")]


def step(inputs: object) -> Step:
    return Step("made", (), "0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, name in enumerate(HOSTILE):
        file = tmp_path / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2, 3), 10 * place, np.uint8)).save(file)
    return tmp_path / "set"


@pytest.fixture
def imported(folder: Path, tmp_path: Path) -> Store:
    stored.import_dataset(FolderSource(folder), tmp_path / "d.zarr", step)
    return artifacts.open_store(tmp_path / "d.zarr", "dataset")


def opened(path: Path) -> Store:
    return artifacts.open_store(path, "dataset")


def test_a_folder_gives_paths_whatever_bytes_they_are(imported: Store, folder: Path) -> None:
    called = names(imported)
    assert called is not None
    assert called == sorted(HOSTILE)
    assert all((folder / name).is_file() for name in called)
    assert names(imported, np.array([2, 0])) == [called[2], called[0]]
    assert class_names(imported, imported.column("labels").read()) == ["a", "a", "b", "b"]
    assert artifacts.check(imported.path).version == 3


def test_a_digest_is_of_the_points_alone(imported: Store, folder: Path, tmp_path: Path) -> None:
    (folder / "b" / "\u732b.png").rename(folder / "b" / "cat.png")
    stored.import_dataset(FolderSource(folder), tmp_path / "renamed.zarr", step)
    renamed = opened(tmp_path / "renamed.zarr")
    assert names(renamed) != names(imported)
    assert renamed.digest == imported.digest
    plain, _ = stored.dataset(
        tmp_path / "plain.zarr",
        images=imported.column("images").read(),
        labels=imported.column("labels").read(),
        index=imported.column("index").read(),
    )
    assert names(plain) is None
    assert (plain.digest, plain.version) == (imported.digest, 2)


def test_altered_names_are_noticed(imported: Store) -> None:
    [file] = (imported.path / "names").glob("c.*")
    file.write_bytes(file.read_bytes().replace(b"new", b"old"))
    with pytest.raises(artifacts.store.ArtifactError, match="was altered"):
        artifacts.check(imported.path)


def test_other_names_are_another_request(imported: Store, folder: Path, tmp_path: Path) -> None:
    """Else a subset of a set that was imported again would keep the old names, and be called finished."""
    rows, output = np.array([3, 1]), tmp_path / "s.zarr"
    assert stored.subset(imported, rows, output, step)
    assert not stored.subset(imported, rows, output, step)
    (folder / "b" / "\u732b.png").rename(folder / "b" / "cat.png")
    stored.import_dataset(FolderSource(folder), tmp_path / "renamed.zarr", step)
    assert stored.subset(opened(tmp_path / "renamed.zarr"), rows, output, step, overwrite=True)


def test_what_is_made_of_a_dataset_keeps_them(imported: Store, tmp_path: Path) -> None:
    called = names(imported)
    assert called is not None
    stored.subset(imported, np.array([3, 1]), tmp_path / "s.zarr", step)
    subset = opened(tmp_path / "s.zarr")
    assert names(subset) == [called[3], called[1]]
    plain, _ = stored.dataset(tmp_path / "p.zarr", rows=3, classes=("a", "b"), shape=(3, 2, 2))
    stored.merge([subset, plain, imported], tmp_path / "m.zarr", step)
    assert names(opened(tmp_path / "m.zarr")) == [called[3], called[1], "", "", "", *called]
    labels = NewLabels(("x", "y"), {"new": 1}, lambda *_: np.array([1, 1, 0, 0]))
    stored.relabel(imported, labels, tmp_path / "r.zarr", step)
    assert names(opened(tmp_path / "r.zarr")) == called
    flat = Representation(lambda points: points.reshape(len(points), -1).astype(np.float32), 12, "model", "all", 2)
    stored.represent(imported, flat, tmp_path / "f.zarr", step, limit=3)
    assert names(opened(tmp_path / "f.zarr")) == called[:3]


@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_a_shuffle_moves_names_with_their_points(imported: Store, folder: Path, tmp_path: Path, budget: int) -> None:
    stored.import_dataset(FolderSource(folder), tmp_path / "s.zarr", step, shuffle=3, budget=budget)
    shuffled, called = opened(tmp_path / "s.zarr"), names(imported)
    index = shuffled.column("index").read().tolist()
    assert called is not None
    assert index != sorted(index)
    assert names(shuffled) == [called[row] for row in index]


def test_names_as_bytes() -> None:
    every = ["", "a", "\u732b", "a\0b", "\ud800", "x" * 5000]
    width = name_bytes(every)
    assert width == MOST_NAME_BYTES
    assert name_bytes(["", ""]) == 0
    rows = as_names(every, width)
    assert rows.shape == (6, width)
    texts = [bytes(row).rstrip(b"\0").decode() for row in rows]
    assert texts == ["", "a", "\u732b", "a\ufffdb", "\ufffd", "x" * width]
