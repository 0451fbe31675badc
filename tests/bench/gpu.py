"""Measure what waits for a GPU: are results right there, how fast are they, and what share is that of the card's best.

    make bench-gpu [OUT=FOLDER] [DATA=FOLDER] [WHEELS=FOLDER] [BUDGET=460]
    PYTHONPATH=lib python tests/bench/gpu.py --device cpu --small     rehearses every stage, with small networks

Results first: CUDA beside the processor, bit for bit where that is promised. Then speed, beside the products and the
copy that the card itself manages here: the ceilings. Each stage has a price in seconds; one that no longer fits into
the budget is skipped, and the table says so. OUT gets gpu.json and gpu.md after every stage. The exit code is 1 where
a result is wrong or a stage fails.

It takes this repository, PyTorch, NumPy, SciPy and threadpoolctl, and for the stages of aaeval pyautoattack; a stage
whose package is absent is left out by name. DATA may have cifar10_test.npz, with the arrays x and y; without it images
are of a seed. Weights are random: time does not depend on them. Times are medians, with the device waited for; the
spread is that of the least and the largest.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from diffusion import randomise
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from datarobust.attacks import start_noise
from datarobust.diffusion import training as edm
from datarobust.diffusion.cloning import Task, clones, image_keys, normals
from datarobust.diffusion.denoiser import Denoiser, Edm, flops, one_hot, prepare
from datarobust.diffusion.sampler import Sampler, start
from datarobust.distributed import Group
from datarobust.errors import DatarobustError
from datarobust.evaluation import ATTACKS, plan
from datarobust.evaluation.attacks import library
from datarobust.evaluation.driver import Options, evaluate
from datarobust.fid import Moments, Sums, kid
from datarobust.networks import Precision, build, casting, forward_operations, products
from datarobust.networks.classifier import BatchNorm2d, kernels_for
from datarobust.networks.inception import Inception
from datarobust.networks.song_unet import CIFAR, DDPMPP, Norm, SongUNet
from datarobust.norms import ball_of, norm_of
from datarobust.randomness import Domain
from datarobust.trades import trades_step
from datarobust.training.adversarial import Training
from datarobust.training.batches import Batches
from datarobust.training.images import Points, augment
from datarobust.training.loop import Listener, Loop, Weights
from datarobust.training.recipe import Recipe, count

BUDGET = 460
BOUNDS: dict[Precision, float] = {"fp32": 2e-5, "tf32": 5e-3, "bf16": 4e-2}
"""By how much outputs of a network may differ from those of the processor in fp32, relative, in l2."""
GRADIENT_BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}
CPU = torch.device("cpu")
SHAPE = (3, 32, 32)
KERNELS = 10


class Absent(Exception):
    """A stage cannot run here, for want of a package."""


class Seconds(NamedTuple):
    """A time."""

    median: float
    spread: float  # between the least and the largest, as a share of the median


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    stage: str
    what: str
    value: float | str
    unit: str = ""
    good: bool | None = None  # None: a measurement, not a check
    note: str = ""

    def cells(self) -> str:
        value = self.value if isinstance(self.value, str) else f"{self.value:.4g}"
        good = {None: "", True: "yes", False: "**no**"}[self.good]
        return " | ".join([self.stage, self.what, value, self.unit, good, self.note])


@dataclass
class Bench:
    """The device, what has been measured, and what is left of the budget."""

    device: torch.device
    small: bool
    budget: float
    data: Path | None = None
    stage: str = ""
    rows: list[Row] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)  # operations or bytes a second
    began: float = field(default_factory=time.monotonic)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        return self.budget - (time.monotonic() - self.began)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        return ("fp32", "tf32", "bf16") if self.cuda else ("fp32", "bf16")

    @property
    def arch(self) -> dict[str, Any]:
        normalised = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2471, 0.2435, 0.2616]}
        return {"name": "wrn-10-1" if self.small else "wrn-28-10", "arguments": normalised}

    def add(self, what: str, value: float | str, unit: str = "", good: bool | None = None, note: str = "") -> None:
        row = Row(self.stage, what, value, unit, good, note)
        self.rows.append(row)
        print(row.cells(), flush=True)

    def equal(self, what: str, good: bool, note: str = "") -> None:
        """Check what is promised bit for bit."""
        self.add(what, "equal" if good else "differ", "", good, note)

    def close(self, what: str, ours: Tensor, expected: Tensor, bound: float) -> None:
        """Check a relative difference in l2; NaN is no good."""
        ours, expected = ours.detach().cpu().double(), expected.detach().cpu().double()
        apart = float((ours - expected).norm() / expected.norm())
        self.add(what, apart, "relative", apart <= bound, f"at most {bound:g}")

    def speed(
        self, what: str, images: float, time: Seconds, operations: float = 0, ceiling: str = "", note: str = ""
    ) -> None:
        """Images a second, and the share of a ceiling that their operations are."""
        notes = [note] if note else []
        if operations:
            notes.append(f"{images * operations / time.median / self.ceilings[ceiling]:.0%} of {ceiling}")
        if self.cuda:
            notes.append(f"{torch.cuda.max_memory_allocated(self.device) / 1e9:.1f} GB")
        notes.append(f"spread {time.spread:.0%}")
        self.add(what, images / time.median, "images/s", note=", ".join(notes))

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def timed(self, work: Callable[[], object], repeats: int = 3, warm: int = 1) -> Seconds:
        """Seconds that a piece of work takes, its peak memory counted anew; in a rehearsal it is done once."""
        repeats, warm = (1, 0) if self.small else (repeats, warm)
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        for _ in range(warm):
            work()
        self.wait()
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - began)
        median = statistics.median(times)
        return Seconds(median, (max(times) - min(times)) / median)

    def kernels(self, work: Callable[[], object]) -> None:
        """The ten kernels on which a piece of work spends most."""
        with profile(activities=[ProfilerActivity.CUDA if self.cuda else ProfilerActivity.CPU]) as profiler:
            work()
            self.wait()
        name = "self_device_time_total" if self.cuda else "self_cpu_time_total"
        events = {event.key: (getattr(event, name), event.count) for event in profiler.key_averages()}
        total = sum(spent for spent, _ in events.values())
        for kernel, (spent, calls) in sorted(events.items(), key=lambda event: -event[1][0])[:KERNELS]:
            self.add(f"`{kernel[:60]}`", spent / 1e3, "ms", note=f"{spent / total:.0%}, {calls} calls")

    def images(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """So many images uint8 and labels: of CIFAR-10's test set where it is given, else of a seed."""
        path = None if self.data is None else self.data / "cifar10_test.npz"
        if path is not None and path.is_file():
            with np.load(path, allow_pickle=False) as archive:
                return archive["x"][:number].reshape(-1, *SHAPE), archive["y"][:number].astype(np.int64)
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (number, *SHAPE), dtype=np.uint8), rng.integers(0, 10, number)

    def denoiser(self) -> Denoiser:
        """The CIFAR-10 denoiser of Karras et al. with random weights."""
        size = CIFAR | ({"model_channels": 16, "num_blocks": 1} if self.small else {})
        denoiser = Denoiser(SongUNet(**size, label_dim=10, **DDPMPP), Edm()).eval().requires_grad_(False)
        randomise(denoiser)
        return denoiser

    def network(self, device: torch.device) -> nn.Module:
        return build(self.arch).to(device, memory_format=torch.channels_last).eval()

    def save(self, out: Path, machine: Mapping[str, Any]) -> None:
        result = {
            "machine": machine,
            "ceilings": self.ceilings,
            "stages": self.stages,
            "rows": [asdict(row) for row in self.rows],
        }
        (out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        lines = [", ".join(f"{name} {value}" for name, value in machine.items()), ""]
        lines += ["| stage | what | value | unit | right | |", "| --- | --- | --- | --- | --- | --- |"]
        lines += [f"| {row.cells()} |" for row in self.rows]
        lines += [
            f"| {stage['name']} | {stage['state']} | | | | {stage['why']} |" for stage in self.stages if stage["why"]
        ]
        (out / "gpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


# --------------------------------------------------------------------------------------------------------- ceilings


def ceilings(bench: Bench) -> None:
    """What the card itself manages here: products of large matrices, and a copy."""
    size, calls = (256, 1) if bench.small else (8192, 10)

    def often(work: Callable[[], object]) -> float:
        def repeated() -> None:
            for _ in range(calls):
                work()

        return bench.timed(repeated, 5, 2).median / calls

    kinds: tuple[tuple[str, torch.dtype, str], ...] = (
        ("bf16", torch.bfloat16, "highest"), ("tf32", torch.float32, "high"), ("fp32", torch.float32, "highest"),
    )  # fmt: skip
    for name, dtype, matmul in kinds:
        torch.set_float32_matmul_precision(matmul)
        a, b = (torch.randn(size, size, device=bench.device).to(dtype) for _ in range(2))
        bench.ceilings[name] = 2 * size**3 / often(lambda a=a, b=b: a @ b)
    torch.set_float32_matmul_precision("highest")
    left, right = (torch.randint(-128, 128, (size, size), device=bench.device).to(torch.int8) for _ in range(2))
    bench.ceilings["int8"] = 2 * size**3 / often(lambda: torch._int_mm(left, right.T))
    for name, rate in bench.ceilings.items():
        bench.add(f"product of {size} x {size}, {name}", rate / 1e12, "10^12/s")
    source = torch.randn(1 << (18 if bench.small else 29), device=bench.device)
    target = torch.empty_like(source)
    bench.ceilings["copy"] = 8 * source.numel() / often(lambda: target.copy_(source))
    bench.add("copy, bytes read and written", bench.ceilings["copy"] / 1e12, "TB/s")


# ------------------------------------------------------------------------------------------------------------ right


def bits(bench: Bench) -> None:
    """What is drawn and moved: bits of the processor."""
    images, labels = bench.images(64)
    points = Points.of(images, labels)
    there = points.to(bench.device)
    for kind in ("crop-flip", "crop", "none"):
        augmented = augment(there.images, kind, 1, 2)
        bench.equal(f"augmentation {kind}", torch.equal(augmented.cpu(), augment(points.images, kind, 1, 2)))
    turned, expected = (augment(part.images, "cifar100", 1, 2) for part in (there, points))
    apart = float((turned.cpu() != expected).double().mean())
    bench.add("pixels turned otherwise, augmentation cifar100", apart, "share", apart <= 1e-3, "at most 0.001")
    uniform, normal = (
        [start_noise(kind, (64, *SHAPE), 0, Domain.TRAIN, 3, 0, device).cpu() for device in (bench.device, CPU)]
        for kind in ("uniform", "normal")
    )
    bench.equal("uniform noise", torch.equal(*uniform))
    apart = float((normal[0] != normal[1]).double().mean())
    good = apart <= 1e-4 and torch.allclose(*normal, rtol=1e-6, atol=1e-9)
    bench.add("normal noise that differs, in the last bit", apart, "share", good, "at most 0.0001: logarithms differ")
    recipe = Recipe(arch="wrn-10-1", batch=32, epochs=2)
    counts = count(recipe, 64, 0, False, 0)
    batch, other = (
        Batches(recipe, counts, part, np.arange(64), None, np.empty(0, np.int64)).at(1, 1, None)
        for part in (there, points)
    )
    bench.equal("a batch", torch.equal(batch.x.cpu(), other.x) and torch.equal(batch.y.cpu(), other.y))


def sensitivity(bench: Bench) -> None:
    """Rankings: bits of the processor's, in each norm, with neighbours, ties and duplicates."""
    from datarobust import sensitivity

    size = 1100 if bench.small else 2100  # more than a block, and no multiple of one
    images, labels = bench.images(size)
    rows = images.reshape(size, -1)[:, : 192 if bench.small else None].copy()
    rows[-20:] = rows[:20]  # equal points; of other labels half of them
    labels[-20:] = (labels[:20] + np.arange(20) % 2) % 10
    points = sensitivity.Labelled.of(rows, labels)
    features = sensitivity.Labelled.of(rows[:, :64].astype(np.float32) / 7.0, labels)
    some = points.subset(np.arange(100))
    one = sensitivity.Labelled.of(rows[:100], np.zeros(100, np.int64))
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        (f"{norm}, k = {k}, {kind}", points, {"norm": norm, "k": k, "duplicates": kind})
        for norm, k, kind in (("l2", 1, "inf"), ("l2", 3, "drop"), ("linf", 1, "drop"), ("linf", 3, "inf"))
    ]
    cases += [("l1, k = 1", some, {"norm": "l1"}), ("l1, k = 3", some, {"norm": "l1", "k": 3})]
    cases += [(f"{norm}, against others", some, {"norm": norm, "against": points}) for norm in ("l2", "linf")]
    cases += [
        (f"{norm}, k = 8, the same label", points, {"norm": norm, "k": 8, "same": True}) for norm in ("l2", "linf")
    ]
    cases += [(f"{norm}, float32", features, {"norm": norm, "k": 3}) for norm in ("l2", "linf")]
    cases += [("l2, one class", one, {"norm": "l2"})]
    for what, subject, arguments in cases:
        ours = sensitivity.rank(subject, options=sensitivity.Options(device=str(bench.device)), **arguments)
        expected = sensitivity.rank(subject, **arguments)
        same = np.array_equal(ours.distance, expected.distance, equal_nan=True)
        good = same and np.array_equal(ours.neighbour, expected.neighbour)
        bench.equal(f"ranking, {what}", good, searcher(bench, subject, **arguments))


def searcher(bench: Bench, points: Any, norm: str, k: int = 1, **rest: Any) -> str:
    """What searches on the device: kernels of Triton, or the generic engine."""
    from datarobust.sensitivity import kernels_of

    return "generic" if kernels_of(points, points, norm_of(norm), k, str(bench.device)) is None else "triton"


def networks(bench: Bench) -> None:
    """Outputs beside those of the processor in fp32, in each precision."""
    images = torch.from_numpy(bench.images(4)[0])
    x = images.float() / 255
    network = bench.network(CPU)
    with torch.no_grad():
        expected = network(x)
        there = copy.deepcopy(network).to(bench.device)
        for precision in bench.precisions:
            with products(precision), casting(precision, bench.device.type):
                logits = there(x.to(bench.device))
            bench.close(f"{bench.arch['name']}, {precision}", logits, expected, BOUNDS[precision])
        denoiser, sigma, labels = bench.denoiser(), torch.tensor(1.0), one_hot(torch.arange(4), 10)
        assert labels is not None
        expected = denoiser(x * 2 - 1, sigma, labels)
        for precision in bench.precisions:
            ready = prepare(copy.deepcopy(denoiser), precision, bench.device.type)
            with products(precision):
                denoised = ready(*(part.to(bench.device) for part in (x * 2 - 1, sigma, labels)))
            bench.close(f"DDPM++, {precision}", denoised, expected, BOUNDS[precision])


def fused(bench: Bench) -> None:
    """Kernels of Triton beside PyTorch's, right and fast: norms with SiLU of the sizes that most time goes to."""
    batch, cases = (2, ((32, 8),)) if bench.small else (512, ((160, 32), (320, 16), (640, 8)))
    for channels, side in cases:
        batch_norm, group_norm = BatchNorm2d(channels).to(bench.device), Norm(channels).to(bench.device)
        ways: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
            "batch norm": (batch_norm.activated, lambda x, norm=batch_norm: F.silu(norm(x))),
            "group norm": (group_norm.activated, lambda x, norm=group_norm: F.silu(eager_group_norm(norm, x))),
        }
        for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
            x = torch.randn(batch, channels, side, side, device=bench.device, dtype=dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            weight, size = torch.randn_like(x), f"{batch} x {channels} x {side} x {side}, {str(dtype).split('.')[1]}"
            if kernels_for(x, batch_norm) is None:
                bench.add(size, "no kernels here", note="PyTorch's are used")
                continue
            for name, works in ways.items():
                both = [_both_ways(work, x, weight) for work in works]
                for what, mine, theirs in zip((name, f"gradient of a {name}"), *(work() for work in both), strict=True):
                    bench.close(f"{what} with SiLU, {size}", mine, theirs, bound)
                for who, work in zip(("Triton", "PyTorch"), both, strict=True):
                    if dtype == torch.bfloat16:
                        took = bench.timed(work, 5)
                        bench.add(f"{name} with SiLU and back, {size}, {who}", took.median * 1e3, "ms")


def eager_group_norm(group: Norm, x: Tensor) -> Tensor:
    """A group norm of PyTorch's."""
    return F.group_norm(x, group.num_groups, group.weight.to(x.dtype), group.bias.to(x.dtype), group.eps)


def _both_ways(work: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """The result and the gradient of its weighted sum."""

    def run() -> tuple[Tensor, Tensor]:
        images = x.detach().requires_grad_()
        result = work(images)
        return result, torch.autograd.grad(result, images, weight)[0]

    return run


def gradients(bench: Bench) -> None:
    """A step of TRADES whose adversaries are given: attacks follow signs, which rounding turns."""
    number = 8 if bench.small else 16
    images, labels = bench.images(number)
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    adversaries = (x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)

    def step(device: torch.device, precision: Precision) -> Tensor:
        model = build(bench.arch).to(device, memory_format=torch.channels_last)
        trades_step(
            model, x.to(device), y.to(device), torch.zeros(x.shape, device=device), norm="linf", eps=8 / 255,
            step=2 / 255, steps=1, beta=5.0, label_smoothing=0.1, precision=precision,
            adversaries=adversaries.to(device), fixed=torch.ones(number, dtype=torch.bool, device=device),
        )  # fmt: skip
        return torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])

    expected = step(CPU, "fp32")
    for precision in bench.precisions:
        bench.close(f"gradients, {precision}", step(bench.device, precision), expected, GRADIENT_BOUNDS[precision])


