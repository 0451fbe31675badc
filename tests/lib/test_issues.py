"""Issues against their definitions, written as loops over all pairs; and what finds wrong labels of real digits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.issues import KINDS, USUAL, Findings, Thresholds, find, label_scores
from datarobust.sensitivity import Labelled, Options, rank
from datarobust.types import Array

Row = tuple[str, float, int, int, float]
ALONE = Options(threads=1)


def rows_of(findings: Findings) -> list[Row]:
    columns = (findings.kind, findings.score, findings.first, findings.second, findings.distance)
    return [(KINDS[kind], *rest) for kind, *rest in zip(*(column.tolist() for column in columns), strict=True)]


def named(row: Row) -> tuple[object, ...]:
    """A finding without its score."""
    return (row[0], *row[2:])


def groups_of(points: Array) -> Array:
    return np.unique(points, axis=0, return_inverse=True)[1].ravel()


def by_definition(points: Array, labels: Array, tests: Array | None, k: int, least: Thresholds) -> list[Row]:
    """All findings of points (N, D) under the norm linf, whose distances are whole numbers over 255."""

    def distances(others: Array) -> list[list[float]]:
        steps = np.abs(points[:, None].astype(int) - others.astype(int)).max(axis=2)
        return [[step / 255 for step in row] for row in steps.tolist()]

    def over(a: float, b: float) -> float:
        return math.inf if b == 0 else a / b

    places, found, copies, d = range(len(points)), [], set(), distances(points)
    nearest = [sorted((d[i][j], j) for j in places if j != i)[:USUAL] for i in places]
    usual = [near[-1][0] if near else math.nan for near in nearest]
    first = [next(j for j in places if (points[j] == points[i]).all()) for i in places]
    for i in places:
        if first[i] != i:
            found.append(("duplicate", math.inf, first[i], i, 0.0))
            copies.add((first[i], i))
    pairs = {(min(i, j), max(i, j)) for i in places for _, j in nearest[i] if first[i] == i and first[j] == j}
    for i, j in pairs:
        apart = d[i][j]
        if over(min(usual[i], usual[j]), apart) >= least.near:
            found.append(("near duplicate", over(min(usual[i], usual[j]), apart), i, j, apart))
            copies.add((i, j))
    other, same, ratio = [], [], []
    for i in places:
        away = sorted((d[i][j], j) for j in places if j != i)
        others = [(r, j) for r, j in away if labels[j] != labels[i]]
        own = [r for r, j in away if labels[j] == labels[i]]
        other.append(others[0] if others else (math.inf, -1))
        same.append(own[0] if own else math.inf)
        compared = min(k, len(own), len(others))
        far, near = sum(own[:compared]), sum(r for r, _ in others[:compared])
        ratio.append(0.0 if far == 0 else over(far, near))
        if tests is not None:
            apart, j = min((apart, j) for j, apart in enumerate(distances(tests)[i]))
            if over(usual[i], apart) >= least.near:
                found.append(("leak", over(usual[i], apart), i, j, apart))
    median = np.median([r for r, _ in other if r < math.inf] or [0.0])
    for i, (r, j) in enumerate(other):
        if same[i] == math.inf:
            found.append(("alone", math.nan, i, j, r))
        elif r > 0 and (min(i, j), max(i, j)) not in copies:
            if ratio[i] >= least.label:
                found.append(("label", ratio[i], i, j, r))
            elif ratio[i] >= 1 / least.label and median / r >= least.ambiguous:
                found.append(("ambiguous", median / r, i, j, r))
    return found


@settings(max_examples=60)
@given(
    n=st.integers(1, 30), width=st.integers(1, 4), levels=st.integers(2, 40), classes=st.integers(1, 8),
    seed=st.integers(0, 999), against=st.booleans(), k=st.sampled_from([1, 3, 5, 1 << 40]),
    least=st.builds(Thresholds, *(st.sampled_from([1.0, 1.2, 1.5, 2.0]) for _ in range(3))),
)  # fmt: skip
def test_it_is_the_definition(
    n: int, width: int, levels: int, classes: int, seed: int, against: bool, k: int, least: Thresholds
) -> None:
    random = np.random.default_rng(seed)
    points = random.integers(0, levels, (n, width), dtype=np.uint8)
    labels, tests = random.integers(0, classes, n), random.integers(0, levels, (7, width), dtype=np.uint8)
    others = Labelled.of(tests, random.integers(0, classes, 7)) if against else None
    findings = find(
        Labelled.of(points, labels), "linf", groups_of(points), against=others, k=k, thresholds=least, options=ALONE
    )
    expected = by_definition(points, labels, tests if against else None, k, least)
    found, expected = sorted(rows_of(findings), key=named), sorted(expected, key=named)
    assert [named(row) for row in found] == [named(row) for row in expected]
    np.testing.assert_allclose([row[1] for row in found], [row[1] for row in expected], rtol=1e-12)
    order = [(KINDS.index(kind), -score) for kind, score, *_ in rows_of(findings) if score == score]
    assert order == sorted(order)
    assert sum(findings.count(kind) for kind in KINDS) == len(findings)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_what_is_made_is_found(norm: str) -> None:
    """Two clouds: a point of one under the other's label, a copy, a near copy, a class of one."""
    random = np.random.default_rng(0)
    points = random.normal(0, 1, (60, 20)).astype(np.float32)
    points[30:] += 9
    labels = np.repeat([0, 1], 30)
    points[57], labels[56] = points[3] + np.float32(0.01), 0
    points[59], labels[59] = points[4], 2
    findings = find(Labelled.of(points, labels), norm, groups_of(points))
    by_kind = {kind: [row[2:4] for row in rows_of(findings) if row[0] == kind] for kind in KINDS}
    assert by_kind["duplicate"] == [(4, 59)]
    assert by_kind["near duplicate"] == [(3, 57)]
    assert [first for first, _ in by_kind["alone"]] == [59]
    assert 56 in [first for first, _ in by_kind["label"]]
    assert findings.agreement > 0.8


