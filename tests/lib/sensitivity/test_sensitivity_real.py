"""Real images: the figures of the literature, and integer brute force on some of the points."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from datarobust.sensitivity import Labelled, Options, Ranking, rank

from .oracle import COMPILED, NORMS, Array, assert_same, brute


@cache
def images(folder: Path, name: str) -> tuple[Array, Array]:
    """Images (N, D) uint8 and labels (N,) of a data set."""
    with np.load(folder / "data" / f"{name}.npz", allow_pickle=False) as arrays:
        return arrays["x"].reshape(len(arrays["y"]), -1), arrays["y"].astype(np.int64)


@cache
def ranking(folder: Path, norm: str, name: str, against: str | None = None) -> Ranking:
    other = None if against is None else Labelled.of(*images(folder, against))
    return rank(Labelled.of(*images(folder, name)), norm, against=other)


def levels(found: Ranking) -> int:
    """The smallest l-infinity distance, in steps of a byte."""
    smallest = float(found.robustness.min()) * 255
    assert smallest == round(smallest)
    return round(smallest)


@pytest.mark.parametrize(
    ("name", "against", "least"),
    [
        ("cifar10_train", None, 54),  # 0.2118, the paper's figure
        ("cifar10_test", "cifar10_train", 56),
        ("mnist_train", None, 188),
        ("mnist_test", "mnist_train", 207),
    ],
)
def test_the_least_distance_between_classes(shared: Path, name: str, against: str | None, least: int) -> None:
    found = ranking(shared, "linf", name, against)
    assert levels(found) == least
    row = int(found.robustness.argmin())
    near = int(found.neighbour[row, 0])
    (points, labels), (others, other_labels) = images(shared, name), images(shared, against or name)
    assert int(np.abs(points[row].astype(int) - others[near].astype(int)).max()) == least
    assert labels[row] != other_labels[near]


@pytest.mark.parametrize("norm", COMPILED)
@pytest.mark.parametrize(("name", "against"), [("cifar10_train", None), ("cifar10_test", "cifar10_train")])
def test_random_points_against_brute_force(shared: Path, name: str, against: str | None, norm: str) -> None:
    found = ranking(shared, norm, name, against)
    points, labels = images(shared, name)
    others, other_labels = images(shared, against or name)
    rows = np.random.default_rng(0).choice(len(labels), 40, replace=False)
    rows = np.unique(np.concatenate([rows, [found.robustness.argmin(), found.robustness.argmax()]]))
    expected = brute(points[rows], labels[rows], norm, 1, others, other_labels)
    assert_same(Ranking(found.distance[rows], found.neighbour[rows]), expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["cifar10_train", "mnist_test"])
def test_a_subset_against_brute_force(shared: Path, name: str, norm: str) -> None:
    points, labels = images(shared, name)
    rows = np.random.default_rng(1).choice(len(labels), 500 if norm in COMPILED else 250, replace=False)
    points, labels = points[rows], labels[rows]
    expected = brute(points, labels, norm, 3)
    whole = Labelled.of(points, labels)
    assert_same(rank(whole, norm, k=3), expected)
    assert_same(rank(whole, norm, k=3, memory=points.nbytes // 3, options=Options(threads=3, block=256)), expected)
