"""What RobustBench takes: a folder, whole or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.lib.jobs import evaluated as helpers

from datarobust import artifacts
from datarobust.artifacts import Store, Tensors
from datarobust.checkpoints.torchfiles import read_checkpoint
from datarobust.errors import ArtifactError, DataError, ExistsError
from datarobust.jobs.model import FILES, Entry, export
from datarobust.networks import build
from datarobust.training.images import PUBLISHED

RIGHT = np.array([True] * 8 + [False] * 2)
BROKEN = np.array([0, 0, 1, -1, -1, -1, -1, -1, -1, -1])
ENTRY = Entry(paper="A paper", authors="A, B", venue="None", link="https://example.org", footnote="It has clones.")


@pytest.fixture
def model(tmp_path: Path) -> Tensors:
    """One that normalises as the class that reads it does where it has as many classes: not at all."""
    arch = {**helpers.ARCH, "arguments": {"classes": 4, "channels": 3}}
    return artifacts.load_tensors(helpers.classifier(tmp_path / "m.safetensors", arch=arch))


def evaluated(tmp_path: Path, of: Tensors, **more: Any) -> Store:
    path = helpers.evaluation(tmp_path / "e.zarr", RIGHT, BROKEN, **{"model": of.digest, **more})
    return artifacts.open_store(path)


def test_an_architecture_that_cannot_be_is_refused(tmp_path: Path) -> None:
    arch = {**helpers.ARCH, "arguments": {"classes": 4, "channels": 3, "mean": [0.5] * 3, "std": True}}
    model = artifacts.load_tensors(helpers.classifier(tmp_path / "m.safetensors", arch=arch))
    with pytest.raises(ArtifactError, match="a network that cannot be built: std of a network"):
        export(tmp_path / "out", model, ENTRY, None)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_everything(tmp_path: Path, model: Tensors) -> None:
    images = np.random.default_rng(0).random((10, 3, 8, 8), np.float32)
    store = evaluated(tmp_path, model, columns={"adversarial": images})
    assert export(tmp_path / "out", model, ENTRY, store) == []
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == set(FILES)
    weights = torch.load(tmp_path / "out" / "weights.pt", weights_only=True)
    assert list(weights) == sorted(model)
    found = read_checkpoint(tmp_path / "out" / "weights.pt", normalisation="none")
    assert all(np.array_equal(found.arrays[name], model[name]) for name in model)
    adversarial = torch.load(tmp_path / "out" / "adversarial.pt", weights_only=True)
    assert np.array_equal(adversarial.numpy(), images)
    told = json.loads((tmp_path / "out" / "model_info.json").read_text())
    assert told == {
        "link": "https://example.org",
        "name": "A paper",
        "authors": "A, B",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": "",
        "venue": "None",
        "architecture": "WideResNet-10-1",
        "eps": "8/255",
        "clean_acc": "80.00",
        "reported": "50.00",
        "autoattack_acc": "50.00",
        "footnote": "It has clones.",
        "unreliable": False,
    }
    log = (tmp_path / "out" / "log.txt").read_text().splitlines()
    assert log[1:4] == [
        "initial accuracy: 80.00%",
        "apgd-ce - 2 out of 8 successfully perturbed",
        "robust accuracy after APGD-CE: 60.00%",
    ]
    assert "robust accuracy: 50.00%" in log
    assert "eps 8/255 = 0.031373, seed 0" in log[-1]


def test_a_normalisation_that_the_file_loses_is_told(tmp_path: Path) -> None:
    cifar = {"mean": list(PUBLISHED[0][0]), "std": list(PUBLISHED[0][1])}
    for place, (name, given, words) in enumerate(
        [
            ("wrn-10-1", cifar, None),
            ("wrn-10-1", {}, "does not normalise"),
            ("wrn-10-1", {"mean": [0.5] * 3, "std": [0.25] * 3}, "mean [0.5, 0.5, 0.5] and standard deviation [0.25"),
            ("preact-resnet-18", cifar, "uses mean [0.49"),
        ]
    ):
        network = build({"name": name, "arguments": {"classes": 10, "channels": 3, **given}})
        path = tmp_path / f"{place}.safetensors"
        arrays = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
        artifacts.save_tensors(
            path, "classifier", arrays, attributes={"arch": network.arch, "weights": "last"}, history=[]
        )
        told = [
            line
            for line in export(tmp_path / f"{place}", artifacts.load_tensors(path), ENTRY, None)
            if "normalisation" in line
        ]
        assert len(told) == (words is not None)
        assert words is None or words in told[0]


def test_what_is_missing_is_told(tmp_path: Path, model: Tensors) -> None:
    missing = export(tmp_path / "out", model, Entry(), None)
    assert [sentence.split()[-1] for sentence in missing[1:]] == ["name.", "authors.", "venue.", "link."]
    assert "no evaluation" in missing[0]
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"weights.pt", "model_info.json"}
    assert "autoattack_acc" not in json.loads((tmp_path / "out" / "model_info.json").read_text())
    store = evaluated(tmp_path, model)
    missing = export(tmp_path / "out", model, ENTRY, store, overwrite=True)
    assert missing == ["The evaluation kept no images: repeat it with aaeval `adversarial`."]


def test_flags_make_it_unreliable(tmp_path: Path, model: Tensors) -> None:
    export(
        tmp_path / "out", model, Entry(dataset="cifar10", reported="49.9"), evaluated(tmp_path, model, flags={"x": 1})
    )
    told = json.loads((tmp_path / "out" / "model_info.json").read_text())
    assert (told["unreliable"], told["dataset"], told["reported"]) == (True, "cifar10", "49.9")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "0" * 64}, "another model"),
        ({"protocol": {"version": "fast", "upper_bound": True}}, r"upper bound \(attacks: fast\)"),
        ({"index": np.arange(10) + 1}, "without `select`"),
        ({"dataset_points": 10_000}, "is of 10 of 10,000 points"),
    ],
)
def test_evaluations_that_do_not_fit(tmp_path: Path, model: Tensors, change: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        export(tmp_path / "out", model, ENTRY, evaluated(tmp_path, model, **change))
    assert not (tmp_path / "out").exists()


def test_nothing_else_is_replaced(tmp_path: Path, model: Tensors) -> None:
    folder = tmp_path / "out"
    export(folder, model, ENTRY, None)
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    backwards = Tensors(model.summary, dict(reversed(model.items())))
    export(folder, backwards, ENTRY, None)  # the same once more, read in another order: nothing to do
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    with pytest.raises(ExistsError, match="`overwrite`"):
        export(folder, model, Entry("another paper"), None)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ExistsError, match="is not what `overwrite` may replace"):
        export(folder, model, ENTRY, None, overwrite=True)
    assert (folder / "thesis.tex").exists()
