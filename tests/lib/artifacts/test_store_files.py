"""The files of a store after it was opened, and what zarr may do: no traces in the process, nothing it decides."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr.codecs

from datarobust import artifacts
from datarobust.errors import ArtifactError

from .conftest import in_child, put, rows_of, tree, write

pytestmark = pytest.mark.usefixtures("small")


def images(store: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return artifacts.open_store(store).column("images").read()


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "bytes where"),
        (lambda file: file.write_bytes(file.read_bytes() + b"\0"), "bytes where"),
        (lambda file: file.rename(file.parent / "x") and file.symlink_to("x"), "cannot be read: too many levels"),
        (lambda file: file.unlink() or file.mkdir(), "cannot be read: is a directory"),
    ],
    ids=["missing", "short", "long", "link", "folder"],
)
def test_a_file_that_changes_after_opening(store: Path, harm: object, words: str, verified: bool) -> None:
    """zarr by itself would take a missing file for zeros."""
    column = artifacts.open_store(store).column("images")
    if verified:
        column.verify()
    harm(store / "images" / "c.1.0.0.0")  # type: ignore[operator]
    for ask in (lambda: column.read(70, 72), lambda: column.take(np.array([70])), column.read):
        with pytest.raises(ArtifactError, match=words) as caught:
            ask()
        assert str(store / "images" / "c.1.0.0.0") in str(caught.value)
    np.testing.assert_array_equal(column.read(0, 64), rows_of()["images"][:64])


@pytest.mark.parametrize("harm", [lambda data: data[:-16] + bytes(12) + data[-4:], lambda data: bytes(len(data))])
def test_a_damaged_index(store: Path, harm: object) -> None:
    column = artifacts.open_store(store).column("images")
    column.verify()
    file = store / "images" / "c.0.0.0.0"
    file.write_bytes(harm(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ArtifactError, match="altered while it was in use"):
        column.read(1, 2)
    with pytest.raises(ArtifactError, match=r"altered \(its rows or their checksums"):
        artifacts.check(store)


@pytest.mark.parametrize(
    "setting",
    [{"array.order": "F"}, {"array.write_empty_chunks": False}, {"async.concurrency": 1}, {"json_indent": None}],
    ids=str,
)
def test_the_users_settings_of_zarr_change_nothing(tmp_path: Path, store: Path, setting: dict[str, object]) -> None:
    with zarr.config.set(setting):
        write(tmp_path / "again.zarr")
        np.testing.assert_array_equal(images(tmp_path / "again.zarr"), rows_of()["images"])
    assert tree(tmp_path / "again.zarr") == tree(store)


def test_a_zarr_that_writes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = zarr.codecs.BytesCodec
    monkeypatch.setattr(zarr.codecs, "BytesCodec", lambda: whole(endian="big"))
    with pytest.raises(ArtifactError, match=r"cannot be written: zarr .* otherwise than we read it"):
        write(tmp_path / "d.zarr")
    assert not list(tmp_path.iterdir())


def test_inside_a_running_event_loop(store: Path, tmp_path: Path) -> None:
    async def notebook() -> None:
        np.testing.assert_array_equal(images(store), rows_of()["images"])
        assert len(artifacts.open_store(store).column("labels").read(0, 3)) == 3
        write(tmp_path / "again.zarr")

    asyncio.run(notebook())
    assert tree(tmp_path / "again.zarr") == tree(store)


def test_nothing_stays_behind(store: Path) -> None:
    """No thread that would not survive a fork, no warning about a loop that was not closed."""
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images(store)
    assert set(threading.enumerate()) <= before
    assert in_child(lambda: np.testing.assert_array_equal(images(store), rows_of()["images"])) == 0


def test_reading_does_not_import_zarr(store: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from datarobust import artifacts; path = Path(sys.argv[1])\n"
        "from datarobust.artifacts import store; store.BLOCK_BYTES, store.CHUNK_BYTES = 1 << 10, 1 << 8\n"
        "artifacts.peek(path); assert artifacts.finished(path, 'seed 0'); artifacts.check(path)\n"
        "assert 'zarr' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(store)], check=True)


def test_a_checksum_is_checked_even_where_the_rows_are_right(store: Path) -> None:
    """Each of the bytes that are no rows: checksums, filling, index."""
    file = store / "images" / "c.2.0.0.0"  # 22 rows of 16 bytes: a chunk of 16, one of 6 and 10 of filling
    whole = file.read_bytes()
    for place in [*range(256, 260), *range(260 + 96, len(whole))]:
        data = bytearray(whole)
        data[place] ^= 1
        put(file, data)
        with pytest.raises(ArtifactError, match=r"c\.2\.0\.0\.0 was altered"):
            artifacts.check(store)
    put(file, whole)
    artifacts.check(store)
