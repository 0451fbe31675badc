"""Artifacts that were written before the redesign are read; commands that were interrupted then can begin anew.

tests/data/before/make.py tells how they were made.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts.history import pretty, seal_of

Command = Callable[..., CompletedProcess[str]]

DENOISER = ["--width", "8", "--mult", "1", "--blocks", "1", "--batch", "20", "--epochs", "3", "--save-every", "0"]
CLONE = ["--model", "denoiser/last.safetensors", "--num-steps", "2", "--limit", "9", "--batch", "4", "--seed", "1"]
INTERRUPTED = {
    "half-r.zarr": ["sens-rank", "digits.zarr", "--norm", "linf"],
    "half-clones.zarr": ["clone", "digits.zarr", *CLONE],
    "half-run": ["edmtrain", "digits.zarr", *DENOISER],
    "half-digits.zarr": ["dataset", "import", "digits", "--limit", "50"],
}


@pytest.fixture(scope="module")
def unpacked(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all of them."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(root / "tests/data/before/artifacts.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def before(unpacked: Path, tmp_path: Path) -> Path:
    """A copy to work in."""
    return Path(shutil.copytree(unpacked, tmp_path / "before"))


def test_every_kind_is_read_and_intact(unpacked: Path) -> None:
    digests = json.loads((unpacked / "digests.json").read_text())
    summaries = {path: artifacts.check(unpacked / path) for path in digests}
    assert {path: summary.digest for path, summary in summaries.items()} == digests
    younger = {"ranking-part"}  # than these artifacts
    assert {summary.kind for summary in summaries.values()} == set(artifacts.KINDS) - younger
    assert all(summary.history for summary in summaries.values())


def test_equal_content_has_the_bytes_of_before_but_for_the_version(unpacked: Path, tmp_path: Path) -> None:
    for path in ("digits.zarr", "r.zarr", "moments.zarr", "attacked.zarr"):
        store = artifacts.open_store(unpacked / path)
        columns = {name: (store.column(name).dtype, store.column(name).shape[1:]) for name in store.names()}
        with artifacts.create(
            tmp_path / path, store.kind, columns, attributes=store.attributes, history=store.history
        ) as writer:
            for name in store.names():
                writer.append(name, store.column(name).read())
        assert _as_version_1(tmp_path / path / "zarr.json") == (unpacked / path / "zarr.json").read_bytes(), path
        new_files, old_files = _tree(tmp_path / path), _tree(unpacked / path)
        assert new_files.pop("zarr.json") != old_files.pop("zarr.json")
        assert new_files == old_files, path
    old = artifacts.load_tensors(unpacked / "run/last.safetensors")
    new = tmp_path / "last.safetensors"
    artifacts.save_tensors(new, old.kind, old, attributes=old.attributes, history=old.history)
    new_tensors, old_tensors = new.read_bytes(), (unpacked / "run/last.safetensors").read_bytes()
    head = json.loads(_metadata(new_tensors))
    head["version"] = 1
    head["seal"] = seal_of(head)
    assert head == json.loads(_metadata(old_tensors))
    assert new_tensors[_data_start(new_tensors) :] == old_tensors[_data_start(old_tensors) :]


def test_a_finished_command_is_the_answer_of_the_same_command_again(before: Path, command: Command) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in before.rglob("*")}
    for words in (
        ["sens-rank", "digits.zarr", "--norm", "l2", "-k", "2", "-o", "r.zarr"],
        ["dataset", "import", "digits", "--limit", "60", "-o", "digits.zarr"],
    ):
        done = command(*words, cwd=before)
        assert (done.returncode, done.stdout) == (0, f"{words[-1]}\n"), done.stderr
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


@pytest.mark.parametrize("output", INTERRUPTED)
def test_an_interrupted_command_is_finished_by_the_same_command(output: str, before: Path, command: Command) -> None:
    words = INTERRUPTED[output]
    done = command(*words, "-o", output, cwd=before)
    if output == "half-run":
        assert done.returncode == 1
        assert "half-run holds an unfinished run of version 0.1" in done.stderr
        done = command(*words, "-o", output, "--overwrite", cwd=before)
    assert done.returncode == 0, done.stderr
    assert not list(before.glob(f".{output}.*"))
    fresh = command(*words, "-o", f"fresh-{output}", cwd=before)
    assert fresh.returncode == 0, fresh.stderr
    if output == "half-run":
        assert {path.name for path in (before / output).iterdir()} == {"last.safetensors", "log.jsonl", "recipe.json"}
        output += "/last.safetensors"
        one, other = (artifacts.load_tensors(before / path) for path in (output, f"fresh-{output}"))
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    else:
        assert artifacts.check(before / output).digest == artifacts.check(before / f"fresh-{output}").digest


def _as_version_1(head: Path) -> bytes:
    """The head of a zarr artifact as version 1 wrote it, which had the same content."""
    document = json.loads(head.read_bytes())
    document["attributes"]["version"] = 1
    document["attributes"]["seal"] = seal_of(document["attributes"])
    return pretty(document)


def _data_start(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _metadata(content: bytes) -> str:
    """The text that a safetensors file holds under our key."""
    text: str = json.loads(content[8 : _data_start(content)])["__metadata__"]["datarobust"]
    return text


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
