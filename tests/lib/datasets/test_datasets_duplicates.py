"""Equal points: a dictionary over all points is the slow twin; two sets, labels."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.datasets import equal_points
from datarobust.errors import ArtifactError, DataError, UsageError

RNG = np.random.default_rng(0)


def make(path, points, labels, classes=(), first=0, **extra):
    kind = "images" if points.dtype == np.uint8 else "features"
    arrays = {kind: points, "labels": np.asarray(labels), "index": np.arange(first, first + len(points)), **extra}
    described = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    attributes = {"name": path.stem, "classes": list(classes)}
    with artifacts.create(
        path, "dataset", described, attributes=attributes, history=[Step("make", (path.stem,), "0")]
    ) as writer:
        for name, array in arrays.items():
            writer.append(name, array)
    return artifacts.open_store(path)


def images(values):
    """Images of two pixels that differ where the values do."""
    return np.array([[[[value, 7]]] for value in values], np.uint8)


def twin(values, labels, others=None, other_labels=None):
    """Groups as lists of (set, row, label), and how many points of the first set are at distance 0."""
    groups = {}
    for row, (value, label) in enumerate(zip(values, labels, strict=True)):
        groups.setdefault(value, []).append((0, row, label))
    for row, (value, label) in enumerate(zip(others or [], other_labels or [], strict=True)):
        groups.setdefault(value, []).append((1, row, label))
    if others is None:
        kept = [group for group in groups.values() if len(group) > 1]
        at_zero = sum(any(label != other for _, _, other in g) for g in kept for _, _, label in g)
    else:
        kept = [group for group in groups.values() if {number for number, _, _ in group} == {0, 1}]
        at_zero = sum(
            any(label != other for number, _, other in g if number) for g in kept for mine, _, label in g if not mine
        )
    return kept, at_zero


def listed(found):
    return [
        list(zip(found.second[m].tolist(), found.row[m].tolist(), found.label[m].tolist(), strict=True))
        for m in found.members()
    ]


values = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values, st.none() | values, st.booleans(), st.randoms(use_true_random=False))
def test_groups_are_those_of_all_points(tmp_path_factory, mine, theirs, floats, dice):
    folder = tmp_path_factory.mktemp("d")
    labels = [dice.randrange(3) for _ in mine]
    other_labels = None if theirs is None else [dice.randrange(3) for _ in theirs]
    points = [images(v) for v in (mine, theirs) if v is not None]
    if floats:
        points = [p[:, 0, 0].astype(np.float32) for p in points]
    stores = [make(folder / "a.zarr", points[0], labels)]
    if theirs is not None:
        stores.append(make(folder / "b.zarr", points[1], other_labels))
    found = equal_points(*stores)
    groups, at_zero = twin(mine, labels, theirs, other_labels)
    assert listed(found) == groups
    assert found.at_zero == at_zero
    assert found.different.tolist() == [len({label for _, _, label in group}) > 1 for group in groups]
    gone = set(found.surplus().tolist())
    left = [value for row, value in enumerate(mine) if row not in gone]
    assert len(set(left)) == len(left) if theirs is None else not set(left) & set(theirs)
    assert set(left) == (set(mine) if theirs is None else set(mine) - set(theirs))


def test_minus_zero_equals_zero(tmp_path):
    points = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]], np.float32)
    found = equal_points(make(tmp_path / "a.zarr", points, [0, 1, 2]))
    assert listed(found) == [[(False, 0, 0), (False, 1, 1)]]


def test_several_files_of_a_store_and_a_limit(tmp_path):
    """Three blocks of rows, equal points far apart; a limit forgets those behind it."""
    points = RNG.integers(0, 256, (9000, 1, 8, 8), dtype=np.uint8)
    points[8999], points[8192], points[4100] = points[5], points[4096], points[4099]
    labels = np.arange(9000) % 10
    store = make(tmp_path / "a.zarr", points, labels, first=100)
    found = equal_points(store)
    assert [[row for _, row, _ in group] for group in listed(found)] == [[5, 8999], [4096, 8192], [4099, 4100]]
    assert found.index.tolist() == (found.row + 100).tolist()
    assert found.remark() == "3 groups of equal points, 3 with different labels, 6 points at distance 0"
    assert found.surplus().tolist() == [4100, 8192, 8999]
    assert equal_points(store, limit=8999).row.tolist() == [4096, 8192, 4099, 4100]
    assert len(equal_points(store, limit=4100)) == 0
    assert equal_points(store, store, limit=4100).row.tolist().count(4099) == 2


def test_coarse_labels(tmp_path):
    store = make(tmp_path / "a.zarr", images([1, 1, 2, 2]), [0, 1, 2, 3], coarse=np.array([5, 5, 5, 6]))
    assert equal_points(store).different.tolist() == [True, True]
    coarse = equal_points(store, labels="coarse")
    assert coarse.different.tolist() == [False, True]
    assert coarse.label.tolist() == [5, 5, 5, 6]
    assert coarse.at_zero == 2
    with pytest.raises(UsageError, match=r"b\.zarr has no coarse labels; it has images, index, labels"):
        equal_points(store, make(tmp_path / "b.zarr", images([1]), [0]), labels="coarse")


def test_classes_of_two_sets_are_compared_by_name(tmp_path):
    mine = make(tmp_path / "a.zarr", images([1, 2, 3, 4]), [0, 1, 1, 4], classes=["cat", "dog"])
    theirs = make(tmp_path / "b.zarr", images([1, 2, 3, 4]), [1, 0, 2, 4], classes=["dog", "cat", "cow"])
    found = equal_points(mine, theirs)
    assert found.different.tolist() == [False, False, True, True]  # a label without a name is nobody else's
    nameless = make(tmp_path / "c.zarr", images([1, 2]), [0, 0])
    assert equal_points(mine, nameless).different.tolist() == [False, True]


def test_sets_that_cannot_have_points_in_common(tmp_path):
    one = make(tmp_path / "a.zarr", images([1, 2]), [0, 1])
    two = make(tmp_path / "b.zarr", np.zeros((2, 3), np.float32), [0, 1])
    with pytest.raises(
        DataError, match=r"a\.zarr and .*b\.zarr have no points in common.*\(1, 1, 2\) uint8.*\(3,\) float"
    ):
        equal_points(one, two)


def test_altered_points_are_noticed(tmp_path):
    store = make(tmp_path / "a.zarr", images([1, 2, 1]), [0, 1, 1])
    file = next((tmp_path / "a.zarr" / "images").glob("c.*"))
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="altered"):
        equal_points(store)
