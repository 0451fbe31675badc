"""What a gallery shows of a table of issues and of a ranking; tables that are read, and those that are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tests.lib.jobs.test_jobs_issues import clouds, issues, written

from datarobust import artifacts
from datarobust.artifacts import Step, Store
from datarobust.errors import DataError, UsageError
from datarobust.jobs import figure, tables
from datarobust.jobs.issues import COLUMNS
from datarobust.jobs.make import make
from datarobust.jobs.sens_rank import Sensitivity


@pytest.fixture
def data(tmp_path: Path) -> Store:
    images, labels = clouds()
    return written(tmp_path / "d.zarr", images, labels, [f"{row}.png" for row in range(len(labels))])


def test_findings_have_their_images(data: Store, tmp_path: Path) -> None:
    rows = issues(data, tmp_path / "issues.csv")
    sections, remarks = figure.gallery(data, tmp_path / "issues.csv", None, [], 100)
    assert remarks == []
    pairs = [(section.title, pair) for section in sections for pair in section.pairs]
    assert [title for title, _ in pairs] == [row["kind"] for row in rows]
    for (_, pair), row in zip(pairs, rows, strict=True):
        assert [str(point.row) for point in pair.points] == [row["index"], row["other_index"]]
        assert [point.name for point in pair.points] == [row["name"], row["other_name"]]
        assert (not pair.note) == (row["score"] == "")
        np.testing.assert_array_equal(pair.points[0].image, data.column("images").read()[int(row["index"])])
    only, _ = figure.gallery(data, tmp_path / "issues.csv", None, ["duplicate"], 1)
    assert [(section.title, len(section.pairs), section.total) for section in only] == [("duplicate", 1, 2)]


def test_leaks_need_the_other_set(data: Store, tmp_path: Path) -> None:
    tests = written(tmp_path / "t.zarr", clouds()[0][:3], np.array([0, 0, 0]))
    issues(data, tmp_path / "issues.csv", others=tests)
    sections, remarks = figure.gallery(data, tmp_path / "issues.csv", tests, ["leak"], 9)
    assert [point.other_set for point in sections[0].pairs[0].points] == [False, True]
    assert (sections[0].total, remarks) == (3, [])
    assert figure.gallery(data, tmp_path / "issues.csv", None, ["leak"], 9) == (
        [], ["3 leaks are not shown: name the other set with `against`"],
    )  # fmt: skip


@pytest.mark.parametrize("same", [False, True])
def test_a_ranking_is_shown_pair_by_pair(data: Store, tmp_path: Path, same: bool) -> None:
    job = Sensitivity(data, None, "l2", 1, False, "inf", 1 << 30, same=same)
    make(job, tmp_path / "r.zarr", lambda inputs: Step("sens-rank", (), "0.1.0", None, None, inputs))
    [section], _ = figure.gallery(data, tmp_path / "r.zarr", None, [], 5)
    distance = np.array([float(pair.distance) for pair in section.pairs])
    assert len(distance) == 5
    assert (np.diff(distance) >= 0).all()
    ranking = artifacts.open_store(tmp_path / "r.zarr", "ranking", same=True)
    first = section.pairs[0].points[0].row
    assert section.pairs[0].points[1].row == ranking.column("neighbour").read()[first]
    assert ("the same label" if same else "another label") in section.meaning
    with pytest.raises(UsageError, match="was not made against another set"):
        figure.gallery(data, tmp_path / "r.zarr", data, [], 5)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_is_read_as_it_was_written(ending: str, tmp_path: Path) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    rows: list[list[tables.Value]] = [
        ["label", 1.5, 0.1 + 0.2, 3, 'a "b", c', 1, "é", 4, None, 2, "x"],
        ["alone", None, None, 3, None, 1, "y", None, None, None, None],
    ]
    tables.save(tmp_path / f"t{ending}", COLUMNS, rows)
    assert [list(row.values()) for row in tables.read(tmp_path / f"t{ending}", COLUMNS)] == rows


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_text_that_some_format_cannot_hold_is_spelled_out(ending: str, tmp_path: Path) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path, columns = tmp_path / f"t{ending}", {"row": int, "name": str}
    tables.save(path, columns, enumerate(["a\rb", "\udcff", "", "b\u2028c"]))
    last = "b c" if ending == ".tsv" else "b\u2028c"
    assert [row["name"] for row in tables.read(path, columns)] == [r"a\rb", r"\udcff", None, last]


HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.txt", b"", "t.txt is not a table: its name ends in .csv"),
        ("t.csv", b"kind,score\nlabel,1\n", "t.csv has no column distance in row 1"),
        ("t.csv", f"{HEADER}\nlabel,x,1,0,,0,,1,,0,\n".encode(), "t.csv: score in row 1 is 'x', no float"),
        ("t.csv", f"{HEADER}\nlabel,1,1,99,,0,,1,,0,\n".encode(), "index 99 with label 0 is no point of .*d.zarr"),
        ("t.csv", f"{HEADER}\nlabel,1,1,0,,7,,1,,0,\n".encode(), "index 0 with label 7 is no point of"),
        ("t.csv", f"{HEADER}\nlabel,1,1,0,,0,,-1,,0,\n".encode(), "other_index -1 with label 0 is no point of"),
        ("t.csv", f"{HEADER}\n".encode(), "t.csv has no finding of the kinds leak, duplicate"),
        ("t.csv", b"\xff\xfe", "t.csv cannot be read as csv"),
        ("t.csv", b'"a\n', "t.csv cannot be read as csv"),
        ("t.jsonl", b"[]\n", r"t.jsonl cannot be read as jsonl: \[\] is not an object"),
        ("t.jsonl", b"{\n", "t.jsonl cannot be read as jsonl"),
        ("t.jsonl", b"[" * 100_000, "t.jsonl cannot be read as jsonl"),
        ("t.jsonl", json.dumps(dict.fromkeys(COLUMNS, math.inf)).encode(), "index in row 1 is 'inf', no int"),
        ("t.parquet", b"PAR1", "t.parquet cannot be read as parquet"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_these_points_is_refused(
    name: str, content: bytes, words: str, data: Store, tmp_path: Path
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        figure.gallery(data, tmp_path / name, None, [], 9)
    assert "\n" not in str(caught.value)
