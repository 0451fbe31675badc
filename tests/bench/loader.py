"""Measure how fast advtrain makes its batches from a large generated set; prints a Markdown table.

    python tests/bench/loader.py [images=2000000] [batches=200]

A store of random 3x32x32 images (6 GB for two million) is written to a temporary folder, then read as advtrain reads a
set that is larger than its memory: 1,638 generated and 410 real images a batch, in a random order, verified, mixed,
cropped, flipped and converted to float. Nothing is trained. Images a second, and the peak memory of the process, which
begins when the store is written.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from run import describe_machine

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.jobs.advtrain import Inputs
from datarobust.training.batches import Batches
from datarobust.training.images import Points
from datarobust.training.recipe import Recipe, count

PART = 4096


def main() -> None:
    settings = {"images": 2_000_000, "batches": 200}
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name == "read":
            read(Path(value), settings["batches"])
            return
        if name not in settings or not value.isdigit():
            sys.exit(f"loader.py: {word!r} is not one of {', '.join(settings)} with =NUMBER")
        settings[name] = int(value)
    describe_machine()
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "generated.zarr"
        write(store, settings["images"])
        print(f"\n{settings['images']:,} images in the store, {settings['batches']} batches\n")
        print("| images a second | peak memory (MB) |\n| --- | --- |", flush=True)
        subprocess.run([sys.executable, __file__, f"batches={settings['batches']}", f"read={store}"], check=True)


def write(path: Path, images: int) -> None:
    """A store like one that `dataset import --shuffle` makes."""
    columns = {"images": ("uint8", (3, 32, 32)), "labels": ("int64", ()), "index": ("int64", ())}
    attributes = {"name": "random", "classes": [], "shuffled": 0, "request": "none"}
    step = Step("dataset", ("import",), "0", None, None, {})
    rng = np.random.default_rng(0)
    with artifacts.create(path, "dataset", columns, attributes=attributes, history=[step]) as writer:
        for start in range(0, images, PART):
            rows = min(PART, images - start)
            writer.append("images", rng.integers(0, 256, (rows, 3, 32, 32), np.uint8))
            writer.append("labels", rng.integers(0, 10, rows))
            writer.append("index", np.arange(start, start + rows))


def read(path: Path, batches: int) -> None:
    store = artifacts.open_store(path, "dataset")
    recipe = Recipe()
    rng = np.random.default_rng(1)
    base = Points.of(rng.integers(0, 256, (50_000, 3, 32, 32), np.uint8), rng.integers(0, 10, 50_000))
    counts = count(recipe, 50_000, 1024, generated=True, focus=0)
    with ExitStack() as stack:
        stream = Inputs(store, store).stream(0, 1 << 30, stack)
        made = Batches(recipe, counts, base, np.arange(1024, 50_000), stream, np.empty(0, np.int64))
        made.at(0, 0, None)
        began = time.perf_counter()
        for number in range(1, batches + 1):
            batch = made.at(number // counts.steps, number % counts.steps, None)
            assert batch.x.shape == (2048, 3, 32, 32)
            assert batch.x.dtype == torch.float32
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"| {batches * counts.total / seconds:,.0f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
