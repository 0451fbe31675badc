"""How artifacts.tar.gz was made: with the commands of version 0.1.0, before its redesign. Run once, kept as a record.

    python make.py BIN FOLDER    BIN has the installed commands and the Python that has datarobust 0.1.0

An interrupted command is one that kills itself (``kill -9``) right after it has saved its state.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

BIN, WORK = Path(sys.argv[1]).absolute(), Path(sys.argv[2])

KILLED = """
import importlib, os, signal, sys
sys.argv = sys.argv[1:]
{patch}
importlib.import_module("datarobust.tools." + sys.argv[0].replace("-", "_")).main()
"""
AFTER_JOURNAL = """
from datarobust.artifacts import Journal
save = Journal.save
def killing(self, arrays):
    save(self, arrays)
    os.kill(os.getpid(), signal.SIGKILL)
Journal.save = killing
"""
AFTER_BATCH = """
from datarobust.clones.sink import Sink
take = Sink.take
def killing(self, number, images):
    take(self, number, images)
    self.save()
    os.kill(os.getpid(), signal.SIGKILL)
Sink.take = killing
"""
AFTER_PROGRESS = """
from datarobust.artifacts.progress import Progress
start = Progress.start
def killing(self, hashes):
    start(self, hashes)
    os.kill(os.getpid(), signal.SIGKILL)
Progress.start = killing
"""
NETWORK = ["--width", "8", "--mult", "1", "--blocks", "1", "--batch", "20"]
CLONE = ["digits.zarr", "--model", "denoiser/last.safetensors", "--num-steps", "2", "--limit", "9"]
ATTACK = ["--attacks", "apgd-ce", "--iterations", "2", "--select", "first:10", "--adversarial"]
CLASSIFIER = ["--arch", "wrn-10-1", "--epochs", "1", "--batch", "20", "--augment", "none", "--steps", "2"]

WHOLE = [
    ["dataset", "import", "digits", "--limit", "60", "-o", "digits.zarr"],
    ["sens-rank", "digits.zarr", "--norm", "l2", "-k", "2", "-o", "r.zarr"],
    ["edmtrain", "digits.zarr", "--epochs", "2", *NETWORK, "-o", "denoiser"],
    ["clone", *CLONE, "-o", "clones.zarr"],
    ["fid", "digits.zarr", "--features", "pixels", "--save-moments", "moments.zarr"],
    ["embed", "digits.zarr", "--ranking", "r.zarr", "--n", "20", "-o", "map.zarr"],
    ["advtrain", "digits.zarr", "--hold-out", "none", "--track", "none", *CLASSIFIER, "-o", "run"],
    ["aaeval", "digits.zarr", "run/last.safetensors", *ATTACK, "-o", "attacked.zarr"],
]
INTERRUPTED = [
    (AFTER_JOURNAL, ["sens-rank", "digits.zarr", "--norm", "linf", "-o", "half-r.zarr"]),
    (AFTER_BATCH, ["clone", *CLONE, "--batch", "4", "--seed", "1", "-o", "half-clones.zarr"]),
    (AFTER_JOURNAL, ["edmtrain", "digits.zarr", "--epochs", "3", *NETWORK, "--save-every", "0", "-o", "half-run"]),
    (AFTER_PROGRESS, ["dataset", "import", "digits", "--limit", "50", "-o", "half-digits.zarr"]),
]


def main() -> None:
    """Make everything and pack it."""
    WORK.mkdir()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for words in WHOLE:
        subprocess.run([BIN / words[0], *words[1:], "-q"], cwd=WORK, check=True, env=env)
    for patch, words in INTERRUPTED:
        code = KILLED.format(patch=patch)
        done = subprocess.run([BIN / "python", "-c", code, *words, "-q"], cwd=WORK, check=False, env=env)
        assert done.returncode == -signal.SIGKILL, words
    whole = [
        path for path in sorted(WORK.rglob("*")) if path.suffix in (".zarr", ".safetensors") and path.name[0] != "."
    ]
    shown = subprocess.run(
        [BIN / "artifact", "show", *(str(path.relative_to(WORK)) for path in whole)],
        cwd=WORK, check=True, env=env, capture_output=True, text=True,
    )  # fmt: skip
    digests = {line["path"]: line["digest"] for line in map(json.loads, shown.stdout.splitlines())}
    (WORK / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")
    for lock in WORK.glob(".*.lock"):
        lock.write_text("12345 localhost\n")
    with tarfile.open(Path(__file__).with_name("artifacts.tar.gz"), "w:gz") as archive:
        for path in sorted(WORK.iterdir()):
            archive.add(path, path.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
