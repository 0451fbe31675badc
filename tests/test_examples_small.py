"""The small twins of the expensive rows: they ask for what they say, and their tables hold what was printed."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MAIN = ("c10inf-v_v", "c10inf-vp_v", "c10inf-v_s", "c10inf-v_m")


def seeds(row: str) -> list[str]:
    """Five of the rows of Table 2 and Figure 1 (b), three of the others."""
    return [str(seed) for seed in range(5 if row in MAIN else 3)]


def rows(path: Path) -> list[dict[str, str]]:
    text = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(text, delimiter="\t"))


def make(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    command = ["make", *arguments, *(f"{name}={value}" for name, value in {"BIN": "", **variables}.items())]
    return subprocess.run(
        command, cwd=EXAMPLES, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The commands of ``make small``, as words."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("cifar10_train.npz", "cifar10_test.npz", "mnist_train.npz"):
        (folder / name).touch()
    done = make("-n", "small", DATA=folder, OUT="out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\\\n", " ").splitlines()
    found = [shlex.split(line) for line in lines if re.match(r"[a-z-]+ ", line)]
    assert len({tuple(words) for words in found}) == len(found), "nothing is made twice"
    return found


def test_ten_rows_with_several_seeds_each(planned: list[list[str]]) -> None:
    trained = [words for words in planned if words[0] == "advtrain"]
    runs = {Path(words[words.index("-o") + 1]).name: words for words in trained}
    names = {name.rpartition(".")[0] for name in runs}
    assert runs.keys() == {f"{name}.{seed}" for name in names for seed in seeds(name)}
    assert len(names) == 10
    assert set(MAIN) < names
    for name, words in runs.items():
        asked = dict(zip(words[2::2], words[3::2], strict=False))
        assert asked["--seed"] == name.rpartition(".")[2]
        assert asked["--norm"] == ("l2" if name.startswith("c10l2") else "linf")
        held = "none" if "_2" in name else "out/small-runs/vp.txt" if "-vp_" in name else "first:64"
        assert asked["--hold-out"] == held
        assert asked["--schedule"] == ("c" if "-c_" in name else "original")
    evaluated = [words for words in planned if words[0] == "aaeval"]
    least = [words for words in evaluated if "--select" in words]
    assert {words[2] for words in evaluated if words not in least} == {
        f"out/small-runs/{name}/best.safetensors" for name in runs
    }
    assert {words[2] for words in least} == {
        f"out/small-runs/{row}.{seed}/last.safetensors" for row in MAIN[:3] for seed in seeds(row)
    }
    assert {words[words.index("--select") + 1] for words in least} == {"out/c10-small-linf.zarr:least:64"}


def test_table_1_in_small_is_of_its_four_rows(planned: list[list[str]]) -> None:
    compared = {words[2] for words in planned if words[0] == "fid"}
    ends = [(norm, end) for norm in ("l2", "linf") for end in ("most", "least")]
    kinds = ("200x1", "32x10")
    assert compared == {f"out/small-c10-{norm}-{end}-{kind}.zarr" for norm, end in ends for kind in kinds}
    assert [words[0] for words in planned].count("edmtrain") == 1


def test_the_papers_differences_are_those_of_its_tables() -> None:
    tables = {name: rows(EXAMPLES / f"{name}.tsv") for name in ("table2", "table3", "table4")}
    for line in rows(EXAMPLES / "small.tsv"):
        (number,) = re.findall(r"Table (\d)", line["question"])
        found = {row["name"]: row for row in tables[f"table{number}"]}
        for which in "bl":
            theirs = float(found[line["b"]][f"aa_{which}"]) - float(found[line["a"]][f"aa_{which}"])
            assert float(line[f"paper_{which}"]) == pytest.approx(theirs, abs=1e-9)


def test_every_difference_is_compared(planned: list[list[str]]) -> None:
    compared = [words for words in planned if words[0] == "aacompare"]
    names = {
        (line["a"], line["b"], f"out/small-runs/{{row}}.{{seed}}.{which}.zarr")
        for line in rows(EXAMPLES / "small.tsv")
        for which in ("best", "last")
    }
    names |= {
        (line["a"], line["b"], "out/small-runs/on-s/{row}.{seed}.zarr") for line in rows(EXAMPLES / "small-local.tsv")
    }
    wanted = {
        (
            *(name.format(row=a, seed=seed) for seed in seeds(a)),
            "vs",
            *(name.format(row=b, seed=seed) for seed in seeds(b)),
        )
        for a, b, name in names
    }
    assert {tuple(words[2 : words.index("-q")]) for words in compared} == wanted
    assert {words[1] for words in compared} == {"--power"}


def line_of_aacompare(a: float, b: float, low: float, high: float, key: str, detectable: float | None) -> str:
    """As ``aacompare`` prints it, with decoys: the same names in another object before it."""
    group = {"values": [0.1, 0.2], "deviation": 0.01, "interval": [0.0, 1.0]}
    decoy = {"a": {**group, "mean": 0.9}, "b": {**group, "mean": 0.8}, "difference": 0.7, "interval": [0.6, 0.7]}
    decoy["power"] = {"detectable": 0.5}
    real = {
        "a": {"mean": a, **group},
        "b": {"mean": b, **group},
        "difference": b - a,
        "interval": [low, high],
        "p": 0.5,
        "power": {"power": 0.8, "gain": 0.002, "detectable": detectable, "seeds_for_gain": None},
    }
    return (
        json.dumps({"a": ["x.zarr"], "b": ["y.zarr"], "points": 500, "clean": decoy, key: real, "remarks": []}) + "\n"
    )


@pytest.mark.parametrize("key", ["autoattack", "autoattack_upper_bound"])
def test_the_table_of_differences(tmp_path: Path, key: str) -> None:
    (tmp_path / "x.y.best.json").write_text(line_of_aacompare(0.2, 0.25, 0.01, 0.09, key, 0.056))
    (tmp_path / "x.y.last.json").write_text(line_of_aacompare(0.2, 1.5e-05, -0.3, 0.1, key, None))
    (tmp_path / "pairs.tsv").write_text("# theirs\nquestion\ta\tb\tpaper_b\tpaper_l\nx or y?\tx\ty\t0.24\t-0.13\n")
    files = [tmp_path / name for name in ("pairs.tsv", "x.y.best.json", "x.y.last.json")]
    command = ["awk", "-f", str(EXAMPLES / "differences.awk"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[2:] == [
        "| x or y? | best | 20.00 | 25.00 | +5.00 (+1.00 to +9.00) | yes | +0.24 | 5.60 |",
        "| x or y? | last | 20.00 | 0.00 | -20.00 (-30.00 to +10.00) | no | -0.13 | x |",
    ]


def test_a_line_without_autoattack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.y.best.json").write_text('{"clean": {}}\n')
    command = ["awk", "-f", str(EXAMPLES / "differences.awk"), str(tmp_path / "x.y.best.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds no AutoAttack accuracy" in done.stderr
    assert done.stdout == ""


def test_the_table_of_figure_1b(tmp_path: Path) -> None:
    """Against SciPy: means and ratios with the intervals of Student's t, of the last lines of the logs."""
    values = {"m": ([0.5, 0.4, 0.45], [0.6, 0.55, 0.5]), "s": ([0.25, 0.2, 0.3], [0.5, 0.4, 0.45])}
    logs = []
    for end, (robust, clean) in values.items():
        for seed, (a, b) in enumerate(zip(robust, clean, strict=True)):
            log = tmp_path / f"c10inf-v_{end}.{seed}" / "log.jsonl"
            log.parent.mkdir()
            lines = [{"epoch": 1, "tracked_accuracy": 0.9, "tracked_clean_accuracy": 0.9}]
            lines.append({"epoch": 2, "tracked_accuracy": a, "tracked_clean_accuracy": b})
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
            logs.append(log)
    command = ["awk", "-f", str(EXAMPLES / "focus.awk"), *map(str, logs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = []
    for measure in (lambda a, b: a, lambda a, b: b, lambda a, b: a / b):
        ends = [np.array([measure(a, b) for a, b in zip(*values[end], strict=True)]) for end in "ms"]
        cells = [interval(100 * end) for end in ends]
        logarithms = np.log(ends[0] / ends[1])
        mean, half = logarithms.mean(), stats.t.ppf(0.975, 2) * stats.sem(logarithms)
        cells.append("{:.2f} ({:.2f} to {:.2f})".format(*np.exp([mean, mean - half, mean + half])))
        expected.append(" | ".join(cells))
    rows = [line.split(" | ", 1)[1].removesuffix(" |") for line in done.stdout.splitlines()[2:]]
    assert rows == expected
    refused = subprocess.run(command[:-1], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "as many of either kind" in refused.stderr


def interval(values: np.ndarray) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.2f} ({values.mean() - half:.2f} to {values.mean() + half:.2f})"


def test_the_judge_has_not_seen_what_it_judges(tmp_path: Path) -> None:
    (tmp_path / "mnist_train.npz").touch()
    done = make("-n", "mnist-denoiser", DATA=tmp_path, OUT="out")
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]
    chosen = {
        Path(w[w.index("-o") + 1]).stem: w[w.index("--select") + 1] for w in lines if w[:2] == ["dataset", "subset"]
    }
    assert chosen == {"train": "first:4000", "known": "first:6000", "held-out": "!first:59500"}
    trained, judged = (words[: words.index(">")] for words in lines if words[0] == "edmtrain")
    assert [word for word in judged if word in trained] == trained, "the same training, and then a judge"
    assert judged[judged.index("--judge") + 1] == "out/mnist/judge/last.safetensors"
    missing = make("mnist-denoiser", DATA=tmp_path / "none", OUT=tmp_path / "out")
    assert missing.returncode != 0
    assert "left out: M, no emnist-mnist-train-images-idx3-ubyte.gz in DATA=" in missing.stderr


def test_the_demo_is_all_of_it_in_one_graph(tmp_path: Path) -> None:
    done = make("-n", "-f", "demo.mk", OUT=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, "no rule is given twice"
    lines = [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines() if re.match(r"[a-z-]+ ", line)]
    used = {words[0] for words in lines}
    assert {"dataset", "sens-rank", "clone", "fid", "edmtrain", "advtrain", "aaeval", "aacompare", "embed"} <= used
    assert len({tuple(words) for words in lines}) == len(lines), "nothing is made twice"
    (report,) = [words for words in lines if words[:2] == ["figure", "report"]]
    made = {words[words.index("-o") + 1] for words in lines if "-o" in words} | {
        words[-1] for words in lines if ">" in words
    }
    shown = set(report[2 : report.index("--title")])
    assert shown <= made, "the page shows what the graph makes"
    pictures = {name for name in made if name.endswith((".svg", ".png"))}
    assert pictures <= shown, "and every picture is on it"
    for part in ("digits", "digits-clones", "digits-focus", "digits-maps"):
        alone = make("-n", "-f", f"{part}.mk", part, OUT=tmp_path / "out")
        assert alone.returncode == 0, alone.stderr
        assert alone.stdout
