"""What the search is held against: Algorithm 1 as printed, its vectorised twins, and sets that are hard to rank.

Nothing here shares code with the library. ``printed`` is the paper's double loop in Python's whole numbers; ``keys``
computes all distances in whole numbers, ``brute`` sorts them, and ``printed`` checks both (test_sensitivity_ranking). A
distance is the square root of a whole number over 255, or a whole number over 255, rounded once for each operation, so
results are compared with ``==``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st

from datarobust import distributed
from datarobust.sensitivity import Labelled, Options, Ranking, native, rank

Array = npt.NDArray[Any]
NORMS = ("l2", "linf", "l1")
COMPILED = ("l2", "linf")
LEVELS = () if native.library() is None else native.LEVELS[: native.library().highest_level() + 1]


def printed(
    points: Array,
    labels: Array,
    norm: str,
    k: int = 1,
    others: Array | None = None,
    other_labels: Array | None = None,
    same: bool = False,
) -> tuple[Array, Array, list[float]]:
    """Algorithm 1: for each point the k nearest points of another label, and its M; ``same``: of its own label.

    Returns distances (N, k), neighbours (N, k), and the list L of the paper: -1 where no point has another label.
    """
    rows = points.reshape(len(points), -1).tolist()
    columns = rows if others is None else others.reshape(len(others), -1).tolist()
    column_labels = (labels if other_labels is None else other_labels).tolist()
    distance, neighbour, largest = [], [], []
    for i, label in enumerate(labels.tolist()):
        m = -1.0
        found = []
        for j, other_label in enumerate(column_labels):
            if label == other_label and others is None and i == j:
                continue
            if (label == other_label) == same:
                gaps = [abs(a - b) for a, b in zip(rows[i], columns[j], strict=True)]
                key = {"l2": sum(gap * gap for gap in gaps), "linf": max(gaps), "l1": sum(gaps)}[norm]
                d = (math.sqrt(key) if norm == "l2" else key) / 255
                m = max(m, 1 / d if d else math.inf)
                found.append((key, j, d))
        nearest = [*sorted(found)[:k], *[(math.inf, -1, math.inf)] * k][:k]
        distance.append([d for _, _, d in nearest])
        neighbour.append([j for _, j, _ in nearest])
        largest.append(m)
    return np.array(distance), np.array(neighbour), largest


def _gaps(a: Array, b: Array, norm: str) -> Array:
    """Largest differences, or sums of differences, of rows of bytes: all pairs, all coordinates."""
    out = np.zeros((len(a), len(b)), np.int64)
    for start in range(0, len(b), 512):
        part = b[start : start + 512]
        for i, x in enumerate(a):
            gaps = np.maximum(part, x) - np.minimum(part, x)
            out[i, start : start + 512] = gaps.max(axis=1) if norm == "linf" else gaps.sum(axis=1, dtype=np.int64)
    return out


def keys(points: Array, others: Array, norm: str) -> Array:
    """(N, M) whole numbers: squared l2 distances, or l-infinity or l1 distances, of bytes."""
    a = np.ascontiguousarray(points.reshape(len(points), -1))
    b = np.ascontiguousarray(others.reshape(len(others), -1))
    if norm != "l2":
        return _gaps(a, b, norm)
    found = np.zeros((len(a), len(b)), np.int64)
    for start in range(0, a.shape[1], 1024):
        # Products of -128..127 add up to at most 2^24 over 1024 of them: float32 holds every such whole number.
        left, right = (x[:, start : start + 1024].astype(np.float32) - 128 for x in (a, b))
        squares = [np.einsum("ij,ij->i", x, x).astype(np.int64) for x in (left, right)]
        found += squares[0][:, None] + squares[1][None, :]
        found -= 2 * (left @ right.T).astype(np.int64)
    return found


def nearest(key: Array, labels: Array, other_labels: Array, k: int, same: bool = False) -> tuple[Array, Array]:
    """The k least keys (N, k) of another label in each row, equal ones by the lower column; inf and -1 if none.

    ``same``: of the row's label.
    """
    counted = np.where((labels[:, None] == other_labels[None, :]) == same, key, np.inf)
    order = counted.argmin(axis=1)[:, None] if k == 1 else np.argsort(counted, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(counted, order, 1)
    order = np.where(np.isinf(found), -1, order)
    missing = ((0, 0), (0, k - order.shape[1]))
    return np.pad(found, missing, constant_values=np.inf), np.pad(order, missing, constant_values=-1)


def brute(
    points: Array,
    labels: Array,
    norm: str,
    k: int = 1,
    others: Array | None = None,
    other_labels: Array | None = None,
    same: bool = False,
) -> tuple[Array, Array]:
    """Distances and neighbours (N, k) from all distances in whole numbers."""
    every = keys(points, points if others is None else others, norm).astype(np.float64)
    if others is None:
        np.fill_diagonal(every, np.inf)
    key, index = nearest(every, labels, labels if other_labels is None else other_labels, k, same)
    return (np.sqrt(key) if norm == "l2" else key) / 255, index


def equation_1(points: Array, vectors: Array, norm: str, k: int = 1) -> tuple[Array, Array]:
    """The k least d(p_i, p_j) / ||y_i - y_j|| of Equation (1) in float64; equal label vectors do not count."""
    weight = np.zeros((len(vectors), len(vectors)))
    for column in vectors.astype(np.float64).T:
        weight += (column[:, None] - column[None, :]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        key = keys(points, points, norm) / (weight if norm == "l2" else np.sqrt(weight))
    key[weight == 0] = np.inf
    rows = np.arange(len(points))
    found, index = nearest(key, rows, rows, k)
    return (np.sqrt(found) if norm == "l2" else found) / 255, index


# ------------------------------------------------------------------------------------------------------- ranking


def ranked(
    norm: str, points: Labelled, *, shards: int = 1, options: Options | None = None, level: str = "", **rest: Any
) -> Ranking:
    """:func:`rank`, its matches divided among ``shards`` searches, one after another, whose lists are merged; with the
    processor's instructions up to ``level``.
    """
    options = options or Options()
    if level:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATAROBUST_SIMD", level)
            return ranked(norm, points, shards=shards, options=options, **rest)
    if shards == 1:
        return rank(points, norm, options=options, **rest)
    lists: list[tuple[Array, Array]] = []

    def gathered(key: Array, index: Array) -> tuple[Array, Array]:
        lists.append((key, index))
        return distributed.merge_lists([part for part, _ in lists], [part for _, part in lists])

    for number in range(shards):
        found = rank(points, norm, options=replace(options, shard=(number, shards)), merge=gathered, **rest)
    return found


def assert_same(found: Ranking, expected: Ranking | tuple[Array, Array]) -> None:
    """Both have the same distances and neighbours, bit for bit."""
    if isinstance(expected, Ranking):
        expected = expected.distance, expected.neighbour
    assert found.distance.dtype == np.float64
    assert found.neighbour.dtype == np.int64
    np.testing.assert_array_equal(found.distance, expected[0])
    np.testing.assert_array_equal(found.neighbour, expected[1])


# ---------------------------------------------------------------------------------------------------------- sets

ALPHABETS = ([0, 255], [0, 1], [127, 128, 129], [0, 1, 254, 255], list(range(0, 256, 51)), list(range(256)))


@st.composite
def byte_sets(draw: st.DrawFn, points: int = 60, width: int = 200, *, least: int = 1) -> tuple[Array, Array]:
    """Small sets of bytes with ties, duplicates, unbalanced classes: points (N, D) uint8 and labels (N,)."""
    n, d = draw(st.integers(least, points)), draw(st.integers(1, width))
    alphabet = np.array(draw(st.sampled_from(ALPHABETS)), np.uint8)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.choice(alphabet, (n, d))
    if draw(st.booleans()):  # few coordinates vary: near and equal points abound
        same = random.random(d) < 0.9
        values[:, same] = values[0, same]
    if draw(st.booleans()):
        values = values[random.integers(0, draw(st.integers(1, n)), n)]
    return values, draw(labels_of(n))


@st.composite
def labels_of(draw: st.DrawFn, n: int) -> Array:
    """Labels of ``n`` points: one class, one class a point, anything between; balanced or not."""
    classes = draw(st.integers(1, n))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = random.choice(10 * n, classes, replace=False).astype(np.int64)
    if draw(st.booleans()):
        return names[np.minimum(random.geometric(0.5, n) - 1, classes - 1)]
    return names[random.integers(0, classes, n)]


@st.composite
def ways(draw: st.DrawFn) -> dict[str, Any]:
    """A way to search that must not change a bit: arguments of :func:`ranked`."""
    level = draw(st.sampled_from(["generic", *LEVELS]))
    options = Options(
        threads=draw(st.integers(1, 3)),
        block=draw(st.sampled_from([64, 128, 2048])),
        engine="generic" if level == "generic" else "auto",
    )
    memory = draw(st.sampled_from([1, 20_000, 1 << 30]))
    way = {"options": options, "memory": memory, "shards": draw(st.sampled_from([1, 1, 2, 3]))}
    return way if level == "generic" else {**way, "level": level}


def near_duplicates(n: int, width: int = 3072, *, bright: bool = True, seed: int = 0) -> tuple[Array, Array]:
    """Images with squared distances of 1, 2, 4, ... and squared norms so large that float32 cannot tell them apart."""
    random = np.random.default_rng(seed)
    base = random.integers(200 if bright else 0, 256 if bright else 56, (max(1, n // 20), width), dtype=np.uint8)
    points = base[random.integers(0, len(base), n)].astype(np.int16)
    for row in points:
        touched = random.choice(width, random.integers(0, 5), replace=False)
        row[touched] += random.choice([-2, -1, 1, 2], len(touched))
    return np.clip(points, 0, 255).astype(np.uint8), random.integers(0, 3, n)


def clustered(n: int, width: int = 784, *, seed: int = 0) -> tuple[Array, Array]:
    """Smooth blobs around a few centres, each centre with its own mix of labels: images as they are."""
    random = np.random.default_rng(seed)
    smooth = np.cumsum(random.standard_normal((12, width)), axis=1)
    centre = random.integers(0, 12, n)
    drift = np.cumsum(random.standard_normal((n, width)), axis=1) / 6
    values = 128 + 4 * (smooth[centre] + drift)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8), (centre + random.integers(0, 3, n)) % 10


def saturated(n: int, width: int = 784, *, seed: int = 0) -> tuple[Array, Array]:
    """Black and white with a few greys, like digits: nearly all l-infinity distances are 255."""
    random = np.random.default_rng(seed)
    strokes = random.random((30, width)) < 0.2
    points = np.where(strokes[random.integers(0, 30, n)] ^ (random.random((n, width)) < 0.02), 255, 0)
    greys = random.random((n, width)) < 0.01
    points[greys] = random.integers(0, 256, int(greys.sum()))
    return points.astype(np.uint8), random.integers(0, 10, n)


def all_equal(n: int, width: int = 300) -> tuple[Array, Array]:
    """One image n times under four labels."""
    return np.full((n, width), 137, np.uint8), np.arange(n) * 7 % 4


def constant_images(n: int, width: int = 300) -> tuple[Array, Array]:
    """Images of one brightness each, all 256 of them again and again."""
    return np.repeat((np.arange(n) * 37 % 256).astype(np.uint8)[:, None], width, axis=1), np.arange(n) // 5 % 6


def one_giant_class(n: int, width: int = 500) -> tuple[Array, Array]:
    """All but three points have one label."""
    points, labels = clustered(n, width, seed=5)
    labels[:] = 4
    labels[[1, n // 2, n - 1]] = 0, 4000, 7
    return points, labels


def class_a_point(n: int, width: int = 200) -> tuple[Array, Array]:
    """Every point has a label of its own."""
    return clustered(n, width, seed=6)[0], np.random.default_rng(0).permutation(n)


def coarse_and_far(n: int, width: int = 130) -> tuple[Array, Array]:
    """Two tight clouds at opposite corners, labels mixed in only one of them: radii of all sizes."""
    random = np.random.default_rng(9)
    points = random.integers(0, 6, (n, width), dtype=np.uint8)
    labels = random.integers(0, 2, n)
    points[n // 2 :] += 249
    labels[n // 2 :] = 0
    return points, labels


HARD_SETS: dict[str, Callable[[], tuple[Array, Array]]] = {
    "near duplicates": lambda: near_duplicates(900),
    "near duplicates, dark": lambda: near_duplicates(900, 784, bright=False),
    "clusters": lambda: clustered(1200),
    "saturated": lambda: saturated(1000),
    "all equal": lambda: all_equal(900),
    "constant images": lambda: constant_images(1100),
    "one giant class": lambda: one_giant_class(1000),
    "a class a point": lambda: class_a_point(1000),
    "corners": lambda: coarse_and_far(1100),
}
