"""Whatever happens to a file of a store: a sentence that names it, never a wrong number."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from datarobust import artifacts
from datarobust.artifacts.history import digest_of, pretty, seal_of
from datarobust.artifacts.kinds import KINDS, Kind
from datarobust.errors import ArtifactError

from .conftest import HISTORY, made, put, rows_of, write

pytestmark = pytest.mark.usefixtures("small")

ATTRIBUTES: dict[str, dict[str, object]] = {
    "dataset": {"name": "small", "classes": ["a", "b"]},
    "ranking": {
        "norm": "l2",
        "labels": "hard",
        "dataset": "0" * 64,
        "against": None,
        "duplicates": "inf",
        "k": 1,
    },
    "ranking-part": {
        "norm": "l2",
        "labels": "hard",
        "dataset": "0" * 64,
        "against": None,
        "duplicates": "inf",
        "k": 3,
        "shard": 0,
        "shards": 2,
        "points": "uint8",
        "split": {"engine": "generic"},
    },
    "clones": {"dataset": "0" * 64, "model": "1" * 64, "sampler": {"S_churn": 40.0, "num_steps": 18}},
    "moments": {"count": 50_000, "features": "inception"},
    "embedding": {
        "method": "mds",
        "norm": "l2",
        "seed": 0,
        "arguments": {},
        "dataset": "0" * 64,
        "ranking": "1" * 64,
        "stress": 0.25,
    },
    "evaluation": {
        "attacks": ["apgd-ce"],
        "norm": "linf",
        "eps": 8 / 255,
        "protocol": {"version": "standard", "seed": 0, "upper_bound": False, "parameters": [], "left_out": {}},
        "flags": {},
        "dataset": "0" * 64,
        "model": "1" * 64,
    },
}
LENGTHS = {"N": 100, "M": 100, "C": 1, "H": 4, "W": 4, "R": 2, "D": 12, "K": 2, "k": 3, "L": 5, "2": 2}
ZARR = [kind for kind in KINDS.values() if kind.format == "zarr"]
SOME = [KINDS["dataset"], KINDS["moments"]]


def make(path: Path, kind: Kind) -> Path:
    """A store of any kind with all its arrays (but for those that exclude one another)."""
    random = np.random.default_rng(0)
    fields = {name: field for name, field in kind.fields.items() if name not in kind.one_of[1:]}
    arrays = {
        name: random.integers(0, 100, [LENGTHS[dim] for dim in field.dims]).astype(field.dtypes[0])
        for name, field in fields.items()
    }
    columns = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    with artifacts.create(path, kind.name, columns, attributes=ATTRIBUTES[kind.name], history=HISTORY) as writer:
        for name, array in arrays.items():
            writer.append(name, array)
    return path


def refused(path: Path, file: Path) -> None:
    """Checking fails with one line that names ``file``; and reading fails, or gives the right numbers."""
    with pytest.raises(ArtifactError) as caught:
        artifacts.check(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(file) in line or (file.name == "zarr.json" and str(file.parent) in line), line


def truncate(file: Path) -> None:
    put(file, file.read_bytes()[:-1])


def grow(file: Path) -> None:
    put(file, file.read_bytes() + b"\0")


def empty(file: Path) -> None:
    put(file, b"")


def link(file: Path) -> None:
    elsewhere = file.parent.parent.parent / f"elsewhere-{file.parent.name}-{file.name}"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def zeros(file: Path) -> None:
    put(file, bytes(file.stat().st_size))


BOUNDED = [(kind, name) for kind in ZARR for name, field in kind.fields.items() if field.least is not None]


@pytest.mark.parametrize(("kind", "name"), BOUNDED, ids=[f"{kind.name}-{name}" for kind, name in BOUNDED])
def test_values_that_a_kind_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, name: str
) -> None:
    least = kind.fields[name].least
    assert least is not None
    random, append = np.random.default_rng(0), artifacts.store.Writer.append

    def with_one_too_small(writer: Any, each: str, rows: Any) -> None:
        if each == name:
            rows.reshape(-1)[random.integers(rows.size)] = least - 1
            monkeypatch.setattr(writer._columns[name], "least", writer_least)
        append(writer, each, rows)

    monkeypatch.setattr(artifacts.store.Writer, "append", with_one_too_small)
    writer_least: int | None = least
    with pytest.raises(ArtifactError, match=f"{name} takes nothing below {least}, not {least - 1}"):
        make(tmp_path / "a.zarr", kind)
    writer_least = None  # as other programs may write it
    store = artifacts.open_store(make(tmp_path / "a.zarr", kind), kind.name)
    with pytest.raises(ArtifactError, match=f"holds {least - 1}.*, where nothing is below {least}"):
        store.column(name).read()
    with pytest.raises(ArtifactError, match="where nothing is below"):
        artifacts.check(tmp_path / "a.zarr")


@pytest.mark.parametrize("kind", ZARR, ids=lambda kind: kind.name)
def test_every_kind_is_whole(tmp_path: Path, kind: Kind) -> None:
    path = make(tmp_path / "a.zarr", kind)
    summary = artifacts.check(path)
    assert summary == artifacts.peek(path)
    assert summary.kind == kind.name
    assert dict(summary.attributes) == ATTRIBUTES[kind.name]
    assert summary.history == made(HISTORY, summary.digest)
    group = zarr.open_group(path, mode="r", zarr_format=3)
    for name, (dtype, shape) in summary.arrays.items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        assert (str(array.dtype), array.shape) == (dtype, shape)
        np.testing.assert_array_equal(np.asarray(array[:]), artifacts.open_store(path).column(name).read())


@pytest.mark.parametrize(
    "harm", [truncate, grow, empty, Path.unlink, link, folder, pipe, zeros], ids=lambda harm: harm.__name__
)
@pytest.mark.parametrize("kind", SOME, ids=lambda kind: kind.name)
def test_harm_to_any_file(tmp_path: Path, kind: Kind, harm: Callable[[Path], None]) -> None:
    path = make(tmp_path / "a.zarr", kind)
    for relative in sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file()):
        copy = tmp_path / "copy" / "a.zarr"
        shutil.copytree(path, copy)
        harm(copy / relative)
        refused(copy, copy / relative)
        shutil.rmtree(copy)


@pytest.mark.parametrize("kind", SOME, ids=lambda kind: kind.name)
def test_a_flipped_bit_anywhere(tmp_path: Path, kind: Kind) -> None:
    path = make(tmp_path / "a.zarr", kind)
    random = np.random.default_rng(1)
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole = file.read_bytes()
        bits = 8 * len(whole)
        places = {0, bits - 1, *random.integers(0, bits, 6).tolist()}
        for place in sorted(places):
            data = bytearray(whole)
            data[place // 8] ^= 1 << place % 8
            put(file, data)
            refused(path, file)
        put(file, whole)
    artifacts.check(path)


def test_every_bit_of_the_metadata(store: Path) -> None:
    for file in (store / "images" / "zarr.json", store / "zarr.json"):
        whole = file.read_bytes()
        for place in range(0, 8 * len(whole), 37):
            data = bytearray(whole)
            data[place // 8] ^= 1 << place % 8
            put(file, data)
            with pytest.raises(ArtifactError):
                artifacts.open_store(store)
        put(file, whole)


@pytest.mark.parametrize("where", [".", "images"])
@pytest.mark.parametrize("name", ["notes.txt", ".zattrs", "c.9.0.0.0", ".nfs0001"])
def test_a_stray_file(store: Path, where: str, name: str) -> None:
    stray = store / where / name
    stray.write_bytes(b"")
    with pytest.raises(ArtifactError, match="does not belong"):
        artifacts.open_store(store)
    refused(store, stray)


def test_swapped_shards(store: Path) -> None:
    first, second = store / "images" / "c.0.0.0.0", store / "images" / "c.1.0.0.0"
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    refused(store, first)
    with pytest.raises(ArtifactError, match="was altered"):
        artifacts.open_store(store).column("images").read()
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["images"][:1], rows_of()["images"][64:65])  # type: ignore[index]


def test_arrays_of_another_store(store: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.zarr", seed=1)
    shutil.rmtree(store / "labels")
    (tmp_path / "other.zarr" / "labels").rename(store / "labels")
    refused(store, store / "labels" / "c.0")


def reseal(path: Path, **changes: object) -> None:
    """Change attributes as somebody would who knows how seals are made."""
    document = json.loads((path / "zarr.json").read_bytes())
    attributes = {**document["attributes"], **changes}
    attributes["seal"] = seal_of(attributes)
    (path / "zarr.json").write_bytes(pretty({**document, "attributes": attributes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 4}, "has version 4 of the kind dataset; this datarobust reads 1 and 2 and 3"),
        ({"version": True}, "has version True"),
        ({"version": None}, "has version None"),
        ({"kind": "movie"}, "unknown kind 'movie'"),
        ({"kind": 3}, "names no kind"),
        ({"kind": "ranking"}, "has no attribute 'norm'"),
        ({"kind": "classifier"}, "has no attribute 'arch'"),
        ({"digest": "0" * 64}, "digest does not fit"),
        ({"digest": None}, "has no digest"),
        ({"blocks": {}}, "lists no blocks"),
        ({"blocks": {"images": 3}}, "not a list of hashes"),
        ({"blocks": {"../images": []}}, r"does not belong|is missing"),
        ({"blocks": {"images": [], "labels": [], "index": []}}, "0 blocks were written"),
        ({"history": [{"tool": "x"}]}, r"history\[0\]"),
        ({"history": "long"}, "history is not a list"),
        ({"classes": [1]}, "not a list of texts"),
    ],
)
def test_attributes_that_we_never_write(store: Path, changes: dict[str, object], words: str) -> None:
    reseal(store, **changes)
    with pytest.raises(ArtifactError, match=words):
        artifacts.open_store(store)


def change_array(path: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    file = path / name / "zarr.json"
    document = json.loads(file.read_bytes())
    change(document)
    put(file, pretty(document))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(shape=[10**15, 1, 4, 4]), "claims the shape"),
        (lambda d: d.update(shape=[10**30, 1, 4, 4]), "more than any machine"),
        (lambda d: d.update(shape=[151, 1, 4, 4]), "has index with 150 for N, but images with 151"),
        (lambda d: d.update(data_type="object"), "has dtype 'object'"),
        (lambda d: d.update(data_type="int8"), "has dtype 'int8'"),
        (lambda d: d.update(data_type="bool"), "does not write"),
        (lambda d: d["codecs"].append({"name": "gzip", "configuration": {"level": 1}}), "does not write"),
        (lambda d: d["codecs"][0].update(name="evil"), "does not write"),
        (lambda d: d["codecs"][0]["configuration"]["codecs"].pop(), "does not write"),
        (lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[1, 1, 4, 4]), "does not write"),
        (lambda d: d["chunk_key_encoding"].update(name="v2"), "does not write"),
        (lambda d: d.update(fill_value=1), "does not write"),
        (lambda d: d.update(storage_transformers=[{"name": "x"}]), "does not write"),
        (lambda d: d.update(attributes={"a": 1}), "does not write"),
        (lambda d: d.update(node_type="group"), "codecs, chunks or fields"),
    ],
)
def test_arrays_that_we_never_write(store: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    change_array(store, "images", change)
    with pytest.raises(ArtifactError, match=words):
        artifacts.open_store(store)


def test_a_forged_shape_with_forged_hashes(store: Path) -> None:
    """Even with digest and seal made anew, files that are not there cannot be claimed."""
    shape = [64 * 1000, 1, 4, 4]
    change_array(store, "images", lambda d: d.update(shape=shape))
    document = json.loads((store / "zarr.json").read_bytes())
    blocks = {**document["attributes"]["blocks"], "images": ["0" * 64] * 1000}
    arrays = {"images": ("uint8", shape), "index": ("int64", [150]), "labels": ("int64", [150])}
    reseal(store, blocks=blocks, digest=digest_of(arrays, blocks))
    with pytest.raises(ArtifactError, match=r"with 150 for N, but|with 64000 for N, but"):
        artifacts.open_store(store)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"attributes": NaN}', b"[" * 100_000, b"[" * 500 + b"]" * 500, b"9" * 6000],
)
@pytest.mark.parametrize("where", ["zarr.json", "images/zarr.json"])
def test_metadata_that_are_no_metadata(store: Path, where: str, text: bytes) -> None:
    (store / where).write_bytes(text)
    refused(store, store / where)


def test_metadata_of_any_size_are_not_read(store: Path) -> None:
    with (store / "images" / "zarr.json").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ArtifactError, match="more than"):
        artifacts.open_store(store)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("inside", [False, True])
def test_code_in_a_zarr_v2_store_does_not_run(tmp_path: Path, store: Path, inside: bool) -> None:
    marker = tmp_path / "marker"
    path = store / "images" if inside else tmp_path / "v2.zarr"
    if inside:
        shutil.rmtree(path)
    path.mkdir()
    (path / ".zarray").write_text(
        json.dumps(
            {
                "zarr_format": 2,
                "shape": [1],
                "chunks": [1],
                "dtype": "|O",
                "fill_value": None,
                "order": "C",
                "compressor": None,
                "filters": [{"id": "pickle", "protocol": 5}],
            }
        )
    )
    (path / "0").write_bytes(pickle.dumps(Payload(marker)))
    target = store if inside else path
    for look in (artifacts.open_store, artifacts.peek, artifacts.check):
        with pytest.raises(ArtifactError, match="zarr format 2"):
            look(target)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ranking", "is a dataset, where a ranking is needed"),
        (("evaluation", "clones"), "is a dataset, where an evaluation or a clones is needed"),
    ],
)
def test_another_kind(store: Path, kind: str | tuple[str, ...], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        artifacts.open_store(store, kind)
    assert artifacts.open_store(store, ["ranking", "dataset"])


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, words in (
        (tmp_path, "no zarr.json"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "none", "does not exist"),
    ):
        with pytest.raises(ArtifactError, match=words):
            artifacts.open_store(path)


def test_a_column_that_is_not_there(store: Path) -> None:
    opened = artifacts.open_store(store)
    assert "soft" not in opened
    assert "images" in opened
    with pytest.raises(ArtifactError, match="has no array 'soft'; it has images, index, labels"):
        opened.column("soft")


def test_a_linked_store_may_be_read(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store)
    assert artifacts.check(tmp_path / "link").digest == artifacts.open_store(store).digest


def test_a_ranking_of_another_dataset_is_refused_by_name(store: Path, tmp_path: Path) -> None:
    dataset = artifacts.open_store(store)
    ranking = artifacts.open_store(make(tmp_path / "r.zarr", KINDS["ranking"]))
    with pytest.raises(ArtifactError, match=r"r\.zarr \(ranking\) was made from another dataset .* than .*d\.zarr"):
        artifacts.demand_same_points(ranking, dataset)
    reseal(tmp_path / "r.zarr", dataset=dataset.digest)
    artifacts.demand_same_points(artifacts.open_store(tmp_path / "r.zarr"), dataset)
