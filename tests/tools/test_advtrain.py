"""advtrain as users run it: one run a folder, the same bits after every kill, by one process or two; refusals."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from datarobust import artifacts
from datarobust.norms import NORMS
from datarobust.schedules import SCHEDULES
from datarobust.tools import advtrain
from datarobust.training.recipe import Recipe

Command = Callable[..., subprocess.CompletedProcess[str]]
OPTIONS = [
    "--arch", "wrn-10-1", "--epochs", 3, "--batch", 32, "--steps", 2, "--hold-out", "first:20", "--track", "first:8",
    "--threads", 1, "--save-every", 0, "-q",
]  # fmt: skip


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, quick: Path) -> Path:
    """A hundred digits, 20 others as a test set, and a ranking."""
    folder = tmp_path_factory.mktemp("sets")

    def run(*arguments: object) -> None:
        subprocess.run(
            [quick / str(arguments[0]), *map(str, arguments[1:])], cwd=folder, check=True, capture_output=True
        )

    run("dataset", "import", "digits", "-o", "all.zarr")
    run("dataset", "subset", "all.zarr", "--select", "first:100", "-o", "d.zarr")
    run("dataset", "subset", "all.zarr", "--select", "random:20:1", "-o", "t.zarr")
    run("sens-rank", "d.zarr", "--norm", "linf", "-o", "r.zarr")
    return folder


@pytest.fixture(scope="module")
def whole(digits: Path, quick: Path) -> Path:
    """A run that was not disturbed."""
    arguments = ["d.zarr", *OPTIONS, "--focus", "r.zarr:least:30", "--focus-batch", 4, "-o", "whole"]
    subprocess.run([quick / "advtrain", *map(str, arguments)], cwd=digits, check=True, capture_output=True)
    return digits / "whole"


def contents(run: Path) -> dict[str, Any]:
    """Everything that must not differ: weights by digest, the log without times."""
    times = {"seconds", "images_per_second", "memory_gb"}
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {
        "best": artifacts.peek(run / "best.safetensors").digest,
        "last": artifacts.peek(run / "last.safetensors").digest,
        "log": [{name: value for name, value in line.items() if name not in times} for line in lines],
        "files": sorted(entry.name for entry in run.iterdir()),
    }


def test_a_run_prints_its_folder_and_again_does_nothing(whole: Path, digits: Path, command: Command) -> None:
    found = contents(whole)
    assert found["files"] == ["best.safetensors", "last.safetensors", "log.jsonl", "recipe.json"]
    assert [line["epoch"] for line in found["log"]] == [1, 2, 3]
    assert all(line["injected"] == 16 for line in found["log"])
    stamp = (whole / "last.safetensors").stat().st_mtime_ns
    again = command(
        "advtrain", "d.zarr", *OPTIONS, "--focus", "r.zarr:least:30", "--focus-batch", 4, "-o", "whole", cwd=digits
    )
    assert (again.returncode, again.stdout) == (0, "whole\n")
    assert (whole / "last.safetensors").stat().st_mtime_ns == stamp
    history = artifacts.peek(whole / "last.safetensors").history
    assert [step.tool for step in history] == ["dataset", "dataset", "sens-rank", "advtrain"]
    assert set(history[-1].inputs) == {"dataset", "hold_out", "track", "focus"}


def test_a_finished_run_is_told_to_tensorboard(whole: Path, digits: Path, command: Command) -> None:
    pytest.importorskip("tensorboard")
    shutil.copytree(whole, digits / "told")
    before = contents(digits / "told")
    words = ["d.zarr", *OPTIONS, "--focus", "r.zarr:least:30", "--focus-batch", 4, "-o", "told"]
    done = command("advtrain", *words, "--tensorboard", cwd=digits)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
    assert contents(digits / "told") == before | {"files": [*before["files"], "tensorboard"]}
    [events] = (digits / "told" / "tensorboard").iterdir()
    assert b"tracked_accuracy" in events.read_bytes()


def test_killed_anywhere_it_ends_with_the_same_bits(whole: Path, digits: Path, quick: Path, command: Command) -> None:
    words = ["d.zarr", *OPTIONS, "--focus", "r.zarr:least:30", "--focus-batch", 4, "-o", "killed"]
    log = digits / "killed" / "log.jsonl"
    for lines, number in enumerate([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]):
        process = subprocess.Popen(
            [quick / "advtrain", *map(str, words)], cwd=digits, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        for _ in _while_running(process):
            if log.exists() and log.read_bytes().count(b"\n") >= lines:
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=100)
        if process.returncode == 0:  # it was faster than the signal
            break
        assert out == ""
        expected = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert process.returncode == expected
        if number != signal.SIGKILL:
            assert re.search(r"run the same command again to resume", err)
    assert command("advtrain", *words, cwd=digits).returncode == 0
    assert contents(digits / "killed") == contents(whole)


def _while_running(process: subprocess.Popen[str]) -> Iterator[None]:
    end = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
        yield


@pytest.mark.parametrize("group", [16, 0], ids=["groups of a process", "a group of both"])
def test_two_processes_train_what_one_trains(digits: Path, command: Command, pair: Command, group: int) -> None:
    words = ["d.zarr", *OPTIONS[:-1], "--bn-group", group, "--test", "t.zarr", "--epochs", 1, "-q"]
    words += ["--generated", "all.zarr"] if group else []
    one = command("advtrain", *words, "-o", f"one{group}", cwd=digits)
    assert one.returncode == 0, one.stderr
    two = pair("advtrain", *words, "-o", f"two{group}", cwd=digits)
    assert two.returncode == 0, two.stderr
    assert two.stdout == f"two{group}\n"
    for a, b in zip(contents(digits / f"one{group}")["log"], contents(digits / f"two{group}")["log"], strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=1e-3, abs=0.051), name
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)


def test_a_dry_run_states_the_cost(digits: Path, command: Command) -> None:
    done = command("advtrain", "d.zarr", "--batch", 64, "--hold-out", "none", "--track", "none", "--dry-run", "-o", "x",
                   cwd=digits)  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["parameters"] == 36_478_906  # WRN-28-10 for one channel: 288 weights fewer than for three
    assert plan["forward_passes_an_image"] == 26
    assert plan["steps"] == 2 * 2400
    assert plan["operations"] == plan["images"] * 26 * plan["forward_operations_an_image"]
    assert plan["expected_seconds"] > 3600
    assert "advtrain: This takes about" in done.stderr
    assert not (digits / "x").exists()


def test_options_are_the_fields_of_a_recipe() -> None:
    """Same names, same defaults; what an option leaves open is what the recipe's own default stands for."""
    fields = {field.name: field.default for field in dataclasses.fields(Recipe)}
    signature = inspect.signature(advtrain.advtrain).parameters
    assert fields.keys() <= signature.keys()
    defaults = {name: signature[name].default for name in fields}
    left_open = {"eps": None, "step": None, "augment": "auto", "precision": "auto", "compiled": None}
    left_open["focus_batch"] = None
    assert defaults == fields | left_open
    hints, options = get_type_hints(Recipe), get_type_hints(advtrain.advtrain)
    for name in fields:
        allowed, taken = set(get_args(hints[name])), set(get_args(options[name]))
        if allowed and type(None) not in allowed:
            assert taken == allowed | ({"auto"} if left_open.get(name) else set()), name
    assert set(get_args(options["norm"])) == {name for name, norm in NORMS.items() if norm.ball is not None}
    assert set(get_args(options["schedule"])) == set(SCHEDULES)


