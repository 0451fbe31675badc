"""What is built of the tree: a source distribution with all of it, and of that a wheel with the packages alone."""

from __future__ import annotations

import configparser
import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME, VERSION = PROJECT["project"]["name"], PROJECT["project"]["version"]
#: What editors, tests and commands leave in the folders that are shipped whole.
LEFT = {"__pycache__", "work", ".pytest_cache", ".hypothesis"}
TOP = [
    *(".gitignore", ".pre-commit-config.yaml", "ARTIFACTS.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"),
    *("LICENSE", "MANIFEST.in", "Makefile", "README.md", "constraints.txt", "pyproject.toml"),
]


def files(*folders: str) -> set[str]:
    """All files in these folders, by their place in the tree, but for what is left behind."""
    paths = [path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path.as_posix() for path in paths if not LEFT & set(path.parts) and path.suffix != ".so"}


def built(tree: Path, what: str, into: Path) -> Path:
    """Build offline, with the setuptools that is here."""
    into.mkdir()
    code = f"import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])"
    words = [sys.executable, "-c", code, str(into)]
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # it is warned of
    done = subprocess.run(words, cwd=tree, env=usual, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    [found] = into.iterdir()
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    backend = importlib.util.find_spec("setuptools")
    assert backend is not None, "pip install -e '.[dev]' brings setuptools"
    place = tmp_path_factory.mktemp("source")
    tree = place / "tree"
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "work", "*.so")
    for name in ("lib", "tools", "tests", "examples", ".ci"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in TOP:
        shutil.copy(ROOT / name, tree)
    with tarfile.open(built(tree, "sdist", place / "sdist")) as archive:
        archive.extractall(place, filter="data")
    return place / f"{NAME}-{VERSION}"


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The wheel of the source distribution, by file."""
    with zipfile.ZipFile(built(source, "wheel", tmp_path_factory.mktemp("wheel") / "dist")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_source_distribution_is_the_tree(source: Path) -> None:
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    made = {"PKG-INFO", "setup.cfg", *(name for name in there if ".egg-info/" in name)}
    assert there - made == {*TOP, *files("lib/datarobust", "tools", "tests", "examples", ".ci")}
    for name in there - made:
        assert (source / name).read_bytes() == (ROOT / name).read_bytes(), name
    assert (source / ".ci/run").stat().st_mode & 0o111


def test_no_file_of_the_top_is_forgotten() -> None:
    tracked = {path.name for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".coverage")}
    assert tracked == set(TOP)


def test_the_wheel_has_the_packages_and_nothing_else(wheel: dict[str, bytes]) -> None:
    about = f"{NAME}-{VERSION}.dist-info/"
    library = {
        name.removeprefix("lib/")
        for name in files("lib/datarobust")
        if name.endswith((".py", "py.typed")) or "/templates/" in name
    }
    tools = {f"{NAME}/{name}" for name in files("tools") if name.endswith(".py")}
    packed = {name for name in wheel if not name.startswith(about)}
    compiled = {name for name in packed if name.startswith(f"{NAME}/sensitivity/_native.")}
    assert packed - compiled == library | tools
    assert len(compiled) == (shutil.which("cc") is not None)
    for name in library | tools:
        path = ROOT / (name.removeprefix(f"{NAME}/") if name in tools else f"lib/{name}")
        assert wheel[name] == path.read_bytes(), name
    assert f"{NAME}/py.typed" in library
    assert wheel[f"{about}licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_says_what_the_project_says(wheel: dict[str, bytes]) -> None:
    about, project = f"{NAME}-{VERSION}.dist-info/", PROJECT["project"]
    points = configparser.ConfigParser()
    points.optionxform = str  # type: ignore[assignment, method-assign]
    points.read_string(wheel[f"{about}entry_points.txt"].decode())
    assert dict(points["console_scripts"]) == project["scripts"]
    for target in project["scripts"].values():
        assert f"{target.partition(':')[0].replace('.', '/')}.py" in wheel
    head = email.message_from_bytes(wheel[f"{about}METADATA"])
    assert (head["Version"], head["License-Expression"]) == (VERSION, project["license"])
    assert head["Requires-Python"] == project["requires-python"]
    assert set(head.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert head.get_all("Classifier") == project["classifiers"]
    plain = [line for line in head.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(plain) == sorted(project["dependencies"])


def test_every_extra_but_that_of_the_benchmarks_is_tested() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    stand_ins = {"models"}  # for packages that cannot be installed where the tests run
    assert set(extras) == {"bench", "dev", "hf", "tensorboard", "triton"} | stand_ins
    for name in ("hf", "tensorboard"):
        assert set(extras[name]) <= set(extras["dev"])
    assert "EXTRAS=dev,triton" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_every_extra_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins == sorted(pins, key=str.lower), "in order, so that a missing one is seen"
    names = {pin.partition("==")[0] for pin in pins}
    extras = PROJECT["project"]["optional-dependencies"]
    for needed in (one for name, extra in extras.items() if name != "models" for one in extra):
        assert re.split(r"[\[>=]", needed)[0] in names or "==" in needed


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for key in ("version", "license"):
        assert f"\n{key}: {PROJECT['project'][key]}\n" in citation
    assert re.findall(r"^  - ([a-z ]+)$", citation, re.MULTILINE) == PROJECT["project"]["keywords"]


def test_a_commit_is_checked_as_make_check_does() -> None:
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert hooks == ["make --no-print-directory check"]
    assert re.search(r"^check:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
