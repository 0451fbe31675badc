"""The command ``sens-rank``, as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.curvature import kappa, kappa_tilde
from datarobust.lipschitz import bound
from datarobust.sensitivity import Labelled, least_robust_first, native, rank

from .failing import documented, fails
from .made import dataset, tree

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def digits(command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, imported once."""
    path = tmp_path_factory.mktemp("ranked") / "digits.zarr"
    done = command("dataset", "import", "digits", "-o", path, "-q")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def arrays(digits: Path) -> tuple[np.ndarray, np.ndarray]:
    store = artifacts.open_store(digits)
    return store.column("images").read(), store.column("labels").read()


@pytest.fixture(scope="module")
def parts(command: Run, digits: Path) -> tuple[Path, Path]:
    """The first thousand digits and the others."""
    first, rest = digits.with_name("first.zarr"), digits.with_name("rest.zarr")
    for path, selection in ((first, "first:1000"), (rest, "!first:1000")):
        done = command("dataset", "subset", digits, "--select", selection, "-o", path, "-q")
        assert done.returncode == 0, done.stderr
    return first, rest


@pytest.fixture(scope="module")
def ranked(command: Run, digits: Path) -> Path:
    """Their l-infinity ranking, by the command."""
    path = digits.with_name("linf.zarr")
    done = command("sens-rank", digits, "--norm", "linf", "-o", path)
    assert (done.returncode, done.stdout) == (0, f"{path}\n"), done.stderr
    return path


def rows_of(done: subprocess.CompletedProcess[str]) -> list[list[float]]:
    """The table a run printed."""
    assert done.returncode == 0, done.stderr
    return [[float(field) for field in line.split("\t")] for line in done.stdout.splitlines()]


# --------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_table(command: Run, digits: Path, arrays: tuple[np.ndarray, np.ndarray], norm: str) -> None:
    images, labels = arrays
    done = command("sens-rank", digits, "--norm", norm, "-q")
    assert done.stderr == ""
    expected = rank(Labelled.of(images, labels), norm)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    order = least_robust_first(expected.robustness)
    assert [int(line[0]) for line in lines] == order.tolist()
    assert [float(line[1]) for line in lines] == expected.robustness[order].tolist()  # no digit is lost in print
    assert [int(line[2]) for line in lines] == expected.neighbour[order, 0].tolist()
    assert [int(line[3]) for line in lines] == labels[order].tolist()
    assert [int(line[4]) for line in lines] == labels[expected.neighbour[order, 0]].tolist()