def test_fewer_in_focus_than_are_injected_by_default(digits: Path, command: Command) -> None:
    words = ["d.zarr", *OPTIONS[:-1], "--focus", "first:15", "--hold-out", "none", "--dry-run", "-o", "x"]
    done = command("advtrain", *words, cwd=digits)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["injected_a_batch"] == 12
    assert "--focus-batch is 12, because 15 points are in focus" in done.stderr


#: One of each way to refuse: by the parser, a selection, a store, a recipe, a network, a device.
REFUSED: list[tuple[list[object], int, str]] = [
    (["--hold-out", "first:1024"], 1, "--hold-out: 'first:1024' asks for 1,024 of 100 points. That is its default"),
    (["--hold-out", "first:50", "--focus", "first:20"], 2, "--focus names only points that --hold-out keeps"),
    (["--focus", "first:30", "--hold-out", "none", "--focus-batch", 40], 2, "--focus-batch 40"),
    (["--test", "r.zarr"], 1, "r.zarr"),
    (["--bn-group", 24], 2, "batch statistics of 24 images do not divide"),
    (["--arch", "vgg"], 2, "no network 'vgg'"),
    (["--eps", "8"], 2, "write 8/255, not 8"),
    (["--eps", "8/0"], 2, "nor a fraction"),
    (["--device", "cuda:7"], 2, "no CUDA device"),
]


@pytest.mark.parametrize(("more", "code", "words"), REFUSED, ids=[str(case[0][:2]) for case in REFUSED])
def test_what_cannot_be_is_one_sentence_before_any_work(
    digits: Path, command: Command, more: list[object], code: int, words: str
) -> None:
    done = command("advtrain", "d.zarr", *OPTIONS, *more, "-o", "refused", cwd=digits)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.startswith("advtrain: error: ")
    assert done.stderr.count("\n") == 1
    assert not (digits / "refused").exists()


def test_a_folder_of_another_run_is_refused_and_replaced_when_asked(
    whole: Path, digits: Path, command: Command
) -> None:
    before = contents(whole)
    done = command("advtrain", "d.zarr", *OPTIONS, "--seed", 5, "-o", "whole", cwd=digits)
    assert done.returncode == 1
    assert "holds another run" in done.stderr
    assert contents(whole) == before
    shutil.copytree(whole, digits / "replaced")
    other = command("advtrain", "d.zarr", *OPTIONS, "--epochs", 1, "--overwrite", "-o", "replaced", cwd=digits)
    assert other.returncode == 0, other.stderr
    assert len(contents(digits / "replaced")["log"]) == 1
