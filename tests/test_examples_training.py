"""Recipes that train: rows ask for what their names say, tracking is told from focus, and jobs survive preemption."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
TABLES = ("table2", "table3", "table4")
NAME = re.compile(r"(c10|c100)(inf|l2)(?:-(v|vp|s))?(?:-([a-e]))?_(none|[24]?[vsm])(-star)?")
POINTS = {"v": "first:1024", "2v": "first:2048", "vp": "vp.txt", "none": "none"}
POINTS |= {"s": "least:1024", "2s": "least:2048", "4s": "least:4096", "m": "most:1024"}
SLURM = EXAMPLES / "slurm" / "advtrain.sbatch"
KUBERNETES = EXAMPLES / "kubernetes" / "advtrain.yaml"
Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def make(quick: Path) -> Make:
    """Run make in examples/ as a user would: ``make("table2", DATA=..., OUT=...)``."""
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}

    def run(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        given = [f"{name}={value}" for name, value in {"BIN": quick, **variables}.items()]
        command = ["make", *arguments, *given]
        return subprocess.run(
            command, cwd=EXAMPLES, env=environment, capture_output=True, text=True, check=False, timeout=240
        )

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The names of all files, for make to find; CIFAR-10's have images in them, of 8 x 8 pixels."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("20m.npz", "50m.npz", "cifar100-50m.npz", "cifar-100-python.tar.gz"):
        (folder / name).touch()
    random = np.random.default_rng(0)
    for name, count in (("cifar10_train.npz", 90), ("cifar10_test.npz", 30)):
        images = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        np.savez(folder / name, x=images, y=np.arange(count) % 10)
    return folder


def trainings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """The options of every training that make would run, by the name of its run."""
    found: dict[str, dict[str, str]] = {}
    for line in done.stdout.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        place = next((n for n, word in enumerate(words) if word.endswith("advtrain")), None)
        if place is None:
            continue
        words, end = words[:-6], words[-6:]
        options = dict(zip(words[place + 2 :: 2], words[place + 3 :: 2], strict=True))
        run = Path(options.pop("-o")).name
        assert run not in found, "nothing is trained twice"
        assert end == [">", f"{words[-1]}.run.part", "&&", "mv", f"{words[-1]}.run.part", f"{words[-1]}.run"]
        found[run] = options | {"": Path(words[place + 1]).name, "processes": words[0] if place else "one"}
    return found


def wanted(name: str, table: str) -> dict[str, str]:
    """What the name of a row says, read from the paper's notation, and the settings that its table states."""
    match = NAME.fullmatch(name)
    assert match is not None, name
    base, norm, hold, version, track, star = match.groups()
    short = (base, norm) == ("c10", "inf")
    epochs = {"table4": 3000 if short else 2000}.get(table, 2400 if short else 1600)
    inside = track not in (hold, "none")
    return {
        "": f"{base}.zarr",
        "--test": f"{base}-test.zarr",
        "--generated": "20m.zarr" if short else "c100-50m.zarr" if base == "c100" else "50m.zarr",
        "--norm": {"inf": "linf", "l2": "l2"}[norm],
        "--arch": "wrn-28-10",
        "--epochs": f"{epochs}",
        "--batch": "2080" if table == "table4" and not star else "2048",
        "--hold-out": POINTS[hold or "none"],
        "--track": POINTS[track],
        "--schedule": version or "original",
        "--seed": "0" if table in ("table2", "figure1") else "1",
        "--precision": "tf32",
        **({"--focus": POINTS[track], "--focus-mode": "inject" if star else "fixed"} if inside else {}),
        **({"--focus-batch": "32"} if star else {}),
    }


def words_of(done: subprocess.CompletedProcess[str], kind: str) -> str:
    """The one command of ``figure KIND`` that make would run, on one line."""
    (line,) = [line for line in done.stdout.replace("\\\n", " ").splitlines() if re.search(rf"/figure {kind} ", line)]
    return " ".join(line.split())


def tail(value: str) -> str:
    """A path without its folder, a ranking's selection without its ranking."""
    return re.sub(r".*\.zarr:", "", value.rpartition("/")[2])


