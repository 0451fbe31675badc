"""Measure the Fréchet term: ours beside scipy.linalg.sqrtm, in one run; prints Markdown tables.

    python tests/bench/frechet.py [--width N] [--rounds N] [--digits]

Features are like Inception's: not negative, correlated, with a spectrum that falls over six decades; of two sets that
differ a little. All programs get the same means and covariances (or, of few points, the same features) and take turns;
the time is the least of so many rounds. scipy's is the product of the covariances, its square root and the trace, as
programs for the FID compute it.

A search holds many sets against one: "known half" is without what is computed of the reference alone. --digits computes
the value for few points once more with 30 digits, at a width of 64.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import scipy.linalg
from threadpoolctl import threadpool_info

from datarobust.fid import Moments

COUNTS = (10_000, 2_500, 1_000)
"""Points of a set, in widths of 2,048: full rank, hardly full rank, short."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--digits", action="store_true")
    asked = parser.parse_args()
    describe()
    if asked.digits:
        digits()
        return
    print("| points | ours (s) | known half (s) | scipy sqrtm (s) | faster | known half faster | relative difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for count in COUNTS:
        points = max(3, count * asked.width // 2048)
        a, b = features(points, asked.width, 0), features(points, asked.width, 1)
        row(points, a, b, asked.rounds)


def row(points: int, a: np.ndarray, b: np.ndarray, rounds: int) -> None:
    one, two = Moments.of(a), Moments.of(b)
    for moments in (one, two):
        _ = moments.covariance  # both programs begin with moments
    best = {"ours": np.inf, "known": np.inf, "scipy": np.inf}
    values: dict[str, float] = {}
    for _ in range(rounds):
        fresh = Moments(one.count, one.mean, one.spanning, one.products)
        if one.products is None:
            fresh.__dict__["covariance"] = one.covariance
        for name, work in (
            ("ours", lambda fresh=fresh: fresh.distance(two)),
            ("known", lambda fresh=fresh: fresh.distance(two)),
            ("scipy", lambda: by_roots(one, two)),
        ):
            took, values[name] = seconds(work)
            best[name] = min(best[name], took)
    apart = abs(values["ours"] - values["scipy"]) / values["ours"]
    times = f"{best['ours']:.3g} | {best['known']:.3g} | {best['scipy']:.3g}"
    faster = f"{best['scipy'] / best['ours']:.1f} x | {best['scipy'] / best['known']:.1f} x"
    print(f"| {points:,} | {times} | {faster} | {apart:.1e} |", flush=True)


def by_roots(one: Moments, two: Moments) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular matrices
        root = scipy.linalg.sqrtm(one.covariance @ two.covariance)
    apart = np.square(one.mean - two.mean).sum()
    return float(apart + np.trace(one.covariance) + np.trace(two.covariance) - 2 * np.trace(root).real)


def digits() -> None:
    """Few points: our value and scipy's beside one with 30 digits."""
    import mpmath

    width, points = 64, 40
    a, b = features(points, width, 0), features(points, width, 1)
    one, two = Moments.of(a), Moments.of(b)
    assert one.spanning is not None
    assert two.spanning is not None
    with mpmath.workdps(30):
        parts = [mpmath.matrix(m.spanning.tolist()) for m in (one, two)]  # type: ignore[union-attr]
        cross = mpmath.fsum(mpmath.svd_r(parts[0] * parts[1].T, compute_uv=False))
        spread = mpmath.fsum(value**2 for part in parts for value in part)
        apart = mpmath.fsum((mpmath.mpf(x) - mpmath.mpf(y)) ** 2 for x, y in zip(one.mean, two.mean, strict=True))
        exact = apart + spread - 2 * cross
        print("| 40 points of 64 features | value | relative error |\n| --- | --- | --- |")
        for name, value in (("ours", one.distance(two)), ("scipy sqrtm", by_roots(one, two))):
            print(f"| {name} | {value:.12g} | {float(abs(value - exact) / exact):.1e} |")


def features(count: int, width: int, seed: int) -> np.ndarray:
    """(count, width) float32."""
    shared = np.random.default_rng(12)
    basis = np.linalg.qr(shared.standard_normal((width, width)))[0] * np.logspace(0, -3, width)
    own = np.random.default_rng(100 + seed)
    points = own.standard_normal((count, width)) @ basis.T * (1 + 0.05 * seed) + 0.02 * seed
    return np.maximum(points + 0.05, 0.1 * points).astype(np.float32)


def seconds(work: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def describe() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}"
    print(f"{len(os.sched_getaffinity(0))} processors ({model}), {threads} threads, {versions}\n")


if __name__ == "__main__":
    main()
