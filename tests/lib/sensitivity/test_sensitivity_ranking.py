"""The ranking is Algorithm 1's, bit for bit, however it is searched for; Equation (1) with label vectors likewise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datarobust.errors import DataError, DatarobustError, DuplicateError, UsageError
from datarobust.sensitivity import Labelled, Options, Ranking, least_robust_first, rank, sensitivity_of

from .oracle import (
    LEVELS,
    NORMS,
    Array,
    assert_same,
    brute,
    byte_sets,
    equation_1,
    keys,
    labels_of,
    near_duplicates,
    printed,
    ranked,
    ways,
)

each = settings(max_examples=20)
norms = st.sampled_from(NORMS)
neighbours = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)


# -------------------------------------------------------------------------------------------- Algorithm 1, bytes


@each
@given(points=byte_sets(24, 80), norm=norms, k=neighbours, same=st.booleans(), way=ways())
def test_it_is_algorithm_1_as_printed(
    points: tuple[Array, Array], norm: str, k: int, same: bool, way: dict[str, Any]
) -> None:
    found = ranked(norm, Labelled.of(*points), k=k, same=same, **way)
    distance, neighbour, sensitivity = printed(*points, norm, k, same=same)
    assert_same(found, (distance, neighbour))
    assert found.sensitivity.tolist() == [max(m, 0.0) for m in sensitivity]
    np.testing.assert_array_equal(found.robustness, distance[:, 0])
    # The vectorised oracle, which larger sets are held against, is the same.
    assert_same(found, brute(*points, norm, k, same=same))


@settings(max_examples=60)
@given(
    points=byte_sets(400, 200), norm=norms, k=neighbours, same=st.booleans(), way=ways(),
    window=st.sampled_from([1, 8, 64, 1024]),
)  # fmt: skip
def test_it_is_algorithm_1(
    points: tuple[Array, Array], norm: str, k: int, same: bool, way: dict[str, Any], window: int
) -> None:
    # Small windows for first neighbours leave the work to the blocks.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datarobust.sensitivity.search.WINDOW", window)
        found = ranked(norm, Labelled.of(*points), k=k, same=same, **way)
    assert_same(found, brute(*points, norm, k, same=same))


@settings(max_examples=60)
@given(data=st.data(), norm=norms, k=neighbours, same=st.booleans(), way=ways(), window=st.sampled_from([1, 1024]))
def test_against_another_set(
    data: st.DataObject, norm: str, k: int, same: bool, way: dict[str, Any], window: int
) -> None:
    everything, labels = data.draw(byte_sets(300, 150, least=2))
    cut = data.draw(st.one_of(st.just(1), st.just(len(labels) - 1), st.integers(1, len(labels) - 1)))
    points, others = (everything[:cut], labels[:cut]), (everything[cut:], labels[cut:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datarobust.sensitivity.search.WINDOW", window)
        found = ranked(norm, Labelled.of(*points), k=k, against=Labelled.of(*others), same=same, **way)
    assert_same(found, brute(*points, norm, k, *others, same=same))
    if cut <= 12 and len(labels) <= 40:
        assert_same(found, printed(*points, norm, k, *others, same=same)[:2])


@each
@given(points=byte_sets(200, 100), norm=norms, k=neighbours, way=ways())
def test_against_itself_is_the_ranking(points: tuple[Array, Array], norm: str, k: int, way: dict[str, Any]) -> None:
    whole = Labelled.of(*points)
    assert_same(ranked(norm, whole, k=k, against=whole, **way), rank(whole, norm, k=k))


@pytest.mark.parametrize("norm", NORMS)
def test_rows_longer_than_a_32_bit_sum(norm: str) -> None:
    """Squared distances up to 70,001 * 255^2 = 4.6e9, and rows longer than a block of exact products."""
    random = np.random.default_rng(0)
    points = random.choice(np.array([0, 255], np.uint8), (7, 70_001))
    points[0], points[1], points[2] = 0, 255, 255
    points[2, -1] = 254
    labels = np.array([0, 1, 1, 2, 2, 0, 3])
    expected = printed(points, labels, norm, 4)[:2]
    for level in LEVELS:
        assert_same(ranked(norm, Labelled.of(points, labels), k=4, level=level), expected)
    assert_same(rank(Labelled.of(points, labels), norm, k=4, options=Options(engine="generic")), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_images_are_rows(norm: str) -> None:
    random = np.random.default_rng(1)
    images, labels = random.integers(0, 256, (70, 3, 8, 8), dtype=np.uint8), random.integers(0, 4, 70)
    flat = images.reshape(70, -1)
    expected = rank(Labelled.of(flat, labels), norm)
    assert_same(rank(Labelled.of(images, labels), norm), expected)
    wide = np.zeros((140, 2 * flat.shape[1]), np.uint8)
    wide[::2, ::2] = flat
    assert_same(rank(Labelled.of(wide[::2, ::2], labels), norm), expected)  # not contiguous


@pytest.mark.parametrize("norm", NORMS)
def test_the_input_stays_as_it_was(norm: str) -> None:
    points, labels = near_duplicates(300, 128)
    before = points.copy(), labels.copy()
    rank(Labelled.of(points, labels), norm, k=2, duplicates="drop")
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(labels, before[1])


# ------------------------------------------------------------------------------------- what must follow from it


@each
@given(points=byte_sets(200, 100), norm=norms)
def test_a_nearest_neighbour_is_no_more_robust(points: tuple[Array, Array], norm: str) -> None:
    found = rank(Labelled.of(*points), norm)
    there = found.neighbour[:, 0] >= 0
    assert (found.robustness[found.neighbour[there, 0]] <= found.robustness[there]).all()


@each
@given(points=byte_sets(200, 100, least=2), norm=norms, data=st.data())
def test_more_points_never_make_one_more_robust(points: tuple[Array, Array], norm: str, data: st.DataObject) -> None:
    values, labels = points
    count = data.draw(st.integers(1, len(labels) - 1))
    fewer = rank(Labelled.of(values[:count], labels[:count]), norm)
    assert (rank(Labelled.of(values, labels), norm).robustness[:count] <= fewer.robustness).all()


@each
@given(points=byte_sets(200, 100), norm=norms, seed=seeds, k=neighbours)
def test_the_names_of_classes_do_not_matter(points: tuple[Array, Array], norm: str, seed: int, k: int) -> None:
    values, labels = points
    classes, number = np.unique(labels, return_inverse=True)
    names = np.random.default_rng(seed).permutation(10 * len(classes))[: len(classes)]
    assert_same(rank(Labelled.of(values, names[number]), norm, k=k), rank(Labelled.of(values, labels), norm, k=k))


@each
@given(points=byte_sets(200, 100), norm=norms, seed=seeds, k=neighbours)
def test_the_order_of_points_decides_ties_and_nothing_else(
    points: tuple[Array, Array], norm: str, seed: int, k: int
) -> None:
    values, labels = points
    order = np.random.default_rng(seed).permutation(len(labels))
    found = rank(Labelled.of(values, labels), norm, k=k)
    moved = rank(Labelled.of(values[order], labels[order]), norm, k=k)
    np.testing.assert_array_equal(moved.distance, found.distance[order])
    key = keys(values[order], values[order], norm)
    for t in range(k):
        there = np.flatnonzero(moved.neighbour[:, t] >= 0)
        near = moved.neighbour[there, t]
        key_of = key[there, near] ** (0.5 if norm == "l2" else 1) / 255
        np.testing.assert_allclose(key_of, moved.distance[there, t], rtol=1e-15)
        assert (labels[order][there] != labels[order][near]).all()


@each
@given(points=byte_sets(150, 100), norm=norms, k=st.integers(2, 5))
def test_the_first_of_k_neighbours_is_the_nearest(points: tuple[Array, Array], norm: str, k: int) -> None:
    more = rank(Labelled.of(*points), norm, k=k)
    one = rank(Labelled.of(*points), norm)
    assert_same(Ranking(more.distance[:, :1], more.neighbour[:, :1]), one)
    assert (np.diff(np.where(np.isinf(more.distance), 1e9, more.distance), axis=1) >= 0).all()


@each
@given(distance=st.lists(st.sampled_from([0.0, 0.25, 1.0, math.inf, math.nan]), max_size=20))
def test_order_and_sensitivity(distance: list[float]) -> None:
    order = least_robust_first(np.array(distance, np.float64)).tolist()
    expected = sorted((d, i) for i, d in enumerate(distance) if not math.isnan(d))
    assert order == [i for _, i in expected]
    expected_values = [math.inf if d == 0 else 1 / d for d in distance]
    np.testing.assert_array_equal(sensitivity_of(np.array(distance, np.float64)), expected_values)


# ----------------------------------------------------------------------------------- points without a neighbour


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("k", [1, 3])
def test_one_class_has_no_neighbours(norm: str, n: int, k: int) -> None:
    points = np.random.default_rng(0).integers(0, 256, (n, 20), dtype=np.uint8)
    found = rank(Labelled.of(points, np.full(n, 7)), norm, k=k)
    assert_same(found, (np.full((n, k), np.inf), np.full((n, k), -1)))
    assert (found.sensitivity == 0).all()
    assert least_robust_first(found.robustness).tolist() == list(range(n))


@pytest.mark.parametrize("norm", NORMS)
def test_a_point_alone_in_its_class_has_no_neighbour_of_the_same_label(norm: str) -> None:
    points = np.random.default_rng(0).integers(0, 256, (200, 20), dtype=np.uint8)
    found = rank(Labelled.of(points, np.arange(200)), norm, same=True)
    assert_same(found, (np.full((200, 1), np.inf), np.full((200, 1), -1)))
    two = rank(Labelled.of(points, np.arange(200) % 199), norm, same=True)
    assert np.isfinite(two.robustness).nonzero()[0].tolist() == [0, 199]
    assert two.neighbour[[0, 199], 0].tolist() == [199, 0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"soft": True}, "`same` compares classes, not label vectors: leave out `soft`"),
        ({"duplicates": "drop"}, "`duplicates` drop is about points of different labels: leave it out with `same`"),
    ],
    ids=str,
)
def test_neighbours_of_the_same_label_are_of_classes_and_never_dropped(wrong: dict[str, Any], message: str) -> None:
    points = Labelled.of(np.zeros((3, 2), np.uint8), np.arange(3), np.eye(3))
    with pytest.raises(UsageError) as caught:
        rank(points, "l2", same=True, **wrong)
    assert str(caught.value) == message


# ---------------------------------------------------------------------------------------------------- duplicates


@each
@given(points=byte_sets(150, 12), norm=norms, k=neighbours, way=ways())
@example(points=near_duplicates(300, 64), norm="l2", k=2, way={"shards": 2})
@example(points=(np.zeros((9, 5), np.uint8), np.arange(9) % 2), norm="linf", k=2, way={})
def test_dropped_points_are_as_if_they_were_not_there(
    points: tuple[Array, Array], norm: str, k: int, way: dict[str, Any]
) -> None:
    values, labels = points
    everything = ranked(norm, Labelled.of(values, labels), k=k, **way)
    options = {name: value for name, value in way.items() if name != "shards"}
    found = ranked(norm, Labelled.of(values, labels), k=k, duplicates="drop", **options)
    equal = keys(values, values, norm) == 0
    twins = (equal & (labels[:, None] != labels[None, :])).any(axis=1)
    assert ((everything.robustness == 0) == twins).all()
    assert np.isnan(found.distance[twins]).all()
    assert (found.neighbour[twins] == -1).all()
    rest = np.flatnonzero(~twins)
    assert (least_robust_first(found.robustness) == rest[least_robust_first(found.robustness[rest])]).all()
    if len(rest):
        distance, neighbour = brute(values[rest], labels[rest], norm, k)
        neighbour = np.where(neighbour < 0, -1, rest[neighbour])
        assert_same(Ranking(found.distance[rest], found.neighbour[rest]), (distance, neighbour))


def test_duplicates_as_an_error_name_the_first() -> None:
    points = np.arange(40, dtype=np.uint8).reshape(10, 4)
    labels = np.arange(10) % 2
    expected = rank(Labelled.of(points, labels), "l2")
    assert_same(rank(Labelled.of(points, labels), "l2", duplicates="error"), expected)
    points[[6, 9]] = points[[3, 3]]  # 3 and 9 have one label
    with pytest.raises(DuplicateError, match=r"^3 points .* row 3, equal to row 6: .*`duplicates` inf or drop") as told:
        rank(Labelled.of(points, labels), "l2", duplicates="error")
    assert "\n" not in str(told.value)
    points[6] += 1
    assert rank(Labelled.of(points, labels), "l2", duplicates="error").robustness[3] > 0  # equal points of one label


@pytest.mark.parametrize("norm", NORMS)
def test_dropped_points_of_features(norm: str) -> None:
    points = np.random.default_rng(3).standard_normal((40, 7)).astype(np.float32)
    points[20] = points[5]
    points[30] = points[5]
    labels = np.arange(40) % 3  # 5, 20: 2; 30: 0
    found = rank(Labelled.of(points, labels), norm, duplicates="drop")
    rest = np.setdiff1d(np.arange(40), [5, 20, 30])
    alone = rank(Labelled.of(points[rest], labels[rest]), norm)
    assert np.isnan(found.robustness[[5, 20, 30]]).all()
    assert_same(Ranking(found.distance[rest], found.neighbour[rest]), (alone.distance, rest[alone.neighbour]))


@pytest.mark.parametrize("norm", NORMS)
def test_dropped_points_leave_the_set_they_are_held_against_alone(norm: str) -> None:
    random = np.random.default_rng(4)
    points, others = random.integers(0, 256, (20, 6), np.uint8), random.integers(0, 256, (30, 6), np.uint8)
    labels, other_labels = np.arange(20) % 2, np.arange(30) % 2
    points[4] = others[7]  # 0 and 1
    found = rank(Labelled.of(points, labels), norm, against=Labelled.of(others, other_labels), duplicates="drop")
    rest = np.setdiff1d(np.arange(20), [4])
    apart = rank(Labelled.of(points[rest], labels[rest]), norm, against=Labelled.of(others, other_labels))
    assert np.isnan(found.robustness[4])
    assert found.neighbour[4, 0] == -1
    assert_same(Ranking(found.distance[rest], found.neighbour[rest]), (apart.distance, apart.neighbour))


@pytest.mark.parametrize("norm", NORMS)
def test_arrays_that_must_not_be_written(norm: str) -> None:
    points, labels = near_duplicates(60, 16)
    expected = rank(Labelled.of(points, labels), norm)
    points.flags.writeable = False
    assert_same(rank(Labelled.of(points, labels), norm), expected)


# ------------------------------------------------------------------------------------------------------ features


def features(kind: str, n: int, d: int, seed: int) -> Array:
    """Features (n, d) float32 of one kind."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((n, d))
    if kind == "offset":
        values += 1e6
    elif kind == "heavy tails":
        values = random.standard_cauchy((n, d)) ** 3
    elif kind == "constant columns":
        values[:, random.random(d) < 0.7] = 3.7
    elif kind == "scales":
        values *= 10.0 ** random.integers(-12, 12, d)
    elif kind == "whole":
        values = random.integers(-2, 3, (n, d))
    elif kind == "equal":
        values[:] = values[0]
    elif kind == "near":
        values = values[random.integers(0, max(1, n // 5), n)] + 1e-6 * values
    return np.clip(values, -1e15, 1e15).astype(np.float32)


KINDS = ("normal", "offset", "heavy tails", "constant columns", "scales", "whole", "equal", "near")


def true_distances(a: Array, b: Array, norm: str) -> Array:
    """All distances in extended precision."""
    wide = np.longdouble
    gaps = np.abs(a[:, None, :].astype(wide) - b[None, :, :].astype(wide))
    if norm == "l2":
        return np.asarray(np.sqrt((gaps * gaps).sum(axis=2)))
    return np.asarray(gaps.max(axis=2) if norm == "linf" else gaps.sum(axis=2))


def assert_near(found: Ranking, distance: Array, labels: Array, other_labels: Array, norm: str, width: int) -> None:
    """Every distance, and that of every neighbour named, is within the bound of the true one."""
    allowed = (1 if norm == "linf" else width + 2) * 2.0**-53
    k = found.distance.shape[1]
    exact = np.where(labels[:, None] == other_labels[None, :], np.inf, distance)
    best = np.sort(exact, axis=1)[:, :k]
    best = np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=np.inf)
    there = np.isfinite(best)
    assert (np.isfinite(found.distance) == there).all()
    assert ((found.neighbour >= 0) == there).all()
    own = np.take_along_axis(exact, np.maximum(found.neighbour, 0), 1)
    for expected in (best, own):
        assert (np.abs(found.distance[there] - expected[there]) <= allowed * expected[there]).all()


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS), n=st.integers(1, 150), d=st.integers(1, 100), seed=seeds, norm=norms, k=neighbours,
    way=ways(), data=st.data(),
)  # fmt: skip
def test_features_are_ranked_within_the_stated_error(
    kind: str, n: int, d: int, seed: int, norm: str, k: int, way: dict[str, Any], data: st.DataObject
) -> None:
    points, labels = features(kind, n, d, seed), data.draw(labels_of(n))
    found = rank(Labelled.of(points, labels), norm, k=k)
    assert_near(found, true_distances(points, points, norm), labels, labels, norm, d)
    assert_same(ranked(norm, Labelled.of(points, labels), k=k, **way), found)


