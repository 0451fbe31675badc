"""Measure sens-rank on real data, beside the usual ways to do its work; prints Markdown tables.

    DATAROBUST_SHARED=... python tests/bench/run.py [first peers growth memory emnist million]

Parts: ``first`` times the smallest commands; ``peers`` ranks the CIFAR-10 training set by the command, with each set of
instructions the processor has, beside ``faiss.IndexFlatL2`` (all points searched) and ``torch.cdist(p=inf)``
(1,024 x 1,024 pairs, scaled to all), both with all instructions and with no more than AVX2; ``growth`` ranks its first
5,000 to 50,000 images; ``memory`` states the peak memory of the command; ``emnist`` ranks 697,932 images of 28x28, the
size of EMNIST ByClass, made of MNIST digits by small random shifts, turns and changes of size; ``million`` ranks in l2
a million images of 3x32x32, made of CIFAR-10 by crops, flips and changes of brightness. Times are wall-clock seconds,
medians of three runs, one run of peers. Peers use all processors, as we do.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from datarobust.sensitivity import Labelled, native, rank

PARTS = ("first", "peers", "growth", "memory", "emnist", "million")
EMNIST_BY_CLASS = 697_932


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"run.py: no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    shared = os.environ.get("DATAROBUST_SHARED")
    if not shared:
        sys.exit("run.py: set DATAROBUST_SHARED to the folder whose data/ holds cifar10_train.npz and mnist_train.npz")
    data = Path(shared) / "data"
    describe_machine()
    with tempfile.TemporaryDirectory() as scratch:
        for part in wanted:
            print(f"\n## {part}\n", flush=True)
            globals()[part](data, Path(scratch))


def describe_machine() -> None:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    packages = []
    for name in ("numpy", "faiss-cpu", "torch", "zarr"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"{name} absent")
    print(f"{len(os.sched_getaffinity(0))} processors ({model}), Python {platform.python_version()}")
    print(", ".join(packages) + f"; instructions: {', '.join(levels()) or 'no compiled search'}")


def levels() -> tuple[str, ...]:
    """The paths that can be forced here, the best one last."""
    handle = native.library()
    return () if handle is None else native.LEVELS[: handle.highest_level() + 1]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        points, labels = archive["x"], archive["y"].astype(np.int64)
    return points.reshape(len(points), -1), labels


def median(task: Callable[[], object], runs: int = 3) -> float:
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def store(source: Path, scratch: Path) -> Path:
    output = scratch / f"{source.stem}.zarr"
    if not output.exists():
        command("dataset", "import", str(source), "-o", str(output), "-q")
    return output


def command(*words: str) -> None:
    """Run one of our commands as a user would: a new process."""
    module, *rest = words
    tool = [sys.executable, "-m", f"datarobust.tools.{module.replace('-', '_')}", *rest]
    subprocess.run(tool, check=True, stdout=subprocess.DEVNULL)


def rank_by_command(dataset: Path, norm: str, scratch: Path) -> None:
    command("sens-rank", str(dataset), "--norm", norm, "-o", str(scratch / "r.zarr"), "--overwrite", "-q")


def row(*cells: object) -> None:
    print(
        "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def head(*cells: str) -> None:
    row(*cells)
    print("|" + " --- |" * len(cells))


PEERS = {
    "l2": (
        "faiss.IndexFlatL2, all points",
        "import faiss, numpy as np, sys, time; x = np.load(sys.argv[1]).astype(np.float32); "
        "index = faiss.IndexFlatL2(x.shape[1]); index.add(x); index.search(x[:256], 2); "
        "start = time.perf_counter(); index.search(x, 2); print(time.perf_counter() - start)",
    ),
    "linf": (
        "torch.cdist(p=inf), 1024 x 1024 pairs scaled",
        "import numpy as np, sys, time, torch; x = torch.from_numpy(np.load(sys.argv[1]).astype(np.float32)); "
        "cdist = lambda count: torch.cdist(x[:count], x[1024 : 1024 + count], p=float('inf')); cdist(64); "
        "start = time.perf_counter(); cdist(1024); print((time.perf_counter() - start) * (len(x) / 1024) ** 2)",
    ),
}
"""By norm the usual way, and a program that prints its seconds; FAISS seeks two points, as each finds itself."""
ONLY_AVX2 = {"OPENBLAS_CORETYPE": "Haswell", "FAISS_OPT_LEVEL": "avx2", "ATEN_CPU_CAPABILITY": "avx2"}
"""Variables that keep OpenBLAS, FAISS and PyTorch to AVX2, as on a processor that has no more."""


def peers(data: Path, scratch: Path) -> None:
    """Ratios: how many times faster than brute force by a good library, with the same instructions."""
    points, _ = read(data / "cifar10_train.npz")
    dataset, path = store(data / "cifar10_train.npz", scratch), scratch / "points.npy"
    np.save(path, points)
    head("norm", "instructions", "sens-rank, start to end", "peer", "its instructions", "its time", "faster")
    for norm, (peer, program) in PEERS.items():
        times = {"all": peer_seconds(program, path, {}), "avx2": peer_seconds(program, path, ONLY_AVX2)}
        for level in levels():
            os.environ["DATAROBUST_SIMD"] = level
            whole = median(lambda norm=norm: rank_by_command(dataset, norm, scratch))
            theirs = "avx2" if level == "avx2" else "all"
            row(norm, level, whole, peer, theirs, times[theirs], f"{times[theirs] / whole:.0f} x")
        os.environ.pop("DATAROBUST_SIMD", None)


def peer_seconds(program: str, path: Path, limits: dict[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True, env=os.environ | limits
    )
    return float(done.stdout)


def first(data: Path, scratch: Path) -> None:
    """What a newcomer waits for: nothing is compiled or kept from run to run."""
    digits = scratch / "digits.zarr"
    command("dataset", "import", "digits", "-o", str(digits), "-q")
    head("command", "seconds")
    row("sens-rank --help", median(lambda: command("sens-rank", "--help")))
    for norm in ("l2", "linf", "l1"):
        row(f"sens-rank digits.zarr --norm {norm}", median(lambda norm=norm: rank_by_command(digits, norm, scratch)))


def growth(data: Path, scratch: Path) -> None:
    points, labels = read(data / "cifar10_train.npz")
    head("points", "l2", "linf")
    for count in (5_000, 10_000, 20_000, 35_000, 50_000):
        subjects = Labelled.of(points[:count], labels[:count])
        row(count, *(median(lambda norm=norm, subjects=subjects: rank(subjects, norm)) for norm in ("l2", "linf")))


PEAK = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__")
finally:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""
"""Runs a module, then tells its own peak memory in kB (a child's maxrss would count what it was forked from)."""


def memory(data: Path, scratch: Path) -> None:
    """Peak memory of whole commands, in a process of its own each, as the system counts it."""
    dataset = store(data / "cifar10_train.npz", scratch)
    head("norm", "--memory (GB)", "peak memory (MB)", "seconds")
    for norm in ("l2", "linf"):
        for budget in ("8", "0.05"):
            words = [
                str(dataset),
                "--norm",
                norm,
                "--memory",
                budget,
                "-o",
                str(scratch / "r.zarr"),
                "--overwrite",
                "-q",
            ]
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", PEAK, "datarobust.tools.sens_rank", *words],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            row(norm, budget, int(done.stderr.split()[-1]) / 1000, time.perf_counter() - start)


def emnist(data: Path, scratch: Path) -> None:
    images, labels = read(data / "mnist_train.npz")
    start = time.perf_counter()
    source = scratch / "jittered.npz"
    tasks = np.array_split(np.arange(EMNIST_BY_CLASS), 64)
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(jitter, [images] * len(tasks), tasks))
    chosen = np.concatenate([part[1] for part in parts])
    np.savez(source, images=np.concatenate([part[0] for part in parts]), labels=labels[chosen])
    print(f"Made {EMNIST_BY_CLASS:,} images in {time.perf_counter() - start:.0f} s.\n", flush=True)
    del parts
    dataset = store(source, scratch)
    head("norm", "sens-rank, start to end (one run)", "peak memory of all commands so far (MB)")
    for norm in ("l2", "linf"):
        seconds = median(lambda norm=norm: rank_by_command(dataset, norm, scratch), 1)
        row(norm, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000)