def test_the_table_of_several_neighbours_in_another_set(
    command: Run, parts: tuple[Path, Path], arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = arrays
    first, rest = parts
    done = command("sens-rank", "-", "--against", rest, "-k", "3", "--norm", "linf", "-q", input=f"{first}\n")
    expected = rank(
        Labelled.of(images[:1000], labels[:1000]), "linf", k=3, against=Labelled.of(images[1000:], labels[1000:])
    )
    rows = rows_of(done)
    assert {len(row) for row in rows} == {5 + 3 + 3}
    order = least_robust_first(expected.robustness)
    assert [row[0] for row in rows] == order.tolist()
    for t, place in enumerate((1, 5, 8)):
        assert [row[place] for row in rows] == expected.distance[order, t].tolist()
        near = expected.neighbour[order, t]
        assert [row[place + 1] for row in rows] == near.tolist()
        assert [row[4 if t == 0 else place + 2] for row in rows] == labels[1000:][near].tolist()


def test_a_quick_look_as_json(command: Run, digits: Path, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = arrays
    done = command("sens-rank", digits, "--limit", "50", "--json", "-k", "2", "-q")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = rank(Labelled.of(images[:50], labels[:50]), "l2", k=2)
    order = least_robust_first(expected.robustness)
    near = expected.neighbour[order]
    assert found == [
        {
            "index": int(row),
            "distance": expected.distance[row, 0],
            "neighbour": int(near[n, 0]),
            "label": int(labels[row]),
            "neighbour_label": int(labels[near[n, 0]]),
            "further": [
                {
                    "distance": expected.distance[row, 1],
                    "neighbour": int(near[n, 1]),
                    "neighbour_label": int(labels[near[n, 1]]),
                }
            ],
        }
        for n, row in enumerate(order)
    ]
    one = command("sens-rank", digits, "--limit", "1", "--json")
    assert json.loads(one.stdout) == {
        "index": 0,
        "distance": None,
        "neighbour": None,
        "label": int(labels[0]),
        "neighbour_label": None,
    }
    assert "1 point" in one.stderr
    assert command("sens-rank", digits, "--limit", "1", "-q").stdout == f"0\tinf\t-1\t{labels[0]}\t-1\n"


def test_a_dry_run_ranks_nothing(command: Run, digits: Path, tmp_path: Path) -> None:
    done = command("sens-rank", digits, "--dry-run", "-o", tmp_path / "r.zarr")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["points"], plan["pairs"]) == (1797, 1797 * 1796 // 2)
    assert 0 < plan["expected_seconds"] < 600
    assert "This takes at most about" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_reader_may_leave(scripts: Path, digits: Path, options: str) -> None:
    pipeline = f"set -o pipefail; '{scripts / 'sens-rank'}' '{digits}' -q {options} | head -n 1"
    done = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_a_terminal_shows_the_least_robust(terminal: Run, command: Run, digits: Path) -> None:
    header, *rows = (line.split() for line in terminal("sens-rank", digits, "--norm", "Linf").stdout.splitlines())
    assert header == ["index", "distance", "neighbour", "class", "neighbour_class"]
    piped = [line.split("\t") for line in command("sens-rank", digits, "--norm", "linf").stdout.splitlines()]
    assert len(rows) == 10 < len(piped)
    assert [[row[0], *row[2:]] for row in rows] == [[row[0], *row[2:]] for row in piped[:10]]
    assert all(float(row[1]) == pytest.approx(float(full[1]), rel=1e-5) for row, full in zip(rows, piped, strict=False))
    assert "10 least robust of 1,797" in terminal("sens-rank", digits).stderr
    assert json.loads(terminal("sens-rank", digits, "--limit", 2, "--json").stdout.splitlines()[0])["index"] == 0


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_for_other_programs(command: Run, digits: Path, tmp_path: Path, ending: str) -> None:
    output = tmp_path / f"r.{ending}"
    words = ("sens-rank", digits, "--limit", "60", "-k", "2", "--curvature", "--lambda", "1.5", "-q")
    done = command(*words, "-o", output)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{output}\n", "")
    rows = read_table(output)
    points = [json.loads(line) for line in command(*words, "--json").stdout.splitlines()]
    assert len(rows) == len(points)
    for row, point in zip(rows, points, strict=True):
        (further,) = point.pop("further")
        point |= {"class": str(point["label"]), "neighbour_class": str(point["neighbour_label"])}
        assert row == point | {f"{name}_2": value for name, value in further.items()}
    fails(command(*words, "-o", output), f"r.{ending} exists already", "--overwrite")
    assert command(*words, "-o", output, "--overwrite").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, numbers as numbers; what is missing or not finite is None."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    elif path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    else:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t"))
        words = {"class", "neighbour_class"}
        rows = [{name: text if name in words else float(text) for name, text in row.items()} for row in rows]
    finite = lambda value: None if isinstance(value, float) and not np.isfinite(value) else value  # noqa: E731
    return [{name: finite(value) for name, value in row.items()} for row in rows]