class Quiet(Listener):
    """Lets a training go on to its end."""


class Stop(Listener):
    """Stops a training after so many steps."""

    def __init__(self, after: int) -> None:
        self._left = after

    def stops(self) -> bool:
        self._left -= 1
        return self._left == 0


class InMemory:
    """A checkpoint."""

    def __init__(self) -> None:
        self.state: dict[str, np.ndarray] | None = None

    def load(self) -> dict[str, np.ndarray] | None:
        return self.state

    def save(self, state: dict[str, np.ndarray], best: Weights | None, last: Weights | None) -> None:
        self.state = state

    def log(self, line: dict[str, Any]) -> None:
        """Nobody reads it."""

    def rewind(self, epochs: int) -> None:
        """There is no log."""


def resume(bench: Bench) -> None:
    """A training that was stopped and goes on ends with the bits of one that was not."""
    size = 8 if bench.small else 128
    points = Points.of(*bench.images(size)).to(bench.device)

    def adversarial(precision: Precision) -> Training:
        recipe = Recipe(bench.arch["name"], batch=size // 2, epochs=2, precision=precision, steps=2)
        return adversarial_training(bench, recipe, points)

    def denoising(precision: Precision) -> edm.Training:
        denoiser = bench.denoiser().requires_grad_(True)
        return edm.Training(edm.Recipe(2, size // 2, precision=precision), points, denoiser, bench.device, Group(0, 1))

    def same(training: Callable[[], Loop]) -> bool:
        whole, parts = InMemory(), InMemory()
        training().run(whole, Quiet(), math.inf)
        if training().run(parts, Stop(1), math.inf):
            raise AssertionError("the training was not stopped")
        training().run(parts, Quiet(), math.inf)
        assert whole.state is not None
        assert parts.state is not None
        return all(np.array_equal(array, parts.state[name]) for name, array in whole.state.items())

    for precision in bench.precisions:
        bench.equal(f"advtrain stopped and resumed, {precision}", same(lambda p=precision: adversarial(p)))
    for precision in bench.precisions[::2]:
        bench.equal(f"edmtrain stopped and resumed, {precision}", same(lambda p=precision: denoising(p)))


def adversarial_training(bench: Bench, recipe: Recipe, points: Points) -> Training:
    """A training on all the points, without a focus."""
    counts = count(recipe, len(points), 0, False, 0)
    batches = Batches(recipe, counts, points, np.arange(len(points)), None, np.empty(0, np.int64))
    model = build(bench.arch, recipe.seed, counts.group)
    return Training(recipe, counts, batches, model, bench.device, Group(0, 1))


def demand_attacks() -> None:
    try:
        library()
    except DatarobustError as error:
        raise Absent(str(error)) from error


def verdicts(bench: Bench) -> None:
    """Verdicts of all attacks, shortened, beside the processor's; rounding may change a few."""
    demand_attacks()
    number = 3 if bench.small else 100
    images, _ = bench.images(number)
    network = build({"name": "wrn-10-1" if bench.small else "wrn-16-2"}).eval()
    with torch.no_grad():
        labels = network(torch.from_numpy(images).float() / 255).argmax(1).numpy()
    lengths = (
        {"iterations": 2, "targets": 1, "queries": 2} if bench.small else {"iterations": 5, "targets": 3, "queries": 50}
    )
    for norm, eps in (("linf", 3 / 255), ("l2", 0.35), ("l1", 4.0)):
        protocol = plan("custom", norm, eps, 10, attacks=ATTACKS, **lengths)  # type: ignore[arg-type]
        expected = evaluate(network, images, labels, protocol, Options(CPU))
        there = copy.deepcopy(network).to(bench.device)
        for name, options in (("as it is", {}), ("--faster", {"faster": True}), ("16 at a time", {"limit": 16})):
            ours = evaluate(there, images, labels, protocol, Options(bench.device, **options))
            apart = float(np.mean(ours.broken != expected.broken))
            note = f"at most 0.03; {np.mean(expected.broken >= 0):.0%} of the images are fooled"
            bench.add(f"verdicts that differ, {norm}, {name}", apart, "share", apart <= 0.03, note)


def cloned(bench: Bench) -> None:
    """Clones beside the processor's: bytes differ by rounding alone."""
    number = 4 if bench.small else 8
    images, labels = bench.images(number)
    begin, sampler = start("paper", Sampler(num_steps=2 if bench.small else 4))
    task = Task(images.__getitem__, np.arange(number), labels, 1, begin, sampler, 0)
    denoiser = bench.denoiser()

    def made(device: torch.device, precision: Precision, batch: int) -> np.ndarray:
        ready = prepare(copy.deepcopy(denoiser), precision, device.type)
        return np.concatenate([part for _, part in clones(ready, task, batch)]).astype(np.int16)

    expected = made(CPU, "fp32", number)
    for what, ours in (
        ("", made(bench.device, "fp32", number)),
        (" in parts", made(bench.device, "fp32", number // 2)),
    ):
        levels = np.abs(ours - expected)
        good = int(levels.max()) <= 1 and float(np.mean(levels > 0)) <= 1e-3
        bench.add(
            f"bytes of clones{what} that differ", float(np.mean(levels > 0)), "share", good, "by 1, at most 0.001"
        )
    levels = np.abs(made(bench.device, "bf16", number) - expected)
    bench.add(
        "bytes of clones that differ, bf16", float(np.mean(levels > 0)), "share", note=f"by {levels.max()} at most"
    )


def frechet(bench: Bench) -> None:
    """Features of Inception and the distance of two sets, beside the processor's."""
    number = 4 if bench.small else 64
    images = torch.from_numpy(bench.images(number)[0])
    features = []
    for device in (CPU, bench.device):
        torch.manual_seed(0)
        network = Inception().prepared(device)
        with products("fp32", deterministic=True), torch.no_grad():
            features.append(network(images.to(device)).cpu())
    bench.close("features of Inception, fp32", features[1], features[0], BOUNDS["fp32"])
    expected, ours = (Moments.of(part[::2].numpy()).distance(Moments.of(part[1::2].numpy())) for part in features)
    bench.close("Fréchet distance", torch.tensor(ours), torch.tensor(expected), 1e-4)


# ------------------------------------------------------------------------------------------------------------ speed


def advtrain(bench: Bench) -> None:
    """Steps of the paper's training, with and without what the processor does for them; tracking."""
    batch, part = (8, 4) if bench.small else (2048, 512)
    points = Points.of(*bench.images(batch)).to(bench.device)
    points = points.at(np.arange(batch) % len(points))
    passes = 2 + 2 * Recipe.steps + 4
    operations = passes * forward_operations(build(bench.arch), SHAPE)
    for norm in ("linf", "l2"):
        training = adversarial_training(bench, Recipe(bench.arch["name"], norm, batch=batch), points)
        drawn, shape, kind = training.draw(1), (batch, *SHAPE), ball_of(norm).training_noise
        works: dict[str, Callable[[], object]] = {
            "drawn by the processor for": lambda t=training: t.draw(1),
            "images and crops of": lambda t=training, d=drawn: t.batches.at(0, 1, None, d),
            "noise of": lambda k=kind, s=shape: start_noise(k, s, 0, Domain.TRAIN, 1, 0, bench.device),
        }
        for what, work in works.items():
            took = bench.timed(work)
            bench.add(f"{what} {batch}, {norm}", took.median, "s", note=f"spread {took.spread:.0%}")
    for precision in bench.precisions[::-1]:
        images = part if precision == "fp32" else batch
        recipe = Recipe(bench.arch["name"], batch=images, bn_group=part, precision=precision)
        training = adversarial_training(bench, recipe, points)
        with products(precision, deterministic=True):
            took = bench.timed(lambda t=training: t.train_step(1, t.draw(1)), 1 if precision == "fp32" else 2)
            bench.speed(f"step of {images}, {precision}", images, took, operations, precision)
            if precision == "bf16":
                bench.kernels(lambda t=training: t.train_step(1, t.draw(1)))
                with mock.patch("datarobust.networks.classifier.kernels_for", return_value=None):
                    took = bench.timed(lambda t=training: t.train_step(1, t.draw(1)), 2)
                bench.speed(f"step of {images}, {precision}, PyTorch's norms", images, took, operations, precision)
        del training
    number = 2 if bench.small else 512
    tracked = points.at(np.arange(number))
    for precision in bench.precisions[::-1][:2]:
        training = adversarial_training(bench, Recipe(bench.arch["name"], batch=part, precision=precision), points)
        with products(precision, deterministic=True):
            took = bench.timed(lambda t=training: t.accuracy(tracked, Domain.TRACK), 1)
        bench.speed(f"PGD-40 of tracked images, {precision}", number, took)


def clone(bench: Bench) -> None:
    """Evaluations of the denoiser, and the noise that the processor draws for them."""
    batch = 4 if bench.small else 512
    evaluations = Sampler().evaluations
    keys = image_keys(0, np.zeros(batch, np.int64), np.arange(batch))
    noisy = 1 + sum(step.noise > 0 for step in Sampler().steps())
    drawn = bench.timed(lambda: normals(keys, 1, SHAPE)).median * noisy
    bench.add(f"noise of {batch} clones", drawn, "s", note="one thread, beside the GPU")
    for precision in bench.precisions[::-1]:
        denoiser = bench.denoiser()
        operations = flops(denoiser)
        evaluation = evaluator(bench, prepare(denoiser, precision, bench.device.type), batch)
        took = bench.timed(evaluation, 5)
        hours = 10_000 / batch * max(evaluations * took.median, drawn) / 3600
        note = f"10,000 clones of {evaluations} evaluations: {hours:.3g} h"
        bench.speed(f"denoised once, {precision}", batch, took, operations, precision, note)
        if precision == "bf16":
            bench.kernels(evaluation)
            with mock.patch("datarobust.networks.song_unet.kernels_for", return_value=None):
                took = bench.timed(evaluation, 5)
            bench.speed(f"denoised once, {precision}, PyTorch's norms", batch, took, operations, precision)


def evaluator(bench: Bench, denoiser: Denoiser, batch: int) -> Callable[[], Tensor]:
    """One evaluation of a denoiser."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((batch, *SHAPE))).to(bench.device)
    sigma = torch.ones((), dtype=torch.float64, device=bench.device)
    labels = one_hot(torch.arange(batch, device=bench.device) % 10, 10)

    def evaluation() -> Tensor:
        with torch.no_grad(), products(denoiser.precision):
            denoised: Tensor = denoiser(x, sigma, labels)
        return denoised

    return evaluation


def aaeval(bench: Bench, compiled: bool = False) -> None:
    """Passes a second in attacks that fool nobody, so that their number is known."""
    demand_attacks()
    number, iterations = (4, 1) if bench.small else (250, 8)
    images, _ = bench.images(number)
    network = bench.network(bench.device)
    with torch.no_grad():
        labels = network(torch.from_numpy(images).to(bench.device).float() / 255).argmax(1).cpu().numpy()
    names = ["apgd-ce", "square"]
    protocol = plan("custom", "linf", 1e-6, 10, attacks=names, iterations=iterations, queries=2 * iterations)
    passes = number * (1 + sum(attack.passes for attack in protocol.attacks))
    operations = forward_operations(build(bench.arch), SHAPE)
    standard = 10_000 * (1 + sum(attack.passes for attack in plan("standard", "linf", 8 / 255, 10).attacks))
    ways = (
        {"compiled": {"faster": True, "compiled": True}} if compiled else {"as it is": {}, "--faster": {"faster": True}}
    )
    for name, options in ways.items():
        took = bench.timed(lambda o=options: evaluate(network, images, labels, protocol, Options(bench.device, **o)), 1)
        hours = standard * took.median / passes / 3600
        note = f"passes, not images; standard on 10,000 images that are never fooled: {hours:.3g} h"
        bench.speed(f"passes, {name}", passes, took, operations, "tf32", note)


def fid(bench: Bench) -> None:
    """Features of Inception, and their sums on the device."""
    network = Inception()
    operations = forward_operations(network, SHAPE)
    network.prepared(bench.device)
    features = np.zeros(0)
    for batch in (2,) if bench.small else (64, 512):
        images = torch.from_numpy(bench.images(batch)[0])

        def extract(images: Tensor = images) -> Any:
            with products("fp32", deterministic=True), torch.no_grad():
                return network(images.to(bench.device)).cpu().numpy()

        took = bench.timed(extract)
        note = f"50,000: {50_000 * took.median / batch:.3g} s"
        bench.speed(f"features, batches of {batch}, fp32", batch, took, operations, "fp32", note)
        features = extract()
    rows = torch.from_numpy(np.resize(features, (64 if bench.small else 4096, features.shape[1]))).to(bench.device)
    took = bench.timed(lambda: Sums.of(rows))
    bench.add(f"sums of {len(rows)} rows", took.median, "s", note=f"spread {took.spread:.0%}")
    took = bench.timed(lambda: kid(rows, rows + 1, subsets=1, points=1000))
    bench.add("a subset of KID", took.median, "s", note=f"spread {took.spread:.0%}")


def ranking(bench: Bench) -> None:
    """Rankings of the size of CIFAR-10 and of a million images; time grows with the square, and tells what fits."""
    from datarobust import sensitivity

    sizes = (300, 600, 1200) if bench.small else (4096, 50_000, 200_000, 1_000_000)
    base = bench.images(10_000)[0].reshape(-1, 3072)[:, : 192 if bench.small else None]
    engines = {str(bench.device): sensitivity.Options(device=str(bench.device)), "processor": sensitivity.Options()}
    last: dict[tuple[str, str], tuple[int, float]] = {}
    for size in sizes:
        points = None
        for norm in ("l2", "linf"):
            for name, options in engines.items():
                what = f"{size:,} x {base.shape[1]:,}, {norm}, {name}"
                before, seconds = last.get((norm, name), (size, 0.0))
                expected = seconds * (size / before) ** 2
                if expected > bench.left - 20:
                    bench.add(what, expected, "s", note=f"not measured: that of {before:,}, by the square")
                    continue
                if points is None:
                    points = sensitivity.Labelled.of(
                        enlarged(base, size), np.random.default_rng(1).integers(0, 10, size)
                    )
                warm = int(size == sizes[0])  # kernels are compiled
                took = bench.timed(lambda p=points, n=norm, o=options: sensitivity.rank(p, n, options=o), 1, warm)
                last[norm, name] = size, took.median
                note = sensitivity.engine_of(norm, options) if name == "processor" else searcher(bench, points, norm)
                if norm == "l2" and name != "processor":
                    note += f", {2 * size**2 * base.shape[1] / took.median / bench.ceilings['int8']:.1%} of int8"
                bench.add(what, took.median, "s", note=note)
            if size == sizes[1] and points is not None and searcher(bench, points, norm) == "triton":
                shapes(bench, points, norm)


SHAPES: dict[str, list[tuple[int, ...]]] = {
    "l2": [(128, 256, 64, 16, 8, 4), (128, 256, 128, 16, 8, 3), (128, 128, 64, 32, 8, 4), (256, 128, 64, 32, 8, 4)],
    "linf": [(16, 64, 64, 256, 1, 1), (16, 64, 32, 256, 1, 1), (16, 32, 64, 512, 1, 1), (32, 64, 64, 256, 2, 1)],
}
"""Tiles to try: rows, columns, numbers, steps, warps, stages; the first are those of the library."""


def shapes(bench: Bench, points: Any, norm: str) -> None:
    """The time on the device alone, by the shape of the tiles."""
    from datarobust.sensitivity import tiles

    spans = [slice(0, min(1 << 14, len(points.labels)))]
    pairs = spans[0].stop * len(points.labels)
    for numbers in SHAPES[norm]:
        with mock.patch.object(tiles, "shape_of", return_value=tiles.Shape(*numbers)):
            search = tiles.KERNELS[norm](points, points, 1, False, 1 << 36, str(bench.device))
        took = bench.timed(lambda search=search: search.nearest(spans), 3)
        what = f"tiles of {' x '.join(map(str, numbers[:3]))}, {numbers[4]} warps, {norm}"
        bench.add(what, took.median * 1e12 / pairs, "s for 10^12 pairs", note=f"spread {took.spread:.0%}")


def enlarged(base: np.ndarray, size: int) -> np.ndarray:
    """So many rows made of others, by changes of the lower four bits."""
    rng = np.random.default_rng(0)
    rows = np.empty((size, base.shape[1]), np.uint8)
    for first in range(0, size, len(base)):
        part = rows[first : first + len(base)]
        noise = np.frombuffer(rng.bytes(part.size), np.uint8).reshape(part.shape) & 15
        np.bitwise_xor(base[: len(part)], noise if first else noise & 0, out=part)
    return rows


def compiled(bench: Bench) -> None:
    """What --compile gains, and what the first call costs: those of the tools take it from 10^17 operations on."""
    batch = 4 if bench.small else 512
    denoiser = bench.denoiser()
    operations = flops(denoiser)
    plain = evaluator(bench, prepare(copy.deepcopy(denoiser), "bf16", bench.device.type), batch)
    with torch.compiler.set_stance("force_eager" if bench.small else "default"):
        fused = evaluator(bench, prepare(denoiser, "bf16", bench.device.type, compiled=True), batch)
        bench.add("first evaluation of the denoiser", bench.timed(fused, 1, 0).median, "s")
        bench.speed("denoised once, bf16", batch, bench.timed(fused, 5), operations, "bf16")
        bench.close("compiled beside eager, bf16", fused(), plain(), BOUNDS["bf16"])
        compiled_training(bench)
        aaeval(bench, compiled=True)


def compiled_training(bench: Bench) -> None:
    """Steps of what torch.compile makes of the network, beside the network's, from equal weights."""
    batch, part = (8, 4) if bench.small else (2048, 512)
    points = Points.of(*bench.images(batch)).to(bench.device)
    points = points.at(np.arange(batch) % len(points))
    operations = (2 + 2 * Recipe.steps + 4) * forward_operations(build(bench.arch), SHAPE)
    losses = []
    for fused in (False, True):
        recipe = Recipe(bench.arch["name"], batch=batch, bn_group=part, precision="bf16", compiled=fused)
        training = adversarial_training(bench, recipe, points)
        with products("bf16", deterministic=True):
            first = bench.timed(lambda t=training: t.train_step(1, t.draw(1)), 1, 0)
            losses.append(training.standing()["loss"])
            if fused:
                bench.add("first step of a compiled training, bf16", first.median, "s")
                took = bench.timed(lambda t=training: t.train_step(1, t.draw(1)), 2)
                bench.speed(f"compiled step of {batch}, bf16", batch, took, operations, "bf16")
        del training
    apart = abs(losses[1] / losses[0] - 1)
    bench.add("loss of a compiled step, beside the network's", apart, "relative", apart <= 1e-2, "at most 0.01")


# ---------------------------------------------------------------------------------------------------------- stages

STAGES: dict[str, tuple[Callable[[Bench], None], int]] = {
    "ceilings": (ceilings, 15),
    "bits": (bits, 5),
    "sens-rank": (sensitivity, 40),
    "networks": (networks, 30),
    "kernels": (fused, 10),
    "gradients": (gradients, 15),
    "resume": (resume, 30),
    "verdicts": (verdicts, 40),
    "clones": (cloned, 20),
    "features": (frechet, 15),
    "advtrain": (advtrain, 80),
    "clone": (clone, 40),
    "aaeval": (aaeval, 30),
    "fid": (fid, 20),
    "ranking": (ranking, 70),
    "compile": (compiled, 150),
}
"""In their order, with the seconds that they may take on an H200; the last one runs where time is left."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--budget", type=float, default=BUDGET)
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(STAGES):
        parser.error(f"there is no stage {', '.join(sorted(unknown))}: choose from {', '.join(STAGES)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU here; --device cpu --small rehearses the stages")
    arguments.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(torch.device(arguments.device), arguments.small, arguments.budget, arguments.data)
    machine = {
        "device": torch.cuda.get_device_name(bench.device) if bench.cuda else "cpu",
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    for name in STAGES:
        if name in chosen:
            run(bench, name)
            bench.save(arguments.out, machine)
    bad = [row.what for row in bench.rows if row.good is False]
    failed = [stage["name"] for stage in bench.stages if stage["state"] == "failed"]
    left_out = [stage["name"] for stage in bench.stages if stage["state"] in ("skipped", "left out")]
    print(f"{len(bench.rows)} rows; wrong: {', '.join(bad) or 'none'}; failed: {', '.join(failed) or 'none'}; ", end="")
    print(f"skipped or left out: {', '.join(left_out) or 'none'}")
    return int(bool(bad or failed))


def run(bench: Bench, name: str) -> None:
    """Run a stage where it fits."""
    work, price = STAGES[name]
    bench.stage, state, why = name, "done", ""
    began, busy = time.monotonic(), time.process_time()
    if bench.left < price:
        state, why = "skipped", f"it may take {price} s, and {max(bench.left, 0):.0f} s are left"
    else:
        try:
            work(bench)
        except (ModuleNotFoundError, Absent) as error:
            state, why = "left out", str(error)
        except Exception as error:  # noqa: BLE001 - the stages after it are worth their time
            traceback.print_exc()
            state, why = "failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if bench.cuda:
        torch.cuda.empty_cache()
    seconds, busy = time.monotonic() - began, time.process_time() - busy
    stage = {"name": name, "price": price, "seconds": seconds, "processor_seconds": busy, "state": state, "why": why}
    bench.stages.append(stage)
    took = f"{seconds:.0f} s, {busy:.1f} s of the processor, {bench.left:.0f} s left"
    print(f"-- {name}: {state}{f' ({why})' if why else ''}, {took}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