@settings(max_examples=40)
@given(kind=st.sampled_from(KINDS), sizes=st.tuples(*[st.integers(1, 90)] * 2), seed=seeds, norm=norms, way=ways())
def test_features_against_another_set(
    kind: str, sizes: tuple[int, int], seed: int, norm: str, way: dict[str, Any]
) -> None:
    points, cut = features(kind, sum(sizes), 40, seed), sizes[0]
    labels = np.random.default_rng(seed).integers(0, 3, sum(sizes))
    sets = Labelled.of(points[:cut], labels[:cut]), Labelled.of(points[cut:], labels[cut:])
    found = rank(sets[0], norm, against=sets[1], k=2)
    assert_near(found, true_distances(points[:cut], points[cut:], norm), labels[:cut], labels[cut:], norm, 40)
    assert_same(ranked(norm, sets[0], against=sets[1], k=2, **way), found)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-43, 1e-38, 1e-20, 1e9, 1e18, 1e20, 1e37])
def test_features_of_any_scale(norm: str, scale: float) -> None:
    """As far as float32 reaches, subnormal numbers included; l2 distances are sums in float64."""
    random = np.random.default_rng(2)
    points = (random.standard_normal((400, 30)) * scale).astype(np.float32)
    points[200:] = points[:200] * np.float32(1.0001)
    labels = random.integers(0, 3, 400)
    found = rank(Labelled.of(points, labels), norm, k=2)
    assert_near(found, true_distances(points, points, norm), labels, labels, norm, 30)


