"""Disturbs a command where it writes: its n-th call to the disk fails, is cut short, or is its last.

    python faults.py FOLDER KIND N FLOCK REPORT SCRIPT ARGUMENT...

runs a script of Python in a process in which faults.c is preloaded. Calls that write within FOLDER are counted; the
N-th is disturbed as KIND says, and REPORT gets the number of all. FLOCK is an errno that every flock there gives; 0:
none. `CASES` are commands with tiny inputs that `prepare` makes; `trial` is the promise that each of them keeps.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "count": "c",  # nothing is disturbed
    "full": "f",  # ENOSPC, once
    "stays full": "F",  # ENOSPC, from there on
    "failing": "e",  # EIO, once
    "short": "s",  # half of the bytes are written
    "kill": "k",  # SIGKILL, before the call
    "terminate": "t",
    "interrupt": "i",
    "interrupt twice": "I",
}
CODES = {
    **dict.fromkeys(("count", "short"), (0,)),
    **dict.fromkeys(("full", "stays full", "failing"), (0, 1)),  # 0: what failed was clearing up
    "kill": (-9, 137),
    "terminate": (143, 0),  # 0: it came after the end
    **dict.fromkeys(("interrupt", "interrupt twice"), (130, 0)),
}
SOURCE = Path(__file__).with_suffix(".c")
_CLASSIFIER = "--arch wrn-10-1 --epochs 2 --batch 12 --steps 1 --augment none --save-every 0 --hold-out none"
_DENOISER = "--epochs 2 --width 8 --mult 1 --blocks 1 --batch 12 --save-every 0"
_ATTACK = "--attacks apgd-ce --iterations 2 --select first:6 --adversarial --batch 3"
_GRID = "sigma_min=0.004 S_min=0.5 S_noise=1 S_churn=0.5 rho=1.5 sigma_max=1.3,1.4".replace(" ", " --grid ")
_SEARCH = f"--num-steps 2 --limit 4 --seeds 1 --grid {_GRID}"
_IN = "../in"
PREPARED = [
    "dataset import digits --limit 24 -o d.zarr",
    "sens-rank d.zarr --norm linf -o r.zarr",
    "sens-rank d.zarr --norm linf --shard 0/2 -o part-0.zarr",
    "sens-rank d.zarr --norm linf --shard 1/2 -o part-1.zarr",
    f"edmtrain d.zarr {_DENOISER} -o denoiser",
    f"advtrain d.zarr {_CLASSIFIER} --track none -o run",
    "clone d.zarr --model denoiser/last.safetensors --num-steps 2 --limit 6 -o k.zarr",
    f"aaeval d.zarr run/last.safetensors {_ATTACK} -o a.zarr",
    "embed d.zarr --ranking r.zarr --n 10 -o e.zarr",
    "fid d.zarr --features pixels --save-moments m.zarr",
    "model export run/last.safetensors -o exported",
]
CASES = {
    name: line.replace("@", f"{_IN}/")
    for name, line in {
        "dataset import": "dataset import digits --limit 24 -o o.zarr",
        "dataset import --shuffle": "dataset import digits --limit 24 --shuffle 0 -o o.zarr",
        "dataset subset": "dataset subset @d.zarr --select first:5 -o o.zarr",
        "dataset merge": "dataset merge @d.zarr @d.zarr -o o.zarr",
        "dataset relabel": "dataset relabel @d.zarr --random 0 -o o.zarr",
        "dataset features": "dataset features @d.zarr --model @run/last.safetensors -o o.zarr",
        "sens-rank": "sens-rank @d.zarr -k 2 -o o.zarr",
        "sens-rank -o csv": "sens-rank @d.zarr -o o.csv",
        "dataset issues": "dataset issues @d.zarr -o o.csv",
        "sens-rank --shard": "sens-rank @d.zarr --shard 0/2 -o o.zarr",
        "artifact merge": "artifact merge @part-0.zarr @part-1.zarr -o o.zarr",
        "edmtrain": f"edmtrain @d.zarr {_DENOISER} -o o",
        "clone": "clone @d.zarr --model @denoiser/last.safetensors --num-steps 2 --limit 6 --batch 3 -o o.zarr",
        "clone-search": f"clone-search @d.zarr --model @denoiser/last.safetensors {_SEARCH} -o o.jsonl",
        "fid": "fid @d.zarr @k.zarr --features pixels -o o.json",
        "fid --save-moments": "fid @d.zarr --features pixels --save-moments o.zarr",
        "advtrain": f"advtrain @d.zarr {_CLASSIFIER} --track first:6 -o o",
        "aaeval": f"aaeval @d.zarr @run/last.safetensors {_ATTACK} -o o.zarr",
        "embed": "embed @d.zarr --ranking @r.zarr --n 10 -o o.zarr",
        "figure": "figure sensitivity @r.zarr -o o.svg --tsv o.tsv",
        "figure report": "figure report @d.zarr @r.zarr -o o.html",
        "model import": "model import @exported/weights.pt --normalise none -o o.safetensors",
        "model export": "model export @run/last.safetensors -o o",
    }.items()
}
TABLES = ("sens-rank -o csv", "dataset issues")


def lack() -> str | None:
    """Why nothing can be disturbed here, if so."""
    if sys.platform != "linux":
        return "faults are for Linux"
    return None if shutil.which("cc") else "there is no C compiler"


@contextmanager
def quick_commands(root: Path, scripts: Path) -> Iterator[Path]:
    """A folder of the installed commands that start quickly (`forkserver`), with faults.c preloaded if it can be."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = [root / "tests" / name for name in ("pretended.py", "faults.py")]
    with tempfile.TemporaryDirectory(prefix="quick-") as place:
        words = [sys.executable, root / "tests" / "forkserver.py", place, *files]
        words += [scripts / name for name in project["scripts"]]
        environment = dict(os.environ)
        if lack() is None:
            environment["LD_PRELOAD"] = f"{place}/.faults.so"
            subprocess.run(
                ["cc", "-O1", "-shared", "-fPIC", SOURCE, "-o", environment["LD_PRELOAD"], "-ldl"], check=True
            )
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield Path(place)
            server.communicate()


