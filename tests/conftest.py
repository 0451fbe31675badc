"""What every test may use: the installed commands, the root of the repository, the folder of shared real data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Small networks are slower with several threads, and on a busy machine much slower; commands inherit this. What depends
# on the number of threads sets it itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data sets, which DATAROBUST_SHARED names in the environment; unset, the test is skipped."""
    place = os.environ.get("DATAROBUST_SHARED")
    if not place:
        pytest.skip("DATAROBUST_SHARED is not set")
    folder = Path(place)
    assert folder.is_dir(), f"DATAROBUST_SHARED names {folder}, which is no folder"
    return folder


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The folder of the installed commands."""
    return Path(sys.executable).parent


@pytest.fixture(scope="session")
def command(scripts: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an installed command as a user would: ``command("sens-rank", store, "--norm", "l2", cwd=...)``.

    The result has the exit code and both streams as text; keyword arguments go to :func:`subprocess.run`.
    """

    def run(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        defaults: dict[str, object] = {"capture_output": True, "text": True, "timeout": 120}
        if "stdout" in options or "stderr" in options:
            del defaults["capture_output"]
        return subprocess.run([scripts / name, *map(str, arguments)], check=False, **{**defaults, **options})

    return run
