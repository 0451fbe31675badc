"""Published classifiers, read without running anything of theirs."""

from __future__ import annotations

import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datarobust.checkpoints import torchfiles
from datarobust.checkpoints.models import assemble_classifier
from datarobust.checkpoints.torchfiles import read_checkpoint
from datarobust.errors import DataError, UsageError
from datarobust.networks import build
from datarobust.training.images import PUBLISHED

from .pickling import Evil


def state(arch: str = "wrn-10-1", classes: int = 10, seed: int = 0, **more: Any) -> dict[str, Tensor]:
    made = build({"name": arch, "arguments": {"classes": classes, "channels": 3, **more}}, seed=seed)
    return {name: tensor.contiguous() for name, tensor in made.state_dict().items()}


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def saved(path: Path, what: Any, **options: Any) -> Path:
    torch.save(what, path, **options)
    return path


def same(arrays: dict[str, Any], tensors: dict[str, Tensor]) -> bool:
    return arrays.keys() == tensors.keys() and all(np.array_equal(arrays[n], t.numpy()) for n, t in tensors.items())


def test_the_checkpoints_of_wang_et_al(tmp_path: Path) -> None:
    averaged, raw = state(seed=1), state(seed=2)
    path = saved(
        tmp_path / "state-last.pt",
        {
            "model_state_dict": prefixed(averaged, "module.0."),
            "unaveraged_model_state_dict": prefixed(raw, "module.0."),
            "epoch": 2400,
        },
    )
    found = read_checkpoint(path)
    assert same(found.arrays, averaged)
    assert (found.averaged, found.epoch, found.ignored) == (True, 2400, ("epoch", "unaveraged_model_state_dict"))
    mean, deviation = PUBLISHED[0]
    arguments = {"classes": 10, "channels": 3, "mean": list(mean), "std": list(deviation)}
    assert found.arch == {"name": "wrn-10-1", "arguments": arguments}
    second = read_checkpoint(path, raw=True)
    assert same(second.arrays, raw)
    assert second.averaged is False
    assert second.sha256 == found.sha256