@pytest.mark.parametrize("norm", NORMS)
def test_bytes_and_their_features_agree(norm: str) -> None:
    """Whole numbers are exact in float64 too, so only the unit differs."""
    points, labels = near_duplicates(500, 200)
    found = rank(Labelled.of(points.astype(np.float32), labels), norm, k=3)
    exact = rank(Labelled.of(points, labels), norm, k=3)
    assert_same(Ranking(found.distance / 255, found.neighbour), exact)


# ----------------------------------------------------------------------------------------------- label vectors


def vectors_of(kind: str, labels: Array, seed: int) -> Array:
    """Label vectors (N, C) float32 of one kind."""
    random = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    if kind == "one-hot":
        return np.eye(classes, dtype=np.float32)[labels]
    if kind == "sixteenths":
        return random.multinomial(16, np.full(classes, 1 / classes), len(labels)).astype(np.float32) / 16
    if kind == "few":
        return random.dirichlet(np.ones(classes), 3).astype(np.float32)[random.integers(0, 3, len(labels))]
    if kind == "near one-hot":
        soft = np.eye(classes)[labels] + random.random((len(labels), classes)) * 1e-4
        return (soft / soft.sum(axis=1, keepdims=True)).astype(np.float32)
    return random.dirichlet(np.full(classes, 0.5), len(labels)).astype(np.float32)


