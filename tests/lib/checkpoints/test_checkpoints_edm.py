"""Checkpoints of EDM: everything in them comes back, and nothing of them is run."""

from __future__ import annotations

import operator
import os
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datarobust.checkpoints.edm import read_edm_pickle
from datarobust.checkpoints.models import load_denoiser
from datarobust.diffusion.denoiser import Denoiser, Ve, Vp, build_denoiser
from datarobust.errors import DataError
from datarobust.networks.song_unet import NCSNPP

from . import pickling

SMALLER: Any = {"channel_mult": [1], "attn_resolutions": []}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "edm.pkl"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [*((protocol, "conditional") for protocol in (2, 3, 4, 5)), (4, "unconditional"), (4, "ve"), (4, "vp")],
)
def test_what_was_pickled_comes_back(written: Callable[[bytes], Path], protocol: int, kind: str) -> None:
    denoiser = pickling.small(label_dim=0 if kind == "unconditional" else 3, **(NCSNPP if kind == "ve" else {}))
    if kind in ("ve", "vp"):
        denoiser = Denoiser(denoiser.model, Ve(0.02, 100.0) if kind == "ve" else Vp())
    path = written(pickling.dump(pickling.checkpoint(denoiser), protocol))
    found = read_edm_pickle(path)
    wanted = denoiser.state_dict()
    assert list(found.arrays) == list(wanted)
    for name, tensor in wanted.items():
        assert found.arrays[name].dtype == np.float32
        assert found.arrays[name].tobytes() == tensor.numpy().tobytes()
    assert found.arch == denoiser.arch
    assert build_denoiser(found.arch).arch == denoiser.arch
    assert found.ignored == ("loss_fn", "dataset_kwargs")
    assert not [name for name in sys.modules if name.startswith(("torch_utils", "dnnlib"))]