def test_a_table_without_neighbours_or_dropped_points(command: Run, digits: Path, tmp_path: Path) -> None:
    done = command("sens-rank", digits, "--limit", "1", "-o", tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().splitlines()[1] == "0,inf,,0,,0,"
    assert done.stderr == "sens-rank: 1 points have no point with another label: distance inf, sensitivity 0.\n"
    part = ("sens-rank", digits, "--shard", "0/2", "-o", tmp_path / "p.csv")
    fails(command(*part), "--shard", "an artifact", code=2)
    fails(command("dataset", "import", "digits", "-o", tmp_path / "d.csv"), "d.csv", "not a table", code=2)


def test_the_keys_are_documented(command: Run, digits: Path) -> None:
    point = json.loads(command("sens-rank", digits, "--limit", "9", "--json").stdout.splitlines()[0])
    named = {"name", "class", "neighbour_name", "neighbour_class"}  # where points have names
    assert set(point) == documented("sens-rank") - named


# ---------------------------------------------------------------------------------------------------- curvature


@pytest.mark.parametrize(("norm", "lam"), [("l2", 8.0), ("linf", 1.0)])
def test_curvature_stands_at_the_end_of_each_row(command: Run, digits: Path, norm: str, lam: float) -> None:
    plain = command("sens-rank", digits, "--norm", norm, "-k", "2", "-q")
    done = command("sens-rank", digits, "--norm", norm, "-k", "2", "--curvature")
    assert done.stderr == f"sens-rank: Curvature for lambda = {lam:g}, the diameter of the cube.\n"
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:-4] for line in lines] == [line.split("\t") for line in plain.stdout.splitlines()]
    r = [float(line[1]) for line in lines]
    found = np.array([[float(number) for number in line[-4:]] for line in lines])  # no digit is lost in print
    np.testing.assert_array_equal(found.T, [kappa_tilde(r, lam), kappa(r, lam), bound(r), kappa_tilde(r, lam)])
    for column in found.T:
        assert column.tolist() == sorted(column, reverse=True)  # the order of sensitivity
    again = command("sens-rank", digits, "--norm", norm, "-k", "2", "--curvature", "--lambda", lam)
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_a_small_lambda_is_told_what_it_breaks(command: Run, digits: Path) -> None:
    done = command("sens-rank", digits, "--curvature", "--lambda", "1.5")
    rows = rows_of(done)
    r = np.array([row[1] for row in rows])
    np.testing.assert_array_equal(
        [row[5:8] for row in rows], np.transpose([kappa_tilde(r, 1.5), kappa(r, 1.5), bound(r)])
    )
    imaginary, elsewhere = done.stderr.splitlines()
    assert imaginary.startswith(f"sens-rank: {(r > 1.5).sum()} of 1797 points have a distance above lambda")
    at_the_farthest = sum(row[8] > row[5] for row in rows)
    assert elsewhere.startswith(f"sens-rank: {at_the_farthest} of 1797 points have their largest kappa_tilde_perc at")
    assert 0 < at_the_farthest < np.isnan([row[6] for row in rows]).sum() == (r > 1.5).sum()
    enough = imaginary.split("--lambda ")[1].split(" ")[0]
    assert command("sens-rank", digits, "--curvature", "--lambda", enough).stderr == ""


def test_curvature_as_json(command: Run, digits: Path, parts: tuple[Path, Path], tmp_path: Path) -> None:
    first, rest = parts
    words = ["sens-rank", first, "--against", rest, "--json", "-k", "2", "-q"]
    plain, done = command(*words), command(*words, "--curvature", "--lambda", "1.5")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    r = [row["distance"] for row in rows]
    for name, values in (
        ("kappa_tilde_perc", kappa_tilde(r, 1.5)),
        ("kappa_perc", kappa(r, 1.5)),
        ("lipschitz", bound(r)),
    ):
        assert [row.pop(name) for row in rows] == [None if np.isnan(value) else value for value in values], name
    assert {row.pop("lambda") for row in rows} == {1.5}
    assert all(row.pop("kappa_tilde_perc_largest") is not None for row in rows)
    assert rows == [json.loads(line) for line in plain.stdout.splitlines()]
    alone = json.loads(command("sens-rank", digits, "--limit", "1", "--json", "--curvature", "-q").stdout)
    names = ("distance", "lambda", "kappa_tilde_perc", "kappa_perc", "lipschitz", "kappa_tilde_perc_largest")
    assert [alone[name] for name in names] == [None, 8.0, None, None, 0.0, None]
    np.savez(tmp_path / "twins.npz", x=np.zeros((2, 3, 3), np.uint8), y=np.arange(2))
    assert command("dataset", "import", "twins.npz", "-o", "t.zarr", "-q", cwd=tmp_path).returncode == 0
    twin = json.loads(command("sens-rank", tmp_path / "t.zarr", "--json", "--curvature", "-q").stdout.splitlines()[0])
    assert [twin[name] for name in names] == [0.0, 3.0, None, None, None, None]
    text = command("sens-rank", tmp_path / "t.zarr", "--curvature", "-q").stdout.splitlines()[0]
    assert text.split("\t")[5:] == ["inf"] * 4


