"""Classifiers and denoisers: safetensors files that are whole, intact and reproducible."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from datarobust import artifacts
from datarobust.artifacts.durable import leftovers
from datarobust.artifacts.history import canonical, seal_of
from datarobust.artifacts.tensors import CODES, KEY
from datarobust.errors import ArtifactError, ExistsError

from .conftest import HISTORY, Faults, failing, made, put, tree

pytestmark = pytest.mark.usefixtures("small")
TENSORS = {
    "conv.weight": np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32),
    "bn.num_batches_tracked": np.array(7, np.int64),
    "half": np.ones((2, 2), np.float16),
    "double": np.arange(3.0),
    "mask": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8),
    "empty": np.empty((0, 4), np.float32),
}
ATTRIBUTES = {"arch": {"name": "wrn-28-10", "arguments": {"classes": 10}}, "weights": "best", "epoch": 400}


def write(path: Path, tensors: dict[str, Any] | None = None, **options: bool) -> str:
    artifacts.save_tensors(path, "classifier", tensors or TENSORS, attributes=ATTRIBUTES, history=HISTORY, **options)
    return artifacts.peek(path).digest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(tmp_path / "best.safetensors")
    return tmp_path / "best.safetensors"


def test_what_is_saved_is_loaded(model: Path) -> None:
    found = artifacts.load_tensors(model, "classifier")
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor, strict=True)
        assert found[name].flags.writeable
    assert dict(found.attributes) == ATTRIBUTES
    assert found.history == made(HISTORY, found.digest)
    assert found.summary == artifacts.peek(model) == artifacts.check(model)
    assert not leftovers(model)


def test_the_library_reads_it(model: Path) -> None:
    found = load(model.read_bytes())
    assert set(found) == set(TENSORS)
    np.testing.assert_array_equal(found["conv.weight"], TENSORS["conv.weight"])


def test_the_same_arguments_give_the_same_bytes(model: Path, tmp_path: Path) -> None:
    digest = write(tmp_path / "again.safetensors", dict(reversed(TENSORS.items())))
    assert tree(tmp_path / "again.safetensors").popitem()[1] == tree(model).popitem()[1]
    assert digest == artifacts.peek(model).digest
    changed = {**TENSORS, "half": np.zeros((2, 2), np.float16)}
    assert write(tmp_path / "other.safetensors", changed) != digest


@settings(max_examples=50)
@given(names=st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=4))
def test_any_name_of_a_tensor(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    path = tmp_path_factory.mktemp("names") / "m"
    write(
        path, {name: np.ones(place, np.float32) for place, name in enumerate(sorted(names)) if name != "__metadata__"}
    )
    assert set(artifacts.load_tensors(path)) == names


def test_a_flipped_bit_anywhere(model: Path) -> None:
    whole = model.read_bytes()
    for place in [*range(64), *range(64, 8 * len(whole), 17)]:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        put(model, data)
        with pytest.raises(ArtifactError, match=r"best\.safetensors") as caught:
            artifacts.check(model)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spell", [{"indent": 1}, {"sort_keys": True}, {}, {"extra": 1}])
def test_a_header_in_another_spelling(model: Path, spell: dict[str, Any]) -> None:
    """The tensors would be read rightly; but nobody could say that every byte is as it was written."""
    data = model.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    content = json.loads(data[8 : 8 + length])
    if spell.pop("extra", None):
        content["half"]["comment"] = "x"
        spell["separators"] = (",", ":")
    text = json.dumps(content, **spell).encode()
    put(model, struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(ArtifactError, match="altered"):
        artifacts.check(model)


def test_any_other_length(model: Path) -> None:
    whole = model.read_bytes()
    for data in [*(whole[:size] for size in range(0, len(whole), 29)), whole[:-1], whole + b"\0"]:
        put(model, data)
        with pytest.raises(ArtifactError, match=r"best\.safetensors"):
            artifacts.check(model)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_of_any_claimed_size(model: Path, length: int) -> None:
    put(model, struct.pack("<Q", length) + model.read_bytes()[8:])
    for look in (artifacts.check, artifacts.peek, artifacts.load_tensors):
        with pytest.raises(ArtifactError, match="header does not fit"):
            look(model)


def test_a_file_of_any_size_is_not_read_before_its_header(model: Path) -> None:
    with model.open("r+b") as file:
        file.write(struct.pack("<Q", 1 << 40))
        file.truncate(1 << 42)
    with pytest.raises(ArtifactError, match="header does not fit"):
        artifacts.check(model)


def reseal(path: Path, **changes: object) -> None:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    head.update(changes)
    head["seal"] = seal_of(head)
    path.write_bytes(save(load(data), {KEY: canonical(head).decode()}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 3}, "has version 3 of the kind classifier; this datarobust reads 1 and 2"),
        ({"kind": "dataset"}, "is a dataset, where a classifier is needed"),
        ({"kind": "denoiser"}, "is a denoiser, where a classifier is needed"),
        ({"blocks": {}}, "lists no blocks"),
        ({"blocks": {name: ["0" * 64] for name in TENSORS}}, "digest does not fit"),
        ({"blocks": {name: ["0", "0"] for name in TENSORS}}, "not written by datarobust"),
        ({"weights": "middle"}, "not best or last"),
        ({"epoch": "x"}, "not an integer"),
    ],
)
def test_metadata_that_we_never_write(model: Path, changes: dict[str, object], words: str) -> None:
    reseal(model, **changes)
    with pytest.raises(ArtifactError, match=words):
        artifacts.load_tensors(model, "classifier")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {KEY: "{}"}, {KEY: "["}, {KEY: "{}", "format": "pt"}])
def test_files_of_others(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    (tmp_path / "m").write_bytes(save(TENSORS, metadata))
    with pytest.raises(ArtifactError):
        artifacts.load_tensors(tmp_path / "m")


def header(entry: dict[str, object]) -> bytes:
    text = json.dumps({"__metadata__": {KEY: "{}"}, "a": entry}, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


@pytest.mark.parametrize("code", ["BF16", "F8_E4M3", "I32", "C64", None, 3])
def test_other_dtypes_are_refused_by_name(tmp_path: Path, code: object) -> None:
    (tmp_path / "m").write_bytes(header({"dtype": code, "shape": [2], "data_offsets": [0, 4]}))
    with pytest.raises(ArtifactError, match=f"tensor a has dtype {code!r}"):
        artifacts.load_tensors(tmp_path / "m")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "no tensor"),
        ({"a": np.zeros(2, np.complex64)}, "a has dtype complex64; allowed are"),
        ({"a": np.zeros(2, object)}, "a has dtype object"),
        ({"__metadata__": np.zeros(2)}, "cannot be called"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, tensors: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        artifacts.save_tensors(tmp_path / "m", "classifier", tensors, attributes=ATTRIBUTES, history=[])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["dataset", "movie"])
def test_other_kinds(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ArtifactError, match="is not a kind of safetensors artifact"):
        artifacts.save_tensors(tmp_path / "m", kind, TENSORS, attributes=ATTRIBUTES, history=[])


def test_every_dtype_is_tried() -> None:
    assert {tensor.dtype.name for tensor in TENSORS.values()} == set(CODES.values())


def test_arrays_in_any_order_in_memory(tmp_path: Path) -> None:
    write(
        tmp_path / "m",
        {
            "a": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "b": np.arange(6.0)[::-2],
            "c": np.arange(3, dtype=">f4"),
        },
    )
    found = artifacts.load_tensors(tmp_path / "m")
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["b"], [5, 3, 1])
    np.testing.assert_array_equal(found["c"], [0, 1, 2])


@pytest.mark.parametrize("forever", [False, True])
def test_a_full_disk_at_any_moment(model: Path, forever: bool) -> None:
    new = {"a": np.ones(3)}
    for place in range(1, 100):
        write(model, overwrite=True)
        old = model.read_bytes()
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, failing(place, forever=forever))
            try:
                write(model, new, overwrite=True)
            except ArtifactError as error:
                assert "disk is full" in str(error)  # noqa: PT017 - not every place fails
        assert model.read_bytes() == old or set(artifacts.load_tensors(model)) == {"a"}
        if faults.count < place:
            break
    assert 4 < place < 99
    assert not leftovers(model)


def test_nothing_is_replaced_without_being_asked(model: Path) -> None:
    with pytest.raises(ExistsError):
        write(model)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: Callable[[int], None], mask: int) -> None:
    umask(mask)
    write(tmp_path / "m")
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe"])
def test_what_is_no_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "m"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    with pytest.raises(ArtifactError, match=r"does not exist|not a safetensors file"):
        artifacts.load_tensors(path)
