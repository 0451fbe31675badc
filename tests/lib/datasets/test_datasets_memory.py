"""Points in memory as sources: arrays, and stand-ins of the datasets of PyTorch and of the Hugging Face library."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from datarobust.datasets import from_arrays, from_hf, from_torch
from datarobust.datasets.sources import Source
from datarobust.errors import DataError
from datarobust.types import Array

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 4, 5, 3), np.uint8)
CHW = IMAGES.transpose(0, 3, 1, 2)
LABELS = np.arange(6) % 2


def whole(source: Source) -> dict[str, Array]:
    blocks = list(source.blocks())
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


class Pictures:
    """As torchvision's datasets are."""

    def __init__(self, items: list[tuple[Any, Any]], classes: Any = ("cat", "dog")) -> None:
        self.items, self.classes = items, classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return self.items[row]


class Hub:
    """As a Dataset of the Hugging Face library is."""

    def __init__(self, columns: dict[str, list[Any]], names: dict[str, list[str]]) -> None:
        self._columns = columns
        self.column_names = list(columns)
        self.features = {name: SimpleNamespace(**({"names": names[name]} if name in names else {})) for name in columns}

    def __len__(self) -> int:
        return len(self._columns[self.column_names[0]])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for values in zip(*self._columns.values(), strict=True):
            yield dict(zip(self.column_names, values, strict=True))


def test_arrays_are_a_source() -> None:
    for X in (IMAGES, CHW, torch.tensor(CHW) / 255, IMAGES.astype(float)):
        source = from_arrays(X, LABELS, classes=["cat", "dog"])
        rows = whole(source)
        assert rows["images"].tolist() == CHW.tolist()
        assert rows["labels"].tolist() == LABELS.tolist()
        assert rows["index"].tolist() == list(range(6))
        assert (source.spec.shape, source.spec.classes) == ((3, 4, 5), ("cat", "dog"))
        assert source.digest() == from_arrays(IMAGES, LABELS).digest()
        source.unchanged()
    assert from_arrays(IMAGES, 1 - LABELS).identity() != from_arrays(IMAGES, LABELS).identity()
    grey = from_arrays(IMAGES[..., 0], LABELS)
    assert grey.spec.shape == (1, 4, 5)
    rows = RANDOM.normal(size=(6, 3))
    features = from_arrays(rows, np.eye(2)[LABELS] * 0.5 + 0.25)
    assert features.spec.kind == "features"
    assert whole(features)["features"].tolist() == rows.astype(np.float32).tolist()
    assert whole(features)["soft"].shape == (6, 2)
    with pytest.raises(DataError, match="NHWC or NCHW"):
        from_arrays(IMAGES[:, :1, :, :1], LABELS)
    assert from_arrays(IMAGES[:, :1, :, :1], LABELS, layout="nhwc").spec.shape == (1, 1, 5)
    with pytest.raises(DataError, match="There are 2 names for 6 points"):
        from_arrays(IMAGES, LABELS, names=["a", "b"])
    with pytest.raises(DataError, match="y has 2 labels for the 6 points of X"):
        from_arrays(IMAGES, LABELS[:2])
    with pytest.raises(DataError, match=r"y\[\d\] = 'bird' is not among the 1 class names"):
        from_arrays(IMAGES, ["bird"] * 6, classes=["cat"])


def test_datasets_of_pytorch() -> None:
    pictures = Pictures([(Image.fromarray(image), int(label)) for image, label in zip(IMAGES, LABELS, strict=True)])
    tensors = TensorDataset(torch.tensor(CHW).float() / 255, torch.tensor(LABELS))
    arrays = Pictures(list(zip(IMAGES, LABELS, strict=True)))
    for dataset in (pictures, tensors, arrays, Subset(pictures, range(6))):
        source = from_torch(dataset)
        assert whole(source)["images"].tolist() == CHW.tolist()
        assert whole(source)["labels"].tolist() == LABELS.tolist()
        assert source.spec.classes == (() if dataset is tensors else ("cat", "dog"))
    normalised = (torch.tensor(CHW).float() / 255 - 0.47) / 0.25
    features = from_torch(TensorDataset(normalised, torch.tensor(LABELS)))
    assert whole(features)["features"].tolist() == normalised.reshape(6, -1).tolist()
    assert features.spec.picture is not None
    assert features.spec.picture.shape == (3, 4, 5)
    pictures.samples = [(f"{row}.png", 0) for row in range(6)]  # type: ignore[attr-defined]
    assert [bytes(name) for name in whole(from_torch(pictures))["names"]] == [b"%d.png" % row for row in range(6)]
    assert [bytes(name) for name in whole(from_torch(Subset(pictures, [4, 1])))["names"]] == [b"4.png", b"1.png"]
    grey = from_torch(pictures, channels=1, name="mine")
    assert (grey.spec.shape, grey.spec.name) == ((1, 4, 5), "mine")


