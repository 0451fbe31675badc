"""From a dataset and a model to verdicts, to an artifact, and to the line that tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datarobust import artifacts, selection
from datarobust.artifacts import Step
from datarobust.checkpoints.models import load_model
from datarobust.datasets import names
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.evaluation import plan
from datarobust.evaluation.driver import Options
from datarobust.evaluation.statistics import summary
from datarobust.jobs.aaeval import Evaluation, Points, classes_of, read
from datarobust.jobs.make import make

from . import evaluated

CPU = torch.device("cpu")
FACTORY = """
import torch
from torch import nn

def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))

def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 100))

def probable():
    return nn.Sequential(small(), nn.Softmax(1))
"""


@pytest.fixture
def job(tmp_path: Path) -> Evaluation:
    dataset = evaluated.dataset(tmp_path / "d.zarr")
    points = Points(dataset, selection.choose("first:24", dataset))
    model = load_model(str(evaluated.classifier(tmp_path / "m.safetensors")))
    protocol = plan(
        "custom",
        "linf",
        6 / 255,
        4,
        attacks=["apgd-ce", "fab-t", "square"],
        iterations=5,
        targets=2,
        queries=20,
        batch=5,
    )
    return Evaluation(points, model, protocol, Options(CPU, keep=True))


def step(inputs: Mapping[str, str]) -> Step:
    return Step("aaeval", ("d.zarr",), "0.1.0", 0, "cpu", inputs)


def test_an_artifact_has_the_verdicts(job: Evaluation, tmp_path: Path) -> None:
    arrays, attributes = job.evaluate()
    assert make(job, tmp_path / "e.zarr", step)
    store = artifacts.open_store(tmp_path / "e.zarr", "evaluation")
    assert np.array_equal(store.column("label").read(), job.points.labels)
    broken = store.column("broken").read()
    assert np.array_equal(broken, arrays["broken"])
    assert len(set(broken.tolist())) > 1
    assert store.column("adversarial").read().dtype == np.float32
    assert store.attributes["dataset"] == job.points.dataset.digest
    assert store.attributes["model"] == job.model.identity
    assert store.attributes["attacks"] == ["apgd-ce", "fab-t", "square"]
    assert [step.tool for step in store.history] == ["made", "made", "aaeval"]
    assert read(store) == summary(arrays, attributes)
    assert read(store)["epoch"] == 7
    assert not make(job, tmp_path / "e.zarr", step)
    artifacts.check(tmp_path / "e.zarr")


def test_a_killed_run_goes_on_from_its_state(job: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "e.zarr"
    whole, _ = job.evaluate()

    def interrupted(after: int) -> Any:
        left = [after]

        def progress(_: str) -> Any:
            def batches(items: Iterable[Any]) -> Iterable[Any]:
                for item in items:
                    left[0] -= 1
                    if left[0] < 0:
                        raise KeyboardInterrupt
                    yield item

            return batches

        return progress

    for after in (1, 4, 7, 2):
        with pytest.raises(KeyboardInterrupt):
            make(job, path, step, labelled=interrupted(after), save_every=0.0)
        assert list(tmp_path.glob(".e.zarr.resume"))
    # What a further process had found, whose state was left behind, counts as well.
    (tmp_path / ".e.zarr.resume").rename(tmp_path / ".e.zarr.1of2.resume")
    begun: list[Any] = []

    def counted(stage: str) -> Any:
        begun.append(stage)
        return iter

    make(job, path, step, labelled=counted)
    store = artifacts.open_store(path, "evaluation")
    assert np.array_equal(store.column("broken").read(), whole["broken"])
    assert np.array_equal(store.column("adversarial").read(), whole["adversarial"])
    assert begun == ["clean", "apgd-ce", "fab-t", "square"]
    assert not list(tmp_path.glob(".e.zarr.*"))


def test_requests_differ_where_verdicts_could(job: Evaluation, tmp_path: Path) -> None:
    from dataclasses import replace

    chosen = selection.choose("first:5", job.points.dataset)
    others = [
        replace(job, options=Options(CPU)),
        replace(job, points=Points(job.points.dataset, chosen)),
        replace(job, protocol=replace(job.protocol, seed=1)),
        replace(job, protocol=replace(job.protocol, batch=6)),
        replace(job, protocol=replace(job.protocol, eps=0.01)),
        replace(job, protocol=replace(job.protocol, attacks=job.protocol.attacks[:1])),
        replace(job, model=load_model(str(evaluated.classifier(tmp_path / "o.safetensors", seed=1)))),
    ]
    requests = [artifacts.fingerprint(each.request()) for each in (job, *others)]
    assert len(set(requests)) == 8
    assert replace(job, options=Options(CPU, keep=True, limit=3)).request() == job.request()


def test_chosen_points(job: Evaluation) -> None:
    points = Points(job.points.dataset, selection.choose("!first:20", job.points.dataset))
    assert points.chosen.rows.tolist() == [20, 21, 22, 23]
    assert np.array_equal(points.images, job.points.images[20:])
    assert np.array_equal(points.labels, job.points.labels[20:])


def test_models_of_others(job: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.py").write_text(FACTORY)
    found = load_model(f"{tmp_path}/models.py:small")
    assert classes_of(found, job.points, CPU) == 4
    assert found.about == {}
    assert len(found.identity) == 64
    with pytest.raises(DataError, match=r"100 logits an image, but .* has 4 classes"):
        classes_of(load_model(f"{tmp_path}/models.py:wide"), job.points, CPU)
    with pytest.raises(DataError, match="probabilities"):
        classes_of(load_model(f"{tmp_path}/models.py:probable"), job.points, CPU)
    with pytest.raises(UsageError, match="module:factory"):
        load_model("nothing")


def test_artifacts_that_are_no_classifier(job: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="model import"):
        load_model("published.pt")
    with pytest.raises(ArtifactError, match="does not exist"):
        load_model(str(tmp_path / "none.safetensors"))
    path = evaluated.classifier(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=r"cut\.safetensors"):
        load_model(str(path))
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        load_model(str(job.points.dataset.path))


def test_features_are_no_images(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"features": ("float32", (5,)), "labels": ("int64", ()), "index": ("int64", ())}
    path = tmp_path / "f.zarr"
    with artifacts.create(
        path, "dataset", columns, attributes={"name": "f", "classes": []}, history=[evaluated.STEP]
    ) as writer:
        writer.append("features", np.zeros((2, 5), np.float32))
        writer.append("labels", np.arange(2))
        writer.append("index", np.arange(2))
    with pytest.raises(DataError, match="holds features"):
        Points(artifacts.open_store(path), selection.Chosen(np.arange(2)))


def test_evaluations_keep_the_names_of_their_points(job: Evaluation, tmp_path: Path) -> None:
    dataset = evaluated.dataset(tmp_path / "named.zarr", named=True)
    points = Points(dataset, selection.choose("!first:20", dataset))
    protocol = plan("custom", "linf", 6 / 255, 4, attacks=["apgd-ce"], iterations=1, batch=5)
    named = replace(job, points=points, protocol=protocol, options=Options(CPU))
    assert make(named, tmp_path / "e.zarr", lambda inputs: Step("aaeval", (), "0", inputs=inputs))
    assert names(artifacts.open_store(tmp_path / "e.zarr", "evaluation")) == [f"{row}.png" for row in range(20, 24)]


def test_costs(job: Evaluation) -> None:
    cost = job.plan()
    assert cost["forward_passes_an_image"] == 1 + sum(attack.passes for attack in job.protocol.attacks)
    assert cost["forward_passes"] == 24 * cost["forward_passes_an_image"]
    assert cost["parameters"] == sum(p.numel() for p in evaluated.network().parameters())


# ------------------------------------------------------------------------------------------------ as one JSON object

RIGHT = np.array([True] * 8 + [False] * 2)
BROKEN = np.array([0, 0, 1, -1, -1, -1, -1, -1, -1, -1])


def test_the_numbers_of_a_line(tmp_path: Path) -> None:
    about = {"arch": {"name": "wrn-28-10", "arguments": {}}, "weights": "best", "epoch": 2384}
    store = artifacts.open_store(evaluated.evaluation(tmp_path / "e.zarr", RIGHT, BROKEN, about=about))
    found = read(store)
    assert (found["clean"], found["autoattack"], found["delta"]) == (0.8, 0.5, pytest.approx(0.3))
    assert (found["points"], found["clean_points"], found["robust_points"]) == (10, 8, 5)
    assert found["attacks"] == [
        {"attack": "apgd-ce", "attacked": 8, "broken": 2, "accuracy": 0.6},
        {"attack": "apgd-t", "attacked": 6, "broken": 1, "accuracy": 0.5},
    ]
    assert (found["eps"], found["eps_value"]) == ("8/255", 0.031373)
    assert (found["arch"], found["weights"], found["epoch"]) == ("wrn-28-10", "best", 2384)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("version", ["fast", "custom"])
def test_an_upper_bound_is_called_so_wherever_it_stands(tmp_path: Path, version: str) -> None:
    protocol = {"version": version, "upper_bound": True}
    store = artifacts.open_store(evaluated.evaluation(tmp_path / "e.zarr", RIGHT, BROKEN, protocol=protocol))
    found = read(store)
    assert (found["autoattack"], found["delta"], found["upper_bound"]) == (0.5, pytest.approx(0.3), True)
