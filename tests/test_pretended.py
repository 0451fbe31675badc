"""The commands on a GPU that is pretended: they run to their end, and their results are the processor's."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts

from .tools import made

Run = Callable[..., subprocess.CompletedProcess[str]]
Both = Callable[..., tuple[Path, Path]]
RULES = """
import numpy as np, pytest, torch

x = torch.arange(6.0, device="cuda").view(2, 3)
assert (x.device.type, x[1].tolist(), float(x.sum())) == ("cuda", [3.0, 4.0, 5.0], 15.0)
assert torch.equal(x.cpu(), torch.arange(6.0).view(2, 3))
x[0, 0] = 7.0
x.T.mul_(2.0)
assert x.cpu().tolist() == [[14.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
for wrong in (
    lambda: x + torch.ones(3),
    lambda: x @ torch.ones(3, 1),
    lambda: torch.zeros_like(x).normal_(generator=torch.Generator()),
):
    with pytest.raises(RuntimeError, match="cuda"):
        wrong()
for wrong in (x.numpy, lambda: np.asarray(x)):
    with pytest.raises(TypeError, match="Tensor.cpu"):
        wrong()
with torch.autocast("cuda", torch.bfloat16):
    assert (x @ x.T).dtype == torch.bfloat16
weight = torch.nn.Parameter(torch.ones(3, device="cuda"))
(x @ weight).sum().backward()
assert weight.grad.device.type == "cuda"
assert weight.grad.tolist() == [20.0, 10.0, 14.0]
"""
DRAWS = """
import numpy as np, torch
from datarobust.attacks import start_noise
from datarobust.devices import row_keys
from datarobust.randomness import Domain
from datarobust.training.images import augment

cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), np.uint8))
for seed, step, first in ((0, 0, 0), (2**64 - 1, 12345, 7)):
    place = (3, 3, 5, 7), seed, Domain.TRAIN, step, first
    assert torch.equal(start_noise("uniform", *place, gpu).cpu(), start_noise("uniform", *place, cpu))
    ours, expected = start_noise("normal", *place, gpu).cpu(), start_noise("normal", *place, cpu)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)
    assert (ours != expected).double().mean() < 1e-2
    for kind in ("crop-flip", "crop", "cifar100", "none"):
        drawn = augment(images.cuda(), kind, seed, step, first).cpu()
        assert torch.equal(drawn, augment(images, kind, seed, step, first)), kind
    for start, stop in ((0, 1), (3, 9), (4, 12)):
        keys = (row_keys(seed, 5, start, stop, device).cpu() for device in (gpu, cpu))
        assert torch.equal(*keys)
"""
INCEPTION = """
import torch
from datarobust.networks.inception import Inception

images, features = torch.arange(3 * 64, dtype=torch.uint8).view(1, 3, 8, 8), []
for device in (torch.device("cpu"), torch.device("cuda", 0)):
    torch.manual_seed(0)
    network = Inception().prepared(device)
    with torch.no_grad():
        features.append(network(images.to(device)).cpu())
assert features[0].shape == (1, 2048)
torch.testing.assert_close(*features)
"""
MODELS = """
import torch
from torch import nn

def ten(classes=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes))

def three():
    return ten(3)
"""
#: sens-rank with a PyTorch that has CUDA, in its words, but without a C compiler for Triton.
UNCOMPILED = """
import os, sys, torch
from datarobust.tools import sens_rank

torch.version.cuda, torch.cuda.get_device_capability = "13.0", lambda device: (9, 0)
torch.cuda._exchange_device = torch.cuda._maybe_exchange_device = lambda device: -1
os.environ.pop("CC", None)
os.environ |= {"PATH": "", "TRITON_LIBCUDA_PATH": sys.argv.pop(1), "TRITON_CACHE_DIR": sys.argv.pop(1)}
sens_rank.main()
"""
#: advtrain, asked to stop after two steps.
STOPPED = """
import os, signal
from datarobust.tools import advtrain
from datarobust.training.adversarial import Training

train_step = Training.train_step

def last_step(self, number, drawn):
    train_step(self, number, drawn)
    if number == 1:
        os.kill(os.getpid(), signal.SIGTERM)