def main(folder: str, kind: str, number: str, flock: str, report: str, *words: str) -> None:
    """Run a script, disturbed."""
    shim = ctypes.CDLL(None)
    shim.faults_count.restype = ctypes.c_long
    sys.argv = list(words)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have ignored it
    shim.faults_arm(os.fsencode(folder), ord(kind), ctypes.c_long(int(number)), int(flock))
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        count = shim.faults_count()
        shim.faults_arm(b"", 0, ctypes.c_long(0), 0)
        Path(report).write_text(str(count))


# ------------------------------------------------------------------------------------------------------- the promise


@dataclass(frozen=True)
class Bench:
    """Where commands are disturbed."""

    quick: Path  # folder of commands that start quickly, with the library preloaded
    scripts: Path  # folder of the installed commands
    folder: Path  # with the inputs in ``in``

    def run(
        self, cwd: Path, line: str, kind: str = "count", number: int = 0, flock: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line in a folder, disturbed there."""
        name, *words = line.split()
        report = self.folder / "count"
        start = ["faults.py", cwd, KINDS[kind], str(number), str(flock), report, self.scripts / name]
        if lack() is not None:
            assert kind == "count"
            start = [name]
        return subprocess.run(
            [self.quick / start[0], *start[1:], *words], cwd=cwd, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    def count(self) -> int:
        """The number of calls in the command that ended last."""
        return int((self.folder / "count").read_text()) if lack() is None else 0

    def fresh(self, name: str) -> Path:
        """An empty folder of this name beside the inputs."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


def prepare(bench: Bench) -> None:
    """Make the inputs of `CASES`."""
    inputs = bench.fresh("in")
    for line in PREPARED:
        name, *words = line.split()
        done = subprocess.run(
            [bench.quick / name, *words, "-q"], cwd=inputs, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)


def contents(folder: Path, names: str = "*") -> dict[str, str]:
    """sha256 of every file in a folder, hidden ones too, by name; logs, JSON and reports without times in them."""
    hashes = {}
    for path in sorted(path for top in folder.glob(names) for path in (top, *top.rglob("*"))):
        data = path.read_bytes() if path.is_file() else b""
        if path.name == "log.jsonl":
            lines = [json.loads(line) for line in data.splitlines()]
            measured = ("images_per_second", "seconds", "memory_gb")
            data = json.dumps([{k: v for k, v in line.items() if k not in measured} for line in lines]).encode()
        if path.suffix == ".json":  # a line of fid says how long it took
            data = re.sub(rb'"(seconds|images_per_second)": [0-9.e+-]+', b"", data)
        if path.suffix == ".html":  # a report has what stands in such a line, and the digest of its file
            data = re.sub(rb"(?m)^.*(text-[0-9a-f]{12}|second</dt>|seconds</dt>).*$", b"", data)
        hashes[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return hashes


def outputs(hashes: dict[str, str]) -> dict[str, str]:
    """What stands there under a name that is not hidden."""
    return {name: value for name, value in hashes.items() if not re.search(r"(^|/)\.", name)}


def trial(bench: Bench, case: str, kind: str, number: int, whole: dict[str, str]) -> str | None:
    """What is wrong after a command was disturbed and run again; None if nothing is.

    ``whole`` are the contents of its folder where it was not disturbed.
    """
    folder, line = bench.fresh("trial"), CASES[case]
    done = bench.run(folder, line, kind, number)
    if done.returncode not in CODES[kind]:
        return f"exit code {done.returncode}: {done.stderr[-600:]}"
    if "Traceback" in done.stderr:
        return f"traceback: {done.stderr[-600:]}"
    if done.returncode == 1 and not done.stderr.strip():
        return "failed without a word"
    visible = outputs(contents_or_torn(folder))
    grows = case in ("edmtrain", "advtrain")  # folders of trainings
    wrong = [name for name, value in visible.items() if whole.get(name) != value]
    if wrong and not grows:
        return f"{wrong[0]} stands there, but is not whole"
    if done.returncode == 0 and kind != "kill" and outputs(whole) != visible:
        return "ended well, but its output is another"
    again = bench.run(folder, line)
    if case in TABLES and outputs(whole) == visible:  # it does not say what made it, so it is refused, not made again
        if again.returncode != 1 or "exists already" not in again.stderr:
            return f"a table that stands there is not refused: {again.stderr[-600:]}"
    elif again.returncode != 0:
        return f"the same command again fails: {again.stderr[-600:]}"
    after = contents(folder)
    if case in TABLES:  # the state stays for `--overwrite`
        after.pop(".o.csv.resume", None)
    if after != whole:
        debris = sorted(set(after) - set(whole))
        other = sorted(name for name in whole if after.get(name) != whole[name])
        return f"after the same command again: debris {debris}, other contents {other}"
    return None


def contents_or_torn(folder: Path) -> dict[str, str]:
    """As `contents`; a log whose last line is torn has no contents that equal others."""
    try:
        return contents(folder)
    except ValueError:
        return {"log.jsonl": "torn"}


def undisturbed(bench: Bench, case: str, name: str = "trial") -> tuple[dict[str, str], int]:
    """The contents of the folder of a command that nothing disturbed, and the number of its calls."""
    folder = bench.fresh(name)
    done = bench.run(folder, CASES[case])
    assert done.returncode == 0, (case, done.stderr)
    return contents(folder), bench.count()


def sample(count: int, size: int, salt: int = 0) -> list[int]:
    """``size`` of the numbers 1 to ``count``, evenly spread; without ``salt``, which shifts them, the last is one."""
    return sorted({count - (place * count // size + salt) % count for place in range(min(size, count))})


if __name__ == "__main__":
    main(*sys.argv[1:])
