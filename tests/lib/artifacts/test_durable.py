"""Files and folders of any kind are born whole or not at all."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from datarobust.artifacts import Resume, whole_or_absent
from datarobust.artifacts.durable import leftovers
from datarobust.errors import ArtifactError, ExistsError

from .conftest import Faults, failing, in_child, killing

pytestmark = pytest.mark.usefixtures("small")


def put(path: Path, text: str, **options: bool) -> None:
    """Write a file as a picture is written: by means of somebody else."""
    with whole_or_absent(path, **options) as partial:
        assert partial.name == f".{path.name}.partial"
        partial.write_text(text)


def test_a_file(tmp_path: Path) -> None:
    put(tmp_path / "a.png", "one")
    assert (tmp_path / "a.png").read_text() == "one"
    with pytest.raises(ExistsError, match=r"a\.png exists already: .*`overwrite`"):
        put(tmp_path / "a.png", "two")
    put(tmp_path / "a.png", "two", overwrite=True)
    assert (tmp_path / "a.png").read_text() == "two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def put_folder(path: Path, text: str, **options: bool) -> None:
    with whole_or_absent(path, may_replace=Path.is_dir, **options) as partial:
        partial.mkdir()
        (partial / "a").write_text(text)


def test_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "run"
    put_folder(path, "one")
    put_folder(path, "two", overwrite=True)
    assert (path / "a").read_text() == "two"
    path.rename(tmp_path / ".run.old")  # a crash in the middle of a replacement
    with pytest.raises(ExistsError):
        put_folder(path, "three")
    assert (path / "a").read_text() == "two"
    path.rename(tmp_path / ".run.old")
    put_folder(path, "three", overwrite=True)
    assert (path / "a").read_text() == "three"
    assert not leftovers(path)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[int | str]:
    """In their order, the inodes of what is brought to the disk, and the names that are given."""
    events: list[int | str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(os.fstat(descriptor).st_ino))

    def noted(source: Path, target: Path) -> None:
        events.append(Path(target).name)
        renamed(source, target)

    renamed = os.rename
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, noted)
    return events


@pytest.mark.parametrize("again", [False, True])
def test_all_is_on_the_disk_before_it_has_its_name(tmp_path: Path, order: list[int | str], again: bool) -> None:
    """What a power cut asks for: a file, the folders around it, the name, and the folder that has the name."""
    path = tmp_path / "run"
    if again:
        put_folder(path, "one")
        order.clear()
    with whole_or_absent(path, overwrite=True, may_replace=Path.is_dir) as partial:
        (partial / "inner").mkdir(parents=True)
        (partial / "inner" / "a").write_text("two")
        parts = [each.stat().st_ino for each in (partial / "inner" / "a", partial / "inner", partial)]
    above = tmp_path.stat().st_ino
    assert order == [*parts, *([".run.old"] if again else []), "run", above, *([".run.trash", above] if again else [])]


def test_a_state_is_on_the_disk_before_it_has_its_name(tmp_path: Path, order: list[int | str]) -> None:
    resume = Resume(tmp_path / "r", "key")
    resume.save({"a": np.arange(3)})
    assert order == [resume.path.stat().st_ino, ".r.resume", tmp_path.stat().st_ino]


def fail(path: Path, keep: bool) -> None:
    with whole_or_absent(path, keep=keep) as partial:
        partial.write_text("half")
        raise FileNotFoundError(2, "the caller's own trouble")


@pytest.mark.parametrize("keep", [False, True])
def test_an_exception_passes_and_leaves_only_what_shall_be_kept(tmp_path: Path, keep: bool) -> None:
    with pytest.raises(FileNotFoundError, match="own trouble"):
        fail(tmp_path / "a", keep)
    assert [entry.name for entry in tmp_path.iterdir()] == ([".a.partial"] if keep else [])
    put(tmp_path / "a", "whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_nothing_written_is_nothing_born(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be written: no such file"), whole_or_absent(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("forever", [False, True])
def test_a_full_disk_at_any_moment(tmp_path: Path, forever: bool) -> None:
    for place in range(1, 100):
        path = tmp_path / f"{place}"
        path.write_text("old")
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, failing(place, forever=forever))
            try:
                put(path, "new", overwrite=True)
            except ArtifactError:
                assert path.read_text() in ("old", "new")
            else:
                assert path.read_text() == "new"
        put(path, "new", overwrite=True)
        assert not leftovers(path)
        if faults.count < place:
            break
    assert 4 < place < 99


def test_kill_at_any_moment(tmp_path: Path) -> None:
    for place in range(1, 100):
        path = tmp_path / f"{place}"
        path.write_text("old")

        def work(path: Path = path, place: int = place) -> None:
            with pytest.MonkeyPatch.context() as patch:
                Faults(patch, killing(place))
                put(path, "new", overwrite=True)

        code = in_child(work)
        assert code in (0, -signal.SIGKILL)
        assert path.read_text() in ("old", "new")
        put(path, "new", overwrite=True)
        assert not leftovers(path)
        if code == 0:
            break
    assert 4 < place < 99
