"""Everything that `tests/test_surroundings.py` samples, in full: ``make torture``.

    python torture.py [--minutes 60] [--parts faults,...] [--cases sens-rank,...] [--jobs 2]

Prints a table a part, as tests/bench/RESULTS.md keeps it, and ends with 1 where a promise was broken. Trials go on in
an order that spreads over commands, kinds and calls until the minutes are over; the table says how many of how many.
What one part leaves of its share of the minutes is for the parts after it, so the longest is the last.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors, and often another sweep beside this one
sys.path.insert(0, str(ROOT))

from tests import corruption, faults  # noqa: E402
from tests.faults import CASES, KINDS, Bench  # noqa: E402

Trial = tuple[str, str, Callable[[Bench], str | None]]  # row, column, what is wrong after it


def fault_trials(bench: Bench, options: argparse.Namespace) -> Iterator[list[Trial]]:
    """Every command, kind of fault and call."""

    def trial(case: str, kind: str, number: int, whole: dict[str, str], bench: Bench) -> str | None:
        wrong = faults.trial(bench, case, kind, number, whole)
        return wrong and f"call {number}: {wrong}"

    for case in options.cases.split(","):
        whole, count = faults.undisturbed(bench, case)
        pairs = [(kind, number) for number in range(1, count + 1) for kind in KINDS if kind != "count"]
        yield spread([(case, kind, functools.partial(trial, case, kind, number, whole)) for kind, number in pairs])


def corruption_trials(bench: Bench, _: argparse.Namespace) -> Iterator[list[Trial]]:
    """Every file of every artifact, and every harm."""
    corruption.prepare(bench)

    def trial(name: str, file: Path, harm: str, number: int, whole: corruption.Whole, bench: Bench) -> str | None:
        wrong = corruption.trial(bench, name, file, harm, number, whole)
        return wrong and f"{file}: {wrong}"

    for name in corruption.SUBJECTS:
        whole = corruption.undisturbed(bench, name)
        pairs = enumerate(corruption.trials(bench, name))
        yield spread([(name, harm, functools.partial(trial, name, file, harm, i, whole)) for i, (file, harm) in pairs])


def beside(bench: Bench, count: int) -> list[Bench]:
    """Benches with the inputs of one, in folders of their own."""
    benches = [dataclasses.replace(bench, folder=bench.folder / str(number)) for number in range(count)]
    for each in benches:
        shutil.copytree(bench.folder / "in", each.folder / "in", dirs_exist_ok=True)
    return benches


def spread(trials: list[Trial]) -> list[Trial]:
    """The trials in an order in which the first ones are spread over all, the same in every run."""
    step = len(trials) * 5 // 8 + 1
    while math.gcd(step, len(trials)) > 1:
        step += 1
    return [trials[place * step % len(trials)] for place in range(len(trials))]


def torture(queues: list[list[Trial]], deadline: float, benches: list[Bench]) -> bool:
    """Run trials in turns until time is over, and print how many there were; whether all promises were kept."""
    vacant: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    for bench in benches:
        vacant.put(bench)

    def attempt(trial: Trial) -> tuple[str, str, str | None] | None:
        if time.monotonic() > deadline:
            return None
        row, column, run = trial
        bench = vacant.get()
        try:
            return row, column, run(bench)
        finally:
            vacant.put(bench)

    total = Counter(row for trials in queues for row, _, _ in trials)
    done: Counter[tuple[str, str]] = Counter()
    broken = []
    trials = filter(None, itertools.chain.from_iterable(itertools.zip_longest(*queues)))
    with ThreadPool(len(benches)) as pool:
        for row, column, wrong in filter(None, pool.imap(attempt, trials)):
            if wrong == "":  # nothing was disturbed
                total[row] -= 1
                continue
            done[row, column] += 1
            if wrong:
                broken.append(row)
                print(f"BROKEN {row}, {column}, {wrong}", flush=True)
    columns = list(dict.fromkeys(column for _, column in done))
    print("|", " | ".join(["", *columns, "all", "of", "broken"]), "|")
    print("|---" * (len(columns) + 4) + "|")
    for row in total:
        counts = [done[row, column] for column in columns]
        print("|", " | ".join(map(str, [row, *counts, sum(counts), total[row], broken.count(row)])), "|")
    print("|", " | ".join(map(str, ["all", *(sum(done[row, c] for row in total) for c in columns),
                                    done.total(), total.total(), len(broken)])), "|", flush=True)  # fmt: skip
    return not broken


def pipeline_trials(bench: Bench, options: argparse.Namespace) -> Iterator[list[Trial]]:
    """Recipes on digits by ``make -j2``: undisturbed, then stopped by signals at ten moments and finished."""
    folder = bench.folder / "made"  # the same twice, because histories have it
    words = ["make", "-j2", "--file", "examples/demo.mk", f"BIN={bench.scripts}", f"OUT={folder}", options.target]
    name, start = f"make -j2 {options.target}", time.monotonic()
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, seconds = faults.contents(folder), time.monotonic() - start
    shutil.rmtree(folder)

    def stopped(number: signal.Signals, wait: float, _: Bench) -> None:
        with subprocess.Popen(
            words, cwd=ROOT, process_group=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, number)

    def finished(_: Bench) -> str | None:
        done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            return f"ends with {done.returncode}: {done.stderr[-600:]}"
        tree = faults.contents(folder)
        differing = sorted(path for path in tree | whole if tree.get(path) != whole.get(path))
        return f"differ: {differing}" if differing else None

    signals = [(signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[place % 3] for place in range(10)]
    moments = [seconds * (0.05 + 0.02 * place) for place in range(10)]
    stops: list[Trial] = [
        (name, n.name, functools.partial(stopped, n, at)) for n, at in zip(signals, moments, strict=True)
    ]
    yield [*stops, (name, "finished", finished)]


PARTS = {"corruption": corruption_trials, "pipeline": pipeline_trials, "faults": fault_trials}


def main() -> None:
    """Run the parts, each in its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trials side by side")
    parser.add_argument("--target", default="demo", help="of examples/demo.mk")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell lets jobs in the background ignore it
    scripts = Path(sys.executable).parent
    if (lack := faults.lack()) is not None:
        sys.exit(f"torture: {lack}")
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory(prefix="torture-") as place, faults.quick_commands(ROOT, scripts) as quick:
        bench = Bench(quick, scripts, Path(place))
        faults.prepare(bench)
        kept, begin = True, time.monotonic()
        for number, part in enumerate(parts, 1):
            start = time.monotonic()
            deadline = begin + 60 * options.minutes * number / len(parts)
            print(f"\n{part}:", flush=True)
            trials = list(PARTS[part](bench, options))
            kept &= torture(trials, deadline, [bench] if part == "pipeline" else beside(bench, options.jobs))
            print(f"{time.monotonic() - start:.0f} s")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
