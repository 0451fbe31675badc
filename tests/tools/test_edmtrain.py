"""The command ``edmtrain``, as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts, selection
from datarobust.checkpoints.models import load_denoiser

from . import made
from .failing import fails
from .held import held, wait_for

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = ("--epochs", 3, "--batch", 8, "--width", 8, "--mult", "1,2", "--threads", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edmtrain")
    made.dataset(folder / "d.zarr", rows=24)
    return folder / "d.zarr"


@pytest.fixture(scope="module")
def trained(command: Run, data: Path) -> Path:
    """A finished run."""
    output = data.parent / "straight"
    done = command("edmtrain", data, *TINY, "-o", output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    return output


def outcome(run: Path) -> tuple[str, list[str], list[dict[str, Any]]]:
    """Digest of the weights, names of files, and the log without times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    untimed = [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]
    names = sorted(path.name for path in run.iterdir())
    return artifacts.peek(run / "last.safetensors").digest, names, untimed


def test_a_run(command: Run, data: Path, trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == ["last.safetensors", "log.jsonl", "recipe.json"]
    denoiser, artifact = load_denoiser(trained / "last.safetensors")
    assert (denoiser.classes, denoiser.shape) == (3, (1, 8, 8))
    assert denoiser.model.arguments["channel_mult"] == [1, 2]
    assert artifact.attributes["classes"] == ["class 0", "class 1", "class 2"]
    assert (artifact.attributes["epoch"], artifact.attributes["weights"]) == (3, "last")
    assert [step.tool for step in artifact.history] == ["made", "edmtrain"]
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(np.isfinite(line["loss"]) for line in lines)
    done = command(
        "clone", data, "--model", trained / "last.safetensors", "--num-steps", 2, "-o", "k.zarr", cwd=data.parent
    )
    assert done.returncode == 0, done.stderr


def test_a_finished_run_does_nothing_and_another_is_not_replaced(command: Run, data: Path, trained: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.iterdir()}
    done = command("edmtrain", data, *TINY, "-o", trained, "--json")
    told = json.loads(done.stdout)
    assert told["last"] == str(trained / "last.safetensors")
    assert told["epoch"] == 3
    assert {path: path.stat().st_mtime_ns for path in trained.iterdir()} == before
    fails(command("edmtrain", data, *TINY, "--seed", 1, "-o", trained), "another run", "--overwrite")


def test_the_log_for_tensorboard_changes_nothing_else(command: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    output = tmp_path / "run"
    done = command("edmtrain", data, *TINY, "--tensorboard", "-o", output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    [events] = (output / "tensorboard").iterdir()
    content = events.read_bytes()
    digest, names, lines = outcome(trained)
    assert outcome(output) == (digest, [*names, "tensorboard"], lines)
    assert command("edmtrain", data, *TINY, "-o", output).returncode == 0  # finished, with or without
    assert command("edmtrain", data, *TINY, "--tensorboard", "-o", output).returncode == 0
    [again] = (output / "tensorboard").iterdir()
    assert abs(again.stat().st_size - len(content)) < 100  # the same numbers, under a head with the time


def test_networks_of_other_kinds(command: Run, data: Path, tmp_path: Path) -> None:
    more = ["--arch", "ncsnpp", "--no-labels", "--augment", 0.2, "--blocks", 2, "--attention", "8,4", "--dropout", 0.0]
    done = command("edmtrain", data, *TINY, *more, "--epochs", 1, "--precision", "bf16", "-o", tmp_path / "run", "-q")
    assert done.returncode == 0, done.stderr
    denoiser, _ = load_denoiser(tmp_path / "run" / "last.safetensors")
    arguments = denoiser.model.arguments
    assert (denoiser.classes, arguments["augment_dim"], arguments["encoder_type"]) == (0, 9, "residual")
    assert (arguments["num_blocks"], arguments["attn_resolutions"], arguments["dropout"]) == (2, [8, 4], 0.0)


def test_a_dry_run(command: Run, data: Path, tmp_path: Path) -> None:
    done = command("edmtrain", data, *TINY, "-o", tmp_path / "run", "--dry-run")
    plan = json.loads(done.stdout)
    assert (plan["steps"], plan["images"]) == (9, 72)
    assert plan["parameters"] > 1000
    assert plan["expected_seconds"] > 0
    assert not (tmp_path / "run").exists()


#: One step more when it is told to stop.
HELD = """
import sys, time
from datarobust.diffusion import training
from datarobust.tools import edmtrain
left, step = int(sys.argv.pop(1)), training.Training.train_step
def held(self, number, drawn):
    global left
    left -= 1
    while left < 0:
        open("waits", "w").close()
        time.sleep(0.05)
        if edmtrain.stopped():
            left = 1
    step(self, number, drawn)
training.Training.train_step = held
deferred = edmtrain._cli.deferred
from contextlib import contextmanager
@contextmanager
def noted():
    with deferred() as stopped:
        edmtrain.stopped = stopped
        yield stopped
edmtrain._cli.deferred = noted
edmtrain.main()
"""


def test_killed_and_terminated_it_goes_on_to_the_bit(
    command: Run, quick: Path, data: Path, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = [data, *TINY, "--save-every", 0, "-o", output]
    state = output / ".state.resume"
    with held(quick, HELD, 4, *words, cwd=tmp_path) as process:  # of three epochs of three steps
        wait_for(state, process)
        fails(command("edmtrain", *words), "run", "being written")
    seen = state.stat().st_mtime_ns
    (tmp_path / "waits").unlink(missing_ok=True)
    with held(quick, HELD, 1, *words, cwd=tmp_path) as process:
        wait_for(tmp_path / "waits", process)
        process.terminate()
        out, talk = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert talk.splitlines()[-1] == "edmtrain: terminated; run the same command again to resume"
    assert state.stat().st_mtime_ns != seen
    done = command("edmtrain", *words, "-q")
    assert done.stdout == f"{output}\n", done.stderr
    assert outcome(output) == outcome(trained)


def test_two_processes(command: Run, pair: Run, data: Path, tmp_path: Path) -> None:
    words = [data, *TINY, "--dropout", 0.0]
    assert command("edmtrain", *words, "-o", tmp_path / "one").returncode == 0
    done = pair("edmtrain", *words, "-o", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'two'}\n"
    one, two = (load_denoiser(tmp_path / name / "last.safetensors")[1] for name in ("one", "two"))
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=0, atol=2e-3)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(*losses, rtol=1e-3)


JUDGE = """
import torch
class Brightness(torch.nn.Module):
    def forward(self, x):
        return torch.stack([1 - x.mean((1, 2, 3)), x.mean((1, 2, 3)), 0 * x[:, 0, 0, 0]], 1)
"""


def test_a_judge_says_what_it_sees(command: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    judge = ["--test", data, "--judge", f"{tmp_path / 'judge.py'}:Brightness", "--judged", 6]
    done = command("edmtrain", data, *TINY, "-o", trained, *judge, "--json")
    told = json.loads(done.stdout)["judgement"]
    assert told["images"] == 6
    store = artifacts.open_store(data)
    rows = selection.random(24, 6, 0)
    bright = store.column("images").take(rows).mean((1, 2, 3)) / 255 > 0.5
    assert told["held_out"] == pytest.approx(float((bright == store.column("labels").take(rows)).mean()))
    assert 0 <= told["clones"] <= 1
    assert 0 <= told["samples"] <= 1
    assert "right label" in done.stderr
    fails(command("edmtrain", data, *TINY, "-o", trained, "--judge", "a:b"), "--test", code=2)


def test_misuse_is_one_sentence(command: Run, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    fails(command("edmtrain", data, "-o", output, "--mult", "1,1,1,1,1"), "halved", code=2)
    fails(command("edmtrain", data, "-o", output, "--mult", "a"), "--mult", code=2)
    fails(command("edmtrain", data, "-o", output, "--epochs", 0), "--epochs", code=2)
    wide = made.dataset(tmp_path / "wide.zarr", shape=(1, 8, 6))
    fails(command("edmtrain", wide, "-o", output), "8 x 6")
    fails(command("edmtrain", data, "-o", output, "--width", 30), "width", code=2)
    assert not output.exists()


def test_a_training_that_diverges(command: Run, data: Path, tmp_path: Path) -> None:
    fails(command("edmtrain", data, *TINY, "--lr", 1e30, "-o", tmp_path / "run"), "not finite", "--lr")


def test_the_artifact_is_whole(command: Run, trained: Path) -> None:
    assert command("artifact", "check", trained / "last.safetensors").returncode == 0
    assert artifacts.peek(trained / "last.safetensors").kind == "denoiser"