def test_scores_without_a_ratio() -> None:
    inf = np.inf
    same = np.array([[2.0, 4.0], [inf, inf], [1.0, 2.0], [0.0, 0.0], [3.0, 3.0], [2.0, inf]])
    other = np.array([[1.0, 2.0], [1.0, 1.0], [inf, inf], [0.0, 0.0], [0.0, 0.0], [4.0, 5.0]])
    assert label_scores(same, other).tolist() == [2, 0, 0, 0, inf, 0.5]


def test_it_finds_the_wrong_labels_of_real_digits(shared: Path) -> None:
    """60 of 3,000 labels are wrong: 1/r ranks them at an AUC of 0.748, r_same/r_other of 0.996 and more."""
    with np.load(shared / "data" / "mnist_test.npz") as data:
        images, labels = data["x"][:3000], data["y"][:3000].astype(np.int64)
    random = np.random.default_rng(0)
    bad = random.choice(3000, 60, replace=False)
    labels[bad] = (labels[bad] + random.integers(1, 10, 60)) % 10
    points, wrong = Labelled.of(images, labels), np.isin(np.arange(3000), bad)
    other, same = rank(points, "l2", k=5).distance, rank(points, "l2", k=5, same=True).distance
    for score, area, precision in (
        (1 / other[:, 0], 0.748, 0.08), (label_scores(same[:, :1], other[:, :1]), 0.996, 0.783),
        (label_scores(same, other), 0.997, 0.817),
    ):  # fmt: skip
        place = score.argsort().argsort()
        assert (place[wrong].sum() - 60 * 59 / 2) / (60 * 2940) == pytest.approx(area, abs=5e-4)
        assert wrong[np.argsort(-score)[:60]].mean() == pytest.approx(precision, abs=5e-3)
