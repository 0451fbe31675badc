"""The search over the grid: the same lines however it is cut, killed or shared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from tests.lib import made
from tests.lib.diffusion.helpers import small
from tests.lib.stored import Interrupt

from datarobust import artifacts, selection
from datarobust.artifacts import Resume, Step
from datarobust.checkpoints.models import load_denoiser
from datarobust.diffusion import search
from datarobust.diffusion.cloning import clones
from datarobust.diffusion.denoiser import prepare
from datarobust.diffusion.sampler import Sampler
from datarobust.errors import ArtifactError, DataError, DatarobustError, ExistsError, UsageError
from datarobust.fid import Moments
from datarobust.jobs.clone import Cloning
from datarobust.jobs.clone_search import Search, gather, read, sentences
from datarobust.jobs.fid import feature_space
from datarobust.jobs.make import make
from datarobust.networks.features import PIXELS

T = TypeVar("T")
BASE = Sampler(num_steps=2)
GRID = {"sigma_min": [0.004], "sigma_max": [1.3, 1.4], "S_churn": [0.5], "S_min": [0.5], "S_noise": [1.0]}


def step(inputs: Mapping[str, str]) -> Step:
    return Step("clone-search", (), "0.1.0", 0, "cpu", inputs)


def killing(after: int) -> Any:
    """Progress that stops the whole search before unit number ``after``."""
    left = [after]

    def progress(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            if left[0] == 0:
                raise Interrupt
            left[0] -= 1
            yield item

    return lambda label: progress


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    """6 points on 20 images: all on 2 of them, then 2 on all with two seeds."""
    folder = tmp_path_factory.mktemp("asked")
    data = made.dataset(folder / "d.zarr", rows=20)
    denoiser, weights = load_denoiser(made.model(folder / "m.safetensors", small()))
    cloning = Cloning(data, prepare(denoiser), weights, selection.choose("first:20", data), BASE, batch=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "KEPT", 2)
        yield Search(cloning, PIXELS, search.grid(GRID, BASE), (0, 1), "halving")


@pytest.fixture(scope="module")
def straight(asked: Search, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the search, made in one go."""
    output = tmp_path_factory.mktemp("straight") / "s.jsonl"
    assert make(asked, output, step)
    return output


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def unordered(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


def test_lines_of_a_search(asked: Search, straight: Path) -> None:
    found = asked.standings(gather([straight])[2])
    assert [(rung.points, rung.images) for rung in asked.rungs] == [(6, 2), (3, 6), (2, 20)]
    assert [len(results) for results in found] == [6, 3, 4]
    first, *rest = lines(straight)
    assert first["features"] == "pixels"
    assert first["dataset"] == asked.cloning.dataset.digest
    assert len(rest) == 13
    line = next(line for line in rest if line["images"] == 20 and line["seed"] == 1)
    point = asked.points[line["point"]]
    assert {name: line[name] for name in search.GRID} == search.varied(point)

    job = replace(asked.cloning, sampler=point, seed=1)
    images = job.dataset.column("images").read()
    copies = np.concatenate([part for _, part in clones(job.model, job.task, 8)])
    flat = [part.reshape(20, -1) / 255 for part in (images, copies)]
    assert line["score"] == pytest.approx(Moments.of(flat[0]).distance(Moments.of(flat[1])), rel=1e-4)
    assert line["l2"] == pytest.approx(float(np.sqrt(np.square(flat[0] - flat[1]).sum(1)).mean()), rel=1e-3)
    assert line["linf"] == pytest.approx(float(np.abs(flat[0] - flat[1]).max(1).mean()), rel=5e-3)
    assert names(straight.parent) == {"s.jsonl"}


def test_a_compiled_denoiser_sees_one_size_of_batches(asked: Search, tmp_path: Path) -> None:
    sizes = set()
    full = replace(asked, strategy="full", points=asked.points[:1], seeds=(0,))
    with asked.cloning.model.register_forward_pre_hook(lambda _, arguments: sizes.add(len(arguments[0]))):
        assert make(full, tmp_path / "s.jsonl", step)
        assert sizes == {8, 4}  # of 20 images
        sizes.clear()
        assert make(replace(full, cloning=replace(asked.cloning, compiled=True)), tmp_path / "padded.jsonl", step)
        assert sizes == {8}


def test_every_line_says_what_the_score_is(asked: Search, tmp_path: Path) -> None:
    """Only distances of Inception's features are called FID."""
    full = replace(asked, strategy="full", points=asked.points[:2], seeds=(0,))
    inception = replace(full, space=replace(PIXELS, name="inception"))
    for job, features, measure, words in (
        (full, "pixels", "frechet", "Fréchet distance of pixels"),
        (inception, "inception", "fid", "FID"),
    ):
        output = tmp_path / f"{features}.jsonl"
        make(job, output, step)
        findings = job.findings(output)
        for line in (*lines(output)[1:], findings, job.plan()):
            assert (line["measure"], line["features"]) == (measure, features)
        assert all(words in line for line in sentences(findings))
    assert not any("FID" in line for line in sentences(full.findings(tmp_path / "pixels.jsonl")))


def test_s_max_is_varied_as_other_arguments(asked: Search, tmp_path: Path) -> None:
    points = search.grid(GRID | {"sigma_max": [1.3], "rho": [1.5], "S_max": [1.0, np.inf]}, BASE)
    job = replace(asked, strategy="full", points=points, seeds=(0,))
    assert job.request()["grid"]["S_max"] == [1.0, None]
    make(job, tmp_path / "s.jsonl", step)
    header, *rest = (tmp_path / "s.jsonl").read_text().splitlines()
    assert "Infinity" not in header + "".join(rest)
    assert [json.loads(line)["S_max"] for line in rest] == [1.0, None]
    assert json.loads(rest[0])["score"] != json.loads(rest[1])["score"]
    assert gather([tmp_path / "s.jsonl"])[1] == [replace(point, num_steps=20) for point in points]
    findings = job.findings(tmp_path / "s.jsonl")
    assert list(findings["main_effects"]["S_max"]) == ["1", "inf"]
    assert "Infinity" not in json.dumps(findings)
    assert any("S_max inf" in line or "S_max 1," in line for line in sentences(findings))


def test_the_request_of_a_search_without_s_max_is_that_of_before(asked: Search) -> None:
    """Files that were made before the grid had S_max are finished searches still."""
    assert list(asked.request()["grid"]) == ["sigma_min", "sigma_max", "rho", "S_churn", "S_min", "S_noise"]


@pytest.mark.parametrize("after", [0, 6, 10])
def test_a_killed_search_goes_on(asked: Search, straight: Path, tmp_path: Path, after: int) -> None:
    """Until it is done there is no file of its name."""
    output = tmp_path / "s.jsonl"
    with pytest.raises(Interrupt):
        make(asked, output, step, labelled=killing(after))
    assert not output.exists()
    state = Resume(output, artifacts.fingerprint(asked.request())).load()
    assert (0 if state is None else len(state["rows"])) == after
    counted: list[int] = []
    assert make(asked, output, step, labelled=lambda label: lambda items: (counted.append(i) or i for i in items))
    assert len(counted) == 13 - after
    assert unordered(output) == unordered(straight)
    assert names(tmp_path) == {"s.jsonl"}
    before = output.read_bytes()
    assert not make(asked, output, step, labelled=killing(0))
    assert output.read_bytes() == before


def test_an_unfinished_file_of_before_is_gone_on_with(asked: Search, straight: Path, tmp_path: Path) -> None:
    """Version 0.1 wrote lines under the final name, and a kill could tear the last one."""
    output = tmp_path / "s.jsonl"
    output.write_text("".join(straight.read_text().splitlines(keepends=True)[:5]) + '{"point": 3,')
    (tmp_path / ".s.jsonl.3-0.journal").write_bytes(b"of before")
    counted: list[int] = []
    assert make(asked, output, step, labelled=lambda label: lambda items: (counted.append(i) or i for i in items))
    assert len(counted) == 9
    assert unordered(output) == unordered(straight)
    assert names(tmp_path) == {"s.jsonl"}


def test_clones_of_a_rung_serve_the_next(asked: Search, tmp_path: Path, monkeypatch: Any) -> None:
    counted = []

    def counting(model: Any, task: Any, batch: int, **options: Any) -> Any:
        counted.append(task.count)
        return clones(model, task, batch, **options)

    monkeypatch.setattr("datarobust.jobs.clone_search.clones", counting)
    make(asked, tmp_path / "s.jsonl", step)
    assert sum(counted) == 6 * 2 + 3 * 4 + 2 * 14 + 2 * 20 == asked.plan()["clones"]


def test_shards_bring_the_lines_of_one_search(asked: Search, straight: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "s0.jsonl", tmp_path / "s1.jsonl"]
    shards = [replace(asked, shard=(n, 2), also=(paths[1 - n],)) for n in range(2)]
    with pytest.raises(DatarobustError, match="rung 1 lacks 3 of 6 results"):
        make(shards[0], paths[0], step)
    with pytest.raises(DatarobustError, match="rung 2 lacks 2 of 3 results"):
        make(shards[1], paths[1], step)
    with pytest.raises(DatarobustError, match="rung 3 lacks 2 of 4 results"):
        make(shards[0], paths[0], step)
    make(shards[1], paths[1], step)
    make(shards[0], paths[0], step)
    together = sorted(paths[0].read_text().splitlines()[1:] + paths[1].read_text().splitlines()[1:])
    assert together == sorted(straight.read_text().splitlines()[1:])


def test_a_full_search_has_all_points_and_seeds(asked: Search, tmp_path: Path) -> None:
    full = replace(asked, strategy="full", points=search.grid({**GRID, "rho": [2.0]}, BASE), seeds=(0, 1))
    assert make(full, tmp_path / "s.jsonl", step)
    found = full.standings(gather([tmp_path / "s.jsonl"])[2])
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
    some = asked.cloning.dataset.column("images").read(0, 4)
    measure = feature_space(f"classifier:{module}:make", some, torch.device("cpu"))
    assert measure.name.startswith("classifier:")
    assert measure.of(some).shape == (4, 5)
    for wrong in ("dino", "classifier:"):
        with pytest.raises(UsageError, match="choose inception, classifier:M"):
            feature_space(wrong, some, torch.device("cpu"))
    with pytest.raises(UsageError, match="for fid alone"):
        replace(asked, space=replace(measure, extract=None))


def test_other_searches_and_other_files_are_left_alone(asked: Search, tmp_path: Path) -> None:
    output = tmp_path / "s.jsonl"
    output.write_text("mine\n")
    small_search = replace(asked, strategy="full", points=asked.points[:1], seeds=(0,))
    with pytest.raises(ExistsError, match="exists already"):
        make(small_search, output, step)
    assert output.read_text() == "mine\n"
    make(small_search, output, step, overwrite=True)
    with pytest.raises(ExistsError, match="`overwrite`"):
        make(replace(small_search, seeds=(5,)), output, step)
    assert read(output)[0]["request"] == artifacts.fingerprint(small_search.request())


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
        read(path)
    with pytest.raises(ArtifactError, match="read"):
        read(tmp_path / "no.jsonl")


def test_one_image_is_too_few(asked: Search) -> None:
    with pytest.raises(DataError, match="two images"):
        replace(asked, cloning=replace(asked.cloning, chosen=selection.choose("first:1", asked.cloning.dataset)))
