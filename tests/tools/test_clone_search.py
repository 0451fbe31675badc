"""The command ``clone-search``, as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from . import made
from .failing import fails

Run = Callable[..., subprocess.CompletedProcess[str]]
GRID = ("--grid", "sigma_min=0.004", "--grid", "S_min=0.5", "--grid", "S_noise=1", "--grid", "S_churn=0.5")
QUICK = ("--num-steps", 2, "--threads", 1, "--seeds", 2, *GRID, "--grid", "rho=1.5,2", "--grid", "sigma_max=1.3,1.4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    made.dataset(folder / "d.zarr")
    made.denoiser(folder / "m.safetensors")
    return folder


def results(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    return sorted(lines, key=lambda line: (line["point"], line["seed"], line["images"]))


def test_a_search_and_its_findings(command: Run, place: Path) -> None:
    words = ["d.zarr", "--model", "m.safetensors", *QUICK, "-o", "s.jsonl"]
    done = command("clone-search", *words, "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["main_effects"]["sigma_max"]) == {"1.3", "1.4"}
    assert told["seed_spread"] > 0
    assert (told["measure"], told["features"]) == ("frechet", "pixels")
    lines = results(place / "s.jsonl")
    assert {(line["measure"], line["features"]) for line in lines} == {("frechet", "pixels")}
    assert len(lines) == 8
    means = {n: sum(x["score"] for x in lines if x["point"] == n) / 2 for n in range(4)}
    assert told["top"][0]["score"] == pytest.approx(min(means.values()))
    before = (place / "s.jsonl").read_bytes()
    again = command("clone-search", *words, cwd=place)
    assert (again.returncode, again.stdout) == (0, "s.jsonl\n")
    assert (place / "s.jsonl").read_bytes() == before
    fails(command("clone-search", *words, "--strategy", "full", cwd=place), "s.jsonl", "--overwrite")


def test_s_max_and_the_matched_start(command: Run, place: Path) -> None:
    words = ["d.zarr", "--model", "m.safetensors", *QUICK[:-4], "--seeds", 1, "--grid", "rho=1.5"]
    refused = command("clone-search", *words, "--start", "matched", "-o", "n.jsonl", cwd=place)
    fails(refused, "--start matched", "--grid sigma_max=1.4", "--noise-weight", code=2)
    words += ["--start", "matched", "--grid", "sigma_max=1.4", "--grid", "S_max=0.1,inf", "-o", "m.jsonl"]
    done = command("clone-search", *words, cwd=place)
    assert (done.returncode, done.stdout) == (0, "m.jsonl\n"), done.stderr
    assert [line["S_max"] for line in results(place / "m.jsonl")] == [0.1, None]
    assert [line["sigma_max"] for line in results(place / "m.jsonl")] == pytest.approx([0.45 / 0.55] * 2)
    said = [line for line in done.stderr.splitlines() if any(word in line for word in ("Mean", "seed", "S_noise 1"))]
    assert len(said) > 8
    assert all("Fréchet distance of pixels" in line for line in said)


def test_processes_and_shards_bring_the_same_lines(command: Run, pair: Run, place: Path) -> None:
    words = ["d.zarr", "--model", "m.safetensors", *QUICK]
    assert command("clone-search", *words, "-o", "one.jsonl", cwd=place).returncode == 0
    wanted = results(place / "one.jsonl")
    done = pair("clone-search", *words, "-o", "two.jsonl", cwd=place)
    assert (done.returncode, done.stdout) == (0, "two.jsonl\n"), done.stderr
    first = command("clone-search", *words, "--shard", "0/2", "-o", "a.jsonl", cwd=place)
    fails(first, "rung 1 lacks 4 of 8", "--also")
    done = command("clone-search", *words, "--shard", "1/2", "--also", "a.jsonl", "-o", "b.jsonl", cwd=place)
    assert done.returncode == 0, done.stderr
    shared = sorted(results(place / "a.jsonl") + results(place / "b.jsonl"), key=lambda x: (x["point"], x["seed"]))
    for found in (results(place / "two.jsonl"), shared):
        assert [(x["point"], x["seed"]) for x in found] == [(x["point"], x["seed"]) for x in wanted]
        assert [x["score"] for x in found] == pytest.approx([x["score"] for x in wanted], rel=1e-3)


def test_a_dry_run_tells_the_papers_search(command: Run, place: Path) -> None:
    done = command("clone-search", "d.zarr", "--model", "m.safetensors", "-o", "n.jsonl", "--dry-run", cwd=place)
    plan = json.loads(done.stdout)
    assert plan["points"] == 729
    assert plan["expected_seconds"] > 0
    assert [rung["points"] for rung in plan["rungs"]] == [729, 81, 9]
    assert not (place / "n.jsonl").exists()


def test_misuse_is_one_sentence(command: Run, place: Path, tmp_path: Path) -> None:
    def run(*more: object) -> subprocess.CompletedProcess[str]:
        words = [place / "d.zarr", "--model", place / "m.safetensors", "-o", tmp_path / "s.jsonl", *more]
        return command("clone-search", *words)

    fails(run("--grid", "rho"), "rho=1.5,1.6,1.7", code=2)
    fails(run("--grid", "theta=1"), "does not have theta", code=2)
    fails(run("--shard", "2/2"), "2/2", code=2)
    fails(run("--features", "inception"), "--weights", "sha256", code=2)
    (tmp_path / "w.pth").write_bytes(b"no weights")
    fails(run("--weights", tmp_path / "w.pth"), "w.pth is cut short or another file")  # they are Inception's
    fails(run("--features", "pixels", "--weights", tmp_path / "w.pth"), "leave it out", code=2)
    (tmp_path / "w.pth").unlink()
    assert list(tmp_path.iterdir()) == []