@st.composite
def soft_sets(draw: st.DrawFn, kinds: tuple[str, ...], points: int = 200) -> tuple[Array, Array, Array]:
    """Points, labels 0..C-1 and label vectors."""
    values, labels = draw(byte_sets(points, 60))
    labels = labels % draw(st.integers(1, 8))
    return values, labels, vectors_of(draw(st.sampled_from(kinds)), labels, draw(seeds))


@settings(max_examples=60)
@given(
    points=soft_sets(("one-hot", "sixteenths", "few", "near one-hot", "any")),
    norm=norms, k=neighbours, way=ways(), window=st.sampled_from([1, 1024]),
)  # fmt: skip
def test_label_vectors_are_equation_1(
    points: tuple[Array, Array, Array], norm: str, k: int, way: dict[str, Any], window: int
) -> None:
    values, _, vectors = points
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datarobust.sensitivity.search.WINDOW", window)
        found = ranked(norm, Labelled.of(*points), k=k, soft=True, **way)
    assert_same(found, equation_1(values, vectors, norm, k))
    # And in the words of the paper: the maximum of ||y_i - y_j|| / d.
    gaps = vectors.astype(np.float64)[:, None, :] - vectors.astype(np.float64)[None, :, :]
    weight = np.sqrt((gaps**2).sum(axis=2))
    d = keys(values, values, norm) ** (0.5 if norm == "l2" else 1.0) / 255
    ratio = np.divide(weight, d, out=np.where(weight > 0, np.inf, 0.0), where=d > 0)
    np.testing.assert_allclose(found.sensitivity, ratio.max(axis=1), rtol=1e-14)