def test_datasets_of_pytorch_that_cannot_be() -> None:
    class Random(Pictures):
        def __getitem__(self, row: int) -> tuple[Any, Any]:
            return RANDOM.integers(0, 256, (4, 5, 3), np.uint8), 0

    with pytest.raises(DataError, match=r"dataset\[0\] differs from one look to the next"):
        from_torch(Random([(None, 0)] * 6))
    with pytest.raises(DataError, match="no items"):
        from_torch(Pictures([]))
    with pytest.raises(DataError, match=r"dataset\[1\] has 5x3 pixels, but the first image has 5x4"):
        from_torch(odd := Pictures([(Image.fromarray(image), 0) for image in (IMAGES[0], IMAGES[1, :3])]))
    assert from_torch(odd, resize="2x2").points.shape == (2, 3, 2, 2)
    with pytest.raises(DataError, match=r"dataset\[1\] has shape \(3, 2, 5\), but the first item has \(3, 4, 5\)"):
        from_torch(Pictures([(IMAGES[0], 0), (IMAGES[1, :2], 0)]))
    with pytest.raises(DataError, match=r"labels\[1\] = None is not a class"):
        from_torch(Pictures([(IMAGES[0], 0), (IMAGES[1], None)]))
    with pytest.raises(DataError, match=r"dog.*not among the 1 class names"):
        from_torch(Pictures([(IMAGES[0], "cat"), (IMAGES[1], "dog")], ["cat"]))


class Feature:
    """As its Image is."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


def test_paths_of_the_hugging_face_library_are_names() -> None:
    pictures = [Image.fromarray(image) for image in IMAGES]
    hub = Hub({"image": pictures, "label": LABELS.tolist()}, {})
    hub.features["image"] = Feature()  # type: ignore[assignment]
    for paths, expected in (([f"{row}.png" for row in range(6)], b"3.png"), ([None] * 6, None)):
        encoded = Hub({"image": [{"bytes": b"", "path": path} for path in paths], "label": LABELS.tolist()}, {})
        hub.cast_column = lambda name, feature, encoded=encoded: encoded if not feature.decode else hub  # type: ignore
        rows = whole(from_hf(hub))
        assert rows["images"].tolist() == CHW.tolist()
        assert (bytes(rows["names"][3]) if "names" in rows else None) == expected


def test_datasets_of_the_hugging_face_library() -> None:
    pictures = [Image.fromarray(image) for image in IMAGES]
    hub = Hub({"img": pictures, "label": LABELS.tolist()}, {"label": ["cat", "dog"]})
    assert whole(from_hf(hub))["images"].tolist() == CHW.tolist()
    assert from_hf(hub).spec.classes == ("cat", "dog")
    assert from_hf(hub, resize="2x3:crop", channels=1).points.shape == (6, 1, 3, 2)
    text = Hub({"photo": pictures, "kind": ["owl", "cat"] * 3}, {})
    source = from_hf(text, keys=("photo", "kind"))
    assert source.spec.classes == ("cat", "owl")
    assert whole(source)["labels"].tolist() == [1, 0] * 3
    with pytest.raises(DataError, match=r"columns photo, kind; pictures are img or image or images: name both with"):
        from_hf(text)
    with pytest.raises(DataError, match=r"give dataset\['train'\]"):
        from_hf({"train": hub})