Training.train_step = last_step
advtrain.main()
"""


@pytest.fixture(scope="module")
def place(command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits: 60 to train on, 20 to test on, 20 that a network is right on, 70 that stand for generated
    ones; and with 12 images and a denoiser of such.
    """
    folder = tmp_path_factory.mktemp("pretended")

    def run(*words: object) -> None:
        done = command(*map(str, words), cwd=folder)
        assert done.returncode == 0, done.stderr

    run("dataset", "import", "digits", "-o", "all.zarr")
    run("dataset", "subset", "all.zarr", "--select", "first:60", "-o", "d.zarr")
    run("dataset", "subset", "all.zarr", "--select", "random:20:1", "-o", "t.zarr")
    run("dataset", "subset", "all.zarr", "--select", "random:70:2", "-o", "g.zarr")
    run("sens-rank", "d.zarr", "--norm", "linf", "-o", "r.zarr")
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    (folder / "stopped.py").write_text(STOPPED, encoding="utf-8")
    run("dataset", "relabel", "t.zarr", "--model", "models.py:ten", "-o", "a.zarr")
    made.dataset(folder / "i.zarr")
    made.denoiser(folder / "m.safetensors")
    return folder


@pytest.fixture(scope="module")
def both(command: Run, on_gpu: Run, place: Path) -> Both:
    """Run a command on the processor and on the pretended GPU; the two outputs."""

    def run(*words: object, output: str) -> tuple[Path, Path]:
        cpu = command(*words, "--device", "cpu", "-o", f"cpu-{output}", cwd=place)
        assert cpu.returncode == 0, cpu.stderr
        gpu = on_gpu(*words, "--device", "cuda", "-o", f"gpu-{output}", cwd=place)
        assert gpu.returncode == 0, gpu.stderr
        return place / f"cpu-{output}", place / f"gpu-{output}"

    return run


def columns(path: Path) -> dict[str, Any]:
    """All arrays of a store."""
    store = artifacts.open_store(path)
    return {name: store.column(name).read() for name in store.names()}