@pytest.mark.parametrize(("table", "rows"), [("table2", 12), ("table3", 6), ("table4", 9), ("figure1", 2)])
def test_rows_ask_for_what_their_names_say(make: Make, data: Path, tmp_path: Path, table: str, rows: int) -> None:
    done = make("-n", table, DATA=data, OUT=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = trainings(done)
    assert len(found) == rows
    if table != "figure1":
        listed = re.findall(r"^(c10\S+)", (EXAMPLES / f"{table}.tsv").read_text(), re.MULTILINE)
        assert [f"{name}.{int(table != 'table2')}" for name in listed] == list(found)
        drawn = words_of(done, "table")
        assert re.findall(r"--name (\S+)", drawn) == listed
        assert re.search(rf"--beside \S*{table}\.tsv -o {tmp_path}/out/{table}\.md ", drawn)
        for name in listed:
            run = f"{tmp_path}/out/runs/{name}.{int(table != 'table2')}"
            assert (f"{run} " in drawn, f"{run}.last.zarr " in drawn) == (True, True)
            assert (f"{run}.best.zarr " in drawn) == (not name.endswith("_none"))
    for run, options in found.items():
        assert options.pop("processes").endswith("/torchrun")
        ranked = options["--track"]
        if "zarr" in ranked:
            assert Path(ranked).name.startswith(f"{Path(options['']).stem}-{options['--norm']}.zarr:")
        expected = wanted(run.rpartition(".")[0], table)
        assert {name: tail(value) for name, value in options.items()} == expected
    assert not list(tmp_path.iterdir()), "saying is not doing"


def test_both_weights_of_a_row_are_evaluated_where_both_are_there(make: Make, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = make("-n", "table2/c10inf-v_none", "table2/c10inf-v_s", DATA=data, OUT=out)
    none, least = (line for line in done.stdout.replace("\\\n", " ").splitlines() if "tools.aaeval " in line)
    assert re.findall(r"\S+\.safetensors", none) == [f"{out}/runs/c10inf-v_none.0/last.safetensors"]
    both = [f"{out}/runs/c10inf-v_s.0/{which}.safetensors" for which in ("best", "last")]
    assert re.findall(r"\S+\.safetensors", least) == both
    assert re.findall(r"-o (\S+)", least) == [f"{out}/runs/c10inf-v_s.0.{which}.zarr" for which in ("best", "last")]


def test_a_focus_can_be_chosen(make: Make, data: Path, tmp_path: Path) -> None:
    for focus, mode in (("inject", "inject"), ("none", None)):
        found = trainings(make("-n", "table3", DATA=data, OUT=tmp_path, FOCUS=focus, GPUS=1))
        assert found["c10l2-v-c_s.1"].get("--focus-mode") == mode
        assert found["c10l2-v-c_s.1"]["processes"] == "one"
    refused = make("-n", "table3", DATA=data, OUT=tmp_path, FOCUS="much")
    assert refused.returncode != 0
    assert "FOCUS is fixed, oversample, inject or none, not 'much'" in refused.stderr


@pytest.mark.parametrize("table", [*TABLES, "figure1"])
def test_what_is_missing_is_told(make: Make, data: Path, tmp_path: Path, table: str) -> None:
    done = make(table, DATA=tmp_path, OUT=tmp_path / "out")
    assert done.returncode != 0
    assert f"nothing to make: no set of this recipe is in DATA={tmp_path}" in done.stderr
    assert "left out: CIFAR-10 test set, no cifar-10-python.tar.gz" in done.stderr
    for name in ("cifar10_train.npz", "cifar10_test.npz"):
        (tmp_path / name).symlink_to(data / name)
    big = make(table, DATA=tmp_path, OUT=tmp_path / "out")
    assert big.returncode != 0
    assert "left out: 20m, no 20m.npz in DATA=" in big.stderr
    small = make("-n", table, DATA=tmp_path, OUT=tmp_path / "out", SMALL="yes")
    assert small.returncode == 0, small.stderr
    for options in trainings(small).values():
        assert options["processes"] == "one"
        assert "--generated" not in options
        assert (options[""], options["--arch"], options["--batch"]) == ("c10-small.zarr", "wrn-10-1", "64")
    alone = make("-n", "-f", f"{table}.mk", DATA=tmp_path, OUT=tmp_path / "out", SMALL="yes")
    assert trainings(alone) == trainings(small), "a recipe is whole without the others"


def test_figure_1_runs_and_table_2_takes_its_run_over(make: Make, data: Path, tmp_path: Path) -> None:
    tiny = {
        "DATA": data, "OUT": tmp_path, "SMALL": "yes", "small": 48, "small_test": 8, "many": 8,
        "ADVTRAIN": "--epochs 2 --batch 32 --steps 1 --threads 1 -q",
        "AAEVAL": "--attacks apgd-ce --iterations 1 --restarts 1 --threads 1",
    }  # fmt: skip
    done = make("figure1", **tiny)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{tmp_path}/small-figure1b.svg"
    rows = [line.split("\t") for line in (tmp_path / "small-figure1b.tsv").read_text().splitlines()[1:]]
    assert [row[:2] for row in rows] == [
        [f"{how} robust in focus", epoch] for how in ("most", "least") for epoch in "12"
    ]
    assert (tmp_path / "small-runs" / "c10inf-v_s.0.run").read_text() == f"{tmp_path}/small-runs/c10inf-v_s.0\n"
    shared = make("-n", "table2/c10inf-v_s", **tiny)
    assert not trainings(shared)
    evaluated = make("table2/c10inf-v_s", **tiny)
    assert evaluated.returncode == 0, evaluated.stderr
    lines = (tmp_path / "small-runs" / "c10inf-v_s.0.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 2
    again = make("figure1", "table2/c10inf-v_s", **tiny)
    assert (again.returncode, again.stdout.count("\n")) == (0, 2), "what is finished is not made again"


# ------------------------------------------------------------------------------------------------------------ glitch


def stub(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("digests", "verdict"),
    [
        ("aaaa bc", "tracking: equal weights; focus: others"),
        ("aaba cd", "tracking and focus are not kept apart"),
        ("aaaa ab", "tracking and focus are not kept apart"),
        ("aaaa bb", "tracking and focus are not kept apart"),
    ],
)
def test_the_verdict_on_the_glitch(make: Make, tmp_path: Path, digests: str, verdict: str) -> None:
    """With commands that only pretend, so that a leak can be shown too."""
    names = ["track-none", "track-v", "track-s", "track-all", "focus-inject", "focus-oversample"]
    pretended, out = tmp_path / "bin", tmp_path / "out"
    pretended.mkdir()
    for name in ("dataset", "sens-rank", "advtrain"):
        stub(pretended / name, 'for last; do :; done; mkdir -p "$last"; echo "$last"')
    cases = " ".join(f"*/{name}/*) d={d} ;;" for name, d in zip(names, digests.replace(" ", ""), strict=True))
    shown = '{"path": "x", "digest": "%s", "history": [{"inputs": {"dataset": "f"}, "digest": "e"}]}'
    stub(pretended / "artifact", f"case $2 in {cases} esac; printf '{shown}\\n' $d")
    done = make("glitch", OUT=out, BIN=pretended)
    assert (done.returncode == 0) == verdict.startswith("tracking:"), done.stderr
    if done.returncode == 0:
        assert done.stdout.splitlines()[-1] == verdict
        assert (out / "glitch.txt").read_text().splitlines()[0] == "track-none        a"


def test_trainings_of_the_glitch_differ_in_what_they_track_and_focus_on_alone(make: Make, tmp_path: Path) -> None:
    found = trainings(make("-n", "glitch", OUT=tmp_path / "out"))
    ours = {"--track", "--focus", "--focus-mode", "--focus-batch"}
    same = [{name: value for name, value in options.items() if name not in ours} for options in found.values()]
    assert all(options == same[0] for options in same)
    assert len({tuple(sorted(options.items())) for options in found.values()}) == len(found) == 6
    focus = [name for name, options in found.items() if "--focus" in options]
    assert focus == ["focus-inject", "focus-oversample"]
    assert {found[name]["--track"] for name in focus} == {found["track-s"]["--track"]}


def test_the_result_that_is_shown_says_so() -> None:
    lines = (EXAMPLES / "results" / "glitch.txt").read_text().splitlines()
    digests = [line.split()[1] for line in lines[:6]]
    assert len(set(digests[:4])) == 1
    assert len(set(digests)) == 3
    assert lines[6:] == ["tracking: equal weights; focus: others"]


# -------------------------------------------------------------------------------------------------------------- jobs


def slurm_options(job: Path = SLURM) -> list[str]:
    """Of the command, in a job for SLURM, with its folders in place of the variables."""
    text = re.sub(r"\\\n", " ", job.read_text())
    match = re.search(r"datarobust\.tools\.\w+ (.*) \"\$@\" &", text)
    assert match is not None
    folders = {"DATA": "/data", "RUN": "/runs/c10inf-v-c_s", "CLONES": "/runs/c10-linf-least-10000x1.zarr"}
    words = shlex.split(re.sub(r"\$(\w+)", lambda name: folders[name[1]], match[1]))
    first = next(place for place, word in enumerate(words) if word.startswith("-"))
    options = zip(words[first::2], words[first + 1 :: 2], strict=True)
    return [*words[:first], *(f"{name}={value}" for name, value in options)]


def kubernetes_options(job: Path) -> list[str]:
    """Of the command, in a job for Kubernetes."""
    return re.findall(r"^ {12}- (\S*(?:zarr|safetensors|=).*)$", job.read_text().partition("args:")[2], re.MULTILINE)


def test_all_jobs_are_the_same_row(make: Make, data: Path, tmp_path: Path) -> None:
    ours = [word.replace("-o=", "--output=") for word in slurm_options()]
    assert sorted(kubernetes_options(KUBERNETES)) == sorted(ours)
    assert slurm_options(SLURM.with_stem("advtrain-nodes")) == slurm_options()
    assert kubernetes_options(KUBERNETES.with_stem("advtrain-nodes")) == kubernetes_options(KUBERNETES)
    row = trainings(make("-n", "table2/c10inf-v-c_s", DATA=data, OUT=tmp_path / "data"))["c10inf-v-c_s.0"]
    given = dict(word.split("=") for word in ours[1:])
    for name, value in row.items():
        if name in given:
            assert tail(given[name]) == tail(value), name
    assert {"--norm", "--arch", "--batch", "--seed"} == {n for n in row if n.startswith("--")} - set(given), "defaults"


@pytest.mark.parametrize("job", ["clone", "aaeval"])
def test_a_job_is_the_same_on_both_kinds_of_cluster(job: str) -> None:
    ours = [word.replace("-o=", "--output=") for word in slurm_options(SLURM.with_stem(job))]
    assert kubernetes_options(KUBERNETES.with_stem(job)) == ours


@pytest.mark.parametrize("job", sorted(SLURM.parent.iterdir()), ids=lambda job: job.name)
def test_jobs_are_sound_scripts(job: Path) -> None:
    checks = [["bash", "-n"], *([["shellcheck", "--severity=warning"]] if shutil.which("shellcheck") else [])]
    for check in checks:
        done = subprocess.run([*check, job], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_advtrain_knows_the_options_of_the_jobs(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    shown = command("advtrain", "--help").stdout
    for word in slurm_options()[1:]:
        assert re.search(rf"(?m)^ +(-\w, )?{word.split('=')[0]}\b", shown), word


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Environment of a job: a scontrol that writes down what it is asked, a torchrun that does what CODE says."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    asked = f'[ "$1" = show ] && echo node1 && exit\necho "$@" >> {tmp_path}/asked; exit "$REFUSED"'
    stub(bin_ / "scontrol", asked)
    for name in ("torchrun", "srun", "python"):
        stub(
            bin_ / name,
            f'trap "echo saved >> {tmp_path}/state; exit 1" TERM; echo "$0 $@" > {tmp_path}/started\n'
            '[ -n "$CODE" ] && exit $CODE\nwhile :; do sleep 0.05; done',
        )
    slurm = {"JOB_ID": "77", "JOB_NODELIST": "node[1-4]", "JOB_NUM_NODES": "4", "CPUS_PER_TASK": "64"}
    slurm |= {"ARRAY_TASK_ID": "3", "ARRAY_JOB_ID": "70"}
    ours = {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "BIN": str(bin_), "CODE": "", "REFUSED": "0"}
    return {**os.environ, **{f"SLURM_{name}": value for name, value in slurm.items()}, **ours, "DATA": str(tmp_path)}


@pytest.mark.parametrize(
    ("job", "refused", "starts"),
    [
        ("advtrain", "0", "torchrun --standalone --nproc_per_node=4 -m"),
        ("advtrain", "1", "torchrun "),  # SLURM itself puts it back
        ("advtrain-nodes", "0", "torchrun --nnodes=4 --nproc_per_node=8 --rdzv-backend=c10d --rdzv-id=77 "
                                "--rdzv-endpoint=node1:29500 -m"),
        ("sens-rank", "1", "--shard 3/16 -o"),
        ("clone", "0", "torchrun --nnodes=4 --nproc_per_node=8 --rdzv-backend=c10d --rdzv-id=77 "
                       "--rdzv-endpoint=node1:29500 -m datarobust.tools.clone"),
        ("aaeval", "0", "torchrun --standalone --nproc_per_node=8 -m datarobust.tools.aaeval"),
    ],
)  # fmt: skip
def test_a_job_that_is_stopped_saves_and_comes_again(
    cluster: dict[str, str], tmp_path: Path, job: str, refused: str, starts: str
) -> None:
    words = ["bash", str(SLURM.with_stem(job))]
    cluster |= {"REFUSED": refused}
    process = subprocess.Popen(words, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert (tmp_path / "state").read_text() == "saved\n"
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert re.search(r"job 7[07] goes on later", out)
    assert starts in (tmp_path / "started").read_text()


@pytest.mark.parametrize("job", ["advtrain", "advtrain-nodes", "sens-rank", "clone", "aaeval"])
@pytest.mark.parametrize("code", [0, 2])
def test_a_job_that_ends_by_itself_does_not_come_again(
    cluster: dict[str, str], tmp_path: Path, code: int, job: str
) -> None:
    words = ["bash", str(SLURM.with_stem(job))]
    done = subprocess.run(words, env=cluster | {"CODE": f"{code}"}, capture_output=True, check=False)
    assert done.returncode == code
    assert not (tmp_path / "asked").exists()
