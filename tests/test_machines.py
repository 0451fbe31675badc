"""Several machines: two agents of torchrun, of which one is lost with its process, and both are started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from datarobust import artifacts

from .conftest import free_port
from .tools import made

Run = Callable[..., subprocess.CompletedProcess[str]]
OPTIONS = ["--arch", "wrn-10-1", "--batch", 8, "--steps", 2, "--hold-out", "none", "--track", "none", "--epochs", 6]
#: torchrun, as a script that starts quickly.
AGENT = "from torch.distributed.run import main\nmain()\n"


def test_a_machine_that_is_lost_and_comes_again_changes_no_bit(quick: Path, pair: Run, tmp_path: Path) -> None:
    """As in a job of SLURM: where one machine is lost the others end, and the same command goes on on all."""
    made.dataset(tmp_path / "d.zarr", 40)
    (tmp_path / "agent.py").write_text(AGENT)
    words = ["d.zarr", *map(str, OPTIONS), "--threads", "1", "--save-every", "0"]
    whole = pair("advtrain", *words, "-o", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr

    def start() -> list[subprocess.Popen[str]]:
        meeting = ["--rdzv-backend=c10d", "--rdzv-id=7", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
        agent = [quick / "script", "agent.py", "--nnodes=2", "--nproc_per_node=1", *meeting]
        training = ["--no-python", quick / "advtrain", *words, "-o", "run"]
        return [
            subprocess.Popen(
                [*agent, f"--rdzv-conf=is_host={int(machine == 0)}", *training],
                cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=os.environ | {"MACHINE": f"{tmp_path}/{machine}"},
            )
            for machine in range(2)
        ]  # fmt: skip

    agents, log = start(), tmp_path / "run" / "log.jsonl"
    try:
        while not (log.exists() and log.read_text()):  # an epoch, and its state
            ended = [agent.communicate() for agent in agents if agent.poll() is not None]
            assert not ended, ended
            time.sleep(0.01)
        lose(tmp_path / "1")
        said = [agent.communicate(timeout=100) for agent in agents]
        assert agents[0].returncode != 0, said
        agents = start()
        said = [agent.communicate(timeout=100) for agent in agents]
        assert [agent.returncode for agent in agents] == [0, 0], said
    finally:
        for machine in range(2):
            lose(tmp_path / f"{machine}")
    one, other = (artifacts.load_tensors(tmp_path / run / "last.safetensors") for run in ("whole", "run"))
    assert one.digest == other.digest


def lose(machine: Path) -> None:
    """Kill all processes of a machine, as if it had lost its power."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if f"MACHINE={machine}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