def test_the_program_in_it_is_not_run(written: Callable[[bytes], Path], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    source = f"open({str(marker)!r}, 'w').close()\n" * 200
    ours = pickling.small()
    found = read_edm_pickle(written(pickling.dump(pickling.checkpoint(ours, source=source))))
    assert not marker.exists()
    assert found.arrays["model.map_layer0.weight"].tobytes() == ours.model.map_layer0.weight.detach().numpy().tobytes()


def test_model_import_makes_a_denoiser_that_clones(
    written: Callable[[bytes], Path], command: Callable[..., Any], tmp_path: Path
) -> None:
    denoiser = pickling.small(label_dim=10)
    path, output = written(pickling.dump(pickling.checkpoint(denoiser))), tmp_path / "edm.safetensors"
    done = command("model", "import", path, "-o", output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    found, artifact = load_denoiser(output)
    assert found.arch == denoiser.arch
    assert artifact.attributes["source"] == read_edm_pickle(path).sha256
    x, labels = torch.randn(1, 1, 8, 8), torch.eye(10)[:1]
    with torch.no_grad():
        wanted = denoiser.eval()(x, torch.ones(()), labels)
        assert torch.equal(found.eval()(x, torch.ones(()), labels), wanted)
    evil = written(pickling.dump(pickling.Evil(os.system, f"touch {tmp_path / 'ran'}")))
    refused = command("model", "import", evil, "-o", tmp_path / "evil.safetensors")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "posix.system" in refused.stderr
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "evil.safetensors").exists()


def test_a_bare_network_and_half_precision(written: Callable[[bytes], Path]) -> None:
    denoiser = pickling.small()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        path = written(pickling.dump(pickling.network(denoiser.to(dtype))))
        found = read_edm_pickle(path)
        for name, tensor in denoiser.state_dict().items():
            np.testing.assert_array_equal(found.arrays[name], tensor.to(torch.float64).numpy())
        assert found.ignored == ()


def attacks(marker: Path) -> dict[str, bytes]:
    """Pickles that make a file where they are run."""
    touch = f"touch {marker}"
    evil = pickling.Evil(os.system, touch)
    ours = pickling.small()
    inside = pickling.network(ours)
    inside.meta["state"]["_buffers"] = {"evil": evil}

    def storage(data: bytes) -> Any:
        return pickling.Evil(torch.storage._load_from_bytes, data)

    hidden = {
        "system": evil,
        "in a checkpoint": pickling.checkpoint(ours) | {"loss_fn": evil},
        "in a state": {"ema": inside},
        "in a storage": storage(pickle.dumps(evil)),
        "in a legacy stream": storage(pickling.stream(evil)),
        "in a zip stream": storage(pickling.stream(evil, legacy=False)),
        "eval": pickling.Evil(eval, f"__import__('os').system({touch!r})"),
        "getattr": pickling.Evil(getattr, "text", "upper"),
        "attrgetter": operator.attrgetter("system"),
        "reconstructor": pickling.Evil(pickle._loads, pickle.dumps(evil)),  # type: ignore[attr-defined]
        "hub": pickling.Evil(torch.hub.load, "somebody/something", "model"),
        "object scalar": np.array([evil], dtype=object),
    }
    found = {name: pickling.dump(value) for name, value in hidden.items()}
    found["old protocol"] = pickling.dump(evil, 0)
    found["dotted name"] = b"\x80\x04\x8c\x0dtorch.storage\x8c\x1c_load_from_bytes.__globals__\x93."
    found["persistent id"] = b"\x80\x04\x8c\x04evilQ."
    found["instance"] = b"(cposix\nsystem\n" + f"S'{touch}'\n".encode() + b"o."
    found["old instance"] = b"(" + f"S'{touch}'\n".encode() + b"iposix\nsystem\n."
    found["extension"] = b"\x80\x04\x82\x01."
    return found


NAMES = sorted(attacks(Path("x")))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_run(written: Callable[[bytes], Path], tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    path = written(attacks(marker)[name])
    with pytest.raises(DataError, match=r"edm\.pkl") as raised:
        read_edm_pickle(path)
    assert not marker.exists()
    assert "\n" not in str(raised.value)


def test_the_marker_is_made_where_a_pickle_is_run(tmp_path: Path) -> None:
    """The attacks are real: Python's own reader falls for them."""
    marker = tmp_path / "ran"
    pickle.loads(attacks(marker)["system"])
    assert marker.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>quota exceeded</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (pickling.stream({"a": torch.zeros(2)}, legacy=False), "archive of torch.save"),
        (pickle.dumps({"a": 1}), "no averaged network"),
        (pickle.dumps([1, 2]), "no averaged network"),
        (b"not a pickle at all", "not a pickle"),
    ],
)
def test_what_is_no_checkpoint(written: Callable[[bytes], Path], data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_edm_pickle(written(data))


def test_cut_short_anywhere(written: Callable[[bytes], Path]) -> None:
    whole = pickling.dump(pickling.checkpoint(pickling.small(**SMALLER)))
    for end in np.linspace(1, len(whole) - 1, 30).astype(int):
        with pytest.raises(DataError):
            read_edm_pickle(written(whole[:end]))


def test_flipped_bytes_are_an_error_or_other_weights(written: Callable[[bytes], Path]) -> None:
    whole = bytearray(pickling.dump(pickling.checkpoint(pickling.small(**SMALLER))))
    for place in np.random.default_rng(0).integers(0, len(whole), 30):
        whole[place] ^= 0x41
        try:
            read_edm_pickle(written(bytes(whole)))
        except DataError as error:
            assert "edm.pkl" in str(error)  # noqa: PT017 - either is right
        whole[place] ^= 0x41


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 5}, "of version 5"),
        ({"inner": {"_init_kwargs": None}}, "arguments of its network"),
        ({"state": {"sigma_data": "half"}}, "not a number"),
    ],
)
def test_other_versions(written: Callable[[bytes], Path], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_edm_pickle(written(pickling.dump(pickling.checkpoint(pickling.small(), **changes))))


def test_other_classes_and_shapes(written: Callable[[bytes], Path]) -> None:
    made = pickling.network(pickling.small())
    made.meta["class_name"] = "iDDPMPrecond"
    with pytest.raises(DataError, match="iDDPMPrecond of version 6 around SongUNet"):
        read_edm_pickle(written(pickling.dump({"ema": made})))
    made = pickling.network(pickling.small())
    made.meta["state"]["_modules"]["model"].meta["class_name"] = "DhariwalUNet"
    with pytest.raises(DataError, match="around DhariwalUNet"):
        read_edm_pickle(written(pickling.dump({"ema": made})))
    made = pickling.network(pickling.small())
    made.meta["state"]["_modules"]["model"].meta["state"]["_init_kwargs"]["model_channels"] = 16
    with pytest.raises(DataError, match="of shape"):
        read_edm_pickle(written(pickling.dump({"ema": made})))
    made = pickling.network(pickling.small())
    made.meta["state"]["_modules"]["model"].meta["state"]["_init_kwargs"]["decoder_type"] = "skip"
    with pytest.raises(DataError, match="decoder_type 'skip'"):
        read_edm_pickle(written(pickling.dump({"ema": made})))


def test_a_tensor_that_reaches_out_of_its_storage(written: Callable[[bytes], Path]) -> None:
    class Reaching:
        def __reduce__(self) -> Any:
            storage = torch.zeros(4)._typed_storage()
            return torch._utils._rebuild_tensor_v2, (storage, 2, (4,), (1,), False, {})

    made = pickling.network(pickling.small())
    made.meta["state"]["_buffers"] = {"far": Reaching()}
    with pytest.raises(DataError, match="reaches out of its storage"):
        read_edm_pickle(written(pickling.dump({"ema": made})))


def test_lengths_that_lie_cost_nothing(written: Callable[[bytes], Path]) -> None:
    for data in (
        b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.",
        b"\x80\x04" + b"r" + (2**31 - 1).to_bytes(4, "little") + b".",
        b"\x80\x04\x95" + (1 << 60).to_bytes(8, "little") + b".",
    ):
        with pytest.raises(DataError):
            read_edm_pickle(written(data))


def test_arguments_and_states_that_make_no_sense(written: Callable[[bytes], Path]) -> None:
    """Sizes that no memory holds, numbers without end, and other types wherever an attribute is looked up."""
    nested: list[Any] = []
    for _ in range(50):
        nested = [nested]
    strange: list[Any] = [None, 2**15, 2**2000, "x", [10**4] * 9, torch.zeros(3), nested]
    changes: list[tuple[str, str, Any]] = []
    for value in strange:
        changes += [("_init_kwargs", name, value) for name in ("model_channels", "channel_mult", "num_blocks")]
        changes += [("state", name, value) for name in ("_init_kwargs", "_modules", "_parameters", "_init_args")]
        changes += [("state", "_non_persistent_buffers_set", value)]
    ours, harmless = pickling.small(**SMALLER), 0
    for place, name, value in changes:
        made = pickling.network(ours)
        state = made.meta["state"]["_modules"]["model"].meta["state"]
        (state if place == "state" else state[place])[name] = value
        path = written(pickling.dump({"ema": made}))
        try:
            read_edm_pickle(path)
            harmless += 1
        except DataError as error:
            assert "edm.pkl" in str(error)  # noqa: PT017 - a few change nothing
            assert len(str(error)) < 1000  # noqa: PT017
    assert harmless < len(strange) + 9  # no arguments or an empty list, and sets of names that are ignored


def test_parts_that_share_parts(written: Callable[[bytes], Path]) -> None:
    """Two of the one before, thirty deep: 2**30 parts, if anybody walked them."""
    part: Any = pickling.Persistent("Linear", {})
    for _ in range(30):
        part = pickling.Persistent("Block", {"_modules": {"a": part, "b": part}})
    made = pickling.network(pickling.small())
    made.meta["state"]["_modules"]["model"].meta["state"]["_modules"]["more"] = part
    with pytest.raises(DataError, match="nested without end"):
        read_edm_pickle(written(pickling.dump({"ema": made})))


def test_a_tensor_made_again_and_again(written: Callable[[bytes], Path]) -> None:
    """A stream of a megabyte in the memo, of which a hundred storages are to be made."""
    stream = pickling.stream(torch.zeros(1 << 18)._typed_storage())

    class Made:
        def __reduce__(self) -> Any:
            return torch.storage._load_from_bytes, (stream,)

    with pytest.raises(DataError, match="more bytes than it has"):
        read_edm_pickle(written(pickling.dump([Made() for _ in range(100)])))


def test_a_stream_of_a_tensor_that_is_a_program(written: Callable[[bytes], Path]) -> None:
    """Millions of lists behind the number that such a stream begins with."""

    class Made:
        def __reduce__(self) -> Any:
            return torch.storage._load_from_bytes, (pickling.stream(torch.zeros(3))[:15] + b"]" * 3_000_000,)

    data = pickling.dump([Made()])
    tracemalloc.start()
    with pytest.raises(DataError, match="wants more than numbers"):
        read_edm_pickle(written(data))
    assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    tracemalloc.stop()
