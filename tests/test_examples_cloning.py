"""Recipes that clone: they ask for what Tables 1 and 5 and Figures 3 and 7 to 15 say, and put the paper beside it."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ENDS = [(norm, end) for norm in ("l2", "linf") for end in ("most", "least")]
INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
Plan = Callable[..., list[list[str]]]


def make(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    given = [f"{name}={value}" for name, value in {"BIN": "", **variables}.items()]
    command = ["make", *arguments, *given]
    return subprocess.run(
        command, cwd=EXAMPLES, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The commands that make would run with these files in DATA, as words."""

    def planned(recipe: str, *files: str, **variables: object) -> list[list[str]]:
        for name in files:
            (tmp_path / name).touch()
        done = make("-n", recipe, DATA=tmp_path, OUT="out", **variables)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.replace("\\\n", " ").splitlines()
        found = [shlex.split(line) for line in lines if re.match(r"/?[a-z-]+ ", line)]
        assert len({tuple(words) for words in found}) == len(found), "nothing is made twice"
        return found

    return planned


def options(words: list[str]) -> dict[str, str]:
    return {word: after for word, after in itertools.pairwise(words) if word.startswith("-")}


@pytest.mark.parametrize("recipe", ["digits-clones", "mnist-denoiser"])
def test_weights_of_a_training_that_was_stopped_are_not_used(recipe: str, tmp_path: Path) -> None:
    """A training saves weights before its end, and make passes over a missing file where a later one is there."""
    (tmp_path / "mnist_train.npz").touch()

    def trained() -> list[str]:
        done = make("-n", recipe, DATA=tmp_path, OUT=tmp_path / "out")
        assert done.returncode == 0, done.stderr
        return sorted(re.findall(r"(\w+)\.run\.part && ", done.stdout.replace("\\\n", " ")))

    assert trained() == ["denoiser", "judge"]
    folder = tmp_path / "out" / ("mnist" if recipe == "mnist-denoiser" else "")
    for name in ("denoiser", "judge"):
        (folder / name).mkdir(parents=True)
    for name in ("../M.zarr", "digits.zarr", "train.zarr", "known.zarr", "held-out.zarr", "denoiser/last.safetensors"):
        (folder / name).touch()
    (folder / "judge/last.safetensors").touch()
    assert trained() == ["denoiser", "judge"]


SETS = ("cifar10_train.npz", "cifar-100-python.tar.gz")
DENOISERS = ("edm-cifar10-32x32-cond-vp.pkl", "edm-cifar100-32x32-cond-vp.pkl")


def test_table_1_and_5_are_of_the_papers_sets(plan: Plan) -> None:
    commands = plan("table1", *SETS, *DENOISERS, INCEPTION)
    cloned = {(o["--select"], o["--repeats"], Path(o["-o"]).name) for o in map(options, commands) if "--repeats" in o}
    wanted = {
        (f"out/{name}-{norm}.zarr:{end}:{count}", str(repeats), f"{name}-{norm}-{end}-{count}x{repeats}.zarr")
        for name in ("c10", "c100")
        for norm, end in ENDS
        for count, repeats in ((10000, 1), (1024, 10))
    }
    assert cloned == wanted
    compared = [words for words in commands if words[0] == "fid"]
    assert len(compared) == 16
    for words in compared:
        first = "10000x1" in words[2]
        assert options(words)["--features"] == ("inception" if first else "pixels")
        assert options(words).get("--weights", INCEPTION).endswith(INCEPTION)
        assert ("--weights" in words) == first
        assert words[2].startswith(words[1].removesuffix(".zarr")), "a set and its own clones"
    tables = [words[-1] for words in commands if words[0] == "awk"]
    assert tables == ["out/table1.md", "out/table5.md"]
    shared = [words[:5] for words in plan("table1", GPUS=4) if words[0] == "torchrun"]
    assert {words[2] for words in shared} == {"--nproc_per_node=4"}
    assert Counter(words[4].rpartition(".")[2] for words in shared) == {"clone": 16, "fid": 8}


