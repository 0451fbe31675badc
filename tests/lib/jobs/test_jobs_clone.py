"""Clones as artifacts: what is asked, what is written, what is refused, what goes on after a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from tests.lib import made
from tests.lib.diffusion.helpers import small
from tests.lib.stored import Interrupt, stopping

from datarobust import artifacts, selection
from datarobust.artifacts import Step
from datarobust.artifacts.durable import leftovers
from datarobust.checkpoints.models import load_denoiser
from datarobust.datasets import names
from datarobust.diffusion.denoiser import Ve, flops, prepare
from datarobust.diffusion.sampler import DEFAULTS, Sampler
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.jobs.clone import Cloning
from datarobust.jobs.make import make

T = TypeVar("T")


def step(inputs: Mapping[str, str]) -> Step:
    return Step("clone", ("d.zarr",), "0.1.0", 0, "cpu", inputs)


def run(job: Cloning, output: Path, batch: int = 4, **options: Any) -> bool:
    return make(replace(job, batch=batch), output, step, **options)


def killing(after: int) -> Any:
    """Progress that kills the process before batch number ``after``."""

    def progress(items: Iterable[T]) -> Iterator[T]:
        for number, item in enumerate(items):
            if number == after:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item

    return progress


@pytest.fixture
def job(tmp_path: Path) -> Cloning:
    data = made.dataset(tmp_path / "d.zarr")
    denoiser, weights = load_denoiser(made.model(tmp_path / "m.safetensors", small()))
    chosen = selection.choose("!first:3", data)
    return Cloning(data, prepare(denoiser), weights, chosen, Sampler(num_steps=3), repeats=2)


def tree(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def test_what_is_written(job: Cloning, tmp_path: Path) -> None:
    run(job, tmp_path / "k.zarr", 4)
    found = artifacts.open_store(tmp_path / "k.zarr", "clones")
    found.verify()
    assert found.column("images").shape == (9, 2, 1, 8, 8)
    np.testing.assert_array_equal(found.column("index").read(), np.arange(3, 12))
    np.testing.assert_array_equal(found.column("labels").read(), np.arange(3, 12) % 3)
    told = found.attributes
    assert told["dataset"] == job.dataset.digest
    assert told["model"] == job.weights.digest
    assert told["sampler"] == {**Sampler(num_steps=3).as_json()}
    assert told["start"]["name"] == "paper"
    assert told["start"]["image"] == pytest.approx(1.0836, abs=1e-4)
    assert told["start"]["told"] == 1.4
    assert (told["seed"], told["precision"], told["conditioning"]) == (0, "fp32", "own")
    assert found.history[:-1] == (*job.dataset.history, *job.weights.history)
    assert found.history[-1].tool == "clone"
    assert not leftovers(tmp_path / "k.zarr")


def test_clones_keep_the_names_of_their_points(job: Cloning, tmp_path: Path) -> None:
    every = [f"{row}.png" for row in range(12)]
    named = replace(job, dataset=made.dataset(tmp_path / "named.zarr", names=every))
    assert artifacts.fingerprint(named.request()) != artifacts.fingerprint(job.request())
    with pytest.raises(Interrupt):
        run(named, tmp_path / "k.zarr", progress=stopping(2), save_every=0)
    assert run(named, tmp_path / "k.zarr")
    assert names(artifacts.open_store(tmp_path / "k.zarr", "clones")) == every[3:]


@pytest.mark.parametrize(("stop", "save_every"), [(0, 0.0), (1, 0.0), (4, 0.0), (2, 1e9), (4, 1e9)])
def test_a_stopped_run_goes_on_to_the_bit(job: Cloning, tmp_path: Path, stop: int, save_every: float) -> None:
    run(job, tmp_path / "straight.zarr", 4)
    with pytest.raises(Interrupt):
        run(job, tmp_path / "k.zarr", 4, progress=stopping(stop), save_every=save_every)
    seen: list[int] = []

    def progress(items: Iterable[int]) -> Iterator[int]:
        for item in items:
            seen.append(item)
            yield item

    run(job, tmp_path / "k.zarr", 4, progress=progress)
    assert seen == list(range(stop, 5))
    assert tree(tmp_path / "k.zarr") == tree(tmp_path / "straight.zarr")
    assert not leftovers(tmp_path / "k.zarr")


def test_a_killed_run_goes_on_from_its_last_state(job: Cloning, tmp_path: Path) -> None:
    """``kill -9`` leaves no time to save: what was saved before is what there is."""
    run(job, tmp_path / "straight.zarr", 4)
    output = tmp_path / "k.zarr"
    process = os.fork()
    if process == 0:
        try:
            run(job, output, 4, progress=killing(3), save_every=0.0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    seen: list[int] = []
    run(job, output, 4, progress=lambda items: [seen.append(item) or item for item in items])
    assert seen == [3, 4]
    assert tree(output) == tree(tmp_path / "straight.zarr")


def test_a_run_that_goes_on_with_other_batches_differs_by_rounding(job: Cloning, tmp_path: Path) -> None:
    run(job, tmp_path / "straight.zarr", 4)
    with pytest.raises(Interrupt):
        run(job, tmp_path / "k.zarr", 4, progress=stopping(2))
    run(job, tmp_path / "k.zarr", 5)
    one, other = (artifacts.open_store(tmp_path / f"{n}.zarr").column("images").read() for n in ("k", "straight"))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_the_request_is_what_decides_the_bytes(job: Cloning, tmp_path: Path) -> None:
    changes: list[Any] = [
        {"seed": 1},
        {"repeats": 3},
        {"start": "unit"},
        {"start": "matched", "sampler": DEFAULTS["matched"]},
        {"noise_weight": 0.5},
        {"labels": "random"},
        {"precision": "bf16"},
        {"sampler": Sampler(rho=2.0)},
    ]
    requests = [artifacts.fingerprint(replace(job, **change).request()) for change in changes]
    others = [job, replace(job, chosen=selection.choose("first:3", job.dataset))]
    requests += [artifacts.fingerprint(other.request()) for other in others]
    assert len(set(requests)) == len(requests)
    assert replace(job, chosen=replace(job.chosen, tied=7), batch=9, compiled=True).request() == job.request()


def test_labels_from_a_file_and_random_ones(job: Cloning, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(str(n % 2) for n in range(9)) + "\n")
    given = replace(job, labels=file)
    np.testing.assert_array_equal(given.task.labels, np.arange(9) % 2)
    assert "labels" in given.targets[1]
    drawn = replace(job, labels="random")
    assert drawn.task.labels.max() < 3
    assert any("random" in remark for remark in drawn.remarks())
    file.write_text("\n".join(["0"] * 8 + ["3"]) + "\n")
    with pytest.raises(DataError, match=r"label 3 for point 11, but the denoiser knows the classes 0 to 2"):
        _ = replace(job, labels=file).task
    file.write_text("0\n")
    with pytest.raises(DataError, match="has 1 labels"):
        _ = replace(job, labels=file).task


def test_labels_that_the_denoiser_does_not_know(job: Cloning, tmp_path: Path) -> None:
    """Where classes have names they are compared; here they have none."""
    arrays = {name: job.dataset.column(name).read() for name in job.dataset.names()}
    columns = {name: (array.dtype.name, array.shape[1:]) for name, array in arrays.items()}
    attributes = {"name": "made", "classes": []}
    with artifacts.create(
        tmp_path / "u.zarr", "dataset", columns, attributes=attributes, history=job.dataset.history
    ) as writer:
        for name, array in arrays.items():
            writer.append(name, array + (name == "labels"))
    unnamed = replace(job, dataset=artifacts.open_store(tmp_path / "u.zarr"))
    with pytest.raises(DataError, match=r"u\.zarr has the label 3 for point 5, but the denoiser knows .* 0 to 2"):
        run(unnamed, tmp_path / "k.zarr")
    assert run(replace(unnamed, labels="random"), tmp_path / "k.zarr")


def test_remarks_tell_the_start_and_noise_that_a_denoiser_was_not_made_for(job: Cloning, tmp_path: Path) -> None:
    said = list(job.remarks())
    assert "1.084 image" in said[0]
    path = made.model(tmp_path / "ve.safetensors", small(precondition=Ve(0.02, 1.0)))
    denoiser, weights = load_denoiser(path)
    narrow = replace(job, model=denoiser, weights=weights)
    said = list(narrow.remarks())
    assert any("sigma_min is 0.02, not 0.004" in remark for remark in said)
    assert any("sigma_max is 1, not 1.4" in remark for remark in said)
    assert narrow.settings["sampler"]["sigma_max"] == 1.0


def test_what_does_not_fit_together(job: Cloning, tmp_path: Path) -> None:
    other = made.dataset(tmp_path / "wide.zarr", shape=(3, 8, 8))
    with pytest.raises(DataError, match=r"images of 3 x 8 x 8, but the denoiser .* makes images of 1 x 8 x 8"):
        replace(job, dataset=other)
    classes = made.dataset(tmp_path / "five.zarr", classes=5)
    with pytest.raises(DataError, match=r"other classes \(5 and 3\)"):
        replace(job, dataset=classes)
    named = load_denoiser(made.model(tmp_path / "named.safetensors", small(), classes=["a", "b", "c"]))
    with pytest.raises(DataError, match="of other names"):
        replace(job, model=named[0], weights=named[1])
    plain = load_denoiser(made.model(tmp_path / "plain.safetensors", small(classes=0)))
    with pytest.raises(UsageError, match="without labels"):
        replace(job, model=plain[0], weights=plain[1], labels="random")
    assert replace(job, model=plain[0], weights=plain[1], dataset=classes).settings["conditioning"] == "none"
    with pytest.raises(UsageError, match="`repeats` 0"):
        replace(job, repeats=0)


def test_another_request_is_not_gone_on_with_nor_replaced(job: Cloning, tmp_path: Path) -> None:
    output = tmp_path / "k.zarr"
    with pytest.raises(Interrupt):
        run(job, output, 4, progress=stopping(2))
    changed = replace(job, seed=5)
    run(changed, output, 4)
    run(changed, tmp_path / "straight.zarr", 4)
    assert tree(output) == tree(tmp_path / "straight.zarr")
    with pytest.raises(ArtifactError, match="`overwrite`"):
        run(job, output, 4)
    run(job, output, 4, overwrite=True)
    assert artifacts.finished(output, artifacts.fingerprint(job.request()))


def test_plan(job: Cloning) -> None:
    plan = job.plan()
    assert (plan["clones"], plan["evaluations_a_clone"]) == (18, 5)
    assert plan["operations"] == 90 * flops(job.model)