@pytest.mark.parametrize("prefix", ["", "module.", "module.0.", "model._orig_mod.", "net."])
@pytest.mark.parametrize("legacy", [False, True])
def test_prefixes_and_both_formats_of_torch_save(tmp_path: Path, prefix: str, legacy: bool) -> None:
    tensors = state()
    path = saved(tmp_path / "m.pt", prefixed(tensors, prefix), _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert same(found.arrays, tensors)
    assert (found.averaged, found.epoch, found.ignored) == (None, None, ())


def test_what_stands_beside_the_network_is_left_out(tmp_path: Path) -> None:
    """As Lightning saves it: the network is one attribute of several."""
    tensors, others = state("preact-resnet-18"), {"criterion.weight": torch.ones(10), "seen": torch.ones(())}
    held = {"state_dict": prefixed(tensors, "net.") | others, "epoch": 3, "pytorch-lightning_version": "2.0"}
    found = read_checkpoint(saved(tmp_path / "m.ckpt", held), normalisation="none")
    assert same(found.arrays, tensors)
    assert found.ignored == ("criterion.weight", "seen", "epoch", "pytorch-lightning_version")
    both = prefixed(tensors, "net.") | prefixed(tensors, "teacher.")
    with pytest.raises(DataError, match=r"several networks \(net\. and teacher\.\)"):
        read_checkpoint(saved(tmp_path / "b.ckpt", both), normalisation="none")


@pytest.mark.parametrize(("arch", "classes"), [("wrn-10-1", 10), ("wrn-16-2", 100), ("wrn-22-3", 10), ("wrn-28-1", 10)])
def test_the_architecture_is_told_by_names_and_shapes(tmp_path: Path, arch: str, classes: int) -> None:
    found = read_checkpoint(saved(tmp_path / "m.pt", {"state_dict": state(arch, classes)}))
    assert found.arch["name"] == arch
    assert found.arch["arguments"]["classes"] == classes
    assert found.normalisation == {10: "cifar10", 100: "cifar100"}[classes]
    assert found.arch["arguments"]["mean"] == list(PUBLISHED[classes == 100][0])


def test_normalisation_is_asked_for_where_it_is_not_evident(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pt", state(classes=7))
    with pytest.raises(UsageError, match="`normalise`"):
        read_checkpoint(path)
    assert "mean" not in read_checkpoint(path, normalisation="none").arch["arguments"]
    path = saved(tmp_path / "p.pt", state("preact-resnet-18"))
    with pytest.raises(UsageError, match="`normalise`"):
        read_checkpoint(path)
    found = read_checkpoint(path, normalisation="cifar100")
    assert found.arch["name"] == "preact-resnet-18"
    assert found.arch["arguments"]["mean"] == list(PUBLISHED[1][0])


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    tensors = {name: t.bfloat16() if t.is_floating_point() else t.int() for name, t in state().items()}
    found = read_checkpoint(saved(tmp_path / "m.pt", tensors)).arrays
    assert {array.dtype.name for array in found.values()} == {"float32", "int64"}
    assert same(found, {name: t.float() if t.is_floating_point() else t.long() for name, t in tensors.items()})


@pytest.mark.parametrize("how", ["torch", "legacy", "plain", "beside"])
def test_a_pickle_that_wants_to_run_code_does_not(tmp_path: Path, how: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "m.pt"
    evil = Evil(os.system, f"touch {marker}")
    what: Any = {"state_dict": state(), "args": evil} if how == "beside" else evil
    if how == "plain":
        path.write_bytes(pickle.dumps(what))
    else:
        saved(path, what, _use_new_zipfile_serialization=how != "legacy")
    with pytest.raises(DataError, match="nothing in it was run") as told:
        read_checkpoint(path)
    assert not marker.exists()
    assert "\n" not in str(told.value)
    if how != "plain":
        assert "system" in str(told.value)


def changed(change: str) -> dict[str, Any]:
    tensors: dict[str, Any] = state()
    name = "layer.1.block.0.conv_0.weight"
    if change == "missing":
        del tensors[name]
    elif change == "more":
        tensors["more.weight"] = torch.zeros(3)
    elif change == "shape":
        tensors[name] = tensors[name][:, :5]
    elif change == "nan":
        tensors[name][0] = torch.nan
    elif change == "other":
        tensors = {"conv.weight": torch.zeros(3, 3)}
    elif change == "text":
        tensors["note"] = "hello"
    elif change == "sparse":
        tensors[name] = tensors[name].flatten(1).to_sparse()
    elif change == "complex":
        tensors[name] = tensors[name].to(torch.complex64)
    return tensors


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", r"has no tensor layer\.1\.block\.0\.conv_0\.weight, which wrn-10-1"),
        ("more", r"has a tensor more\.weight"),
        ("shape", r"conv_0\.weight of shape \(32, 5, 3, 3\), where wrn-10-1"),
        ("nan", r"conv_0\.weight that are not finite"),
        ("other", r"has the tensors conv\.weight"),
        ("text", "holds note, which is no tensor"),
        ("sparse", "in a form that is not read"),
        ("complex", "in a form that is not read"),
    ],
)
def test_names_and_shapes_are_strict(tmp_path: Path, change: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as told:
        read_checkpoint(saved(tmp_path / "m.pt", changed(change)))
    assert "m.pt" in str(told.value)
    assert "\n" not in str(told.value)


def test_another_architecture_is_refused_by_its_names(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pt", state())
    with pytest.raises(DataError, match="`arch`"):
        read_checkpoint(path, arch="wrn-16-1")
    with pytest.raises(DataError, match="cannot be built"):
        read_checkpoint(path, arch="vgg-16")
    with pytest.raises(UsageError, match="leave out `raw`"):
        read_checkpoint(path, raw=True)


def test_damaged_files(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", state()).read_bytes()
    random = np.random.default_rng(0)
    for cut in (1, 10, 200, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.pt").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"cut\.pt"):
            read_checkpoint(tmp_path / "cut.pt")
    (tmp_path / "noise.pt").write_bytes(random.bytes(5000))
    for text in (b"", b"<!DOCTYPE html><title>Quota exceeded</title>", b"version https://git-lfs.github.com/spec/v1\n"):
        (tmp_path / "noise.pt").write_bytes(text)
        with pytest.raises(DataError, match=r"noise\.pt"):
            read_checkpoint(tmp_path / "noise.pt")
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(DataError, match="not a regular file"):
        read_checkpoint(tmp_path)
    with pytest.raises(DataError, match="holds a list"):
        read_checkpoint(saved(tmp_path / "list.pt", [torch.zeros(3)]))


def test_a_file_that_would_swell_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2_000_000)
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    monkeypatch.setattr(torchfiles, "MOST_BYTES", 1_000_000)
    with pytest.raises(DataError, match="holds 2,000,000 bytes"):
        read_checkpoint(tmp_path / "bomb.pt")
    monkeypatch.setattr(torchfiles, "MOST_PICKLE", 1_000_000)
    with pytest.raises(DataError, match="holds no weights"):
        read_checkpoint(tmp_path / "bomb.pt")


def test_a_pickle_of_a_million_lists_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is a list of 56; both as a bare pickle and behind the number of torch.save."""
    monkeypatch.setattr(torchfiles, "MOST_INSTRUCTIONS", 1000)
    whole = saved(tmp_path / "whole.pt", {"a": torch.zeros(3)}, _use_new_zipfile_serialization=False).read_bytes()
    for start in (b"\x80\x02", whole[:15]):
        (tmp_path / "m.pt").write_bytes(start + b"]" * 3_000_000)
        tracemalloc.start()
        with pytest.raises(DataError, match="asks for more than tensors"):
            read_checkpoint(tmp_path / "m.pt")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


def test_a_tensor_of_one_number_that_claims_to_be_huge(tmp_path: Path) -> None:
    tensors = state() | {"conv1.weight": torch.zeros(1).expand(1 << 40)}
    with pytest.raises(DataError, match="more numbers than any network"):
        read_checkpoint(saved(tmp_path / "m.pt", tensors))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_real_checkpoint_gives_the_logits_it_gave(tmp_path: Path, shared: Path, norm: str) -> None:
    """Names and logits of the implementation that the paper modifies."""
    with np.load(shared / "oracles" / f"trades_{norm}_wrn-10-1.npz", allow_pickle=False) as archive:
        tensors = {
            name.removeprefix("state/"): torch.from_numpy(archive[name])
            for name in archive.files
            if name.startswith("state/")
        }
        x, logits = torch.from_numpy(archive["x"]), archive["logits_eval"]
    path = saved(tmp_path / "weights-best.pt", {"model_state_dict": prefixed(tensors, "module.0.")})
    found = read_checkpoint(path)
    with torch.no_grad():
        ours = assemble_classifier(found.arch, found.arrays, "oracle")(x).numpy()
    assert np.allclose(ours, logits, atol=1e-5)
