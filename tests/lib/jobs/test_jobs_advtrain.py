"""What a training reads: which points, which network fits them, and what does not go together."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.errors import DataError, UsageError
from datarobust.jobs.advtrain import NONE, AdversarialTraining, Inputs, augmentation, classes_of
from datarobust.selection import choose
from datarobust.training.images import PUBLISHED, Points, normalisation
from datarobust.training.recipe import Recipe

STEP = Step("dataset", ("import",), "0.1.0", None, None, {"source": "0" * 64})


def store(
    path: Path, count: int = 30, shape: tuple[int, ...] = (3, 32, 32), classes: list[str] | None = None, **more: Any
) -> Store:
    rng = np.random.default_rng(count)
    names = ["cat", "dog", "emu"] if classes is None else classes
    columns: dict[str, Any] = {"images": ("uint8", shape), "labels": ("int64", ()), "index": ("int64", ())}
    if len(shape) == 1:
        columns["features"] = ("float32", columns.pop("images")[1])
    attributes = {"name": path.stem, "classes": names, "request": "none"} | more
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[STEP]) as writer:
        if len(shape) == 1:
            writer.append("features", rng.random((count, *shape), np.float32))
        else:
            writer.append("images", rng.integers(0, 256, (count, *shape), np.uint8))
        writer.append("labels", np.arange(count) % max(1, len(names or "abc")))
        writer.append("index", np.arange(count))
    return artifacts.open_store(path)


def inputs(dataset: Store, **more: Any) -> Inputs:
    return Inputs(dataset, **more)


def test_points_in_focus_are_those_not_held_out(tmp_path: Path) -> None:
    dataset = store(tmp_path / "d.zarr")
    found = inputs(dataset, hold_out=choose("first:10", dataset), focus=choose("first:13", dataset))
    assert found.focused.tolist() == [10, 11, 12]
    assert found.available.tolist() == list(range(10, 30))
    assert found.remarks() == ["`focus`: 10 of the 13 points are held out and will not be trained on."]
    nothing = inputs(dataset)
    assert nothing.hold_out.rows.tolist() == []
    assert nothing.focused.tolist() == []
    held = inputs(dataset, hold_out=choose("first:10", dataset), focus=choose("first:10", dataset))
    with pytest.raises(UsageError, match="only points that `hold_out` keeps"):
        _ = held.focused


def test_digests_name_points_however_they_were_chosen(tmp_path: Path) -> None:
    dataset = store(tmp_path / "d.zarr")
    (tmp_path / "points.txt").write_text("0\n1\n2\n")
    one = inputs(dataset, focus=choose("first:3", dataset))
    two = inputs(dataset, focus=choose(str(tmp_path / "points.txt"), dataset))
    other = inputs(dataset, focus=choose("first:4", dataset))
    assert one.digests == two.digests
    assert one.digests != other.digests
    assert set(one.digests) == {"dataset", "focus"}


def test_sets_that_do_not_go_together(tmp_path: Path) -> None:
    dataset = store(tmp_path / "d.zarr")
    wrong = {
        "other classes": (store(tmp_path / "c.zarr", classes=["cat", "emu", "dog"]), "class 1 is dog and emu"),
        "other shape": (store(tmp_path / "s.zarr", shape=(3, 16, 16)), r"its images have shape \(3, 16, 16\)"),
        "features": (store(tmp_path / "f.zarr", shape=(9,)), "it holds features"),
    }
    for other, words in wrong.values():
        for role in ("generated", "test"):
            with pytest.raises(DataError, match=words) as told:
                inputs(dataset, **{role: other})
            assert "\n" not in str(told.value)
    with pytest.raises(DataError, match="adversarial training is for images"):
        inputs(wrong["features"][0])
    assert inputs(dataset, test=store(tmp_path / "u.zarr", classes=[])).test is not None


def test_classes(tmp_path: Path) -> None:
    assert classes_of(inputs(store(tmp_path / "named.zarr"))) == 3
    assert classes_of(inputs(store(tmp_path / "unnamed.zarr", classes=[]))) == 3
    two = store(tmp_path / "two.zarr", classes=["cat", "dog"])
    with pytest.raises(DataError, match="names 2 classes, but a label is 2"):
        classes_of(inputs(two, generated=store(tmp_path / "more.zarr", classes=[])))
    with pytest.raises(DataError, match="one class"):
        classes_of(inputs(store(tmp_path / "one.zarr", count=1, classes=[])))


def test_a_large_set_must_be_in_random_order(tmp_path: Path) -> None:
    dataset = store(tmp_path / "d.zarr")
    sorted_set, shuffled = store(tmp_path / "g.zarr", 60), store(tmp_path / "h.zarr", 60, shuffled=3)
    size = 60 * 3 * 32 * 32
    with ExitStack() as stack:
        assert inputs(dataset, generated=sorted_set).stream(0, size, stack) is not None
        stream = inputs(dataset, generated=shuffled).stream(0, size - 1, stack)
        assert stream is not None
        assert sorted(stream.draw(0, 60)[1].tolist()) == sorted((np.arange(60) % 3).tolist())
        with pytest.raises(DataError, match=r"is not in random order.*import it again with `shuffle` SEED"):
            inputs(dataset, generated=sorted_set).stream(0, size - 1, stack)
        assert inputs(dataset).stream(0, 1, stack) is None
    with pytest.raises(DataError, match="more than `memory`"):
        inputs(dataset).read(1000)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_is_that_of_the_images(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, channels, 6, 6), np.uint8)
    mean, std = normalisation(Points.of(images, np.zeros(50, np.int64)))
    np.testing.assert_allclose(mean, images.mean((0, 2, 3)) / 255, atol=5.1e-5)
    np.testing.assert_allclose(std, images.std((0, 2, 3)) / 255, atol=5.1e-5)
    flat = Points.of(np.full((4, 1, 2, 2), 9, np.uint8), np.zeros(4, np.int64))
    assert normalisation(flat) == ((round(9 / 255, 4),), (1.0,))


def test_published_normalisation_of_cifar10(shared: Path) -> None:
    with np.load(shared / "data/cifar10_train.npz") as archive:
        points = Points.of(np.ascontiguousarray(archive["x"].transpose(0, 3, 1, 2)), archive["y"].astype(np.int64))
    assert normalisation(points) == PUBLISHED[0]


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [
        ((3, 32, 32), ["cat", "dog"], "crop-flip"),
        ((3, 32, 32), [f"class {i}" for i in range(100)], "cifar100"),
        ((1, 28, 28), ["0", "1"], "crop"),
        ((3, 32, 32), ["0", "1"], "crop"),
        ((3, 32, 32), [], "crop-flip"),
        ((1, 8, 8), ["0", "1"], "none"),
    ],
)
def test_augmentation_by_data_set(tmp_path: Path, shape: tuple[int, ...], classes: list[str], expected: str) -> None:
    assert augmentation(store(tmp_path / "d.zarr", 200, shape, classes)) == expected


def test_the_network_fits_the_images(tmp_path: Path) -> None:
    dataset = store(tmp_path / "d.zarr", shape=(1, 8, 8))
    arch = AdversarialTraining(inputs(dataset), Recipe(arch="wrn-10-1"), memory=1 << 20).arch
    assert arch["name"] == "wrn-10-1"
    assert arch["arguments"]["classes"] == 3
    assert arch["arguments"]["channels"] == 1
    assert len(arch["arguments"]["mean"]) == 1


def test_a_request_names_all_that_decides_the_bits(tmp_path: Path) -> None:
    dataset = store(tmp_path / "d.zarr", shape=(1, 8, 8))

    def request(focus: str = "none", **recipe: Any) -> str:
        chosen = inputs(dataset, focus=NONE if focus == "none" else choose(focus, dataset))
        return artifacts.fingerprint(AdversarialTraining(chosen, Recipe(**recipe), memory=1 << 20).request())

    changes: list[dict[str, Any]] = [
        {"seed": 1}, {"eps": 4 / 255}, {"focus_batch": 16}, {"precision": "bf16"}, {"bn_group": 128},
        {"arch": "wrn-16-1"}, {"focus": "first:3"}, {},
    ]  # fmt: skip
    assert len({request(**change) for change in changes}) == len(changes)
    assert request(focus="none") == request() == request(focus_times=2.0)
    assert request("first:3") == request("first:3", focus_times=2.0)  # of inject it decides nothing
    assert request("first:3", focus_mode="fixed") != request("first:3", focus_mode="fixed", focus_times=2.0)