def million(data: Path, scratch: Path) -> None:
    images, labels = read(data / "cifar10_train.npz")
    images, count = images.reshape(-1, 3, 32, 32), 1_000_000
    padded = np.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
    rng = np.random.default_rng(2024)
    made = np.empty((count, 3, 32, 32), np.uint8)
    for number in range(count):
        top, left = rng.integers(0, 9, 2)
        image = padded[number % len(images), :, top : top + 32, left : left + 32] * rng.uniform(0.8, 1.2)
        made[number] = np.clip(np.rint(image if rng.random() < 0.5 else image[:, :, ::-1]), 0, 255)
    source = scratch / "million.npz"
    np.savez(source, images=made, labels=labels[np.arange(count) % len(images)])
    del made
    dataset = store(source, scratch)
    source.unlink()
    head("norm", "sens-rank, start to end (one run)", "peak memory of all commands so far (MB)")
    seconds = median(lambda: rank_by_command(dataset, "l2", scratch), 1)
    row("l2", seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000)


def jitter(images: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Digits turned by about 8 degrees, scaled by about 8 % and shifted by about a pixel; a function of the numbers."""
    from scipy.ndimage import affine_transform

    made, chosen = np.empty((len(numbers), 28, 28), np.uint8), np.empty(len(numbers), np.int64)
    for place, number in enumerate(numbers):
        rng = np.random.default_rng([2024, int(number)])
        chosen[place] = rng.integers(len(images))
        angle, scale, shift = 0.14 * rng.standard_normal(), 1 + 0.08 * rng.standard_normal(), rng.standard_normal(2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        image = images[chosen[place]].reshape(28, 28).astype(np.float32)
        offset = 13.5 - turn @ np.array([13.5, 13.5]) + shift
        made[place] = np.clip(np.rint(affine_transform(image, turn, offset, order=1)), 0, 255)
    return made, chosen


if __name__ == "__main__":
    main()
