"""The table of issues: whose rows, names and classes it has, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lib import made

from datarobust import artifacts, selection
from datarobust.artifacts import Step
from datarobust.datasets.sources import as_names, name_bytes
from datarobust.errors import DataError, UsageError
from datarobust.issues import Thresholds
from datarobust.jobs.dataset import Features, Representation, Subset
from datarobust.jobs.issues import COLUMNS, Issues
from datarobust.jobs.make import make
from datarobust.types import Array


def written(path: Path, images: Array, labels: Array, names: list[str] | None = None) -> artifacts.Store:
    """A dataset of these images, with classes a, b, c."""
    columns: dict[str, Any] = {"images": ("uint8", images.shape[1:]), "labels": ("int64", ()), "index": ("int64", ())}
    width = name_bytes(names or [])
    columns |= {"names": ("uint8", (width,))} if names else {}
    attributes = {"name": "made", "classes": ["a", "b", "c"]}
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[made.STEP]) as writer:
        writer.append("images", images)
        writer.append("labels", labels)
        writer.append("index", np.arange(len(labels)))
        if names:
            writer.append("names", as_names(names, width))
    return artifacts.open_store(path)


def clouds() -> tuple[Array, Array]:
    """Two clouds of 20 images: 20 and 21 are copies of 3 and 24, 30 has the label of the other cloud, 39 is alone."""
    random = np.random.default_rng(0)
    images = random.integers(0, 100, (40, 1, 4, 4), dtype=np.uint8)
    images[20:] += 150
    labels = np.repeat([0, 1], 20)
    images[19], images[21] = images[3], images[24]
    labels[30], labels[39] = 0, 2
    return images, labels


def issues(store: artifacts.Store, path: Path, **options: Any) -> list[dict[str, str]]:
    usual: dict[str, Any] = {"features": None, "others": None, "norm": "l2", "thresholds": Thresholds()}
    job = Issues(store, **(usual | options), memory=1 << 30)
    make(job, path, lambda inputs: Step("dataset", (), "0.1.0", None, None, inputs))
    assert list(job.remarks())[-1].startswith("The nearest point has the same label for")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(list(row) == list(COLUMNS) for row in rows)
    return rows


def test_rows_have_names_labels_and_classes_of_both_points(tmp_path: Path) -> None:
    images, labels = clouds()
    names = [f"{'abc'[label]}/{row}.png" for row, label in enumerate(labels)]
    rows = issues(written(tmp_path / "d.zarr", images, labels, names), tmp_path / "issues.csv")
    points = {(row["kind"], row["name"], row["class"]): row for row in rows}
    assert points["duplicate", "a/3.png", "a"]["other_name"] == "a/19.png"
    assert points["duplicate", "b/21.png", "b"]["other_index"] == "24"
    label = points["label", "a/30.png", "a"]
    assert (label["index"], label["label"], label["other_label"], label["other_class"]) == ("30", "0", "1", "b")
    assert float(label["score"]) > 1.2
    alone = points["alone", "c/39.png", "c"]
    assert (alone["score"], alone["label"]) == ("", "2")
    assert not any(row["kind"] == "leak" for row in rows)


def test_leaks_name_points_of_the_other_set(tmp_path: Path) -> None:
    images, labels = clouds()
    train = written(tmp_path / "d.zarr", images, labels)
    tests = written(tmp_path / "t.zarr", images[[5, 33]] ^ np.uint8(1), np.array([2, 2]), ["x.png", "y.png"])
    rows = [row for row in issues(train, tmp_path / "issues.csv", others=tests) if row["kind"] == "leak"]
    found = {(row["index"], row["name"], row["other_name"], row["other_class"]) for row in rows}
    assert found == {("5", "", "x.png", "c"), ("33", "", "y.png", "c")}


def features_of(store: artifacts.Store, path: Path, limit: int | None = None, white: float = 1.0) -> artifacts.Store:
    """Features by an extractor that turns images upside down: distances are those of the pixels, times ``white``."""

    def upside_down(images: Array) -> Array:
        return (images[:, :, ::-1].reshape(len(images), -1) * (white / 255)).astype(np.float32)

    extract = Representation(upside_down, 16, "0" * 64, "x", 7)
    make(
        Features(store, extract, limit=limit), path,
        lambda inputs: Step("dataset", ("features",), "0.1.0", None, "cpu", inputs),
    )  # fmt: skip
    return artifacts.open_store(path)


def test_with_features_their_distances_are_taken(tmp_path: Path) -> None:
    images, labels = clouds()
    store = written(tmp_path / "d.zarr", images, labels)
    features = features_of(store, tmp_path / "f.zarr")
    pixels, rows = (
        issues(store, tmp_path / f"{name}.csv", features=each) for name, each in (("p", None), ("f", features))
    )
    assert [list(row.values())[3:] for row in rows] == [list(row.values())[3:] for row in pixels]
    np.testing.assert_allclose([float(row["distance"]) for row in rows], [float(row["distance"]) for row in pixels])


def test_leaks_are_searched_in_images_whatever_the_features_say(tmp_path: Path) -> None:
    images, labels = clouds()
    store = written(tmp_path / "d.zarr", images, labels)
    tests = written(tmp_path / "t.zarr", images[[5, 33]] ^ np.uint8(1), np.array([2, 2]))
    far = features_of(store, tmp_path / "f.zarr", white=100.0)
    in_pixels, in_features = (
        issues(store, tmp_path / f"{name}.csv", features=each, others=tests) for name, each in (("p", None), ("f", far))
    )
    leaks = [row for row in in_pixels if row["kind"] == "leak"]
    assert len(leaks) == 2
    assert [row for row in in_features if row["kind"] == "leak"] == leaks


def test_distances_that_say_little_are_remarked_with_a_way_out(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8)
    store = written(tmp_path / "d.zarr", images, np.arange(40) % 3)
    for features, way in (
        (None, "give those of a network with `features`"),
        (features_of(store, tmp_path / "f.zarr"), "take a better network, or the `normalise` that it was trained with"),
    ):
        job = Issues(store, features, None, "l2", Thresholds(), memory=1 << 30)
        make(job, tmp_path / "i.csv", lambda inputs: Step("dataset", (), "0.1.0", None, None, inputs), overwrite=True)
        assert list(job.remarks())[-1].endswith(f"These distances say little about the classes: {way}.")


def test_leaks_into_a_set_of_images_are_those_of_images(tmp_path: Path) -> None:
    images, labels = clouds()
    store, tests = written(tmp_path / "d.zarr", images, labels), written(tmp_path / "t.zarr", images[:2], labels[:2])
    constant = Representation(lambda points: np.zeros((len(points), 3), np.float32), 3, "0" * 64, "x", 7)
    made_as = ("features",)
    make(Features(store, constant), tmp_path / "f.zarr", lambda of: Step("dataset", made_as, "0.1.0", None, "cpu", of))
    rows = issues(store, tmp_path / "i.csv", features=artifacts.open_store(tmp_path / "f.zarr"), others=tests)
    assert [(row["index"], row["other_index"]) for row in rows if row["kind"] == "leak"] == [("0", "0"), ("1", "1")]
    assert not any(row["kind"] == "label" for row in rows)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    store, other = written(tmp_path / "d.zarr", *clouds()), made.dataset(tmp_path / "o.zarr", shape=(1, 4, 4))
    features = features_of(store, tmp_path / "f.zarr")
    part = tmp_path / "part.zarr"
    chosen = selection.choose("first:30", store)
    make(Subset(store, chosen), part, lambda inputs: Step("dataset", (), "0.1.0", None, None, inputs))
    for points in (other, artifacts.open_store(part)):
        with pytest.raises(DataError, match=r"f.zarr does not hold the features of all points of .* dataset features"):
            issues(points, tmp_path / "i.csv", features=features)
    with pytest.raises(UsageError, match=r"holds features, but distances are those of images: give its images"):
        issues(store, tmp_path / "i.csv", others=features)
    with pytest.raises(DataError, match="do not mean the same"):
        issues(store, tmp_path / "i.csv", others=other)
    with pytest.raises(UsageError, match=r"d.zarr is the dataset itself: name another set"):
        issues(store, tmp_path / "i.csv", others=store)
    assert not (tmp_path / "i.csv").exists()
