"""datarobust.rank on what users have, against brute force and against the arrays that it stands for."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.base import clone

import datarobust
from datarobust.datasets import from_arrays
from datarobust.errors import DataError, DatarobustError, UsageError
from datarobust.types import Array, Floats

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 4, 4, 3), np.uint8)
LABELS = np.arange(12) % 3
NAMES = np.array(["cat", "dog", "owl"])


class Frame:
    """A data frame, as far as it is asked for anything."""

    def __init__(self, columns: dict[str, Any], index: list[Any]) -> None:
        self._values, self.index = columns, index

    columns = property(lambda self: list(self._values))

    def __getitem__(self, name: Any) -> Any:
        if isinstance(name, list):
            return Frame({each: self._values[each] for each in name}, self.index)
        return SimpleNamespace(to_numpy=lambda: self._values[name], index=self.index)

    def to_numpy(self) -> Array:
        return np.array(list(zip(*self._values.values(), strict=True)), object)


def brute_force(points: Array, labels: Array) -> Floats:
    rows = points.reshape(len(points), -1).astype(np.float64)
    distance = np.sqrt(np.square(rows[:, None] - rows[None]).sum(axis=-1))
    distance[labels[:, None] == labels[None]] = np.inf
    return distance.min(axis=1)


def test_bytes_are_pixels_whatever_holds_them() -> None:
    expected = brute_force(IMAGES / 255, LABELS)
    unit = IMAGES / 255
    forms: list[Any] = [IMAGES, IMAGES.transpose(0, 3, 1, 2), list(IMAGES), IMAGES.reshape(12, -1), unit]
    forms += [torch.tensor(IMAGES), torch.tensor(unit, dtype=torch.float32), IMAGES.astype(np.int64), 255 * unit]
    for X in forms:
        result = datarobust.rank(X, LABELS)
        assert result.pixels
        np.testing.assert_allclose(result.robustness, expected, rtol=1e-12)
    for result in (datarobust.rank(form, LABELS) for form in forms):
        assert result.neighbour.tolist() == datarobust.rank(IMAGES, LABELS).neighbour.tolist()


def test_pictures_of_pillow_are_pixels() -> None:
    pictures = [Image.fromarray(image) for image in IMAGES]
    expected = datarobust.rank(IMAGES, LABELS).robustness.tolist()
    assert datarobust.rank(pictures, LABELS).robustness.tolist() == expected
    few = [picture.convert("P", palette=Image.Palette.ADAPTIVE) for picture in pictures]  # indices of colours
    colours = np.stack([np.asarray(picture.convert("RGB")) for picture in few])
    expected = datarobust.rank(colours, LABELS).robustness.tolist()
    assert datarobust.rank(few, LABELS).robustness.tolist() == expected
    grey = [picture.convert("L") for picture in pictures]
    assert (
        datarobust.rank(grey, LABELS).robustness.tolist() == datarobust.rank(np.stack(grey), LABELS).robustness.tolist()
    )


def test_other_numbers_are_in_their_own_units() -> None:
    rows = RANDOM.normal(size=(12, 5))
    forms: list[tuple[Any, Any]] = [
        (rows, rows),
        (torch.tensor(rows), rows),
        (rows.astype(int) * 300, rows.astype(int) * 300),
    ]
    forms += [(3 * rows.reshape(12, 1, 5, 1), 3 * rows), ((rows > 0), rows > 0), (rows.tolist(), rows)]
    for X, numbers in forms:
        result = datarobust.rank(X, LABELS)
        assert not result.pixels
        np.testing.assert_allclose(result.robustness, brute_force(np.asarray(numbers), LABELS), rtol=1e-6)


def test_levels_of_another_scale_are_no_pixels() -> None:
    levels = RANDOM.integers(0, 17, (12, 4, 4))
    for X in (levels, levels.astype(float), levels.reshape(12, -1)):
        result = datarobust.rank(X, LABELS)
        assert not result.pixels
        np.testing.assert_allclose(result.robustness, brute_force(levels, LABELS), rtol=1e-12)
    black = datarobust.rank(levels > 8, LABELS)
    assert black.pixels
    np.testing.assert_allclose(black.robustness, brute_force(levels > 8, LABELS), rtol=1e-12)
    assert from_arrays(levels, LABELS).spec.picture == ((1, 4, 4), 0.0, levels.max())


def test_labels_of_all_kinds_give_the_same_ranking() -> None:
    expected = datarobust.rank(IMAGES, LABELS)
    text = NAMES[LABELS]
    kinds: list[Any] = [LABELS.astype(float), LABELS - 7, LABELS * 10**12, text, text.tolist(), text.astype(object)]
    kinds += [text.astype("S"), torch.tensor(LABELS), np.eye(3)[LABELS], LABELS[:, None], list(LABELS)]
    for y in kinds:
        result = datarobust.rank(IMAGES, y)
        assert result.neighbour.tolist() == expected.neighbour.tolist()
    result = datarobust.rank(IMAGES, text)
    assert result.label.tolist() == text.tolist()
    assert result.neighbour_label.tolist() == text[result.neighbour].tolist()
    assert (result.label != result.neighbour_label).all()


def test_a_data_frame_gives_names_and_its_column_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = RANDOM.normal(size=(12, 2)).round(3)
    files = [f"{row}.png" for row in range(12)]
    frame = Frame({"a": rows[:, 0], "kind": NAMES[LABELS], "b": rows[:, 1]}, files)
    result = datarobust.rank(frame, "kind")
    np.testing.assert_allclose(result.robustness, brute_force(rows, LABELS), rtol=1e-6)
    assert result.name is not None
    assert result.name.tolist() == files
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda data, index: (data, index)))
    columns, index = result.to_frame()
    order = np.argsort(result.robustness, kind="stable")
    assert index.tolist() == [files[row] for row in order]
    assert columns["robustness"].tolist() == sorted(result.robustness.tolist())
    assert columns["neighbour"].tolist() == [files[result.neighbour[row]] for row in order]
    assert columns["neighbour_label"].tolist() == NAMES[LABELS][result.neighbour[order]].tolist()
    with pytest.raises(DataError, match=r"X\[0, 1\] is 'cat' \(column 'kind'\), no number"):
        datarobust.rank(frame, LABELS)
    with pytest.raises(DataError, match="no column 'sort'; its columns are a, kind, b"):
        datarobust.rank(frame, "sort")
    vectors = np.empty(12, object)
    vectors[:] = list(rows)
    column = Frame({"embedding": vectors}, files)["embedding"]  # arrays in a column
    assert datarobust.rank(column, LABELS).robustness.tolist() == result.robustness.tolist()


def test_to_frame_is_pandas_own() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(RANDOM.normal(size=(12, 2)), columns=["a", "b"]).assign(kind=NAMES[LABELS])
    result = datarobust.rank(frame, "kind").to_frame()
    assert result.columns.tolist() == ["robustness", "label", "neighbour", "neighbour_label"]
    assert result.robustness.is_monotonic_increasing
    assert sorted(result.index) == list(range(12))


def test_without_pandas_there_is_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DatarobustError, match="pip install pandas"):
        datarobust.rank(IMAGES, LABELS).to_frame()


def test_against_and_names() -> None:
    result = datarobust.rank(IMAGES[:6], NAMES[LABELS[:6]], against=(IMAGES[6:], NAMES[LABELS[6:]]), names=range(6))
    every = np.sqrt(np.square(IMAGES[:6, None].astype(float) - IMAGES[None, 6:]).sum(axis=(2, 3, 4))) / 255
    every[LABELS[:6, None] == LABELS[None, 6:]] = np.inf
    np.testing.assert_allclose(result.robustness, every.min(axis=1), rtol=1e-12)
    assert result.name is not None
    assert result.name.tolist() == list(range(6))
    assert result.neighbour_name is None
    assert result.neighbour_label.tolist() == NAMES[LABELS[6:]][result.neighbour].tolist()


def test_one_label_has_no_neighbours_and_k_has_more() -> None:
    alone = datarobust.rank(IMAGES, ["cat"] * 12)
    assert np.isinf(alone.robustness).all()
    assert (alone.neighbour == -1).all()
    assert alone.neighbour_label.tolist() == [None] * 12
    assert datarobust.rank(IMAGES, LABELS, k=3).ranking.distance.shape == (12, 3)


def test_soft_labels_and_sources() -> None:
    vectors = RANDOM.dirichlet(np.ones(3), 12)
    assert datarobust.rank(IMAGES, vectors, soft=True).robustness.shape == (12,)
    files = [f"{row}.png" for row in range(12)]
    source = from_arrays(IMAGES, NAMES[LABELS], names=files)
    result = datarobust.rank(source)
    assert result.name is not None
    assert result.name.tolist() == files
    assert result.neighbour_name is not None
    assert result.neighbour_name.tolist() == [files[row] for row in result.neighbour]
    assert result.neighbour.tolist() == datarobust.rank(IMAGES, LABELS).neighbour.tolist()
    assert result.label.tolist() == NAMES[LABELS].tolist()


@pytest.mark.parametrize(
    ("X", "y", "fault"),
    [
        (IMAGES, LABELS[:5], "y has 5 labels for the 12 points of X"),
        (IMAGES, ["a"] * 11 + [None], r"y\[11\] = None is not a class"),
        (IMAGES, [1.0] * 3 + [0.5] * 9, r"y\[3\] = 0.5 is not a class"),
        (IMAGES, [1.0] * 3 + [float("nan")] * 9, r"y\[3\] = nan is not a class"),
        (IMAGES, np.array([1, "a"] * 6, object), "y mixes text and numbers"),
        (IMAGES, np.zeros((12, 2, 2)), r"y has shape \(12, 2, 2\)"),
        (IMAGES[:, 0, 0, 0], LABELS, r"X has shape \(12,\)"),
        ([IMAGES[0], IMAGES[1][:2]], [0, 1], r"X\[1\] has shape \(2, 4, 3\), but X\[0\] has \(4, 4, 3\)"),
        (np.full((12, 2), np.nan), LABELS, r"X\[0, 0\] = nan is not a number"),
        (np.full((12, 2), 1e40), LABELS, "exceeds float32"),
        (np.full((12, 2), 2**24 + 1), LABELS, "not exact in float32"),
        (np.full((12, 2), "a"), LABELS, "points are numbers"),
        (sparse.eye(12, format="csr"), LABELS, r"X is a sparse matrix: give its toarray\(\)"),
        (np.full((12, 2), 1j), LABELS, "points are numbers"),
    ],
)
def test_what_cannot_be_ranked_is_named(X: Any, y: Any, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        datarobust.rank(X, y)


def test_arguments_that_make_no_sense() -> None:
    for arguments, fault in (
        ((IMAGES,), "Give a label for each point"),
        ((from_arrays(IMAGES, LABELS), LABELS), "labels of its own"),
        (("photos.zarr", LABELS), "X is the name of a file: give the arrays"),
    ):
        with pytest.raises(UsageError, match=fault):
            datarobust.rank(*arguments)
    with pytest.raises(UsageError, match="label vectors"):
        datarobust.rank(IMAGES, LABELS, soft=True)
    with pytest.raises(UsageError, match=r"k = 1,000: there are only 5 points"):
        datarobust.rank(IMAGES, LABELS, k=1000, against=(IMAGES[:5], LABELS[:5]))
    with pytest.raises(DataError, match="`names` has 2 names for 12 points"):
        datarobust.rank(IMAGES, LABELS, names=["a", "b"])
    with pytest.raises(DataError, match="as uint8, or both as floats"):
        datarobust.rank(IMAGES, LABELS, against=(IMAGES / 3, LABELS))
    with pytest.raises(DataError, match="points of one shape"):
        datarobust.rank(IMAGES, LABELS, against=(IMAGES[:, :2], LABELS))
    with pytest.raises(AttributeError, match="no attribute 'rang'"):
        datarobust.rang  # noqa: B018
    assert set(datarobust.__all__) <= set(dir(datarobust))
    assert all(getattr(datarobust, name) is not None for name in datarobust.__all__)


def test_results_print_in_one_line() -> None:
    images = np.concatenate([IMAGES, IMAGES[:1]])
    labels = [*LABELS, LABELS[0]]
    ranking = datarobust.rank(images, labels)
    reach = f"{ranking.robustness.min():.4g} to {ranking.robustness.max():.4g}"
    assert repr(ranking) == f"Ranked(13 points, robustness {reach}, of pixels)"
    assert repr(datarobust.rank(images / 3, [0] * 13)) == "Ranked(13 points, robustness all infinite, of features)"
    found = datarobust.find_issues(images, labels)
    assert repr(found).startswith("FoundIssues(1 duplicate, ")
    assert repr(found).endswith(f"agreement {found.agreement:.3f})")
    assert repr(datarobust.find_issues(IMAGES[:1], [0])) == "FoundIssues(1 alone, agreement 1.000)"


def test_issues_are_found_by_name() -> None:
    centres = RANDOM.normal(size=(3, 8)) * 10
    labels = np.arange(90) % 3
    rows = centres[labels] + RANDOM.normal(size=(90, 8))
    wrong = labels.copy()
    wrong[[10, 41]] = (labels[[10, 41]] + 1) % 3
    rows[20] = rows[50] = rows[80]  # of one label
    test = np.concatenate([rows[30:31], centres[:1]])
    files = [f"{row}.png" for row in range(90)]
    found = datarobust.find_issues(rows, NAMES[wrong], names=files, against=(test, NAMES[[wrong[30], 0]]))
    assert sorted(found.rows("label")[:2].tolist()) == [10, 41]
    assert found.rows("leak").tolist() == [30]
    assert found.rows("duplicate").tolist() == [20, 20]
    assert found.agreement > 0.9
    place = int(np.flatnonzero(found.index == 10)[0])
    assert found.name is not None
    assert (found.name[place], found.label[place]) == ("10.png", NAMES[wrong[10]])
    assert found.other_label[place] == NAMES[labels[10]]
    assert found.other_name is not None
    assert found.other_name[place] == f"{found.other_index[place]}.png"
    leak = int(np.flatnonzero(found.kind == "leak")[0])
    assert (found.other_index[leak], found.other_name[leak], found.score[leak]) == (0, None, np.inf)
    with pytest.raises(UsageError, match="'wrong' is not a kind of finding: choose leak, duplicate"):
        found.rows("wrong")
    images = RANDOM.integers(0, 256, (90, 2, 2), np.uint8)
    images[1] = images[4]
    seen = datarobust.find_issues(images, wrong, features=rows)  # copies by images, the rest by features
    assert seen.rows("duplicate").tolist() == [1]
    assert sorted(seen.rows("label")[:2].tolist()) == [10, 41]
    assert seen.name is None
    one = datarobust.find_issues(images, wrong, features=rows, k=1)
    assert one.score[one.kind == "label"].tolist() != seen.score[seen.kind == "label"].tolist()
    with pytest.raises(DataError, match="`features` has 5 rows for the 90 points of X"):
        datarobust.find_issues(images, wrong, features=rows[:5])


def test_issues_are_those_of_the_command(command: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = RANDOM.integers(0, 30, (60, 3, 3), np.uint8), NAMES[np.arange(60) % 3]
    images[7] = images[9]
    np.savez(tmp_path / "d.npz", x=images, y=labels)
    command("dataset", "import", "d.npz", "-o", "d.zarr", cwd=tmp_path)
    command("dataset", "issues", "d.zarr", "-o", "i.csv", cwd=tmp_path)
    with (tmp_path / "i.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda data, index: data))
    frame = datarobust.find_issues(images, labels).to_frame()
    assert len(lines) == len(frame["kind"]) > 0
    assert [line["kind"] for line in lines] == frame["kind"].tolist()
    assert [int(line["index"]) for line in lines] == frame["index"].tolist()
    assert [int(line["other_index"]) for line in lines] == frame["other_index"].tolist()
    assert [line["other_class"] for line in lines] == frame["other_label"].tolist()
    np.testing.assert_allclose([float(line["score"]) for line in lines], frame["score"], rtol=1e-12)


def test_an_estimator_in_the_style_of_scikit_learn() -> None:
    estimator = clone(datarobust.RobustnessRanker(norm="linf")).set_params(k=2)
    expected = datarobust.rank(IMAGES, LABELS, "linf", k=2)
    assert estimator.fit(IMAGES, LABELS).robustness_.tolist() == expected.robustness.tolist()
    assert estimator.ranking_.ranking.distance.shape == (12, 2)
    assert estimator.get_params() == {"norm": "linf", "k": 2}


def test_a_network_measures_what_it_sees() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 5), torch.nn.ReLU(),
        torch.nn.Linear(5, 3),
    ).train()  # fmt: skip
    network[1].eval()
    result = datarobust.rank(IMAGES, LABELS, features=network)
    assert [module.training for module in network] == [True, False, True, True, True, True]
    with torch.no_grad():
        inputs = torch.tensor(IMAGES).permute(0, 3, 1, 2).float() / 255
        seen = network.eval()[:5](inputs)
        last = network(inputs)
    np.testing.assert_allclose(result.robustness, brute_force(seen.numpy(), LABELS), rtol=1e-4)
    assert not result.pixels
    same = datarobust.rank(IMAGES, LABELS, features=seen)
    np.testing.assert_allclose(same.robustness, result.robustness, rtol=1e-4)
    output = datarobust.rank(inputs, LABELS, features=network, layer="output")
    np.testing.assert_allclose(output.robustness, brute_force(last.numpy(), LABELS), rtol=1e-4)
    halves = datarobust.rank(IMAGES[:6], LABELS[:6], features=network, against=(IMAGES[6:], LABELS[6:]))
    assert (halves.robustness >= result.robustness[:6] * (1 - 1e-4)).all()
    found = datarobust.find_issues(IMAGES, LABELS, features=network, against=(IMAGES[3:5], LABELS[3:5]))
    assert set(found.rows("leak").tolist()) >= {3, 4}
    with pytest.raises(DataError, match="features has no layer conv"):
        datarobust.rank(IMAGES, LABELS, features=network, layer="conv")
