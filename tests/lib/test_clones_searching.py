"""The search over the grid: the same lines however it is cut, killed or shared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from datarobust import artifacts, selection
from datarobust.checkpoints.models import load_denoiser
from datarobust.clones import Job, Request
from datarobust.clones.lines import header, read
from datarobust.clones.searching import Search
from datarobust.diffusion import search
from datarobust.diffusion.cloning import clones
from datarobust.diffusion.denoiser import prepare
from datarobust.diffusion.sampler import Sampler
from datarobust.distributed import Group
from datarobust.errors import ArtifactError, DataError, DatarobustError, ExistsError, UsageError
from datarobust.fid.frechet import Moments
from datarobust.jobs.fid import feature_space

from . import made
from .diffusion.helpers import small

T = TypeVar("T")
ALONE = Group(0, 1)
BASE = Sampler(num_steps=2)
GRID = {"sigma_min": [0.004], "sigma_max": [1.3, 1.4], "S_churn": [0.5], "S_min": [0.5], "S_noise": [1.0]}


class Killed(BaseException):
    """Stands for a kill."""


def silent(label: str) -> Any:
    return iter


def killing(after: int) -> Any:
    """Progress that stops the whole search before unit number ``after``."""
    left = [after]

    def progress(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            yield item

    return lambda label: progress


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """6 points on 20 images: all on 2 of them, then 2 on all with two seeds."""
    monkeypatch.setattr(search, "KEPT", 2)
    data = made.dataset(tmp_path / "d.zarr", rows=20)
    denoiser, weights = load_denoiser(made.model(tmp_path / "m.safetensors", small()))
    job = Job(data, prepare(denoiser), weights, selection.choose("first:20", data), Request(BASE))
    pixels = feature_space("pixels", data.column("images").read(0, 2), torch.device("cpu"))
    return Search(job, pixels, search.grid(GRID, BASE), (0, 1), "halving", 8)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def unordered(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


def test_lines_of_a_search(asked: Search, tmp_path: Path) -> None:
    found = asked.run(tmp_path / "s.jsonl", ALONE, silent)
    assert [(rung.points, rung.images) for rung in asked.rungs] == [(6, 2), (3, 6), (2, 20)]
    assert [len(results) for results in found] == [6, 3, 4]
    first, *rest = lines(tmp_path / "s.jsonl")
    assert first["features"] == "pixels"
    assert first["dataset"] == asked.job.dataset.digest
    assert len(rest) == 13
    line = next(line for line in rest if line["images"] == 20 and line["seed"] == 1)
    point = asked.points[line["point"]]
    assert {name: line[name] for name in search.GRID} == point.values()

    job = replace(asked.job, request=replace(asked.job.request, sampler=point.sampler, seed=1))
    images = asked.job.dataset.column("images").read()
    copies = np.concatenate([part for _, part in clones(job.model, job.task, 8)])
    flat = [part.reshape(20, -1) / 255 for part in (images, copies)]
    assert line["score"] == pytest.approx(Moments.of(flat[0]).distance(Moments.of(flat[1])), rel=1e-4)
    assert line["l2"] == pytest.approx(float(np.sqrt(np.square(flat[0] - flat[1]).sum(1)).mean()), rel=1e-3)
    assert line["linf"] == pytest.approx(float(np.abs(flat[0] - flat[1]).max(1).mean()), rel=5e-3)
    assert not list(tmp_path.glob(".s.jsonl.*"))


@pytest.mark.parametrize("after", [0, 2, 6, 10])
def test_a_killed_search_goes_on(asked: Search, tmp_path: Path, after: int) -> None:
    asked.run(tmp_path / "straight.jsonl", ALONE, silent)
    output = tmp_path / "s.jsonl"
    with pytest.raises(Killed):
        asked.run(output, ALONE, killing(after))
    assert len(lines(output)) == 1 + after
    with output.open("ab") as file:
        file.write(b'{"point": 3, "sc')  # torn by the kill
    asked.run(output, ALONE, silent)
    assert unordered(output) == unordered(tmp_path / "straight.jsonl")
    before = output.read_bytes()
    asked.run(output, ALONE, killing(0))
    assert output.read_bytes() == before


def test_clones_of_a_rung_serve_the_next(asked: Search, tmp_path: Path, monkeypatch: Any) -> None:
    counted = []

    def counting(model: Any, task: Any, batch: int, **options: Any) -> Any:
        counted.append(task.count)
        return clones(model, task, batch, **options)

    monkeypatch.setattr("datarobust.clones.searching.clones", counting)
    asked.run(tmp_path / "s.jsonl", ALONE, silent)
    assert sum(counted) == 6 * 2 + 3 * 4 + 2 * 14 + 2 * 20 == asked.cost


def test_shards_bring_the_lines_of_one_search(asked: Search, tmp_path: Path) -> None:
    asked.run(tmp_path / "straight.jsonl", ALONE, silent)
    paths = [tmp_path / "s0.jsonl", tmp_path / "s1.jsonl"]
    shards = [replace(asked, shard=(n, 2), also=(paths[1 - n],)) for n in range(2)]
    with pytest.raises(DatarobustError, match="rung 1 lacks 3 of 6 results"):
        shards[0].run(paths[0], ALONE, silent)
    with pytest.raises(DatarobustError, match="rung 2 lacks 2 of 3 results"):
        shards[1].run(paths[1], ALONE, silent)
    with pytest.raises(DatarobustError, match="rung 3 lacks 2 of 4 results"):
        shards[0].run(paths[0], ALONE, silent)
    shards[1].run(paths[1], ALONE, silent)
    shards[0].run(paths[0], ALONE, silent)
    together = sorted(paths[0].read_text().splitlines()[1:] + paths[1].read_text().splitlines()[1:])
    assert together == sorted((tmp_path / "straight.jsonl").read_text().splitlines()[1:])


def test_a_full_search_has_all_points_and_seeds(asked: Search, tmp_path: Path) -> None:
    full = replace(asked, strategy="full", points=search.grid({**GRID, "rho": [2.0]}, BASE), seeds=(0, 1))
    found = full.run(tmp_path / "s.jsonl", ALONE, silent)
    assert [len(results) for results in found] == [4]
    assert {(result.point, result.seed) for result in found[0]} == {(p, s) for p in range(2) for s in range(2)}


def test_features_of_a_classifier(asked: Search, tmp_path: Path) -> None:
    module = tmp_path / "net.py"
    module.write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    parts = torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)\n"
        "    return torch.nn.Sequential(*parts)\n"
    )
    some = asked.job.dataset.column("images").read(0, 4)
    measure = feature_space(f"classifier:{module}:make", some, torch.device("cpu"))
    assert measure.name.startswith("classifier:")
    assert measure.of(some).shape == (4, 5)
    for wrong in ("dino", "classifier:"):
        with pytest.raises(UsageError, match="choose inception, classifier:M"):
            feature_space(wrong, some, torch.device("cpu"))
    with pytest.raises(UsageError, match="for fid alone"):
        replace(asked, measure=replace(measure, extract=None))


def test_other_searches_and_other_files_are_left_alone(asked: Search, tmp_path: Path) -> None:
    output = tmp_path / "s.jsonl"
    output.write_text("mine\n")
    with pytest.raises(ExistsError, match="something else"):
        asked.run(output, ALONE, silent)
    assert output.read_text() == "mine\n"
    asked.run(output, ALONE, silent, overwrite=True)
    with pytest.raises(ExistsError, match="`overwrite`"):
        replace(asked, seeds=(0, 5)).run(output, ALONE, silent)
    assert header(output)["request"] == artifacts.fingerprint(asked.asked)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1"),
        ("[1]\n", "line 1"),
        ('{"other": 1}\n', "no request"),
        ('{"request": "x"}\n{"point": 1}\n', "line 2 has no seed"),
        ('{"request": "x"}\n{"point": 1, "seed": 0, "images": 2, "score": "a"}\n', "line 2 has no score"),
        ('{"request": "x"}\nnothing\n', "line 2"),
    ],
)
def test_files_that_are_no_lines(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        _ = header(path), read(path)
    with pytest.raises(ArtifactError, match="read"):
        read(tmp_path / "no.jsonl")


def test_one_image_is_too_few(asked: Search) -> None:
    with pytest.raises(DataError, match="two images"):
        replace(asked, job=replace(asked.job, chosen=selection.choose("first:1", asked.job.dataset)))