@each
@given(points=soft_sets(("one-hot",)), norm=norms, k=neighbours, smooth=st.floats(0, 0.99), scale=st.floats(1e-3, 1e3))
def test_one_hot_vectors_smoothed_or_rescaled_rank_like_classes(
    points: tuple[Array, Array, Array], norm: str, k: int, smooth: float, scale: float
) -> None:
    """Appendix A: the order is unchanged, and here not even a tie moves."""
    values, labels, vectors = points
    classes = rank(Labelled.of(values, labels), norm, k=k)
    uniform = np.float32(smooth / vectors.shape[1])
    for changed in (vectors, vectors * np.float32(1 - smooth) + uniform, vectors * np.float32(scale)):
        found = rank(Labelled.of(values, labels, changed), norm, k=k, soft=True)
        np.testing.assert_array_equal(found.neighbour, classes.neighbour)
        np.testing.assert_array_equal(least_robust_first(found.robustness), least_robust_first(classes.robustness))
        length = float(changed.max()) - float(changed.min()) or 1.0  # of one class all vectors are equal
        np.testing.assert_allclose(found.distance * (math.sqrt(2) * length), classes.distance, rtol=1e-14)


@each
@given(
    points=soft_sets(("sixteenths",)), norm=norms, smooth=st.floats(0.01, 0.9), scale=st.floats(1e-3, 1e3),
    power=st.integers(-8, 8),
)  # fmt: skip
def test_smoothing_and_rescaling_any_vectors_leave_the_order(
    points: tuple[Array, Array, Array], norm: str, smooth: float, scale: float, power: int
) -> None:
    """Appendix A: all sensitivities are multiplied by one number, up to the rounding of the vectors to float32."""
    values, labels, vectors = points
    before = rank(Labelled.of(values, labels, vectors), norm, soft=True)
    exact = rank(Labelled.of(values, labels, vectors * np.float32(2.0**power)), norm, soft=True)
    assert_same(Ranking(exact.distance * 2.0**power, exact.neighbour), before)
    uniform = np.float32(smooth / vectors.shape[1])
    smoothed = vectors * np.float32(1 - smooth) + uniform
    for changed, factor in ((smoothed, 1 - smooth), (vectors * np.float32(scale), scale)):
        after = rank(Labelled.of(values, labels, changed), norm, soft=True)
        # A coordinate is off by 2^-23 or less, and label vectors that differ do so by a sixteenth times the factor.
        allowed = 4 * 2.0**-23 * math.sqrt(vectors.shape[1]) * 16 / min(1.0, 1 - smooth)
        np.testing.assert_allclose(after.distance * factor, before.distance, rtol=allowed)


