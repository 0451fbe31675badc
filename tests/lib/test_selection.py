"""Which points: spellings, order, ties, and what is refused."""

import io
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarobust import artifacts, selection
from datarobust.artifacts import Step
from datarobust.errors import ArtifactError, SelectionError
from datarobust.selection import Selection, parse


class Points:
    """Anything with a length may be selected from, until a ranking is involved."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


def rows(text, points, stdin=b""):
    return selection.choose(text, Points(points), io.BytesIO(stdin)).rows.tolist()


@pytest.fixture
def ranked(tmp_path):
    """A dataset of 10 points and rankings of it and of another."""
    distance = np.array([3, 1, 1, np.inf, 0, 1, np.nan, 2, 1, np.inf])
    index = np.arange(10)
    step = Step("test", (), "0")
    columns = {"features": ("float32", (1,)), "labels": ("int64", ()), "index": ("int64", ())}
    stores = {}
    for name, shift in (("set", 0), ("other", 1)):
        path = tmp_path / f"{name}.zarr"
        with artifacts.create(
            path, "dataset", columns, attributes={"name": name, "classes": []}, history=[step]
        ) as writer:
            writer.append("features", (index[:, None] + shift).astype(np.float32))
            writer.append("labels", index % 2)
            writer.append("index", index)
        stores[name] = artifacts.open_store(path)
        attributes = {"norm": "l2", "labels": "hard", "dataset": stores[name].digest, "against": None}
        with artifacts.create(
            tmp_path / f"{name}:r.zarr",
            "ranking",
            {"distance": ("float64", ()), "neighbour": ("int64", ())},
            attributes={**attributes, "duplicates": "drop", "k": 1},
            history=[step, Step("sens-rank", (name,), "0")],
        ) as writer:
            writer.append("distance", distance)
            writer.append("neighbour", index)
        stores[f"{name}:r"] = artifacts.open_store(tmp_path / f"{name}:r.zarr")
    return types.SimpleNamespace(**stores, path=tmp_path / "set:r.zarr", other_path=tmp_path / "other:r.zarr")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("R.zarr:least:1024", {"how": "least", "path": "R.zarr", "count": 1024}),
        ("a:b/R.zarr:most:7", {"how": "most", "path": "a:b/R.zarr", "count": 7}),
        ("x:least:3:least:5", {"how": "least", "path": "x:least:3", "count": 5}),
        ("-:least:5", {"how": "least", "path": "-", "count": 5}),
        ("first:12", {"how": "first", "count": 12}),
        ("random:12:7", {"how": "random", "count": 12, "seed": 7}),
        ("random:1:18446744073709551615", {"how": "random", "count": 1, "seed": 2**64 - 1}),
        ("./first:12", {"how": "file", "path": "./first:12"}),
        ("chosen.txt", {"how": "file", "path": "chosen.txt"}),
        ("odd:name:9", {"how": "file", "path": "odd:name:9"}),
        ("-", {"how": "file", "path": "-"}),
    ],
)
def test_spellings(text, expected):
    assert parse(text) == Selection(text, **expected)
    assert parse(f"!{text}") == Selection(f"!{text}", complement=True, **expected)
    assert parse(text).inverted().inverted() == parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "selects nothing"),
        ("!", "selects nothing"),
        ("!!first:3", "selects nothing"),
        ("least:10", "names no ranking: write R.zarr:least:10"),
        (":most:10", "names no ranking"),
        ("r:least:", "does not say how many"),
        ("r:least:0", "does not say how many"),
        ("r:least:-5", "does not say how many"),
        ("r:least:1e3", "does not say how many"),
        ("first:", "does not say how many"),
        ("first:3.5", "does not say how many"),
        ("first:1_0", "does not say how many"),
        ("first:٣", "does not say how many"),
        ("random:10", "has no seed: write random:10:SEED"),
        ("random:10:", "has no seed from"),
        ("random:10:x", "has no seed from"),
        ("random:10:18446744073709551616", "has no seed from"),
        ("random::3", "does not say how many"),
        ("first:\x1b[31m", r"\\x1b"),
    ],
)
def test_misspellings(text, words):
    with pytest.raises(SelectionError, match=words) as caught:
        parse(text)
    assert "\x1b" not in str(caught.value)


def test_first_and_its_complement():
    assert rows("first:3", 5) == [0, 1, 2]
    assert rows("!first:3", 5) == [3, 4]
    assert rows("first:5", 5) == [0, 1, 2, 3, 4]
    with pytest.raises(SelectionError, match="asks for 6 of 5 points"):
        rows("first:6", 5)
    with pytest.raises(SelectionError, match="leaves no point"):
        rows("!first:5", 5)


@given(st.integers(1, 300), st.integers(0, 2**64 - 1), st.data())
def test_random_points(points, seed, data):
    count = data.draw(st.integers(1, points))
    found = selection.random(points, count, seed).tolist()
    assert len(set(found)) == count
    assert set(found) <= set(range(points))
    assert found == selection.random(points, points, seed)[:count].tolist()
    assert found == rows(f"random:{count}:{seed}", points)
    rest = selection.others(np.array(found), points).tolist()
    assert rest == sorted(set(range(points)) - set(found))


def test_random_points_are_the_same_for_ever():
    assert rows("random:6:0", 20) == [6, 10, 13, 18, 7, 14]


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.0, 0.5, 1.0, np.inf, np.nan])),
    st.sampled_from(["least", "most"]),
    st.data(),
)
def test_extremes_against_a_plain_sort(distance, how, data):
    there = [i for i, d in enumerate(distance) if not np.isnan(d)]
    if not there:
        with pytest.raises(SelectionError):
            selection.extreme(distance, 1, how)
        return
    count = data.draw(st.integers(1, len(there)))
    sign = 1 if how == "least" else -1
    expected = sorted(there, key=lambda i: (sign * distance[i], i))[:count]
    found, tied, cut = selection.extreme(distance, count, how)
    assert found.tolist() == expected
    last = distance[expected[-1]]
    assert tied == sum(d == last for d in distance)
    assert cut == tied - sum(distance[i] == last for i in expected)
    with pytest.raises(SelectionError, match=f"the ranking has {len(there)}"):
        selection.extreme(distance, len(there) + 1, how)


def test_a_ranking_selects(ranked):
    least = selection.choose(f"{ranked.path}:least:3", ranked.set)
    assert least.rows.tolist() == [4, 1, 2]
    assert (least.tied, least.ties_cut, least.dropped) == (4, 2, 1)
    assert least.inputs == {"selection": getattr(ranked, "set:r").digest}
    assert [step.tool for step in least.history] == ["test", "sens-rank"]
    told = " ".join(least.remarks())
    assert "4 points tie at the cut-off" in told
    assert "2 were not" in told
    assert list(selection.choose(f"{ranked.path}:least:5", ranked.set).remarks())[:1] == [
        "1 points that the ranking dropped are never selected, not even with !"
    ]
    most = selection.choose(f"{ranked.path}:most:4", ranked.set)
    assert most.rows.tolist() == [3, 9, 0, 7]


def test_a_dropped_point_is_on_neither_side(ranked):
    least = selection.choose(f"{ranked.path}:least:4", ranked.set).rows.tolist()
    rest = selection.choose(f"!{ranked.path}:least:4", ranked.set).rows.tolist()
    assert rest == [0, 3, 7, 8, 9]
    assert sorted(least + rest) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    with pytest.raises(SelectionError, match="leaves no point"):
        selection.choose(f"!{ranked.path}:most:9", ranked.set)
    with pytest.raises(SelectionError, match="10 points are asked for, but the ranking has 9"):
        selection.choose(f"{ranked.path}:least:10", ranked.set)


def test_the_ranking_of_another_dataset_is_refused_by_name(ranked):
    with pytest.raises(ArtifactError, match=r"other:r\.zarr"):
        selection.choose(f"{ranked.other_path}:least:3", ranked.set)
    with pytest.raises(ArtifactError, match="nowhere"):
        selection.choose("nowhere:least:3", ranked.set)
    with pytest.raises(ArtifactError, match="ranking"):
        selection.choose(f"{ranked.set.path}:least:3", ranked.set)


def test_a_rankings_path_may_come_on_stdin(ranked):
    stdin = io.BytesIO(f"{ranked.path}\n".encode())
    assert selection.choose("-:least:1", ranked.set, stdin).rows.tolist() == [4]
    with pytest.raises(SelectionError, match="0 lines came"):
        selection.choose("-:least:1", ranked.set, io.BytesIO())


def test_index_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = b"# the chosen\n7\n\n  3 \r\n0\n#9\n12"
    (tmp_path / "a:b.txt").write_bytes(text)
    assert rows("a:b.txt", 13) == rows("-", 13, text) == [7, 3, 0, 12]
    assert rows("!a:b.txt", 13) == [1, 2, 4, 5, 6, 8, 9, 10, 11]
    found = selection.choose("a:b.txt", Points(13))
    assert found.inputs == selection.choose("-", Points(13), io.BytesIO(text)).inputs
    assert len(found.inputs["selection"]) == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "stdin holds no index"),
        (b"# nothing\n\n", "stdin holds no index"),
        (b"1\n2\n10\n", "stdin, line 3 is 10, but the dataset has the points 0..9"),
        (b"1\n-2\n", "line 2 is not an index: '-2'"),
        (b"1\n#\n4\n1\n4\n", "line 4 repeats index 1 of line 1"),
        (b"3.0\n", "line 1 is not an index: '3.0'"),
        (b"0x3\n", "is not an index"),
        (b"1_0\n", "is not an index"),
        (b"1 2\n", "is not an index"),
        ("٣\n".encode(), "is not an index"),
        (b"\xff\xfe\n", "is not an index"),
        (b"5\t0.2\t7\n", "is not an index: .* cut -f1"),
        (b"9" * 30 + b"\n", "is not an index"),
        (b"\x1b[31m\n", r"\\x1b"),
        (b"7" * 100_000, "line 1 is not an index"),
        (b"#" * 100_000, "line 1 is too long"),
        (b" " * 100_000, "line 1 is too long"),
    ],
)
def test_lines_that_are_no_index(text, words):
    with pytest.raises(SelectionError, match=words) as caught:
        rows("-", 10, text)
    assert len(str(caught.value)) < 300
    assert "\x1b" not in str(caught.value)


def test_files_that_are_no_index_file(tmp_path):
    with pytest.raises(SelectionError, match=r"no index file can be read there \(No such file"):
        rows(str(tmp_path / "nowhere"), 3)
    with pytest.raises(SelectionError, match="for a ranking, write"):
        rows(str(tmp_path), 3)
