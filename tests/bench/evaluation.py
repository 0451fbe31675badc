"""Measure aaeval beside the plain library, on real networks and images; prints Markdown tables.

    DATAROBUST_SHARED=... python tests/bench/evaluation.py [standard l2 wrn resnet18 attacks]

Parts: ``standard`` and ``l2`` are whole ``standard`` evaluations of a small robust network on 250 CIFAR-10 test images,
in l-infinity and l2; ``wrn`` and ``resnet18`` are shortened runs of all four attacks on a wide residual network of ours
with random weights and on the ResNet-18 that comes with the library, which are large enough for their passes to take
nearly all of the time; ``attacks`` tells the seconds of every attack of the first. Both programs run in this process,
one after the other, with all processors; verdicts and adversarial images are compared. Seconds are wall-clock, of one
run each.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyautoattack
import torch

from datarobust.evaluation import Protocol, plan
from datarobust.evaluation.driver import Options, evaluate
from datarobust.networks import build

PARTS = ("standard", "l2", "wrn", "resnet18", "attacks")
WRN_EPS = 1 / 255
HERE = Path(__file__).resolve().parent


def neighbour(path: Path) -> ModuleType:
    """A file of tests as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


real = neighbour(HERE.parent / "lib" / "evaluation" / "real.py")


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"evaluation.py: no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    shared = os.environ.get("DATAROBUST_SHARED")
    if not shared:
        sys.exit("evaluation.py: set DATAROBUST_SHARED to the folder whose data/ holds cifar10_test.npz")
    logging.getLogger("auto-attack").addHandler(logging.NullHandler())
    print(f"{len(os.sched_getaffinity(0))} processors, {torch.get_num_threads()} threads, torch {torch.__version__}")
    warm_up(Path(shared))
    for part in wanted:
        print(f"\n## {part}\n", flush=True)
        globals()[part](Path(shared))


def warm_up(shared: Path) -> None:
    """Wake the threads."""
    images, labels = real.cifar10(shared, 8)
    for norm in ("linf", "l2"):
        protocol = plan("custom", norm, 0.01, 10, attacks=["fab-t"], iterations=2, targets=1)  # type: ignore[arg-type]
        evaluate(real.resnet2b(shared), images, labels, protocol, Options(torch.device("cpu")))


def standard(shared: Path) -> None:
    """The robust network at the radius that it was trained for."""
    images, labels = real.cifar10(shared, 250)
    beside(real.resnet2b(shared), images, labels, plan("standard", "linf", 2 / 255, 10))


def l2(shared: Path) -> None:
    images, labels = real.cifar10(shared, 250)
    beside(real.resnet2b(shared), images, labels, plan("standard", "l2", 0.25, 10))


def wrn(shared: Path) -> None:
    """A tenth of the iterations; batch norms know the images, labels are what the network says, and half fall."""
    images, _ = real.cifar10(shared, 24)
    model, x = build({"name": "wrn-10-10"}, seed=0), torch.from_numpy(images).float() / 255
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None  # running statistics are plain means
    with torch.no_grad():
        model.train()(x)
        labels = model.eval()(x).argmax(1).numpy()
    names = ("apgd-ce", "apgd-t", "fab-t", "square")
    beside(
        model, images, labels, plan("custom", "linf", WRN_EPS, 10, attacks=names, iterations=10, targets=3, queries=150)
    )


def resnet18(shared: Path) -> None:
    """A tenth of the iterations; the network is not robust, so the radius is small."""
    images, labels = real.cifar10(shared, 32)
    names = ("apgd-ce", "apgd-t", "fab-t", "square")
    beside(
        real.resnet18(),
        images,
        labels,
        plan("custom", "linf", 1 / 255, 10, attacks=names, iterations=10, targets=3, queries=150),
    )


def attacks(shared: Path) -> None:
    """Where the time goes."""
    images, labels = real.cifar10(shared, 250)
    protocol = plan("standard", "linf", 2 / 255, 10)
    head("attack", "the library's objects", "ours", "faster")
    found = []
    for official in (True, False):
        seconds: dict[str, float] = {}

        def progress(stage: str, seconds: dict[str, float] = seconds) -> Any:
            def timed(batches: Iterable[Any]) -> Iterable[Any]:
                start = time.perf_counter()
                yield from batches
                seconds[stage] = time.perf_counter() - start

            return timed

        options = Options(torch.device("cpu"), official=official)
        evaluate(real.resnet2b(shared), images, labels, protocol, options, progress=progress)
        found.append(seconds)
    for stage in found[0]:
        row(stage, found[0][stage], found[1][stage], f"{found[0][stage] / found[1][stage]:.2f} x")


def beside(model: Any, images: Any, labels: Any, protocol: Protocol) -> None:
    """One run of the plain library, one of ours."""
    start = time.perf_counter()
    theirs, predicted = plain(model, images, labels, protocol)
    plain_seconds = time.perf_counter() - start
    head("program", "images", "robust", "seconds", "faster", "verdicts", "equal adversarial images")
    row("plain library", len(labels), int((predicted == labels).sum()), plain_seconds, "", "", "")
    device = torch.device("cpu")
    start = time.perf_counter()
    ours = evaluate(model, images, labels, protocol, Options(device, keep=True))
    seconds = time.perf_counter() - start
    robust = (ours.clean == labels) & (ours.broken < 0)
    equal = np.array_equal(robust, predicted == labels) and np.array_equal(ours.attacked, predicted)
    same = [np.array_equal(a, b) for a, b in zip(ours.adversarial, theirs, strict=True)]
    row("aaeval", len(labels), int(robust.sum()), seconds, f"{plain_seconds / seconds:.2f} x",
        "equal" if equal else "DIFFERENT", f"{sum(same)} of {len(same)}")  # fmt: skip


def plain(model: Any, images: Any, labels: Any, protocol: Protocol) -> tuple[Any, Any]:
    """What a user of the library would write."""
    norm = {"linf": "Linf", "l2": "L2"}[protocol.norm]
    names = [attack.name for attack in protocol.attacks]
    custom = {"version": "custom", "attacks": names} if protocol.version == "custom" else {"version": "standard"}
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    whole = pyautoattack.AutoAttack(model, norm=norm, eps=protocol.eps, seed=protocol.seed, **custom)
    if protocol.version == "custom":
        by = {attack.name: attack for attack in protocol.attacks}
        logger = logging.getLogger("auto-attack")
        base = sys.modules["pyautoattack.autopgd_base"]
        common = {"norm": norm, "eps": protocol.eps, "seed": 0, "device": "cpu", "verbose": False, "logger": logger}
        iterations = by["apgd-ce"].iterations
        whole.apgd = base.APGDAttack(model, n_restarts=1, n_iter=iterations, **common)
        targets = by["apgd-t"].targets
        whole.apgd_targeted = base.APGDAttack_targeted(
            model, n_restarts=1, n_iter=iterations, n_target_classes=targets, **common
        )
        whole.fab.n_iter, whole.fab.n_target_classes = by["fab-t"].iterations, by["fab-t"].targets
        whole.square.n_queries = by["square"].queries
    x = torch.from_numpy(images).float() / 255
    found, predicted = whole.run_standard_evaluation(x, torch.from_numpy(labels), batch_size=protocol.batch)
    return found.numpy(), predicted.numpy()


def row(*cells: object) -> None:
    print(
        "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def head(*cells: str) -> None:
    row(*cells)
    print("|" + " --- |" * len(cells))


if __name__ == "__main__":
    main()
