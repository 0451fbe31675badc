"""The Dockerfile, as far as it can be checked without Docker: what it copies is what an installation needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from .test_packaging import PROJECT, ROOT

FOLDER = ROOT / "examples" / "docker"


def test_the_copied_files_make_a_wheel(tmp_path: Path) -> None:
    lines = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*"
    for name in copied:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    words = [sys.executable, "-c", "from setuptools import setup; setup()", "-q", "egg_info", "--egg-base", tmp_path]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    listed = (tmp_path / "datarobust.egg-info" / "SOURCES.txt").read_text(encoding="utf-8").split()
    assert {"lib/datarobust/sensitivity/native.c", "tools/sens_rank.py", "lib/datarobust/py.typed"} <= set(listed)
    assert "constraints.txt" in copied


def test_the_image_has_a_python_that_is_supported() -> None:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    versions = set(re.findall(r"FROM python:([\d.]+)-slim", text))
    assert {f"Programming Language :: Python :: {version}" for version in versions} <= set(
        PROJECT["project"]["classifiers"]
    )
    assert len(versions) == 1
    extras = re.findall(r"'\.\[([\w,]+)\]'", text)[0].split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