def test_label_vectors_of_features_and_of_two_sets() -> None:
    random = np.random.default_rng(8)
    points, labels = random.integers(0, 256, (300, 40), dtype=np.uint8), random.integers(0, 4, 300)
    vectors = vectors_of("any", labels, 8)
    whole = Labelled.of(points, labels, vectors)
    for norm in NORMS:
        expected = rank(whole, norm, k=2, soft=True)
        assert_same(rank(whole, norm, k=2, soft=True, against=whole), expected)
        floats = rank(Labelled.of(points.astype(np.float32), labels, vectors), norm, k=2, soft=True)
        np.testing.assert_array_equal(floats.neighbour, expected.neighbour)
        np.testing.assert_allclose(floats.distance, expected.distance * 255, rtol=1e-14)


# ----------------------------------------------------------------------------------------------------- bad input

BYTES = np.zeros((4, 3), np.uint8)
LABELS = np.arange(4)
VECTORS = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("points", "options", "error", "says"),
    [
        ((BYTES, LABELS), {"norm": "l3"}, UsageError, "l3.*(l2 or linf or l1)"),
        ((BYTES, LABELS), {"k": 0}, UsageError, "k = 0"),
        ((BYTES.astype(np.float64), LABELS), {}, DataError, "uint8 or float32, not float64"),
        ((BYTES.astype(np.int64), LABELS), {}, DataError, "uint8 or float32, not int64"),
        ((BYTES[:0], LABELS[:0]), {}, DataError, r"\(0, 3\)"),
        ((BYTES[:, :0], LABELS), {}, DataError, r"\(4, 0\)"),
        ((BYTES, LABELS[:3]), {}, DataError, r"4 points.*\(3,\)"),
        ((BYTES, VECTORS), {}, DataError, "go to soft"),
        ((BYTES, LABELS), {"soft": True}, UsageError, "label vector"),
        ((BYTES, LABELS, VECTORS[:3]), {"soft": True}, UsageError, "label vector"),
        ((BYTES, LABELS, VECTORS[0]), {"soft": True}, UsageError, "label vector"),
        ((BYTES, LABELS), {"against": (BYTES[:, :2], LABELS)}, DataError, "3 uint8.*2 uint8"),
        ((BYTES, LABELS), {"against": (BYTES.astype(np.float32), LABELS)}, DataError, "3 uint8.*3 float32"),
        ((BYTES, LABELS), {"against": (BYTES[:0], LABELS[:0])}, DataError, "hold them against.*nothing"),
        ((BYTES, LABELS), {"against": (BYTES, LABELS[:2])}, DataError, "hold them against.*4 points"),
        ((BYTES, LABELS, VECTORS), {"soft": True, "against": (BYTES, LABELS)}, UsageError, "hold them against"),
        (
            (BYTES, LABELS, VECTORS),
            {"soft": True, "against": (BYTES, LABELS, VECTORS[:, :2])},
            DataError,
            "4 and 2 classes",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    points: tuple[Any, ...], options: dict[str, Any], error: type[DatarobustError], says: str
) -> None:
    norm = options.pop("norm", "l2")
    against = options.pop("against", None)
    with pytest.raises(error, match=says) as told:
        rank(Labelled.of(*points), norm, against=None if against is None else Labelled.of(*against), **options)
    assert "\n" not in str(told.value)


def test_labels_are_whole_numbers() -> None:
    with pytest.raises(DataError, match="labels"):
        Labelled.of(BYTES, [0.5, 1.0, 1.25, 2.0])
