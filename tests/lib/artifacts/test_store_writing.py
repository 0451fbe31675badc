"""Stores are born whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from datarobust import artifacts
from datarobust.artifacts.durable import leftovers
from datarobust.errors import ArtifactError, ExistsError

from .conftest import COLUMNS, HISTORY, ROWS, Faults, failing, in_child, killing, made, rows_of, tree, write

pytestmark = pytest.mark.usefixtures("small")
FEW = 70  # rows whose images are more than a block


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "d.zarr")
    store = artifacts.open_store(tmp_path / "d.zarr", "dataset")
    assert len(store) == ROWS
    assert store.names() == ("images", "index", "labels")
    assert store.history == made(HISTORY, store.digest)
    assert dict(store.attributes) == {"name": "small", "classes": ["a", "b", "c"], "request": "seed 0"}
    for name, array in rows_of().items():
        column = store.column(name)
        assert column.dtype == array.dtype
        assert column.shape == array.shape
        np.testing.assert_array_equal(column.read(), array)
    assert not leftovers(tmp_path / "d.zarr")


@pytest.mark.parametrize("step", [1, 16, 64, 65, ROWS])
def test_the_bytes_do_not_depend_on_how_rows_were_appended(store: Path, tmp_path: Path, step: int) -> None:
    write(tmp_path / "again.zarr", step=step)
    assert tree(tmp_path / "again.zarr") == tree(store)


def test_rows_that_are_not_contiguous_are_taken_as_they_are_seen(tmp_path: Path) -> None:
    data = rows_of()
    write(tmp_path / "plain.zarr")
    with artifacts.create(
        tmp_path / "d.zarr",
        "dataset",
        COLUMNS,
        attributes={"name": "small", "classes": ["a", "b", "c"], "request": "seed 0"},
        history=HISTORY,
    ) as writer:
        writer.append("images", np.asfortranarray(data["images"]))
        writer.append("labels", np.repeat(data["labels"], 2)[::2])
        writer.append("index", data["index"][::-1][::-1])
    assert tree(tmp_path / "d.zarr") == tree(tmp_path / "plain.zarr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "movie"}, "is not a kind"),
        ({"kind": "classifier"}, "is not a kind"),
        ({"columns": {**COLUMNS, "extra": ("int64", ())}}, "has an array 'extra'"),
        ({"columns": {"images": ("uint8", (1, 4, 4)), "labels": ("int64", ())}}, "has no array 'index'"),
        ({"columns": {**COLUMNS, "features": ("float32", (3,))}}, "images and features"),
        ({"columns": {**COLUMNS, "labels": ("int32", ())}}, "labels has dtype .int32"),
        ({"columns": {**COLUMNS, "images": ("uint8", (4, 4))}}, "3 dimensions"),
        ({"columns": {**COLUMNS, "images": ("uint8", (0, 4, 4))}}, "impossible shape"),
        ({"columns": {**COLUMNS, "images": ("uint8", (1 << 20, 1 << 20, 4))}}, "more than any machine"),
        ({"attributes": {"name": "x", "classes": [], "digest": "0"}}, "set by the writer alone"),
        ({"attributes": {"name": "x", "classes": [], "loss": float("nan")}}, "JSON"),
        ({"attributes": {"name": "x", "classes": [], "deep": {"a": [1, float("inf")]}}}, "JSON"),
        ({"attributes": {"name": "x", "classes": [], "raw": b"x"}}, "JSON cannot hold .a bytes"),
        ({"attributes": {"name": "x", "classes": "abc"}}, "not a list of texts"),
        ({"attributes": {"name": "x"}}, "has no attribute 'classes'"),
    ],
)
def test_what_the_kind_does_not_have_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "d.zarr"
    options = {"kind": "dataset", "columns": COLUMNS, "attributes": {"name": "x", "classes": []}, **change}
    with pytest.raises(ArtifactError, match=words), artifacts.create(path, history=HISTORY, **options):  # type: ignore[arg-type]
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("images", np.zeros((2, 1, 4, 4), np.float32)),
        ("images", np.zeros((2, 16), np.uint8)),
        ("images", np.zeros((1, 4, 4), np.uint8)),
        ("labels", np.zeros(2, np.int32)),
        ("labels", np.zeros(2, ">i8")),
    ],
)
def test_rows_of_another_form_are_refused(
    tmp_path: Path, name: str, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> None:
    with (
        pytest.raises(ArtifactError, match=f"{name} takes"),
        artifacts.create(tmp_path / "d.zarr", "dataset", COLUMNS, history=HISTORY) as writer,
    ):
        writer.append(name, rows)
    assert not list(tmp_path.iterdir())


def stopped(path: Path, rows: int, key: str | None = "k", labels: int | None = None) -> None:
    """Write some rows, and then stop with an exception; with ``labels``, so many of them, and no exception."""
    data = rows_of()
    attributes = {"name": "x", "classes": []}
    with artifacts.create(path, "dataset", COLUMNS, attributes=attributes, history=[], resume_key=key) as writer:
        writer.append("images", data["images"][:rows])
        writer.append("labels", data["labels"][: labels or rows])
        if labels is None:
            raise InterruptedError
        writer.append("index", data["index"][:rows])


def interrupted(path: Path, rows: int, key: str | None = "k") -> None:
    """Leave a partial store behind."""
    with pytest.raises(InterruptedError):
        stopped(path, rows, key)


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="has labels with 3 for N, but images with 2"):
        stopped(tmp_path / "d.zarr", 2, None, labels=3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", [None, "k"])
def test_an_exception_leaves_work_only_where_it_can_be_resumed(tmp_path: Path, key: str | None) -> None:
    path = tmp_path / "d.zarr"
    interrupted(path, ROWS, key)
    assert not path.exists()
    assert [entry.name for entry in leftovers(path)] == ([".d.zarr.partial", ".d.zarr.resume"] if key else [])
    artifacts.abandon(path)
    assert not list(tmp_path.iterdir())


def resumed(path: Path, key: str | None = "k") -> dict[str, int]:
    """What the next run need not append."""
    done: dict[str, int] = {}
    with (
        suppress(InterruptedError),
        artifacts.create(path, "dataset", COLUMNS, history=HISTORY, resume_key=key) as writer,
    ):
        done = {name: writer.done(name) for name in COLUMNS}
        raise InterruptedError
    return done


def test_resume_knows_what_is_done(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "again.zarr"
    interrupted(path, 140)  # 64 images or 128 labels fill a block
    assert resumed(path) == {"images": 140, "index": 0, "labels": 140}
    assert resumed(path) == {"images": 140, "index": 0, "labels": 140}
    write(path, resume_key="k")
    assert tree(path) == tree(store)
    assert not leftovers(path)


@pytest.mark.parametrize("key", ["other", None])
def test_another_request_starts_anew(tmp_path: Path, key: str | None) -> None:
    interrupted(tmp_path / "d.zarr", 140)
    assert resumed(tmp_path / "d.zarr", key) == {"images": 0, "index": 0, "labels": 0}


def test_hidden_files_that_make_no_sense_are_removed(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "again.zarr"
    (tmp_path / ".again.zarr.partial").write_text("no folder")
    (tmp_path / ".again.zarr.progress").write_bytes(b"\xff\n\n[")
    (tmp_path / ".again.zarr.resume").write_bytes(b"\xff\n\n[")
    write(path, resume_key="k")
    assert tree(path) == tree(store)
    assert not leftovers(path)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("harm", ["flip", "cut", "drop"])
def test_resume_believes_no_block_without_its_hash(tmp_path: Path, store: Path, block: int, harm: str) -> None:
    path = tmp_path / "again.zarr"
    interrupted(path, 140)
    file = tmp_path / ".again.zarr.partial" / "images" / f"c.{block}.0.0.0"
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.unlink()
    if harm != "drop":
        file.write_bytes(data if harm == "flip" else data[:-1])
    assert resumed(path)["images"] == 64 * block
    write(path, resume_key="k")
    assert tree(path) == tree(store)


@pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
def test_a_damaged_state_is_not_believed(tmp_path: Path, store: Path, harm: str) -> None:
    path = tmp_path / "again.zarr"
    interrupted(path, 140)
    file = tmp_path / ".again.zarr.resume"
    data = file.read_bytes()
    file.write_bytes({"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "empty": b""}[harm])
    assert resumed(path) == {"images": 0, "index": 0, "labels": 0}
    write(path, resume_key="k")
    assert tree(path) == tree(store)


@pytest.mark.parametrize("saved", [True, False])
def test_what_was_saved_survives_a_kill(tmp_path: Path, store: Path, saved: bool) -> None:
    """Every row before the save, be its block full or not; of what came after it, nothing is mistaken for saved."""
    path, data = tmp_path / "again.zarr", rows_of()

    def work() -> None:
        with artifacts.create(path, "dataset", COLUMNS, history=HISTORY, resume_key="k") as writer:
            for name in ("images", "labels"):
                writer.append(name, data[name][:100])
            if saved:
                writer.save()
            writer.append("images", data["images"][100:140])
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert resumed(path) == {"images": 100 * saved, "index": 0, "labels": 100 * saved}
    write(path, resume_key="k")
    assert tree(path) == tree(store)
    assert not leftovers(path)


def test_it_saves_by_itself(tmp_path: Path) -> None:
    path, data = tmp_path / "d.zarr", rows_of()

    def work() -> None:
        with artifacts.create(path, "dataset", COLUMNS, history=HISTORY, resume_key="k", save_every=0) as writer:
            writer.append("images", data["images"][:70])
            writer.append("labels", data["labels"][:3])
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert resumed(path) == {"images": 70, "index": 0, "labels": 3}


def test_the_state_of_a_computation_is_not_the_writers(tmp_path: Path) -> None:
    """A writer without a key leaves it alone; who made the output discards it."""
    resume = artifacts.Resume(tmp_path / "d.zarr", "computation")
    resume.save({"done": 3})
    write(tmp_path / "d.zarr")
    assert resume.load() == {"done": 3}


def test_nothing_is_replaced_without_being_asked(store: Path) -> None:
    before = tree(store)
    with pytest.raises(ExistsError, match="`overwrite`"):
        write(store, seed=1)
    assert tree(store) == before
    write(store, seed=1, overwrite=True)
    assert tree(store) != before
    assert not leftovers(store)


@pytest.mark.parametrize("what", ["folder", "stray", "file", "link"])
def test_overwrite_replaces_only_stores(tmp_path: Path, store: Path, what: str) -> None:
    path = tmp_path / "out"
    if what == "folder":
        path.mkdir()
        (path / "thesis.tex").write_text("dear")
    elif what == "stray":
        store.rename(path)
        (path / "thesis.tex").write_text("dear")
    elif what == "file":
        path.write_text("dear")
    else:
        path.symlink_to(store)
    with pytest.raises(ExistsError, match="`overwrite`"):
        write(path, overwrite=True)
    assert path.exists()
    assert what == "link" or "dear" in [file.read_text() for file in [path, path / "thesis.tex"] if file.is_file()]
    assert not leftovers(path)


@pytest.mark.parametrize("text", [b"{}", b'{"attributes": ' + b"[" * 5000])
def test_a_damaged_store_may_be_overwritten(store: Path, text: bytes) -> None:
    reference = tree(store)
    (store / "zarr.json").write_bytes(text)
    write(store, overwrite=True)
    assert tree(store) == reference


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("key", [None, "k"])
def test_a_full_disk_at_any_moment(tmp_path: Path, overwrite: bool, forever: bool, key: str | None) -> None:
    write(tmp_path / "new.zarr", seed=1, rows=FEW)
    new = tree(tmp_path / "new.zarr")
    for place in range(1 + (overwrite + forever) % 3, 1000, 3):
        path = tmp_path / f"{place}.zarr"
        if overwrite:
            write(path, rows=FEW)
        old = tree(path) if overwrite else None
        told = []
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, failing(place, forever=forever))
            try:
                write(path, seed=1, rows=FEW, overwrite=overwrite, resume_key=key)
            except ArtifactError as error:
                told.append(str(error))
        assert len(told) == (faults.count >= place)
        assert all(line.startswith(str(path)) and "disk is full" in line and "\n" not in line for line in told)
        if path.exists():
            assert tree(path) in (old, new)
            artifacts.check(path)
        else:
            assert not overwrite or (forever and (tmp_path / f".{place}.zarr.old").exists())
        if not path.exists() or tree(path) == old:
            write(path, seed=1, rows=FEW, overwrite=overwrite, resume_key=key)
        assert artifacts.finished(path, "seed 1")
        assert tree(path) == new
        assert not leftovers(path)
        if faults.count < place:
            break
    assert 20 < place < 999


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("key", [None, "k"])
def test_kill_at_any_moment(tmp_path: Path, overwrite: bool, key: str | None) -> None:
    write(tmp_path / "new.zarr", seed=1, rows=FEW)
    new = tree(tmp_path / "new.zarr")
    for place in range(1 + overwrite, 1000, 3):
        path = tmp_path / f"{place}.zarr"
        if overwrite:
            write(path, rows=FEW)
        old = tree(path) if overwrite else None

        def work(path: Path = path, place: int = place) -> None:
            with pytest.MonkeyPatch.context() as patch:
                Faults(patch, killing(place))
                write(path, seed=1, rows=FEW, overwrite=overwrite, resume_key=key)

        code = in_child(work)
        assert code in (0, -signal.SIGKILL)
        if path.exists():
            assert tree(path) in (old, new)
        else:
            with pytest.raises(ArtifactError, match=r"does not exist|is not finished|replacement was cut short"):
                artifacts.open_store(path)
        if not artifacts.finished(path, "seed 1"):
            write(path, seed=1, rows=FEW, overwrite=overwrite, resume_key=key)
        assert tree(path) == new
        assert not leftovers(path)
        if code == 0:
            break
    assert 20 < place < 999


def test_a_file_too_large_for_the_system(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
        with pytest.raises(ArtifactError, match="cannot be written: file too large"):
            write(path)

    assert in_child(work) == 0
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        write(disk / "old.zarr")
        before = tree(disk / "old.zarr")
        with pytest.raises(ArtifactError, match="the disk is full"):
            write(disk / "old.zarr", rows=20_000, overwrite=True)
        assert tree(disk / "old.zarr") == before
        assert [entry.name for entry in disk.iterdir()] == ["old.zarr"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: Callable[[int], None], mask: int) -> None:
    umask(mask)
    write(tmp_path / "d.zarr", resume_key="k")
    for entry in [tmp_path / "d.zarr", *(tmp_path / "d.zarr").rglob("*")]:
        assert entry.stat().st_mode & 0o777 == (0o777 if entry.is_dir() else 0o666) & ~mask


@pytest.mark.parametrize("name", ["with space.zarr", "ünï→☃.zarr", "-o", "a\nb", "x" * 240, "no suffix"])
def test_any_name_will_do(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name), resume_key="k")
    assert artifacts.check(Path(name)).kind == "dataset"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_linked_folder_above(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link" / "d.zarr")
    assert artifacts.open_store(tmp_path / "real" / "d.zarr")


@pytest.mark.parametrize("path", ["none/d.zarr", "", ".", "..", "/", "x" * 256])
def test_places_where_nothing_can_be_written(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="cannot be written"):
        write(Path(path))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ArtifactError, match="permission denied"):
        write(tmp_path / "d.zarr")


def test_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "d.zarr", rows=0)
    store = artifacts.open_store(tmp_path / "d.zarr")
    assert len(store) == 0
    assert store.column("images").read().shape == (0, 1, 4, 4)
    assert list(store.column("images").blocks()) == []
    assert store.column("images").take(np.empty(0, np.int64)).shape == (0, 1, 4, 4)
    assert artifacts.check(tmp_path / "d.zarr").arrays["images"] == ("uint8", (0, 1, 4, 4))


def test_a_reader_beside_a_writer_sees_one_whole_store_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    write(path)
    writer = os.fork()
    if writer == 0:
        for seed in range(1, 25):
            write(path, seed % 2, overwrite=True)
        os._exit(0)
    seen = []
    while os.waitpid(writer, os.WNOHANG) == (0, 0):
        try:
            store = artifacts.open_store(path)
            rows = {name: store.column(name).read() for name in store.names()}
        except ArtifactError:  # it was being replaced
            continue
        seen.append([all((rows[name] == rows_of(seed)[name]).all() for name in rows) for seed in (0, 1)])
    assert seen
    assert all(sum(which) == 1 for which in seen)