def weights(run: Path) -> Any:
    """All weights that a training ends with, as one vector."""
    arrays = artifacts.load_tensors(run / "last.safetensors")
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def losses(run: Path) -> list[float]:
    """The loss of each epoch."""
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_device_has_the_rules_of_a_gpu(on_gpu: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(RULES, encoding="utf-8")
    done = on_gpu(tmp_path / "rules.py")
    assert done.returncode == 0, done.stderr


def test_what_is_drawn_on_the_device_has_the_bits_of_the_processor(on_gpu: Run, tmp_path: Path) -> None:
    (tmp_path / "draws.py").write_text(DRAWS, encoding="utf-8")
    done = on_gpu(tmp_path / "draws.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_sens_rank(both: Both, norm: str) -> None:
    cpu, gpu = map(columns, both("sens-rank", "d.zarr", "--norm", norm, "-k", 2, output=f"{norm}.zarr"))
    assert cpu.keys() == gpu.keys()
    for name in cpu:
        np.testing.assert_array_equal(cpu[name], gpu[name])


def test_without_a_compiler_for_triton_pytorch_searches_and_it_is_told(
    on_gpu: Run, place: Path, tmp_path: Path
) -> None:
    pytest.importorskip("triton")
    (tmp_path / "uncompiled.py").write_text(UNCOMPILED, encoding="utf-8")
    (tmp_path / "libcuda.so.1").touch()
    words = [tmp_path / "uncompiled.py", tmp_path, tmp_path / "cache", place / "d.zarr", "--norm", "linf"]
    planned = on_gpu(*words, "--device", "cuda", "--dry-run")
    assert json.loads(planned.stdout)["engine"] == "generic", planned.stderr
    done = on_gpu(*words, "--device", "cuda", "-o", tmp_path / "r.zarr")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Triton does not run here, so PyTorch's own kernels serve: Failed to find C compiler") == 1
    for name, column in columns(place / "r.zarr").items():
        np.testing.assert_array_equal(columns(tmp_path / "r.zarr")[name], column)


INJECTED: list[object] = ["--focus", "r.zarr:least:15", "--focus-batch", 4]
FIXED: list[object] = ["--focus", "r.zarr:least:15", "--focus-mode", "fixed", "--generated", "g.zarr"]
TRAINED: dict[str, tuple[list[object], float]] = {
    "injected": ([*INJECTED, "--track", "first:10", "--test", "t.zarr", "--epochs", 1], 1e-5),
    "fixed": ([*FIXED, "--norm", "l2", "--augment", "cifar100", "--track", "none", "--epochs", 1], 1e-5),
    "bf16": (["--precision", "bf16", "--augment", "crop-flip", "--track", "none", "--epochs", 1], 1e-2),
}
TINY: list[object] = ["--arch", "wrn-10-1", "--batch", 16, "--steps", 2, "--hold-out", "first:10", "--threads", 1]


@pytest.mark.parametrize(("more", "tolerance"), TRAINED.values(), ids=TRAINED)
def test_advtrain(both: Both, more: list[object], tolerance: float, request: pytest.FixtureRequest) -> None:
    cpu, gpu = both("advtrain", "d.zarr", *TINY, *more, output=request.node.callspec.id)
    np.testing.assert_allclose(weights(gpu), weights(cpu), rtol=tolerance, atol=tolerance)
    assert losses(gpu) == pytest.approx(losses(cpu), rel=tolerance)


def test_advtrain_that_was_stopped_ends_with_the_same_bits(on_gpu: Run, place: Path) -> None:
    words = ["d.zarr", *TINY, *INJECTED, "--track", "none", "--epochs", 1, "--device", "cuda"]
    whole = on_gpu("advtrain", *words, "-o", "whole", cwd=place)
    assert whole.returncode == 0, whole.stderr
    stopped = on_gpu(place / "stopped.py", *words, "-o", "stopped", cwd=place)
    assert stopped.returncode == 143, stopped.stderr
    assert not (place / "stopped" / "last.safetensors").exists()
    resumed = on_gpu("advtrain", *words, "-o", "stopped", cwd=place)
    assert resumed.returncode == 0, resumed.stderr
    np.testing.assert_array_equal(weights(place / "stopped"), weights(place / "whole"))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
def test_edmtrain(both: Both, precision: str, tolerance: float) -> None:
    words = ["i.zarr", "--epochs", 2, "--batch", 6, "--width", 8, "--mult", "1,2", "--threads", 1, "--dropout", 0]
    cpu, gpu = both("edmtrain", *words, "--augment", 0.3, "--precision", precision, output=f"denoiser-{precision}")
    np.testing.assert_allclose(weights(gpu), weights(cpu), rtol=tolerance, atol=tolerance)
    assert losses(gpu) == pytest.approx(losses(cpu), rel=tolerance)


@pytest.mark.parametrize(("precision", "levels"), [("fp32", 0), ("bf16", 1)])
def test_clone(both: Both, precision: str, levels: int) -> None:
    words = ["i.zarr", "--model", "m.safetensors", "--num-steps", 3, "--S-churn", 2, "--batch", 8]
    cpu, gpu = map(columns, both("clone", *words, "--precision", precision, output=f"{precision}.zarr"))
    assert np.abs(cpu["images"].astype(int) - gpu["images"]).max() <= levels


def test_clone_search(both: Both) -> None:
    grid = ["--grid", "sigma_min=0.004", "--grid", "S_min=0.5", "--grid", "S_noise=1", "--grid", "S_churn=0.5"]
    grid += ["--grid", "rho=1.5,2", "--grid", "sigma_max=1.3"]
    words = ["i.zarr", "--model", "m.safetensors", "--num-steps", 2, "--seeds", 1, "--batch", 12, *grid]
    outputs = both("clone-search", *words, "--features", "classifier:models.py:three", output="s.jsonl")
    cpu, gpu = ([json.loads(line)["score"] for line in path.read_text().splitlines()[1:]] for path in outputs)
    assert len(cpu) == 2
    assert gpu == pytest.approx(cpu, rel=1e-5)


@pytest.mark.parametrize("features", ["pixels", "classifier:models.py:ten"])
def test_fid(both: Both, features: str) -> None:
    words = ["d.zarr", "g.zarr", "--features", features, "--kid", 3]
    outputs = both("fid", *words, output=f"{features.partition(':')[0]}.json")
    cpu, gpu = (json.loads(path.read_text()) for path in outputs)
    assert cpu["frechet"] > 0
    assert gpu["frechet"] == pytest.approx(cpu["frechet"], rel=1e-5)
    assert gpu["kid"] == pytest.approx(cpu["kid"], rel=1e-4)


def test_inception(on_gpu: Run, tmp_path: Path) -> None:
    (tmp_path / "inception.py").write_text(INCEPTION, encoding="utf-8")
    done = on_gpu(tmp_path / "inception.py")
    assert done.returncode == 0, done.stderr


def test_features_and_their_ranking(both: Both) -> None:
    cpu, gpu = both("dataset", "features", "d.zarr", "--model", "models.py:ten", output="f.zarr")
    np.testing.assert_allclose(columns(gpu)["features"], columns(cpu)["features"], rtol=1e-5, atol=1e-6)
    first, second = map(columns, both("sens-rank", "cpu-f.zarr", "--norm", "l2", output="ranked.zarr"))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


SHORT: list[object] = ["--iterations", 5, "--targets", 2, "--queries", 20, "--batch", 10, "--threads", 1]
ALL = "apgd-ce,apgd-dlr,apgd-t,fab,fab-t,square"
ATTACKED: dict[str, list[object]] = {
    "linf": ["--norm", "linf", "--eps", 0.02, "--attacks", ALL],
    "l2": ["--norm", "l2", "--eps", 0.1, "--attacks", "apgd-t,fab-t,square"],
    "l1": ["--norm", "l1", "--eps", 0.5, "--attacks", "apgd-ce,square"],
    "no-faster": ["--norm", "linf", "--eps", 0.02, "--attacks", "apgd-ce,fab-t", "--no-faster", "--physical-batch", 6],
}


@pytest.mark.parametrize("more", ATTACKED.values(), ids=ATTACKED)
def test_aaeval(both: Both, more: list[object], request: pytest.FixtureRequest) -> None:
    output = f"evaluation-{request.node.callspec.id}.zarr"
    outputs = both("aaeval", "a.zarr", "models.py:ten", *SHORT, *more, output=output)
    cpu, gpu = map(columns, outputs)
    faster = [artifacts.open_store(path).attributes["faster"] for path in outputs]
    assert faster == [False, "--no-faster" not in more]
    assert (cpu["broken"] >= 0).any()
    for name in ("clean", "attacked", "broken"):
        np.testing.assert_array_equal(cpu[name], gpu[name])


# ------------------------------------------------------------------------------------------ what a GPU waits for


Waits = dict[tuple[str, str], int]
STEP: Waits = {}
CLONES: Waits = {
    ("read", "diffusion.cloning._cloned"): 2,  # whether all is finite, the clones
}
APGD: Waits = {
    ("read", "evaluation.attacks._stopping_early.Stopping.attack_single_run.watched"): 11,  # whether all are fooled
    ("size", "pyautoattack"): 29,  # which images are fooled, which improve, which oscillate
    ("copy", "pyautoattack"): 13,  # zeros, steps and a start at first; then what counts oscillations
    ("read", "pyautoattack"): 59,  # whether any oscillates; where an index has one entry, five times its value
}
TRAINING: list[object] = ["advtrain", "d.zarr", *TINY, *INJECTED, "--track", "none", "--generated", "g.zarr"]
TRAINING += ["--augment", "crop-flip", "--epochs", 1]
CLONING: list[object] = ["clone", "i.zarr", "--model", "m.safetensors", "--num-steps", 3, "--S-churn", 2, "--batch", 6]
DENOISING: list[object] = ["edmtrain", "i.zarr", "--epochs", 2, "--batch", 6, "--width", 8, "--mult", "1,2"]
DENOISING += ["--augment", 0.3]
ATTACKING: list[object] = ["aaeval", "a.zarr", "models.py:ten", "--attacks", "apgd-ce", "--iterations", 10]
ATTACKING += ["--eps", 0.02, "--threads", 1]
LOOPS: dict[str, tuple[list[object], str, int, Waits]] = {
    "a training step": (TRAINING, "training.adversarial.Training.train_step", 4, STEP),
    "a step in l2": ([*TRAINING, "--norm", "l2"], "training.adversarial.Training.train_step", 4, STEP),
    "a denoiser's step": (DENOISING, "diffusion.training.Training.train_step", 4, STEP),
    "a batch of clones": (CLONING, "diffusion.cloning._cloned", 2, CLONES),
    "ten steps of APGD": (ATTACKING, "pyautoattack.autopgd_base.APGDAttack.attack_single_run", 1, APGD),
}


@pytest.mark.parametrize(("words", "within", "times", "most"), LOOPS.values(), ids=LOOPS)
def test_waits_do_not_become_more(
    on_gpu: Run, place: Path, tmp_path: Path, words: list[object], within: str, times: int, most: Waits
) -> None:
    """What a function that runs so many times has a GPU wait for, each time, is at most what it was."""
    path = tmp_path / "waits.json"
    done = on_gpu(*words, "--device", "cuda", "-o", tmp_path / "output", waits=path, cwd=place)
    assert done.returncode == 0, done.stderr
    counts: Counter[tuple[str, str]] = Counter()
    lines: dict[tuple[str, str], list[str]] = {}
    for line in json.loads(path.read_text()):
        names = [re.sub(r":\d+|\.<\w+>|^datarobust\.", "", name) for name in line["functions"]] or ["backward", within]
        if within in names:
            wait = line["kind"], re.sub(r"^pyautoattack.*", "pyautoattack", names[0])
            counts[wait] += line["count"]
            lines.setdefault(wait, []).extend(line["functions"][:1])
    assert not {wait: lines[wait] for wait in counts if counts[wait] > times * most.get(wait, 0)}
    assert most.keys() == counts.keys(), "what is gone is not to come back: take it out of the table"