def test_what_is_not_there_is_left_out(plan: Plan, tmp_path: Path) -> None:
    commands = plan("table1", *SETS, DENOISERS[0])
    assert not any("c100" in word for words in commands if words[0] == "clone" for word in words)
    assert {options(words)["--features"] for words in commands if words[0] == "fid"} == {"pixels"}, "no Inception here"
    drawn = plan("figure3", SMALL="yes")
    assert len([words for words in drawn if words[0] == "clone"]) == 4
    assert [words[0] for words in drawn].count("edmtrain") == 1
    for name in SETS + DENOISERS:
        (tmp_path / name).unlink(missing_ok=True)
    for recipe in ("figure3", "table1"):
        done = make(recipe, DATA=tmp_path, OUT=tmp_path / "out")
        assert done.returncode != 0
        assert "nothing to make" in done.stderr
        (tmp_path / SETS[0]).touch()
        done = make(recipe, DATA=tmp_path, OUT=tmp_path / "out")
        assert "left out: CIFAR-10, no edm-*-32x32-cond-vp.pkl of it" in done.stderr
        (tmp_path / SETS[0]).unlink()


def test_figures_3_and_7_to_15(plan: Plan) -> None:
    commands = plan("figure3", *SETS, *DENOISERS)
    drawn = {Path(options(words)["-o"]).stem: words for words in commands if words[0] == "figure"}
    assert sorted(drawn) == sorted(f"figure{number}" for number in (3, *range(7, 16)))
    assert drawn["figure7"].count("--name") == 4
    for number, (name, norm, end) in zip(
        range(8, 16),
        [(n, norm, end) for n in ("c10", "c100") for end in ("most", "least") for norm in ("l2", "linf")],
        strict=True,
    ):
        assert f"out/{name}-{norm}-{end}-16x10.zarr" in drawn[f"figure{number}"]
        assert options(drawn[f"figure{number}"])["--layout"] == "rows"


def test_the_table_has_the_papers_numbers_beneath_ours(tmp_path: Path) -> None:
    line = {"a": "a.zarr", "frechet": 5.678, "features": "inception", "fid": 5.678, "mode": "m", "dimensions": 2048}
    line |= {"calibration": {"frechet": 5.25, "points": 5000, "seed": 0}, "kid": {"value": -1.5e-05, "subsets": 9}}
    line |= {"oc": {"l2": 7.654, "linf": 0.6321, "pairs": 10000}, "cc": None}
    (tmp_path / "c10-l2-most.oc.json").write_text(json.dumps(line) + "\n")
    line |= {"oc": {"l2": 1.0, "linf": 2.0, "pairs": 1}, "cc": {"l2": 8.999, "linf": 0.7249, "pairs": 9216}}
    (tmp_path / "c10-l2-most.cc.json").write_text(json.dumps(line) + "\n")
    line |= {"features": "classifier:00ff", "fid": None, "kid": None, "calibration": None}
    del line["fid"]
    (tmp_path / "digits-l2-most.oc.json").write_text(json.dumps(line) + "\n")
    files = ["c10-l2-most.oc.json", "c10-l2-most.cc.json", "digits-l2-most.oc.json"]
    awk = ["awk", "-f", str(EXAMPLES / "distances.awk"), str(EXAMPLES / "table1.tsv"), *files]
    done = subprocess.run(awk, cwd=tmp_path, capture_output=True, text=True, check=True)
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in done.stdout.splitlines()]
    assert {len(row) for row in cells} == {8}
    assert cells[2] == ["c10-l2-most", "0.632", "7.65", "FID 5.68", "5.25", "-1.5e-05", "0.725", "9"]
    assert cells[3] == ["*the paper*", "0.63", "7.73", "FID 5.54", "", "", "0.72", "8.99"]
    assert cells[4] == ["digits-l2-most", "2", "1", "classifier 5.68", "", "", "", ""]


def test_a_figure_can_be_made_alone(plan: Plan, tmp_path: Path) -> None:
    commands = plan("figure14", *SETS, *DENOISERS)
    assert [Path(options(words)["-o"]).name for words in commands if words[0] == "figure"] == ["figure14.png"]
    assert [options(words)["--select"] for words in commands if words[0] == "clone"] == ["out/c100-l2.zarr:least:16"]
    tables = [words[-1] for words in plan("table5", *SETS, *DENOISERS) if words[0] == "awk"]
    assert tables == ["out/table5.md"]
    (tmp_path / DENOISERS[1]).unlink()
    for one in ("figure14", "table5"):
        done = make(one, DATA=tmp_path, OUT=tmp_path / "out")
        assert done.returncode != 0
        assert "left out: CIFAR-100, no edm-*-32x32-cond-vp.pkl of it" in done.stderr
        assert "nothing to make" in done.stderr