def test_curvature_of_features_needs_a_lambda(command: Run, tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    np.savez(tmp_path / "f.npz", x=features, y=np.arange(40) % 3)
    done = command("dataset", "import", "f.npz", "-o", "f.zarr", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fails(command("sens-rank", tmp_path / "f.zarr", "--curvature"), "f.zarr", "features", "--lambda", code=2)
    rows = rows_of(command("sens-rank", tmp_path / "f.zarr", "--curvature", "--lambda", "20", "-q"))
    np.testing.assert_array_equal([row[5] for row in rows], kappa_tilde([row[1] for row in rows], 20.0))


def test_what_is_no_artifact_is_told_the_next_command(command: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("nets.py", "x.npz"):
        (tmp_path / name).touch()
    for name, says in {
        "photos": "dataset import",
        "nets.py": "nets.py:FUNCTION",
        "x.npz": "dataset import x.npz -o x.zarr",
        "digits": "dataset import digits -o digits.zarr",
    }.items():
        fails(command("sens-rank", name, cwd=tmp_path), name, says)


def test_misuse_of_curvature_is_one_sentence(command: Run, digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "r.zarr"
    fails(command("sens-rank", digits, "--curvature", "-o", output), "not stored", "leave out -o", code=2)
    fails(command("sens-rank", digits, "--lambda", "3"), "--lambda", "--curvature", code=2)
    for number in ("0", "-1", "nan", "inf"):
        fails(command("sens-rank", digits, "--curvature", "--lambda", number, "--dry-run"), "positive number", code=2)
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------- artifact


def test_the_artifact(digits: Path, ranked: Path, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    expected = rank(Labelled.of(*arrays), "linf")
    saved = artifacts.open_store(ranked, "ranking")
    np.testing.assert_array_equal(saved.column("distance").read(), expected.robustness)
    np.testing.assert_array_equal(saved.column("neighbour").read(), expected.neighbour[:, 0])
    dataset = artifacts.open_store(digits)
    artifacts.demand_same_points(saved, dataset)
    assert (saved.attributes["norm"], saved.attributes["k"], saved.attributes["against"]) == ("linf", 1, None)
    *before, step = saved.history
    assert tuple(before) == dataset.history
    assert (step.tool, step.inputs) == ("sens-rank", {"dataset": dataset.digest})
    assert "--norm" in step.argv
    artifacts.check(ranked)


def test_a_finished_ranking_is_not_made_again(command: Run, digits: Path, ranked: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in ranked.rglob("*")}
    done = command("sens-rank", digits, "--norm", "linf", "--threads", "1", "--memory", "1", "-o", ranked)
    assert (done.returncode, done.stdout) == (0, f"{ranked}\n")
    told = command("sens-rank", digits, "--norm", "linf", "-o", ranked, "--json")
    assert json.loads(told.stdout) == {"ranking": str(ranked), "new": False}
    assert {path: path.stat().st_mtime_ns for path in ranked.rglob("*")} == before
    fails(command("sens-rank", digits, "--norm", "l2", "-o", ranked), "linf.zarr", "--overwrite")
    assert {path: path.stat().st_mtime_ns for path in ranked.rglob("*")} == before
    # The same bytes once more, and in place of another ranking.
    copy = tmp_path / ranked.name
    done = command("sens-rank", digits, "--norm", "l2", "-o", copy, "-q")
    assert done.returncode == 0, done.stderr
    done = command("sens-rank", digits, "--norm", "linf", "-o", copy, "-q", "--overwrite", "--json")
    assert json.loads(done.stdout) == {"ranking": str(copy), "new": True}
    columns = [artifacts.open_store(path).digest for path in (ranked, copy)]
    assert columns[0] == columns[1]
    assert [path.name for path in tmp_path.iterdir()] == [ranked.name]


def test_a_ranking_of_another_dataset_is_refused(command: Run, parts: tuple[Path, Path], ranked: Path) -> None:
    selection = f"{ranked}:least:5"
    output = ranked.with_name("never.zarr")
    done = command("dataset", "subset", parts[0], "--select", selection, "-o", output)
    assert done.returncode == 1
    assert "another dataset" in done.stderr
    assert not output.exists()


def test_a_missing_memory_or_thread_makes_no_difference(command: Run, digits: Path, ranked: Path) -> None:
    done = command("sens-rank", digits, "--norm", "linf", "--memory", "0.001", "--threads", "3", "-q")
    saved = artifacts.open_store(ranked)
    expected = saved.column("distance").read()
    assert [row[1] for row in rows_of(done)] == sorted(expected.tolist())


# ------------------------------------------------------------------------------------------------------ refusals


def test_misuse_is_one_sentence(command: Run, digits: Path, ranked: Path, tmp_path: Path) -> None:
    output = tmp_path / "r.zarr"
    fails(command("sens-rank", digits, "--limit", "5", "-o", output), "--limit", "-o", code=2)
    fails(command("sens-rank", digits, "--device", "cuda"), "CUDA", code=2)
    fails(command("sens-rank", digits, "-k", "0"), "-k", code=2)
    fails(command("sens-rank", digits, "-k", "100000"), "k = 100,000: there are only 1,797 points", code=2)
    fails(command("sens-rank", digits, "--soft"), "digits.zarr", "--soft", code=2)
    fails(command("sens-rank", ranked), "linf.zarr", "ranking")
    fails(command("sens-rank", tmp_path / "nowhere.zarr"), "nowhere.zarr")
    fails(command("sens-rank", digits, "--against", tmp_path / "nowhere.zarr"), "nowhere.zarr")
    fails(command("sens-rank", digits, "-o", tmp_path / "no" / "r.zarr"), "does not exist")
    fails(command("sens-rank", "-", input=""), "stdin", code=2)
    done = command("sens-rank", digits, "--norm", "l3", "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["type"] == "UsageError"
    done = command("sens-rank", digits, env={**os.environ, "WORLD_SIZE": "two", "RANK": "0"})
    fails(done, "WORLD_SIZE", "torchrun", code=2)
    assert list(tmp_path.iterdir()) == []


def test_points_that_cannot_be_compared(command: Run, digits: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", x=np.zeros((4, 9, 9), np.uint8), y=np.arange(4))
    assert command("dataset", "import", "wide.npz", "-o", "w.zarr", "-q", cwd=tmp_path).returncode == 0
    fails(command("sens-rank", digits, "--against", tmp_path / "w.zarr"), "64 uint8", "81 uint8")
    np.savez(tmp_path / "twins.npz", x=np.repeat(np.arange(3, dtype=np.uint8), 300).reshape(9, 10, 10), y=np.arange(9))
    assert command("dataset", "import", "twins.npz", "-o", "t.zarr", "-q", cwd=tmp_path).returncode == 0
    done = command("sens-rank", "t.zarr", "--duplicates", "error", "-o", "r.zarr", cwd=tmp_path)
    fails(done, "9 points", "row 0", "row 1", "--duplicates")
    assert not (tmp_path / "r.zarr").exists()
    dropped = command("sens-rank", "t.zarr", "--duplicates", "drop", cwd=tmp_path)
    assert (dropped.returncode, dropped.stdout) == (0, "")
    assert "9 points" in dropped.stderr
    kept = command("sens-rank", "t.zarr", cwd=tmp_path)
    assert {row[1] for row in rows_of(kept)} == {0.0}
    assert "9 points" in kept.stderr


def test_an_altered_dataset_is_refused(command: Run, digits: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d.zarr"
    for name, data in tree(digits).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    assert command("sens-rank", copy, "--limit", "1", "-q").returncode == 0
    shard = max((file for file in copy.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    done = command("sens-rank", copy, "-o", tmp_path / "r.zarr", "-q")
    fails(done, "d.zarr")
    assert not (tmp_path / "r.zarr").exists()


# ------------------------------------------------------------------------------------------------------ killed

PACED = """
import os, signal, time
from datarobust.sensitivity import native, panels
from datarobust.tools import sens_rank
match, panels.SAVE_EVERY, panels.SAVE_SHARE = native.Kernel.match, 0.0, float("inf")
matches, last, pause = 0, int(os.environ.get("KILL_AT", "-1")), float(os.environ.get("PAUSE", "0"))
def paced(kernel, ends, both):
    global matches
    matches += both
    if matches == last:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(pause * both)
    match(kernel, ends, both)
native.Kernel.match = paced
sens_rank.main()
"""


@pytest.fixture(scope="module")
def paced(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen[str]]:
    """The command, killed by itself at the match KILL_AT, or with a PAUSE before each."""
    script = tmp_path_factory.mktemp("paced") / "paced.py"
    script.write_text(PACED)

    def start(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        words = [quick / "script", script, *map(str, arguments)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, **pipes, text=True, cwd=cwd, env=os.environ | environment)

    return start


@pytest.mark.skipif(native.library() is None, reason="installed without a compiler")
def test_killed_again_and_again_the_same_command_goes_on(
    paced: Callable[..., subprocess.Popen[str]], digits: Path, tmp_path: Path
) -> None:
    words = [digits, "--norm", "l2", "-k", "2", "--threads", "1", "-o", "r.zarr"]
    for folder in ("straight", "killed"):
        (tmp_path / folder).mkdir()
    straight = paced(*words, cwd=tmp_path / "straight")
    assert straight.communicate(timeout=120)[0] == "r.zarr\n"
    for last in (60, 150, 20):  # matches of the first process, of the second, ...
        process = paced(*words, cwd=tmp_path / "killed", KILL_AT=str(last))
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        assert (tmp_path / "killed" / ".r.zarr.resume").is_file()
    process = paced(*words, cwd=tmp_path / "killed")
    assert process.communicate(timeout=120)[0] == "r.zarr\n"
    assert tree(tmp_path / "killed" / "r.zarr") == tree(tmp_path / "straight" / "r.zarr")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["r.zarr"]


@pytest.mark.skipif(native.library() is None, reason="installed without a compiler")
def test_terminated_the_state_is_kept_and_told(
    command: Run, paced: Callable[..., subprocess.Popen[str]], digits: Path, tmp_path: Path
) -> None:
    output = tmp_path / "r.zarr"
    words = [digits, "--norm", "linf", "--threads", "1", "-o", output]
    process = paced(*words, PAUSE="0.02")
    deadline = time.monotonic() + 60
    while not (tmp_path / ".r.zarr.resume").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = command("sens-rank", *words)
    process.terminate()
    out, talk = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert talk.splitlines()[-1] == "sens-rank: terminated; run the same command again to resume"
    fails(second, "r.zarr")  # one at a time
    assert (tmp_path / ".r.zarr.resume").is_file()
    assert not output.exists()
    done = command("sens-rank", *words, "-q")
    assert done.stdout == f"{output}\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["r.zarr"]


SWEEP = """
import os, signal, sys
from pathlib import Path
from datarobust.sensitivity import panels
from datarobust.tools.sens_rank import sens_rank

panels.SAVE_EVERY, panels.SAVE_SHARE = 0.0, float("inf")
dataset, output = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
CALLS = ("writev", "fsync", "rename", "replace", "mkdir", "ftruncate", "pwrite", "unlink", "rmdir")
count, last = 0, 1 << 60

def counted(call):
    def wrapped(*arguments, **options):
        global count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return wrapped

for name in CALLS:
    setattr(os, name, counted(getattr(os, name)))

def run(path):
    sens_rank(dataset, norm="linf", output=path, k=2, memory=0.001, threads=1, quiet=True)

def tree(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}

straight = output / "straight.zarr"
run(straight)
total, killed, wrong = count, 0, []
for place in range(1, total + 1, max(1, total // 20)):
    path = output / f"{place}.zarr"
    child = os.fork()
    if child == 0:
        count, last = 0, place
        run(path)
        os._exit(0)
    killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    run(path)
    if tree(path) != tree(straight):
        wrong.append(f"killed before call {place} of {total}: another ranking")
    wrong += [
        f"killed before call {place} of {total}: {p.name} is left"
        for p in output.iterdir()
        if p.name.strip(".").split(".")[0] == str(place) and p != path
    ]
print(killed, *wrong, sep="\\n")
"""


def test_killed_before_any_call_to_the_system_the_files_are_the_same(tmp_path: Path) -> None:
    data = dataset(tmp_path / "d.zarr", rows=200)
    words = [sys.executable, "-W", "ignore", "-c", SWEEP, data, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("/")]
    killed, *wrong = lines
    assert int(killed) >= 15
    assert not wrong


# ------------------------------------------------------------------------------------------- several processes


def test_two_processes_make_the_bits_of_one(command: Run, pair: Run, digits: Path, tmp_path: Path) -> None:
    words = ["--norm", "l2", "-k", "3"]
    both = pair("sens-rank", digits, *words, "-o", tmp_path / "two.zarr")
    assert (both.returncode, both.stdout) == (0, f"{tmp_path / 'two.zarr'}\n"), both.stderr
    alone = command("sens-rank", digits, *words, "-o", tmp_path / "one.zarr", "-q")
    assert alone.returncode == 0, alone.stderr
    one, two = (artifacts.open_store(tmp_path / name, "ranking") for name in ("one.zarr", "two.zarr"))
    assert one.digest == two.digest
    assert {name: part for name, part in one.attributes.items() if name not in {"seal", "history"}} == {
        name: part for name, part in two.attributes.items() if name not in {"seal", "history"}
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zarr", "two.zarr"]


def test_parts_of_jobs_make_the_bits_of_one(command: Run, digits: Path, tmp_path: Path) -> None:
    words = ["sens-rank", digits, "--norm", "linf", "-k", "2", "-q"]
    assert command(*words, "-o", tmp_path / "whole.zarr").returncode == 0
    parts = [tmp_path / f"part-{number}.zarr" for number in range(3)]
    for number, part in enumerate(parts):
        done = command(*words, "--shard", f"{number}/3", "-o", part)
        assert (done.returncode, done.stdout) == (0, f"{part}\n"), done.stderr
    again = command(*words, "--shard", "1/3", "-o", parts[1], "--json")
    assert json.loads(again.stdout) == {"part": str(parts[1]), "new": False}
    joined = tmp_path / "joined.zarr"
    fails(command("artifact", "merge", *parts[:2], "-o", joined), "1 of the 3 parts are missing", "--shard 2/3")
    fails(command("artifact", "merge", *parts, tmp_path / "whole.zarr", "-o", joined), "whole.zarr is a ranking")
    assert not joined.exists()
    done = command("artifact", "merge", *parts, "-o", joined, "--json", "-q")
    assert json.loads(done.stdout) == {"ranking": str(joined), "new": True}, done.stderr
    assert artifacts.peek(joined).digest == artifacts.peek(tmp_path / "whole.zarr").digest
    assert json.loads(command(*words, "-o", joined, "--json").stdout)["new"] is False


def test_neighbours_of_the_same_label(
    command: Run, digits: Path, arrays: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, labels = arrays
    expected = rank(Labelled.of(images, labels), "l2", same=True)
    rows = rows_of(command("sens-rank", digits, "--same", "-q"))
    order = least_robust_first(expected.robustness)
    assert [row[:3] for row in rows] == [[row, expected.robustness[row], expected.neighbour[row, 0]] for row in order]
    assert all(row[3] == row[4] for row in rows)
    whole, joined, parts = tmp_path / "whole.zarr", tmp_path / "joined.zarr", [tmp_path / "0.zarr", tmp_path / "1.zarr"]
    assert command("sens-rank", digits, "--same", "-o", whole).returncode == 0
    for number, part in enumerate(parts):
        assert command("sens-rank", digits, "--same", "--shard", f"{number}/2", "-o", part).returncode == 0
    assert command("artifact", "merge", *parts, "-o", joined).returncode == 0
    assert artifacts.peek(joined).digest == artifacts.peek(whole).digest
    picture = tmp_path / "p.png"
    assert command("figure", "pairs", digits, whole, "-o", picture).returncode == 0
    assert command("figure", "report", digits, whole, "-o", tmp_path / "r.html").returncode == 0
    assert "nearest point of the same class" in (tmp_path / "r.html").read_text()
    for words in (
        ("dataset", "subset", digits, "--select", f"{whole}:least:3", "-o", tmp_path / "s.zarr"),
        ("embed", digits, "--ranking", whole, "-o", tmp_path / "e.zarr"),
        ("figure", "sensitivity", whole, "-o", tmp_path / "s.png"),
    ):
        fails(command(*words), "whole.zarr ranks points by the nearest one of the same label", "without --same")


def test_shards_that_are_refused(command: Run, pair: Run, digits: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.zarr"
    fails(command("sens-rank", digits, "--shard", "0/2"), "--shard", "-o", code=2)
    for text in ("2/2", "-1/2", "1", "0/0"):
        fails(command("sens-rank", digits, f"--shard={text}", "-o", part), text, code=2)
    fails(command("sens-rank", digits, "--shard", "0/2", "-o", part, "--duplicates", "drop"), "drop", "--shard", code=2)
    whole = json.loads(command("sens-rank", digits, "--dry-run").stdout)
    share = json.loads(command("sens-rank", digits, "--dry-run", "--shard", "0/4", "-o", part).stdout)
    assert share["pairs"] == -(-whole["pairs"] // 4)
    assert pair("sens-rank", digits, "--shard", "0/2", "-o", part).returncode != 0
    assert not list(tmp_path.iterdir())
