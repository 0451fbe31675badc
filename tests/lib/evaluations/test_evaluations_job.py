"""From a dataset and a model to verdicts, and to a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datarobust import artifacts, selection
from datarobust.checkpoints.models import load_model
from datarobust.distributed import Group
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.evaluation import driver, plan
from datarobust.evaluations.job import Job, Points, classes_of
from datarobust.evaluations.lines import line, stored

from . import helpers

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
def job(tmp_path: Path) -> Job:
    points = Points(helpers.dataset(tmp_path / "d.zarr"))
    model = load_model(str(helpers.classifier(tmp_path / "m.safetensors")))
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
    return Job(points, model, protocol, CPU, keep=True)


def run(job: Job, output: Path | None, progress: Any = lambda _: iter) -> Any:
    with artifacts.Lock(output) if output is not None else torch.no_grad():
        return job.run(output, progress, Group(0, 1))


def test_an_artifact_has_the_verdicts(job: Job, tmp_path: Path) -> None:
    outcome = run(job, None)
    job.save(tmp_path / "e.zarr", outcome, helpers.STEP, overwrite=False)
    store = artifacts.open_store(tmp_path / "e.zarr", "evaluation")
    columns = stored(store)
    assert np.array_equal(columns["label"], job.points.labels)
    assert np.array_equal(columns["broken"], outcome.broken)
    assert len(set(columns["broken"].tolist())) > 1
    assert store.column("adversarial").read().dtype == np.float32
    assert store.attributes["dataset"] == job.points.dataset.digest
    assert store.attributes["model"] == job.model.identity
    assert store.attributes["attacks"] == ["apgd-ce", "fab-t", "square"]
    assert store.history[:-1] == (*job.points.dataset.history, *job.model.history)
    assert line(columns, store.attributes) == line(job.columns(outcome), job.attributes(outcome))
    assert line(columns, store.attributes)["epoch"] == 7
    assert artifacts.finished(tmp_path / "e.zarr", job.request)
    artifacts.check(tmp_path / "e.zarr")


def test_a_killed_run_goes_on_from_its_journals(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "SAVE_EVERY", 0.0)
    output = tmp_path / "e.zarr"
    whole = run(job, None)

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
            run(job, output, interrupted(after))
        assert list(tmp_path.glob(".e.zarr.resume"))
    # What a further process had found, whose journal was left behind, counts as well.
    (tmp_path / ".e.zarr.resume").rename(tmp_path / ".e.zarr.1of2.resume")
    outcome = run(job, output)
    assert np.array_equal(outcome.broken, whole.broken)
    assert np.array_equal(outcome.adversarial, whole.adversarial)
    job.clean(output)
    assert not list(tmp_path.glob(".e.zarr.*"))


def test_requests_differ_where_verdicts_could(job: Job, tmp_path: Path) -> None:
    from dataclasses import replace

    chosen = selection.choose("first:5", job.points.dataset)
    others = [
        replace(job, keep=False),
        replace(job, points=Points(job.points.dataset, chosen)),
        replace(job, plan=replace(job.plan, seed=1)),
        replace(job, plan=replace(job.plan, batch=6)),
        replace(job, plan=replace(job.plan, eps=0.01)),
        replace(job, plan=replace(job.plan, attacks=job.plan.attacks[:1])),
        replace(job, model=load_model(str(helpers.classifier(tmp_path / "o.safetensors", seed=1)))),
    ]
    assert len({job.request, *(other.request for other in others)}) == 8
    assert replace(job, limit=3).request == job.request


def test_chosen_points(job: Job) -> None:
    points = Points(job.points.dataset, selection.choose("!first:20", job.points.dataset))
    assert points.rows.tolist() == [20, 21, 22, 23]
    assert np.array_equal(points.images, job.points.images[20:])
    assert np.array_equal(points.labels, job.points.labels[20:])


def test_models_of_others(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_artifacts_that_are_no_classifier(job: Job, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="model import"):
        load_model("published.pt")
    with pytest.raises(ArtifactError, match="does not exist"):
        load_model(str(tmp_path / "none.safetensors"))
    path = helpers.classifier(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=r"cut\.safetensors"):
        load_model(str(path))
    with pytest.raises(ArtifactError, match="no safetensors file"):
        load_model(str(job.points.dataset.path))


def test_features_are_no_images(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"features": ("float32", (5,)), "labels": ("int64", ()), "index": ("int64", ())}
    path = tmp_path / "f.zarr"
    with artifacts.create(
        path, "dataset", columns, attributes={"name": "f", "classes": []}, history=[helpers.STEP]
    ) as writer:
        writer.append("features", np.zeros((2, 5), np.float32))
        writer.append("labels", np.arange(2))
        writer.append("index", np.arange(2))
    with pytest.raises(DataError, match="holds features"):
        Points(artifacts.open_store(path))


def test_costs(job: Job) -> None:
    cost = job.cost()
    assert cost["forward_passes_an_image"] == 1 + sum(attack.passes for attack in job.plan.attacks)
    assert cost["forward_passes"] == 24 * cost["forward_passes_an_image"]
    assert cost["parameters"] == sum(p.numel() for p in helpers.network().parameters())
